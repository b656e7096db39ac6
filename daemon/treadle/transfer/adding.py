"""Adds the turns of an import to the log: each whole, in one transaction, and only what the log does not have."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from treadle.core.engine import Engine, Overloaded
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.domain.ids import Timestamp
from treadle.domain.paths import normalized, path_key
from treadle.store.ports import DataDirectory
from treadle.transfer.turns import missing

NO_FOLDERS = (
    "several machines share this log, which has no folders, and what is imported is of a folder: import it into a log "
    "of your own"
)
ATTEMPTS = 10  # to import a turn while other imports add the same


class NotAdded(Exception):
    """The log does not take a turn; the message says why."""


class TurnAdder:
    """folder: the project of threads whose session has no folder. events: how many were added."""

    def __init__(self, store: DataDirectory, engine: Engine, folder: str) -> None:
        self._store, self._engine, self._folder = store, engine, folder
        self._threads: dict[str, c.CreateThread] = {}
        self.events = 0

    def know(self, thread: c.CreateThread) -> None:
        """Create this thread before its first turn is added."""
        self._threads[str(thread.thread_id)] = thread

    async def add(self, turn: list[Any]) -> Literal["new", "there"]:
        """Submit what the log does not have of the turn, all or nothing. Raises NotAdded and StorageError."""
        name = f"turn {turn[0].id!r} of thread {turn[0].thread_id!r}"
        for _ in range(ATTEMPTS):
            commands = await self._store.read(lambda reads: missing(reads, turn))
            if not commands:
                return "there"
            try:
                await self.create_thread(turn[0].thread_id)
                await self._submit(commands)
            except (Rejected, Overloaded) as error:
                if isinstance(error, Rejected) and error.kind == "idTaken":  # another import was faster
                    continue
                raise NotAdded(f"{name}: {error}") from error
            return "new"
        raise NotAdded(f"{name}: other imports of this recording are running")

    async def create_thread(self, thread_id: str) -> None:
        """Create the thread, and the project of its folder, unless they exist. Raises Rejected if it was deleted."""
        create, key = self._threads.get(thread_id), ("thread", thread_id)
        found = (await self._store.read(lambda reads: reads.look_up([key])))[key]
        if found is not None and found.deleted:
            raise Rejected("notFound", "the thread was deleted")
        if found is not None or create is None:
            return
        cwd = create.origin.cwd if create.origin else None
        project_id = await self._project(normalized(cwd) if cwd else self._folder, create.at)
        try:
            await self._submit([msgspec.structs.replace(create, project_id=project_id)])
        except Rejected as error:
            if error.kind != "idTaken":
                raise

    async def _project(self, folder: str, at: Timestamp | None) -> str:
        path = ("path", path_key(folder))
        found = (await self._store.read(lambda reads: reads.look_up([path])))[path]
        if found is None:
            if self._store.is_shared:
                raise Rejected("noRemote", NO_FOLDERS)
            try:
                await self._submit([c.CreateProject(name=Path(folder).name or folder, path=folder, at=at)])
            except Rejected as error:
                if error.kind != "pathTaken":
                    raise
            found = (await self._store.read(lambda reads: reads.look_up([path])))[path]
        return str(found)

    async def _submit(self, commands: list[Any]) -> None:
        answer = await self._engine.submit(commands, atomic=True).future
        self.events += sum(len(result.events) for result in answer.results)
