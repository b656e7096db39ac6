"""What reads return and appends take: the records of the interface in ports.py."""

from typing import Any, NamedTuple

from msgspec import Raw, Struct

from treadle.domain.entities import Assigned, Spent, ThreadWorktree
from treadle.domain.errors import Rejected
from treadle.domain.events import GivenOrigin
from treadle.domain.ids import How, Phase, When
from treadle.domain.state import Key


class CommandRecord(Struct, frozen=True, array_like=True):
    """The stored answer of a command that has an id, by which a retry is recognised (idempotency).

    digest: of the command as received. first_sequence, last_sequence: of its events; no events if last < first.
    parts: for dispatchBatch, the number of events of each command, as a JSON array; null for a single command.
    """

    command_id: str
    digest: str
    first_sequence: int
    last_sequence: int
    parts: str | None = None


class Loaded(NamedTuple):
    """What commands are decided against, read in one transaction.

    sequence: of the last event. state: the value of each key, None if it does not exist. answers: for each command id
    that was used before, its record and its stored events.
    """

    sequence: int
    state: dict[Key, Any]
    answers: dict[str, tuple[CommandRecord, list[Raw]]]


class NamedEntity(NamedTuple):
    """What a subscription needs of an event: its type and the id of the entity that it changed."""

    sequence: int
    event_type: str
    thread_id: str | None
    id: str


class OpenMessage(NamedTuple):
    """A streaming message. row: its sequence. chunk: the sequence of its last chunk. text: the text so far."""

    id: str
    row: int
    chunk: int
    text: str


class TurnOwner(NamedTuple):
    """A running turn. runner: the name of the daemon that runs it. cancelling: whether it was asked to stop."""

    thread_id: str
    id: str
    runner: str
    cancelling: bool


class KeptCheckpoint(NamedTuple):
    """A checkpoint that was not pruned. ref: its git ref. running: whether its turn is running. in_project: whether it
    is of the project's folder, and not of a worktree. elsewhere: whether another machine made it."""

    sequence: int
    thread_id: str
    id: str
    ref: str
    commit: str | None
    turn_id: str | None
    phase: Phase
    created_at: str
    running: bool
    in_project: bool
    elsewhere: bool = False


class TranscriptItem(NamedTuple):
    """An item of a turn. sequence: of the event that created it. entity: its kind. value: the entity as JSON."""

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


class SessionOwner(NamedTuple):
    """An open session. runner: the name of the daemon that runs the agent."""

    thread_id: str
    id: str
    runner: str


class QueueOwner(NamedTuple):
    """A queue whose prompts are to be sent. version: of the thread. runner: the daemon that is to send them."""

    thread_id: str
    version: int
    runner: str


class QueuedPrompt(Struct, frozen=True, rename="camel"):
    """A queued prompt. runner: the daemon that received it."""

    id: str
    when: When
    runner: str
    position: float


class TurnWork(Struct, frozen=True, rename="camel"):
    """A running turn. prompt_id: of the queued prompt that it answers. cancelled_by: who asked it to stop, if said."""

    id: str
    runner: str
    prompt_id: str | None
    cancelling: bool
    cancelled_by: str | None


class SessionWork(Struct, frozen=True, rename="camel"):
    """A session. session_id: the agent's own id of it. open: whether the agent runs."""

    id: str
    agent: str
    session_id: str
    runner: str
    open: bool
    how: How


class RestoredFiles(Struct, frozen=True):
    """Files that were put back to an earlier state: those that were written and those that were removed."""

    written: list[str]
    removed: list[str]


class ThreadWork(Struct, frozen=True, rename="camel"):
    """What there is to do for the agent of a thread, for the daemon that runs it.

    folder: of the project, on this machine; None if there is none, which happens in a shared log. remote: of the
    project. queue: in the order of the positions. paused: why prompts are not sent, if so. queue_runner: the daemon
    that received the last prompt, or the last command to resume. session: the newest one. restored: since the last turn
    began. worktree: None if the agent works in the folder of the project. removals: how often a worktree of it was
    removed. approvals: the ids of the pending ones. A deleted thread has no agent, queue, turn, session or approvals.
    """

    thread_id: str
    project_id: str
    folder: str | None
    remote: str | None
    title: str
    agent: Assigned | None
    archived: bool
    deleted: bool
    queue: list[QueuedPrompt]
    paused: str | None
    queue_runner: str | None
    auth_required: bool
    turn: TurnWork | None
    session: SessionWork | None
    restored: list[RestoredFiles]
    worktree: ThreadWorktree | None
    removals: int
    origin: GivenOrigin | None
    approvals: list[str]
    usage: Spent | None

    @property
    def project(self) -> str:
        """The folder of the project. Raises Rejected (`folderMissing`) if it has none on this machine."""
        if self.folder is None:
            raise Rejected(
                "folderMissing",
                f"{self.remote} has no folder on this machine: clone it, and run treadle in the clone",
                projectId=self.project_id,
            )
        return self.folder

    @property
    def path(self) -> str:
        """The folder that the agent works in: the worktree if there is one, else that of the project. Raises as it."""
        worktree = None if self.worktree is None else self.worktree.path
        return self.project if worktree is None else worktree


class LogSpan(NamedTuple):
    """The id of the log, and the times of its first and last event, None if it is empty."""

    log_id: str
    first_at: str | None
    last_at: str | None
