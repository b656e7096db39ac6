"""The decider: which events a command leads to, given the state. Pure: no clock, no random ids, no I/O.

Its contract is `initial_state`, `decide` and `evolve` (state.py); `names` returns the keys that `decide` reads.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.detail import changed, difference, json_text
from treadle.domain.errors import Conflict, NotFound, Rejected
from treadle.domain.ids import Timestamp
from treadle.domain.paths import normalized, path_key
from treadle.domain.state import (
    ActivityState,
    Key,
    ProjectState,
    State,
    ThreadState,
    evolve,
    initial_state,
)

__all__ = ["Stamp", "decide", "evolve", "initial_state", "names"]


class Stamp(msgspec.Struct, frozen=True):
    """What the engine adds to a command. at: when it arrived. runner: the daemon that runs a started turn.

    latest: the latest time that the command itself may give.
    """

    at: Timestamp
    runner: str
    latest: Timestamp = ""


def decide(state: State, command: c.Command, stamp: Stamp) -> list[e.Event]:
    """The events that the command leads to; an empty list if it changes nothing. Does not change `state`.

    All ids of the command must be assigned, and every key of `names(command)` loaded. Raises Rejected, NotFound or
    Conflict.
    """
    if command.at is not None:
        stamp = _at(command.at, stamp)
    expected = getattr(command, "expected_version", None)
    if expected is not None:
        _expect_version(state, command, expected)
    return list(_DECIDE[type(command)](state, command, stamp))


def _at(at: Timestamp, stamp: Stamp) -> Stamp:
    """The stamp with the time that the command gives."""
    if at > stamp.at and at > stamp.latest:
        raise Rejected("atInFuture", f"{at} is more than a minute after the daemon's clock", now=stamp.at)
    return msgspec.structs.replace(stamp, at=at)


def names(command: c.Command) -> set[Key]:
    """The keys that `decide` and `evolve` read for this command."""
    return set(_names(command))


def _names(command: c.Command) -> Iterator[Key]:
    match command:
        case c.CreateProject(id=id, path=path):
            yield from (("project", str(id)), ("path", path_key(path)))
        case c.UpdateProject(id=id, path=path):
            yield ("project", id)
            if path is not None:
                yield ("path", path_key(path))
        case c.DeleteProject(id=id):
            yield from (("project", id), ("members", id))
        case c.CreateThread(thread_id=thread_id, project_id=project_id):
            yield from (("thread", str(thread_id)), ("project", project_id))
        case c.ChangeSetting(key=key):
            yield ("setting", key)
        case c.ThreadCommand(thread_id=thread_id):
            yield ("thread", thread_id)
            if isinstance(command, c.StartTurn):
                yield ("message", thread_id, str(command.message_id))
            entity = _ENTITY_OF.get(type(command))
            if entity is not None and getattr(command, "id", None) is not None:
                yield (entity, thread_id, command.id)  # type: ignore[attr-defined]
            if getattr(command, "turn_id", None) is not None:
                yield ("turn", thread_id, command.turn_id)  # type: ignore[attr-defined]


_ENTITY_OF: dict[type[c.Command], str] = {
    c.StartTurn: "turn",
    c.CompleteTurn: "turn",
    c.FailTurn: "turn",
    c.CancelTurn: "turn",
    c.InterruptTurn: "turn",
    c.AddMessage: "message",
    c.AppendMessage: "message",
    c.CompleteMessage: "message",
    c.RecordActivity: "activity",
    c.UpdateActivity: "activity",
    c.RequestApproval: "approval",
    c.ResolveApproval: "approval",
    c.CreateCheckpoint: "checkpoint",
    c.RestoreCheckpoint: "checkpoint",
}


def _expect_version(state: State, command: Any, expected: int) -> None:
    thread_id = command.thread_id
    if not isinstance(command, c.CreateThread):
        _thread(state, thread_id)
    thread = state[("thread", thread_id)]
    actual = 0 if thread is None else thread.version
    if actual != expected:
        raise Conflict(
            "versionConflict",
            f"thread {thread_id!r} is at version {actual}, not {expected}: read it again and retry",
            expected=expected,
            actual=actual,
        )


# Projects


def _project(state: State, id: str) -> ProjectState:
    project: ProjectState | None = state[("project", id)]
    if project is None or project.deleted:
        raise NotFound("project", id)
    return project


def _unused(state: State, entity: str, *scope_and_id: str) -> None:
    if state[(entity, *scope_and_id)] is not None:
        raise Rejected(
            "idTaken",
            f"{entity} id {scope_and_id[-1]!r} is already taken; ids are never reused",
            entity=entity,
            id=scope_and_id[-1],
        )


def _free_path(state: State, path: str) -> str:
    if not path.startswith("/"):
        raise Rejected("pathNotAbsolute", f"path {path!r} is not absolute")
    path = normalized(path)
    holder = state[("path", path_key(path))]
    if holder is not None:
        raise Rejected("pathTaken", f"path {path!r} already belongs to project {holder!r}", projectId=holder)
    return path


def _create_project(state: State, command: c.CreateProject, stamp: Stamp) -> Iterator[e.Event]:
    id = str(command.id)
    _unused(state, "project", id)
    path = _free_path(state, command.path)
    yield e.ProjectCreated(id=id, name=command.name, path=path, remote=command.remote, at=stamp.at)


def _update_project(state: State, command: c.UpdateProject, stamp: Stamp) -> Iterator[e.Event]:
    project = _project(state, command.id)
    name = None if command.name == project.name else command.name
    path = command.path
    if path is not None:
        path = None if path_key(path) == path_key(project.path) else _free_path(state, path)
    remote = None if command.remote == project.remote else command.remote
    if name is not None or path is not None or remote is not None:
        yield e.ProjectUpdated(id=command.id, name=name, path=path, remote=remote, at=stamp.at)


def _delete_project(state: State, command: c.DeleteProject, stamp: Stamp) -> Iterator[e.Event]:
    _project(state, command.id)
    members = [id for id in state[("members", command.id)] or () if not state[("thread", id)].deleted]
    if members and not command.cascade:
        raise Rejected(
            "projectHasThreads",
            f"project {command.id!r} still has {len(members)} thread(s): delete them first, or set cascade",
            threads=len(members),
        )
    for thread_id in members:
        yield from _interrupt(thread_id, _thread(state, thread_id), "project deleted", stamp)
        yield e.ThreadDeleted(thread_id=thread_id, at=stamp.at)
    yield e.ProjectDeleted(id=command.id, at=stamp.at)


# Threads


def _thread(state: State, id: str) -> ThreadState:
    thread: ThreadState | None = state[("thread", id)]
    if thread is None or thread.deleted:
        raise NotFound("thread", id)
    return thread


def _create_thread(state: State, command: c.CreateThread, stamp: Stamp) -> Iterator[e.Event]:
    thread_id = str(command.thread_id)
    _unused(state, "thread", thread_id)
    _project(state, command.project_id)
    yield e.ThreadCreated(
        thread_id=thread_id, project_id=command.project_id, title=command.title, origin=command.origin, at=stamp.at
    )


def _rename_thread(state: State, command: c.RenameThread, stamp: Stamp) -> Iterator[e.Event]:
    if _thread(state, command.thread_id).title != command.title:
        yield e.ThreadRenamed(thread_id=command.thread_id, title=command.title, at=stamp.at)


def _archive_thread(state: State, command: c.ArchiveThread, stamp: Stamp) -> Iterator[e.Event]:
    thread = _thread(state, command.thread_id)
    if not thread.archived:
        yield from _interrupt(command.thread_id, thread, "thread archived", stamp)
        yield e.ThreadArchived(thread_id=command.thread_id, at=stamp.at)


def _unarchive_thread(state: State, command: c.UnarchiveThread, stamp: Stamp) -> Iterator[e.Event]:
    if _thread(state, command.thread_id).archived:
        yield e.ThreadUnarchived(thread_id=command.thread_id, at=stamp.at)


def _delete_thread(state: State, command: c.DeleteThread, stamp: Stamp) -> Iterator[e.Event]:
    thread = _thread(state, command.thread_id)
    yield from _interrupt(command.thread_id, thread, "thread deleted", stamp)
    yield e.ThreadDeleted(thread_id=command.thread_id, at=stamp.at)


# Turns


def _running(state: State, thread_id: str, turn_id: str) -> ThreadState:
    """The thread, if this is its running turn. Raises NotFound or Rejected."""
    thread = _thread(state, thread_id)
    if thread.turn is None or thread.turn.id != turn_id:
        if state[("turn", thread_id, turn_id)] is None:
            raise NotFound("turn", turn_id)
        raise Rejected("turnEnded", f"turn {turn_id!r} has ended", turnId=turn_id)
    return thread


def _start_turn(state: State, command: c.StartTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, turn_id, message_id = command.thread_id, str(command.id), str(command.message_id)
    thread = _thread(state, thread_id)
    if thread.archived:
        raise Rejected("threadArchived", f"thread {thread_id!r} is archived: unarchive it first")
    if thread.turn is not None:
        raise Rejected("turnRunning", f"turn {thread.turn.id!r} is still running", turnId=thread.turn.id)
    _unused(state, "turn", thread_id, turn_id)
    _unused(state, "message", thread_id, message_id)
    yield e.TurnStarted(id=turn_id, thread_id=thread_id, runner=stamp.runner, at=stamp.at)
    yield e.MessageAdded(
        id=message_id,
        thread_id=thread_id,
        turn_id=turn_id,
        role="user",
        text=command.prompt,
        content=_content(command.content, command.prompt),
        at=stamp.at,
    )


def _content(content: Any, text: str) -> Any:
    """The content blocks of a message. Text is either in them or beside them, so that it is stored once."""
    for index, block in enumerate(content or ()):
        if not isinstance(block.get("type"), str):
            raise Rejected("contentBlock", f"content block {index} has no type", index=index)
        if block["type"] == "text" and (text or not isinstance(block.get("text"), str)):
            why = "the message has its text beside its content as well" if text else f"block {index} has no text"
            raise Rejected("contentBlock", why, index=index)
    return content


def _end_of_parts(thread_id: str, thread: ThreadState, status: Any, stamp: Stamp) -> Iterator[e.Event]:
    """The events that end a turn's streaming messages, pending approvals and unfinished activities."""
    turn = thread.turn
    if turn is None:
        return
    for id in turn.messages:
        yield e.MessageCompleted(id=id, thread_id=thread_id, at=stamp.at)
    for id in turn.approvals:
        yield e.ApprovalResolved(id=id, thread_id=thread_id, outcome=None, at=stamp.at)
    for id in turn.activities:
        yield e.ActivityUpdated(id=id, thread_id=thread_id, status=status, at=stamp.at)


def _complete_turn(state: State, command: c.CompleteTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id = command.thread_id
    yield from _end_of_parts(thread_id, _running(state, thread_id, command.id), "completed", stamp)
    yield e.TurnCompleted(
        id=command.id, thread_id=thread_id, stop_reason=command.stop_reason, usage=command.usage, at=stamp.at
    )


def _fail_turn(state: State, command: c.FailTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id = command.thread_id
    yield from _end_of_parts(thread_id, _running(state, thread_id, command.id), "failed", stamp)
    yield e.TurnFailed(id=command.id, thread_id=thread_id, error=command.error, kind=command.kind, at=stamp.at)


def _cancel_turn(state: State, command: c.CancelTurn, stamp: Stamp) -> Iterator[e.Event]:
    turn = _running(state, command.thread_id, command.id).turn
    if turn is not None and not turn.cancelling:
        yield e.TurnCancelling(id=command.id, thread_id=command.thread_id, by=command.by, at=stamp.at)


def _interrupt_turn(state: State, command: c.InterruptTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id = command.thread_id
    thread = _thread(state, thread_id) if command.id is None else _running(state, thread_id, command.id)
    reason = command.reason or "interrupted by the client"
    yield from _interrupt(thread_id, thread, reason, stamp, command.by, command.confirmed)


def _interrupt(
    thread_id: str,
    thread: ThreadState,
    reason: str,
    stamp: Stamp,
    by: str | None = None,
    confirmed: bool | None = None,
) -> Iterator[e.Event]:
    """Interrupt whatever runs in the thread."""
    if thread.turn is not None:
        yield from _end_of_parts(thread_id, thread, "failed", stamp)
        yield e.TurnInterrupted(
            id=thread.turn.id, thread_id=thread_id, reason=reason, by=by, confirmed=confirmed, at=stamp.at
        )


def _add_message(state: State, command: c.AddMessage, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id = command.thread_id, str(command.id)
    _running(state, thread_id, command.turn_id)
    _unused(state, "message", thread_id, id)
    yield e.MessageAdded(
        id=id,
        thread_id=thread_id,
        turn_id=command.turn_id,
        role=command.role,
        text=command.text,
        content=_content(command.content, command.text),
        streaming=command.streaming,
        at=stamp.at,
    )


def _message_status(state: State, thread_id: str, id: str) -> str:
    _thread(state, thread_id)
    status: str | None = state[("message", thread_id, id)]
    if status is None:
        raise NotFound("message", id)
    return status


def _append_message(state: State, command: c.AppendMessage, stamp: Stamp) -> Iterator[e.Event]:
    if _message_status(state, command.thread_id, command.id) != "streaming":
        raise Rejected("messageComplete", f"message {command.id!r} is complete")
    if command.text:
        yield e.MessageAppended(id=command.id, thread_id=command.thread_id, text=command.text, at=stamp.at)


def _complete_message(state: State, command: c.CompleteMessage, stamp: Stamp) -> Iterator[e.Event]:
    if _message_status(state, command.thread_id, command.id) == "streaming":
        yield e.MessageCompleted(id=command.id, thread_id=command.thread_id, at=stamp.at)


def _record_activity(state: State, command: c.RecordActivity, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id = command.thread_id, str(command.id)
    _running(state, thread_id, command.turn_id)
    before: ActivityState | None = state[("activity", thread_id, id)]
    if before is not None and before.turn_id != command.turn_id:
        _unused(state, "activity", thread_id, id)
    after = ActivityState(command.turn_id, command.kind, command.title, command.status, command.detail)
    yield from _activity(thread_id, id, before, after, stamp)


def _update_activity(state: State, command: c.UpdateActivity, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id = command.thread_id, command.id
    thread = _thread(state, thread_id)
    before: ActivityState | None = state[("activity", thread_id, id)]
    if before is None:
        raise NotFound("activity", id)
    if thread.turn is None or thread.turn.id != before.turn_id:
        raise Rejected("turnEnded", f"turn {before.turn_id!r} has ended", turnId=before.turn_id)
    detail = command.detail or {}
    if detail and not isinstance(before.detail, dict | None):
        raise Rejected("detailNotObject", f"the detail of activity {id!r} is not an object, so it has no members")
    after = ActivityState(
        before.turn_id,
        before.kind if command.kind is None else command.kind,
        before.title if command.title is None else command.title,
        before.status if command.status is None else command.status,
        changed(before.detail, detail, {}),
    )
    yield from _activity(thread_id, id, before, after, stamp)


def _activity(
    thread_id: str, id: str, before: ActivityState | None, after: ActivityState, stamp: Stamp
) -> Iterator[e.Event]:
    """What changed of an activity; all of it where there was none or where only the whole can say it."""
    found = None if before is None else difference(before.detail, after.detail)
    if before is None or found is None:
        yield e.ActivityRecorded(
            id=id,
            thread_id=thread_id,
            turn_id=after.turn_id,
            kind=after.kind,
            title=after.title,
            status=after.status,
            detail=after.detail,
            at=stamp.at,
        )
        return
    members, append = found
    fields = {name: getattr(after, name) for name in ("kind", "title", "status")}
    fields = {name: value for name, value in fields.items() if value != getattr(before, name)}
    if fields or members or append:
        yield e.ActivityUpdated(id=id, thread_id=thread_id, detail=members, append=append, at=stamp.at, **fields)


def _request_approval(state: State, command: c.RequestApproval, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id = command.thread_id, str(command.id)
    _running(state, thread_id, command.turn_id)
    _unused(state, "approval", thread_id, id)
    if len({option.id for option in command.options}) < len(command.options):
        raise Rejected("duplicateOption", "two options have the same id")
    yield e.ApprovalRequested(
        id=id,
        thread_id=thread_id,
        turn_id=command.turn_id,
        title=command.title,
        options=[e.OfferedOption(o.id, o.name, o.kind) for o in command.options],
        detail=command.detail,
        at=stamp.at,
    )


def _resolve_approval(state: State, command: c.ResolveApproval, stamp: Stamp) -> Iterator[e.Event]:
    _thread(state, command.thread_id)
    approval = state[("approval", command.thread_id, command.id)]
    if approval is None:
        raise NotFound("approval", command.id)
    if not approval.pending:
        if approval.outcome == command.outcome:
            return
        raise Rejected("approvalResolved", f"approval {command.id!r} is already resolved", outcome=approval.outcome)
    if command.outcome is not None and command.outcome not in approval.options:
        raise Rejected(
            "unknownOption", f"{command.outcome!r} is not one of its options", options=list(approval.options)
        )
    yield e.ApprovalResolved(id=command.id, thread_id=command.thread_id, outcome=command.outcome, at=stamp.at)


# Checkpoints and settings


def _create_checkpoint(state: State, command: c.CreateCheckpoint, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id, turn_id = command.thread_id, str(command.id), command.turn_id
    _thread(state, thread_id)
    _unused(state, "checkpoint", thread_id, id)
    if turn_id is not None and state[("turn", thread_id, turn_id)] is None:
        raise NotFound("turn", turn_id)
    yield e.CheckpointCreated(
        id=id,
        thread_id=thread_id,
        turn_id=turn_id,
        git_ref=command.git_ref,
        message=command.message,
        commit=command.commit,
        tree=command.tree,
        phase=command.phase,
        at=stamp.at,
    )


def _fail_checkpoint(state: State, command: c.FailCheckpoint, stamp: Stamp) -> Iterator[e.Event]:
    _thread(state, command.thread_id)
    if command.turn_id is not None and state[("turn", command.thread_id, command.turn_id)] is None:
        raise NotFound("turn", command.turn_id)
    yield e.CheckpointFailed(thread_id=command.thread_id, turn_id=command.turn_id, reason=command.reason, at=stamp.at)


def _restore_checkpoint(state: State, command: c.RestoreCheckpoint, stamp: Stamp) -> Iterator[e.Event]:
    _thread(state, command.thread_id)
    if state[("checkpoint", command.thread_id, command.id)] is None:
        raise NotFound("checkpoint", command.id)
    yield e.CheckpointRestored(id=command.id, thread_id=command.thread_id, at=stamp.at)


def _change_setting(state: State, command: c.ChangeSetting, stamp: Stamp) -> Iterator[e.Event]:
    before = state[("setting", command.key)]
    after = None if command.value is None else json_text(command.value)
    if before != after:
        yield e.SettingChanged(key=command.key, value=command.value, at=stamp.at)


_DECIDE: dict[type[c.Command], Callable[[State, Any, Stamp], Iterator[e.Event]]] = {
    c.CreateProject: _create_project,
    c.UpdateProject: _update_project,
    c.DeleteProject: _delete_project,
    c.CreateThread: _create_thread,
    c.RenameThread: _rename_thread,
    c.ArchiveThread: _archive_thread,
    c.UnarchiveThread: _unarchive_thread,
    c.DeleteThread: _delete_thread,
    c.StartTurn: _start_turn,
    c.CompleteTurn: _complete_turn,
    c.FailTurn: _fail_turn,
    c.CancelTurn: _cancel_turn,
    c.InterruptTurn: _interrupt_turn,
    c.AddMessage: _add_message,
    c.AppendMessage: _append_message,
    c.CompleteMessage: _complete_message,
    c.RecordActivity: _record_activity,
    c.UpdateActivity: _update_activity,
    c.RequestApproval: _request_approval,
    c.ResolveApproval: _resolve_approval,
    c.CreateCheckpoint: _create_checkpoint,
    c.FailCheckpoint: _fail_checkpoint,
    c.RestoreCheckpoint: _restore_checkpoint,
    c.ChangeSetting: _change_setting,
}
