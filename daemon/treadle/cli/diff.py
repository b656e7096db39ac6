"""`treadle diff`: what a turn or a thread changed in the files."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import CHANGED_PATHS, THREAD_HERE, Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.cli.turn_checkpoints import TurnCheckpoints
    from treadle.store.records import ThreadWork
    from treadle.workspace.diffs import Diff

MORE = """\
With a TURN, the checkpoints before and after it are compared. Without one, the checkpoint before the first turn of the
thread is compared with the one after its last, with all that anybody changed in between. While the last turn runs, and
with --now, the files as they are now take the place of the later checkpoint. A thread with a worktree and without
checkpoints is compared with the commit that the worktree began at.

TURN is its number in `treadle show`, its id, a unique prefix of it, or `last`. A PATH is relative to the current
folder; a folder stands for all in it, and `*` for itself. On a terminal the diff is coloured and shown in the pager
of git (GIT_PAGER, core.pager, PAGER, or less); elsewhere it has the exact bytes, and `git apply -R` takes it back.

Exit status: 0 also if nothing was changed; 1 if there are no checkpoints, or the diff is too long and was cut; 2 for a
usage error.
"""
EXAMPLE = """\
treadle diff
treadle diff last 3 --stat
treadle diff --now -- src '*.txt'
treadle diff 019c1412 last | git apply -R
"""
SECONDS = 60.0
"""A person waits for it, and may press Ctrl-C, so it may take longer than the snapshot before a prompt."""


def add(commands: Commands) -> None:
    does = "show what a turn or a thread changed in the files"
    command = commands.add("diff", does, run, more=MORE, example=EXAMPLE)
    command.usage = "treadle diff [OPTION ...] [THREAD [TURN [PATH ...]]] [-- PATH ...]"
    command.after_dashes = "paths"
    command.add_argument("thread", metavar="THREAD", nargs="?", help=THREAD_HERE)
    command.add_argument("turn", metavar="TURN", nargs="?", help="only what this turn changed")
    command.add_argument("paths", metavar="PATH", nargs="*", help=CHANGED_PATHS)
    command.add_argument("--now", action="store_true", help="compare with the files as they are now")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--stat", action="store_true", help="only how many lines changed, for each file")
    form.add_argument("--name-only", action="store_true", help="only the names of the files, relative to the top")
    command.add_argument("-z", dest="nul", action="store_true", help="with --name-only: end each name with NUL")
    add_json(command, "the result of `checkpoint/diff`, of all files; with --stat or --name-only without their diffs")


def run(options: argparse.Namespace) -> int:
    import asyncio
    import sys
    from pathlib import Path

    from treadle.cli.file_paths import below_top
    from treadle.cli.names import thread_work
    from treadle.cli.turn_checkpoints import TurnCheckpoints
    from treadle.store.errors import UserError
    from treadle.store.sqlite.reader import reading
    from treadle.workspace.diffs import read_diff
    from treadle.workspace.git import GitError
    from treadle.workspace.repositories import open_repository
    from treadle.workspace.skipping import Bounds

    if options.nul and not options.name_only:
        print("treadle diff: -z is for --name-only", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    with reading(data_dir) as reader:
        work = reader.read(lambda reads: thread_work(reads, options.thread))
        before, after = _compared(TurnCheckpoints(reader, work.thread_id), work, options.turn, options.now)
    # Two checkpoints can be compared without a worktree, which has the refs of its repository.
    folder = Path(work.path if after is None else work.project)

    async def read() -> "Diff":
        repository = await open_repository(folder, data_dir)
        return await read_diff(
            repository,
            before,
            after,
            paths=below_top(repository, [*options.paths, *options.after_dashes], work),
            patches=not (options.stat or options.name_only),
            bounds=Bounds(seconds=SECONDS),
        )

    try:
        diff = asyncio.run(read())
    except GitError as error:
        raise UserError(str(error)) from None
    return _print(options, diff, folder)


def _compared(
    checkpoints: "TurnCheckpoints", work: "ThreadWork", turn: str | None, now: bool
) -> tuple[str, str | None]:
    """The two commits to compare; None for the files as they are now. Raises Unclear."""
    begun_at = None if work.worktree is None or work.worktree.path is None else work.worktree.base
    if turn is None and begun_at is not None and not checkpoints.any_turn():
        return begun_at, None
    if turn is None:
        first, last = checkpoints.first(), checkpoints.named("last")
    else:
        first = last = checkpoints.named(turn)
    before, after = checkpoints.before(first), None if now else checkpoints.after(last)
    return before.commit or before.git_ref, None if after is None else after.commit or after.git_ref


def _print(options: argparse.Namespace, diff: "Diff", folder: "Path") -> int:
    import os
    import sys

    import treadle.cli.output as output
    from treadle.cli.diff_format import coloured, statistics
    from treadle.cli.file_paths import quoted
    from treadle.cli.pager import page
    from treadle.workspace.diffs import DIFF_BYTES

    paint = output.Paint()
    if options.json:
        _print_json(diff, patches=not (options.stat or options.name_only))
    elif not diff.changes:
        if output.is_terminal():
            print("nothing was changed")
    elif options.name_only:
        if options.nul:
            sys.stdout.buffer.write(b"".join(change.path + b"\0" for change in diff.changes))
        elif output.is_terminal():
            page((output.clean(os.fsdecode(quoted(change.path))) for change in diff.changes), folder)
        else:
            sys.stdout.buffer.write(b"".join(quoted(change.path) + b"\n" for change in diff.changes))
    elif options.stat:
        page(statistics(diff, paint), folder)
    elif output.is_terminal():
        page(coloured(diff.patches, paint), folder)
    else:
        sys.stdout.buffer.write(b"".join(diff.patches))
    if options.stat or options.name_only or not diff.left_out:
        return 0
    left = len(diff.left_out)
    first = output.one_line(diff.left_out[0].path.decode(errors="replace"))
    which = f"that of {first} is" if left == 1 else f"those of {left:,} files, from {first} on, are"
    sys.stdout.flush()
    print(
        f"treadle: the diff is longer than {output.size(DIFF_BYTES)}: {which} left out. Name paths, or use --stat",
        file=sys.stderr,
    )
    return 1


def _print_json(diff: "Diff", *, patches: bool) -> None:
    from itertools import zip_longest

    import msgspec

    import treadle.cli.output as output
    from treadle.contract.results import CheckpointDiff
    from treadle.workspace.checkpoints import changed_file
    from treadle.workspace.diffs import file_of

    files = [
        changed_file(
            file_of(change),
            patch.decode(errors="replace") if patch is not None else "" if patches else None,
            cut=patches and patch is None,
        )
        for change, patch in zip_longest(diff.changes, diff.patches)
    ]
    added, removed = sum(file.added for file in files), sum(file.removed for file in files)
    result = CheckpointDiff(files=files, total=len(files), added=added, removed=removed, next_cursor=None)
    output.print_json(msgspec.json.encode(result))
