"""Tells which turns of a tool's file the log has already because treadle ran or recorded them itself.

A tool gives such a turn another id than treadle. But it writes it while treadle runs it, so its time tells.
"""

from typing import Any

from treadle.domain import commands as c
from treadle.store.ports import DataDirectory, Reads

Spans = list[tuple[str, str | None]]
"""When turns began and ended; those that run have no end."""


class OwnTurns:
    """The turns of one thread. A turn of the file that began during one of them is that one."""

    def __init__(self, store: DataDirectory, thread_id: str) -> None:
        self._store, self._thread_id = store, thread_id
        self._spans: Spans = []
        self._left_out: set[str] = set()

    async def refresh(self) -> None:
        """Find out which turns there are by now."""
        self._spans = await self._store.read(lambda reads: reads.own_turns(self._thread_id))

    async def has(self, command: Any, turn_id: str) -> bool:
        """Whether the command is of such a turn."""
        if not self._spans or str(command.thread_id) != self._thread_id:
            return False
        if isinstance(command, c.StartTurn) and await self._is_one(command, turn_id):
            self._left_out.add(turn_id)
        return turn_id in self._left_out

    async def _is_one(self, start: c.StartTurn, turn_id: str) -> bool:
        at = start.at
        if at is None or not any(began <= at and (ended is None or at <= ended) for began, ended in self._spans):
            return False

        def is_imported(reads: Reads) -> bool:
            return bool(reads.entities("turn", self._thread_id, [turn_id]))

        return not await self._store.read(is_imported)
