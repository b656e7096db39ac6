"""Follows a shared log: one process of a machine pulls what others append, and says that the machine is there."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

from treadle.store.errors import LogUnavailable, StorageError
from treadle.store.shared.config import SharedLogConfig
from treadle.store.shared.failures import LEASED, REWOUND
from treadle.store.shared.remote import RemoteLog
from treadle.store.shared.replica import ReplicaPlace
from treadle.store.shared.shared_log import SharedLog
from treadle.store.shared.status import FOLLOWING, LogStatus, MachineLease
from treadle.store.sqlite.database import FileLock

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
Write = Callable[[Callable[[SharedLog], ReplicaPlace]], Awaitable[ReplicaPlace]]

LOOK_FOR_LOCK = 1.0  # seconds between two tries to follow, while another process of the machine does
BEAT = 15.0  # seconds between two times that the machine says that it is there
POLL = 5.0  # seconds between two looks at the log, if nothing is announced
POLL_DEAF = 1.0  # the same on a server without LISTEN
ANNOUNCE = 0.05  # seconds between two announcements
ANSWER = 15.0  # seconds that the server has for an answer
RETRY = (0.2, 1.0, 2.0, 5.0)  # seconds until it connects again; the last one counts from then on


class Follower:
    """One task. machine_id: of this machine. write: runs a function on the thread that may write to the replica.

    status: what is known of the log; None while another process of the machine follows it.
    """

    def __init__(self, data_dir: Path, config: SharedLogConfig, machine_id: str, inode: int, write: Write) -> None:
        self.status: LogStatus | None = None
        self._lock = FileLock(data_dir / FOLLOWING)
        self._config = config
        self._machine_id = machine_id
        self._holder = _holder(data_dir, inode)
        self._write = write
        self._woken = asyncio.Event()
        self._remote: RemoteLog | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to follow, or to wait until the process that does it has ended."""
        self._task = asyncio.create_task(self._run(), name="follower")

    def wake(self) -> None:
        """The replica may have more events, of which the other machines are to be told."""
        self._woken.set()

    async def close(self) -> None:
        """Follow no more, so that another process of the machine does it."""
        if self._task is not None:
            self._task.cancel()
            self._cut()
            await asyncio.gather(self._task, return_exceptions=True)
        self._lock.release()

    async def _run(self) -> None:
        while not self._lock.acquire():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_FOR_LOCK)
        failures = 0
        while True:
            connected = self.status
            try:
                await self._follow()
            except StorageError as error:
                if self.status is not connected and self.status is not None and self.status.problem is None:
                    failures = 0
                self._failed(error)
            finally:
                if self._remote is not None:
                    self._remote.close()
                    self._remote = None
            await asyncio.sleep(RETRY[min(failures, len(RETRY) - 1)])
            failures += 1

    async def _follow(self) -> None:
        """Follow until something fails."""
        remote = self._remote = await self._in_thread(RemoteLog, self._config.service)
        listens = await self._in_thread(remote.listen, self._config.log_id)
        place = await self._write(SharedLog.place)
        told, beaten, announced, looked = place.sequence, 0.0, 0.0, 0.0
        loop = asyncio.get_running_loop()
        loop.add_reader(remote.fileno(), self._woken.set)
        try:
            while True:
                self._woken.clear()
                heard = await self._in_thread(remote.announced)
                place = await self._write(SharedLog.place)
                if place.sequence > told:
                    await asyncio.sleep(announced + ANNOUNCE - loop.time())
                    await self._in_thread(remote.announce, self._config.log_id, place.sequence)
                    announced = loop.time()
                    self._woken.set()  # an announcement may have come with an answer, which makes nothing readable
                every = POLL if listens else POLL_DEAF
                if heard > place.sequence or loop.time() - looked >= every:
                    place = await self._pull(remote, place)
                    looked = loop.time()
                    self._woken.set()
                told = max(told, heard, place.sequence)
                if loop.time() - beaten >= BEAT:
                    await self._beat(remote, place.sequence)
                    beaten = loop.time()
                    self._woken.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await self._woken.wait()
        finally:
            loop.remove_reader(remote.fileno())

    async def _pull(self, remote: RemoteLog, place: ReplicaPlace) -> ReplicaPlace:
        """Pull and apply all that there is."""
        try:
            while page := await self._in_thread(remote.pull, self._config.log_id, place.sequence, place.mark):
                place = await self._write(lambda log, page=page: log.follow(page))  # type: ignore[misc]
        except LogUnavailable as error:
            if error.kind == REWOUND:
                await self._write(SharedLog.note_rewound)
            raise
        return place

    async def _beat(self, remote: RemoteLog, applied: int) -> None:
        machines: list[MachineLease] = []
        try:
            machines = await self._in_thread(remote.beat, self._config.log_id, self._machine_id, self._holder, applied)
        except StorageError as error:
            if error.kind != LEASED:
                raise
            if self.status is None or self.status.problem is None:
                log.warning("%s", error)
        self._tell(LogStatus(None, self._since(None), applied, machines))

    def _failed(self, error: StorageError) -> None:
        known = self.status
        if known is None or known.problem != str(error):
            log.warning("the shared log is not followed, reads are of what is here: %s", error)
        self._tell(LogStatus(str(error), self._since(str(error)), 0 if known is None else known.head))

    def _since(self, problem: str | None) -> str:
        known = self.status
        if known is not None and (known.problem is None) == (problem is None):
            return known.since
        if known is not None and problem is None:
            log.warning("the shared log is followed again")
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _tell(self, status: LogStatus) -> None:
        self.status = status
        with contextlib.suppress(OSError):  # a full disk
            self._lock.path.write_bytes(msgspec.json.encode(status))

    def _cut(self) -> None:
        if self._remote is not None:
            self._remote.cut()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it in the thread of the connection. Raises LogUnavailable if the server does not answer in time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(error: BaseException | None, *result: T) -> None:
            if not future.done():
                future.set_result(*result) if error is None else future.set_exception(error)

        def run() -> None:
            try:
                outcome: tuple[BaseException | None, *tuple[T, ...]] = (None, function(*args, **kwargs))
            except Exception as error:
                outcome = (error,)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, *outcome)

        threading.Thread(target=run, daemon=True, name="follower").start()  # not joined: connecting cannot be cut
        timer = loop.call_later(ANSWER, self._cut)
        try:
            return await future
        finally:
            timer.cancel()


def _holder(data_dir: Path, inode: int) -> UUID:
    """What holds the lease of a machine: the same for all processes on a data directory, another for a copy of it."""
    return uuid5(NAMESPACE_OID, f"{socket.gethostname()}:{data_dir.resolve()}:{inode}")
