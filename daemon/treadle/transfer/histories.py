"""Imports the histories of other tools into one data directory, once or as they grow: `treadle import TOOL`."""

import asyncio
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from treadle.core.engine import Engine, Overloaded
from treadle.domain import commands as c
from treadle.store.ports import Reads
from treadle.store.sqlite.database import FileLock
from treadle.store.sqlite.store import Store
from treadle.transfer.sources.catalog import Catalog
from treadle.transfer.sources.importer import BATCH, BATCH_BYTES, RECORDED, STILL_GOING, Imported, Importer
from treadle.transfer.sources.lines import read_records
from treadle.transfer.sources.selection import Selection, in_order, sessions_in
from treadle.transfer.sources.source import Source, SourceReport, ToolSession, stamp_of

LOCK = "importing.lock"  # held while a session is imported, so that two imports do not continue the same turn
WRITE_EVERY = 5.0  # seconds between two times that the catalog is written
POLL = 0.5  # seconds between two looks at the files that are followed
LIST_EVERY = 5.0  # seconds between two looks for new files
FOLLOWED = 3600.0  # seconds without a change after which a file is only looked at with all the others
MOST_OPEN = 16  # files whose state is kept in memory; others are read from their beginning
WORTH_SHOWING = 4 * 1024 * 1024  # bytes
PAGE = 500

Progress = Callable[[int, int], object]


class HistoryReport(Struct, kw_only=True):
    """What became of the history of one tool. folders: that were read. sessions, size: how many there are, and their
    bytes. unchanged: of which nothing was read. read, read_size: how many were, and their bytes.
    gone: threads whose sessions their tool has deleted. source: what was skipped and cut."""

    tool: str
    folders: list[str] = []
    sessions: int = 0
    size: int = 0
    unchanged: int = 0
    read: int = 0
    read_size: int = 0
    gone: int = 0
    seconds: float = 0.0
    imported: Imported = msgspec.field(default_factory=Imported)
    source: SourceReport = msgspec.field(default_factory=SourceReport)


class OpenFile:
    """A file that is read as it grows: what maps its records, and how far."""

    def __init__(self, source: Source, session: ToolSession, report: SourceReport, full: bool) -> None:
        assert source.opened is not None
        self._source, self._session, self._report = source, session, report
        self._conversation = source.opened(session, report, full)
        self._position, self._tail, self._inode = 0, b"", session.path.stat().st_ino

    def is_same(self, path: Path, after: int) -> bool:
        """Whether the file was only appended to. after: what the log has of it; 0 if it begins otherwise now."""
        found = path.stat()
        return found.st_ino == self._inode and found.st_size >= self._position and bool(after or not self._position)

    def commands(self) -> Iterator[c.Command]:
        """The commands of what is new, and of the end if this is the end."""
        self._report.tail = self._tail
        for record in read_records(self._session.path, self._report, self._source.rescue, self._position):
            yield from self._conversation.feed(record)
        self._position, self._tail = self._report.position, self._report.tail
        yield from copy.deepcopy(self._conversation, {id(self._report): self._report}).end()


class HistoryImport:
    """Imports into one data directory. A context manager."""

    def __init__(self, data_dir: Path, *, full: bool = False, progress: Progress = lambda done, total: None) -> None:
        self._data_dir, self._full, self._progress = data_dir, full, progress
        self._written = time.monotonic()
        self._importers: dict[str, Importer] = {}
        self._open: dict[Path, OpenFile] = {}

    async def __aenter__(self) -> Self:
        self._store = await Store.open(self._data_dir)
        try:
            self._engine = Engine(self._store, linger=0, max_group=2 * BATCH, max_group_bytes=2 * BATCH_BYTES)
            self._engine.start()
            sequence = await self._store.read(lambda reads: reads.sequence())
            self._catalog = Catalog(self._data_dir, self._store.log_id, sequence)
        except BaseException:
            await self._store.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for importer in self._importers.values():
                await importer.leave()
            await self._write_catalog(0.0)
        finally:
            await self._engine.stop()
            await self._store.close()

    async def run(self, source: Source, folders: list[Path], selection: Selection, report: HistoryReport) -> None:
        """Import what is new in these folders and files."""
        began = time.monotonic()
        try:
            sessions = discovered(source, folders, selection, report.source, self._catalog)
            changed = [session for session in sessions if not self._catalog.is_current(session)]
            report.sessions, report.size = len(sessions), sum(session.size for session in sessions)
            report.unchanged += len(sessions) - len(changed)
            total, done = sum(session.size for session in changed), 0
            for session in changed:
                importer = self._importer(source, report)
                importer.progress = partial(self._show, done, total)
                await self._take(source, session, report, is_followed=False)
                done += session.size
                report.read, report.read_size = report.read + 1, done
                self._show(done, total)
            if selection.has_all:
                report.gone = await self._gone(source, folders, sessions)
        finally:
            report.seconds = time.monotonic() - began
            self._importer(source, report).progress = lambda position: None

    async def follow(
        self,
        work: list[tuple[Source, list[Path], HistoryReport]],
        selection: Selection,
        told: Callable[[HistoryReport, int], object],
    ) -> None:
        """Import what the tools write, until it is cancelled. told: called with the number of new events."""
        listed, sessions = 0.0, list[tuple[Source, ToolSession, HistoryReport]]()
        while True:
            is_listed = time.monotonic() >= listed
            if is_listed:
                began = time.monotonic()
                with suppress(OSError):  # a folder that went away while it was listed may be back next time
                    sessions = [
                        (source, session, report)
                        for source, folders, report in work
                        for session in discovered(source, folders, selection, SourceReport(), self._catalog)
                    ]
                listed = time.monotonic() + max(LIST_EVERY, 20 * (time.monotonic() - began))
            for index, (source, session, report) in enumerate(sessions):
                if not is_listed and time.time() - session.modified > FOLLOWED:
                    continue
                with suppress(OSError):
                    session = _as_now(session)
                sessions[index] = source, session, report
                if not self._catalog.is_current(session):
                    before = report.imported.events
                    await self._take(source, session, report, is_followed=True)
                    if report.imported.events > before:
                        told(report, report.imported.events - before)
            await asyncio.sleep(POLL)

    def _show(self, before: int, total: int, position: int = 0) -> None:
        if total >= WORTH_SHOWING:
            self._progress(min(before + position, total), total)

    def _importer(self, source: Source, report: HistoryReport) -> Importer:
        importer = self._importers.get(source.tool)
        if importer is None:
            importer = self._importers[source.tool] = Importer(self._store, self._engine, source, full=self._full)
            importer.imported = report.imported
        return importer

    async def _take(self, source: Source, session: ToolSession, report: HistoryReport, *, is_followed: bool) -> None:
        importer = self._importer(source, report)
        after = self._catalog.reached(session).position
        can_continue = source.opened is not None and session.path.suffix == ".jsonl" and not session.is_remainder
        async with FileLock(self._data_dir / LOCK).held():
            try:
                taken = await importer.take(
                    session,
                    report.source,
                    after=after,
                    read=self._reader(source, report.source, after) if is_followed and can_continue else None,
                    is_followed=is_followed,
                )
            except Overloaded as error:
                self._open.pop(session.path, None)
                report.imported.failed.append(f"{session.path}: {error}")
                return
        if taken.is_failed:
            self._open.pop(session.path, None)
        else:
            is_open = taken.is_open or bool(taken.left_out)
            self._catalog.note(session, taken, session.modified + STILL_GOING if is_open else 0.0)
        await self._write_catalog(WRITE_EVERY)

    def _reader(self, source: Source, report: SourceReport, after: int) -> Callable[[ToolSession], Iterator[c.Command]]:
        """Reads a file from where it was read to last, if it is one of the last that were, and was not written anew."""

        def read(session: ToolSession) -> Iterator[c.Command]:
            opened = self._open.pop(session.path, None)
            if opened is None or not opened.is_same(session.path, after):
                opened = OpenFile(source, session, report, self._full)
            self._open[session.path] = opened
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
            return opened.commands()

        return read

    async def _write_catalog(self, every: float) -> None:
        if time.monotonic() - self._written >= every:
            self._catalog.write(await self._store.read(lambda reads: reads.sequence()))
            self._written = time.monotonic()

    async def _gone(self, source: Source, folders: list[Path], sessions: list[ToolSession]) -> int:
        """How many threads come from files in these folders that are there no more, nor moved."""
        known = await self._store.read(lambda reads: [*threads_of(reads, source.tool)])
        ids = {session.thread_id for session in sessions}
        return sum(
            1
            for thread in known
            if thread.id not in ids
            and thread.source is not None
            and any(folder in thread.source.parents for folder in folders)
            and not thread.source.exists()
        )


def discovered(
    source: Source, folders: list[Path], selection: Selection, report: SourceReport, catalog: Catalog
) -> list[ToolSession]:
    """The sessions that are wanted, the oldest first. The catalog remembers all that were found."""
    known = catalog.discovery(report)
    found: dict[tuple[Path, str], ToolSession] = {}
    for folder in folders:
        for session in sessions_in(source, folder, report, known):
            found[session.path, session.id] = session
    known.keep([*found.values()])
    return in_order([session for session in found.values() if selection.has(session)])


def preview(
    source: Source,
    folders: list[Path],
    selection: Selection,
    report: HistoryReport,
    catalog: Catalog,
    full: bool,
    is_left_out: Callable[[ToolSession], bool],
) -> Iterator[tuple[str, list[str]]]:
    """The turns that an import would submit, by thread; reads only. The caller counts those that are new.

    is_left_out: whether treadle has recorded the session itself.
    """
    sessions = discovered(source, folders, selection, report.source, catalog)
    report.sessions, report.size = len(sessions), sum(session.size for session in sessions)
    for session in sessions:
        if catalog.is_current(session):
            report.unchanged += 1
            continue
        if is_left_out(session):
            report.source.skip(RECORDED, str(session.path))
            continue
        report.read, report.read_size = report.read + 1, report.read_size + session.size
        turns: dict[str, list[str]] = {}
        try:
            for command in source.read(session, report.source, full):
                if isinstance(command, c.StartTurn):
                    turns.setdefault(command.thread_id, []).append(str(command.id))
        except OSError as error:
            report.imported.failed.append(str(error))
        yield from turns.items()


class KnownThread(Struct, frozen=True):
    """A thread that comes from a tool: its id, the session and the file."""

    id: str
    session: str
    source: Path | None


def threads_of(reads: Reads, tool: str) -> Iterator[KnownThread]:
    """The threads that come from a tool."""
    cursor: str | None = None
    while True:
        page = reads.thread_list(tool=tool, limit=PAGE, cursor=cursor)
        for row in page.items:
            thread = msgspec.json.decode(row)
            origin = thread["origin"] or {}
            source = origin.get("source")
            yield KnownThread(thread["id"], origin.get("sessionId") or "", Path(source) if source else None)
        cursor = page.next_cursor
        if cursor is None:
            return


def _as_now(session: ToolSession) -> ToolSession:
    """The session with the stamp and time of its file as it is now; a session in a database as it was discovered."""
    if session.path.suffix not in (".jsonl", ".json") or " " in session.stamp:
        return session
    stamp = stamp_of(session.path)
    if stamp in (session.stamp, "-"):
        return session
    found = session.path.stat()
    return msgspec.structs.replace(session, stamp=stamp, size=found.st_size, modified=found.st_mtime, is_known=True)
