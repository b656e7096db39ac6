"""What the daemon sends: results, and the params of its notifications and of its requests to the client."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from treadle.contract.shared_log import SharedLogStatus
from treadle.domain.entities import (
    Activity,
    Approval,
    Checkpoint,
    Message,
    Project,
    Prompt,
    Rule,
    Session,
    Setting,
    Thread,
    Turn,
)
from treadle.domain.events import StoredEvent
from treadle.domain.ids import Durability, GivenId, Timestamp, note

T = TypeVar("T")


class ServerInfo(Struct, frozen=True):
    name: str
    version: str


class Limits(Struct, frozen=True, kw_only=True, rename="camel"):
    """The bounds of this daemon."""

    max_message_bytes: Annotated[int, note("The size of one message to the daemon")]
    max_batch: Annotated[int, note("The number of messages in one JSON-RPC batch")]
    max_subscriptions: Annotated[int, note("The number of open subscriptions")]
    page_bytes: Annotated[int, note("The size at which a page ends early")]


class Capabilities(Struct, frozen=True, kw_only=True, rename="camel"):
    """What this daemon can do."""

    position_encoding: Annotated[
        str, note("The unit of `offset` in `projection/changed`: `utf-8`, `utf-16` or `utf-32` (code points)")
    ]
    search: Annotated[bool, note("Has `search/query`")] = True
    project_open: Annotated[bool, note("Has `project/open`")] = True
    approvals: Annotated[bool, note("Can ask about approvals with dialogs")] = True
    subscriptions: Annotated[list[str], note("The topics")]
    limits: Limits


class Initialized(Struct, frozen=True, kw_only=True, rename="camel"):
    capabilities: Annotated[Capabilities, note("What this daemon can do")]
    server_info: ServerInfo
    protocol_version: Annotated[int, note("Increases when clients have to change")]
    log_id: Annotated[str, note("Identifies the log. Keep it with a replica that you want to resume")]


class Dispatched(Struct, frozen=True):
    sequence: Annotated[int, note("The sequence of the last event, or of the log if the command changed nothing")]
    events: list[StoredEvent]


class BatchDispatched(Struct, frozen=True):
    sequence: Annotated[int, note("The sequence of the last event, or of the log if nothing changed")]
    results: Annotated[list[Dispatched], note("One result per command, in the same order")]


class Page(Struct, Generic[T], frozen=True, rename="camel"):
    items: list[T]
    next_cursor: Annotated[str | None, note("The cursor of the next page, or null if this is the last one")]


class ProjectOpened(Struct, frozen=True):
    project: Annotated[Project, note("The project of the folder, or of its nearest parent that has one")]
    created: Annotated[bool, note("Whether the project was created by this request")]
    moved: Annotated[bool, note("Whether the project had another path before this request")]


class ChangedFile(Struct, frozen=True, kw_only=True, rename="camel"):
    """A file that differs between two checkpoints."""

    path: Annotated[str, note("Relative to the top of the work tree")]
    old_path: Annotated[str | None, note("Of a renamed file")]
    status: Literal["added", "removed", "modified", "renamed", "typeChanged"]
    added: Annotated[int, note("Lines; 0 of a binary file")]
    removed: Annotated[int, note("Lines; 0 of a binary file")]
    binary: bool
    patch: Annotated[str | None, note("The unified diff, if it was asked for")]
    cut: Annotated[bool, note("Whether the diff ends early, for its size")]


class CheckpointDiff(Struct, frozen=True, kw_only=True, rename="camel"):
    """Sorted by path."""

    files: list[ChangedFile]
    total: Annotated[int, note("The number of files, on all pages")]
    added: Annotated[int, note("Lines, on all pages")]
    removed: Annotated[int, note("Lines, on all pages")]
    next_cursor: Annotated[str | None, note("The cursor of the next page, or null if this is the last one")]


class Restoration(Struct, frozen=True, kw_only=True):
    """What a restore did, or would do. Paths are relative to the top of the work tree."""

    written: list[str]
    removed: list[str]
    left: Annotated[list[str], note("Files that differ and stay: ignored, skipped, or of another repository")]
    before: Annotated[GivenId | None, note("The checkpoint of what was there before; null after a dry run")]


class TurnOrigin(Struct, frozen=True, kw_only=True, rename="camel"):
    """A turn that lines of a file are from."""

    thread_id: GivenId
    turn_id: GivenId
    title: Annotated[str, note("Of the thread")]
    agent: Annotated[str | None, note("Null if it is not known")]
    prompt: Annotated[str | None, note("Its first 1,000 characters; null if it has no text")]
    started_at: Timestamp


class LineOrigin(Struct, frozen=True, kw_only=True):
    """Lines of a file that follow each other and have the same origin."""

    start: Annotated[int, note("The number of the first line, from 1 on")]
    count: Annotated[int, note("The number of lines")]
    by: Annotated[
        Literal["turn", "perhaps", "between", "since", "earlier"],
        note(
            "`turn`: a recorded turn. `perhaps`: one of several turns that ran at once, or one without a checkpoint "
            "after it, or someone else meanwhile. Otherwise it was no recorded turn: `between` two checkpoints, "
            "`since` the last one, or `earlier` than the first"
        ),
    ]
    turns: Annotated[list[int], note("Positions in `turns` of the result; empty if it was no recorded turn")]
    path: Annotated[str, note("What the file was called then, relative to the folder of the project")]
    line: Annotated[int, note("The number that the first line had then")]


class Provenance(Struct, frozen=True, kw_only=True):
    """Where the lines of a file are from, in the order of the file."""

    lines: list[LineOrigin]
    turns: Annotated[list[TurnOrigin], note("The turns that `lines` refer to")]
    cut: Annotated[bool, note("Whether there are older checkpoints than the 1,000 that were looked at")]


class Discarded(Struct, frozen=True, kw_only=False):
    """What a worktree had when it was discarded, or would be."""

    files: Annotated[
        list[str], note("Files with changes that the folder of the project does not have, at most 1,000 of them")
    ]
    before: Annotated[
        GivenId | None, note("The checkpoint of what was there; null after a dry run, or if there was nothing")
    ]


class ThreadSnapshot(Struct, frozen=True, rename="camel"):
    """Each list is sorted oldest first."""

    sequence: Annotated[int, note("The sequence of the log when it was read")]
    threads: Annotated[list[Thread], note("The thread itself, as a list of one")]
    turns: list[Turn]
    messages: list[Message]
    activities: list[Activity]
    approvals: list[Approval]
    checkpoints: list[Checkpoint]
    prompts: Annotated[list[Prompt], note("All queued prompts of the thread, sorted by `position`")]
    sessions: Annotated[list[Session], note("The newest session of the thread, as a list of one, or an empty list")]
    before_cursor: Annotated[str | None, note("The cursor of what is older, or null if there is nothing older")]


class ResumeCommand(Struct, frozen=True):
    """Continues a session in its agent's own tool."""

    command: Annotated[list[str], note("The program and its arguments")]
    folder: Annotated[str | None, note("Where to run it; null if that is not known")]


class ThreadRead(ThreadSnapshot, frozen=True):
    resume: Annotated[
        ResumeCommand | None,
        note("Continues the thread in its agent's own tool; null if no command is known"),
    ]


class IndexSnapshot(Struct, frozen=True):
    """Sorted newest first. Holds the 500 threads that changed last."""

    sequence: int
    projects: list[Project]
    threads: list[Thread]


class SettingsSnapshot(Struct, frozen=True):
    sequence: int
    settings: list[Setting]
    rules: Annotated[list[Rule], note("Sorted oldest first")]


# The snapshots have no tag, so msgspec cannot decode a union of them. The schema can name it (contract/schema.py).
OneSnapshot = Annotated[dict[str, Any], Meta(extra_json_schema={"x-is": "Snapshot"})]

EntityName = Literal[
    "project",
    "thread",
    "turn",
    "message",
    "activity",
    "approval",
    "checkpoint",
    "setting",
    "prompt",
    "session",
    "rule",
]


class UpsertChange(Struct, frozen=True, tag_field="type", tag="upsert"):
    """The entity is new or has changed. `value` is the whole entity."""

    entity: EntityName
    value: dict[str, Any]


class AppendChange(Struct, frozen=True, tag_field="type", tag="append"):
    """More text of a streaming message."""

    entity: Literal["message"]
    id: GivenId
    text: str
    offset: Annotated[int, note("Where the text begins in the message, in code points")]


class RemoveChange(Struct, frozen=True, tag_field="type", tag="remove"):
    """The entity was removed. With a thread, everything in it was."""

    entity: EntityName
    id: Annotated[str, note("The id of the entity, or the key of a setting")]


Change = UpsertChange | AppendChange | RemoveChange


class Opened(Struct, frozen=True, rename="camel", tag_field="type"):
    subscription_id: str
    log_id: Annotated[str, note("The log that `sequence` belongs to")]
    sequence: Annotated[int, note("The sequence of the replica after it applied this result")]


class OpenedWithSnapshot(Opened, frozen=True, tag="snapshot"):
    """The content of the topic at `sequence`."""

    snapshot: OneSnapshot


class OpenedWithChanges(Opened, frozen=True, tag="changes"):
    """What changed after `afterSequence`."""

    changes: list[Change]


class OpenedAtPosition(Opened, frozen=True, tag="position"):
    """For the topic `events`: the events after `sequence` are sent as notifications."""


SubscriptionOpened = OpenedWithSnapshot | OpenedWithChanges | OpenedAtPosition


class ProjectionChanged(Struct, frozen=True, rename="camel"):
    subscription_id: str
    sequence: Annotated[int, note("The sequence of the replica after it applied all changes in order")]
    changes: list[Change]


class EventAppended(Struct, frozen=True, rename="camel"):
    subscription_id: str
    sequence: Annotated[int, note("The last sequence covered by this notification")]
    events: list[StoredEvent]


class ProgressValue(Struct, frozen=True):
    kind: Literal["begin", "report", "end"]
    message: Annotated[str | UnsetType, note("Only of a rebuild at start")] = UNSET
    title: Annotated[str | UnsetType, note("Only with `begin`")] = UNSET
    percentage: Annotated[int | UnsetType, note("Only of a rebuild at start, with `begin` and `report`")] = UNSET


class Progress(Struct, frozen=True):
    """As in LSP."""

    token: Annotated[
        str | int, note("The `workDoneToken` of `initialize`, or the token of `window/workDoneProgress/create`")
    ]
    value: ProgressValue


class LogMessage(Struct, frozen=True):
    """As in LSP."""

    type: Annotated[Literal[1, 2], note("1: an error. 2: a warning")]
    message: str


class MessageActionItem(Struct, frozen=True):
    """As in LSP."""

    title: Annotated[str, note("Different for each action")]


class ShowMessageRequest(Struct, frozen=True):
    """As in LSP."""

    type: Annotated[Literal[3], note("3: information")]
    message: Annotated[str, note("The title of the approval, and that of its thread")]
    actions: Annotated[list[MessageActionItem], note("One per option of the approval")]


class WorkDoneProgressCreate(Struct, frozen=True):
    """As in LSP."""

    token: Annotated[str, note("The token for the `$/progress` notifications that follow")]


AgentPhase = Literal[
    "waiting",
    "absent",
    "starting",
    "started",
    "opening",
    "ready",
    "applying",
    "beginning",
    "prompting",
    "cancelling",
    "ending",
]


class Sizes(Struct, frozen=True, rename="camel"):
    """Sizes on disk, in bytes."""

    database_bytes: int
    wal_bytes: int


class Queues(Struct, frozen=True, rename="camel"):
    commands: Annotated[int, note("Commands that wait for the engine")]
    requests: Annotated[int, note("Requests that are not yet answered, including this one")]
    output_bytes: Annotated[int, note("Output that the client has not yet read, in bytes")]
    subscriptions: Annotated[int, note("Open subscriptions")]


class ConfiguredAgent(Struct, frozen=True):
    name: str
    command: Annotated[str, note("Its program, without the arguments, which may be secret")]


class ConfiguredAgents(Struct, frozen=True):
    agents: Annotated[list[ConfiguredAgent], note("Sorted by name")]


class RunningAgent(Struct, frozen=True, rename="camel"):
    """An agent that a daemon runs, or is about to."""

    thread_id: GivenId
    agent: Annotated[str, note("Its name")]
    phase: Annotated[
        AgentPhase,
        note("What it does: `waiting` for a place, `prompting` while a turn runs, `ready` between two turns"),
    ]
    pid: Annotated[int | None, note("Its process id, or null if it has no process yet")]


class Status(Struct, frozen=True, kw_only=True, rename="camel"):
    version: str
    protocol_version: int
    projection_version: Annotated[int, note("The version of the projections that filled the database's tables")]
    python_version: str
    sqlite_version: str
    pid: Annotated[int, note("The daemon's process id")]
    data_dir: str
    persistent: Annotated[bool, note("False with `--memory`: the data directory does not outlive the daemon")]
    durability: Durability
    log_id: str
    machine_id: Annotated[str, note("Identifies the data directory, as opposed to its copies")]
    runner: Annotated[str, note("The name of this daemon in turns that it runs: `machineId.name`")]
    sequence: Annotated[int, note("The sequence of the last event in the log")]
    sizes: Annotated[Sizes, note("Sizes on disk, in bytes")]
    queues: Annotated[Queues, note("What is waiting")]
    log: Annotated[SharedLogStatus | None, note("The state of the shared log. Null if the log is not shared")]
    agents: Annotated[list[RunningAgent], note("The agents that this daemon runs, or is about to")]
    host_pid: Annotated[
        int | None, note("The process id of the host, which runs the agents of all daemons. Null if no host runs")
    ]
