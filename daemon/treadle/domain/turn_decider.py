"""What commands of turns, messages, activities and approvals lead to. Part of decider.py."""

from collections.abc import Iterator
from typing import Any, Final

from treadle.domain import agent_events as agents
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.agent_decider import pause_queue, queued_prompt
from treadle.domain.checks import Decisions, Stamp, content_blocks, live_thread, running_turn, unused
from treadle.domain.detail import changed, difference
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.state import ActivityState, State, ThreadState

# Turns

_GOOD_ENDS: Final = ("end_turn", "max_tokens", "outside_turn")
"""Stop reasons after which the next prompt is sent: of the Agent Client Protocol, and that of what an agent did by
itself."""


def _start_turn(state: State, command: c.StartTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, turn_id, message_id = command.thread_id, str(command.id), str(command.message_id)
    thread = live_thread(state, thread_id)
    if thread.archived:
        raise Rejected("threadArchived", f"thread {thread_id!r} is archived: unarchive it first")
    if thread.turn is not None:
        raise Rejected("turnRunning", f"turn {thread.turn.id!r} is still running", turnId=thread.turn.id)
    unused(state, "turn", thread_id, turn_id)
    unused(state, "message", thread_id, message_id)
    yield from _prompt_sent(state, thread_id, command.prompt_id, turn_id, stamp)
    yield e.TurnStarted(id=turn_id, thread_id=thread_id, runner=stamp.runner, prompt_id=command.prompt_id, at=stamp.at)
    yield e.MessageAdded(
        id=message_id,
        thread_id=thread_id,
        turn_id=turn_id,
        role="user",
        text=command.prompt,
        content=content_blocks(command.content, command.prompt),
        at=stamp.at,
    )


def _prompt_sent(state: State, thread_id: str, id: str | None, turn_id: str, stamp: Stamp) -> Iterator[e.Event]:
    """The queued prompt, if it is one, leaves the queue for the turn."""
    if id is not None:
        queued_prompt(state, thread_id, id)
        if live_thread(state, thread_id).worktree == "wanted":  # it was removed after the agent had started
            raise Rejected("noWorktree", f"the worktree of thread {thread_id!r} is not there")
        yield agents.PromptSent(id=id, thread_id=thread_id, turn_id=turn_id, at=stamp.at)


def _end_of_parts(thread_id: str, thread: ThreadState, status: Any, stamp: Stamp) -> Iterator[e.Event]:
    """The events that end a turn's streaming messages, pending approvals and unfinished activities."""
    turn = thread.turn
    if turn is None:
        return
    for id in turn.messages:
        yield e.MessageCompleted(id=id, thread_id=thread_id, at=stamp.at)
    for id in turn.approvals:
        yield e.ApprovalResolved(id=id, thread_id=thread_id, outcome=None, by="turnEnd", at=stamp.at)
    for id in turn.activities:
        yield e.ActivityUpdated(id=id, thread_id=thread_id, status=status, at=stamp.at)


def _complete_turn(state: State, command: c.CompleteTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, why = command.thread_id, command.stop_reason
    thread = running_turn(state, thread_id, command.id)
    yield from _end_of_parts(thread_id, thread, "completed", stamp)
    yield e.TurnCompleted(id=command.id, thread_id=thread_id, stop_reason=why, usage=command.usage, at=stamp.at)
    if why not in _GOOD_ENDS:
        yield from pause_queue(thread_id, thread, f"the turn ended: {why}", stamp)


def _fail_turn(state: State, command: c.FailTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id = command.thread_id
    thread = running_turn(state, thread_id, command.id)
    yield from _end_of_parts(thread_id, thread, "failed", stamp)
    yield e.TurnFailed(id=command.id, thread_id=thread_id, error=command.error, kind=command.kind, at=stamp.at)
    yield from pause_queue(thread_id, thread, "the turn failed", stamp)


def _cancel_turn(state: State, command: c.CancelTurn, stamp: Stamp) -> Iterator[e.Event]:
    yield from _cancel(command.thread_id, running_turn(state, command.thread_id, command.id), command.by, stamp)


def _cancel(thread_id: str, thread: ThreadState, by: str | None, stamp: Stamp) -> Iterator[e.Event]:
    if thread.turn is not None and not thread.turn.cancelling:
        yield e.TurnCancelling(id=thread.turn.id, thread_id=thread_id, by=by, at=stamp.at)


def _interrupt_turn(state: State, command: c.InterruptTurn, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, by = command.thread_id, command.by
    thread = live_thread(state, thread_id) if command.id is None else running_turn(state, thread_id, command.id)
    if thread.turn is None:
        return
    if thread.turn.prompt is not None and command.confirmed is None:
        yield from _cancel(thread_id, thread, by, stamp)  # what runs the agent says when it has stopped
        return
    yield from interrupt(thread_id, thread, command.reason or "interrupted by the client", stamp, by, command.confirmed)
    if by != "steer":
        yield from pause_queue(thread_id, thread, "the turn was interrupted", stamp)


def interrupt(
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


# Messages


def _add_message(state: State, command: c.AddMessage, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id = command.thread_id, str(command.id)
    running_turn(state, thread_id, command.turn_id)
    unused(state, "message", thread_id, id)
    yield from _prompt_sent(state, thread_id, command.prompt_id, command.turn_id, stamp)
    yield e.MessageAdded(
        id=id,
        thread_id=thread_id,
        turn_id=command.turn_id,
        role=command.role,
        text=command.text,
        content=content_blocks(command.content, command.text),
        streaming=command.streaming,
        prompt_id=command.prompt_id,
        at=stamp.at,
    )


def _message_status(state: State, thread_id: str, id: str) -> str:
    live_thread(state, thread_id)
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


# Activities and approvals


def _record_activity(state: State, command: c.RecordActivity, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id = command.thread_id, str(command.id)
    running_turn(state, thread_id, command.turn_id)
    before: ActivityState | None = state[("activity", thread_id, id)]
    if before is not None and before.turn_id != command.turn_id:
        unused(state, "activity", thread_id, id)
    after = ActivityState(command.turn_id, command.kind, command.title, command.status, command.detail)
    yield from _activity(thread_id, id, before, after, stamp)


def _update_activity(state: State, command: c.UpdateActivity, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id = command.thread_id, command.id
    thread = live_thread(state, thread_id)
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
    running_turn(state, thread_id, command.turn_id)
    unused(state, "approval", thread_id, id)
    if len({option.id for option in command.options}) < len(command.options):
        raise Rejected("duplicateOption", "two options have the same id")
    yield e.ApprovalRequested(
        id=id,
        thread_id=thread_id,
        turn_id=command.turn_id,
        title=command.title,
        options=[e.OfferedOption(o.id, o.name, o.kind) for o in command.options],
        detail=command.detail,
        activity_id=command.activity_id,
        at=stamp.at,
    )


def _resolve_approval(state: State, command: c.ResolveApproval, stamp: Stamp) -> Iterator[e.Event]:
    live_thread(state, command.thread_id)
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
    yield e.ApprovalResolved(
        id=command.id,
        thread_id=command.thread_id,
        outcome=command.outcome,
        by=command.by,
        rule_id=command.rule_id,
        content=command.content,
        at=stamp.at,
    )


DECIDE: Decisions = {
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
}
