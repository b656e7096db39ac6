"""The methods: what each takes and gives, and the little that lies between the wire and the engine or a read."""

import os
import platform
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from treadle import __version__
from treadle.batch import Answer, Result, Submission
from treadle.domain.commands import AnyCommand, Command
from treadle.domain.entities import Checkpoint, Project, Setting, Thread, Turn
from treadle.domain.events import StoredEvent
from treadle.domain.ids import Id
from treadle.engine import digest
from treadle.rpc import errors, results
from treadle.rpc.beginning import PROTOCOL_VERSION, Beginning, NoParams
from treadle.rpc.conversation import Method, NotificationMethod, Then
from treadle.rpc.server import Daemon
from treadle.store import projections, reads
from treadle.store.reads import LATEST
from treadle.subscriptions import MAX_SUBSCRIPTIONS, Topic

if TYPE_CHECKING:
    from treadle.rpc.protocol import Server

T = TypeVar("T")

Limit = Annotated[int, Meta(ge=1, le=500, description="rows of a page, which may end earlier at 1 MiB")]
Cursor = Annotated[str, Meta(max_length=512, description="`nextCursor` of the page before")]
Sequence = Annotated[int, Meta(ge=0, le=LATEST)]


class Params(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class DispatchBatchParams(Params, frozen=True, kw_only=True):
    """command_id: makes the whole batch idempotent; its commands have none."""

    command_id: Id | None = None
    commands: Annotated[list[AnyCommand], Meta(max_length=1000)]


class ListParams(Params, frozen=True, kw_only=True):
    limit: Limit = 50
    cursor: Cursor | None = None


class ThreadListParams(ListParams, frozen=True, kw_only=True):
    """archived: true for only those that are, false for only those that are not."""

    project_id: Id | None = None
    archived: bool | None = None


class OfThreadParams(ListParams, frozen=True, kw_only=True):
    thread_id: Id


class ThreadReadParams(Params, frozen=True, kw_only=True):
    """before: a `beforeCursor`, for the turns before those."""

    thread_id: Id
    turn_limit: Limit = 50
    before: Cursor | None = None


class EventListParams(ListParams, frozen=True, kw_only=True):
    """after_sequence: where to begin, without a cursor."""

    after_sequence: Sequence = 0
    thread_id: Id | None = None
    limit: Limit = 500


class OpenParams(Params, frozen=True, kw_only=True):
    """thread_id: for the topic `thread`, and to see only one thread's `events`.

    after_sequence, log_id: what a client that kept its replica knows; it gets what changed since.
    """

    topic: Topic
    thread_id: Id | None = None
    turn_limit: Limit = 50
    after_sequence: Sequence | None = None
    log_id: str | None = None


class CloseParams(Params, frozen=True, kw_only=True):
    subscription_id: str


def add_methods(daemon: Daemon) -> "Server":
    """pygls' server, with every method and notification registered."""
    from treadle.rpc.protocol import Server  # here, for `treadle call` does without

    server = Server(daemon.conversation)
    for method in Methods(daemon).table():
        server.add(method)
    for name in ("initialized", "$/setTrace"):
        server.add(NotificationMethod(name, "Accepted, and of no effect.", lambda params: None))
    return server


class Methods:
    """One method of this class for each of the protocol's that needs more than a read."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._opening = 0  # subscriptions that are asked for and not open yet

    def table(self) -> list[Method]:
        """All of them, in the order of the documentation."""
        beginning = Beginning(self.daemon)
        page = results.Page
        large: dict[str, Any] = {"answer_bytes": reads.MAX_BYTES}
        return [
            beginning.initialize,
            Method("shutdown", "Finish what was asked; then only `exit` may come.", NoParams | None, None,
                   self.shutdown),
            Method("command/dispatch", "Do one thing: the params are the command itself.", AnyCommand,
                   results.Dispatched, self.dispatch, raw=True),
            Method("command/dispatchBatch", "Do several things, all or none.", DispatchBatchParams,
                   results.BatchDispatched, self.dispatch_batch, raw=True),
            Method("project/list", "Projects, newest first.", ListParams, page[Project], self.project_list, **large),
            Method("thread/list", "Threads, the last changed first.", ThreadListParams, page[Thread],
                   self.thread_list, **large),
            Method("thread/read", "A thread: its last turns and all that is theirs.", ThreadReadParams,
                   results.ThreadSnapshot, self.thread_read, **large),
            Method("turn/list", "Turns of a thread, newest first.", OfThreadParams, page[Turn],
                   self.turn_list, **large),
            Method("checkpoint/list", "Checkpoints of a thread, newest first.", OfThreadParams,
                   page[Checkpoint], self.checkpoint_list, **large),
            Method("setting/list", "Settings by key.", ListParams, page[Setting], self.setting_list, **large),
            Method("event/list", "The log itself after a sequence.", EventListParams, page[StoredEvent],
                   self.event_list, **large),
            Method("subscription/open", "Follow a topic: a snapshot, then what changes.", OpenParams,
                   results.SubscriptionOpened, self.open, **large),
            Method("subscription/close", "Follow it no more.", CloseParams, None, self.close),
            Method("daemon/status", "Versions, sizes and queues.", NoParams, results.Status, self.status),
            beginning.discover,
        ]  # fmt: skip

    # Lifecycle

    async def shutdown(self, params: NoParams | None) -> None:
        await self.daemon.opened()
        await self.daemon.engine.settled()

    # Commands

    def dispatch(self, command: Command, raw: Raw) -> object:
        return self._submit([command], command.command_id, raw, _dispatched)

    def dispatch_batch(self, params: DispatchBatchParams, raw: Raw) -> object:
        for i, command in enumerate(params.commands):
            if command.command_id is not None:
                path = f"$.params.commands[{i}].commandId"
                raise errors.invalid_params("a command of a batch has no commandId of its own", path)
        return self._submit(params.commands, params.command_id, raw, _batch_dispatched, batch=True)

    def _submit(
        self,
        commands: list[Any],
        command_id: str | None,
        raw: Raw,
        answer: Callable[[Answer], object],
        *,
        batch: bool = False,
    ) -> Submission:
        key = "" if command_id is None else digest(msgspec.json.decode(raw))
        return self._ready.engine.submit(
            commands, command_id=command_id, digest=key, batch=batch, present=answer, size=len(raw)
        )

    @property
    def _ready(self) -> Daemon:
        """The daemon, once it is open; `initialize` may still be waiting for that. Raises RpcError."""
        if not hasattr(self.daemon, "engine"):
            raise errors.not_initialized()
        return self.daemon

    # Reads

    def _read(self, function: Callable[[sqlite3.Connection], T]) -> object:
        """A read sees every command that came before it."""
        daemon = self._ready
        if daemon.engine.is_settled:
            return daemon.store.reads.submit(function)
        return self._read_after_commands(function)

    async def _read_after_commands(self, function: Callable[[sqlite3.Connection], T]) -> T:
        await self.daemon.engine.settled()
        return await self.daemon.store.read(function)

    def _page(self, name: str, params: ListParams, **parameters: Any) -> object:
        before = reads.decode_cursor(params.cursor, LATEST)
        return self._read(lambda db: reads.page(db, name, params.limit, before=before, **parameters))

    def project_list(self, params: ListParams) -> object:
        return self._page("project_list", params)

    def thread_list(self, params: ThreadListParams) -> object:
        before = reads.decode_cursor(params.cursor, LATEST)
        return self._read(lambda db: reads.thread_list(db, params.project_id, params.archived, params.limit, before))

    def turn_list(self, params: OfThreadParams) -> object:
        return self._of_thread("turn_list", params)

    def checkpoint_list(self, params: OfThreadParams) -> object:
        return self._of_thread("checkpoint_list", params)

    def _of_thread(self, name: str, params: OfThreadParams) -> object:
        before = reads.decode_cursor(params.cursor, LATEST)

        def read(db: sqlite3.Connection) -> reads.Page:
            reads.require_thread(db, params.thread_id)
            return reads.page(db, name, params.limit, thread=params.thread_id, before=before)

        return self._read(read)

    def setting_list(self, params: ListParams) -> object:
        after = reads.decode_cursor(params.cursor, "")
        return self._read(lambda db: reads.page(db, "setting_list", params.limit, after=after))

    def thread_read(self, params: ThreadReadParams) -> object:
        try:
            before = reads.decode_cursor(params.before, LATEST)
        except reads.BadCursor as error:
            raise errors.invalid_params(str(error), "$.params.before") from None
        return self._read(lambda db: reads.turns(db, params.thread_id, params.turn_limit, before))

    def event_list(self, params: EventListParams) -> object:
        after = reads.decode_cursor(params.cursor, params.after_sequence)

        def read(db: sqlite3.Connection) -> reads.Page:
            items, last = reads.events(db, params.thread_id, after, params.limit)
            return reads.Page(items, None if last is None else reads.encode_cursor(last))

        return self._read(read)

    # Subscriptions

    async def open(self, params: OpenParams) -> Then:
        daemon = self._ready
        if params.topic == "thread" and params.thread_id is None:
            raise errors.invalid_params("the topic `thread` is of one thread", "$.params.threadId")
        if params.topic in ("index", "settings") and params.thread_id is not None:
            raise errors.invalid_params(f"the topic `{params.topic}` is of no thread", "$.params.threadId")
        if len(daemon.subscriptions) + self._opening >= MAX_SUBSCRIPTIONS:
            raise errors.overloaded(f"{MAX_SUBSCRIPTIONS} subscriptions are open: close some", 1000)
        daemon.watch()
        self._opening += 1
        try:
            await daemon.engine.settled()
            opened, begin = await daemon.subscriptions.open(
                params.topic,
                thread_id=params.thread_id,
                turn_limit=params.turn_limit,
                after=params.after_sequence,
                log_id=params.log_id,
            )
        except BaseException:
            self._opening -= 1
            raise

        def answered() -> None:
            self._opening -= 1
            begin()

        return Then(opened, answered)

    def close(self, params: CloseParams) -> None:
        self._ready.subscriptions.close(params.subscription_id)

    # About the daemon

    async def status(self, params: NoParams) -> object:
        daemon = self._ready
        await daemon.engine.settled()
        store = daemon.store
        sequence = await store.read(reads.sequence)
        return results.Status(
            version=__version__,
            protocol_version=PROTOCOL_VERSION,
            projection_version=projections.VERSION,
            python_version=platform.python_version(),
            sqlite_version=sqlite3.sqlite_version,
            pid=os.getpid(),
            data_dir=str(store.data_dir),
            durability=store.durability,
            log_id=store.log_id,
            sequence=sequence,
            sizes=results.Sizes(
                database_bytes=_size(store.path), wal_bytes=_size(store.path.with_name(store.path.name + "-wal"))
            ),
            queues=results.Queues(
                commands=daemon.engine.queued,
                requests=daemon.conversation.in_flight,
                output_bytes=0 if daemon.output is None else daemon.output.pending_bytes,
                subscriptions=len(daemon.subscriptions),
            ),
        )


def _dispatched(answer: Answer) -> Result:
    return answer.results[0]


def _batch_dispatched(answer: Answer) -> Answer:
    return answer


def _size(path: Any) -> int:
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return 0
