"""Connections to the database file, and the locks on the folder that it lies in."""

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
OPENING = "opening.lock"  # held while the database is opened, migrated or replaced
PRESENT = "present.lock"  # shared by all who have it open; held alone by who changes it for all
APPLICATION_ID = 0x7472_6C65  # "trle", in the header of the file (sqlite.org/fileformat2.html, 1.3.14)
SQLITE_VERSION = sqlite3.sqlite_version
MINIMUM_SQLITE = (3, 38, 0)  # the -> and ->> operators
BUSY_TIMEOUT = 1.0  # seconds; who waits for longer tries again
JOURNAL_SIZE_LIMIT = 64 * 1024 * 1024  # bytes that the WAL keeps after a checkpoint


class SqliteConnection(aiosqlite.Connection):
    """aiosqlite's connection, with whole functions in one hop to its thread.

    path: of the database file. inode: the device and the number by which that was known when it was opened.
    """

    path: Path
    inode: tuple[int, int]

    def require_in_place(self) -> None:
        """Raises StorageError where the file is not found under its name any more: what is written to it is lost."""
        require_in_place(self.path, self.inode)

    async def call(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(connection, …)` on the connection's thread."""
        result: T = await self._execute(function, self._conn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result


def require_in_place(path: Path, opened: tuple[int, int]) -> None:
    """Raises StorageError where the file that was opened is not found under its name any more."""
    try:
        found = inode(path)
    except OSError as error:
        raise explained(error) from error
    if found != opened:
        raise StorageError(f"{path} was replaced while treadle had it open: start treadle again", "databaseUnreachable")


async def open_or_create_db(data_dir: Path, *, durability: Durability = "full") -> SqliteConnection:
    """A connection that may write. Makes the folder (0700) and the file (0600) where there are none.

    Raises Refused where the file is not a treadle database, or cannot be opened.
    """
    require_sqlite()
    make_private_folder(data_dir)
    path = data_dir / FILE_NAME
    try:
        make_private_file(path)
    except FileExistsError:
        # SQLite would open it for reading alone, and stay so when it may be written again.
        if not os.access(path, os.W_OK):
            why = explained(OSError(errno.EROFS, "it is read-only", str(path)))
            raise Refused(str(why), why.kind) from None
    except OSError as error:
        why = explained(error)
        raise Refused(f"{path} cannot be created: {why}", why.kind) from error
    return await _connect(path, lambda connection: configure_writer(connection, path, durability))


async def open_reader(data_dir: Path) -> SqliteConnection:
    """A connection to a database that was opened before, which cannot write."""
    return await _connect(data_dir / FILE_NAME, configure_reader)


def connect(path: Path, configure: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """A connection to a database that is there, on the thread that asks for it. Raises sqlite3.Error."""
    # mode=rw: SQLite would make a missing file with the umask's permissions.
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
        connection._thread.join()  # it is about to end; later, it would find the loop closed, and complain on stderr
        if isinstance(error, sqlite3.Error):
            why = explained(error)
            raise Refused(f"{path}: {why}", why.kind) from error
        raise
    connection.path, connection.inode = path, inode(path)
    return connection


def inode(path: Path) -> tuple[int, int]:
    """The device and the number by which the file is known while it has this name. Raises OSError."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def configure_writer(connection: sqlite3.Connection, path: Path, durability: Durability = "full") -> None:
    """Make it one that may write. Raises Refused where the file is some other program's."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID and (tables or application_id):
        raise Refused(f"{path} belongs to another program: choose another --data-dir")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT}")
    connection.execute("PRAGMA synchronous = FULL" if durability == "full" else "PRAGMA synchronous = NORMAL")


def configure_reader(connection: sqlite3.Connection) -> None:
    """Make it one that cannot write."""
    connection.execute("PRAGMA query_only = 1")


def require_sqlite() -> None:
    """Raises Refused where Python brings an SQLite that is too old, or one without full-text search."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        wanted = ".".join(map(str, MINIMUM_SQLITE[:2]))
        raise Refused(
            f"treadle needs SQLite {wanted} or newer, and this Python has {sqlite3.sqlite_version}: use a newer Python"
        )
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        if not db.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]:
            raise Refused("treadle needs SQLite with FTS5, which this Python does not have: use another Python")


def make_private_folder(path: Path) -> None:
    """The folder exists and only its owner can look into it. So it is with those above that have to be made."""
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
    """Make an empty file that its owner alone can read, whatever the umask. Raises FileExistsError."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


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
        except OSError as error:
            self.release()
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        return True

    def require_that_it_locks(self) -> None:
        """While it is held: raises Refused where it could be taken again, as on some network file systems."""
        another = FileLock(self.path)
        try:
            if another.acquire():
                raise Refused(f"{self.path}: {NO_LOCKS}")
        finally:
            another.release()

    def release(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @asynccontextmanager
    async def held(self, *, on_wait: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Wait for it without holding up the loop."""
        try:
            if not self.acquire():
                on_wait()
                while not self.acquire():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)  # a flock has nothing else to wait on without a thread
            yield
        finally:
            self.release()
