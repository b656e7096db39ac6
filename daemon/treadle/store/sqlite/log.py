"""The event log: compare-and-append, and the state that commands are decided against."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from treadle.domain.events import EVENT_TYPES
from treadle.domain.state import Key
from treadle.store.errors import NewerDatabase
from treadle.store.pages import stored_event
from treadle.store.ports import DecidedBy
from treadle.store.records import CommandRecord, Loaded
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.sql import query, scripts


class SqliteLog:
    """Implements Log on a connection that may write. in_place: raises StorageError if the file was moved away."""

    def __init__(self, connection: sqlite3.Connection, in_place: Callable[[], None]) -> None:
        self._db = connection
        self._in_place = in_place

    def sequence(self) -> int:
        return position(self._db)[0]

    def append(
        self, expected: int, payloads: list[bytes], records: list[CommandRecord], by: DecidedBy | None = None
    ) -> int | None:
        db, count = self._db, len(payloads)
        batch = msgspec.json.encode([payload.decode() for payload in payloads]).decode()
        db.execute("BEGIN IMMEDIATE")
        try:
            self._in_place()
            appended = self.sequence() == expected
            if appended and count:
                inserted = db.execute(
                    query("append_events"), {"expected": expected, "batch": batch, "actors": None}
                ).rowcount
                assert inserted == count, f"{inserted} rows of {count}"
            if appended and records:
                rows = {"sequence": expected + count, "batch": msgspec.json.encode(records).decode()}
                inserted = db.execute(query("append_commands"), rows).rowcount
                # Another process may have stored one of these answers without events: the sequence does not show that.
                appended = inserted == len(records)
            db.execute("COMMIT" if appended else "ROLLBACK")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return expected if appended else None

    def is_current(self, expected: int, by: DecidedBy) -> bool:
        return self.sequence() == expected

    def load(self, keys: list[Key], command_ids: list[str]) -> Loaded:
        db = self._db
        db.execute("BEGIN")
        try:
            sequence = self.sequence()
            found = look_up(db, keys)
            answers = {}
            if command_ids:
                ids = msgspec.json.encode(command_ids).decode()
                for row in db.execute(query("lookup_commands"), {"ids": ids}).fetchall():
                    record = CommandRecord(*row)
                    after, count = record.first_sequence - 1, record.last_sequence - record.first_sequence + 1
                    events = db.execute(query("event_list"), {"after": after, "limit": count}).fetchall()
                    answers[record.command_id] = record, [stored_event(*event) for event in events]
        finally:
            db.execute("ROLLBACK")
        return Loaded(sequence, found, answers)


def by_index(actors: Sequence[str | None] | None) -> str | None:
    """The actors as the statement that appends events takes them; None if there are none, which costs it nothing."""
    found = {str(index): actor for index, actor in enumerate(actors or ()) if actor is not None}
    return msgspec.json.encode(found).decode() if found else None


def position(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """The sequence of the last event, and the version of the projections.

    Raises NewerDatabase if another version of treadle has changed the projections or the log.
    """
    sequence, version, migration, event_types = connection.execute(query("position")).fetchone()
    if version is not None and version != str(projections.VERSION):
        raise NewerDatabase(
            f"another version of treadle has changed the database: its projections have version {version}, this one "
            f"has {projections.VERSION}. Restart with the newer treadle"
        )
    if unknown := _unknown(migration, event_types):
        raise NewerDatabase(
            f"a newer version of treadle has changed the database: it has {unknown}. Restart with that version"
        )
    return sequence, version


@lru_cache
def _unknown(migration: int | None, event_types: str) -> str:
    """A migration or event types that this release does not know, as text; empty if it knows all.

    Cached: event types are only ever added, and rarely.
    """
    if migration is not None and migration > max(map(migrations.version_of, scripts("migrations"))):
        return f"migration {migration}"
    types = set(msgspec.json.decode(event_types, type=list[str])) - EVENT_TYPES
    return f"events of type {', '.join(sorted(types))}" if types else ""
