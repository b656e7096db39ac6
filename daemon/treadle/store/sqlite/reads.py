"""What clients read: entities as JSON texts that SQLite made, in pages that are bounded in rows and in bytes."""

import heapq
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, Final

from msgspec import Raw

from treadle.contract.results import IndexSnapshot, Page, SettingsSnapshot, ThreadSnapshot
from treadle.domain.errors import NotFound
from treadle.store.pages import LATEST, encode_cursor, stored_event
from treadle.store.sqlite.sql import query


def _json(texts: Iterable[str]) -> list[Any]:
    """Entities as the JSON that SQLite made. Structs do not validate their members, and Raw is encoded as it is."""
    return [Raw(text) for text in texts]


def bytes_of(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def page(connection: sqlite3.Connection, name: str, limit: int, max_bytes: int, **parameters: Any) -> Page[Raw]:
    """One page of a query whose rows begin with (position, value)."""
    rows = connection.execute(query(name), {**parameters, "limit": limit + 1})
    items: list[Raw] = []
    size, last = 0, None
    for position, value, *_ in rows:
        size += bytes_of(value)
        if items and (len(items) == limit or size > max_bytes):
            rows.close()  # an open cursor would hold the read transaction
            return Page(items, None if last is None else encode_cursor(last))
        items.append(Raw(value))
        last = position
    return Page(items, None)


def thread_list(
    connection: sqlite3.Connection,
    project_id: str | None,
    archived: bool | None,
    limit: int,
    before: int,
    max_bytes: int,
) -> Page[Raw]:
    """Threads, the last changed first."""
    parameters: dict[str, Any] = {"before": before}
    name = "thread_list"
    if project_id is not None:
        name, parameters["project"] = f"{name}_of_project", project_id
    if archived is not None:
        name, parameters["live"] = f"{name}_archived", not archived
    return page(connection, name, limit, max_bytes, **parameters)


def events(
    connection: sqlite3.Connection, thread_id: str | None, after: int, limit: int, max_bytes: int
) -> tuple[list[Raw], int | None]:
    """Stored events after a sequence, and the sequence that the next page begins after."""
    name = "event_list" if thread_id is None else "event_list_of_thread"
    rows = connection.execute(query(name), {"thread": thread_id, "after": after, "limit": limit + 1})
    items: list[Raw] = []
    size, last = 0, after
    for sequence, payload in rows:
        size += bytes_of(payload)
        if items and (len(items) == limit or size > max_bytes):
            rows.close()
            return items, last
        items.append(stored_event(sequence, payload))
        last = sequence
    return items, None


def sequence(connection: sqlite3.Connection) -> int:
    """That of the last event."""
    return int(connection.execute(query("position")).fetchone()[0])


def require_thread(connection: sqlite3.Connection, thread_id: str) -> str:
    """The header of a thread. Raises NotFound."""
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
"""What a window of a thread holds, and the query that lists it, newest first."""


def turns(
    connection: sqlite3.Connection, thread_id: str, turn_limit: int, before: int, max_bytes: int
) -> ThreadSnapshot:
    """What was last made in a thread before the sequence `before`, until the page is full or has `turn_limit` turns.

    A page holds one row at least, and may end within a turn: then it has the header of that turn as well, so that a
    turn of any size is read in pages. Raises NotFound.
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
    return ThreadSnapshot(
        sequence=sequence(connection),
        threads=_json([header]),
        **{plural: _json(reversed(values)) for plural, values in window.items()},
        before_cursor=encode_cursor(oldest) if has_older else None,
    )


def _positions(plural: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, str, str]]:
    return ((row[0], plural, row[1]) for row in rows)


def message(connection: sqlite3.Connection, thread_id: str, id: str) -> Raw:
    """A message with all of its text. Raises NotFound."""
    return _whole(connection.execute(query("message_read"), {"thread": thread_id, "id": id}), "message", id)


def activity(connection: sqlite3.Connection, thread_id: str, id: str) -> Raw:
    """An activity with all of its detail. Raises NotFound."""
    return _whole(connection.execute(query("activity_read"), {"thread": thread_id, "id": id}), "activity", id)


def _whole(rows: sqlite3.Cursor, entity: str, id: str) -> Raw:
    row = rows.fetchone()
    rows.close()
    if row is None:
        raise NotFound(entity, id)
    return Raw(row[0])


def index(connection: sqlite3.Connection, thread_limit: int) -> IndexSnapshot:
    """What a sidebar shows."""
    projects = connection.execute(query("project_list"), {"before": LATEST, "limit": -1}).fetchall()
    threads = connection.execute(query("thread_list"), {"before": LATEST, "limit": thread_limit}).fetchall()
    return IndexSnapshot(
        sequence(connection), _json(value for _, value in projects), _json(value for _, value in threads)
    )


def settings(connection: sqlite3.Connection) -> SettingsSnapshot:
    """Every setting."""
    rows = connection.execute(query("setting_list"), {"after": "", "limit": -1}).fetchall()
    return SettingsSnapshot(sequence(connection), _json(value for _, value in rows))
