"""What the engine decides in one go: submissions in, payloads and answers out. No I/O."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from treadle.contract.results import BatchDispatched, Dispatched
from treadle.core.redacting import SETTING, HeldText, Redacting
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.agent_events import PromptMoved
from treadle.domain.decider import Stamp, decide, evolve, names
from treadle.domain.errors import Conflict, Rejected
from treadle.domain.evolution import give_folder
from treadle.domain.ids import Timestamp
from treadle.domain.paths import normalized
from treadle.domain.scopes import EVERYTHING, read_scopes
from treadle.domain.state import Key, State
from treadle.store.pages import stored_event
from treadle.store.records import CommandRecord

MAX_MERGED = 256 * 1024  # code points of text in one MessageAppended that was several
ERASED = "erased"  # instead of the digest of a command whose events were erased or redacted
AHEAD_SECONDS = 60  # how long after the daemon's clock the time that a command gives may be


def _latest(at: Timestamp) -> Timestamp:
    """The latest time that a command which arrived at `at` may give."""
    latest = datetime.fromisoformat(at) + timedelta(seconds=AHEAD_SECONDS)
    return f"{latest:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


class Submission:
    """Commands that are accepted together or not at all; without any it only marks a place in the queue.

    at: when it arrived. commands: each with the ids that were assigned to it. taken: the engine has it, and it can no
    longer be cancelled. future: of the answer, as `present` shows it. size: of the request, in bytes. releases: it is
    the engine's own, to store what was held back of a text.
    """

    __slots__ = ("at", "atomic", "command_id", "commands", "digest", "future", "present", "releases", "size", "taken")

    def __init__(
        self,
        at: Timestamp,
        commands: list[tuple[c.Command, tuple[str, ...]]],
        command_id: str | None,
        digest: str,
        atomic: bool,
        present: Callable[[BatchDispatched], object],
        size: int = 0,
        releases: bool = False,
    ) -> None:
        self.at = at
        self.commands = commands
        self.command_id = command_id
        self.digest = digest
        self.atomic = atomic
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.present = present
        self.size = size
        self.releases = releases
        self.taken = False

    @property
    def delta(self) -> c.AppendMessage | None:
        """The command, if it is a delta that may become one event with its neighbours."""
        if self.atomic or self.releases or len(self.commands) != 1:
            return None
        command = self.commands[0][0]
        if isinstance(command, c.AppendMessage) and command.expected_version is None and command.at is None:
            return command
        return None

    def cancel(self) -> bool:
        """Take it back, where the engine has not taken it."""
        return not self.taken and self.future.cancel()

    def answer(self, answer: BatchDispatched) -> None:
        if not self.future.done():
            self.future.set_result(self.present(answer))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Delta:
    """A MessageAppended that more text may join. index: its place among the group's events."""

    __slots__ = ("event", "index", "length", "texts")

    def __init__(self, event: e.MessageAppended, index: int) -> None:
        self.event = event
        self.index = index
        self.texts = [event.text]
        self.length = len(event.text)


def _folder_given(command: c.Command) -> tuple[str, str] | None:
    """The project that a command gives a folder to, and the folder."""
    if isinstance(command, c.CreateProject | c.UpdateProject) and command.path is not None:
        return str(command.id), normalized(command.path)
    return None


class Group:
    """Decides submissions one after the other, each against the state that its predecessors leave.

    expected: the sequence that they are decided at. payloads: the events as JSON. records: answers to remember, as if
    the events came right after it. stored: the remembered answers. held: what is held back of texts that stream;
    `redacting` has what is to follow. is_shared: whether several machines share the log. folders: those of this machine
    for its projects, by their ids.
    """

    def __init__(
        self,
        state: State,
        runner: str,
        stored: dict[str, tuple[CommandRecord, list[Raw]]],
        max_merged: int = MAX_MERGED,
        held: dict[Key, HeldText] | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        self.expected = state.sequence
        self.folders: dict[str, str] = {}
        self.redacting = Redacting(state, {} if held is None else held)
        self._records: list[tuple[Submission, list[tuple[int, int]]]] = []
        self._state = state
        self._runner = runner
        self._is_shared = is_shared
        self._stored = stored
        self._max_merged = max_merged
        self._events: list[e.Event] = []
        self._deltas: dict[int, Delta] = {}
        self._open_deltas: dict[str, Delta] = {}  # by thread: its last event, where only deltas came after it
        self._accepted: list[tuple[Submission, list[tuple[int, int]]]] = []
        self._rejected: list[tuple[Submission, Exception]] = []
        self._repeated: list[tuple[Submission, BatchDispatched]] = []
        self._payloads: list[bytes] | None = None

    @property
    def writes(self) -> bool:
        """Whether there is anything to append."""
        return bool(self._events) or bool(self.records)

    @property
    def judges(self) -> bool:
        """Whether anything was rejected, or accepted without events, by what the state says."""
        return bool(self._rejected) or any(ranges for _, ranges in self._accepted)

    @property
    def payloads(self) -> list[bytes]:
        """The events as JSON, merged deltas whole."""
        if self._payloads is None:
            events: list[Any] = list(self._events)
            for index, delta in self._deltas.items():
                if len(delta.texts) > 1:
                    events[index] = msgspec.structs.replace(delta.event, text="".join(delta.texts))
            self._payloads = [e.encode(event) for event in events]
        return self._payloads

    @property
    def records(self) -> list[CommandRecord]:
        """What to remember of the submissions that have an id."""
        records = []
        for submission, ranges in self._accepted:
            if submission.command_id is not None:
                start, stop = (ranges[0][0], ranges[-1][1]) if ranges else (0, 0)  # a batch may be empty
                first, last = self.expected + 1 + start, self.expected + stop
                parts = (
                    msgspec.json.encode([end - begin for begin, end in ranges]).decode() if submission.atomic else None
                )
                records.append(CommandRecord(submission.command_id, submission.digest, first, last, parts))
        return records

    @property
    def reads(self) -> set[str]:
        """The scopes that decided it, see domain/scopes.py."""
        judged = [submission for submission, _ in (*self._accepted, *self._rejected)]
        commands = [command for submission in judged for command, _ in submission.commands]
        scopes = read_scopes({SETTING}.union(*map(names, commands)), self._state)
        # The position of a moved prompt is made of sequences, which those of earlier events of the group only expect.
        # What a redaction makes of older events has its sequence.
        needs_all = (PromptMoved, e.EventsRedacted)
        return scopes | {EVERYTHING} if any(isinstance(event, needs_all) for event in self._events) else scopes

    @property
    def rejected(self) -> list[str]:
        """The ids of the commands that were rejected, except where that is because the id has another command."""
        ids = (submission.command_id for submission, _ in self._rejected)
        return [id for id in ids if id is not None and id not in self._stored]

    @property
    def of_own_turn(self) -> bool:
        """Whether a command is of a thread with a turn that this daemon runs."""
        threads = [
            self._state.get(("thread", getattr(command, "thread_id", "")))
            for submission, _ in self._accepted
            for command, _ in submission.commands
        ]
        return any(thread and thread.turn and thread.turn.runner == self._runner for thread in threads)

    def add(self, submission: Submission) -> None:
        """Decide one more."""
        if submission.command_id in self._stored:
            self._repeat(submission)
            return
        delta, commands = submission.delta, [command for command, _ in submission.commands]
        if delta is not None:
            delta = self.redacting.command(delta, holds=submission.command_id is None)  # type: ignore[assignment]
            commands = [delta]
            if self._join(submission, delta):
                self.redacting.accept()
                return
        savepoint, length = self._state.savepoint(), len(self._events)
        gives_time = any(command.at is not None for command in commands)
        latest = _latest(submission.at) if gives_time else submission.at
        stamp = Stamp(submission.at, self._runner, latest, self._is_shared)
        ranges: list[tuple[int, int]] = []
        folders: list[tuple[str, str]] = []
        try:
            for command in commands:
                start = len(self._events)
                if delta is None:
                    holds = submission.command_id is None
                    command = self.redacting.command(command, releases=submission.releases, holds=holds)
                for event in self.redacting.events(decide(self._state, command, stamp)):
                    evolve(self._state, event)
                    self._events.append(event)
                if self._is_shared and (folder := _folder_given(command)):
                    give_folder(self._state, *folder)
                    folders.append(folder)
                ranges.append((start, len(self._events)))
        except Rejected as error:
            self._state.rollback(savepoint)
            del self._events[length:]
            self.redacting.reject()
            self._rejected.append((submission, error))
            return
        self.redacting.accept()
        self._accepted.append((submission, ranges))
        for id, path in folders:
            self.folders.pop(id, None)  # the order counts: a folder is the project's that it was given to last
            self.folders[id] = path
        if len(self._events) > length:
            if delta is not None:
                event = self._events[-1]
                assert isinstance(event, e.MessageAppended)
                self._open_deltas[event.thread_id] = Delta(event, length)
            else:
                self._open_deltas.clear()

    def answer(self, base: int, actor: str | None = None) -> None:
        """Tell every submission what became of it: its events are after the sequence `base`, by this actor."""
        events: list[Any] = [stored_event(base + 1 + i, payload, actor) for i, payload in enumerate(self.payloads)]
        for submission, ranges in self._accepted:
            results = [Dispatched(base + end, events[start:end]) for start, end in ranges]
            submission.answer(BatchDispatched(results[-1].sequence if results else base, results))
        for submission, error in self._rejected:
            submission.fail(error)
        for submission, answer in self._repeated:
            submission.answer(answer)

    def _join(self, submission: Submission, delta: c.AppendMessage) -> bool:
        """Add a delta's text to the event before it in its thread, where that is a delta of the same message."""
        last = self._open_deltas.get(delta.thread_id)
        if last is None or delta.id != last.event.id or last.length + len(delta.text) > self._max_merged:
            return False
        # The message was open for the delta before, and nothing but deltas has happened since.
        last.texts.append(delta.text)
        last.length += len(delta.text)
        self._deltas[last.index] = last
        self._accepted.append((submission, [(last.index, last.index + 1)]))
        return True

    def _repeat(self, submission: Submission) -> None:
        assert submission.command_id is not None
        record, stored = self._stored[submission.command_id]
        if record.digest == ERASED:
            error = Conflict(
                "commandErased",
                f"what commandId {record.command_id!r} led to was erased: the answer is gone",
                commandId=record.command_id,
            )
            self._rejected.append((submission, error))
            return
        if record.digest != submission.digest:
            self._rejected.append(
                (
                    submission,
                    Conflict(
                        "commandIdConflict",
                        f"commandId {record.command_id!r} was given to another command before",
                        commandId=record.command_id,
                        expected=record.digest,
                        actual=submission.digest,
                    ),
                )
            )
            return
        events: list[Any] = [*stored]
        counts = [len(events)] if record.parts is None else msgspec.json.decode(record.parts, type=list[int])
        results, start = [], 0
        for count in counts:
            results.append(Dispatched(record.first_sequence - 1 + start + count, events[start : start + count]))
            start += count
        self._repeated.append((submission, BatchDispatched(record.last_sequence, results)))
