"""Machines that share a log: each has a data directory of its own, and gets the events of others when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec

from support import opened
from treadle.contract.results import BatchDispatched, ProjectOpened
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.domain.entities import Checkpoint, Project
from treadle.domain.events import AnyEvent, StoredEvent
from treadle.store.ports import Reads
from treadle.store.records import ThreadWork
from treadle.store.shared.config import read_config
from treadle.store.shared.remote import RemoteLog
from treadle.store.sqlite.store import Store
from treadle.workspace.checkpoints import Checkpoints
from treadle.workspace.folders import open_project
from treadle.workspace.thread_folders import ThreadFolders


class Machine:
    def __init__(self, store: Store, engine: Engine) -> None:
        self.store, self.engine = store, engine
        submit = self.submit
        folders = ThreadFolders(store.data_dir, submit, store.read)
        self.checkpoints = Checkpoints(store.data_dir, folders, submit, store.read, store.runner.machine.id)

    def submit(self, commands: list[c.Command]) -> "asyncio.Future[BatchDispatched]":
        return self.engine.submit(commands, atomic=True).future

    async def do(self, *commands: c.Command) -> list[AnyEvent]:
        """Carry out the commands; return their events."""
        events: list[Any] = [event for one in (await self.submit([*commands])).results for event in one.events]
        return [msgspec.json.decode(event, type=StoredEvent).event for event in events]

    async def open(self, folder: Path) -> ProjectOpened:
        return await open_project(self.store, self.engine, str(folder))

    async def read(self, function: Callable[[Reads], Any]) -> Any:
        return await self.store.read(function)

    async def project(self, id: str) -> Project:
        found = await self.read(lambda reads: reads.entities("project", None, [id]))
        return msgspec.json.decode(found[id], type=Project)

    async def work(self, thread_id: str) -> ThreadWork:
        (found,) = await self.read(lambda reads: reads.work([thread_id]))
        assert isinstance(found, ThreadWork)
        return found

    async def checkpoint(self, thread_id: str, id: str) -> Checkpoint:
        found = await self.read(lambda reads: reads.entities("checkpoint", thread_id, [id]))
        return msgspec.json.decode(found[id], type=Checkpoint)

    async def follow(self) -> None:
        """Apply what the log has more."""
        assert self.store.sharing is not None
        with closing(RemoteLog(read_config(self.store.data_dir).service)) as remote:
            await self.store.sharing.pull_all(remote, lambda sequence: None)


@asynccontextmanager
async def machine(data_dir: Path) -> AsyncIterator[Machine]:
    async with opened(data_dir) as store:
        engine = Engine(store, linger=0.0)
        engine.start()
        try:
            yield Machine(store, engine)
        finally:
            await engine.stop()
