"""What the rest of treadle asks of a data directory: a log, reads, and the presence of other daemons.

A store implements these protocols; `store/sqlite` is the one that treadle runs on. Whoever reads passes a function of
`Reads`, which the store runs in one read transaction, on a thread of its own. Rows are JSON texts that the store made
(`Raw`): they go to the client without being decoded. Every method may raise StorageError.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar

from msgspec import Raw, Struct

from treadle.contract.results import EntityName, IndexSnapshot, Page, SettingsSnapshot, ThreadSnapshot
from treadle.domain.entities import Hit
from treadle.domain.ids import Syntax
from treadle.domain.state import Key
from treadle.store.pages import PageBounds

T = TypeVar("T")


class BadQuery(ValueError):
    """The search is not a valid FTS5 expression."""


class CommandRecord(Struct, frozen=True, array_like=True):
    """What is remembered of a command that has an id.

    digest: of the command as received. first_sequence to last_sequence: its events, none where last < first.
    parts: how many events each command of an atomic batch had, as a JSON array; null for a single command.
    """

    command_id: str
    digest: str
    first_sequence: int
    last_sequence: int
    parts: str | None = None


class Loaded(NamedTuple):
    """What commands are decided against, all read at one sequence.

    state: what is under each key, or None. answers: of each command id that is known, its record and its stored events.
    """

    sequence: int
    state: dict[Key, Any]
    answers: dict[str, tuple[CommandRecord, list[Raw]]]


class NamedEntity(NamedTuple):
    """An event, as far as a subscription needs it: its type and the id of the entity that it changed."""

    sequence: int
    event_type: str
    thread_id: str | None
    id: str


class OpenMessage(NamedTuple):
    """A message that still streams. row: its sequence. chunk: the last chunk. text: the text so far."""

    id: str
    row: int
    chunk: int
    text: str


class TurnOwner(NamedTuple):
    """A running turn, and the name of the daemon that runs it."""

    thread_id: str
    id: str
    runner: str


class TranscriptItem(NamedTuple):
    """What a turn holds, in the order in which it was made."""

    sequence: int
    entity: str
    value: str


class PendingApproval(NamedTuple):
    """A pending approval. thread: the title of its thread. options: as JSON."""

    sequence: int
    thread_id: str
    id: str
    title: str
    thread: str
    options: str


class LogSpan(NamedTuple):
    """log_id: which log it is. first_at and last_at: the times of its first and last event, None where it is empty."""

    log_id: str
    first_at: str | None
    last_at: str | None


class Reads(Protocol):
    """One read transaction. Valid only within the function that it was passed to. bounds: of its pages."""

    @property
    def bounds(self) -> PageBounds: ...

    def sequence(self) -> int:
        """The sequence of the last event; 0 for an empty log."""

    def log_span(self) -> LogSpan: ...

    # Lists, in pages that are bounded in rows and in bytes

    def project_list(self, limit: int, before: int) -> Page[Raw]:
        """Projects, newest first."""

    def thread_list(self, project_id: str | None, archived: bool | None, limit: int, before: int) -> Page[Raw]:
        """Threads, the last changed first."""

    def turn_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        """Turns of a thread, newest first. Raises NotFound."""

    def checkpoint_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        """Checkpoints of a thread, newest first. Raises NotFound."""

    def setting_list(self, limit: int, after: str) -> Page[Raw]:
        """Settings by key."""

    def events(self, thread_id: str | None, after: int, limit: int) -> tuple[list[Raw], int | None]:
        """Stored events after a sequence, and the sequence that the next page begins after; None at the end."""

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
        """Threads, messages and activities that have the words, the best first.

        Raises BadQuery, BadCursor, and NotFound for an unknown thread.
        """

    # Snapshots

    def index(self) -> IndexSnapshot: ...

    def thread(self, thread_id: str, turn_limit: int, before: int) -> ThreadSnapshot:
        """What was last made in a thread before the sequence `before`. Raises NotFound."""

    def settings(self) -> SettingsSnapshot: ...

    # Single entities

    def message(self, thread_id: str, id: str) -> Raw:
        """A message with all of its text. Raises NotFound."""

    def activity(self, thread_id: str, id: str) -> Raw:
        """An activity with all of its detail. Raises NotFound."""

    def header(self, thread_id: str) -> str:
        """The JSON of a thread. Raises NotFound."""

    def entities(self, entity: EntityName, thread_id: str | None, ids: Collection[str]) -> dict[str, Raw]:
        """Those of the entities that exist, by id; settings by key."""

    def projects(self) -> list[Raw]:
        """Every live project, newest first."""

    def newest_threads(self, limit: int) -> list[Raw]:
        """The threads that changed last, newest first."""

    def look_up(self, keys: Iterable[Key]) -> dict[Key, Any]:
        """What commands are decided against: the state under each key, or None."""

    def threads_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Ids of threads that begin with `prefix`, in their order."""

    # What a subscription needs

    def changes(self, after: int, thread_id: str | None, limit: int) -> list[NamedEntity]:
        """The next events of the log, or of a thread, after a sequence."""

    def chunks(self, row: int, after: int) -> list[tuple[int, str]]:
        """The text of an open message that came after a chunk."""

    def open_messages(self, thread_id: str) -> list[OpenMessage]: ...

    def pending_approvals(self, thread_ids: Collection[str] | None) -> list[PendingApproval]:
        """The pending approvals of these threads, or of all, oldest first."""

    def running_turns(self) -> list[TurnOwner]: ...

    # Transcripts and statistics

    def turns_after(self, thread_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Turns of a thread, oldest first: the sequence and the JSON of each."""

    def transcript(self, thread_id: str, after: int, before: int) -> list[TranscriptItem]:
        """The items of a thread between two sequences, uncut, oldest first."""

    def entity_counts(self) -> dict[str, int]:
        """How many entities of each kind exist."""

    def event_counts(self, after: int, upto: int) -> list[tuple[str, int, int]]:
        """Of a slice of the log: each type of event, how many there are, and their bytes."""

    def largest_threads(self, limit: int) -> list[tuple[str, str | None, int, int]]:
        """The threads whose events have the most bytes: id, title (None where deleted), events, bytes."""

    def free_bytes(self) -> int:
        """Bytes of the database that are filled before it grows."""


class Log(Protocol):
    """The events of a data directory, on a connection that may write."""

    async def append(self, expected: int, payloads: list[bytes], records: list[CommandRecord]) -> bool:
        """Add events after sequence `expected`, and the records of their commands, in one transaction.

        False, with nothing done, if the log has moved on or one of the commands was answered meanwhile. Raises Busy
        while other processes hold the database, and NewerDatabase if a newer treadle has taken it over.
        """

    async def load(self, keys: list[Key], command_ids: list[str]) -> Loaded:
        """What is under the keys, and the stored answers of the commands, in one read transaction. Raises Busy."""

    async def sequence(self) -> int:
        """The sequence of the last event; 0 for an empty log."""


class AppendOrder(Protocol):
    """Fairness among processes that append at the same time."""

    async def begin(self) -> bool:
        """Wait for a turn to append; whether others are busy, so that the log has probably moved on."""

    async def lost(self) -> None:
        """Another process appended first: wait for a turn to try again."""

    def end(self) -> None:
        """The append has ended."""


class Presence(Protocol):
    """This daemon as one that runs turns, and which others still run.

    name: this daemon's, which is never used twice.
    """

    name: str

    def acquire(self) -> None:
        """Announce this daemon; needed before the first TurnStarted is appended."""

    def is_gone(self, name: str) -> bool:
        """Whether the daemon of that name has ended; False if that cannot be told."""

    def left_behind(self) -> set[str]:
        """Daemons that ended without saying so."""

    def forget(self, name: str) -> None:
        """Remove what a daemon that has ended left behind."""


class DataDirectory(Protocol):
    """All of the above, open. log_id: tells this log from any other."""

    @property
    def log_id(self) -> str: ...

    @property
    def events(self) -> Log: ...

    @property
    def runner(self) -> Presence: ...

    @property
    def append_queue(self) -> AppendOrder: ...

    def read(self, function: Callable[[Reads], T]) -> "asyncio.Future[T]":
        """The future result of `function`; reads that wait at the same time share one transaction."""

    def is_rebuilding(self) -> bool:
        """Whether some process rebuilds the projections, so that a busy database is worth waiting for."""
