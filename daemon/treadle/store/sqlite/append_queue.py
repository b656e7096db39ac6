"""Fairness between processes that append."""

import asyncio
import contextlib
import os
from pathlib import Path

from treadle.store.sqlite.database import FileLock

APPENDING = "appending.lock"
PATIENCE = 0.25  # seconds to wait for one holder of the lock, which may be a stopped process
LATELY = 1.0  # seconds after a lost race in which this process queues
POLL = 0.002  # seconds between retries: without a thread, a flock can only be polled


class AppendQueue:
    """A file lock used as a queue by processes that recently lost an append race.

    A process that waits for SQLite's lock loses the race, because by then its state is stale: among eight busy writers,
    one lost up to 29 times in a row. The queue is only for fairness; the compare-and-append ensures correctness. If the
    lock cannot be acquired, the append continues without it. A process that writes alone never takes it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._lock = FileLock(data_dir / APPENDING)
        self._queues_until = 0.0
        self._stuck = 0  # the mtime that a holder set which this process no longer waits for
        self._has_it = self._had_it = False

    @property
    def is_shared(self) -> bool:
        return asyncio.get_running_loop().time() < self._queues_until

    async def begin(self) -> bool:
        """Before an append: wait for our turn if other processes append too.

        Returns whether they do, so that the caller's state is probably stale.
        """
        if not self.is_shared:
            return False
        if self._had_it:
            await asyncio.sleep(2 * POLL)  # we have just released the lock: let another process get it
        await self._queue_up()
        return True

    async def lost(self) -> None:
        """Another process appended first: wait for our turn to retry."""
        self._queues_until = asyncio.get_running_loop().time() + LATELY
        await self._queue_up()

    def end(self) -> None:
        """The append has finished or failed: release the lock."""
        self._lock.release()
        self._had_it, self._has_it = self._has_it, False

    async def _queue_up(self) -> None:
        loop = asyncio.get_running_loop()
        holder, gives_up = 0, 0.0
        with contextlib.suppress(OSError):
            while not self._lock.acquire():
                since = self._lock.path.stat().st_mtime_ns
                if since != holder:
                    holder, gives_up = since, loop.time() + PATIENCE
                elif loop.time() >= gives_up:
                    self._stuck = holder
                if holder == self._stuck:
                    return
                self._queues_until = loop.time() + LATELY
                await asyncio.sleep(POLL)
            self._has_it = True
            os.utime(self._lock.path)  # tells waiting processes that the holder has changed
