"""`treadle worktree`: the worktrees that agents work in."""

import argparse
from typing import TYPE_CHECKING, Any

from treadle.cli.options import THREAD, Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from treadle.store.records import ThreadWork

DELETED = "; a deleted one by its whole id"
APPLY_MORE = """\
The changes are merged with what was changed in the folder of the project meanwhile, and are not committed. If both have
changed the same lines, nothing is applied. A checkpoint is taken before, and the command that undoes it is printed.

On a terminal it says what it would do, and asks.
"""
DISCARD_MORE = """\
A checkpoint is taken before. The command that is printed brings the worktree back, but not what git ignores in it.

On a terminal it says what the folder of the project does not have, and asks. Elsewhere it refuses to discard that
without --force.
"""


def add(commands: Commands) -> None:
    actions = commands.group("worktree", "list, apply and discard the worktrees of threads", "ACTION")

    listing = actions.add("list", "list the worktrees", run_list, example="treadle worktree list")
    add_json(listing, "one worktree per line: threadId, title, path, base, deleted, exists")

    applying = actions.add(
        "apply",
        "apply what a worktree changed to the folder of the project",
        run_apply,
        more=APPLY_MORE,
        example="treadle worktree apply last",
    )
    applying.add_argument("thread", metavar="THREAD", help=THREAD)
    applying.add_argument("--dry-run", action="store_true", help="only say what would be written and removed")

    discarding = actions.add(
        "discard", "remove a worktree", run_discard, more=DISCARD_MORE, example="treadle worktree discard last"
    )
    discarding.add_argument("thread", metavar="THREAD", help=THREAD + DELETED)
    discarding.add_argument(
        "--force", action="store_true", help="also what the folder of the project does not have, without asking"
    )
    for action in (applying, discarding):
        add_json(action, "the result of the method")
    applying.add_argument("--yes", action="store_true", help="do not ask")


def run_list(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.lists import table
    from treadle.store.sqlite.reader import reading
    from treadle.workspace.thread_folders import worktree_folder

    data_dir = data_dir_of(options)
    with reading(data_dir) as reader:
        works: list[ThreadWork] = reader.read(lambda reads: reads.work(reads.threads_with_worktree()))
    rows = []
    for work in works:
        exists = worktree_folder(data_dir, work.thread_id).exists()
        if work.worktree is None or (work.deleted and not exists):
            continue
        if options.json:
            told = {"threadId": work.thread_id, "title": work.title, "path": work.path, "base": work.worktree.base}
            output.print_json(msgspec.json.encode({**told, "deleted": work.deleted, "exists": exists}))
        state = "(of a deleted thread)" if work.deleted else work.title if exists else "(missing)"
        rows.append((work.thread_id, str(work.worktree.base)[:10], work.path, state))
    if options.json:
        return 0
    if not rows:
        if output.is_terminal():
            print("no worktrees")
        return 0
    for line in table(("THREAD", "BASE", "PATH", "TITLE"), rows):
        print(line)
    return 0


def run_apply(options: argparse.Namespace) -> int:
    from treadle.cli.confirmation import confirmed
    from treadle.cli.undo import undo_command

    asks = _asks(options) and not options.yes
    if asks or options.dry_run:
        planned = _call(options, "apply", dryRun=True)
        if options.json:
            return 0
        if not _say(planned, ("would write", "would remove", "would leave")):
            print("nothing to apply: the folder of the project has what the worktree has")
            return 0
        if options.dry_run:
            return 0
        if not confirmed("Apply this?"):
            return 1
    done = _call(options, "apply")
    if options.json:
        return 0
    if not _say(done, ("wrote", "removed", "left")):
        print("nothing to apply: the folder of the project has what the worktree has")
    elif done["before"] is not None:
        print(f"to undo this: {undo_command(options, _thread(options), done['before'])}")
    return 0


def run_discard(options: argparse.Namespace) -> int:
    import treadle.cli.output as output
    from treadle.cli.confirmation import confirmed
    from treadle.cli.undo import undo_command

    force = options.force
    if not force and _asks(options):
        files = _call(options, "discard", dryRun=True)["files"]
        for file in files:
            print(f"would lose {output.one_line(file)}")
        why = "The folder of the project does not have this. " if files else ""
        if not confirmed(f"{why}Discard the worktree?"):
            return 1
        force = True
    done = _call(options, "discard", force=force)
    if not options.json:
        print("the worktree is removed")
        if done["before"] is not None:
            print(f"to bring it back: {undo_command(options, _thread(options), done['before'])}")
    return 0


def _asks(options: argparse.Namespace) -> bool:
    import sys

    from treadle.cli.output import is_terminal

    return not options.json and is_terminal(sys.stdin) and is_terminal()


def _say(done: dict[str, Any], words: tuple[str, str, str]) -> bool:
    """Print what was done to each file; return whether there was anything."""
    import treadle.cli.output as output

    found = list(zip(words, (done["written"], done["removed"], done["left"]), strict=True))
    for word, files in found:
        for file in files:
            print(f"{word} {output.one_line(file)}")
    return any(files for _, files in found)


def _call(options: argparse.Namespace, name: str, **params: Any) -> dict[str, Any]:
    """The result of worktree/NAME, which is printed with --json. Raises UserError."""
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.own_daemon import RequestFailed, result_of
    from treadle.store.errors import UserError

    thread_id = _thread(options)
    try:
        result = result_of(data_dir_of(options), f"worktree/{name}", {"threadId": thread_id, **params})
    except RequestFailed as error:
        if error.kind != "worktreeNotClean":
            raise
        hint = f"`treadle worktree apply {thread_id}` applies it, --force discards it"
        raise UserError(f"{error}: {hint}") from None
    if options.json:
        output.print_json(result)
    found: dict[str, Any] = msgspec.json.decode(result)
    return found


def _thread(options: argparse.Namespace) -> str:
    """The id of the thread that is named. Raises Unclear."""
    from treadle.cli.names import thread_named
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        return reader.read(lambda reads: thread_named(reads, options.thread))
