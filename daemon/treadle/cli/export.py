"""`treadle export`: write the log as JSON Lines, or the threads as Markdown."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, data_dir_of

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.store.sqlite.reader import Reader

MORE = """\
The first line is a header; every other line is one event, {"sequence", "event"}, exactly as stored. `treadle import
jsonl` recreates the log from it. Daemons may keep writing: events appended after the export started are not included.
Not exported: the logId, stored answers of commands that carried a commandId, and backup copies.

--markdown writes one file a thread into a folder, for notes, git or a static site. Run it again to update the folder:
only the files of threads that changed are written, and what you changed in these is lost. A file keeps its name when
its thread is renamed. The file of a deleted thread is removed, unless you changed it. Other files are left alone.
"""
EXAMPLE = """\
treadle export treadle.jsonl
treadle export | zstd > treadle.jsonl.zst
treadle export --markdown ~/notes/threads
"""


def add(commands: Commands) -> None:
    command = commands.add(
        "export", "write the log as JSON Lines, or the threads as Markdown", run, more=MORE, example=EXAMPLE
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the new file; must not exist (default: stdout)"
    )
    where.add_argument(
        "--markdown", metavar="DIR", help="write a Markdown file for each thread into this folder instead"
    )


def run(options: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    import treadle.cli.output as output
    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.reader import reading
    from treadle.transfer.jsonl import export, new_file

    with reading(data_dir_of(options)) as reader:
        if options.markdown is not None:
            return _write_markdown(reader, Path(options.markdown))
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


def _write_markdown(reader: "Reader", folder: "Path") -> int:
    import sys

    from treadle.cli.markdown_folder import write_folder

    report = write_folder(reader, folder)
    for name in report.kept:
        print(f"treadle: {folder / name} was left alone: it is not as treadle wrote it", file=sys.stderr)
    print(f"{folder}: {len(report.written):,} written, {report.unchanged:,} unchanged, {len(report.removed):,} removed")
    return 0


def _quiet(done: int, total: int) -> None:
    pass
