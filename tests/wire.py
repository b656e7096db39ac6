"""A raw client: writes bytes, reads frames, and shares no code with the daemon that it talks to.

A `Wire` is a conversation over two descriptors; `spawn` starts `treadle serve` at the other end of it. Everything is
synchronous, and each wait ends with what is awaited or fails after PATIENCE.
"""

import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

Framing = Literal["lines", "headers"]
FRAMINGS: Final[tuple[Framing, ...]] = ("lines", "headers")
Transport = Literal["pipes", "socket", "terminal"]

TREADLE: Final = (sys.executable, "-m", "treadle")

PATIENCE: Final = 60.0
"""Seconds after which what is awaited counts as lost. Nothing waits for this long unless it has failed."""

_PIECE: Final = 1 << 18


class Ended(Exception):
    """The daemon has closed its end."""


class Wire:
    """framing: what it speaks. answers: by id, those that were read over. notifications: the same, in their order."""

    def __init__(self, framing: Framing, to: int, source: int) -> None:
        self.framing: Framing = framing
        self.answers: dict[Any, dict[str, Any]] = {}
        self.notifications: list[dict[str, Any]] = []
        self._to: int | None = to
        self._source: int | None = source
        self._ids = itertools.count(1)
        self._buffer = bytearray()
        self._scanned = 0  # of the buffer, before which there is no line break
        self.ended = False
        os.set_blocking(to, False)
        os.set_blocking(source, False)

    # Out

    def frame(self, body: bytes) -> bytes:
        """One message as it goes on the wire."""
        if self.framing == "lines":
            return body + b"\n"
        return b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body

    def write(self, data: bytes, *, reading: bool = True) -> int:
        """Write all of it, and keep what comes meanwhile, or stop where the daemon takes no more; what was written."""
        assert self._to is not None
        view, written = memoryview(data), 0
        deadline = time.monotonic() + PATIENCE
        while written < len(data):
            try:
                written += os.write(self._to, view[written : written + _PIECE])
            except BlockingIOError:
                if not reading:
                    return written
                self._poll(deadline, writing=True)
        return written

    def send(self, message: Any) -> None:
        """Write one message: JSON text as bytes as it is, anything else encoded."""
        self.send_together([message])

    def send_together(self, messages: Iterable[Any]) -> None:
        """Write messages at once."""
        bodies = (m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages)
        self.write(b"".join(map(self.frame, bodies)))

    def request(self, method: str, params: Any = None) -> int:
        """Send a request without waiting for its answer; its id."""
        id = next(self._ids)
        message = {"jsonrpc": "2.0", "id": id, "method": method}
        self.send(message if params is None else {**message, "params": params})
        return id

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        message = {"jsonrpc": "2.0", "method": method}
        self.send(message if params is None else {**message, "params": params})

    def close_input(self) -> None:
        """Nothing more comes from here."""
        if self._to is not None:
            os.close(self._to)
            self._to = None

    # In

    def body(self) -> bytes:
        """The next frame's body, as it came. Raises Ended."""
        deadline = time.monotonic() + PATIENCE
        while (body := self._next_body()) is None:
            if self.ended:
                assert not self._buffer, f"half a frame: {bytes(self._buffer[:200])!r}"
                raise Ended
            self._poll(deadline)
        return body

    def message(self) -> Any:
        """The next message, or the next batch of them. Raises Ended."""
        return json.loads(self.body())

    def answer(self, id: Any) -> dict[str, Any]:
        """The answer to a request."""
        while id not in self.answers:
            self._keep(self.message())
        return self.answers.pop(id)

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        """A request, and its whole answer."""
        return self.answer(self.request(method, params))

    def result(self, method: str, params: Any = None) -> Any:
        """A request, and its result."""
        answer = self.call(method, params)
        assert "result" in answer, answer
        return answer["result"]

    def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """A request, and its error."""
        answer = self.call(method, params)
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    def dispatch(self, type: str, **fields: Any) -> Any:
        """The answer to one command."""
        return self.result("command/dispatch", {"type": type, **fields})

    def notification(self, method: str, fits: Callable[[Any], bool] = lambda params: True) -> Any:
        """The params of the next notification of that method that fits; it is taken, others are kept."""
        seen = 0
        while True:
            for i in range(seen, len(self.notifications)):
                found = self.notifications[i]
                if found["method"] == method and fits(found["params"]):
                    del self.notifications[i]
                    return found["params"]
            seen = len(self.notifications)
            self._keep(self.message())

    def question(self) -> dict[str, Any]:
        """The next request of the daemon."""
        seen = 0
        while True:
            for i in range(seen, len(self.notifications)):
                if "id" in self.notifications[i]:
                    return self.notifications.pop(i)
            seen = len(self.notifications)
            self._keep(self.message())

    def rest(self) -> list[Any]:
        """All messages until the daemon closes its end."""
        messages = []
        while True:
            try:
                messages.append(self.message())
            except Ended:
                return messages

    def close_output(self) -> None:
        """Read no more."""
        if self._source is not None:
            os.close(self._source)
            self._source = None

    def _keep(self, message: Any) -> None:
        for one in message if isinstance(message, list) else [message]:
            if "method" in one:
                self.notifications.append(one)
            else:
                assert one["id"] not in self.answers, f"answered twice: {one}"
                self.answers[one["id"]] = one

    def _poll(self, deadline: float, *, writing: bool = False) -> None:
        """Take what has come, or wait until something has, or until there is room to write."""
        assert self._source is not None
        poll = select.poll()
        if not self.ended:
            poll.register(self._source, select.POLLIN)
        if writing:
            assert self._to is not None
            poll.register(self._to, select.POLLOUT)
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        assert ready, f"nothing came; so far {bytes(self._buffer[:200])!r}"
        if any(descriptor == self._source for descriptor, _ in ready):
            try:
                data = os.read(self._source, _PIECE)
            except BlockingIOError:
                return
            except OSError:  # EIO: a terminal whose other side was closed
                data = b""
            self.ended = not data
            self._buffer += data

    def _next_body(self) -> bytes | None:
        if self.framing == "lines":
            end = self._buffer.find(b"\n", self._scanned)
            self._scanned = len(self._buffer) if end < 0 else 0
            if end < 0:
                return None
            start, after = 0, end + 1
        else:
            blank = self._buffer.find(b"\r\n\r\n")
            if blank < 0:
                return None
            name, _, length = bytes(self._buffer[:blank]).partition(b": ")
            assert name == b"Content-Length", bytes(self._buffer[:200])
            start = blank + 4
            end = after = start + int(length)
            if len(self._buffer) < end:
                return None
        body = bytes(self._buffer[start:end])
        del self._buffer[:after]
        return body


class Daemon(Wire):
    """process: the daemon's. data_dir: its data directory. log: the file that its stderr goes to."""

    def __init__(
        self, framing: Framing, to: int, source: int, process: "subprocess.Popen[bytes]", data_dir: Path, log: Path
    ) -> None:
        super().__init__(framing, to, source)
        self.process = process
        self.data_dir = data_dir
        self.log = log

    def initialize(self, **params: Any) -> Any:
        """Say hello; the result."""
        return self.result("initialize", params)

    def status(self) -> int:
        """The exit status, once the daemon has ended; what it still writes is kept."""
        if self._source is not None:
            while not self.ended:
                self._poll(time.monotonic() + PATIENCE)
        return self.process.wait(PATIENCE)

    def finish(self) -> int:
        """End the input; the exit status."""
        self.close_input()
        return self.status()

    @property
    def stderr(self) -> str:
        """What it has written there so far."""
        return self.log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close_input()
            if kind is None:
                self.status()
                assert "Traceback" not in self.stderr, self.stderr
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.close_output()


def spawn(
    data_dir: Path,
    *arguments: str,
    framing: Framing = "lines",
    over: Transport = "pipes",
    command: Sequence[str] = (*TREADLE, "serve"),
    env: Mapping[str, str] | None = None,
) -> Daemon:
    """A daemon of its own, to which nothing was said yet.

    The terminal passes bytes on as they are. Without --durability among the arguments it does not wait for the disk.
    """
    log = data_dir.with_name(f"{data_dir.name}-{next(_LOGS)}.stderr")
    if over == "pipes":
        stdin, to = os.pipe()
        source, stdout = os.pipe()
    elif over == "terminal":
        source, stdin = os.openpty()
        tty.setraw(stdin)
        to, stdout = os.dup(source), os.dup(stdin)
    else:
        ours, theirs = socket.socketpair()
        to, source = os.dup(ours.fileno()), ours.detach()
        stdin, stdout = os.dup(theirs.fileno()), theirs.detach()
    durability = () if "--durability" in arguments else ("--durability", "normal")
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *durability, *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **(env or {})},
        )
    os.close(stdin)
    os.close(stdout)
    return Daemon(framing, to, source, process, data_dir, log)


@contextmanager
def serving(data_dir: Path, *arguments: str, framing: Framing = "lines") -> Iterator[Daemon]:
    """A daemon that has been said hello to, and that ends well."""
    with spawn(data_dir, *arguments, framing=framing) as daemon:
        daemon.initialize()
        yield daemon
        assert daemon.finish() == 0, daemon.stderr


def run(*arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """One command of the command line, to its end."""
    return subprocess.run(
        [*TREADLE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **(env or {})},
    )


def kill(daemon: Daemon) -> None:
    """As a power cut would, as far as the process goes."""
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(PATIENCE)


_LOGS: Final = itertools.count(1)
