"""Which values of a command are texts, so that secrets in them are redacted."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain.redaction import KEY, Redactor

TEXTS: Final[dict[type[c.Command], tuple[str, ...]]] = {
    c.CreateProject: ("name",),
    c.UpdateProject: ("name",),
    c.CreateThread: ("title",),
    c.RenameThread: ("title",),
    c.StartTurn: ("prompt", "content"),
    c.CompleteTurn: ("usage",),
    c.FailTurn: ("error",),
    c.InterruptTurn: ("reason",),
    c.AddMessage: ("text", "content"),
    c.AppendMessage: ("text",),
    c.RecordActivity: ("title", "detail"),
    c.UpdateActivity: ("title", "detail"),
    c.RequestApproval: ("title", "options", "detail"),
    c.ResolveApproval: ("content",),
    c.CreateCheckpoint: ("message",),
    c.FailCheckpoint: ("reason",),
    c.ChangeSetting: ("value",),
    ac.ForkThread: ("title",),
    ac.QueuePrompt: ("text", "content"),
    ac.EditPrompt: ("text", "content"),
    ac.PauseQueue: ("reason",),
    ac.OpenSession: ("capabilities", "options"),
    ac.ChangeSession: ("options",),
    ac.EndSession: ("reason", "stderr"),
    ac.LoseContext: ("reason",),
    ac.RequireAuth: ("reason", "methods"),
}
"""The fields that are redacted: what people and agents wrote, and free JSON.

All others stay as they are: what programs compare or open. An id, a path, a git ref, a word, the choice of an option
and the pattern of a rule would mean something else, or nothing.
"""


def redacted(command: c.Command, redactor: Redactor) -> c.Command:
    """The command without secrets; the same one if it has none."""
    if isinstance(command, c.ChangeSetting) and command.key == KEY:
        return command
    return with_texts(command, redactor.text)


def with_texts(command: c.Command, change: Callable[[str], str]) -> c.Command:
    """The command with its texts changed."""
    changes = {}
    for name in TEXTS.get(type(command), ()):
        before = getattr(command, name)
        if before is not None and (after := changed_texts(before, change)) is not before:
            changes[name] = after
    return msgspec.structs.replace(command, **changes) if changes else command


def changed_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all texts in it changed; the same one if none is. The names of members are no texts, nor is the
    data of images and sounds: base64, in which anything may be found by chance."""
    if isinstance(value, str):
        after = change(value)
        return value if after == value else after
    if isinstance(value, dict):
        members = {name: item if _is_data(value, name) else changed_texts(item, change) for name, item in value.items()}
        return members if any(members[name] is not item for name, item in value.items()) else value
    if isinstance(value, list):
        items = [changed_texts(item, change) for item in value]
        return items if any(map(_is_other, items, value)) else value
    if isinstance(value, c.ApprovalOption):
        name = changed_texts(value.name, change)
        return value if name is value.name else msgspec.structs.replace(value, name=name)
    return value


def _is_data(block: dict[str, Any], name: str) -> bool:
    return name == "data" and block.get("type") in ("image", "audio")


def _is_other(after: Any, before: Any) -> bool:
    return after is not before
