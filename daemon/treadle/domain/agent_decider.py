"""What commands of agents, queued prompts, sessions and rules lead to. Part of decider.py."""

from collections.abc import Iterator
from typing import Any, Final

from treadle.domain import agent_commands as c
from treadle.domain import agent_events as e
from treadle.domain.checks import Decisions, Stamp, content_blocks, live_project, live_thread, running_turn, unused
from treadle.domain.detail import json_text
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.event import Event
from treadle.domain.events import GivenFork, GivenOrigin, ThreadCreated
from treadle.domain.state import AgentState, PromptState, SessionState, State, ThreadState

# Agents


def _assign_agent(state: State, command: c.AssignAgent, stamp: Stamp) -> Iterator[Event]:
    thread = live_thread(state, command.thread_id)
    if thread.agent != AgentState(command.agent, command.mode, command.options):
        yield e.AgentAssigned(
            thread_id=command.thread_id, agent=command.agent, mode=command.mode, options=command.options, at=stamp.at
        )


def _agent(thread: ThreadState) -> AgentState:
    if thread.agent is None:
        raise Rejected("noAgent", "the thread has no agent; assign an agent first: AssignAgent")
    return thread.agent


def _set_thread_option(state: State, command: c.SetThreadOption, stamp: Stamp) -> Iterator[Event]:
    agent = _agent(live_thread(state, command.thread_id))
    if agent.options.get(command.id) != command.value:
        yield e.ThreadOptionSet(thread_id=command.thread_id, id=command.id, value=command.value, at=stamp.at)


def _fork_thread(state: State, command: c.ForkThread, stamp: Stamp) -> Iterator[Event]:
    id, turn_id = str(command.id), command.after_turn_id
    thread = live_thread(state, command.thread_id)
    unused(state, "thread", id)
    if turn_id is not None and state[("turn", command.thread_id, turn_id)] is None:
        raise NotFound("turn", turn_id)
    yield ThreadCreated(
        thread_id=id,
        project_id=thread.project_id,
        title=command.title or thread.title,
        origin=GivenOrigin(tool="treadle", fork_of=GivenFork(thread_id=command.thread_id, turn_id=turn_id)),
        worktree=thread.worktree is not None,
        at=stamp.at,
    )
    if (agent := thread.agent) is not None:
        yield e.AgentAssigned(thread_id=id, agent=agent.name, mode=agent.mode, options=agent.options, at=stamp.at)


# The queue of prompts


def queued_prompt(state: State, thread_id: str, id: str) -> PromptState:
    """The prompt, if it is queued in the live thread. Raises NotFound or Rejected."""
    live_thread(state, thread_id)
    prompt: PromptState | None = state[("prompt", thread_id, id)]
    if prompt is None:
        raise NotFound("prompt", id)
    if not prompt.queued:
        raise Rejected("promptSent", f"prompt {id!r} is not queued any more: it was sent or removed", promptId=id)
    return prompt


def pause_queue(thread_id: str, thread: ThreadState, reason: str, stamp: Stamp) -> Iterator[Event]:
    """Pause the queue of the thread, unless it is empty or paused already."""
    if thread.queue and thread.paused is None:
        yield e.QueuePaused(thread_id=thread_id, reason=reason, at=stamp.at)


def _prompt_content(content: Any, text: str) -> Any:
    """The content blocks of a prompt that says something."""
    content_blocks(content, text)
    texts = [block["text"] if block["type"] == "text" else None for block in content or ()]
    if not text.strip() and all(one is not None and not one.strip() for one in texts):
        raise Rejected("emptyPrompt", "the prompt is empty: it has neither text nor other content")
    return content


def _queue_prompt(state: State, command: c.QueuePrompt, stamp: Stamp) -> Iterator[Event]:
    thread_id, id = command.thread_id, str(command.id)
    thread = live_thread(state, thread_id)
    if thread.archived:
        raise Rejected("threadArchived", f"thread {thread_id!r} is archived: unarchive it first")
    _agent(thread)
    unused(state, "prompt", thread_id, id)
    yield e.PromptQueued(
        id=id,
        thread_id=thread_id,
        text=command.text,
        content=_prompt_content(command.content, command.text),
        when=command.when,
        runner=stamp.runner,
        at=stamp.at,
    )


def _edit_prompt(state: State, command: c.EditPrompt, stamp: Stamp) -> Iterator[Event]:
    before = queued_prompt(state, command.thread_id, command.id)
    text, content, when = before.text, before.content, command.when or before.when
    if command.text is not None or command.content is not None:
        text, content = command.text or "", command.content
    if (text, json_text(content), when) != (before.text, json_text(before.content), before.when):
        content = _prompt_content(content, text)
        yield e.PromptEdited(
            id=command.id, thread_id=command.thread_id, text=text, content=content, when=when, at=stamp.at
        )


def _move_prompt(state: State, command: c.MovePrompt, stamp: Stamp) -> Iterator[Event]:
    thread_id, id, before = command.thread_id, command.id, command.before
    for one in filter(None, (id, before)):
        queued_prompt(state, thread_id, one)
    if before == id:
        return
    positions = {one.id: one.position for one in live_thread(state, thread_id).queue}
    order = [one for one in positions if one != id]
    place = len(order) if before is None else order.index(before)
    order.insert(place, id)
    if order == [*positions]:
        return
    if order[-1] == id:
        moved = {id: float(state.sequence + 1)}  # as if it were queued now
    else:
        low, high = positions[order[place - 1]] if place else 0.0, positions[order[place + 1]]
        moved = {id: (low + high) / 2}
        if not low < moved[id] < high:  # no number lies between them any more
            moved = {one: float(number) for number, one in enumerate(order, 1)}
    for one, position in moved.items():
        yield e.PromptMoved(id=one, thread_id=thread_id, position=position, at=stamp.at)


def _remove_prompt(state: State, command: c.RemovePrompt, stamp: Stamp) -> Iterator[Event]:
    queued_prompt(state, command.thread_id, command.id)
    yield e.PromptRemoved(id=command.id, thread_id=command.thread_id, at=stamp.at)


def _pause_queue(state: State, command: c.PauseQueue, stamp: Stamp) -> Iterator[Event]:
    thread = live_thread(state, command.thread_id)
    yield from pause_queue(command.thread_id, thread, command.reason or "paused by the client", stamp)


def _resume_queue(state: State, command: c.ResumeQueue, stamp: Stamp) -> Iterator[Event]:
    thread = live_thread(state, command.thread_id)
    if thread.paused is not None or thread.auth_required:
        yield e.QueueResumed(thread_id=command.thread_id, runner=stamp.runner, at=stamp.at)


# Sessions


def _session(state: State, thread_id: str, id: str) -> SessionState:
    live_thread(state, thread_id)
    session: SessionState | None = state[("session", thread_id, id)]
    if session is None:
        raise NotFound("session", id)
    return session


def _open_session(state: State, command: c.OpenSession, stamp: Stamp) -> Iterator[Event]:
    thread_id, id = command.thread_id, str(command.id)
    thread = live_thread(state, thread_id)
    if thread.session is not None:
        raise Rejected("sessionOpen", f"session {thread.session!r} is still open", sessionId=thread.session)
    unused(state, "session", thread_id, id)
    yield e.SessionOpened(
        id=id,
        thread_id=thread_id,
        agent=command.agent,
        release=command.release,
        session_id=command.session_id,
        how=command.how,
        capabilities=command.capabilities,
        options=command.options,
        runner=stamp.runner,
        at=stamp.at,
    )


def _change_session(state: State, command: c.ChangeSession, stamp: Stamp) -> Iterator[Event]:
    session = _session(state, command.thread_id, command.id)
    if not session.open:
        raise Rejected("sessionEnded", f"session {command.id!r} has ended", sessionId=command.id)
    if json_text(session.options) != json_text(command.options):
        yield e.SessionChanged(id=command.id, thread_id=command.thread_id, options=command.options, at=stamp.at)


def _end_session(state: State, command: c.EndSession, stamp: Stamp) -> Iterator[Event]:
    if _session(state, command.thread_id, command.id).open:
        yield e.SessionEnded(
            id=command.id,
            thread_id=command.thread_id,
            reason=command.reason,
            exit_status=command.exit_status,
            stderr=command.stderr,
            at=stamp.at,
        )


def _lose_context(state: State, command: c.LoseContext, stamp: Stamp) -> Iterator[Event]:
    _session(state, command.thread_id, command.id)
    yield e.ContextLost(id=command.id, thread_id=command.thread_id, reason=command.reason, at=stamp.at)


def _require_auth(state: State, command: c.RequireAuth, stamp: Stamp) -> Iterator[Event]:
    thread = live_thread(state, command.thread_id)
    yield e.AuthRequired(
        thread_id=command.thread_id, agent=command.agent, reason=command.reason, methods=command.methods, at=stamp.at
    )
    yield from pause_queue(
        command.thread_id, thread, f"the agent needs a login: `treadle agents login {command.agent}`", stamp
    )


def _report_usage(state: State, command: c.ReportUsage, stamp: Stamp) -> Iterator[Event]:
    thread_id, id = command.thread_id, command.id
    live_thread(state, thread_id)
    if state[("turn", thread_id, id)] is None:
        raise NotFound("turn", id)
    given = {name: getattr(command, name) for name in ("used", "size", "cost", "currency", "tokens")}
    if any(value is not None for value in given.values()):
        yield e.UsageReported(id=id, thread_id=thread_id, at=stamp.at, **given)


def _reach_budget(state: State, command: c.ReachBudget, stamp: Stamp) -> Iterator[Event]:
    running_turn(state, command.thread_id, command.turn_id)
    yield e.BudgetReached(
        thread_id=command.thread_id,
        turn_id=command.turn_id,
        scope=command.scope,
        limit=command.limit,
        amount=command.amount,
        spent=command.spent,
        at=stamp.at,
    )


# Rules

_NEVER_ALLOWED: Final = ("fetch", "other", "switch_mode")


def _is_too_broad(match: c.RuleMatch) -> bool:
    """Whether a rule that allows what matches would allow more than the user can know."""
    if match.kind in _NEVER_ALLOWED:
        return True
    if match.kind == "execute":
        return match.command is None
    return match.kind is not None and (match.command is not None or match.path is None)


def _add_rule(state: State, command: c.AddRule, stamp: Stamp) -> Iterator[Event]:
    id, scope, match = str(command.id), command.scope, command.match
    unused(state, "rule", id)
    if scope.thread_id is not None and scope.project_id is not None:
        raise Rejected("ruleScope", "a rule holds in a thread or in a project, not in both")
    if scope.thread_id is not None:
        live_thread(state, scope.thread_id)
    if scope.project_id is not None:
        live_project(state, scope.project_id)
    if match == c.RuleMatch():
        raise Rejected("emptyRule", "the rule matches everything: give `match` a kind, a command or a path")
    if command.decision == "allow" and _is_too_broad(match):
        raise Rejected(
            "ruleTooBroad",
            "a rule that allows needs a command if its kind is execute, else a path; "
            f"{', '.join(_NEVER_ALLOWED)} cannot be allowed",
        )
    if command.until is not None and command.until <= stamp.at:
        raise Rejected("ruleExpired", f"the rule would hold until {command.until}, which has passed", now=stamp.at)
    yield e.RuleAdded(
        id=id,
        scope=scope,
        agent=command.agent,
        match=match,
        decision=command.decision,
        until=command.until,
        at=stamp.at,
    )


def _remove_rule(state: State, command: c.RemoveRule, stamp: Stamp) -> Iterator[Event]:
    is_there = state[("rule", command.id)]
    if is_there is None:
        raise NotFound("rule", command.id)
    if is_there:
        yield e.RuleRemoved(id=command.id, at=stamp.at)


DECIDE: Decisions = {
    c.AssignAgent: _assign_agent,
    c.SetThreadOption: _set_thread_option,
    c.ForkThread: _fork_thread,
    c.QueuePrompt: _queue_prompt,
    c.EditPrompt: _edit_prompt,
    c.MovePrompt: _move_prompt,
    c.RemovePrompt: _remove_prompt,
    c.PauseQueue: _pause_queue,
    c.ResumeQueue: _resume_queue,
    c.OpenSession: _open_session,
    c.ChangeSession: _change_session,
    c.EndSession: _end_session,
    c.LoseContext: _lose_context,
    c.RequireAuth: _require_auth,
    c.ReportUsage: _report_usage,
    c.ReachBudget: _reach_budget,
    c.AddRule: _add_rule,
    c.RemoveRule: _remove_rule,
}
