"""`treadle stats`: show what a data directory contains and how large it is."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from treadle.cli.options import Commands, add_json, data_dir_of, positive

EXAMPLE = """\
treadle stats
treadle stats --json | jq .eventsByType
"""


def add(commands: Commands) -> None:
    does = "count events and entities, and show how much space they take"
    command = commands.add("stats", does, run, more="Reads the whole log.", example=EXAMPLE)
    command.add_argument(
        "--largest", type=positive, default=10, metavar="N", help="list the N largest threads (default: 10)"
    )
    add_json(command, "print the same as one JSON text")


def run(options: argparse.Namespace) -> int:
    import treadle.cli.output as output

    found = _count(data_dir_of(options), options.largest)
    if options.json:
        import msgspec

        output.print_json(msgspec.json.encode(found))
    else:
        _print(found)
    return 0


def _count(data_dir: Path, largest: int) -> dict[str, Any]:
    import sys

    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite import statistics
    from treadle.store.sqlite.reader import reading

    with reading(data_dir) as reader:
        progress = ProgressLine("counting") if sys.stderr.isatty() else lambda done, total: None
        types = statistics.events_by_type(reader, progress)
        return {
            "dataDir": str(data_dir),
            **reader.read(statistics.about_the_log),
            "eventsByType": types,
            "redacted": statistics.redacted_by_kind(reader),
            "entities": reader.read(lambda reads: reads.entity_counts()),
            "sizes": reader.read(lambda reads: statistics.sizes(reads, data_dir)),
            "largestThreads": reader.read(lambda reads: statistics.largest_threads(reads, largest)),
        }


def _print(found: dict[str, Any]) -> None:
    import treadle.cli.output as output

    paint = output.Paint()
    sizes, types = found["sizes"], found["eventsByType"]
    print(paint("bold", output.clean(found["dataDir"])))
    if found["firstEventAt"] is not None:
        first, last = (output.to_the_minute(found[name]) for name in ("firstEventAt", "lastEventAt"))
        print(f"{found['sequence']:,} events, {first} to {last}")
    _table(
        "on disk",
        [(name, output.size(sizes[key])) for name, key in (
            ("database", "databaseBytes"), ("write-ahead log", "walBytes"), ("copies", "copiesBytes"),
            ("free in the database", "freeBytes"),
        )],
    )  # fmt: skip
    entities = [(_words(name), f"{count:,}") for name, count in found["entities"].items()]
    _table("entities", entities)
    _table("events", [(name, f"{of['count']:,}", output.size(of["bytes"])) for name, of in types.items()])
    _table("redacted", [(kind, f"{count:,}") for kind, count in found["redacted"].items()])
    threads = [
        (thread["id"], f"{thread['events']:,} events", output.size(thread["bytes"]),
         "(deleted)" if thread["title"] is None else output.fit(output.one_line(thread["title"]), 40))
        for thread in found["largestThreads"]
    ]  # fmt: skip
    _table("largest threads", threads)


def _words(name: str) -> str:
    """`archivedThreads` as words: `archived threads`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)


def _table(head: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under a heading, with right-aligned numbers."""
    import treadle.cli.output as output

    if not rows:
        return
    print(f"\n{output.Paint()('bold', head)}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(cells[:2], widths[1:], strict=False))
        print(f"  {name:<{widths[0]}}  {numbers}" + "".join(f"  {cell}" for cell in cells[2:]))
