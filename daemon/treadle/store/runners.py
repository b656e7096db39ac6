"""Who runs a turn: a daemon, known by a lock file that it holds for as long as it lives."""

import fcntl
import os
from pathlib import Path

import uuid_utils

from treadle.store.database import FileLock


class Runner:
    """This daemon as one that runs turns. The lock is taken with the first turn that it starts.

    The kernel lets go of a flock with the process: no process id that is used again, no stopped process and no clock
    can make a live daemon look gone. The name is never used twice, so a file that is missing means gone.
    """

    def __init__(self, data_dir: Path) -> None:
        self.name = str(uuid_utils.uuid7())
        self._folder = data_dir / "runners"
        self._lock: FileLock | None = None

    def acquire(self) -> None:
        """Hold the lock file; needed before the first TurnStarted is appended."""
        if self._lock is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            lock = FileLock(self._path(self.name))
            if not lock.acquire():
                raise RuntimeError(f"the lock of runner {self.name} is held by another process")
            self._lock = lock

    def release(self) -> None:
        """Let go of it, once nothing of this daemon runs any more."""
        if self._lock is not None:
            self._path(self.name).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def is_gone(self, name: str) -> bool:
        """Whether the daemon of this name has ended."""
        if name == self.name:
            return self._lock is None
        try:
            descriptor = os.open(self._path(name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            # Shared: two that look at the same time do not take each other for the runner.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def forget(self, name: str) -> None:
        """Remove the lock file of a daemon that is gone and has no turns left."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        # The name comes from the log: nothing of it may lead out of the folder.
        return self._folder / f"{name.replace('/', '_')}.lock"
