"""Full-text search in titles, messages and activities: user input to FTS5 queries, and hits with snippets."""

import sqlite3
from collections import defaultdict
from typing import Any, Final

import msgspec

from treadle.contract.results import Page
from treadle.domain.entities import Hit, Match
from treadle.domain.errors import NotFound
from treadle.domain.ids import Syntax
from treadle.store.pages import Position, decode_cursor, encode_cursor
from treadle.store.ports import BadQuery
from treadle.store.sqlite import reads
from treadle.store.sqlite.sql import query

SHORTEST_BEGINNING: Final = 3  # characters of a prefix search: shorter prefixes match too many words
SNIPPETS: Final = {
    "thread": "snippets_of_thread",
    "message": "snippets_of_message",
    "activity": "snippets_of_activity",
}
START, STOP = "\x02", "\x03"  # as in sql/queries/snippets_of_*.sql


def expression(text: str) -> str:
    """The FTS5 query for plain text: each word as a quoted, escaped string, the last one as a prefix if it is long.

    Empty if there are no words. https://www.sqlite.org/fts5.html, section 3.1.
    """
    words = ['"' + word.replace('"', '""') + '"' for word in text.split()]
    if words and len(text.split()[-1]) >= SHORTEST_BEGINNING:
        words[-1] += "*"
    return " ".join(words)


def search(
    connection: sqlite3.Connection,
    text: str,
    *,
    syntax: Syntax = "plain",
    project_id: str | None = None,
    thread_id: str | None = None,
    limit: int = 20,
    cursor: str | None = None,
) -> Page[Hit]:
    """Threads, messages and activities that contain the words, best match first.

    Considers the 1,000 newest matches of each kind. Raises BadQuery, BadCursor, and NotFound for an unknown thread.
    """
    start = (reads.sequence(connection), 0)
    upto, offset = decode_cursor(cursor, start, tuple[Position, Position])
    since = 0
    if thread_id is not None:
        row = connection.execute(query("extent_of_thread"), {"thread": thread_id}).fetchone()
        if row is None:
            raise NotFound("thread", thread_id)
        since, upto = row[0], min(upto, row[1])
    asked = expression(text) if syntax == "plain" else text
    if not asked.strip():
        return Page([], None)
    try:
        rows = connection.execute(
            query("search"),
            {
                "query": asked,
                "since": since,
                "upto": upto,
                "project": project_id,
                "thread": thread_id,
                "limit": limit + 1,
                "offset": offset,
            },
        ).fetchall()
        found = _snippets(connection, asked, rows[:limit])
    except sqlite3.OperationalError as error:
        if syntax == "fts5" and error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            raise BadQuery(str(error)) from error
        raise
    hits = []
    for entity, sequence, id, thread, turn, project, title, rank in rows[:limit]:
        snippet, matches = unmarked(found[sequence])
        hits.append(Hit(entity, id, thread, turn, project, title, snippet, matches, rank))
    more = len(rows) > limit
    return Page(hits, encode_cursor((upto, offset + limit)) if more else None)


def _snippets(connection: sqlite3.Connection, asked: str, rows: list[tuple[Any, ...]]) -> dict[int, str]:
    """The snippet of each row, by its sequence."""
    of: dict[str, list[int]] = defaultdict(list)
    for entity, sequence, *_ in rows:
        of[entity].append(sequence)
    found: dict[int, str] = {}
    for entity, ids in of.items():
        parameters = {"query": asked, "oldest": min(ids), "newest": max(ids), "ids": msgspec.json.encode(ids).decode()}
        found.update(connection.execute(query(SNIPPETS[entity]), parameters).fetchall())
    return found


def unmarked(text: str) -> tuple[str, list[Match]]:
    """A snippet without its marks, and the ranges that they enclosed."""
    plain, matches = "", []
    for piece in text.split(START):
        word, stop, rest = piece.partition(STOP)
        if stop:
            matches.append(Match(len(plain), len(plain) + len(word)))
        plain += word + rest.replace(STOP, "")
    return plain, matches
