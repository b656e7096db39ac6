"""What clients read: entities as JSON texts that SQLite made, in pages that are bounded in rows and in bytes."""

import base64
import binascii
import sqlite3
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from treadle.domain.errors import NotFound
from treadle.store.sqlite.sql import query

MAX_BYTES: Final = 1024 * 1024  # of a page; a single row or turn that is larger comes alone
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


def turns(connection: sqlite3.Connection, thread_id: str, turn_limit: int, before: int = LATEST) -> Turns:
    """The last turns of a thread that began before `before`, newest read first until the page is full.

    Raises NotFound.
    """
    header = require_thread(connection, thread_id)
    rows = connection.execute(
        query("turn_list"), {"thread": thread_id, "before": before, "limit": turn_limit + 1}
    ).fetchall()
    taken: list[tuple[str, list[str], list[str], list[str]]] = []
    size, oldest = 0, before
    for position, value, turn_id in rows[:turn_limit]:
        parts = tuple(
            [v for (v,) in connection.execute(query(name), {"thread": thread_id, "turn": turn_id}).fetchall()]
            for name in ("message_list_of_turn", "activity_list_of_turn", "approval_list_of_turn")
        )
        size += bytes_of(value) + sum(bytes_of(v) for part in parts for v in part)
        if taken and size > MAX_BYTES:
            break
        taken.append((value, *parts))
        oldest = position
    more = len(taken) < len(rows)
    checkpoints = []
    found = connection.execute(query("checkpoint_list"), {"thread": thread_id, "before": before, "limit": -1})
    for position, value in found:
        if more and position <= oldest:
            break
        checkpoints.append(value)
    found.close()  # an open cursor would hold the read transaction
    taken.reverse()
    return Turns(
        sequence=sequence(connection),
        threads=[Raw(header)],
        turns=[Raw(value) for value, *_ in taken],
        messages=[Raw(v) for _, messages, _, _ in taken for v in messages],
        activities=[Raw(v) for _, _, activities, _ in taken for v in activities],
        approvals=[Raw(v) for _, _, _, approvals in taken for v in approvals],
        checkpoints=[Raw(v) for v in reversed(checkpoints)],
        before_cursor=encode_cursor(oldest) if more else None,
    )


def index(connection: sqlite3.Connection) -> Index:
    """What a sidebar shows."""
    projects = connection.execute(query("project_list"), {"before": LATEST, "limit": -1}).fetchall()
    threads = connection.execute(query("thread_list"), {"before": LATEST, "limit": INDEX_THREADS}).fetchall()
    return Index(sequence(connection), [Raw(value) for _, value in projects], [Raw(value) for _, value in threads])


def settings(connection: sqlite3.Connection) -> Settings:
    """Every setting."""
    rows = connection.execute(query("setting_list"), {"after": "", "limit": -1}).fetchall()
    return Settings(sequence(connection), [Raw(value) for _, value in rows])
