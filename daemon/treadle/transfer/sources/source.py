"""What a tool's history consists of: sessions that are discovered and read, and a report of what became of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from treadle.agents.shapes import Json, fitting
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
    stamp: differs once the session has changed. begins_as: equal for sessions of which one may begin as a copy of the
    other. is_known: it was discovered before, so that what it is a fork of is settled.
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
    stamp: str = ""
    begins_as: str = ""
    is_known: bool = False

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


def session_in(tool: str, path: Path, id: str, **members: Any) -> ToolSession:
    """The session that a file holds. members: what its content tells. Raises OSError."""
    found = path.stat()
    return ToolSession(
        tool=tool,
        id=id,
        thread_id=fitting(f"{tool}:{id}"),
        path=path,
        size=found.st_size,
        modified=found.st_mtime,
        stamp=stamp_of(path),
        **members,
    )


class SourceReport(Struct):
    """What was read. records: how many. position: in the file that is being read, of the record that is next or being
    mapped. tail: the last bytes before it. skipped, cut, unknown: how many of each kind were not kept, kept in part, or
    kept as activities because this release does not know them. named: the first skipped lines and files, one by one."""

    records: int = 0
    position: int = 0
    tail: bytes = b""
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    cut: Counter[str] = msgspec.field(default_factory=Counter)
    unknown: Counter[str] = msgspec.field(default_factory=Counter)
    named: list[str] = []

    def skip(self, reason: str, where: str = "") -> None:
        """Count what is not kept. where: the file and the line, if the reader of the report should look there."""
        self.skipped[reason] += 1
        if where and len(self.named) < NAMED:
            self.named.append(f"{where}: {reason}")


Describe = Callable[[Path], list[ToolSession]]
"""The sessions that a file holds. Raises OSError."""

Discovery = Callable[[Path, Describe], list[ToolSession]]
"""The same, from what is known of the file if it has not changed; none if it is not a file or cannot be read."""


class Discover(Protocol):
    """Finds the sessions in a folder, and reports what it skips. known: how it describes a file. Raises OSError."""

    def __call__(self, folder: Path, report: SourceReport, known: Discovery = ...) -> Iterator[ToolSession]: ...


class Conversation(Protocol):
    """Maps the records of a session one by one. It can be copied."""

    def feed(self, record: Json) -> Iterator[c.Command]:
        """The commands of one record."""

    def end(self) -> Iterator[c.Command]:
        """The commands at the end of the records so far."""


class Source(Struct, frozen=True):
    """A tool whose history can be read. home: its folder, given the environment and the user's home folder.

    files: the files of the sessions in a folder, found by their names alone; None if the tool has a database. Of a
    folder that is not the tool's own, it is all files that could be one. discover: the sessions in a folder. read: the
    commands of a session, whole tool results if `full`. places: names of the folders in the tool's own that have its
    sessions, by which that one is found from a file. opened: for sessions in files that are only appended to, what maps
    the records. rescue: see read_records. keeps: after how many days without a change the tool deletes a session, given
    its folder; None if it does not. All of them only read, and raise OSError if they cannot.
    """

    tool: str
    home: Callable[[Mapping[str, str], Path], Path]
    files: Callable[[Path], Iterator[Path]] | None
    discover: Discover
    read: Callable[[ToolSession, SourceReport, bool], Iterator[c.Command]]
    places: frozenset[str] = frozenset()
    opened: Callable[[ToolSession, SourceReport, bool], Conversation] | None = None
    rescue: Callable[[bytes], bytes | None] = lambda line: None
    keeps: Callable[[Path], float | None] = lambda folder: None


def stamp_of(*paths: Path) -> str:
    """Differs once one of the files has changed. An empty file counts as one that is missing."""
    return " ".join(_stamp(path) for path in paths)


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_ino}.{found.st_size}.{found.st_mtime_ns}" if found.st_size else "-"


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
