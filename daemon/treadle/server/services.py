"""The parts of a daemon that work on an open data directory, for a client or, in a host, for none."""

import asyncio
import logging
import signal
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.core.engine import Engine, Overloaded
from treadle.core.recovery import RUNNER_ENDED, Recovery
from treadle.domain.ids import Durability
from treadle.publish.watch import Watch
from treadle.runner.supervisor import Supervisor
from treadle.server.host_lock import has_host
from treadle.server.purger import Purger
from treadle.store.errors import Refused, StorageError, explained
from treadle.store.pages import PAGE_BOUNDS, PageBounds
from treadle.store.sqlite.store import Store

if TYPE_CHECKING:
    from treadle.contract.results import BatchDispatched
    from treadle.domain.commands import Command
    from treadle.workspace.checkpoints import Checkpoints
    from treadle.workspace.thread_folders import ThreadFolders
    from treadle.workspace.thread_worktrees import ThreadWorktrees

log = logging.getLogger(__name__)

FIRST_RETENTION = 60.0  # seconds after its start in which a daemon erases nothing by itself
ENDING = 2.0  # seconds until a step of the shutdown times out once no client waits for answers
RECORDS = "agents"
RECORDINGS = "recordings"


class Services:
    """store, engine, watch, recovery, supervisor, purger: what they are called.

    appended: is called after an append of this daemon, with the sequence of the log. woken: when another process may
    have appended. waiting: see Engine. agents_files: returns where agents are configured. runs_agents: whether it runs
    any. is_host: whether it runs the agents of all daemons, for which it holds the lock of the host. persistent:
    whether the data directory outlives the daemon: without, no checkpoints are taken.
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
        persistent: bool = True,
    ) -> None:
        self.store = store
        self._data_dir, self._is_host, self._persistent = data_dir, is_host, persistent
        self._appended, self._woken, self._runs_agents = appended, woken, runs_agents
        self.engine = Engine(store, linger=linger, published=self._published, waiting=waiting)
        self.watch = Watch(data_dir, self.wake, lambda: self.engine.is_appending)
        self.recovery = Recovery(store, self.engine, self.wake, has_host=self._has_host_for_queues)
        self.supervisor = Supervisor(
            store,
            self.engine,
            files=agents_files,
            records=data_dir / RECORDS,
            is_host=is_host,
            has_host=lambda: has_host(data_dir),
            started=self.watch.start,
            checkpoints=lambda: self.checkpoints,
            folders=lambda: self.folders,
        )
        self.purger = Purger(store, data_dir, self._submit)
        self._tasks: list[asyncio.Task[None]] = []
        self._importing: asyncio.Task[None] | None = None

    @cached_property
    def folders(self) -> "ThreadFolders":
        """The folders of agents. They, checkpoints and worktrees are imported when the first one is needed."""
        from treadle.workspace.thread_folders import ThreadFolders

        return ThreadFolders(self._data_dir, self._submit, self.store.read)

    @cached_property
    def checkpoints(self) -> "Checkpoints":
        """The checkpoints of all threads."""
        from treadle.workspace.checkpoints import Checkpoints

        machine = self.store.runner.machine.id
        return Checkpoints(
            self._data_dir, self.folders, self._submit, self.store.read, machine, persistent=self._persistent
        )

    @cached_property
    def worktrees(self) -> "ThreadWorktrees":
        """The worktrees of all threads."""
        from treadle.workspace.thread_worktrees import ThreadWorktrees

        return ThreadWorktrees(self.folders, self.checkpoints, self._submit, self.store.read)

    def _submit(self, commands: "list[Command]") -> "asyncio.Future[BatchDispatched]":
        return self.engine.submit(commands, atomic=True).future

    async def start(self) -> "list[asyncio.Task[None]]":
        """Start to work, and end what daemons that have exited left. Returns tasks that never end by themselves."""
        following = []
        if self.store.sharing is not None:
            self.store.sharing.follower.beaten = self.purger.begin  # other machines may have erased something
            following = [self.store.sharing.follower.start()]
            self.watch.start()  # the follower tells other machines also what other daemons of this one append
        self.engine.start()
        await self.recovery.look()
        self._tasks = [
            *following,
            asyncio.create_task(self.recovery.run(), name="recovery"),
            asyncio.create_task(self.purger.run(), name="purger"),
            asyncio.create_task(self._retain(), name="retention"),
        ]
        if self._runs_agents:
            self._tasks.append(asyncio.create_task(self.supervisor.run(), name="agents"))
            self._importing = self._import_left()
        return self._tasks

    async def _retain(self) -> None:
        """Erase what is over, if the setting says so. It is imported later, since an editor waits for the start."""
        await asyncio.sleep(FIRST_RETENTION)
        from treadle.server.retention import Retaining

        await Retaining(self.store, self._submit, self.purger).run()

    def _import_left(self) -> "asyncio.Task[None] | None":
        """Import what `treadle acp` has recorded and could not put into the log."""
        folder = self._data_dir / RECORDINGS
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
        from treadle.recorder.left import import_left

        return asyncio.create_task(import_left(self.store, self.engine, folder), name="recordings")

    def _has_host_for_queues(self) -> bool:
        """Whether a host sends what daemons that have exited were to send.

        What was left before there was a host stays with whoever resumes it: at its start, a host lets it be paused.
        """
        return bool(self._tasks) if self._is_host else has_host(self._data_dir)

    def wake(self) -> None:
        """Look for changes: this or another process may have appended."""
        self.supervisor.wake()
        if self.store.sharing is not None:
            self.store.sharing.follower.wake()
        self._woken()

    def _published(self, sequence: int, events: list[bytes]) -> None:
        self.supervisor.appended(sequence, events)
        self._appended(sequence)
        self.watch.appended()
        self.purger.appended(events)

    async def close(self) -> None:
        """End the agents, interrupt the turns of this daemon, and close the data directory."""
        tasks = [*self._tasks, *([] if self._importing is None else [self._importing])]
        for task in tasks:  # first, because the supervisor would start agents again
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.supervisor.close()
        if "checkpoints" in self.__dict__:  # the property was used
            await self.checkpoints.pruner.close()
        self.watch.stop()
        try:
            async with asyncio.timeout(ENDING):
                await self.engine.settled()
                await self.recovery.end_own(RUNNER_ENDED)
        except (StorageError, Overloaded, TimeoutError) as error:
            why = str(error) or f"it took more than {ENDING:g} s"
            log.error("failed to interrupt the turns of this daemon, another one will: %s", why)
        finally:
            await self.engine.stop(now=True)
            await self.store.close()


async def open_store(
    data_dir: Path,
    *,
    durability: Durability = "full",
    progress: Callable[[int, int], None] = lambda done, total: None,
    pages: PageBounds = PAGE_BOUNDS,
) -> Store:
    """Open a data directory, see Store.open. Raises Refused, also for what the system does not allow."""
    try:
        return await Store.open(data_dir, durability=durability, progress=progress, pages=pages)
    except OSError as error:
        why = explained(error)
        raise Refused(f"{data_dir} cannot be the data directory: {why}", why.kind) from error


def set_up_loop(end: Callable[[], None]) -> None:
    """Let the running loop call `end` when the process is told to end, and log exceptions that nobody handles."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # Emacs ends its children with SIGHUP
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, end)
    loop.set_exception_handler(_log_unhandled)


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an unhandled exception. asyncio's own handler prints futures, whose exceptions may contain client text."""
    log.error("%s", context["message"], exc_info=context.get("exception"))
