"""How events change the state that commands are decided against."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from treadle.domain import agent_events as agents
from treadle.domain import events as e
from treadle.domain.detail import changed, json_text
from treadle.domain.ids import UNFINISHED
from treadle.domain.paths import path_key, project_key
from treadle.domain.state import (
    ActivityState,
    AgentState,
    ApprovalState,
    ProjectState,
    PromptState,
    QueuedState,
    RunningTurn,
    SessionState,
    State,
    ThreadState,
)


def evolve(state: State, event: e.Event) -> None:
    """Apply the event that follows `state.sequence` in the log."""
    state.sequence += 1
    if isinstance(event, e.ThreadEvent) and type(event) not in (e.ThreadCreated, e.MessageAppended):
        state.change(("thread", event.thread_id), version=state.sequence)
    apply = _EVOLVE.get(type(event))
    if apply is not None:
        apply(state, event)


def _project_created(state: State, event: e.ProjectCreated) -> None:
    state.put(("project", event.id), ProjectState(event.name, event.path, event.remote))
    state.put(("path", project_key(event.path, event.remote)), event.id)
    state.put(("members", event.id), ())


def _project_updated(state: State, event: e.ProjectUpdated) -> None:
    key = ("project", event.id)
    before: ProjectState | None = state.get(key)
    has_moved = event.path is not None or (event.remote is not None and before is not None and before.path is None)
    if has_moved:
        _release(state, "path", event.id)
        state.put(("path", project_key(event.path, event.remote)), event.id)
    given = {"path": event.path, "name": event.name, "remote": event.remote}
    state.change(key, **{field: value for field, value in given.items() if value is not None})


def _project_deleted(state: State, event: e.ProjectDeleted) -> None:
    _release(state, "path", event.id)
    _release(state, "folder", event.id)
    state.change(("project", event.id), deleted=True)


def give_folder(state: State, project_id: str, path: str) -> None:
    """Note that a project of a shared log has this folder on this machine, which no event says."""
    _release(state, "folder", project_id)
    state.put(("folder", path_key(path)), project_id)


def _release(state: State, kind: str, project_id: str) -> None:
    # Scans all keys, because a path may be loaded without its project.
    for key, holder in state.items():
        if key[0] == kind and holder == project_id:
            state.put(key, None)


def _thread_created(state: State, event: e.ThreadCreated) -> None:
    key = ("thread", event.thread_id)
    members = ("members", event.project_id)
    if members in state:
        if key not in state:
            state.load({key: None})
        state.put(members, (*(state[members] or ()), event.thread_id))
    worktree: Literal["wanted"] | None = "wanted" if event.worktree else None
    state.put(key, ThreadState(event.project_id, event.title, version=state.sequence, worktree=worktree))


def _thread_deleted(state: State, event: e.ThreadDeleted) -> None:
    key = ("thread", event.thread_id)
    thread: ThreadState | None = state.get(key)
    if thread is not None:
        kept = (thread.project_id, thread.title, thread.version, thread.archived)
        state.put(key, ThreadState(*kept, deleted=True))


def _turn_started(state: State, event: e.TurnStarted) -> None:
    state.change(("thread", event.thread_id), turn=RunningTurn(event.id, event.runner, prompt=event.prompt_id))
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


def _agent_assigned(state: State, event: agents.AgentAssigned) -> None:
    key = ("thread", event.thread_id)
    thread: ThreadState | None = state.get(key)
    if thread is not None:
        is_same = thread.agent is not None and thread.agent.name == event.agent
        agent = AgentState(event.agent, event.mode, event.options)
        state.change(key, agent=agent, auth_required=thread.auth_required and is_same)


def _thread_option_set(state: State, event: agents.ThreadOptionSet) -> None:
    key = ("thread", event.thread_id)
    thread: ThreadState | None = state.get(key)
    if thread is not None and thread.agent is not None:
        options = {**thread.agent.options, event.id: event.value}
        state.change(key, agent=msgspec.structs.replace(thread.agent, options=options))


def _prompt_queued(state: State, event: agents.PromptQueued) -> None:
    state.put(("prompt", event.thread_id, event.id), PromptState(event.text, event.content, event.when))
    _place(state, event.thread_id, event.id, float(state.sequence))


def _prompt_edited(state: State, event: agents.PromptEdited) -> None:
    state.put(("prompt", event.thread_id, event.id), PromptState(event.text, event.content, event.when))


def _prompt_left(state: State, event: agents.PromptSent | agents.PromptRemoved) -> None:
    state.put(("prompt", event.thread_id, event.id), PromptState(queued=False))
    _place(state, event.thread_id, event.id, None)


def _place(state: State, thread_id: str, id: str, position: float | None) -> None:
    """Put a prompt at its position in the queue, or take it off. The pause of an empty queue ends."""
    key = ("thread", thread_id)
    thread: ThreadState | None = state.get(key)
    if thread is not None:
        queue = [one for one in thread.queue if one.id != id]
        if position is not None:
            queue = sorted([*queue, QueuedState(id, position)], key=lambda one: one.position)
        state.change(key, queue=tuple(queue), paused=thread.paused if queue else None)


def _session_opened(state: State, event: agents.SessionOpened) -> None:
    state.put(("session", event.thread_id, event.id), SessionState(event.options))
    state.change(("thread", event.thread_id), session=event.id, auth_required=False)


def _session_ended(state: State, event: agents.SessionEnded) -> None:
    state.change(("session", event.thread_id, event.id), open=False)
    state.change(("thread", event.thread_id), session=None)


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
    e.ThreadDeleted: _thread_deleted,
    e.ThreadErased: lambda s, ev: s.change(("thread", ev.thread_id), title="", erased=True),
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
    e.CheckpointPruned: lambda s, ev: s.put(("checkpoint", ev.thread_id, ev.id), False),
    e.WorktreeCreated: lambda s, ev: s.change(("thread", ev.thread_id), worktree="made"),
    e.WorktreeRemoved: lambda s, ev: s.change(("thread", ev.thread_id), worktree="wanted"),
    e.SettingChanged: _setting_changed,
    agents.AgentAssigned: _agent_assigned,
    agents.ThreadOptionSet: _thread_option_set,
    agents.PromptQueued: _prompt_queued,
    agents.PromptEdited: _prompt_edited,
    agents.PromptMoved: lambda s, ev: _place(s, ev.thread_id, ev.id, ev.position),
    agents.PromptRemoved: _prompt_left,
    agents.PromptSent: _prompt_left,
    agents.QueuePaused: lambda s, ev: s.change(("thread", ev.thread_id), paused=ev.reason),
    agents.QueueResumed: lambda s, ev: s.change(("thread", ev.thread_id), paused=None, auth_required=False),
    agents.SessionOpened: _session_opened,
    agents.SessionChanged: lambda s, ev: s.change(("session", ev.thread_id, ev.id), options=ev.options),
    agents.SessionEnded: _session_ended,
    agents.AuthRequired: lambda s, ev: s.change(("thread", ev.thread_id), auth_required=True),
    agents.RuleAdded: lambda s, ev: s.put(("rule", ev.id), True),
    agents.RuleRemoved: lambda s, ev: s.put(("rule", ev.id), False),
}
