"""Finds the turns that a session begins with because it was made as a copy of another one."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from treadle.agents.shapes import Json
from treadle.transfer.sources.lines import read_records
from treadle.transfer.sources.source import Conversation, SourceReport
from treadle.transfer.sources.thread_writer import ThreadWriter

Turns = list[tuple[str, set[int]]]
"""The turns of a session: the id of each, and a number for each of its records."""


class WithWriter(Conversation, Protocol):
    """A conversation that becomes one thread."""

    writer: ThreadWriter


def turns_of(path: Path, thread: WithWriter, key: Callable[[Json], str]) -> Turns:
    """The turns of a file; none if it cannot be read. key: what a record and its copy share."""
    turns: Turns = []
    try:
        for record in read_records(path, SourceReport()):
            for _ in thread.feed(record):
                pass
            turn_id = thread.writer.last_turn
            if turn_id is not None and (not turns or turns[-1][0] != turn_id):
                turns.append((turn_id, set()))
            if turns:
                turns[-1][1].add(hash(key(record)))
    except OSError:
        return []
    return turns


def shared_turns(turns: Turns, others: Turns) -> list[str]:
    """The turns that a session begins with and that another one has whole."""
    pairs = zip(turns, others, strict=False)
    return [one[0] for one, other in itertools.takewhile(lambda pair: _is_copy(*pair), pairs)]


def _is_copy(turn: tuple[str, set[int]], other: tuple[str, set[int]]) -> bool:
    return turn[0] == other[0] and turn[1] <= other[1]
