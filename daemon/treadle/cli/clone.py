"""`treadle clone`: make a data directory whose log is a shared one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.cli.log import LOG, SERVICE
from treadle.cli.options import Commands

if TYPE_CHECKING:
    from treadle.store.shared.config import SharedLogConfig
    from treadle.store.shared.remote import RemoteLog, SharedLogInfo

MORE = """\
DIR gets all that is in the log, and what others append from then on. Use it with `--data-dir DIR`, for the projects
that you share. What is in your own data directory stays private. If it is interrupted, run it again. How to set up the
service is in docs/teams.md.
"""


def add(commands: Commands) -> None:
    does = "make a data directory whose log is shared with other machines"
    command = commands.add("clone", does, run, more=MORE, example="treadle clone team ~/team-treadle")
    command.add_argument("service", metavar="SERVICE", help=SERVICE)
    command.add_argument("folder", type=Path, metavar="DIR", help="the data directory to make")
    command.add_argument("--log", metavar="NAME", help=LOG)


def run(options: argparse.Namespace) -> int:
    import asyncio

    from treadle.cli.output import clean
    from treadle.store.errors import Refused, explained
    from treadle.store.shared.config import SharedLogConfig
    from treadle.store.shared.remote import RemoteLog

    with RemoteLog(options.service) as remote:
        chosen = _chosen(remote, options.log)
        try:
            prepare(options.folder, SharedLogConfig(options.service, chosen.log_id))
        except OSError as error:
            why = explained(error)
            raise Refused(f"{options.folder} cannot be the data directory: {why}", why.kind) from error
        count = asyncio.run(_pull(options.folder, remote, chosen))
    name, folder = clean(chosen.name), clean(str(options.folder))
    print(f"cloned log {name}: {count:,} events. Use it with --data-dir {folder}")
    if chosen.may == "read":
        print("this login may only read it: ask the owner for `treadle log grant`")
    return 0


def prepare(folder: Path, config: "SharedLogConfig") -> None:
    """Make the folder a data directory of this log. Raises Refused if it is one of another log, and OSError."""
    from treadle.store.errors import Refused
    from treadle.store.shared.config import read_config, write_config
    from treadle.store.sqlite.database import FILE_NAME, SHARED_LOG, make_private_folder

    if (folder / SHARED_LOG).exists():
        if read_config(folder).log_id != config.log_id:
            raise Refused(f"{folder} has another shared log: choose another folder")
    elif (folder / FILE_NAME).exists():
        raise Refused(f"{folder} has a log of its own: choose another folder")
    make_private_folder(folder)
    write_config(folder, config)


def _chosen(remote: "RemoteLog", name: str | None) -> "SharedLogInfo":
    """Raises UserError."""
    from treadle.store.errors import UserError

    logs = remote.logs()
    found = [one for one in logs if name in (None, one.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in logs) or "none"
    problem = "name one with --log" if name is None else f"log {name!r} does not exist"
    raise UserError(f"{problem}: the logs that this login may use are: {names}")


async def _pull(folder: Path, remote: "RemoteLog", chosen: "SharedLogInfo") -> int:
    """Pull all events; return how many the data directory has."""
    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.store import Store

    progress = ProgressLine("cloning")
    store = await Store.open(folder)
    try:
        assert store.sharing is not None
        return await store.sharing.pull_all(remote, lambda done: progress(done, max(done, chosen.head)))
    finally:
        await store.close()
