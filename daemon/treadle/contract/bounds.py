"""What the types of a command cannot say: how large one value may be, and that a date exists."""

from datetime import datetime
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.contract.errors import invalid_params
from treadle.domain.commands import Command

MAX_VALUE_BYTES: Final = 8 * 1024 * 1024
"""The limit of one text (in UTF-8) or one free JSON value (as compact JSON): `text`, `detail`, `value`, …"""

MAX_DEPTH: Final = 128
"""The limit of nested arrays and objects in one body, including the array of a batch."""


def is_time(text: str) -> bool:
    """Whether the text is a moment in UTC: its date exists, which the pattern of Time cannot say."""
    try:
        return datetime.fromisoformat(text).tzname() == "UTC"
    except ValueError:
        return False


def require_bounded(command: Command, path: str) -> None:
    """Refuse a command with a value that is too large, or a date that does not exist. path: of the command.

    Raises RpcError, invalid params.
    """
    if command.at is not None and not is_time(command.at):
        raise invalid_params(f"{command.at} does not exist", f"{path}.at")
    for name, encoded in _fields(type(command)):
        size = _size(getattr(command, name))
        if size > MAX_VALUE_BYTES:
            reason = f"the value has {size} bytes, and may have {MAX_VALUE_BYTES}: shorten it or keep it in a file"
            raise invalid_params(reason, f"{path}.{encoded}")


@cache
def _fields(command: type[Command]) -> list[tuple[str, str]]:
    """The names of the fields, in Python and on the wire. msgspec takes 20 µs to say them."""
    return [(field.name, field.encode_name) for field in msgspec.structs.fields(command)]


def _size(value: Any) -> int:
    """The size of a value in bytes; of a short text, or of what is no text and no container, 0."""
    if isinstance(value, str):
        return len(value.encode()) if len(value) > MAX_VALUE_BYTES // 4 else 0
    return len(msgspec.json.encode(value)) if isinstance(value, dict | list | Struct) else 0
