"""The parts of a daemon that work on an open data directory, for a client or, in a host, for none."""

import asyncio
import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.core.engine import Engine, Overloaded
from treadle.core.recovery import Recovery
from treadle.publish.watch import Watch
from treadle.runner.supervisor import Supervisor
from treadle.store.errors import StorageError
from treadle.store.sqlite.database import FileLock
from treadle.store.sqlite.store import Store

if TYPE_CHECKING:
    from treadle.workspace.checkpoints import Checkpoints

log = logging.getLogger(__name__)

ENDING = 2.0  # seconds until a step of the shutdown times out once no client waits for answers
HOST_LOCK = "host.lock"
RECORDS = "agents"


class Services:
    """store, engine, watch, recovery, supervisor: what they are called.

    appended: is called after an append of this daemon, with the sequence of the log. woken: when another process may
    have appended. waiting: see Engine. agents_files: returns where agents are configured. runs_agents: whether it runs
    any. is_host: whether it runs the agents of all daemons, for which it holds the lock of the host.
    """

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        *,
        linger: float,
        agents_files: Callable[[], tuple[Path, ...]],
        appended: Callable[[int], None] = lambda sequence: None,
        woken: Callable[[], None] = lambda: None,
        waiting: Callable[[bool], None] = lambda waits: None,
        runs_agents: bool = True,
        is_host: bool = False,
    ) -> None:
        self.store, self._data_dir = store, data_dir
        self._appended, self._woken, self._runs_agents = appended, woken, runs_agents
        self.engine = Engine(store, linger=linger, published=self._published, waiting=waiting)
        self.watch = Watch(data_dir, self.wake, lambda: self.engine.is_appending)
        self.recovery = Recovery(store, self.engine, self.wake, has_host=lambda: is_host or has_host(data_dir))
        self.supervisor = Supervisor(
            store,
            self.engine,
            files=agents_files,
            records=data_dir / RECORDS,
            is_host=is_host,
            has_host=lambda: has_host(data_dir),
            started=self.watch.start,
            checkpoints=lambda: self.checkpoints,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @cached_property
    def checkpoints(self) -> "Checkpoints":
        """The checkpoints of all threads. Imported when the first one is needed."""
        from treadle.workspace.checkpoints import Checkpoints

        return Checkpoints(
            self._data_dir, lambda commands: self.engine.submit(commands, atomic=True).future, self.store.read
        )

    async def start(self) -> "list[asyncio.Task[None]]":
        """Start to work, and end what daemons that have exited left. Returns tasks that never end by themselves."""
        self.engine.start()
        self._tasks = [asyncio.create_task(self.recovery.run(), name="recovery")]
        if self._runs_agents:
            self._tasks.append(asyncio.create_task(self.supervisor.run(), name="agents"))
        await self.recovery.look()
        return self._tasks

    def wake(self) -> None:
        """Look for changes: this or another process may have appended."""
        self.supervisor.wake()
        self._woken()

    def _published(self, sequence: int, events: list[bytes]) -> None:
        self.supervisor.appended(sequence, events)
        self._appended(sequence)
        self.watch.appended()

    async def close(self) -> None:
        """End the agents, interrupt the turns of this daemon, and close the data directory."""
        await self.supervisor.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.watch.stop()
        try:
            async with asyncio.timeout(ENDING):
                await self.engine.settled()
                await self.recovery.end_own("the daemon ended")
        except (StorageError, Overloaded, TimeoutError) as error:
            why = str(error) or f"it took more than {ENDING:g} s"
            log.error("failed to interrupt the turns of this daemon, another one will: %s", why)
        finally:
            await self.engine.stop(now=True)
            await self.store.close()


def has_host(data_dir: Path) -> bool:
    """Whether a host runs the agents of this data directory."""
    if not (data_dir / HOST_LOCK).exists():
        return False
    lock = FileLock(data_dir / HOST_LOCK)
    try:
        return not lock.acquire(shared=True)
    finally:
        lock.release()
