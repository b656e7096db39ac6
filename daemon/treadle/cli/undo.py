"""`treadle undo`: put files back to what they were before a turn."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import CHANGED_PATHS, THREAD_HERE, Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.cli.turn_checkpoints import TurnCheckpoints
    from treadle.contract.results import Restoration
    from treadle.domain.entities import Checkpoint
    from treadle.store.records import ThreadWork

MORE = """\
It says first which files it would write and remove, and then asks. Without a terminal it asks nothing: give --yes, or
--dry-run. What is there now is kept in a checkpoint first, and the command that undoes the undo is printed.

Without --to, it undoes the last turn of the thread. Changes that you have made since to the same files are undone as
well. Only files of the project's folder that differ are written or removed; files that git ignores, those that the
checkpoints leave out, HEAD, branches and the index stay as they are. The next prompt tells the agent which files were
put back. While a turn runs in the folder, nothing is undone.

TURN is its number in `treadle show`, its id, a unique prefix of it, or `last`. A PATH is relative to the current
folder; a folder stands for all in it, and `*` for itself.

Exit status: 0 done, nothing to do, or a dry run; 1 it failed or was refused; 2 usage error, also if --yes is missing
without a terminal; 3 the answer was no; 130 after Ctrl-C. Nothing was changed if it is 2 or 3.
"""
EXAMPLE = """\
treadle undo
treadle undo last --to 2 --dry-run
treadle undo --yes -- src/api.py 'notes for me.txt'
"""
DECLINED = 3
SHOWN = 100
"""Files that are listed before the question."""


def add(commands: Commands) -> None:
    does = "put files back to what they were before a turn"
    command = commands.add("undo", does, run, more=MORE, example=EXAMPLE)
    command.usage = "treadle undo [OPTION ...] [THREAD [PATH ...]] [-- PATH ...]"
    command.after_dashes = "paths"
    command.add_argument("thread", metavar="THREAD", nargs="?", help=THREAD_HERE)
    command.add_argument("paths", metavar="PATH", nargs="*", help=CHANGED_PATHS)
    target = command.add_mutually_exclusive_group()
    target.add_argument(
        "--to", metavar="TURN", default="last", help="to the state before this turn (default: the last)"
    )
    target.add_argument(
        "--to-checkpoint",
        metavar="ID",
        help="to the state of this checkpoint: its id in `treadle checkpoints`, or a unique prefix of it",
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--dry-run", action="store_true", help="only say what would be written and removed")
    add_json(command, "the result of `checkpoint/restore`; needs --yes or --dry-run")


def run(options: argparse.Namespace) -> int:
    import sys

    import msgspec

    import treadle.cli.output as output
    from treadle.cli.confirmation import confirmed
    from treadle.cli.names import thread_work
    from treadle.cli.own_daemon import result_of
    from treadle.cli.turn_checkpoints import TurnCheckpoints
    from treadle.contract.results import Restoration
    from treadle.store.errors import UserError
    from treadle.store.sqlite.reader import reading
    from treadle.workspace.checkpoints import running_turn

    asks = not (options.yes or options.dry_run)
    if asks and options.json:
        print("treadle undo: --json needs --yes or --dry-run", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    with reading(data_dir) as reader:
        work = reader.read(lambda reads: thread_work(reads, options.thread))
        thread_id = work.thread_id
        target, what = _target(TurnCheckpoints(reader, thread_id), options)
        folder = work.project if target.in_project else work.path
        running = None if options.dry_run else reader.read(lambda reads: running_turn(reads, folder))
    if running is not None:
        raise UserError(f"turn {running} is still running in {folder}: wait until it has ended, or interrupt it")
    paths = _paths(work, folder, data_dir, [*options.paths, *options.after_dashes])
    is_new = work.worktree is not None and work.worktree.path is None and not target.in_project
    place = "a new worktree" if is_new else output.clean(folder)

    def restore(dry_run: bool) -> "Restoration":
        params = {"threadId": thread_id, "id": target.id, "paths": paths, "dryRun": dry_run}
        return msgspec.json.decode(result_of(data_dir, "checkpoint/restore", params), type=Restoration)

    if options.json:
        output.print_json(msgspec.json.encode(restore(options.dry_run)))
        return 0
    plan = restore(dry_run=True)
    if not (plan.written or plan.removed):
        _print_plan(plan, paths, None)
        print(f"nothing to undo: {'these files' if paths else 'the files'} are in {what}")
        return 0
    print(f"{place} {'is' if options.yes else 'would be'} put back to {what}:")
    _print_plan(plan, paths, SHOWN if asks else None)
    if options.dry_run:
        return 0
    if asks:
        sys.stdout.flush()
        if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
            print("treadle undo: nothing was changed: there is no terminal to ask on, so give --yes", file=sys.stderr)
            return 2
        if not confirmed("Put them back?"):
            return DECLINED
    done = restore(dry_run=False)
    print(f"wrote {output.count(len(done.written), 'file')}, removed {output.count(len(done.removed), 'file')}")
    print(f"to undo this: {undo_command(options, thread_id, done.before)}")
    return 0


def _target(checkpoints: "TurnCheckpoints", options: argparse.Namespace) -> "tuple[Checkpoint, str]":
    """The checkpoint to restore, and what it is, in words. Raises Unclear."""
    from treadle.cli.lists import one_named
    from treadle.cli.output import one_line

    if options.to_checkpoint is not None:
        found = one_named(checkpoints.all, options.to_checkpoint, "checkpoint", "treadle checkpoints")
        return found, f"the state of checkpoint {found.id} ({one_line(found.message)})"
    turn = checkpoints.named(options.to)
    return checkpoints.before(turn), f"the state before turn {turn.number}"


def _paths(work: "ThreadWork", folder: str, data_dir: "Path", words: list[str]) -> list[str]:
    """Paths of the command line, relative to the top of the work tree."""
    import asyncio
    from pathlib import Path

    from treadle.cli.file_paths import below_top
    from treadle.store.errors import UserError
    from treadle.workspace.git import GitError
    from treadle.workspace.repositories import open_repository

    try:
        paths = below_top(asyncio.run(open_repository(Path(folder), data_dir)), words, work) if words else []
    except GitError as error:
        raise UserError(str(error)) from None
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UserError(f"the name {path!r} is not UTF-8, and cannot be given: give its folder") from None
    return paths


def _print_plan(plan: "Restoration", paths: list[str], most: int | None) -> None:
    """List what is written, removed and left; and which of the paths are not concerned. most: lines, None for all."""
    import os
    from itertools import islice

    from treadle.cli.file_paths import quoted
    from treadle.cli.output import clean
    from treadle.workspace.skipping import is_among

    files = [(word, path) for word, paths in _named(plan) for path in paths]
    for word, path in islice(files, most):
        print(f"  {word:<6}  {clean(os.fsdecode(quoted(path.encode())))}")
    if most is not None and len(files) > most:
        print(f"  and {len(files) - most:,} more: --dry-run lists all")
    if plan.left:
        print("files that stay are ignored by git, left out of a checkpoint, or of another repository")
    for path in paths:
        if not any(is_among(os.fsencode(name), [path]) for _, name in files):
            print(f"nothing differs at {clean(path)}")


def _named(plan: "Restoration") -> "list[tuple[str, list[str]]]":
    return [("write", plan.written), ("remove", plan.removed), ("stays", plan.left)]


def undo_command(options: argparse.Namespace, thread_id: str, id: str | None) -> str:
    """The command that restores a checkpoint."""
    import shlex

    words = ["treadle", "undo", thread_id, "--to-checkpoint", str(id)]
    if options.data_dir is not None:
        words += ["--data-dir", str(data_dir_of(options))]
    return shlex.join(words)
