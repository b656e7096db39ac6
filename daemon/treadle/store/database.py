"""Connections to the database file, and the locks on the folder that it lies in."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import aiosqlite

from treadle.store.errors import Refused, explained

P = ParamSpec("P")
T = TypeVar("T")
Durability = Literal["full", "normal"]

FILE_NAME = "treadle.db"
APPLICATION_ID = 0x7472_6C65  # "trle", in the header of the file (sqlite.org/fileformat2.html, 1.3.14)
MINIMUM_SQLITE = (3, 38, 0)  # the -> and ->> operators
BUSY_TIMEOUT = 5.0  # seconds
JOURNAL_SIZE_LIMIT = 64 * 1024 * 1024  # bytes that the WAL keeps after a checkpoint


class Connection(aiosqlite.Connection):
    """aiosqlite's connection, with whole functions in one hop to its thread."""

    async def call(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(connection, …)` on the connection's thread."""
        result: T = await self._execute(function, self._conn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result


async def open_or_create_db(data_dir: Path, *, durability: Durability = "full") -> Connection:
    """A connection that may write. Makes the folder (0700) and the file (0600) where there are none.

    Raises Refused where the file is not a treadle database, or cannot be opened.
    """
    require_sqlite()
    make_private_folder(data_dir)
    path = data_dir / FILE_NAME
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise Refused(f"{path} cannot be made: {error.strerror}") from error
    return await _connect(path, lambda connection: _configure_writer(connection, path, durability))


async def open_reader(data_dir: Path) -> Connection:
    """A connection to a database that was opened before, which cannot write."""
    return await _connect(data_dir / FILE_NAME, _configure_reader)


async def _connect(path: Path, configure: Callable[[sqlite3.Connection], None]) -> Connection:
    def connect() -> sqlite3.Connection:
        # mode=rw: SQLite would make a missing file with the umask's permissions.
        uri = f"{path.resolve().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=256)
        try:
            configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    try:
        connection = Connection(connect, iter_chunk_size=64)
        await connection
    except sqlite3.Error as error:
        why = explained(error)
        raise Refused(f"{path}: {why}", why.kind) from error
    return connection


def _configure_writer(connection: sqlite3.Connection, path: Path, durability: Durability) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application_id != APPLICATION_ID:
        raise Refused(f"{path} is some other program's database: choose another --data-dir")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT}")
    connection.execute("PRAGMA synchronous = FULL" if durability == "full" else "PRAGMA synchronous = NORMAL")


def _configure_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = 1")


def require_sqlite() -> None:
    """Raises Refused where Python brings an SQLite that is too old."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        wanted = ".".join(map(str, MINIMUM_SQLITE[:2]))
        raise Refused(
            f"treadle needs SQLite {wanted} or newer, and this Python has {sqlite3.sqlite_version}: use a newer Python"
        )


def make_private_folder(path: Path) -> None:
    """The folder exists and only its owner can look into it."""
    try:
        made = not path.exists()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if made:
            sync(path.parent)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise Refused(f"{path} cannot be the data directory: {error.strerror}") from error


def sync(path: Path) -> None:
    """Force a folder, or a file that SQLite does not have open, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileLock:
    """A flock on a file of its own; the kernel lets go of it with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False) -> bool:
        """Take it, or turn it from shared to exclusive or back; False where another process is in the way."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @asynccontextmanager
    async def held(self, *, on_wait: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Wait for it without holding up the loop."""
        if not self.acquire():
            on_wait()
            while not self.acquire():  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # a flock has nothing else to wait on without a thread
        try:
            yield
        finally:
            self.release()
