"""The entities, as reads, snapshots and changes contain them. Times are as in events.

Absent values are null, except those with a default, which only a shared log has.
"""

from typing import Annotated, Literal

from msgspec import Struct

from treadle.domain.agent_events import GivenMatch, GivenScope
from treadle.domain.events import GivenOrigin, OfferedOption, SkippedFile
from treadle.domain.ids import (
    ActivityStatus,
    Content,
    Decision,
    GivenId,
    How,
    Json,
    Phase,
    Role,
    Timestamp,
    When,
    note,
)


class Entity(Struct, frozen=True, kw_only=True, rename="camel"):
    sequence: Annotated[int, note("The sequence of the event that created it: sort by it, not by time")]


class Project(Entity, frozen=True, kw_only=True):
    """A workspace folder."""

    id: GivenId
    name: str
    path: Annotated[
        str | None,
        note("The absolute path on this machine, normalised; null if a project of a shared log has no folder here"),
    ]
    remote: Annotated[str | None, note("Its git remote, and the folder in the repository: `example.org/team/app//web`")]
    created_at: Timestamp
    updated_at: Timestamp


class Assigned(Struct, frozen=True, kw_only=True, rename="camel"):
    """The agent of a thread."""

    name: Annotated[str, note("Its name in agents.json")]
    mode: Annotated[str | None, note("The mode of its sessions; null: that of agents.json")]
    options: Annotated[dict[str, Json], note("The options that were chosen, by their ids")]


class NeededAuth(Struct, frozen=True, kw_only=True, rename="camel"):
    """The login that an agent needs."""

    agent: str
    reason: str
    methods: Annotated[list[Json], note("The ways to log in, as the agent gave them")]


class Spent(Struct, frozen=True, kw_only=True, rename="camel"):
    """What turns used, as far as agents said."""

    cost: float | None
    currency: str | None
    tokens: int | None


class ThreadWorktree(Struct, frozen=True, kw_only=True, rename="camel"):
    """The git worktree that the agent of a thread works in."""

    path: Annotated[str | None, note("The folder that the agent works in; null while it is missing")]
    base: Annotated[str | None, note("The commit that it began at; of one that was removed, that of the last one")]


class Thread(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation in a project."""

    id: GivenId
    project_id: GivenId
    title: str
    status: Annotated[
        Literal["idle", "queued", "paused", "needsAuth", "running", "waiting", "cancelling"],
        note(
            "`waiting` while the running turn has a pending approval, `cancelling` after it was asked to stop. Without "
            "a turn: `queued` while prompts are about to be sent, `paused` while they are held, `needsAuth` until the "
            "agent is logged in"
        ),
    ]
    agent: Annotated[Assigned | None, note("The agent that runs its prompts")]
    queued: Annotated[int, note("The number of queued prompts")]
    queue_paused: Annotated[str | None, note("Why queued prompts are not sent")]
    auth_required: NeededAuth | None
    usage: Annotated[Spent | None, note("What all of its turns used; null if no agent said")]
    origin: Annotated[GivenOrigin | None, note("The tool and the session that it comes from")]
    worktree: Annotated[ThreadWorktree | None, note("null: its agent works in the folder of the project")]
    archived_at: Timestamp | None
    version: Annotated[
        int,
        note("The sequence of the thread's last event other than MessageAppended. Send it back as `expectedVersion`"),
    ]
    created_at: Timestamp
    updated_at: Annotated[Timestamp, note("The latest time of its events. Streamed text does not change it")]
    created_by: Annotated[str | None, note("The login that created it; missing in a private log")] = None


class Turn(Entity, frozen=True, kw_only=True):
    """One exchange in a thread: a prompt, the agent's work and how it ended."""

    id: GivenId
    thread_id: GivenId
    status: Literal["running", "completed", "failed", "interrupted"]
    runner: Annotated[str, note("The daemon that runs it or ran it: `machineId.name`")]
    prompt_id: Annotated[str | None, note("The queued prompt that it answers; null if the client started it")]
    spent: Annotated[Spent | None, note("What it used, if the agent said")]
    stop_reason: Annotated[str | None, note("Why the agent stopped, if the turn was completed")]
    reason: Annotated[str | None, note("Why the turn was interrupted, if it was")]
    by: Annotated[str | None, note("Who interrupted it, if that was said")]
    confirmed: Annotated[bool | None, note("Whether the agent confirmed that it stopped, if it was interrupted")]
    error: Annotated[str | None, note("What failed, if the turn failed")]
    error_kind: Annotated[str | None, note("What kind of error, as a word")]
    usage: Annotated[Json, note("As given in CompleteTurn")]
    started_at: Timestamp
    ended_at: Timestamp | None


class Message(Entity, frozen=True, kw_only=True, omit_defaults=True):
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
    prompt_id: Annotated[str | None, note("The queued prompt that became this message of a running turn")]
    status: Literal["streaming", "complete"]
    created_at: Timestamp
    completed_at: Timestamp | None
    created_by: Annotated[
        str | None, note("The login that wrote it, or on whose machine an agent did; missing in a private log")
    ] = None


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


class Approval(Entity, frozen=True, kw_only=True, omit_defaults=True):
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
    activity_id: Annotated[str | None, note("The activity that waits for it, such as a tool call")]
    by: Annotated[str | None, note("Who answered, if that was said")]
    rule_id: Annotated[str | None, note("The rule that answered")]
    content: Annotated[Json, note("What was filled in, where the approval is a form")]
    created_at: Timestamp
    resolved_at: Timestamp | None
    resolved_by: Annotated[str | None, note("The login that answered or cancelled it; missing in a private log")] = None


class Checkpoint(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """A git ref that holds the state of the workspace at one moment."""

    id: GivenId
    thread_id: GivenId
    turn_id: GivenId | None
    git_ref: str
    message: str
    commit: Annotated[str | None, note("The id of the git commit")]
    tree: Annotated[str | None, note("The id of the git tree")]
    phase: Phase
    skipped: Annotated[list[SkippedFile], note("What it leaves out, at most 100 of them")]
    in_project: Annotated[bool, note("Whether it is of the project's folder although the thread has a worktree")]
    created_at: Timestamp
    restored_at: Annotated[Timestamp | None, note("When it was last restored")]
    machine: Annotated[GivenId | None, note("The machine whose repository has it; missing in a private log")] = None


class Setting(Entity, frozen=True, kw_only=True):
    """A key and a JSON value."""

    key: str
    value: Annotated[Json, note("Never null: setting null removes the setting")]
    updated_at: Timestamp


class Prompt(Entity, frozen=True, kw_only=True):
    """A queued prompt. It is removed when it is sent: its text is then a message of a turn."""

    id: GivenId
    thread_id: GivenId
    text: str
    content: Content | None
    when: When
    position: Annotated[float, note("Prompts are sent in this order, those to steer first")]
    created_at: Timestamp
    updated_at: Timestamp


class Session(Entity, frozen=True, kw_only=True):
    """An agent that runs for a thread, or ran. Snapshots have the newest one of a thread."""

    id: GivenId
    thread_id: GivenId
    agent: Annotated[str, note("Its name in agents.json")]
    release: Annotated[str | None, note("The version of the agent")]
    session_id: Annotated[str, note("The agent's own id of the session")]
    how: How
    capabilities: Annotated[dict[str, Json], note("What the agent can do, as it says")]
    options: Annotated[list[Json], note("The options of the session, as the agent gave them")]
    runner: Annotated[str, note("The daemon that runs the agent or ran it: `machineId.name`")]
    context_lost: Annotated[str | None, note("Why it does not know what was said before, if so")]
    reason: Annotated[str | None, note("Why it ended; null while the agent runs")]
    exit_status: Annotated[int | None, note("Negative: the number of the signal that ended the agent")]
    stderr: Annotated[str | None, note("The last lines that the agent wrote to stderr")]
    created_at: Timestamp
    ended_at: Timestamp | None


class Rule(Entity, frozen=True, kw_only=True):
    """Answers approvals without asking."""

    id: GivenId
    scope: GivenScope
    agent: Annotated[str | None, note("Only for this agent")]
    match: GivenMatch
    decision: Decision
    until: Annotated[Timestamp | None, note("It does not hold any more from this time on")]
    created_at: Timestamp


AnyEntity = Project | Thread | Turn | Message | Activity | Approval | Checkpoint | Setting | Prompt | Session | Rule

ENTITIES: dict[str, type[Entity]] = {
    "project": Project,
    "thread": Thread,
    "turn": Turn,
    "message": Message,
    "activity": Activity,
    "approval": Approval,
    "checkpoint": Checkpoint,
    "setting": Setting,
    "prompt": Prompt,
    "session": Session,
    "rule": Rule,
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
