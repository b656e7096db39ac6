"""Decode frame bodies to JSON-RPC 2.0 messages and encode answers: https://www.jsonrpc.org/specification.

Decoding never raises. Ids, params and results stay JSON text until their type is known. An answer has exactly the bytes
of the request's id.
"""

import json
import re
from typing import Final, Literal, TypeAlias

import msgspec

from treadle.contract import json_text as grammar
from treadle.contract.bounds import MAX_DEPTH
from treadle.contract.errors import ErrorObject, RpcError, invalid_params, invalid_request, parse_error

MAX_BATCH: Final = 1000

NULL_ID: Final = msgspec.Raw(b"null")

Id: TypeAlias = str | int | float | bytes | None
"""An id that can be compared and hashed; bytes if no Python value represents its JSON (1e999)."""


def id_key(text: msgspec.Raw) -> Id:
    """The id in `text` as a key: 1 and 1.0 are equal, 1 and "1" are not."""
    try:
        key: Id = _ID.decode(text)
    except (msgspec.DecodeError, ValueError):
        return bytes(text)
    return key


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request. `id` is JSON text; `params` is the JSON text of an object or an array, None if absent."""

    id: msgspec.Raw
    method: str
    params: msgspec.Raw | None

    @property
    def key(self) -> Id:
        """The id as a key of a map."""
        return id_key(self.id)


class Notification(msgspec.Struct, frozen=True, gc=False):
    """A notification, which is never answered, not even with an error. `params` as in a request."""

    method: str
    params: msgspec.Raw | None


class Response(msgspec.Struct, frozen=True, gc=False):
    """The client's answer to a request of the daemon, as JSON text. `error` is None if it is absent or null."""

    id: msgspec.Raw
    result: msgspec.Raw | None
    error: msgspec.Raw | None

    @property
    def key(self) -> Id:
        """The id as a key of a map."""
        return id_key(self.id)


class Invalid(msgspec.Struct, frozen=True):
    """An invalid message, to be answered with `error`. `id` is null if it could not be read."""

    id: msgspec.Raw
    error: RpcError


Message: TypeAlias = Request | Notification | Response | Invalid


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    """The members of a valid message. A Raw is empty if the member is absent."""

    jsonrpc: Literal["2.0"]
    method: str | None = None
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Members(msgspec.Struct, frozen=True, gc=False):
    """The members of any object, of any type. A Raw is empty if the member is absent."""

    jsonrpc: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


# A list[Raw] would allocate an object for each item, and 32 MiB may hold sixteen million items. An array_like struct
# validates and skips items beyond its fields.
_Batch: Final = msgspec.defstruct(
    "_Batch", [(f"item{index}", msgspec.Raw, msgspec.Raw()) for index in range(MAX_BATCH + 1)], array_like=True
)

_ID: Final = msgspec.json.Decoder(str | int | float | None)
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_MEMBERS: Final = msgspec.json.Decoder(_Members)
_BATCH: Final = msgspec.json.Decoder(_Batch)
_ENCODER: Final = msgspec.json.Encoder()

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_OPENING: Final = re.compile(rb"[ \t\r\n]*([\[{]?)")
_BEGINS_ID: Final = b'"-0123456789n'
_NAMES: Final = frozenset(_Members.__struct_fields__)
LONE_SURROGATE: Final = "a string contains a lone surrogate"


def decode_body(body: bytes) -> Message | list[Message]:
    """Decode the message in `body`, or the messages of a batch. Never raises: returns Invalid for an invalid message.

    Valid JSON that cannot be processed is answered with -32602 under its id: a lone surrogate, U+0000 in a string
    (SQLite's JSON functions truncate the text there), nesting deeper than MAX_DEPTH. A number out of range is found
    later, by `decode_params`. `"params": null` counts as absent: Eglot, Zed and others send it.
    """
    if not grammar.is_utf8(body):
        return Invalid(NULL_ID, parse_error("the text is not UTF-8"))
    if opening(body) != b"[":
        return _decode_message(body, MAX_DEPTH)
    try:
        items = _unpack(body)
    except grammar.NotJson as error:
        return Invalid(NULL_ID, parse_error(str(error)))
    if not isinstance(items, list) or not items:
        return Invalid(NULL_ID, invalid_request("a batch must not be empty"))
    if len(items) > MAX_BATCH:
        return Invalid(NULL_ID, invalid_request(f"a batch must not have more than {MAX_BATCH} messages"))
    return [_decode_message(item, MAX_DEPTH - 1) for item in items]


class _Result(msgspec.Struct, frozen=True, gc=False):
    jsonrpc: str
    id: msgspec.Raw
    result: object


class _Error(msgspec.Struct, frozen=True, gc=False):
    jsonrpc: str
    id: msgspec.Raw
    error: ErrorObject


class _Notification(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    jsonrpc: str
    method: str
    params: object = None


class _Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    jsonrpc: str
    id: int | str
    method: str
    params: object = None


def encode_response(id: msgspec.Raw, result: object) -> bytes:
    """Encode the result of the request `id`."""
    return _encode(_Result("2.0", id, result))


def encode_error(id: msgspec.Raw, error: RpcError) -> bytes:
    """Encode an error answer to the request `id`; NULL_ID if the id is unknown."""
    return _encode(_Error("2.0", id, error.to_error()))


def encode_notification(method: str, params: object) -> bytes:
    """Encode a notification, without the member `params` if they are None."""
    return _encode(_Notification("2.0", method, params))


def encode_request(id: int | str, method: str, params: object) -> bytes:
    """Encode a request to the client, without the member `params` if they are None."""
    return _encode(_Request("2.0", id, method, params))


def encode_batch(bodies: list[bytes]) -> bytes:
    """Join bodies, at least one, to the body of a batch."""
    return b"[" + b",".join(bodies) + b"]"


def _encode(message: _Result | _Error | _Notification | _Request) -> bytes:
    """Encode a message as JSON. Bytes of a path that are not UTF-8 (surrogates in Python) are escaped as `\\xe9`."""
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError:
        members = msgspec.structs.asdict(message)
        members = {name: value if name == "id" else _escaped(value) for name, value in members.items()}
        return _ENCODER.encode(msgspec.structs.replace(message, **members))


def _escaped(value: object) -> object:
    match msgspec.to_builtins(value, enc_hook=msgspec.json.decode):  # the hook is for Raw
        case str() as text:
            return _SURROGATE.sub(_escape, text)
        case list() | tuple() as items:
            return [_escaped(item) for item in items]
        case dict() as members:
            return {_escaped(name): _escaped(member) for name, member in members.items()}
        case plain:
            return plain


def _escape(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"  # PEP 383


def _decode_message(text: bytes, depth: int) -> Message:
    flaw = _flaw(text, depth)
    if flaw is None:
        try:
            envelope = _ENVELOPE.decode(text)
        except (msgspec.DecodeError, RecursionError):
            pass
        else:
            return _classify(envelope, envelope.method, None)
    return _salvage(text, depth, flaw)


def _salvage(text: bytes, depth: int, flaw: str | None) -> Message:
    """Decode a message that is invalid or has a flaw as far as possible, to answer it under its id."""
    try:
        members = _unpack(text)
    except grammar.NotJson as error:
        return Invalid(NULL_ID, parse_error(str(error)))
    if not isinstance(members, _Members):
        return Invalid(NULL_ID, invalid_request("a message must be an object"))
    if _string(members.jsonrpc) != "2.0":
        return _refuse(members, 'jsonrpc must be "2.0"')
    method = _string(members.method)
    if method is None and members.method and members.method != NULL_ID:
        return _refuse(members, "method must be a string")
    if flaw is None and grammar.holds_lone_surrogate(text):
        flaw = LONE_SURROGATE
    if flaw is None:
        return _classify(members, method, None)
    params = bytes(members.params)
    in_params = _flaw(params, depth - 1) or grammar.holds_lone_surrogate(params)
    return _classify(members, method, invalid_params(flaw, "$.params" if in_params else "$"))


def _flaw(text: bytes, depth: int) -> str | None:
    """Why `text` is refused although it is valid JSON, or None. Lone surrogates are found by the decoder."""
    if grammar.holds_nul(text):
        return "a string contains U+0000"
    if grammar.is_deeper_than(depth, text):
        return f"arrays and objects are nested deeper than {MAX_DEPTH} levels"
    return None


def _classify(members: _Envelope | _Members, method: str | None, flaw: RpcError | None) -> Message:
    """The message with these members. A request is answered with `flaw` if there is one; others ignore the flaw."""
    id_ = members.id.copy()  # without a copy, the whole body would stay in memory while the request is in flight
    if id_ and memoryview(id_)[0] not in _BEGINS_ID:
        return Invalid(NULL_ID, invalid_request("id must be a string, a number or null"))
    if method is None:
        if not members.result and not members.error:
            return _refuse(members, "method is missing")
        error = members.error if members.error != NULL_ID else None
        return Response(id_ or NULL_ID, members.result or None, error or None)
    params = members.params if members.params and members.params != NULL_ID else None
    if params is not None and memoryview(params)[0] not in b"{[":
        return _refuse(members, "params must be an object or an array")
    if not id_:
        return Notification(method, params)
    return Request(id_, method, params) if flaw is None else Invalid(id_, flaw)


def _refuse(members: _Envelope | _Members, reason: str) -> Invalid:
    """An Invalid with the message's id, or with null if the message looks like an answer.

    An answer has the id of a daemon's request, and the client may have the same id in flight for a request of its own.
    """
    id_ = members.id
    is_answered = id_ and memoryview(id_)[0] in _BEGINS_ID and not members.result and not members.error
    return Invalid(id_.copy() if is_answered else NULL_ID, invalid_request(reason))


def _unpack(text: bytes) -> _Members | list[bytes] | None:
    """The members of an object, the first items of an array, or None for another value. Raises NotJson."""
    begins = opening(text)
    try:
        if begins == b"{":
            return _MEMBERS.decode(text)
        if begins == b"[":
            return [bytes(item) for item in msgspec.structs.astuple(_BATCH.decode(text)) if item]
        _RAW.decode(text)
        return None
    except msgspec.DecodeError as error:
        if not grammar.holds_lone_surrogate(text):
            raise grammar.NotJson(str(error)) from None
    except RecursionError:
        pass
    found = grammar.walk(text, _NAMES, MAX_BATCH + 1)
    if isinstance(found, dict):
        return _Members(**{name: msgspec.Raw(value) for name, value in found.items()})
    return found


def first_items(text: bytes | msgspec.Raw) -> list[msgspec.Raw] | None:
    """The items of the array `text` as JSON text; None if there are more than MAX_BATCH."""
    items = [item for item in msgspec.structs.astuple(_BATCH.decode(text)) if item]
    return items if len(items) <= MAX_BATCH else None


def opening(text: bytes | msgspec.Raw) -> bytes:
    """The bracket or brace that `text` starts with, or b""."""
    found = _OPENING.match(text)
    return found[1] if found else b""


def _string(text: msgspec.Raw) -> str | None:
    """The value of a JSON string, None if `text` is not a string. A lone surrogate becomes a question mark."""
    if not text or memoryview(text)[0] != ord('"'):
        return None
    value: str = json.loads(bytes(text))
    return value.encode(errors="replace").decode()
