"""`treadle checkpoints`: the snapshots of a project's files that a thread has, and the removal of old ones."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.cli.options import THREAD, Commands, add_json, data_dir_of, natural, positive

if TYPE_CHECKING:
    from treadle.workspace.pruning import Pruned

MORE = """\
What is in a checkpoint, and when one is taken, is in docs/checkpoints.md.

`treadle checkpoints prune` removes old checkpoints in the repositories of all projects: what is older than 30 days and
what is beyond the newest 50 of a thread, or what the settings `checkpointsDays` and `checkpointsKeep` say. The newest
checkpoint of a thread and those of a running turn stay. It also removes refs of deleted threads and of checkpoints that
the log does not have, and records which checkpoints have lost their ref. `git gc` then frees the space.
"""
EXAMPLE = """\
treadle checkpoints
treadle checkpoints 019c1412 --json | jq -r .gitRef
treadle checkpoints prune --older-than 7 --dry-run
"""
PRUNE = "prune"


def add(commands: Commands) -> None:
    command = commands.add(
        "checkpoints", "list the checkpoints of a thread, or remove old ones", run, more=MORE, example=EXAMPLE
    )
    command.add_argument(
        "thread",
        metavar="THREAD",
        nargs="?",
        default="last",
        help=f"{THREAD} (default). `prune`: see above",
    )
    add_json(command, "one checkpoint per line, as in the result of `checkpoint/list`; with `prune`, one repository")
    command.add_argument(
        "--older-than", type=natural, metavar="DAYS", help="with `prune`: remove checkpoints that are older"
    )
    command.add_argument(
        "--keep", type=positive, metavar="N", help="with `prune`: remove those beyond the newest N of a thread"
    )
    command.add_argument("--dry-run", action="store_true", help="with `prune`: only say what would be removed")


def run(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.lists import checkpoints_of, table
    from treadle.cli.names import thread_named
    from treadle.store.errors import UserError
    from treadle.store.sqlite.reader import reading

    if options.thread == PRUNE:
        return _prune(options)
    if options.older_than is not None or options.keep is not None or options.dry_run:
        raise UserError("--older-than, --keep and --dry-run need `prune`: `treadle checkpoints prune`")
    with reading(data_dir_of(options)) as reader:
        thread_id = reader.read(lambda reads: thread_named(reads, options.thread))
        found = checkpoints_of(reader, thread_id)
    if options.json:
        for one in found:
            output.print_json(msgspec.json.encode(one))
        return 0
    if not found:
        if output.is_terminal():
            print("no checkpoints")
        return 0
    rows = [(one.id, output.to_the_minute(one.created_at), one.phase, one.turn_id or "", one.message) for one in found]
    for line in table(("ID", "CREATED", "PHASE", "TURN", "MESSAGE"), rows):
        print(line)
    return 0


def _prune(options: argparse.Namespace) -> int:
    """The exit status is 1 if a repository could not be pruned."""
    import asyncio
    import sys

    import msgspec

    import treadle.cli.output as output
    from treadle.store.sqlite.reader import require_database

    data_dir = data_dir_of(options)
    require_database(data_dir)
    done = asyncio.run(_pruned(data_dir, options))
    for one in done:
        if options.json:
            output.print_json(msgspec.json.encode(one))
        elif one.failed is not None:
            print(f"{output.one_line(one.folder)}: nothing was removed: {output.one_line(one.failed)}", file=sys.stderr)
        elif one.checkpoints or one.lost or one.refs:
            for line in _told(one, options.dry_run):
                print(line)
    if not options.json and not any(one.checkpoints or one.lost or one.refs or one.failed for one in done):
        print("nothing to remove")
    return int(any(one.failed is not None for one in done))


async def _pruned(data_dir: Path, options: argparse.Namespace) -> "list[Pruned]":
    from treadle.server.services import Services, open_store

    services = Services(await open_store(data_dir), data_dir, linger=0.0, agents_files=tuple, runs_agents=False)
    try:
        await services.start()
        return await services.checkpoints.pruner.prune(
            keep=options.keep, days=options.older_than, dry_run=options.dry_run
        )
    finally:
        await services.close()


def _told(one: "Pruned", dry_run: bool) -> "list[str]":
    import treadle.cli.output as output

    would = "would be " if dry_run else ""
    threads = len({pruned.thread_id for pruned in one.checkpoints})
    lines = [f"{output.one_line(one.folder)}:"]
    if one.checkpoints:
        lines.append(f"  {len(one.checkpoints):,} checkpoints of {threads:,} threads {would}removed")
    if one.refs:
        lines.append(f"  {one.refs:,} refs without a checkpoint {would}removed")
    if one.lost:
        lines.append(f"  {len(one.lost):,} checkpoints without a ref {would}recorded as pruned")
    return lines
