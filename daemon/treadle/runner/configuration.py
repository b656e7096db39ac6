"""`agents.json` as a daemon uses it: read again once it has changed."""

from collections.abc import Sequence
from pathlib import Path

from treadle.agents.config import AgentConfig, BadConfig, RunnerConfig, read_agents, read_runner
from treadle.agents.connection import AgentFailed


class Configuration:
    """What the files say now. The last one takes precedence."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._version: object = None
        self._agents: dict[str, AgentConfig] = {}
        self._runner = RunnerConfig()
        self._failure = ""

    def agent(self, name: str) -> AgentConfig:
        """The configuration of an agent. Raises AgentFailed."""
        self._read()
        if self._failure:
            raise AgentFailed(self._failure)
        if name not in self._agents:
            raise AgentFailed(f"agent {name!r} is not configured: treadle agents add {name}")
        return self._agents[name]

    def runner(self) -> RunnerConfig:
        """How agents are run. While a file is invalid no agent starts, and what it said before counts."""
        self._read()
        return self._runner

    def _read(self) -> None:
        version = [_version(file) for file in self._files]
        if version != self._version:
            self._version, self._failure = version, ""
            try:
                self._agents = {agent.name: agent.config for agent in read_agents(*self._files)}
                self._runner = read_runner(*self._files)
            except (BadConfig, OSError) as error:
                self._failure = str(error)


def _version(file: Path) -> tuple[int, int, int] | None:
    """Changes when the file does."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
