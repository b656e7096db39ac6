"""`treadle restore`: replace the database with a copy."""

import argparse
from pathlib import Path

from treadle.cli.options import Commands, data_dir_of

MORE = "No daemon may have the database open: close the editors that use it first."


def add(commands: Commands) -> None:
    does = "replace the database with a copy; the old database is kept"
    command = commands.add("restore", does, run, more=MORE, example="treadle restore ~/treadle-monday.db")
    command.add_argument("file", type=Path, metavar="FILE", help="a copy made by `treadle backup`")


def run(options: argparse.Namespace) -> int:
    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.backup import restore

    kept = restore(data_dir_of(options), options.file, ProgressLine("copying", "pages"))
    print(f"restored {options.file}" + ("" if kept is None else f"; the previous database is kept as {kept}"))
    return 0
