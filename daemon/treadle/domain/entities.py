"""What every read, snapshot and change speaks of. Absent values are null; times are as in events."""

from typing import Literal

from msgspec import Struct

from treadle.domain.events import OfferedOption
from treadle.domain.ids import ActivityStatus, Json, Role, Timestamp


class Entity(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class Project(Entity, frozen=True, kw_only=True):
    id: str
    name: str
    path: str
    created_at: Timestamp
    updated_at: Timestamp


class Thread(Entity, frozen=True, kw_only=True):
    """status: `waiting` while the running turn has a pending approval.
    version: the sequence of the thread's last event that is not a MessageAppended."""

    id: str
    project_id: str
    title: str
    status: Literal["idle", "running", "waiting"]
    archived_at: Timestamp | None
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class Turn(Entity, frozen=True, kw_only=True):
    id: str
    thread_id: str
    status: Literal["running", "completed", "failed", "interrupted"]
    stop_reason: str | None
    error: str | None
    usage: Json
    started_at: Timestamp
    ended_at: Timestamp | None


class Message(Entity, frozen=True, kw_only=True):
    id: str
    thread_id: str
    turn_id: str
    role: Role
    text: str
    status: Literal["streaming", "complete"]
    created_at: Timestamp
    completed_at: Timestamp | None


class Activity(Entity, frozen=True, kw_only=True):
    id: str
    thread_id: str
    turn_id: str
    kind: str
    title: str
    status: ActivityStatus
    detail: Json
    created_at: Timestamp
    updated_at: Timestamp


class Approval(Entity, frozen=True, kw_only=True):
    """outcome: the id of the option that was chosen; null while pending and when cancelled."""

    id: str
    thread_id: str
    turn_id: str
    title: str
    options: list[OfferedOption]
    detail: Json
    status: Literal["pending", "resolved", "cancelled"]
    outcome: str | None
    created_at: Timestamp
    resolved_at: Timestamp | None


class Checkpoint(Entity, frozen=True, kw_only=True):
    id: str
    thread_id: str
    turn_id: str | None
    git_ref: str
    message: str
    created_at: Timestamp
    restored_at: Timestamp | None


class Setting(Entity, frozen=True, kw_only=True):
    key: str
    value: Json
    updated_at: Timestamp


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
