"""`treadle erase`: erases a thread for good."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import THREAD, Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from pathlib import Path

    from treadle.contract.receipts import Receipt
    from treadle.store.ports import Reads

WORDS = {"TurnStarted": "turn", "MessageAdded": "message", "CheckpointCreated": "checkpoint"}

MORE = """\
The thread is deleted, and the texts of all its events are taken out of the log, the tables and the search: titles,
messages, activities, questions, errors. Ids and times stay. Its worktree and its checkpoints are removed, too. Nothing
brings this back. A later import does not bring it back either.

Then the bytes are overwritten: in the database, its indexes and its WAL; old copies (before-*.db) that have the thread
are removed. A separate process searches all files of the data directory for samples of the texts, which were taken
before, and the receipt is printed. --receipt prints it again.

What is not treadle's own stays: the history of the agent's tool, backups and exports.
"""


def add(commands: Commands) -> None:
    command = commands.add("erase", "erase a thread for good", run, more=MORE, example="treadle erase 019c1412")
    command.add_argument("thread", nargs="?", metavar="THREAD", help=THREAD + "; a deleted one by its whole id")
    command.add_argument(
        "--receipt", action="store_true", help="only print what became of what was erased, of THREAD or of all"
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    add_json(command, "the stored events, one per line; needs --yes")


def run(options: argparse.Namespace) -> int:
    import sys

    import treadle.cli.output as output
    from treadle.cli.confirmation import UNCHANGED, confirmed
    from treadle.cli.names import thread_named
    from treadle.store.sqlite.reader import reading

    if options.receipt:
        return _show_receipts(data_dir_of(options), options.thread, options.json)
    if options.thread is None:
        print("treadle erase: name the THREAD, or give --receipt", file=sys.stderr)
        return 2
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
    events, receipts = erase(data_dir, [thread_id])
    if options.json:
        for event in events:
            output.print_json(event)
    elif events:
        print("erased")
        for receipt in receipts[:1]:
            print_receipt(receipt)
    else:
        print("it was erased before")
    return 1 if any(receipt.hits for receipt in receipts) else 0


def _counts(reads: "Reads", thread_id: str) -> "Counter[str]":
    """How many events of each type the thread has."""
    from collections import Counter

    from treadle.publish.touched import PAGE

    counts, after = Counter[str](), 0
    while changes := reads.changes(after, thread_id, PAGE):
        counts.update(change[1] for change in changes)
        after = changes[-1][0]
    return counts


def erase(
    data_dir: "Path", thread_ids: list[str], versions: "Mapping[str, int] | None" = None
) -> tuple[list[bytes], "list[Receipt]"]:
    """Erase threads, with their checkpoints and worktrees, and wait until their bytes are gone.

    versions: of the threads, which must not have changed since; None: whatever has happened in them.
    Returns the stored events as JSON, and the receipts. Raises RequestFailed.
    """
    import msgspec

    from treadle.cli.own_daemon import dispatch_and_purge
    from treadle.domain.commands import EraseThread

    events, receipts = dispatch_and_purge(
        data_dir, *(EraseThread(thread_id=id, expected_version=(versions or {}).get(id)) for id in thread_ids)
    )
    mine = [receipt for receipt in receipts if receipt.thread_id in thread_ids]
    return [msgspec.json.encode(event) for event in events], mine


def _show_receipts(data_dir: "Path", thread: str | None, json: bool) -> int:
    """Print what became of the bytes of a thread that was erased, or of all."""
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.own_daemon import result_of
    from treadle.contract.receipts import ErasureStatus

    status = msgspec.json.decode(result_of(data_dir, "erasure/status", {"threadId": thread}), type=ErasureStatus)
    for receipt in status.erasures:
        if json:
            output.print_json(msgspec.json.encode(receipt))
        else:
            print_receipt(receipt)
    if not status.erasures and not json:
        print("nothing was erased")
    return 1 if any(receipt.hits for receipt in status.erasures) else 0


def print_receipt(receipt: "Receipt") -> None:
    """Print what was found in the files, what was removed, and what is not ours."""
    import treadle.cli.output as output

    one_line = output.one_line
    if receipt.events or receipt.whole:
        what = f"{output.count(receipt.events, 'event')} {'erased' if receipt.whole else 'redacted'}"
    else:
        what = "redacted, and erased since"
    print(f"{one_line(receipt.thread_id)}: {what}")
    if not receipt.purged:
        print("  the bytes are not gone yet: the next daemon continues")
    elif receipt.hits is None:
        print("  the bytes are overwritten; there was no text to take a sample of, or it was not searched for")
    else:
        samples, files = output.count(receipt.samples, "sample"), output.count(receipt.files_searched or 0, "file")
        where = "" if not receipt.hits else ": " + ", ".join(map(one_line, receipt.found))
        print(f"  {samples} of its texts searched for in {files}: {receipt.hits} found{where}")
    for copy in receipt.removed:
        print(f"  removed  {one_line(copy)}")
    for place in receipt.not_ours:
        print(f"  not ours {one_line(place)}")
