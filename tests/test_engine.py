"""The only writer: queued commands are decided in order, appended together, and a repeated one gets the same answer.

Most tests run on the store in memory. Those that need a second process, a lock, a restart or an error of the database
run on SQLite, with the fixtures `disk` and `on_disk`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from memory_store import MemoryStore
from support import PATIENCE, log_sequence, opened, plain, replayed
from treadle.contract.results import BatchDispatched
from treadle.core import engine as engine_module
from treadle.core.engine import Engine, Overloaded
from treadle.core.group_commit import Submission
from treadle.core.idempotency import digest
from treadle.core.linger import Linger
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.agent_commands import AddRule, RuleMatch
from treadle.domain.errors import Conflict, NotFound, Rejected
from treadle.store.errors import StorageError
from treadle.store.pages import LATEST
from treadle.store.ports import DataDirectory, DecidedBy, Log
from treadle.store.records import CommandRecord
from treadle.store.sqlite.runners import Machine, Runner
from treadle.store.sqlite.store import Store

pytestmark = pytest.mark.both_logs

SETUP: list[c.Command] = [
    c.CreateProject(id="p", name="P", path="/p"),
    c.CreateThread(thread_id="t", project_id="p", title="T"),
    c.StartTurn(thread_id="t", id="u", prompt="Do", message_id="prompt"),
    c.AddMessage(thread_id="t", id="m", turn_id="u", role="assistant", text="", streaming=True),
    c.AddMessage(thread_id="t", id="n", turn_id="u", role="assistant", text="", streaming=True),
]


def setting(n: int, value: object = True) -> c.ChangeSetting:
    return c.ChangeSetting(key=f"key-{n}", value=value)


def delta(text: str, message: str = "m", **fields: Any) -> c.AppendMessage:
    return c.AppendMessage(thread_id="t", id=message, text=text, **fields)


def rename(title: str, **fields: Any) -> c.RenameThread:
    return c.RenameThread(thread_id="t", title=title, **fields)


def send(engine: Engine, *commands: c.Command, command_id: str | None = None, atomic: bool = False) -> Submission:
    """What a request for these commands does."""
    request: Any = msgspec.to_builtins(commands[0]) if not atomic else {"commands": msgspec.to_builtins(commands)}
    return engine.submit(list(commands), command_id=command_id, digest=digest(request), atomic=atomic)


async def answer(
    engine: Engine, *commands: c.Command, command_id: str | None = None, atomic: bool = False
) -> BatchDispatched:
    async with asyncio.timeout(PATIENCE):
        got = await send(engine, *commands, command_id=command_id, atomic=atomic).future
    assert isinstance(got, BatchDispatched)
    return got


async def outcomes(submissions: list[Submission]) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(s.future for s in submissions), return_exceptions=True)


def sequences(got: BatchDispatched) -> list[list[int]]:
    return [[event["sequence"] for event in decoded(result.events)] for result in got.results]


def decoded(events: list[Any]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event) for event in events]


@asynccontextmanager
async def running(store: DataDirectory, **options: Any) -> AsyncIterator[Engine]:
    engine = Engine(store, **{"linger": 0, **options})
    engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@pytest.fixture
def store() -> MemoryStore:
    """An empty log in memory, for the fixture `engine` as well."""
    return MemoryStore()


@pytest.fixture
async def ready(engine: Engine) -> Engine:
    """With a thread `t` whose turn `u` runs, and the open messages `m` and `n`."""
    await answer(engine, *SETUP, atomic=True)
    return engine


@pytest.fixture
async def disk(data_dir: Path) -> AsyncIterator[Store]:
    """An empty log on disk."""
    async with opened(data_dir) as disk:
        yield disk


@pytest.fixture
async def on_disk(disk: Store) -> AsyncIterator[Engine]:
    """The same as `ready`, on disk."""
    async with running(disk) as engine:
        await answer(engine, *SETUP, atomic=True)
        yield engine


class HookedLog:
    """A log that calls `before` with the number of events and of records ahead of each append."""

    def __init__(self, log: Log, before: Callable[[int, int], None]) -> None:
        self.sequence, self.load, self.is_current = log.sequence, log.load, log.is_current
        self._log, self._before = log, before

    def append(
        self, expected: int, payloads: list[bytes], records: list[CommandRecord], by: DecidedBy | None = None
    ) -> int | None:
        self._before(len(payloads), len(records))
        return self._log.append(expected, payloads, records, by)


def hook_appends(store: DataDirectory, monkeypatch: pytest.MonkeyPatch, before: Callable[[int, int], None]) -> None:
    """Call `before`, on the log's thread, ahead of each append to the store."""
    write = store.write
    monkeypatch.setattr(store, "write", lambda function: write(lambda log: function(HookedLog(log, before))))


class Appends:
    """Sees every append: how many events, and how many answers to remember."""

    def __init__(self, store: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[int, int]] = []
        self.before: Callable[[], None] = lambda: None
        hook_appends(store, monkeypatch, self._count)

    def _count(self, events: int, records: int) -> None:
        self.before()
        self.calls.append((events, records))


@pytest.fixture
def appends(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Appends:
    return Appends(store, monkeypatch)


async def some_turns(store: DataDirectory) -> None:
    """Let the engine do what it can do without more from outside."""
    for _ in range(10):
        await store.read(lambda reads: None)


# Group commit


async def test_queued_commands_are_appended_in_one_group_commit(engine: Engine, appends: Appends) -> None:
    got = await outcomes([send(engine, setting(n)) for n in range(300)])
    assert [sequences(one) for one in got] == [[[n + 1]] for n in range(300)]
    assert appends.calls == [(300, 0)]


async def test_each_command_is_decided_against_the_result_of_the_previous_one(engine: Engine, appends: Appends) -> None:
    got = await outcomes([send(engine, command) for command in SETUP])
    assert [sequences(one) for one in got] == [[[1]], [[2]], [[3, 4]], [[5]], [[6]]]
    assert len(appends.calls) == 1


async def test_a_group_commit_has_a_maximum_size(store: MemoryStore, appends: Appends) -> None:
    async with running(store, max_group=4) as engine:
        await outcomes([send(engine, setting(n)) for n in range(10)])
    assert [events for events, _ in appends.calls] == [4, 4, 2]


async def test_a_rejected_command_leaves_no_trace_and_does_not_affect_others(
    engine: Engine, store: MemoryStore, appends: Appends
) -> None:
    submissions = [send(engine, command) for command in (*SETUP[:2], rename("U"))]
    submissions.insert(2, send(engine, c.RenameThread(thread_id="none", title="X"), command_id="rejected"))
    submissions.append(send(engine, c.CreateProject(id="q", name="Q", path="/p")))
    first, second, renamed, *rejected = await outcomes([submissions[i] for i in (0, 1, 3, 2, 4)])
    assert [sequences(one) for one in (first, second, renamed)] == [[[1]], [[2]], [[3]]]
    assert isinstance(rejected[0], NotFound)
    assert isinstance(rejected[1], Rejected)
    assert appends.calls == [(3, 0)]
    assert [type(s.event).__name__ for s in await replayed(store)] == [
        "ProjectCreated",
        "ThreadCreated",
        "ThreadRenamed",
    ]


async def test_a_command_that_changes_nothing_does_not_append(ready: Engine, appends: Appends) -> None:
    got = await answer(ready, rename("T"))
    assert (got.sequence, sequences(got)) == (6, [[]])
    assert appends.calls == []


async def test_events_have_the_time_of_the_engine_clock(store: MemoryStore) -> None:
    async with running(store, clock=lambda: "2001-02-03T04:05:06.789Z") as engine:
        [event] = decoded((await answer(engine, setting(1))).results[0].events)
        assert event["event"]["at"] == "2001-02-03T04:05:06.789Z"
    now = engine_module.now()
    assert len(now) == 24
    assert now.endswith("Z")


async def test_each_command_has_the_time_of_its_arrival_also_in_one_append(store: MemoryStore) -> None:
    times = [f"2001-02-03T04:05:0{n}.000Z" for n in (3, 1, 2)]
    ticks = iter(times)
    engine = Engine(store, clock=lambda: next(ticks), linger=0)
    sent = [send(engine, setting(n)) for n in range(3)]  # before it runs: they are one group
    engine.start()
    events = [decoded(one.results[0].events)[0] for one in await outcomes(sent)]
    await engine.stop()
    assert [event["event"]["at"] for event in events] == times
    assert [event["sequence"] for event in events] == [1, 2, 3]


async def test_a_command_happened_when_it_says(ready: Engine, store: MemoryStore) -> None:
    past, earlier = "1999-12-31T23:59:59.999Z", "1999-12-31T00:00:00.000Z"
    await answer(ready, c.CreateThread(thread_id="old", project_id="p", title="Old", at=past))
    await answer(ready, c.StartTurn(thread_id="old", id="u", message_id="m", prompt="Do", at=earlier))
    await answer(ready, c.CompleteTurn(thread_id="old", id="u", stop_reason="end_turn", at=past))
    late = c.RenameThread(thread_id="old", title="Older", at="9999-12-31T23:59:59.999Z")
    [rejected] = await outcomes([send(ready, late)])
    assert isinstance(rejected, Rejected)
    assert rejected.kind == "atInFuture"
    old = msgspec.json.decode(msgspec.json.encode(await store.read(lambda reads: reads.thread("old", 1, LATEST))))
    [thread], [turn], [message] = old["threads"], old["turns"], old["messages"]
    assert (thread["createdAt"], thread["updatedAt"]) == (past, past)
    assert (turn["startedAt"], turn["endedAt"], message["createdAt"]) == (earlier, past, earlier)


async def test_a_command_happened_at_most_a_minute_after_it_arrives(store: Store) -> None:
    async with running(store, clock=lambda: "2001-12-31T23:59:30.000Z") as engine:
        minute, more = "2002-01-01T00:00:30.000Z", "2002-01-01T00:00:30.001Z"
        made, rejected = await outcomes(
            [send(engine, msgspec.structs.replace(setting(n), at=at)) for n, at in enumerate((minute, more))]
        )
        assert decoded(made.results[0].events)[0]["event"]["at"] == minute
        assert isinstance(rejected, Rejected)
        assert (rejected.kind, rejected.details) == ("atInFuture", {"now": "2001-12-31T23:59:30.000Z"})


async def test_text_that_says_when_it_happened_is_not_merged_with_other_text(ready: Engine) -> None:
    past = "1999-12-31T23:59:59.999Z"
    made = await outcomes([send(ready, delta("a")), send(ready, delta("b", at=past)), send(ready, delta("c"))])
    assert len({event for one in made for [event] in sequences(one)}) == 3


async def test_missing_ids_are_generated_in_increasing_order(ready: Engine) -> None:
    made = await outcomes([send(ready, c.CreateThread(project_id="p", title="New")) for _ in range(3)])
    ids = [decoded(one.results[0].events)[0]["event"]["threadId"] for one in made]
    assert len(set(ids)) == 3
    assert ids == sorted(ids), "UUIDv7 rises"


async def test_commands_beyond_the_queue_limit_are_refused(store: MemoryStore) -> None:
    engine = Engine(store, linger=0, max_queue=3)
    waiting = [send(engine, setting(n)) for n in range(3)]
    assert engine.queued == 3
    with pytest.raises(Overloaded):
        send(engine, setting(4))
    engine.start()
    assert all(isinstance(one, BatchDispatched) for one in await outcomes(waiting))
    await engine.stop()
    assert engine.queued == 0


async def test_a_cancelled_queued_command_is_not_executed(store: MemoryStore) -> None:
    engine = Engine(store, linger=0)
    first, second = send(engine, setting(1)), send(engine, setting(2))
    assert first.cancel()
    engine.start()
    await outcomes([second])
    assert not second.cancel(), "what has happened cannot be taken back"
    await engine.stop()
    assert [s.event for s in await replayed(store)] == [
        e.SettingChanged(
            key="key-2", value=True, at=decoded(second.future.result().results[0].events)[0]["event"]["at"]
        )
    ]


async def test_state_evicted_from_memory_is_loaded_again(
    store: MemoryStore,
) -> None:
    async with running(store, state_limit=1) as engine:
        for command in SETUP:
            await answer(engine, command)
        assert len(engine._state) == 0
        with pytest.raises(Rejected, match="still running"):
            await answer(engine, c.StartTurn(thread_id="t", prompt="Again"))


# Batches of commands


async def test_an_accepted_batch_is_appended_as_one(engine: Engine, appends: Appends) -> None:
    got = await answer(engine, *SETUP, rename("T"), rename("U"), atomic=True)
    assert sequences(got) == [[1], [2], [3, 4], [5], [6], [], [7]]
    assert [result.sequence for result in got.results] == [1, 2, 4, 5, 6, 6, 7]
    assert got.sequence == 7
    assert appends.calls == [(7, 0)]


async def test_one_rejected_command_rejects_the_whole_batch(engine: Engine, store: MemoryStore) -> None:
    bad = [*SETUP, c.CompleteTurn(thread_id="t", id="another", stop_reason="end_turn")]
    submissions = [send(engine, setting(1)), send(engine, *bad, atomic=True), send(engine, *SETUP, atomic=True)]
    first, rejected, second = await outcomes(submissions)
    assert isinstance(rejected, NotFound)
    assert (sequences(first), second.sequence) == ([[1]], 7)
    assert await log_sequence(store) == 7


@pytest.mark.parametrize("command_id", [None, "empty"])
async def test_an_empty_batch_is_accepted(engine: Engine, command_id: str | None) -> None:
    await answer(engine, setting(1))
    neighbours = [send(engine, setting(2)), send(engine, atomic=True, command_id=command_id), send(engine, setting(3))]
    first, empty, second = await outcomes(neighbours)
    assert (sequences(first), sequences(second)) == ([[2]], [[3]])
    assert empty.results == []
    assert await answer(engine, atomic=True, command_id=command_id) == (
        empty if command_id else BatchDispatched(sequence=3, results=[])
    )


# Repeated commands


async def test_a_repeated_command_id_gets_the_stored_answer(
    ready: Engine, store: MemoryStore, appends: Appends
) -> None:
    first = await answer(ready, rename("U"), command_id="c")
    await answer(ready, rename("V"))
    again = await answer(ready, rename("U"), command_id="c")
    assert again == first
    assert sequences(first) == [[7]]
    assert len(appends.calls) == 2
    assert await log_sequence(store) == 8


async def test_a_repeated_command_id_gets_the_stored_answer_across_restarts_and_processes(
    data_dir: Path,
) -> None:
    async with opened(data_dir) as store, running(store) as engine:
        await answer(engine, *SETUP, atomic=True)
        given = [
            await answer(engine, rename("U"), command_id="one-event"),
            await answer(engine, rename("U"), command_id="no-event"),
            await answer(engine, c.CompleteTurn(thread_id="t", id="u", stop_reason="end"), command_id="many-events"),
            await answer(engine, setting(1), setting(1), rename("V"), command_id="parts", atomic=True),
        ]
        async with opened(data_dir) as other, running(other) as another:
            assert await _repeat(another) == given
    async with opened(data_dir) as store, running(store) as engine:
        assert await _repeat(engine) == given
        assert [sequences(one) for one in given] == [[[7]], [[]], [[8, 9, 10]], [[11], [], [12]]]
        assert await log_sequence(store) == 12


async def _repeat(engine: Engine) -> list[BatchDispatched]:
    return [
        await answer(engine, rename("U"), command_id="one-event"),
        await answer(engine, rename("U"), command_id="no-event"),
        await answer(engine, c.CompleteTurn(thread_id="t", id="u", stop_reason="end"), command_id="many-events"),
        await answer(engine, setting(1), setting(1), rename("V"), command_id="parts", atomic=True),
    ]


async def test_concurrent_duplicates_of_a_command_are_executed_once(ready: Engine, store: MemoryStore) -> None:
    twins = [send(ready, c.CreateThread(project_id="p", title="New"), command_id="c") for _ in range(4)]
    got = await outcomes([*twins, send(ready, setting(1))])
    assert got[1:4] == [got[0]] * 3
    assert sorted(sequences(got[0])[0] + sequences(got[4])[0]) == [7, 8]
    assert await log_sequence(store) == 8


async def test_each_merged_delta_is_recorded_under_its_own_command_id(data_dir: Path) -> None:
    async with opened(data_dir) as store, running(store) as engine:
        await answer(engine, *SETUP, atomic=True)
        given = await outcomes([send(engine, delta(text), command_id=f"c{text}") for text in "abc"])
        assert [sequences(one) for one in given] == [[[7]]] * 3
    async with opened(data_dir) as store, running(store) as engine:
        assert [await answer(engine, delta(text), command_id=f"c{text}") for text in "abc"] == given
        assert await log_sequence(store) == 7
        assert decoded(given[1].results[0].events)[0]["event"]["text"] == "abc"


async def test_a_rejected_command_id_can_be_reused(ready: Engine) -> None:
    end = c.CompleteTurn(thread_id="t", id="v", stop_reason="end")
    with pytest.raises(NotFound):
        await answer(ready, end, command_id="c")
    await answer(ready, c.CompleteTurn(thread_id="t", id="u", stop_reason="end"))
    await answer(ready, c.StartTurn(thread_id="t", id="v", prompt=""))
    assert (await answer(ready, end, command_id="c")).results[0].events


async def test_a_different_command_with_the_same_id_is_a_conflict(ready: Engine, store: MemoryStore) -> None:
    given = await answer(ready, rename("U"), command_id="c")
    one, other, again = await outcomes(
        [send(ready, setting(1)), send(ready, rename("V"), command_id="c"), send(ready, rename("U"), command_id="c")]
    )
    assert sequences(one) == [[8]]
    assert isinstance(other, Conflict)
    assert other.kind == "commandIdConflict"
    assert other.details["commandId"] == "c"
    assert again == given
    with pytest.raises(Conflict):
        await answer(ready, rename("U"), command_id="c", atomic=True)


async def test_of_two_concurrent_commands_with_one_id_the_second_is_a_conflict(ready: Engine) -> None:
    first, second = await outcomes([send(ready, rename(title), command_id="c") for title in "UV"])
    assert sequences(first) == [[7]]
    assert isinstance(second, Conflict)


async def test_a_no_op_command_sent_by_two_processes_at_once_is_answered_to_both(
    data_dir: Path, disk: Store, on_disk: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The log does not move, so that only the record of the command can tell the second that it came second.
    async with opened(data_dir) as other, running(other) as another:
        loop = asyncio.get_running_loop()

        def be_late(events: int, records: int) -> None:
            monkeypatch.undo()
            asyncio.run_coroutine_threadsafe(answer(another, rename("T"), command_id="c"), loop).result()

        hook_appends(disk, monkeypatch, be_late)
        got = await answer(on_disk, rename("T"), command_id="c")
        assert got == await answer(another, rename("T"), command_id="c")
        assert sequences(got) == [[]]


def test_a_command_digest_ignores_member_order_command_id_and_expected_version() -> None:
    asked = {"type": "RenameThread", "threadId": "t", "title": "é", "detail": {"b": [1, 1.5], "a": None}}
    other_order = {"detail": {"a": None, "b": [1, 1.5]}, "title": "é", "threadId": "t", "type": "RenameThread"}
    assert digest(asked) == digest(other_order) == digest({**asked, "commandId": "c", "expectedVersion": 3})
    assert digest(asked) != digest({**asked, "title": "e"})
    assert digest(asked) != digest({**asked, "detail": {"b": [1, 1.5], "a": None, "commandId": "c"}})
    assert digest({**asked, "title": 1}) != digest({**asked, "title": 1.0}) != digest({**asked, "title": "1"})
    batch = {"commands": [asked, asked]}
    assert digest(batch) == digest({"commandId": "c", "commands": [{**other_order, "expectedVersion": 1}, asked]})
    assert digest(batch) != digest({"commands": [asked]})
    assert len(digest(asked)) == 64


# expectedVersion


async def test_a_version_conflict_reports_expected_and_actual_version(ready: Engine) -> None:
    assert (await answer(ready, rename("U", expected_version=6))).sequence == 7
    with pytest.raises(Conflict) as caught:
        await answer(ready, rename("V", expected_version=6))
    assert (caught.value.kind, caught.value.details) == ("versionConflict", {"expected": 6, "actual": 7})


async def test_streamed_text_does_not_change_the_version(ready: Engine) -> None:
    await answer(ready, delta("some"))
    await answer(ready, setting(1))
    assert (await answer(ready, rename("U", expected_version=6))).sequence == 9
    with pytest.raises(Conflict):
        await answer(ready, delta("more", expected_version=6))
    assert (await answer(ready, delta("more", expected_version=9))).sequence == 10


async def test_a_repeated_command_is_answered_whatever_version_it_expects(ready: Engine) -> None:
    given = await answer(ready, rename("U", expected_version=6), command_id="c")
    assert await answer(ready, rename("U", expected_version=6), command_id="c") == given
    assert await answer(ready, rename("U", expected_version=7), command_id="c") == given
    assert await answer(ready, rename("U"), command_id="c") == given


async def test_of_two_commands_expecting_the_same_version_the_second_is_a_conflict(ready: Engine) -> None:
    first, second = await outcomes([send(ready, rename(title, expected_version=6)) for title in "UV"])
    assert sequences(first) == [[7]]
    assert isinstance(second, Conflict)


# Streamed text


async def test_consecutive_deltas_are_merged_into_one_event(
    ready: Engine, store: MemoryStore, appends: Appends
) -> None:
    texts = ["one", " ", "😀", "", "é", "two"]
    got = await outcomes([send(ready, delta(text)) for text in texts])
    assert appends.calls == [(1, 0)]
    [stored] = await replayed(store, 6)
    assert isinstance(stored.event, e.MessageAppended)
    assert stored.event.text == "".join(texts)
    for one in got:
        assert one == got[0]
    assert decoded(got[0].results[0].events)[0]["event"]["text"] == "".join(texts)


async def texts_of(store: DataDirectory, after: int = 6) -> list[tuple[str, str]]:
    stored = await replayed(store, after)
    return [(s.event.id, s.event.text) for s in stored if isinstance(s.event, e.MessageAppended)]


@pytest.mark.parametrize(
    ("commands", "events"),
    [
        ([delta("a"), delta("b", "n"), delta("c")], [("m", "a"), ("n", "b"), ("m", "c")]),
        ([delta("a"), rename("U"), delta("b")], [("m", "a"), ("m", "b")]),
        ([delta("a"), delta("b", expected_version=6), delta("c")], [("m", "a"), ("m", "b"), ("m", "c")]),
        ([delta("a"), rename("T"), delta("b")], [("m", "ab")]),
        ([delta("a"), c.RenameThread(thread_id="none", title="X"), delta("b")], [("m", "ab")]),
        ([delta(""), delta("a"), delta("b")], [("m", "ab")]),
    ],
    ids=["another-message", "another-event", "a-version", "no-event", "a-rejection", "an-empty-one"],
)
async def test_deltas_are_merged_unless_another_command_is_between_them(
    ready: Engine, store: MemoryStore, commands: list[c.Command], events: list[tuple[str, str]]
) -> None:
    await outcomes([send(ready, command) for command in commands])
    assert await texts_of(store) == events


async def other_thread(engine: Engine) -> int:
    """Open a message in another thread, with the id of the one in the first; the sequence then."""
    await answer(engine, c.CreateThread(thread_id="other", project_id="p", title="T"))
    await answer(engine, c.StartTurn(thread_id="other", id="u", prompt=""))
    message = c.AddMessage(thread_id="other", id="m", turn_id="u", role="assistant", text="", streaming=True)
    return (await answer(engine, message)).sequence


async def test_deltas_of_two_threads_with_the_same_message_id_are_not_merged(ready: Engine, store: MemoryStore) -> None:
    after = await other_thread(ready)
    await outcomes([send(ready, delta("a")), send(ready, c.AppendMessage(thread_id="other", id="m", text="b"))])
    assert await texts_of(store, after) == [("m", "a"), ("m", "b")]


async def test_deltas_of_threads_that_stream_at_the_same_time_are_merged_in_each(
    ready: Engine, store: MemoryStore
) -> None:
    after = await other_thread(ready)
    other = [c.AppendMessage(thread_id="other", id="m", text=text) for text in "xyz"]
    commands = [delta("a"), other[0], delta("b"), other[1], c.CompleteMessage(thread_id="other", id="m"), delta("c")]
    got = await outcomes([send(ready, command) for command in [*commands, other[2]]])
    assert await texts_of(store, after) == [("m", "ab"), ("m", "xy"), ("m", "c")]
    assert sequences(got[2]) == sequences(got[0])
    assert isinstance(got[6], Rejected)


async def test_deltas_of_a_batch_are_not_merged(ready: Engine, store: MemoryStore) -> None:
    await outcomes([send(ready, delta("a")), send(ready, delta("b"), delta("c"), atomic=True), send(ready, delta("d"))])
    assert await texts_of(store) == [("m", "a"), ("m", "b"), ("m", "c"), ("m", "d")]


async def test_a_merged_delta_has_a_maximum_size(ready: Engine, store: MemoryStore) -> None:
    async with running(store, max_merged=4) as engine:
        await outcomes([send(engine, delta("xy")) for _ in range(5)])
    assert await texts_of(store) == [("m", "xyxy"), ("m", "xyxy"), ("m", "xy")]


async def test_deltas_after_the_end_of_a_message_are_rejected(ready: Engine, store: MemoryStore) -> None:
    got = await outcomes(
        [send(ready, delta("a")), send(ready, c.CompleteMessage(thread_id="t", id="m")), send(ready, delta("b"))]
    )
    assert isinstance(got[2], Rejected)
    assert await texts_of(store) == [("m", "a")]


async def stream_fast(engine: Engine, *messages: str) -> None:
    """Deltas without text, which leave no event, each answered before the next."""
    for message in messages:
        for _ in range(Linger.DELTAS):
            await answer(engine, delta("", message))


@pytest.mark.parametrize("ending", ["another command", "a read", "a stop", "a slow message"])
async def test_fast_deltas_linger_until_something_else_comes(store: MemoryStore, appends: Appends, ending: str) -> None:
    async with running(store, linger=3600.0) as engine:
        third = c.AddMessage(thread_id="t", id="k", turn_id="u", role="assistant", text="", streaming=True)
        await answer(engine, *SETUP, third, atomic=True)
        await stream_fast(engine, "m", "n")
        appends.calls.clear()
        waiting = [send(engine, delta("a"))]
        await some_turns(store)
        waiting.append(send(engine, delta("b")))
        await some_turns(store)
        waiting.append(send(engine, delta("c", "n")))
        await some_turns(store)
        assert appends.calls == []
        assert not any(s.future.done() for s in waiting)
        if ending == "another command":
            await answer(engine, setting(1))
        elif ending == "a read":
            await engine.settled()
        elif ending == "a stop":
            await engine.stop()
        else:
            await answer(engine, delta("", "k"))
        assert all(s.future.done() for s in waiting)
    assert appends.calls == [(3 if ending == "another command" else 2, 0)]
    assert await texts_of(store) == [("m", "ab"), ("n", "c")]


async def test_after_a_linger_without_more_text_the_next_delta_does_not_linger(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Linger, "PAUSE", 3600.0)
    async with running(store, linger=3600.0) as engine:
        await answer(engine, *SETUP, atomic=True)
        await stream_fast(engine, "m", "n")
        engine._linger._seconds = 0.001
        await answer(engine, delta("a"))
        engine._linger._seconds = 3600.0
        await answer(engine, delta("b", "n"))
    assert await texts_of(store) == [("m", "a"), ("n", "b")]


async def test_the_deltas_of_a_message_that_does_not_stream_fast_do_not_linger(store: MemoryStore) -> None:
    async with running(store, linger=3600.0) as engine:
        await answer(engine, *SETUP, atomic=True)
        await stream_fast(engine, "n")
        await outcomes([send(engine, delta(text)) for text in "abc"])
        await answer(engine, delta("d"))
    assert await texts_of(store) == [("m", "abc"), ("m", "d")]


# Several processes on one data directory


async def test_two_engines_append_to_one_log_and_nothing_is_lost(data_dir: Path) -> None:
    async with opened(data_dir) as one, opened(data_dir) as two, running(one) as left, running(two) as right:
        await answer(left, c.CreateProject(id="p", name="P", path="/p"))

        async def work(engine: Engine, name: str) -> list[tuple[str, BatchDispatched]]:
            done = []
            for n in range(15):
                create = c.CreateThread(thread_id=f"{name}{n}", project_id="p", title=name)
                submissions = [send(engine, create), *(send(engine, setting(i, f"{name}{n}")) for i in range(3))]
                done += [(name, got) for got in await outcomes(submissions)]
            return done

        done = [*await work_together(work(left, "left"), work(right, "right"))]
        log = {s.sequence: s.event for s in await replayed(one)}
    assert list(log) == list(range(1, len(log) + 1))
    answered = {stored["sequence"] for _, got in done for stored in decoded(got.results[0].events)}
    assert answered == set(range(2, len(log) + 1)), "each event was the answer to somebody"
    for _, got in done:
        for stored in decoded(got.results[0].events):
            assert log[stored["sequence"]] == msgspec.convert(stored["event"], e.AnyEvent)


async def work_together(*work: Any) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [one for some in await asyncio.gather(*work) for one in some]


async def test_a_command_that_names_only_new_ids_is_appended_after_another_process_appended(
    data_dir: Path, on_disk: Engine
) -> None:
    rule = AddRule(match=RuleMatch(path="**"), decision="deny")
    assert sequences(await answer(on_disk, rule)) == [[7]]
    async with opened(data_dir) as other, running(other) as another:
        assert sequences(await answer(another, rule)) == [[8]]
        assert sequences(await answer(on_disk, rule)) == [[9]]


async def test_rejections_are_decided_against_the_newest_log(data_dir: Path, on_disk: Engine) -> None:
    with pytest.raises(NotFound):
        await answer(on_disk, c.RenameThread(thread_id="new", title="X"))
    async with opened(data_dir) as other, running(other) as another:
        await answer(another, c.CreateThread(thread_id="new", project_id="p", title="New"))
        assert sequences(await answer(on_disk, c.RenameThread(thread_id="new", title="X"))) == [[8]]
        await answer(another, c.DeleteThread(thread_id="new"))
        with pytest.raises(NotFound):
            await answer(on_disk, c.RenameThread(thread_id="new", title="Y"))


async def test_no_ops_are_decided_against_the_newest_log(data_dir: Path, on_disk: Engine) -> None:
    assert sequences(await answer(on_disk, rename("T"))) == [[]]
    async with opened(data_dir) as other, running(other) as another:
        await answer(another, rename("U"))
        assert sequences(await answer(on_disk, rename("T"))) == [[8]]
        await answer(another, rename("V"), command_id="c")
        with pytest.raises(Conflict):
            await answer(on_disk, setting(1), command_id="c")
        assert sequences(await answer(on_disk, rename("V"), command_id="d")) == [[]]


async def test_commands_are_decided_again_when_another_process_appended_first(
    data_dir: Path, disk: Store, on_disk: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(data_dir) as other, running(other) as another:
        loop, late = asyncio.get_running_loop(), iter([True, True])

        async def be_faster() -> None:
            await answer(another, c.CreateThread(project_id="p", title="Faster"))
            await answer(another, setting(1, await log_sequence(other)))

        def be_late(events: int, records: int) -> None:
            if next(late, False):
                asyncio.run_coroutine_threadsafe(be_faster(), loop).result()

        hook_appends(disk, monkeypatch, be_late)
        got = await outcomes([send(on_disk, rename("U", expected_version=6)), send(on_disk, setting(1, 8))])
    assert sequences(got[0]) == [[11]]
    assert sequences(got[1]) == [[12]]


@pytest.mark.only_local("a shared log has no paths")
async def test_a_project_path_taken_by_another_process_first_is_rejected(data_dir: Path, on_disk: Engine) -> None:
    async with opened(data_dir) as other, running(other) as another:
        projects = [c.CreateProject(name=str(n), path=f"/{n // 2}") for n in range(20)]
        got = await outcomes([send((on_disk, another)[n % 2], project) for n, project in enumerate(projects)])
    assert [isinstance(one, Rejected) for one in got].count(True) == 10
    for pair in zip(got[::2], got[1::2], strict=True):
        assert sum(isinstance(one, Rejected) and one.kind == "pathTaken" for one in pair) == 1


async def test_an_append_waits_while_another_program_holds_the_lock(
    data_dir: Path, on_disk: Engine, disk: Store
) -> None:
    with plain(data_dir) as db:
        db.execute("BEGIN IMMEDIATE")
        waiting = send(on_disk, setting(1))
        for _ in range(10):
            await disk.read(lambda db: None)
        assert not waiting.future.done()
        db.execute("ROLLBACK")
    assert sequences((await outcomes([waiting]))[0]) == [[7]]


@pytest.mark.only_local("the server has the event then: tests/test_shared_faults.py")
async def test_commands_are_refused_when_the_lock_is_held_too_long(
    data_dir: Path, on_disk: Engine, disk: Store
) -> None:
    await disk.writer.call(lambda db: db.execute("PRAGMA busy_timeout = 0").close())
    with plain(data_dir) as db:
        db.execute("BEGIN IMMEDIATE")
        async with running(disk, busy_patience=0.0) as hasty:
            waiting = [send(hasty, setting(n)) for n in (1, 2)]
            assert all(isinstance(one, Overloaded) for one in await outcomes(waiting))
        db.execute("ROLLBACK")
    assert sequences(await answer(on_disk, setting(1))) == [[7]]


# Errors of the database


@pytest.mark.only_local("the server has the event then: tests/test_shared_faults.py")
async def test_a_command_that_the_database_refuses_fails_alone(on_disk: Engine, disk: Store) -> None:
    await disk.writer.call(lambda db: db.setlimit(0, 4_000))  # SQLITE_LIMIT_LENGTH: of a string, in bytes
    values = ["small", "x" * 10_000, "small too"]
    submissions = [send(on_disk, setting(n, value), command_id=f"c{n}") for n, value in enumerate(values)]
    submissions += [send(on_disk, one) for one in (rename("none", expected_version=1), delta("a"), delta("b"))]
    first, refused, second, rejected, *deltas = await outcomes(submissions)
    assert isinstance(refused, StorageError)
    assert "x" * 100 not in str(refused)
    assert isinstance(rejected, Conflict)
    assert [sequences(one) for one in (first, second, *deltas)] == [[[7]], [[8]], [[9]], [[10]]]
    assert await texts_of(disk) == [("m", "a"), ("m", "b")]
    await disk.writer.call(lambda db: db.setlimit(0, 1_000_000))
    assert sequences(await answer(on_disk, setting(1, values[1]), command_id="c1")) == [[11]]
    assert await answer(on_disk, setting(0, "small"), command_id="c0") == first


async def test_the_engine_keeps_running_after_an_unexpected_exception(
    ready: Engine, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(ready, "_load", broken)
    got = await outcomes([send(ready, setting(n)) for n in range(2)])
    assert [type(one) for one in got] == [ZeroDivisionError] * 2
    monkeypatch.undo()
    assert sequences(await answer(ready, setting(1))) == [[7]]


# Runners


async def test_the_runner_lock_is_held_before_the_first_turn_is_appended(
    disk: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = data_dir / "runners", Runner(data_dir, disk.runner.machine)
    appends, gone = Appends(disk, monkeypatch), list[bool]()
    async with running(disk) as engine:
        await answer(engine, *SETUP[:2], atomic=True)
        assert not folder.exists()
        appends.before = lambda: gone.append(seen.is_gone(disk.runner.name))
        await answer(engine, SETUP[2])
    assert gone == [False]
    [turn] = [s.event for s in await replayed(disk) if isinstance(s.event, e.TurnStarted)]
    assert turn.runner == disk.runner.name
    disk.runner.release()
    assert seen.is_gone(turn.runner)
    assert list(folder.iterdir()) == []


@pytest.mark.only_local("it has no log")
async def test_a_runner_of_this_machine_that_nobody_knows_is_gone_whatever_its_name(
    data_dir: Path,
) -> None:
    data_dir.mkdir()
    seen = Runner(data_dir, Machine("0" * 16, frozenset({"1" * 16})))
    for name in ("unknown", "../../etc/passwd", "", "a/b", f"{'0' * 16}.unknown", f"{'1' * 16}.copied"):
        assert seen.is_gone(name)
        seen.forget(name)
    assert not seen.is_gone(f"{'2' * 16}.elsewhere")
