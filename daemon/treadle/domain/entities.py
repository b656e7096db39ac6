"""The entities, as reads, snapshots and changes contain them. Absent values are null. Times are as in events."""

from typing import Annotated, Literal

from msgspec import Struct

from treadle.domain.events import GivenOrigin, OfferedOption
from treadle.domain.ids import ActivityStatus, GivenId, Json, Phase, Role, Timestamp, note


class Entity(Struct, frozen=True, kw_only=True, rename="camel"):
    sequence: Annotated[int, note("The sequence of the event that created it: sort by it, not by time")]


class Project(Entity, frozen=True, kw_only=True):
    """A workspace folder."""

    id: GivenId
    name: str
    path: Annotated[str, note("The absolute path on this machine, normalised")]
    remote: Annotated[str | None, note("Its git remote, and the folder in the repository: `example.org/team/app//web`")]
    created_at: Timestamp
    updated_at: Timestamp


class Thread(Entity, frozen=True, kw_only=True):
    """A conversation in a project."""

    id: GivenId
    project_id: GivenId
    title: str
    status: Annotated[
        Literal["idle", "running", "waiting", "cancelling"],
        note("`waiting` while the running turn has a pending approval, `cancelling` after it was asked to stop"),
    ]
    origin: Annotated[GivenOrigin | None, note("The tool and the session that it comes from")]
    archived_at: Timestamp | None
    version: Annotated[
        int,
        note("The sequence of the thread's last event other than MessageAppended. Send it back as `expectedVersion`"),
    ]
    created_at: Timestamp
    updated_at: Annotated[Timestamp, note("The latest time of its events. Streamed text does not change it")]


class Turn(Entity, frozen=True, kw_only=True):
    """One exchange in a thread: a prompt, the agent's work and how it ended."""

    id: GivenId
    thread_id: GivenId
    status: Literal["running", "completed", "failed", "interrupted"]
    runner: Annotated[str, note("The daemon that runs it or ran it: `machineId.name`")]
    stop_reason: Annotated[str | None, note("Why the agent stopped, if the turn was completed")]
    reason: Annotated[str | None, note("Why the turn was interrupted, if it was")]
    by: Annotated[str | None, note("Who interrupted it, if that was said")]
    confirmed: Annotated[bool | None, note("Whether the agent confirmed that it stopped, if it was interrupted")]
    error: Annotated[str | None, note("What failed, if the turn failed")]
    error_kind: Annotated[str | None, note("What kind of error, as a word")]
    usage: Annotated[Json, note("As given in CompleteTurn")]
    started_at: Timestamp
    ended_at: Timestamp | None


class Message(Entity, frozen=True, kw_only=True):
    """Text by the user, the assistant or the system in a turn. It may stream."""

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId
    role: Role
    text: Annotated[str, note("The text so far. Of a complete message at most the first 65,536 code points")]
    text_bytes: Annotated[
        int | None,
        note("The size of the whole text if `text` is cut, otherwise null. `message/read` returns all of it"),
    ]
    content: Annotated[
        list[Json] | None, note("The content blocks, if it has any; null if they have more than 65,536 bytes")
    ]
    content_bytes: Annotated[int | None, note("The size of content that was left out for its size, otherwise null")]
    status: Literal["streaming", "complete"]
    created_at: Timestamp
    completed_at: Timestamp | None


class Activity(Entity, frozen=True, kw_only=True):
    """What else an agent shows: a tool call, a plan, a thought, usage."""

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId
    kind: Annotated[str, note("A word of the client's choice: `tool_call`, `plan`, `thought`, …")]
    title: str
    status: ActivityStatus
    detail: Annotated[Json, note("null if it has more than 65,536 bytes: use `activity/read`")]
    detail_bytes: Annotated[int | None, note("The size of a detail that was left out for its size, otherwise null")]
    created_at: Timestamp
    updated_at: Timestamp


class Approval(Entity, frozen=True, kw_only=True):
    """A question that the agent waits for, and its answer."""

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId
    title: str
    options: Annotated[list[OfferedOption], note("The options to choose from")]
    detail: Json
    status: Literal["pending", "resolved", "cancelled"]
    outcome: Annotated[
        str | None, note("The id of the chosen option. null while the approval is pending, or if it was cancelled")
    ]
    created_at: Timestamp
    resolved_at: Timestamp | None


class Checkpoint(Entity, frozen=True, kw_only=True):
    """A git ref that holds the state of the workspace at one moment."""

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId | None
    git_ref: str
    message: str
    commit: Annotated[str | None, note("The id of the git commit")]
    tree: Annotated[str | None, note("The id of the git tree")]
    phase: Phase
    created_at: Timestamp
    restored_at: Annotated[Timestamp | None, note("When it was last restored")]


class Setting(Entity, frozen=True, kw_only=True):
    """A key and a JSON value."""

    key: str
    value: Annotated[Json, note("Never null: setting null removes the setting")]
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
    """Where a word was found in a snippet."""

    start: Annotated[int, note("The offset of its first character, in code points")]
    end: Annotated[int, note("The offset after its last character, in code points")]


class Hit(Struct, frozen=True, rename="camel"):
    """One search result."""

    entity: Annotated[Literal["thread", "message", "activity"], note("What was found")]
    id: str
    thread_id: str
    turn_id: Annotated[str | None, note("null for a thread")]
    project_id: str
    thread_title: str
    snippet: Annotated[str, note("A piece of its text around the words")]
    matches: Annotated[list[Match], note("Where the words are in the snippet")]
    rank: Annotated[float, note("BM25, without the age. Lower is better")]
