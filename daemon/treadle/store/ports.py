"""The interface of a data directory: its log, reads, and which daemons are running.

A store implements these protocols; `store/sqlite` is the one that treadle uses. To read, a caller passes a function of
`Reads`, which the store runs in one read transaction, in a separate thread. Rows are JSON texts that the store made
(`Raw`): they are sent to the client without being decoded. Every method may raise StorageError.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol, TypeVar

from msgspec import Raw

from treadle.contract.results import EntityName, IndexSnapshot, Page, SettingsSnapshot, ThreadSnapshot
from treadle.domain.entities import Hit
from treadle.domain.ids import Syntax, ThreadSort
from treadle.domain.state import Key
from treadle.store.pages import PageBounds
from treadle.store.records import (
    CommandRecord,
    KeptCheckpoint,
    Loaded,
    LogSpan,
    NamedEntity,
    OpenMessage,
    PendingApproval,
    QueueOwner,
    SessionOwner,
    ThreadWork,
    TranscriptItem,
    TurnOwner,
)

T = TypeVar("T")


class BadQuery(ValueError):
    """The search is not a valid FTS5 expression."""


class Reads(Protocol):
    """One read transaction. Valid only within the function that it is passed to. bounds: of its pages."""

    @property
    def bounds(self) -> PageBounds: ...

    def sequence(self) -> int:
        """The sequence of the last event; 0 for an empty log."""

    def log_span(self) -> LogSpan: ...

    # Lists, in pages with a limit of rows and bytes

    def project_list(self, limit: int, before: int) -> Page[Raw]:
        """Projects, newest first."""

    def thread_list(
        self,
        *,
        sort: ThreadSort = "version",
        project_id: str | None = None,
        archived: bool | None = None,
        tool: str | None = None,
        session: str | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Raw]:
        """Threads, most recently changed first, or with the latest `updatedAt` first. Raises BadCursor.

        tool, session: of their origin; a session only with its tool.
        """

    def turn_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        """Turns of a thread, newest first. Raises NotFound."""

    def checkpoint_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        """Checkpoints of a thread, newest first. Raises NotFound."""

    def prompt_list(self, thread_id: str | None, limit: int, before: int) -> Page[Raw]:
        """Queued prompts of a thread or of all threads, newest first. Raises NotFound."""

    def approval_list(self, thread_id: str | None, limit: int, before: int) -> Page[Raw]:
        """Pending approvals of a thread or of all threads, newest first. Raises NotFound."""

    def session_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        """Sessions of the agent of a thread, newest first. Raises NotFound."""

    def rule_list(self, limit: int, before: int) -> Page[Raw]:
        """Rules that were not removed, newest first."""

    def setting_list(self, limit: int, after: str) -> Page[Raw]:
        """Settings in the order of their keys."""

    def events(self, thread_id: str | None, after: int, limit: int) -> tuple[list[Raw], int | None]:
        """Stored events after a sequence, and the sequence after which the next page starts; None on the last page."""

    def search(
        self,
        text: str,
        *,
        syntax: Syntax = "plain",
        project_id: str | None = None,
        thread_id: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Hit]:
        """Threads, messages and activities that contain the words, best match first.

        Raises BadQuery, BadCursor, and NotFound for an unknown thread.
        """

    # Snapshots

    def index(self) -> IndexSnapshot: ...

    def thread(self, thread_id: str, turn_limit: int, before: int) -> ThreadSnapshot:
        """The newest turns of a thread and their contents, created before the sequence `before`. Raises NotFound."""

    def settings(self) -> SettingsSnapshot: ...

    # Single entities

    def message(self, thread_id: str, id: str) -> Raw:
        """A message with its whole text. Raises NotFound."""

    def activity(self, thread_id: str, id: str) -> Raw:
        """An activity with its whole detail. Raises NotFound."""

    def header(self, thread_id: str) -> str:
        """A thread as JSON, without its contents. Raises NotFound."""

    def entities(self, entity: EntityName, thread_id: str | None, ids: Collection[str]) -> dict[str, Raw]:
        """The entities with these ids that exist, by id; settings by key."""

    def projects(self) -> list[Raw]:
        """Every project that is not deleted, newest first."""

    def newest_threads(self, limit: int) -> list[Raw]:
        """The most recently changed threads, most recent first."""

    def look_up(self, keys: Iterable[Key]) -> dict[Key, Any]:
        """The state that commands are decided against: the value of each key, None if it does not exist."""

    def threads_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids of threads that start with `prefix`, sorted."""

    # What a subscription needs

    def changes(self, after: int, thread_id: str | None, limit: int) -> list[NamedEntity]:
        """The next events after a sequence, of the whole log or of one thread."""

    def redacted_events(self, sequence: int) -> list[tuple[str, str | None]]:
        """The type and the id of each event that the EventsRedacted at this sequence has rewritten."""

    def chunks(self, row: int, after: int) -> list[tuple[int, str]]:
        """The chunks of a streaming message after the chunk `after`: the sequence and the text of each."""

    def open_messages(self, thread_id: str) -> list[OpenMessage]: ...

    def pending_approvals(self, thread_ids: Collection[str] | None) -> list[PendingApproval]:
        """The pending approvals of these threads, or of all threads, oldest first."""

    def running_turns(self) -> list[TurnOwner]: ...

    # What runs agents needs

    def open_sessions(self) -> list[SessionOwner]: ...

    def open_queues(self) -> list[QueueOwner]:
        """Queues with prompts that are not paused, of threads without an open session."""

    def threads_at_work(self) -> list[str]:
        """The ids of the threads with queued prompts, an open session, or a running turn of a queued prompt."""

    def work(self, thread_ids: Collection[str]) -> list[ThreadWork]:
        """The work of these threads, those that were deleted included, in the order of their ids."""

    # What pruning and provenance need

    def project_paths(self) -> dict[str, str]:
        """The folder of each project that has one on this machine, by its id, deleted ones included."""

    def kept_checkpoints(self, project_ids: Collection[str]) -> list[KeptCheckpoint]:
        """The checkpoints of the threads of these projects that were not pruned, in the order of the log."""

    def threads_with_refs(self, project_ids: Collection[str]) -> dict[str, bool]:
        """Whether each thread is deleted, by id: of the threads of these projects, and of every one that is."""

    def pruned_at(self, thread_id: str, id: str) -> str | None:
        """When a checkpoint was pruned; None if it was not, or never existed."""

    def origins_of_turns(
        self, turns: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[str, str, str | None, str | None]]:
        """By the ids of thread and turn: the title of the thread, when the turn started, its agent, and the first
        1,000 characters of its prompt. The latter two are None if they are not known."""

    def threads_with_worktree(self) -> list[str]:
        """The ids of the threads whose worktree was made and not removed, those that were deleted included."""

    def thread_of_session(self, session_id: str) -> str | None:
        """The thread in which treadle ran this session of an agent first; None if it did not."""

    def ran_session(self, session_id: str) -> str | None:
        """The same, also if the thread was deleted since then."""

    def own_turns(self, thread_id: str) -> list[tuple[str, str | None]]:
        """When each turn of a thread began and ended that treadle ran itself or recorded, in their order."""

    # Transcripts and statistics

    def turns_after(self, thread_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Turns of a thread, oldest first: the sequence and the JSON of each."""

    def transcript(self, thread_id: str, after: int, before: int) -> list[TranscriptItem]:
        """The items of a thread between two sequences, not truncated, oldest first."""

    def entity_counts(self) -> dict[str, int]:
        """The number of entities of each kind."""

    def event_counts(self, after: int, upto: int) -> list[tuple[str, int, int]]:
        """Each event type in a slice of the log, with the number of events and of bytes."""

    def redacted(self, after: int, upto: int) -> dict[str, int]:
        """Each kind of secret whose marker is in a slice of the log, with the number of markers."""

    def largest_threads(self, limit: int) -> list[tuple[str, str | None, int, int]]:
        """The threads whose events take the most bytes: id, title (None if deleted), number of events, bytes."""

    def free_bytes(self) -> int:
        """The free bytes inside the database file, which SQLite reuses before the file grows."""


class DecidedBy(Protocol):
    """What events, or a rejection, were decided by. Only a log that other machines append to asks for it.

    reads: the scopes that were read, see domain/scopes.py. rejected: the ids of commands that were rejected, which
    another machine may have carried out. of_own_turn: whether a turn depends on it that this daemon runs. folders: what
    projects get on this machine with the append, by their ids; of two with the same folder, the last one has it.
    """

    @property
    def folders(self) -> dict[str, str]: ...

    @property
    def of_own_turn(self) -> bool: ...

    @property
    def reads(self) -> set[str]: ...

    @property
    def rejected(self) -> list[str]: ...


class Log(Protocol):
    """The events of a data directory, on the thread that may write. Valid only within the function it was passed to."""

    def sequence(self) -> int:
        """The sequence of the last event; 0 for an empty log."""

    def load(self, keys: list[Key], command_ids: list[str]) -> Loaded:
        """The state under the keys and the stored answers of the commands, in one read transaction. Raises Busy."""

    def append(
        self, expected: int, payloads: list[bytes], records: list[CommandRecord], by: DecidedBy | None = None
    ) -> int | None:
        """Append events that were decided at `expected`, and the records of their commands, in one transaction.

        Returns the sequence before them: `expected`, or a later one if what others have appended does not matter.
        Returns None and appends nothing if it does, or if one of the command ids has an answer. by: what they were
        decided by; None: the whole log. Raises StorageError if the append fails or the file was moved away: Busy while
        another process has locked it, NewerDatabase if a newer treadle has upgraded it.
        """

    def is_current(self, expected: int, by: DecidedBy) -> bool:
        """Whether what was decided at `expected` would be decided the same way now."""


class AppendOrder(Protocol):
    """Fairness between processes that append at the same time."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes have appended lately."""

    async def begin(self) -> bool:
        """Wait for this process's turn to append; return whether others append too, so the state is probably stale."""

    async def lost(self) -> None:
        """Another process appended first: wait for this process's turn to retry."""

    def end(self) -> None:
        """The append has finished or failed: let the next process append."""


class Presence(Protocol):
    """This daemon as a runner, and which other runners are alive. name: `machineId.name` of this one, never reused."""

    name: str

    def acquire(self) -> None:
        """Mark this runner as alive. Required before it starts an agent, or appends its first event that names it."""

    def is_gone(self, name: str) -> bool:
        """Whether the runner of that name is dead, or its machine away for long; False if that is unknown."""

    def is_elsewhere(self, name: str | None) -> bool:
        """Whether the runner of that name is one of another machine."""

    def is_away(self, name: str) -> bool:
        """Whether the runner of that name is on another machine, which is not there now."""

    def left_behind(self) -> set[str]:
        """Dead runners that have not cleaned up, as after a crash."""

    def forget(self, name: str) -> None:
        """Clean up after a dead runner."""


class DataDirectory(Protocol):
    """An open data directory. log_id: identifies the log."""

    @property
    def log_id(self) -> str: ...

    @property
    def runner(self) -> Presence: ...

    @property
    def append_queue(self) -> AppendOrder: ...

    @property
    def is_shared(self) -> bool:
        """Whether the log is a shared one, of which this is a replica."""

    @property
    def actor(self) -> str | None:
        """Who appends here, as the events say; None for the owner of the data directory."""

    def read(self, function: Callable[[Reads], T]) -> "asyncio.Future[T]":
        """Run `function` in a read transaction, shared by all reads that are queued; return its future result."""

    async def write(self, function: Callable[[Log], T]) -> T:
        """Run `function` on the one thread that may write; return its result."""

    def is_rebuilding(self) -> bool:
        """Whether a process is rebuilding the projections, so that a busy database is worth waiting for."""
