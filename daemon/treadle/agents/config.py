"""`agents.json`: the agents that can be run, in the shape that Zed and JetBrains use, and how they are run.

A file in the user's configuration folder, and one in the data directory, whose agents replace those of the same name.
It may hold keys: nothing of it is logged, and messages name members but never values.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from treadle.domain.ids import Id

JsonPath = tuple[str | int, ...]
Lines = Iterator[tuple[JsonPath, int]]


class BadConfig(ValueError):
    """A file is not a valid agents.json. The message names the file, the line and the member."""


class AgentConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """How one agent is started.

    command: a path, or a name to be found on PATH. env: variables besides those of treadle. mode, options, mcp_servers:
    of each new session; the servers as in the protocol's session/new.
    """

    command: Annotated[str, Meta(min_length=1)]
    args: list[str] = []
    env: dict[str, str] = {}
    mode: str | None = None
    options: dict[str, str | bool] = {}
    mcp_servers: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        """Without the variables and arguments, which may be secret."""
        return f"AgentConfig({self.command!r})"


class Configured(Struct, frozen=True):
    """An agent, its name, and the file that it is configured in."""

    name: str
    config: AgentConfig
    file: Path


Amount = Annotated[float, Meta(gt=0)] | None
Count = Annotated[int, Meta(gt=0)]


class TurnBudget(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What one turn may use. cost: in the currency that the agent reports. None: no limit."""

    cost: Amount = None
    tokens: Count | None = None
    minutes: Amount = None


class ThreadBudget(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What all turns of a thread may use together. cost: in the currency that the agent reports. None: no limit."""

    cost: Amount = None
    tokens: Count | None = None


class Budget(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What agents may use."""

    turn: TurnBudget = TurnBudget()
    thread: ThreadBudget = ThreadBudget()


class RunnerConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How agents are run.

    idle_minutes: after which an agent without work is ended. start_seconds, open_seconds: for which an agent may be
    silent before it answers `initialize`, and before it has opened a session (it waits for MCP servers). steer_seconds:
    in which it has to answer whether it takes a prompt into its turn. cancel_seconds: in which a cancelled turn has to
    end, else the agent is ended. max_processes: agents at the same time.
    """

    start_seconds: Annotated[float, Meta(gt=0)] = 60
    open_seconds: Annotated[float, Meta(gt=0)] = 120
    steer_seconds: Annotated[float, Meta(gt=0)] = 15
    idle_minutes: Annotated[float, Meta(gt=0)] = 10
    cancel_seconds: Annotated[float, Meta(gt=0)] = 15
    max_processes: Count = 8
    budget: Budget = Budget()


class _File(Struct, forbid_unknown_fields=True):
    agents: dict[str, Raw] = {}
    runner: Raw = Raw(b"{}")


class _Content(Struct, frozen=True):
    """What is in a file. runner: only the members that it has."""

    agents: list[Configured]
    runner: dict[str, Any]


def read_agents(*files: Path) -> list[Configured]:
    """The agents of all files that exist, by name. A later file takes precedence. Raises BadConfig and OSError."""
    found = {agent.name: agent for file in files for agent in _read(file).agents}
    return [found[name] for name in sorted(found)]


def read_runner(*files: Path) -> RunnerConfig:
    """The `runner` sections of all files that exist, as one. Each member of a later file takes precedence; a null
    takes a limit away. Raises BadConfig and OSError."""
    members: dict[str, Any] = {}
    for file in files:
        members = _merged(members, _read(file).runner)
    return msgspec.convert(members, RunnerConfig)


def _merged(members: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    both = {k: _merged(members[k], v) for k, v in later.items() if k in members and isinstance(v, dict)}
    return {**members, **later, **both}


def add_agent(file: Path, name: str, config: AgentConfig) -> bool:
    """Write an agent into a file; return whether it replaces one. Raises BadConfig and OSError."""

    def add(agents: dict[str, Any]) -> bool:
        is_there = name in agents
        agents[name] = msgspec.to_builtins(config)
        return is_there

    return _change(file, add)


def remove_agent(file: Path, name: str) -> bool:
    """Remove an agent from a file; return whether it was there. Raises BadConfig and OSError."""
    return _change(file, lambda agents: agents.pop(name, None) is not None)


def _text(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b"{}"


def _read(file: Path) -> _Content:
    return _parse(file, _text(file))


def _parse(file: Path, text: bytes) -> _Content:
    path: JsonPath = ()
    try:
        text.decode()
        content = msgspec.json.decode(text, type=_File)
        agents: list[Configured] = []
        for name, raw in content.agents.items():
            path = "agents", name
            msgspec.convert(name, Id)
            agents.append(Configured(name, msgspec.json.decode(raw, type=AgentConfig), file))
        path = ("runner",)
        msgspec.json.decode(content.runner, type=RunnerConfig)
        return _Content(agents, msgspec.json.decode(content.runner))
    except msgspec.ValidationError as error:
        raise _invalid(file, text, path, str(error)) from None
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise BadConfig(f"{file}, line {line}: not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        at = re.search(r"\(byte (\d+)\)", str(error))
        line = text.count(b"\n", 0, int(at[1]) if at else len(text)) + 1
        raise BadConfig(f"{file}, line {line}: {error}") from None


def _change(file: Path, change: Callable[[dict[str, Any]], bool]) -> bool:
    """Change the agents of a file, and write it if there is something to write. Other members stay as they are."""
    _read(file)
    content: dict[str, Any] = msgspec.json.decode(_text(file))
    agents = content.setdefault("agents", {})
    before = dict(agents)
    result = change(agents)
    if agents != before:
        text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
        _parse(file, text)
        _write(file.resolve(), text)
    return result


def _write(file: Path, text: bytes) -> None:
    """Replace a file in one step. Only its owner may read it."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with open(descriptor, "wb") as new:
            new.write(text)
            new.flush()
            os.fsync(descriptor)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink()
        raise


# Where an error is

_PLACE = re.compile(r"^(.*?)(?: - at `(?:key` in `)?\$(.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_UNKNOWN = re.compile(r"unknown field `(.*)`")
_GOT = re.compile(r"got `(.*)`")
_KINDS = {int: "int", float: "float", bool: "bool", str: "str", type(None): "null", dict: "object", list: "array"}
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _invalid(file: Path, text: bytes, path: JsonPath, message: str) -> BadConfig:
    """The error for a message of msgspec about the value at `path`."""
    reason, place = _PLACE.findall(message)[0]
    path += tuple(int(index) if index else name for name, index in _STEP.findall(place.partition("[...]")[0]))
    if unknown := _UNKNOWN.search(reason):
        path += (unknown[1],)
    elif place.endswith("[...]") and (got := _GOT.search(reason)):  # of an object's members; msgspec names none
        members = reduce(getitem, path, msgspec.json.decode(text))
        path += next(((name,) for name, value in members.items() if _KINDS[type(value)] == got[1]), ())
    try:
        lines = dict(_lines(text))
    except RecursionError:  # it is nested too deeply for us, not for msgspec
        lines = {(): 1}
    known = next(path[:length] for length in range(len(path), -1, -1) if path[:length] in lines)
    member = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    shown = "".join(one if one.isprintable() else "\ufffd" for one in member)  # it is printed in a terminal
    return BadConfig(f"{file}, line {lines[known]}: {shown or 'the file'}: {reason}")


def _lines(text: bytes) -> Lines:
    """The path and the line of each value in a valid JSON text."""
    tokens = ((match[0], text.count(b"\n", 0, match.start()) + 1) for match in _TOKEN.finditer(text))
    return _walk(tokens, (), *next(tokens))


def _walk(tokens: Iterator[tuple[bytes, int]], path: JsonPath, token: bytes, line: int) -> Lines:
    yield path, line
    if token == b"{":
        for key, _ in tokens:
            if key == b"}":
                return
            if key != b",":
                next(tokens)  # the colon
                yield from _walk(tokens, (*path, msgspec.json.decode(key)), *next(tokens))
    elif token == b"[":
        index = 0
        for item, item_line in tokens:
            if item == b"]":
                return
            if item != b",":
                yield from _walk(tokens, (*path, index), item, item_line)
                index += 1
