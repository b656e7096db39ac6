"""Erases threads in which every text is a random marker, and looks for the markers in all files of the data directory.

Used by tests/test_purge.py and tests/tools/soak.py: daemons are killed at random moments after an erasure.
"""

import asyncio
import contextlib
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treadle.client import Client, Disconnected, connect
from treadle.store.sqlite import projections
from treadle.store.sqlite.database import FILE_NAME


@dataclass
class ErasureReport:
    """What a run did and found. problems: what is left or wrong, one sentence each."""

    kills: int = 0
    erased: int = 0
    markers: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.kills} kills; {self.erased} threads erased, {self.markers:,} texts"


class Marked:
    """A thread with a random marker in each text. markers: all of them."""

    def __init__(self, chance: random.Random, thread_id: str) -> None:
        self._chance, self.thread_id = chance, thread_id
        self.markers: list[str] = []

    def new(self) -> str:
        """A text with one more marker, in a word of its own."""
        marker = "".join(self._chance.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHIJKLMNPQRSTUVWXYZ", k=18))
        self.markers.append(marker)
        return f"some words, {marker} and more. "

    def commands(self) -> list[dict[str, Any]]:
        """The commands that make the thread, with every text that a thread can have."""
        id, new = self.thread_id, self.new
        turn = {"threadId": id, "turnId": "u"}
        activity = {"type": "RecordActivity", **turn, "id": "a", "kind": "execute", "status": "running"}
        approval = {"type": "RequestApproval", **turn, "id": "q", "title": new(), "detail": {"why": new()}}
        option = {"id": "yes", "kind": "allow_once", "name": new()}
        streamed = [{"type": "AppendMessage", "threadId": id, "id": "m", "text": new()} for _ in range(40)]
        return [
            {"type": "CreateThread", "threadId": id, "projectId": "project", "title": new()},
            {"type": "RenameThread", "threadId": id, "title": new()},
            {"type": "StartTurn", "threadId": id, "id": "u", "prompt": new()},
            {"type": "AddMessage", **turn, "id": "m", "role": "assistant", "text": "", "streaming": True},
            *streamed,
            {"type": "CompleteMessage", "threadId": id, "id": "m"},
            {"type": "AddMessage", **turn, "id": "n", "role": "assistant", "text": new() + new()},
            {**activity, "title": new(), "detail": {"output": new()}},
            {**activity, "title": new(), "detail": {"output": new(), "more": [new()]}, "status": "completed"},
            {**approval, "options": [option]},
            {"type": "RenameThread", "threadId": id, "title": new()},
            {"type": "FailTurn", "threadId": id, "id": "u", "error": new()},
        ]

    def left(self, folder: Path) -> list[str]:
        """Where a marker is. A word index shares the beginnings of words and has them in lower case."""
        found = []
        tails = [form.encode() for marker in self.markers for form in (marker[4:], marker[4:].lower())]
        for file in (path for path in folder.rglob("*") if path.is_file()):
            content = file.read_bytes()
            found += [f"{file.name} has {tail.decode()}" for tail in tails if tail in content]
        return found


class ErasureDriver:
    """Erases threads of one data directory, and kills its daemons while the bytes are purged."""

    def __init__(self, data_dir: Path, seed: int) -> None:
        self.data_dir = data_dir
        self.random = random.Random(seed)
        self.report = ErasureReport()
        self._threads = 0

    async def fill(self, client: Client) -> Marked:
        """One more thread with markers."""
        self._threads += 1
        marked = Marked(self.random, f"thread-{self._threads}")
        if self._threads == 1:
            await client.call("command/dispatch", {"type": "CreateProject", "id": "project", "name": "p", "path": "/p"})
        for command in marked.commands():
            await client.call("command/dispatch", command)
        return marked

    async def run(self, kills: int) -> ErasureReport:
        """Erase, kill at a random moment, start again and look; so many times."""
        for _ in range(kills):
            async with connect(self.data_dir, "--durability", "normal") as client:
                erased, kept = await self.fill(client), await self.fill(client)
                if not erased.left(self.data_dir):
                    self.report.problems.append("the search finds nothing where everything is")
                sending = asyncio.create_task(self._erase(client, erased))
                # The sleep waits for nothing: it chooses the moment.
                await asyncio.sleep(self.random.random() * 0.15)
                with contextlib.suppress(ProcessLookupError):
                    client.process.send_signal(signal.SIGKILL)
                await sending
            self.report.kills += 1
            async with connect(self.data_dir, "--durability", "normal") as client:
                await self._erase(client, erased)  # again, if it was not answered
                await self.look(client, erased)
                if not kept.left(self.data_dir):
                    self.report.problems.append("a thread that was not erased is gone")
                await self._erase(client, kept)
                await self.look(client, kept)
        _, differences = projections.verify(self.data_dir / FILE_NAME, self.data_dir / "copy.db")
        self.report.problems += [f"verify: {difference}" for difference in differences]
        return self.report

    async def look(self, client: Client, marked: Marked) -> None:
        """Wait until all is purged, and look for the markers."""
        status = await client.erasure_status(wait=True)
        self.report.problems += [f"{one.thread_id}: {one.found}" for one in status.erasures if one.hits]
        self.report.problems += [f"{one.thread_id} is not purged" for one in status.erasures if not one.purged]
        self.report.problems += marked.left(self.data_dir)
        self.report.erased += 1
        self.report.markers += len(marked.markers)

    async def _erase(self, client: Client, marked: Marked) -> None:
        with contextlib.suppress(Disconnected):
            await client.call("command/dispatch", {"type": "EraseThread", "threadId": marked.thread_id})
