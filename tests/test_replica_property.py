"""After any sequence of commands, every replica equals a fresh read, and both match the log.

Random sequences of valid and invalid commands go over a pipe to a daemon with subscribers, while another process
writes now and then. After each step everything that is stored twice is compared: the answers with the log, the
engine's state with the projections, the projections with a replay, and each replica with a read.
"""

import asyncio
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from drafts import DRAFTS, NOBODY, NOTHING, SMALL, TEXTS, Draft, Known, named, pick
from postgres import needs_postgres
from support import PATIENCE, opened, serving, set_default
from treadle.client.replica import Replica
from treadle.contract import errors
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.state import Key, ThreadState
from treadle.publish.subscriptions import SUBSCRIPTION_BOUNDS, SubscriptionBounds
from treadle.store.pages import PAGE_BOUNDS, PageBounds
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.sql import query
from treadle.store.sqlite.transaction import SqliteReads

T = TypeVar("T")

SEQUENCES = 20
STEPS = 50

IN_MEMORY = Path("/dev/shm")
TURN_LIMITS = (1, 2, 50)


class Follower:
    """A subscription: how it was opened, and the replica that it keeps up."""

    def __init__(self, params: dict[str, Any], answer: dict[str, Any], replica: Replica | None = None) -> None:
        self.id: str = answer["subscriptionId"]
        self.params = params
        self.sequence: int = answer["sequence"]
        self.events: list[dict[str, Any]] = []
        self.replica = replica or Replica()
        if answer["type"] == "snapshot":
            self.replica = Replica()  # what was held is of another time
        assert all(change["type"] != "append" for change in answer.get("changes", ()))
        self.replica.start(answer)

    def take(self, params: dict[str, Any]) -> None:
        assert params["sequence"] >= self.sequence
        self.sequence = params["sequence"]
        if "events" in params:
            assert [stored["sequence"] for stored in params["events"]] == list(
                range(len(self.events) + 1, self.sequence + 1)
            )
            self.events += params["events"]
            for stored in params["events"]:
                rewrite(self.events, stored)
        else:
            self.replica.apply(params["changes"], self.sequence)

    def fresh(self, reads: SqliteReads) -> dict[str, Any]:
        """What a client that opens the same now would be given; nothing for a thread that is gone."""
        snapshot: object
        match self.params["topic"]:
            case "index":
                snapshot = reads.index()
            case "settings":
                snapshot = reads.settings()
            case _:
                try:
                    snapshot = reads.thread(self.params["threadId"], self.params["turnLimit"])
                except NotFound:
                    return {"sequence": 0}
        decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(snapshot))
        return decoded

    def must_hold(self, reads: SqliteReads) -> None:
        snapshot = self.fresh(reads)
        expected = Replica()
        expected.load(snapshot)
        for entity, values in expected.entities.items():
            held = self.replica.entities[entity]
            for id, value in values.items():
                assert held.get(id) == value, (self.params, entity, id)
        if self.params["topic"] == "settings" or len(self.replica.entities["thread"]) < reads.bounds.index_threads:
            if self.params["topic"] != "thread":  # all is in the window: nothing else is held either
                assert self.replica.entities == expected.entities
        elif "threads" not in snapshot:
            assert not any(self.replica.entities.values()), "the thread is gone, and all that was in it"


def rewrite(events: list[dict[str, Any]], stored: dict[str, Any]) -> None:
    """What a client that keeps events does with them when it is sent one that erases or redacts others."""
    event = stored["event"]
    for one in events[: stored["sequence"] - 1]:
        if event["type"] == "ThreadErased" and one["event"].get("threadId") == event["threadId"]:
            one["event"] = {"erased": True}
    for one in event["events"] if event["type"] == "EventsRedacted" else ():
        events[one["sequence"] - 1]["event"] = one["event"] | {"redacted": stored["sequence"]}


def told(event: dict[str, Any]) -> dict[str, Any]:
    return {"erased": True} if event.get("erased") else event


class Replay:
    """An empty database that is given the log, event by event."""

    def __init__(self) -> None:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            migrations.migrate(db)
            projections._apply(db)
            self._empty = db.serialize()

    def attach(self, path: Path) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.deserialize(self._empty)
        self.db.execute("ATTACH ? AS live", (str(path),))
        self.sequence = 0

    def go_on(self) -> list[tuple[int, str]]:
        """Replay what is new, compare every table; what was new."""
        after = self.sequence
        new = self.db.execute(
            "SELECT sequence, payload FROM live.events WHERE sequence > ? ORDER BY sequence", (after,)
        ).fetchall()
        self.sequence += len(new)
        self.db.execute(query("replay_from_live"), {"after": after, "upto": self.sequence})
        differences = [d for table in projections.TABLES for d in projections._compare(self.db, table, 3)]
        assert differences == []
        return new

    def detach(self) -> None:
        self.db.close()


REPLAY = Replay()
OUTCOMES = {errors.REJECTED, errors.NOT_FOUND, errors.CONFLICT}


class Conversation(RuleBasedStateMachine):
    """One daemon, from an empty directory to its end."""

    subscriptions = SUBSCRIPTION_BOUNDS
    pages = PAGE_BOUNDS
    prepare: Callable[[Path], None] = staticmethod(lambda data_dir: None)
    by: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.data_dir = self.folder / "data"
        self.prepare(self.data_dir)
        self.known = Known()
        self.log: list[dict[str, Any]] = []
        self.ids = map("x{}".format, itertools.count(1))
        self.followers: dict[str, Follower] = {}
        self.left: list[Follower] = []
        self.heard = 0
        self.requests: list[int] = []
        self.answers: dict[str, tuple[dict[str, Any], Any]] = {}
        self.other: Engine | None = None
        self.agrees = True
        self.run(self._begin())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        self.agrees = False
        return self.loop.run_until_complete(work)

    async def _begin(self) -> None:
        await self._serve()
        self.db = sqlite3.connect(self.data_dir / FILE_NAME, isolation_level=None)
        self.reads = SqliteReads(self.db, self.pages)
        REPLAY.attach(self.data_dir / FILE_NAME)
        self.events = await self._open({"topic": "events", "afterSequence": 0})
        await self._open({"topic": "index"})

    async def _serve(self) -> None:
        self.wire, self.daemon = await self.stack.enter_async_context(
            serving(self.data_dir, subscriptions=self.subscriptions, pages=self.pages)
        )
        self.wire.replies.clear()
        self.requests.clear()
        self.heard = 0

    def send(self, method: str, params: dict[str, Any]) -> int:
        id = self.wire.send(method, params)
        self.requests.append(id)
        return id

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        return (await self.wire.reply(self.send(method, params)))["result"]

    async def _open(self, params: dict[str, Any], replica: Replica | None = None) -> Follower:
        follower = Follower(params, await self.ask("subscription/open", params), replica)
        self.followers[follower.id] = follower
        return follower

    # What is asked

    @initialize(drafts=st.lists(DRAFTS, min_size=4, max_size=12))
    def a_beginning(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            self.run(self._dispatch([self._command(draft._replace(which=draft.which % 7, flag=True))]))
            self.everything_agrees()

    @rule(draft=DRAFTS, version=st.sampled_from([0, 0, 0, 1, 2]))
    def one(self, draft: Draft, version: int) -> None:
        self.run(self._dispatch([self._command(draft, version)]))

    @rule(drafts=st.lists(DRAFTS, min_size=2, max_size=6))
    def several_without_waiting(self, drafts: list[Draft]) -> None:
        self.run(self._dispatch([self._command(draft) for draft in drafts]))

    @rule(which=SMALL, texts=st.lists(TEXTS, min_size=2, max_size=6), other=SMALL)
    def streamed(self, which: int, texts: list[str], other: int) -> None:
        messages = [pick(self.known.open, n, NOTHING) for n in (which, which, other)]
        deltas = zip(itertools.cycle(messages), texts, strict=False)
        self.run(self._dispatch([{"type": "AppendMessage", **named(m), "text": text} for m, text in deltas]))

    @rule(draft=DRAFTS, name=SMALL)
    def one_that_may_be_repeated(self, draft: Draft, name: int) -> None:
        self.run(self._named_once({**self._command(draft), "commandId": f"c{name}"}))

    @precondition(lambda self: self.answers)
    @rule(which=SMALL)
    def the_same_again(self, which: int) -> None:
        command, _ = sorted(self.answers.values(), key=repr)[which % len(self.answers)]
        self.run(self._named_once(command))

    @rule(drafts=st.lists(DRAFTS, max_size=5), name=st.one_of(st.none(), SMALL))
    def several_or_none_of_them(self, drafts: list[Draft], name: int | None) -> None:
        batch: dict[str, Any] = {"commands": [self._command(draft) for draft in drafts]}
        if name is not None:
            batch["commandId"] = f"b{name}"
        self.run(self._batch(batch))

    @rule(draft=DRAFTS)
    def one_in_another_process(self, draft: Draft) -> None:
        self.run(self._elsewhere(self._command(draft)))

    def _command(self, draft: Draft, version: int = 0) -> dict[str, Any]:
        command = self.known.command(draft, next(self.ids))
        if version and "threadId" in command:
            known = self.known.versions.get(command["threadId"], 0)
            command["expectedVersion"] = known if version == 1 else known + 1
        return command

    async def _dispatch(self, commands: list[dict[str, Any]]) -> None:
        for id in [self.send("command/dispatch", command) for command in commands]:
            self._check(await self.wire.reply(id))

    async def _named_once(self, command: dict[str, Any]) -> None:
        id = command["commandId"]
        reply = await self.wire.reply(self.send("command/dispatch", command))
        self._check(reply)
        before = self.answers.get(id)
        if before is None:
            if "result" in reply:
                self.answers[id] = (command, reply["result"])
        elif _asked(before[0]) == _asked(command) and "result" in reply:
            assert reply["result"] == before[1]
        else:
            assert reply["error"]["data"]["kind"] in ("commandIdConflict", "commandErased")

    async def _batch(self, batch: dict[str, Any]) -> None:
        before = len(self.log)
        reply = await self.wire.reply(self.send("command/dispatchBatch", batch))
        if "result" in reply:
            assert len(reply["result"]["results"]) == len(batch["commands"])
            for result in reply["result"]["results"]:
                self._check({"result": result})
        else:
            assert reply["error"]["code"] in OUTCOMES, reply
            (sequence,) = self.db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
            assert sequence == before

    async def _elsewhere(self, command: dict[str, Any]) -> None:
        if self.other is None:
            store = await self.stack.enter_async_context(opened(self.data_dir))
            self.other = Engine(store, linger=0)
            self.other.start()
            self.stack.push_async_callback(self.other.stop)
        try:
            await self.other.submit([msgspec.convert(command, c.AnyCommand)]).future
        except Rejected:
            pass

    def _check(self, reply: dict[str, Any]) -> None:
        """The events of an answer are in the log where it says; a refusal is one that a client can act on."""
        if "error" in reply:
            assert reply["error"]["code"] in OUTCOMES, reply
            return
        for stored in reply["result"]["events"]:
            (payload,) = self.db.execute(
                "SELECT payload FROM events WHERE sequence = ?", (stored["sequence"],)
            ).fetchone()
            now = msgspec.json.decode(payload)
            assert now == stored["event"] or "erased" in now or "redacted" in now

    # Who follows

    @rule(which=SMALL, turn_limit=st.sampled_from(TURN_LIMITS))
    def follow_a_thread(self, which: int, turn_limit: int) -> None:
        thread = pick(self.known.threads, which, NOBODY)
        if thread != NOBODY and len(self.followers) < 6:
            self.run(self._open({"topic": "thread", "threadId": thread, "turnLimit": turn_limit}))

    @precondition(lambda self: not any(f.params["topic"] == "settings" for f in self.followers.values()))
    @rule()
    def follow_the_settings(self) -> None:
        self.run(self._open({"topic": "settings"}))

    @precondition(lambda self: len(self.followers) > 1)
    @rule(which=SMALL)
    def follow_no_more(self, which: int) -> None:
        follower = [f for f in self.followers.values() if f is not self.events][which % (len(self.followers) - 1)]
        self.run(self.ask("subscription/close", {"subscriptionId": follower.id}))
        self._hear()
        del self.followers[follower.id]
        self.left.append(follower)

    @precondition(lambda self: self.left)
    @rule()
    def follow_again(self) -> None:
        self.run(self._resume(self.left.pop()))

    async def _resume(self, follower: Follower) -> None:
        params = {**follower.params, "afterSequence": follower.sequence, "logId": self.daemon.store.log_id}
        reply = await self.wire.reply(self.send("subscription/open", params))
        if "error" in reply:  # the thread was deleted, and the client knows
            assert (reply["error"]["code"], follower.replica.entities["thread"]) == (errors.NOT_FOUND, {})
            return
        resumed = Follower(follower.params, reply["result"], follower.replica)
        resumed.sequence = reply["result"]["sequence"]
        self.followers[resumed.id] = resumed

    # What must hold

    @invariant()
    def everything_agrees(self) -> None:
        for sequence, payload in REPLAY.go_on():
            self.known.learn(sequence, e.decode(payload))
            self._note(sequence, payload)
        self.run(self._until_told())
        self._decides_by_what_there_is()
        for follower in self.followers.values():
            if follower is not self.events:
                follower.must_hold(self.reads)
        assert [told(one["event"]) for one in self.events.events] == [told(one["event"]) for one in self.log]
        for id in self.requests:
            assert len(self.wire.replies.pop(id)) == 1, "exactly one answer"
        self.requests.clear()
        assert not self.wire.replies
        self.agrees = True

    def _note(self, sequence: int, payload: str) -> None:
        self.log.append({"sequence": sequence, "event": msgspec.json.decode(payload), **self.by})
        rewrite(self.log, self.log[-1])

    async def _until_told(self) -> None:
        subscriptions = self.daemon.subscriptions
        async with asyncio.timeout(PATIENCE):
            while any(s.sequence < len(self.log) for s in subscriptions._open.values()):
                await self.daemon.store.read(lambda db: None)
        await self.ask("setting/list", {"limit": 1})  # which is answered after what was told
        self._hear()

    def _hear(self) -> None:
        for _, params in self.wire.notifications[self.heard :]:
            self.followers[params["subscriptionId"]].take(params)
        self.heard = len(self.wire.notifications)

    def _decides_by_what_there_is(self) -> None:
        for engine in filter(None, (self.daemon.engine, self.other)):
            state = engine._state
            if state.sequence == len(self.log):  # else it finds out when it appends
                held = dict(state.items())
                there_is = look_up(self.db, held)
                gone = {key[1] for key, entity in held.items() if isinstance(entity, ThreadState) and entity.deleted}
                for key, entity in held.items():
                    if len(key) < 3 or key[1] not in gone:  # what was in it is never looked at again
                        assert _essence(key, entity, gone) == _essence(key, there_is[key], gone), key

    # The end

    def teardown(self) -> None:
        try:
            if self.agrees:  # else something has failed already
                self.run(self._end())
        finally:
            REPLAY.detach()
            self.db.close()
            self.run(self.stack.aclose())
            self.loop.close()
            shutil.rmtree(self.folder)

    async def _end(self) -> None:
        threads = {thread: self.reads.thread(thread, 50) for thread in self.known.threads}
        for thread, turns in threads.items():
            read = await self.wire.call("thread/read", {"threadId": thread})
            read.pop("resume")  # which is about other tools, and no part of the snapshot
            assert read == msgspec.json.decode(msgspec.json.encode(turns))
        before = {table: self.db.execute(f"SELECT * FROM {table}").fetchall() for table in projections.TABLES}
        await self.daemon.store.rebuild()
        assert before == {table: self.db.execute(f"SELECT * FROM {table}").fetchall() for table in projections.TABLES}
        for follower in self.followers.values():
            if follower is not self.events:
                follower.must_hold(self.reads)
        await self.stack.aclose()
        self.stack = AsyncExitStack()
        self.other = None
        followers = [f for f in self.followers.values() if f is not self.events]
        self.followers.clear()
        await self._serve()
        for follower in followers:
            await self._resume(follower)
        self.events = await self._open({"topic": "events", "afterSequence": 0})
        for sequence, payload in REPLAY.go_on():
            self._note(sequence, payload)
        await self._until_told()
        for follower in self.followers.values():
            if follower is not self.events:
                follower.must_hold(self.reads)
        assert [told(one["event"]) for one in self.events.events] == [told(one["event"]) for one in self.log]
        for left in ("running_turns", "open_sessions", "open_queues"):
            assert self.db.execute(query(left)).fetchall() == [], "nothing is left half done"
        total, differences = projections.verify(self.data_dir / FILE_NAME, self.folder / "copy.db")
        assert (total, differences) == (len(self.log), [])


def _asked(command: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in command.items() if key not in ("commandId", "expectedVersion")}


def _essence(key: Key, entity: Any, gone: set[str]) -> Any:
    """What decisions are made by: not the order in which a cascade deletes threads, or a turn's end its activities."""
    if key[0] == "members":
        return {thread for thread in entity or () if thread not in gone}
    if isinstance(entity, ThreadState) and entity.turn is not None:
        turn = entity.turn
        return (
            msgspec.structs.replace(entity, turn=None),
            msgspec.structs.replace(turn, activities=()),
            {*turn.activities},
        )
    return entity


# The same with limits that are reached all the time: rounds, parts, pages, windows.
TIGHT = {
    "subscriptions": SubscriptionBounds(page=3, step=2, events_page=2, notification_bytes=300, round_bytes=300),
    "pages": PageBounds(index_threads=2),
}
TIGHTER = {**TIGHT, "subscriptions": msgspec.structs.replace(TIGHT["subscriptions"], max_resume=10, step=1)}
TIGHT_ENGINE = {"max_group": 2, "state_limit": 8, "max_merged": 6}


SHARES: dict[int, dict[str, Any]] = {1: {}, 2: {}, 3: TIGHT, 4: TIGHTER}
"""By seed: the same sequences in every run."""


@pytest.mark.parametrize(("number", "bounds"), SHARES.items())
def test_every_replica_equals_a_fresh_read(
    number: int, bounds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if bounds:
        for name, value in TIGHT_ENGINE.items():
            set_default(monkeypatch, Engine, name, value)
    converse(number, bounds, SEQUENCES)


@needs_postgres
def test_every_replica_on_a_shared_log_equals_a_fresh_read(share_log: Callable[..., None]) -> None:
    converse(5, {"prepare": staticmethod(share_log), "by": {"actor": "ada"}}, SEQUENCES // 4)


def converse(number: int, members: dict[str, Any], sequences: int) -> None:
    run_state_machine_as_test(
        seed(number)(type("Conversation", (Conversation,), members)),
        settings=settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
