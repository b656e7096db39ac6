"""Whatever a client sends: no crash, no hang, no internal error, exactly one answer per request, and bounded memory.

The daemons are started once for each framing and receive the input of all examples.
"""

import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import wire
from fuzz_frames import GOLDEN, LIMIT, Target, fuzz, seeds
from treadle.contract import errors
from treadle.contract.kinds import KINDS

MAX_MESSAGE = 1 << 20  # bytes: what the daemons take
GROWTH = 64 << 20  # bytes that a daemon may have taken more, at its worst moment, than before

TARGET = Target()
COMMANDS: dict[str, dict[str, Any]] = {
    name: of_type["maximal"] for name, of_type in json.loads(GOLDEN.read_text("utf-8")).items()
}

PARAMS: dict[str, dict[str, Any]] = {
    "project/list": {"limit": 5, "cursor": "NQ"},
    "thread/list": {"limit": 5, "cursor": "NQ", "projectId": "project-1", "archived": True},
    "thread/read": {"threadId": "thread-1", "turnLimit": 5, "before": "NQ"},
    "turn/list": {"threadId": "thread-1", "limit": 5, "cursor": "NQ"},
    "checkpoint/list": {"threadId": "thread-1", "limit": 5, "cursor": "NQ"},
    "setting/list": {"limit": 5, "cursor": "ImEi"},
    "event/list": {"afterSequence": 3, "threadId": "thread-1", "limit": 5, "cursor": "NQ"},
    "subscription/open": {"topic": "thread", "threadId": "thread-1", "turnLimit": 5, "afterSequence": 1, "logId": "x"},
    "subscription/close": {"subscriptionId": "sub-1"},
    "daemon/status": {},
    "rpc.discover": {},
    "initialize": {"processId": 1, "workDoneToken": "t"},
    "no/such": {"a": 1},
}
"""Of every method that does not end the conversation."""

DEFECTS = (errors.INTERNAL_ERROR, errors.REQUEST_FAILED, errors.NOT_INITIALIZED)
KNOWN = {name for name, kind in KINDS.items() if kind.code not in DEFECTS} | {"tooBig"}
"""Kinds of errors. Not among them: internalError, and what is wrong with a database."""

ODD = [
    *("null", "true", "0", "-0", "-1", "1.5", "1e999", "-1e999", "1e-999", "0.1e1", "9" * 400, "-" + "9" * 400),
    *(f"0.{'9' * 400}", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e18", "1E+2"),
    *(
        '""',
        '" "',
        '"\\u0000"',
        '"a\\u0000b"',
        '"\\ud800"',
        '"\\udc00x"',
        '"\\ud83e\\uddf5"',
        '"\\ud83e"',
        '"\U0001f9f5"',
    ),
    *('"../../x"', '"/"', '"/../etc/passwd"', '"/a/./b//c/"', '"%s%n{0}{x.__class__}"', '"\'; DROP TABLE events; --"'),
    *('"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u2028"', '"' + "x" * 200 + '"', '"' + "é" * 5000 + '"', '"__proto__"'),
    *("[]", "{}", "[[]]", '[null,1,"a",{}]', '{"a":1,"a":2}', '{"":{"":{}}}', '{"type":"CreateProject"}'),
    *("[" * 126 + "]" * 126, "[" * 129 + "]" * 129, "[" * 20_000 + "]" * 20_000, '{"a":' * 3000 + "1" + "}" * 3000),
]
"""JSON texts that programs stumble over."""

NOT_JSON = [
    *("NaN", "Infinity", "-Infinity", "nul", "True", "01", "+1", ".5", "1.", "0x1", "'a'", "undefined", "", "1 2"),
    *('"\t"', '"\n"', '"\x00"', '"\\x"', '"\\u12"', '"', "[1,]", "{,}", '{"a"}', "{a:1}", "]", "}", "[}", "//", "\x00"),
    *("[" * 20_000, '{"a":' * 3000, "\ufeff1"),
]


class Heard(NamedTuple):
    """A message as it is sent. id: JSON text of the id that it must be answered under; None where it has none."""

    text: bytes
    id: str | None


class Fuzzed:
    """A daemon, and what it has said so far."""

    def __init__(self, daemon: wire.Daemon) -> None:
        self.daemon = daemon
        self.numbers = iter(range(10**9))
        self.begin_counting()

    def begin_counting(self) -> None:
        """What is heard from now on counts."""
        self.heard: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    def next_id(self, shape: int) -> str:
        """An id that was never used, as JSON text that stays as it is when it is decoded and encoded."""
        n = next(self.numbers)
        return [f"{n}", f'"id-{n}"', f"{n}.5", f'"\\u00e9 {n} 🧵"', f"-{n + 1}", f"{n}{'7' * 400}"][shape % 6]

    def finish(self) -> None:
        """Wait until the daemon has answered a last request: everything before it was read."""
        id = self.next_id(1)
        self.daemon.send(f'{{"jsonrpc":"2.0","id":{id},"method":"daemon/status"}}'.encode())
        self.wait_for(id)

    def wait_for(self, id: str) -> None:
        while not self.heard[normal(id)]:
            self.hear(self.daemon.body())

    def hear(self, body: bytes) -> None:
        message = json.loads(body.decode())
        for one in message if isinstance(message, list) else [message]:
            if "method" in one:
                continue
            assert one["jsonrpc"] == "2.0"
            assert ("result" in one) != ("error" in one)
            self.heard[normal(json.dumps(one["id"]))] += 1
            if "error" in one:
                kind = one["error"]["data"]["kind"]
                assert kind in KNOWN, one
                self.kinds[kind] += 1

    def converse(self, messages: list[Heard], batches: bool = False) -> None:
        """Send them, and hear one answer to each that has an id."""
        self.begin_counting()
        if batches and messages:
            self.daemon.send(b"[" + b",".join(message.text for message in messages) + b"]")
        else:
            for message in messages:
                self.daemon.send(message.text)
        ids = [message.id for message in messages if message.id is not None]
        for id in ids:
            self.wait_for(id)
        self.finish()
        answered = {id: count for id, count in self.heard.items() if id != "null"}
        assert set(answered.values()) == {1}, answered
        assert len(answered) == len(ids) + 1
        without = len(messages) - len(ids)
        assert self.heard["null"] <= without, "more is answered than was asked"

    @property
    def most_memory(self) -> int:
        """Bytes, at the worst moment so far (proc(5), VmHWM)."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def normal(id: str) -> str:
    return json.dumps(json.loads(id))


@pytest.fixture(scope="module", params=wire.FRAMINGS)
def fuzzed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    data_dir = tmp_path_factory.mktemp("fuzz") / "data"
    with wire.spawn(data_dir, "--max-message-bytes", str(MAX_MESSAGE), framing=request.param) as daemon:
        daemon.initialize()
        ready = Fuzzed(daemon)
        ready.finish()
        daemon.dispatch("CreateProject", id="project-1", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="thread-1", projectId="project-1", title="t", worktree=True)
        daemon.dispatch("StartTurn", threadId="thread-1", id="turn-1", prompt="go")
        yield ready
        ready.finish()
        assert daemon.finish() == 0
        assert "Traceback" not in daemon.stderr
    verified = wire.run("verify", "--data-dir", str(data_dir))
    assert verified.returncode == 0, verified


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """One that has heard nothing yet, for measurements of memory."""
    data_dir = tmp_path_factory.mktemp("fuzz") / "data"
    with wire.spawn(data_dir, "--max-message-bytes", str(MAX_MESSAGE)) as daemon:
        daemon.initialize()
        ready = Fuzzed(daemon)
        ready.finish()
        yield ready
        assert daemon.finish() == 0


def tries(count: int) -> settings:
    """A daemon that is slow once is not wrong."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


JSON = st.recursive(
    st.sampled_from(ODD)
    | st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(json.dumps)
    | st.text(max_size=20).map(json.dumps),
    lambda children: (
        st.lists(children, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(st.text(max_size=5).map(json.dumps), children), max_size=4).map(
            lambda items: f"{{{','.join(f'{name}:{value}' for name, value in items)}}}"
        )
    ),
    max_leaves=8,
)
"""Any JSON, as text."""


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def request(id: str, method: str, params: str) -> Heard:
    return Heard(f'{{"jsonrpc":"2.0","id":{id},"method":{text_of(method)},"params":{params}}}'.encode(), id)


def notification(method: str, params: str) -> Heard:
    return Heard(f'{{"jsonrpc":"2.0","method":{text_of(method)},"params":{params}}}'.encode(), None)


def object_of(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{text_of(name)}:{value}" for name, value in members.items()) + "}"


@st.composite
def fields_replaced(draw: st.DrawFn, whole: dict[str, Any]) -> str:
    """The object with some fields replaced by any JSON, left out, added or there twice."""
    members = {name: text_of(value) for name, value in whole.items()}
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([*members, "x"])) if members else "x"
        members[name] = draw(JSON)
    if members and draw(st.integers(0, 3)) == 0:
        del members[draw(st.sampled_from(list(members)))]
    text = object_of(members)
    if members and draw(st.integers(0, 9)) == 0:
        name = draw(st.sampled_from(list(members)))
        text = f"{text[:-1]},{text_of(name)}:{draw(JSON)}}}"
    return text


SOME_COMMAND = st.sampled_from(sorted(COMMANDS)).flatmap(lambda name: fields_replaced(COMMANDS[name]))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str]:
    """A method and its params, near to what it takes."""
    method = draw(st.sampled_from([*PARAMS, "command/dispatch", "command/dispatch", "command/dispatchBatch"]))
    if method == "command/dispatch":
        return method, draw(SOME_COMMAND)
    if method == "command/dispatchBatch":
        return method, object_of({"commands": f"[{','.join(draw(st.lists(SOME_COMMAND, max_size=4)))}]"})
    return method, draw(fields_replaced(PARAMS[method]))


TOLD = st.tuples(st.sampled_from(["$/cancelRequest", "$/setTrace", "initialized", "x"]), JSON) | calls()


@given(
    st.lists(st.tuples(st.integers(0, 5), calls()) | st.tuples(st.none(), TOLD), min_size=1, max_size=8), st.booleans()
)
@tries(60)
def test_requests_with_any_json_in_any_field_are_answered_once(
    fuzzed: Fuzzed, drawn: list[tuple[int | None, tuple[str, str]]], batch: bool
) -> None:
    messages = [
        notification(*call) if shape is None else request(fuzzed.next_id(shape), *call) for shape, call in drawn
    ]
    fuzzed.converse(messages, batch)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_unusual_json_in_every_field_of_a_command_is_answered_once(fuzzed: Fuzzed, name: str) -> None:
    command = COMMANDS[name]
    messages: list[Heard] = []
    for field in (*command, "unknown"):
        for value in ODD:
            members = {**{name: text_of(value) for name, value in command.items() if name != "commandId"}, field: value}
            messages.append(request(fuzzed.next_id(len(messages)), "command/dispatch", object_of(members)))
    fuzzed.converse(messages)


@pytest.mark.parametrize("method", [*PARAMS, "command/dispatchBatch"])
def test_unusual_json_as_params_and_in_every_field_of_a_method_is_answered_once(fuzzed: Fuzzed, method: str) -> None:
    params = PARAMS.get(method, {"commands": []})
    messages = [request(fuzzed.next_id(0), method, value) for value in ODD]
    for field in (*params, "unknown"):
        for value in ODD:
            members = {**{name: text_of(value) for name, value in params.items()}, field: value}
            messages.append(request(fuzzed.next_id(0), method, object_of(members)))
    fuzzed.converse(messages)
    fuzzed.daemon.notifications.clear()


@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: value[:12])
def test_invalid_json_anywhere_is_refused_and_the_next_request_is_answered(fuzzed: Fuzzed, value: str) -> None:
    broken = [
        f'{{"jsonrpc":"2.0","id":1,"method":"setting/list","params":{value}}}',
        f'{{"jsonrpc":"2.0","id":{value},"method":"setting/list"}}',
        f'{{"jsonrpc":"2.0","id":1,"method":"command/dispatch","params":{{"type":"ChangeSetting","value":{value}}}}}',
        f'[{{"jsonrpc":"2.0","id":1,"method":"setting/list"}},{value}',
    ]
    if fuzzed.daemon.framing == "lines":
        broken = [text for text in broken if "\n" not in text]
    fuzzed.begin_counting()
    for text in broken:
        fuzzed.daemon.send(text.encode())
    fuzzed.finish()
    assert fuzzed.heard["null"] == fuzzed.kinds["parseError"] == fuzzed.kinds.total() == len(broken)


def test_the_last_of_duplicate_keys_wins_and_the_request_is_answered_once(fuzzed: Fuzzed) -> None:
    first, last = fuzzed.next_id(0), fuzzed.next_id(1)
    text = f'{{"jsonrpc":"2.0","id":{first},"id":{last},"method":"no/such","method":"setting/list"}}'
    fuzzed.converse([Heard(text.encode(), last)])
    assert fuzzed.kinds == {}


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "put", "twice"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=4,
)


def mutated(text: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for how, where, what in changes:
        at = where % (len(text) + 1)
        if how == "flip":
            text = text[:at] + what[:1] + text[at + 1 :]
        elif how == "cut":
            text = text[:at] + text[at + len(what) * 3 :]
        elif how == "put":
            text = text[:at] + what + text[at:]
        else:
            text = text[:at] + text[at // 2 : at] + text[at:]
    return text


@given(st.lists(st.tuples(calls(), MUTATIONS), min_size=1, max_size=8))
@tries(75)
def test_mutated_messages_are_answered_at_most_once(
    fuzzed: Fuzzed, drawn: list[tuple[tuple[str, str], list[tuple[str, int, bytes]]]]
) -> None:
    fuzzed.begin_counting()
    frames = 0
    for call, changes in drawn:
        text = mutated(request(fuzzed.next_id(0), *call).text, changes)
        if len(text) > MAX_MESSAGE or b"exit" in text or b"shutdown" in text:
            continue
        frames += 1 + (text.count(b"\n") if fuzzed.daemon.framing == "lines" else 0)
        fuzzed.daemon.send(text)
    fuzzed.finish()
    assert sum(fuzzed.heard.values()) <= frames + 1 + 1000 * fuzzed.kinds["invalidRequest"]


@given(st.lists(st.binary(max_size=60), max_size=8))
@tries(50)
def test_random_frames_are_refused_and_the_next_request_is_answered(fuzzed: Fuzzed, bodies: list[bytes]) -> None:
    fuzzed.begin_counting()
    for body in bodies:
        fuzzed.daemon.send(body)
    fuzzed.finish()
    assert set(fuzzed.kinds) <= {"parseError", "invalidRequest"}


def test_an_absurd_content_length_is_refused_without_waiting_for_the_body(fuzzed: Fuzzed) -> None:
    fuzzed.begin_counting()
    before = fuzzed.most_memory if sys.platform == "linux" else 0
    fuzzed.daemon.write(b"Content-Length: 99999999999\r\n\r\n{}\n")
    fuzzed.finish()
    assert fuzzed.heard["null"] in (1, 2)
    if sys.platform == "linux":
        assert fuzzed.most_memory - before < GROWTH


HEADERS = [
    b"Content-Length: -1\r\n\r\n",
    b"Content-Length: 1e3\r\n\r\n",
    b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
    b"Content-Length: \xff\r\n\r\n",
    b"Content-Type: text/plain\r\n\r\n",
    b": 2\r\n\r\n",
    b"Content-Length: 2\r\nContent-Type: x; charset=utf-16\r\n\r\n{}",
    b"x" * 100_000,
    b"X: y\r\n" * 100_000,
    b"\x00" * 1000,
    b"\xef\xbb\xbf",
    b"\r\n" * 500_000,
    b'"' * 1000 + b"\r\n",
]


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: repr(headers[:24]))
def test_a_request_after_nonsense_headers_is_answered(fuzzed: Fuzzed, headers: bytes) -> None:
    fuzzed.begin_counting()
    if fuzzed.daemon.framing == "lines":
        headers += b"\n"
    fuzzed.daemon.write(headers)
    fuzzed.finish()


# Memory


def grown_by(fuzzed: Fuzzed, data: bytes) -> int:
    """Bytes that the daemon took at most, to take in this."""
    if sys.platform != "linux":
        pytest.skip("there is no /proc")
    Path(f"/proc/{fuzzed.daemon.process.pid}/clear_refs").write_text("5")  # VmHWM begins anew
    before = fuzzed.most_memory
    fuzzed.begin_counting()
    fuzzed.daemon.write(data)
    fuzzed.finish()
    return fuzzed.most_memory - before


CALL = b'{"jsonrpc":"2.0","id":1,"method":"setting/list","params":%b}\n'
HUGE: dict[str, bytes] = {
    "a million empty lines": b"\n" * 1_000_000,
    "a million lines of one space": b" \r\n" * 1_000_000,
    "a line of 50 MB": b"x" * 50_000_000 + b"\n",
    "arrays in arrays": CALL % (b"[" * 500_000 + b"]" * 500_000),
    "objects in objects": CALL % (b'{"a":' * 150_000 + b"1" + b"}" * 150_000),
    "brackets that never close": b"[" * 1_000_000 + b"\n",
    "a batch of 300,000": b"[" + b"1," * 299_999 + b"1]\n",
    "80,000 names": CALL % (b"{" + b",".join(b'"%d":1' % n for n in range(80_000)) + b"}"),
    "a number of a million digits": CALL % (b'{"limit":' + b"9" * 1_000_000 + b"}"),
    "a name of a megabyte": CALL % (b'{"' + b"x" * 1_000_000 + b'":1}'),
    "a method of a megabyte": b'{"jsonrpc":"2.0","id":1,"method":"%b"}\n' % (b"x" * 1_000_000),
    "a string of escapes": CALL % (b'{"cursor":"' + b"\\u00e9" * 160_000 + b'"}'),
    "a string of lone surrogates": CALL % (b'{"cursor":"' + b"\\ud800" * 160_000 + b'"}'),
    "half a megabyte of backslashes": CALL % (b'{"cursor":"' + b"\\\\" * 500_000 + b'"}'),
    "a hundred thousand notifications": b'{"jsonrpc":"2.0","method":"x"}\n' * 100_000,
}


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE)
def test_huge_input_uses_bounded_memory_and_the_next_request_is_answered(lines: Fuzzed, data: bytes) -> None:
    assert grown_by(lines, data) < GROWTH


# Framing, codec and params without a daemon


@given(st.binary(max_size=300))
@tries(150)
def test_any_bytes_decode_to_messages_or_errors(data: bytes) -> None:
    TARGET.take(data)


@given(st.integers(0, 3), st.lists(st.sampled_from(seeds()), min_size=1, max_size=3), MUTATIONS)
@tries(150)
@example(0, seeds()[-5:], [("flip", 0, b"\x00")])
def test_mutated_streams_decode_to_messages_or_errors(
    piece: int, streams: list[bytes], changes: list[tuple[str, int, bytes]]
) -> None:
    TARGET.take(bytes([piece]) + mutated(b"".join(stream[1:] for stream in streams), changes))


def test_the_fuzzer_runs_all_its_seeds() -> None:
    target = Target()
    for seed in seeds():
        target.take(seed)
    assert target.frames >= len(seeds())
    assert target.errors_seen > len(seeds())


def test_an_endless_frame_is_buffered_only_up_to_the_limit() -> None:
    tracemalloc.start()
    for start in (b"\x03", b"\x03Content-Length: 99999999999\r\n\r\n", b"\x03Content-Length: 60000\r\n\r\n"):
        TARGET.take(start + b"x" * 4_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 1024 * 1024, "three streams of 4 MB, of which 4 KB are kept"
    assert LIMIT == 4096


def test_two_seconds_of_coverage_guided_fuzzing_find_no_failure() -> None:
    text, failures = fuzz(2)
    if text.startswith("skipped"):
        pytest.skip(text)
    assert failures == 0, text
