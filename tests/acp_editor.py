"""An editor that speaks the Agent Client Protocol with an agent, directly or through `treadle acp`."""

import itertools
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripted import SCRIPTED
from wire import PATIENCE, TREADLE, Daemon

Json = dict[str, Any]


def behind(data_dir: Path, program: Sequence[str], *options: str) -> list[str]:
    """The command line of `treadle acp` for this agent."""
    return [*TREADLE, "acp", "--data-dir", str(data_dir), *options, "--", *program]


def scripted_agent(*words: str) -> list[str]:
    return [sys.executable, str(SCRIPTED), *words]


def processes_of(data_dir: Path) -> list[int]:
    """The processes of `treadle acp` with this data directory, without the agents."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"acp" in words and os.fsencode(data_dir) in words:
            found.append(int(path.parent.name))
    return found


def wait_for_end(data_dir: Path) -> None:
    """Wait until nothing of `treadle acp` with this data directory runs."""
    for pid in processes_of(data_dir):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        assert select.select([descriptor], [], [], PATIENCE)[0], f"process {pid} is left"
        os.close(descriptor)


class Editor:
    """told: what the agent has sent that is no answer. answers: what it is answered, by method."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.told: list[Json] = []
        self.answers: dict[str, Callable[[Json], Json]] = {}
        self._ids = itertools.count()

    def send(self, **message: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self) -> Json:
        """The next message; a request is answered if there is an answer to its method."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the agent has closed its end"
        message: Json = json.loads(line)
        if "method" in message:
            self.told.append(message)
            if "id" in message and (answer := self.answers.get(message["method"])):
                self.send(id=message["id"], result=answer(message["params"]))
        return message

    def call(self, method: str, **params: Any) -> Json:
        """A request; the message with its answer."""
        id = self.ask(method, **params)
        while True:
            message = self.receive()
            if message.get("id") == id and "method" not in message:
                return message

    def ask(self, method: str, **params: Any) -> int:
        """Send a request; its id."""
        id = next(self._ids)
        self.send(id=id, method=method, params=params)
        return id

    def until(self, method: str) -> Json:
        """The next message of the agent with this method."""
        while (message := self.receive()).get("method") != method:
            pass
        return message

    def start(self, cwd: Path) -> str:
        """Open a session; its id."""
        self.initialize()
        return str(self.call("session/new", cwd=str(cwd), mcpServers=[])["result"]["sessionId"])

    def initialize(self) -> None:
        who = {"name": "editor", "version": "1"}
        assert "result" in self.call("initialize", protocolVersion=1, clientInfo=who, clientCapabilities={})

    def prompt(self, session: str, text: str) -> Json:
        return self.call("session/prompt", sessionId=session, prompt=[{"type": "text", "text": text}])

    def wait(self) -> int:
        """Wait until the agent ends by itself; its exit status."""
        assert self.process.stdout
        self.process.stdout.read()
        return self.leave()

    def leave(self) -> int:
        """Close the agent's input; the exit status of what was started."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait(PATIENCE)


@contextmanager
def editing(data_dir: Path, *words: str, env: dict[str, str] | None = None) -> Iterator[Editor]:
    """An editor with a scripted agent behind `treadle acp`; in the end nothing of it is left."""
    editor = Editor(behind(data_dir, scripted_agent(*words)), env={**os.environ, **(env or {})})
    try:
        yield editor
    finally:
        if editor.process.poll() is None and not editor.process.stdout.closed:  # type: ignore[union-attr]
            editor.leave()
        wait_for_end(data_dir)


def thread_of(daemon: Daemon, session: str) -> Json:
    """What the log says of the thread of a session."""
    thread: Json = daemon.result("thread/read", {"threadId": session, "turnLimit": 500})
    return thread


def said(thread: Json) -> list[tuple[str, str]]:
    """Who said what."""
    return [(message["role"], message["text"]) for message in thread["messages"]]


def ends(thread: Json) -> list[str]:
    """How the turns ended."""
    return [turn["status"] for turn in thread["turns"]]
