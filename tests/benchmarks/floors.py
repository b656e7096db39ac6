"""The floors, which no daemon can beat: plain sqlite3, and a standard library loop at the other end of a pipe."""

import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.harness import Pipe

BATCH = 500

ECHO = """
import json, sys
read, write = sys.stdin.buffer, sys.stdout.buffer
for line in read:
    write.write(json.dumps(json.loads(line)).encode() + b"\\n")
    write.flush()
"""


def echo() -> Pipe:
    """A process that reads each line, decodes and encodes it with `json`, and writes it."""
    return Pipe([sys.executable, "-c", ECHO])


def plain_log(folder: Path) -> sqlite3.Connection:
    """A new database with one table, without triggers and indexes, whose commits wait for the disk."""
    db = sqlite3.connect(folder / f"plain-{os.urandom(4).hex()}.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL) STRICT")
    return db


def rows_per_second(folder: Path, payloads: Sequence[str], batch: int = BATCH) -> float:
    """The rows per second that plain sqlite3 appends, `batch` rows per commit."""
    with closing(plain_log(folder)) as db:
        began = time.perf_counter()
        for start in range(0, len(payloads), batch):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO events (payload) VALUES (?)", [(p,) for p in payloads[start : start + batch]])
            db.execute("COMMIT")
        return len(payloads) / (time.perf_counter() - began)


def payloads_of(data_dir: Path, count: int, event_type: str | None = None) -> list[str]:
    """The last `count` payloads of a log, of one event type or of all."""
    with closing(sqlite3.connect(data_dir / "treadle.db")) as db:
        found = db.execute(
            "SELECT payload FROM events WHERE ?1 IS NULL OR event_type = ?1 ORDER BY sequence DESC LIMIT ?2",
            (event_type, count),
        ).fetchall()
    return [payload for (payload,) in reversed(found)]
