"""Reads the JSON of the Agent Client Protocol leniently (https://agentclientprotocol.com/protocol/v1/schema).

A member that is missing, or that does not match the schema, is treated as absent: agents differ, and a recording
cannot be sent again.
"""

import hashlib
import re
from typing import Any

import msgspec

from treadle.domain.ids import ID_PATTERN, ActivityStatus

Json = dict[str, Any]

_STATUSES: dict[str, ActivityStatus] = {
    "pending": "pending",
    "in_progress": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
}


def as_object(value: Any) -> Json:
    """Return the JSON object, or an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any, default: str) -> str:
    """Return the text, or the default if the value is not a string or is empty."""
    return value if isinstance(value, str) and value else default


def fitting(native: str) -> str:
    """Return the agent's id, or a similar one if treadle does not accept it."""
    if re.match(ID_PATTERN, native):
        return native
    like = re.sub(r"[^A-Za-z0-9._:-]", "_", native)[:64]
    return f"{like}-{hashlib.sha256(native.encode()).hexdigest()[:16]}"


def update_of(message: Json) -> Json:
    """Return the update of a session/update; an empty object for any other message."""
    return as_object(as_object(message.get("params")).get("update"))


def source_of(update: Json) -> tuple[str, Any]:
    """Return what all chunks of one text have in common: the kind, and the message id if there is one."""
    return as_text(update.get("sessionUpdate"), "update")[:128], update.get("messageId")


def text_of(update: Json) -> str | None:
    """Return the text of a chunk, or None if its content is not text."""
    content = as_object(update.get("content"))
    text = content.get("text")
    return text if content.get("type") == "text" and isinstance(text, str) else None


def shown(block: Any) -> str:
    """Return a content block as text: its text, its URI, or its kind in brackets."""
    block = as_object(block)
    kind = as_text(block.get("type"), "content")
    if kind == "text":
        return as_text(block.get("text"), "")
    return as_text(block.get("uri"), as_text(as_object(block.get("resource")).get("uri"), f"[{kind}]"))


def status_of(call: Json) -> ActivityStatus:
    """Return treadle's status for a tool call. An unknown status counts as running until the turn ends."""
    return _STATUSES.get(as_text(call.get("status"), "pending"), "running")


def option_id(option: Json) -> str:
    """Return the optionId of an option or outcome, shortened to a length that treadle accepts."""
    id = as_text(option.get("optionId"), "")
    return id if 1 <= len(id) <= 128 else fitting(id)


def sentence(error: Any) -> str:
    """Return a JSON-RPC error as one sentence, including its data: `Internal error` alone explains nothing."""
    message, data = as_text(as_object(error).get("message"), "the agent failed"), as_object(error).get("data")
    return message if data is None else f"{message}: {msgspec.json.encode(data).decode()}"
