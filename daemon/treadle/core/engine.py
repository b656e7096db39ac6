"""The one writer: takes queued commands, decides them, appends the events in one transaction, and answers."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from treadle.contract.results import BatchDispatched
from treadle.core.errors import is_exit
from treadle.core.group_commit import MAX_MERGED, Group, Submission
from treadle.core.linger import Linger
from treadle.core.redacting import HOLD, SETTING, HeldText, keep, release
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain.decider import initial_state, names
from treadle.domain.errors import Rejected
from treadle.domain.ids import Timestamp
from treadle.domain.state import ActivityState, Key, State
from treadle.store.errors import Busy, LogUnavailable, StorageError
from treadle.store.ids import new_id
from treadle.store.ports import DataDirectory, Log
from treadle.store.records import CommandRecord

log = logging.getLogger(__name__)

MAX_GROUP = 500  # commands per append
MAX_GROUP_BYTES = 1 * 1024 * 1024  # of their requests; a larger one is appended alone
MAX_QUEUE = 20_000  # queued commands
STATE_LIMIT = 5_000  # entities kept between appends
STATE_BYTES = 4 * 1024 * 1024  # of their details when they were loaded, and of events since then
BUSY_PATIENCE = 30.0  # seconds in total that an append waits for other processes
NAMING = {c.StartTurn, ac.QueuePrompt, ac.ResumeQueue, ac.OpenSession}
"""Commands whose events name this daemon: it must be known to be alive before they are appended."""


class Overloaded(Exception):
    """Nothing was done: too many commands are queued, or other processes keep the database busy."""


def now() -> Timestamp:
    """The current time in the format of events."""
    return time_at(time.time_ns() // 1_000_000)


def time_at(milliseconds: int) -> Timestamp:
    """A time in the format of events. milliseconds: since 1970."""
    second, rest = divmod(milliseconds, 1_000)
    return f"{_to_the_second(second)}.{rest:03}Z"


@lru_cache(1)
def _to_the_second(second: int) -> str:
    """Formatting takes 2 µs, and each command has a time."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


class Engine:
    """Runs as one task. Every command enters through `submit`.

    linger: seconds that an AppendMessage may wait to be merged. published: called after each append, with the sequence
    of the log and the events. waiting: called with true while commands wait for another process that rebuilds the
    projections, with false afterwards. is_appending: whether the log's thread works for it now. The others are bounds:
    see the constants above. hold: seconds that the end of a text is held back, because it may begin a secret.
    """

    def __init__(
        self,
        store: DataDirectory,
        *,
        clock: Callable[[], Timestamp] = now,
        linger: float = 0.05,
        hold: float = HOLD,
        published: Callable[[int, list[bytes]], None] = lambda sequence, events: None,
        waiting: Callable[[bool], None] = lambda waits: None,
        max_group: int = MAX_GROUP,
        max_group_bytes: int = MAX_GROUP_BYTES,
        max_merged: int = MAX_MERGED,
        max_queue: int = MAX_QUEUE,
        state_limit: int = STATE_LIMIT,
        state_bytes: int = STATE_BYTES,
        busy_patience: float = BUSY_PATIENCE,
    ) -> None:
        self.store = store
        self.published = published
        self._waiting = waiting
        self._clock = clock
        self._linger = Linger(linger)
        self._max_group, self._max_group_bytes, self._max_merged = max_group, max_group_bytes, max_merged
        self._max_queue, self._busy_patience = max_queue, busy_patience
        self._state_limit, self._state_bytes_limit = state_limit, state_bytes
        self.is_appending = False
        self._hold = hold
        self._held: dict[Key, HeldText] = {}
        self._releases: dict[Key, asyncio.TimerHandle] = {}
        self._state = initial_state()
        self._state_bytes = 0
        self._queue: deque[Submission] = deque()
        self._queued = 0
        self._fence: Submission | None = None
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to take commands."""
        self._task = asyncio.create_task(self._run(), name="engine")

    async def stop(self, *, now: bool = False) -> None:
        """Stop after every submission is answered. now: at once; unanswered commands may still take effect."""
        if not now:
            await self.settled()
            for key in list(self._releases):
                self._release(key)
            await self.settled()
        for timer in self._releases.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def queued(self) -> int:
        """The number of queued commands."""
        return self._queued

    def submit(
        self,
        commands: list[c.Command],
        *,
        command_id: str | None = None,
        digest: str = "",
        atomic: bool = False,
        present: Callable[[BatchDispatched], object] = lambda answer: answer,
        size: int = 0,
    ) -> Submission:
        """Queue commands that are accepted together or not at all. The answer comes once they are on disk.

        digest: of the request, where it has a command_id. present: makes of the answer what the future gives.
        size: in bytes, of the request. The future raises Rejected, NotFound, Conflict, StorageError or Overloaded.
        Raises Overloaded.
        """
        if (self._queued and self._queued + len(commands) > self._max_queue) or len(self._queue) >= self._max_queue:
            raise Overloaded(f"{self._queued} commands wait already")
        with_ids = [_with_ids(command) for command in commands]
        return self._put(Submission(self._clock(), with_ids, command_id, digest, atomic, present, size))

    @property
    def is_settled(self) -> bool:
        """Whether every submission has been answered."""
        return not self._queue and self._idle.is_set()

    async def settled(self) -> None:
        """Return when every earlier submission has been answered."""
        if not self.is_settled:
            if not self._queue or self._queue[-1] is not self._fence:  # else it serves all who come before a command
                self._fence = self._put(Submission("", [], None, "", False, lambda answer: answer))
            await asyncio.wait([self._fence.future])

    def _put(self, submission: Submission) -> Submission:
        self._queue.append(submission)
        self._queued += len(submission.commands)
        self._arrived.set()
        self._linger.arrived(submission)
        return submission

    async def _run(self) -> None:
        while True:
            self._idle.set()
            await self._arrived.wait()
            self._idle.clear()
            await self._linger.wait(self._queue)
            await self._run_group(self._take())  # a call, so that no local variable keeps the group while it waits

    async def _run_group(self, group: list[Submission]) -> None:
        try:
            if await self.store.append_queue.begin():
                self._forget_state()
            await self._process(group)
        except BaseException as error:
            if is_exit(error):
                raise
            log.exception("the engine failed")
            self._forget_state()
            for submission in group:
                submission.fail(error)
        finally:
            self.store.append_queue.end()

    def _take(self) -> list[Submission]:
        """The next group. A command id that is in it already ends it: the second is answered from the log."""
        group: list[Submission] = []
        ids: set[str | None] = set()
        count = size = 0
        while (
            self._queue
            and count < self._max_group
            and (not group or size + self._queue[0].size <= self._max_group_bytes)
            and self._queue[0].command_id not in ids
        ):
            submission = self._queue.popleft()
            self._queued -= len(submission.commands)
            if not submission.future.cancelled():
                submission.taken = True
                group.append(submission)
                count += len(submission.commands)
                size += submission.size
                if submission.command_id is not None:
                    ids.add(submission.command_id)
        if not self._queue:
            self._arrived.clear()
        return group

    async def _process(self, group: list[Submission]) -> None:
        """Answer every submission of the group."""
        busy_until = asyncio.get_running_loop().time() + self._busy_patience
        kinds = {type(command) for submission in group for command, _ in submission.commands}
        while True:
            self.is_appending = True
            try:
                if kinds & NAMING:
                    self.store.runner.acquire()
                appended = await self.store.write(lambda log: self._decide_and_append(log, group))
            except StorageError as error:
                self._forget_state()
                if isinstance(error, Busy):
                    is_rebuilding = self.store.is_rebuilding()
                    self._waiting(is_rebuilding)
                    if is_rebuilding or asyncio.get_running_loop().time() < busy_until:
                        continue
                    for submission in group:
                        submission.fail(Overloaded("other processes keep the database busy"))
                    return
                if len(group) == 1 or isinstance(error, LogUnavailable):
                    for submission in group:
                        submission.fail(error)
                    return
                for submission in group:
                    await self._process([submission])
                return
            finally:
                self.is_appending = False
            self._waiting(False)
            if appended is not None:
                break
            self._forget_state()
            await self.store.append_queue.lost()
        base, decided = appended
        self._schedule(decided.redacting.changes)
        decided.answer(base, self.store.actor)
        if decided.payloads:
            self.published(base + len(decided.payloads), decided.payloads)
        self._state_bytes += sum(map(len, decided.payloads))
        is_stale = c.Redact in kinds or base != decided.expected  # a redaction rewrites events
        if is_stale or len(self._state) > self._state_limit or self._state_bytes > self._state_bytes_limit:
            self._forget_state()

    def _schedule(self, changes: dict[Key, HeldText]) -> None:
        """Store what is held back of these texts when its time is over, unless it was stored before."""
        for key, held in changes.items():
            if not held.holds:
                if (timer := self._releases.pop(key, None)) is not None:
                    timer.cancel()
            elif key not in self._releases:
                self._releases[key] = asyncio.get_running_loop().call_later(self._hold, self._release, key)

    def _release(self, key: Key) -> None:
        """Store what is held back of a text. If the text has ended in another process, that is lost."""
        if (timer := self._releases.pop(key, None)) is not None:
            timer.cancel()
        submission = Submission(
            self._clock(), [(release(key), ())], None, "", False, lambda answer: answer, releases=True
        )
        self._put(submission).future.add_done_callback(lambda future: self._released(key, future))

    def _released(self, key: Key, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or (error := future.exception()) is None:
            return
        if isinstance(error, Rejected):
            self._held.pop(key, None)
        elif key not in self._releases:
            self._schedule({key: self._held.get(key, HeldText())})

    def _forget_state(self) -> None:
        self._state = initial_state()
        self._state_bytes = 0

    def _decide_and_append(self, log: Log, group: list[Submission]) -> tuple[int, Group] | None:
        """Load what the group names, decide it and append the events; return the sequence before them.

        None if others have appended meanwhile what it was decided by. Runs on the log's thread. No lock is held while
        the commands are decided: the append compares.
        """
        answers = self._load(log, group)
        store = self.store
        decided = Group(
            self._state, store.runner.name, answers, self._max_merged, self._held, is_shared=store.is_shared
        )
        for submission in group:
            decided.add(submission)
        base: int | None = decided.expected
        if decided.writes:
            base = log.append(decided.expected, decided.payloads, decided.records, decided)
        elif decided.judges and not log.is_current(decided.expected, decided):
            base = None  # a rejection must not be judged by an old state
        if base is None:
            return None
        self._state.commit()
        keep(self._held, decided.redacting.changes)
        return base, decided

    def _load(self, log: Log, group: list[Submission]) -> dict[str, tuple[CommandRecord, list[Any]]]:
        """Load the state that the group names; the stored answers of its command ids."""
        named: set[Key] = {SETTING} if any(submission.commands for submission in group) else set()
        fresh: set[Key] = set()  # with an id that was made just now, so that nothing has it
        for submission in group:
            for command, new_ids in submission.commands:
                keys = names(command)
                named |= keys
                fresh |= {key for key in keys if key[-1] in new_ids}
        command_ids = [s.command_id for s in group if s.command_id is not None]
        unknown = [key for key in named - fresh if key not in self._state]
        answers: dict[str, tuple[CommandRecord, list[Any]]] = {}
        if unknown or command_ids or not self._state:  # an empty state has no sequence yet
            loaded = log.load(unknown, command_ids)
            if loaded.sequence != self._state.sequence:
                if len(unknown) < len(named - fresh):
                    loaded = log.load([*(named - fresh)], command_ids)
                self._state, self._state_bytes = State(loaded.sequence), 0
            self._state.load(loaded.state)
            self._state_bytes += sum(map(_detail_bytes, loaded.state.values()))
            answers = loaded.answers
        self._state.load(dict.fromkeys(key for key in fresh if key not in self._state))
        return answers


def _detail_bytes(entity: Any) -> int:
    return len(msgspec.json.encode(entity.detail)) if isinstance(entity, ActivityState) else 0


def _with_ids(command: c.Command) -> tuple[c.Command, tuple[str, ...]]:
    fields = c.missing_ids(command)
    if not fields:
        return command, ()
    ids = {field: new_id() for field in fields}
    return c.with_ids(command, ids), tuple(ids.values())
