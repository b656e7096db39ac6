"""`treadle backup`: copy the database."""

import argparse
from pathlib import Path

from treadle.cli.options import Commands, data_dir_of


def add(commands: Commands) -> None:
    does = "copy the database to a new file, while daemons keep writing"
    command = commands.add("backup", does, run, example="treadle backup ~/treadle-monday.db")
    command.add_argument("file", type=Path, metavar="FILE", help="the new file; must not exist")


def run(options: argparse.Namespace) -> int:
    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.backup import back_up

    size = back_up(data_dir_of(options), options.file, ProgressLine("copying", "pages"))
    print(f"backed up to {options.file}: {size:,} bytes")
    return 0
