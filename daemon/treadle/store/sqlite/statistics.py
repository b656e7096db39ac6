"""Counts for `treadle stats`. They read the whole database, so no method of the protocol uses them."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from treadle.store.ports import Reads
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.projections import Progress
from treadle.store.sqlite.reader import Reader

SLICE = 50_000  # events counted in one read transaction


def events_by_type(reader: Reader, progress: Progress) -> dict[str, dict[str, int]]:
    """The number of events and of bytes for each event type, most frequent first."""
    end = reader.read(lambda reads: reads.sequence())
    found: dict[str, dict[str, int]] = {}
    for after in range(0, end, SLICE):
        progress(after, end)
        for name, count, size in reader.read(partial(_counted, after=after, upto=min(after + SLICE, end))):
            of = found.setdefault(name, {"count": 0, "bytes": 0})
            of["count"] += count
            of["bytes"] += size
    progress(end, end)
    return dict(sorted(found.items(), key=lambda item: (-item[1]["count"], item[0])))


def redacted_by_kind(reader: Reader) -> dict[str, int]:
    """How often the log has text that was redacted, by the kind of the secret, most frequent first."""
    end = reader.read(lambda reads: reads.sequence())
    found: Counter[str] = Counter()
    for after in range(0, end, SLICE):
        found.update(reader.read(partial(_redacted, after=after, upto=min(after + SLICE, end))))
    return dict(found.most_common())


def _redacted(reads: Reads, after: int, upto: int) -> dict[str, int]:
    return reads.redacted(after, upto)


def _counted(reads: Reads, after: int, upto: int) -> list[tuple[str, int, int]]:
    return reads.event_counts(after, upto)


def about_the_log(reads: Reads) -> dict[str, Any]:
    """The log's id and sequence, and the times of its first and last event; null if it is empty."""
    log_id, first, last = reads.log_span()
    return {"logId": log_id, "sequence": reads.sequence(), "firstEventAt": first, "lastEventAt": last}


def largest_threads(reads: Reads, limit: int) -> list[dict[str, Any]]:
    """The threads whose events take the most bytes. title: null if the thread was deleted."""
    rows = reads.largest_threads(limit)
    return [{"id": id, "title": title, "events": events, "bytes": size} for id, title, events, size in rows]


def sizes(reads: Reads, data_dir: Path) -> dict[str, int]:
    """Sizes on disk in bytes. freeBytes: free space inside the database file, reused before the file grows."""
    path = data_dir / FILE_NAME
    copies = [file for pattern in ("before-*.db", "before-*.db-*") for file in data_dir.glob(pattern)]
    return {
        "databaseBytes": _size(path),
        "walBytes": _size(path.with_name(f"{FILE_NAME}-wal")),
        "copiesBytes": sum(map(_size, copies)),
        "freeBytes": reads.free_bytes(),
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
