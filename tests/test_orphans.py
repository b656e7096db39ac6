"""Agents whose daemon and reaper were both killed are ended by the next daemon, and no other process is."""

import asyncio
import json
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import wire
from scripted import assert_end, assert_gone, linux_only, scripted, sentinels
from treadle.agents.config import AgentConfig
from treadle.agents.orphans import AgentRecord, Records, boot_id, end_orphans
from treadle.agents.process import AgentProcess
from treadle.agents.reaper import start_time
from wire import PATIENCE

MARK = "0123456789abcdef" * 2

DAEMON = """
import asyncio, sys
from pathlib import Path
import msgspec
from treadle.agents.config import AgentConfig
from treadle.agents.orphans import Records
from treadle.agents.process import AgentProcess

async def run(folder, config):
    agent = AgentConfig(**config)
    process = await AgentProcess.start(agent, lambda *_: None, records=Records(Path(folder), "killed"))
    await process.connection.call("initialize", {"clientInfo": {"name": "x"}}, None)

asyncio.run(run(sys.argv[1], msgspec.json.decode(sys.argv[2])))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "agents"


@pytest.fixture
def other() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of somebody else."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
            assert process.poll() is None
        finally:
            process.kill()


def write(folder: Path, **members: Any) -> Path:
    """Write a record of an agent whose daemon has exited."""
    folder.mkdir(exist_ok=True)
    record = {"mark": MARK, "runner": "killed", "bootId": boot_id(), "reaperPid": 1, "pid": 0, "startTime": ""}
    file = folder / f"{MARK}.json"
    file.write_text(json.dumps(record | members))
    return file


def of_killed(runner: str) -> bool:
    return runner == "killed"


@linux_only
async def test_nothing_is_left_after_a_kill_of_the_daemon_and_the_reaper(folder: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    agent = json.dumps(scripted("children", "stay", "deaf", "silence", PIDS=str(pids)))
    with sentinels():
        daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", DAEMON, str(folder), agent)
        told = await asyncio.to_thread(pids.read_text)
        [file] = folder.iterdir()
        record = msgspec.json.decode(file.read_bytes(), type=AgentRecord)
        os.kill(record.reaper_pid, signal.SIGKILL)
        daemon.kill()
        await daemon.wait()
        assert await end_orphans(folder, lambda runner: False) == 0
        assert file.exists()
        assert await end_orphans(folder, of_killed) == 1
        assert_gone(told)
    assert list(folder.iterdir()) == []


@linux_only
async def test_a_running_agent_is_recorded_for_its_user_alone_until_it_has_ended(folder: Path) -> None:
    agent = msgspec.convert(scripted(), AgentConfig)
    process = await AgentProcess.start(agent, lambda *_: None, records=Records(folder, "mine"))
    try:
        [file] = folder.iterdir()
        record = msgspec.json.decode(file.read_bytes(), type=AgentRecord)
        assert (record.mark, record.runner, record.boot_id) == (process.mark, "mine", boot_id())
        assert record.start_time == start_time(record.pid) != ""
        assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(file.stat().st_mode)) == (0o700, 0o600)
    finally:
        await process.end()
    assert list(folder.iterdir()) == []


@linux_only
async def test_an_agent_whose_reaper_was_killed_is_ended_with_its_tools(folder: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    agent = msgspec.convert(scripted("children", PIDS=str(pids)), AgentConfig)
    process = await AgentProcess.start(agent, lambda *_: None, records=Records(folder, "mine"))
    await process.connection.call("initialize", {"clientInfo": {"name": "x"}}, PATIENCE)
    [file] = folder.iterdir()
    os.kill(msgspec.json.decode(file.read_bytes(), type=AgentRecord).reaper_pid, signal.SIGKILL)
    await process.end()
    assert_gone(pids.read_text())
    assert list(folder.iterdir()) == []


async def test_a_program_that_cannot_be_started_leaves_no_record(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/nowhere/node\n")
    program.chmod(0o755)
    with pytest.raises(Exception, match="interpreter"):
        await AgentProcess.start(AgentConfig(str(program)), lambda *_: None, records=Records(folder, "mine"))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("started", ["1", "", "Thu Jan  1 00:00:00 1970"])
async def test_a_record_with_an_id_that_another_process_has_now_kills_nobody(
    folder: Path, other: "subprocess.Popen[bytes]", started: str
) -> None:
    file = write(folder, pid=other.pid, startTime=started)
    assert await end_orphans(folder, of_killed) == 1
    assert not file.exists()


async def test_an_agent_that_hides_its_environment_is_found_by_its_id_and_start_time(folder: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as agent:  # noqa: ASYNC220
        write(folder, pid=agent.pid, startTime=start_time(agent.pid))
        await end_orphans(folder, of_killed)
        await asyncio.to_thread(assert_end, str(agent.pid))


async def test_a_record_of_another_boot_is_only_removed(folder: Path, other: "subprocess.Popen[bytes]") -> None:
    file = write(folder, bootId="another", pid=other.pid, startTime=start_time(other.pid))
    assert await end_orphans(folder, of_killed) == 0
    assert not file.exists()


async def test_there_may_be_no_records(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await end_orphans(folder, of_killed) == 0
    assert caplog.records == []


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"mark":',
    "deep": b"[" * 4096,
    "not UTF-8": b'{"mark":"\xff"}',
    "an array": b"[]",
    "all processes": json.dumps(
        {"mark": MARK, "runner": "killed", "bootId": boot_id(), "reaperPid": 1, "pid": -1}
    ).encode(),
    "a huge id": json.dumps(
        {"mark": MARK, "runner": "killed", "bootId": boot_id(), "reaperPid": 1, "pid": 2**64}
    ).encode(),
    "another mark": json.dumps({"mark": "x", "runner": "killed", "bootId": boot_id(), "reaperPid": 1}).encode(),
    "too long": b" " * 5000 + b"{}",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_broken_record_is_removed_with_a_warning(
    folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    file = folder / f"{MARK}.json"
    file.write_bytes(content)
    assert await end_orphans(folder, of_killed) == 0
    assert not file.exists()
    [told] = caplog.records
    assert (told.levelno, str(file) in told.getMessage()) == (logging.WARNING, True)


async def test_what_is_no_file_is_neither_read_nor_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    real = write(tmp_path)
    (folder / f"{MARK}.json").symlink_to(real)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    assert await end_orphans(folder, of_killed) == 0
    assert [path.name for path in folder.iterdir()] == ["folder.json"]
    assert real.exists()


def test_a_daemon_is_alive_for_others_before_it_starts_an_agent_ahead_of_the_first_prompt(tmp_path: Path) -> None:
    started, data_dir = tmp_path / "started", tmp_path / "data"
    os.mkfifo(started)
    data_dir.mkdir()
    config = {"command": "/bin/sh", "args": ["-c", 'echo > "$0"; exec cat > /dev/null', str(started)]}
    (data_dir / "agents.json").write_text(json.dumps({"agents": {"it": config}}))
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path=str(tmp_path))
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("AssignAgent", threadId="t", agent="it")
        assert started.read_text() == "\n"
        [record] = (data_dir / "agents").glob("*.json")
        runner = json.loads(record.read_bytes())["runner"]
        assert (data_dir / "runners" / f"{runner}.lock").exists()
