"""Real agents answer prompts, ask for permissions, are cancelled and end: with a scripted model, without a network."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import model_server
from real_agents import FOREIGN, PACKAGES, RealAgent, needs_real_agents, real_agent
from support import PATIENCE
from treadle.agents.codec import AgentMessage
from treadle.agents.connection import MAX_LINE_BYTES, AgentConnection, AgentFailed
from treadle.agents.process import AgentProcess
from treadle.agents.recording import Frame
from treadle.agents.session import initialize
from treadle.agents.shapes import Agent
from treadle.contract.framing import FrameDecoder, Framing
from treadle.core.engine import Engine
from treadle.store.pages import LATEST
from treadle.store.sqlite.store import Store
from treadle.transfer.recordings import Import, read_recording

pytestmark = needs_real_agents

Json = dict[str, Any]
MARK = "TREADLE_TEST_AGENT"
"""A variable by which the processes of an agent are found."""
LONG_AGO = 1_700_000_000.0


# A client


class RecordedProcess(AgentProcess):
    """An agent, with all messages of both sides."""

    def __init__(
        self, received: Callable[[AgentConnection, AgentMessage], None], reaper: asyncio.subprocess.Process
    ) -> None:
        super().__init__(received, reaper)
        self.frames: list[Frame] = []
        self.changed = asyncio.Event()
        self._lines = FrameDecoder(MAX_LINE_BYTES, Framing.LINES)

    def send(self, **message: Any) -> None:
        self._write(msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n")

    def _write(self, data: bytes) -> None:
        self._record("client", data)
        super()._write(data)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            for line in self._lines.feed(data):
                assert isinstance(line, bytes)
                self._record("agent", line)
        super().pipe_data_received(fd, data)

    def _record(self, sender: Any, line: bytes) -> None:
        self.frames.append(Frame(asyncio.get_running_loop().time(), sender, msgspec.json.decode(line)))
        self.changed.set()


class Conversation:
    """A client of an agent, in one session. choice: the kind of the option that it picks when asked for a permission;
    None if it cancels. asked: the permissions that the agent has asked for."""

    process: RecordedProcess
    agent: Agent
    session: str

    def __init__(self) -> None:
        self.choice: str | None = None
        self.asked: list[Json] = []

    async def call(self, method: str, **params: Any) -> Json:
        return await self.process.connection.call(method, params, PATIENCE)

    def prompt(self, text: str) -> "asyncio.Task[Json]":
        blocks = [{"type": "text", "text": text}]
        return asyncio.create_task(self.call("session/prompt", sessionId=self.session, prompt=blocks))

    def cancel(self) -> None:
        self.process.send(method="session/cancel", params={"sessionId": self.session})

    def received(self, connection: AgentConnection, message: AgentMessage) -> None:
        if message.method == "session/request_permission":
            params = msgspec.json.decode(message.params)
            self.asked.append(params)
            chosen = [option["optionId"] for option in params["options"] if option["kind"] == self.choice]
            outcome = {"outcome": "selected", "optionId": chosen[0]} if chosen else {"outcome": "cancelled"}
            self.process.send(id=message.id, result={"outcome": outcome})
        elif message.id:
            connection.refuse(message)

    def updates(self, kind: str) -> list[Json]:
        """The updates of a kind so far."""
        told = [frame.msg.get("params", {}).get("update", {}) for frame in self.process.frames if frame.dir == "agent"]
        return [update for update in told if update.get("sessionUpdate") == kind]

    @property
    def text(self) -> str:
        """What the agent has said so far."""
        return "".join(update["content"]["text"] for update in self.updates("agent_message_chunk"))

    async def until(self, found: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not found():
                self.process.changed.clear()
                await self.process.changed.wait()


@asynccontextmanager
async def conversation(agent: RealAgent, workspace: Path) -> AsyncIterator[Conversation]:
    """Run an agent within the block, with a session in the workspace."""
    client = Conversation()
    client.process = await RecordedProcess.start(agent.config, client.received)
    try:
        client.agent = await initialize(client.process.connection, PATIENCE)
        client.session = (await client.call("session/new", cwd=str(workspace), mcpServers=[]))["sessionId"]
        yield client
    finally:
        await client.process.end()
    assert list(client.process.connection.problems) == []


def processes_of(agent: RealAgent) -> list[int]:
    """The processes that are left of an agent and its tools."""
    mark = f"{MARK}={agent.config.env[MARK]}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile, or is not ours
            continue
    return found


# Fixtures


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What has reached the model."""
    return tmp_path_factory.mktemp("model") / "log"


@pytest.fixture(scope="module")
def model(log: Path) -> Iterator[str]:
    """The URL of a scripted model."""
    with model_server.serving(log) as url:
        yield url


@pytest.fixture(params=PACKAGES)
def agent(request: pytest.FixtureRequest, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealAgent:
    """Each of the agents, in a home of its own."""
    for variable in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(variable)
    return real_agent(request.param, tmp_path / "home", model, {MARK: str(tmp_path)})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The folder of the session."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def imported(store: Store, engine: Engine, tmp_path: Path) -> "Imported":
    return Imported(store, engine, tmp_path / "session.jsonl")


class Imported:
    """Imports what was recorded of conversations, into a real data directory."""

    def __init__(self, store: Store, engine: Engine, file: Path) -> None:
        self._store, self._engine, self._file = store, engine, file

    async def thread(self, client: Conversation) -> Json:
        """The thread of the session: its turns, messages and so on."""
        self._file.write_bytes(b"".join(msgspec.json.encode(frame) + b"\n" for frame in client.process.frames))
        recording = msgspec.structs.replace(read_recording(self._file), changed=LONG_AGO)
        report = await Import(self._store, self._engine, recording).run(lambda done, total: None)
        assert (recording.bad, report.failed) == ([], [])
        snapshot = await self._store.read(lambda reads: reads.thread(client.session, 100, LATEST))
        thread: Json = msgspec.json.decode(msgspec.json.encode(snapshot))
        return thread


def said(thread: Json) -> list[str]:
    return [message["text"] for message in thread["messages"] if message["role"] == "assistant"]


# The agents


async def test_each_prompt_reaches_the_model_once_and_its_answer_arrives_whole(
    agent: RealAgent, workspace: Path, log: Path, imported: Imported
) -> None:
    before = len(model_server.prompts(log))
    async with conversation(agent, workspace) as client:
        assert client.agent.release == agent.version
        assert (await client.prompt("script=hello"))["stopReason"] == "end_turn"
        assert (await client.prompt("script=many"))["stopReason"] == "end_turn"
    assert processes_of(agent) == []
    assert model_server.prompts(log)[before:] == ["script=hello", "script=many"]
    assert [client.text.count(text) for text in ("Hello.", model_server.MANY)] == [1, 1]
    thread = await imported.thread(client)
    assert [turn["status"] for turn in thread["turns"]] == ["completed", "completed"]
    assert [message["text"] for message in thread["messages"] if message["role"] == "user"] == [
        "script=hello",
        "script=many",
    ]
    assert {"Hello.", model_server.MANY} <= set(said(thread))


async def test_a_tool_does_nothing_until_it_is_allowed(agent: RealAgent, workspace: Path, imported: Imported) -> None:
    written, edited = workspace / model_server.WRITTEN, workspace / "greeting.txt"
    edited.write_text("hello\n")
    async with conversation(agent, workspace) as client:
        client.choice = "reject_once"
        refused = await client.prompt("script=tool")
        assert len(client.asked) == 1
        assert not written.exists()
        client.choice = "allow_once"
        assert (await client.prompt("script=tool"))["stopReason"] == "end_turn"
        assert written.read_text() == "from the tool\n"
        assert (await client.prompt(f"script=edit file={edited}"))["stopReason"] == "end_turn"
        assert edited.read_text() == "hello, world\n"
        assert len(client.asked) == 3
    assert processes_of(agent) == []
    thread = await imported.thread(client)
    first = "interrupted" if refused["stopReason"] == "cancelled" else "completed"
    assert [turn["status"] for turn in thread["turns"]] == [first, "completed", "completed"]
    assert said(thread)[-1] == model_server.DONE


async def test_a_prompt_is_cancelled_in_the_middle_of_its_answer_and_the_next_one_is_answered(
    agent: RealAgent, workspace: Path, imported: Imported
) -> None:
    async with conversation(agent, workspace) as client:
        answer = client.prompt("script=slow")
        await client.until(lambda: "word3 " in client.text)
        client.cancel()
        assert (await answer)["stopReason"] == "cancelled"
        assert (await client.prompt("script=hello"))["stopReason"] == "end_turn"
    assert processes_of(agent) == []
    assert "word1199" not in client.text
    thread = await imported.thread(client)
    assert [(turn["status"], turn["by"]) for turn in thread["turns"]] == [
        ("interrupted", "client"),
        ("completed", None),
    ]
    assert said(thread)[-1] == "Hello."


async def test_no_process_is_left_of_an_agent_that_is_ended_while_its_tool_runs(
    agent: RealAgent, workspace: Path, imported: Imported
) -> None:
    os.mkfifo(workspace / model_server.STARTED)
    started = os.open(workspace / model_server.STARTED, os.O_RDONLY | os.O_NONBLOCK)
    try:
        async with conversation(agent, workspace) as client:
            client.choice = "allow_once"
            answer = client.prompt("script=sleep")
            await readable(started)
            assert int(os.read(started, 100)) in processes_of(agent)
    finally:
        os.close(started)
    assert processes_of(agent) == []
    with pytest.raises(AgentFailed):
        await answer
    thread = await imported.thread(client)
    assert [turn["status"] for turn in thread["turns"]] == ["interrupted"]


async def readable(descriptor: int) -> None:
    """Wait until something can be read."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await ready.wait()
    finally:
        loop.remove_reader(descriptor)
