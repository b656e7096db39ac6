"""Messages of the Agent Client Protocol: JSON-RPC 2.0, one JSON text per line, without batches.

https://agentclientprotocol.com/protocol/v1/transports
"""

import msgspec
from msgspec import Raw, Struct

from treadle.contract.framing import Framing, frame
from treadle.contract.json_text import is_utf8, storable

EXCERPT = 80
"""Characters of an invalid line that are shown."""


class AgentMessage(Struct, frozen=True, gc=False):
    """A request (method and id), a notification (method), or an answer (id, and result or error).

    Members other than the method are JSON text, exactly as the agent wrote it, and empty if absent. Only half of a
    surrogate pair, which is not a character, is replaced by U+FFFD.
    """

    method: str = ""
    id: Raw = Raw()
    params: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()


class NotAMessage(ValueError):
    """A line that an agent wrote is not a message. The text says why, and shows how the line starts."""

    def __init__(self, reason: str, line: bytes) -> None:
        super().__init__(f"{reason}: {line[:EXCERPT].decode(errors='backslashreplace')}")


_DECODER = msgspec.json.Decoder(AgentMessage)


def decode_line(line: bytes) -> AgentMessage:
    """The message in a line. Raises NotAMessage."""
    try:
        if not is_utf8(line):
            raise NotAMessage("a line is not UTF-8", line)
        message = _decoded(line)
    except msgspec.ValidationError:
        is_batch = line.lstrip().startswith(b"[")
        raise NotAMessage("a line is a JSON array" if is_batch else "a line is not a message", line) from None
    except (msgspec.DecodeError, RecursionError):
        raise NotAMessage("a line is not JSON", line) from None
    if not (message.method or message.result or message.error):
        raise NotAMessage("a line is not a message", line)
    return message


def _decoded(line: bytes) -> AgentMessage:
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _DECODER.decode(storable(line))


def encode_request(id: int, method: str, params: object) -> bytes:
    """The line of a request."""
    return _line(id=id, method=method, params=params)


def encode_notification(method: str, params: object) -> bytes:
    """The line of a notification."""
    return _line(method=method, params=params)


def encode_result(id: Raw, result: object) -> bytes:
    """The line that answers a request of the agent. id: exactly as it came."""
    return _line(id=id, result=result)


def encode_error(id: Raw, code: int, message: str) -> bytes:
    """The line that refuses a request of the agent. id: exactly as it came."""
    return _line(id=id, error={"code": code, "message": message})


def _line(**members: object) -> bytes:
    return frame(Framing.LINES, msgspec.json.encode({"jsonrpc": "2.0", **members}))
