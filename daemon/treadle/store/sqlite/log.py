"""The event log: appended to under a comparison, replayed in pages."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from functools import lru_cache

import msgspec
from msgspec import Struct

from treadle.domain.events import EVENT_TYPES, AnyEvent, StoredEvent, decode, encode
from treadle.store.errors import NewerDatabase
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.database import Connection
from treadle.store.sqlite.sql import query, scripts

PAGE = 1_000  # events


class CommandRecord(Struct, frozen=True, array_like=True):
    """A row of `commands`: what is remembered of a command with an id.

    digest: of the command as received. first_sequence to last_sequence: its events, none where last < first.
    parts: for a batch of commands, how many events each of them had, as a JSON array; else null.
    """

    command_id: str
    digest: str
    first_sequence: int
    last_sequence: int
    parts: str | None = None


class EventStore:
    """The log of one database, on a connection that may write."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def append(self, expected: int, payloads: list[bytes], records: list[CommandRecord]) -> bool:
        """Add events after sequence `expected`, and the answers of their commands, in one transaction.

        False, and nothing done, where the log has moved on, or one of the commands was answered meanwhile. Raises
        sqlite3.Error where the database refuses, NewerDatabase where a newer treadle has taken it over, StorageError
        where the file was moved away.
        """
        batch = _json_array_of_strings(payloads)
        in_place = self._connection.require_in_place
        return await self._connection.call(_append, in_place, expected, len(payloads), batch, records)

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
        return (await self._connection.call(position))[0]

    async def replay_all(self) -> AsyncIterator[StoredEvent]:
        """Every event from the first."""
        async for stored in self.replay_from(0):
            yield stored

    async def replay_from(self, sequence: int) -> AsyncIterator[StoredEvent]:
        """Every event after `sequence`, read in pages; one page is held in memory."""
        while True:
            rows = await self._connection.call(_page, sequence)
            for sequence, payload in rows:
                yield StoredEvent(sequence, decode(payload))
            if len(rows) < PAGE:
                return


def position(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """The sequence of the last event. Raises NewerDatabase where the projections or the log are not ours any more."""
    sequence, version, migration, event_types = connection.execute(query("position")).fetchone()
    if version is not None and version != str(projections.VERSION):
        raise NewerDatabase(
            f"another treadle has changed the database: its projections have version {version}, this one knows "
            f"{projections.VERSION}. Restart with the newer treadle"
        )
    if unknown := _unknown(migration, event_types):
        raise NewerDatabase(f"a newer treadle has changed the database: it has {unknown}. Restart with that one")
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


def _page(connection: sqlite3.Connection, after: int) -> list[tuple[int, str]]:
    return connection.execute(query("event_list"), {"after": after, "limit": PAGE}).fetchall()


def _json_array_of_strings(payloads: list[bytes]) -> bytes:
    return msgspec.json.encode([payload.decode() for payload in payloads])
