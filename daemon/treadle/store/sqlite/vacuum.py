"""What is free in the database file, and giving it back to the disk with VACUUM, which writes into the same file."""

import shutil
import sqlite3
from pathlib import Path
from typing import Final

from treadle.store.errors import Refused, explained, is_busy
from treadle.store.sqlite.database import FILE_NAME, configure_writer, connect
from treadle.store.sqlite.purge import truncate_wal

LEAST_FREE: Final = 0.25
"""The part of the file that must be free for a VACUUM to be worth its time."""
ROOM: Final = 2
"""How many times the file must fit on the disk: VACUUM writes a temporary copy, and then all pages to the WAL."""


def free_bytes(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many bytes of the database are free pages, and its whole size."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    return free * page_size, pages * page_size


def is_worth_it(free: int, size: int, room: int) -> bool:
    """Whether to offer a VACUUM. room: bytes that the disk has left."""
    return free > LEAST_FREE * size and room >= ROOM * size


def offered(data_dir: Path) -> int | None:
    """How many bytes a VACUUM gives back; None if it is not worth it, or the disk has no room. Raises sqlite3.Error."""
    connection = connect(data_dir / FILE_NAME, lambda connection: None)
    try:
        free, size = free_bytes(connection)
    finally:
        connection.close()
    return free if is_worth_it(free, size, shutil.disk_usage(data_dir).free) else None


def vacuum(data_dir: Path) -> int:
    """Give the free pages back to the disk; return by how many bytes the database got smaller.

    Raises Refused if the disk has no room, or another connection uses the database.
    """
    path = data_dir / FILE_NAME
    try:
        connection = connect(path, lambda connection: configure_writer(connection, path))
        try:
            _, before = free_bytes(connection)
            if shutil.disk_usage(data_dir).free < ROOM * before:
                raise Refused(f"the disk needs room for {ROOM} copies of the database, {ROOM * before:,} bytes")
            connection.execute("VACUUM")
            is_truncated = truncate_wal(connection)
            _, after = free_bytes(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        if is_busy(error):
            raise Refused("another program uses the database: try again later, nothing was changed") from error
        why = explained(error)
        raise Refused(f"{path}: {why}", why.kind) from error
    if not is_truncated:
        raise Refused("the database is smaller, but its file only shrinks once another program has ended reading it")
    return before - after
