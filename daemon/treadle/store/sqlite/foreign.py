"""Reads a database of another program, which may be writing it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

BUSY_TIMEOUT = 5.0  # seconds that a read waits for the other program


class ForeignDatabase:
    """A read-only connection. Each read is a transaction of its own, so that it never stops the other program from
    cleaning up.

    It is not opened as `immutable`: SQLite would then ignore what the other program has only in its write-ahead log.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a SELECT. Raises OSError."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise OSError(f"the database cannot be read: {error}") from None

    def columns(self, table: str) -> set[str]:
        """The columns of a table; an empty set if there is no such table. Raises OSError."""
        return {name for (name,) in self.rows("SELECT name FROM pragma_table_info(?)", table)}


@contextmanager
def open_foreign(path: Path) -> Iterator[ForeignDatabase]:
    """Open a database for reading only. Raises OSError."""
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT)
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from None
    try:
        connection.text_factory = lambda text: text.decode(errors="replace")
        yield ForeignDatabase(connection)
    finally:
        connection.close()
