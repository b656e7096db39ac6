"""Append a whole log to an empty one in one transaction, for `treadle import jsonl`."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from treadle.store.errors import Refused, said, translated
from treadle.store.sqlite import reads
from treadle.store.sqlite.database import FILE_NAME, PRESENT, SHARED_LOG, FileLock, configure_writer, connect
from treadle.store.sqlite.log import by_index
from treadle.store.sqlite.projections import Progress
from treadle.store.sqlite.runners import note_former
from treadle.store.sqlite.sql import query
from treadle.store.sqlite.store import REBUILDING

Event = tuple[str, str | None]
"""The payload of an event and its actor."""


class EventRefused(Exception):
    """The database refuses an event. sequence: of the event. why: SQLite's message."""

    def __init__(self, sequence: int, why: str) -> None:
        super().__init__(f"event {sequence}: {why}")
        self.sequence = sequence
        self.why = why


def fill_log(data_dir: Path, pages: Iterable[list[Event]], total: int, progress: Progress) -> int:
    """Append the events, page by page, to an existing empty log, in one transaction; return the number of events.

    Nobody runs the running turns of that log here: the next start interrupts them. Raises Refused if the log is not
    empty or another treadle holds a lock, EventRefused, and what `pages` raises.
    """
    if (data_dir / SHARED_LOG).exists():
        raise Refused(f"{data_dir} has a shared log, which others append to as well: import into another --data-dir")
    present, rebuilding = FileLock(data_dir / PRESENT), FileLock(data_dir / REBUILDING)
    path = data_dir / FILE_NAME
    done = 0
    try:
        if not (present.acquire(shared=True) and rebuilding.acquire()):  # daemons wait as for a rebuild
            raise Refused(f"another treadle process is restoring, upgrading or rebuilding {data_dir}: try again later")
        with translated(), closing(connect(path, lambda connection: configure_writer(connection, path))) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                _require_empty(db, data_dir)
                for events in pages:
                    _append(db, done, events)
                    done += len(events)
                    progress(done, total)
                note_former(db, {runner for _, _, runner, _ in db.execute(query("running_turns"))})
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
    finally:
        rebuilding.release()
        present.release()
    return done


def _require_empty(db: sqlite3.Connection, data_dir: Path) -> None:
    count = reads.sequence(db)
    if count:
        raise Refused(
            f"{data_dir} has a log of {count:,} events: a log can only be imported into an empty data directory. "
            "Choose another one with --data-dir"
        )


def _append(db: sqlite3.Connection, after: int, events: list[Event]) -> None:
    db.execute("SAVEPOINT page")
    try:
        _insert(db, after, events)
    except sqlite3.DatabaseError as refusal:
        if not _is_of_event(refusal):
            raise
        db.execute("ROLLBACK TO page")
        for place, event in enumerate(events, after):  # one by one, to find which event is refused
            try:
                _insert(db, place, [event])
            except sqlite3.DatabaseError as error:
                if not _is_of_event(error):
                    raise
                raise EventRefused(place + 1, said(error)) from None
        raise
    db.execute("RELEASE page")


def _is_of_event(error: sqlite3.DatabaseError) -> bool:
    """Whether the event causes the error: it contradicts earlier events, or makes FTS5 remove words it lacks."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.IntegrityError) or code == sqlite3.SQLITE_CORRUPT_VTAB


def _insert(db: sqlite3.Connection, after: int, events: list[Event]) -> None:
    batch = msgspec.json.encode([payload for payload, _ in events]).decode()
    actors = by_index([actor for _, actor in events])
    db.execute(query("append_events"), {"expected": after, "batch": batch, "actors": actors})
