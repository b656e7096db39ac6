"""What was said in a thread, as text for an agent that does not know it: a copy of a thread begins with it."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from treadle.store.pages import LATEST
from treadle.store.ports import Reads

MAX_CHARACTERS = 200_000
"""Of a transcript; what is older is left out."""
PAGE = 500
"""Turns that are read at once."""
HEADING = """\
This conversation continues another one. Its transcript follows, oldest first; answer what comes after it.
"""


def transcript_of(reads: Reads, thread_id: str, last_turn_id: str | None) -> str:
    """The transcript of a thread until the end of a turn; the whole thread if it is None or not there."""
    parts: deque[str] = deque()
    size = 0
    for begin, end, turn in _turns(reads, thread_id):
        for item in reads.transcript(thread_id, begin, end):
            for part in _said(item.entity, msgspec.json.decode(item.value)):
                parts.append(part)
                size += len(part)
            while parts and size - len(parts[0]) > MAX_CHARACTERS:
                size -= len(parts.popleft())
        if turn["id"] == last_turn_id:
            break
    text = "\n\n".join(parts)
    if size > MAX_CHARACTERS:
        text = f"(Older parts are left out.)\n\n{text[-MAX_CHARACTERS:]}"
    return f"{HEADING}\n{text}\n"


def _turns(reads: Reads, thread_id: str) -> Iterator[tuple[int, int, Any]]:
    """The turns of a thread, each with the sequence it begins after and the one it ends before."""
    rows: list[tuple[int, str]] = []
    while page := reads.turns_after(thread_id, rows[-1][0] if rows else 0, PAGE):
        rows += page
    ends = [begin for begin, _ in rows[1:]] + [LATEST]
    for (begin, value), end in zip(rows, ends, strict=True):
        yield begin, end, msgspec.json.decode(value)


def _said(entity: str, value: Any) -> Iterator[str]:
    if entity == "message":
        blocks = value["content"] or [{"type": "text", "text": value["text"]}]
        text = "\n".join(str(block["text"]) for block in blocks if block.get("type") == "text")
        yield f"## {str(value['role']).capitalize()}\n\n{text}"
    elif entity == "activity" and value["kind"] == "tool_call":
        yield f"({value['title']}: {value['status']})"
