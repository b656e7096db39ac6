"""The methods: the little that lies between the wire and the engine or a read."""

import os
import platform
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from treadle import __version__
from treadle.contract import errors, results
from treadle.contract import methods as endpoints
from treadle.contract.params import (
    CloseParams,
    DispatchBatchParams,
    EventListParams,
    ListParams,
    NoParams,
    OfThreadParams,
    OpenParams,
    OpenProjectParams,
    SearchParams,
    ThreadListParams,
    ThreadReadParams,
)
from treadle.core.engine import digest
from treadle.core.group_commit import Answer, Result, Submission
from treadle.domain.commands import Command
from treadle.publish.subscriptions import MAX_SUBSCRIPTIONS
from treadle.server.app import Daemon, Services
from treadle.server.handshake import Handshake, method
from treadle.server.session import Method, Then
from treadle.store.sqlite import projections, reads
from treadle.store.sqlite.reads import LATEST
from treadle.store.sqlite.search import search
from treadle.workspace.folders import open_project

T = TypeVar("T")


def methods_of(daemon: Daemon) -> dict[str, Method]:
    """Every method that a client may ask for, by name."""
    return {method.name: method for method in Methods(daemon).table()}


class Methods:
    """One method of this class for each of the protocol's (contract/methods.py)."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._opening = 0  # subscriptions that are asked for and not open yet

    def table(self) -> list[Method]:
        """All of them, in the order of the documentation."""
        handshake = Handshake(self.daemon)
        large = {"answer_bytes": reads.MAX_BYTES}
        return [
            handshake.initialize,
            method(endpoints.SHUTDOWN, self.shutdown),
            method(endpoints.DISPATCH, self.dispatch, raw=True),
            method(endpoints.DISPATCH_BATCH, self.dispatch_batch, raw=True),
            method(endpoints.PROJECT_OPEN, self.project_open),
            method(endpoints.PROJECT_LIST, self.project_list, **large),
            method(endpoints.THREAD_LIST, self.thread_list, **large),
            method(endpoints.THREAD_READ, self.thread_read, **large),
            method(endpoints.TURN_LIST, self.turn_list, **large),
            method(endpoints.CHECKPOINT_LIST, self.checkpoint_list, **large),
            method(endpoints.SETTING_LIST, self.setting_list, **large),
            method(endpoints.EVENT_LIST, self.event_list, **large),
            method(endpoints.SEARCH, self.search),
            method(endpoints.SUBSCRIPTION_OPEN, self.open, **large),
            method(endpoints.SUBSCRIPTION_CLOSE, self.close),
            method(endpoints.STATUS, self.status),
            handshake.discover,
        ]

    # Lifecycle

    async def shutdown(self, params: NoParams) -> None:
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
        commands: Sequence[Any],
        command_id: str | None,
        raw: Raw,
        answer: Callable[[Answer], object],
        *,
        batch: bool = False,
    ) -> Submission:
        key = "" if command_id is None else digest(msgspec.json.decode(raw))
        return self._ready.engine.submit(
            list(commands), command_id=command_id, digest=key, batch=batch, present=answer, size=len(raw)
        )

    async def project_open(self, params: OpenProjectParams) -> object:
        daemon = self._ready
        await daemon.engine.settled()
        return await open_project(daemon.store, daemon.engine, params.path)

    @property
    def _ready(self) -> Services:
        """What works on the open data directory. Raises RpcError before that is open."""
        return self.daemon.services

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

    async def search(self, params: SearchParams) -> object:
        store = self._ready.store
        await self.daemon.engine.settled()
        return await store.search(
            lambda db: search(
                db,
                params.query,
                syntax=params.syntax,
                project_id=params.project_id,
                thread_id=params.thread_id,
                limit=params.limit,
                cursor=params.cursor,
            )
        )

    # Subscriptions

    async def open(self, params: OpenParams) -> Then:
        daemon = self._ready
        if params.topic == "thread" and params.thread_id is None:
            raise errors.invalid_params("the topic `thread` is of one thread", "$.params.threadId")
        if params.topic in ("index", "settings") and params.thread_id is not None:
            raise errors.invalid_params(f"the topic `{params.topic}` is of no thread", "$.params.threadId")
        if len(daemon.subscriptions) + self._opening >= MAX_SUBSCRIPTIONS:
            raise errors.overloaded(f"{MAX_SUBSCRIPTIONS} subscriptions are open: close some", 1000)
        self.daemon.watch()
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
            self.daemon.wake()

        return Then(opened, answered)

    def close(self, params: CloseParams) -> None:
        self._ready.subscriptions.close(params.subscription_id)
        self.daemon.wake()

    # About the daemon

    async def status(self, params: NoParams) -> object:
        daemon = self._ready
        await daemon.engine.settled()
        store = daemon.store
        sequence = await store.read(reads.sequence)
        return results.Status(
            version=__version__,
            protocol_version=endpoints.PROTOCOL_VERSION,
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
                requests=self.daemon.session.in_flight,
                output_bytes=0 if self.daemon.output is None else self.daemon.output.pending_bytes,
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
