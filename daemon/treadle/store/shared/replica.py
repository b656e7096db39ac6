"""The local database as a replica of a shared log: the same events in the same order, with the same numbers."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import msgspec
from msgspec import Struct

from treadle.domain.events import EVENT_TYPES
from treadle.store.errors import NewerDatabase
from treadle.store.records import CommandRecord
from treadle.store.shared.remote import NO_MARK, SharedEvent
from treadle.store.sqlite.log import by_index, position
from treadle.store.sqlite.sql import query

MARK = "mark"
"""In `meta`: the id of the append that the last event came with."""

REWOUND = "rewound"
"""In `meta`: when it was noticed that the shared log lacks events of this replica."""

FOLDERS = "folders."
"""In `meta`, with the id of an append: the folders of this machine that projects get with it, as JSON."""

PUT = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
PLACE = """
SELECT (SELECT coalesce(max(sequence), 0) FROM events), (SELECT value FROM meta WHERE key = 'mark'),
  (SELECT value FROM meta WHERE key = 'rewound')
"""


class _Tagged(Struct):
    type: str


class ReplicaPlace(Struct, frozen=True):
    """How far a replica is. mark: of its last event. rewound: when it was noticed that it has events of its own."""

    sequence: int
    mark: UUID
    rewound: str | None = None


def place_of(db: sqlite3.Connection) -> ReplicaPlace:
    sequence, mark, rewound = db.execute(PLACE).fetchone()
    return ReplicaPlace(sequence, NO_MARK if mark is None else UUID(mark), rewound)


def apply(
    db: sqlite3.Connection,
    in_place: Callable[[], None],
    events: Sequence[SharedEvent],
    records: Iterable[CommandRecord] = (),
) -> ReplicaPlace:
    """Append the events that the replica lacks, and store answers of commands, in one transaction; return its place.

    Another process may have applied some of them. Those after a gap are left out. Raises NewerDatabase for an event of
    an unknown type: it and what follows are left out then, as otherwise nothing could be read any more. The same where
    another version of treadle has changed the database.
    """
    unknown = next((event for event in events if _type_of(event) not in EVENT_TYPES), None)
    if unknown is not None:
        events = [event for event in events if event.sequence < unknown.sequence]
    db.execute("BEGIN IMMEDIATE")
    try:
        in_place()
        position(db)
        place = place_of(db)
        missing = [event for event in events if event.sequence > place.sequence]
        if missing and missing[0].sequence == place.sequence + 1:
            batch = msgspec.json.encode([event.payload for event in missing]).decode()
            actors = by_index([event.actor for event in missing])
            values = {"expected": place.sequence, "batch": batch, "actors": actors}
            db.execute(query("append_events"), values)
            place = ReplicaPlace(missing[-1].sequence, missing[-1].append_id, place.rewound)
            db.execute(PUT, (MARK, str(place.mark)))
            _give_folders(db, {event.append_id for event in missing})
        rows = {"sequence": place.sequence, "batch": msgspec.json.encode([*records]).decode()}
        db.execute(query("append_commands"), rows)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    if unknown is not None:
        raise NewerDatabase(
            f"the shared log has events of a newer treadle ({_type_of(unknown)}): use that version. What came before "
            "them can be read"
        )
    return place


def announce_folders(db: sqlite3.Connection, append_id: UUID, folders: dict[str, str]) -> None:
    """Note the folders that projects get on this machine with an append, whichever process applies its events."""
    db.execute(PUT, (f"{FOLDERS}{append_id}", msgspec.json.encode(folders).decode()))


def forget_folders(db: sqlite3.Connection, append_id: UUID) -> None:
    """Undo `announce_folders`: the append was refused."""
    db.execute("DELETE FROM meta WHERE key = ?", (f"{FOLDERS}{append_id}",))


def _give_folders(db: sqlite3.Connection, applied: set[UUID]) -> None:
    for key, folders in db.execute("SELECT key, value FROM meta WHERE key GLOB ?", (f"{FOLDERS}*",)).fetchall():
        append_id = UUID(key.removeprefix(FOLDERS))
        if append_id in applied:
            db.execute(query("map_folders"), {"folders": folders})
            forget_folders(db, append_id)


def note_rewound(db: sqlite3.Connection, at: str) -> None:
    """Note that the replica has events which the shared log lacks: it takes no more of them."""
    db.execute(PUT, (REWOUND, at))


def _type_of(event: SharedEvent) -> str:
    return msgspec.json.decode(event.payload, type=_Tagged).type
