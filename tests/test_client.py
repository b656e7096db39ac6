"""The client for Python, and the replica that it keeps, against real daemons."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import wire
from people import BACKWARDS, pipelined
from support import spawned_on_pipes
from treadle.client import (
    AppendChange,
    Call,
    Change,
    Client,
    Disconnected,
    RemoteError,
    RemoveChange,
    Subscription,
    ThreadSnapshot,
    Upsert,
    connect,
)
from treadle.client.connection import NEWEST, Connection, sparse
from treadle.client.replica import OutOfStep, Replica
from treadle.contract.framing import FrameDecoder, Framing, frame
from treadle.contract.methods import ENDPOINTS
from treadle.core.linger import Linger
from treadle.domain.commands import (
    COMMANDS,
    AddMessage,
    AppendMessage,
    ApprovalOption,
    ArchiveThread,
    ChangeSetting,
    Command,
    CreateProject,
    CreateThread,
    DeleteProject,
    DeleteThread,
    RequestApproval,
    ResolveApproval,
    StartTurn,
)
from treadle.domain.entities import Activity, Message, Setting, Thread, Turn
from treadle.domain.events import SettingChanged
from treadle.publish.subscriptions import NOTIFICATION_BYTES

NORMAL = ("--durability", "normal")
PATIENCE = 60.0  # seconds after which what is awaited counts as lost
ROOT = Path(__file__).parent.parent


@asynccontextmanager
async def connected(data_dir: Path, *arguments: str, **options: Any) -> AsyncIterator[Client]:
    """A client, whose block fails rather than waits for ever."""
    async with asyncio.timeout(PATIENCE), connect(data_dir, *arguments, **options) as client:
        yield client


async def scenery(client: Client) -> None:
    """A message `m` that is open in thread `t`."""
    await client.dispatch(CreateProject(id="p", name="p", path="/p"))
    await client.dispatch(CreateThread(thread_id="t", project_id="p", title="t"))
    await client.dispatch(StartTurn(thread_id="t", id="u", prompt="hello", message_id="prompt"))
    await client.dispatch(AddMessage(thread_id="t", turn_id="u", id="m", role="assistant", text="", streaming=True))


async def append(client: Client, text: str) -> int:
    return (await client.dispatch(AppendMessage(thread_id="t", id="m", text=text))).sequence


async def fast_scenery(client: Client) -> None:
    """The same with a message whose next delta lingers: its last ones, which left no event, came fast."""
    await scenery(client)
    for _ in range(Linger.DELTAS):
        await append(client, "")


async def as_there(client: Client, subscription: Subscription) -> bool:
    """Whether the replica holds what a fresh snapshot says."""
    fresh = await client.subscribe("thread", thread_id="t")
    await fresh.close()
    return fresh.replica.entities == subscription.replica.entities


# Calls


@pytest.mark.parametrize("framing", Framing)
async def test_a_client_can_dispatch_a_command_and_read_the_result(data_dir: Path, framing: Framing) -> None:
    async with connected(data_dir, *NORMAL, framing=framing) as client:
        assert (client.info.server_info.name, client.info.protocol_version) == ("treadle", 1)
        answer = await client.dispatch(ChangeSetting(key="k", value={"a": [1, "🧵"]}))
        event = answer.events[0].event
        assert isinstance(event, SettingChanged)
        assert (answer.sequence, event.key, event.value) == (1, "k", {"a": [1, "🧵"]})
        page = await client.setting_list(limit=5)
        assert page.items == [Setting(sequence=1, key="k", value={"a": [1, "🧵"]}, updated_at=event.at)]
        assert page.next_cursor is None
        assert await client.end() == 0
    assert client.process.returncode == 0


async def test_the_client_has_every_method_of_the_daemon(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        document = await client.rpc_discover()
    methods = {method["name"] for method in document["methods"] if "result" in method}
    snake = {re.sub(r"[/.]", "_", re.sub("([A-Z])", r"_\1", name)).lower(): name for name in methods}
    here = {name: call.endpoint.name for name, call in vars(Client).items() if isinstance(call, Call)}
    assert here | {"dispatch": "command/dispatch"} == {
        python.removeprefix("command_"): name for python, name in snake.items()
    }
    assert methods == {endpoint.name for endpoint in ENDPOINTS}


async def test_every_read_returns_structs(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        assert [project.id for project in (await client.project_list()).items] == ["p"]
        assert [thread.status for thread in (await client.thread_list(project_id="p")).items] == ["running"]
        assert [turn.id for turn in (await client.turn_list(thread_id="t")).items] == ["u"]
        assert [message.text for message in (await client.thread_read(thread_id="t")).messages] == ["hello", ""]
        assert (await client.checkpoint_list(thread_id="t")).items == []
        first = await client.event_list(limit=2)
        rest = await client.event_list(cursor=first.next_cursor)
        assert [stored.sequence for stored in first.items + rest.items] == [1, 2, 3, 4, 5]
        assert (await client.daemon_status()).sequence == 5


async def test_a_batch_of_commands_is_dispatched_as_one(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        commands = [ChangeSetting(key=key, value=1) for key in "ab"]
        answer = await client.dispatch_batch(commands=commands, command_id="once")
        assert [result.sequence for result in answer.results] == [1, 2]
        assert await client.dispatch_batch(commands=commands, command_id="once") == answer


async def test_concurrent_requests_run_in_order_and_get_their_own_answers(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        answers = await asyncio.gather(*(client.dispatch(ChangeSetting(key="k", value=i)) for i in range(300)))
        assert [stored.sequence for answer in answers for stored in answer.events] == list(range(1, 301))
        assert [msgspec.to_builtins(answer.events[0].event)["value"] for answer in answers] == list(range(300))
        assert client.process.returncode is None
    assert client.process.returncode == 0  # the end of the block is the end of the daemon
    assert client.connection.is_gone


async def test_an_error_answer_is_raised_with_code_kind_and_data(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        with pytest.raises(RemoteError) as caught:
            await client.dispatch(DeleteProject(id="none"))
        assert (caught.value.code, caught.value.kind) == (-32011, "notFound")
        assert caught.value.data == {"kind": "notFound", "entity": "project", "id": "none"}
        assert str(caught.value) == "project 'none' not found (-32011)"


async def test_connect_raises_when_the_database_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "treadle.db").write_text("my shopping list")
    with pytest.raises(RemoteError, match=r"treadle\.db") as caught:
        async with connected(data_dir, *NORMAL):
            pass
    assert caught.value.code == -32803


async def test_initialize_can_be_called_manually(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL, initialize=False) as client:
        with pytest.raises(RemoteError, match="not initialized"):
            await client.daemon_status()
        assert (await client.initialize()).protocol_version == 1


async def test_the_default_data_directory_is_the_users(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share")}
    async with asyncio.timeout(PATIENCE), connect(env=env) as client:
        assert Path((await client.daemon_status()).data_dir).is_relative_to(tmp_path)


async def test_a_message_of_several_mebibytes_can_be_sent(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        value = "🧵" * (2 * 1024 * 1024)
        await client.dispatch(ChangeSetting(key="k", value=value))
        assert (await client.setting_list()).items[0].value == value


async def test_a_message_over_the_size_limit_fails_only_its_own_call(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL, "--max-message-bytes", "1000") as client:
        large, small = (asyncio.create_task(client.dispatch(ChangeSetting(key="k", value=v))) for v in ("x" * 1000, 1))
        with pytest.raises(RemoteError) as caught:
            await large
        assert (caught.value.kind, caught.value.data["limitBytes"]) == ("messageTooLarge", 1000)
        assert (await small).sequence == 1


async def test_cancelling_a_call_cancels_the_request(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL, "--linger-ms", "600000") as client:
        await fast_scenery(client)
        lingering = asyncio.create_task(append(client, "never"))
        settled = asyncio.create_task(client.call("no/such/method"))
        with pytest.raises(RemoteError):
            await settled  # so the one before it has been read, and waits for company
        lingering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lingering
        await client.dispatch(AppendMessage(thread_id="t", id="m", text="kept", expected_version=5))
        assert (await client.thread_read(thread_id="t")).messages[-1].text == "kept"


def test_fields_with_their_default_value_are_not_sent() -> None:
    command = RequestApproval(
        thread_id="t", turn_id="u", title="?", options=[ApprovalOption(id="o", name="O", kind="k")]
    )
    assert sparse(command) == {
        "type": "RequestApproval",
        "threadId": "t",
        "turnId": "u",
        "title": "?",
        "options": [{"id": "o", "name": "O", "kind": "k"}],
    }
    assert sparse(ResolveApproval(thread_id="t", id="q", outcome=None)) == {
        "type": "ResolveApproval",
        "threadId": "t",
        "id": "q",
        "outcome": None,
    }


GOLDEN = msgspec.json.decode((Path(__file__).parent / "golden" / "commands.json").read_bytes())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.__name__))
def test_a_command_survives_encoding_and_decoding(command: type[Command]) -> None:
    for form in GOLDEN[command.__name__].values():
        sent = msgspec.convert(form, command)
        assert msgspec.convert(sparse(sent), command) == sent


# Connecting to a running daemon


async def test_a_client_can_connect_to_a_running_daemon_over_file_descriptors(data_dir: Path) -> None:
    async with asyncio.timeout(PATIENCE), spawned_on_pipes(data_dir, *NORMAL) as (source, to, process):
        async with connect(pipes=(source, to)) as client:
            await client.dispatch(ChangeSetting(key="k", value=1))
            with pytest.raises(ValueError, match="not its own"):
                client.process.kill()
        assert await process.wait() == 0  # its input was closed with the block


async def test_a_client_can_connect_to_a_running_daemon_over_streams(data_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir), *NORMAL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    async with asyncio.timeout(PATIENCE):
        async with connect(pipes=(process.stdout, process.stdin), framing=Framing.LINES) as client:
            assert (await client.daemon_status()).pid == process.pid
        assert await process.wait() == 0


async def test_a_client_can_connect_to_a_running_daemon_over_a_socket(data_dir: Path) -> None:
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir), *NORMAL),
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
    )
    theirs.close()
    async with asyncio.timeout(PATIENCE):
        async with connect(pipes=await asyncio.open_connection(sock=ours)) as client:
            assert (await client.daemon_status()).pid == process.pid
        assert await process.wait() == 0


async def test_a_socket_passed_as_two_pipes_is_rejected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="open_connection"):
        async with connect(pipes=(ours.fileno(), ours.fileno())):
            pass


async def test_daemon_options_are_rejected_when_connecting_over_pipes(data_dir: Path) -> None:
    with pytest.raises(ValueError, match="runs already"):
        async with connect(data_dir, pipes=(0, 1)):
            pass


class Later:
    """What a daemon of a later release says: the answers that it is given, whatever is asked."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[str] = []
        self._answers = {"initialize": HELLO, **{name.replace("_", "/"): value for name, value in answers.items()}}
        self._ours, self.theirs = socket.socketpair()

    async def serve(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._ours)
        decoder = FrameDecoder(1 << 20)
        while data := await reader.read(1 << 16):
            for body in decoder.feed(data):
                assert isinstance(body, bytes)
                request = json.loads(body)
                self.asked.append(request["method"])
                for message in self._said(request):
                    writer.write(frame(Framing.HEADERS, json.dumps({"jsonrpc": "2.0", **message}).encode()))
        writer.close()
        await writer.wait_closed()

    def _said(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        told = self._answers.get("told", ()) if request["method"] == "subscription/open" else ()
        answer = self._answers.get(request["method"])
        return [{"id": request["id"], "result": answer}, *told] if "id" in request else []


CAPABILITIES = {
    "positionEncoding": "utf-32",
    "subscriptions": ["index", "thread"],
    "limits": {"maxMessageBytes": 1000, "maxBatch": 10, "maxSubscriptions": 10, "pageBytes": 1000},
}
HELLO = {
    "capabilities": CAPABILITIES,
    "serverInfo": {"name": "treadle", "version": "9"},
    "protocolVersion": 1,
    "logId": "l",
}
SETTING = {"sequence": 1, "key": "k", "value": 1, "updatedAt": "2026-01-31T12:00:00.000Z"}
THREAD = {
    **{"id": "t", "projectId": "p", "title": "T", "status": "idle", "origin": None, "archivedAt": None, "version": 1},
    **{"agent": None, "queued": 0, "queuePaused": None, "authRequired": None, "usage": None, "worktree": None},
    **{"createdAt": "2026-01-31T12:00:00.000Z", "updatedAt": "2026-01-31T12:00:00.000Z", "sequence": 2},
}


@asynccontextmanager
async def with_later(later: Later) -> AsyncIterator[Client]:
    async with asyncio.timeout(PATIENCE):
        serving = asyncio.create_task(later.serve())
        async with connect(pipes=await asyncio.open_connection(sock=later.theirs)) as client:
            yield client
        await serving


async def test_fields_types_and_entities_of_a_later_release_are_ignored() -> None:
    happened = {"type": "SettingChanged", "at": "2026-01-31T12:00:00.000Z", "key": "k", "value": 1, "why": "new"}
    events = [{"sequence": 7, "event": happened}, {"sequence": 8, "event": {"type": "ThreadPinned", "pin": 1}}]
    members = ("threads", "turns", "messages", "activities", "approvals", "checkpoints", "prompts", "sessions")
    snapshot = {"sequence": 3, **{name: [] for name in members}, "pins": [{"id": 1}], "beforeCursor": None}
    changes = [
        {"type": "upsert", "entity": "pin", "value": {"id": 1}},
        {"type": "upsert", "entity": "thread", "value": THREAD | {"pinned": True}},
        {"type": "remove", "entity": "thread", "id": "t"},
    ]
    told = {"subscriptionId": "sub-1", "sequence": 4, "changes": changes}
    later = Later(
        command_dispatch={"sequence": 8, "events": events, "took": 0.1},
        event_list={"items": events, "nextCursor": None},
        setting_list={"items": [SETTING | {"colour": "red"}], "nextCursor": None},
        subscription_open={
            "type": "snapshot",
            "subscriptionId": "sub-1",
            "logId": "l",
            "sequence": 3,
            "snapshot": snapshot,
        },
        told=[{"method": "$/colours", "params": {}}, {"method": "projection/changed", "params": told}],
    )
    async with with_later(later) as client:
        answer = await client.dispatch(ChangeSetting(key="k", value=1))
        assert (answer.sequence, [stored.sequence for stored in answer.events]) == (8, [7])
        assert [stored.sequence for stored in (await client.event_list()).items] == [7]
        assert [setting.key for setting in (await client.setting_list()).items] == ["k"]
        told_of = [change async for change in client.follow("t")]
        assert [type(change) for change in told_of] == [ThreadSnapshot, Upsert, RemoveChange]
    assert later.asked[-1] == "subscription/close"


async def test_a_later_protocol_version_of_the_daemon_gives_a_warning() -> None:
    with pytest.warns(UserWarning, match="speaks version 2 of the protocol, this client knows 1"):
        async with with_later(Later(initialize=HELLO | {"protocolVersion": 2})) as client:
            assert client.info.protocol_version == 2


@pytest.mark.parametrize("said", [b"Content-Length: 5\r\n\r\nhello", b"Content-Length: 1\r\n\r\n7", b"Hello?\r\n\r\n"])
async def test_invalid_output_from_the_daemon_raises_disconnected(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)
    ours.send(said)
    with pytest.raises(Disconnected, match="cannot be understood"):
        async with asyncio.timeout(PATIENCE), connect(pipes=(reader, writer)):
            pass
    ours.close()


async def test_a_write_waits_while_the_daemon_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    async with asyncio.timeout(PATIENCE):
        async with connect(pipes=await asyncio.open_connection(sock=theirs), initialize=False) as client:
            sent = asyncio.create_task(client.connection.notify("initialized", {"much": "x" * (8 * 1024 * 1024)}))
            await asyncio.to_thread(ours.recv, 1, socket.MSG_PEEK)
            for _ in range(100):  # turns of the loop in which it could be done, if nothing held it
                await asyncio.sleep(0)
            assert not sent.done()
            reading = asyncio.create_task(asyncio.to_thread(drained, ours))
            await sent
        assert await reading > 8 * 1024 * 1024
    ours.close()


def drained(source: socket.socket) -> int:
    """Read to the end; how many bytes came."""
    read = 0
    while data := source.recv(1 << 20):
        read += len(data)
    return read


# Subscriptions


@pytest.mark.parametrize("framing", Framing)
async def test_a_subscription_keeps_a_replica(data_dir: Path, framing: Framing) -> None:
    async with connected(data_dir, *NORMAL, framing=framing) as client:
        await scenery(client)
        subscription = await client.subscribe("thread", thread_id="t")
        assert subscription.opened["snapshot"]["threads"][0]["id"] == "t"
        for text in ("some", " 🧵 ", "more"):
            sequence = await append(client, text)
        replica = await subscription.until(sequence)
        assert replica.all(Message)["m"].text == "some 🧵 more"
        assert await as_there(client, subscription)
        await subscription.close()
        with pytest.raises(RemoteError, match="subscription 'sub-1' not found"):
            await subscription.close()


async def test_a_subscription_returns_event_notifications_one_by_one(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        subscription = await client.subscribe("events", after_sequence=0)
        found: list[Any] = []
        while len(found) < 5:
            params = await subscription.next()
            assert params["method"] == "event/appended"
            found += params["events"]
        assert [stored["sequence"] for stored in found] == [1, 2, 3, 4, 5]


async def test_resubscribing_with_a_kept_replica_brings_it_up_to_date(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        before = await client.subscribe("thread", thread_id="t")
        await append(client, "some")
        # It is not followed on: what it holds is from before the text.
        again = await client.subscribe("thread", thread_id="t", replica=before.replica)
        assert again.opened["type"] == "changes"
        assert again.replica is before.replica
        assert await as_there(client, again)
        replica = await again.until(await append(client, " more"))
        assert replica.all(Message)["m"].text == "some more"
    async with connected(data_dir, *NORMAL) as client:
        last = await client.subscribe("thread", thread_id="t", replica=replica)
        assert last.opened["type"] == "changes"
        assert last.replica.all(Turn)["u"].status == "interrupted"
        assert await as_there(client, last)
        replica.log_id = "of another log"
        other = await client.subscribe("thread", thread_id="t", replica=replica)
        assert other.opened["type"] == "snapshot"
        assert await as_there(client, other)


async def test_notifications_without_a_subscription_go_to_their_own_inbox() -> None:
    warning = {"method": "window/logMessage", "params": {"type": 2, "message": "beware"}}
    async with with_later(Later(subscription_open=None, told=[warning])) as client:
        await client.call("subscription/open")
        assert await client.connection.inbox().get() == {
            "method": "window/logMessage",
            "type": 2,
            "message": "beware",
        }


# Slow consumers


HELD, MOST = 64 * 1024, 8 * 1024 * 1024
LARGE = "x" * 10_000


@asynccontextmanager
async def bounded(data_dir: Path, *, held: int = HELD, most: int = MOST) -> AsyncIterator[Client]:
    """A client with small bounds, of a daemon whose log has 300 events of 10 KB in thread `t` after the first 4."""
    async with connected(data_dir, *NORMAL) as writer:
        await scenery(writer)
        for _ in range(3):
            command = AppendMessage(thread_id="t", id="m", text=LARGE, expected_version=None)
            await writer.dispatch_batch(commands=[command] * 100)
        async with asyncio.timeout(PATIENCE), spawned_on_pipes(data_dir, *NORMAL) as (source, to, process):
            loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
            reading, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", 0)
            )
            transport, protocol = await loop.connect_write_pipe(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(to, "wb", 0)
            )
            writer_ = asyncio.StreamWriter(transport, protocol, None, loop)
            client = Client(Connection(reader, writer_, Framing.HEADERS, held_bytes=held, most_bytes=most))
            client.info = await client.initialize()
            yield client
            await client.close()
            reading.close()
            assert await process.wait() == 0


async def paused(client: Client) -> None:
    """Return when the client reads nothing more."""
    while not client.connection.flow.is_paused:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_unread_notifications_are_left_in_the_pipe(data_dir: Path) -> None:
    async with bounded(data_dir) as client:
        subscription = await client.subscribe("events", after_sequence=0)
        await paused(client)
        seen: list[int] = []
        largest = 0
        while len(seen) < 304:
            largest = max(largest, client.connection.flow.held)
            seen += [stored["sequence"] for stored in (await subscription.next())["events"]]
            await asyncio.sleep(0)
        assert seen[:304] == list(range(1, 305))
        assert largest <= HELD + NOTIFICATION_BYTES + (1 << 18), "one read, and what it completed"


async def test_a_consumer_can_make_calls_while_its_own_inbox_is_full(data_dir: Path) -> None:
    async with bounded(data_dir) as client:
        subscription = await client.subscribe("events", after_sequence=0)
        await paused(client)
        assert (await client.daemon_status()).sequence >= 304
        await client.dispatch(ChangeSetting(key="k", value=LARGE))
        last = 0
        while last < 305:
            last = (await subscription.next())["events"][-1]["sequence"]
            await client.setting_list(limit=1)


async def test_a_task_can_wait_for_one_subscription_while_the_inbox_of_another_is_full(data_dir: Path) -> None:
    async with bounded(data_dir) as client:
        full = await client.subscribe("events", after_sequence=0)
        settings = await client.subscribe("settings")
        await paused(client)
        done = await client.dispatch(ChangeSetting(key="k", value=1))
        assert (await settings.until(done.sequence)).all(Setting)["k"].value == 1
        assert (await full.next())["events"][0]["sequence"] == 1


async def test_a_subscription_too_far_behind_raises_out_of_step(data_dir: Path) -> None:
    async with bounded(data_dir, most=HELD) as client:
        behind = await client.subscribe("thread", thread_id="t")
        done = await append(client, LARGE * 10)
        with pytest.raises(OutOfStep, match="subscribe again"):
            await behind.until(done)
        for _ in range(2):
            with pytest.raises(OutOfStep):
                await behind.next()
        await behind.close()
        again = await client.subscribe("thread", thread_id="t", replica=behind.replica)
        assert again.opened["type"] == "changes"
        assert len((await again.until(done)).all(Message)["m"].text) == 310 * len(LARGE)
        assert client.connection.flow.held == 0


async def test_a_client_can_shut_down_its_daemon_while_an_inbox_is_full(data_dir: Path) -> None:
    async with bounded(data_dir) as client:
        await client.subscribe("events", after_sequence=0)
        await paused(client)


async def test_unread_notifications_without_a_subscription_are_dropped_oldest_first() -> None:
    warnings = [{"method": "window/logMessage", "params": {"type": 2, "message": f"{i}"}} for i in range(1000)]
    async with with_later(Later(subscription_open=None, told=warnings, daemon_status=7)) as client:
        await client.call("subscription/open")
        assert await client.call("daemon/status") == 7
        assert client.connection.flow.held == 0
        newest = [(await client.connection.inbox().get())["message"] for _ in range(NEWEST)]
        assert newest == [f"{i}" for i in range(1000 - NEWEST, 1000)]


# Following a thread


async def test_following_a_thread_gives_its_snapshot_then_changes_until_it_is_deleted(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        following = client.follow("t")
        seen: list[ThreadSnapshot | Change] = []
        async for change in following:
            seen.append(change)
            match change:
                case ThreadSnapshot(threads=[Thread(id="t")]):
                    await append(client, "🧵")
                case AppendChange(id="m"):
                    assert following.replica.all(Message)["m"].text == "🧵"
                    await client.dispatch(ArchiveThread(thread_id="t"))
                case Upsert(value=Thread(archived_at=str())):
                    await client.dispatch(DeleteThread(thread_id="t"))
        assert isinstance(seen[0], ThreadSnapshot)
        assert [message.id for message in seen[0].messages] == ["prompt", "m"]
        assert AppendChange(entity="message", id="m", text="🧵", offset=0) in seen
        values = [change.value for change in seen if isinstance(change, Upsert)]
        assert [turn.status for turn in values if isinstance(turn, Turn)] == ["interrupted"]
        assert seen[-1] == RemoveChange(entity="thread", id="t")
        assert not any(following.replica.entities.values())
        assert (await client.daemon_status()).queues.subscriptions == 0


async def test_follow_yields_each_message_as_it_was_at_that_change(data_dir: Path) -> None:
    # The replica has all of them at once; what is told first does not hold what is told next.
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        text = ""
        async for change in client.follow("t"):
            match change:
                case ThreadSnapshot():
                    for token in ("one", " two", " three"):
                        asyncio.create_task(append(client, token))  # noqa: RUF006
                case Upsert(value=Message(id="m") as message):
                    text = message.text
                case AppendChange():
                    assert change.offset == len(text)
                    text += change.text
            if text == "one two three":
                break


async def test_leaving_a_follow_loop_closes_the_subscription(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        async for change in client.follow("t"):
            assert isinstance(change, ThreadSnapshot)
            assert (await client.daemon_status()).queues.subscriptions == 1
            break
        await client.daemon_status()  # meanwhile what was left is closed
        assert (await client.daemon_status()).queues.subscriptions == 0


async def test_following_again_with_a_kept_replica_gives_only_the_changes_since(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        await scenery(client)
        replica = Replica()
        async for _ in client.follow("t", replica=replica):
            break
        await append(client, "meanwhile")
        async for change in client.follow("t", replica=replica):
            assert isinstance(change, Upsert)
            assert isinstance(change.value, Message)
            assert change.value.text == "meanwhile"
            break
        assert replica.all(Message)["m"].text == "meanwhile"


async def test_following_a_missing_thread_raises_not_found(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        with pytest.raises(RemoteError, match="thread 'none' not found"):
            async for _ in client.follow("none"):
                pass


# The daemon exits


async def test_all_waiting_calls_fail_when_the_daemon_dies(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL, "--linger-ms", "600000") as client:
        await fast_scenery(client)
        subscription = await client.subscribe("thread", thread_id="t")
        changes = aiter(client.follow("t"))
        await anext(changes)  # the snapshot: it sends no other request, which would end the linger of the delta
        waiting = [asyncio.create_task(append(client, "x")), asyncio.create_task(subscription.next())]
        waiting.append(asyncio.ensure_future(anext(changes)))
        await asyncio.sleep(0)  # the delta is written when its task begins
        with pytest.raises(RemoteError):
            await client.call("no/such/method")  # its answer shows that the delta was read
        client.process.send_signal(signal.SIGKILL)
        for task in waiting:
            with pytest.raises(Disconnected):
                await task
        # And all that comes later.
        for _ in range(2):
            with pytest.raises(Disconnected):
                await subscription.next()
            with pytest.raises(Disconnected):
                await client.daemon_status()
        late = Subscription(
            client.connection,
            {"type": "position", "subscriptionId": "sub-9", "logId": "l", "sequence": 0},
            Replica(),
        )
        with pytest.raises(Disconnected):
            await late.next()
    assert client.process.returncode == -signal.SIGKILL


async def test_answers_received_before_the_daemon_died_are_not_lost() -> None:
    source, said = os.pipe()
    heard, to = os.pipe()
    os.close(heard)  # it reads no more
    async with asyncio.timeout(PATIENCE), connect(pipes=(source, to), initialize=False) as client:
        answered, unanswered = (asyncio.create_task(client.call("daemon/status")) for _ in range(2))
        await asyncio.sleep(0)  # both are written when their tasks begin
        os.write(said, frame(Framing.HEADERS, b'{"jsonrpc": "2.0", "id": 1, "result": 7}'))
        os.close(said)
        assert await answered == 7
        with pytest.raises(Disconnected):
            await unanswered


async def test_shutting_down_a_daemon_that_has_already_exited_succeeds(data_dir: Path) -> None:
    async with connected(data_dir, *NORMAL) as client:
        client.process.send_signal(signal.SIGTERM)
        assert await client.end() == 0


# Type checking


def test_calls_are_type_checked_by_mypy(tmp_path: Path) -> None:
    checked, program = Path(__file__).parent / "client_types.py", tmp_path / "program.py"
    [text] = re.findall(r"^```python run\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text(), re.M | re.S)
    program.write_text(text, "utf-8")
    # `--strict` complains of an ignored error that is none: so each that is marked there is one.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", checked, program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert checked.read_text("utf-8").count("# type: ignore[") >= 8


# The replica


def upsert(entity: str, **value: Any) -> dict[str, Any]:
    return {"type": "upsert", "entity": entity, "value": {"sequence": 1, **value}}


def test_a_replica_applies_each_kind_of_change() -> None:
    replica = Replica()
    thread, setting = {"sequence": 1, "id": "t", "title": "a"}, {"sequence": 2, "key": "k", "value": 1}
    replica.load({"sequence": 3, "threads": [thread], "settings": [setting]})
    replica.apply([upsert("thread", id="t", title="b"), upsert("message", id="m", threadId="t", text="one")], 5)
    replica.apply([{"type": "append", "entity": "message", "id": "m", "text": "🧵", "offset": 3}], 6)
    replica.apply([{"type": "append", "entity": "message", "id": "m", "text": "!", "offset": 4}], 7)
    replica.apply(
        [{"type": "remove", "entity": "setting", "id": "k"}, {"type": "remove", "entity": "turn", "id": "?"}], 8
    )
    assert replica.sequence == 8
    held = {entity: values for entity, values in replica.entities.items() if values}
    assert held == {
        "thread": {"t": {"sequence": 1, "id": "t", "title": "b"}},
        "message": {"m": {"sequence": 1, "id": "m", "threadId": "t", "text": "one🧵!"}},
    }
    replica.apply([{"type": "remove", "entity": "thread", "id": "t"}], 9)
    assert not any(replica.entities.values())


def test_a_replica_is_sorted_by_sequence_whatever_the_order_of_its_changes() -> None:
    replica = Replica()
    settings = [{"sequence": 2, "key": "a"}, {"sequence": 1, "key": "b"}, {"sequence": 4, "key": "c"}]
    replica.load({"sequence": 4, "settings": settings})
    assert list(replica.entities["setting"]) == ["b", "a", "c"]
    replica.apply([upsert("setting", sequence=6, key="d"), upsert("setting", sequence=5, key="e")], 6)
    assert list(replica.entities["setting"]) == ["b", "a", "c", "e", "d"]
    replica.apply([upsert("setting", sequence=2, key="a", value=1), upsert("setting", sequence=7, key="b")], 7)
    assert list(replica.entities["setting"]) == ["a", "c", "e", "d", "b"]


async def test_a_turn_is_in_the_order_of_its_commands(data_dir: Path) -> None:
    def shown(replica: Replica) -> list[str]:
        entities: list[Message | Activity] = [*replica.all(Message).values(), *replica.all(Activity).values()]
        entities.sort(key=lambda entity: entity.sequence)
        return [entity.text if isinstance(entity, Message) else entity.title for entity in entities]

    async with connected(data_dir, *NORMAL) as client:
        await client.dispatch(CreateProject(id="p", name="p", path="/p"))
        await client.dispatch(CreateThread(thread_id="t", project_id="p", title="T"))
        live = await client.subscribe("thread", thread_id="t")
        said: list[str] = []
        with wire.serving(data_dir) as other:
            for turn, times in (("u", []), ("v", BACKWARDS)):
                said += await asyncio.to_thread(pipelined, other, "t", turn, times)
            sequence = other.result("daemon/status")["sequence"]
        assert shown(await live.until(sequence)) == said
        assert shown((await client.subscribe("thread", thread_id="t")).replica) == said


@pytest.mark.parametrize(("id", "offset"), [("m", 2), ("m", 4), ("none", 0)])
def test_a_replica_raises_out_of_step_when_a_change_is_missing(id: str, offset: int) -> None:
    replica = Replica()
    replica.apply([upsert("message", id="m", threadId="t", text="one")], 1)
    with pytest.raises(OutOfStep):
        replica.apply([{"type": "append", "entity": "message", "id": id, "text": "x", "offset": offset}], 2)


def test_appending_to_a_replica_takes_linear_time() -> None:
    def seconds(count: int) -> float:
        replica = Replica()
        replica.apply([upsert("message", id="m", threadId="t", text="")], 1)
        deltas = [{"type": "append", "entity": "message", "id": "m", "text": "x" * 24, "offset": 24 * i}
                  for i in range(count)]  # fmt: skip
        begun = time.process_time()
        for number, delta in enumerate(deltas):
            replica.apply([delta], number + 2)
        took = time.process_time() - begun
        assert replica.entities["message"]["m"]["text"] == "x" * 24 * count
        return took

    small, large = (min(seconds(count) for _ in range(3)) for count in (4_000, 64_000))
    assert large < 16 * 3 * small  # quadratic: 256 times


def test_a_replica_joins_appended_text_before_the_next_operation() -> None:
    def grown() -> Replica:
        replica = Replica()
        replica.apply([upsert("message", id="m", threadId="t", text="one")], 1)
        replica.apply([{"type": "append", "entity": "message", "id": "m", "text": "two", "offset": 3}], 2)
        return replica

    before = grown()
    value = before.entities["message"]["m"]
    before.apply([{"type": "append", "entity": "message", "id": "m", "text": "!", "offset": 6}], 3)
    assert (value["text"], before.entities["message"]["m"]["text"]) == ("onetwo", "onetwo!")
    for change, text in (
        (upsert("message", id="m", threadId="t", text="new"), "new"),
        (upsert("message", id="n", threadId="t", text=""), "onetwo"),
        ({"type": "remove", "entity": "thread", "id": "other"}, "onetwo"),
    ):
        replica = grown()
        replica.apply([change], 3)
        assert replica.entities["message"]["m"]["text"] == text
    for entity, id in (("message", "m"), ("thread", "t")):
        replica = grown()
        replica.apply([{"type": "remove", "entity": entity, "id": id}], 3)
        assert replica.entities["message"] == {}
        with pytest.raises(OutOfStep):
            replica.apply([{"type": "append", "entity": "message", "id": "m", "text": "x", "offset": 6}], 4)
    replica = grown()
    replica.load({"sequence": 9, "messages": []})
    assert replica.entities["message"] == {}


def test_a_snapshot_replaces_the_content_of_a_replica() -> None:
    replica = Replica()
    replica.load({"sequence": 9, "projects": [{"sequence": 1, "id": "p"}], "threads": [{"sequence": 2, "id": "t"}]})
    replica.load({"sequence": 4, "projects": [], "threads": [{"sequence": 3, "id": "u"}]})
    assert (replica.sequence, replica.entities["project"], list(replica.entities["thread"])) == (4, {}, ["u"])


def test_a_replica_ignores_unknown_kinds_of_entity() -> None:
    replica = Replica()
    replica.apply([upsert("pin", id=1), {"type": "remove", "entity": "pin", "id": 1}], 3)
    assert replica.sequence == 3


def test_a_replica_returns_its_entities_as_structs() -> None:
    replica = Replica()
    replica.load({"sequence": 3, "threads": [THREAD], "settings": [SETTING]})
    assert replica.all(Thread)["t"].title == "T"
    assert replica.all(Setting)["k"].value == 1
    assert replica.all(Message) == {}
