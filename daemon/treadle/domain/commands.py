"""What a client may ask for: one frozen struct a command; the class name is its type on the wire.

`id` is the entity's own identifier, `<entity>Id` a reference. Where an identifier is optional and missing,
the engine gives one (UUIDv7, RFC 9562) before the command is decided. Every command may carry `commandId`, which
makes it idempotent, and every command of a thread `expectedVersion`, which makes it conditional.
"""

from typing import Annotated, ClassVar, get_args

import msgspec
from msgspec import Meta, Struct

from treadle.domain.ids import ActivityStatus, Id, Json, Name, Path, Role, SettingKey, Version, Word


class Command(Struct, frozen=True, kw_only=True, tag=True, rename="camel", forbid_unknown_fields=True):
    """command_id: names this command for ever; sent again, the stored answer comes back."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ()

    command_id: Id | None = None


class CreateProject(Command, frozen=True, kw_only=True):
    """A project is a folder.

    path: absolute, and no other live project's.
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Id | None = None
    name: Name
    path: Path


class UpdateProject(Command, frozen=True, kw_only=True):
    """Give it another name, or follow a folder that moved; its threads stay."""

    id: Id
    name: Name | None = None
    path: Path | None = None


class DeleteProject(Command, frozen=True, kw_only=True):
    """Rejected while it has threads, unless `cascade` says to delete these too.

    cascade: delete its threads as well, the archived ones too.
    """

    id: Id
    cascade: bool = False


class ThreadCommand(Command, frozen=True, kw_only=True):
    """expected_version: reject with a conflict unless the thread's `version` is this (0: there is none yet)."""

    thread_id: Id
    expected_version: Version | None = None


class CreateThread(Command, frozen=True, kw_only=True):
    """A conversation in a live project.

    expected_version: 0 says that there is none yet.
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("thread_id",)

    thread_id: Id | None = None
    expected_version: Version | None = None
    project_id: Id
    title: Name


class RenameThread(ThreadCommand, frozen=True, kw_only=True):
    """Give it another title."""

    title: Name


class ArchiveThread(ThreadCommand, frozen=True, kw_only=True):
    """Put it away; a running turn is interrupted first."""


class UnarchiveThread(ThreadCommand, frozen=True, kw_only=True):
    """Take it out again."""


class DeleteThread(ThreadCommand, frozen=True, kw_only=True):
    """Remove it from every read; a running turn is interrupted first. The log keeps what was."""


class StartTurn(ThreadCommand, frozen=True, kw_only=True):
    """Begin one exchange with the user's prompt, which becomes a complete message.

    id: the turn's. prompt: may be empty. message_id: the prompt's.
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id", "message_id")

    id: Id | None = None
    prompt: str
    message_id: Id | None = None


class CompleteTurn(ThreadCommand, frozen=True, kw_only=True):
    """The agent is done.

    id: the turn's.
    stop_reason: the agent's own word: in the Agent Client Protocol `end_turn`, `max_tokens`, `refusal`, …
    usage: what the turn has cost, in the agent's own form.
    """

    id: Id
    stop_reason: Word
    usage: Json = None


class FailTurn(ThreadCommand, frozen=True, kw_only=True):
    """The turn ended in an error.

    id: the turn's. error: a sentence.
    """

    id: Id
    error: str


class InterruptTurn(ThreadCommand, frozen=True, kw_only=True):
    """Stop a turn; with none running nothing changes.

    id: the turn's; without it whichever runs, if one does. reason: without it `interrupted by the client`.
    """

    id: Id | None = None
    reason: str | None = None


class AddMessage(ThreadCommand, frozen=True, kw_only=True):
    """Text in a running turn.

    text: may be empty. streaming: more may be appended, until the message or its turn is completed.
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Id | None = None
    turn_id: Id
    role: Role
    text: str
    streaming: bool = False


class AppendMessage(ThreadCommand, frozen=True, kw_only=True):
    """More text at the end of an open message.

    id: the message's.
    """

    id: Id
    text: str


class CompleteMessage(ThreadCommand, frozen=True, kw_only=True):
    """No more text will come.

    id: the message's.
    """

    id: Id


class RecordActivity(ThreadCommand, frozen=True, kw_only=True):
    """What else the agent shows. The same id again, in the same turn, writes it anew, whole.

    kind: your word: `tool_call`, `plan`, `thought`, …
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Id | None = None
    turn_id: Id
    kind: Word
    title: str
    status: ActivityStatus
    detail: Json = None


class ApprovalOption(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One answer to choose from.

    id: 1 to 128 characters of any sort. name: what to show.
    kind: what it does: in the Agent Client Protocol `allow_once`, `reject_always`, …
    """

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    name: str
    kind: str


class RequestApproval(ThreadCommand, frozen=True, kw_only=True):
    """A question that the agent waits on.

    options: what to choose from; an `id` here has 1 to 128 characters of any sort.
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Id | None = None
    turn_id: Id
    title: str
    options: list[ApprovalOption]
    detail: Json = None


class ResolveApproval(ThreadCommand, frozen=True, kw_only=True):
    """Answer a question.

    id: the approval's. outcome: the id of an option; null cancels the question.
    """

    id: Id
    outcome: str | None


class CreateCheckpoint(ThreadCommand, frozen=True, kw_only=True):
    """A git ref that holds the workspace at this moment. treadle records it and does not run git.

    turn_id: the turn that it belongs to, ended or not.
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Id | None = None
    turn_id: Id | None = None
    git_ref: Name
    message: str


class RestoreCheckpoint(ThreadCommand, frozen=True, kw_only=True):
    """The workspace was put back to this checkpoint.

    id: the checkpoint's.
    """

    id: Id


class ChangeSetting(Command, frozen=True, kw_only=True):
    """Set a setting, or remove it.

    value: null removes the setting.
    """

    key: SettingKey
    value: Json


AnyCommand = (
    CreateProject
    | UpdateProject
    | DeleteProject
    | CreateThread
    | RenameThread
    | ArchiveThread
    | UnarchiveThread
    | DeleteThread
    | StartTurn
    | CompleteTurn
    | FailTurn
    | InterruptTurn
    | AddMessage
    | AppendMessage
    | CompleteMessage
    | RecordActivity
    | RequestApproval
    | ResolveApproval
    | CreateCheckpoint
    | RestoreCheckpoint
    | ChangeSetting
)

COMMANDS: tuple[type[Command], ...] = get_args(AnyCommand)
BY_TYPE: dict[str, type[Command]] = {str(c.__struct_config__.tag): c for c in COMMANDS}


def missing_ids(command: Command) -> list[str]:
    """The fields that want a new identifier."""
    return [name for name in command.NEW_IDS if getattr(command, name) is None]


def with_ids(command: Command, ids: dict[str, str]) -> Command:
    """The same command with these identifiers in it."""
    return msgspec.structs.replace(command, **ids)
