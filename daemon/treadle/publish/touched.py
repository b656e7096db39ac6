"""Which entities events touched, and the rows of these entities, for notifications."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, cast

from msgspec import Raw, Struct

from treadle.contract.results import AppendChange, Change, EntityName, RemoveChange, UpsertChange
from treadle.store.ports import Reads

PAGE = 1_000  # events read at once
STEP = 100  # keys whose rows are read at once


class EntityKey(NamedTuple):
    """Identifies an entity. thread_id: None for projects, threads, settings and rules, whose id or key is unique."""

    entity: EntityName
    thread_id: str | None
    id: str


class Touched(NamedTuple):
    """The entities that an event touched. is_delta: it appended text to a streaming message."""

    sequence: int
    thread_id: str | None
    is_delta: bool
    entities: list[EntityKey]


def size_of(change: Change) -> int:
    """The approximate size of a change in bytes."""
    match change:
        case UpsertChange():
            return len(bytes(cast(Raw, change.value)))
        case AppendChange():
            return len(change.text)
        case RemoveChange():
            return len(change.id)


# In addition to its thread, which every event of a thread except MessageAppended touches.
_ENTITY_OF: dict[str, EntityName] = {
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
    "ActivityUpdated": "activity",
    "ApprovalRequested": "approval",
    "ApprovalResolved": "approval",
    "CheckpointCreated": "checkpoint",
    "CheckpointRestored": "checkpoint",
    "CheckpointPruned": "checkpoint",
    "SettingChanged": "setting",
    "PromptQueued": "prompt",
    "PromptEdited": "prompt",
    "PromptMoved": "prompt",
    "PromptRemoved": "prompt",
    "PromptSent": "prompt",
    "SessionOpened": "session",
    "SessionChanged": "session",
    "SessionEnded": "session",
    "ContextLost": "session",
    "UsageReported": "turn",
    "RuleAdded": "rule",
    "RuleRemoved": "rule",
}


def touched_after(reads: Reads, after: int, thread_id: str | None, page: int) -> Iterator[Touched]:
    """What each event after a sequence touched, in the whole log or in one thread."""
    while found := _page(reads, after, thread_id, page):
        yield from found
        after = found[-1].sequence


def _page(reads: Reads, after: int, thread_id: str | None, limit: int) -> list[Touched]:
    found = []
    for change in reads.changes(after, thread_id, limit):
        touched = _touched(*change)
        if change[1] == "EventsRedacted":
            for event_type, id in reads.redacted_events(touched.sequence):
                if id is not None and event_type in _ENTITY_OF:
                    touched.entities.append(EntityKey(_ENTITY_OF[event_type], touched.thread_id, id))
        found.append(touched)
    return found


def _touched(sequence: int, event_type: str, thread_id: str | None, id: str) -> Touched:
    entities = []
    entity = _ENTITY_OF.get(event_type)
    if entity is not None:
        entities.append(EntityKey(entity, thread_id, id))
    is_delta = event_type == "MessageAppended"
    if thread_id is not None and not is_delta:
        entities.append(EntityKey("thread", None, thread_id))
    return Touched(sequence, thread_id, is_delta, entities)


class Sent(Struct, frozen=True):
    """How much text of a streaming message was sent to a client. row: the message's sequence.

    chunk: the sequence of the last chunk sent. length: of the text sent, in the client's units.
    """

    row: int
    chunk: int
    length: int


class Rows:
    """A cache for one read transaction: touched entities and their rows, read once for all subscriptions."""

    def __init__(self, reads: Reads, *, page: int = PAGE, length: Callable[[str], int] = len) -> None:
        self.reads = reads
        self.length = length
        self._page = page
        self._touched: dict[int, list[Touched]] = {}
        self._values: dict[EntityKey, Raw | None] = {}
        self._deltas: dict[tuple[int, int], list[tuple[int, str]]] = {}

    def touched(self, after: int) -> list[Touched]:
        """The next page of events after a sequence."""
        if after not in self._touched:
            self._touched[after] = _page(self.reads, after, None, self._page)
        return self._touched[after]

    def load(self, keys: Collection[EntityKey]) -> int:
        """Read the entities with these keys; return their size in bytes."""
        wanted: dict[tuple[EntityName, str | None], list[str]] = defaultdict(list)
        for key in keys:
            if key not in self._values:
                self._values[key] = None
                wanted[key.entity, key.thread_id].append(key.id)
        for (entity, thread_id), ids in wanted.items():
            for id, value in self.reads.entities(entity, thread_id, ids).items():
                self._values[EntityKey(entity, thread_id, id)] = value
        return sum(size_of(self.change(key)) for key in keys)

    def change(self, key: EntityKey) -> Change:
        """The change for a key that was loaded: an upsert of the whole entity, or a remove."""
        value: Any = self._values[key]
        return RemoveChange(key.entity, key.id) if value is None else UpsertChange(key.entity, value)

    def delta(self, id: str, sent: Sent) -> tuple[AppendChange, Sent] | None:
        """The text appended to a streaming message since `sent`, and the new `Sent`; None without new text."""
        if (sent.row, sent.chunk) not in self._deltas:
            self._deltas[sent.row, sent.chunk] = self.reads.chunks(sent.row, sent.chunk)
        chunks = self._deltas[sent.row, sent.chunk]
        if not chunks:
            return None
        text = "".join(text for _, text in chunks)
        begin = sent.length
        return AppendChange("message", id, text, begin), Sent(sent.row, chunks[-1][0], begin + self.length(text))


def open_messages(reads: Reads, thread_id: str, length: Callable[[str], int] = len) -> dict[str, Sent]:
    """Every streaming message of a thread by id, with the length of its text so far."""
    return {id: Sent(row, chunk, length(text)) for id, row, chunk, text in reads.open_messages(thread_id)}


def moved_in(reads: Reads, removed: int) -> list[Change]:
    """Upserts for the oldest threads of the index, which moved into its window when `removed` threads left it."""
    if not removed:
        return []
    limit = reads.bounds.index_threads
    window: list[Any] = reads.newest_threads(limit)
    held_all = len(window) + removed <= limit
    return [] if held_all else [UpsertChange("thread", value) for value in window[-removed:]]


def in_parts(changes: list[Change], limit: int) -> list[list[Change]]:
    """Split the changes into parts; each part ends with the change that makes it reach `limit` bytes."""
    parts: list[list[Change]] = []
    size = limit
    for change in changes:
        if size >= limit:
            parts.append([])
            size = 0
        parts[-1].append(change)
        size += size_of(change)
    return parts
