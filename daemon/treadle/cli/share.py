"""`treadle share`: copy a thread into a shared log."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.options import THREAD, Commands, lasting_data_dir_of

if TYPE_CHECKING:
    from treadle.domain.entities import Project
    from treadle.transfer.share import SharedCopy

MORE = """\
DIR is a data directory that `treadle clone` has made. The copy has the turns, messages, activities and answers of the
thread, with their times, and you as the author; not its agent, queue and checkpoints, which are of this machine. The
thread stays in your own log, and is not kept up to date with its copy. Its project is found by its git remote, and
created if the shared log has none of it.
"""


def add(commands: Commands) -> None:
    does = "copy a thread into a log that others share"
    command = commands.add("share", does, run, more=MORE, example="treadle share last --to ~/team-treadle")
    command.add_argument("thread", metavar="THREAD", help=THREAD)
    command.add_argument("--to", type=Path, metavar="DIR", required=True, help="the data directory of the shared log")


def run(options: argparse.Namespace) -> int:
    import asyncio
    import sys

    import msgspec

    from treadle.cli.names import thread_named
    from treadle.cli.output import clean, count
    from treadle.domain.entities import Project
    from treadle.domain.errors import Rejected
    from treadle.store.errors import UserError
    from treadle.store.sqlite.database import SHARED_LOG
    from treadle.store.sqlite.reader import reading
    from treadle.transfer.share import events_to_share

    if not (options.to / SHARED_LOG).exists():
        raise UserError(f"{options.to} has no shared log: make it with `treadle clone SERVICE {options.to}`")
    try:
        with reading(lasting_data_dir_of(options)) as reader:
            thread_id = reader.read(lambda reads: thread_named(reads, options.thread))
            events = reader.read(lambda reads: events_to_share(reads, thread_id))
            id = events[0].project_id
            found = reader.read(lambda reads: reads.entities("project", None, [id]))
        copied = asyncio.run(_share(options.to, events, msgspec.json.decode(found[id], type=Project)))
    except Rejected as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1
    print(f"shared thread {thread_id} in project {clean(copied.project.name)}: {count(copied.events, 'event')}")
    return 0


async def _share(folder: Path, events: list[Any], project: "Project") -> "SharedCopy":
    from treadle.core.engine import Engine
    from treadle.store.sqlite.store import Store
    from treadle.transfer.share import share

    store = await Store.open(folder)
    engine = Engine(store)
    engine.start()
    try:
        return await share(events, project, store, engine)
    finally:
        await engine.stop(now=True)
        await store.close()
