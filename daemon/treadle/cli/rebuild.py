"""`treadle rebuild`: rebuild the projections from the log."""

import argparse

from treadle.cli.options import Commands, data_dir_of


def add(commands: Commands) -> None:
    does = "rebuild the projections from the log"
    commands.add("rebuild", does, run, more="Running daemons wait until it has finished.", example="treadle rebuild")


def run(options: argparse.Namespace) -> int:
    import asyncio

    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.reader import require_database
    from treadle.store.sqlite.store import Store

    data_dir = data_dir_of(options)
    require_database(data_dir)

    async def rebuild() -> int:
        progress = ProgressLine("rebuilding")
        store = await Store.open(data_dir, progress=progress)
        try:
            if store.rebuilt is not None:  # the database was older, and was rebuilt when it was opened
                return store.rebuilt
            return await store.rebuild(progress)
        finally:
            await store.close()

    print(f"rebuilt from {asyncio.run(rebuild()):,} events")
    return 0
