"""What commands of agents, prompts, sessions and rules lead to. Part of the tables of test_decider.py."""

from typing import Any

from msgspec.structs import replace

from decisions import (
    ACTIVITY,
    APPROVAL,
    ARCHIVE,
    AT,
    COMPLETE,
    DELETE,
    IMAGE,
    IN_THREAD,
    IN_TURN,
    PROJECT,
    THREAD,
    THREAD_2,
    TURN,
)
from treadle.domain import agent_commands as a
from treadle.domain import agent_events as ev
from treadle.domain import commands as c
from treadle.domain import events as e

Accepted = dict[str, tuple[list[c.Command], c.Command, list[e.Event]]]
Nothing = dict[str, tuple[list[c.Command], c.Command]]
Refused = dict[str, tuple[list[c.Command], c.Command, str, dict[str, object]]]
Missing = dict[str, tuple[list[c.Command], c.Command, str, str]]

ASSIGN = a.AssignAgent(thread_id="t", agent="claude", mode="plan", options={"model": "large"})
FORK = a.ForkThread(id="f", thread_id="t")
QUEUE = a.QueuePrompt(thread_id="t", id="n", text="Then this")
QUEUE_2 = replace(QUEUE, id="n2")
QUEUE_3 = replace(QUEUE, id="n3")
EDIT = a.EditPrompt(thread_id="t", id="n", text="Or that")
MOVE = a.MovePrompt(thread_id="t", id="n")
REMOVE = a.RemovePrompt(thread_id="t", id="n")
PAUSE = a.PauseQueue(thread_id="t")
RESUME = a.ResumeQueue(thread_id="t")
SEND = c.StartTurn(thread_id="t", id="u", prompt="Then this", message_id="m", prompt_id="n")
STEER = c.AddMessage(thread_id="t", id="b", turn_id="u", role="user", text="Then this", prompt_id="n")
OPEN = a.OpenSession(thread_id="t", id="s", agent="claude", session_id="abc", how="new", options=[{"id": "model"}])
CHANGE = a.ChangeSession(thread_id="t", id="s", options=[{"id": "mode"}])
END = a.EndSession(thread_id="t", id="s", reason="idle", exit_status=-15, stderr="bye")
LOSE = a.LoseContext(thread_id="t", id="s", reason="it cannot load sessions")
AUTH = a.RequireAuth(thread_id="t", agent="claude", reason="log in first", methods=[{"id": "browser"}])
USAGE = a.ReportUsage(thread_id="t", id="u", used=10, size=100, cost=0.5, currency="USD", tokens=7)
BUDGET = a.ReachBudget(thread_id="t", turn_id="u", scope="thread", limit="cost", amount=2.0, spent=2.5)
RULE = a.AddRule(id="r", match=a.RuleMatch(kind="execute", command=["git", "diff"]), decision="allow")
UNRULE = a.RemoveRule(id="r")
INTERRUPT = c.InterruptTurn(thread_id="t", by="user")

ASSIGNED = [*IN_THREAD, ASSIGN]
QUEUED = [*ASSIGNED, QUEUE]
THREE = [*QUEUED, QUEUE_2, QUEUE_3]
SENT = [*QUEUED, SEND]
PAUSED = [*QUEUED, PAUSE]
OPENED = [*ASSIGNED, OPEN]
LATER = [*ASSIGNED, TURN, QUEUE]
"""A prompt that waits for the turn of a client."""

PROMPT_SENT = ev.PromptSent(thread_id="t", id="n", turn_id="u", at=AT)
TURN_STARTED = e.TurnStarted(thread_id="t", id="u", runner="daemon-1", prompt_id="n", at=AT)
TURN_CANCELLING = e.TurnCancelling(thread_id="t", id="u", by="user", at=AT)
QUEUE_RESUMED = ev.QueueResumed(thread_id="t", runner="daemon-1", at=AT)


def queued(**changes: Any) -> ev.PromptQueued:
    return replace(ev.PromptQueued(thread_id="t", id="n", text="Then this", runner="daemon-1", at=AT), **changes)


def moved(id: str, position: float) -> ev.PromptMoved:
    return ev.PromptMoved(thread_id="t", id=id, position=position, at=AT)


def edited(**changes: Any) -> ev.PromptEdited:
    return replace(ev.PromptEdited(thread_id="t", id="n", text="Then this", at=AT), **changes)


def paused(reason: str) -> ev.QueuePaused:
    return ev.QueuePaused(thread_id="t", reason=reason, at=AT)


def stopped(**changes: Any) -> e.TurnInterrupted:
    event = e.TurnInterrupted(thread_id="t", id="u", reason="interrupted by the client", at=AT)
    return replace(event, **changes)


def allowed(**match: Any) -> a.AddRule:
    return replace(RULE, match=a.RuleMatch(**match))


def between(count: int) -> list[c.Command]:
    """So many moves of two prompts to the place right after the first one."""
    moves = [a.MovePrompt(thread_id="t", id="n2", before="n3"), a.MovePrompt(thread_id="t", id="n3", before="n2")]
    return [moves[(number + 1) % 2] for number in range(count)]


ACCEPTED: Accepted = {
    "an agent is assigned": (
        IN_THREAD,
        ASSIGN,
        [ev.AgentAssigned(thread_id="t", agent="claude", mode="plan", options={"model": "large"}, at=AT)],
    ),
    "assigning an agent replaces its mode and options": (
        ASSIGNED,
        a.AssignAgent(thread_id="t", agent="claude"),
        [ev.AgentAssigned(thread_id="t", agent="claude", at=AT)],
    ),
    "an option that was chosen for the thread is lost with another agent": (
        [*ASSIGNED, a.SetThreadOption(thread_id="t", id="fast", value=True)],
        ASSIGN,
        [ev.AgentAssigned(thread_id="t", agent="claude", mode="plan", options={"model": "large"}, at=AT)],
    ),
    "an option is set": (
        ASSIGNED,
        a.SetThreadOption(thread_id="t", id="fast", value=False),
        [ev.ThreadOptionSet(thread_id="t", id="fast", value=False, at=AT)],
    ),
    "a thread is forked with its agent": (
        [*ASSIGNED, a.SetThreadOption(thread_id="t", id="fast", value=True)],
        FORK,
        [
            e.ThreadCreated(
                thread_id="f",
                project_id="p",
                title="Talk",
                origin=e.GivenOrigin(tool="treadle", fork_of=e.GivenFork(thread_id="t")),
                at=AT,
            ),
            ev.AgentAssigned(
                thread_id="f", agent="claude", mode="plan", options={"model": "large", "fast": True}, at=AT
            ),
        ],
    ),
    "an archived thread without an agent is forked after a turn, with another title": (
        [*IN_TURN, ARCHIVE],
        replace(FORK, after_turn_id="u", title="Try again"),
        [
            e.ThreadCreated(
                thread_id="f",
                project_id="p",
                title="Try again",
                origin=e.GivenOrigin(tool="treadle", fork_of=e.GivenFork(thread_id="t", turn_id="u")),
                at=AT,
            )
        ],
    ),
    "the fork of a thread with a worktree has its own": (
        [PROJECT, replace(THREAD, worktree=True)],
        FORK,
        [
            e.ThreadCreated(
                thread_id="f",
                project_id="p",
                title="Talk",
                origin=e.GivenOrigin(tool="treadle", fork_of=e.GivenFork(thread_id="t")),
                worktree=True,
                at=AT,
            )
        ],
    ),
    "a prompt is queued": (ASSIGNED, QUEUE, [queued()]),
    "a prompt that steers is queued with content": (
        [*ASSIGNED, TURN],
        replace(QUEUE, text="", content=[IMAGE, {"type": "text", "text": " "}], when="steer"),
        [queued(text="", content=[IMAGE, {"type": "text", "text": " "}], when="steer")],
    ),
    "the text of a prompt is edited": (QUEUED, EDIT, [edited(text="Or that")]),
    "the time of a prompt is edited": (QUEUED, replace(EDIT, text=None, when="steer"), [edited(when="steer")]),
    "content replaces the text of a prompt": (
        QUEUED,
        replace(EDIT, text=None, content=[IMAGE]),
        [edited(text="", content=[IMAGE])],
    ),
    "text replaces the content of a prompt": (
        [*ASSIGNED, replace(QUEUE, text="", content=[IMAGE], when="steer")],
        EDIT,
        [edited(text="Or that", when="steer")],
    ),
    "a prompt becomes the last": (THREE, MOVE, [moved("n", 7.0)]),
    "a prompt becomes the first": (THREE, replace(MOVE, id="n3", before="n"), [moved("n3", 2.0)]),
    "a prompt goes between two others": (THREE, replace(MOVE, id="n3", before="n2"), [moved("n3", 4.5)]),
    "a prompt is queued behind one that became the last": ([*THREE, MOVE], replace(QUEUE, id="n4"), [queued(id="n4")]),
    "prompts are numbered again when no number lies between two of them": (
        [*THREE, *between(50)],
        between(51)[-1],
        [moved("n", 1.0), moved("n3", 2.0), moved("n2", 3.0)],
    ),
    "a prompt is removed": (QUEUED, REMOVE, [ev.PromptRemoved(thread_id="t", id="n", at=AT)]),
    "a queue is paused": (QUEUED, PAUSE, [paused("paused by the client")]),
    "a queue is paused with a reason": (QUEUED, replace(PAUSE, reason="lunch"), [paused("lunch")]),
    "a queue is resumed": (PAUSED, RESUME, [QUEUE_RESUMED]),
    "a queue is paused again": ([*PAUSED, RESUME], PAUSE, [paused("paused by the client")]),
    "a queue is resumed after a login": ([*ASSIGNED, AUTH], RESUME, [QUEUE_RESUMED]),
    "a pause ends with the last prompt": (
        [*PAUSED, REMOVE, QUEUE_2],
        PAUSE,
        [paused("paused by the client")],
    ),
    "a prompt is sent in a turn of its own": (
        QUEUED,
        SEND,
        [
            PROMPT_SENT,
            TURN_STARTED,
            e.MessageAdded(thread_id="t", id="m", turn_id="u", role="user", text="Then this", at=AT),
        ],
    ),
    "a prompt is sent into the running turn": (
        LATER,
        STEER,
        [
            PROMPT_SENT,
            e.MessageAdded(thread_id="t", id="b", turn_id="u", role="user", text="Then this", prompt_id="n", at=AT),
        ],
    ),
    "a session is opened": (
        ASSIGNED,
        replace(OPEN, release="1.2", capabilities={"loadSession": True}),
        [
            ev.SessionOpened(
                thread_id="t",
                id="s",
                agent="claude",
                release="1.2",
                session_id="abc",
                how="new",
                capabilities={"loadSession": True},
                options=[{"id": "model"}],
                runner="daemon-1",
                at=AT,
            )
        ],
    ),
    "a session is opened after another one has ended": (
        [*OPENED, END],
        replace(OPEN, id="s2", how="load"),
        [
            ev.SessionOpened(
                thread_id="t",
                id="s2",
                agent="claude",
                session_id="abc",
                how="load",
                options=[{"id": "model"}],
                runner="daemon-1",
                at=AT,
            )
        ],
    ),
    "a session's options change": (
        OPENED,
        CHANGE,
        [ev.SessionChanged(thread_id="t", id="s", options=[{"id": "mode"}], at=AT)],
    ),
    "a session ends": (
        OPENED,
        END,
        [ev.SessionEnded(thread_id="t", id="s", reason="idle", exit_status=-15, stderr="bye", at=AT)],
    ),
    "a session begins without what was said before": (
        OPENED,
        LOSE,
        [ev.ContextLost(thread_id="t", id="s", reason="it cannot load sessions", at=AT)],
    ),
    "a login is needed": (
        ASSIGNED,
        AUTH,
        [ev.AuthRequired(thread_id="t", agent="claude", reason="log in first", methods=[{"id": "browser"}], at=AT)],
    ),
    "a login that is needed pauses the queue": (
        QUEUED,
        AUTH,
        [
            ev.AuthRequired(thread_id="t", agent="claude", reason="log in first", methods=[{"id": "browser"}], at=AT),
            paused("the agent needs a login: `treadle agents login claude`"),
        ],
    ),
    "a turn's usage is reported": (
        IN_TURN,
        USAGE,
        [ev.UsageReported(thread_id="t", id="u", used=10, size=100, cost=0.5, currency="USD", tokens=7, at=AT)],
    ),
    "an ended turn's usage is reported": (
        [*IN_TURN, COMPLETE],
        a.ReportUsage(thread_id="t", id="u", tokens=0),
        [ev.UsageReported(thread_id="t", id="u", tokens=0, at=AT)],
    ),
    "a budget is reached": (
        IN_TURN,
        BUDGET,
        [ev.BudgetReached(thread_id="t", turn_id="u", scope="thread", limit="cost", amount=2.0, spent=2.5, at=AT)],
    ),
    "a rule is added": (
        [],
        RULE,
        [
            ev.RuleAdded(
                id="r",
                scope=a.Scope(),
                match=a.RuleMatch(kind="execute", command=["git", "diff"]),
                decision="allow",
                at=AT,
            )
        ],
    ),
    "a rule of a thread, an agent and a time is added": (
        IN_THREAD,
        a.AddRule(
            id="r",
            scope=a.Scope(thread_id="t"),
            agent="claude",
            match=a.RuleMatch(kind="fetch"),
            decision="deny",
            until="2026-01-31T12:00:00.001Z",
        ),
        [
            ev.RuleAdded(
                id="r",
                scope=a.Scope(thread_id="t"),
                agent="claude",
                match=a.RuleMatch(kind="fetch"),
                decision="deny",
                until="2026-01-31T12:00:00.001Z",
                at=AT,
            )
        ],
    ),
    "a rule of a project allows edits in a folder": (
        [PROJECT],
        replace(allowed(kind="edit", path="src/**"), scope=a.Scope(project_id="p")),
        [
            ev.RuleAdded(
                id="r",
                scope=a.Scope(project_id="p"),
                match=a.RuleMatch(kind="edit", path="src/**"),
                decision="allow",
                at=AT,
            )
        ],
    ),
    "a rule allows a command of any kind": (
        [],
        allowed(command=["ls"]),
        [ev.RuleAdded(id="r", scope=a.Scope(), match=a.RuleMatch(command=["ls"]), decision="allow", at=AT)],
    ),
    "a rule is removed": ([RULE], UNRULE, [ev.RuleRemoved(id="r", at=AT)]),
    # What queues and agents change of other commands
    "completing a turn leaves the queue as it is": (
        LATER,
        c.CompleteTurn(thread_id="t", id="u", stop_reason="max_tokens"),
        [e.TurnCompleted(thread_id="t", id="u", stop_reason="max_tokens", at=AT)],
    ),
    "a turn that ends early pauses the queue": (
        LATER,
        c.CompleteTurn(thread_id="t", id="u", stop_reason="refusal"),
        [e.TurnCompleted(thread_id="t", id="u", stop_reason="refusal", at=AT), paused("the turn ended: refusal")],
    ),
    "a turn that fails pauses the queue": (
        LATER,
        c.FailTurn(thread_id="t", id="u", error="no quota"),
        [e.TurnFailed(thread_id="t", id="u", error="no quota", at=AT), paused("the turn failed")],
    ),
    "a turn that fails leaves a paused queue as it is": (
        [*LATER, PAUSE],
        c.FailTurn(thread_id="t", id="u", error="no quota"),
        [e.TurnFailed(thread_id="t", id="u", error="no quota", at=AT)],
    ),
    "a turn that is interrupted pauses the queue": (
        LATER,
        INTERRUPT,
        [stopped(by="user"), paused("the turn was interrupted")],
    ),
    "a turn that is interrupted for a prompt leaves the queue as it is": (
        LATER,
        replace(INTERRUPT, by="steer"),
        [stopped(by="steer")],
    ),
    "a turn of a prompt is asked to stop when it is interrupted": (SENT, INTERRUPT, [TURN_CANCELLING]),
    "a turn of a prompt is interrupted once the agent has stopped": (
        [*SENT, INTERRUPT],
        replace(INTERRUPT, confirmed=True),
        [stopped(by="user", confirmed=True)],
    ),
    "a turn of a prompt is interrupted when nobody can ask the agent": (
        [*SENT, QUEUE_2],
        c.InterruptTurn(thread_id="t", id="u", reason="the daemon is gone", confirmed=False),
        [stopped(reason="the daemon is gone", confirmed=False), paused("the turn was interrupted")],
    ),
    "archiving a thread interrupts a turn of a prompt and pauses the queue": (
        [*SENT, QUEUE_2],
        ARCHIVE,
        [
            stopped(reason="thread archived"),
            paused("the thread was archived"),
            e.ThreadArchived(thread_id="t", at=AT),
        ],
    ),
    "deleting a thread interrupts a turn of a prompt and drops the queue": (
        [*SENT, QUEUE_2, OPEN],
        DELETE,
        [stopped(reason="thread deleted"), e.ThreadDeleted(thread_id="t", at=AT)],
    ),
    "an approval is requested for an activity": (
        [*IN_TURN, ACTIVITY],
        replace(APPROVAL, options=[], detail=None, activity_id="c"),
        [e.ApprovalRequested(thread_id="t", id="q", turn_id="u", title="Run ls?", options=[], activity_id="c", at=AT)],
    ),
    "an approval is resolved by a rule, with content": (
        [*IN_TURN, APPROVAL],
        c.ResolveApproval(thread_id="t", id="q", outcome="once", by="rule", rule_id="r", content={"a": 1}),
        [e.ApprovalResolved(thread_id="t", id="q", outcome="once", by="rule", rule_id="r", content={"a": 1}, at=AT)],
    ),
}

NOTHING: Nothing = {
    "a thread already has this agent": (ASSIGNED, ASSIGN),
    "an option already has this value": (ASSIGNED, a.SetThreadOption(thread_id="t", id="model", value="large")),
    "an option was set to this value": (
        [*ASSIGNED, a.SetThreadOption(thread_id="t", id="fast", value=True)],
        a.SetThreadOption(thread_id="t", id="fast", value=True),
    ),
    "a prompt's edit asks for nothing": (QUEUED, a.EditPrompt(thread_id="t", id="n")),
    "a prompt already has this text": (QUEUED, a.EditPrompt(thread_id="t", id="n", text="Then this", when="idle")),
    "a prompt already has this content": (
        [*ASSIGNED, replace(QUEUE, text="", content=[IMAGE])],
        a.EditPrompt(thread_id="t", id="n", content=[dict(reversed(IMAGE.items()))]),
    ),
    "the last prompt becomes the last": (THREE, replace(MOVE, id="n3")),
    "a prompt goes before itself": (THREE, replace(MOVE, id="n2", before="n2")),
    "a prompt goes before the one that follows it": (THREE, replace(MOVE, id="n", before="n2")),
    "an empty queue is paused": (ASSIGNED, PAUSE),
    "a paused queue is paused": (PAUSED, replace(PAUSE, reason="lunch")),
    "a queue is resumed that is not paused": (QUEUED, RESUME),
    "a queue is resumed that was resumed": ([*PAUSED, RESUME], RESUME),
    "a queue is resumed whose last prompt was sent": ([*PAUSED, SEND], RESUME),
    "a queue is resumed after a session was opened": ([*ASSIGNED, AUTH, OPEN], RESUME),
    "a queue is resumed after another agent was assigned": (
        [*ASSIGNED, AUTH, a.AssignAgent(thread_id="t", agent="codex")],
        RESUME,
    ),
    "a session already has these options": (OPENED, replace(CHANGE, options=[{"id": "model"}])),
    "a session's options were changed to these": ([*OPENED, CHANGE], CHANGE),
    "a session has ended": ([*OPENED, END], END),
    "a usage report has no members": (IN_TURN, a.ReportUsage(thread_id="t", id="u")),
    "a rule was removed": ([RULE, UNRULE], UNRULE),
    "a turn of a prompt is asked to stop a second time": ([*SENT, INTERRUPT], replace(INTERRUPT, by="other")),
    "a thread with a queue is archived already": ([*QUEUED, ARCHIVE], ARCHIVE),
}

_SENT: dict[str, object] = {"promptId": "n"}

REJECTED: Refused = {
    "an option of a thread without an agent is set": (
        IN_THREAD,
        a.SetThreadOption(thread_id="t", id="fast", value=True),
        "noAgent",
        {},
    ),
    "a fork's id is taken": (
        [*IN_THREAD, THREAD_2],
        replace(FORK, id="t2"),
        "idTaken",
        {"entity": "thread", "id": "t2"},
    ),
    "a prompt is queued in a thread without an agent": (IN_THREAD, QUEUE, "noAgent", {}),
    "a prompt is queued in an archived thread": ([*ASSIGNED, ARCHIVE], QUEUE, "threadArchived", {}),
    "a prompt without text is queued": (ASSIGNED, replace(QUEUE, text=" \n"), "emptyPrompt", {}),
    "a prompt with blank content is queued": (
        ASSIGNED,
        replace(QUEUE, text="", content=[{"type": "text", "text": "\t"}]),
        "emptyPrompt",
        {},
    ),
    "a prompt with content without a type is queued": (
        ASSIGNED,
        replace(QUEUE, content=[{"text": "x"}]),
        "contentBlock",
        {"index": 0},
    ),
    "a prompt's id is taken": (QUEUED, QUEUE, "idTaken", {"entity": "prompt", "id": "n"}),
    "a sent prompt's id is taken": (SENT, QUEUE, "idTaken", {"entity": "prompt", "id": "n"}),
    "a removed prompt's id is taken": ([*QUEUED, REMOVE], QUEUE, "idTaken", {"entity": "prompt", "id": "n"}),
    "a prompt loses its text": (QUEUED, replace(EDIT, text=""), "emptyPrompt", {}),
    "a sent prompt is edited": (SENT, EDIT, "promptSent", _SENT),
    "a steering prompt that was sent is edited": ([*LATER, STEER], EDIT, "promptSent", _SENT),
    "a removed prompt is edited": ([*QUEUED, REMOVE], EDIT, "promptSent", _SENT),
    "a sent prompt is moved": ([*SENT, QUEUE_2], replace(MOVE, before="n2"), "promptSent", _SENT),
    "a prompt is moved before a sent one": ([*SENT, QUEUE_2], replace(MOVE, id="n2", before="n"), "promptSent", _SENT),
    "a sent prompt is removed": (SENT, REMOVE, "promptSent", _SENT),
    "a prompt is removed twice": ([*QUEUED, REMOVE], REMOVE, "promptSent", _SENT),
    "a prompt is sent twice": ([*SENT, COMPLETE], replace(SEND, id="u2", message_id="m2"), "promptSent", _SENT),
    "a removed prompt is sent": ([*QUEUED, REMOVE], SEND, "promptSent", _SENT),
    "a prompt is sent while a turn runs": (LATER, replace(SEND, id="u2"), "turnRunning", {"turnId": "u"}),
    "a sent prompt is sent into the running turn": (SENT, STEER, "promptSent", _SENT),
    "a session is opened while another one is open": (
        OPENED,
        replace(OPEN, id="s2"),
        "sessionOpen",
        {"sessionId": "s"},
    ),
    "a session's id is taken": ([*OPENED, END], OPEN, "idTaken", {"entity": "session", "id": "s"}),
    "an ended session is changed": ([*OPENED, END], CHANGE, "sessionEnded", {"sessionId": "s"}),
    "an ended turn reaches a budget": ([*IN_TURN, COMPLETE], BUDGET, "turnEnded", {"turnId": "u"}),
    "a rule's id is taken": ([RULE], RULE, "idTaken", {"entity": "rule", "id": "r"}),
    "a removed rule's id is taken": ([RULE, UNRULE], RULE, "idTaken", {"entity": "rule", "id": "r"}),
    "a rule has two scopes": (
        IN_THREAD,
        replace(RULE, scope=a.Scope(thread_id="t", project_id="p")),
        "ruleScope",
        {},
    ),
    "a rule matches everything": ([], a.AddRule(id="r", match=a.RuleMatch(), decision="deny"), "emptyRule", {}),
    "a rule allows all commands": ([], allowed(kind="execute"), "ruleTooBroad", {}),
    "a rule allows all commands with a path": ([], allowed(kind="execute", path="src/**"), "ruleTooBroad", {}),
    "a rule allows all edits": ([], allowed(kind="edit"), "ruleTooBroad", {}),
    "a rule allows edits by a command": ([], allowed(kind="edit", command=["x"], path="x"), "ruleTooBroad", {}),
    **{
        f"a rule allows {kind}": ([], allowed(kind=kind, command=["x"], path="x"), "ruleTooBroad", {})
        for kind in ("fetch", "other", "switch_mode")
    },
    "a rule has expired": ([], replace(RULE, until=AT), "ruleExpired", {"now": AT}),
}

NOT_FOUND: Missing = {
    "a thread is forked after a missing turn": (IN_THREAD, replace(FORK, after_turn_id="u"), "turn", "u"),
    "a missing prompt is edited": (ASSIGNED, EDIT, "prompt", "n"),
    "a missing prompt is moved": (ASSIGNED, MOVE, "prompt", "n"),
    "a prompt is moved before a missing one": (QUEUED, replace(MOVE, before="x"), "prompt", "x"),
    "a missing prompt is removed": (ASSIGNED, REMOVE, "prompt", "n"),
    "a missing prompt is sent": (ASSIGNED, SEND, "prompt", "n"),
    "a missing prompt is sent into the running turn": ([*ASSIGNED, TURN], STEER, "prompt", "n"),
    "a prompt of another thread is removed": ([*QUEUED, THREAD_2], replace(REMOVE, thread_id="t2"), "prompt", "n"),
    "a missing session is changed": (ASSIGNED, CHANGE, "session", "s"),
    "a missing session ends": (ASSIGNED, END, "session", "s"),
    "a missing session loses its context": (ASSIGNED, LOSE, "session", "s"),
    "the usage of a missing turn is reported": (IN_THREAD, USAGE, "turn", "u"),
    "a missing turn reaches a budget": (IN_THREAD, BUDGET, "turn", "u"),
    "a rule is for a missing thread": ([], replace(RULE, scope=a.Scope(thread_id="t")), "thread", "t"),
    "a rule is for a deleted thread": (
        [*IN_THREAD, DELETE],
        replace(RULE, scope=a.Scope(thread_id="t")),
        "thread",
        "t",
    ),
    "a rule is for a missing project": ([], replace(RULE, scope=a.Scope(project_id="p")), "project", "p"),
    "a missing rule is removed": ([], UNRULE, "rule", "r"),
}

IN_NO_THREAD: list[c.Command] = [
    ASSIGN,
    a.SetThreadOption(thread_id="t", id="fast", value=True),
    FORK,
    QUEUE,
    EDIT,
    MOVE,
    REMOVE,
    PAUSE,
    RESUME,
    OPEN,
    CHANGE,
    END,
    LOSE,
    AUTH,
    USAGE,
    BUDGET,
]
