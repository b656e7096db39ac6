"""Follows a shared log: one process of a machine pulls what others append, and says that the machine is there."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, ParamSpec, Protocol, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

from treadle.contract.shared_log import MachineLease, SharedLogStatus
from treadle.store.errors import LogUnavailable, StorageError
from treadle.store.shared.config import SharedLogConfig
from treadle.store.shared.failures import LEASED, REWOUND, UNREACHABLE
from treadle.store.shared.remote import RemoteLog
from treadle.store.shared.replica import ReplicaPlace
from treadle.store.shared.rewound import lost_events
from treadle.store.shared.shared_log import SharedLog
from treadle.store.shared.status import FOLLOWING, unknown
from treadle.store.sqlite.database import FileLock

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Write(Protocol):
    """Runs a function on the thread that may write to the replica."""

    def __call__(self, function: Callable[[SharedLog], T], /) -> Awaitable[T]: ...


LOOK_FOR_LOCK = 1.0  # seconds between two tries to follow, while another process of the machine does
BEAT = 15.0  # seconds between two times that the machine says that it is there
POLL = 5.0  # seconds between two looks at the log, if nothing is announced
POLL_DEAF = 1.0  # the same on a server without LISTEN
STUCK = 3 * BEAT  # seconds without a word, after which a process that follows is not relied on
ANNOUNCE = 0.05  # seconds between two announcements
ANSWER = 15.0  # seconds that the server has for an answer
RETRY = (0.2, 1.0, 2.0, 5.0)  # seconds until it connects again; the last one counts from then on


class Lessee(NamedTuple):
    """A machine, with what holds its lease: the same for all processes on a data directory, another for a copy."""

    id: str
    holder: UUID


def lessee(data_dir: Path, machine_id: str, inode: int) -> Lessee:
    return Lessee(machine_id, uuid5(NAMESPACE_OID, f"{os.uname().nodename}:{data_dir.resolve()}:{inode}"))


class Follower:
    """One task. machine: this one. write: runs a function on the thread that may write to the replica.

    lost: called when the connection was lost. beaten: called each time that the machine has said that it is there.
    status: what is known of the log. is_following: whether this process follows it; if not, another one of the machine
    does, and has the status.
    """

    def __init__(
        self, data_dir: Path, config: SharedLogConfig, machine: Lessee, write: Write, lost: Callable[[], None]
    ) -> None:
        self.status = unknown(config)
        self.is_following = False
        self.beaten: Callable[[], None] = lambda: None
        self._data_dir = data_dir
        self._has_told = False
        self._lock = FileLock(data_dir / FOLLOWING)
        self._config = config
        self._machine = machine
        self._write, self._lost = write, lost
        self._woken = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._announced = 0.0
        self._remote: RemoteLog | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Start to follow, or to wait until the process that does it has ended. The task never ends by itself."""
        self._task = asyncio.create_task(self._run(), name="follower")
        return self._task

    def away(self, machine_id: str) -> float:
        """The seconds since the end of the lease of a machine, as of the last beat; 0 if that is unknown."""
        return next((one.away_seconds for one in self.status.machines if one.machine_id == machine_id), 0.0)

    def wake(self) -> None:
        """The replica may have more events. The other machines are told at most every ANNOUNCE seconds."""
        if self._waking is None:
            self._waking = asyncio.get_running_loop().call_at(self._announced + ANNOUNCE, self._wake)

    def _wake(self) -> None:
        self._waking = None
        self._woken.set()

    async def close(self) -> None:
        """Follow no more, so that another process of the machine does it."""
        if self._task is not None:
            self._task.cancel()
            self._cut()
            await asyncio.gather(self._task, return_exceptions=True)
        self._lock.release()

    async def _run(self) -> None:
        while not (self._lock.acquire() or self._is_stuck()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_FOR_LOCK)
        self.is_following = True
        failures = 0
        while True:
            try:
                await self._follow()
            except StorageError as error:
                failures = 0 if self.status.problem is None else failures
                self._failed(error)
            finally:
                if self._remote is not None:
                    self._remote.close()
                    self._remote = None
            await asyncio.sleep(RETRY[min(failures, len(RETRY) - 1)])
            failures += 1

    def _is_stuck(self) -> bool:
        """Whether the process that follows has said nothing for long: it may be stopped. Two that follow do no harm."""
        try:
            return time.time() - self._lock.path.stat().st_mtime > STUCK
        except OSError:
            return False

    async def _follow(self) -> None:
        """Follow until something fails."""
        remote = self._remote = await self._in_thread(RemoteLog, self._config.service)
        listens = await self._in_thread(remote.listen, self._config.log_id)
        place = await self._write(SharedLog.place)
        told, beaten, looked = place.sequence, 0.0, 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            heard = await self._in_thread(remote.announced)
            place = await self._write(SharedLog.place)
            if place.sequence > told:
                await asyncio.sleep(self._announced + ANNOUNCE - loop.time())
                await self._in_thread(remote.announce, self._config.log_id, place.sequence)
                self._announced = loop.time()
                self._woken.set()  # an announcement may have come with an answer, which makes nothing readable
            every = POLL if listens else POLL_DEAF
            if heard > place.sequence or loop.time() - looked >= every:
                place = await self._pull(remote, place)
                await self._tell_what_was_lost()
                looked = loop.time()
                self._woken.set()
            told = max(told, heard, place.sequence)
            if loop.time() - beaten >= BEAT:
                await self._beat(remote, place.sequence)
                beaten = loop.time()
                self._woken.set()
            # Only now: while something else is done here, what can be read would call it again and again.
            loop.add_reader(remote.fileno(), self._woken.set)
            try:
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

    async def _tell_what_was_lost(self) -> None:
        """Once, when the replica is complete: say what only replicas have that were set aside."""
        if not self._has_told:
            self._has_told = True
            for lost in await asyncio.to_thread(lost_events, self._data_dir):
                log.error("%s", lost)

    async def _beat(self, remote: RemoteLog, applied: int) -> None:
        machines: list[MachineLease] = []
        try:
            machines = await self._in_thread(
                remote.beat, self._config.log_id, self._machine.id, self._machine.holder, applied
            )
        except StorageError as error:
            if error.kind != LEASED:
                raise
            await self._write(SharedLog.identify_anew)
            log.warning("%s: start treadle again, and it gets an id of its own", error)
        if self.status.problem is not None and self.status.since is not None:
            log.warning("the shared log is followed again")
        self._tell(None, applied, machines)
        self.beaten()

    def _failed(self, error: StorageError) -> None:
        if error.kind == UNREACHABLE:
            self._lost()
        if self.status.problem != str(error):
            log.warning("the shared log is not followed, reads are of what is here: %s", error)
        self._tell(str(error), self.status.head, [])

    def _tell(self, problem: str | None, head: int, machines: list[MachineLease]) -> None:
        known, since = self.status, datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if known.since is not None and (known.problem is None) == (problem is None):
            since = known.since
        self.status = SharedLogStatus(known.service, known.log_id, problem, since, max(head, known.head), machines)
        with contextlib.suppress(OSError):  # a full disk
            self._lock.path.write_bytes(msgspec.json.encode(self.status))

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
            else:
                close(*result)

        def close(*result: T) -> None:
            for one in result:
                if isinstance(one, RemoteLog):  # it has connected too late
                    one.close()

        def run() -> None:
            try:
                outcome: tuple[BaseException | None, *tuple[T, ...]] = (None, function(*args, **kwargs))
            except Exception as error:
                outcome = (error,)
            try:
                loop.call_soon_threadsafe(settle, *outcome)
            except RuntimeError:  # the loop has ended
                close(*outcome[1:])

        threading.Thread(target=run, daemon=True, name="follower").start()  # not joined: connecting cannot be cut
        timer = loop.call_later(ANSWER, self._cut)
        try:
            return await future
        finally:
            timer.cancel()
