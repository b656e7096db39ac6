"""Detect appends of other processes: with inotify on Linux, elsewhere by polling the WAL file's mtime and size."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from treadle.store.sqlite.database import FILE_NAME

WAL = f"{FILE_NAME}-wal"

log = logging.getLogger(__name__)

POLL = 0.05  # seconds between checks of the WAL file if inotify is not available
LOOK_AGAIN = (0.003, 0.01, 0.03, 0.06, 0.1, 0.3)  # seconds after the WAL file was written
LOOK_AFTER_OWN = (0.1,)  # seconds after an append of this process


class Watch:
    """Calls `changed` when another process may have appended. False alarms are harmless: a read finds nothing new.

    A commit becomes visible after the fsync that follows the write, and no event reports that: so it looks again, at
    `look_again` seconds after each write. is_appending: whether this process appends now, so that the write is
    probably its own; `appended` then cancels the looks but one, for a process that wrote right after it. Whatever takes
    longer is found by the periodic look for daemons that have exited.
    """

    def __init__(
        self,
        data_dir: Path,
        changed: Callable[[], None],
        is_appending: Callable[[], bool] = lambda: False,
        *,
        look_again: Sequence[float] = LOOK_AGAIN,
        look_after_own: Sequence[float] = LOOK_AFTER_OWN,
    ) -> None:
        self._data_dir = data_dir
        self._changed = changed
        self._is_appending = is_appending
        self._look_again, self._look_after_own = look_again, look_after_own
        self._looks: list[asyncio.TimerHandle] = []
        self._inotify: Any = None
        self._poll: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        return self._inotify is not None or self._poll is not None

    def start(self) -> None:
        """Start watching; does nothing if already started."""
        if self.started:
            return
        if sys.platform == "linux":
            # Imported lazily: the import takes longer than the rest of a start without subscriptions.
            from inotify_simple import INotify, flags

            try:
                self._inotify = INotify(nonblocking=True)
                self._inotify.add_watch(self._data_dir, flags.MODIFY | flags.CREATE)
                asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._read)
                return
            except OSError as error:
                log.info("inotify is not available (%s): polling the WAL file instead", error)
                self._inotify = None
        self._poll = asyncio.create_task(self._poll_wal())

    def appended(self) -> None:
        """This process has appended, and published what the log held before."""
        if self._looks:
            self._schedule(self._look_after_own)

    def stop(self) -> None:
        """Stop watching."""
        self._schedule(())
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    def _read(self) -> None:
        events = self._inotify.read(timeout=0)
        # A Q_OVERFLOW event has no name.
        if any(not event.name or event.name == WAL for event in events):
            self._written()

    def _written(self) -> None:
        self._look()
        self._schedule(self._look_again)

    def _look(self) -> None:
        if not self._is_appending():
            self._changed()

    def _schedule(self, delays: Sequence[float]) -> None:
        for look in self._looks:
            look.cancel()
        loop = asyncio.get_running_loop()
        self._looks = [loop.call_later(seconds, self._look) for seconds in delays]

    async def _poll_wal(self) -> None:
        wal = self._data_dir / WAL
        seen: object = None
        while True:
            with contextlib.suppress(FileNotFoundError):
                stat = wal.stat()
                if seen != (seen := (stat.st_mtime_ns, stat.st_size)):
                    self._written()
            await asyncio.sleep(POLL)
