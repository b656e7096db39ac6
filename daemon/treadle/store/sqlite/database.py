"""Connections to the database file, and the lock files of the data directory."""

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from treadle.domain.ids import Durability
from treadle.store.errors import NO_LOCKS, Refused, StorageError, explained

P = ParamSpec("P")
T = TypeVar("T")

FILE_NAME = "treadle.db"
SHARED_LOG = "log.json"  # says which shared log the database is a replica of, if it is one
OPENING = "opening.lock"  # held while the database is opened, migrated or replaced
PRESENT = "present.lock"  # shared by processes that have the database open; exclusive for an upgrade or a restore
MEMORY = "memory.lock"  # held by a daemon with --memory, whose data directory is a folder in memory
APPLICATION_ID = 0x7472_6C65  # "trle", in the header of the file (sqlite.org/fileformat2.html, 1.3.14)
SQLITE_VERSION = sqlite3.sqlite_version
MINIMUM_SQLITE = (3, 38, 0)  # the -> and ->> operators
BUSY_TIMEOUT = 1.0  # seconds; callers retry after that
JOURNAL_SIZE_LIMIT = 64 * 1024 * 1024  # bytes of the WAL file after a WAL checkpoint


class SqliteConnection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function in one hop to its thread.

    path: of the database file. inode: the device and inode number that the path had when it was opened.
    """

    path: Path
    inode: tuple[int, int]

    def require_in_place(self) -> None:
        """Check that the path still names the open file; otherwise writes would be lost. Raises StorageError."""
        require_in_place(self.path, self.inode)

    async def call(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(connection, …)` on the connection's thread, which keeps no reference to it or to its result.

        aiosqlite's thread would keep both until the next call: they may hold a command of many megabytes.
        """
        calls = [lambda: function(self._conn, *args, **kwargs)]
        results: list[T] = []
        await self._execute(lambda: results.append(calls.pop()()))  # type: ignore[no-untyped-call]
        return results.pop()


def require_in_place(path: Path, opened: tuple[int, int]) -> None:
    """Check that the path still has the inode that was opened. Raises StorageError."""
    try:
        found = inode(path)
    except OSError as error:
        raise explained(error) from error
    if found != opened:
        raise StorageError(f"{path} was replaced while treadle had it open: start treadle again", "databaseUnreachable")


async def open_or_create_db(data_dir: Path, *, durability: Durability = "full") -> SqliteConnection:
    """Open a connection that may write; create the folder (0700) and the file (0600) if they are missing.

    Raises Refused if the file is not a treadle database or cannot be opened.
    """
    require_sqlite()
    make_private_folder(data_dir)
    path = data_dir / FILE_NAME
    try:
        make_private_file(path)
    except FileExistsError:
        # SQLite would open it read-only, and stay read-only after its permissions are fixed.
        if not os.access(path, os.W_OK):
            why = explained(OSError(errno.EROFS, "it is read-only", str(path)))
            raise Refused(str(why), why.kind) from None
    except OSError as error:
        why = explained(error)
        raise Refused(f"{path} cannot be created: {why}", why.kind) from error
    return await _connect(path, lambda connection: configure_writer(connection, path, durability))


async def open_reader(data_dir: Path) -> SqliteConnection:
    """Open a read-only connection to an existing, configured database."""
    return await _connect(data_dir / FILE_NAME, configure_reader)


def connect(path: Path, configure: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open a connection to an existing database in the calling thread. Raises sqlite3.Error."""
    # mode=rw: by default SQLite creates a missing file, with the permissions of the umask.
    uri = f"{path.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=256)
    try:
        configure(connection)
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect(path: Path, configure: Callable[[sqlite3.Connection], None]) -> SqliteConnection:
    connection = SqliteConnection(lambda: connect(path, configure), iter_chunk_size=64)
    try:
        await connection
    except Exception as error:
        connection._thread.join()  # it is ending; if it outlived the loop, it would print a traceback on stderr
        if isinstance(error, sqlite3.Error):
            why = explained(error)
            raise Refused(f"{path}: {why}", why.kind) from error
        raise
    connection.path, connection.inode = path, inode(path)
    return connection


def inode(path: Path) -> tuple[int, int]:
    """The device and inode number of the file at the path. Raises OSError."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def configure_writer(connection: sqlite3.Connection, path: Path, durability: Durability = "full") -> None:
    """Configure a connection that may write. Raises Refused if the file belongs to another program."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID and (tables or application_id):
        raise Refused(f"{path} belongs to another program: choose another --data-dir")
    # Deleted content is overwritten, not only forgotten. Always: a completed message deletes the rows of its pieces.
    connection.execute("PRAGMA secure_delete = ON").fetchone()
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT}")
    connection.execute("PRAGMA synchronous = FULL" if durability == "full" else "PRAGMA synchronous = NORMAL")


def configure_reader(connection: sqlite3.Connection) -> None:
    """Make a connection read-only."""
    connection.execute("PRAGMA query_only = 1")


def require_sqlite() -> None:
    """Check that Python's SQLite is new enough and has full-text search (FTS5). Raises Refused."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        wanted = ".".join(map(str, MINIMUM_SQLITE[:2]))
        raise Refused(
            f"treadle needs SQLite {wanted} or newer, and this Python has {sqlite3.sqlite_version}: use a newer Python"
        )
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        if not db.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]:
            raise Refused("treadle needs SQLite with FTS5, which this Python does not have: use another Python")


def make_private_folder(path: Path) -> None:
    """Create the folder and its missing parents, accessible only to the owner (0700). Raises Refused."""
    try:
        missing = list(itertools.takewhile(lambda folder: not folder.exists(), (path, *path.parents)))
        for folder in reversed(missing or [path]):
            folder.mkdir(mode=0o700, exist_ok=True)
            if missing:
                sync(folder.parent)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        why = explained(error)
        raise Refused(f"{path} cannot be the data directory: {why}", why.kind) from error


def make_private_file(path: Path) -> None:
    """Create an empty file that only its owner can read (0600), whatever the umask. Raises FileExistsError."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def sync(path: Path) -> None:
    """Sync a folder, or a file that SQLite does not have open, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileLock:
    """A flock on a lock file. The kernel releases it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False) -> bool:
        """Acquire the lock, or convert it between shared and exclusive; False if another process holds it."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            self.release()
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        return True

    def require_that_it_locks(self) -> None:
        """Check that a held lock cannot be acquired twice, as on some network file systems. Raises Refused."""
        another = FileLock(self.path)
        try:
            if another.acquire():
                raise Refused(f"{self.path}: {NO_LOCKS}")
        finally:
            another.release()

    def held_by(self) -> tuple[int, ...]:
        """The descriptor by which it is held: a process that inherits it holds the lock as well."""
        return () if self._descriptor is None else (self._descriptor,)

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @asynccontextmanager
    async def held(self, *, on_wait: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Hold the lock within the block; wait for it without blocking the event loop."""
        try:
            if not self.acquire():
                on_wait()
                while not self.acquire():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)  # without a thread, a flock can only be polled
            yield
        finally:
            self.release()
