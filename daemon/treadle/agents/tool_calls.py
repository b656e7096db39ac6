"""What a tool call of an agent is about to touch: its paths and its command, as far as the agent says.

`locations`, `content` and `kind` are those of the Agent Client Protocol. `rawInput` is free JSON: agents give the
arguments of their tool, and each has its own names for them.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from treadle.agents.shapes import Json, as_list, as_object, as_text

_PATH = re.compile(r"(path|file|filename|dir|directory|folder|cwd|uri|source|destination|src|dest)s?$")
"""The end of a member's name that holds a path, in lower case without `_` and `-`: `file_path`, `filePath`, `cwd`, …"""
_SEARCHED = frozenset({"pattern", "glob", "globpattern", "include"})
_LEAVES = re.compile(r"[/~]|(.*/)?\.\.(/|$)")  # a pattern of a search that looks outside the folder of the search
_UNSURE = re.compile(r"[~$]|.*(\\|://|, )")

_COMMANDS = frozenset({"command", "commands", "cmd", "argv", "script"})
_ALTERS = frozenset({"arguments", "env", "environment", "stdin", "input", "shell"})
# The editor of Anthropic's models, which several agents have, calls what it does a command.
_EDITING = frozenset({"view", "create", "write", "str_replace", "insert", "undo_edit"})


def paths_of(call: Json) -> list[str]:
    """Return every path that the tool call names, once each, as the agent wrote it: absolute or relative.

    They are in `locations`, in the diffs of `content` and in `rawInput`, at any depth; the folder in which a command is
    to run is one of them.
    """
    found = [as_object(part).get("path") for name in ("locations", "content") for part in as_list(call.get(name))]
    for name, value in _members(call.get("rawInput")):
        plain = re.sub("[_-]", "", name.lower())
        if plain == "changes":  # codex: an object with a path for each change
            found += as_object(value)
        elif _PATH.search(plain):
            found += as_list(value)
        elif plain in _SEARCHED:
            found += [text for text in as_list(value) if isinstance(text, str) and _LEAVES.match(text)]
    return list(dict.fromkeys(_without_scheme(path) for path in found if isinstance(path, str) and path))


def is_certain(path: str) -> bool:
    """Return whether the text can only mean one path.

    OpenCode lists the files of a patch as one text, with `, ` between them. Some tools expand `~` and `$`.
    """
    return path.isprintable() and _UNSURE.match(path) is None


def command_of(call: Json) -> Any:
    """Return the command of the tool call, a text or a list of words, or None unless there is exactly one and nothing
    beside it alters what it does. It is not taken from the title, which may be shortened."""
    given = as_object(call.get("rawInput"))
    members = [name.lower() for name, value in _members(given) if value]
    commands = [value for name, value in given.items() if name.lower() in _COMMANDS]
    if len(commands) != 1 or _ALTERS.intersection(members) or sum(name in _COMMANDS for name in members) > 1:
        return None
    arguments = given.get("args")
    return [*as_list(commands[0]), *as_list(arguments)] if arguments else commands[0]


def commands_of(call: Json) -> list[str]:
    """Return every text in the tool call that may be a command for a shell. A list of words is quoted as one."""
    given = call.get("rawInput")
    found = [given] if isinstance(given, str) else []
    for name, value in _members(given):
        if name.lower() in _COMMANDS | {"args"}:
            words = [word for word in as_list(value) if isinstance(word, str)]
            found += [value] if isinstance(value, str) else [shlex.join(words)]
    if isinstance(given, dict) and given.get("args"):
        words = [*as_list(given.get("command")), *as_list(given["args"])]
        found.append(shlex.join(word for word in words if isinstance(word, str)))
    return [text for text in found if text and text not in _EDITING]


def kind_of_call(call: Json) -> str:
    """Return the kind of the tool call; `other` if it has none, as in the Agent Client Protocol."""
    return as_text(call.get("kind"), "other")


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the members of the objects in a JSON value, at any depth."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            yield from value.items()
            values += value.values()
        elif isinstance(value, list):
            values += value


def _without_scheme(path: str) -> str:
    if not path.lower().startswith("file://"):
        return path
    _host, slash, rest = path[len("file://") :].partition("/")
    return unquote(slash + rest)
