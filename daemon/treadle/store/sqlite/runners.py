"""Runners: daemons that run turns. Each holds a lock file for as long as its process lives."""

import contextlib
import fcntl
import os
import re
from pathlib import Path

from treadle.store.errors import explained
from treadle.store.ids import new_id
from treadle.store.sqlite.database import FileLock

_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
"""Names are read from the log, which may be imported: only a name that matches is used in a path."""


class Runner:
    """This daemon as a runner. It acquires its lock when it starts its first turn.

    The kernel releases a flock when the process ends. So a reused process id, a stopped process or a wrong clock cannot
    make a live runner look dead. Names are never reused, so a missing lock file means that the runner is dead.
    """

    def __init__(self, data_dir: Path) -> None:
        self.name = new_id()
        self._folder = data_dir / "runners"
        self._lock: FileLock | None = None

    def acquire(self) -> None:
        """Acquire the lock file. Required before the first TurnStarted is appended. Raises StorageError."""
        if self._lock is None:
            lock = FileLock(self._path(self.name))
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                while not (lock.acquire() and lock.path.exists()):
                    # Before we locked the new file, another daemon took it for a stale one and removed it.
                    lock.release()
                    self.name = new_id()
                    lock = FileLock(self._path(self.name))
            except OSError as error:
                raise explained(error) from error
            self._lock = lock

    def release(self) -> None:
        """Remove and release the lock file, once no turn of this daemon is running."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # if the file stays, it is not locked
                self._path(self.name).unlink()
            self._lock.release()
            self._lock = None

    def is_gone(self, name: str) -> bool:
        """Whether the runner of this name is dead; False if unknown."""
        if name == self.name:
            return self._lock is None
        if not _NAME.fullmatch(name):
            return True
        try:
            descriptor = os.open(self._path(name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            # Shared, so that two daemons that check at the same time do not take each other for the runner.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def left_behind(self) -> set[str]:
        """Dead runners that did not remove their lock file, whether they ran a turn or not."""
        names = {path.stem for path in self._folder.glob("*.lock")}
        return {name for name in names if name != self.name and self.is_gone(name)}

    def forget(self, name: str) -> None:
        """Remove the lock file of a dead runner; does nothing if the runner is alive."""
        if not _NAME.fullmatch(name):
            return
        path = self._path(name)
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Locked while it is removed: a runner that has just created it fails to lock it, or finds it missing,
                # and creates another one.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
