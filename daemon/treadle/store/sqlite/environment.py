"""Checks of what a database needs from the machine: SQLite, folder, file system, disk space, locks, permissions."""

import fcntl
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Literal

from msgspec import Struct

from treadle.store.sqlite.database import FILE_NAME, FileLock, require_sqlite

LOW_SPACE = 256 * 1024 * 1024  # bytes
TRIED = 1024 * 1024  # bytes that are written to test whether there is disk space
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

Verdict = Literal["ok", "warning", "problem"]


class Finding(Struct, frozen=True):
    """The result of one check. check: its name. text: what was found, and what to do about a warning or problem."""

    check: str
    verdict: Verdict
    text: str


def sqlite(data_dir: Path) -> Finding:
    require_sqlite()
    return Finding("SQLite", "ok", sqlite3.sqlite_version)


def directory(data_dir: Path) -> Finding:
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


def file_system(data_dir: Path) -> Finding:
    kind = mounted_as(data_dir)
    if kind in NETWORK_FILE_SYSTEMS:
        return Finding(
            "file system",
            "warning",
            f"{data_dir} is on {kind}, where locks and shared memory may not work between machines: use a local disk",
        )
    return Finding("file system", "ok", kind or "unknown")


def mounted_as(path: Path) -> str | None:
    """The type of the file system, from Linux's mountinfo (proc(5)); None on other systems."""
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


def space(data_dir: Path) -> Finding:
    with tempfile.TemporaryFile(dir=data_dir) as file:  # a quota shows only when something is written
        file.write(bytes(TRIED))
    free = shutil.disk_usage(data_dir).free
    if free < LOW_SPACE:
        return Finding("disk space", "warning", f"{free:,} bytes are left: make room before the disk is full")
    return Finding("disk space", "ok", f"{free // 2**20:,} MiB free")


def locks(data_dir: Path) -> Finding:
    """Check flock, which treadle uses, and record locks, which SQLite uses.

    Whether a record lock excludes other processes cannot be tested from one process.
    """
    with tempfile.TemporaryDirectory(dir=data_dir, prefix="doctor-") as folder:
        lock = FileLock(Path(folder) / "lock")
        try:
            lock.acquire()
            lock.require_that_it_locks()
        finally:
            lock.release()
        with lock.path.open("wb") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Finding("locks", "ok", "they work")


def files(data_dir: Path) -> Finding:
    path = data_dir / FILE_NAME
    if not path.exists():
        return Finding("files", "problem", f"there is no {path} yet: `treadle serve` makes it")
    if not path.is_file():
        return Finding("files", "problem", f"{path} is not a file: choose another --data-dir")
    files = [file for file in sorted(data_dir.iterdir()) if file.is_file()]
    for file in files:
        if not os.access(file, os.R_OK | os.W_OK):
            return Finding("files", "problem", f"{file} may not be read and written by you: see who owns it")
    for file in files:
        if file.stat().st_mode & 0o077:
            return Finding("files", "warning", f"others may read {file}: chmod 600 {file}")
    return Finding("files", "ok", f"the database has {path.stat().st_size:,} bytes")
