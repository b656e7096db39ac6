"""What tests of agents share: the scripted agent, `treadle agents` in its surroundings, and what is left."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wire import PATIENCE, TREADLE, run

SCRIPTED = Path(__file__).parent / "tools" / "scripted_agent" / "__main__.py"

Json = dict[str, Any]


def scripted(*behaviours: str, **env: str) -> Json:
    return {"command": sys.executable, "args": [str(SCRIPTED), *behaviours], "env": env}


class Surroundings:
    """A user's configuration folder and a data directory, and `treadle agents` with both."""

    def __init__(self, folder: Path) -> None:
        self.user = folder / "config" / "treadle" / "agents.json"
        self.data_dir = folder / "data"
        self.data = self.data_dir / "agents.json"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # else a shell may be asked
        self.env = {
            **os.environ,
            "PATH": path,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "share"),
        }

    def configure(self, **agents: Json) -> None:
        self.data_dir.mkdir(exist_ok=True)
        self.data.write_text(json.dumps({"agents": agents}))

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        done = run("agents", *arguments, env=self.env)
        assert "Traceback" not in done.stderr
        return done

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*TREADLE, "agents", *arguments], env=self.env, stdout=subprocess.DEVNULL)

    def checked(self, *behaviours: str, timeout: int = 60, **env: str) -> Json:
        """What `treadle agents --check` says of a scripted agent."""
        self.configure(it=scripted(*behaviours, **env))
        done = self.run("--data-dir", str(self.data_dir), "--check", "--json", "--timeout", str(timeout))
        answer: Json = json.loads(done.stdout)
        assert done.returncode == (0 if answer["error"] is None else 1), done.stderr
        assert done.stderr == ""
        return answer


@contextmanager
def sentinels() -> Iterator[None]:
    """Processes that nobody may end: one without a mark, and one with that of another agent."""
    others = [
        subprocess.Popen(["sleep", "600"], env={**os.environ, **mark}) for mark in ({}, {"TREADLE_AGENT": "other"})
    ]
    try:
        yield
        assert [other.poll() for other in others] == [None, None]
    finally:
        for other in others:
            other.kill()
            other.wait()


def assert_end(pids: str) -> None:
    """Wait for the end of processes that are not ours."""
    for pid in map(int, pids.split()):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], PATIENCE)[0], f"process {pid} is left"
        finally:
            os.close(descriptor)


def assert_gone(pids: str) -> None:
    """These have ended already."""
    for pid in map(int, pids.split()):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        assert state == "Z", f"process {pid} is left"  # dead, and its new parent has not noticed yet


linux_only = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="tools are found through /proc")
