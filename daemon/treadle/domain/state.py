"""The state that commands are decided against: a partial replica of the projections, and how events change it.

The state holds only the keys that commands refer to (`decider.names`): under each key an entity, or None if it does not
exist. The engine loads these keys before it decides a command; reading a key that was not loaded raises KeyError, which
is a bug. Events change only loaded keys, so any part of the state may be dropped and loaded again.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.domain import events as e
from treadle.domain.detail import changed, json_text
from treadle.domain.ids import UNFINISHED, ActivityStatus, When
from treadle.domain.paths import path_key

Key = tuple[str, ...]
"""What is under each key, or None if it does not exist:

- ("project", id): ProjectState, also of a deleted one
- ("path", path_key(path)): the id of the live project that has it
- ("members", projectId): a tuple of the ids of its threads. Loading it also loads the ("thread", …) of each member,
  since DeleteProject reads both. A thread that is deleted after that stays a member: removing thousands one by one
  would take quadratic time
- ("thread", id): ThreadState, also of a deleted one
- ("turn", threadId, id): its status
- ("message", threadId, id): "streaming" or "complete"
- ("activity", threadId, id): ActivityState
- ("approval", threadId, id): ApprovalState
- ("checkpoint", threadId, id): True
- ("prompt", threadId, id): PromptState, also of one that was sent or removed: ids are never reused
- ("session", threadId, id): SessionState, also of an ended one
- ("setting", key): its JSON text
- ("rule", id): True, or False once it was removed

What was in a deleted thread does not exist.
"""


class ProjectState(Struct, frozen=True):
    name: str
    path: str
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
    """A thread. A deleted one has nothing but its project, title, version and `archived`.

    queue: the queued prompts in the order of their positions. paused: why they are not sent, if so; never without a
    queued prompt. auth_required: whether the agent needs a login. session: the id of the open one, if any.
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


def evolve(state: State, event: e.Event) -> None:
    """Apply the event that follows `state.sequence` in the log."""
    state.sequence += 1
    if isinstance(event, e.ThreadEvent) and not isinstance(event, e.ThreadCreated | e.MessageAppended):
        state.change(("thread", event.thread_id), version=state.sequence)
    apply = _EVOLVE.get(type(event))
    if apply is not None:
        apply(state, event)


def _project_created(state: State, event: e.ProjectCreated) -> None:
    state.put(("project", event.id), ProjectState(event.name, event.path, event.remote))
    state.put(("path", path_key(event.path)), event.id)
    state.put(("members", event.id), ())


def _project_updated(state: State, event: e.ProjectUpdated) -> None:
    key = ("project", event.id)
    if event.path is not None:
        _release_path(state, event.id)
        state.put(("path", path_key(event.path)), event.id)
        state.change(key, path=event.path)
    if event.name is not None:
        state.change(key, name=event.name)
    if event.remote is not None:
        state.change(key, remote=event.remote)


def _project_deleted(state: State, event: e.ProjectDeleted) -> None:
    _release_path(state, event.id)
    state.change(("project", event.id), deleted=True)


def _release_path(state: State, project_id: str) -> None:
    # Scans all keys, because a path may be loaded without its project.
    for key, holder in state.items():
        if key[0] == "path" and holder == project_id:
            state.put(key, None)


def _thread_created(state: State, event: e.ThreadCreated) -> None:
    key = ("thread", event.thread_id)
    members = ("members", event.project_id)
    if members in state:
        if key not in state:
            state.load({key: None})
        state.put(members, (*(state[members] or ()), event.thread_id))
    state.put(key, ThreadState(event.project_id, event.title, version=state.sequence))


def _turn_started(state: State, event: e.TurnStarted) -> None:
    state.change(("thread", event.thread_id), turn=RunningTurn(event.id, event.runner))
    state.put(("turn", event.thread_id, event.id), "running")


def _turn_ended(status: str) -> Callable[[State, Any], None]:
    def apply(state: State, event: Any) -> None:
        state.change(("thread", event.thread_id), turn=None)
        state.put(("turn", event.thread_id, event.id), status)

    return apply


def _change_turn(state: State, thread_id: str, change: Callable[[RunningTurn], dict[str, object]]) -> None:
    thread = state.get(("thread", thread_id))
    if thread is not None and thread.turn is not None:
        turn = msgspec.structs.replace(thread.turn, **change(thread.turn))
        state.change(("thread", thread_id), turn=turn)


def _message_added(state: State, event: e.MessageAdded) -> None:
    state.put(("message", event.thread_id, event.id), "streaming" if event.streaming else "complete")
    if event.streaming:
        _change_turn(state, event.thread_id, lambda turn: {"messages": (*turn.messages, event.id)})


def _message_completed(state: State, event: e.MessageCompleted) -> None:
    state.put(("message", event.thread_id, event.id), "complete")
    _change_turn(state, event.thread_id, lambda turn: {"messages": tuple(m for m in turn.messages if m != event.id)})


def _activity_recorded(state: State, event: e.ActivityRecorded) -> None:
    key = ("activity", event.thread_id, event.id)
    state.put(key, ActivityState(event.turn_id, event.kind, event.title, event.status, event.detail))
    _activity_has(state, event.thread_id, event.id, event.status)


def _activity_updated(state: State, event: e.ActivityUpdated) -> None:
    key = ("activity", event.thread_id, event.id)
    activity = state.get(key)
    if activity is not None:
        given = {"kind": event.kind, "title": event.title, "status": event.status}
        detail = changed(activity.detail, event.detail, event.append)
        state.change(key, detail=detail, **{name: value for name, value in given.items() if value is not None})
    if event.status is not None:
        _activity_has(state, event.thread_id, event.id, event.status)


def _activity_has(state: State, thread_id: str, id: str, status: str) -> None:
    """Keep the list of unfinished activities in the running turn."""

    def change(turn: RunningTurn) -> dict[str, object]:
        if status not in UNFINISHED:
            return {"activities": tuple(a for a in turn.activities if a != id)}
        return {} if id in turn.activities else {"activities": (*turn.activities, id)}

    _change_turn(state, thread_id, change)


def _approval_requested(state: State, event: e.ApprovalRequested) -> None:
    state.put(("approval", event.thread_id, event.id), ApprovalState(tuple(o.id for o in event.options)))
    _change_turn(state, event.thread_id, lambda turn: {"approvals": (*turn.approvals, event.id)})


def _approval_resolved(state: State, event: e.ApprovalResolved) -> None:
    state.change(("approval", event.thread_id, event.id), pending=False, outcome=event.outcome)
    _change_turn(state, event.thread_id, lambda turn: {"approvals": tuple(a for a in turn.approvals if a != event.id)})


def _setting_changed(state: State, event: e.SettingChanged) -> None:
    value = None if event.value is None else json_text(event.value)
    state.put(("setting", event.key), value)


_EVOLVE: dict[type[e.Event], Callable[[State, Any], None]] = {
    e.ProjectCreated: _project_created,
    e.ProjectUpdated: _project_updated,
    e.ProjectDeleted: _project_deleted,
    e.ThreadCreated: _thread_created,
    e.ThreadRenamed: lambda s, ev: s.change(("thread", ev.thread_id), title=ev.title),
    e.ThreadArchived: lambda s, ev: s.change(("thread", ev.thread_id), archived=True),
    e.ThreadUnarchived: lambda s, ev: s.change(("thread", ev.thread_id), archived=False),
    e.ThreadDeleted: lambda s, ev: s.change(("thread", ev.thread_id), deleted=True),
    e.TurnStarted: _turn_started,
    e.TurnCompleted: _turn_ended("completed"),
    e.TurnFailed: _turn_ended("failed"),
    e.TurnCancelling: lambda s, ev: _change_turn(s, ev.thread_id, lambda turn: {"cancelling": True}),
    e.TurnInterrupted: _turn_ended("interrupted"),
    e.MessageAdded: _message_added,
    e.MessageCompleted: _message_completed,
    e.ActivityRecorded: _activity_recorded,
    e.ActivityUpdated: _activity_updated,
    e.ApprovalRequested: _approval_requested,
    e.ApprovalResolved: _approval_resolved,
    e.CheckpointCreated: lambda s, ev: s.put(("checkpoint", ev.thread_id, ev.id), True),
    e.SettingChanged: _setting_changed,
}
