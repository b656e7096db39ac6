"""What clients read: entities as JSON texts that SQLite made, in pages that are bounded in rows and in bytes."""

import base64
import binascii
import heapq
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from treadle.domain.errors import NotFound
from treadle.store.sqlite.sql import query

MAX_BYTES: Final = 1024 * 1024  # of a page; a single row that is larger comes alone
LATEST: Final = 2**63 - 1
INDEX_THREADS: Final = 500


class BadCursor(ValueError):
    """A cursor that no list of this kind gave."""


class Page(Struct, frozen=True, rename="camel"):
    """items: the rows. next_cursor: where the next page begins, null at the end."""

    items: list[Raw]
    next_cursor: str | None


class Turns(Struct, frozen=True, rename="camel"):
    """A window of a thread: its header, turns, and all that is theirs, each oldest first.

    before_cursor: where older turns are, null where there are none.
    """

    sequence: int
    threads: list[Raw]
    turns: list[Raw]
    messages: list[Raw]
    activities: list[Raw]
    approvals: list[Raw]
    checkpoints: list[Raw]
    before_cursor: str | None


class Index(Struct, frozen=True, rename="camel"):
    """Projects, and the threads that changed last, newest first."""

    sequence: int
    projects: list[Raw]
    threads: list[Raw]


class Settings(Struct, frozen=True, rename="camel"):
    """Every setting, by key."""

    sequence: int
    settings: list[Raw]


def encode_cursor(position: int | str | list[int]) -> str:
    """An opaque text for a place in a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str | None, start: Any) -> Any:
    """The place, of `start`'s type; `start` without a cursor. Raises BadCursor."""
    if cursor is None:
        return start
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        position = msgspec.json.decode(raw, type=type(start))
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise BadCursor("the cursor is none that this list gave") from error
    if isinstance(position, int) and not 0 <= position <= LATEST:
        raise BadCursor("the cursor is none that this list gave")
    return position


def bytes_of(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def page(connection: sqlite3.Connection, name: str, limit: int, **parameters: Any) -> Page:
    """One page of a query whose rows begin with (position, value)."""
    rows = connection.execute(query(name), {**parameters, "limit": limit + 1})
    items: list[Raw] = []
    size, last = 0, None
    for position, value, *_ in rows:
        size += bytes_of(value)
        if items and (len(items) == limit or size > MAX_BYTES):
            rows.close()  # an open cursor would hold the read transaction
            return Page(items, None if last is None else encode_cursor(last))
        items.append(Raw(value))
        last = position
    return Page(items, None)


def thread_list(
    connection: sqlite3.Connection, project_id: str | None, archived: bool | None, limit: int, before: int
) -> Page:
    """Threads, the last changed first."""
    parameters: dict[str, Any] = {"before": before}
    name = "thread_list"
    if project_id is not None:
        name, parameters["project"] = f"{name}_of_project", project_id
    if archived is not None:
        name, parameters["live"] = f"{name}_archived", not archived
    return page(connection, name, limit, **parameters)


def events(
    connection: sqlite3.Connection, thread_id: str | None, after: int, limit: int
) -> tuple[list[Raw], int | None]:
    """Stored events after a sequence, and the sequence that the next page begins after."""
    name = "event_list" if thread_id is None else "event_list_of_thread"
    rows = connection.execute(query(name), {"thread": thread_id, "after": after, "limit": limit + 1})
    items: list[Raw] = []
    size, last = 0, after
    for sequence, payload in rows:
        size += bytes_of(payload)
        if items and (len(items) == limit or size > MAX_BYTES):
            rows.close()
            return items, last
        items.append(stored_event(sequence, payload))
        last = sequence
    return items, None


def stored_event(sequence: int, payload: str | bytes) -> Raw:
    """`{sequence, event}` as JSON."""
    text = payload if isinstance(payload, str) else payload.decode()
    return Raw(f'{{"sequence":{sequence},"event":{text}}}')


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


def turns(connection: sqlite3.Connection, thread_id: str, turn_limit: int, before: int = LATEST) -> Turns:
    """What was last made in a thread before the sequence `before`, until the page is full or has `turn_limit` turns.

    A page holds one row at least, and may end within a turn: then it has the header of that turn as well, so that a
    turn of any size is read in pages. Raises NotFound.
    """
    header = require_thread(connection, thread_id)
    bounds = {"thread": thread_id, "before": before, "limit": -1}
    listed = {plural: connection.execute(query(name), bounds) for plural, name in _WINDOW.items()}
    window: dict[str, list[Raw]] = {plural: [] for plural in _WINDOW}
    size, oldest, has_older, in_turn = 0, before, False, False
    newest_first = heapq.merge(*itertools.starmap(_positions, listed.items()), key=itemgetter(0), reverse=True)
    for position, plural, value in newest_first:
        size += bytes_of(value)
        if oldest != before and (size > MAX_BYTES or len(window["turns"]) == turn_limit):
            has_older = True
            break
        window[plural].append(Raw(value))
        oldest, in_turn = position, plural != "turns"
    for rows in listed.values():
        rows.close()  # an open cursor would hold the read transaction
    if has_older and in_turn:
        begun = connection.execute(query("turn_list"), {**bounds, "before": oldest, "limit": 1}).fetchone()
        window["turns"] += [] if begun is None else [Raw(begun[1])]
    return Turns(
        sequence=sequence(connection),
        threads=[Raw(header)],
        **{plural: values[::-1] for plural, values in window.items()},
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


def index(connection: sqlite3.Connection) -> Index:
    """What a sidebar shows."""
    projects = connection.execute(query("project_list"), {"before": LATEST, "limit": -1}).fetchall()
    threads = connection.execute(query("thread_list"), {"before": LATEST, "limit": INDEX_THREADS}).fetchall()
    return Index(sequence(connection), [Raw(value) for _, value in projects], [Raw(value) for _, value in threads])


def settings(connection: sqlite3.Connection) -> Settings:
    """Every setting."""
    rows = connection.execute(query("setting_list"), {"after": "", "limit": -1}).fetchall()
    return Settings(sequence(connection), [Raw(value) for _, value in rows])
