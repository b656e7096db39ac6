"""What the types of a command cannot say: how large one value may be, and that a date exists."""

from datetime import datetime
from typing import Final

import msgspec

from treadle.contract.errors import invalid_params
from treadle.domain.commands import Command

MAX_VALUE_BYTES: Final = 8 * 1024 * 1024
"""The limit of one text (in UTF-8) or one free JSON value (as compact JSON): `text`, `detail`, `value`, …"""


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
    for field in msgspec.structs.fields(command):
        value = getattr(command, field.name)
        size = len(value.encode() if isinstance(value, str) else msgspec.json.encode(value))
        if size > MAX_VALUE_BYTES:
            reason = f"the value has {size} bytes, and may have {MAX_VALUE_BYTES}: shorten it or keep it in a file"
            raise invalid_params(reason, f"{path}.{field.encode_name}")
