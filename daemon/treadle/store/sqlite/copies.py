"""Copies of the database that treadle has made itself, and which of them still have what was erased since."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from treadle.store.sqlite.database import FILE_NAME, FileLock
from treadle.store.sqlite.sql import query

IN_USE: Final = "in-use.lock"
BESIDE: Final = ("-wal", "-shm", "-journal")

Erased = Counter[tuple[str, bool]]
"""How often each thread was erased, or redacted: by its id, and whether all of it."""


@contextmanager
def folder_for_copy(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder that is known to be in use until the end of the block, so that a purge leaves it alone."""
    import tempfile  # a daemon does without it at its start

    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        lock = FileLock(Path(name) / IN_USE)
        lock.acquire()
        try:
            yield Path(name)
        finally:
            lock.release()


def erased_in(connection: sqlite3.Connection) -> Erased:
    """What was erased in a database."""
    return Counter((thread, bool(whole)) for thread, whole in connection.execute(query("erased_threads")).fetchall())


def old_copies(data_dir: Path, erased: Erased, temporary: Path | None = None) -> list[Path]:
    """Files and folders that treadle has left and that may have what was erased.

    temporary: the folder for temporary files, where `treadle verify` makes its copy.
    """
    found = {path for path in data_dir.glob("before-*.db") if _may_have(path, erased)}
    found |= {path for main in found for suffix in BESIDE if (path := main.with_name(main.name + suffix)).exists()}
    found |= {*data_dir.glob(".before-*"), *data_dir.glob(f".{FILE_NAME}.part*")}
    folders = [*data_dir.glob("doctor-*"), *(temporary.glob("treadle-verify-*") if temporary else [])]
    return sorted(found | {folder for folder in folders if _is_left(folder)})


def remove_copy(path: Path) -> None:
    """Remove one of `old_copies`. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def note_erasures(copy: sqlite3.Connection, current: Path) -> None:
    """Note in a copy that is about to be restored what was erased in the current database and not in the copy.

    A current database that cannot be read knows of nothing.
    """
    try:
        with closing(sqlite3.connect(f"{current.absolute().as_uri()}?mode=ro", uri=True)) as db:
            missing = erased_in(db) - _erased_or_none(copy)
            known = {id for id, _ in missing if copy.execute(query("thread_has_events"), {"thread": id}).fetchone()}
            commands = [
                json.loads(command)
                for id in sorted(known)
                for (command,) in db.execute(query("erasing_commands"), {"thread": id}).fetchall()
            ]
    except sqlite3.Error:
        return
    if commands:
        copy.execute(query("purge_note_commands"), {"commands": json.dumps(commands)})


def threads_to_erase(data_dir: Path) -> set[str]:
    """The threads of a database that was just restored, of which something is erased again at its next start."""
    with closing(sqlite3.connect(f"{(data_dir / FILE_NAME).absolute().as_uri()}?mode=ro", uri=True)) as db:
        found = db.execute(query("purge_noted_commands")).fetchone()
    return set() if found is None else {command["threadId"] for command in json.loads(found[0])}


def _erased_or_none(connection: sqlite3.Connection) -> Erased:
    try:
        return erased_in(connection)
    except sqlite3.OperationalError:  # of a release that erased nothing
        return Counter()


def _may_have(copy: Path, erased: Erased) -> bool:
    """Whether a copy may have what was erased: it cannot be read, or lacks an erasure of a thread that it has."""
    if any(copy.with_name(copy.name + suffix).exists() for suffix in BESIDE):
        return True
    try:
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True)) as db:
            last, purged = db.execute(query("purge_pending")).fetchone()
            if last is not None and purged < last:
                return True
            missing = erased - erased_in(db)
            return any(db.execute(query("thread_has_events"), {"thread": id}).fetchone() for id, _ in missing)
    except sqlite3.Error:
        return True


def _is_left(folder: Path) -> bool:
    lock = FileLock(folder / IN_USE)
    try:
        return lock.path.exists() and lock.acquire()
    except OSError:
        return False
    finally:
        lock.release()
