"""Checks an agent: starts it, sends `initialize`, and ends it. Never logs in, which may open a browser."""

from msgspec import Struct

from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig
from treadle.agents.connection import AgentConnection, AgentFailed
from treadle.agents.process import AgentProcess
from treadle.agents.session import initialize
from treadle.agents.shapes import Agent


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


def _refuse(connection: AgentConnection, message: AgentMessage) -> None:
    if message.id:
        connection.refuse(message)
