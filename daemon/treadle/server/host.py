"""The host: runs the agents of all daemons of a data directory, without a client, until it has been idle."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from treadle.runner.supervisor import Supervisor
from treadle.server.host_lock import HostLock
from treadle.server.services import Services, open_store, set_up_loop

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks whether agents work
LINGER = 0.05  # seconds that a delta may wait to be merged
RESTING = ("started", "ready")
"""Phases of an agent that waits for a prompt."""


async def run_host(
    data_dir: Path,
    lock: HostLock,
    *,
    idle: float,
    agents_files: Callable[[], tuple[Path, ...]],
    ready: Callable[[], None],
) -> int:
    """Run the agents of a data directory until a signal, or until no agent has worked for `idle` seconds.

    lock: held by the caller. ready: called once agents can run. Returns the exit status. Raises StorageError if the
    data directory cannot be opened.
    """
    told = asyncio.Event()
    set_up_loop(told.set)
    # Opening may be waiting for another process, which may be stopped. A rebuild that has started is finished.
    opening = asyncio.create_task(open_store(data_dir))
    await _first_of(told, opening)
    opening.cancel()
    await asyncio.wait([opening])
    if opening.cancelled():
        return 0
    store = opening.result()
    rest = _Rest()
    services = Services(
        store,
        data_dir,
        linger=LINGER,
        agents_files=agents_files,
        appended=rest.appended,
        is_host=True,
    )
    try:
        store.runner.acquire()
        services.watch.start()
        tasks = await services.start()
        lock.tell(store.runner.name)
        ready()
        resting = asyncio.create_task(rest.wait(services.supervisor, idle), name="rest")
        await _first_of(told, resting, *tasks)
        resting.cancel()
        failed = [task for task in tasks if task.done()]
        for task in failed:
            log.critical("%s ended", task.get_name(), exc_info=task.exception())
        return 1 if failed else 0
    finally:
        await services.close()


async def _first_of(told: asyncio.Event, *tasks: "asyncio.Task[object]") -> None:
    """Wait until the host is told to end, or one of the tasks is done."""
    telling = asyncio.create_task(told.wait())
    await asyncio.wait([telling, *tasks], return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()


class _Rest:
    """How long no agent has worked."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def appended(self, sequence: int) -> None:
        """The host has appended events."""
        self._last = time.monotonic()

    async def wait(self, supervisor: Supervisor, seconds: float) -> None:
        """Wait until no agent has worked, or waited for its place, for so long."""
        self._last = time.monotonic()
        while (left := self._last + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK))
            if any(agent.phase not in RESTING for agent in supervisor.running):
                self._last = time.monotonic()
