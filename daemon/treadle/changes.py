"""What the log names, and the rows of it: the parts that notifications are made of."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from treadle.store.sql import query

PAGE = 5_000  # events looked at in one go


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
    """More text of an open message. offset: where it begins, in code points."""

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
    name = "change_list" if thread_id is None else "change_list_of_thread"
    while True:
        rows = db.execute(query(name), {"after": after, "thread": thread_id, "limit": PAGE}).fetchall()
        for row in rows:
            yield _mark(*row)
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def _mark(sequence: int, event_type: str, thread_id: str | None, id: str) -> Mark:
    entities = []
    entity = _ENTITY_OF.get(event_type)
    if entity is not None:
        entities.append(EntityKey(entity, thread_id, id))
    is_delta = event_type == "MessageAppended"
    if thread_id is not None and not is_delta:
        entities.append(EntityKey("thread", None, thread_id))
    return Mark(sequence, thread_id, is_delta, entities)


class Rows:
    """The entities under some keys, read once in a read transaction for all who want them."""

    def __init__(self, db: sqlite3.Connection, keys: Iterable[EntityKey]) -> None:
        self.db = db
        self._values: dict[EntityKey, Raw] = {}
        self._deltas: dict[tuple[int, int], list[tuple[int, str]]] = {}
        wanted: dict[tuple[str, str | None], set[str]] = defaultdict(set)
        for key in keys:
            wanted[key.entity, key.thread_id].add(key.id)
        for (entity, thread_id), ids in wanted.items():
            rows = db.execute(
                query(f"changed_{_PLURAL[entity]}"),
                {"thread": thread_id, "ids": msgspec.json.encode(list(ids)).decode()},
            )
            for id, value in rows.fetchall():
                self._values[EntityKey(entity, thread_id, id)] = Raw(value)

    def change(self, key: EntityKey) -> Change:
        """The whole entity, or that it is gone."""
        value = self._values.get(key)
        return Remove(key.entity, key.id) if value is None else Upsert(key.entity, value)

    def delta(self, id: str, row: int, chunk: int, offset: int) -> tuple[Append, int, int] | None:
        """The text of an open message after a chunk, then the last chunk and the length with it; None for no text."""
        if (row, chunk) not in self._deltas:
            rows = self.db.execute(query("chunks_after"), {"message": row, "after": chunk})
            self._deltas[row, chunk] = rows.fetchall()
        chunks = self._deltas[row, chunk]
        if not chunks:
            return None
        text = "".join(text for _, text in chunks)
        return Append("message", id, text, offset), chunks[-1][0], offset + len(text)
