"""Looks for what can be wrong with a data directory, and says what to do about each."""

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

from msgspec import Struct

from treadle.store import migrations, projections
from treadle.store.database import APPLICATION_ID, FILE_NAME, FileLock, require_sqlite
from treadle.store.errors import NewerDatabase, StorageError, explained
from treadle.store.runners import Runner
from treadle.store.sql import query

LOW_SPACE = 256 * 1024 * 1024  # bytes
NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "9p",
    "fuse.sshfs",
    "glusterfs",
    "ceph",
    "lustre",
}
WAL_HEADER, FRAME_HEADER = 32, 24  # bytes (sqlite.org/fileformat2.html, section 4.1)

Verdict = Literal["ok", "warning", "problem"]


class Finding(Struct, frozen=True):
    """check: what was looked at. verdict: how it is. text: what was seen, and what to do where it is not well."""

    check: str
    verdict: Verdict
    text: str


def examine(data_dir: Path, *, quick: bool = False) -> Iterator[Finding]:
    """Every finding, in an order in which each makes sense only if those before did: it ends where that is not so.

    Nothing is changed, but for a WAL that SQLite recovers when it opens the file. quick: no replay of the log.
    """
    checks: list[tuple[str, Callable[[Path], Finding]]] = [
        ("SQLite", _sqlite),
        ("data directory", _directory),
        ("file system", _file_system),
        ("disk space", _space),
        ("locks", _locks),
        ("database file", _file),
        ("write-ahead log", _wal),
        ("database", _opens),
        ("integrity", _integrity),
        ("lock on the database", _unlocked),
        ("schema", _schema),
        ("event log", _log),
        ("running turns", _turns),
    ]
    if not quick:
        checks.append(("projections", _projections))
    for name, check in checks:
        try:
            finding = check(data_dir)
        except StorageError as error:
            finding = Finding(name, "problem", str(error))
        except sqlite3.Error as error:
            finding = Finding(name, "problem", str(explained(error)))
        except OSError as error:
            finding = Finding(name, "problem", f"{error.filename or data_dir}: {error.strerror}")
        yield finding
        if finding.verdict == "problem":
            return


def _sqlite(data_dir: Path) -> Finding:
    require_sqlite()
    return Finding("SQLite", "ok", sqlite3.sqlite_version)


def _directory(data_dir: Path) -> Finding:
    if not data_dir.exists():
        return Finding("data directory", "problem", f"there is no {data_dir}: `treadle serve` makes it, or --data-dir")
    if not data_dir.is_dir():
        return Finding("data directory", "problem", f"{data_dir} is not a folder: choose another --data-dir")
    try:
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        return Finding("data directory", "problem", f"{data_dir} cannot be written: {error.strerror}. See who owns it")
    if data_dir.stat().st_mode & 0o077:
        return Finding("data directory", "warning", f"others can look into {data_dir}: chmod 700 {data_dir}")
    return Finding("data directory", "ok", str(data_dir))


def _file_system(data_dir: Path) -> Finding:
    kind = _mounted_as(data_dir)
    if kind in NETWORK_FILE_SYSTEMS:
        return Finding(
            "file system",
            "warning",
            f"{data_dir} is on {kind}, where locks and shared memory may not work between machines: use a local disk",
        )
    return Finding("file system", "ok", kind or "unknown")


def _mounted_as(path: Path) -> str | None:
    """The type of the file system, from Linux's mountinfo (proc(5)); None elsewhere."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    path = path.resolve()
    best, kind = -1, None
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(left.split()[4].encode().decode("unicode_escape"))
        if path.is_relative_to(mount) and len(mount.parts) > best:
            best, kind = len(mount.parts), right.split()[0]
    return kind


def _space(data_dir: Path) -> Finding:
    free = shutil.disk_usage(data_dir).free
    if free < LOW_SPACE:
        return Finding("disk space", "warning", f"{free:,} bytes are left: make room before the disk is full")
    return Finding("disk space", "ok", f"{free // 2**20:,} MiB free")


def _locks(data_dir: Path) -> Finding:
    """Two open files of one process lock against each other, where flock works."""
    with tempfile.TemporaryDirectory(dir=data_dir, prefix="doctor-") as folder:
        one, two = FileLock(Path(folder) / "lock"), FileLock(Path(folder) / "lock")
        try:
            works = one.acquire() and not two.acquire()
        finally:
            one.release()
            two.release()
    if not works:
        return Finding("locks", "problem", f"flock does not lock in {data_dir}: use a --data-dir on a local disk")
    return Finding("locks", "ok", "flock works")


def _file(data_dir: Path) -> Finding:
    path = data_dir / FILE_NAME
    if not path.exists():
        return Finding("database file", "problem", f"there is no {path} yet: `treadle serve` makes it")
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        return Finding("database file", "problem", f"{path} is not a file")
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding("database file", "problem", f"{path} may not be read and written by you: see who owns it")
    if mode & 0o077:
        return Finding("database file", "warning", f"others can read {path}: chmod 600 {path}")
    return Finding("database file", "ok", f"{path.stat().st_size:,} bytes")


def _wal(data_dir: Path) -> Finding:
    """By its size alone, for nothing but SQLite may open it. A cut between two frames cannot be seen."""
    path = data_dir / f"{FILE_NAME}-wal"
    size = path.stat().st_size if path.exists() else 0
    try:
        with closing(_connect(data_dir)) as db:
            page_size = db.execute("PRAGMA page_size").fetchone()[0]
    except sqlite3.DatabaseError:
        return Finding("write-ahead log", "ok", f"{size:,} bytes")  # what is wrong is said of the database itself
    if size and (size < WAL_HEADER or (size - WAL_HEADER) % (FRAME_HEADER + page_size)):
        return Finding(
            "write-ahead log",
            "warning",
            f"{path} has {size:,} bytes, which is no whole number of frames: it was cut off, by a full disk or from "
            "outside. SQLite keeps what was committed before the cut",
        )
    return Finding("write-ahead log", "ok", f"{size:,} bytes")


def _connect(data_dir: Path) -> sqlite3.Connection:
    uri = f"{(data_dir / FILE_NAME).resolve().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=1.0)


def _opens(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID:
        whose = "some other program's" if tables else "an empty"
        return Finding("database", "problem", f"it is {whose} database: choose another --data-dir")
    return Finding("database", "ok", "it is treadle's")


def _integrity(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        problems = [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)").fetchall()]
    if problems != ["ok"]:
        return Finding(
            "integrity",
            "problem",
            f"the file is damaged: {'; '.join(problems)}. `treadle restore FILE` brings back a copy; "
            f"copies are kept as {data_dir}/before-*.db",
        )
    return Finding("integrity", "ok", "every page and index is whole")


def _unlocked(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return Finding("lock on the database", "warning", str(explained(error)))
    return Finding("lock on the database", "ok", "it can be written")


def _schema(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        todo = migrations.pending(db)
        try:
            current = not todo and projections.is_current(db)
        except NewerDatabase as error:
            return Finding("schema", "problem", str(error))
    if not current:
        return Finding("schema", "warning", "it is an older treadle's: the next start brings it up to date")
    return Finding("schema", "ok", f"projections of version {projections.VERSION}")


def _log(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        count, first, last = db.execute(query("log_extent")).fetchone()
    if count and (first != 1 or last != count):
        return Finding(
            "event log",
            "problem",
            f"{count:,} events from {first} to {last}: some are missing. `treadle restore FILE` brings back a copy",
        )
    return Finding("event log", "ok", f"{count:,} events without a gap")


def _turns(data_dir: Path) -> Finding:
    runner = Runner(data_dir)
    with closing(_connect(data_dir)) as db:
        turns = db.execute(query("running_turns")).fetchall()
    gone = [turn for turn in turns if runner.is_gone(turn[2])]
    if gone:
        return Finding(
            "running turns", "warning", f"{len(gone)} are of daemons that are gone: the next start interrupts them"
        )
    return Finding("running turns", "ok", f"{len(turns)}, each of a daemon that lives")


def _projections(data_dir: Path) -> Finding:
    with tempfile.TemporaryDirectory(dir=data_dir, prefix="doctor-") as folder:
        total, differences = projections.verify(data_dir / FILE_NAME, Path(folder) / "copy.db")
    if differences:
        first = differences[0]
        return Finding(
            "projections",
            "problem",
            f"{first.table} has a row that is {first.side}: {first.row}. `treadle rebuild` fills the tables anew",
        )
    return Finding("projections", "ok", f"every row is what {total:,} events say")
