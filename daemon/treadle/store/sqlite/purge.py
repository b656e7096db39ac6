"""After an erasure, overwrites what the search indexes, the WAL and old copies still have of the texts.

The erasure itself is one transaction (sql/migrations/001_initial.sql). Each step here can be repeated, and none holds
the database for long, so it can run beside daemons that write, and be killed at any moment.
"""

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.store.errors import is_busy
from treadle.store.sqlite.projections import SEARCHES
from treadle.store.sqlite.sql import query

PURGING: Final = "purging.lock"
MERGED: Final = 64
"""Pages of a search index that one step writes."""
WAIT_MS: Final = 50
"""Milliseconds that a step waits for other connections, while others may wait for it."""
DAY: Final = timedelta(days=1)
BEGIN_RETENTION: Final = (
    "INSERT INTO meta (key, value) VALUES ('retainedAt', :now) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value <= :before OR value > :now"
)
MOST_LISTED: Final = 100
"""Erasures that are listed at once."""


class Searched(Struct, frozen=True, kw_only=True):
    """What was done and found after an erasure; the fields are those of Receipt. It is kept beside the erasure."""

    removed: list[str]
    not_ours: list[str]
    samples: int
    files_searched: int | None
    hits: int | None
    found: list[str]


class Erasure(Struct, frozen=True):
    """An erasure in the log. events: how many lost texts. searched: None if nothing is known of it (yet)."""

    thread_id: str
    sequence: int
    whole: bool
    events: int
    searched: Searched | None


def wait_briefly(connection: sqlite3.Connection) -> None:
    """Let the connection wait for others for WAIT_MS at most: a WAL checkpoint blocks writers while it waits."""
    connection.execute(f"PRAGMA busy_timeout = {WAIT_MS}")


def pending(connection: sqlite3.Connection) -> int | None:
    """The sequence of the last erasure, if not all bytes up to it are known to be gone."""
    (last, purged) = connection.execute(query("purge_pending")).fetchone()
    return None if last is None or purged >= last else int(last)


def threads_to_purge(connection: sqlite3.Connection) -> list[str]:
    """The threads that were erased since the last purge."""
    return [id for (id,) in connection.execute(query("purge_threads")).fetchall()]


def finish(connection: sqlite3.Connection, sequence: int) -> None:
    """Note that all bytes up to the erasure at this sequence are gone."""
    connection.execute(query("purge_finish"), {"sequence": sequence})


def noted_commands(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """The commands by which a restored database is to erase again what was erased since the backup."""
    found = connection.execute(query("purge_noted_commands")).fetchone()
    return [] if found is None else msgspec.json.decode(found[0], type=list[dict[str, Any]])


def forget_commands(connection: sqlite3.Connection) -> None:
    """Note that they were executed."""
    connection.execute(query("purge_forget_commands"))


def keep_searched(connection: sqlite3.Connection, sequence: int, searched: Searched) -> None:
    """Keep what was found after the erasure at this sequence."""
    connection.execute(
        query("purge_keep_searched"), {"sequence": sequence, "searched": msgspec.json.encode(searched).decode()}
    )


def erasures(connection: sqlite3.Connection, thread_id: str | None) -> tuple[int, int, list[Erasure]]:
    """The sequence of the log, that up to which all is purged, and the newest erasures.

    thread_id: only those of this thread.
    """
    (applied, purged) = connection.execute(query("purge_position")).fetchone()
    rows = connection.execute(query("erasure_list"), {"thread": thread_id, "limit": MOST_LISTED}).fetchall()
    return (
        applied,
        purged,
        [
            Erasure(thread, sequence, bool(whole), events, searched and msgspec.json.decode(searched, type=Searched))
            for thread, sequence, whole, events, searched in rows
        ],
    )


class IndexMerge:
    """Merges a search index into one segment, step by step: until then it keeps the words that were removed.

    words: a table of SEARCHES.
    """

    def __init__(self, words: str) -> None:
        assert words in SEARCHES
        self._words = words
        self._steps: int | None = None

    def step(self, connection: sqlite3.Connection) -> bool:
        """Do a part, in a transaction of its own; return whether it is done. Raises sqlite3.Error, also if busy."""
        words = self._words
        if self._steps is None:
            (pages,) = connection.execute(f"SELECT count(*) FROM {words}_data").fetchone()
            pages_per_step = -MERGED  # a negative number begins with all that there is (sqlite.org/fts5.html, `merge`)
        else:
            pages, pages_per_step = 0, MERGED
        before = connection.total_changes
        if self._steps == 0:  # others have written so much meanwhile that this did not end
            connection.execute(f"INSERT INTO {words} ({words}) VALUES ('optimize')")
            return True
        connection.execute(f"INSERT INTO {words} ({words}, rank) VALUES ('merge', ?)", (pages_per_step,))
        self._steps = 2 * pages // MERGED + 8 if self._steps is None else self._steps - 1
        return connection.total_changes - before < 2


def unless_busy(connection: sqlite3.Connection, step: Callable[[sqlite3.Connection], bool]) -> bool:
    """The result of a step; False if another connection prevented it. Raises sqlite3.Error."""
    try:
        return step(connection)
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return False
        raise


def truncate_wal(connection: sqlite3.Connection) -> bool:
    """Move the WAL into the database and empty it; False if a reader or a writer prevents it now."""
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def begin_retention(connection: sqlite3.Connection, now: datetime) -> bool:
    """Whether a day is over since threads were last erased by a setting; if so, the next day begins now.

    In one statement, because several daemons may ask. A clock that was set back counts as a day.
    """
    values = {"now": now.isoformat(timespec="seconds"), "before": (now - DAY).isoformat(timespec="seconds")}
    return connection.execute(BEGIN_RETENTION, values).rowcount == 1
