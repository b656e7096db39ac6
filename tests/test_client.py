"""The client for Python, and the replica that it keeps, against real daemons."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from treadle.client import Client, Disconnected, RemoteError, Subscription, connect
from treadle.replica import OutOfStep, Replica
from treadle.rpc.framing import Framing

NORMAL = ("--durability", "normal")
PATIENCE = 60.0  # seconds after which what is awaited counts as lost


@asynccontextmanager
async def connected(data_dir: Path, *arguments: str, **options: Any) -> AsyncIterator[Client]:
    """A client, whose block fails rather than waits for ever."""
    async with asyncio.timeout(PATIENCE), connect(data_dir, *arguments, **options) as client:
        yield client


async def scenery(client: Client) -> None:
    """A message `m` that is open in thread `t`."""
    await client.dispatch("CreateProject", id="p", name="p", path="/p")
    await client.dispatch("CreateThread", threadId="t", projectId="p", title="t")
    await client.dispatch("StartTurn", threadId="t", id="u", prompt="hello")
    await client.dispatch("AddMessage", threadId="t", turnId="u", id="m", role="assistant", text="", streaming=True)


async def append(client: Client, text: str) -> int:
    answer = await client.dispatch("AppendMessage", threadId="t", id="m", text=text)
    return int(answer["sequence"])


async def as_there(client: Client, subscription: Subscription) -> bool:
    """Whether the replica holds what a fresh snapshot says."""
    fresh = await client.subscribe("thread", threadId="t")
    await fresh.close()
    return fresh.replica.entities == subscription.replica.entities


# Calls


@pytest.mark.parametrize("framing", Framing)
async def test_a_client_calls_and_is_answered(data_dir: Path, framing: Framing) -> None:
    async with connected(data_dir, *NORMAL, framing=framing) as client:
        assert client.info["serverInfo"]["name"] == "treadle"
        answer = await client.dispatch("ChangeSetting", key="k", value={"a": [1, "🧵"]})
        assert answer["events"][0]["event"]["value"] == {"a": [1, "🧵"]}
        assert (await client.call("setting/list"))["items"][0]["value"] == {"a": [1, "🧵"]}
        assert await client.shut_down() == 0
    assert client.process.returncode == 0


async def test_answers_find_their_requests(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        commands = [{"type": "ChangeSetting", "key": "k", "value": i} for i in range(300)]
        answers = await asyncio.gather(*(client.request("command/dispatch", command) for command in commands))
        assert [answer["events"][0]["event"]["value"] for answer in answers] == list(range(300))
        assert client.process.returncode is None
    assert client.process.returncode == 0  # the end of the block is the end of the daemon
    assert client.is_gone


async def test_an_error_is_raised_with_all_that_it_says(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        with pytest.raises(RemoteError) as caught:
            await client.dispatch("DeleteProject", id="none")
        assert (caught.value.code, caught.value.kind) == (-32011, "notFound")
        assert caught.value.data == {"kind": "notFound", "entity": "project", "id": "none"}
        assert str(caught.value) == "there is no project 'none' (-32011)"


async def test_a_database_that_is_refused_is_raised_by_connect(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "treadle.db").write_text("my shopping list")
    with pytest.raises(RemoteError, match=r"treadle\.db") as caught:
        async with connected(data_dir, *NORMAL):
            pass
    assert caught.value.code == -32603


async def test_hello_can_be_said_by_hand(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL, initialize=False) as client:
        with pytest.raises(RemoteError, match="not initialized"):
            await client.call("daemon/status")
        assert (await client.call("initialize", {"processId": None}))["protocolVersion"] == 1


async def test_a_message_can_be_of_many_mebibytes(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        value = "🧵" * (2 * 1024 * 1024)
        await client.dispatch("ChangeSetting", key="k", value=value)
        assert (await client.call("setting/list"))["items"][0]["value"] == value


# Subscriptions


@pytest.mark.parametrize("framing", Framing)
async def test_a_subscription_keeps_a_replica(data_dir: Path, framing: Framing) -> None:
    async with connected(data_dir, *NORMAL, framing=framing) as client:
        await scenery(client)
        subscription = await client.subscribe("thread", threadId="t")
        assert subscription.opened["snapshot"]["threads"][0]["id"] == "t"
        for text in ("some", " 🧵 ", "more"):
            sequence = await append(client, text)
        replica = await subscription.until(sequence)
        assert replica.entities["message"]["m"]["text"] == "some 🧵 more"
        assert await as_there(client, subscription)
        await subscription.close()
        with pytest.raises(RemoteError, match="no subscription"):
            await subscription.close()


async def test_events_come_one_notification_after_the_other(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        subscription = await client.subscribe("events", afterSequence=0)
        found: list[Any] = []
        while len(found) < 5:
            params = await subscription.next()
            assert params["method"] == "event/appended"
            found += params["events"]
        assert [stored["sequence"] for stored in found] == [1, 2, 3, 4, 5]


async def test_a_replica_that_was_kept_is_brought_up_to_date(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        before = await client.subscribe("thread", threadId="t")
        await append(client, "some")
        log_id = client.info["logId"]
        # It is not followed on: what it holds is from before the text.
        again = await client.subscribe("thread", threadId="t", replica=before.replica, logId=log_id)
        assert again.opened["snapshot"] is None
        assert again.replica is before.replica
        assert await as_there(client, again)
        replica = await again.until(await append(client, " more"))
        assert replica.entities["message"]["m"]["text"] == "some more"
    async with connected(data_dir, *NORMAL) as client:
        last = await client.subscribe("thread", threadId="t", replica=replica, logId=client.info["logId"])
        assert last.opened["snapshot"] is None
        assert last.replica.entities["turn"]["u"]["status"] == "interrupted"
        assert await as_there(client, last)
        other = await client.subscribe("thread", threadId="t", replica=replica, logId="of another log")
        assert other.opened["snapshot"] is not None
        assert await as_there(client, other)


async def test_what_is_of_no_subscription_is_kept_apart(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        client.notify("$/setTrace", {"value": "off"})
        client._receive(b'{"jsonrpc":"2.0","method":"window/logMessage","params":{"type":2,"message":"beware"}}')
        assert await client.queues[""].get() == {"method": "window/logMessage", "type": 2, "message": "beware"}


# The daemon is gone


async def test_when_the_daemon_is_gone_all_that_waits_is_told(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL, "--linger-ms", "600000") as client:
        await scenery(client)
        subscription = await client.subscribe("thread", threadId="t")
        waiting = client.request("command/dispatch", {"type": "AppendMessage", "threadId": "t", "id": "m", "text": "x"})
        ignored = client.request("command/dispatch", {"type": "AppendMessage", "threadId": "t", "id": "m", "text": "x"})
        following = asyncio.create_task(subscription.next())
        client.process.send_signal(signal.SIGKILL)
        with pytest.raises(Disconnected):
            await waiting
        with pytest.raises(Disconnected):
            await following
        # And all that comes later.
        for _ in range(2):
            with pytest.raises(Disconnected):
                await subscription.next()
            with pytest.raises(Disconnected):
                await client.call("daemon/status")
        late = Subscription(
            client, {"subscriptionId": "sub-9", "sequence": 0, "snapshot": None, "changes": None}, Replica()
        )
        with pytest.raises(Disconnected):
            await late.next()
        assert ignored.done()
        client.request("daemon/status")  # of which nobody asks what became of it
    assert client.process.returncode == -signal.SIGKILL


async def test_a_daemon_that_is_gone_can_be_shut_down(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        client.process.send_signal(signal.SIGTERM)
        assert await client.shut_down() == 0


# The replica


def upsert(entity: str, **value: Any) -> dict[str, Any]:
    return {"type": "upsert", "entity": entity, "value": value}


def test_a_replica_takes_each_kind_of_change() -> None:
    replica = Replica()
    replica.load({"sequence": 3, "threads": [{"id": "t", "title": "a"}], "settings": [{"key": "k", "value": 1}]})
    replica.apply([upsert("thread", id="t", title="b"), upsert("message", id="m", threadId="t", text="one")], 5)
    replica.apply([{"type": "append", "entity": "message", "id": "m", "text": "🧵", "offset": 3}], 6)
    replica.apply([{"type": "append", "entity": "message", "id": "m", "text": "!", "offset": 4}], 7)
    replica.apply(
        [{"type": "remove", "entity": "setting", "id": "k"}, {"type": "remove", "entity": "turn", "id": "?"}], 8
    )
    assert replica.sequence == 8
    held = {entity: values for entity, values in replica.entities.items() if values}
    assert held == {
        "thread": {"t": {"id": "t", "title": "b"}},
        "message": {"m": {"id": "m", "threadId": "t", "text": "one🧵!"}},
    }
    replica.apply([{"type": "remove", "entity": "thread", "id": "t"}], 9)
    assert not any(replica.entities.values())


@pytest.mark.parametrize(("id", "offset"), [("m", 2), ("m", 4), ("none", 0)])
def test_a_replica_notices_that_something_is_missing(id: str, offset: int) -> None:
    replica = Replica()
    replica.apply([upsert("message", id="m", threadId="t", text="one")], 1)
    with pytest.raises(OutOfStep):
        replica.apply([{"type": "append", "entity": "message", "id": id, "text": "x", "offset": offset}], 2)


def test_a_snapshot_takes_the_place_of_what_was_held() -> None:
    replica = Replica()
    replica.load({"sequence": 9, "projects": [{"id": "p"}], "threads": [{"id": "t"}]})
    replica.load({"sequence": 4, "projects": [], "threads": [{"id": "u"}]})
    assert (replica.sequence, replica.entities["project"], list(replica.entities["thread"])) == (4, {}, ["u"])
