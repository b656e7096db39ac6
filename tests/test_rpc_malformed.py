"""Malformed input: each request gets exactly one answer, anything else gets none, and the daemon keeps running."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from wire import FRAMINGS, Daemon, Framing, spawn

LIMIT = 100_000  # bytes of a message


def call(params: str, method: str = "command/dispatch", id: str = "7") -> bytes:
    return f'{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}'.encode()


def setting(value: str) -> bytes:
    return call(f'{{"type":"ChangeSetting","key":"k","value":{value}}}')


class Refusal(NamedTuple):
    """id: its JSON text. kind: the error's `data.kind`. path: its `data.path`, None where it has none."""

    id: str
    code: int
    kind: str
    path: str | None = None


PARSE_ERROR = Refusal("null", -32700, "parseError")
INVALID = Refusal("null", -32600, "invalidRequest")
INVALID_7 = Refusal("7", -32600, "invalidRequest")


def params(path: str, id: str = "7") -> Refusal:
    return Refusal(id, -32602, "invalidParams", path)


UNKNOWN = -32601, "methodNotFound"

MALFORMED: dict[str, tuple[bytes, Refusal]] = {
    # No JSON
    "not UTF-8": (b'{"jsonrpc":"2.0","id":7,"method":"daemon/status\xff"}', PARSE_ERROR),
    "no JSON at all": (b"hello", PARSE_ERROR),
    "NaN": (setting("NaN"), PARSE_ERROR),
    "an array that is not closed": (b"[" * 5000, PARSE_ERROR),
    # No message
    "a number": (b"42", INVALID),
    "5,000 objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, INVALID),
    "jsonrpc 1.0": (b'{"jsonrpc":"1.0","id":7,"method":"daemon/status"}', INVALID_7),
    "no method": (b'{"jsonrpc":"2.0","id":7}', INVALID_7),
    "id an object": (b'{"jsonrpc":"2.0","id":{"a":1},"method":"daemon/status"}', INVALID),
    "params a number": (call("7"), INVALID_7),
    "an empty batch": (b"[]", INVALID),
    "a batch of 1,001": (b"[" + b",".join([call("{}", "daemon/status")] * 1001) + b"]", INVALID),
    "a message over the limit": (
        setting('"' + "x" * LIMIT + '"'),
        Refusal("null", -32600, "messageTooLarge"),
    ),
    # No method
    "an unknown method": (call("{}", "thread/explode"), Refusal("7", *UNKNOWN)),
    "a notification as a method": (call("{}", "initialized"), Refusal("7", *UNKNOWN)),
    "an unknown method, id of 5,000 digits": (call("{}", "x", "9" * 5000), Refusal("9" * 5000, *UNKNOWN)),
    # No params
    "positional params": (call('["ChangeSetting","k",1]'), params("$.params")),
    "a command of an unknown type": (call('{"type":"Explode"}'), params("$.params.type")),
    "missing required params": (
        b'{"jsonrpc":"2.0","id":7,"method":"command/dispatch"}',
        params("$.params.type"),
    ),
    "an unknown field": (call('{"type":"CreateProject","name":"x","path":"/","nmae":""}'), params("$.params.nmae")),
    "an id with a line feed": (call('{"type":"ArchiveThread","threadId":"a\\n"}'), params("$.params.threadId")),
    "deep in a batch of commands": (
        call('{"commands":[{"type":"DeleteProject","id":"p"},{"type":"ArchiveThread"}]}', "command/dispatchBatch"),
        params("$.params.commands[1].threadId"),
    ),
    "a command's id inside a batch": (
        call('{"commands":[{"type":"ArchiveThread","threadId":"t","commandId":"c"}]}', "command/dispatchBatch"),
        params("$.params.commands[0].commandId"),
    ),
    "U+0000 in a text": (setting('"a\\u0000b"'), params("$.params")),
    "half a surrogate pair in the id": (call("{}", "daemon/status", '"\\ud800"'), params("$", '"\\ud800"')),
    "1e999": (setting("1e999"), params("$.params.value")),
    "5,000 arrays in the params": (setting("[" * 5000 + "]" * 5000), params("$.params")),
    "a limit of 0": (call('{"limit":0}', "project/list"), params("$.params.limit")),
    "a limit of 501": (call('{"limit":501}', "project/list"), params("$.params.limit")),
    "a fractional limit": (call('{"limit":1.5}', "project/list"), params("$.params.limit")),
    "an invalid cursor": (call('{"cursor":"?"}', "project/list"), params("$.params.cursor")),
    "a negative sequence": (call('{"afterSequence":-1}', "event/list"), params("$.params.afterSequence")),
    "a sequence past 64 bits": (
        call('{"afterSequence":9223372036854775808}', "event/list"),
        params("$.params.afterSequence"),
    ),
    "no such topic": (call('{"topic":"weather"}', "subscription/open"), params("$.params.topic")),
    "a second initialize": (call("{}", "initialize"), INVALID_7),
}  # fmt: skip

UNANSWERED = {
    "an unknown notification": b'{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"a":1}}',
    "a notification with invalid params": b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":[]}',
    "a command notification with invalid params": b'{"jsonrpc":"2.0","method":"command/dispatch","params":{"type":""}}',
    "a notification with half a surrogate pair": b'{"jsonrpc":"2.0","method":"x","params":{"a":"\\ud800"}}',
    "a notification nested too deeply": b'{"jsonrpc":"2.0","method":"x","params":' + b"[" * 999 + b"]" * 999 + b"}",
    "an answer without a request": b'{"jsonrpc":"2.0","id":1,"result":null}',
    "an answer nested too deeply": b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a batch of answers": b'[{"jsonrpc":"2.0","id":1,"result":1},{"jsonrpc":"2.0","id":1e999,"result":1}]',
}


@pytest.fixture(scope="module", params=FRAMINGS)
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    data_dir = tmp_path_factory.mktemp("malformed") / "data"
    with spawn(data_dir, "--max-message-bytes", str(LIMIT), framing=request.param) as daemon:
        daemon.initialize()
        yield daemon
        assert daemon.finish() == 0


def refusal(body: bytes) -> Refusal:
    """What an answer says, its id byte for byte."""
    answer = json.loads(body, parse_int=str)
    assert set(answer) == {"jsonrpc", "id", "error"}
    assert answer["jsonrpc"] == "2.0"
    before, _, after = body.partition(b'"id":')
    assert before == b'{"jsonrpc":"2.0",'
    id, _, _ = after.partition(b',"error":')
    error = answer["error"]
    assert set(error) == {"code", "message", "data"}
    assert error["message"]
    if error["data"]["kind"] in ("parseError", "invalidRequest", "invalidParams"):
        assert error["data"]["reason"]
    return Refusal(id.decode(), int(error["code"]), error["data"]["kind"], error["data"].get("path"))


def goes_on(daemon: Daemon) -> None:
    """The next message is the answer to the next request: nothing else was said, and it lives."""
    id = daemon.request("daemon/status")
    answer = daemon.message()
    assert answer["id"] == id, answer
    assert answer["result"]["queues"] == {"commands": 0, "requests": 1, "outputBytes": 0, "subscriptions": 0}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_gets_one_error(daemon: Daemon, name: str) -> None:
    body, expected = MALFORMED[name]
    daemon.send(body)
    assert refusal(daemon.body()) == expected
    goes_on(daemon)


@pytest.mark.parametrize("name", UNANSWERED)
def test_messages_that_are_not_requests_are_not_answered(daemon: Daemon, name: str) -> None:
    daemon.send(UNANSWERED[name])
    goes_on(daemon)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("127 arrays", "[" * 126 + "]" * 126),
        ("a number of 400 digits", "9" * 400),
        ("a duplicate member", '{"a":1,"a":2}'),
        ("an escaped backslash before u0000", '"\\\\u0000"'),
        ("a surrogate pair", '"\\ud83d\\ude00"'),
        ("the largest float", "1.7976931348623157e308"),
        ("line separators", '"\\u2028\\u2029\\u0085\\u000b"'),
    ],
)
def test_unusual_but_valid_json_is_accepted(daemon: Daemon, name: str, value: str) -> None:
    daemon.send(setting(value))
    answer = daemon.message()
    (stored,) = answer["result"]["events"]
    assert stored["event"]["value"] == json.loads(value)
    (item,) = daemon.result("setting/list")["items"]
    assert item["value"] == json.loads(value)
    goes_on(daemon)


def test_a_result_echoes_the_id_byte_for_byte(daemon: Daemon) -> None:
    for id in ("0", "-0", "1.50", "1e2", "9" * 5000, "1e999", '"\\u0041\\/"', '""', "null"):
        daemon.send(call("{}", "setting/list", id))
        assert daemon.body().startswith(f'{{"jsonrpc":"2.0","id":{id},"result":'.encode())
    goes_on(daemon)


def test_null_params_are_read_as_no_params(daemon: Daemon) -> None:
    daemon.send(call("null", "setting/list"))
    assert daemon.message()["id"] == 7
    goes_on(daemon)


def test_each_message_of_a_batch_is_answered_separately(daemon: Daemon) -> None:
    daemon.send(
        b"["
        + b",".join(
            [
                call("{}", "setting/list", "1"),
                b"[]",
                b"7",
                call("{}", "x", '"b"'),
                setting('"\\u0000"'),
                UNANSWERED["an unknown notification"],
                UNANSWERED["an answer without a request"],
                call("[1]", "setting/list", "3"),
            ]
        )
        + b"]"
    )
    answers = daemon.message()
    found = sorted(((a["id"], a.get("error", {}).get("code")) for a in answers), key=repr)
    assert found == sorted(
        [(1, None), (None, -32600), (None, -32600), ("b", -32601), (7, -32602), (3, -32602)], key=repr
    )
    goes_on(daemon)


@pytest.mark.parametrize(
    "nested",
    [b"[[]]", b"[[" + call("{}") + b"]]", b"[" * 5000 + b"]" * 5000],
    ids=["an empty one", "one of one", "5,000"],
)
def test_a_batch_inside_a_batch_is_rejected(daemon: Daemon, nested: bytes) -> None:
    daemon.send(nested)
    (answer,) = daemon.message()
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    goes_on(daemon)


def test_a_batch_of_a_thousand_requests_is_answered_as_one_batch(daemon: Daemon) -> None:
    daemon.send(b"[" + b",".join(call("{}", "setting/list", str(i)) for i in range(1000)) + b"]")
    assert sorted(answer["id"] for answer in daemon.message()) == list(range(1000))
    goes_on(daemon)


def test_a_request_with_an_id_already_in_flight_is_refused(daemon: Daemon) -> None:
    # Of a batch, nothing is answered before all of it is read: the first status is still in flight.
    daemon.send(b"[" + b",".join(call("{}", "daemon/status", id) for id in ("5", "5", '"5"', "5.0", "6")) + b"]")
    found = [(a["id"], a.get("error", {}).get("code")) for a in daemon.message()]
    assert sorted(found, key=repr) == sorted([("5", None), (5, -32600), (5.0, -32600), (5, None), (6, None)], key=repr)
    goes_on(daemon)


def test_a_request_sent_byte_by_byte_is_one_request(daemon: Daemon) -> None:
    data = daemon.frame(call("{}", "setting/list"))
    for i in range(len(data)):
        daemon.write(data[i : i + 1])
    assert daemon.message()["id"] == 7
    goes_on(daemon)


def test_empty_lines_between_messages_are_ignored(daemon: Daemon) -> None:
    daemon.write(b"\r\n" * 500_000 + b"\n" * 500_000 + b" \t\n" * 10)
    goes_on(daemon)


# Headers

HEADERS: dict[str, tuple[bytes, Refusal]] = {
    "a length that is not a number": (b"Content-Length: abc\r\n\r\n", PARSE_ERROR),
    "a negative length": (b"Content-Length: -1\r\n\r\n", PARSE_ERROR),
    "a fractional length": (b"Content-Length: 1.0\r\n\r\n", PARSE_ERROR),
    "an empty length": (b"Content-Length: \r\n\r\n", PARSE_ERROR),
    "no length": (b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{}", PARSE_ERROR),
    "two lengths that differ": (b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", PARSE_ERROR),
    "an absurd length": (b"Content-Length: 99999999999\r\n\r\n{}", Refusal("null", -32600, "messageTooLarge")),
    "a length of 5,000 digits": (
        b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
        Refusal("null", -32600, "messageTooLarge"),
    ),
    "a length just over the limit": (
        b"Content-Length: 100001\r\n\r\n" + b"{" * 100_001,
        Refusal("null", -32600, "messageTooLarge"),
    ),
    "headers over 8 KiB": (b"X: " + b"x" * 9000 + b"\r\nContent-Length: 2\r\n\r\n{}", PARSE_ERROR),
    "many headers over 8 KiB": (b"X: y\r\n" * 2000 + b"Content-Length: 2\r\n\r\n{}", PARSE_ERROR),
    "a line that is not a header": (b"hello\r\n\r\n", PARSE_ERROR),
    "a body without headers": (call("{}", "daemon/status") + b"\n", PARSE_ERROR),
    "another charset": (
        b"Content-Length: 2\r\nContent-Type: application/json; charset=latin-1\r\n\r\n{}",
        PARSE_ERROR,
    ),
    "an empty body": (b"Content-Length: 0\r\n\r\n", PARSE_ERROR),
    "a body longer than its length": (b"Content-Length: 2\r\n\r\n{}{}", INVALID),
}


@pytest.fixture(scope="module")
def speaks_headers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    data_dir = tmp_path_factory.mktemp("headers") / "data"
    with spawn(data_dir, "--max-message-bytes", str(LIMIT), framing="headers") as daemon:
        daemon.initialize()
        yield daemon
        assert daemon.finish() == 0


@pytest.mark.parametrize("name", HEADERS)
def test_a_malformed_frame_is_refused_and_the_next_request_is_answered(speaks_headers: Daemon, name: str) -> None:
    frame, expected = HEADERS[name]
    speaks_headers.write(frame)
    assert refusal(speaks_headers.body()) == expected
    id = speaks_headers.request("daemon/status")
    # What was left of a frame may be told as malformed too, once; the request behind it is read.
    answers = [speaks_headers.message()]
    while answers[-1]["id"] is None:
        answers.append(speaks_headers.message())
    assert answers[-1]["id"] == id
    assert len(answers) <= 2
    goes_on(speaks_headers)


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length:%d\r\n\r\n",
        b"CONTENT-LENGTH :  %d  \r\n\r\n",
        b"Content-Length: %d\n\n",
        b"Content-Length: 000%d\r\n\r\n",
        b"Content-Length: %d\r\nContent-Type: application/vscode-jsonrpc; charset=utf8\r\n\r\n",
        b'Content-Type: application/json; charset="UTF-8"\r\nContent-Length: %d\r\nX-More: a: b\r\n\r\n',
        b"\r\n\r\nContent-Length: %d\r\n\r\n",
    ],
)
def test_unusual_but_valid_headers_are_accepted(speaks_headers: Daemon, headers: bytes) -> None:
    body = call("{}", "setting/list")
    speaks_headers.write(headers % len(body) + body)
    assert speaks_headers.message()["id"] == 7
    goes_on(speaks_headers)


# Start and end of input


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_byte_order_mark_before_the_first_message_is_skipped(data_dir: Path, framing: Framing) -> None:
    with spawn(data_dir, framing=framing) as daemon:
        daemon.write(b"\xef\xbb\xbf")
        daemon.initialize()
        assert daemon.finish() == 0


@pytest.mark.parametrize(
    ("framing", "rest"),
    [
        ("headers", b"Content-Length: 100\r\n\r\n{"),
        ("headers", b"Content-Length: 100\r\n"),
        ("headers", b"Content-Le"),
        ("lines", b'{"jsonrpc":"2.0","id":7,"meth'),
    ],
)
def test_half_a_message_at_end_of_input_is_a_parse_error(data_dir: Path, framing: Framing, rest: bytes) -> None:
    with spawn(data_dir, framing=framing) as daemon:
        daemon.initialize()
        daemon.write(rest)
        daemon.close_input()
        assert refusal(daemon.body()) == PARSE_ERROR
        assert daemon.rest() == []
        assert daemon.status() == 0


def test_a_last_line_without_a_newline_is_a_message(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.write(call("{}", "setting/list"))
        daemon.close_input()
        assert daemon.message()["id"] == 7
        assert daemon.status() == 0
