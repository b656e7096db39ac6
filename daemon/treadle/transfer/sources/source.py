"""What a tool's history consists of: sessions that are discovered and read, and a report of what became of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from treadle.domain import commands as c
from treadle.domain.ids import Timestamp

NAMED = 20  # how many skipped lines and files a report names
_MILLISECONDS = 100_000_000_000  # a number from here on is a time in milliseconds since 1970, below in seconds
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z


class ToolSession(Struct, frozen=True, kw_only=True):
    """A conversation as a tool stores it.

    id: the tool's own. thread_id: of the thread that it becomes. path: of the file that holds it. folder: that the tool
    worked in. size: in bytes. modified: when it was last written, in seconds since 1970. oldest: the time of its first
    record, if it is known without reading all of it. parent: for the work of a subagent. fork_of: whose turns it
    repeats at its beginning, and the last of them. is_remainder: only the prompts are left, of deleted sessions.
    """

    tool: str
    id: str
    thread_id: str
    path: Path
    folder: str | None = None
    size: int = 0
    modified: float = 0.0
    oldest: Timestamp | None = None
    parent: c.ParentThread | None = None
    fork_of: c.ForkedThread | None = None
    is_archived: bool = False
    is_remainder: bool = False

    def origin(self, **members: Any) -> c.Origin:
        """The origin of the thread. members: those that only the records tell."""
        return c.Origin(
            tool=self.tool,
            session_id=self.id[:1024],
            parent=self.parent,
            fork_of=self.fork_of,
            source=str(self.path)[:4096],
            **members,
        )


class SourceReport(Struct):
    """What was read. records: how many. skipped, cut, unknown: how many of each kind were not kept, kept in part, or
    kept as activities because this release does not know them. named: the first skipped lines and files, one by one."""

    records: int = 0
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    cut: Counter[str] = msgspec.field(default_factory=Counter)
    unknown: Counter[str] = msgspec.field(default_factory=Counter)
    named: list[str] = []

    def skip(self, reason: str, where: str = "") -> None:
        """Count what is not kept. where: the file and the line, if the reader of the report should look there."""
        self.skipped[reason] += 1
        if where and len(self.named) < NAMED:
            self.named.append(f"{where}: {reason}")


class Source(Struct, frozen=True):
    """A tool whose history can be read. home: its folder, given the environment and the user's home folder.

    discover: the sessions in a folder, and a report for what is skipped; it reads only, and raises OSError if the
    folder cannot be read. read: the commands of a session, whole tool results if `full`; it raises OSError as well.
    """

    tool: str
    home: Callable[[Mapping[str, str], Path], Path]
    discover: Callable[[Path, SourceReport], Iterator[ToolSession]]
    read: Callable[[ToolSession, SourceReport, bool], Iterator[c.Command]]


def time_of(value: Any) -> Timestamp | None:
    """The time that a record gives, as text (ISO 8601) or as a number since 1970; None if it gives none."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value >= _MILLISECONDS else value
            if not 0 < seconds < _LATEST:
                return None
            moment = datetime.fromtimestamp(seconds, UTC)
        else:
            return None
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z" if moment.year >= 1970 else None
    except (ValueError, OverflowError, OSError):
        return None
