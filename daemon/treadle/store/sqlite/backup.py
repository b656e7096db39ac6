"""Back up the database while daemons write to it, and restore a backup."""

import secrets
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from treadle.store.errors import Refused, explained
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.copies import note_erasures
from treadle.store.sqlite.database import (
    APPLICATION_ID,
    FILE_NAME,
    OPENING,
    PRESENT,
    FileLock,
    make_private_file,
    make_private_folder,
    sync,
)
from treadle.store.sqlite.projections import Progress

PAGES = 1024  # copied between calls of `progress`
BESIDE = ("-wal", "-shm", "-journal")  # suffixes of the files that SQLite keeps next to a database
LOG_ID = "INSERT INTO meta (key, value) VALUES ('logId', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


def back_up(data_dir: Path, target: Path, progress: Progress = lambda done, total: None) -> int:
    """Copy a consistent snapshot of the database to a new file; return the size of the copy in bytes.

    Daemons keep running. The target is either a complete, checked copy that is synced to disk, or does not exist.
    Raises Refused.
    """
    source = data_dir / FILE_NAME
    if not source.exists():
        raise Refused(f"no treadle database in {data_dir}: give its directory with --data-dir")
    if target.exists():
        raise Refused(f"{target} already exists: choose a new name")
    present = FileLock(data_dir / PRESENT)
    try:
        # A restore replaces the database and its WAL, which must not happen while a connection has them open.
        if not present.acquire(shared=True):
            raise Refused(f"another treadle process is restoring or upgrading {data_dir}: try again later")
        copy_whole(source, target, progress, check=True)
        return target.stat().st_size
    except sqlite3.Error as error:
        why = explained(error)
        raise Refused(f"{source} cannot be copied: {why}", why.kind) from error
    except OSError as error:
        why = explained(error)
        raise Refused(f"the copy failed: {why}", why.kind) from error
    finally:
        present.release()


def copy_whole(
    source: Path, target: Path, progress: Progress = lambda done, total: None, *, check: bool = False
) -> None:
    """Copy a consistent snapshot of a database to one private file without a WAL, atomically, and sync it to disk.

    check: also run an integrity check on the copy. Raises sqlite3.Error, OSError and Refused.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        _copy(source, part, progress)
        if check:
            _check_is_whole(part, source)
        part.rename(target)
        sync(target.parent)
    finally:
        _remove(part)


def restore(data_dir: Path, source: Path, progress: Progress = lambda done, total: None) -> Path | None:
    """Replace the database with a backup; return the path under which the previous database is kept, if there was one.

    The log gets a new logId, so that clients which know sequences of the old log start from a snapshot again. The next
    start gives it a new machineId, and interrupts the turns that were running when the backup was made. What was erased
    since then is noted in it (`meta.eraseAgain`), and the next start erases it there. Raises Refused
    and changes nothing if a daemon has the data directory open or the backup is damaged.
    """
    if not source.is_file():
        raise Refused(f"file {source} does not exist")
    make_private_folder(data_dir)
    opening, present = FileLock(data_dir / OPENING), FileLock(data_dir / PRESENT)
    path, part = data_dir / FILE_NAME, data_dir / f".{FILE_NAME}.part"
    try:
        if not (opening.acquire() and present.acquire()):
            raise Refused(f"{data_dir} is in use by a treadle daemon: close the editors that use it and try again")
        present.require_that_it_locks()
        _remove(part)
        _copy(source, part, progress)
        _check_is_whole(part, source)
        with closing(sqlite3.connect(part, isolation_level=None)) as db:
            _check_is_not_newer(db, source)
            db.execute(LOG_ID, (secrets.token_hex(16),))
            db.execute(
                "DELETE FROM meta WHERE key = 'machineFile'"
            )  # a copy, even if it gets the inode of the original
            note_erasures(db, path)
        kept = _keep(path, "before-restore-")
        part.rename(path)
        sync(data_dir)
    except sqlite3.Error as error:
        why = explained(error)
        raise Refused(f"{source} cannot be restored: {why}", why.kind) from error
    except OSError as error:
        why = explained(error)
        raise Refused(f"{source} cannot be restored: {why}", why.kind) from error
    finally:
        _remove(part)
        present.release()
        opening.release()
    return kept


def _check_is_whole(copy: Path, source: Path) -> None:
    """Check that the copy of `source` is an undamaged treadle database. Raises Refused."""
    with closing(sqlite3.connect(f"{copy.resolve().as_uri()}?mode=ro", uri=True)) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise Refused(f"{source} is not a treadle database")
        (problem,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if problem != "ok":
        raise Refused(f"{source} is damaged: {problem.splitlines()[-1]}", "databaseCorrupt")


def _check_is_not_newer(copy: sqlite3.Connection, source: Path) -> None:
    """Check that no newer treadle wrote it, so that this one can open it. Raises Refused."""
    try:
        if not migrations.pending(copy):
            projections.is_current(copy)
    except Refused as error:
        raise Refused(f"{source} cannot be restored: {error}", error.kind) from error


def _copy(source: Path, target: Path, progress: Progress) -> None:
    make_private_file(target)
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)) as db,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        # Without an open read transaction, an incremental backup restarts whenever a daemon commits.
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        db.backup(copy, pages=PAGES, progress=lambda _, left, total: progress(total - left, total), sleep=0)
        db.execute("ROLLBACK")
        copy.execute("PRAGMA journal_mode = DELETE")  # a single file, without a WAL
    sync(target)


def set_aside(path: Path, prefix: str) -> Path | None:
    """Move a database that no process has open to another name; return it. Raises Refused and OSError."""
    kept = _keep(path, prefix)
    if kept is not None:
        path.unlink()
        sync(path.parent)
    return kept


def _keep(path: Path, prefix: str) -> Path | None:
    """Hard-link a database that no process has open to a second name, so that a rename onto the first loses nothing.

    The WAL is merged into it first. If that fails because the file is damaged, the WAL is moved to the second name too:
    under the first, SQLite would take it for the WAL of the restored database. Raises Refused.
    """
    if not path.exists():
        return None
    kept = path.with_name(f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.db")
    try:
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = DELETE").fetchone()  # fails while another process has it open
    except sqlite3.DatabaseError as error:
        why = explained(error)
        if why.kind == "databaseLocked":
            raise Refused(f"{path}: {why}", why.kind) from error
    left = [suffix for suffix in BESIDE if path.with_name(path.name + suffix).exists()]
    for suffix in ("", *left):
        kept.with_name(kept.name + suffix).hardlink_to(path.with_name(path.name + suffix))
    sync(path.parent)
    for suffix in left:
        path.with_name(path.name + suffix).unlink()
    return kept


def _remove(part: Path) -> None:
    for suffix in ("", *BESIDE):
        part.with_name(part.name + suffix).unlink(missing_ok=True)
