"""The scripted agent, with which other tests stand or fall, does what its table says and speaks the protocol."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

import scripted_agent
from scripted import scripted
from scripted_agent.scripts import SCRIPTS
from scripted_agent.sessions import OPTIONS
from scripted_agent.start import ANSWERS, BEHAVIOURS
from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig
from treadle.agents.connection import AgentConnection, AgentFailed, AgentRefused
from treadle.agents.process import AgentProcess
from treadle.agents.session import initialize
from wire import PATIENCE

Json = dict[str, Any]
SCHEMA = msgspec.json.decode((Path(__file__).parent / "acp_schema" / "v1" / "schema.json").read_bytes())["$defs"]
VALIDATORS = {
    method: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA})
    for method, name in {
        "session/update": "SessionNotification",
        "session/request_permission": "RequestPermissionRequest",
        "elicitation/create": "CreateElicitationRequest",
    }.items()
}


class Client:
    """Answers all questions, and cancels at the first sign of a script that waits for it."""

    def __init__(self, choose: str) -> None:
        self.choose = choose
        self.heard: list[tuple[str, Json]] = []
        self.invalid: list[str] = []
        self.heard_more = asyncio.Event()

    def __call__(self, connection: AgentConnection, message: AgentMessage) -> None:
        params = msgspec.json.decode(message.params)
        self.heard.append((message.method, params))
        self.heard_more.set()
        is_unknown = params.get("update", {}).get("sessionUpdate") == "compaction_update"
        if message.method in VALIDATORS and not is_unknown:
            self.invalid += [error.message for error in VALIDATORS[message.method].iter_errors(params)]
        if message.method == "session/request_permission" and self.choose:
            outcome = {"outcome": "selected", "optionId": self.choose}
            connection.respond(message.id, {"outcome": outcome})
        elif message.method == "elicitation/create":
            connection.respond(message.id, {"action": "decline"})
        elif message.id and self.choose:
            connection.refuse(message)

    def updates(self) -> list[Json]:
        return [params["update"] for method, params in self.heard if method == "session/update"]

    def text(self) -> str:
        chunks = [update for update in self.updates() if update["sessionUpdate"] == "agent_message_chunk"]
        return "".join(chunk["content"]["text"] for chunk in chunks)

    async def until(self, heard: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not heard():
                self.heard_more.clear()
                await self.heard_more.wait()


class Agent:
    def __init__(self, process: AgentProcess, client: Client, folder: Path) -> None:
        self.process, self.client, self.folder = process, client, folder
        self.session = ""

    async def call(self, method: str, **params: Any) -> Json:
        return await self.process.connection.call(method, params, PATIENCE)

    async def open(self, how: str = "new", **params: Any) -> Json:
        opened = await self.call(f"session/{how}", cwd=str(self.folder), mcpServers=[], **params)
        self.session = opened.get("sessionId") or params["sessionId"]
        return opened

    async def prompt(self, text: str) -> Json:
        return await self.call("session/prompt", sessionId=self.session, prompt=[{"type": "text", "text": text}])

    def cancel(self) -> None:
        self.process.connection.notify("session/cancel", {"sessionId": self.session})


@asynccontextmanager
async def started(folder: Path, *words: str, choose: str = "allow") -> AsyncIterator[Agent]:
    env = {"SCRIPTED_LOG": "log", "SCRIPTED_SESSIONS": "sessions", "PIDS": "pids"}
    config = msgspec.convert(scripted(*words, **{name: str(folder / file) for name, file in env.items()}), AgentConfig)
    client = Client(choose)
    process = await AgentProcess.start(config, client, cwd=folder)
    try:
        await initialize(process.connection, PATIENCE)
        yield Agent(process, client, folder)
    finally:
        await process.end()
    assert client.invalid == []


def test_the_table_lists_every_word_and_script() -> None:
    table = scripted_agent.__doc__ or ""
    first_cells = "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    assert set(re.findall(r"`([\w-]+)`", first_cells)) == OPTIONS | {"stay"} | SCRIPTS.keys()
    assert not OPTIONS & (BEHAVIOURS.keys() | ANSWERS.keys())


CANCELLED = {"stream": "cancelled", "repeat": "cancelled", "cancel-end-turn": "end_turn", "cancel-late": "cancelled"}
FAILS = {"exit": "exited with status 3", "hold-stdout": "exited with status 3", "kill": "SIGKILL"}
REFUSES = {"refuse": -32603, "refuse-auth": -32000}
APART = {"silent", "cancel-ignored", "ask-hangs", "over-limit", "unstorable"}


async def test_each_script_ends_as_its_table_says(tmp_path: Path) -> None:
    plain = [name for name in SCRIPTS if name not in {*CANCELLED, *FAILS, *REFUSES, *APART, "long-line", "flood"}]
    async with started(tmp_path) as agent:
        await agent.open()
        for name in plain:
            assert (await agent.prompt(f"script={name}"))["stopReason"] == "end_turn", name
        for name, code in REFUSES.items():
            with pytest.raises(AgentRefused) as refused:
                await agent.prompt(f"script={name}")
            assert refused.value.code == code
        for name, stop in CANCELLED.items():
            heard = len(agent.client.heard)
            prompting = asyncio.create_task(agent.prompt(f"script={name}"))
            await agent.client.until(lambda heard=heard: len(agent.client.heard) > heard)  # type: ignore[misc]
            agent.cancel()
            assert (await prompting)["stopReason"] == stop, name
        assert (await agent.prompt("script=plain stop=refusal"))["stopReason"] == "refusal"
        text = agent.client.text()
        assert "chose allow" in text
        assert "elicitation: decline" in text
        assert "fs/write_text_file: -32601 craft/drainMidTurnQueue: -32601" in text
        await agent.client.until(lambda: "the task in the background has ended" in agent.client.text())
    assert (tmp_path / "edited.txt").read_text() == "a line of the agent\n"


@pytest.mark.parametrize("name", FAILS)
async def test_a_script_ends_the_agent(name: str, tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.open()
        with pytest.raises(AgentFailed, match=FAILS[name]):
            await agent.prompt(f"script={name}")
        assert agent.process.stderr[-1] == "out of memory"


async def test_long_lines_and_floods_arrive(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.open()
        await agent.prompt("script=flood script=long-line")
        assert len(agent.client.text()) == 20_000_000 + sum(len(f"{n} ") for n in range(5_000))


async def test_a_permission_that_hangs_holds_the_cancel_until_it_is_answered(tmp_path: Path) -> None:
    async with started(tmp_path, choose="") as agent:
        await agent.open()
        prompting = asyncio.create_task(agent.prompt("script=ask-hangs"))
        asked = "session/request_permission"
        await agent.client.until(lambda: any(method == asked for method, _ in agent.client.heard))
        agent.cancel()
        assert (await agent.call("session/set_mode", sessionId=agent.session, modeId="code")) == {}
        assert not prompting.done()
        agent.process.connection.respond(msgspec.Raw(b"0"), {"outcome": {"outcome": "cancelled"}})
        assert (await prompting)["stopReason"] == "cancelled"


async def test_a_second_prompt_is_refused_and_what_arrived_is_in_the_log(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.open()
        prompting = asyncio.create_task(agent.prompt("script=silent"))
        await asyncio.sleep(0)
        with pytest.raises(AgentRefused, match="a prompt is running"):
            await agent.prompt("two")
        agent.cancel()
        assert (await prompting)["stopReason"] == "cancelled"
    methods = [json.loads(line)["method"] for line in (tmp_path / "log").read_text().splitlines()]
    assert methods == ["initialize", "session/new", "session/prompt", "session/prompt", "session/cancel"]


async def test_a_session_is_loaded_resumed_and_forked_by_the_next_process(tmp_path: Path) -> None:
    async with started(tmp_path, "early-updates") as agent:
        await agent.open()
        await agent.prompt("script=ids")
        await agent.call("session/set_config_option", sessionId=agent.session, configId="model", value="large")
        id = agent.session
        assert "current_mode_update" in {update["sessionUpdate"] for update in agent.client.updates()}
    async with started(tmp_path) as agent:
        opened = await agent.open("load", sessionId=id)
        assert opened["configOptions"][0]["currentValue"] == "large"
        kinds = [update["sessionUpdate"] for update in agent.client.updates()]
        assert kinds == ["user_message_chunk", *["agent_message_chunk"] * 4]
    async with started(tmp_path, "fork", "steering") as agent:
        await agent.open("resume", sessionId=id)
        assert agent.client.heard == []
        await agent.open("fork", sessionId=id)
        assert agent.session != id
        steered = await agent.call("_session/steering", sessionId=id, prompt=[{"type": "text", "text": "left"}])
        assert steered == {"outcome": "promptRequired"}
        with pytest.raises(AgentRefused, match="Resource not found"):
            await agent.open("load", sessionId="nowhere")


async def test_an_agent_that_wants_a_login_refuses_until_it_has_one(tmp_path: Path) -> None:
    async with started(tmp_path, "auth-on-new") as agent:
        with pytest.raises(AgentRefused) as refused:
            await agent.open()
        assert refused.value.code == -32000
        await agent.call("authenticate", methodId="key")
        await agent.open()
