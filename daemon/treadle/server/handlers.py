"""The handlers: one short function per method, which calls the engine or a read."""

import os
import platform
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import asdict

from treadle import __version__
from treadle.contract import errors, results
from treadle.contract import methods as endpoints
from treadle.contract.bounds import MAX_VALUE_BYTES, require_bounded
from treadle.contract.methods import Endpoint
from treadle.contract.params import (
    IGNORED_MEMBERS,
    ApplyWorktreeParams,
    CheckpointDiffParams,
    CloseParams,
    CreateCheckpointParams,
    DiscardWorktreeParams,
    DispatchBatchParams,
    ErasureStatusParams,
    EventListParams,
    FindProvenanceParams,
    ListParams,
    NoParams,
    OfThreadOrAllParams,
    OfThreadParams,
    OpenParams,
    OpenProjectParams,
    ReadParams,
    RestoreCheckpointParams,
    SearchParams,
    ThreadListParams,
    ThreadReadParams,
)
from treadle.contract.receipts import ErasureStatus
from treadle.core.group_commit import Submission
from treadle.core.idempotency import digest
from treadle.domain.commands import Command, CreateThread
from treadle.server.app import Daemon
from treadle.server.erased_texts import erasing, taken_before
from treadle.server.handshake import Handshake, method
from treadle.server.host_lock import host_of
from treadle.server.services import Services
from treadle.server.session import Method, Then
from treadle.store.pages import LATEST, BadCursor, decode_cursor, encode_cursor
from treadle.store.ports import Reads
from treadle.store.sqlite import projections
from treadle.store.sqlite.database import SQLITE_VERSION
from treadle.workspace.folders import open_project

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., object])

_HANDLERS: dict[Endpoint[Any, Any], tuple[str, bool]] = {}


def methods_of(daemon: Daemon) -> dict[str, Method]:
    """Every method that a client may call, by name."""
    return {method.name: method for method in Methods(daemon).table()}


def handles(endpoint: Endpoint[Any, Any], *, raw: bool = False) -> Callable[[Handler], Handler]:
    """Register a function of `Methods` as the handler of an endpoint. raw: it also gets the params as JSON text."""

    def register(handler: Handler) -> Handler:
        _HANDLERS[endpoint] = (handler.__name__, raw)
        return handler

    return register


class Methods:
    """The handlers, one for each endpoint of contract/methods.py."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._opening = 0  # subscriptions that were requested and are not open yet

    def table(self) -> list[Method]:
        """All methods, in the order of the documentation."""
        handshake = Handshake(self.daemon)
        found = {one.name: one for one in (handshake.initialize, handshake.discover)}
        for endpoint, (name, raw) in _HANDLERS.items():
            found[endpoint.name] = method(endpoint, getattr(self, name), raw=raw)
        return [found[endpoint.name] for endpoint in endpoints.ENDPOINTS]

    # Lifecycle

    @handles(endpoints.SHUTDOWN)
    async def shutdown(self, params: NoParams) -> None:
        await self.daemon.opened()
        await self.daemon.engine.settled()

    # Commands

    @handles(endpoints.DISPATCH, raw=True)
    def dispatch(self, command: Command, raw: Raw) -> object:
        return self._submit([command], command.command_id, raw, _dispatched)

    @handles(endpoints.DISPATCH_BATCH, raw=True)
    def dispatch_batch(self, params: DispatchBatchParams, raw: Raw) -> object:
        for i, command in enumerate(params.commands):
            if command.command_id is not None:
                path = f"$.params.commands[{i}].commandId"
                raise errors.invalid_params("a command of a batch has no commandId of its own", path)
        return self._submit(params.commands, params.command_id, raw, _batch_dispatched, atomic=True)

    def _submit(
        self,
        commands: Sequence[Any],
        command_id: str | None,
        raw: Raw,
        answer: Callable[[results.BatchDispatched], object],
        *,
        atomic: bool = False,
    ) -> object:
        for i, command in enumerate(commands):
            if command.at is not None or len(raw) > MAX_VALUE_BYTES:
                require_bounded(command, f"$.params.commands[{i}]" if atomic else "$.params")
            if isinstance(command, CreateThread) and command.worktree and not self.daemon.options.persistent:
                raise errors.request_failed(
                    "onlyInMemory", "a worktree would be lost when this daemon with --memory ends"
                )
        key = "" if command_id is None else digest(_without_ignored(msgspec.json.decode(raw)))

        def submit() -> Submission:
            return self._ready.engine.submit(
                list(commands), command_id=command_id, digest=key, atomic=atomic, present=answer, size=len(raw)
            )

        return self._erase(commands, submit) if erasing(commands) else submit()

    async def _erase(self, commands: Sequence[Command], submit: Callable[[], Submission]) -> object:
        """Take samples of what is erased before it is gone, so that it can be searched for afterwards."""
        services = self._ready
        await services.engine.settled()
        before = [await taken_before(services.store.read, command) for command in erasing(commands)]
        answer = await submit().future
        # Events are JSON text in an answer, as the engine gives it.
        told = msgspec.json.decode(msgspec.json.encode(answer))
        for stored in (stored for one in told.get("results", [told]) for stored in one["events"]):
            if stored["event"]["type"] in ("ThreadErased", "EventsRedacted"):
                of_thread = next(one for one in before if one.thread_id == stored["event"]["threadId"])
                services.purger.expect(stored["sequence"], of_thread)
        return answer

    @handles(endpoints.PROJECT_OPEN)
    async def project_open(self, params: OpenProjectParams) -> object:
        daemon = self._ready
        await daemon.engine.settled()
        return await open_project(daemon.store, daemon.engine, params.path)

    @property
    def _ready(self) -> Services:
        """The services on the open data directory. Raises RpcError if it is not open."""
        return self.daemon.services

    # Reads

    def _read(self, function: Callable[[Reads], T]) -> object:
        """Run a read that sees the effect of every command received before it."""
        daemon = self._ready
        if daemon.engine.is_settled:
            return daemon.store.read(function)
        return self._read_after_commands(function)

    async def _read_after_commands(self, function: Callable[[Reads], T]) -> T:
        await self.daemon.engine.settled()
        return await self.daemon.store.read(function)

    @handles(endpoints.PROJECT_LIST)
    def project_list(self, params: ListParams) -> object:
        before = decode_cursor(params.cursor, LATEST)
        return self._read(lambda reads: reads.project_list(params.limit, before))

    @handles(endpoints.THREAD_LIST)
    def thread_list(self, params: ThreadListParams) -> object:
        origin = params.origin
        return self._read(
            lambda reads: reads.thread_list(
                sort=params.sort,
                project_id=params.project_id,
                archived=params.archived,
                tool=None if origin is None else origin.tool,
                session=None if origin is None else origin.session_id,
                limit=params.limit,
                cursor=params.cursor,
            )
        )

    @handles(endpoints.TURN_LIST)
    def turn_list(self, params: OfThreadParams) -> object:
        before = decode_cursor(params.cursor, LATEST)
        return self._read(lambda reads: reads.turn_list(params.thread_id, params.limit, before))

    @handles(endpoints.CHECKPOINT_LIST)
    def checkpoint_list(self, params: OfThreadParams) -> object:
        before = decode_cursor(params.cursor, LATEST)
        return self._read(lambda reads: reads.checkpoint_list(params.thread_id, params.limit, before))

    @handles(endpoints.CHECKPOINT_CREATE)
    async def checkpoint_create(self, params: CreateCheckpointParams) -> object:
        id = await self._ready.checkpoints.take(params.thread_id, turn_id=params.turn_id, message=params.message)
        found = await self._ready.store.read(lambda reads: reads.entities("checkpoint", params.thread_id, [id]))
        return found[id]

    @handles(endpoints.CHECKPOINT_DIFF)
    async def checkpoint_diff(self, params: CheckpointDiffParams) -> object:
        start = decode_cursor(params.cursor, 0)
        return await self._ready.checkpoints.compare(
            params.thread_id,
            params.from_,
            params.to,
            start=start,
            limit=params.limit,
            paths=params.paths,
            patches=params.patches,
        )

    @handles(endpoints.CHECKPOINT_RESTORE)
    async def checkpoint_restore(self, params: RestoreCheckpointParams) -> object:
        return await self._ready.checkpoints.restore(
            params.thread_id, params.id, paths=params.paths, dry_run=params.dry_run
        )

    @handles(endpoints.PROVENANCE_FIND)
    async def provenance_find(self, params: FindProvenanceParams) -> object:
        from treadle.workspace.line_origins import LineOrigins

        if not params.path.startswith("/"):
            raise errors.invalid_params("the path is not absolute", "$.params.path")
        return await LineOrigins(self.daemon.options.data_dir, self._ready.store.read).find(params.path, params.line)

    @handles(endpoints.WORKTREE_APPLY)
    async def worktree_apply(self, params: ApplyWorktreeParams) -> object:
        return await self._ready.worktrees.apply(params.thread_id, dry_run=params.dry_run)

    @handles(endpoints.WORKTREE_DISCARD)
    async def worktree_discard(self, params: DiscardWorktreeParams) -> object:
        return await self._ready.worktrees.discard(params.thread_id, force=params.force, dry_run=params.dry_run)

    @handles(endpoints.PROMPT_LIST)
    def prompt_list(self, params: OfThreadOrAllParams) -> object:
        before = decode_cursor(params.cursor, LATEST)
        return self._read(lambda reads: reads.prompt_list(params.thread_id, params.limit, before))

    @handles(endpoints.APPROVAL_LIST)
    def approval_list(self, params: OfThreadOrAllParams) -> object:
        before = decode_cursor(params.cursor, LATEST)
        return self._read(lambda reads: reads.approval_list(params.thread_id, params.limit, before))

    @handles(endpoints.SESSION_LIST)
    def session_list(self, params: OfThreadParams) -> object:
        before = decode_cursor(params.cursor, LATEST)
        return self._read(lambda reads: reads.session_list(params.thread_id, params.limit, before))

    @handles(endpoints.RULE_LIST)
    def rule_list(self, params: ListParams) -> object:
        before = decode_cursor(params.cursor, LATEST)
        return self._read(lambda reads: reads.rule_list(params.limit, before))

    @handles(endpoints.AGENT_LIST)
    def agent_list(self, params: NoParams) -> object:
        from treadle.agents.config import BadConfig, read_agents

        try:
            agents = read_agents(*self.daemon.options.agents_files())
        except (BadConfig, OSError) as error:
            raise errors.bad_config(str(error)) from None
        return results.ConfiguredAgents([results.ConfiguredAgent(agent.name, agent.config.command) for agent in agents])

    @handles(endpoints.SETTING_LIST)
    def setting_list(self, params: ListParams) -> object:
        after = decode_cursor(params.cursor, "")
        return self._read(lambda reads: reads.setting_list(params.limit, after))

    @handles(endpoints.THREAD_READ)
    def thread_read(self, params: ThreadReadParams) -> object:
        from treadle.transfer.resuming import resume_command

        try:
            before = decode_cursor(params.before, LATEST)
        except BadCursor as error:
            raise errors.invalid_params(str(error), "$.params.before") from None

        def read(reads: Reads) -> results.ThreadRead:
            found = reads.thread(params.thread_id, params.turn_limit, before)
            return results.ThreadRead(**asdict(found), resume=resume_command(reads, params.thread_id))

        return self._read(read)

    @handles(endpoints.MESSAGE_READ)
    def message_read(self, params: ReadParams) -> object:
        return self._read(lambda reads: reads.message(params.thread_id, params.id))

    @handles(endpoints.ACTIVITY_READ)
    def activity_read(self, params: ReadParams) -> object:
        return self._read(lambda reads: reads.activity(params.thread_id, params.id))

    @handles(endpoints.EVENT_LIST)
    def event_list(self, params: EventListParams) -> object:
        after = decode_cursor(params.cursor, params.after_sequence)

        def read(reads: Reads) -> results.Page[Raw]:
            items, last = reads.events(params.thread_id, after, params.limit)
            return results.Page(items, None if last is None else encode_cursor(last))

        return self._read(read)

    @handles(endpoints.SEARCH)
    async def search(self, params: SearchParams) -> object:
        store = self._ready.store
        await self.daemon.engine.settled()
        return await store.search(
            lambda reads: reads.search(
                params.query,
                syntax=params.syntax,
                project_id=params.project_id,
                thread_id=params.thread_id,
                limit=params.limit,
                cursor=params.cursor,
            )
        )

    # Subscriptions

    @handles(endpoints.SUBSCRIPTION_OPEN)
    async def open(self, params: OpenParams) -> Then:
        daemon = self._ready
        if params.topic == "thread" and params.thread_id is None:
            raise errors.invalid_params("the topic `thread` needs the id of a thread", "$.params.threadId")
        if params.topic in ("index", "settings") and params.thread_id is not None:
            raise errors.invalid_params(
                f"the topic `{params.topic}` takes no thread: leave threadId out", "$.params.threadId"
            )
        most = self.daemon.subscriptions.bounds.max_subscriptions
        if len(self.daemon.subscriptions) + self._opening >= most:
            raise errors.overloaded(f"{most} subscriptions are open: close some", 1000)
        self.daemon.watch()
        self._opening += 1
        try:
            await daemon.engine.settled()
            opened, begin = await self.daemon.subscriptions.open(
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
            self.daemon.wake()

        return Then(opened, answered)

    @handles(endpoints.SUBSCRIPTION_CLOSE)
    def close(self, params: CloseParams) -> None:
        self.daemon.subscriptions.close(params.subscription_id)
        self.daemon.wake()

    # About what was erased

    @handles(endpoints.ERASURE_STATUS)
    async def erasure_status(self, params: ErasureStatusParams) -> object:
        services = self._ready
        await services.engine.settled()
        if params.wait:
            await services.purger.settled()
        return ErasureStatus(await services.purger.receipts(params.thread_id))

    # About the daemon

    @handles(endpoints.STATUS)
    async def status(self, params: NoParams) -> object:
        daemon = self._ready
        store = daemon.store
        if not store.is_shared:  # commands may be waiting for the server, which is what one asks about then
            await daemon.engine.settled()
        sequence = await store.read(lambda reads: reads.sequence())
        host = host_of(store.data_dir)
        return results.Status(
            version=__version__,
            protocol_version=endpoints.PROTOCOL_VERSION,
            projection_version=projections.VERSION,
            python_version=platform.python_version(),
            sqlite_version=SQLITE_VERSION,
            pid=os.getpid(),
            data_dir=str(store.data_dir),
            persistent=self.daemon.options.persistent,
            durability=store.durability,
            log_id=store.log_id,
            machine_id=store.runner.machine.id,
            runner=store.runner.name,
            sequence=sequence,
            sizes=results.Sizes(
                database_bytes=_size(store.path), wal_bytes=_size(store.path.with_name(store.path.name + "-wal"))
            ),
            queues=results.Queues(
                commands=daemon.engine.queued,
                requests=self.daemon.session.in_flight,
                output_bytes=0 if self.daemon.output is None else self.daemon.output.pending_bytes,
                subscriptions=len(self.daemon.subscriptions),
            ),
            log=None if store.sharing is None else store.sharing.status,
            agents=[
                results.RunningAgent(one.thread_id, one.agent, one.phase, one.pid) for one in daemon.supervisor.running
            ],
            host_pid=None if host is None else host.pid,
        )


def _without_ignored(params: dict[str, Any]) -> dict[str, Any]:
    """The params without ignored members, so that a retried command with a new `workDoneToken` has the same digest."""
    return {name: value for name, value in params.items() if name not in IGNORED_MEMBERS}


def _dispatched(answer: results.BatchDispatched) -> results.Dispatched:
    return answer.results[0]


def _batch_dispatched(answer: results.BatchDispatched) -> results.BatchDispatched:
    return answer


def _size(path: Any) -> int:
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return 0
