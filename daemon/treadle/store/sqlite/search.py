"""Full-text search in titles, messages and activities: user input to FTS5 queries, their order, hits with snippets."""

import math
import sqlite3
from collections import defaultdict
from typing import Any, Final, Literal

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
KINDS: Final[dict[str, Literal["thread", "message", "activity"]]] = {
    "threads": "thread",
    "messages": "message",
    "activities": "activity",
}
MATCHES: Final = 1000  # of each kind, as in sql/queries/search_*.sql
HALF_LIFE: Final = 180.0  # days in which a match loses half its weight
SMALLEST: Final = 1e-300  # has a logarithm
START, STOP = "\x02", "\x03"  # as in sql/queries/hits_*.sql


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
    """Threads, messages and activities that contain the words, best match first; with age a match loses weight.

    Raises BadQuery, BadCursor, and NotFound for an unknown thread.
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
    within = {"query": asked, "project": project_id, "thread": thread_id}
    try:
        ranked = sorted(
            (-_weight(rank, day), -sequence, kind, rank)
            for kind in KINDS
            for sequence, rank, _, day in _matches(connection, kind, since, upto, within)
        )
        page = [(kind, -sequence, rank) for _, sequence, kind, rank in ranked[offset : offset + limit]]
        hits = _hits(connection, asked, page)
    except sqlite3.OperationalError as error:
        if syntax == "fts5" and error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            raise BadQuery(str(error)) from error
        raise
    more = len(ranked) > offset + limit
    return Page(hits, encode_cursor((upto, offset + limit)) if more else None)


def _weight(rank: float, day: float) -> float:
    """The logarithm of what a match weighs, which puts two matches in the same order on any day."""
    return math.log2(max(-rank, SMALLEST)) + day / HALF_LIFE


def _matches(
    connection: sqlite3.Connection, kind: str, since: int, upto: int, within: dict[str, Any]
) -> list[tuple[int, float, str, float]]:
    """The sequence, rank, time and day of matches: the last in the log, and those with a later time before them.

    A word index has its matches in the order of the log alone, in which a history that was imported today is last.
    """
    found = connection.execute(query(f"search_{kind}"), {**within, "since": since, "upto": upto, "among": None})
    last = found.fetchall()
    if len(last) < MATCHES or within["thread"] is not None:
        return last
    before, after = last[-1][0], min(at for _, _, at, _ in last)
    later = connection.execute(query(f"latest_{kind}"), {**within, "before": before, "after": after})
    ids = [sequence for (sequence,) in later]
    if not ids:
        return last
    among = msgspec.json.encode(ids).decode()
    earlier = {**within, "since": min(ids), "upto": before - 1, "among": among}
    return last + connection.execute(query(f"search_{kind}"), earlier).fetchall()


def _hits(connection: sqlite3.Connection, asked: str, page: list[tuple[str, int, float]]) -> list[Hit]:
    """The hits on a page, in its order."""
    of: dict[str, list[int]] = defaultdict(list)
    for kind, sequence, _ in page:
        of[kind].append(sequence)
    found: dict[int, tuple[str, ...]] = {}
    for kind, ids in of.items():
        parameters = {"query": asked, "oldest": min(ids), "newest": max(ids), "ids": msgspec.json.encode(ids).decode()}
        found.update({row[0]: row[1:] for row in connection.execute(query(f"hits_{kind}"), parameters).fetchall()})
    hits = []
    for kind, sequence, rank in page:
        id, thread, turn, project, title, marked = found[sequence]
        hits.append(Hit(KINDS[kind], id, thread, turn, project, title, *unmarked(marked), rank))
    return hits


def unmarked(text: str) -> tuple[str, list[Match]]:
    """A snippet without its marks, and the ranges that they enclosed."""
    plain, matches = "", []
    for piece in text.split(START):
        word, stop, rest = piece.partition(STOP)
        if stop:
            matches.append(Match(len(plain), len(plain) + len(word)))
        plain += word + rest.replace(STOP, "")
    return plain, matches
