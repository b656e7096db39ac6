"""The event log: compare-and-append, and replay in pages."""

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
    """The log of one database, on a connection that may write. Implements Log."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._connection = connection

    async def append(self, expected: int, payloads: list[bytes], records: list[CommandRecord]) -> bool:
        """Append events after sequence `expected`, and the answers of their commands, in one transaction.

        Returns False and appends nothing if another process has appended first, or has stored an answer for one of the
        command ids. Raises StorageError if the append fails or the file was moved away: Busy while another process has
        locked it, NewerDatabase if a newer treadle has upgraded it.
        """
        batch = _json_array_of_strings(payloads)
        in_place = self._connection.require_in_place
        with translated():
            return await self._connection.call(_append, in_place, expected, len(payloads), batch, records)

    async def load(self, keys: list[Key], command_ids: list[str]) -> Loaded:
        """The state under the keys and the stored answers of the commands, in one read transaction."""
        with translated():
            return await self._connection.call(_load, keys, command_ids)

    async def append_all(self, events: Iterable[AnyEvent]) -> list[StoredEvent]:
        """Append all of the events or none at the current end of the log; retry if another process appends first."""
        batch = list(events)
        payloads = [encode(event) for event in batch]
        while True:
            after = await self.sequence()
            if await self.append(after, payloads, []):
                return [StoredEvent(after + 1 + i, event) for i, event in enumerate(batch)]

    async def sequence(self) -> int:
        """The sequence of the last event; 0 for an empty log."""
        with translated():
            return (await self._connection.call(position))[0]

    async def replay_all(self) -> AsyncIterator[StoredEvent]:
        """Every event of the log, read in pages."""
        async for stored in self.replay_from(0):
            yield stored

    async def replay_from(self, sequence: int) -> AsyncIterator[StoredEvent]:
        """Every event after `sequence`, read in pages; only one page is in memory."""
        while True:
            rows = await self._connection.call(_page, sequence)
            for sequence, payload in rows:
                yield StoredEvent(sequence, decode(payload))
            if len(rows) < PAGE:
                return


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
            # Another process may have stored one of these answers without any events: comparing sequences misses that.
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


def _page(connection: sqlite3.Connection, after: int) -> list[tuple[int, str]]:
    return connection.execute(query("event_list"), {"after": after, "limit": PAGE}).fetchall()


def _json_array_of_strings(payloads: list[bytes]) -> bytes:
    return msgspec.json.encode([payload.decode() for payload in payloads])
