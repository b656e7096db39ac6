"""Helpers for tests: a daemon in this process over real pipes, a client for the wire format, plain sqlite3."""

import asyncio
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from treadle.contract.framing import FrameDecoder, Framing, frame
from treadle.domain.events import AnyEvent, StoredEvent, encode
from treadle.server.app import Daemon, Options, Transport, run
from treadle.server.handlers import methods_of
from treadle.server.stdio import FdReader, FdWriter
from treadle.store.errors import Refused
from treadle.store.pages import PAGE_BOUNDS, PageBounds
from treadle.store.ports import DataDirectory, Log
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.store import Store

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0
"""The timeout of every wait, in seconds. It is only reached if the test fails."""


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test if a program is missing that tests/install installs. In CI the test runs, and fails."""
    missing = shutil.which(program) is None and "CI" not in os.environ
    return pytest.mark.skipif(missing, reason=f"{program} is not installed: tests/install does that on Debian")


def output_of(
    *command: str, cwd: Path | None = None, text: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a command, which must succeed; return what it prints. env: variables besides those of this process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", **(env or {})}
    done = subprocess.run(
        command, cwd=cwd, input=text, capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Wire:
    """A client over two descriptors, which it closes. Keeps everything that it receives, so that a test can count it.

    replies: the answers by id, in a list per request, which should have one item. notifications: in order of arrival.
    bodies: the frame bodies of the answers; for answers in a batch, the body of the whole batch.
    """

    def __init__(self, stdin: int, stdout: int, framing: Framing = Framing.LINES) -> None:
        self.replies: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        self.notifications: list[tuple[str, dict[str, Any]]] = []
        self.bodies: dict[Any, bytes] = {}
        self._framing = framing
        self._descriptors = [stdin, stdout]
        self._writer, self._reader = FdWriter(stdin), FdReader(stdout)
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    def write(self, body: bytes) -> None:
        """Send one frame with any content."""
        self._writer.write(frame(self._framing, body))

    def send(self, method: str, params: Any = None) -> int:
        """Send a request; return its id."""
        id = next(self._ids)
        self.write(msgspec.json.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}))
        return id

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        self.write(msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params or {}}))

    async def reply(self, id: int) -> dict[str, Any]:
        """Wait for the answer to a request; return all of it."""
        async with asyncio.timeout(PATIENCE):
            while not self.replies[id]:
                await self._more()
        return self.replies[id][0]

    async def call(self, method: str, params: Any = None) -> Any:
        """Send a request; return its result. Raises AssertionError with the error if it got one."""
        reply = await self.reply(self.send(method, params))
        assert "result" in reply, reply
        return reply["result"]

    async def until(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a notification; return the params of the first one for which `found` is true."""
        seen = 0
        async with asyncio.timeout(PATIENCE):
            while True:
                for _, params in self.notifications[seen:]:
                    if found(params):
                        return params
                seen = len(self.notifications)
                await self._more()

    async def ended(self) -> None:
        """Wait until the daemon has closed its end."""
        async with asyncio.timeout(PATIENCE):
            await self._reading

    async def close_input(self) -> None:
        """Close the input of the daemon, once everything is written."""
        await self._writer.flush_and_close(PATIENCE)
        os.close(self._descriptors.pop(0))

    def close(self) -> None:
        """Close the descriptors."""
        self._reader.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    async def _more(self) -> None:
        assert not self._ended, "the daemon has closed its end"
        self._changed.clear()
        await self._changed.wait()

    async def _read(self) -> None:
        decoder = FrameDecoder(1 << 30)
        try:
            while data := await self._reader.read():
                for body in decoder.feed(data):
                    assert isinstance(body, bytes), body
                    self._receive(body)
                self._changed.set()
        finally:
            self._ended = True
            self._changed.set()

    def _receive(self, body: bytes) -> None:
        message = msgspec.json.decode(body)
        for one in message if isinstance(message, list) else [message]:
            if "method" in one:
                self.notifications.append((one["method"], one.get("params", {})))
            else:
                self.replies[one["id"]].append(one)
                self.bodies[one["id"]] = body


def set_default(monkeypatch: pytest.MonkeyPatch, of: type, name: str, value: object) -> None:
    """Change the default of a keyword argument of a class. The test fails if there is no such argument."""
    defaults = of.__init__.__kwdefaults__  # type: ignore[misc]
    assert defaults is not None and name in defaults, f"{of.__name__} has no argument {name}"  # noqa: PT018
    monkeypatch.setitem(defaults, name, value)


@asynccontextmanager
async def serving(
    data_dir: Path, *, framing: Framing = Framing.LINES, initialize: bool = True, linger: float = 0.0, **bounds: Any
) -> AsyncIterator[tuple[Wire, Daemon]]:
    """Run a daemon in this process, behind real pipes, with a client. When the block ends, its input is closed.

    bounds: those of `Options`.
    """
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    options, transport = (
        Options(data_dir=data_dir, durability="normal", linger=linger, runs_agents=False, **bounds),
        Transport(theirs_in, theirs_out),
    )
    daemon = Daemon(options, methods_of, transport.write, transport.writer)
    running = asyncio.create_task(run(daemon, transport))
    wire = Wire(ours_out, ours_in, framing)
    try:
        if initialize:
            await wire.call("initialize", {})
        yield wire, daemon
    finally:
        await wire.close_input()
        async with asyncio.timeout(PATIENCE):
            status = await running
        os.close(theirs_in)
        os.close(theirs_out)
        await wire.ended()
        wire.close()
    assert status == 0


@asynccontextmanager
async def spawned_on_pipes(
    data_dir: Path, *arguments: str
) -> AsyncIterator[tuple[int, int, asyncio.subprocess.Process]]:
    """Run a daemon in its own process; yield the descriptors to read from it and to write to it.

    The block must close the descriptors.
    """
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir), *arguments),
        stdin=theirs_in,
        stdout=theirs_out,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield ours_in, ours_out, process
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


@asynccontextmanager
async def spawned(data_dir: Path, *arguments: str) -> AsyncIterator[tuple[Wire, asyncio.subprocess.Process]]:
    """Run a daemon in its own process, with a client. When the block ends, the daemon is killed if it still runs."""
    async with spawned_on_pipes(data_dir, *arguments) as (source, to, process):
        wire = Wire(to, source)
        try:
            await wire.call("initialize", {})
            yield wire, process
        finally:
            if process.returncode is None:
                process.kill()
            await wire.ended()
            wire.close()


@asynccontextmanager
async def opened(data_dir: Path, *, pages: PageBounds = PAGE_BOUNDS) -> AsyncIterator[Store]:
    """Open a store and close it after the block, even if the test fails: its threads would keep the process alive."""
    store = await Store.open(data_dir, durability="normal", pages=pages)
    try:
        yield store
    finally:
        await store.close()


async def refused(data_dir: Path) -> str:
    """The reason why the data directory is refused. Fails if it can be opened."""
    try:
        async with opened(data_dir):
            raise AssertionError("it was opened")
    except Refused as error:
        return str(error)


@contextmanager
def plain(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """A plain sqlite3 connection: the database as any other program sees it."""
    with closing(sqlite3.connect(data_dir / FILE_NAME, isolation_level=None)) as connection:
        yield connection


async def replayed(store: DataDirectory, after: int = 0) -> list[StoredEvent]:
    """The events of the log after a sequence."""
    found: list[StoredEvent] = []
    page: int | None = after
    while page is not None:
        events, page = await store.read(lambda reads, after=page: reads.events(None, after, 500))  # type: ignore[misc]
        found += [msgspec.json.decode(event, type=StoredEvent) for event in events]
    return found


async def log_sequence(store: DataDirectory) -> int:
    return await store.read(lambda reads: reads.sequence())


async def append_all(store: DataDirectory, events: Iterable[AnyEvent]) -> list[StoredEvent]:
    """Append all of the events or none at the current end of the log."""
    batch = list(events)
    payloads = [encode(event) for event in batch]

    def append(log: Log) -> int:
        while log.append(after := log.sequence(), payloads, []) is None:
            pass
        return after

    after = await store.write(append)
    return [StoredEvent(after + 1 + i, event, store.actor) for i, event in enumerate(batch)]


def rows(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table, in a fixed order."""
    return sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
