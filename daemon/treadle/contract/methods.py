"""Every method and notification of the protocol: its name, params, result and errors.

This table is the only source: the daemon's handlers (`server/handlers.py`), the Python client and the documents of
`contract/schema.py` are derived from it.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from treadle.contract import errors, params, receipts, results
from treadle.contract.results import Page
from treadle.domain.commands import AnyCommand, Command
from treadle.domain.entities import (
    Activity,
    Approval,
    Checkpoint,
    Hit,
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

PROTOCOL_VERSION = 1
"""Increases when a client has to change. docs/protocol.md says what counts."""

PAGE_BYTES: Final = 1024 * 1024
"""A page or a snapshot ends before it exceeds this, unless its first row is larger."""

P = ParamSpec("P")
R = TypeVar("R")


class Endpoint(Generic[P, R]):
    """The declaration of one method.

    params: a struct, or a union of structs. result: a struct, a union of structs, `dict[str, Any]`, or NoneType
    if the answer is null. errors: the codes it may answer, in addition to those of every request. answer_bytes: the
    maximum size of an answer, if that is much larger than a request.
    """

    def __init__(
        self,
        name: str,
        summary: str,
        params: Callable[P, object],
        result: type[R],
        errors: tuple[int, ...] = (),
        answer_bytes: int = 0,
    ) -> None:
        self.name = name
        self.summary = summary
        self.params = params
        self.result = result
        self.errors = errors
        self.answer_bytes = answer_bytes


NULL = type(None)
MAY_NOT_FIND = (errors.NOT_FOUND,)
OF_A_COMMAND = (errors.REJECTED, errors.NOT_FOUND, errors.CONFLICT)

# In the order of the documentation.

INITIALIZE = Endpoint(
    "initialize", "Start the session. Must be the first request.", params.InitializeParams, results.Initialized
)
SHUTDOWN = Endpoint("shutdown", "Finish all requests. Only `exit` may follow.", params.NoParams, NULL)
DISPATCH: Endpoint[[Command], results.Dispatched] = Endpoint(
    "command/dispatch",
    "Execute one command. The params are the command itself.",
    cast(Any, AnyCommand),  # mypy does not accept a union as a Callable
    results.Dispatched,
    OF_A_COMMAND,
)
DISPATCH_BATCH = Endpoint(
    "command/dispatchBatch",
    "Execute several commands, all or none.",
    params.DispatchBatchParams,
    results.BatchDispatched,
    OF_A_COMMAND,
)
PROJECT_OPEN = Endpoint(
    "project/open",
    "Find or create the project of a folder.",
    params.OpenProjectParams,
    results.ProjectOpened,
    (errors.REJECTED,),
)
PROJECT_LIST = Endpoint(
    "project/list", "List projects, newest first.", params.ListParams, Page[Project], answer_bytes=PAGE_BYTES
)
THREAD_LIST = Endpoint(
    "thread/list",
    "List threads, most recently changed first.",
    params.ThreadListParams,
    Page[Thread],
    answer_bytes=PAGE_BYTES,
)
THREAD_READ = Endpoint(
    "thread/read",
    "Read a thread: its last turns and everything in them.",
    params.ThreadReadParams,
    results.ThreadRead,
    MAY_NOT_FIND,
    PAGE_BYTES,
)
MESSAGE_READ = Endpoint(
    "message/read", "Read a message with all of its text.", params.ReadParams, Message, MAY_NOT_FIND, PAGE_BYTES
)
ACTIVITY_READ = Endpoint(
    "activity/read", "Read an activity with all of its detail.", params.ReadParams, Activity, MAY_NOT_FIND, PAGE_BYTES
)
TURN_LIST = Endpoint(
    "turn/list",
    "List the turns of a thread, newest first.",
    params.OfThreadParams,
    Page[Turn],
    MAY_NOT_FIND,
    PAGE_BYTES,
)
CHECKPOINT_LIST = Endpoint(
    "checkpoint/list",
    "List the checkpoints of a thread, newest first.",
    params.OfThreadParams,
    Page[Checkpoint],
    MAY_NOT_FIND,
    PAGE_BYTES,
)
PROMPT_LIST = Endpoint(
    "prompt/list",
    "List queued prompts, newest first.",
    params.OfThreadOrAllParams,
    Page[Prompt],
    MAY_NOT_FIND,
    PAGE_BYTES,
)
APPROVAL_LIST = Endpoint(
    "approval/list",
    "List pending approvals, newest first.",
    params.OfThreadOrAllParams,
    Page[Approval],
    MAY_NOT_FIND,
    PAGE_BYTES,
)
SESSION_LIST = Endpoint(
    "session/list",
    "List the sessions of the agent of a thread, newest first.",
    params.OfThreadParams,
    Page[Session],
    MAY_NOT_FIND,
    PAGE_BYTES,
)
RULE_LIST = Endpoint("rule/list", "List rules, newest first.", params.ListParams, Page[Rule], answer_bytes=PAGE_BYTES)
AGENT_LIST = Endpoint("agent/list", "List the agents that are configured.", params.NoParams, results.ConfiguredAgents)
CHECKPOINT_CREATE = Endpoint(
    "checkpoint/create",
    "Take a checkpoint of the folder of a thread's project.",
    params.CreateCheckpointParams,
    Checkpoint,
    (errors.NOT_FOUND, errors.REJECTED),
)
CHECKPOINT_DIFF = Endpoint(
    "checkpoint/diff",
    "Compare a checkpoint with another one, or with the files as they are now.",
    params.CheckpointDiffParams,
    results.CheckpointDiff,
    (errors.NOT_FOUND, errors.REJECTED),
    PAGE_BYTES,
)
CHECKPOINT_RESTORE = Endpoint(
    "checkpoint/restore",
    "Put files back to a checkpoint, after taking one of what is there now.",
    params.RestoreCheckpointParams,
    results.Restoration,
    (errors.NOT_FOUND, errors.REJECTED),
    PAGE_BYTES,
)
PROVENANCE_FIND = Endpoint(
    "provenance/find",
    "Find the turns that the lines of a file are from.",
    params.FindProvenanceParams,
    results.Provenance,
    (errors.NOT_FOUND,),
    PAGE_BYTES,
)
WORKTREE_APPLY = Endpoint(
    "worktree/apply",
    "Apply what the worktree of a thread changed to the folder of its project.",
    params.ApplyWorktreeParams,
    results.Restoration,
    (errors.NOT_FOUND, errors.REJECTED),
    PAGE_BYTES,
)
WORKTREE_DISCARD = Endpoint(
    "worktree/discard",
    "Remove the worktree of a thread, after taking a checkpoint of it.",
    params.DiscardWorktreeParams,
    results.Discarded,
    (errors.NOT_FOUND, errors.REJECTED),
    PAGE_BYTES,
)
SETTING_LIST = Endpoint(
    "setting/list", "List settings, sorted by key.", params.ListParams, Page[Setting], answer_bytes=PAGE_BYTES
)
EVENT_LIST = Endpoint(
    "event/list",
    "Read the log itself, after a sequence.",
    params.EventListParams,
    Page[StoredEvent],
    answer_bytes=PAGE_BYTES,
)
SEARCH = Endpoint(
    "search/query",
    "Search threads, messages and activities for words, best match first.",
    params.SearchParams,
    Page[Hit],
    MAY_NOT_FIND,
)
SUBSCRIPTION_OPEN = Endpoint(
    "subscription/open",
    "Subscribe to a topic: a snapshot, then changes.",
    params.OpenParams,
    cast(type[results.SubscriptionOpened], results.SubscriptionOpened),  # mypy does not accept a union as a type
    MAY_NOT_FIND,
    PAGE_BYTES,
)
SUBSCRIPTION_CLOSE = Endpoint("subscription/close", "Close a subscription.", params.CloseParams, NULL, MAY_NOT_FIND)
ERASURE_STATUS = Endpoint(
    "erasure/status",
    "What became of the bytes of what was erased or redacted.",
    params.ErasureStatusParams,
    receipts.ErasureStatus,
)
STATUS = Endpoint("daemon/status", "Versions, sizes, queues and running agents.", params.NoParams, results.Status)
DISCOVER = Endpoint("rpc.discover", "This protocol as an OpenRPC document.", params.NoParams, dict[str, Any])

ENDPOINTS: tuple[Endpoint[Any, Any], ...] = tuple(one for one in vars().values() if isinstance(one, Endpoint))
"""All methods of the daemon, in the order of the documentation."""

SHOW_MESSAGE_REQUEST = Endpoint(
    "window/showMessageRequest",
    "Show a pending approval as a dialog. The result is the chosen action, or null.",
    results.ShowMessageRequest,
    cast(type[results.MessageActionItem | None], results.MessageActionItem | None),
)
WORK_DONE_PROGRESS_CREATE = Endpoint(
    "window/workDoneProgress/create",
    "Show progress while commands wait for another process that rebuilds the projections.",
    results.WorkDoneProgressCreate,
    NULL,
)

CLIENT_ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (SHOW_MESSAGE_REQUEST, WORK_DONE_PROGRESS_CREATE)
"""The methods of the client: the requests that the daemon sends, to a client that can answer them."""

TO_CLIENT: dict[str, tuple[str, type]] = {
    "projection/changed": ("Sent to a subscriber: what changed.", results.ProjectionChanged),
    "event/appended": ("Sent to a subscriber of the topic `events`: new events.", results.EventAppended),
    "$/progress": (
        "The progress of a rebuild: of one at start, if `initialize` had a `workDoneToken`, or by another process.",
        results.Progress,
    ),
    "$/cancelRequest": ("Cancel a request of the daemon: close its dialog.", params.CancelParams),
    "window/logMessage": ("A warning or an error of the daemon.", results.LogMessage),
}
"""The notifications that the daemon sends."""

FROM_CLIENT: dict[str, tuple[str, type]] = {
    "initialized": ("The client has read the answer to `initialize`. Has no effect.", params.IgnoredParams),
    "$/setTrace": ("As in LSP. Has no effect.", params.IgnoredParams),
    "$/cancelRequest": (
        "Cancel a request. It is answered with -32800, or with its own result if it was too late.",
        params.CancelParams,
    ),
    "exit": ("Exit, with status 0 after `shutdown`, otherwise 1.", params.IgnoredParams),
}
"""The notifications that the daemon accepts."""
