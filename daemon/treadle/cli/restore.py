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
    import treadle.cli.output as output
    from treadle.cli.own_daemon import result_of
    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.backup import restore
    from treadle.store.sqlite.copies import threads_to_erase

    data_dir = data_dir_of(options)
    kept = restore(data_dir, options.file, ProgressLine("copying", "pages"))
    print(f"restored {options.file}" + ("" if kept is None else f"; the previous database is kept as {kept}"))
    if again := threads_to_erase(data_dir):
        print(f"erasing again what was erased since the backup, in {output.count(len(again), 'thread')}")
        result_of(data_dir, "erasure/status", {"wait": True})
    return 0
