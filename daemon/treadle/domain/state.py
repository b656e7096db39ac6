"""The state that commands are decided against: a partial replica of the projections.

The state holds only the keys that commands refer to (`decider.names`): under each key an entity, or None if it does not
exist. The engine loads these keys before it decides a command; reading a key that was not loaded raises KeyError, which
is a bug. Events (evolution.py) change only loaded keys, so any part of the state may be dropped and loaded again.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from treadle.domain.ids import ActivityStatus, When

Key = tuple[str, ...]
"""What is under each key, or None if it does not exist:

- ("project", id): ProjectState, also of a deleted one
- ("path", project_key(path, remote)): the id of the live project that has it
- ("folder", path_key(path)): the id of the live project of a shared log that has this folder on this machine
- ("members", projectId): a tuple of the ids of its threads. Loading it also loads the ("thread", …) of each member,
  since DeleteProject reads both. A thread that is deleted after that stays a member: removing thousands one by one
  would take quadratic time
- ("thread", id): ThreadState, also of a deleted one
- ("turn", threadId, id): its status
- ("message", threadId, id): "streaming" or "complete"
- ("activity", threadId, id): ActivityState
- ("approval", threadId, id): ApprovalState
- ("checkpoint", threadId, id): True, or False once it was pruned
- ("prompt", threadId, id): PromptState, also of one that was sent or removed: ids are never reused
- ("session", threadId, id): SessionState, also of an ended one
- ("event", threadId, sequence): the event as decoded JSON, to rewrite it
- ("setting", key): its JSON text
- ("rule", id): True, or False once it was removed

What was in a deleted thread does not exist.
"""


class ProjectState(Struct, frozen=True):
    """A project. path: None in a shared log, where its remote identifies it."""

    name: str
    path: str | None
    remote: str | None = None
    deleted: bool = False


class ActivityState(Struct, frozen=True):
    turn_id: str
    kind: str
    title: str
    status: ActivityStatus
    detail: Any = None


class RunningTurn(Struct, frozen=True):
    """A running turn, with what must end when it ends: streaming messages, unfinished activities, pending approvals.

    Each is ordered from oldest to newest. prompt: the queued prompt that the turn answers, if any.
    """

    id: str
    runner: str
    messages: tuple[str, ...] = ()
    activities: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    cancelling: bool = False
    prompt: str | None = None


class AgentState(Struct, frozen=True):
    """The agent of a thread, with the mode and the options that were chosen for it."""

    name: str
    mode: str | None = None
    options: dict[str, Any] = {}


class QueuedState(Struct, frozen=True):
    """A queued prompt and its place: the sequence of its PromptQueued until it is moved."""

    id: str
    position: float


class ThreadState(Struct, frozen=True):
    """A thread. A deleted one has nothing but its project, title, version and `archived`, an erased one no title.

    queue: the queued prompts in the order of their positions. paused: why they are not sent, if so; never without a
    queued prompt. auth_required: whether the agent needs a login. session: the id of the open one, if any. worktree:
    whether its agent is to work in one, and whether it was made.
    """

    project_id: str
    title: str
    version: int
    archived: bool = False
    deleted: bool = False
    turn: RunningTurn | None = None
    agent: AgentState | None = None
    queue: tuple[QueuedState, ...] = ()
    paused: str | None = None
    auth_required: bool = False
    session: str | None = None
    worktree: Literal["wanted", "made"] | None = None
    erased: bool = False


class ApprovalState(Struct, frozen=True):
    """An approval. options: the ids of its options."""

    options: tuple[str, ...]
    pending: bool = True
    outcome: str | None = None


class PromptState(Struct, frozen=True):
    """A prompt. One that was sent or removed has only `queued=False`: its text is in a message, or nowhere."""

    text: str = ""
    content: list[Any] | None = None
    when: When = "idle"
    queued: bool = True


class SessionState(Struct, frozen=True):
    """A session. options: as the agent gave them last."""

    options: list[Any] = []
    open: bool = True


Entity = Any

_ABSENT: Final = object()


class State:
    """The loaded keys and their values. sequence: of the last event that was applied."""

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self._entities: dict[Key, Entity] = {}
        self._journal: list[tuple[Key, Entity]] = []

    def __contains__(self, key: Key) -> bool:
        return key in self._entities

    def __len__(self) -> int:
        return len(self._entities)

    def __getitem__(self, key: Key) -> Entity:
        return self._entities[key]

    def get(self, key: Key) -> Entity:
        """The value under the key; None also if the key is not loaded (other daemons' events may refer to any key)."""
        return self._entities.get(key)

    def items(self) -> list[tuple[Key, Entity]]:
        return list(self._entities.items())

    def load(self, entities: dict[Key, Entity]) -> None:
        """Add values that were read from the projections at this state's sequence."""
        self._entities.update(entities)

    def put(self, key: Key, entity: Entity) -> None:
        """Replace the value under the key; does nothing if the key is not loaded."""
        before = self._entities.get(key, _ABSENT)
        if before is not _ABSENT:
            self._journal.append((key, before))
            self._entities[key] = entity

    def change(self, key: Key, **fields: object) -> None:
        """Replace fields of the entity under the key; does nothing if none is loaded."""
        entity = self._entities.get(key)
        if entity is not None:
            self._journal.append((key, entity))
            self._entities[key] = msgspec.structs.replace(entity, **fields)

    def savepoint(self) -> tuple[int, int]:
        """A point that `rollback` can return to."""
        return self.sequence, len(self._journal)

    def rollback(self, savepoint: tuple[int, int]) -> None:
        """Undo every change since the savepoint."""
        self.sequence, length = savepoint
        while len(self._journal) > length:
            key, before = self._journal.pop()
            self._entities[key] = before

    def commit(self) -> None:
        """Keep all changes, which are in the log now: discard what `rollback` would need."""
        self._journal.clear()


def initial_state(sequence: int = 0) -> State:
    """A state with nothing loaded."""
    return State(sequence)
