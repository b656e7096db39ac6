"""What treadle says to an agent: it opens a session, chooses its options and answers its questions.

https://agentclientprotocol.com/protocol/v1/initialization, …/session-setup, …/session-config-options, …/elicitation
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from treadle import __version__
from treadle.agents.config import AgentConfig
from treadle.agents.connection import AgentConnection, AgentFailed, AgentRefused
from treadle.agents.shapes import Agent, Json, as_object, as_text, option_id
from treadle.domain.ids import How

PROTOCOL_VERSION = 1
"""Some agents speak version 2 to a client that asks for more than 1."""
INITIALIZE: Json = {
    "protocolVersion": PROTOCOL_VERSION,
    "clientCapabilities": {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
        "auth": {"terminal": True},
        "elicitation": {"form": {}, "url": {}},
        "session": {"configOptions": {"boolean": {}}},
        "_meta": {"terminal-auth": True},  # the same as auth.terminal, for agents from before August 2026
    },
    "clientInfo": {"name": "treadle", "title": "treadle", "version": __version__},
}
SET = 15.0
"""Seconds to change an option."""
AUTH_REQUIRED = -32000
STEERING = "_session/steering"
"""An extension of claude-agent-acp and codex-acp: a prompt goes into the running turn."""


class OpenedSession(Struct):
    """An open session. options: as the agent gave them, with the mode as one of them where the agent has only modes."""

    id: str
    options: list[Json]


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


def ways_of(agent: Agent, had_session: bool, is_fork: bool) -> tuple[How, ...]:
    """The ways to open a session, best first. Without an earlier session there is one.

    is_fork: the earlier session is that of another thread, which goes on by itself.
    """
    can = as_object(agent.capabilities.get("sessionCapabilities"))
    ways: list[How] = []
    if had_session and is_fork and can.get("fork") is not None:
        ways.append("fork")
    if had_session and not is_fork:
        if can.get("resume") is not None:
            ways.append("resume")
        if agent.capabilities.get("loadSession") is True:
            ways.append("load")
    return (*ways, "new")


def can_steer(agent: Agent) -> bool:
    """Whether the agent takes a prompt into the running turn."""
    return as_object(agent.meta.get("steering")).get("supported") is True


async def open_session(
    connection: AgentConnection,
    config: AgentConfig,
    how: How,
    folder: str,
    earlier: str | None,
    patience: float,
    answered: Callable[[], None],
) -> OpenedSession:
    """Open a session in the folder. earlier: the agent's id of the session to continue. patience: for how many seconds
    the agent may be silent. answered: is called when it answers, before it is heard further. Raises AgentFailed."""
    params: Json = {"cwd": folder, "mcpServers": config.mcp_servers}
    if how != "new":
        params["sessionId"] = earlier
    result = await connection.call(f"session/{how}", params, patience, answered)
    id = as_text(result.get("sessionId"), "") or (earlier if how in ("load", "resume") else "")
    if not id:
        raise AgentFailed(f"the agent answered session/{how} without the id of a session")
    return OpenedSession(id, options_in(result))


def options_in(result: Json) -> list[Json]:
    """The options in the answer that opened a session."""
    options = result.get("configOptions")
    found = [one for one in map(as_object, options) if one.get("id")] if isinstance(options, list) else []
    modes = as_object(result.get("modes"))
    if modes and all(option["id"] != "mode" for option in found):
        available = modes.get("availableModes")
        choices = [as_object(mode) for mode in available] if isinstance(available, list) else []
        found.append(
            {
                "id": "mode",
                "name": "Mode",
                "category": "mode",
                "type": "select",
                "currentValue": modes.get("currentModeId"),
                "options": [{"value": mode.get("id"), "name": mode.get("name")} for mode in choices],
                "_meta": {"treadle": {"method": "session/set_mode"}},
            }
        )
    return found


async def choose(connection: AgentConnection, session: OpenedSession, wanted: Mapping[str, str | bool]) -> None:
    """Give the session these options, where it has others. Raises AgentFailed."""
    for id, value in wanted.items():
        option = next((one for one in session.options if one["id"] == id), None)
        if option is None:
            known = ", ".join(str(one["id"]) for one in session.options) or "none"
            raise AgentFailed(f"the agent has no option {id!r}; its options: {known}")
        if option.get("currentValue") != value:
            try:
                await _set(connection, session, option, value)
            except AgentRefused as error:
                known = ", ".join(map(str, _values_of(option))) or "unknown"
                raise AgentFailed(f"option {id!r} cannot be {value!r}: {error}; its values: {known}") from None


def _values_of(option: Json) -> Iterator[Any]:
    """The values that an option may have, which may be in groups."""
    choices = option.get("options")
    for choice in map(as_object, choices if isinstance(choices, list) else []):
        yield from _values_of(choice) if "options" in choice else (choice.get("value"),)


async def _set(connection: AgentConnection, session: OpenedSession, option: Json, value: str | bool) -> None:
    params: Json = {"sessionId": session.id}
    if "treadle" in as_object(option.get("_meta")):
        await connection.call("session/set_mode", {**params, "modeId": value}, SET)
        option["currentValue"] = value
        return
    kind = {"type": "boolean"} if isinstance(value, bool) else {}
    params |= {"configId": option["id"], "value": value, **kind}
    result = await connection.call("session/set_config_option", params, SET)
    if "configOptions" in result:
        _renew(session, result)
    else:
        option["currentValue"] = value


def _renew(session: OpenedSession, told: Json) -> None:
    """Take over all options of the agent. They do not hold its modes, where it has only those."""
    found = options_in(told)
    modes = [one for one in session.options if one["id"] == "mode" and "treadle" in as_object(one.get("_meta"))]
    session.options[:] = found if any(one["id"] == "mode" for one in found) else found + modes


def note_update(session: OpenedSession, update: Json) -> bool:
    """Take over what an update says of the options; return whether it says something new."""
    before = [dict(option) for option in session.options]
    match update.get("sessionUpdate"):
        case "config_option_update":
            _renew(session, update)
        case "current_mode_update":
            for option in session.options:
                if option["id"] == "mode":
                    option["currentValue"] = update.get("currentModeId")
    return session.options != before


def permission_answer(request: Json, outcome: str | None) -> Json:
    """The answer to a session/request_permission. outcome: the id of an option as treadle has it; None: cancelled."""
    options = as_object(request.get("params")).get("options")
    for option in map(as_object, options if isinstance(options, list) else []):
        if outcome is not None and option_id(option) == outcome:
            return {"outcome": {"outcome": "selected", "optionId": option.get("optionId")}}
    return {"outcome": {"outcome": "cancelled"}}


def elicitation_answer(outcome: str | None, content: Any) -> Json:
    """The answer to an elicitation/create. content: what was filled in."""
    if outcome == "accept":
        return {"action": "accept", **({} if content is None else {"content": content})}
    return {"action": "decline" if outcome == "decline" else "cancel"}
