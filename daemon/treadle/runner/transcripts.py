"""What was said before, as text for an agent that does not know it: the first prompt of a session brings it."""

from collections import deque
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

import msgspec

from treadle.store.pages import LATEST
from treadle.store.ports import Reads
from treadle.store.records import ThreadWork

MAX_CHARACTERS = 200_000
"""Of a transcript; what is older is left out."""
PAGE = 500
"""Turns that are read at once."""
HEADING = """\
This conversation continues an earlier one. Its transcript follows, oldest first; answer what comes after it.
"""


def transcript_of(reads: Reads, work: ThreadWork) -> str | None:
    """What was said in a thread, after what was said in the one that it is a copy of; None if nothing was."""
    parts: deque[str] = deque()
    size = 0
    fork = None if work.origin is None else work.origin.fork_of
    said = [] if fork is None else [_said_until(reads, fork.thread_id, fork.turn_id)]
    for part in chain(*said, _said_until(reads, work.thread_id, None)):
        parts.append(part)
        size += len(part)
        while size - len(parts[0]) > MAX_CHARACTERS:
            size -= len(parts.popleft())
    if not parts:
        return None
    text = "\n\n".join(parts)
    if size > MAX_CHARACTERS:
        text = f"(Older parts are left out.)\n\n{text[-MAX_CHARACTERS:]}"
    return f"{HEADING}\n{text}\n"


def _said_until(reads: Reads, thread_id: str, last_turn_id: str | None) -> Iterator[str]:
    """What was said until the end of a turn; in the whole thread if it is None or not there."""
    for begin, end, turn in _turns(reads, thread_id):
        for item in reads.transcript(thread_id, begin, end):
            yield from _said(item.entity, msgspec.json.decode(item.value))
        if turn["id"] == last_turn_id:
            break


def _turns(reads: Reads, thread_id: str) -> Iterator[tuple[int, int, Any]]:
    """The turns of a thread, each with the sequence it begins after and the one it ends before."""
    rows: list[tuple[int, str]] = []
    while page := reads.turns_after(thread_id, rows[-1][0] if rows else 0, PAGE):
        rows += page
    for (begin, value), (end, _) in pairwise([*rows, (LATEST, "")]):
        yield begin, end, msgspec.json.decode(value)


def _said(entity: str, value: Any) -> Iterator[str]:
    if entity == "message":
        blocks = value["content"] or [{"type": "text", "text": value["text"]}]
        text = "\n".join(str(block["text"]) for block in blocks if block.get("type") == "text")
        yield f"## {str(value['role']).capitalize()}\n\n{text}"
    elif entity == "activity" and value["kind"] == "tool_call":
        yield f"({value['title']}: {value['status']})"
