"""The one writer: takes what waits, decides it, appends it in one transaction, answers, and tells the subscriptions."""

import asyncio
import hashlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import uuid_utils

from treadle.core.group_commit import Answer, Plan, Submission
from treadle.domain import commands as c
from treadle.domain.decider import Stamp, initial_state, names
from treadle.domain.ids import Timestamp
from treadle.domain.state import Key, State
from treadle.store.errors import StorageError, explained, is_busy
from treadle.store.sqlite import reads
from treadle.store.sqlite.log import CommandRecord, position
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.sql import query
from treadle.store.sqlite.store import Store

log = logging.getLogger(__name__)

MAX_BATCH = 500  # commands an append
MAX_BATCH_BYTES = 1 * 1024 * 1024  # what they came as; one that is larger comes alone
MAX_QUEUE = 20_000  # commands that wait
STATE_LIMIT = 5_000  # entities that are kept between appends
STATE_BYTES = 16 * 1024 * 1024  # of events since these were read
BUSY_PATIENCE = 30.0  # seconds that an append waits for other processes, in all


class Overloaded(Exception):
    """Nothing was done: too many commands wait, or other processes are in the way."""


def now() -> Timestamp:
    """The time, as events have it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


class Engine:
    """Runs as one task; `submit` is how a command gets in, whoever sends it.

    linger: seconds that an AppendMessage may wait for company. published: called after each append.
    waiting: called with true when commands wait for another process that rebuilds the projections, with false after it.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], Timestamp] = now,
        linger: float = 0.05,
        published: Callable[[], None] = lambda: None,
        waiting: Callable[[bool], None] = lambda waits: None,
    ) -> None:
        self.store = store
        self.published = published
        self._waiting = waiting
        self._clock = clock
        self._linger = Linger(linger)
        self._state = initial_state()
        self._state_bytes = 0
        self._queue: deque[Submission] = deque()
        self._queued = 0
        self._mark: Submission | None = None
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take commands."""
        self._task = asyncio.create_task(self._run(), name="engine")

    async def stop(self, *, now: bool = False) -> None:
        """End, once all that was submitted is answered. now: what is not is given up, and may happen all the same."""
        if not now:
            await self.settled()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def queued(self) -> int:
        """Commands that wait."""
        return self._queued

    def submit(
        self,
        commands: list[c.Command],
        *,
        command_id: str | None = None,
        digest: str = "",
        batch: bool = False,
        present: Callable[[Answer], object] = lambda answer: answer,
        size: int = 0,
    ) -> Submission:
        """Queue commands that are accepted together or not at all; their answer comes when they are on disk.

        digest: of the request, where it has a command_id. present: makes of the answer what the future gives.
        size: in bytes, of the request. The future raises Rejected, NotFound, Conflict, StorageError or Overloaded.
        Raises Overloaded.
        """
        if (self._queued and self._queued + len(commands) > MAX_QUEUE) or len(self._queue) >= MAX_QUEUE:
            raise Overloaded(f"{self._queued} commands wait already")
        with_ids = [_with_ids(command) for command in commands]
        return self._put(Submission(with_ids, command_id, digest, batch, present, size))

    @property
    def is_settled(self) -> bool:
        """Whether everything that was submitted has been answered."""
        return not self._queue and self._idle.is_set()

    async def settled(self) -> None:
        """Return when everything that was submitted before has been answered."""
        if not self.is_settled:
            if not self._queue or self._queue[-1] is not self._mark:  # else it serves all who come before a command
                self._mark = self._put(Submission([], None, "", False, lambda answer: answer))
            await asyncio.wait([self._mark.future])

    def _put(self, submission: Submission) -> Submission:
        self._queue.append(submission)
        self._queued += len(submission.commands)
        self._arrived.set()
        return submission

    async def _run(self) -> None:
        while True:
            self._idle.set()
            await self._arrived.wait()
            self._idle.clear()
            await self._linger.wait(self._queue, self._arrived)
            batch = self._take()
            try:
                if await self.store.turns.begin():
                    self._forget_state()
                await self._process(batch)
            except Exception as error:
                log.exception("the engine failed")
                self._forget_state()
                for submission in batch:
                    submission.fail(error)
            finally:
                self.store.turns.end()

    def _take(self) -> list[Submission]:
        batch: list[Submission] = []
        count = size = 0
        while self._queue and count < MAX_BATCH and (not batch or size + self._queue[0].size <= MAX_BATCH_BYTES):
            submission = self._queue.popleft()
            self._queued -= len(submission.commands)
            if not submission.future.cancelled():
                submission.taken = True
                batch.append(submission)
                count += len(submission.commands)
                size += submission.size
        if not self._queue:
            self._arrived.clear()
        return batch

    async def _process(self, batch: list[Submission]) -> None:
        """Answer every submission of the batch."""
        busy_until = asyncio.get_running_loop().time() + BUSY_PATIENCE
        while True:
            try:
                plan = await self._decide(batch)
                appended = await self._append(plan)
            except (sqlite3.Error, StorageError) as error:
                self._forget_state()
                if is_busy(error):
                    is_rebuilding = self.store.is_rebuilding()
                    self._waiting(is_rebuilding)
                    if is_rebuilding or asyncio.get_running_loop().time() < busy_until:
                        continue
                    for submission in batch:
                        submission.fail(Overloaded("other processes keep the database busy"))
                    return
                if len(batch) == 1:
                    batch[0].fail(error if isinstance(error, StorageError) else explained(error))
                    return
                for submission in batch:
                    await self._process([submission])
                return
            self._waiting(False)
            if appended:
                break
            self._forget_state()
            await self.store.turns.lost()
        self._state.commit()
        plan.answer()
        if plan.payloads:
            self.published()
        self._state_bytes += sum(map(len, plan.payloads))
        if len(self._state) > STATE_LIMIT or self._state_bytes > STATE_BYTES:
            self._forget_state()
        if plan.deferred:
            await self._process(plan.deferred)

    def _forget_state(self) -> None:
        self._state = initial_state()
        self._state_bytes = 0

    async def _decide(self, batch: list[Submission]) -> Plan:
        if any(isinstance(command, c.StartTurn) for submission in batch for command, _ in submission.commands):
            self.store.runner.acquire()
        current, stored = await self._load(batch)
        plan = Plan(self._state, Stamp(self._clock(), self.store.runner.name), stored)
        for submission in batch:
            plan.add(submission)
        if plan.judges and not plan.writes and not current:
            # Nothing that the append would compare: what was rejected must not be judged by an old state.
            plan.stale = (await self.store.events.sequence()) != self._state.sequence
        return plan

    async def _append(self, plan: Plan) -> bool:
        if plan.stale:
            return False
        if not plan.writes:
            return True
        return await self.store.events.append(plan.expected, plan.payloads, plan.records)

    async def _load(self, batch: list[Submission]) -> tuple[bool, dict[str, tuple[CommandRecord, list[Any]]]]:
        """Load what the batch names; says whether the state is known to be the newest, and the stored answers."""
        named: set[Key] = set()
        fresh: set[Key] = set()
        ids = [s.command_id for s in batch if s.command_id is not None]
        for submission in batch:
            for command, new_ids in submission.commands:
                keys = names(command)
                named |= keys
                if new_ids:
                    fresh |= {key for key in keys if key[-1] in new_ids}
        while True:
            missing = [key for key in named if key not in self._state]
            unknown = [key for key in missing if key not in fresh]
            self._state.load({key: None for key in missing if key in fresh})
            if not unknown and not ids:
                return False, {}
            sequence, found, stored = await self.store.write(partial(_read, keys=unknown, ids=ids))
            if sequence == self._state.sequence:
                self._state.load(found)
                return True, stored
            if len(self._state) == len(missing) - len(unknown):  # nothing else was loaded at the older sequence
                self._state = State(sequence)
                self._state.load(dict.fromkeys(fresh) | found)
                return True, stored
            self._state = State(sequence)


def _with_ids(command: c.Command) -> tuple[c.Command, tuple[str, ...]]:
    fields = c.missing_ids(command)
    if not fields:
        return command, ()
    ids = {field: str(uuid_utils.uuid7()) for field in fields}
    return c.with_ids(command, ids), tuple(ids.values())


class Linger:
    """Lets an AppendMessage wait for company, as long as that pays.

    A client that awaits each answer would never have company, and would be slowed down by every wait: after a wait
    in vain there is none for a second.
    """

    PAUSE = 1.0  # seconds

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._not_before = 0.0

    async def wait(self, queue: deque[Submission], arrived: asyncio.Event) -> None:
        """Return when something waits that is no delta, or when the time is over."""
        loop = asyncio.get_running_loop()
        if self._seconds <= 0 or loop.time() < self._not_before:
            return
        until = loop.time() + self._seconds
        before = len(queue)
        seen = 0
        while loop.time() < until:
            while seen < len(queue):
                if not queue[seen].mergeable:
                    return
                seen += 1
            arrived.clear()
            try:
                async with asyncio.timeout_at(until):
                    await arrived.wait()
            except TimeoutError:
                break
        arrived.set()
        if len(queue) == before:
            self._not_before = loop.time() + self.PAUSE


def _read(
    connection: sqlite3.Connection, keys: list[Key], ids: list[str]
) -> tuple[int, dict[Key, Any], dict[str, tuple[CommandRecord, list[Any]]]]:
    """In one transaction: the sequence, what is under the keys, and the stored answers of commands."""
    connection.execute("BEGIN")
    try:
        sequence, _ = position(connection)
        found = look_up(connection, keys)
        stored = {}
        if ids:
            rows = connection.execute(query("lookup_commands"), {"ids": msgspec.json.encode(ids).decode()}).fetchall()
            for row in rows:
                record = CommandRecord(*row)
                count = record.last_sequence - record.first_sequence + 1
                events = connection.execute(
                    query("event_list"), {"after": record.first_sequence - 1, "limit": count}
                ).fetchall()
                stored[record.command_id] = (record, [reads.stored_event(s, payload) for s, payload in events])
    finally:
        connection.execute("ROLLBACK")
    return sequence, found, stored


def digest(request: Any) -> str:
    """Of a request as decoded JSON: SHA-256 of it with sorted keys, without `commandId` and `expectedVersion`."""
    return hashlib.sha256(msgspec.json.encode(_bare(request), order="deterministic")).hexdigest()


def _bare(request: dict[str, Any]) -> dict[str, Any]:
    bare = {key: value for key, value in request.items() if key not in ("commandId", "expectedVersion")}
    if isinstance(bare.get("commands"), list):
        bare["commands"] = [_bare(command) if isinstance(command, dict) else command for command in bare["commands"]]
    return bare
