"""`treadle export`: the log as JSON Lines."""

import argparse

from treadle.cli.options import Commands, data_dir_of

MORE = """\
The first line says what it is; then comes an event a line, {"sequence", "event"}, as the log holds it. `treadle import
jsonl` makes the same log of it. Daemons may write meanwhile: what they append is not in it. Not carried are the logId,
the answers of commands that came with a commandId, and kept copies.
"""
EXAMPLE = """\
treadle export treadle.jsonl
treadle export | zstd > treadle.jsonl.zst
"""


def add(commands: Commands) -> None:
    command = commands.add("export", "write the log, one JSON text a line", run, more=MORE, example=EXAMPLE)
    command.add_argument("file", nargs="?", default="-", metavar="FILE", help="must not exist yet (default: stdout)")


def run(options: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    import treadle.cli.output as output
    from treadle.cli.progress import Progress
    from treadle.store.sqlite.reader import reading
    from treadle.transfer.jsonl import export, new_file

    with reading(data_dir_of(options)) as reader:
        if options.file == "-":
            # Two on one terminal would be a mess.
            progress = Progress("exporting") if sys.stderr.isatty() and not output.is_terminal() else _quiet
            if output.is_terminal():
                export(reader, lambda line: output.print_json(line.rstrip(b"\n")), progress)
            else:
                export(reader, sys.stdout.buffer.write, progress)
            return 0
        file = Path(options.file)
        with new_file(file) as out:
            count = export(reader, out.write, Progress("exporting"))
    print(f"{file}: {count:,} events")
    return 0


def _quiet(done: int, total: int) -> None:
    pass
