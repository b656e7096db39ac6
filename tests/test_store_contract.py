"""The contract of `store/ports.py`, checked on each store: SQLite on disk, and the store in memory."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drafts import DRAFTS, Draft, Known
from memory_store import MemoryStore
from postgres import needs_postgres
from support import opened
from treadle.contract.results import BatchDispatched, Page
from treadle.core.engine import Engine
from treadle.core.group_commit import Group
from treadle.domain import agent_commands as ac
from treadle.domain import agent_events as a
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.entities import Assigned, Spent, ThreadWorktree
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.ids import ThreadSort
from treadle.domain.paths import project_key
from treadle.domain.state import (
    ActivityState,
    ApprovalState,
    Key,
    ProjectState,
    PromptState,
    RunningTurn,
    SessionState,
    ThreadState,
    initial_state,
)
from treadle.store.errors import StorageError
from treadle.store.pages import LATEST, PAGE_BOUNDS, BadCursor, PageBounds, decode_cursor, stored_event
from treadle.store.ports import DataDirectory, Log, Reads
from treadle.store.records import (
    CommandRecord,
    Loaded,
    NamedEntity,
    OpenMessage,
    PendingApproval,
    QueuedPrompt,
    QueueOwner,
    RestoredFiles,
    SessionOwner,
    SessionWork,
    ThreadWork,
    TranscriptItem,
    TurnOwner,
    TurnWork,
)

TIMES = [f"2026-01-31T12:00:0{second}.000Z" for second in (1, 3, 2)]
"""Times of events. A later event may have an earlier time."""
OPTIONS = [c.ApprovalOption(id="yes", name="Yes", kind="allow_once")]
OPTIONS_JSON = '[{"id":"yes","name":"Yes","kind":"allow_once"}]'

PROJECT = c.CreateProject(id="p", name="P", path="/p", remote="example.org/team/app")
THREAD = c.CreateThread(thread_id="t", project_id="p", title="Title")
TURN = c.StartTurn(thread_id="t", id="u", prompt="Do", message_id="prompt")
END = c.CompleteTurn(thread_id="t", id="u", stop_reason="end")
BEGUN: list[c.Command] = [PROJECT, THREAD, TURN]
"""Events 1 to 4: the project, the thread, the turn and its prompt."""
MANY = 100
"""More pages than any list here has."""


@pytest.fixture
def pages() -> PageBounds:
    """The bounds of pages. A test that needs others is parametrized with them."""
    return PAGE_BOUNDS


@pytest.fixture(params=["sqlite", "memory", pytest.param("shared", marks=needs_postgres)])
async def store(request: pytest.FixtureRequest, data_dir: Path, pages: PageBounds) -> AsyncIterator[DataDirectory]:
    """An empty store of each kind."""
    if request.param == "shared":
        request.getfixturevalue("share_log")(data_dir)
    async with (
        nullcontext(MemoryStore(pages=pages)) if request.param == "memory" else opened(data_dir, pages=pages) as store
    ):
        yield store


def setting(n: int, value: object = True) -> c.ChangeSetting:
    return c.ChangeSetting(key=f"key-{n}", value=value)


def message(id: str, text: str = "", **fields: Any) -> c.AddMessage:
    return c.AddMessage(thread_id="t", id=id, turn_id="u", role="assistant", text=text, **fields)


def delta(text: str, id: str = "m") -> c.AppendMessage:
    return c.AppendMessage(thread_id="t", id=id, text=text)


def activity(id: str, title: str = "ls", status: Any = "running", detail: object = None) -> c.RecordActivity:
    return c.RecordActivity(thread_id="t", id=id, turn_id="u", kind="k", title=title, status=status, detail=detail)


def approval(id: str, title: str = "May it?") -> c.RequestApproval:
    return c.RequestApproval(thread_id="t", id=id, turn_id="u", title=title, options=OPTIONS)


def checkpoint(id: str) -> c.CreateCheckpoint:
    return c.CreateCheckpoint(thread_id="t", id=id, git_ref="refs/x", message="")


async def do(engine: Engine, *commands: c.Command) -> int:
    """Submit the commands one by one; return the sequence of the last event."""
    for command in commands:
        answer: BatchDispatched = await engine.submit([command]).future
    return answer.sequence


def decoded(value: object) -> Any:
    """The JSON of a value, decoded."""
    return msgspec.json.decode(msgspec.json.encode(value))


def ids(values: object) -> list[str]:
    return [value.get("id") or value["key"] for value in decoded(values)]


def pages_of(list_page: Callable[[Any], Page[Any]], start: Any) -> list[Page[Any]]:
    """Every page of a list."""
    pages = [list_page(start)]
    while (cursor := pages[-1].next_cursor) is not None:
        assert len(pages) < MANY, "the list has no end"
        pages.append(list_page(decode_cursor(cursor, start)))
    return pages


def listed(list_page: Callable[[Any], Page[Any]], start: Any) -> list[list[str]]:
    """The ids on each page of a list."""
    return [ids(page.items) for page in pages_of(list_page, start)]


def threads_of(
    reads: Reads, project: str | None = None, archived: bool | None = None, sort: ThreadSort = "version", **origin: Any
) -> list[Page[Any]]:
    """Every page of the list of threads."""

    def page(cursor: str | None) -> Page[Any]:
        return reads.thread_list(sort=sort, project_id=project, archived=archived, **origin, limit=2, cursor=cursor)

    pages = [page(None)]
    while (cursor := pages[-1].next_cursor) is not None:
        assert len(pages) < MANY, "the list has no end"
        pages.append(page(cursor))
    return pages


# The log


async def sequence(store: DataDirectory) -> int:
    return await store.write(lambda log: log.sequence())


async def append(store: DataDirectory, after: int, payloads: list[bytes], records: list[CommandRecord]) -> bool:
    return await store.write(lambda log: log.append(after, payloads, records)) is not None


async def load(store: DataDirectory, keys: list[Key], command_ids: list[str]) -> Loaded:
    return await store.write(lambda log: log.load(keys, command_ids))


def payload(n: int) -> bytes:
    return e.encode(e.SettingChanged(key=f"key-{n}", value=True, at=TIMES[0]))


async def test_an_append_succeeds_only_after_the_last_event(store: DataDirectory) -> None:
    assert await sequence(store) == 0
    assert await append(store, 0, [payload(1), payload(2)], [])
    for expected in (0, 1, 3):
        assert not await append(store, expected, [payload(3)], [CommandRecord("c", "digest", 1, 1)])
    assert await sequence(store) == 2
    assert await append(store, 2, [payload(3)], [CommandRecord("c", "digest", 3, 3)])
    assert await sequence(store) == 3
    assert [k["event"]["key"] for k in decoded(await store.read(lambda r: r.events(None, 0, 9)[0]))] == [
        "key-1",
        "key-2",
        "key-3",
    ]


async def test_a_decision_is_current_until_the_next_event(store: DataDirectory) -> None:
    by = Group(initial_state(), "", {})
    assert await store.write(lambda log: log.is_current(0, by))
    await append(store, 0, [payload(1)], [])
    assert not await store.write(lambda log: log.is_current(0, by))
    assert await store.write(lambda log: log.is_current(1, by))


async def test_an_append_whose_command_was_answered_meanwhile_does_nothing(store: DataDirectory) -> None:
    known = CommandRecord("known", "digest", 1, 0)
    assert await append(store, 0, [], [known])
    other = CommandRecord("other", "digest", 1, 1)
    assert not await append(store, 0, [payload(1)], [other, known])
    assert await sequence(store) == 0
    assert list((await load(store, [], ["known", "other"])).answers) == ["known"]


async def test_an_event_that_cannot_be_read_is_refused_with_all_that_came_with_it(store: DataDirectory) -> None:
    if store.is_shared:
        pytest.skip("the server takes any text: an engine sends what it has decided")
    for bad in (b"", b"no JSON", b'{"type":"SettingChanged"}'):
        with pytest.raises(StorageError):
            await append(store, 0, [payload(1), bad], [CommandRecord("c", "digest", 1, 2)])
    assert await load(store, [("setting", "key-1")], ["c"]) == (0, {("setting", "key-1"): None}, {})


async def test_a_load_gives_the_answers_of_commands_with_their_events(store: DataDirectory) -> None:
    records = [
        CommandRecord("one", "d1", 1, 1),
        CommandRecord("two", "d2", 2, 3, "[1,0,1]"),
        CommandRecord("none", "d3", 4, 3),
    ]
    assert await append(store, 0, [payload(n) for n in (1, 2, 3)], records)
    at, state, answers = await load(store, [], ["two", "none", "unknown", "one"])
    assert (at, state) == (3, {})
    assert {id: record for id, (record, _) in answers.items()} == {record.command_id: record for record in records}
    assert [s["sequence"] for s in decoded(answers["two"][1])] == [2, 3]
    [stored] = decoded(answers["one"][1])
    assert (stored["event"], stored.get("actor")) == (msgspec.json.decode(payload(1)), store.actor)
    assert answers["none"][1] == []


async def test_a_load_gives_what_is_under_the_keys_at_one_sequence(store: DataDirectory, engine: Engine) -> None:
    await do(
        engine, *BEGUN, message("m", streaming=True), activity("a", detail=[1]), approval("q"), setting(1, {"b": 1})
    )
    await do(engine, c.CancelTurn(thread_id="t", id="u"))
    turn = RunningTurn("u", store.runner.name, messages=("m",), activities=("a",), approvals=("q",), cancelling=True)
    found: dict[Key, Any] = {
        ("project", "p"): ProjectState("P", None if store.is_shared else "/p", "example.org/team/app"),
        ("path", "/p"): None if store.is_shared else "p",
        ("members", "p"): ("t",),
        ("turn", "t", "u"): "running",
        ("message", "t", "m"): "streaming",
        ("message", "t", "prompt"): "complete",
        ("activity", "t", "a"): ActivityState("u", "k", "ls", "running", [1]),
        ("approval", "t", "q"): ApprovalState(("yes",)),
        ("checkpoint", "t", "none"): None,
        ("setting", "key-1"): '{"b":1}',
        ("project", "none"): None,
        ("path", "/none"): None,
        ("thread", "none"): None,
    }
    at, state, _ = await load(store, list(found), [])
    thread = ThreadState("p", "Title", version=9, turn=turn)
    assert state.pop(("thread", "t")) == thread  # loaded with the members of its project
    assert (at, state) == (9, found)
    await do(engine, c.DeleteThread(thread_id="t"), c.DeleteProject(id="p"))
    keys: list[Key] = [("thread", "t"), ("project", "p"), ("members", "p"), ("path", "/p"), ("message", "t", "m")]
    state = await store.read(lambda reads: reads.look_up(keys))
    assert (state[keys[0]].deleted, state[keys[0]].turn, state[keys[1]].deleted) == (True, None, True)
    assert [state[key] for key in keys[2:]] == [(), None, None]


async def test_the_unfinished_activities_of_a_turn_are_in_the_order_in_which_they_began(
    store: DataDirectory, engine: Engine
) -> None:
    again = [activity("a", status="completed"), activity("a", status="pending")]
    await do(engine, *BEGUN, activity("a"), activity("b"), *again)
    thread: Any = (await load(store, [("thread", "t")], [])).state["thread", "t"]
    assert thread.turn.activities == ("a", "b")


# Reading


async def test_a_read_gives_the_result_of_its_function_or_raises_what_it_raises(store: DataDirectory) -> None:
    one, other = store.read(lambda reads: reads.sequence()), store.read(lambda reads: 1 / reads.sequence())
    assert await one == 0
    with pytest.raises(ZeroDivisionError):
        await other
    assert await store.read(lambda reads: reads.bounds) == PAGE_BOUNDS


async def test_the_span_of_a_log_is_from_its_first_event_to_its_last(store: DataDirectory) -> None:
    assert await store.read(lambda reads: reads.log_span()) == (store.log_id, None, None)
    events = [e.SettingChanged(key="k", value=n, at=f"2026-01-0{n}T12:00:00.000Z") for n in (1, 2, 3)]
    await append(store, 0, [e.encode(event) for event in events], [])
    assert await store.read(lambda reads: reads.log_span()) == (store.log_id, events[0].at, events[2].at)


async def test_projects_are_listed_newest_first_without_the_deleted(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *(c.CreateProject(id=f"p{n}", name=str(n), path=f"/{n}") for n in range(6)))
    await do(
        engine, c.DeleteProject(id="p4"), c.UpdateProject(id="p0", name="New", path="/new", remote="example.org/new")
    )
    pages = await store.read(lambda reads: listed(lambda at: reads.project_list(2, at), LATEST))
    assert pages == [["p5", "p3"], ["p2", "p1"], ["p0"]]
    projects = decoded(await store.read(lambda reads: reads.projects()))
    assert ids(projects) == ["p5", "p3", "p2", "p1", "p0"]
    assert {**projects[-1], "createdAt": "", "updatedAt": ""} == {
        "sequence": 1,
        "id": "p0",
        "name": "New",
        "path": "/new",
        "remote": "example.org/new",
        "createdAt": "",
        "updatedAt": "",
    }


async def test_threads_are_listed_last_changed_first_by_project_and_archive(
    store: DataDirectory, engine: Engine
) -> None:
    await do(engine, PROJECT, c.CreateProject(id="q", name="Q", path="/q"))
    await do(engine, *(c.CreateThread(thread_id=f"t{n}", project_id="pq"[n % 2], title=str(n)) for n in range(6)))
    await do(engine, c.RenameThread(thread_id="t1", title="New"), c.ArchiveThread(thread_id="t2"))
    await do(engine, c.ArchiveThread(thread_id="t3"), c.UnarchiveThread(thread_id="t3"), c.DeleteThread(thread_id="t4"))

    async def of(project: str | None, archived: bool | None) -> list[list[str]]:
        return await store.read(lambda reads: [ids(page.items) for page in threads_of(reads, project, archived)])

    assert await of(None, None) == [["t3", "t2"], ["t1", "t5"], ["t0"]]
    assert await of("p", None) == [["t2", "t0"]]
    assert await of("q", False) == [["t3", "t1"], ["t5"]]
    assert await of(None, True) == [["t2"]]
    assert await of("none", None) == [[]]
    assert ids(await store.read(lambda reads: reads.newest_threads(3))) == ["t3", "t2", "t1"]


async def test_threads_are_listed_by_time_and_by_origin(store: DataDirectory, engine: Engine) -> None:
    origins = [c.Origin(tool="a", session_id="1"), c.Origin(tool="a"), c.Origin(tool="b", session_id="1"), None]
    times = [TIMES[n] for n in (1, 0, 1, 2)]
    await do(engine, PROJECT)
    for n, (origin, at) in enumerate(zip(origins, times, strict=True)):
        await do(engine, c.CreateThread(thread_id=f"t{n}", project_id="p", title="T", origin=origin, at=at))
    earlier = c.RenameThread(thread_id="t0", title="New", at=TIMES[0])  # does not change the latest time
    await do(engine, earlier, c.ArchiveThread(thread_id="t1", at=TIMES[2]))

    async def of(**asked: Any) -> list[list[str]]:
        return await store.read(lambda reads: [ids(page.items) for page in threads_of(reads, **asked)])

    assert await of() == [["t1", "t0"], ["t3", "t2"]]
    assert await of(sort="updatedAt") == [["t2", "t0"], ["t3", "t1"]]
    assert await of(sort="updatedAt", archived=False, project="p") == [["t2", "t0"], ["t3"]]
    assert await of(tool="a") == [["t1", "t0"]]
    assert await of(tool="b", sort="updatedAt") == [["t2"]]
    assert await of(tool="a", session="1") == [["t0"]]
    assert await of(tool="a", session="2") == [[]]
    [thread] = decoded(await store.read(lambda reads: reads.thread_list(tool="b", limit=1).items))
    assert thread["origin"] == {"tool": "b", "sessionId": "1"}
    cursor = await store.read(lambda reads: reads.thread_list(limit=1).next_cursor)
    with pytest.raises(BadCursor):
        await store.read(lambda reads: reads.thread_list(sort="updatedAt", limit=1, cursor=cursor))


async def test_turns_and_checkpoints_of_a_thread_are_listed_newest_first(store: DataDirectory, engine: Engine) -> None:
    await do(engine, PROJECT, THREAD, c.CreateThread(thread_id="other", project_id="p", title="T"))
    elsewhere = c.CreateCheckpoint(thread_id="other", git_ref="refs/x", message="")
    await do(engine, c.StartTurn(thread_id="other", prompt=""), elsewhere)
    for n in range(3):
        turn = c.StartTurn(thread_id="t", id=f"u{n}", prompt="")
        end = c.InterruptTurn(thread_id="t", id=f"u{n}", reason="why", by="user", confirmed=False)
        await do(engine, turn, c.CancelTurn(thread_id="t", id=f"u{n}", by="another"), checkpoint(f"c{n}"), end)
    turns = await store.read(lambda reads: listed(lambda at: reads.turn_list("t", 2, at), LATEST))
    checkpoints = await store.read(lambda reads: listed(lambda at: reads.checkpoint_list("t", 2, at), LATEST))
    assert (turns, checkpoints) == ([["u2", "u1"], ["u0"]], [["c2", "c1"], ["c0"]])
    [last] = decoded(await store.read(lambda reads: reads.turn_list("t", 1, LATEST).items))
    assert [last[name] for name in ("status", "reason", "by", "confirmed")] == ["interrupted", "why", "user", False]
    assert last["endedAt"] is not None
    failed = c.FailTurn(thread_id="t", id="u", error="what", kind="timeout")
    await do(engine, TURN, c.CancelTurn(thread_id="t", id="u", by="user"), failed)
    [last] = decoded(await store.read(lambda reads: reads.turn_list("t", 1, LATEST).items))
    assert [last[name] for name in ("status", "error", "errorKind", "by")] == ["failed", "what", "timeout", None]


AGENT: list[c.Command] = [
    PROJECT,
    c.CreateThread(
        thread_id="t",
        project_id="p",
        title="Title",
        origin=c.Origin(tool="treadle", fork_of=c.ForkedThread(thread_id="other", turn_id="u")),
    ),
    ac.AssignAgent(thread_id="t", agent="a", options={"model": "m"}),
    ac.QueuePrompt(thread_id="t", id="q1", text="One"),
    ac.QueuePrompt(thread_id="t", id="q2", content=[{"type": "text", "text": "Two"}], when="steer"),
    ac.QueuePrompt(thread_id="t", id="q3", text="Three"),
    ac.MovePrompt(thread_id="t", id="q3", before="q1"),
]
"""Events 1 to 7: a thread with an agent, and prompts in the order q3, q1, q2."""
SESSION = ac.OpenSession(thread_id="t", id="s", agent="a", session_id="x", how="new", options=[{"id": "model"}])


async def test_queued_prompts_are_in_the_order_in_which_they_are_sent(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *AGENT, ac.EditPrompt(thread_id="t", id="q1", text="First"))
    snapshot = decoded(await store.read(lambda reads: reads.thread("t", 1, LATEST)))
    shown = [(one["id"], one["text"], one["content"], one["when"], one["position"]) for one in snapshot["prompts"]]
    assert shown == [
        ("q3", "Three", None, "idle", 2.0),
        ("q1", "First", None, "idle", 4.0),
        ("q2", "Two", [{"type": "text", "text": "Two"}], "steer", 5.0),
    ]

    def lists(reads: Reads) -> list[list[list[str]]]:
        of_all = listed(lambda at: reads.prompt_list(None, 2, at), LATEST)
        return [of_all, listed(lambda at: reads.prompt_list("t", 2, at), LATEST)]

    assert await store.read(lists) == [[["q3", "q2"], ["q1"]]] * 2
    await do(engine, c.StartTurn(thread_id="t", id="u", prompt_id="q3"), ac.RemovePrompt(thread_id="t", id="q2"))
    assert ids(await store.read(lambda reads: reads.prompt_list("t", 9, LATEST).items)) == ["q1"]
    keys: list[Key] = [("prompt", "t", id) for id in ("q1", "q3", "none")]
    found = await store.read(lambda reads: reads.look_up(keys))
    assert [found[key] for key in keys] == [PromptState("First"), PromptState(queued=False), None]


async def test_pending_approvals_sessions_and_rules_are_listed_newest_first(
    store: DataDirectory, engine: Engine
) -> None:
    def end(id: str) -> ac.EndSession:
        return ac.EndSession(thread_id="t", id=id, reason="why")

    await do(engine, *AGENT, TURN, *(approval(f"a{n}") for n in range(4)))
    await do(engine, c.ResolveApproval(thread_id="t", id="a1", outcome=None))
    await do(engine, SESSION, end("s"), msgspec.structs.replace(SESSION, id="s2"), end("s2"))
    await do(engine, msgspec.structs.replace(SESSION, id="s3"))
    rules = [ac.AddRule(id=f"r{n}", match=ac.RuleMatch(path=str(n)), decision="ask") for n in range(4)]
    await do(engine, *rules, ac.RemoveRule(id="r1"))

    def lists(reads: Reads) -> list[list[list[str]]]:
        return [
            listed(lambda at: reads.approval_list(None, 2, at), LATEST),
            listed(lambda at: reads.approval_list("t", 2, at), LATEST),
            listed(lambda at: reads.session_list("t", 2, at), LATEST),
            listed(lambda at: reads.rule_list(2, at), LATEST),
        ]

    approvals = [["a3", "a2"], ["a0"]]
    assert await store.read(lists) == [approvals, approvals, [["s3", "s2"], ["s"]], [["r3", "r2"], ["r0"]]]
    assert ids(decoded(await store.read(lambda reads: reads.settings()))["rules"]) == ["r0", "r2", "r3"]
    assert ids(decoded(await store.read(lambda reads: reads.thread("t", 1, LATEST)))["sessions"]) == ["s3"]
    keys: list[Key] = [("rule", "r0"), ("rule", "r1"), ("session", "t", "s"), ("session", "t", "s3")]
    found = await store.read(lambda reads: reads.look_up(keys))
    options = [{"id": "model"}]
    assert [found[key] for key in keys] == [True, False, SessionState(options, open=False), SessionState(options)]


async def test_the_cost_of_a_thread_is_that_of_its_turns_in_its_currency(store: DataDirectory, engine: Engine) -> None:
    async def usage() -> Spent | None:
        (work,) = await store.read(lambda reads: reads.work(["t"]))
        return work.usage

    def spent(turn: str, cost: float, currency: str) -> c.Command:
        return ac.ReportUsage(thread_id="t", id=turn, cost=cost, currency=currency)

    await do(engine, *BEGUN, spent("u", 0.5, "USD"))
    assert await usage() == Spent(cost=0.5, currency="USD", tokens=None)
    await do(engine, spent("u", 0.25, "EUR"))
    assert await usage() == Spent(cost=None, currency="USD", tokens=None)
    await do(engine, END, c.StartTurn(thread_id="t", id="v"), spent("v", 0.0, "USD"))
    assert await usage() == Spent(cost=0.0, currency="USD", tokens=None)
    await do(engine, spent("u", 1.5, "USD"))
    assert await usage() == Spent(cost=1.5, currency="USD", tokens=None)


async def test_the_work_of_a_thread_is_all_that_its_agent_needs(store: DataDirectory, engine: Engine) -> None:
    async def work(ids: list[str] | None) -> list[ThreadWork]:
        return await store.read(lambda reads: reads.work(reads.threads_at_work() if ids is None else ids))

    name = store.runner.name
    await do(engine, *AGENT, c.CreateThread(thread_id="idle", project_id="p", title="T"))
    (idle,) = await work(["idle", "none"])
    assert (idle.agent, idle.queue, idle.turn, idle.session, idle.usage) == (None, [], None, None, None)
    spent = ac.ReportUsage(thread_id="t", id="u", cost=0.5, currency="EUR", tokens=7)
    turn = c.StartTurn(thread_id="t", id="u", prompt_id="q3")
    stop = c.InterruptTurn(thread_id="t", id="u", by="user")
    await do(engine, SESSION, turn, approval("ask"), spent, stop, ac.PauseQueue(thread_id="t", reason="wait"))
    assert await work(None) == [
        ThreadWork(
            thread_id="t",
            project_id="p",
            folder="/p",
            remote="example.org/team/app",
            title="Title",
            agent=Assigned(name="a", mode=None, options={"model": "m"}),
            archived=False,
            deleted=False,
            queue=[QueuedPrompt("q1", "idle", name, 4.0), QueuedPrompt("q2", "steer", name, 5.0)],
            paused="wait",
            queue_runner=name,
            auth_required=False,
            turn=TurnWork("u", name, "q3", cancelling=True, cancelled_by="user"),
            session=SessionWork("s", "a", "x", name, open=True, how="new"),
            restored=[],
            worktree=None,
            removals=0,
            origin=e.GivenOrigin(tool="treadle", fork_of=e.GivenFork(thread_id="other", turn_id="u")),
            approvals=["ask"],
            usage=Spent(cost=0.5, currency="EUR", tokens=7),
        )
    ]
    await do(engine, c.DeleteThread(thread_id="t"))
    (gone,) = await work(["t"])
    assert (gone.deleted, gone.queue, gone.paused, gone.turn, gone.session) == (True, [], None, None, None)
    assert await work(None) == []


async def test_the_work_of_a_thread_says_where_its_worktree_is(store: DataDirectory, engine: Engine) -> None:
    async def work() -> tuple[str, ThreadWorktree | None, int]:
        (found,) = await store.read(lambda reads: reads.work(["apart"]))
        assert found.project == "/p"
        return found.path, found.worktree, found.removals

    made = c.CreateWorktree(thread_id="apart", path="/w", base="c" * 40)
    await do(engine, *BEGUN, c.CreateThread(thread_id="apart", project_id="p", title="T", worktree=True))
    assert await work() == ("/p", ThreadWorktree(path=None, base=None), 0)
    assert await store.read(lambda reads: reads.threads_with_worktree()) == []
    await do(engine, made)
    assert await work() == ("/w", ThreadWorktree(path="/w", base="c" * 40), 0)
    assert await store.read(lambda reads: reads.threads_with_worktree()) == ["apart"]
    await do(engine, c.RemoveWorktree(thread_id="apart"))
    assert await work() == ("/p", ThreadWorktree(path=None, base="c" * 40), 1)
    await do(engine, made, c.DeleteThread(thread_id="apart"))
    assert await work() == ("/w", ThreadWorktree(path="/w", base="c" * 40), 1)
    assert await store.read(lambda reads: reads.threads_with_worktree()) == ["apart"]


async def test_a_restore_of_the_folder_of_the_project_is_not_one_of_the_worktree(
    store: DataDirectory, engine: Engine
) -> None:
    kept = c.CreateCheckpoint(thread_id="t", id="c", git_ref="r", message="", in_project=True)
    await do(engine, *BEGUN, END, kept, c.RestoreCheckpoint(thread_id="t", id="c", written=["a"]))
    (found,) = await store.read(lambda reads: reads.work(["t"]))
    assert found.restored == []


async def test_the_work_of_a_thread_has_the_files_restored_since_its_last_turn(
    store: DataDirectory, engine: Engine
) -> None:
    async def restored() -> list[RestoredFiles]:
        (found,) = await store.read(lambda reads: reads.work(["t"]))
        return found.restored

    first = c.RestoreCheckpoint(thread_id="t", id="c", written=["a"], removed=["b"])
    second = c.RestoreCheckpoint(thread_id="t", id="d", written=["e"])
    await do(engine, *BEGUN, END, checkpoint("c"), checkpoint("d"))
    assert await restored() == []
    again = c.RestoreCheckpoint(thread_id="t", id="c", removed=["f"])
    await do(engine, first, second, again)
    assert await restored() == [RestoredFiles(["a"], ["b"]), RestoredFiles(["e"], []), RestoredFiles([], ["f"])]
    await do(engine, c.StartTurn(thread_id="t", id="next"))
    assert await restored() == []


async def test_checkpoints_of_projects_are_kept_until_they_are_pruned_or_their_thread_is_deleted(
    store: DataDirectory, engine: Engine
) -> None:
    def kept(*projects: str) -> Callable[[Reads], list[tuple[Any, ...]]]:
        return lambda reads: [(one.thread_id, one.id, one.running) for one in reads.kept_checkpoints(projects)]

    more = c.CreateProject(id="q", name="Q", path="/q"), c.CreateThread(thread_id="other", project_id="q", title="O")
    of_turn = c.CreateCheckpoint(thread_id="t", id="b", turn_id="u", git_ref="refs/b", message="", phase="before")
    await do(engine, *BEGUN, *more, checkpoint("a"), of_turn)
    await do(engine, c.CreateCheckpoint(thread_id="other", id="a", git_ref="refs/a", message=""))
    assert await store.read(kept("p")) == [("t", "a", False), ("t", "b", True)]
    assert await store.read(kept("q", "p")) == [("t", "a", False), ("t", "b", True), ("other", "a", False)]
    assert await store.read(lambda reads: reads.kept_checkpoints(["p"])[1][3:7]) == ("refs/b", None, "u", "before")
    await do(engine, END, c.PruneCheckpoint(thread_id="t", id="a", at=TIMES[0]))
    await do(engine, c.PruneCheckpoint(thread_id="t", id="a", at=TIMES[1]))
    assert await store.read(kept("p", "none")) == [("t", "b", False)]
    pruned = await store.read(lambda reads: [reads.pruned_at("t", id) for id in ("a", "b", "c")])
    assert pruned == [TIMES[0], None, None]
    assert await store.read(lambda reads: reads.threads_with_refs(["p"])) == {"t": False}
    await do(engine, c.DeleteThread(thread_id="t"), c.DeleteProject(id="q", cascade=True))
    assert await store.read(kept("p", "q")) == []
    assert await store.read(lambda reads: reads.threads_with_refs(["p"])) == {"t": True, "other": True}
    assert await store.read(lambda reads: reads.project_paths()) == {"p": "/p", "q": "/q"}
    assert await store.read(lambda reads: reads.pruned_at("t", "a")) is None


async def test_the_origin_of_a_turn_has_its_agent_and_the_start_of_its_prompt(
    store: DataDirectory, engine: Engine
) -> None:
    long = c.StartTurn(thread_id="t", id="u", prompt="x" * 1001, message_id="prompt")
    await do(engine, PROJECT, THREAD, long)
    await do(engine, c.AddMessage(thread_id="t", turn_id="u", id="n", role="user", text="later"), END)
    await do(engine, SESSION)
    await do(engine, c.StartTurn(thread_id="t", id="v"))
    keys = [("t", "u"), ("t", "v")]
    found = await store.read(lambda reads: reads.origins_of_turns(keys))
    assert [(title, agent, prompt) for title, _, agent, prompt in (found[key] for key in keys)] == [
        ("Title", None, "x" * 1000),
        ("Title", "a", None),
    ]
    assert await store.read(lambda reads: reads.origins_of_turns([])) == {}


async def test_what_a_daemon_runs_or_is_to_send_has_its_name(store: DataDirectory, engine: Engine) -> None:
    def owned(reads: Reads) -> tuple[Any, ...]:
        return reads.open_sessions(), reads.open_queues()

    name = store.runner.name
    version = await do(engine, *AGENT)
    assert await store.read(owned) == ([], [QueueOwner("t", version, name)])
    await do(engine, SESSION)
    assert await store.read(owned) == ([SessionOwner("t", "s", name)], [])
    await do(engine, ac.EndSession(thread_id="t", id="s", reason="why"), ac.PauseQueue(thread_id="t"))
    assert await store.read(owned) == ([], [])


async def test_settings_are_listed_by_key_without_the_removed(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *(setting(n, n) for n in (3, 1, 4, 2)), setting(1, {"a": [1.0, None]}), setting(4, None))
    assert await store.read(lambda reads: listed(lambda at: reads.setting_list(2, at), "")) == [
        ["key-1", "key-2"],
        ["key-3"],
    ]
    snapshot = decoded(await store.read(lambda reads: reads.settings()))
    assert (snapshot["sequence"], ids(snapshot["settings"])) == (6, ["key-1", "key-2", "key-3"])
    assert snapshot["settings"][0]["value"] == {"a": [1.0, None]}


async def test_events_come_in_pages_of_the_log_or_of_a_thread(store: DataDirectory, engine: Engine) -> None:
    await do(engine, PROJECT, setting(1), THREAD, setting(2), c.RenameThread(thread_id="t", title="New"))

    async def page(thread: str | None, after: int, limit: int) -> tuple[list[int], int | None]:
        events, last = await store.read(lambda reads: reads.events(thread, after, limit))
        return [stored["sequence"] for stored in decoded(events)], last

    assert await page(None, 0, 3) == ([1, 2, 3], 3)
    assert await page(None, 3, 3) == ([4, 5], None)
    assert await page(None, 2, 3) == ([3, 4, 5], None)
    assert await page(None, 5, 3) == await page("none", 0, 3) == ([], None)
    assert await page("t", 0, 1) == ([3], 3)
    assert await page("t", 3, 1) == ([5], None)


@pytest.mark.parametrize("pages", [PageBounds(max_bytes=1_000)], ids=[""])
async def test_a_page_ends_early_by_its_size_and_has_one_row_at_least(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *(setting(n, "é" * size) for n, size in enumerate((150, 100, 2_000, 10, 10))))
    assert await store.read(lambda reads: listed(lambda at: reads.setting_list(9, at), "")) == [
        ["key-0", "key-1"],
        ["key-2"],
        ["key-3", "key-4"],
    ]

    def after(sequence: int) -> Callable[[Reads], int | None]:
        return lambda reads: reads.events(None, sequence, 9)[1]

    assert [await store.read(after(sequence)) for sequence in (0, 2, 3)] == [2, 3, None]


# Snapshots


@pytest.mark.parametrize("pages", [PageBounds(index_threads=2)], ids=[""])
async def test_the_index_has_every_project_and_the_threads_that_changed_last(
    store: DataDirectory, engine: Engine
) -> None:
    await do(engine, PROJECT, c.CreateProject(id="q", name="Q", path="/q"))
    await do(engine, *(c.CreateThread(thread_id=f"t{n}", project_id="p", title=str(n)) for n in range(4)))
    await do(engine, c.RenameThread(thread_id="t0", title="New"))
    snapshot = decoded(await store.read(lambda reads: reads.index()))
    assert (snapshot["sequence"], ids(snapshot["projects"])) == (7, ["q", "p"])
    assert ids(snapshot["threads"]) == ["t0", "t3"]


async def test_a_thread_is_read_in_windows_from_its_end(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, activity("a"), END, checkpoint("c"))
    await do(engine, c.StartTurn(thread_id="t", id="v", prompt="Again", message_id="again"))
    last = decoded(await store.read(lambda reads: reads.thread("t", 1, LATEST)))
    assert (ids(last["threads"]), ids(last["turns"]), ids(last["messages"])) == (["t"], ["v"], ["again"])
    assert last["checkpoints"] == last["activities"] == []
    before = decode_cursor(last["beforeCursor"], LATEST)
    first = decoded(await store.read(lambda reads: reads.thread("t", 1, before)))
    assert [ids(first[name]) for name in ("turns", "messages", "activities", "checkpoints")] == [
        ["u"],
        ["prompt"],
        ["a"],
        ["c"],
    ]
    assert first["beforeCursor"] is None
    assert decoded(await store.read(lambda reads: reads.thread("t", 2, LATEST)))["beforeCursor"] is None


@pytest.mark.parametrize("pages", [PageBounds(max_bytes=800)], ids=[""])
async def test_a_window_that_ends_within_a_turn_has_the_turn_as_well(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, *(message(f"m{n}", "x" * 500) for n in range(3)), approval("q"))
    windows = decoded(await store.read(lambda reads: windows_of(reads, "t", 9)))
    assert [(ids(one["turns"]), ids(one["messages"]), ids(one["approvals"])) for one in windows] == [
        (["u"], [], ["q"]),
        (["u"], ["m2"], []),
        (["u"], ["m1"], []),
        (["u"], ["m0"], []),
        (["u"], ["prompt"], []),
    ]


async def test_what_is_not_there_is_not_found(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, activity("a"), c.CreateThread(thread_id="gone", project_id="p", title="T"))
    await do(engine, c.DeleteThread(thread_id="gone"))
    asked: list[Callable[[Reads], object]] = [
        *(lambda reads, id=id: reads.header(id) for id in ("none", "gone")),
        *(lambda reads, id=id: reads.thread(id, 1, LATEST) for id in ("none", "gone")),
        *(lambda reads, id=id: reads.turn_list(id, 1, LATEST) for id in ("none", "gone")),
        *(lambda reads, id=id: reads.checkpoint_list(id, 1, LATEST) for id in ("none", "gone")),
        *(lambda reads, id=id: reads.search("T", thread_id=id) for id in ("none", "gone")),
        lambda reads: reads.message("t", "a"),
        lambda reads: reads.message("none", "prompt"),
        lambda reads: reads.activity("t", "prompt"),
    ]
    for ask in asked:
        with pytest.raises(NotFound):
            await store.read(ask)


# Entities


async def test_the_header_of_a_thread_says_what_it_does(store: DataDirectory, engine: Engine) -> None:
    async def status() -> tuple[str, int]:
        header = msgspec.json.decode(await store.read(lambda reads: reads.header("t")))
        return header["status"], header["version"]

    seen = []
    answered = c.ResolveApproval(thread_id="t", id="q", outcome="yes")
    streamed = message("m", streaming=True)
    during = (approval("q"), answered, streamed, delta("text"), setting(1), approval("r"))
    ending = (c.CancelTurn(thread_id="t", id="u"), c.FailCheckpoint(thread_id="t", reason="why"), END)
    for command in (PROJECT, THREAD, TURN, *during, *ending):
        await do(engine, command)
        if command is not PROJECT:
            seen.append(await status())
    assert seen == [
        ("idle", 2),
        ("running", 4),
        ("waiting", 5),
        ("running", 6),
        ("running", 7),
        ("running", 7),
        ("running", 7),
        ("waiting", 10),
        ("cancelling", 11),
        ("cancelling", 12),
        ("idle", 15),
    ]


async def test_a_long_text_and_a_large_detail_are_cut_in_snapshots_and_whole_when_they_are_read(
    store: DataDirectory, engine: Engine
) -> None:
    longest, longer = "é" * 65_536, "é" * 65_537
    await do(engine, *BEGUN, message("longest", longest), message("longer", longer), message("open", streaming=True))
    await do(
        engine, delta(longer, "open"), activity("fits", detail="x" * 65_534), activity("large", detail="x" * 65_535)
    )
    snapshot = decoded(await store.read(lambda reads: reads.thread("t", 9, LATEST)))
    texts = {one["id"]: (len(one["text"]), one["textBytes"]) for one in snapshot["messages"]}
    assert texts == {
        "prompt": (2, None),
        "longest": (65_536, None),
        "longer": (65_536, 131_074),
        "open": (65_537, None),
    }
    details = {one["id"]: (one["detail"] is None, one["detailBytes"]) for one in snapshot["activities"]}
    assert details == {"fits": (False, None), "large": (True, 65_537)}
    whole = decoded(await store.read(lambda reads: reads.message("t", "longer")))
    assert (whole["text"], whole["textBytes"]) == (longer, None)
    assert decoded(await store.read(lambda reads: reads.message("t", "open")))["text"] == longer
    assert len(decoded(await store.read(lambda reads: reads.activity("t", "large")))["detail"]) == 65_535


async def test_the_text_of_a_message_is_that_of_its_content(store: DataDirectory, engine: Engine) -> None:
    image = {"type": "image", "data": "x"}
    blocks = [{"type": "text", "text": "one"}, image, {"type": "text", "text": "two"}]
    prompt = c.StartTurn(thread_id="t", id="u", message_id="prompt", content=blocks)
    beside, large = message("beside", "text", content=[image]), [{"type": "image", "data": "x" * 70_000}]
    streamed = message("m", content=blocks[:1], streaming=True)
    await do(engine, PROJECT, THREAD, prompt, beside, streamed, delta("!"), message("large", content=large))
    assert (await store.read(lambda reads: reads.open_messages("t"))) == [OpenMessage("m", 6, 7, "one!")]
    snapshot = decoded(await store.read(lambda reads: reads.thread("t", 9, LATEST)))
    shown = {one["id"]: (one["text"], one["content"], one["contentBytes"]) for one in snapshot["messages"]}
    assert shown == {
        "prompt": ("one\ntwo", blocks, None),
        "beside": ("text", [image], None),
        "m": ("one!", blocks[:1], None),
        "large": ("", None, 70_028),
    }
    whole = decoded(await store.read(lambda reads: reads.message("t", "large")))
    assert (len(whole["content"][0]["data"]), whole["contentBytes"]) == (70_000, None)


async def test_an_activity_has_every_difference_that_was_recorded(store: DataDirectory, engine: Engine) -> None:
    def update(**fields: Any) -> c.UpdateActivity:
        return c.UpdateActivity(thread_id="t", id="a", **fields)

    first = activity("a", detail={"output": "one", "gone": [1], "kept": {"n": 1.0}})
    again = update(title="new", detail={"output": "one two", "gone": None}, at=TIMES[1])
    last = update(status="completed", kind="word", detail={"output": "one two three", "more": 1}, at=TIMES[0])
    await do(engine, *BEGUN, first, again, last)
    whole = decoded(await store.read(lambda reads: reads.activity("t", "a")))
    assert [whole[name] for name in ("sequence", "title", "status", "kind")] == [5, "new", "completed", "word"]
    assert whole["detail"] == {"output": "one two three", "kept": {"n": 1.0}, "more": 1}
    assert whole["updatedAt"] == TIMES[0]
    assert (await load(store, [("activity", "t", "a")], [])).state["activity", "t", "a"].detail == whole["detail"]
    await do(engine, update(detail={"output": "x" * 70_000}))
    [cut] = decoded(await store.read(lambda reads: reads.thread("t", 1, LATEST)))["activities"]
    assert (cut["detail"], cut["detailBytes"]) == (None, 70_000 + len('{"output":"","kept":{"n":1.0},"more":1}'))


async def test_entities_are_found_by_id_if_they_exist(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, activity("a"), approval("q"), checkpoint("c"), setting(1))
    await do(engine, ac.AssignAgent(thread_id="t", agent="a"), ac.QueuePrompt(thread_id="t", id="next", text="Do"))
    await do(engine, SESSION, ac.AddRule(id="r", match=ac.RuleMatch(path="**"), decision="ask"))
    asked: list[tuple[Any, str | None, str]] = [
        *(("project", None, "p"), ("thread", None, "t"), ("turn", "t", "u"), ("message", "t", "prompt")),
        *(("activity", "t", "a"), ("approval", "t", "q"), ("checkpoint", "t", "c"), ("setting", None, "key-1")),
        *(("prompt", "t", "next"), ("session", "t", "s"), ("rule", None, "r")),
    ]

    def all_found(reads: Reads) -> list[dict[str, msgspec.Raw]]:
        return [reads.entities(entity, thread, [id, "none"]) for entity, thread, id in asked]

    found = await store.read(all_found)
    assert [ids([*values.values()]) for values in found] == [[*values] for values in found]
    assert [[*values] for values in found] == [[id] for _, _, id in asked]
    assert await store.read(lambda reads: reads.entities("turn", "none", ["u"])) == {}
    await do(engine, c.DeleteThread(thread_id="t"), c.DeleteProject(id="p"), setting(1, None))
    await do(engine, ac.RemoveRule(id="r"))
    assert await store.read(all_found) == [{}] * len(asked)


async def test_an_activity_that_is_recorded_again_keeps_its_place(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, activity("a", detail={"n": 1}), activity("b"), activity("a", "done", "completed"))
    snapshot = decoded(await store.read(lambda reads: reads.thread("t", 9, LATEST)))
    assert [(one["id"], one["title"], one["status"], one["detail"]) for one in snapshot["activities"]] == [
        ("a", "done", "completed", None),
        ("b", "ls", "running", None),
    ]


async def test_threads_are_found_by_the_beginning_of_their_id(store: DataDirectory, engine: Engine) -> None:
    await do(engine, PROJECT)
    await do(
        engine, *(c.CreateThread(thread_id=id, project_id="p", title="T") for id in ("ab2", "b", "ab1", "abzz", "a"))
    )
    await do(engine, c.DeleteThread(thread_id="ab2"))
    assert await store.read(lambda reads: reads.threads_with_prefix("ab", 9)) == ["ab1", "abzz"]
    assert await store.read(lambda reads: reads.threads_with_prefix("", 2)) == ["a", "ab1"]
    assert await store.read(lambda reads: reads.threads_with_prefix("c", 9)) == []


# What a subscription needs


async def test_changes_name_the_entity_of_each_event(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, setting(1))
    all_of_them = [
        NamedEntity(1, "ProjectCreated", None, "p"),
        NamedEntity(3, "TurnStarted", "t", "u"),
        NamedEntity(4, "MessageAdded", "t", "prompt"),
        NamedEntity(5, "SettingChanged", None, "key-1"),
    ]
    found = await store.read(lambda reads: reads.changes(0, None, 9))
    assert [one for one in found if one.event_type != "ThreadCreated"] == all_of_them
    assert found[1][:3] == (2, "ThreadCreated", "t")
    assert await store.read(lambda reads: reads.changes(3, None, 9)) == all_of_them[2:]
    assert await store.read(lambda reads: reads.changes(2, "t", 1)) == all_of_them[1:2]
    assert await store.read(lambda reads: reads.changes(3, "t", 9)) == all_of_them[2:3]


async def test_an_open_message_has_its_text_and_the_chunks_that_came_after_a_sequence(
    store: DataDirectory, engine: Engine
) -> None:
    await do(engine, *BEGUN, message("m", "1", streaming=True), message("n", streaming=True))
    assert await store.read(lambda reads: reads.open_messages("t")) == [
        OpenMessage("m", 5, 5, "1"),
        OpenMessage("n", 6, 6, ""),
    ]
    await do(engine, delta("é"), delta("other", "n"), delta("3"))
    assert await store.read(lambda reads: reads.open_messages("t")) == [
        OpenMessage("m", 5, 9, "1é3"),
        OpenMessage("n", 6, 8, "other"),
    ]
    assert await store.read(lambda reads: reads.chunks(5, 0)) == [(5, "1"), (7, "é"), (9, "3")]
    assert await store.read(lambda reads: reads.chunks(5, 7)) == [(9, "3")]
    await do(engine, c.CompleteMessage(thread_id="t", id="m"))
    assert ids([one._asdict() for one in await store.read(lambda reads: reads.open_messages("t"))]) == ["n"]
    assert decoded(await store.read(lambda reads: reads.message("t", "m")))["text"] == "1é3"


async def test_pending_approvals_are_those_without_an_answer_oldest_first(store: DataDirectory, engine: Engine) -> None:
    other = c.CreateThread(thread_id="other", project_id="p", title="x" * 300)
    asked = c.RequestApproval(thread_id="other", id="q", turn_id="u", title="y" * 1_500, options=OPTIONS)
    await do(engine, *BEGUN, approval("q1"), other, c.StartTurn(thread_id="other", id="u", prompt=""), asked)
    await do(engine, approval("q2"), c.ResolveApproval(thread_id="t", id="q1", outcome="yes"))
    of_other = PendingApproval(9, "other", "q", "y" * 1000, "x" * 200, OPTIONS_JSON)
    of_thread = PendingApproval(10, "t", "q2", "May it?", "Title", OPTIONS_JSON)
    assert await store.read(lambda reads: reads.pending_approvals(None)) == [of_other, of_thread]
    assert await store.read(lambda reads: reads.pending_approvals({"t", "none"})) == [of_thread]
    assert await store.read(lambda reads: reads.pending_approvals({"other"})) == [of_other]
    assert await store.read(lambda reads: reads.pending_approvals(set())) == []
    await do(engine, END)
    assert await store.read(lambda reads: reads.pending_approvals(None)) == [of_other]


async def test_running_turns_are_those_of_every_daemon(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, c.CreateThread(thread_id="other", project_id="p", title="T"))
    foreign = e.TurnStarted(thread_id="other", id="v", runner="of-another-daemon", at=TIMES[0])
    assert await append(store, 5, [e.encode(foreign)], [])
    mine, theirs = TurnOwner("t", "u", store.runner.name, False), TurnOwner("other", "v", "of-another-daemon", False)
    assert sorted(await store.read(lambda reads: reads.running_turns())) == sorted([mine, theirs])
    assert not store.runner.is_away(store.runner.name)
    await do(engine, c.CancelTurn(thread_id="t", id="u"))
    assert mine._replace(cancelling=True) in await store.read(lambda reads: reads.running_turns())
    await do(engine, END)
    assert await store.read(lambda reads: reads.running_turns()) == [theirs]


async def test_the_events_that_a_redaction_has_rewritten_are_found(store: DataDirectory, engine: Engine) -> None:
    texts = [c.CleanTexts(2, {"title": "Clean"}), c.CleanTexts(4, {"text": "Clean"})]
    sequence = await do(engine, *BEGUN, END, c.Redact(thread_id="t", events=texts))
    found = await store.read(lambda reads: reads.redacted_events(sequence))
    assert found == [("ThreadCreated", None), ("MessageAdded", "prompt")]


async def test_the_thread_in_which_a_session_was_run_first_is_found(store: DataDirectory, engine: Engine) -> None:
    def found() -> Any:
        return store.read(lambda reads: (reads.thread_of_session("x"), reads.thread_of_session("s")))

    await do(engine, *BEGUN, c.CreateThread(thread_id="other", project_id="p", title="T"))
    assert await found() == (None, None)
    await do(engine, SESSION, msgspec.structs.replace(SESSION, thread_id="other"))
    assert await found() == ("t", None)
    await do(engine, c.EraseThread(thread_id="t"))
    assert await found() == ("other", None)
    assert await store.read(lambda reads: (reads.ran_session("x"), reads.ran_session("s"))) == ("t", None)


async def test_the_own_turns_of_a_thread_are_those_that_were_queued_or_recorded(
    store: DataDirectory, engine: Engine
) -> None:
    def turn(id: str) -> c.StartTurn:
        return c.StartTurn(thread_id="t", id=id, prompt="P", message_id=f"m-{id}", at=TIMES[0])

    def end(id: str) -> c.CompleteTurn:
        return c.CompleteTurn(thread_id="t", id=id, stop_reason="end_turn", at=TIMES[1])

    await do(engine, *BEGUN, END, turn("imported"), end("imported"), turn("turn-1"), end("turn-1"), turn("turn-2"))
    assert await store.read(lambda reads: reads.own_turns("t")) == [(TIMES[0], TIMES[1]), (TIMES[0], None)]
    assert await store.read(lambda reads: reads.own_turns("other")) == []


# Transcripts, statistics and search


async def test_a_transcript_has_the_items_between_two_sequences_in_the_order_in_which_they_were_made(
    store: DataDirectory, engine: Engine
) -> None:
    large = "x" * 70_000
    tool = activity("a", status="completed", detail=large)
    await do(engine, *BEGUN, tool, approval("q"), message("m", large), checkpoint("c"), END)
    await do(engine, c.StartTurn(thread_id="t", id="v", prompt="Again", message_id="again"))
    turns = await store.read(lambda reads: reads.turns_after("t", 0, 9))
    (first, _), (second, value) = turns
    assert (first, second, msgspec.json.decode(value)["id"]) == (3, 11, "v")
    assert await store.read(lambda reads: reads.turns_after("t", 0, 1)) == turns[:1]
    assert await store.read(lambda reads: reads.turns_after("t", first, 9)) == turns[1:]
    items = await store.read(lambda reads: reads.transcript("t", first, second))
    assert all(isinstance(item, TranscriptItem) for item in items)
    assert [(item.sequence, item.entity, msgspec.json.decode(item.value)["id"]) for item in items] == [
        (4, "message", "prompt"),
        (5, "activity", "a"),
        (6, "approval", "q"),
        (7, "message", "m"),
        (8, "checkpoint", "c"),
    ]
    assert msgspec.json.decode(items[1].value)["detail"] == msgspec.json.decode(items[3].value)["text"] == large


async def test_entities_and_events_are_counted(store: DataDirectory, engine: Engine) -> None:
    await do(engine, *BEGUN, message("m"), activity("a"), approval("q"), checkpoint("c"), setting(1))
    await do(engine, *(c.CreateThread(thread_id=id, project_id="p", title="T") for id in ("archived", "deleted")))
    sequence = await do(engine, c.ArchiveThread(thread_id="archived"), c.DeleteThread(thread_id="deleted"))
    assert await store.read(lambda reads: reads.entity_counts()) == {
        "projects": 1,
        "threads": 2,
        "archivedThreads": 1,
        "deletedThreads": 1,
        "turns": 1,
        "runningTurns": 1,
        "messages": 2,
        "activities": 1,
        "approvals": 1,
        "pendingApprovals": 1,
        "prompts": 0,
        "sessions": 0,
        "openSessions": 0,
        "rules": 0,
        "checkpoints": 1,
        "settings": 1,
    }
    events, _ = await store.read(lambda reads: reads.events(None, 0, sequence))
    others = [bytes(stored_event(n, b"", store.actor)) for n, _ in enumerate(events, 1)]
    sizes = [len(bytes(event)) - len(other) for event, other in zip(events, others, strict=True)]
    counts = await store.read(lambda reads: reads.event_counts(1, 5))
    assert sorted(counts) == [
        ("MessageAdded", 2, sizes[3] + sizes[4]),
        ("ThreadCreated", 1, sizes[1]),
        ("TurnStarted", 1, sizes[2]),
    ]
    largest = await store.read(lambda reads: reads.largest_threads(9))
    assert [(id, title, count) for id, title, count, _ in largest] == [
        ("t", "Title", 7),
        ("archived", "T", 2),
        ("deleted", None, 2),
    ]
    assert largest[1][3] == sizes[9] + sizes[11]
    assert await store.read(lambda reads: reads.largest_threads(1)) == largest[:1]


async def test_a_search_finds_what_has_all_the_words(store: DataDirectory, engine: Engine) -> None:
    await do(engine, PROJECT, c.CreateProject(id="q", name="Q", path="/q"))
    await do(engine, c.CreateThread(thread_id="t", project_id="p", title="A red apple"), TURN)
    await do(engine, message("m", "red and green"), message("open", "a red apple", streaming=True))
    await do(engine, activity("a", "Red", "completed", {"apple": ["green"]}), activity("b", "red apple", "running"))
    await do(engine, c.CreateThread(thread_id="s", project_id="q", title="The reddest apples"))

    async def found(text: str, **bounds: Any) -> set[tuple[str, str]]:
        return {(hit.entity, hit.id) for hit in (await store.read(lambda r: r.search(text, **bounds))).items}

    of_thread, of_message, of_activity, of_other = ("thread", "t"), ("message", "m"), ("activity", "a"), ("thread", "s")
    assert await found("RED and") == {of_message}
    assert await found("green red") == {of_message, of_activity}
    assert await found("red") == {of_thread, of_message, of_activity, of_other}
    assert await found("red apple") == {of_thread}
    assert await found("appl") == {of_thread, of_other}
    assert await found("re") == await found("") == await found(" ") == set()
    assert await found("red", project_id="q") == {of_other}
    assert await found("red", thread_id="t") == {of_thread, of_message, of_activity}
    [hit] = (await store.read(lambda reads: reads.search("green and"))).items
    assert (hit.thread_id, hit.turn_id, hit.project_id, hit.thread_title) == ("t", "u", "p", "A red apple")
    assert [hit.snippet[match.start : match.end] for match in hit.matches] == ["and", "green"]


async def test_a_search_goes_on_after_a_page(store: DataDirectory, engine: Engine) -> None:
    await do(engine, PROJECT, *(c.CreateThread(thread_id=f"t{n}", project_id="p", title="word") for n in range(5)))

    async def page(cursor: str | None) -> tuple[list[str], str | None]:
        hits = await store.read(lambda reads: reads.search("word", limit=2, cursor=cursor))
        await do(engine, c.CreateThread(project_id="p", title="word"))  # which is not on the pages that follow
        return [hit.id for hit in hits.items], hits.next_cursor

    first, cursor = await page(None)
    second, cursor = await page(cursor)
    assert (first, second, await page(cursor)) == (["t4", "t3"], ["t2", "t1"], (["t0"], None))
    with pytest.raises(BadCursor):
        await store.read(lambda reads: reads.search("word", cursor="of another list"))


# Presence


async def test_a_daemon_is_gone_until_it_runs_turns(store: DataDirectory) -> None:
    assert store.runner.is_gone(store.runner.name)
    store.runner.acquire()
    assert not store.runner.is_gone(store.runner.name)
    assert store.runner.is_gone("unknown")
    store.runner.forget("unknown")
    assert store.runner.left_behind() == set()
    assert not store.is_rebuilding()


async def test_a_daemon_that_appends_alone_does_not_wait(store: DataDirectory) -> None:
    assert not await store.append_queue.begin()
    store.append_queue.end()


def test_every_method_of_the_log_and_of_reads_is_tested() -> None:
    text = Path(__file__).read_text("utf-8")
    methods = [name for port in (Log, Reads) for name in vars(port) if not name.startswith("_")]
    assert [name for name in methods if f".{name}" not in text] == ["free_bytes"]


# All commands, in any order


def everything(reads: Reads, events: list[e.AnyEvent]) -> dict[str, Any]:
    """All that can be read from a log with these events."""
    threads = sorted({event.thread_id for event in events if isinstance(event, e.ThreadEvent)})
    found: dict[str, Any] = {
        "sequence": reads.sequence(),
        "span": reads.log_span()[1:],
        "projects": pages_of(lambda at: reads.project_list(2, at), LATEST),
        "settings": pages_of(lambda at: reads.setting_list(2, at), ""),
        "index": reads.index(),
        "settings at once": reads.settings(),
        "pending": reads.pending_approvals(None),
        "rules": pages_of(lambda at: reads.rule_list(2, at), LATEST),
        "prompts": pages_of(lambda at: reads.prompt_list(None, 2, at), LATEST),
        "approvals": pages_of(lambda at: reads.approval_list(None, 2, at), LATEST),
        "running": sorted(reads.running_turns()),
        "open sessions": sorted(reads.open_sessions()),
        "open queues": sorted(reads.open_queues()),
        "work": sorted(reads.threads_at_work()),
        "work of each": reads.work(threads),
        "counts": reads.entity_counts(),
        "redacted": reads.redacted(0, LATEST),
        "event counts": sorted(reads.event_counts(0, LATEST)),
        "largest": reads.largest_threads(LATEST),
        "prefix": reads.threads_with_prefix("x1", LATEST),
        "titles": sorted((hit.entity, hit.id) for hit in reads.search("T", limit=1_000).items),
        "changes": reads.changes(0, None, LATEST),
        "state": reads.look_up(keys_of(events)),
    }
    sorts: tuple[ThreadSort, ...] = ("version", "updatedAt")
    for project, archived, sort in itertools.product((None, "x1", "x2"), (None, True, False), sorts):
        found[f"threads of {project}, archived {archived}, by {sort}"] = threads_of(reads, project, archived, sort)
    for thread in (*threads, "nobody"):
        found[thread] = of_thread(reads, thread)
    decoded_all: dict[str, Any] = {name: decoded(value) for name, value in found.items() if name != "state"}
    return decoded_all | {"state": found["state"]}


def of_thread(reads: Reads, thread: str) -> dict[str, Any] | None:
    try:
        header = msgspec.json.decode(reads.header(thread))
    except NotFound:
        for ask in (reads.turn_list, reads.checkpoint_list, reads.thread):
            with pytest.raises(NotFound):
                ask(thread, 1, LATEST)
        return None
    messages = [one.row for one in reads.open_messages(thread)]
    return {
        "header": header,
        "turns": pages_of(lambda at: reads.turn_list(thread, 2, at), LATEST),
        "checkpoints": pages_of(lambda at: reads.checkpoint_list(thread, 2, at), LATEST),
        "prompts": pages_of(lambda at: reads.prompt_list(thread, 2, at), LATEST),
        "approvals": pages_of(lambda at: reads.approval_list(thread, 2, at), LATEST),
        "sessions": pages_of(lambda at: reads.session_list(thread, 2, at), LATEST),
        "windows": [windows_of(reads, thread, limit) for limit in (1, 2, 50)],
        "events": reads.events(thread, 0, 1_000),
        "changes": reads.changes(0, thread, LATEST),
        "open": reads.open_messages(thread),
        "chunks": {row: reads.chunks(row, 0) for row in messages},
        "turns after": [(n, msgspec.json.decode(value)) for n, value in reads.turns_after(thread, 0, LATEST)],
        "items": [(n, kind, msgspec.json.decode(value)) for n, kind, value in reads.transcript(thread, 0, LATEST)],
    }


def windows_of(reads: Reads, thread: str, limit: int) -> list[Any]:
    windows = [reads.thread(thread, limit, LATEST)]
    while windows[-1].before_cursor is not None:
        assert len(windows) < MANY, "the thread has no end"
        windows.append(reads.thread(thread, limit, decode_cursor(windows[-1].before_cursor, LATEST)))
    return windows


def keys_of(events: list[e.AnyEvent]) -> list[Key]:
    """Every key that has or had a value."""
    kinds: dict[type[e.Event], str] = {
        e.TurnStarted: "turn",
        e.MessageAdded: "message",
        e.ActivityRecorded: "activity",
        e.ApprovalRequested: "approval",
        e.CheckpointCreated: "checkpoint",
        a.PromptQueued: "prompt",
        a.SessionOpened: "session",
    }
    keys: set[Key] = set()
    for event in events:
        match event:
            case e.ProjectCreated(id=id, path=path, remote=remote):
                keys |= {("project", id), ("members", id), ("path", project_key(path, remote))}
            case e.ThreadCreated(thread_id=thread):
                keys.add(("thread", thread))
            case e.SettingChanged(key=name):
                keys.add(("setting", name))
            case a.RuleAdded(id=id):
                keys.add(("rule", id))
            case e.ThreadEvent(thread_id=thread) if type(event) in kinds:
                keys.add((kinds[type(event)], thread, getattr(event, "id")))  # noqa: B009
    return sorted(keys)


async def outcome(engine: Engine, command: c.Command) -> Any:
    try:
        return decoded(await engine.submit([command]).future)
    except Rejected as error:
        return error.kind, str(error)


async def compare(drafts: list[Draft]) -> None:
    bounds = PageBounds(index_threads=2)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores: list[DataDirectory] = [
            await stack.enter_async_context(opened(folder / "data", pages=bounds)),
            MemoryStore(pages=bounds),
        ]
        engines = []
        for store in stores:
            store.runner.name = "daemon"
            engine = Engine(store, clock=itertools.cycle(TIMES).__next__, linger=0, state_limit=4)
            engine.start()
            stack.push_async_callback(engine.stop)
            engines.append(engine)
        known, new_ids, events = Known(), map("x{}".format, itertools.count(1)), []
        for draft in drafts:
            command: c.Command = msgspec.convert(known.command(draft, next(new_ids)), c.AnyCommand)
            command = c.with_ids(command, {field: next(new_ids) for field in c.missing_ids(command)})
            one, other = [await outcome(engine, command) for engine in engines]
            assert one == other, command
            if isinstance(one, dict):
                for stored in [stored for result in one["results"] for stored in result["events"]]:
                    event = msgspec.convert(stored["event"], e.AnyEvent)
                    known.learn(stored["sequence"], event)
                    events.append(event)
        on_disk, in_memory = [await store.read(lambda reads: everything(reads, events)) for store in stores]
        for name, value in on_disk.items():
            assert in_memory[name] == value, name


@settings(max_examples=40, deadline=None)
@given(st.lists(DRAFTS, min_size=40, max_size=80))
def test_any_commands_leave_the_same_in_every_store(drafts: list[Draft]) -> None:
    asyncio.run(compare(drafts))
