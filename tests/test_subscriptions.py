"""A subscriber gets a snapshot, then the changes, in order, without gaps or duplicates."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from support import PATIENCE, log_sequence, opened, plain, serving
from treadle.client.replica import OutOfStep, Replica
from treadle.contract import errors
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.domain.errors import NotFound
from treadle.domain.ids import Topic
from treadle.publish import subscriptions
from treadle.publish.subscriptions import SUBSCRIPTION_BOUNDS, SubscriptionBounds, Subscriptions
from treadle.publish.watch import Watch
from treadle.store.errors import StorageError
from treadle.store.pages import PageBounds
from treadle.store.sqlite import reads
from treadle.store.sqlite.store import Store

SETUP: list[c.Command] = [
    c.CreateProject(id="p", name="P", path="/p"),
    c.CreateThread(thread_id="t", project_id="p", title="T"),
    c.StartTurn(thread_id="t", id="u", prompt="Do", message_id="prompt"),
    c.AddMessage(thread_id="t", id="m", turn_id="u", role="assistant", text="", streaming=True),
    c.AddMessage(thread_id="t", id="n", turn_id="u", role="assistant", text="n: ", streaming=True),
]


def delta(text: str, message: str = "m") -> c.AppendMessage:
    return c.AppendMessage(thread_id="t", id=message, text=text)


def rename(title: str) -> c.RenameThread:
    return c.RenameThread(thread_id="t", title=title)


def thread(n: int) -> c.CreateThread:
    return c.CreateThread(thread_id=f"t{n}", project_id="p", title=str(n))


class Held:
    """What one subscription was told: the answer to its opening, then each notification, and what follows of it."""

    def __init__(self, opened: Any, replica: Replica | None = None) -> None:
        self.id: str = opened["subscriptionId"]
        self.opened = opened
        self.told: list[dict[str, Any]] = []
        self.replica = replica or Replica()
        self.replica.start(opened)

    def take(self, params: dict[str, Any]) -> None:
        self.told.append(params)
        if "changes" in params:
            self.replica.apply(params["changes"], params["sequence"])

    @property
    def changes(self) -> list[dict[str, Any]]:
        return [change for params in self.told for change in params["changes"]]

    @property
    def kinds(self) -> list[str]:
        return [f"{change['type']} {change['entity']}" for change in self.changes]

    @property
    def events(self) -> list[int]:
        return [stored["sequence"] for params in self.told for stored in params["events"]]


class Client:
    """The subscriptions of one client, whose pipe takes something as long as `takes` is set."""

    def __init__(self, store: Store, bounds: SubscriptionBounds) -> None:
        self.store = store
        self.takes = asyncio.Event()
        self.takes.set()
        self.subscriptions = Subscriptions(store, self._notified, self._ready, bounds=bounds)
        self.engine = Engine(store, linger=0, published=lambda sequence, _: self.subscriptions.appended(sequence))
        self.held: dict[str, Held] = {}
        self.calls = 0
        self._told = asyncio.Event()

    async def _ready(self) -> None:
        self.calls += 1
        await self.takes.wait()

    def _notified(self, method: str, params: object) -> None:
        decoded = msgspec.json.decode(msgspec.json.encode(params))
        assert method == ("event/appended" if "events" in decoded else "projection/changed")
        self.held[decoded["subscriptionId"]].take(decoded)
        self._told.set()

    async def open(self, topic: Topic, replica: Replica | None = None, **options: Any) -> Held:
        answer, begin = await self.subscriptions.open(topic, **options)
        held = Held(msgspec.json.decode(msgspec.json.encode(answer)), replica)
        self.held[held.id] = held
        begin()
        return held

    async def do(self, *commands: c.Command) -> int:
        """The sequence of the log after the commands, which are done one after the other."""
        for command in commands:
            await self.engine.submit([command]).future
        return await log_sequence(self.store)

    async def at_once(self, *commands: c.Command) -> int:
        """The same, in one batch."""
        await self.engine.submit(list(commands), atomic=True).future
        return await log_sequence(self.store)

    async def all_told(self) -> None:
        """Return when every subscription knows the whole log."""
        log = await log_sequence(self.store)
        async with asyncio.timeout(PATIENCE):
            while any(s.sequence < log for s in self.subscriptions._open.values()):
                self._told.clear()
                self.subscriptions.wake()
                await self.store.read(lambda db: None)
        # What the last read found is notified in the same turn of the loop as its result comes, or the next one.
        await self.store.read(lambda db: None)


@asynccontextmanager
async def client_of(store: Store, bounds: SubscriptionBounds = SUBSCRIPTION_BOUNDS) -> AsyncIterator[Client]:
    client = Client(store, bounds)
    client.engine.start()
    publishing = asyncio.create_task(client.subscriptions.run())
    try:
        yield client
    finally:
        client.takes.set()
        await client.engine.stop()
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


@pytest.fixture
def bounds() -> SubscriptionBounds:
    """The bounds of a daemon. A test that needs others is parametrized with `bounded`."""
    return SUBSCRIPTION_BOUNDS


def bounded(**bounds: Any) -> pytest.MarkDecorator:
    """The fixture `client` with smaller bounds."""
    return pytest.mark.parametrize("bounds", [SubscriptionBounds(**bounds)], ids=[""])


@pytest.fixture
async def client(store: Store, bounds: SubscriptionBounds) -> AsyncIterator[Client]:
    """With a thread `t` whose turn `u` runs, and the open messages `m` and `n`."""
    async with client_of(store, bounds) as client:
        await client.do(*SETUP)
        yield client


async def fresh(client: Client, topic: Topic, **options: Any) -> Replica:
    """What a client that opens now would hold."""
    answer, _ = await client.subscriptions.open(topic, **options)
    replica = Replica()
    replica.start(msgspec.json.decode(msgspec.json.encode(answer)))
    return replica


# Notifications


async def test_a_snapshot_has_the_content_of_its_topic(client: Client) -> None:
    index, one = await client.open("index"), await client.open("thread", thread_id="t")
    assert [p["id"] for p in index.opened["snapshot"]["projects"]] == ["p"]
    assert [t["status"] for t in index.opened["snapshot"]["threads"]] == ["running"]
    assert [m["id"] for m in one.opened["snapshot"]["messages"]] == ["prompt", "m", "n"]
    assert (await client.open("settings")).opened["snapshot"] == {"sequence": 6, "settings": [], "rules": []}
    assert (await client.open("events")).opened == {
        "type": "position",
        "subscriptionId": "sub-4",
        "logId": client.store.log_id,
        "sequence": 6,
    }


async def test_each_topic_gets_only_its_own_changes(client: Client) -> None:
    index, one, settings, events = [
        await client.open("index"),
        await client.open("thread", thread_id="t"),
        await client.open("settings"),
        await client.open("events"),
    ]
    await client.do(thread(2), c.ChangeSetting(key="k", value=1), rename("U"), c.ChangeSetting(key="k", value=None))
    await client.all_told()
    assert set(index.kinds) == {"upsert thread"}
    assert [change["value"]["title"] for change in one.changes] == ["U"]
    assert settings.changes[-1] == {"type": "remove", "entity": "setting", "id": "k"}
    assert events.events == [7, 8, 9, 10]


async def test_streamed_text_is_sent_as_appends(client: Client) -> None:
    one = await client.open("thread", thread_id="t")
    for text in ("é", "😀𝄞", "x"):
        await client.do(delta(text))
        await client.all_told()
    assert one.changes == [
        {"type": "append", "entity": "message", "id": "m", "text": "é", "offset": 0},
        {"type": "append", "entity": "message", "id": "m", "text": "😀𝄞", "offset": 1},
        {"type": "append", "entity": "message", "id": "m", "text": "x", "offset": 3},
    ]
    assert [params["sequence"] for params in one.told] == [7, 8, 9]
    assert one.replica.entities["message"]["m"]["text"] == "é😀𝄞x"


async def test_appends_to_an_already_open_message_start_at_its_length(client: Client) -> None:
    await client.do(delta("é😀"), delta("more", "n"))
    one = await client.open("thread", thread_id="t")
    await client.do(delta("!"), delta("?", "n"))
    await client.all_told()
    assert sorted((change["id"], change["offset"]) for change in one.changes) == [("m", 2), ("n", 7)]
    assert one.replica.entities == (await fresh(client, "thread", thread_id="t")).entities


async def test_a_completed_message_is_sent_as_an_upsert(client: Client) -> None:
    one = await client.open("thread", thread_id="t")
    client.takes.clear()
    await client.do(delta("some"), delta("other", "n"), c.CompleteMessage(thread_id="t", id="m"), delta("more", "n"))
    client.takes.set()
    await client.all_told()
    assert one.kinds == ["upsert message", "append message", "upsert thread"]
    await client.do(delta("!", "n"))
    await client.all_told()
    assert one.changes[-1]["offset"] == len("n: othermore")
    assert one.replica.entities == (await fresh(client, "thread", thread_id="t")).entities


async def test_a_new_streaming_message_is_sent_as_one_upsert(client: Client) -> None:
    one = await client.open("thread", thread_id="t")
    client.takes.clear()
    new = c.AddMessage(thread_id="t", id="new", turn_id="u", role="assistant", text="1", streaming=True)
    await client.do(delta("a"), new, delta("2", "new"), delta("b"))
    client.takes.set()
    await client.all_told()
    assert one.kinds == ["append message", "upsert message", "upsert thread"]
    assert [change.get("text") or change["value"].get("text") for change in one.changes] == ["ab", "12", None]
    await client.do(delta("3", "new"))
    await client.all_told()
    assert one.changes[-1] == {"type": "append", "entity": "message", "id": "new", "text": "3", "offset": 2}


async def test_streamed_text_does_not_notify_index_subscribers(client: Client) -> None:
    index, events = await client.open("index"), await client.open("events")
    await client.do(delta("a"), delta("b"))
    await client.all_told()
    assert (index.told, events.events) == ([], [7, 8])


async def test_deleting_a_thread_removes_everything_in_it(client: Client) -> None:
    index, one = await client.open("index"), await client.open("thread", thread_id="t")
    await client.do(c.DeleteThread(thread_id="t"))
    await client.all_told()
    assert not any(one.replica.entities.values())
    assert {"type": "remove", "entity": "thread", "id": "t"} in index.changes
    await client.do(c.DeleteProject(id="p"))
    await client.all_told()
    assert not any(index.replica.entities.values())


async def test_two_subscriptions_get_the_same_changes_in_order_of_opening(client: Client) -> None:
    first, second = await client.open("thread", thread_id="t"), await client.open("thread", thread_id="t")
    await client.do(delta("a"), rename("U"))
    await client.all_told()
    assert first.replica.entities == second.replica.entities
    assert first.changes == second.changes


async def test_events_can_be_followed_for_one_thread(client: Client) -> None:
    of_thread = await client.open("events", thread_id="t")
    await client.do(thread(2), rename("U"), c.ChangeSetting(key="k", value=1), rename("V"))
    await client.all_told()
    assert of_thread.events == [8, 10]


@bounded(events_page=3)
async def test_events_are_sent_in_pages_without_gaps(client: Client) -> None:
    held = await client.open("events", after=0)
    await client.at_once(*(c.ChangeSetting(key="k", value=n) for n in range(10)))
    await client.all_told()
    assert held.events == list(range(1, 17))
    assert all(len(params["events"]) <= 3 for params in held.told)
    assert [params["sequence"] for params in held.told] == [params["events"][-1]["sequence"] for params in held.told]


@bounded(notification_bytes=1000)
async def test_a_large_notification_is_sent_in_parts(client: Client) -> None:
    settings = await client.open("settings")
    client.takes.clear()
    await client.do(*(c.ChangeSetting(key=f"k{n}", value="x" * 400) for n in range(10)))
    client.takes.set()
    await client.all_told()
    assert len(settings.told) > 3
    assert [params["sequence"] for params in settings.told] == [6] * (len(settings.told) - 1) + [16]
    assert settings.replica.entities == (await fresh(client, "settings")).entities


# Slow clients


async def test_changes_are_merged_while_a_client_is_slow(client: Client) -> None:
    one, index = await client.open("thread", thread_id="t"), await client.open("index")
    client.takes.clear()
    await client.do(*(rename(str(n)) for n in range(50)), *(delta(str(n)) for n in range(50)))
    assert (one.told, index.told) == ([], [])
    client.takes.set()
    await client.all_told()
    assert one.kinds == ["upsert thread", "append message"]
    assert index.kinds == ["upsert thread"]
    assert one.changes[1]["text"] == "".join(map(str, range(50)))
    assert [params["sequence"] for params in (*one.told, *index.told)] == [106, 106]


async def test_no_changes_are_read_for_a_client_whose_pipe_is_full(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.open("thread", thread_id="t")
    await client.all_told()
    collected = 0
    collect = subscriptions._collect

    def counted(*arguments: Any) -> Any:
        nonlocal collected
        collected += 1
        return collect(*arguments)

    monkeypatch.setattr(subscriptions, "_collect", counted)
    client.takes.clear()
    for n in range(20):
        await client.do(rename(str(n)))
    assert collected <= 1, "the look that was under way when the pipe became full"
    client.takes.set()
    await client.all_told()


@bounded(retry=0.0)
async def test_a_failed_read_is_retried_and_nothing_is_lost(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one, settings, events = [
        await client.open("thread", thread_id="t"),
        await client.open("settings"),
        await client.open("events"),
    ]
    client.takes.clear()
    await client.do(delta("a"), rename("U"), c.ChangeSetting(key="k", value=1))
    failures = iter([True, True])
    read = reads.events

    def broken(*arguments: Any) -> Any:
        if next(failures, False):
            raise StorageError("the disk failed")
        return read(*arguments)

    monkeypatch.setattr(reads, "events", broken)
    client.takes.set()
    await client.all_told()
    await client.do(delta("b"))
    await client.all_told()
    assert next(failures, False) is False
    assert events.events == [7, 8, 9, 10]
    assert one.kinds == ["append message", "upsert thread", "append message"]
    assert one.replica.entities == (await fresh(client, "thread", thread_id="t")).entities
    assert settings.replica.entities == (await fresh(client, "settings")).entities


# Opening, closing, resuming


async def test_notifications_start_after_the_answer_and_miss_nothing(client: Client) -> None:
    answer, begin = await client.subscriptions.open("thread", thread_id="t")
    held = client.held[answer.subscription_id] = Held(msgspec.json.decode(msgspec.json.encode(answer)))
    await client.do(rename("U"), delta("a"))
    await client.all_told()
    assert held.told == []
    begin()
    await client.all_told()
    assert [params["sequence"] for params in held.told] == [8]
    assert held.replica.entities == (await fresh(client, "thread", thread_id="t")).entities


async def test_a_closed_subscription_gets_no_more_notifications(client: Client) -> None:
    one, other = await client.open("index"), await client.open("index")
    client.subscriptions.close(one.id)
    await client.do(rename("U"))
    await client.all_told()
    assert (one.told, len(other.told)) == ([], 1)
    for id in (one.id, "sub-99"):
        with pytest.raises(NotFound):
            client.subscriptions.close(id)
    assert len(client.subscriptions) == 1


async def test_no_more_subscriptions_are_opened_than_the_client_was_told(data_dir: Path) -> None:
    bounds = SubscriptionBounds(max_subscriptions=2)
    async with serving(data_dir, initialize=False, subscriptions=bounds) as (wire, _):
        told = await wire.call("initialize", {})
        assert told["capabilities"]["limits"]["maxSubscriptions"] == 2
        replies = [
            await wire.reply(id) for id in [wire.send("subscription/open", {"topic": "index"}) for _ in range(3)]
        ]
        assert [reply["error"]["code"] for reply in replies if "error" in reply] == [errors.OVERLOADED]
        await wire.call("subscription/close", {"subscriptionId": "sub-1"})
        await wire.call("subscription/open", {"topic": "index"})


async def test_subscribing_to_a_missing_thread_gives_not_found(client: Client) -> None:
    await client.do(thread(2), c.DeleteThread(thread_id="t2"), rename("U"))
    for thread_id in ("none", "t2"):
        for after in (None, 9):
            with pytest.raises(NotFound):
                await client.open("thread", thread_id=thread_id, after=after)
            with pytest.raises(NotFound):
                await client.open("events", thread_id=thread_id, after=after)


@pytest.mark.parametrize("topic", ["index", "thread", "settings"])
async def test_resubscribing_gives_only_what_changed(client: Client, topic: Topic) -> None:
    options: dict[str, Any] = {"thread_id": "t"} if topic == "thread" else {}
    await client.do(delta("before"), thread(2), c.ChangeSetting(key="k", value=1))
    first = await client.open(topic, **options)
    client.subscriptions.close(first.id)
    activity = c.RecordActivity(thread_id="t", id="a", turn_id="u", kind="k", title="x", status="running")
    await client.do(
        *(delta("after"), delta("more", "n"), activity, rename("U")),
        *(c.ChangeSetting(key="k", value=None), c.ChangeSetting(key="l", value=2), c.DeleteThread(thread_id="t2")),
    )
    back = await client.open(topic, first.replica, after=first.replica.sequence, log_id=client.store.log_id, **options)
    assert back.opened["type"] == "changes"
    assert {change["type"] for change in back.opened["changes"]} <= {"upsert", "remove"}
    assert back.replica.entities == (await fresh(client, topic, **options)).entities
    await client.do(delta("!"), delta("?", "n"), c.CompleteTurn(thread_id="t", id="u", stop_reason="end"))
    await client.all_told()
    assert back.replica.entities == (await fresh(client, topic, **options)).entities


async def test_resubscribing_to_a_deleted_thread_removes_everything(client: Client) -> None:
    first = await client.open("thread", thread_id="t")
    await client.do(c.DeleteThread(thread_id="t"))
    await client.all_told()
    back = await client.open("thread", first.replica, thread_id="t", after=6)
    assert not any(back.replica.entities.values())


async def test_resubscribing_to_an_unchanged_topic_gives_no_changes(client: Client) -> None:
    for topic, options in (("index", {}), ("settings", {}), ("thread", {"thread_id": "t"})):
        back = await client.open(topic, after=6, **options)  # type: ignore[arg-type]
        assert (back.opened["type"], back.opened["changes"], back.opened["sequence"]) == ("changes", [], 6)


@pytest.mark.parametrize(
    ("why", "bounds"),
    [
        ("another log", SUBSCRIPTION_BOUNDS),
        ("a shorter log", SUBSCRIPTION_BOUNDS),
        ("too many changes", SubscriptionBounds(max_resume=3)),
        ("what has changed is too large", SubscriptionBounds(max_resume_bytes=100)),
    ],
)
async def test_resubscribing_too_late_gives_a_snapshot(client: Client, why: str) -> None:
    options: dict[str, Any] = {"after": 2}
    if why == "another log":
        options["log_id"] = "of another log"
    elif why == "a shorter log":
        options["after"] = 7
    for topic in ("index", "thread"):
        held = await client.open(topic, thread_id="t" if topic == "thread" else None, **options)
        assert held.opened["type"] == "snapshot"
        assert held.opened["snapshot"]["threads"][0]["id"] == "t"
    if why.startswith("the log"):
        assert (await client.open("events", **options)).opened["sequence"] == 6


@bounded(page=2)
async def test_changes_since_a_sequence_are_read_in_pages(client: Client) -> None:
    one = await client.open("thread", thread_id="t", after=0)
    assert {change["value"]["id"] for change in one.opened["changes"]} == {"t", "u", "prompt", "m", "n"}


# Windows


async def test_a_thread_that_enters_the_index_window_is_sent(data_dir: Path) -> None:
    async with opened(data_dir, pages=PageBounds(index_threads=3)) as store, client_of(store) as client:
        await client.do(*SETUP, *(thread(n) for n in range(8)))
        index = await client.open("index")
        assert list(index.replica.entities["thread"]) == ["t5", "t6", "t7"]

        async def holds_the_window(held: Held) -> None:
            await client.all_told()
            window = (await fresh(client, "index")).entities["thread"]
            assert len(window) == 3
            for id, value in window.items():
                assert held.replica.entities["thread"][id] == value

        await client.do(c.DeleteThread(thread_id="t6"))
        await holds_the_window(index)
        client.takes.clear()
        await client.do(c.DeleteThread(thread_id="t5"), thread(8), c.DeleteThread(thread_id="t7"), rename("U"))
        client.takes.set()
        await holds_the_window(index)
        client.subscriptions.close(index.id)
        await client.do(c.DeleteThread(thread_id="t8"), c.DeleteThread(thread_id="t4"))
        back = await client.open("index", index.replica, after=index.replica.sequence)
        assert back.opened["type"] == "changes"
        await holds_the_window(back)


async def test_turns_outside_the_snapshot_window_are_sent_when_they_change(client: Client) -> None:
    mark = c.CreateCheckpoint(thread_id="t", id="old", git_ref="r", message="")
    await client.do(mark, c.CompleteTurn(thread_id="t", id="u", stop_reason="end"))
    await client.do(c.StartTurn(thread_id="t", id="v", prompt="Again", message_id="again"))
    one = await client.open("thread", thread_id="t", turn_limit=1)
    snapshot = one.opened["snapshot"]
    assert [t["id"] for t in snapshot["turns"]] == ["v"]
    assert [m["id"] for m in snapshot["messages"]] == ["again"]
    assert snapshot["checkpoints"] == []
    assert snapshot["beforeCursor"] is not None
    await client.do(c.RestoreCheckpoint(thread_id="t", id="old"))
    await client.all_told()
    assert one.replica.entities["checkpoint"]["old"]["restoredAt"] is not None


# Every process sees every append


@pytest.mark.parametrize("by", ["inotify", "looking"])
async def test_appends_by_another_process_are_noticed(
    data_dir: Path, client: Client, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "looking":
        monkeypatch.setattr("treadle.publish.watch.sys", SimpleNamespace(platform="another"))
    noticed = asyncio.Event()
    watch = Watch(data_dir, noticed.set)
    watch.start()
    watch.start()
    assert watch.started
    try:
        async with opened(data_dir) as other, client_of(other) as another:
            one = await client.open("thread", thread_id="t")
            await client.all_told()
            noticed.clear()
            await another.do(delta("from "), delta("elsewhere"))
            async with asyncio.timeout(PATIENCE):
                await noticed.wait()
            await client.all_told()
            assert one.replica.entities["message"]["m"]["text"] == "from elsewhere"
    finally:
        watch.stop()
    assert not watch.started
    watch.stop()


async def test_two_daemons_on_one_data_directory_notify_each_others_subscribers(data_dir: Path) -> None:
    async with serving(data_dir) as (left, _), serving(data_dir) as (right, _):
        await left.call("subscription/open", {"topic": "index"})
        await right.call("subscription/open", {"topic": "index"})
        for n in range(5):
            wire = (left, right)[n % 2]
            await wire.call("command/dispatch", {"type": "CreateProject", "id": f"p{n}", "name": "P", "path": f"/{n}"})
        for wire in (left, right):
            await wire.until(lambda params: params["sequence"] == 5)
            told = [c["value"]["id"] for _, params in wire.notifications for c in params["changes"]]
            assert told == ["p0", "p1", "p2", "p3", "p4"]


async def test_a_rebuild_does_not_affect_subscribers(client: Client) -> None:
    one = await client.open("thread", thread_id="t")
    await client.do(delta("before "))
    await client.all_told()
    await client.store.rebuild()
    await client.do(delta("after"))
    await client.all_told()
    assert one.kinds == ["append message"] * 2
    assert one.replica.entities["message"]["m"]["text"] == "before after"


# The replica


def test_a_replica_detects_lost_changes() -> None:
    replica = Replica()
    replica.load({"sequence": 1, "messages": [{"sequence": 1, "id": "m", "text": "😀"}]})
    replica.apply([{"type": "append", "entity": "message", "id": "m", "text": "a", "offset": 1}], 2)
    for lost in ({"id": "m", "offset": 3}, {"id": "m", "offset": 1}, {"id": "unknown", "offset": 0}):
        with pytest.raises(OutOfStep):
            replica.apply([{"type": "append", "entity": "message", "text": "b", **lost}], 3)
    assert replica.entities["message"]["m"]["text"] == "😀a"
    assert replica.sequence == 2


async def test_a_direct_database_read_equals_the_replica(client: Client, data_dir: Path) -> None:
    one = await client.open("thread", thread_id="t")
    await client.do(delta("text"))
    await client.all_told()
    with plain(data_dir) as db:
        (value,) = db.execute("SELECT value FROM message_entities WHERE id = 'm'").fetchone()
    assert msgspec.json.decode(value) == one.replica.entities["message"]["m"]
