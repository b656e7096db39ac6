"""Find the SQL files: `treadle/sql` in an installed wheel, `sql/` in a checkout."""

import hashlib
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from msgspec import Struct

_PACKAGE = Path(__file__).resolve().parents[2]
ROOT = next((p for p in (_PACKAGE / "sql", _PACKAGE.parent.parent / "sql") if p.is_dir()), _PACKAGE / "sql")


class Script(Struct, frozen=True):
    """An SQL file. name: the file name without its extension. text: its content."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """The statements, one by one, since `executescript` commits an open transaction."""
        statement = ""
        for line in self.text.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                yield statement
                statement = ""
        if statement.strip():  # a last statement without a semicolon, or a comment
            yield statement


def scripts(folder: str) -> list[Script]:
    """The SQL files of one folder, sorted by name."""
    return [Script(path.stem, path.read_text("utf-8")) for path in sorted((ROOT / folder).glob("*.sql"))]


@cache
def query(name: str) -> str:
    """The text of sql/queries/NAME.sql."""
    return (ROOT / "queries" / f"{name}.sql").read_text("utf-8")
