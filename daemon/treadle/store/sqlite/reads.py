"""Pages, snapshots and single entities, as JSON made by SQLite. Pages have a limit of rows and bytes."""

import heapq
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, Final

from msgspec import Raw

from treadle.contract.results import IndexSnapshot, Page, SettingsSnapshot, ThreadSnapshot
from treadle.domain.errors import NotFound
from treadle.domain.ids import ThreadSort
from treadle.store.pages import LATEST, Position, decode_cursor, encode_cursor, stored_event
from treadle.store.sqlite.sql import query

AFTER_TIMES: Final = "~"  # sorts after every time


def _json(texts: Iterable[str]) -> list[Any]:
    """JSON made by SQLite, for a field of entities: structs do not validate their fields, and Raw is encoded as is."""
    return [Raw(text) for text in texts]


def bytes_of(text: str) -> int:
    """The number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def page(connection: sqlite3.Connection, name: str, limit: int, max_bytes: int, **parameters: Any) -> Page[Raw]:
    """One page of a query whose rows start with (position, value)."""
    return _page(connection.execute(query(name), {**parameters, "limit": limit + 1}), limit, max_bytes)


def _page(rows: sqlite3.Cursor, limit: int, max_bytes: int, place: Callable[[Any], Any] = itemgetter(0)) -> Page[Raw]:
    """One page of rows whose second column is the value. place: the columns that a cursor holds."""
    items: list[Raw] = []
    size, last = 0, None
    for row in rows:
        size += bytes_of(row[1])
        if items and (len(items) == limit or size > max_bytes):
            rows.close()  # an open cursor would hold the read transaction
            return Page(items, encode_cursor(place(last)))
        items.append(Raw(row[1]))
        last = row
    return Page(items, None)


def thread_list(
    connection: sqlite3.Connection,
    *,
    sort: ThreadSort = "version",
    project_id: str | None = None,
    archived: bool | None = None,
    tool: str | None = None,
    session: str | None = None,
    limit: int,
    cursor: str | None = None,
    max_bytes: int,
) -> Page[Raw]:
    """Threads, most recently changed first, or with the latest `updatedAt` first. Raises BadCursor."""
    by_time, updated = sort == "updatedAt", AFTER_TIMES
    if by_time:
        updated, before = decode_cursor(cursor, (AFTER_TIMES, LATEST), tuple[str, Position])
    else:
        before = decode_cursor(cursor, LATEST)
    if session is not None:
        name = "thread_list_of_session"
    else:
        name = f"thread_list{'' if project_id is None else '_of_project'}{'_by_time' if by_time else ''}"
    asked = {"project": project_id, "archived": archived, "tool": tool, "session": session}
    bounds = {"by_time": by_time, "updated": updated, "before": before, "limit": limit + 1}
    place = itemgetter(2, 0) if by_time else itemgetter(0)
    return _page(connection.execute(query(name), asked | bounds), limit, max_bytes, place)


def events(
    connection: sqlite3.Connection, thread_id: str | None, after: int, limit: int, max_bytes: int
) -> tuple[list[Raw], int | None]:
    """Stored events after a sequence, and the sequence after which the next page starts; None on the last page."""
    name = "event_list" if thread_id is None else "event_list_of_thread"
    rows = connection.execute(query(name), {"thread": thread_id, "after": after, "limit": limit + 1})
    items: list[Raw] = []
    size, last = 0, after
    for sequence, payload, actor in rows:
        size += bytes_of(payload)
        if items and (len(items) == limit or size > max_bytes):
            rows.close()
            return items, last
        items.append(stored_event(sequence, payload, actor))
        last = sequence
    return items, None


def sequence(connection: sqlite3.Connection) -> int:
    """The sequence of the last event."""
    return int(connection.execute(query("position")).fetchone()[0])


def require_thread(connection: sqlite3.Connection, thread_id: str) -> str:
    """A thread as JSON, without its contents. Raises NotFound."""
    row = connection.execute(query("thread_of_id"), {"thread": thread_id}).fetchone()
    if row is None:
        raise NotFound("thread", thread_id)
    return str(row[0])


_WINDOW: Final = {
    "turns": "turn_list",
    "messages": "message_list",
    "activities": "activity_list",
    "approvals": "approval_list",
    "checkpoints": "checkpoint_list",
}
"""The lists in a window of a thread, each with its query, newest first."""


def turns(
    connection: sqlite3.Connection, thread_id: str, turn_limit: int, before: int, max_bytes: int
) -> ThreadSnapshot:
    """The newest turns of a thread and their contents, created before the sequence `before`. Raises NotFound.

    The page ends when it is full or has `turn_limit` turns, and has at least one row. If it ends within a turn, it also
    has the turn itself, so that a turn of any size can be read in pages.
    """
    header = require_thread(connection, thread_id)
    bounds = {"thread": thread_id, "before": before, "limit": -1}
    listed = {plural: connection.execute(query(name), bounds) for plural, name in _WINDOW.items()}
    window: dict[str, list[str]] = {plural: [] for plural in _WINDOW}
    size, oldest, has_older, in_turn = 0, before, False, False
    newest_first = heapq.merge(*itertools.starmap(_positions, listed.items()), key=itemgetter(0), reverse=True)
    for position, plural, value in newest_first:
        size += bytes_of(value)
        if oldest != before and (size > max_bytes or len(window["turns"]) == turn_limit):
            has_older = True
            break
        window[plural].append(value)
        oldest, in_turn = position, plural != "turns"
    for rows in listed.values():
        rows.close()  # an open cursor would hold the read transaction
    if has_older and in_turn:
        begun = connection.execute(query("turn_list"), {**bounds, "before": oldest, "limit": 1}).fetchone()
        window["turns"] += [] if begun is None else [begun[1]]
    prompts = connection.execute(query("queue_of_thread"), {"thread": thread_id}).fetchall()
    sessions = connection.execute(query("session_list"), {**bounds, "before": LATEST, "limit": 1}).fetchall()
    return ThreadSnapshot(
        sequence=sequence(connection),
        threads=_json([header]),
        prompts=_json(value for _, value in prompts),
        sessions=_json(value for _, value in sessions),
        **{plural: _json(reversed(values)) for plural, values in window.items()},
        before_cursor=encode_cursor(oldest) if has_older else None,
    )


def _positions(plural: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, str, str]]:
    return ((row[0], plural, row[1]) for row in rows)


def message(connection: sqlite3.Connection, thread_id: str, id: str) -> Raw:
    """A message with its whole text. Raises NotFound."""
    return _whole(connection.execute(query("message_read"), {"thread": thread_id, "id": id}), "message", id)


def activity(connection: sqlite3.Connection, thread_id: str, id: str) -> Raw:
    """An activity with its whole detail. Raises NotFound."""
    return _whole(connection.execute(query("activity_read"), {"thread": thread_id, "id": id}), "activity", id)


def _whole(rows: sqlite3.Cursor, entity: str, id: str) -> Raw:
    row = rows.fetchone()
    rows.close()
    if row is None:
        raise NotFound(entity, id)
    return Raw(row[0])


def index(connection: sqlite3.Connection, thread_limit: int) -> IndexSnapshot:
    """The snapshot of the topic `index`: all projects and the most recently changed threads."""
    projects = connection.execute(query("project_list"), {"before": LATEST, "limit": -1}).fetchall()
    threads = newest_threads(connection, thread_limit)
    return IndexSnapshot(sequence(connection), _json(value for _, value in projects), threads)


def newest_threads(connection: sqlite3.Connection, limit: int) -> list[Any]:
    """The most recently changed threads, of any size together, most recent first."""
    asked = {"archived": None, "tool": None, "before": LATEST, "limit": limit}
    return _json(row[1] for row in connection.execute(query("thread_list"), asked).fetchall())


def settings(connection: sqlite3.Connection) -> SettingsSnapshot:
    """The snapshot of the topic `settings`: every setting and every rule."""
    values = connection.execute(query("setting_list"), {"after": "", "limit": -1}).fetchall()
    rules = connection.execute(query("rule_list"), {"before": LATEST, "limit": -1}).fetchall()
    return SettingsSnapshot(
        sequence(connection), _json(value for _, value in values), _json(value for _, value in reversed(rules))
    )
