"""The examples of the JSON-RPC 2.0 specification, section 7, are answered as printed there.

https://www.jsonrpc.org/specification#examples. Our errors also have `data`, which the specification allows.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wire import FRAMINGS, Daemon, spawn

SERVER = (sys.executable, str(Path(__file__).with_name("spec_server.py")))

PARSE_ERROR = {"code": -32700, "message": "Parse error"}
INVALID_REQUEST = {"code": -32600, "message": "Invalid Request"}
METHOD_NOT_FOUND = {"code": -32601, "message": "Method not found"}


def result(id: Any, result: Any) -> Any:
    return {"jsonrpc": "2.0", "result": result, "id": id}


def error(id: Any, error: Any) -> Any:
    return {"jsonrpc": "2.0", "error": error, "id": id}


# Line breaks become spaces: in the framing by lines they would end the message.
EXAMPLES: dict[str, tuple[str, Any]] = {
    "positional parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        result(1, 19),
    ),
    "positional parameters the other way round": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        result(2, -19),
    ),
    "named parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        result(3, 19),
    ),
    "named parameters in another order": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        result(4, 19),
    ),
    "a notification": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    "a notification of nothing": ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    "non-existent method": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        error("1", METHOD_NOT_FOUND),
    ),
    "invalid JSON": ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', error(None, PARSE_ERROR)),
    "invalid Request object": (
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        error(None, INVALID_REQUEST),
    ),
    "batch, invalid JSON": (
        """[
            {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
            {"jsonrpc": "2.0", "method"
        ]""",
        error(None, PARSE_ERROR),
    ),
    "an empty Array": ("[]", error(None, INVALID_REQUEST)),
    "an invalid batch": ("[1]", [error(None, INVALID_REQUEST)]),
    "an invalid batch of three": ("[1,2,3]", [error(None, INVALID_REQUEST)] * 3),
    "batch": (
        """[
            {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
            {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
            {"foo": "boo"},
            {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
            {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]""",
        [
            result("1", 7),
            result("2", 19),
            error(None, INVALID_REQUEST),
            error("5", METHOD_NOT_FOUND),
            result("9", ["hello", 5]),
        ],
    ),
    "batch of notifications": (
        """[
            {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
        ]""",
        None,
    ),
}


@pytest.fixture(scope="module", params=FRAMINGS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    data_dir = tmp_path_factory.mktemp("spec") / "data"
    with spawn(data_dir, framing=request.param, command=SERVER) as daemon:
        daemon.initialize()
        yield daemon
        assert daemon.finish() == 0


def printed(answer: Any) -> Any:
    """The answer without the `data` of its errors."""
    if isinstance(answer, list):
        return [printed(one) for one in answer]
    if "error" in answer:
        assert set(answer["error"]) == {"code", "message", "data"}
        answer["error"].pop("data")
    return answer


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_answered_as_in_the_specification(server: Daemon, example: str) -> None:
    request, expected = EXAMPLES[example]
    server.send(request.replace("\n", " ").encode())
    if expected is not None:
        assert printed(server.message()) == expected
    # And that was all: the next message is the answer to the next request.
    server.send({"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": "next"})
    assert server.message() == result("next", 3)


def test_notifications_reach_their_method(server: Daemon) -> None:
    before = server.result("heard")
    for example in ("a notification", "batch of notifications"):
        server.send(EXAMPLES[example][0].replace("\n", " ").encode())
    assert server.result("heard")[len(before) :] == [[1, 2, 3, 4, 5], [1, 2, 4], [7]]


def test_positional_params_of_the_wrong_number_or_type_are_refused(server: Daemon) -> None:
    data = server.error("sum", [1, "2"])["data"]
    assert (data["kind"], data["path"]) == ("invalidParams", "$.params")
    assert server.error("sum", {"a": 1})["data"]["path"] == "$.params"
