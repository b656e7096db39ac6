"""The events: one frozen struct per event. The class name is its type on the wire and in the log.

Every event has `at`. Every event of a thread has `threadId`. A log outlives the release that wrote it: a new field
has a default, a changed meaning is a new event, and a class or field is never renamed (tests/golden/events.json).
"""

from typing import Annotated, get_args

import msgspec
from msgspec import Struct

from treadle.domain import agent_events as agents
from treadle.domain.event import Event as Event
from treadle.domain.event import ThreadEvent as ThreadEvent
from treadle.domain.ids import ActivityStatus, Content, GivenId, Json, Phase, Role, note


class ProjectCreated(Event, frozen=True, kw_only=True):
    id: GivenId
    name: str
    path: Annotated[str | None, note("Absent in a shared log, where each machine has a folder of its own")] = None
    remote: str | None = None


class ProjectUpdated(Event, frozen=True, kw_only=True):
    """Holds only the fields that changed."""

    id: GivenId
    name: str | None = None
    path: str | None = None
    remote: str | None = None


class ProjectDeleted(Event, frozen=True, kw_only=True):
    id: GivenId


class GivenParent(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The thread, and the activity in it, that a thread of a subagent belongs to."""

    thread_id: GivenId
    activity_id: GivenId | None = None


class GivenFork(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The thread that a thread continues as a copy, and the last turn that they share."""

    thread_id: GivenId
    turn_id: GivenId | None = None


class GivenOrigin(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a thread comes from, as in commands.Origin. A newer release may add members."""

    tool: str
    session_id: str | None = None
    parent: GivenParent | None = None
    fork_of: GivenFork | None = None
    branch: str | None = None
    cwd: str | None = None
    source: str | None = None


class ThreadCreated(ThreadEvent, frozen=True, kw_only=True):
    project_id: GivenId
    title: str
    origin: GivenOrigin | None = None
    worktree: Annotated[bool, note("Whether its agent works in a git worktree of its own")] = False


class ThreadRenamed(ThreadEvent, frozen=True, kw_only=True):
    title: str


class ThreadArchived(ThreadEvent, frozen=True, kw_only=True):
    pass


class ThreadUnarchived(ThreadEvent, frozen=True, kw_only=True):
    pass


class ThreadDeleted(ThreadEvent, frozen=True, kw_only=True):
    pass


class ThreadErased(ThreadEvent, frozen=True, kw_only=True):
    """The thread was deleted before, and now its events before are skeletons, without their texts."""


class CleanedEvent(Struct, frozen=True):
    """An event of the log without something that should not be there."""

    sequence: Annotated[int, note("Its place in the log, where it is rewritten")]
    event: Annotated[dict[str, Json], note("The event as it is from then on")]


class EventsRedacted(ThreadEvent, frozen=True, kw_only=True):
    """Earlier events of the thread were rewritten: the same ones, with other texts.

    `evolve` leaves the texts in the state as they are: the engine loads it again after this event.
    """

    events: list[CleanedEvent]


class TurnStarted(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    runner: Annotated[GivenId, note("The daemon that runs the turn: its machine and its name there, `machineId.name`")]
    prompt_id: Annotated[
        GivenId | None, note("The queued prompt that it answers. Missing if the client started it")
    ] = None


class TurnCompleted(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    stop_reason: str
    usage: Json = None


class TurnFailed(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    error: str
    kind: Annotated[str | None, note("What kind of error, as a word")] = None


class TurnCancelling(ThreadEvent, frozen=True, kw_only=True):
    """The turn was asked to stop; another event says that it has."""

    id: GivenId
    by: str | None = None


class TurnInterrupted(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    reason: str
    by: str | None = None
    confirmed: Annotated[bool | None, note("Whether the agent confirmed that it has stopped")] = None


class MessageAdded(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    turn_id: GivenId
    role: Role
    text: Annotated[str, note("Missing if it is empty, or if the text is in `content`")] = ""
    content: Content | None = None
    streaming: bool = False
    prompt_id: Annotated[GivenId | None, note("The queued prompt that became this message of a running turn")] = None


class MessageAppended(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    text: str


class MessageCompleted(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId


class ActivityRecorded(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    turn_id: GivenId
    kind: str
    title: str
    status: ActivityStatus
    detail: Json = None


class ActivityUpdated(ThreadEvent, frozen=True, kw_only=True):
    """Holds only what changed."""

    id: GivenId
    kind: str | None = None
    title: str | None = None
    status: ActivityStatus | None = None
    detail: Annotated[dict[str, Json], note("The members that changed, each as a whole. null removes a member")] = {}
    append: Annotated[dict[str, str], note("What was added at the end of members that are texts")] = {}


class OfferedOption(Struct, frozen=True, rename="camel"):
    """One option of an approval, as in commands.ApprovalOption. A newer release may add members."""

    id: str
    name: str
    kind: str


class ApprovalRequested(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    turn_id: GivenId
    title: str
    options: list[OfferedOption]
    detail: Json = None
    activity_id: Annotated[GivenId | None, note("The activity that waits for it, such as a tool call")] = None


class ApprovalResolved(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    outcome: Annotated[str | None, note("The id of the chosen option, or null if it was cancelled")]
    by: Annotated[str | None, note("Who answered, if that was said: `rule`, `turnEnd`, `agent`, …")] = None
    rule_id: Annotated[GivenId | None, note("The rule that answered")] = None
    content: Annotated[Json, note("What was filled in, where the approval is a form")] = None


class SkippedFile(Struct, frozen=True, rename="camel"):
    """A file or folder that a checkpoint leaves out. A newer release may add members."""

    path: Annotated[str, note("Relative to the repository")]
    reason: Annotated[str, note("`size`, `count`, `repository` or `unreadable`")]
    bytes: Annotated[int, note("Its size; 0 if it is not known")] = 0


class CheckpointCreated(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    turn_id: GivenId | None = None
    git_ref: str
    message: str
    commit: str | None = None
    tree: str | None = None
    phase: Phase = "manual"
    skipped: Annotated[list[SkippedFile], note("What it leaves out, at most 100 of them")] = []
    in_project: Annotated[bool, note("Whether it is of the project's folder although the thread has a worktree")] = (
        False
    )
    machine: Annotated[GivenId | None, note("The machine that has it, in a shared log")] = None


class CheckpointFailed(ThreadEvent, frozen=True, kw_only=True):
    turn_id: GivenId | None = None
    reason: str


class CheckpointRestored(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    before: Annotated[GivenId | None, note("The checkpoint of what was there before, to undo it")] = None
    written: Annotated[list[str], note("Files that were written, at most 1,000 of them, relative to the folder")] = []
    removed: Annotated[list[str], note("Files that were removed, likewise")] = []


class CheckpointPruned(ThreadEvent, frozen=True, kw_only=True):
    """The checkpoint was deleted, to free its space."""

    id: GivenId


class WorktreeCreated(ThreadEvent, frozen=True, kw_only=True):
    path: Annotated[str, note("The folder in it that the agent works in")]
    base: Annotated[str, note("The commit that it began at")]


class WorktreeRemoved(ThreadEvent, frozen=True, kw_only=True):
    pass


class SettingChanged(Event, frozen=True, kw_only=True):
    key: str
    value: Annotated[Json, note("null if the setting was removed")]


AnyEvent = (
    ProjectCreated
    | ProjectUpdated
    | ProjectDeleted
    | ThreadCreated
    | ThreadRenamed
    | ThreadArchived
    | ThreadUnarchived
    | ThreadDeleted
    | ThreadErased
    | EventsRedacted
    | TurnStarted
    | TurnCompleted
    | TurnFailed
    | TurnCancelling
    | TurnInterrupted
    | MessageAdded
    | MessageAppended
    | MessageCompleted
    | ActivityRecorded
    | ActivityUpdated
    | ApprovalRequested
    | ApprovalResolved
    | CheckpointCreated
    | CheckpointFailed
    | CheckpointRestored
    | CheckpointPruned
    | WorktreeCreated
    | WorktreeRemoved
    | SettingChanged
    | agents.AnyAgentEvent
)

EVENTS: tuple[type[Event], ...] = get_args(AnyEvent)
EVENT_TYPES: frozenset[str] = frozenset(str(e.__struct_config__.tag) for e in EVENTS)


class StoredEvent(Struct, frozen=True, omit_defaults=True):
    """An event and its position in the log. Sequences start at 1 and have no gaps."""

    sequence: int
    event: AnyEvent
    actor: Annotated[str | None, note("Who caused it. Missing for the owner of the data directory")] = None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyEvent).decode
