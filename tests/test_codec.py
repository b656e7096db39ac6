"""JSON-RPC messages in and out: what is accepted, what is rejected with which id, and that decoding never raises."""

import json
import re
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from treadle.contract import json_text as grammar
from treadle.contract.bounds import MAX_DEPTH
from treadle.contract.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    RpcError,
    internal_error,
    invalid_params,
    overloaded,
)
from treadle.contract.methods import DISPATCH, ENDPOINTS
from treadle.contract.params import DispatchBatchParams
from treadle.domain.commands import COMMANDS, AnyCommand, DeleteProject, ResolveApproval
from treadle.domain.entities import Project
from treadle.server.codec import (
    MAX_BATCH,
    NULL_ID,
    Invalid,
    Message,
    Notification,
    Request,
    Response,
    decode_body,
    encode_batch,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
    id_key,
)
from treadle.server.params import decode_params

ANY = msgspec.json.Decoder(Any)

Shown = tuple[object, ...]


def text(raw: msgspec.Raw | None) -> str | None:
    return None if raw is None else bytes(raw).decode()


def shown(message: Message) -> Shown:
    """A message as a tuple that says what it is."""
    match message:
        case Request():
            return "request", text(message.id), message.method, text(message.params)
        case Notification():
            return "notification", message.method, text(message.params)
        case Response():
            return "response", text(message.id), text(message.result), text(message.error)
        case Invalid():
            return message.error.code, text(message.id)


def decoded(body: bytes | str) -> Shown | list[Shown]:
    found = decode_body(body.encode() if isinstance(body, str) else body)
    return [shown(message) for message in found] if isinstance(found, list) else shown(found)


def call(params: str, id: str | None = "7") -> str:
    return '{"jsonrpc":"2.0","method":"m",' + (f'"id":{id},' if id else "") + f'"params":{params}}}'


# Valid messages


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"m"}', ("request", "1", "m", None)),
        (' {"params" : {"a":[1]} ,"method":"m","id":"x" ,"jsonrpc":"2.0"}\r\n', ("request", '"x"', "m", '{"a":[1]}')),
        ('{"jsonrpc":"2.0","id":null,"method":"m","params":[1]}', ("request", "null", "m", "[1]")),
        ('{"jsonrpc":"2.0","id":1,"method":"m","params":null}', ("request", "1", "m", None)),
        ('{"jsonrpc":"2.0","method":"m"}', ("notification", "m", None)),
        ('{"jsonrpc":"2.0","method":"m","params":{}}', ("notification", "m", "{}")),
        ('{"jsonrpc":"2.0","method":"m","params":null}', ("notification", "m", None)),
        ('{"jsonrpc":"2.0","id":1,"result":null}', ("response", "1", "null", None)),
        ('{"jsonrpc":"2.0","id":1,"result":[1],"error":null}', ("response", "1", "[1]", None)),
        ('{"jsonrpc":"2.0","id":"a","error":{"code":1}}', ("response", '"a"', None, '{"code":1}')),
        ('{"jsonrpc":"2.0","error":{"code":1}}', ("response", "null", None, '{"code":1}')),
        ('{"jsonrpc":"2.0","id":1,"method":null,"result":0}', ("response", "1", "0", None)),
        ('{"\\u006asonrpc":"2\\u002e0","\\u0069d":1,"method":"\\u006d"}', ("request", "1", "m", None)),
        ('{"jsonrpc":"2.0","id":1,"method":"m","x":{"y":[1e999]}}', ("request", "1", "m", None)),
        ('{"jsonrpc":"2.0","id":1,"method":"","id":2,"method":"m"}', ("request", "2", "m", None)),
        ('{"jsonrpc":1,"id":{},"method":1,"jsonrpc":"2.0","id":2,"method":"m"}', ("request", "2", "m", None)),
        ('{"jsonrpc":"2.0","id":1,"method":"é€😀","params":{"é":"\\ud83d\\ude00"}}',
         ("request", "1", "é€😀", '{"é":"\\ud83d\\ude00"}')),
        (call('["\\\\u0000"]'), ("request", "7", "m", '["\\\\u0000"]')),
        (call('["\\\\\\\\ud800"]'), ("request", "7", "m", '["\\\\\\\\ud800"]')),
    ],
)  # fmt: skip
def test_a_message_is_classified_by_its_members(body: str, message: Shown) -> None:
    assert decoded(body) == message


@pytest.mark.parametrize(
    ("id", "key"),
    [
        ("1", 1),
        ("1.0", 1),
        ("-0", 0),
        ("1e2", 100),
        ("0.5", 0.5),
        ('"1"', "1"),
        ('"\\u0031"', "1"),
        ("null", None),
        ("12345678901234567890123", 12345678901234567890123),
        ("1e999", b"1e999"),
        ("9" * 5000, b"9" * 5000),
    ],
)
def test_an_id_is_echoed_byte_for_byte_and_has_a_comparable_key(id: str, key: object) -> None:
    request = decode_body(call("{}", id).encode())
    assert isinstance(request, Request)
    assert bytes(request.id) == id.encode()
    assert request.key == key
    assert type(request.key) is not bool
    assert hash(request.key) == hash(key)
    assert encode_response(request.id, 0) == b'{"jsonrpc":"2.0","id":%b,"result":0}' % id.encode()


def test_a_response_has_the_same_key_as_its_request() -> None:
    answer = decode_body(b'{"jsonrpc":"2.0","id":5.0,"result":1}')
    assert isinstance(answer, Response)
    assert answer.key == 5


def test_an_id_with_a_lone_surrogate_is_its_own_key() -> None:
    assert id_key(msgspec.Raw(b'"\\ud800"')) == b'"\\ud800"'


# Invalid messages

DEEP = "[" * MAX_DEPTH + "]" * MAX_DEPTH
BOMB = "[" * 100_000 + "]" * 100_000
OBJECT_BOMB = '{"a":' * 50_000 + "1" + "}" * 50_000

PARSE = (PARSE_ERROR, "null")
INVALID = (INVALID_REQUEST, "null")

MALFORMED: list[tuple[str | bytes, Shown]] = [
    # not JSON
    ("", PARSE),
    ("  ", PARSE),
    ("\ufeff{}", PARSE),
    ("hello", PARSE),
    ("NaN", PARSE),
    ("[", PARSE),
    ("[1,]", PARSE),
    ("[1 2]", PARSE),
    ("{} {}", PARSE),
    ("[] []", PARSE),
    ("1 2", PARSE),
    ('"a', PARSE),
    ('{"jsonrpc":"2.0","method":"m"', PARSE),
    ('{"jsonrpc":"2.0","method":"m","id":1,}', PARSE),
    ('{"jsonrpc":"2.0","method":"m","id":01}', PARSE),
    ("{'jsonrpc':'2.0'}", PARSE),
    ('{"jsonrpc":"2.0","method":"m" "id":1}', PARSE),
    ('{"jsonrpc":1.0,"method":"m","id":1,"x":tru}', PARSE),
    (call('["\\x"]'), PARSE),
    (call('["\\u12g4"]'), PARSE),
    (call('["\t"]'), PARSE),
    (call('["\x00"]'), PARSE),
    (call("[" + "\\ud800" + "]"), PARSE),
    (call('["\\ud800"') + "]", PARSE),
    (call('["\\ud800", 01]'), PARSE),
    (call('["\\u0000"]') + "}", PARSE),
    (call(BOMB) + "]", PARSE),
    (call(BOMB[:-1]), PARSE),
    ("[" * 100_000, PARSE),
    (b"\xff", PARSE),
    (call("{}").encode()[:-1] + b',"x":"\xff"}', PARSE),
    (b'{"jsonrpc":"2.0","method":"m","id":1,"\xc0\x80":1}', PARSE),
    (b'{"jsonrpc":"2.0","method":"m","id":1,"x":"\xed\xa0\x80"}', PARSE),
    (call("[" + '"é",' * 50_000 + "1]").encode()[:-3] + b"\xc3", PARSE),
    # no message
    ("1", INVALID),
    ("null", INVALID),
    ('"\\ud800"', INVALID),
    ("[]", INVALID),
    (" [ ] ", INVALID),
    ("{}", INVALID),
    ('{"id":5}', (INVALID_REQUEST, "5")),
    ('{"id":5,"method":"m"}', (INVALID_REQUEST, "5")),
    ('{"jsonrpc":"1.0","id":5,"method":"m"}', (INVALID_REQUEST, "5")),
    ('{"jsonrpc":2.0,"id":"x","method":"m"}', (INVALID_REQUEST, '"x"')),
    ('{"jsonrpc":null,"id":5,"method":"m"}', (INVALID_REQUEST, "5")),
    ('{"jsonrpc":"2.0","id":5}', (INVALID_REQUEST, "5")),
    ('{"jsonrpc":"2.0","id":5,"method":1}', (INVALID_REQUEST, "5")),
    ('{"jsonrpc":"2.0","id":5,"method":null}', (INVALID_REQUEST, "5")),
    ('{"jsonrpc":"2.0","id":5,"method":["m"],"params":"\\u0000"}', (INVALID_REQUEST, "5")),
    ('{"jsonrpc":"2.0","id":{},"method":"m"}', INVALID),
    ('{"jsonrpc":"2.0","id":[1],"method":"m"}', INVALID),
    ('{"jsonrpc":"2.0","id":true,"method":"m"}', INVALID),
    ('{"jsonrpc":"1.0","id":false,"method":"m"}', INVALID),
    ('{"jsonrpc":"2.0","id":{},"result":1}', INVALID),
    (call("1"), (INVALID_REQUEST, "7")),
    (call('"x"'), (INVALID_REQUEST, "7")),
    (call("true", "1.50"), (INVALID_REQUEST, "1.50")),
    (call("false", None), INVALID),
    ('{"jsonrpc":"1.0","id":5,"result":1}', INVALID),
    ('{"jsonrpc":"2.0","id":5,"method":7,"error":{}}', INVALID),
    # a request that cannot be decoded
    (call('["\\ud800"]'), (INVALID_PARAMS, "7")),
    (call('{"a":"\\udc00\\ud800"}', '"x"'), (INVALID_PARAMS, '"x"')),
    (call('{"\\ud83dx":1}'), (INVALID_PARAMS, "7")),
    (call('["\\u0000"]'), (INVALID_PARAMS, "7")),
    (call('{"a\\u0000":1}'), (INVALID_PARAMS, "7")),
    (call('["\\\\\\u0000"]'), (INVALID_PARAMS, "7")),
    (call("{}", '"\\u0000"'), (INVALID_PARAMS, '"\\u0000"')),
    (call("{}", '"\\ud800"'), (INVALID_PARAMS, '"\\ud800"')),
    (call("{}")[:-1] + ',"x":"\\ud800"}', (INVALID_PARAMS, "7")),
    (call("{}")[:-1] + ',"\\ud800":1}', (INVALID_PARAMS, "7")),
    ('{"jsonrpc":"2.0","id":7,"method":"\\ud800"}', (INVALID_PARAMS, "7")),
    (call(DEEP), (INVALID_PARAMS, "7")),
    (call(BOMB, "1.0"), (INVALID_PARAMS, "1.0")),
    (call(OBJECT_BOMB), (INVALID_PARAMS, "7")),
    (call("[" + BOMB + ',"\\ud800"]'), (INVALID_PARAMS, "7")),
    (call("{}")[:-1] + f',"x":{DEEP}}}', (INVALID_PARAMS, "7")),
]


@pytest.mark.parametrize(("body", "answer"), MALFORMED, ids=range(len(MALFORMED)))
def test_an_invalid_message_is_answered_with_its_id_if_readable(body: str | bytes, answer: Shown) -> None:
    assert decoded(body) == answer


@pytest.mark.parametrize(("body", "answer"), MALFORMED, ids=range(len(MALFORMED)))
def test_an_invalid_message_in_a_batch_is_answered_at_its_position(body: str | bytes, answer: Shown) -> None:
    raw = body.encode() if isinstance(body, str) else body
    good = call("{}", "1").encode()
    if answer == PARSE:
        if raw.strip():  # nothing between two commas is a parse error too, nothing at the end of an array may not be
            assert decoded(b"[" + good + b"," + raw + b"," + good + b"]") == PARSE
    else:
        request = ("request", "1", "m", "{}")
        assert decoded(b"[" + good + b"," + raw + b"," + good + b"]") == [request, answer, request]


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (call('["\\ud800"]'), "$.params", "a string contains a lone surrogate"),
        (call('["\\u0000"]'), "$.params", "a string contains U+0000"),
        (call(DEEP), "$.params", "arrays and objects are nested deeper than 128 levels"),
        (call("{}", '"\\u0000"'), "$", "a string contains U+0000"),
        ('{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', "$", "a string contains a lone surrogate"),
    ],
)
def test_an_undecodable_request_is_answered_with_path_and_reason(body: str, path: str, reason: str) -> None:
    found = decode_body(body.encode())
    assert isinstance(found, Invalid)
    assert found.error.data == {"kind": "invalidParams", "path": path, "reason": reason}


def test_a_parse_error_gives_the_position() -> None:
    found = decode_body(b'{"a":01}')
    assert isinstance(found, Invalid)
    assert found.error.data == {"kind": "parseError", "reason": "JSON is malformed: invalid number (byte 6)"}


@pytest.mark.parametrize("params", ['["\\ud800"]', '["\\u0000"]', DEEP, BOMB])
def test_undecodable_params_of_a_notification_or_response_are_not_answered(params: str) -> None:
    assert decoded(call(params, None)) == ("notification", "m", params)
    assert decoded('{"jsonrpc":"2.0","id":1,"result":' + params + "}") == ("response", "1", params, None)


def test_a_notification_method_can_always_be_logged() -> None:
    found = decode_body(b'{"jsonrpc":"2.0","method":"a\\ud800"}')
    assert isinstance(found, Notification)
    assert found.method == "a?"


def test_nesting_beyond_the_depth_limit_is_rejected() -> None:
    assert decoded(call(DEEP[1:-1])) == ("request", "7", "m", DEEP[1:-1])
    assert decoded(call(DEEP)) == (INVALID_PARAMS, "7")
    in_batch = DEEP[2:-2]
    assert decoded(f"[{call(in_batch)}]") == [("request", "7", "m", in_batch)]
    assert decoded(f"[{call(DEEP[1:-1])}]") == [(INVALID_PARAMS, "7")]


@pytest.mark.parametrize(
    "params", ["[" + "[]," * 300 + "[]]", '["' + "[{" * 300 + '"]', '["\\"' + "[" * 300 + '\\\\"]']
)
def test_many_brackets_without_deep_nesting_are_accepted(params: str) -> None:
    assert decoded(call(params)) == ("request", "7", "m", params)


# Batches


def test_a_batch_holds_up_to_1000_messages() -> None:
    note = b'{"jsonrpc":"2.0","method":"m"}'
    full = decoded(encode_batch([note] * MAX_BATCH))
    assert isinstance(full, list)
    assert full == [("notification", "m", None)] * MAX_BATCH
    assert decoded(encode_batch([note] * (MAX_BATCH + 1))) == INVALID
    assert decoded(encode_batch([b"1"] * 1_000_000)) == INVALID
    assert decoded(encode_batch([b"1"] * 1_000_000)[:-1]) == PARSE
    assert decoded(encode_batch([call('["\\ud800"]').encode()] * (MAX_BATCH + 1))) == INVALID


# https://www.jsonrpc.org/specification#examples, in their order
SPEC_EXAMPLES: list[tuple[str, Shown | list[Shown]]] = [
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        ("request", "1", "subtract", "[42, 23]"),
    ),
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        ("request", "3", "subtract", '{"subtrahend": 23, "minuend": 42}'),
    ),
    ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', ("notification", "update", "[1,2,3,4,5]")),
    ('{"jsonrpc": "2.0", "method": "foobar"}', ("notification", "foobar", None)),
    ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', ("request", '"1"', "foobar", None)),
    ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE),
    ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
    ('[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method"]', PARSE),
    ("[]", INVALID),
    ("[1]", [INVALID]),
    ("[1,2,3]", [INVALID, INVALID, INVALID]),
    (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
        '{"foo": "boo"},'
        '{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        '{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        [
            ("request", '"1"', "sum", "[1,2,4]"),
            ("notification", "notify_hello", "[7]"),
            ("request", '"2"', "subtract", "[42,23]"),
            INVALID,
            ("request", '"5"', "foo.get", '{"name": "myself"}'),
            ("request", '"9"', "get_data", None),
        ],
    ),
    (
        '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        [("notification", "notify_sum", "[1,2,4]"), ("notification", "notify_hello", "[7]")],
    ),
]


@pytest.mark.parametrize(("body", "messages"), SPEC_EXAMPLES, ids=range(len(SPEC_EXAMPLES)))
def test_the_examples_of_the_specification_are_decoded_as_documented(body: str, messages: Shown | list[Shown]) -> None:
    assert decoded(body) == messages


# Text that is not valid Unicode


def test_only_text_that_is_not_valid_unicode_is_escaped() -> None:
    path = b"/caf\xe9/\xc3\xa9".decode("utf-8", "surrogateescape")
    result = {"rows": [msgspec.Raw(b'{"n":1.50}')], path: (path, Project(**PROJECT, path=path)), "high": "\ud83d"}
    body = encode_response(msgspec.Raw(b"1e999"), result)
    assert body.startswith(b'{"jsonrpc":"2.0","id":1e999,"result":')
    escaped = "/caf\\xe9/é"
    assert json.loads(body)["result"] == {
        "rows": [{"n": 1.5}],
        escaped: [escaped, {**PROJECT_JSON, "path": escaped}],
        "high": "\\ud83d",
    }
    assert json.loads(encode_notification("m", {"message": path}))["params"] == {"message": escaped}
    assert json.loads(encode_request(1, "m", [path]))["params"] == [escaped]
    error = json.loads(encode_error(NULL_ID, RpcError(1, path, {"kind": "x", "path": path})))["error"]
    assert error == {"code": 1, "message": escaped, "data": {"kind": "x", "path": escaped}}


PROJECT: dict[str, Any] = {
    "sequence": 1,
    "id": "p",
    "name": "p",
    "remote": None,
    "created_at": "now",
    "updated_at": "now",
}
PROJECT_JSON = {"sequence": 1, "id": "p", "name": "p", "remote": None, "createdAt": "now", "updatedAt": "now"}


# Params


class Inner(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    thread_id: str
    count: int = 0


class Params(msgspec.Struct, forbid_unknown_fields=True):
    title: Annotated[str, msgspec.Meta(max_length=5)]
    kind: Literal["a", "b"] = "a"
    commands: list[Inner] = []
    detail: Any = None
    numbers: dict[str, int] = {}
    by_number: dict[int, int] = {}


class Optional(msgspec.Struct):
    limit: int = 50


PARAMS = msgspec.json.Decoder(Params)


@pytest.mark.parametrize(
    ("params", "path", "reason"),
    [
        ("{}", "$.params.title", "missing required member `title`"),
        ('{"title":1}', "$.params.title", "Expected `str`, got `int`"),
        ('{"title":"a","titel":1}', "$.params.titel", "unknown member `titel`"),
        ('{"title":"a","a b":1}', '$.params["a b"]', "unknown member `a b`"),
        ('{"title":"a","commands":[{"threadId":"t"},{}]}', "$.params.commands[1].threadId",
         "missing required member `threadId`"),
        ('{"title":"a","commands":[{"threadId":"t","x":1}]}', "$.params.commands[0].x",
         "unknown member `x`"),
        ('{"title":"a","commands":[{"threadId":[]}]}', "$.params.commands[0].threadId", "Expected `str`, got `array`"),
        ('{"title":"a","commands":{}}', "$.params.commands", "Expected `array`, got `object`"),
        ('{"title":"a","numbers":{"x":"y"}}', "$.params.numbers", "Expected `int`, got `str` - at `$[...]`"),
        ('{"title":"a","by_number":{"x":1}}', "$.params.by_number",
         "Expected `int`, got `str` - at `key` in `$`"),
        ('{"title":"toolong"}', "$.params.title", "Expected `str` of length <= 5"),
        ('{"title":"a","kind":"` - at `$.x`"}', "$.params.kind", "Invalid enum value '` - at `$.x`'"),
        ('{"title":"a","detail":1e999}', "$.params.detail", "Number out of range"),
        ('{"title":"a","detail":[{"x":[-1e400]}]}', "$.params.detail",
         "Number out of range - at `$[0][...][0]`"),
        ('{"title":"a","detail":' + "9" * 5000 + "}", "$.params.detail", "Integer value out of range"),
        ('{"title":"a","detail":"\\ud800"}', "$.params", "a string contains a lone surrogate"),
        ('["a"]', "$.params", "params must be an object: they are passed by name"),
        (" [1]", "$.params", "params must be an object: they are passed by name"),
        ("[[]]", "$.params", "params must be an object: they are passed by name"),
        ("[]", "$.params.title", "missing required member `title`"),
        ('{"title":"a","detail":' + BOMB + "}", "$.params",
         "maximum recursion depth exceeded while deserializing an object"),
    ],
)  # fmt: skip
def test_invalid_params_are_reported_with_path_and_reason(params: str, path: str, reason: str) -> None:
    with pytest.raises(RpcError) as caught:
        decode_params(msgspec.Raw(params.encode()), PARAMS)
    assert caught.value.code == INVALID_PARAMS
    assert caught.value.data == {"kind": "invalidParams", "path": path, "reason": reason}


def test_an_error_in_a_batched_command_is_reported_with_its_path() -> None:
    decoder = msgspec.json.Decoder(DispatchBatchParams)
    good = '{"type":"ArchiveThread","threadId":"t"}'
    for command, path in {
        '{"type":"ArchiveThread"}': ".threadId",
        '{"type":"ArchiveThread","threadId":"a b"}': ".threadId",
        '{"type":"ArchiveThread","threadId":"t","note":1}': ".note",
        '{"type":"Explode","threadId":"t"}': ".type",
        '{"threadId":"t"}': ".type",
        "1": "",
        '{"type":"RequestApproval","threadId":"t","turnId":"u","title":"","options":[{"id":"","name":"","kind":""}]}':
            ".options[0].id",
    }.items():  # fmt: skip
        with pytest.raises(RpcError) as caught:
            decode_params(msgspec.Raw(f'{{"commands":[{good},{command}]}}'.encode()), decoder)
        assert caught.value.data["path"] == f"$.params.commands[1]{path}"


def test_an_error_among_very_many_members_is_reported_without_checking_each() -> None:
    members = ",".join(f'"m{n}":1' for n in range(200_000))
    with pytest.raises(RpcError) as caught:
        decode_params(msgspec.Raw(f'{{"title":"a",{members}}}'.encode()), PARAMS)
    assert caught.value.data == {"kind": "invalidParams", "path": "$.params", "reason": "unknown member"}
    with pytest.raises(RpcError) as caught:
        decode_params(msgspec.Raw(('{"title":"a","commands":[' + "1," * 1_000_000 + "1]}").encode()), PARAMS)
    assert caught.value.data["path"] == "$.params.commands"


# Null and members that LSP clients add

SENT_BY_CLIENTS: list[Any] = [
    *(endpoint.params for endpoint in ENDPOINTS if endpoint.params is not DISPATCH.params),
    *COMMANDS,
]


def minimal(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The least that the struct can be decoded from."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    required = {field.encode_name: sample(field) for field in info.fields if field.required}
    return ({str(info.tag_field): info.tag} if info.tag else {}) | required


def sample(field: msgspec.inspect.Field) -> Any:
    """A valid value of a required member."""
    match field.type.type if isinstance(field.type, msgspec.inspect.Metadata) else field.type:
        case msgspec.inspect.LiteralType(values=values):
            return values[0]
        case msgspec.inspect.ListType(item_type=msgspec.inspect.StructType(cls=item), min_length=int()):
            return [minimal(item)]
        case msgspec.inspect.ListType():
            return []
        case msgspec.inspect.StructType() | msgspec.inspect.DictType():
            return {}
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return 1
    return {"path": "/p", "base": "0" * 40}.get(field.name, "x")


def test_null_for_any_optional_member_means_its_default() -> None:
    seen = 0
    for struct in SENT_BY_CLIENTS:
        decoder = msgspec.json.Decoder(struct)
        least = minimal(struct)
        for field in msgspec.structs.fields(struct):
            if not field.required:
                nulled = msgspec.Raw(msgspec.json.encode({**least, field.encode_name: None}))
                assert decode_params(nulled, decoder) == decode_params(msgspec.Raw(msgspec.json.encode(least)), decoder)
                seen += 1
    assert seen > 60


def test_null_is_kept_if_the_type_allows_it_and_rejected_for_a_required_member() -> None:
    decoder = msgspec.json.Decoder(AnyCommand)
    resolved = decode_params(
        msgspec.Raw(b'{"type":"ResolveApproval","threadId":"t","id":"a","outcome":null,"_meta":1}'), decoder
    )
    assert isinstance(resolved, ResolveApproval)
    assert resolved.outcome is None
    with pytest.raises(RpcError) as caught:
        decode_params(msgspec.Raw(b'{"type":"RenameThread","threadId":"t","title":null}'), decoder)
    assert caught.value.data["path"] == "$.params.title"


def test_null_in_a_batched_command_means_the_default() -> None:
    text = b'{"commandId":null,"commands":[{"type":"DeleteProject","id":"p","cascade":null}],"_meta":{}}'
    params = decode_params(msgspec.Raw(text), msgspec.json.Decoder(DispatchBatchParams))
    assert params.commands == [DeleteProject(id="p", cascade=False)]


def test_members_that_lsp_clients_add_to_any_params_are_ignored() -> None:
    extra = {"workDoneToken": "t1", "partialResultToken": 2, "_meta": {"a": [None]}}
    for struct in SENT_BY_CLIENTS:
        decoder, least = msgspec.json.Decoder(struct), minimal(struct)
        if "work_done_token" not in struct.__struct_fields__:
            plain = decode_params(msgspec.Raw(msgspec.json.encode(least)), decoder)
            assert decode_params(msgspec.Raw(msgspec.json.encode(least | extra)), decoder) == plain
        if struct.__struct_config__.forbid_unknown_fields:
            with pytest.raises(RpcError) as caught:
                decode_params(msgspec.Raw(msgspec.json.encode(extra | least | {"meta": 1})), decoder)
            assert caught.value.data["path"] == "$.params.meta"


def test_missing_params_are_read_as_an_empty_object() -> None:
    assert decode_params(None, msgspec.json.Decoder(Optional)).limit == 50
    with pytest.raises(RpcError, match=r"missing required member `title` \(at \$\.params\.title\)"):
        decode_params(None, PARAMS)


def test_valid_params_are_decoded() -> None:
    found = decode_params(msgspec.Raw(b'{"title":"a","commands":[{"threadId":"t"}],"detail":{"x":1.5}}'), PARAMS)
    assert found == Params("a", "a", [Inner("t")], {"x": 1.5})


def test_an_error_reason_does_not_repeat_a_long_value() -> None:
    with pytest.raises(RpcError) as caught:
        decode_params(msgspec.Raw(b'{"title":"a","kind":"' + b"x" * 100_000 + b'"}'), PARAMS)
    assert caught.value.data["path"] == "$.params.kind"
    assert len(str(caught.value)) < 1000


# Encoding


def test_members_are_encoded_in_the_order_of_the_specification() -> None:
    one = msgspec.Raw(b"1")
    assert encode_response(one, Optional(3)) == b'{"jsonrpc":"2.0","id":1,"result":{"limit":3}}'
    assert encode_response(one, None) == b'{"jsonrpc":"2.0","id":1,"result":null}'
    assert encode_response(one, {"x": msgspec.Raw(b"1.0")}) == b'{"jsonrpc":"2.0","id":1,"result":{"x":1.0}}'
    assert encode_notification("n", {"a": 1}) == b'{"jsonrpc":"2.0","method":"n","params":{"a":1}}'
    assert encode_notification("n", None) == b'{"jsonrpc":"2.0","method":"n"}'
    assert encode_request("a", "n", [1]) == b'{"jsonrpc":"2.0","id":"a","method":"n","params":[1]}'
    assert encode_request(1, "n", None) == b'{"jsonrpc":"2.0","id":1,"method":"n"}'
    assert encode_batch([b"1", b"2"]) == b"[1,2]"


def test_an_error_is_encoded_with_its_kind() -> None:
    assert encode_error(NULL_ID, internal_error()) == (
        b'{"jsonrpc":"2.0","id":null,'
        b'"error":{"code":-32603,"message":"Internal error","data":{"kind":"internalError"}}}'
    )
    assert json.loads(encode_error(msgspec.Raw(b'"x"'), overloaded("too many commands wait", 250))) == {
        "jsonrpc": "2.0",
        "id": "x",
        "error": {
            "code": -32001,
            "message": "Overloaded: too many commands wait",
            "data": {"kind": "overloaded", "reason": "too many commands wait", "retryAfterMs": 250},
        },
    }


@given(st.text())
def test_an_error_with_any_reason_can_be_encoded(word: str) -> None:
    error = invalid_params(word, "$.params")
    assert json.loads(encode_error(NULL_ID, error))["error"]["data"]["reason"] == word


# Any input

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec=None), max_size=6),
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["2.0", "\x00", "\ud800", "\\u0000"]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=3), children, max_size=4),
    max_leaves=12,
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | VALUES,
        "method": st.just("m") | VALUES,
        "id": st.integers() | st.text(max_size=3) | VALUES,
        "params": VALUES | st.dictionaries(st.text(max_size=2), VALUES, max_size=3),
        "result": VALUES,
        "error": VALUES,
        "x": VALUES,
    },
)


def check_message(message: Message, sent: object) -> None:
    """It is something that can be handled: with text that is JSON, and an id that was sent or none."""
    if isinstance(message, Request | Response | Invalid):
        id = json.loads(bytes(message.id))
        assert id is None or isinstance(id, str | int | float)
        assert id is None or (isinstance(sent, dict) and sent["id"] == id)
    if isinstance(message, Request | Response):
        hash(message.key)
    if isinstance(message, Request | Notification):
        message.method.encode()
        try:
            decode_params(message.params, ANY)
        except RpcError as error:
            encode_error(NULL_ID, error)
    if isinstance(message, Invalid):
        encode_error(message.id, message.error)
        assert message.error.code != PARSE_ERROR


@given(MESSAGES | VALUES, st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_json_is_a_message_or_is_rejected_with_its_own_id(value: object, ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    found = decode_body(body)
    if not grammar.is_utf8(body):
        assert isinstance(found, Invalid)
        assert found.error.code == PARSE_ERROR
    elif isinstance(found, list):
        assert isinstance(value, list)
        for message, sent in zip(found, value, strict=True):
            check_message(message, sent)
    else:
        check_message(found, value)


@given(st.lists(MESSAGES, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_each_item_of_a_batch_is_decoded_as_if_it_were_alone(values: list[object]) -> None:
    bodies = [json.dumps(value).encode() for value in values]
    assert decoded(encode_batch(bodies)) == [decoded(body) for body in bodies]


TOKENS = [
    *("{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "\\u0000", "\\ud800", "\\udc00", "\\n", "\\x", "\t", " ", "\n"),
    *("0", "-", "1", ".", "e", "E+", "true", "nul", "null", "a", "é", '"jsonrpc"', '"2.0"', '"id"', '"method"', '""'),
    *('"params"', call("{}"), call('["\\ud800"]'), "[" * 130, "]" * 130, '{"a":' * 1200, "}" * 1200, "[" * 1200),
]


@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join).map(str.encode) | st.binary(max_size=40))
@settings(max_examples=600, deadline=None)
@example(("[" * 1200 + "]" * 1200).encode())
def test_any_bytes_give_a_parse_error_exactly_when_they_are_not_json(body: bytes) -> None:
    found = decode_body(body)
    is_parse_error = isinstance(found, Invalid) and found.error.code == PARSE_ERROR
    assert is_parse_error is not is_json(body)


def is_json(body: bytes) -> bool:
    """What the standard library says, where it can say it: its parser recurses."""
    try:
        json.loads(body.decode(), parse_constant=refuse, parse_int=len, parse_float=len)
    except ValueError:
        return False
    except RecursionError:
        return is_walked(body)
    return True


def is_walked(body: bytes) -> bool:
    try:
        grammar.walk(body, frozenset(), 0)
    except grammar.NotJson:
        return False
    return True


def refuse(constant: str) -> None:
    raise ValueError(constant)


# The non-recursive walk, compared with recursive decoders


def mutated(value: object, cut: tuple[int, int], insert: str) -> str:
    whole = json.dumps(value)
    start, length = cut[0] % (len(whole) + 1), cut[1]
    return whole[:start] + insert + whole[start + length :]


@given(st.builds(mutated, VALUES, st.tuples(st.integers(0), st.integers(0, 2)), st.sampled_from(["", *TOKENS[:-5]])))
@settings(max_examples=600, deadline=None)
def test_the_walk_accepts_exactly_the_json_of_the_standard_library(body: str) -> None:
    assert is_walked(body.encode()) is is_json(body.encode())


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=5) | st.lists(VALUES, max_size=5) | SCALARS)
@settings(max_examples=300, deadline=None)
def test_the_walk_returns_the_text_of_each_top_level_member_or_item(value: object) -> None:
    body = json.dumps(value, indent=1)
    value = json.loads(body)
    found = grammar.walk(body.encode(), frozenset(value) if isinstance(value, dict) else frozenset(), 3)
    if isinstance(value, dict):
        assert isinstance(found, dict)
        assert {name: json.loads(part) for name, part in found.items()} == value
    elif isinstance(value, list):
        assert found is not None
        assert [json.loads(part) for part in found] == value[:3]
    else:
        assert found is None


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_nul_lone_surrogates_and_deep_nesting_are_detected(value: object) -> None:
    body = json.dumps(value).encode()
    strings = list(strings_in(value))
    assert grammar.holds_nul(body) is any("\x00" in string for string in strings)
    assert grammar.holds_lone_surrogate(body) is any(not is_encodable(string) for string in strings)
    for limit in range(4):
        assert grammar.is_deeper_than(limit, body) is (depth_of(value) > limit)


@given(st.text(st.sampled_from('a\\"u0d\0\ud83d\ude00'), max_size=8))
@settings(max_examples=300, deadline=None)
def test_what_is_not_stored_is_replaced_and_nothing_else(text: str) -> None:
    stored = json.loads(grammar.storable(json.dumps(text).encode()))
    assert stored == re.sub("[\0\ud800-\udfff]", "\ufffd", json.loads(json.dumps(text)))


def strings_in(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [string for item in value for string in strings_in(item)]
        case dict():
            return [*value, *(string for item in value.values() for string in strings_in(item))]
    return []


def depth_of(value: object) -> int:
    if isinstance(value, list | dict):
        return 1 + max((depth_of(item) for item in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0


def is_encodable(string: str) -> bool:
    try:
        json.loads(json.dumps(string)).encode()  # two halves in a row are a pair, once they are escapes
    except UnicodeEncodeError:
        return False
    return True
