"""Logs in to an agent: the ways that it offers, and what each of them takes.

https://agentclientprotocol.com/protocol/v1/authentication
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig
from treadle.agents.connection import AgentConnection, AgentRefused
from treadle.agents.environment import environment_for
from treadle.agents.process import AgentProcess, cannot_run, program_of
from treadle.agents.session import AUTH_REQUIRED, initialize, open_session
from treadle.agents.shapes import Agent, Json, as_object, as_text

ENDED = 5.0
"""Seconds in which a program on the terminal may end after Ctrl-C, which it got as well."""


class LoginMethod(Struct, frozen=True):
    """A way to log in. command: what is run on the user's terminal, with the variables in env; None if the agent does
    all of it when it is asked to."""

    id: str
    name: str
    about: str = ""
    command: tuple[str, ...] | None = None
    env: dict[str, str] = {}


def login_methods(agent: Agent, config: AgentConfig) -> list[LoginMethod]:
    """The ways to log in that an agent offers, without those that treadle does not know, such as setting a variable."""
    found = []
    for offered in agent.auth_methods:
        id, kind = as_text(offered.get("id"), ""), as_text(offered.get("type"), "agent")
        if not id or kind not in ("agent", "terminal"):
            continue
        command, source = None, offered
        if kind == "terminal":
            command = (config.command, *config.args, *_texts(offered.get("args")))
        else:  # what agents offered before the protocol had it
            source = as_object(as_object(offered.get("_meta")).get("terminal-auth"))
            if program := as_text(source.get("command"), ""):
                command = (program, *_texts(source.get("args")))
        more = {name: value for name, value in as_object(source.get("env")).items() if isinstance(value, str)}
        name, about = as_text(offered.get("name"), id), as_text(offered.get("description"), "")
        found.append(LoginMethod(id, name, about, command, {**config.env, **more}))
    return found


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


async def authenticate(config: AgentConfig, method: LoginMethod, patience: float, told: Callable[[str], None]) -> None:
    """Ask the agent to log in, and wait for as long as it takes: it may open a browser.

    patience: for how many seconds the agent may be silent before that. told: gets the lines that it writes besides
    messages. If this is cancelled, all that the agent has started is ended; else a browser stays. Raises AgentFailed.
    """

    def received(connection: AgentConnection, message: AgentMessage) -> None:
        if message.method == "elicitation/create" and message.id:
            connection.respond(message.id, _shown(message, told))
        elif message.id:
            connection.refuse(message)

    process = await AgentProcess.start(config, received, told=told)
    is_done = False
    try:
        await initialize(process.connection, patience)
        await process.connection.call("authenticate", {"methodId": method.id}, None)
        is_done = True
    finally:
        await (process.leave() if is_done else process.end())


def _shown(message: AgentMessage, told: Callable[[str], None]) -> Json:
    """Show an address that the agent asks the user to open; return the answer."""
    params = as_object(msgspec.json.decode(message.params)) if message.params else {}
    url = as_text(params.get("url"), "")
    if not url:
        return {"action": "decline"}  # a form
    told(f"{as_text(params.get('message'), 'open')}: {url}")
    return {"action": "accept"}


async def run_on_terminal(method: LoginMethod) -> int:
    """Run the command of a method on the terminal of this process; return its exit status, negative for a signal.

    It stays in our process group, which has the terminal, and has no mark: a browser that it opens stays. Raises
    AgentFailed.
    """
    assert method.command is not None
    environment = await environment_for(method.env)
    program = program_of(method.command[0], environment.get("PATH"), None)
    try:
        process = await asyncio.create_subprocess_exec(program, *method.command[1:], env=environment)
    except (OSError, ValueError) as error:
        raise cannot_run(program, error) from None
    try:
        return await process.wait()
    except asyncio.CancelledError:
        try:
            async with asyncio.timeout(ENDED):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        raise


async def refusal_of_session(config: AgentConfig, patience: float) -> str | None:
    """Start the agent again and open a session; return why that is impossible without a login, None if it is possible.

    Some agents notice a login only in a new process. Raises AgentFailed.
    """
    process = await AgentProcess.start(config, _refuse)
    try:
        await initialize(process.connection, patience)
        without_servers = msgspec.structs.replace(config, mcp_servers=[])
        await open_session(process.connection, without_servers, "new", str(Path.cwd()), None, patience, lambda: None)
    except AgentRefused as error:
        if error.code == AUTH_REQUIRED:
            return str(error)
        raise
    finally:
        await process.end()
    return None


def _refuse(connection: AgentConnection, message: AgentMessage) -> None:
    if message.id:
        connection.refuse(message)
