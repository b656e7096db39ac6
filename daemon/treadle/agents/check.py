"""Checks an agent: starts it, sends `initialize`, and ends it. Never logs in, which may open a browser."""

from typing import Any

from msgspec import Struct

from treadle import __version__
from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig
from treadle.agents.connection import AgentConnection, AgentFailed
from treadle.agents.process import AgentProcess
from treadle.agents.shapes import Agent

PROTOCOL_VERSION = 1
"""Some agents speak version 2 to a client that asks for more than 1."""

INITIALIZE: dict[str, Any] = {
    "protocolVersion": PROTOCOL_VERSION,
    "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
    "clientInfo": {"name": "treadle", "title": "treadle", "version": __version__},
}


class Checked(Struct, frozen=True):
    """The result of a check. agent: None if it failed. stderr: its last lines. problems: what it wrote that is not a
    message."""

    agent: Agent | None = None
    error: str | None = None
    stderr: list[str] = []
    problems: list[str] = []


async def check_agent(config: AgentConfig, patience: float) -> Checked:
    """Start the agent, ask what it is, and end it. patience: for how many seconds it may be silent."""
    try:
        process = await AgentProcess.start(config, _refuse)
    except AgentFailed as error:
        return Checked(error=str(error))
    agent = failure = None
    try:
        agent = await initialize(process.connection, patience)
    except AgentFailed as error:
        failure = str(error)
    finally:
        await process.end()
    return Checked(agent, failure, process.stderr, list(process.connection.problems))


async def initialize(connection: AgentConnection, patience: float) -> Agent:
    """Send `initialize` and return what the agent says of itself. Raises AgentFailed."""
    result = await connection.call("initialize", INITIALIZE, patience)
    version = result.get("protocolVersion")
    if version != PROTOCOL_VERSION:
        said = f"version {version}" if isinstance(version, int) else "no version"
        raise AgentFailed(f"the agent speaks {said} of ACP, treadle speaks version {PROTOCOL_VERSION}")
    agent = Agent()
    agent.introduce(result)
    return agent


def _refuse(connection: AgentConnection, message: AgentMessage) -> None:
    if message.id:
        connection.refuse(message)
