"""The event log: appended to under a comparison, replayed in pages."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from functools import lru_cache

import msgspec

from treadle.domain.events import EVENT_TYPES, AnyEvent, StoredEvent, decode, encode
from treadle.domain.state import Key
from treadle.store.errors import NewerDatabase, translated
from treadle.store.pages import stored_event
from treadle.store.ports import CommandRecord, Loaded
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.database import SqliteConnection
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.sql import query, scripts

PAGE = 1_000  # events


class EventStore:
    """The log of one database, on a connection that may write. page: how many events a replay reads at once."""

    def __init__(self, connection: SqliteConnection, *, page: int = PAGE) -> None:
        self._connection = connection
        self._page = page

    async def append(self, expected: int, payloads: list[bytes], records: list[CommandRecord]) -> bool:
        """Add events after sequence `expected`, and the answers of their commands, in one transaction.

        False, with nothing done, if the log has moved on or one of the commands was answered meanwhile. Raises
        StorageError if the database refuses or the file was moved away: Busy while another process holds it,
        NewerDatabase if a newer treadle has taken it over.
        """
        batch = _json_array_of_strings(payloads)
        in_place = self._connection.require_in_place
        with translated():
            return await self._connection.call(_append, in_place, expected, len(payloads), batch, records)

    async def load(self, keys: list[Key], command_ids: list[str]) -> Loaded:
        """What is under the keys, and the stored answers of the commands, in one read transaction."""
        with translated():
            return await self._connection.call(_load, keys, command_ids)

    async def append_all(self, events: Iterable[AnyEvent]) -> list[StoredEvent]:
        """Add all of the events or none, one after the other, wherever the log ends by now."""
        batch = list(events)
        payloads = [encode(event) for event in batch]
        while True:
            after = await self.sequence()
            if await self.append(after, payloads, []):
                return [StoredEvent(after + 1 + i, event) for i, event in enumerate(batch)]

    async def sequence(self) -> int:
        """That of the last event; 0 for an empty log."""
        with translated():
            return (await self._connection.call(position))[0]

    async def replay_all(self) -> AsyncIterator[StoredEvent]:
        """Every event from the first."""
        async for stored in self.replay_from(0):
            yield stored

    async def replay_from(self, sequence: int) -> AsyncIterator[StoredEvent]:
        """Every event after `sequence`, read in pages; one page is held in memory."""
        while True:
            rows = await self._connection.call(_events_after, sequence, self._page)
            for sequence, payload in rows:
                yield StoredEvent(sequence, decode(payload))
            if len(rows) < self._page:
                return


def position(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """The sequence of the last event. Raises NewerDatabase where the projections or the log are not ours any more."""
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
    """What this release cannot have put there; empty where it can. The types only grow, and seldom."""
    if migration is not None and migration > max(map(migrations.version_of, scripts("migrations"))):
        return f"migration {migration}"
    types = set(msgspec.json.decode(event_types, type=list[str])) - EVENT_TYPES
    return f"events of type {', '.join(sorted(types))}" if types else ""


def _append(
    connection: sqlite3.Connection,
    in_place: Callable[[], None],
    expected: int,
    count: int,
    batch: bytes,
    records: list[CommandRecord],
) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    try:
        in_place()
        appended = position(connection)[0] == expected
        if appended and count:
            inserted = connection.execute(
                query("append_events"), {"expected": expected, "batch": batch.decode()}
            ).rowcount
            assert inserted == count, f"{inserted} rows of {count}"
        if appended and records:
            inserted = connection.execute(
                query("append_commands"),
                {"sequence": expected + count, "batch": msgspec.json.encode(records).decode()},
            ).rowcount
            # Another process may have remembered one of them without an event: the log alone does not tell.
            appended = inserted == len(records)
        connection.execute("COMMIT" if appended else "ROLLBACK")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return appended


def _load(connection: sqlite3.Connection, keys: list[Key], command_ids: list[str]) -> Loaded:
    connection.execute("BEGIN")
    try:
        sequence, _ = position(connection)
        found = look_up(connection, keys)
        answers = {}
        if command_ids:
            ids = msgspec.json.encode(command_ids).decode()
            for row in connection.execute(query("lookup_commands"), {"ids": ids}).fetchall():
                record = CommandRecord(*row)
                after, count = record.first_sequence - 1, record.last_sequence - record.first_sequence + 1
                events = connection.execute(query("event_list"), {"after": after, "limit": count}).fetchall()
                answers[record.command_id] = record, [stored_event(number, payload) for number, payload in events]
    finally:
        connection.execute("ROLLBACK")
    return Loaded(sequence, found, answers)


def _events_after(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, str]]:
    return connection.execute(query("event_list"), {"after": after, "limit": limit}).fetchall()


def _json_array_of_strings(payloads: list[bytes]) -> bytes:
    return msgspec.json.encode([payload.decode() for payload in payloads])
