"""`treadle verify`: check the projections against a replay of the log."""

import argparse

from treadle.cli.options import Commands, data_dir_of

MORE = "Daemons may keep running. The exit status is 1 if a row differs."


def add(commands: Commands) -> None:
    does = "replay the log and compare every row of the projections"
    commands.add("verify", does, run, more=MORE, example="treadle verify")


def run(options: argparse.Namespace) -> int:
    from treadle.cli.progress import ProgressLine
    from treadle.store.errors import translated
    from treadle.store.sqlite import projections
    from treadle.store.sqlite.copies import folder_for_copy
    from treadle.store.sqlite.reader import reading

    # The reader stays open meanwhile, so that the database cannot be replaced. The copy that the log is replayed into
    # is as private as the data directory.
    with (
        reading(data_dir_of(options)) as reader,
        folder_for_copy("treadle-verify-") as folder,
        translated(),
    ):
        total, differences = projections.verify(reader.path, folder / "copy.db", ProgressLine("replaying"))
    for difference in differences:
        print(f"{difference.table}: {difference.side} row {difference.row}")
    if differences:
        print(f"the projections do not match the log of {total:,} events: run `treadle rebuild`")
        return 1
    print(f"OK: {len(projections.TABLES)} tables match a replay of {total:,} events")
    return 0
