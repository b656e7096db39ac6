"""An open data directory: open and upgrade it, queue reads, hold its locks."""

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.domain.ids import Durability
from treadle.store.errors import Refused, StorageError, UserError, explained, is_busy, translated
from treadle.store.pages import PAGE_BOUNDS, PageBounds
from treadle.store.ports import Log, Reads
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.append_queue import AppendQueue
from treadle.store.sqlite.backup import copy_whole
from treadle.store.sqlite.database import (
    FILE_NAME,
    OPENING,
    PRESENT,
    SHARED_LOG,
    FileLock,
    SqliteConnection,
    make_private_folder,
    open_or_create_db,
    open_reader,
)
from treadle.store.sqlite.log import SqliteLog, position
from treadle.store.sqlite.runners import Machine, Runner, identify, note_machine
from treadle.store.sqlite.transaction import SqliteReads

if TYPE_CHECKING:
    from treadle.store.shared.sharing import Sharing

log = logging.getLogger(__name__)
T = TypeVar("T")

REBUILDING = "rebuilding.lock"
LONGEST_SEARCH = 10.0  # seconds until a search times out, because other searches wait for it


class Store:
    """Implements DataDirectory.

    reads: the queue of reads. runner: this daemon as a runner. append_queue: fairness between processes that append.
    log_id: identifies the log. pages: bounds of pages. sharing: None if the log is not shared with other machines.
    rebuilt: the number of events that the projections were rebuilt from when the store was opened; None if they were
    current.
    """

    def __init__(
        self,
        data_dir: Path,
        durability: Durability,
        writer: SqliteConnection,
        reader: SqliteConnection,
        present: FileLock,
        log_id: str,
        machine: Machine,
        pages: PageBounds,
        sharing: "Sharing | None" = None,
    ) -> None:
        self.data_dir = data_dir
        self.sharing = sharing
        self.is_shared = sharing is not None
        self.path = data_dir / FILE_NAME
        self.durability = durability
        self.writer = writer
        self.runner = Runner(data_dir, machine)
        if sharing is not None:
            self.runner.away = sharing.follower.away
        self.append_queue = AppendQueue(data_dir)
        self.log_id = log_id
        self.pages = pages
        self.rebuilt: int | None = None
        self.reads = ReadQueue(reader, pages)
        self._searches: asyncio.Task[ReadQueue] | None = None
        self._closing = False
        self._present = present

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        *,
        durability: Durability = "full",
        progress: projections.Progress = lambda done, total: None,
        pages: PageBounds = PAGE_BOUNDS,
    ) -> "Store":
        """Open or create the database, apply migrations, and rebuild outdated projections, which `progress` reports.

        Raises Refused, with a sentence that says what to do. If it is cancelled, it stops waiting for other processes;
        an upgrade that has started is finished, then the store is closed.
        """
        make_private_folder(data_dir)
        opening = FileLock(data_dir / OPENING)
        async with opening.held(on_wait=lambda: log.info("waiting for another treadle process to open %s", data_dir)):
            opening.require_that_it_locks()
            opened = asyncio.ensure_future(cls._open(data_dir, durability, progress, pages))
            with translated():
                try:
                    return await asyncio.shield(opened)
                except asyncio.CancelledError:
                    # A connection's thread must not outlive the event loop that it sends results to.
                    await (await opened).close()
                    raise

    @classmethod
    async def _open(
        cls, data_dir: Path, durability: Durability, progress: projections.Progress, pages: PageBounds
    ) -> "Store":
        present = FileLock(data_dir / PRESENT)
        is_shared = (data_dir / SHARED_LOG).exists()
        try:
            set_aside = _set_aside_if_rewound(data_dir, present) if is_shared else None
            writer = await open_or_create_db(data_dir, durability=durability)
        except BaseException:
            present.release()
            raise
        try:
            rebuilt = await _bring_up_to_date(writer, data_dir, present, progress)
            if set_aside is not None:
                await writer.call(note_machine, set_aside)
            log_id = await writer.call(_log_id)
            machine = await writer.call(identify, writer.inode[1], present.acquire)
            sharing = None
            if is_shared:  # psycopg takes a quarter of a second to import
                from treadle.store.shared.sharing import Sharing

                sharing = Sharing(data_dir, durability, writer, machine.id)
            present.acquire(shared=True)
            reader = await open_reader(data_dir)
        except BaseException:
            await writer.close()
            present.release()
            raise
        store = cls(data_dir, durability, writer, reader, present, log_id, machine, pages, sharing)
        store.rebuilt = rebuilt
        return store

    @property
    def actor(self) -> str | None:
        return None if self.sharing is None else self.sharing.login

    def read(self, function: Callable[[Reads], T]) -> "asyncio.Future[T]":
        """Run `function` in a read transaction, shared by all reads that are queued; return its future result."""
        return self.reads.submit(function)

    async def write(self, function: Callable[[Log], T]) -> T:
        """Run `function` on the one thread that may write; return its result."""
        if self.sharing is not None:
            return await self.sharing.write(function)
        in_place = self.writer.require_in_place
        with translated():
            return await self.writer.call(lambda connection: function(SqliteLog(connection, in_place)))

    async def rebuild(self, progress: projections.Progress = lambda done, total: None) -> int:
        """Rebuild the projections from the log while other daemons wait; return the number of events."""
        async with FileLock(self.data_dir / REBUILDING).held():
            while True:
                try:
                    return await self.writer.call(projections.rebuild, on_loop(progress))
                except sqlite3.Error as error:
                    if not is_busy(error):
                        raise explained(error) from error

    async def search(self, function: Callable[[SqliteReads], T]) -> T:
        """Run `function` on a separate connection, so that other reads do not wait for it.

        It is interrupted after LONGEST_SEARCH, when the caller is cancelled, and when the store is closed.
        """
        if self._searches is None:
            self._searches = asyncio.create_task(self._open_searches())
        try:
            queue = await asyncio.shield(self._searches)
        except StorageError:
            self._searches = None  # the next search retries
            raise

        def bounded(reads: SqliteReads) -> T:
            until = time.monotonic() + LONGEST_SEARCH
            with reads.interrupted_if(lambda: self._closing or future.done() or time.monotonic() > until):
                return function(reads)

        future = queue.submit(bounded)
        return await future

    async def _open_searches(self) -> "ReadQueue":
        connection = await open_reader(self.data_dir)
        if connection.inode != self.writer.inode:  # the file was replaced, which a reader would not notice
            await connection.close()
            self.writer.require_in_place()
        return ReadQueue(connection, self.pages)

    def is_rebuilding(self) -> bool:
        """Whether a process is rebuilding the projections, so that a busy database is worth waiting for."""
        lock = FileLock(self.data_dir / REBUILDING)
        try:
            return not lock.acquire(shared=True)
        except OSError:
            return False
        finally:
            lock.release()

    async def close(self) -> None:
        """Close the connections and release the locks."""
        self._closing = True
        try:
            if self.sharing is not None:
                await self.sharing.close()
            if self._searches is not None:
                for opened in await asyncio.gather(self._searches, return_exceptions=True):
                    if isinstance(opened, ReadQueue):
                        await opened.close()
            await self.reads.close()
            await self.writer.close()
        finally:
            self.runner.release()
            self._present.release()


class ReadQueue:
    """A queue of reads. Reads that arrive while others run share the next hop to the thread and its transaction."""

    def __init__(self, connection: SqliteConnection, bounds: PageBounds) -> None:
        self._connection = connection
        self._bounds = bounds
        self._waiting: dict[asyncio.Future[Any], Callable[[SqliteReads], Any]] = {}
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, function: Callable[[SqliteReads], T]) -> "asyncio.Future[T]":
        """Queue a read; return its future result. Cancelling the future removes it from the queue."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[future] = function
        future.add_done_callback(lambda done: self._waiting.pop(done, None))  # a cancelled read leaves the queue
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return future

    async def close(self) -> None:
        """Finish the queued reads, then close the connection."""
        if self._running is not None:
            await self._running
        await self._connection.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = [(future, function) for future, function in self._waiting.items() if not future.done()]
                self._waiting.clear()
                functions = [function for _, function in batch]
                try:
                    results = await self._connection.call(_read_together, functions, self._bounds)
                except (sqlite3.Error, StorageError, ValueError) as error:  # ValueError: the connection is closed
                    results = [error] * len(batch)
                for (future, _), result in zip(batch, results, strict=True):
                    if future.done():
                        continue
                    if isinstance(result, sqlite3.Error):
                        future.set_exception(explained(result))
                    elif isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._running = None


def _read_together(
    connection: sqlite3.Connection, functions: list[Callable[[SqliteReads], Any]], bounds: PageBounds
) -> list[Any]:
    results: list[Any] = []
    connection.execute("BEGIN")
    try:
        position(connection)
        reads = SqliteReads(connection, bounds)
        for function in functions:
            try:
                results.append(function(reads))
            except Exception as error:
                results.append(error)
    finally:
        connection.execute("ROLLBACK")
    return results


async def _bring_up_to_date(
    writer: SqliteConnection, data_dir: Path, present: FileLock, progress: projections.Progress
) -> int | None:
    todo = await writer.call(migrations.pending)
    current = not todo and await writer.call(projections.is_current)
    if current:
        return None
    if not present.acquire():
        raise Refused(
            f"{data_dir} must be upgraded, but another treadle process has it open: close the editors that use it "
            "and start again"
        )
    if await writer.call(_has_events):
        copy = await writer.call(_keep_copy, data_dir)
        log.info("kept a copy of the database as %s", copy)
    await writer.call(migrations.migrate)
    if not await writer.call(projections.is_current):
        return await writer.call(projections.rebuild, on_loop(progress))
    return None


def on_loop(progress: projections.Progress) -> projections.Progress:
    """Make `progress` callable from a connection's thread: it is called on the event loop."""
    loop = asyncio.get_running_loop()

    def call(done: int, total: int) -> None:
        loop.call_soon_threadsafe(progress, done, total)

    return call


def _set_aside_if_rewound(data_dir: Path, present: FileLock) -> Machine | None:
    """The machine of a replica that was set aside, because the shared log lacks events that it has."""
    try:
        from treadle.store.shared.rewound import set_aside_if_rewound
    except UserError as error:  # without psycopg
        raise Refused(str(error)) from None
    return set_aside_if_rewound(data_dir, present.acquire)


def _has_events(connection: sqlite3.Connection) -> bool:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'events'").fetchone():
        return False
    return connection.execute("SELECT 1 FROM events LIMIT 1").fetchone() is not None


def _keep_copy(connection: sqlite3.Connection, data_dir: Path) -> Path:
    """Copy the database to `before-DATE.db` in the data directory before an upgrade changes it."""
    for left in data_dir.glob(".before-*"):  # partial copies of a process that was killed
        left.unlink()
    copy = data_dir / f"before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.db"
    copy_whole(data_dir / FILE_NAME, copy)
    return copy


def _log_id(connection: sqlite3.Connection) -> str:
    found = connection.execute("SELECT value FROM meta WHERE key = 'logId'").fetchone()
    if found is None:  # write only if necessary, since another process may hold the lock
        found = (secrets.token_hex(16),)
        connection.execute("INSERT INTO meta (key, value) VALUES ('logId', ?)", found)
    return str(found[0])
