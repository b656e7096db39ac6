"""Detect appends of other processes: with inotify on Linux, elsewhere by polling the WAL file's mtime and size."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.store.sqlite.database import FILE_NAME

log = logging.getLogger(__name__)

POLL = 0.05  # seconds between checks of the WAL file if inotify is not available


class Watch:
    """Calls `changed` when the database may have changed. False alarms are harmless: a read finds nothing new."""

    def __init__(self, data_dir: Path, changed: Callable[[], None]) -> None:
        self._data_dir = data_dir
        self._changed = changed
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
        self._poll = asyncio.create_task(self._look())

    def stop(self) -> None:
        """Stop watching."""
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
        if any(not event.name or event.name.startswith(FILE_NAME) for event in events):
            self._changed()

    async def _look(self) -> None:
        wal = self._data_dir / f"{FILE_NAME}-wal"
        seen: object = None
        while True:
            with contextlib.suppress(FileNotFoundError):
                stat = wal.stat()
                if seen != (seen := (stat.st_mtime_ns, stat.st_size)):
                    self._changed()
            await asyncio.sleep(POLL)
