"""A log in which every event happens, and what each of them does to the tables of the projections."""

from typing import Any

from treadle.domain import agent_events as a
from treadle.domain import events as e
from treadle.domain.events import GivenOrigin, OfferedOption


def at(second: int) -> str:
    return f"2026-01-31T12:{second // 60:02}:{second % 60:02}.000Z"


Row = dict[str, Any] | None
Effect = dict[str, Row]
"""By table and key: the columns that an event changed, all of them of a new row, None for a row that is gone."""

OPTIONS = [OfferedOption(id="yes", name="Yes", kind="allow_once")]
OPTIONS_JSON = '[{"id":"yes","name":"Yes","kind":"allow_once"}]'


def turn(sequence: int, id: str, prompt_id: str | None = None) -> Row:
    return {
        "sequence": sequence,
        "thread_id": "t",
        "id": id,
        "runner": "daemon",
        "prompt_id": prompt_id,
        "status": "running",
        "cancelled_by": None,
        "stop_reason": None,
        "reason": None,
        "by": None,
        "confirmed": None,
        "error": None,
        "error_kind": None,
        "usage": None,
        "started_at": at(sequence),
        "ended_at": None,
    }


def part(entity: int, member: str, sequence: int, size: int | None = None) -> Row:
    return {"entity": entity, "member": member, "sequence": sequence, "size": size, "text": None}


def prompt(sequence: int, id: str) -> Row:
    return {
        "sequence": sequence,
        "thread_id": "t",
        "id": id,
        "base": sequence,
        "position": float(sequence),
        "queued": 1,
        "created_at": at(sequence),
        "updated_at": at(sequence),
    }


def session(sequence: int, id: str, release: str | None = None) -> Row:
    return {
        "sequence": sequence,
        "thread_id": "t",
        "id": id,
        "agent": "claude",
        "release": release,
        "session_id": "x",
        "how": "new",
        "runner": "daemon",
        "base": sequence,
        "context_lost": None,
        "reason": None,
        "exit_status": None,
        "stderr": None,
        "created_at": at(sequence),
        "ended_at": None,
    }


def spent(turn_id: str, cost: float | None, currency: str | None, tokens: int | None) -> Row:
    return {"thread_id": "t", "turn_id": turn_id, "cost": cost, "currency": currency, "tokens": tokens}


def rule(sequence: int, id: str, **fields: object) -> Row:
    given = {"scope": "{}", "agent": None, "until": None, "created_at": at(sequence), "removed": 0}
    return {"sequence": sequence, "id": id, **given, **fields}


def assigned(options: str) -> str:
    return f'{{"name":"claude","mode":"plan","options":{options}}}'


AUTH = '{"agent":"claude","reason":"log in","methods":[{"id":"web"}]}'


def thread(sequence: int, **changed: object) -> Row:
    """The header of the thread after an event that makes it newer."""
    return {"version": sequence, "updated_at": at(sequence), **changed}


HISTORY: list[tuple[e.AnyEvent, Effect]] = [
    (
        e.ProjectCreated(id="p", name="P", path="/p", at=at(1)),
        {
            "projection_projects p": {
                "sequence": 1,
                "id": "p",
                "name": "P",
                "path": "/p",
                "remote": None,
                "created_at": at(1),
                "updated_at": at(1),
                "deleted": 0,
            }
        },
    ),
    (
        e.ProjectUpdated(id="p", name="Q", at=at(2)),
        {"projection_projects p": {"name": "Q", "updated_at": at(2)}},
    ),
    (
        e.ProjectUpdated(id="p", path="/q", remote="example.org/q", at=at(3)),
        {"projection_projects p": {"path": "/q", "remote": "example.org/q", "updated_at": at(3)}},
    ),
    (
        e.ThreadCreated(
            thread_id="t",
            project_id="p",
            title="T",
            origin=GivenOrigin(tool="codex", session_id="s1"),
            worktree=True,
            at=at(4),
        ),
        {
            "projection_threads t": {
                "sequence": 4,
                "id": "t",
                "project_id": "p",
                "title": "T",
                "version": 4,
                "origin": '{"tool":"codex","sessionId":"s1"}',
                "origin_tool": "codex",
                "origin_session": "s1",
                "turn_status": None,
                "pending_approvals": 0,
                "agent": None,
                "queued": 0,
                "queue_paused": None,
                "queue_runner": None,
                "auth_required": None,
                "worktree": '{"path":null,"base":null}',
                "removals": 0,
                "created_at": at(4),
                "updated_at": at(4),
                "archived_at": None,
                "created_by": None,
                "deleted": 0,
                "erased": 0,
            }
        },
    ),
    (e.ThreadRenamed(thread_id="t", title="U", at=at(5)), {"projection_threads t": thread(5, title="U")}),
    (e.ThreadArchived(thread_id="t", at=at(6)), {"projection_threads t": thread(6, archived_at=at(6))}),
    (e.ThreadUnarchived(thread_id="t", at=at(7)), {"projection_threads t": thread(7, archived_at=None)}),
    (
        e.TurnStarted(id="one", thread_id="t", runner="daemon", at=at(8)),
        {"projection_threads t": thread(8, turn_status="running"), "projection_turns t one": turn(8, "one")},
    ),
    (
        e.MessageAdded(
            id="prompt", thread_id="t", turn_id="one", role="user", content=[{"type": "text", "text": "Do"}], at=at(9)
        ),
        {
            "projection_threads t": thread(9),
            "projection_messages t prompt": {
                "sequence": 9,
                "thread_id": "t",
                "id": "prompt",
                "turn_id": "one",
                "role": "user",
                "status": "complete",
                "text_bytes": None,
                "content_bytes": 29,
                "created_at": at(9),
                "completed_at": at(9),
            },
        },
    ),
    (
        e.MessageAdded(
            id="answer", thread_id="t", turn_id="one", role="assistant", text="A", streaming=True, at=at(10)
        ),
        {
            "projection_threads t": thread(10),
            "parts 10  10": part(10, "", 10),
            "projection_messages t answer": {
                "sequence": 10,
                "thread_id": "t",
                "id": "answer",
                "turn_id": "one",
                "role": "assistant",
                "status": "streaming",
                "text_bytes": None,
                "content_bytes": None,
                "created_at": at(10),
                "completed_at": None,
            },
        },
    ),
    # A token costs a token: neither the message's row nor the thread's is written.
    (
        e.MessageAppended(id="answer", thread_id="t", text="é😀", at=at(11)),
        {"parts 10  11": part(10, "", 11)},
    ),
    (
        e.MessageAppended(id="answer", thread_id="t", text="!", at=at(12)),
        {"parts 10  12": part(10, "", 12)},
    ),
    (
        e.MessageCompleted(id="answer", thread_id="t", at=at(13)),
        {
            "projection_threads t": thread(13),
            "projection_messages t answer": {"status": "complete", "completed_at": at(13)},
        },
    ),
    (
        e.ActivityRecorded(
            id="tool",
            thread_id="t",
            turn_id="one",
            kind="tool_call",
            title="ls",
            status="running",
            detail={"n": [1, 1.5, None], "out": "a"},
            at=at(14),
        ),
        {
            "projection_threads t": thread(14),
            "projection_activities t tool": {
                "sequence": 14,
                "thread_id": "t",
                "id": "tool",
                "turn_id": "one",
                "kind": "tool_call",
                "title": "ls",
                "status": "running",
                "base": 14,
                "size": 28,
                "created_at": at(14),
                "updated_at": at(14),
            },
        },
    ),
    (
        e.ActivityUpdated(id="tool", thread_id="t", title="ls -a", append={"out": "b"}, at=at(15)),
        {
            "projection_threads t": thread(15),
            "projection_activities t tool": {"title": "ls -a", "size": 29, "updated_at": at(15)},
            "parts 14 n 14": part(14, "n", 14, 17),
            "parts 14 out 14": part(14, "out", 14, 10),
            "parts 14 out 15": part(14, "out", 15, 1),
        },
    ),
    (
        e.ActivityUpdated(id="tool", thread_id="t", status="pending", detail={"n": None, "exit": 1}, at=at(16)),
        {
            "projection_threads t": thread(16),
            "projection_activities t tool": {"status": "pending", "size": 21, "updated_at": at(16)},
            "parts 14 n 14": None,
            "parts 14 exit 16": part(14, "exit", 16, 9),
        },
    ),
    (
        e.ActivityRecorded(
            id="tool", thread_id="t", turn_id="one", kind="edit", title="ls -l", status="completed", at=at(17)
        ),
        {
            "projection_threads t": thread(17),
            "projection_activities t tool": {
                "kind": "edit",
                "title": "ls -l",
                "status": "completed",
                "base": 17,
                "size": 0,
                "updated_at": at(17),
            },
            "parts 14 exit 16": None,
            "parts 14 out 14": None,
            "parts 14 out 15": None,
        },
    ),
    (
        e.ActivityUpdated(id="tool", thread_id="t", kind="read", detail={"exit": 0}, at=at(18)),
        {
            "projection_threads t": thread(18),
            "projection_activities t tool": {"kind": "read", "size": 10, "updated_at": at(18)},
            "parts 14 exit 18": part(14, "exit", 18, 9),
        },
    ),
    (
        e.ApprovalRequested(
            id="ask",
            thread_id="t",
            turn_id="one",
            title="May it?",
            options=OPTIONS,
            detail="x",
            activity_id="tool",
            at=at(19),
        ),
        {
            "projection_threads t": thread(19, pending_approvals=1),
            "projection_approvals t ask": {
                "sequence": 19,
                "thread_id": "t",
                "id": "ask",
                "turn_id": "one",
                "title": "May it?",
                "options": OPTIONS_JSON,
                "detail": '"x"',
                "activity_id": "tool",
                "status": "pending",
                "outcome": None,
                "by": None,
                "rule_id": None,
                "content": None,
                "created_at": at(19),
                "resolved_at": None,
                "resolved_by": None,
            },
        },
    ),
    (
        e.ApprovalRequested(id="ask again", thread_id="t", turn_id="one", title="Really?", options=OPTIONS, at=at(20)),
        {
            "projection_threads t": thread(20, pending_approvals=2),
            "projection_approvals t ask again": {
                "sequence": 20,
                "thread_id": "t",
                "id": "ask again",
                "turn_id": "one",
                "title": "Really?",
                "options": OPTIONS_JSON,
                "detail": None,
                "activity_id": None,
                "status": "pending",
                "outcome": None,
                "by": None,
                "rule_id": None,
                "content": None,
                "created_at": at(20),
                "resolved_at": None,
                "resolved_by": None,
            },
        },
    ),
    (
        e.ApprovalResolved(id="ask", thread_id="t", outcome="yes", by="rule", rule_id="r", content={"n": 1}, at=at(21)),
        {
            "projection_threads t": thread(21, pending_approvals=1),
            "projection_approvals t ask": {
                "status": "resolved",
                "outcome": "yes",
                "by": "rule",
                "rule_id": "r",
                "content": '{"n":1}',
                "resolved_at": at(21),
            },
        },
    ),
    (
        e.ApprovalResolved(id="ask again", thread_id="t", outcome=None, at=at(22)),
        {
            "projection_threads t": thread(22, pending_approvals=0),
            "projection_approvals t ask again": {"status": "cancelled", "resolved_at": at(22)},
        },
    ),
    (
        e.CheckpointCreated(
            id="before",
            thread_id="t",
            git_ref="refs/x",
            message="Before",
            commit="c" * 40,
            tree="d" * 40,
            phase="before",
            skipped=[e.SkippedFile("core", "size", 9)],
            at=at(23),
        ),
        {
            "projection_threads t": thread(23),
            "checkpoints t before": {
                "sequence": 23,
                "thread_id": "t",
                "id": "before",
                "turn_id": None,
                "git_ref": "refs/x",
                "message": "Before",
                "git_commit": "c" * 40,
                "tree": "d" * 40,
                "phase": "before",
                "skipped": '[{"path":"core","reason":"size","bytes":9}]',
                "created_at": at(23),
                "restored_at": None,
                "in_project": 0,
                "machine": None,
                "pruned": 0,
            },
        },
    ),
    (
        e.CheckpointCreated(
            id="in", thread_id="t", turn_id="one", git_ref="refs/y", message="", machine="0a", at=at(24)
        ),
        {
            "projection_threads t": thread(24),
            "checkpoints t in": {
                "sequence": 24,
                "thread_id": "t",
                "id": "in",
                "turn_id": "one",
                "git_ref": "refs/y",
                "message": "",
                "git_commit": None,
                "tree": None,
                "phase": "manual",
                "skipped": None,
                "created_at": at(24),
                "restored_at": None,
                "in_project": 0,
                "machine": "0a",
                "pruned": 0,
            },
        },
    ),
    (
        e.CheckpointRestored(id="before", thread_id="t", at=at(25)),
        {
            "projection_threads t": thread(25),
            "checkpoints t before": {"restored_at": at(25)},
            "restores 25": {"sequence": 25, "thread_id": "t"},
        },
    ),
    (
        e.CheckpointFailed(thread_id="t", turn_id="one", reason="no git", at=at(26)),
        {"projection_threads t": thread(26)},
    ),
    (
        e.TurnCompleted(id="one", thread_id="t", stop_reason="end_turn", usage={"tokens": 7}, at=at(27)),
        {
            "projection_threads t": thread(27, turn_status=None),
            "projection_turns t one": {
                "status": "completed",
                "stop_reason": "end_turn",
                "usage": '{"tokens":7}',
                "ended_at": at(27),
            },
        },
    ),
    (
        e.TurnStarted(id="two", thread_id="t", runner="daemon", at=at(28)),
        {"projection_threads t": thread(28, turn_status="running"), "projection_turns t two": turn(28, "two")},
    ),
    (
        e.TurnFailed(id="two", thread_id="t", error="It broke", kind="network", at=at(29)),
        {
            "projection_threads t": thread(29, turn_status=None),
            "projection_turns t two": {
                "status": "failed",
                "error": "It broke",
                "error_kind": "network",
                "ended_at": at(29),
            },
        },
    ),
    (
        e.TurnStarted(id="three", thread_id="t", runner="daemon", at=at(30)),
        {"projection_threads t": thread(30, turn_status="running"), "projection_turns t three": turn(30, "three")},
    ),
    (
        e.TurnCancelling(id="three", thread_id="t", by="user", at=at(31)),
        {
            "projection_threads t": thread(31, turn_status="cancelling"),
            "projection_turns t three": {"cancelled_by": "user"},
        },
    ),
    (
        e.TurnInterrupted(id="three", thread_id="t", reason="stopped", by="user", confirmed=True, at=at(32)),
        {
            "projection_threads t": thread(32, turn_status=None),
            "projection_turns t three": {
                "status": "interrupted",
                "reason": "stopped",
                "by": "user",
                "cancelled_by": None,
                "confirmed": 1,
                "ended_at": at(32),
            },
        },
    ),
    (
        e.SettingChanged(key="theme", value={"dark": True}, at=at(33)),
        {"settings theme": {"key": "theme", "sequence": 33, "value": '{"dark":true}', "updated_at": at(33)}},
    ),
    (
        e.SettingChanged(key="theme", value=False, at=at(34)),
        {"settings theme": {"value": "false", "updated_at": at(34)}},
    ),
    (e.SettingChanged(key="theme", value=None, at=at(35)), {"settings theme": None}),
    (
        e.TurnStarted(id="four", thread_id="t", runner="daemon", prompt_id="zero", at=at(36)),
        {
            "projection_threads t": thread(36, turn_status="running"),
            "projection_turns t four": turn(36, "four", "zero"),
        },
    ),
    (
        e.MessageAdded(id="open", thread_id="t", turn_id="four", role="system", text="", streaming=True, at=at(37)),
        {
            "projection_threads t": thread(37),
            "parts 37  37": part(37, "", 37),
            "projection_messages t open": {
                "sequence": 37,
                "thread_id": "t",
                "id": "open",
                "turn_id": "four",
                "role": "system",
                "status": "streaming",
                "text_bytes": None,
                "content_bytes": None,
                "created_at": at(37),
                "completed_at": None,
            },
        },
    ),
    (
        e.MessageAppended(id="open", thread_id="t", text="left", at=at(38)),
        {"parts 37  38": part(37, "", 38)},
    ),
    (
        e.SettingChanged(key="size", value=12, at=at(39)),
        {"settings size": {"key": "size", "sequence": 39, "value": "12", "updated_at": at(39)}},
    ),
    # Running agents
    (
        a.AgentAssigned(thread_id="t", agent="claude", mode="plan", options={"model": "a"}, at=at(40)),
        {"projection_threads t": thread(40, agent=assigned('{"model":"a"}'))},
    ),
    (
        a.ThreadOptionSet(thread_id="t", id='fa"st', value=True, at=at(41)),
        {"projection_threads t": thread(41, agent=assigned('{"model":"a","fa\\"st":true}'))},
    ),
    (
        a.AuthRequired(thread_id="t", agent="claude", reason="log in", methods=[{"id": "web"}], at=at(42)),
        {"projection_threads t": thread(42, auth_required=AUTH)},
    ),
    (
        a.AgentAssigned(thread_id="t", agent="claude", mode="plan", at=at(43)),
        {"projection_threads t": thread(43, agent=assigned("{}"))},
    ),
    (
        a.PromptQueued(id="first", thread_id="t", text="Do", runner="daemon", at=at(44)),
        {
            "projection_threads t": thread(44, queued=1, queue_runner="daemon"),
            "projection_prompts t first": prompt(44, "first"),
        },
    ),
    (
        a.PromptQueued(
            id="second",
            thread_id="t",
            content=[{"type": "text", "text": "Then"}],
            when="steer",
            runner="other",
            at=at(45),
        ),
        {
            "projection_threads t": thread(45, queued=2),
            "projection_prompts t second": prompt(45, "second"),
        },
    ),
    (
        a.PromptEdited(id="first", thread_id="t", text="Do it", at=at(46)),
        {
            "projection_threads t": thread(46),
            "projection_prompts t first": {"base": 46, "updated_at": at(46)},
        },
    ),
    (
        a.PromptMoved(id="first", thread_id="t", position=45.5, at=at(47)),
        {
            "projection_threads t": thread(47),
            "projection_prompts t first": {"position": 45.5, "updated_at": at(47)},
        },
    ),
    (
        a.QueuePaused(thread_id="t", reason="wait", at=at(48)),
        {"projection_threads t": thread(48, queue_paused="wait")},
    ),
    (
        a.QueueResumed(thread_id="t", runner="daemon", at=at(49)),
        {"projection_threads t": thread(49, queue_paused=None, auth_required=None)},
    ),
    (
        a.QueuePaused(thread_id="t", reason="again", at=at(50)),
        {"projection_threads t": thread(50, queue_paused="again")},
    ),
    (
        a.PromptSent(id="first", thread_id="t", turn_id="four", at=at(51)),
        {"projection_threads t": thread(51, queued=1), "projection_prompts t first": {"queued": 0}},
    ),
    (
        a.PromptRemoved(id="second", thread_id="t", at=at(52)),
        {
            "projection_threads t": thread(52, queued=0, queue_paused=None),
            "projection_prompts t second": {"queued": 0},
        },
    ),
    (
        a.PromptQueued(id="third", thread_id="t", text="Go on", runner="daemon", at=at(53)),
        {"projection_threads t": thread(53, queued=1), "projection_prompts t third": prompt(53, "third")},
    ),
    (
        a.AuthRequired(thread_id="t", agent="claude", reason="log in", methods=[{"id": "web"}], at=at(54)),
        {"projection_threads t": thread(54, auth_required=AUTH)},
    ),
    (
        a.SessionOpened(
            id="s",
            thread_id="t",
            agent="claude",
            release="1.0",
            session_id="x",
            how="new",
            capabilities={"loadSession": True},
            options=[{"id": "model"}],
            runner="daemon",
            at=at(55),
        ),
        {
            "projection_threads t": thread(55, auth_required=None),
            "projection_sessions t s": session(55, "s", "1.0"),
            "run_sessions x": {"session_id": "x", "sequence": 55, "thread_id": "t"},
        },
    ),
    (
        a.SessionChanged(id="s", thread_id="t", options=[{"id": "mode"}], at=at(56)),
        {"projection_threads t": thread(56), "projection_sessions t s": {"base": 56}},
    ),
    (
        a.ContextLost(id="s", thread_id="t", reason="forgotten", at=at(57)),
        {"projection_threads t": thread(57), "projection_sessions t s": {"context_lost": "forgotten"}},
    ),
    (
        a.SessionEnded(id="s", thread_id="t", reason="crashed", exit_status=-9, stderr="oh", at=at(58)),
        {
            "projection_threads t": thread(58),
            "projection_sessions t s": {"reason": "crashed", "exit_status": -9, "stderr": "oh", "ended_at": at(58)},
        },
    ),
    (
        a.SessionOpened(id="s2", thread_id="t", agent="claude", session_id="x", how="new", runner="daemon", at=at(59)),
        {"projection_threads t": thread(59), "projection_sessions t s2": session(59, "s2")},
    ),
    # The size of the context is in the log alone.
    (
        a.UsageReported(id="one", thread_id="t", used=1000, size=200_000, at=at(60)),
        {"projection_threads t": thread(60)},
    ),
    (
        a.UsageReported(id="one", thread_id="t", tokens=100, at=at(61)),
        {
            "projection_threads t": thread(61),
            "projection_usage t ": spent("", None, None, 100),
            "projection_usage t one": spent("one", None, None, 100),
        },
    ),
    (
        a.UsageReported(id="one", thread_id="t", cost=0.1, currency="USD", at=at(62)),
        {
            "projection_threads t": thread(62),
            "projection_usage t ": {"cost": 0.1, "currency": "USD"},
            "projection_usage t one": {"cost": 0.1, "currency": "USD"},
        },
    ),
    (
        a.UsageReported(id="four", thread_id="t", cost=0.2, currency="USD", tokens=10, at=at(63)),
        {
            "projection_threads t": thread(63),
            "projection_usage t ": {"cost": 0.3, "tokens": 110},
            "projection_usage t four": spent("four", 0.2, "USD", 10),
        },
    ),
    (
        a.UsageReported(id="four", thread_id="t", cost=0.5, currency="USD", tokens=30, at=at(64)),
        {
            "projection_threads t": thread(64),
            "projection_usage t ": {"cost": 0.6, "tokens": 130},
            "projection_usage t four": {"cost": 0.5, "tokens": 30},
        },
    ),
    (
        a.UsageReported(id="two", thread_id="t", cost=9.0, currency="EUR", at=at(65)),
        {"projection_threads t": thread(65), "projection_usage t two": spent("two", 9.0, "EUR", None)},
    ),
    (
        a.BudgetReached(thread_id="t", turn_id="four", scope="turn", limit="cost", amount=0.4, spent=0.5, at=at(66)),
        {"projection_threads t": thread(66)},
    ),
    (
        a.RuleAdded(
            id="r",
            scope=a.GivenScope(thread_id="t"),
            agent="claude",
            match=a.GivenMatch(kind="execute", command=["git", "diff"]),
            decision="allow",
            until=at(99),
            at=at(67),
        ),
        {
            "projection_rules r": rule(
                67,
                "r",
                scope='{"threadId":"t"}',
                agent="claude",
                match='{"kind":"execute","command":["git","diff"]}',
                decision="allow",
                until=at(99),
            )
        },
    ),
    (
        a.RuleAdded(id="r2", match=a.GivenMatch(path="src/**"), decision="deny", at=at(68)),
        {"projection_rules r2": rule(68, "r2", match='{"path":"src/**"}', decision="deny")},
    ),
    (a.RuleRemoved(id="r", at=at(69)), {"projection_rules r": {"removed": 1}}),
    (
        e.CheckpointPruned(id="before", thread_id="t", at=at(70)),
        {"projection_threads t": thread(70), "checkpoints t before": {"pruned": 70}},
    ),
    (
        e.WorktreeCreated(thread_id="t", path="/w", base="c" * 40, at=at(71)),
        {"projection_threads t": thread(71, worktree=f'{{"path":"/w","base":"{"c" * 40}"}}')},
    ),
    (
        e.WorktreeRemoved(thread_id="t", at=at(72)),
        {"projection_threads t": thread(72, worktree=f'{{"path":null,"base":"{"c" * 40}"}}', removals=1)},
    ),
    (
        e.EventsRedacted(
            thread_id="t",
            events=[
                e.CleanedEvent(5, {"type": "ThreadRenamed", "at": at(5), "threadId": "t", "title": "V"}),
                e.CleanedEvent(
                    15,
                    {
                        **{"type": "ActivityUpdated", "at": at(15), "threadId": "t", "id": "tool"},
                        **{"title": "ls -b", "append": {"out": ""}},
                    },
                ),
            ],
            at=at(73),
        ),
        # Its rows are made again: the same ones, but for what the rewritten events say.
        {"projection_threads t": thread(73, title="V")},
    ),
    (
        e.ThreadDeleted(thread_id="t", at=at(74)),
        {
            "projection_threads t": thread(74, deleted=1),
            "projection_turns t one": None,
            "projection_turns t two": None,
            "projection_turns t three": None,
            "projection_turns t four": None,
            "projection_messages t prompt": None,
            "projection_messages t answer": None,
            "projection_messages t open": None,
            "parts 10  10": None,
            "parts 10  11": None,
            "parts 10  12": None,
            "parts 14 exit 18": None,
            "parts 37  37": None,
            "parts 37  38": None,
            "projection_activities t tool": None,
            "projection_approvals t ask": None,
            "projection_approvals t ask again": None,
            "checkpoints t before": None,
            "checkpoints t in": None,
            "restores 25": None,
            "projection_prompts t first": None,
            "projection_prompts t second": None,
            "projection_prompts t third": None,
            "projection_sessions t s": None,
            "projection_sessions t s2": None,
            "projection_usage t ": None,
            "projection_usage t one": None,
            "projection_usage t two": None,
            "projection_usage t four": None,
        },
    ),
    (
        e.ThreadErased(thread_id="t", at=at(75)),
        {
            "projection_threads t": thread(
                75, title="", origin=None, origin_tool=None, origin_session=None, agent=None, worktree=None, erased=1
            )
        },
    ),
    (
        e.ProjectDeleted(id="p", at=at(76)),
        {"projection_projects p": {"deleted": 1, "updated_at": at(76)}},
    ),
]
LIVE = [event for event, _ in HISTORY[:-3]]
"""All but the deletions: every table has a row."""
