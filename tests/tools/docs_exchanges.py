"""Replays the sessions of docs/protocol.md against a real daemon.

A fenced block with the info string `json request` is what the client sends (a request, a notification or a batch);
`json answer` and `json notification` are what the daemon sends. Where the daemon asks, a block is `json request to
client`, and the client's answer `json answer of client`. `<!-- session: NAME -->` starts a session with a new
daemon on the data directory that the previous session left. `<!-- meanwhile: NAME -->` marks something that happens
outside the session at this point. `"…"` in a block stands for what is left out.

`python tests/tools/docs_exchanges.py` updates the page with what the daemon really sends.
"""

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.contract.framing import FrameDecoder, Framing, frame
from treadle.store.sqlite.database import FILE_NAME, FileLock
from treadle.store.sqlite.store import REBUILDING

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
PATIENCE = 30.0  # seconds until a wait for the daemon fails
WIDTH = 110  # columns of a block

_BLOCK = re.compile(
    r"^```json (request to client|answer of client|request|answer|notification)\n(.*?)^```$"
    r"|^<!-- (session|meanwhile): (.*?) -->$",
    re.MULTILINE | re.DOTALL,
)
_SENT = ("request", "answer of client")
_REST = "…"
_LOG = "window/logMessage"

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_DATE_IN_A_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_MACHINE = re.compile(r"^[0-9a-f]{16}(?=\.)")  # of a runner
_EXAMPLES: dict[str, Any] = {
    "logId": "5f0c8d1b7a3e4926b1d07c6e9a2f4835",
    "machineId": "c2a9e07b5d814f36",
    "pid": 4243,
    "processId": 4242,
    "dataDir": "/home/ada/.local/share/treadle",
    "pythonVersion": "3.11.7",
    "sqliteVersion": "3.40.1",
    "version": "0.1.0",
    "databaseBytes": 4096,
    "walBytes": 461472,
}
"""Members whose values differ between runs, and the values that the page shows instead."""


@dataclass
class Block:
    """A block. kind: the info string after `json`, or `meanwhile`. start, end: where its JSON is in the page."""

    kind: str
    value: Any
    start: int
    end: int


def project_of(data_dir: Path) -> Path:
    """The folder of a project in a repository."""
    return data_dir.with_name("hello")


def sessions(page: str) -> dict[str, list[Block]]:
    """The blocks of each session, in order."""
    found: dict[str, list[Block]] = {}
    current: list[Block] = []
    for match in _BLOCK.finditer(page):
        kind, text, mark, name = match.groups()
        if mark == "session":
            current = found.setdefault(name, [])
        elif mark is not None:
            current.append(Block(mark, name, *match.span()))
        else:
            current.append(Block(kind, json.loads(text or "null"), *match.span(2)))
    return found


class Examples:
    """Replaces values that differ between runs with the examples of the page, and back."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self._data_dir = None if data_dir is None else str(data_dir)
        self._project = None if data_dir is None else str(project_of(data_dir))
        self._uuids: dict[str, str] = {}
        self._log_id = ""

    def shown(self, value: Any, name: str = "") -> Any:
        """The value as the page shows it. UUIDs are numbered in the order in which they occur."""
        if isinstance(value, dict):
            return {key: self.shown(member, key) for key, member in value.items()}
        if isinstance(value, list):
            return [self.shown(item) for item in value]
        if name == "logId":
            self._log_id = value
        if name in _EXAMPLES and type(value) is type(_EXAMPLES[name]):
            return _EXAMPLES[name]
        if isinstance(value, str):
            value = _TIME.sub("2026-01-31T12:00:00.000Z", value)
            value = _DATE_IN_A_NAME.sub("20260131T120000.000000Z", value)
            value = _MACHINE.sub(_EXAMPLES["machineId"], value)
            if self._data_dir is not None:
                value = value.replace(self._data_dir, _EXAMPLES["dataDir"]).replace(str(self._project), PROJECT)
            return _UUID.sub(lambda match: self._uuid(match[0]), value)
        return value

    def real(self, request: Any) -> Any:
        """A request of the page with the real values, to send it."""
        text = json.dumps(request).replace(_EXAMPLES["logId"], self._log_id)
        text = text.replace(f'"processId": {_EXAMPLES["processId"]}', f'"processId": {os.getpid()}')
        if self._project is not None:
            text = text.replace(PROJECT, self._project)
        for uuid, example in self._uuids.items():
            text = text.replace(example, uuid)
        return json.loads(text)

    def _uuid(self, uuid: str) -> str:
        return self._uuids.setdefault(uuid, f"019c1412-5a00-7000-8000-{len(self._uuids) + 1:012}")


def cut(value: Any, like: Any) -> Any:
    """The value without the parts that `like` leaves out."""
    if like == _REST:
        return _REST
    if isinstance(like, dict) and isinstance(value, dict):
        kept = {key: cut(member, like.get(key)) for key, member in value.items() if key in like or _REST not in like}
        return kept | {_REST: _REST} if _REST in like else kept
    if isinstance(like, list) and isinstance(value, list):
        if like[-1:] == [_REST]:
            return [cut(item, of) for item, of in zip(value, like[:-1], strict=False)] + [_REST]
        return [cut(item, of) for item, of in zip(value, like, strict=True)] if len(value) == len(like) else value
    return value


class Conversation:
    """Talks to one daemon. Keeps answers and notifications that arrived before the page asks for them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: list[Any] = []
        self._notifications: list[Any] = []
        self._requests: list[Any] = []
        self._unsent = bytearray()
        self._decoder = FrameDecoder(1 << 30)

    def send(self, message: Any) -> None:
        """Queue a message. Consecutive messages are sent in one write, so that the daemon reads them together."""
        self._unsent += frame(Framing.HEADERS, json.dumps(message).encode())

    async def answer(self, wanted: Any) -> Any:
        """The answer with the same ids as `wanted`, or the next answer if `wanted` is None."""
        while True:
            for i, answer in enumerate(self._answers):
                if wanted is None or _ids(wanted) == _ids(answer):
                    return self._answers.pop(i)
            await self._more()

    async def notification(self, wanted: Any) -> Any:
        """The next notification. Warnings may arrive at any time: they are skipped unless the page shows one."""
        while True:
            while not self._notifications:
                await self._more()
            notification = self._notifications.pop(0)
            if notification["method"] != _LOG or wanted is None or wanted["method"] == _LOG:
                return notification

    async def request(self) -> Any:
        """The next request to the client."""
        while not self._requests:
            await self._more()
        return self._requests.pop(0)

    async def end(self) -> list[Any]:
        """Close the input; return all messages that were not consumed."""
        assert self._process.stdin is not None
        self._flush()
        self._process.stdin.close()
        while await self._read():
            pass
        return self._left()

    def _left(self) -> list[Any]:
        return self._answers + self._notifications + self._requests

    def _flush(self) -> None:
        assert self._process.stdin is not None
        if self._unsent:
            self._process.stdin.write(bytes(self._unsent))
            self._unsent.clear()

    async def _more(self) -> None:
        self._flush()
        assert await self._read(), f"the daemon has ended; left are {self._left()}"

    async def _read(self) -> bool:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            data = await self._process.stdout.read(1 << 18)
        for body in self._decoder.feed(data):
            assert isinstance(body, bytes), body
            message = json.loads(body)
            if not isinstance(message, dict) or "method" not in message:
                self._answers.append(message)
            else:
                (self._requests if "id" in message else self._notifications).append(message)
        return bool(data)


def _ids(answer: Any) -> list[Any]:
    return [one["id"] for one in answer] if isinstance(answer, list) else [answer["id"]]


PROJECT = "/home/ada/hello"
"""The folder of the session «checkpoints» as the page shows it. It is beside the data directory."""


Began = Callable[[Conversation], Awaitable[None]]


async def _nothing(conversation: Conversation) -> None:
    pass


def ordinary_session(data_dir: Path) -> Began:
    return _nothing


def session_with_a_repository(data_dir: Path) -> Began:
    folder = project_of(data_dir)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    (folder / "hello.py").write_text('print("hello")\n')
    return _nothing


def rebuilding_session(data_dir: Path) -> Began:
    """Let the daemon find older projections, and start the rebuild only once it has received `initialize`."""
    _set_projection_version(data_dir, 0)
    opening = FileLock(data_dir / "opening.lock")
    assert opening.acquire()

    async def began(conversation: Conversation) -> None:
        conversation.send({"jsonrpc": "2.0", "id": "heard?", "method": 0})  # refused at once, after earlier messages
        await conversation.answer({"id": "heard?"})
        opening.release()

    return began


SESSIONS: dict[str, tuple[Callable[[Path], Began], int]] = {
    "the main one": (ordinary_session, 0),
    "running agents": (ordinary_session, 0),
    "checkpoints": (session_with_a_repository, 0),
    "dialogs for approvals": (ordinary_session, 0),
    "a rebuild by another process": (ordinary_session, 0),
    "a rebuild at start": (rebuilding_session, 0),
    "a newer treadle comes": (ordinary_session, 1),
    "a newer treadle was here": (ordinary_session, 1),
}
"""How each session is prepared, and the expected exit status of its daemon."""


@contextmanager
def rebuilding(data_dir: Path) -> Iterator[None]:
    """Holds what a process holds that rebuilds the projections."""
    lock = FileLock(data_dir / REBUILDING)
    assert lock.acquire()
    try:
        with closing(sqlite3.connect(data_dir / FILE_NAME, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield
    finally:
        lock.release()


MEANWHILE: dict[str, Callable[[Path, ExitStack], object]] = {
    "a newer treadle takes the database over": lambda data_dir, lasting: _set_projection_version(data_dir, 99),
    "another process begins to rebuild the projections": lambda data_dir, lasting: lasting.enter_context(
        rebuilding(data_dir)
    ),
    "hello.py is edited": lambda data_dir, lasting: (project_of(data_dir) / "hello.py").write_text('print("bye")\n'),
    "the other process has rebuilt the projections": lambda data_dir, lasting: lasting.close(),
}
"""What else happens; what lasts until something ends it is put on the stack."""


def _set_projection_version(data_dir: Path, version: int) -> None:
    database = sqlite3.connect(data_dir / FILE_NAME, isolation_level=None)
    database.execute("UPDATE meta SET value = ? WHERE key = 'projectionVersion'", (str(version),))
    database.close()


async def replay(name: str, blocks: list[Block], data_dir: Path, check: Callable[[Block, Any], None]) -> None:
    """Replay one session. check: called with each block of the page, and what the daemon sent, with example values."""
    prepare, expected_status = SESSIONS[name]
    began = prepare(data_dir)
    config = data_dir.with_name("config")
    (config / "treadle").mkdir(parents=True, exist_ok=True)
    (config / "treadle" / "agents.json").write_text('{"agents": {"claude": {"command": "claude-agent-acp"}}}')
    process = await asyncio.create_subprocess_exec(
        # Without agents: the examples play the agent themselves.
        *(
            sys.executable,
            "-m",
            "treadle",
            "serve",
            "--no-agents",
            "--data-dir",
            str(data_dir),
            "--log-file",
            os.devnull,
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_CONFIG_HOME": str(config)},
    )
    conversation, examples, lasting = Conversation(process), Examples(data_dir), ExitStack()
    try:
        for i, block in enumerate(blocks):
            if block.kind in _SENT:
                conversation.send(examples.real(block.value))
                if i == 0:
                    await began(conversation)
            elif block.kind == "meanwhile":
                MEANWHILE[block.value](data_dir, lasting)
            elif block.kind == "answer":
                check(block, cut(examples.shown(await conversation.answer(block.value)), block.value))
            elif block.kind == "notification":
                check(block, cut(examples.shown(await conversation.notification(block.value)), block.value))
            else:
                check(block, cut(examples.shown(await conversation.request()), block.value))
        left = [message for message in await conversation.end() if message.get("method") != _LOG]
        assert not left, f"the daemon also said, in the session «{name}»: {left}"
    finally:
        lasting.close()
        if process.stdin is not None:
            process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            status = await process.wait()
    assert status == expected_status, f"exit status {status} at the end of the session «{name}»"


def pretty(value: Any) -> str:
    """JSON in lines of at most WIDTH columns, if it can be broken there."""
    lines = [""]

    def put(value: Any, depth: int, room: int) -> None:
        """Write a value. room: the columns to leave for the closing brackets after it."""
        text = json.dumps(value, ensure_ascii=False)
        if len(lines[-1]) + len(text) + room <= WIDTH or not value or not isinstance(value, dict | list):
            lines[-1] += text
            return
        opening, closing = "[]" if isinstance(value, list) else "{}"
        items = [("", item) for item in value] if isinstance(value, list) else list(_members(value))
        lines[-1] += opening
        for i, (name, item) in enumerate(items):
            room_here = room + 1 if i == len(items) - 1 else 1
            length = len(name) + len(json.dumps(item, ensure_ascii=False)) + room_here
            fits_here, fits_below = len(lines[-1]) + 1 + length <= WIDTH, 2 * depth + 2 + length <= WIDTH
            if not fits_here and (i > 0 or fits_below):
                lines[-1] = lines[-1].rstrip()
                lines.append("  " * (depth + 1))
            lines[-1] += name
            put(item, depth + 1, room_here)
            lines[-1] += ", " if i < len(items) - 1 else closing

    put(value, 0, 0)
    return "\n".join(lines)


def _members(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, member in value.items():
        yield json.dumps(key, ensure_ascii=False) + ": ", member


async def write() -> None:
    page = PAGE.read_text("utf-8")
    said: list[tuple[Block, Any]] = []

    def note(block: Block, value: Any) -> None:
        said.append((block, value))

    with tempfile.TemporaryDirectory() as folder:
        for name, blocks in sessions(page).items():
            await replay(name, blocks, Path(folder) / "data", note)
            said += [(block, block.value) for block in blocks if block.kind in _SENT]
    for block, value in sorted(said, key=lambda entry: -entry[0].start):
        page = page[: block.start] + pretty(value) + "\n" + page[block.end :]
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    asyncio.run(write())
