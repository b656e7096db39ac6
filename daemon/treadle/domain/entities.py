"""What every read, snapshot and change speaks of. Absent values are null; times are as in events."""

from typing import Literal

from msgspec import Struct

from treadle.domain.events import OfferedOption
from treadle.domain.ids import ActivityStatus, GivenId, Json, Role, Timestamp


class Entity(Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class Project(Entity, frozen=True, kw_only=True):
    """A workspace folder.

    path: as it was normalised.
    """

    id: GivenId
    name: str
    path: str
    created_at: Timestamp
    updated_at: Timestamp


class Thread(Entity, frozen=True, kw_only=True):
    """A conversation in a project.

    status: `waiting` while the running turn has a pending approval.
    version: the sequence of the thread's last event that is not a MessageAppended; give it back as `expectedVersion`.
    updated_at: of the event that `version` names: streamed text does not move it.
    """

    id: GivenId
    project_id: GivenId
    title: str
    status: Literal["idle", "running", "waiting"]
    archived_at: Timestamp | None
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class Turn(Entity, frozen=True, kw_only=True):
    """One exchange in a thread: a prompt, the work, an end.

    stop_reason: of a completed turn what the agent said; of an interrupted one the reason. error: of a failed one.
    usage: what CompleteTurn gave.
    """

    id: GivenId
    thread_id: GivenId
    status: Literal["running", "completed", "failed", "interrupted"]
    stop_reason: str | None
    error: str | None
    usage: Json
    started_at: Timestamp
    ended_at: Timestamp | None


class Message(Entity, frozen=True, kw_only=True):
    """Text by the user, the assistant or the system in a turn. It may stream.

    text: all of it so far; of a complete message the first 65,536 code points.
    text_bytes: the size of the whole text where `text` is only its beginning (`message/read` has all of it), else null.
    """

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId
    role: Role
    text: str
    text_bytes: int | None
    status: Literal["streaming", "complete"]
    created_at: Timestamp
    completed_at: Timestamp | None


class Activity(Entity, frozen=True, kw_only=True):
    """What else an agent shows: a tool call, a plan, a thought, usage.

    kind: the client's word: `tool_call`, `plan`, `thought`, …
    detail: null where it has more than 65,536 characters: `activity/read` has it.
    detail_bytes: the size of a detail that was left out for that, else null.
    """

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId
    kind: str
    title: str
    status: ActivityStatus
    detail: Json
    detail_bytes: int | None
    created_at: Timestamp
    updated_at: Timestamp


class Approval(Entity, frozen=True, kw_only=True):
    """A question that the agent waits on, and the answer.

    options: what to choose from. outcome: the id of the option that was chosen; null while pending and when cancelled.
    """

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId
    title: str
    options: list[OfferedOption]
    detail: Json
    status: Literal["pending", "resolved", "cancelled"]
    outcome: str | None
    created_at: Timestamp
    resolved_at: Timestamp | None


class Checkpoint(Entity, frozen=True, kw_only=True):
    """A git ref that holds the workspace at a moment.

    restored_at: the last time.
    """

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId | None
    git_ref: str
    message: str
    created_at: Timestamp
    restored_at: Timestamp | None


class Setting(Entity, frozen=True, kw_only=True):
    """A key and a JSON value.

    value: not null: that would remove it.
    """

    key: str
    value: Json
    updated_at: Timestamp


AnyEntity = Project | Thread | Turn | Message | Activity | Approval | Checkpoint | Setting

ENTITIES: dict[str, type[Entity]] = {
    "project": Project,
    "thread": Thread,
    "turn": Turn,
    "message": Message,
    "activity": Activity,
    "approval": Approval,
    "checkpoint": Checkpoint,
    "setting": Setting,
}


class Match(Struct, frozen=True):
    """start, end: where a word is, from and to before, in code points."""

    start: int
    end: int


class Hit(Struct, frozen=True, rename="camel"):
    """entity: what was found. turn_id: null for a thread. snippet: a piece of its text around the words.

    matches: where the words are in the snippet. rank: BM25, the less the better.
    """

    entity: Literal["thread", "message", "activity"]
    id: str
    thread_id: str
    turn_id: str | None
    project_id: str
    thread_title: str
    snippet: str
    matches: list[Match]
    rank: float
