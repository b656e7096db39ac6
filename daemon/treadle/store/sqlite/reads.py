"""What clients read: entities as JSON texts that SQLite made, in pages that are bounded in rows and in bytes."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from treadle.contract.results import IndexSnapshot, Page, SettingsSnapshot, ThreadSnapshot
from treadle.domain.errors import NotFound
from treadle.store.pages import INDEX_THREADS, LATEST, MAX_BYTES, encode_cursor, stored_event
from treadle.store.sqlite.sql import query


def _json(texts: Iterable[str]) -> list[Any]:
    """Entities as the JSON that SQLite made. Structs do not validate their members, and Raw is encoded as it is."""
    return [Raw(text) for text in texts]


def bytes_of(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def page(connection: sqlite3.Connection, name: str, limit: int, **parameters: Any) -> Page[Raw]:
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
) -> Page[Raw]:
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


def sequence(connection: sqlite3.Connection) -> int:
    """That of the last event."""
    return int(connection.execute(query("position")).fetchone()[0])


def require_thread(connection: sqlite3.Connection, thread_id: str) -> str:
    """The header of a thread. Raises NotFound."""
    row = connection.execute(query("thread_of_id"), {"thread": thread_id}).fetchone()
    if row is None:
        raise NotFound("thread", thread_id)
    return str(row[0])


def turns(connection: sqlite3.Connection, thread_id: str, turn_limit: int, before: int = LATEST) -> ThreadSnapshot:
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
    return ThreadSnapshot(
        sequence=sequence(connection),
        threads=_json([header]),
        turns=_json(value for value, *_ in taken),
        messages=_json(v for _, messages, _, _ in taken for v in messages),
        activities=_json(v for _, _, activities, _ in taken for v in activities),
        approvals=_json(v for _, _, _, approvals in taken for v in approvals),
        checkpoints=_json(v for v in reversed(checkpoints)),
        before_cursor=encode_cursor(oldest) if more else None,
    )


def index(connection: sqlite3.Connection) -> IndexSnapshot:
    """What a sidebar shows."""
    projects = connection.execute(query("project_list"), {"before": LATEST, "limit": -1}).fetchall()
    threads = connection.execute(query("thread_list"), {"before": LATEST, "limit": INDEX_THREADS}).fetchall()
    return IndexSnapshot(
        sequence(connection), _json(value for _, value in projects), _json(value for _, value in threads)
    )


def settings(connection: sqlite3.Connection) -> SettingsSnapshot:
    """Every setting."""
    rows = connection.execute(query("setting_list"), {"after": "", "limit": -1}).fetchall()
    return SettingsSnapshot(sequence(connection), _json(value for _, value in rows))
