"""stdin and stdout can be pipes, sockets, files or terminals, and stdout carries only the protocol."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wire import FRAMINGS, PATIENCE, TREADLE, Framing, Transport, Wire, spawn

BIG = 8 * 1024 * 1024 - 64  # of one value, with its quotes
SETTING = {"type": "ChangeSetting", "key": "k", "value": "a line\nbreak, \u2028 and 🧵"}


def request(id: int, method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


SESSION = [
    request(1, "initialize", {}),
    {"jsonrpc": "2.0", "method": "initialized", "params": {}},
    request(2, "command/dispatch", SETTING),
    request(3, "setting/list"),
    request(4, "shutdown"),
    {"jsonrpc": "2.0", "method": "exit"},
]


def framed(framing: Framing, messages: list[Any]) -> bytes:
    wire = object.__new__(Wire)
    wire.framing = framing
    return b"".join(wire.frame(json.dumps(message).encode()) for message in messages)


def unframed(framing: Framing, data: bytes) -> list[Any]:
    messages = []
    while data:
        if framing == "lines":
            body, _, data = data.partition(b"\n")
        else:
            header, _, data = data.partition(b"\r\n\r\n")
            length = int(header.removeprefix(b"Content-Length: "))
            body, data = data[:length], data[length:]
        messages.append(json.loads(body))
    return messages


def is_the_session(messages: list[Any]) -> bool:
    answers = {message["id"]: message for message in messages}
    return (
        sorted(answers) == [1, 2, 3, 4]
        and answers[2]["result"]["events"][0]["event"]["value"] == SETTING["value"]
        and answers[3]["result"]["items"][0]["value"] == SETTING["value"]
    )


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("over", ["pipes", "socket", "terminal"])
def test_a_session_works_over_pipes_sockets_and_terminals(data_dir: Path, over: Transport, framing: Framing) -> None:
    with spawn(data_dir, framing=framing, over=over) as daemon:
        daemon.send_together(SESSION)
        assert is_the_session(daemon.rest())
        assert daemon.status() == 0
        assert daemon.stderr == ""


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_session_works_from_file_to_file(data_dir: Path, tmp_path: Path, framing: Framing) -> None:
    script, answers = tmp_path / "script", tmp_path / "answers"
    script.write_bytes(framed(framing, SESSION[:-2]))
    with script.open("rb") as stdin, answers.open("wb") as stdout:
        done = subprocess.run(
            [*TREADLE, "serve", "--data-dir", str(data_dir)], stdin=stdin, stdout=stdout, timeout=PATIENCE
        )
    assert done.returncode == 0
    assert is_the_session([*unframed(framing, answers.read_bytes()), {"id": 4}])


def test_empty_input_is_a_clean_exit(data_dir: Path) -> None:
    done = subprocess.run(
        [*TREADLE, "serve", "--data-dir", str(data_dir)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_daemon_exits_when_its_terminal_hangs_up(data_dir: Path) -> None:
    with spawn(data_dir, over="terminal") as daemon:
        daemon.initialize()
        daemon.close_input()
        daemon.close_output()
        assert daemon.status() == 0


def test_a_session_sent_byte_by_byte_works(data_dir: Path) -> None:
    with spawn(data_dir, framing="headers") as daemon:
        for byte in framed("headers", SESSION):
            daemon.write(bytes([byte]))
        assert is_the_session(daemon.rest())


@pytest.mark.parametrize(("over", "framing"), [("pipes", "headers"), ("socket", "lines"), ("terminal", "lines")])
def test_a_large_message_can_be_sent_and_received(data_dir: Path, over: Transport, framing: Framing) -> None:
    size = BIG // 10 if over == "terminal" else BIG  # which takes 4 KiB at once
    value = "0123456789abcdef" * (size // 16)
    with spawn(data_dir, framing=framing, over=over) as daemon:
        daemon.initialize()
        stored = daemon.dispatch("ChangeSetting", key="k", value=value)["events"][0]
        assert stored["event"]["value"] == value
        assert daemon.result("setting/list")["items"][0]["value"] == value
        daemon.result("shutdown")
        daemon.notify("exit")
        assert daemon.status() == 0


@pytest.mark.parametrize("over", ["pipes", "terminal"])
def test_inherited_descriptors_stay_blocking(data_dir: Path, over: Transport) -> None:
    """O_NONBLOCK belongs to the open file: it would also affect a shell that shares it."""
    program = """
import os, subprocess, sys
status = subprocess.call([sys.executable, "-m", "treadle", "serve", *sys.argv[1:]])
os.write(2, repr((status, os.get_blocking(0), os.get_blocking(1))).encode())
"""
    with spawn(data_dir, over=over, command=(sys.executable, "-c", program)) as daemon:
        daemon.send_together(SESSION)
        assert is_the_session(daemon.rest())
        assert daemon.status() == 0
        assert daemon.stderr == "(0, True, True)"


# Only the protocol on stdout

PRINTS = """
import os, sys
from treadle import cli
from treadle.server import handlers

def methods_of(daemon, original=handlers.methods_of):
    print("stray", flush=True)
    os.write(1, b"stray\\n")
    os.system("echo stray")
    return original(daemon)

handlers.methods_of = methods_of
sys.exit(cli.main(["serve", *sys.argv[1:]]))
"""


def test_stray_prints_go_to_stderr(data_dir: Path) -> None:
    with spawn(data_dir, command=(sys.executable, "-c", PRINTS)) as daemon:
        daemon.send_together(SESSION)
        assert is_the_session(daemon.rest())
        assert daemon.status() == 0
        assert daemon.stderr == "stray\n" * 3


def closed(descriptors: str, *command: str) -> tuple[str, ...]:
    """A command that is started without these descriptors."""
    return ("sh", "-c", f'exec "$0" "$@" {descriptors}', *command)


def test_a_session_works_without_stderr(data_dir: Path) -> None:
    with spawn(data_dir, command=closed("2>&-", sys.executable, "-c", PRINTS)) as daemon:
        daemon.send_together(SESSION)
        assert is_the_session(daemon.rest())
        assert daemon.status() == 0


@pytest.mark.parametrize("descriptors", [">&-", "<&- >&- 2>&-"])
def test_the_daemon_exits_cleanly_without_stdin_or_stdout(data_dir: Path, descriptors: str) -> None:
    with spawn(data_dir, command=closed(descriptors, *TREADLE, "serve")) as daemon:
        if descriptors == ">&-":
            daemon.send_together(SESSION)
        assert daemon.status() == 0
    with spawn(data_dir) as daemon:
        daemon.initialize()
        assert len(daemon.result("setting/list")["items"]) == (descriptors == ">&-")
        assert daemon.finish() == 0


def test_a_reader_gone_before_the_first_answer_is_not_an_error(data_dir: Path) -> None:
    with spawn(data_dir) as daemon:
        daemon.close_output()
        daemon.send_together(SESSION[:3])
        assert daemon.status() == 0
        assert daemon.stderr == ""
