"""What no daemon gets around: plain sqlite3, and a loop of the standard library at the other end of a pipe."""

import os
import sqlite3
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.harness import Pipe
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.projections import SEARCHES

BATCH = 500

ECHO = """
import json, sys
read, write = sys.stdin.buffer, sys.stdout.buffer
for line in read:
    write.write(json.dumps(json.loads(line)).encode() + b"\\n")
    write.flush()
"""


RELAY = """
import subprocess, sys
agent = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
for line in agent.stdout:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
"""


def relay(command: Sequence[str | Path]) -> Pipe:
    """A program whose output comes through another process, line by line."""
    return Pipe([sys.executable, "-c", RELAY, *command])


def echo() -> Pipe:
    """A loop that reads, json.loads, json.dumps and writes."""
    return Pipe([sys.executable, "-c", ECHO])


def durable(path: Path) -> sqlite3.Connection:
    """A new database that waits for the disk."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    return db


def plain_log(folder: Path) -> sqlite3.Connection:
    """A new database with one table, no trigger and no index, that waits for the disk."""
    db = durable(folder / f"plain-{os.urandom(4).hex()}.db")
    db.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL) STRICT")
    return db


def rows_per_second(folder: Path, payloads: Sequence[str], batch: int = BATCH) -> float:
    """What it appends, so many rows a commit."""
    with closing(plain_log(folder)) as db:
        began = time.perf_counter()
        for start in range(0, len(payloads), batch):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO events (payload) VALUES (?)", [(p,) for p in payloads[start : start + batch]])
            db.execute("COMMIT")
        return len(payloads) / (time.perf_counter() - began)


def payloads_of(data_dir: Path, count: int, event_type: str | None = None) -> list[str]:
    """The last payloads of a log, of one type or of any."""
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as db:
        found = db.execute(
            "SELECT payload FROM events WHERE ?1 IS NULL OR event_type = ?1 ORDER BY sequence DESC LIMIT ?2",
            (event_type, count),
        ).fetchall()
    return [payload for (payload,) in reversed(found)]


def with_tables_of(data_dir: Path, tables: Collection[str], path: Path) -> sqlite3.Connection:
    """A new database that has these tables and their indexes, empty and without triggers, and waits for the disk."""
    db = durable(path)
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as source:
        schema = source.execute("SELECT tbl_name, sql FROM sqlite_schema WHERE type <> 'trigger' AND sql NOT NULL")
        for table, statement in schema.fetchall():
            if table in tables:
                db.execute(statement)
    return db


def seconds_to_write(
    data_dir: Path, tables: Collection[str], path: Path, batch: int, *, commits: bool
) -> Iterator[float]:
    """What executemany needs for the rows that treadle made, those of so many events at a time.

    commits: after each batch, or once at the end.
    """
    db = with_tables_of(data_dir, tables, path)
    with closing(db), closing(sqlite3.connect(data_dir / FILE_NAME)) as source:
        selects, inserts = {}, {}
        for table in tables:
            columns = [name for _, name, *_ in source.execute(f"PRAGMA table_info({table})").fetchall()]
            if table in SEARCHES:
                columns.insert(0, "rowid")
            names = ", ".join(columns)
            selects[table] = f"SELECT {names} FROM {table} WHERE {columns[0]} > ? AND {columns[0]} <= ?"
            inserts[table] = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"
        (last,) = source.execute("SELECT max(sequence) FROM events").fetchone()
        for after in range(0, last, batch):
            upto = after + batch
            rows = {table: source.execute(select, (after, upto)).fetchall() for table, select in selects.items()}
            began = time.perf_counter()
            if commits or after == 0:
                db.execute("BEGIN IMMEDIATE")
            for table, insert in inserts.items():
                db.executemany(insert, rows[table])
            if commits or upto >= last:
                db.execute("COMMIT")
            yield time.perf_counter() - began
