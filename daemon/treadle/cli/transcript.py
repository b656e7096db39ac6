"""A thread as people read it: its turns, and what each holds in the order in which it was made."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

import treadle.cli.output as output
from treadle.cli.names import Unclear
from treadle.contract.results import ThreadSnapshot
from treadle.domain.errors import NotFound
from treadle.store.pages import LATEST, decode_cursor
from treadle.store.ports import Reads, TranscriptItem
from treadle.store.sqlite.reader import Reader

PAGE = 500  # turns read at once

Entity = dict[str, Any]
"""An entity as clients see it, decoded."""


class Item(NamedTuple):
    """entity: `message`, `activity`, `approval` or `checkpoint`."""

    entity: str
    value: Entity


class Turn(NamedTuple):
    """number: its place in the thread, from 1. position: the sequence that it began with."""

    number: int
    position: int
    value: Entity


class Transcript:
    """thread, project: as clients see them; project None where it was deleted. turns: those that are shown."""

    def __init__(self, reader: Reader, thread_id: str, last: int | None = None) -> None:
        self._reader = reader
        self.thread, self.project = reader.read(lambda reads: _header(reads, thread_id))
        turns = list(self._turns())
        self.turns = turns if last is None else turns[-last:]
        self.left_out = len(turns) - len(self.turns)

    def _turns(self) -> Iterator[Turn]:
        after, number = 0, 0
        while True:
            rows = self._reader.read(partial(_turns_after, thread_id=self.thread["id"], after=after))
            for after, value in rows:
                number += 1
                yield Turn(number, after, msgspec.json.decode(value))
            if len(rows) < PAGE:
                return

    def parts(self) -> Iterator[tuple[Turn | None, list[Item]]]:
        """Each turn with what it holds, read when it is asked for; first, without a turn, what came before all."""
        begins = [turn.position for turn in self.turns]
        if not self.left_out:
            yield None, self._items("", 0, begins[0] if begins else LATEST)
        for turn, before in zip(self.turns, [*begins[1:], LATEST], strict=False):
            yield turn, self._items(turn.value["id"], turn.position, before)

    def _items(self, turn_id: str, after: int, before: int) -> list[Item]:
        thread_id = self.thread["id"]
        rows: list[TranscriptItem] = self._reader.read(
            lambda reads: reads.transcript(thread_id, turn_id, after, before)
        )
        return [Item(row.entity, msgspec.json.decode(row.value)) for row in rows]


def _turns_after(reads: Reads, thread_id: str, after: int) -> list[tuple[int, str]]:
    return reads.turns_after(thread_id, after, PAGE)


def _header(reads: Reads, thread_id: str) -> tuple[Entity, Entity | None]:
    try:
        thread: Entity = msgspec.json.decode(reads.header(thread_id))
    except NotFound:
        advice = f"`treadle events --thread {thread_id}` has what was in it"
        raise Unclear(f"thread {thread_id!r} was deleted: {advice}") from None
    found = reads.entities("project", None, [thread["projectId"]]).get(thread["projectId"])
    return thread, None if found is None else msgspec.json.decode(found)


def as_read(reads: Reads, thread_id: str, last: int | None) -> bytes:
    """What thread/read answers, of so many turns or of all, in one piece however large it is. Raises Unclear."""
    _header(reads, thread_id)
    pages: list[ThreadSnapshot] = []
    left, before = LATEST if last is None else last, LATEST
    while not pages or (left > 0 and pages[-1].before_cursor is not None):
        page = reads.thread(thread_id, min(left, PAGE), before)
        pages.append(page)
        left -= len(page.turns)
        before = decode_cursor(page.before_cursor, before)
    pages.reverse()
    joined = {
        name: [row for page in pages for row in getattr(page, name)]
        for name in ("turns", "messages", "activities", "approvals", "checkpoints")
    }
    return msgspec.json.encode(msgspec.structs.replace(pages[0], **joined))


# What all forms of it say


def clock(at: str) -> str:
    """`12:00:05`, here."""
    return f"{output.local(at):%H:%M:%S}"


def day_and_time(at: str) -> str:
    """`2026-01-31 12:00:05`, here."""
    return f"{output.local(at):%Y-%m-%d %H:%M:%S}"


def took(begin: str, end: str | None) -> str:
    """How long, for people; empty for less than a tenth of a second, and for what has not ended."""
    if end is None:
        return ""
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    if seconds < 0.1:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def ending(turn: Entity) -> str:
    """How a turn ended, in a few words."""
    why = turn["error"] if turn["status"] == "failed" else turn["stopReason"]
    return str(turn["status"]) + (f" ({output.one_line(why)})" if why else "")


def answer(approval: Entity) -> str:
    """What was answered to a question: the name of the option."""
    if approval["status"] != "resolved":
        return str(approval["status"])
    names = {option["id"]: option["name"] for option in approval["options"]}
    return output.one_line(str(names.get(approval["outcome"], approval["outcome"])))


def tokens(usage: Any) -> str:
    """What a turn used, where it says so in the words of the Agent Client Protocol."""
    if not isinstance(usage, dict):
        return ""
    found = [(usage.get(key), word) for key, word in (("inputTokens", "in"), ("outputTokens", "out"))]
    return ", ".join(f"{count:,} tokens {word}" for count, word in found if isinstance(count, int))
