"""Who runs a turn: a daemon, known by a lock file that it holds for as long as it lives."""

import contextlib
import fcntl
import os
import re
from pathlib import Path

from treadle.store.errors import explained
from treadle.store.ids import new_id
from treadle.store.sqlite.database import FileLock

_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
"""A name comes from the log, which may come from anywhere: it is part of a path only if it is like one of ours."""


class Runner:
    """This daemon as one that runs turns. The lock is taken with the first turn that it starts.

    The kernel lets go of a flock with the process: no process id that is used again, no stopped process and no clock
    can make a live daemon look gone. The name is never used twice, so a file that is missing means gone.
    """

    def __init__(self, data_dir: Path) -> None:
        self.name = new_id()
        self._folder = data_dir / "runners"
        self._lock: FileLock | None = None

    def acquire(self) -> None:
        """Hold the lock file; needed before the first TurnStarted is appended. Raises StorageError."""
        if self._lock is None:
            lock = FileLock(self._path(self.name))
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                while not (lock.acquire() and lock.path.exists()):
                    # In the moment before it was held, another daemon took it for one that was left behind.
                    lock.release()
                    self.name = new_id()
                    lock = FileLock(self._path(self.name))
            except OSError as error:
                raise explained(error) from error
            self._lock = lock

    def release(self) -> None:
        """Let go of it, once nothing of this daemon runs any more."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # where it stays, nobody holds it
                self._path(self.name).unlink()
            self._lock.release()
            self._lock = None

    def is_gone(self, name: str) -> bool:
        """Whether the daemon of this name has ended; where it cannot be told, it has not."""
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
            # Shared: two that look at the same time do not take each other for the runner.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def left_behind(self) -> set[str]:
        """Daemons that ended without removing their lock file, whether they ran a turn or not."""
        names = {path.stem for path in self._folder.glob("*.lock")}
        return {name for name in names if name != self.name and self.is_gone(name)}

    def forget(self, name: str) -> None:
        """Remove the lock file of a daemon that is gone; nothing where it is not."""
        if not _NAME.fullmatch(name):
            return
        path = self._path(name)
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Held while it goes: whoever has just made it notices one or the other, and makes another.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
