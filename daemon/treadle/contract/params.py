"""What methods take. A member that is unknown is refused, so that a misspelt option is noticed."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from treadle.domain.commands import AnyCommand
from treadle.domain.ids import Id, Path, Syntax, Topic

Limit = Annotated[int, Meta(ge=1, le=500, description="rows of a page, which may end earlier at 1 MiB")]
Cursor = Annotated[str, Meta(max_length=512, description="`nextCursor` of the page before")]
SequenceNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Params(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class NoParams(Params, frozen=True, kw_only=True):
    """None: missing, null and `{}` are the same."""


class InitializeParams(Struct, frozen=True, kw_only=True, rename="camel"):
    """As in LSP; what treadle does not know of it is ignored.

    process_id: the client's process; the daemon ends when this process does.
    work_done_token: where a rebuild at start tells its `$/progress`.
    capabilities: of the client, as in LSP.
    initialization_options: `approvals` asks for dialogs: true for threads that the client follows, `"all"` for any.
    """

    process_id: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    work_done_token: str | int | None = None
    capabilities: Any = None
    initialization_options: Any = None


class DispatchBatchParams(Params, frozen=True, kw_only=True):
    """command_id: of the whole batch, which it makes idempotent. commands: none of them has a `commandId`."""

    command_id: Id | None = None
    commands: Annotated[Sequence[AnyCommand], Meta(max_length=1000)]


class ListParams(Params, frozen=True, kw_only=True):
    limit: Limit = 50
    cursor: Cursor | None = None


class ThreadListParams(ListParams, frozen=True, kw_only=True):
    """project_id: only those of this project. archived: true: only those that are; false: only those that are not."""

    project_id: Id | None = None
    archived: bool | None = None


class OfThreadParams(ListParams, frozen=True, kw_only=True):
    thread_id: Id


class ThreadReadParams(Params, frozen=True, kw_only=True):
    """turn_limit: how many turns; fewer where they are over 1 MiB.
    before: a `beforeCursor`: for the turns before those.
    """

    thread_id: Id
    turn_limit: Limit = 50
    before: Cursor | None = None


class EventListParams(ListParams, frozen=True, kw_only=True):
    """after_sequence: where to begin, without a cursor. thread_id: only this thread's."""

    after_sequence: SequenceNumber = 0
    thread_id: Id | None = None
    limit: Limit = 500


class SearchParams(ListParams, frozen=True, kw_only=True):
    """query: words, all of which are there; the last may be the beginning of one. project_id, thread_id: only there.
    syntax: `plain`, or `fts5` for a query in the syntax of SQLite's FTS5.
    """

    query: Annotated[str, Meta(max_length=1000)]
    project_id: Id | None = None
    thread_id: Id | None = None
    syntax: Syntax = "plain"
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class OpenProjectParams(Params, frozen=True, kw_only=True):
    """path: of a folder, absolute."""

    path: Path


class OpenParams(Params, frozen=True, kw_only=True):
    """thread_id: needed for `thread`; for `events`: only this thread's; not for the others.
    turn_limit: for `thread`: how many turns the snapshot has.
    after_sequence: to resume; for `events` where to begin.
    log_id: to resume: the log that `afterSequence` is of.
    """

    topic: Topic
    thread_id: Id | None = None
    turn_limit: Limit = 50
    after_sequence: SequenceNumber | None = None
    log_id: str | None = None


class CloseParams(Params, frozen=True, kw_only=True):
    subscription_id: str


class CancelParams(Struct, frozen=True):
    """id: of the request."""

    id: str | int | float


class IgnoredParams(Struct, frozen=True):
    """Nothing is looked at."""
