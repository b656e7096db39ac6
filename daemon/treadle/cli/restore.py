"""`treadle restore`: a copy in the place of the database."""

import argparse
from pathlib import Path

from treadle.cli.options import Commands, data_dir_of

MORE = "Not while a daemon has it open: close the editors that use it."


def add(commands: Commands) -> None:
    does = "put a copy in the place of the database, which is kept"
    command = commands.add("restore", does, run, more=MORE, example="treadle restore ~/treadle-monday.db")
    command.add_argument("file", type=Path, metavar="FILE", help="what `treadle backup` made")


def run(options: argparse.Namespace) -> int:
    from treadle.cli.progress import Progress
    from treadle.store.sqlite.backup import restore

    kept = restore(data_dir_of(options), options.file, Progress("copying", "pages"))
    print(f"restored {options.file}" + ("" if kept is None else f"; what was there is kept as {kept}"))
    return 0
