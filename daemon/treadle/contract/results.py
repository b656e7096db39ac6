"""What methods answer, as clients see it; the rows in them are JSON that SQLite made of the entities."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from treadle.domain.entities import Activity, Approval, Checkpoint, Message, Project, Setting, Thread, Turn
from treadle.domain.events import StoredEvent
from treadle.domain.ids import Durability, GivenId

T = TypeVar("T")


class ServerInfo(Struct, frozen=True):
    name: str
    version: str


class Limits(Struct, frozen=True, kw_only=True, rename="camel"):
    """max_message_bytes: of one message to the daemon. max_batch: messages in one JSON-RPC batch.
    max_subscriptions: that are open at once. page_bytes: where a page ends early.
    """

    max_message_bytes: int
    max_batch: int
    max_subscriptions: int
    page_bytes: int


class Capabilities(Struct, frozen=True, kw_only=True, rename="camel"):
    """What this daemon can do. position_encoding: the unit of `offset` in `projection/changed`: `utf-8`, `utf-16` or
    `utf-32`. search: `search/query`. project_open: `project/open`. approvals: dialogs for approvals.
    subscriptions: the topics.
    """

    position_encoding: str
    search: bool = True
    project_open: bool = True
    approvals: bool = True
    subscriptions: list[str]
    limits: Limits


class Initialized(Struct, frozen=True, kw_only=True, rename="camel"):
    """capabilities: what this daemon can do. protocol_version: goes up when a client has to change.
    log_id: tells this log from any other; kept beside a replica that is to be resumed.
    """

    capabilities: Capabilities
    server_info: ServerInfo
    protocol_version: int
    log_id: str


class Dispatched(Struct, frozen=True):
    """sequence: of the last event; of the log where the command changed nothing."""

    sequence: int
    events: list[StoredEvent]


class BatchDispatched(Struct, frozen=True):
    """sequence: of the last event; of the log where nothing changed. results: one a command, in their order."""

    sequence: int
    results: list[Dispatched]


class Page(Struct, Generic[T], frozen=True, rename="camel"):
    """next_cursor: where the next page begins, null at the end."""

    items: list[T]
    next_cursor: str | None


class ProjectOpened(Struct, frozen=True):
    """project: of the folder, or of the nearest above it that has one. created: it is new.
    moved: its folder was elsewhere before, and `path` is where it is now.
    """

    project: Project
    created: bool
    moved: bool


class ThreadSnapshot(Struct, frozen=True, rename="camel"):
    """Each list oldest first.

    sequence: of the log that it was read from. threads: the one header.
    before_cursor: where older turns are, null where there are none.
    """

    sequence: int
    threads: list[Thread]
    turns: list[Turn]
    messages: list[Message]
    activities: list[Activity]
    approvals: list[Approval]
    checkpoints: list[Checkpoint]
    before_cursor: str | None


class IndexSnapshot(Struct, frozen=True):
    """Newest first; the 500 threads that changed last."""

    sequence: int
    projects: list[Project]
    threads: list[Thread]


class SettingsSnapshot(Struct, frozen=True):
    sequence: int
    settings: list[Setting]


# Structs without a tag: msgspec's decoder cannot tell them apart, the schema can (contract/schema.py).
OneSnapshot = Annotated[dict[str, Any], Meta(extra_json_schema={"x-is": "Snapshot"})]

EntityName = Literal["project", "thread", "turn", "message", "activity", "approval", "checkpoint", "setting"]


class UpsertChange(Struct, frozen=True, tag_field="type", tag="upsert"):
    """The entity is new, or has changed: here it is, whole."""

    entity: EntityName
    value: dict[str, Any]


class AppendChange(Struct, frozen=True, tag_field="type", tag="append"):
    """More text of an open message. offset: where it begins, in code points."""

    entity: Literal["message"]
    id: GivenId
    text: str
    offset: int


class RemoveChange(Struct, frozen=True, tag_field="type", tag="remove"):
    """The entity is gone, and with a thread all that is in it. id: a setting's key."""

    entity: EntityName
    id: str


Change = UpsertChange | AppendChange | RemoveChange


class SubscriptionOpened(Struct, frozen=True, rename="camel"):
    """log_id: the log that `sequence` is of. sequence: what the replica is at once this was taken.
    snapshot: what the topic shows at `sequence`; null for `events`, and where `changes` say what is new instead.
    changes: where `afterSequence` was given: what changed since; null where a snapshot comes.
    """

    subscription_id: str
    log_id: str
    sequence: int
    snapshot: OneSnapshot | None
    changes: list[Change] | None


class ProjectionChanged(Struct, frozen=True, rename="camel"):
    """What changed. sequence: what a replica is at that has applied all changes, in order."""

    subscription_id: str
    sequence: int
    changes: list[Change]


class EventAppended(Struct, frozen=True, rename="camel"):
    """What came after what was told before. sequence: up to where that is all."""

    subscription_id: str
    sequence: int
    events: list[StoredEvent]


class ProgressValue(Struct, frozen=True):
    """title: with `begin`. percentage: with `begin` and `report`."""

    kind: Literal["begin", "report", "end"]
    message: str
    title: str | UnsetType = UNSET
    percentage: int | UnsetType = UNSET


class Progress(Struct, frozen=True):
    """As in LSP. token: the `workDoneToken` of `initialize`."""

    token: str | int
    value: ProgressValue


class LogMessage(Struct, frozen=True):
    """As in LSP. type: 1 for an error, 2 for a warning."""

    type: Literal[1, 2]
    message: str


class Sizes(Struct, frozen=True, rename="camel"):
    """In bytes, on disk."""

    database_bytes: int
    wal_bytes: int


class Queues(Struct, frozen=True, rename="camel"):
    """commands: that wait for the engine. requests: not yet answered, this one included. output_bytes: not yet read."""

    commands: int
    requests: int
    output_bytes: int
    subscriptions: int


class Status(Struct, frozen=True, kw_only=True, rename="camel"):
    """projection_version: of what the database's tables were filled by. pid: the daemon's.
    sequence: of the last event in the log. sizes: in bytes, on disk. queues: what waits.
    """

    version: str
    protocol_version: int
    projection_version: int
    python_version: str
    sqlite_version: str
    pid: int
    data_dir: str
    durability: Durability
    log_id: str
    sequence: int
    sizes: Sizes
    queues: Queues
