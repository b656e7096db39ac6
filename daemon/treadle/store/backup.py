"""A copy of the database while daemons write, and the way back from one."""

import contextlib
import os
import secrets
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from treadle.store.database import APPLICATION_ID, FILE_NAME, FileLock, make_private_folder, sync
from treadle.store.errors import Refused, explained
from treadle.store.projections import Progress

PAGES = 1024  # copied between calls of `progress`
LOG_ID = "INSERT INTO meta (key, value) VALUES ('logId', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


def back_up(data_dir: Path, target: Path, progress: Progress = lambda done, total: None) -> int:
    """Copy the database of a data directory, as it is at one moment, to a new file; says how many bytes that has.

    Daemons go on meanwhile. The copy is on disk, whole, under its name, or there is none. Raises Refused.
    """
    source = data_dir / FILE_NAME
    if not source.exists():
        raise Refused(f"there is no treadle database in {data_dir}: say where it is with --data-dir")
    if target.exists():
        raise Refused(f"{target} is there already: choose a new name")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        _copy(source, part, progress)
        check_is_treadle(part)
        part.rename(target)
        sync(target.parent)
    except sqlite3.Error as error:
        raise Refused(f"the copy failed: {explained(error)}") from error
    except OSError as error:
        raise Refused(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def restore(data_dir: Path, source: Path, progress: Progress = lambda done, total: None) -> Path | None:
    """Put a copy in the place of the database; says where the database that was there is kept.

    The log gets a new logId: clients that know sequences of the old one begin anew. Raises Refused, and changes
    nothing, where a daemon has the directory open or the copy is not whole.
    """
    if not source.is_file():
        raise Refused(f"there is no file {source}")
    make_private_folder(data_dir)
    opening, present = FileLock(data_dir / "opening.lock"), FileLock(data_dir / "present.lock")
    path, part = data_dir / FILE_NAME, data_dir / f".{FILE_NAME}.part"
    try:
        if not (opening.acquire() and present.acquire()):
            raise Refused(f"a treadle has {data_dir} open: close the editors that use it, and try again")
        part.unlink(missing_ok=True)
        _copy(source, part, progress)
        check_is_treadle(part)
        with closing(sqlite3.connect(part, isolation_level=None)) as db:
            db.execute(LOG_ID, (secrets.token_hex(16),))
        sync(part)
        kept = _keep(path)
        part.rename(path)
        sync(data_dir)
    except sqlite3.Error as error:
        raise Refused(f"{source} cannot be restored: {explained(error)}") from error
    except OSError as error:
        raise Refused(f"{data_dir} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
        present.release()
        opening.release()
    return kept


def check_is_treadle(path: Path) -> None:
    """Raises Refused unless the file is a whole treadle database."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise Refused(f"{path} is no treadle database")
        problems = [row[0] for row in db.execute("PRAGMA integrity_check(3)").fetchall()]
    if problems != ["ok"]:
        raise Refused(f"{path} is damaged: {'; '.join(problems)}", "databaseCorrupt")


def _copy(source: Path, target: Path, progress: Progress) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)) as db,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        # Without a read transaction of its own, a backup in steps begins anew whenever a daemon commits.
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        db.backup(copy, pages=PAGES, progress=lambda _, left, total: progress(total - left, total), sleep=0)
        db.execute("ROLLBACK")
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole in itself
    sync(target)


def _keep(path: Path) -> Path | None:
    """Give a database that nobody has open a second name, so that a rename onto the first loses nothing."""
    if not path.exists():
        return None
    kept = path.with_name(f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.db")
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:  # it may be damaged
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # The last to close it takes the WAL into the file. One that stays would be taken for the restored database's.
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + suffix))
    kept.hardlink_to(path)
    return kept
