"""The errors that a JSON-RPC answer can carry: their codes, kinds and wording.

Codes come from https://www.jsonrpc.org/specification#error_object (-32700 to -32600), from the Language Server
Protocol 3.17, "ErrorCodes" (-32002, -32800, -32803), and from the range that JSON-RPC reserves for servers.
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
REQUEST_FAILED: Final = -32803


class ErrorObject(msgspec.Struct, frozen=True):
    """The `error` member of an answer: the code, a sentence for people, and data for programs.

    `data.kind` is always present and stable. The other members of `data` depend on the kind.
    """

    code: int
    message: str
    data: dict[str, object]


class RpcError(Exception):
    """An error to answer instead of a result. `data["kind"]` is a stable camelCase word; the message may change."""

    def __init__(self, code: int, message: str, data: dict[str, object]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __repr__(self) -> str:
        return f"RpcError({self.code}, {self.message!r}, {self.data!r})"

    def to_error(self) -> ErrorObject:
        """The error in its wire format."""
        return ErrorObject(self.code, self.message, self.data)


def parse_error(reason: str) -> RpcError:
    """The message is not valid JSON, or could not be framed. `data.reason` says where."""
    return RpcError(PARSE_ERROR, "Parse error", {"kind": "parseError", "reason": reason})


def invalid_request(reason: str) -> RpcError:
    """The message is JSON but not a valid JSON-RPC 2.0 message, or it is not allowed now. `data.reason` says why."""
    return RpcError(INVALID_REQUEST, "Invalid Request", {"kind": "invalidRequest", "reason": reason})


def message_too_large(limit_bytes: int) -> RpcError:
    """The message is larger than `data.limitBytes` bytes and was discarded unread."""
    return RpcError(
        INVALID_REQUEST,
        f"Invalid Request: the message is larger than {limit_bytes} bytes",
        {"kind": "messageTooLarge", "limitBytes": limit_bytes},
    )


def method_not_found(method: str) -> RpcError:
    """There is no method `data.method`."""
    return RpcError(METHOD_NOT_FOUND, "Method not found", {"kind": "methodNotFound", "method": method})


def invalid_params(reason: str, path: str) -> RpcError:
    """The params do not fit the method: `data.reason` says what is wrong at `data.path` (`$.params.title`)."""
    return RpcError(
        INVALID_PARAMS,
        f"Invalid params: {reason} (at {path})",
        {"kind": "invalidParams", "path": path, "reason": reason},
    )


def internal_error() -> RpcError:
    """A bug in the daemon. The exception is not sent to the client: it may contain paths or message text."""
    return RpcError(INTERNAL_ERROR, "Internal error", {"kind": "internalError"})


def request_failed(kind: str, message: str) -> RpcError:
    """The daemon could not do what was asked: the disk is full, the database is locked, a search timed out."""
    return RpcError(REQUEST_FAILED, message, {"kind": kind})


def bad_config(reason: str) -> RpcError:
    """A file in which agents are configured is invalid or cannot be read."""
    return RpcError(REQUEST_FAILED, reason, {"kind": "badConfig"})


def not_initialized() -> RpcError:
    """A request was sent before `initialize`."""
    return RpcError(NOT_INITIALIZED, "Server not initialized", {"kind": "notInitialized"})


def cancelled() -> RpcError:
    """The client cancelled the request with `$/cancelRequest`, and it had no effect."""
    return RpcError(CANCELLED, "Request cancelled", {"kind": "cancelled"})


def overloaded(reason: str, retry_after_ms: int) -> RpcError:
    """A queue is full. Retry after `data.retryAfterMs` milliseconds."""
    return RpcError(
        OVERLOADED,
        f"Overloaded: {reason}",
        {"kind": "overloaded", "reason": reason, "retryAfterMs": retry_after_ms},
    )
