"""The events: one frozen struct per event. The class name is its type on the wire and in the log.

Every event has `at`. Every event of a thread has `threadId`. A log outlives the release that wrote it: a new field
has a default, a changed meaning is a new event, and a class or field is never renamed (tests/golden/events.json).
"""

from typing import Annotated, get_args

import msgspec
from msgspec import Struct

from treadle.domain.ids import ActivityStatus, GivenId, Json, Role, Timestamp, note


class Event(Struct, frozen=True, kw_only=True, tag=True, rename="camel", omit_defaults=True):
    at: Annotated[Timestamp, note("When it was decided")]


class ProjectCreated(Event, frozen=True, kw_only=True):
    id: GivenId
    name: str
    path: str


class ProjectUpdated(Event, frozen=True, kw_only=True):
    """Holds only the fields that changed."""

    id: GivenId
    name: str | None = None
    path: str | None = None


class ProjectDeleted(Event, frozen=True, kw_only=True):
    id: GivenId


class ThreadEvent(Event, frozen=True, kw_only=True):
    thread_id: GivenId


class ThreadCreated(ThreadEvent, frozen=True, kw_only=True):
    project_id: GivenId
    title: str


class ThreadRenamed(ThreadEvent, frozen=True, kw_only=True):
    title: str


class ThreadArchived(ThreadEvent, frozen=True, kw_only=True):
    pass


class ThreadUnarchived(ThreadEvent, frozen=True, kw_only=True):
    pass


class ThreadDeleted(ThreadEvent, frozen=True, kw_only=True):
    pass


class TurnStarted(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    runner: Annotated[GivenId, note("The daemon that runs the turn: the name of its lock file")]


class TurnCompleted(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    stop_reason: str
    usage: Json = None


class TurnFailed(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    error: str


class TurnInterrupted(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    reason: str


class MessageAdded(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    turn_id: GivenId
    role: Role
    text: str
    streaming: bool


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


class ApprovalResolved(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    outcome: Annotated[str | None, note("The id of the chosen option, or null if it was cancelled")]


class CheckpointCreated(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    turn_id: GivenId | None = None
    git_ref: str
    message: str


class CheckpointRestored(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId


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
    | TurnStarted
    | TurnCompleted
    | TurnFailed
    | TurnInterrupted
    | MessageAdded
    | MessageAppended
    | MessageCompleted
    | ActivityRecorded
    | ApprovalRequested
    | ApprovalResolved
    | CheckpointCreated
    | CheckpointRestored
    | SettingChanged
)

EVENTS: tuple[type[Event], ...] = get_args(AnyEvent)
EVENT_TYPES: frozenset[str] = frozenset(str(e.__struct_config__.tag) for e in EVENTS)


class StoredEvent(Struct, frozen=True):
    """An event and its position in the log. Sequences start at 1 and have no gaps."""

    sequence: int
    event: AnyEvent


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyEvent).decode
