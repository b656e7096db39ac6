"""The process of an agent: it waits while nothing is read, and ends with all that it has started."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripted import Surroundings, assert_end, assert_gone, linux_only, scripted, sentinels
from treadle.agents import connection, process
from treadle.agents.check import check_agent
from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig
from treadle.agents.connection import AgentConnection, AgentFailed
from treadle.agents.orphans import REAPER
from treadle.agents.process import AgentProcess
from treadle.agents.reaper import start_time
from treadle.agents.session import initialize
from wire import PATIENCE


def config(*behaviours: str, **env: str) -> AgentConfig:
    return msgspec.convert(scripted(*behaviours, **env), AgentConfig)


@pytest.fixture
def treadle(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


class Numbers:
    """Counts the updates of an agent, which are numbered, and pauses it at one of them."""

    def __init__(self, pause_at: int) -> None:
        self.seen: list[int] = []
        self.paused = asyncio.Event()
        self.agent: AgentProcess | None = None
        self._pause_at = pause_at

    def __call__(self, _: AgentConnection, message: AgentMessage) -> None:
        self.seen.append(msgspec.json.decode(message.params)["number"])
        if self.seen[-1] == self._pause_at:
            assert self.agent is not None
            self.agent.pause()
            self.paused.set()


async def test_an_agent_that_floods_waits_while_it_is_paused_and_loses_nothing() -> None:
    numbers = Numbers(10)
    agent = numbers.agent = await AgentProcess.start(config("updates"), numbers)
    try:
        starting = asyncio.create_task(initialize(agent.connection, PATIENCE))
        await numbers.paused.wait()
        read = len(numbers.seen)
        done, _ = await asyncio.wait([starting], timeout=0.5)
        assert not done
        assert len(numbers.seen) == read < 5_000
        agent.resume()
        await starting
        assert numbers.seen == list(range(5_000))
    finally:
        await agent.end()


async def test_what_an_agent_wrote_before_it_exited_is_read_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "DRAIN", 0.1)
    numbers = Numbers(4_990)
    agent = numbers.agent = await AgentProcess.start(config("updates", "die"), numbers)
    try:
        starting = asyncio.create_task(initialize(agent.connection, PATIENCE))
        await numbers.paused.wait()
        await agent.exited()
        done, _ = await asyncio.wait([starting], timeout=0.5)
        assert not done
        agent.resume()
        with pytest.raises(AgentFailed, match="exited with status 3"):
            await starting
        assert numbers.seen == list(range(5_000))
    finally:
        await agent.end()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # an error here, where it keeps asyncio from going on
def test_an_agent_that_exits_after_the_end_of_the_event_loop_leads_to_no_complaint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    async def start() -> tuple[int, int]:
        agent = await AgentProcess.start(config("stay"), lambda connection, message: None)
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await agent.end()
        return agent.pid, agent._reaper.pid

    started = asyncio.run(start())
    watching = [thread for thread in threading.enumerate() if thread.name.startswith("asyncio-waitpid")]
    for pid in started:
        os.kill(pid, signal.SIGKILL)
    for thread in watching:
        thread.join()
    gc.collect()
    assert complaints == []


async def test_an_agent_that_asks_and_never_reads_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MAX_UNREAD_BYTES", 4_000_000)
    monkeypatch.setattr(process, "CLOSED", 0.3)
    checked = await check_agent(config("ask-for-ever"), PATIENCE)
    assert checked.error == "the agent does not read what it is sent"


async def test_a_check_ends_although_the_agent_keeps_sending_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCES", 0.01)
    monkeypatch.setattr(process, "CLOSED", 0.3)
    checked = await check_agent(config("chatter"), PATIENCE)
    assert checked.error == f"the agent has not answered initialize for {PATIENCE / 100:g} s"


@linux_only
@pytest.mark.parametrize(
    "behaviours", [(), ("stay",), ("stay", "fork-on-sigterm"), ("die",), ("kill-self",), ("silence",)]
)
async def test_nothing_of_an_agent_is_left_when_it_has_ended(
    behaviours: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "CLOSED", 0.3)
    monkeypatch.setattr(process, "TERMINATED", 0.3)
    monkeypatch.setenv("TREADLE_AGENT", "outer")  # treadle may itself run in an agent
    pids = tmp_path / "pids"
    agent = config("children", *behaviours, PIDS=str(pids))
    with sentinels():
        await check_agent(agent, 1 if "silence" in behaviours else PATIENCE)
        assert_gone(pids.read_text())
        assert len(pids.read_text().split()) == (4 if "fork-on-sigterm" in behaviours else 3)


@linux_only
@pytest.mark.parametrize("exits", ["die", "kill-self"])
async def test_the_tools_of_an_agent_that_has_exited_are_ended_at_once(exits: str, tmp_path: Path) -> None:
    """Neither the time for an agent that may still exit by itself is waited for, nor that treadle ends it."""
    pids = tmp_path / "pids"
    with sentinels():
        agent = await AgentProcess.start(config("children", exits, PIDS=str(pids)), lambda *_: None)
        try:
            with pytest.raises(AgentFailed):
                await initialize(agent.connection, PATIENCE)
            await asyncio.to_thread(assert_end, pids.read_text())
        finally:
            await agent.end()


@linux_only
def test_a_process_that_has_the_id_of_an_agent_that_has_ended_is_left_alone() -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        assert start_time(other.pid)
        for told in (f"{other.pid} 1\n", f"{other.pid}\n", "1 1\n", "0\n", "-1 1\n", ""):
            reaping = [sys.executable, "-I", "-S", REAPER, "mark", "60", "60"]
            assert subprocess.run(reaping, input=told.encode(), timeout=PATIENCE, check=False).returncode == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@linux_only
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_nothing_of_an_agent_is_left_when_treadle_is_killed(
    treadle: Surroundings, tmp_path: Path, sent: signal.Signals
) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    treadle.configure(it=scripted("children", "silence", PIDS=str(pids)))
    with sentinels(), treadle.start("--check", "--data-dir", str(treadle.data_dir)) as checking:
        told = pids.read_text()
        checking.send_signal(sent)
        status = checking.wait(PATIENCE)
        if sent == signal.SIGINT:
            assert_gone(told)
            assert status == 130
        assert_end(told)


async def test_the_end_of_an_agent_is_noticed_while_a_tool_holds_its_output_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "CLOSED", 0.3)
    checked = await check_agent(config("leave-stdout-open"), PATIENCE)
    assert (checked.error, checked.stderr) == ("the agent exited with status 3", ["no key was given"])
