"""`treadle import`: import an exported log, or a recording of another program."""

import argparse
from pathlib import Path

from treadle.cli.options import Commands, data_dir_of

ACP_EXAMPLE = "treadle import acp session.jsonl"
ACP_MORE = """\
An import can be repeated: it adds the turns that are new. A turn without an end is left for the next import; after 10
minutes without a change of the file it is imported as interrupted. Lines that are not frames are skipped and named.
"""
JSONL_MORE = """\
The data directory must not contain a log yet. The import is all or nothing; an error names the invalid line. The new
log is identical event by event, but has its own logId and remembers no commandId.
"""
JSONL_EXAMPLE = """\
treadle import jsonl --data-dir ~/new treadle.jsonl
ssh old treadle export | treadle import jsonl --data-dir ~/new -
"""


def add(commands: Commands) -> None:
    formats = commands.group("import", "import a log or a recording", "FORMAT")
    does = "import a recording of Agent Client Protocol frames, one JSON text per line"
    acp = formats.add("acp", does, run_acp, more=ACP_MORE, example=ACP_EXAMPLE)
    acp.add_argument("file", type=Path, metavar="FILE", help="recorded frames, each with a time and a direction")
    does = "import a log written by `treadle export`"
    jsonl = formats.add("jsonl", does, run_jsonl, more=JSONL_MORE, example=JSONL_EXAMPLE)
    jsonl.add_argument("file", metavar="FILE", help="the exported file; - reads stdin")


def run_acp(options: argparse.Namespace) -> int:
    import asyncio

    from treadle.cli.progress import ProgressLine
    from treadle.transfer.recordings import import_acp

    return asyncio.run(import_acp(options.file, data_dir_of(options), ProgressLine("importing", "frames")))


def run_jsonl(options: argparse.Namespace) -> int:
    import asyncio
    import sys

    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.store import Store
    from treadle.transfer.jsonl import BadExport, import_log, read_header

    data_dir = data_dir_of(options)

    async def make() -> None:
        await (await Store.open(data_dir)).close()

    name = "stdin" if options.file == "-" else options.file
    stream = sys.stdin.buffer if options.file == "-" else open(options.file, "rb")  # noqa: SIM115
    with stream:
        try:
            header = read_header(stream)  # before a database is created
            asyncio.run(make())
            count = import_log(data_dir, header, stream, ProgressLine("importing"))
        except BadExport as error:
            print(f"treadle: {name}: {error}. Nothing was imported", file=sys.stderr)
            return 1
    print(f"{count:,} events imported into {data_dir}")
    return 0
