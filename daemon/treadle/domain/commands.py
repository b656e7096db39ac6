"""The commands a client may send: one frozen struct per command. The class name is its type on the wire.

`id` is the entity's own identifier, `<entity>Id` a reference to another entity. If an optional identifier is missing,
the engine assigns one (UUIDv7, RFC 9562) before it decides the command. Every command may carry `commandId`, which
makes it idempotent. Every command of a thread may carry `expectedVersion`, which makes it conditional.
"""

from typing import Annotated, ClassVar, get_args

from msgspec import Meta, Struct

from treadle.domain import agent_commands as agents
from treadle.domain import events as e
from treadle.domain.command import Command as Command
from treadle.domain.command import ThreadCommand as ThreadCommand
from treadle.domain.command import missing_ids as missing_ids
from treadle.domain.command import with_ids as with_ids
from treadle.domain.ids import (
    ActivityStatus,
    Content,
    Id,
    Json,
    Name,
    ObjectId,
    Path,
    Phase,
    Remote,
    Role,
    SettingKey,
    Version,
    Word,
    note,
)


class CreateProject(Command, frozen=True, kw_only=True):
    """Create a project for a folder. In a shared log, its remote identifies it; the folder is that of this machine."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The project's id. Assigned if missing")] = None
    name: Name
    path: Annotated[Path, note("An absolute path that no other live project has")]
    remote: Annotated[
        Remote | None,
        note(
            "The git remote of the folder, and the folder within the repository: `example.org/team/app//web`. In a "
            "shared log no other live project may have it"
        ),
    ] = None


class UpdateProject(Command, frozen=True, kw_only=True):
    """Rename a project, or change the path of a folder that was moved. Its threads stay.

    In a shared log, a path is the folder on this machine: its event does not have it, since it is nothing to others.
    """

    id: Annotated[Id, note("The project's id")]
    name: Annotated[Name | None, note("The new name")] = None
    path: Annotated[Path | None, note("The new absolute path")] = None
    remote: Annotated[Remote | None, note("The new git remote")] = None


class DeleteProject(Command, frozen=True, kw_only=True):
    """Delete a project. Rejected while it has threads, unless `cascade` is true."""

    id: Annotated[Id, note("The project's id")]
    cascade: Annotated[bool, note("Delete its threads as well, including archived ones")] = False


class ParentThread(e.GivenParent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The thread, and the activity in it, that a thread of a subagent belongs to."""

    thread_id: Id
    activity_id: Id | None = None


class ForkedThread(e.GivenFork, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The thread that a thread continues as a copy, and the last turn that they share."""

    thread_id: Id
    turn_id: Id | None = None


class Origin(e.GivenOrigin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a thread comes from: the tool that made it and its own id there."""

    tool: Word
    session_id: Annotated[Name | None, note("The tool's own id of the session")] = None
    parent: ParentThread | None = None
    fork_of: ForkedThread | None = None
    branch: Annotated[Name | None, note("The git branch")] = None
    cwd: Annotated[Path | None, note("The folder that the tool worked in, as an absolute path")] = None
    source: Annotated[Path | None, note("The file that it was imported from")] = None


class CreateThread(Command, frozen=True, kw_only=True):
    """Create a conversation in a live project."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("thread_id",)

    thread_id: Annotated[Id | None, note("The thread's id. Assigned if missing")] = None
    expected_version: Annotated[Version | None, note("0: the thread must not exist yet")] = None
    project_id: Id
    title: Name
    origin: Annotated[Origin | None, note("The tool and the session that it comes from")] = None
    worktree: Annotated[bool, note("Let its agent work in a git worktree of its own")] = False


class RenameThread(ThreadCommand, frozen=True, kw_only=True):
    """Change a thread's title."""

    title: Name


class ArchiveThread(ThreadCommand, frozen=True, kw_only=True):
    """Archive a thread. A running turn is interrupted first."""


class UnarchiveThread(ThreadCommand, frozen=True, kw_only=True):
    """Take a thread out of the archive."""


class DeleteThread(ThreadCommand, frozen=True, kw_only=True):
    """Remove a thread from every read. A running turn is interrupted first. The log keeps its events."""


class EraseThread(ThreadCommand, frozen=True, kw_only=True):
    """Delete a thread, and erase the texts of all its events for good. Also for a thread that was deleted before."""


class CleanTexts(Struct, frozen=True, forbid_unknown_fields=True):
    """What an event of the log is to say."""

    sequence: Annotated[int, Meta(ge=1), note("Of the event")]
    members: Annotated[dict[str, Json], note("The members that change, each as a whole: the same but for its texts")]


class Redact(ThreadCommand, frozen=True, kw_only=True):
    """Rewrite texts of a thread for good, because they should not be there. A running turn is interrupted first."""

    events: Annotated[list[CleanTexts], Meta(min_length=1, max_length=1000), note("The events to rewrite")]


class StartTurn(ThreadCommand, frozen=True, kw_only=True):
    """Start a turn with the user's prompt, which is stored as a complete message."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id", "message_id")

    id: Annotated[Id | None, note("The turn's id. Assigned if missing")] = None
    prompt: Annotated[str, note("The user's text. May be empty")] = ""
    content: Annotated[Content | None, note("The prompt as content blocks. Text is in them or in `prompt`")] = None
    message_id: Annotated[Id | None, note("The id of the prompt's message. Assigned if missing")] = None
    prompt_id: Annotated[Id | None, note("The queued prompt that it answers: it leaves the queue")] = None


class CompleteTurn(ThreadCommand, frozen=True, kw_only=True):
    """End a turn normally."""

    id: Annotated[Id, note("The turn's id")]
    stop_reason: Annotated[
        Word,
        note("Why the agent stopped, in its own words: in the Agent Client Protocol `end_turn`, `max_tokens`, …"),
    ]
    usage: Annotated[Json, note("What the turn cost, in the agent's own form")] = None


class FailTurn(ThreadCommand, frozen=True, kw_only=True):
    """End a turn with an error."""

    id: Annotated[Id, note("The turn's id")]
    error: Annotated[str, note("The error as a sentence")]
    kind: Annotated[Word | None, note("What kind of error, as a word that programs can compare")] = None


class CancelTurn(ThreadCommand, frozen=True, kw_only=True):
    """Record that a turn was asked to stop and has not stopped yet."""

    id: Annotated[Id, note("The turn's id")]
    by: Annotated[Word | None, note("Who asked")] = None


class InterruptTurn(ThreadCommand, frozen=True, kw_only=True):
    """Stop a turn. If no turn is running, nothing changes. A turn of a queued prompt is `cancelling` until the agent
    has stopped."""

    id: Annotated[Id | None, note("The turn's id. If missing, the turn that is running, if any")] = None
    reason: Annotated[str | None, note("If missing, `interrupted by the client`")] = None
    by: Annotated[Word | None, note("Who interrupted it")] = None
    confirmed: Annotated[
        bool | None,
        note("For what runs the agent: the turn has ended, and whether the agent confirmed that it has stopped"),
    ] = None


class AddMessage(ThreadCommand, frozen=True, kw_only=True):
    """Add a message to a running turn."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The message's id. Assigned if missing")] = None
    turn_id: Id
    role: Role
    text: Annotated[str, note("May be empty")] = ""
    content: Annotated[Content | None, note("The message as content blocks. Text is in them or in `text`")] = None
    streaming: Annotated[bool, note("Whether text may be appended until the message is completed or its turn ends")] = (
        False
    )
    prompt_id: Annotated[Id | None, note("The queued prompt that becomes this message: it leaves the queue")] = None


class AppendMessage(ThreadCommand, frozen=True, kw_only=True):
    """Append text to a streaming message."""

    id: Annotated[Id, note("The message's id")]
    text: Annotated[str, note("The text to append")]


class CompleteMessage(ThreadCommand, frozen=True, kw_only=True):
    """Complete a streaming message. No text can be appended after this."""

    id: Annotated[Id, note("The message's id")]


class RecordActivity(ThreadCommand, frozen=True, kw_only=True):
    """Record what else the agent shows. For an id that exists in the same turn, record the difference."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The activity's id. Assigned if missing")] = None
    turn_id: Id
    kind: Annotated[Word, note("A word of your choice: `tool_call`, `plan`, `thought`, …")]
    title: str
    status: ActivityStatus
    detail: Annotated[Json, note("Any JSON")] = None


class UpdateActivity(ThreadCommand, frozen=True, kw_only=True):
    """Change an activity of the running turn. What is missing stays as it is."""

    id: Annotated[Id, note("The activity's id")]
    title: str | None = None
    status: ActivityStatus | None = None
    kind: Word | None = None
    detail: Annotated[
        dict[str, Json] | None, note("The members of `detail` that change, each as a whole. null removes a member")
    ] = None


class ApprovalOption(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One option of an approval."""

    id: Annotated[str, Meta(min_length=1, max_length=128), note("1 to 128 characters of any kind")]
    name: Annotated[str, note("The text to show")]
    kind: Annotated[str, note("What it does: in the Agent Client Protocol `allow_once`, `reject_always`, …")]


class RequestApproval(ThreadCommand, frozen=True, kw_only=True):
    """Ask a question that the agent waits for."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The approval's id. Assigned if missing")] = None
    turn_id: Id
    title: str
    options: Annotated[
        list[ApprovalOption],
        note("The options to choose from. The `id` of an option has 1 to 128 characters of any kind"),
    ]
    detail: Annotated[Json, note("Any JSON")] = None
    activity_id: Annotated[Id | None, note("The activity that waits for it, such as a tool call")] = None


class ResolveApproval(ThreadCommand, frozen=True, kw_only=True):
    """Answer or cancel an approval."""

    id: Annotated[Id, note("The approval's id")]
    outcome: Annotated[str | None, note("The id of the chosen option. null cancels the approval")]
    by: Annotated[Word | None, note("Who answers, as a word")] = None
    rule_id: Annotated[Id | None, note("The rule that answers")] = None
    content: Annotated[Json, note("What was filled in, where the approval is a form")] = None


class SkippedPathname(e.SkippedFile, frozen=True, forbid_unknown_fields=True):
    """A file or folder that a checkpoint leaves out."""


class CreateCheckpoint(ThreadCommand, frozen=True, kw_only=True):
    """Record a git ref that holds the state of the workspace. `checkpoint/create` makes one and records it."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The checkpoint's id. Assigned if missing")] = None
    turn_id: Annotated[Id | None, note("The turn it belongs to, running or ended")] = None
    git_ref: Name
    message: str
    commit: Annotated[ObjectId | None, note("The id of the git commit")] = None
    tree: Annotated[ObjectId | None, note("The id of the git tree")] = None
    phase: Annotated[Phase, note("When it was made: before or after a turn of the agent, or on request")] = "manual"
    skipped: Annotated[list[SkippedPathname], Meta(max_length=100), note("What it leaves out")] = []
    in_project: Annotated[bool, note("Whether it is of the project's folder although the thread has a worktree")] = (
        False
    )


class FailCheckpoint(ThreadCommand, frozen=True, kw_only=True):
    """Record that a checkpoint could not be created."""

    turn_id: Annotated[Id | None, note("The turn it was for, running or ended")] = None
    reason: Annotated[str, note("Why not, as a sentence")]


class RestoreCheckpoint(ThreadCommand, frozen=True, kw_only=True):
    """Record that the workspace was restored to this checkpoint. `checkpoint/restore` does both."""

    id: Annotated[Id, note("The checkpoint's id")]
    before: Annotated[Id | None, note("The checkpoint of what was there before")] = None
    written: Annotated[list[Path], Meta(max_length=1000), note("Files that were written")] = []
    removed: Annotated[list[Path], Meta(max_length=1000), note("Files that were removed")] = []


class PruneCheckpoint(ThreadCommand, frozen=True, kw_only=True):
    """Record that a checkpoint was deleted, to free its space."""

    id: Annotated[Id, note("The checkpoint's id")]


class CreateWorktree(ThreadCommand, frozen=True, kw_only=True):
    """Record that the worktree of a thread was made. The daemon makes it for the first prompt."""

    path: Annotated[Path, note("The folder in it that the agent works in, as an absolute path")]
    base: Annotated[ObjectId, note("The commit that it began at")]


class RemoveWorktree(ThreadCommand, frozen=True, kw_only=True):
    """Record that the worktree of a thread is removed. `worktree/discard` does both."""


class ChangeSetting(Command, frozen=True, kw_only=True):
    """Set or remove a setting."""

    key: SettingKey
    value: Annotated[Json, note("null removes the setting")]


AnyCommand = (
    CreateProject
    | UpdateProject
    | DeleteProject
    | CreateThread
    | RenameThread
    | ArchiveThread
    | UnarchiveThread
    | DeleteThread
    | EraseThread
    | Redact
    | StartTurn
    | CompleteTurn
    | FailTurn
    | CancelTurn
    | InterruptTurn
    | AddMessage
    | AppendMessage
    | CompleteMessage
    | RecordActivity
    | UpdateActivity
    | RequestApproval
    | ResolveApproval
    | CreateCheckpoint
    | FailCheckpoint
    | RestoreCheckpoint
    | PruneCheckpoint
    | CreateWorktree
    | RemoveWorktree
    | ChangeSetting
    | agents.AnyAgentCommand
)

COMMANDS: tuple[type[Command], ...] = get_args(AnyCommand)
BY_TYPE: dict[str, type[Command]] = {str(c.__struct_config__.tag): c for c in COMMANDS}
