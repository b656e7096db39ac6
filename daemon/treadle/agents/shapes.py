"""Reads the JSON of the Agent Client Protocol leniently (https://agentclientprotocol.com/protocol/v1/schema).

A member that is missing, or that does not match the schema, is treated as absent: agents differ, and a recording
cannot be sent again.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from treadle.domain.ids import ID_PATTERN, ActivityStatus

Json = dict[str, Any]

_STATUSES: dict[str, ActivityStatus] = {
    "pending": "pending",
    "in_progress": "running",
    "completed": "completed",
    "failed": "failed",
}
_ERROR_KINDS = {
    -32800: "cancelled",
    -32603: "internal_error",
    -32602: "invalid_params",
    -32600: "invalid_request",
    -32002: "resource_not_found",
    -32000: "auth_required",
}
MAX_BLOCKS = 1_000  # content blocks of one message


class Agent(Struct):
    """What an agent said of itself in `initialize`. version: of the protocol. release: of the agent. auth_methods: the
    ways to log in. meta: its extensions of the protocol."""

    name: str = "acp"
    version: int = 1
    title: str | None = None
    release: str | None = None
    capabilities: Json = {}
    auth_methods: list[Json] = []
    meta: Json = {}

    def introduce(self, result: Json) -> None:
        """Take over the result of `initialize`, of either version of the protocol."""
        info = as_object(result.get("agentInfo", result.get("info")))
        self.name = as_text(info.get("name"), "acp")[:128]
        self.title, self.release = as_text(info.get("title"), "") or None, as_text(info.get("version"), "") or None
        version = result.get("protocolVersion")
        self.version = version if isinstance(version, int) else 1
        self.capabilities = as_object(result.get("agentCapabilities", result.get("capabilities")))
        self.meta = as_object(result.get("_meta"))
        methods = result.get("authMethods")
        self.auth_methods = [as_object(method) for method in methods] if isinstance(methods, list) else []


def as_object(value: Any) -> Json:
    """Return the JSON object, or an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any, default: str) -> str:
    """Return the text, or the default if the value is not a string or is empty."""
    return value if isinstance(value, str) and value else default


def digest(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a JSON value, with its keys sorted."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


def fitting(native: str) -> str:
    """Return the agent's id, or a similar one if treadle does not accept it."""
    if re.match(ID_PATTERN, native):
        return native
    like = re.sub(r"[^A-Za-z0-9._:-]", "_", native)[:64]
    return f"{like}-{hashlib.sha256(native.encode()).hexdigest()[:16]}"


def update_of(message: Json) -> Json:
    """Return the update of a session/update; an empty object for any other message."""
    return as_object(as_object(message.get("params")).get("update"))


def kind_of(update: Json) -> str:
    """Return the kind of an update, shortened to a length that treadle accepts."""
    return as_text(update.get("sessionUpdate"), "update")[:128]


def members_of(update: Json, version: int) -> Json:
    """Return what an update says to change. A null means "not changed" in version 1, and "removed" in version 2."""
    return {k: v for k, v in update.items() if k != "sessionUpdate" and (v is not None or version > 1)}


def text_of(block: Any) -> str | None:
    """Return the text of a content block, or None if it is not text."""
    block = as_object(block)
    text = block.get("text")
    return text if block.get("type") == "text" and isinstance(text, str) else None


def texts_of(blocks: list[Any], between: str = "\n") -> str | None:
    """Return the text of content blocks, joined, or None if one of them is not text."""
    texts = [text for block in blocks if (text := text_of(block)) is not None]
    return between.join(texts) if len(texts) == len(blocks) else None


def is_block(value: Any) -> bool:
    """Return whether a message of treadle accepts this content block."""
    kind = as_object(value).get("type")
    return isinstance(kind, str) and (kind != "text" or text_of(value) is not None)


def as_content(values: list[Any]) -> list[Json]:
    """Return content blocks as a message of treadle accepts them. What is not a block becomes a text with its JSON."""
    if len(values) > MAX_BLOCKS:
        values = [*values[: MAX_BLOCKS - 1], values[MAX_BLOCKS - 1 :]]
    return [v if is_block(v) else {"type": "text", "text": msgspec.json.encode(v).decode()} for v in values]


def as_list(value: Any) -> list[Any]:
    """Return the content blocks of a prompt or message; a single one may stand without a list."""
    return value if isinstance(value, list) else [value]


def first_line(blocks: Iterable[Any]) -> str | None:
    """Return the first line with text in it. A block that is not text is shown by its URI or its kind in brackets."""
    for block in blocks:
        for line in _shown(block).splitlines():
            if line.strip():
                return line.strip()
    return None


def _shown(block: Any) -> str:
    text = text_of(block)
    if text is not None:
        return text
    block = as_object(block)
    uri = as_text(block.get("uri"), as_text(as_object(block.get("resource")).get("uri"), ""))
    return uri or f"[{as_text(block.get('type'), 'content')}]"


def status_of(word: Any) -> tuple[ActivityStatus, bool]:
    """Return the status of a tool call as treadle names it, and whether that says all that the word says.

    An unknown status counts as running until the turn ends.
    """
    if word == "cancelled":
        return "failed", False
    known = _STATUSES.get(word) if isinstance(word, str) else None
    return (known, True) if known else ("running", False)


def option_id(option: Json) -> str:
    """Return the optionId of an option or outcome, shortened to a length that treadle accepts."""
    id = as_text(option.get("optionId"), "")
    return id if 1 <= len(id) <= 128 else fitting(id)


def sentence(error: Any) -> str:
    """Return a JSON-RPC error as one sentence, including its data: `Internal error` alone explains nothing."""
    message, data = as_text(as_object(error).get("message"), "the agent failed"), as_object(error).get("data")
    return message if data is None else f"{message}: {msgspec.json.encode(data).decode()}"


def error_kind(error: Any) -> str | None:
    """Return the code of a JSON-RPC error as a word."""
    code = as_object(error).get("code")
    return _ERROR_KINDS.get(code, str(code)) if isinstance(code, int) else None
