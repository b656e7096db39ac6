"""What the log names, and the rows of it: the parts that notifications are made of."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from treadle.store.sqlite import reads
from treadle.store.sqlite.sql import query

PAGE = 1_000  # events looked at in one go
STEP = 100  # keys whose rows are read in one go


class EntityKey(NamedTuple):
    """thread_id: None for projects, threads and settings, which are known by id or key alone."""

    entity: str
    thread_id: str | None
    id: str


class Mark(NamedTuple):
    """An event, as far as it matters here: which entities it changed. is_delta: by text at the end of a message."""

    sequence: int
    thread_id: str | None
    is_delta: bool
    entities: list[EntityKey]


class Upsert(Struct, frozen=True, tag_field="type", tag="upsert"):
    """The entity is new, or has changed: here it is, whole."""

    entity: str
    value: Raw

    @property
    def size(self) -> int:
        return len(bytes(self.value))


class Append(Struct, frozen=True, tag_field="type", tag="append"):
    """More text of an open message. offset: where it begins, in units of `positionEncoding`."""

    entity: str
    id: str
    text: str
    offset: int

    @property
    def size(self) -> int:
        return len(self.text)


class Remove(Struct, frozen=True, tag_field="type", tag="remove"):
    """The entity is gone, and with a thread all that is in it."""

    entity: str
    id: str

    @property
    def size(self) -> int:
        return len(self.id)


Change = Upsert | Append | Remove

# Beside the header of its thread, which every event of a thread but MessageAppended changes.
_ENTITY_OF = {
    "ProjectCreated": "project",
    "ProjectUpdated": "project",
    "ProjectDeleted": "project",
    "TurnStarted": "turn",
    "TurnCompleted": "turn",
    "TurnFailed": "turn",
    "TurnInterrupted": "turn",
    "MessageAdded": "message",
    "MessageAppended": "message",
    "MessageCompleted": "message",
    "ActivityRecorded": "activity",
    "ApprovalRequested": "approval",
    "ApprovalResolved": "approval",
    "CheckpointCreated": "checkpoint",
    "CheckpointRestored": "checkpoint",
    "SettingChanged": "setting",
}

_PLURAL = {
    "project": "projects",
    "thread": "threads",
    "turn": "turns",
    "message": "messages",
    "activity": "activities",
    "approval": "approvals",
    "checkpoint": "checkpoints",
    "setting": "settings",
}


def marks_after(db: sqlite3.Connection, after: int, thread_id: str | None = None) -> Iterator[Mark]:
    """What the log, or one thread's part of it, names after a sequence."""
    while page := _page(db, after, thread_id):
        yield from page
        after = page[-1].sequence


def _page(db: sqlite3.Connection, after: int, thread_id: str | None) -> list[Mark]:
    name = "change_list" if thread_id is None else "change_list_of_thread"
    rows = db.execute(query(name), {"after": after, "thread": thread_id, "limit": PAGE}).fetchall()
    return [_mark(*row) for row in rows]


def _mark(sequence: int, event_type: str, thread_id: str | None, id: str) -> Mark:
    entities = []
    entity = _ENTITY_OF.get(event_type)
    if entity is not None:
        entities.append(EntityKey(entity, thread_id, id))
    is_delta = event_type == "MessageAppended"
    if thread_id is not None and not is_delta:
        entities.append(EntityKey("thread", None, thread_id))
    return Mark(sequence, thread_id, is_delta, entities)


class Sent(Struct, frozen=True):
    """How far a client knows an open message. row: its sequence. chunk: the last one sent.

    length: in the client's units.
    """

    row: int
    chunk: int
    length: int


class Rows:
    """What the log names and the entities under its keys, read once in a read transaction for all who want them."""

    def __init__(self, db: sqlite3.Connection, length: Callable[[str], int] = len) -> None:
        self.db = db
        self.length = length
        self._marks: dict[int, list[Mark]] = {}
        self._values: dict[EntityKey, Raw | None] = {}
        self._deltas: dict[tuple[int, int], list[tuple[int, str]]] = {}

    def marks(self, after: int) -> list[Mark]:
        """The next PAGE events after a sequence, or what there is of them."""
        if after not in self._marks:
            self._marks[after] = _page(self.db, after, None)
        return self._marks[after]

    def load(self, keys: Collection[EntityKey]) -> int:
        """Read the entities under the keys; their size, in bytes."""
        wanted: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        for key in keys:
            if key not in self._values:
                self._values[key] = None
                wanted[key.entity, key.thread_id].append(key.id)
        for (entity, thread_id), ids in wanted.items():
            rows = self.db.execute(
                query(f"changed_{_PLURAL[entity]}"), {"thread": thread_id, "ids": msgspec.json.encode(ids).decode()}
            )
            for id, value in rows.fetchall():
                self._values[EntityKey(entity, thread_id, id)] = Raw(value)
        return sum(self.change(key).size for key in keys)

    def change(self, key: EntityKey) -> Change:
        """The whole entity, or that it is gone; its key was loaded."""
        value = self._values[key]
        return Remove(key.entity, key.id) if value is None else Upsert(key.entity, value)

    def delta(self, id: str, sent: Sent) -> tuple[Append, Sent] | None:
        """The text of an open message that came since, and how far that brings it; None for no text."""
        if (sent.row, sent.chunk) not in self._deltas:
            rows = self.db.execute(query("chunks_after"), {"message": sent.row, "after": sent.chunk})
            self._deltas[sent.row, sent.chunk] = rows.fetchall()
        chunks = self._deltas[sent.row, sent.chunk]
        if not chunks:
            return None
        text = "".join(text for _, text in chunks)
        return Append("message", id, text, sent.length), Sent(sent.row, chunks[-1][0], sent.length + self.length(text))


def open_messages(db: sqlite3.Connection, thread_id: str, length: Callable[[str], int] = len) -> dict[str, Sent]:
    """Every open message of a thread, and how far it is by now."""
    rows = db.execute(query("open_messages"), {"thread": thread_id}).fetchall()
    return {id: Sent(row, chunk, length(text)) for id, row, chunk, text in rows}


def moved_in(db: sqlite3.Connection, removed: int) -> list[Change]:
    """The oldest threads of the index: where some were removed, as many that no client saw are in its window now."""
    if not removed:
        return []
    window = reads.index(db).threads
    held_all = len(window) + removed <= reads.INDEX_THREADS
    return [] if held_all else [Upsert("thread", value) for value in window[-removed:]]


def in_parts(changes: list[Change], limit: int) -> list[list[Change]]:
    """The changes in runs, each of which ends with the change that takes it to `limit` bytes."""
    parts: list[list[Change]] = []
    size = limit
    for change in changes:
        if size >= limit:
            parts.append([])
            size = 0
        parts[-1].append(change)
        size += change.size
    return parts
