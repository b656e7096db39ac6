"""What the scripted agent does when `initialize` arrives, before it is answered."""

import os
import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

from scripted_agent import ANSWER
from scripted_agent.streams import receive, send, write


def flood_stderr() -> None:
    for number in range(40_000):
        sys.stderr.write(f"noise {number:044}\n")
    sys.stderr.write("the last words\n")
    sys.stderr.flush()


def banner() -> None:
    write(
        b"Content of a banner", b"\x1b[1mbold\x1b[0m", b"\xff\xfe", b'[{"jsonrpc": "2.0"}]', b"7", b'{"jsonrpc": "2.0"}'
    )
    write(b"[" * 100_000, b'{"id": 1, "result": {"deep": ' + b"[" * 100_000)


def long_line() -> None:
    write(b'{"jsonrpc": "2.0", "method": "' + b"x" * (33 * 1024 * 1024) + b'"}')


def ask() -> None:
    """Requests with the ids 0 and 1 (which is that of initialize), one of them unknown to the protocol."""
    send(method="_auth/status_update", params={})
    for id, method in ((0, "fs/write_text_file"), (1, "craft/drainMidTurnQueue"), ("a\u2028b", "_x/y")):
        send(id=id, method=method, params={"sessionId": "s"})
    for id in (0, 1, "a\u2028b"):
        answer = receive()
        if answer["id"] != id or answer["error"]["code"] != -32601:
            sys.exit(f"wrong answer to {id!r}: {answer}")


def answer_others() -> None:
    """Answers to requests that nobody sent."""
    for id in (77, None, "1", [1]):
        send(id=id, result={"protocolVersion": 9})


def children() -> None:
    """Two tools in sessions of their own, one of which ignores SIGTERM. $PIDS gets the ids of all of us."""
    pids = [os.getpid()]
    for command in (["sleep", "600"], ["sh", "-c", "trap '' TERM; exec sleep 600"]):
        tool = subprocess.Popen(
            command,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        pids.append(tool.pid)
    with open(os.environ["PIDS"], "w") as file:
        file.write(" ".join(map(str, pids)))


def stay() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fork_on_sigterm() -> None:
    """When told to end, start another process instead. Its id is added to $PIDS."""

    def fork(number: int, frame: object) -> NoReturn:
        late = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL)
        with open(os.environ["PIDS"], "a") as file:
            file.write(f" {late.pid}")
        os._exit(0)

    signal.signal(signal.SIGTERM, fork)


def silence() -> NoReturn:
    while receive():
        pass
    sys.exit()


def late_start() -> None:
    """Nothing until the input has ended, and then all that was not asked for any more."""
    while receive():
        pass


def wait() -> None:
    """Until the file $GO exists."""
    while not os.path.exists(os.environ["GO"]):  # noqa: PTH110
        time.sleep(0.02)


def mutter() -> NoReturn:
    """Progress, without an end."""
    while True:
        write(b"starting ...")
        time.sleep(0.05)


def updates() -> None:
    """5,000 of them, numbered."""
    for number in range(5_000):
        send(method="session/update", params={"sessionId": "s", "number": number})


def chatter() -> NoReturn:
    """Messages for ever, but no answer."""
    while True:
        send(method="session/update", params={"sessionId": "s"})
        time.sleep(0.01)


def ask_for_ever() -> NoReturn:
    """Ask, and read no answer."""
    while True:
        send(id="x" * 1_000_000, method="fs/read_text_file", params={})


def die() -> NoReturn:
    sys.stderr.write("no key was given\n")
    sys.exit(3)


def leave_stdout_open() -> NoReturn:
    subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL)
    die()


def close_stdout() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    silence()


def deaf() -> None:
    """Stop reading, but ask."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for id in range(20):
        send(id=id, method="fs/read_text_file", params={})


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_self_in_real_time() -> None:
    os.kill(os.getpid(), 40)


BEHAVIOURS = {
    "flood-stderr": flood_stderr,
    "banner": banner,
    "long-line": long_line,
    "ask": ask,
    "answer-others": answer_others,
    "children": children,
    "stay": stay,
    "fork-on-sigterm": fork_on_sigterm,
    "silence": silence,
    "late-start": late_start,
    "wait": wait,
    "mutter": mutter,
    "updates": updates,
    "chatter": chatter,
    "ask-for-ever": ask_for_ever,
    "die": die,
    "leave-stdout-open": leave_stdout_open,
    "close-stdout": close_stdout,
    "deaf": deaf,
    "kill-self": kill_self,
    "kill-self-in-real-time": kill_self_in_real_time,
}
ANSWERS: dict[str, dict[str, Any]] = {
    "bare": {"result": {"protocolVersion": 1}},
    "odd": {
        "result": {"protocolVersion": 1, "agentInfo": "me", "agentCapabilities": [], "authMethods": [7, {"id": "x"}]}
    },
    "version-2": {"result": {"protocolVersion": 2, "info": {"name": "scripted"}, "capabilities": {}}},
    "no-version": {"result": {}},
    "refuse": {"error": {"code": -32603, "message": "Internal error", "data": {"details": "no such model"}}},
    "environment": {"result": {**ANSWER, "agentCapabilities": {"_meta": dict(os.environ)}}},
}
"""Behaviours that are another answer than ANSWER."""
