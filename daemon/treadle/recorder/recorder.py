"""Puts a recording into the log.

A turn that the log does not know is recorded as it is said. Any other turn, as after a failure of the database, is
added as an import adds it: as a whole once its end was said, and only what the log does not have.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from treadle.agents.recording import Frame, SessionMapper
from treadle.core.engine import Engine, time_at
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.domain.ids import Timestamp
from treadle.recorder.lines import LineJoiner, is_gap
from treadle.recorder.spool import SpoolReader
from treadle.store.ports import DataDirectory
from treadle.transfer.adding import NotAdded, TurnAdder
from treadle.transfer.replays import unknown_turns
from treadle.transfer.sessions import thread_for
from treadle.transfer.turns import CONNECTION_ENDED, add, is_end, is_outside, joined, known_turn

log = logging.getLogger(__name__)

RECENT = 5.0  # seconds for which what was said counts as said now
GAP_ENDED = "a part of the recording is missing"
AT_ONCE = 500  # commands that are submitted before the first of them is answered


class Recorder:
    """more: waits until the spool has more, False if it is complete. live: whether turns are recorded as they go."""

    def __init__(
        self, store: DataDirectory, engine: Engine, spool: SpoolReader, more: Callable[[], Any], *, live: bool
    ) -> None:
        self._store, self._engine, self._spool, self._more, self._live = store, engine, spool, more, live
        self._tool = spool.about.get("tool")
        self._adder = TurnAdder(store, engine, spool.about.get("folder") or "/")
        self._threads: dict[str, str] = {}  # that the sessions are recorded in
        self._collected: dict[str, list[Any]] = {}
        self._replayed: dict[str, list[list[Any]]] = {}
        self._answers: deque[asyncio.Future[Any]] = deque()

    async def run(self) -> None:
        """Record all of the spool, from its first file on. Raises StorageError and Overloaded."""
        self._spool.rewind()
        kept = self._spool.openings()
        openings = msgspec.json.decode(kept, type=list[Frame]) if kept else []
        lines, last = LineJoiner(), time.time()
        mapper = self._mapper(openings)
        asked: set[str] = set()
        async for record in self._records():
            last = record.at
            for frame in lines.feed(record):
                await self._take(_mapped(mapper, frame), frame.t)
                if is_gap(frame):  # in which the end of a turn may have been
                    await self._take(mapper.cut_off(GAP_ENDED), frame.t)
                _keep_opening(frame, openings, asked)
            if not self._spool.is_at_first_file and mapper.is_quiet and lines.is_between:
                await self._settle(0)
                self._spool.forget(msgspec.json.encode(openings))
                mapper = self._mapper(openings)
        await self._take(mapper.end(CONNECTION_ENDED), last)
        await self._settle(0)

    async def _records(self) -> AsyncIterator[Any]:
        is_all = False
        while True:
            for record in self._spool.records():
                yield record
            if is_all:
                return
            is_all = not await self._more()

    def _mapper(self, openings: list[Frame]) -> SessionMapper:
        """A mapper that knows what opened the connection and its sessions.

        Its ids differ from those of other connections and of files that are forgotten: agents say the same again.
        """
        part = self._spool.position.removesuffix(".spool").lstrip("0")
        mapper = SessionMapper("", suffix=f":{self._spool.name}{part}")
        for frame in openings:
            mapper.feed(frame)
        return mapper

    async def _take(self, commands: list[c.Command], t: float) -> None:
        at = time_at(round(min(t, time.time()) * 1000))
        for command in commands:
            if isinstance(command, c.CreateThread):
                await self._find_thread(command, at)
                continue
            command = msgspec.structs.replace(command, thread_id=self._threads[str(command.thread_id)])  # type: ignore[attr-defined]
            is_now = isinstance(command, c.AppendMessage) and time.time() - t < RECENT  # so that it may be merged
            stamped: Any = command if is_now else msgspec.structs.replace(command, at=at)
            thread_id = stamped.thread_id
            if isinstance(stamped, c.StartTurn):
                await self._start(stamped)
            elif thread_id not in self._collected:
                await self._submit(stamped)
            if thread_id in self._collected:
                add(self._collected[thread_id], stamped)
                if is_end(stamped):
                    await self._add(joined(self._collected.pop(thread_id)))
        await self._add_replayed()

    async def _find_thread(self, create: c.CreateThread, at: Timestamp) -> None:
        """Record the session in the thread that it has already, as of an import, or in this new one."""
        origin, id = create.origin, str(create.thread_id)
        if origin is not None and origin.session_id is not None:
            session_id, tool = origin.session_id, self._tool or origin.tool
            self._threads[id] = await self._store.read(lambda reads: thread_for(reads, session_id, tool))
            origin = msgspec.structs.replace(origin, tool=tool)
        thread_id = self._threads.setdefault(id, id)
        self._adder.know(msgspec.structs.replace(create, thread_id=thread_id, origin=origin, at=at))

    async def _start(self, start: c.StartTurn) -> None:
        if not is_outside(str(start.id)):
            await self._add_replayed()
        is_new = self._live and not is_outside(str(start.id))
        if not is_new or await self._store.read(lambda reads: known_turn(reads, start)) is not None:
            self._collected[start.thread_id] = []
            return
        with suppress(Rejected):  # a thread that was deleted stays so: none of its turns is accepted
            await self._adder.create_thread(start.thread_id)
        await self._submit(start)

    async def _submit(self, command: c.Command) -> None:
        self._answers.append(self._engine.submit([command]).future)
        await self._settle(AT_ONCE)

    async def _settle(self, count: int) -> None:
        """Wait until at most so many commands are not answered. Raises what the database says."""
        while len(self._answers) > count or (self._answers and self._answers[0].done()):
            try:
                await self._answers.popleft()
            except Rejected as error:  # as when the user has ended the turn, or deleted the thread
                log.info("not recorded: %s", error)

    async def _add(self, turn: list[Any]) -> None:
        await self._settle(0)
        if is_outside(str(turn[0].id)):
            self._replayed.setdefault(turn[0].thread_id, []).append(turn)
            return
        try:
            await self._adder.add(turn)
        except NotAdded as error:
            log.info("not recorded: %s", error)

    async def _add_replayed(self) -> None:
        """Add what the agent has told of a session that it loaded, without what the log has already."""
        replayed, self._replayed = self._replayed, {}
        for thread_id, turns in replayed.items():
            unknown = await self._store.read(partial(unknown_turns, thread_id=thread_id, turns=turns))
            for turn in unknown:
                try:
                    await self._adder.add(turn)
                except NotAdded as error:
                    log.info("not recorded: %s", error)


def _mapped(mapper: SessionMapper, frame: Frame) -> list[c.Command]:
    """The commands of a message; none if it is of a shape that nobody has thought of."""
    try:
        return mapper.feed(frame)
    except Exception:
        log.exception("a message was not recorded")
        return []


def _keep_opening(frame: Frame, openings: list[Frame], asked: set[str]) -> None:
    """Keep the frame if it opens the connection or a session, or answers such a request."""
    method, key = frame.msg.get("method"), repr(frame.msg.get("id"))
    if frame.dir == "client" and method in ("initialize", "session/new", "session/load", "session/resume"):
        asked.add(key)
    elif frame.dir == "agent" and method is None and key in asked:
        asked.discard(key)
    else:
        return
    openings.append(frame)
