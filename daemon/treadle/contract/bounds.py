"""How large one value of a command may be."""

from typing import Final

import msgspec

from treadle.contract.errors import invalid_params
from treadle.domain.commands import Command

MAX_VALUE_BYTES: Final = 8 * 1024 * 1024
"""The limit of one text (in UTF-8) or one free JSON value (as compact JSON): `text`, `detail`, `value`, …"""


def require_bounded(command: Command, path: str) -> None:
    """Check the size of each value. path: where the command is in the params. Raises RpcError, invalid params."""
    for field in msgspec.structs.fields(command):
        value = getattr(command, field.name)
        size = len(value.encode() if isinstance(value, str) else msgspec.json.encode(value))
        if size > MAX_VALUE_BYTES:
            reason = f"the value has {size} bytes, and may have {MAX_VALUE_BYTES}: shorten it or keep it in a file"
            raise invalid_params(reason, f"{path}.{field.encode_name}")
