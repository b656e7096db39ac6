"""The projections: install the triggers and views of sql/projections, rebuild the tables, verify them with the log."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from treadle.domain.events import EVENT_TYPES
from treadle.store.errors import NewerDatabase
from treadle.store.sqlite import migrations
from treadle.store.sqlite.database import make_private_file
from treadle.store.sqlite.sql import query, scripts

VERSION = 1
"""Raised with every change to sql/projections or the event types; tests/test_projections.py pins the checksum."""

TABLES = (
    "projection_projects",
    "projection_threads",
    "projection_turns",
    "projection_messages",
    "projection_activities",
    "parts",
    "projection_approvals",
    "checkpoints",
    "restores",
    "projection_prompts",
    "projection_sessions",
    "run_sessions",
    "projection_usage",
    "projection_rules",
    "settings",
)

SEARCHES = ("thread_search", "message_search", "activity_search")
"""The search indexes: FTS5 tables with the words of the projections, for `search/query`."""

SLICE = 5_000  # events replayed by one statement, which a trigger materialises in memory

Progress = Callable[[int, int], None]
"""Called with the number of events done and the total."""


def checksum() -> str:
    """SHA-256 of everything that determines the content of the tables: sql/projections and the event types."""
    digest = hashlib.sha256()
    for script in scripts("projections"):
        digest.update(f"{script.name}\0{script.text}\0".encode())
    digest.update("\0".join(sorted(EVENT_TYPES)).encode())
    return digest.hexdigest()


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether these projections filled the tables. Raises NewerDatabase if newer ones did."""
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    version = int(meta.get("projectionVersion", 0))
    if version > VERSION:
        raise NewerDatabase(
            f"the database has projections of version {version}, this treadle has {VERSION}: a newer version wrote "
            "it. Use that version, or another --data-dir"
        )
    unknown = {row[0] for row in connection.execute("SELECT event_type FROM event_types").fetchall()} - EVENT_TYPES
    if unknown:
        raise NewerDatabase(
            f"the log has events of type {', '.join(sorted(unknown))}, written by a newer version of treadle: use "
            "that version, or another --data-dir"
        )
    return version == VERSION and meta.get("projectionChecksum") == checksum()


def rebuild(connection: sqlite3.Connection, progress: Progress = lambda done, total: None) -> int:
    """Install the projections and fill the tables from the log, in one transaction; return the number of events."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply(connection)
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")
        for words in SEARCHES:
            connection.execute(f"INSERT INTO {words} ({words}) VALUES ('delete-all')")
        total = _replay(connection, query("replay"), "events", progress)
        connection.executemany(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [("projectionVersion", str(VERSION)), ("projectionChecksum", checksum())],
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return total


def _apply(connection: sqlite3.Connection) -> None:
    # The views that have triggers are kept, what connects them, and the skeletons: they are the schema's.
    for kind, name in connection.execute(
        "SELECT type, name FROM sqlite_schema "
        "WHERE type = 'trigger' AND name NOT IN ('projector_project_rare', 'rare_projector_erase') "
        "AND tbl_name IN ('projector', 'rare_projector') "
        "OR type = 'view' AND name NOT IN ('projector', 'rare_projector', 'projector_again', 'skeletons')"
    ).fetchall():
        connection.execute('DROP {} "{}"'.format(kind, name.replace('"', '""')))
    for script in scripts("projections"):
        for statement in script.statements():
            connection.execute(statement)


def _replay(connection: sqlite3.Connection, statement: str, events: str, progress: Progress) -> int:
    (total,) = connection.execute(f"SELECT coalesce(max(sequence), 0) FROM {events}").fetchone()
    for after in range(0, total, SLICE):
        progress(after, total)
        connection.execute(statement, {"after": after, "upto": after + SLICE})
    progress(total, total)
    return int(total)


class Difference(Struct, frozen=True):
    """A row that differs between a table and the log. side: `missing` from the table, or `unexpected` in it."""

    table: str
    side: str
    row: dict[str, object]


def verify(
    path: Path, copy: Path, progress: Progress = lambda done, total: None, limit: int = 20
) -> tuple[int, list[Difference]]:
    """Replay the log of the database at `path` into an empty one at `copy`, and compare every row of every table.

    Returns the number of events and the first `limit` differences of each table. Daemons may keep writing: one read
    transaction sees a consistent snapshot.
    """
    make_private_file(copy)
    connection = sqlite3.connect(copy, isolation_level=None, uri=True)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF")
        migrations.migrate(connection)
        connection.execute("ATTACH ? AS live", (f"{path.resolve().as_uri()}?mode=rw",))
        connection.execute("BEGIN")
        _apply(connection)
        total = _replay(connection, query("replay_from_live"), "live.events", progress)
        differences = [d for table in TABLES for d in _compare(connection, table, limit)]
        there = {name for (name,) in connection.execute("SELECT name FROM live.sqlite_schema").fetchall()}
        for words in SEARCHES:
            if words in there:  # otherwise there is no index to compare
                differences += _compare_words(connection, words, limit)
        connection.execute("COMMIT")
    finally:
        connection.close()
    return total, differences


def _compare(connection: sqlite3.Connection, table: str, limit: int) -> Iterator[Difference]:
    columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})").fetchall()]
    return _except(connection, table, columns, f"main.{table}", f"live.{table}", limit)


def _compare_words(connection: sqlite3.Connection, words: str, limit: int) -> Iterator[Difference]:
    """Compare each word's number of rows and occurrences; if all are equal, find the first one at another position.

    fts5vocab: https://www.sqlite.org/fts5.html, section 9.
    """
    for schema in ("main", "live"):
        for kind in ("row", "instance"):
            name = f"temp.{schema}_{words}_{kind}"
            connection.execute(f"CREATE VIRTUAL TABLE {name} USING fts5vocab({schema}, {words}, {kind})")
    columns = ["term", "doc", "cnt"]
    found = list(_except(connection, words, columns, f"main_{words}_row", f"live_{words}_row", limit))
    yield from found or _compare_places(connection, words)


def _compare_places(connection: sqlite3.Connection, words: str) -> Iterator[Difference]:
    # Both are in the order of the index: by term, row and position. There may be millions, so compare checksums first.
    sums = [
        connection.execute(
            "SELECT sum((rowid % 65521 + 1) * (doc * 64 + offset + 32 * length(col)) % 1000003) "
            f"FROM {schema}_{words}_instance"
        ).fetchone()
        for schema in ("main", "live")
    ]
    if sums[0] == sums[1]:
        return
    columns = ["term", "doc", "col", "offset"]
    expected, live = (
        connection.execute(f"SELECT term, doc, col, offset FROM {schema}_{words}_instance")
        for schema in ("main", "live")
    )
    for pair in zip(expected, live, strict=True):
        if pair[0] != pair[1]:
            for side, row in zip(("missing", "unexpected"), pair, strict=True):
                yield Difference(words, side, dict(zip(columns, row, strict=True)))
            return


def _except(
    connection: sqlite3.Connection, table: str, columns: list[str], expected: str, live: str, limit: int
) -> Iterator[Difference]:
    names = ", ".join(columns)
    for side, left, right in (("missing", expected, live), ("unexpected", live, expected)):
        rows = connection.execute(
            f"SELECT {names} FROM {left} EXCEPT SELECT {names} FROM {right} LIMIT {limit}"
        ).fetchall()
        for row in rows:
            yield Difference(table, side, dict(zip(columns, row, strict=True)))
