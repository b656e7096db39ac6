"""What there is of a tool's history, told from the names and times of its files: nothing is read that could be long."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from treadle.domain.ids import Timestamp
from treadle.transfer.sources.lines import is_file, read_head
from treadle.transfer.sources.source import Source, SourceReport, time_of

SOON = 7.0  # days
DAY = 86_400.0
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class ToolOverview(Struct, kw_only=True, rename="camel"):
    """The history of one tool. size: in bytes. oldest: when the session that was written first began. keeps: days
    without a change after which the tool deletes a session, null if it does not. deleted_soon: sessions that it deletes
    within 7 days. imported: sessions that are threads here."""

    tool: str
    folder: str
    sessions: int = 0
    size: int = 0
    oldest: Timestamp | None = None
    keeps: float | None = None
    deleted_soon: int = 0
    imported: int = 0


def overview(source: Source, folder: Path, known: set[str]) -> ToolOverview:
    """What is in a folder of the tool. known: ids of sessions and threads, and files, that threads here come from.

    Raises OSError.
    """
    result = ToolOverview(tool=source.tool, folder=str(folder), keeps=source.keeps(folder))
    found = [*_sessions(source, folder)]
    result.sessions, result.size = len(found), sum(session.size for session in found)
    result.imported = sum(1 for session in found if session.names & known)
    if result.keeps is not None:
        limit = time.time() - (result.keeps - SOON) * DAY
        result.deleted_soon = sum(1 for session in found if session.modified < limit)
    if found:
        first = min(found, key=lambda session: session.modified)
        result.oldest = first.oldest or _began(first.path) or time_of(first.modified)
    return result


class SessionName(Struct):
    """A session, and the names by which a thread may know it."""

    path: Path
    names: set[str]
    size: int
    modified: float
    oldest: Timestamp | None = None


def _sessions(source: Source, folder: Path) -> Iterator[SessionName]:
    if source.files is None:
        for found in source.discover(folder, SourceReport()):
            yield SessionName(found.path, {found.thread_id}, found.size, found.modified, found.oldest)
        return
    for path in source.files(folder):
        if is_file(path):
            told = path.stat()
            ids = _UUID.findall(path.name) or _UUID.findall(path.parent.name)
            yield SessionName(path, {str(path), path.stem, *ids[:1]}, told.st_size, told.st_mtime)


def _began(path: Path) -> Timestamp | None:
    """The first time in a file."""
    times = (time_of(record.get(name)) for record in read_head(path) for name in ("timestamp", "startTime"))
    return next(filter(None, times), None)
