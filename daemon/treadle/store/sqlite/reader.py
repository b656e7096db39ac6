"""Read-only access to a data directory for commands that are not a daemon. It does not disturb running daemons."""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from treadle.store.errors import Refused, StorageError, explained, translated
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.database import (
    APPLICATION_ID,
    FILE_NAME,
    OPENING,
    PRESENT,
    SHARED_LOG,
    FileLock,
    configure_reader,
    connect,
    inode,
    require_in_place,
    require_sqlite,
)
from treadle.store.sqlite.log import position
from treadle.store.sqlite.transaction import SqliteReads

log = logging.getLogger(__name__)
T = TypeVar("T")

STEPS = 1_000  # instructions of SQLite's virtual machine between checks for Ctrl-C
POLL = 0.1  # seconds between checks for commits of other processes


def require_database(data_dir: Path) -> None:
    """Check that the data directory has a database. Raises Refused."""
    if not (data_dir / FILE_NAME).exists():
        raise Refused(f"no treadle database in {data_dir}: give its directory with --data-dir")


class Reader:
    """A read-only connection. Each `read` is a separate short transaction, so that slow output holds none open.

    path: of the database.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._inode = inode(path)

    def read(self, function: Callable[[SqliteReads], T]) -> T:
        """Run `function` in a read transaction. Raises NewerDatabase if a newer treadle has upgraded the database."""
        with _interruptible(), translated():
            self._connection.execute("BEGIN")
            try:
                position(self._connection)
                return function(SqliteReads(self._connection))
            finally:
                self._connection.execute("ROLLBACK")

    def wait(self, seconds: float) -> bool:
        """Wait until another process commits: True if one has since the last wait, False after `seconds`.

        Raises StorageError if the database file was moved or replaced.
        """
        deadline = time.monotonic() + seconds
        while self._version() == self._seen:
            if time.monotonic() >= deadline:
                return False
            require_in_place(self.path, self._inode)
            time.sleep(POLL)
        self._seen = self._version()
        return True

    def _version(self) -> int:
        with translated():
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    _seen = 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C during a statement, which SQLite reports as SQLITE_INTERRUPT."""
    try:
        yield
    except StorageError as error:
        if getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        raise


@contextlib.contextmanager
def reading(data_dir: Path) -> Iterator[Reader]:
    """Open the database of a data directory for reading within the block; like a daemon, prevent its replacement.

    The replica of a shared log is brought up to date first, if no daemon does that. Does not create or upgrade a
    database. Raises Refused, with a sentence that says what to do, if there is no database or it is not one of this
    version of treadle.
    """
    require_sqlite()
    require_database(data_dir)
    path = data_dir / FILE_NAME
    opening, present = FileLock(data_dir / OPENING), FileLock(data_dir / PRESENT)
    connection: sqlite3.Connection | None = None
    try:
        try:
            _wait_for(opening, data_dir)
            if not present.acquire(shared=True):
                raise Refused(f"another treadle process is restoring or upgrading {data_dir}: try again later")
            connection = connect(path, configure_reader)
            connection.set_progress_handler(lambda: False, STEPS)
            _require_current(connection, data_dir)
            reader = Reader(path, connection)
        except sqlite3.Error as error:
            why = explained(error)
            raise Refused(f"{path}: {why}", why.kind) from error
        except OSError as error:
            raise explained(error) from error
        finally:
            opening.release()
        if (data_dir / SHARED_LOG).exists():
            from treadle.store.shared.catching_up import catch_up

            catch_up(data_dir)
        yield reader
    finally:
        if connection is not None:
            connection.close()
        present.release()


def bring_up_to_date(data_dir: Path) -> None:
    """What `reading` does first with the replica of a shared log. A database that is to be upgraded stays as it is."""
    if (data_dir / SHARED_LOG).exists():
        with contextlib.suppress(Refused), reading(data_dir):
            pass


def _wait_for(opening: FileLock, data_dir: Path) -> None:
    """Wait until no process is creating or upgrading the database.

    Holds the lock shared for the few milliseconds of opening, for which other processes wait.
    """
    if not opening.acquire(shared=True):
        log.warning("waiting for another treadle process to open %s", data_dir)
        while not opening.acquire(shared=True):
            time.sleep(POLL)


def _require_current(connection: sqlite3.Connection, data_dir: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not application_id and not tables:
        raise Refused(f"the treadle database in {data_dir} is empty: nothing was stored in it yet")
    if application_id != APPLICATION_ID:
        raise Refused(f"{data_dir / FILE_NAME} belongs to another program: choose another --data-dir")
    if migrations.pending(connection) or not projections.is_current(connection):
        raise Refused(
            f"the database in {data_dir} was written by an older version of treadle: run `treadle rebuild` "
            "to upgrade it"
        )
