"""Fairness between processes that append."""

import asyncio
import contextlib
import os
from pathlib import Path

from treadle.store.sqlite.database import FileLock

APPENDING = "appending.lock"
PATIENCE = 0.25  # seconds for one holder, which may be a stopped process
LATELY = 1.0  # seconds
POLL = 0.002  # seconds between two tries: a flock has nothing else to wait on without a thread


class AppendQueue:
    """A file lock used as a queue by processes that recently lost an append race.

    Whoever waits for the database loses: when it gets in, the log has moved on. Among eight busy writers one lost up
    to 29 times in a row. What is right is still decided by the comparison alone: where the lock cannot be had, the
    append goes on without it. A process that writes alone never takes it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._lock = FileLock(data_dir / APPENDING)
        self._queues_until = 0.0
        self._stuck = 0  # when the holder took it that nobody waits for any more
        self._has_it = self._had_it = False

    async def begin(self) -> bool:
        """Before an append: wait for a turn, where others are busy. Whether they are, so that the log has moved on."""
        if asyncio.get_running_loop().time() >= self._queues_until:
            return False
        if self._had_it:
            await asyncio.sleep(2 * POLL)  # or the one that has just let go would be the first to take it again
        await self._queue_up()
        return True

    async def lost(self) -> None:
        """Another process appended first: wait for a turn to try again."""
        self._queues_until = asyncio.get_running_loop().time() + LATELY
        await self._queue_up()

    def end(self) -> None:
        """The append has ended."""
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
            os.utime(self._lock.path)  # tells those who wait that there is a new holder
