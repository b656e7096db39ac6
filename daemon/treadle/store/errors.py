"""What can be wrong with a database, each with a sentence that says what to do."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class StorageError(Exception):
    """The database cannot be used, or refused a read or a write. `kind` is stable."""

    kind = "storage"

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class UserError(Exception):
    """The user asked for something that cannot be done: a name is unknown or ambiguous, a file has the wrong format."""


class Refused(StorageError):
    """The data directory is not ours to touch: a foreign file, an edited migration, a newer or older treadle."""

    kind = "databaseRefused"


class NewerDatabase(Refused):
    """A newer treadle wrote it."""

    kind = "databaseNewer"


class Busy(StorageError):
    """Another process holds the database locked. The append or read can be tried again."""

    kind = "databaseLocked"


# By primary result code (sqlite.org/rescode.html).
_EXPLANATIONS = {
    sqlite3.SQLITE_FULL: ("diskFull", "the disk is full: make room, and it goes on"),
    sqlite3.SQLITE_IOERR: ("ioError", "the disk failed a read or a write: see that it has room and is healthy"),
    sqlite3.SQLITE_CORRUPT: (
        "databaseCorrupt",
        "the database file is damaged: `treadle doctor` says how, `treadle restore` brings back a copy",
    ),
    sqlite3.SQLITE_NOTADB: (
        "databaseCorrupt",
        "the file is no database: `treadle restore` brings back a copy, or choose another --data-dir",
    ),
    sqlite3.SQLITE_READONLY: (
        "databaseReadOnly",
        "the database cannot be written: see that you own the data directory and that it is not mounted read-only",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "databaseUnreachable",
        "the database cannot be opened: see that the data directory is there, and that you may read and write it",
    ),
    sqlite3.SQLITE_PERM: ("databaseUnreachable", "access to the database is denied: see who owns the data directory"),
    sqlite3.SQLITE_BUSY: ("databaseLocked", "another program holds the database locked: end it, and try again"),
    sqlite3.SQLITE_LOCKED: ("databaseLocked", "another program holds the database locked: end it, and try again"),
    sqlite3.SQLITE_INTERRUPT: ("tooLong", "it took too long and was given up: ask for less"),
    sqlite3.SQLITE_TOOBIG: ("tooBig", "it is more than SQLite takes in one value"),
}


_OF_FILES = {
    errno.ENOSPC: _EXPLANATIONS[sqlite3.SQLITE_FULL],
    errno.EDQUOT: _EXPLANATIONS[sqlite3.SQLITE_FULL],
    errno.EIO: _EXPLANATIONS[sqlite3.SQLITE_IOERR],
    errno.EFBIG: _EXPLANATIONS[sqlite3.SQLITE_IOERR],
    errno.EROFS: _EXPLANATIONS[sqlite3.SQLITE_READONLY],
    errno.EACCES: ("databaseUnreachable", "access is denied: see who owns it, and what its permissions are"),
    errno.EPERM: ("databaseUnreachable", "access is denied: see who owns it, and what its permissions are"),
    errno.ENOENT: ("databaseUnreachable", "it is gone: see that the data directory is there"),
}
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
NO_LOCKS = "files cannot be locked there: use a --data-dir on a local disk"


def explained(error: sqlite3.Error | OSError) -> StorageError:
    """What SQLite or the system said, with what to do about it."""
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        if error.errno in _NO_LOCKS:
            return Refused(f"{where}{NO_LOCKS} ({error.strerror})")
        kind, advice = _OF_FILES.get(error.errno or 0, ("databaseRefused", "see that it is there and yours"))
        return StorageError(f"{where}{advice} ({error.strerror})", kind)
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # the file beside the database finds no room to grow
        code = sqlite3.SQLITE_FULL
    if str(error) == "malformed JSON":  # what is stored is JSON, as are our parameters
        code = sqlite3.SQLITE_CORRUPT
    kind, advice = _EXPLANATIONS.get((code or 0) & 0xFF, ("storage", "`treadle doctor` may know more"))
    if _is_not_utf8(error):
        kind, advice = _EXPLANATIONS[sqlite3.SQLITE_CORRUPT]
    doing = "".join(getattr(error, "__notes__", ()))
    made = Busy if is_busy(error) else StorageError
    return made(f"{doing}{advice} (SQLite: {said(error)})", kind)


@contextmanager
def translated() -> Iterator[None]:
    """Raises what SQLite refuses as StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error) from error


def said(error: sqlite3.Error) -> str:
    """What SQLite said, without what is stored."""
    return "a text is not UTF-8" if _is_not_utf8(error) else str(error)


def _is_not_utf8(error: sqlite3.Error) -> bool:
    """Python's own complaint, which goes on with the text."""
    return str(error).startswith("Could not decode to UTF-8") and not hasattr(error, "sqlite_errorcode")


def is_busy(error: Exception) -> bool:
    """Whether another connection was in the way."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
