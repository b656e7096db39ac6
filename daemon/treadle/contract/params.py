"""The params of the methods. An unknown member is refused, so that a misspelt option is noticed."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from treadle.domain.commands import AnyCommand
from treadle.domain.ids import Id, Name, Path, Syntax, ThreadSort, Topic, Word, note

IGNORED_MEMBERS: Final = ("workDoneToken", "partialResultToken", "_meta")
"""Members that Language Server Protocol and Model Context Protocol clients add to the params of any request."""

Limit = Annotated[int, Meta(ge=1, le=500), note("The maximum number of items. A page may end earlier, at 1 MiB")]
Cursor = Annotated[str, Meta(max_length=512), note("`nextCursor` of the previous page")]
SequenceNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Params(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class NoParams(Params, frozen=True, kw_only=True):
    """No params: missing, null and `{}` are the same."""


class InitializeParams(Struct, frozen=True, kw_only=True, rename="camel"):
    """As in LSP. Members that treadle does not use are ignored."""

    process_id: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        note("The client's process id. The daemon exits when that process does"),
    ] = None
    work_done_token: Annotated[
        str | int | None, note("The token for the `$/progress` notifications of a rebuild at start")
    ] = None
    capabilities: Annotated[Any, note("The client's capabilities, as in LSP")] = None
    initialization_options: Annotated[
        Any, note("`approvals` asks for dialogs: true for the threads that the client follows, `all` for any thread")
    ] = None


class DispatchBatchParams(Params, frozen=True, kw_only=True):
    command_id: Annotated[Id | None, note("Identifies the whole batch, which makes it idempotent")] = None
    commands: Annotated[Sequence[AnyCommand], Meta(max_length=1000), note("None of them may have a `commandId`")]


class ListParams(Params, frozen=True, kw_only=True):
    limit: Limit = 50
    cursor: Cursor | None = None


class OriginFilter(Params, frozen=True, kw_only=True):
    tool: Word
    session_id: Annotated[Name | None, note("The tool's own id of the session")] = None


class ThreadListParams(ListParams, frozen=True, kw_only=True):
    sort: Annotated[
        ThreadSort, note("`version`: most recently changed first. `updatedAt`: the latest `updatedAt` first")
    ] = "version"
    project_id: Annotated[Id | None, note("Only threads of this project")] = None
    archived: Annotated[bool | None, note("true: only archived threads. false: only those that are not archived")] = (
        None
    )
    origin: Annotated[
        OriginFilter | None, note("Only threads that come from this tool, or from this session of it")
    ] = None


class OfThreadParams(ListParams, frozen=True, kw_only=True):
    thread_id: Id


class OfThreadOrAllParams(ListParams, frozen=True, kw_only=True):
    thread_id: Annotated[Id | None, note("Only those of this thread")] = None


class ReadParams(Params, frozen=True, kw_only=True):
    thread_id: Id
    id: Annotated[Id, note("The id of the message or activity")]


class ThreadReadParams(Params, frozen=True, kw_only=True):
    thread_id: Id
    turn_limit: Annotated[Limit, note("The maximum number of turns. There are fewer if they exceed 1 MiB")] = 50
    before: Annotated[Cursor | None, note("A `beforeCursor`, to read the turns before it")] = None


class EventListParams(ListParams, frozen=True, kw_only=True):
    after_sequence: Annotated[SequenceNumber, note("Where to start if there is no cursor")] = 0
    thread_id: Annotated[Id | None, note("Only events of this thread")] = None
    limit: Limit = 500


class SearchParams(ListParams, frozen=True, kw_only=True):
    query: Annotated[
        str, Meta(max_length=1000), note("Words that must all occur. The last one may be the beginning of a word")
    ]
    project_id: Annotated[Id | None, note("Search only this project")] = None
    thread_id: Annotated[Id | None, note("Search only this thread")] = None
    syntax: Annotated[Syntax, note("`plain`, or `fts5` for a query in the syntax of SQLite's FTS5")] = "plain"
    limit: Annotated[int, Meta(ge=1, le=100), note("The maximum number of results")] = 20


class CreateCheckpointParams(Params, frozen=True, kw_only=True):
    thread_id: Id
    turn_id: Annotated[Id | None, note("The turn it belongs to, running or ended")] = None
    message: Annotated[str, Meta(max_length=1024), note("What it is for")] = ""


Paths = Annotated[
    list[Path],
    Meta(max_length=1000),
    note("Only these files, and those in these folders, relative to the top of the work tree. If empty, all"),
]


class CheckpointDiffParams(ListParams, frozen=True, kw_only=True):
    thread_id: Id
    from_: Annotated[
        Id | None,
        note("The id of the earlier checkpoint. If missing, the commit that the worktree of the thread began at"),
    ] = field(default=None, name="from")
    to: Annotated[Id | None, note("The id of the later checkpoint. If missing, the files as they are now")] = None
    paths: Paths = []
    patches: Annotated[bool, note("Whether to send the unified diff of each file")] = False


class RestoreCheckpointParams(Params, frozen=True, kw_only=True):
    thread_id: Id
    id: Annotated[Id, note("The id of the checkpoint")]
    paths: Paths = []
    dry_run: Annotated[bool, note("Only say what would be written and removed")] = False


class FindProvenanceParams(Params, frozen=True, kw_only=True):
    path: Annotated[Path, note("The absolute path of a file in the folder of a project")]
    line: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None, note("Only this line, from 1 on. If missing, all lines")
    ] = None


class ApplyWorktreeParams(Params, frozen=True, kw_only=True):
    thread_id: Id
    dry_run: Annotated[bool, note("Only say what would be written and removed")] = False


class DiscardWorktreeParams(Params, frozen=True, kw_only=True):
    thread_id: Annotated[Id, note("The thread, which may have been deleted")]
    force: Annotated[bool, note("Also if it has changes that the folder of the project does not have")] = False
    dry_run: Annotated[bool, note("Only list these changes")] = False


class ErasureStatusParams(Params, frozen=True, kw_only=True):
    thread_id: Annotated[Id | None, note("Only of this thread")] = None
    wait: Annotated[bool, note("Answer only once all is purged and searched")] = False


class OpenProjectParams(Params, frozen=True, kw_only=True):
    path: Annotated[Path, note("The absolute path of a folder")]


class OpenParams(Params, frozen=True, kw_only=True):
    topic: Topic
    thread_id: Annotated[
        Id | None,
        note("Required for `thread`. For `events`: only events of this thread. Not allowed for the other topics"),
    ] = None
    turn_limit: Annotated[Limit, note("For `thread`: the maximum number of turns in the snapshot")] = 50
    after_sequence: Annotated[
        SequenceNumber | None, note("To resume: the sequence of the replica. For `events`: where to start")
    ] = None
    log_id: Annotated[str | None, note("To resume: the log that `afterSequence` belongs to")] = None


class CloseParams(Params, frozen=True, kw_only=True):
    subscription_id: str


class CancelParams(Struct, frozen=True):
    id: Annotated[str | int | float, note("The id of the request")]


class IgnoredParams(Struct, frozen=True):
    """Params that are accepted and not read."""
