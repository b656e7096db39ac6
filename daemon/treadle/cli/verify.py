"""`treadle verify`: check the projections against a replay of the log."""

import argparse

from treadle.cli.options import Commands, data_dir_of

MORE = "Daemons may keep running. The exit status is 1 if a row differs."


def add(commands: Commands) -> None:
    does = "replay the log and compare every row of the projections"
    commands.add("verify", does, run, more=MORE, example="treadle verify")


def run(options: argparse.Namespace) -> int:
    import asyncio
    import tempfile
    from pathlib import Path

    from treadle.cli.progress import Progress
    from treadle.store.sqlite import projections
    from treadle.store.sqlite.reader import require_database
    from treadle.store.sqlite.store import Store

    data_dir = data_dir_of(options)
    require_database(data_dir)

    async def verify() -> tuple[int, list[projections.Difference]]:
        store = await Store.open(data_dir, progress=Progress("rebuilding"))
        try:  # open all the while, so that nobody puts another database in its place
            with tempfile.TemporaryDirectory(dir=data_dir, prefix="verify-") as folder:
                return projections.verify(store.path, Path(folder) / "copy.db", Progress("replaying"))
        finally:
            await store.close()

    total, differences = asyncio.run(verify())
    for difference in differences:
        print(f"{difference.table}: {difference.side} row {difference.row}")
    if differences:
        print(f"the projections do not match the log of {total:,} events: run `treadle rebuild`")
        return 1
    print(f"OK: {len(projections.TABLES)} tables match a replay of {total:,} events")
    return 0
