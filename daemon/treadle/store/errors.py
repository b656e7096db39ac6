"""What can be wrong with a database, each with a sentence that says what to do."""

import sqlite3


class StorageError(Exception):
    """The database cannot be used, or refused a read or a write. `kind` is stable."""

    kind = "storage"

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class Refused(StorageError):
    """The data directory is not ours to touch: a foreign file, an edited migration, a newer or older treadle."""

    kind = "databaseRefused"


class NewerDatabase(Refused):
    """A newer treadle wrote it."""

    kind = "databaseNewer"


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
    sqlite3.SQLITE_TOOBIG: ("tooBig", "it is more than SQLite takes in one value"),
}


def explained(error: sqlite3.Error) -> StorageError:
    """What SQLite said, with what to do about it."""
    code = getattr(error, "sqlite_errorcode", None)
    kind, advice = _EXPLANATIONS.get((code or 0) & 0xFF, ("storage", "`treadle doctor` may know more"))
    return StorageError(f"{advice} (SQLite: {error})", kind)
