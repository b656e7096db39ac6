"""What the tests of the commands for people need: a conversation with all that a thread can hold, and a terminal."""

import os
import subprocess
import termios
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import wire
from wire import PATIENCE, TREADLE

HOSTILE = "</script><script>alert(1)</script> <b>&amp;</b> \x1b[31mred\x1b[0m \x9b31m \u202eevil\x07"
"""Text that a page, a terminal and a reader could be harmed by."""

FENCES = "A list:\n\n- `a<b`\n- ```\n\n```python\nif a < b:\n    print('</details>')\n```\n\n~~~~\nnever closed <u>"
"""Text whose fences end neither where its reader nor where its writer thinks."""


def converse(
    daemon: wire.Daemon, thread: str = "talk-1", project: str = "web", *, title: str = "Show the wind"
) -> None:
    """Two turns: one that has all there is and fails, one that runs on."""

    def do(type: str, **fields: Any) -> None:
        daemon.dispatch(type, threadId=thread, **fields)

    do("CreateThread", projectId="web", title=title)
    do("CreateCheckpoint", id="before", gitRef="refs/treadle/0", message="before all")
    do("StartTurn", id="turn-1", messageId="prompt-1", prompt=f"Please. {HOSTILE}")
    do("RecordActivity", turnId="turn-1", id="thought", kind="thought", title="Thought", status="completed",
       detail={"text": "I think."})  # fmt: skip
    do("AddMessage", turnId="turn-1", id="m-1", role="assistant", text=FENCES, streaming=False)
    do("RecordActivity", turnId="turn-1", id="tool", kind="tool_call", title=HOSTILE, status="running")
    detail = {
        "rawInput": {"command": f"echo '{HOSTILE}'", "cwd": "/home/ada"},
        "content": [
            {"type": "diff", "path": "/web/api.py", "oldText": "a\nb\n", "newText": "a\n<c>\n"},
            {"type": "content", "content": {"type": "text", "text": f"```\n{HOSTILE}\n````\n" + "line\n" * 30}},
        ],
    }
    do("RecordActivity", turnId="turn-1", id="tool", kind="tool_call", title=HOSTILE, status="completed", detail=detail)
    options = [{"id": "yes", "name": "Allow once", "kind": "allow_once"}, {"id": "no", "name": "No", "kind": "reject"}]
    do("RequestApproval", turnId="turn-1", id="ask", title="pytest -q", options=options)
    do("ResolveApproval", id="ask", outcome="yes")
    do("CreateCheckpoint", id="after", turnId="turn-1", gitRef="refs/treadle/1", message=HOSTILE)
    do("FailTurn", id="turn-1", error="the model is overloaded")
    do("StartTurn", id="turn-2", messageId="prompt-2", prompt="Again")
    do("AddMessage", turnId="turn-2", id="m-2", role="assistant", text="Working", streaming=True)
    do("AppendMessage", id="m-2", text=" on it")
    do("CompleteTurn", id="turn-2", stopReason="end_turn", usage={"inputTokens": 1200, "outputTokens": 90})


def pipelined(daemon: wire.Daemon, thread: str, turn: str, times: Iterable[str] = ()) -> list[str]:
    """A turn that is written at once, with the times that its commands carry; what it shows, in order."""
    place = {"threadId": thread, "turnId": turn}
    said = [f"{turn}: {word}" for word in ("one", "two", "three", "four", "five", "six")]
    commands: list[dict[str, Any]] = [
        {"type": "StartTurn", "threadId": thread, "id": turn, "prompt": said[0]},
        {"type": "AddMessage", **place, "role": "assistant", "text": said[1]},
        {"type": "RecordActivity", **place, "kind": "tool_call", "title": said[2], "status": "completed"},
        {"type": "AddMessage", **place, "role": "assistant", "text": said[3]},
        {"type": "RecordActivity", **place, "kind": "tool_call", "title": said[4], "status": "completed"},
        {"type": "AddMessage", **place, "role": "assistant", "text": said[5]},
        {"type": "CompleteTurn", "threadId": thread, "id": turn, "stopReason": "end_turn"},
    ]
    for command, at in zip(commands, times, strict=False):
        command["at"] = at
    requests = [
        {"jsonrpc": "2.0", "id": f"{turn}-{n}", "method": "command/dispatch", "params": command}
        for n, command in enumerate(commands)
    ]
    daemon.send_together(requests)
    answers = [daemon.answer(request["id"]) for request in requests]
    assert all("result" in answer for answer in answers), answers
    return said


BACKWARDS = [f"2026-01-31T12:00:{60 - n:02}.000Z" for n in range(1, 8)]


def some_work(data_dir: Path) -> None:
    """A project with the conversation in it."""
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="web", name="Web", path="/web")
        converse(daemon)


def many_threads(daemon: wire.Daemon, count: int, project: str = "web") -> None:
    """Threads t-0, t-1, … in a project, in batches."""
    daemon.dispatch("CreateProject", id=project, name=project, path=f"/{project}")
    for first in range(0, count, 500):
        threads = [
            {"type": "CreateThread", "threadId": f"t-{n}", "projectId": project, "title": f"Thread {n}"}
            for n in range(first, min(first + 500, count))
        ]
        daemon.result("command/dispatchBatch", {"commands": threads})


def on_terminal(
    *arguments: str, columns: int = 100, env: dict[str, str] | None = None, typed: str | None = None
) -> tuple[int, str]:
    """A command whose stdout is a terminal: its exit status, and what it printed there.

    typed: what a person types; then stdin is the terminal as well.
    """
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [*TREADLE, *arguments],
        stdin=subprocess.DEVNULL if typed is None else theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**environment, "TERM": "xterm-256color", **(env or {})},
    )
    os.close(theirs)
    os.write(ours, (typed or "").encode())
    printed = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # EIO: the other side was closed
            break
        if not piece:
            break
        printed += piece
    os.close(ours)
    _, told = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in told
    return process.returncode, printed.decode().replace("\r\n", "\n")
