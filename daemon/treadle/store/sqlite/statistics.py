"""Counts what a database holds. Reads all of it: for people, not for clients."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.projections import Progress
from treadle.store.sqlite.reader import Reader
from treadle.store.sqlite.reads import sequence
from treadle.store.sqlite.sql import query

SLICE = 50_000  # events that one read counts


def events_by_type(reader: Reader, progress: Progress) -> dict[str, dict[str, int]]:
    """For each type, the most frequent first, how many events there are and how many bytes they have."""
    end = reader.read(sequence)
    found: dict[str, dict[str, int]] = {}
    for after in range(0, end, SLICE):
        progress(after, end)
        bounds = {"after": after, "upto": min(after + SLICE, end)}
        for name, count, size in reader.read(_counted(bounds)):
            of = found.setdefault(name, {"count": 0, "bytes": 0})
            of["count"] += count
            of["bytes"] += size
    progress(end, end)
    return dict(sorted(found.items(), key=lambda item: (-item[1]["count"], item[0])))


def about_the_log(db: sqlite3.Connection) -> dict[str, Any]:
    """Which log it is, and from when to when it goes; null where it is empty."""
    log_id, first, last = db.execute(query("log_span")).fetchone()
    return {"logId": log_id, "sequence": sequence(db), "firstEventAt": first, "lastEventAt": last}


def entities(db: sqlite3.Connection) -> dict[str, int]:
    """How many of each there are, those of deleted threads not counted."""
    cursor = db.execute(query("stats_entities"))
    names = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchone(), strict=True))


def largest_threads(db: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """Those whose events have the most bytes. title: null of one that was deleted."""
    rows = db.execute(query("stats_largest_threads"), {"limit": limit}).fetchall()
    return [{"id": id, "title": title, "events": events, "bytes": size} for id, title, events, size in rows]


def sizes(db: sqlite3.Connection, data_dir: Path) -> dict[str, int]:
    """On disk, in bytes. free: of the database, what is filled before it grows."""
    path = data_dir / FILE_NAME
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (page_size,) = db.execute("PRAGMA page_size").fetchone()
    copies = [file for pattern in ("before-*.db", "before-*.db-*") for file in data_dir.glob(pattern)]
    return {
        "databaseBytes": _size(path),
        "walBytes": _size(path.with_name(f"{FILE_NAME}-wal")),
        "copiesBytes": sum(map(_size, copies)),
        "freeBytes": free * page_size,
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _counted(bounds: dict[str, int]) -> Callable[[sqlite3.Connection], list[Any]]:
    return lambda db: db.execute(query("stats_event_types"), bounds).fetchall()
