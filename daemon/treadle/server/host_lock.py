"""The lock of the host: whether one runs for a data directory, and which process it is.

The host holds the flock for as long as it lives, and writes what it is into the file while it holds it. So what the
file says counts only while the lock is held, and no other process with the same id is taken for a host.
"""

import os
import signal
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from treadle.core.engine import now
from treadle.store.sqlite.database import FileLock, make_private_folder

HOST_LOCK = "host.lock"
MOMENT = 0.5  # seconds in which the lock is tried again
POLL = 0.02  # seconds


class HostRecord(Struct, frozen=True, rename="camel"):
    """A host. start_time: of its process, as the system says it. since: when it started. runner: its name in sessions
    and turns; empty until it is ready."""

    pid: int
    start_time: str
    since: str
    runner: str = ""

    def end(self) -> None:
        """Tell the host to end, if its process still is the one that was recorded."""
        if _started(self.pid) == self.start_time:
            os.kill(self.pid, signal.SIGTERM)


class HostLock:
    """The lock, as the host holds it."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / HOST_LOCK
        self._lock = FileLock(self._path)
        self._since = now()

    def acquire(self) -> bool:
        """Acquire the lock; False if another host holds it. Creates the data directory. Raises Refused and OSError.

        A daemon that looks whether there is a host holds it for an instant, so it is tried more than once.
        """
        make_private_folder(self._path.parent)
        deadline = time.monotonic() + MOMENT
        while not self._lock.acquire():
            if time.monotonic() > deadline:
                self._lock.release()
                return False
            time.sleep(POLL)
        self.tell("")
        return True

    def tell(self, runner: str) -> None:
        """Write what the host is. runner: its name, once it is ready. Raises OSError."""
        record = HostRecord(os.getpid(), _started(os.getpid()), self._since, runner)
        self._path.write_bytes(msgspec.json.encode(record))

    def release(self) -> None:
        """Release the lock, if it is held."""
        self._lock.release()


def has_host(data_dir: Path) -> bool:
    """Whether a host runs the agents of this data directory. False also if that cannot be found out."""
    lock = FileLock(data_dir / HOST_LOCK)
    try:
        return lock.path.exists() and not lock.acquire(shared=True)
    except OSError:
        return False
    finally:
        lock.release()


def host_of(data_dir: Path) -> HostRecord | None:
    """The host of this data directory, if one runs and has said what it is."""
    if not has_host(data_dir):
        return None
    try:
        record = msgspec.json.decode((data_dir / HOST_LOCK).read_bytes(), type=HostRecord)
    except (OSError, msgspec.DecodeError):
        return None
    return record if _started(record.pid) == record.start_time else None


def _started(pid: int) -> str:
    """The start time of a process; empty if there is none. Imported when there is a host: most daemons have none."""
    from treadle.agents.reaper import start_time

    return start_time(pid)
