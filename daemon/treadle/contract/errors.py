"""The errors that a JSON-RPC answer can carry: one place for codes, kinds and their wording.

Codes: https://www.jsonrpc.org/specification#error_object (-32700 to -32600), the Language Server Protocol 3.17,
"ErrorCodes" (-32002, -32800), and the range that JSON-RPC leaves to a server (-32099 to -32000) for the rest.
"""

from typing import Final

import msgspec

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
OVERLOADED: Final = -32001
NOT_INITIALIZED: Final = -32002
REJECTED: Final = -32010
NOT_FOUND: Final = -32011
CONFLICT: Final = -32012
CANCELLED: Final = -32800


class ErrorObject(msgspec.Struct, frozen=True):
    """The `error` member of an answer: the code, a sentence for people, and data for programs.

    `data.kind` is always there and stable; what else `data` holds depends on the kind.
    """

    code: int
    message: str
    data: dict[str, object]


class RpcError(Exception):
    """What is answered instead of a result. `data["kind"]` is a stable camelCase word; the message may be reworded."""

    def __init__(self, code: int, message: str, data: dict[str, object]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __repr__(self) -> str:
        return f"RpcError({self.code}, {self.message!r}, {self.data!r})"

    def to_error(self) -> ErrorObject:
        """The error as it goes on the wire."""
        return ErrorObject(self.code, self.message, self.data)


def parse_error(reason: str) -> RpcError:
    """What came is not JSON, or no frame could be made of it. `data.reason` says where."""
    return RpcError(PARSE_ERROR, "Parse error", {"kind": "parseError", "reason": reason})


def invalid_request(reason: str) -> RpcError:
    """It is JSON, but no JSON-RPC 2.0 message, or one that may not come now. `data.reason` says why."""
    return RpcError(INVALID_REQUEST, "Invalid Request", {"kind": "invalidRequest", "reason": reason})


def message_too_large(limit_bytes: int) -> RpcError:
    """A frame is over `data.limitBytes` bytes and was thrown away unread."""
    return RpcError(
        INVALID_REQUEST,
        f"Invalid Request: a message may have {limit_bytes} bytes",
        {"kind": "messageTooLarge", "limitBytes": limit_bytes},
    )


def method_not_found(method: str) -> RpcError:
    """There is no method `data.method`."""
    return RpcError(METHOD_NOT_FOUND, "Method not found", {"kind": "methodNotFound", "method": method})


def invalid_params(reason: str, path: str) -> RpcError:
    """The params do not fit the method. `data.path` is where (`$.params.title`), `data.reason` what is wrong there."""
    return RpcError(
        INVALID_PARAMS,
        f"Invalid params: {reason} (at {path})",
        {"kind": "invalidParams", "path": path, "reason": reason},
    )


def internal_error() -> RpcError:
    """A fault of ours. Nothing of the exception goes to the client: it may hold paths or message text."""
    return RpcError(INTERNAL_ERROR, "Internal error", {"kind": "internalError"})


def not_initialized() -> RpcError:
    """A request came before `initialize`."""
    return RpcError(NOT_INITIALIZED, "Server not initialized", {"kind": "notInitialized"})


def cancelled() -> RpcError:
    """The client took the request back with `$/cancelRequest`, and it had no effect."""
    return RpcError(CANCELLED, "Request cancelled", {"kind": "cancelled"})


def overloaded(reason: str, retry_after_ms: int) -> RpcError:
    """A queue is full. The same request may be sent again after `data.retryAfterMs` milliseconds."""
    return RpcError(
        OVERLOADED,
        f"Overloaded: {reason}",
        {"kind": "overloaded", "reason": reason, "retryAfterMs": retry_after_ms},
    )
