"""The table of what other tools keep on this machine: `treadle import`."""

import argparse
import os
import sys
from pathlib import Path

import msgspec

import treadle.cli.output as output
from treadle.cli.import_report import short
from treadle.cli.lists import table
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.reader import reading
from treadle.transfer.histories import threads_of
from treadle.transfer.sources.overview import SOON, ToolOverview, overview
from treadle.transfer.sources.source import Source
from treadle.transfer.sources.tools import SOURCES


def show_overview(options: argparse.Namespace, data_dir: Path) -> int:
    """Print the table of histories."""
    found: list[ToolOverview] = []
    failed = False
    for source in SOURCES.values():
        folder = source.home(os.environ, Path.home())
        if folder.is_dir():
            try:
                found.append(overview(source, folder, _known(source, data_dir)))
            except OSError as error:
                print(f"treadle: {folder}: {error.strerror or error}", file=sys.stderr)
                failed = True
    if options.json:
        for one in found:
            output.print_json(msgspec.json.encode(one))
        return int(failed)
    rows = []
    for one in found:
        oldest = output.to_the_minute(one.oldest)[:10] if one.oldest else ""
        soon = "never" if one.keeps is None else f"{one.deleted_soon:,}"
        size, count = output.size(one.size), f"{one.sessions:,}"
        rows.append((one.tool, short(Path(one.folder)), count, size, oldest, soon, f"{one.imported:,}"))
    if not found:
        print("no history of another tool was found: name its folder, as in `treadle import claude FOLDER`")
        return int(failed)
    for line in table(("TOOL", "FOLDER", "SESSIONS", "SIZE", "OLDEST", "DELETED SOON", "HERE"), rows):
        print(line)
    print(f"\nDELETED SOON: what the tool deletes within {SOON:.0f} days. HERE: sessions that are threads here.")
    print("`treadle import --all` imports what is new; `treadle import TOOL` only that of one tool.")
    return int(failed)


def _known(source: Source, data_dir: Path) -> set[str]:
    """Ids and files that threads here come from."""
    if not (data_dir / FILE_NAME).exists():
        return set()
    with reading(data_dir) as reader:
        threads = reader.read(lambda reads: [*threads_of(reads, source.tool)])
    return {name for thread in threads for name in (thread.id, thread.session, str(thread.source)) if name}
