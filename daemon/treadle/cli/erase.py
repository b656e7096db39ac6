"""`treadle erase`: erases a thread for good."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import THREAD, Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from treadle.store.ports import Reads

WORDS = {"TurnStarted": "turn", "MessageAdded": "message", "CheckpointCreated": "checkpoint"}

MORE = """\
The thread is deleted, and the texts of all its events are taken out of the log, the tables and the search: titles,
messages, activities, questions, errors. Ids and times stay. Its worktree and its checkpoints are removed, too. Nothing
brings this back. A later import does not bring it back either.

What is not treadle's own stays: the history of the agent's tool, backups and exports.
"""


def add(commands: Commands) -> None:
    command = commands.add("erase", "erase a thread for good", run, more=MORE, example="treadle erase 019c1412")
    command.add_argument("thread", metavar="THREAD", help=THREAD + "; a deleted one by its whole id")
    command.add_argument("--yes", action="store_true", help="do not ask")
    add_json(command, "the stored events, one per line; needs --yes")


def run(options: argparse.Namespace) -> int:
    import sys

    import treadle.cli.output as output
    from treadle.cli.confirmation import UNCHANGED, confirmed
    from treadle.cli.names import thread_named
    from treadle.store.sqlite.reader import reading

    if options.json and not options.yes:
        print("treadle erase: --json needs --yes", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    with reading(data_dir) as reader:
        thread_id = reader.read(lambda reads: thread_named(reads, options.thread))
        (work,) = reader.read(lambda reads: reads.work([thread_id]))
        counts = reader.read(lambda reads: _counts(reads, thread_id))
    if not options.json:
        what = "deleted" if work.deleted else output.one_line(work.title)
        there = ", ".join(output.count(counts[kind], word) for kind, word in WORDS.items())
        tree = ", and its worktree" if work.worktree is not None and work.worktree.path else ""
        print(f"{thread_id} ({what}): {there}{tree}")
    if not options.yes:
        if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
            print(f"treadle erase: {UNCHANGED}: there is no terminal to ask on, so give --yes", file=sys.stderr)
            return 2
        if not confirmed("Erase it for good?"):
            return 1
    events = erase(data_dir, [thread_id])
    if not options.json:
        print("erased" if events else "it was erased before")
    else:
        for event in events:
            output.print_json(event)
    return 0


def _counts(reads: "Reads", thread_id: str) -> "Counter[str]":
    """How many events of each type the thread has."""
    from collections import Counter

    from treadle.publish.touched import PAGE

    counts, after = Counter[str](), 0
    while changes := reads.changes(after, thread_id, PAGE):
        counts.update(change[1] for change in changes)
        after = changes[-1][0]
    return counts


def erase(data_dir: "Path", thread_ids: list[str]) -> list[bytes]:
    """Erase threads, with their checkpoints and worktrees; return the stored events as JSON. Raises RequestFailed."""
    import msgspec

    from treadle.cli.own_daemon import dispatch
    from treadle.domain.commands import EraseThread
    from treadle.workspace.erasing import remove_files

    events = [event for id in thread_ids for event in dispatch(data_dir, EraseThread(thread_id=id))]
    remove_files(data_dir, thread_ids)
    # The log and the tables have nothing more of the threads. What their pages still hold is to be overwritten here.
    return [msgspec.json.encode(event) for event in events]
