"""Errors of the database and the data directory, each with a sentence that says what to do."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class StorageError(Exception):
    """The database cannot be used, or a read or write failed. kind: a stable name."""

    kind = "storage"

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class UserError(Exception):
    """A usage error: a name is unknown or ambiguous, or a file has the wrong format."""


class Refused(StorageError):
    """treadle refuses the data directory: another program's file, an edited migration, another version of treadle."""

    kind = "databaseRefused"


class NewerDatabase(Refused):
    """A newer version of treadle wrote the database."""

    kind = "databaseNewer"


class LogUnavailable(StorageError):
    """The server of a shared log is not reachable or refuses everything, whatever it is asked."""


class Busy(StorageError):
    """Another process has locked the database. The append or read can be retried."""

    kind = "databaseLocked"


# By primary result code (sqlite.org/rescode.html).
_EXPLANATIONS = {
    sqlite3.SQLITE_FULL: ("diskFull", "the disk is full: make room, then try again"),
    sqlite3.SQLITE_IOERR: ("ioError", "the disk failed to read or write: check its free space and its health"),
    sqlite3.SQLITE_CORRUPT: (
        "databaseCorrupt",
        "the database file is damaged: `treadle doctor` shows the damage, `treadle restore` restores a copy",
    ),
    sqlite3.SQLITE_NOTADB: (
        "databaseCorrupt",
        "the file is not a database: restore a copy with `treadle restore`, or choose another --data-dir",
    ),
    sqlite3.SQLITE_READONLY: (
        "databaseReadOnly",
        "the database is not writable: check that you own the data directory and that it is not mounted read-only",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "databaseUnreachable",
        "cannot open the database: check that the data directory exists, and that you may read and write it",
    ),
    sqlite3.SQLITE_PERM: ("databaseUnreachable", "access to the database is denied: check who owns the data directory"),
    sqlite3.SQLITE_BUSY: ("databaseLocked", "another program has locked the database: close it and try again"),
    sqlite3.SQLITE_LOCKED: ("databaseLocked", "another program has locked the database: close it and try again"),
    sqlite3.SQLITE_INTERRUPT: ("searchTimedOut", "the search timed out: narrow the query"),
    sqlite3.SQLITE_TOOBIG: ("tooBig", "the value is larger than SQLite can store"),
}


_OF_FILES = {
    errno.ENOSPC: _EXPLANATIONS[sqlite3.SQLITE_FULL],
    errno.EDQUOT: _EXPLANATIONS[sqlite3.SQLITE_FULL],
    errno.EIO: _EXPLANATIONS[sqlite3.SQLITE_IOERR],
    errno.EFBIG: _EXPLANATIONS[sqlite3.SQLITE_IOERR],
    errno.EROFS: _EXPLANATIONS[sqlite3.SQLITE_READONLY],
    errno.EACCES: ("databaseUnreachable", "access is denied: check its owner and its permissions"),
    errno.EPERM: ("databaseUnreachable", "access is denied: check its owner and its permissions"),
    errno.ENOENT: ("databaseUnreachable", "it does not exist: check the data directory"),
}
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
NO_LOCKS = "the file system does not support locks: use a --data-dir on a local disk"


def explained(error: sqlite3.Error | OSError) -> StorageError:
    """The StorageError for an error of SQLite or of the system: what failed and what to do."""
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        if error.errno in _NO_LOCKS:
            return Refused(f"{where}{NO_LOCKS} ({error.strerror})")
        kind, advice = _OF_FILES.get(error.errno or 0, ("databaseRefused", "check that it exists and that you own it"))
        return StorageError(f"{where}{advice} ({error.strerror})", kind)
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # no disk space for the -shm file
        code = sqlite3.SQLITE_FULL
    if str(error) == "malformed JSON":  # stored payloads and our parameters are always JSON
        code = sqlite3.SQLITE_CORRUPT
    kind, advice = _EXPLANATIONS.get(
        (code or 0) & 0xFF, ("storage", "the database failed: `treadle doctor` may tell more")
    )
    if _is_not_utf8(error):
        kind, advice = _EXPLANATIONS[sqlite3.SQLITE_CORRUPT]
    doing = "".join(getattr(error, "__notes__", ()))
    made = Busy if is_busy(error) else StorageError
    return made(f"{doing}{advice} (SQLite: {said(error)})", kind)


@contextmanager
def translated() -> Iterator[None]:
    """Translate errors of SQLite within the block to StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error) from error


def said(error: sqlite3.Error) -> str:
    """SQLite's message, without stored text."""
    return "a text is not UTF-8" if _is_not_utf8(error) else str(error)


def _is_not_utf8(error: sqlite3.Error) -> bool:
    """Whether the error is Python's decoding error, whose message ends with the stored text."""
    return str(error).startswith("Could not decode to UTF-8") and not hasattr(error, "sqlite_errorcode")


def is_busy(error: Exception) -> bool:
    """Whether the error says that another connection holds a lock."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
