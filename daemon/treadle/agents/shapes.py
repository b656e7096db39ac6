"""Reading the free JSON of the Agent Client Protocol (https://agentclientprotocol.com/protocol/v1/schema).

What is missing, or not what the schema says, is read as absent: agents differ, and a recording is not sent again.
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
    """The JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any, default: str) -> str:
    """The text, or the default where it is none or empty."""
    return value if isinstance(value, str) and value else default


def fitting(native: str) -> str:
    """The agent's id as it is, or one that treadle takes and that is like it."""
    if re.match(ID_PATTERN, native):
        return native
    like = re.sub(r"[^A-Za-z0-9._:-]", "_", native)[:64]
    return f"{like}-{hashlib.sha256(native.encode()).hexdigest()[:16]}"


def update_of(message: Json) -> Json:
    """The update that a session/update tells; empty for any other message."""
    return as_object(as_object(message.get("params")).get("update"))


def source_of(update: Json) -> tuple[str, Any]:
    """What chunks of one text have in common: the kind, and the message's id if there is one."""
    return as_text(update.get("sessionUpdate"), "update")[:128], update.get("messageId")


def text_of(update: Json) -> str | None:
    """The text of a chunk, or None where its content is something else."""
    content = as_object(update.get("content"))
    text = content.get("text")
    return text if content.get("type") == "text" and isinstance(text, str) else None


def shown(block: Any) -> str:
    """A content block in a line of text: its text, where it is, or what it is."""
    block = as_object(block)
    kind = as_text(block.get("type"), "content")
    if kind == "text":
        return as_text(block.get("text"), "")
    return as_text(block.get("uri"), as_text(as_object(block.get("resource")).get("uri"), f"[{kind}]"))


def status_of(call: Json) -> ActivityStatus:
    """A tool call's status in treadle's words; one of a later schema goes on until the turn ends."""
    return _STATUSES.get(as_text(call.get("status"), "pending"), "running")


def option_id(option: Json) -> str:
    """The optionId of an option or of an outcome, of a length that treadle takes."""
    id = as_text(option.get("optionId"), "")
    return id if 1 <= len(id) <= 128 else fitting(id)


def sentence(error: Any) -> str:
    """A JSON-RPC error for people: `Internal error` alone says nothing, its data often does."""
    message, data = as_text(as_object(error).get("message"), "the agent failed"), as_object(error).get("data")
    return message if data is None else f"{message}: {msgspec.json.encode(data).decode()}"
