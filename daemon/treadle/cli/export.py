"""`treadle export`: write the log as JSON Lines."""

import argparse

from treadle.cli.options import Commands, data_dir_of

MORE = """\
The first line is a header; every other line is one event, {"sequence", "event"}, exactly as stored. `treadle import
jsonl` recreates the log from it. Daemons may keep writing: events appended after the export started are not included.
Not exported: the logId, stored answers of commands that carried a commandId, and backup copies.
"""
EXAMPLE = """\
treadle export treadle.jsonl
treadle export | zstd > treadle.jsonl.zst
"""


def add(commands: Commands) -> None:
    command = commands.add("export", "write the log as JSON Lines, one event per line", run, more=MORE, example=EXAMPLE)
    command.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the new file; must not exist (default: stdout)"
    )


def run(options: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    import treadle.cli.output as output
    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.reader import reading
    from treadle.transfer.jsonl import export, new_file

    with reading(data_dir_of(options)) as reader:
        if options.file == "-":
            # Progress and events on the same terminal would be unreadable.
            progress = ProgressLine("exporting") if sys.stderr.isatty() and not output.is_terminal() else _quiet
            if output.is_terminal():
                export(reader, lambda line: output.print_json(line.rstrip(b"\n")), progress)
            else:
                export(reader, sys.stdout.buffer.write, progress)
            return 0
        file = Path(options.file)
        with new_file(file) as out:
            count = export(reader, out.write, ProgressLine("exporting"))
    print(f"{file}: {count:,} events")
    return 0


def _quiet(done: int, total: int) -> None:
    pass
