"""Every method and notification of the protocol: its name, what it takes and what it gives. The daemon's handlers, the
client in Python and the documents of contract/schema.py are made from these."""

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from treadle.contract import errors, params, results
from treadle.contract.results import Page
from treadle.domain.commands import AnyCommand
from treadle.domain.entities import Activity, Checkpoint, Hit, Message, Project, Setting, Thread, Turn
from treadle.domain.events import StoredEvent

PROTOCOL_VERSION = 1
"""Goes up when a client has to change: docs/protocol.md says what counts."""

P = ParamSpec("P")
R = TypeVar("R")


class Endpoint(Generic[P, R]):
    """One method. params: its struct, whose arguments a type checker sees. result: None where the answer is null.

    errors: the codes that it may answer, beside those that every request may get.
    """

    def __init__(
        self, name: str, summary: str, params: Callable[P, object], result: type[R], errors: tuple[int, ...] = ()
    ) -> None:
        self.name = name
        self.summary = summary
        self.params = params
        self.result = result
        self.errors = errors


class Dispatch:
    """`command/dispatch`, whose params are any command."""

    name = "command/dispatch"
    summary = "Do one thing: the params are the command itself."
    params = AnyCommand
    result = results.Dispatched
    errors = (errors.REJECTED, errors.NOT_FOUND, errors.CONFLICT)


NULL = type(None)
NAMES = (errors.NOT_FOUND,)

INITIALIZE = Endpoint(
    "initialize", "Say hello; nothing else may come before.", params.InitializeParams, results.Initialized
)
SHUTDOWN = Endpoint("shutdown", "Finish what was asked; then only `exit` may come.", params.NoParams, NULL)
DISPATCH = Dispatch()
DISPATCH_BATCH = Endpoint(
    "command/dispatchBatch",
    "Do several things, all or none.",
    params.DispatchBatchParams,
    results.BatchDispatched,
    DISPATCH.errors,
)
PROJECT_LIST = Endpoint("project/list", "Projects, newest first.", params.ListParams, Page[Project])
THREAD_LIST = Endpoint("thread/list", "Threads, the last changed first.", params.ThreadListParams, Page[Thread])
THREAD_READ = Endpoint(
    "thread/read",
    "A thread: its last turns and all that is theirs.",
    params.ThreadReadParams,
    results.ThreadSnapshot,
    NAMES,
)
MESSAGE_READ = Endpoint("message/read", "A message with all of its text.", params.ReadParams, Message, NAMES)
ACTIVITY_READ = Endpoint("activity/read", "An activity with all of its detail.", params.ReadParams, Activity, NAMES)
TURN_LIST = Endpoint("turn/list", "Turns of a thread, newest first.", params.OfThreadParams, Page[Turn], NAMES)
CHECKPOINT_LIST = Endpoint(
    "checkpoint/list", "Checkpoints of a thread, newest first.", params.OfThreadParams, Page[Checkpoint], NAMES
)
SETTING_LIST = Endpoint("setting/list", "Settings by key.", params.ListParams, Page[Setting])
EVENT_LIST = Endpoint("event/list", "The log itself after a sequence.", params.EventListParams, Page[StoredEvent])
SEARCH = Endpoint(
    "search/query",
    "What has these words: threads, messages and activities, the best first.",
    params.SearchParams,
    Page[Hit],
    NAMES,
)
PROJECT_OPEN = Endpoint(
    "project/open",
    "The project of a folder: found, or made.",
    params.OpenProjectParams,
    results.ProjectOpened,
    (errors.REJECTED,),
)
SUBSCRIPTION_OPEN = Endpoint(
    "subscription/open",
    "Follow a topic: a snapshot, then what changes.",
    params.OpenParams,
    results.SubscriptionOpened,
    NAMES,
)
SUBSCRIPTION_CLOSE = Endpoint("subscription/close", "Follow it no more.", params.CloseParams, NULL, NAMES)
STATUS = Endpoint("daemon/status", "Versions, sizes and queues.", params.NoParams, results.Status)
DISCOVER = Endpoint("rpc.discover", "This protocol as an OpenRPC document.", params.NoParams, dict[str, Any])

ENDPOINTS: tuple[Endpoint[Any, Any] | Dispatch, ...] = (
    INITIALIZE,
    SHUTDOWN,
    DISPATCH,
    DISPATCH_BATCH,
    PROJECT_OPEN,
    PROJECT_LIST,
    THREAD_LIST,
    THREAD_READ,
    MESSAGE_READ,
    ACTIVITY_READ,
    TURN_LIST,
    CHECKPOINT_LIST,
    SETTING_LIST,
    EVENT_LIST,
    SEARCH,
    SUBSCRIPTION_OPEN,
    SUBSCRIPTION_CLOSE,
    STATUS,
    DISCOVER,
)
"""In the order of the documentation."""

TO_CLIENT: dict[str, tuple[str, type]] = {
    "projection/changed": ("To a subscriber: what changed.", results.ProjectionChanged),
    "event/appended": ("To a subscriber of the topic `events`: what was appended.", results.EventAppended),
    "$/progress": ("How far the rebuild at the start is, where `initialize` asked for it.", results.Progress),
    "window/logMessage": ("A warning or an error of the daemon's.", results.LogMessage),
}
"""The notifications that the daemon sends."""

FROM_CLIENT: dict[str, tuple[str, type]] = {
    "initialized": ("The client has read the answer to `initialize`; of no effect.", params.IgnoredParams),
    "$/setTrace": ("As in LSP; of no effect.", params.IgnoredParams),
    "$/cancelRequest": (
        "Take a request back: -32800 where nothing of it has happened, its own answer where it was too late.",
        params.CancelParams,
    ),
    "exit": ("End: with status 0 after `shutdown`, else 1.", params.IgnoredParams),
}
"""The notifications that it listens to."""
