"""One daemon for one client: start, shutdown, and the I/O loop between stdin, the session and stdout."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from treadle.contract import errors
from treadle.contract.errors import RpcError
from treadle.contract.framing import FrameDecoder, frame
from treadle.contract.params import InitializeParams
from treadle.contract.results import LogMessage, Progress, ProgressValue
from treadle.core.engine import Engine, Overloaded
from treadle.domain.errors import Conflict, NotFound, Rejected
from treadle.domain.ids import Durability
from treadle.publish.subscriptions import SUBSCRIPTION_BOUNDS, SubscriptionBounds, Subscriptions
from treadle.server.approvals import Approvals
from treadle.server.client_info import ClientInfo, client_info
from treadle.server.peer import Peer
from treadle.server.progress import Waiting
from treadle.server.services import ENDING, Services, open_store, set_up_loop
from treadle.server.session import Method, RpcSession
from treadle.server.stdio import FdReader, FdWriter
from treadle.store.errors import StorageError
from treadle.store.pages import PAGE_BOUNDS, BadCursor, PageBounds
from treadle.store.ports import BadQuery
from treadle.store.sqlite.store import Store
from treadle.workspace.git import GitError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # of one frame
OUTPUT_HIGH_WATER = 4 * 1024 * 1024  # bytes of output not read by the client, above which no input is read
NOTIFY_BELOW = 256 * 1024  # bytes of unread output above which no notifications are sent
GRACE = 1.0  # seconds for which input is still read after the client stopped reading


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a daemon. max_message_bytes: limit of a frame. linger: seconds that a delta may wait to be merged.

    subscriptions, pages: their bounds. agents_files: returns where agents are configured, the last one takes
    precedence. persistent: whether the data directory outlives the daemon.
    """

    data_dir: Path
    durability: Durability = "full"
    max_message_bytes: int = MAX_MESSAGE_BYTES
    linger: float = 0.05
    subscriptions: SubscriptionBounds = SUBSCRIPTION_BOUNDS
    pages: PageBounds = PAGE_BOUNDS
    agents_files: Callable[[], tuple[Path, ...]] = tuple
    runs_agents: bool = True
    persistent: bool = True


class Daemon:
    """A daemon: the session of its client, and its services once the data directory is open.

    methods: returns the methods of this daemon, by name. write: sends one message, as JSON. output: the writer behind
    `write`, None if it cannot be slow.
    """

    def __init__(
        self,
        options: Options,
        methods: Callable[["Daemon"], Mapping[str, Method]],
        write: Callable[[bytes], None],
        output: FdWriter | None = None,
    ) -> None:
        self.options = options
        self.output = output
        self.peer = Peer(write)
        self.session = RpcSession(methods(self), write=write, translate=translate, take_answer=self.peer.take_answer)
        self.client = ClientInfo()
        self._services: Services | None = None
        self._subscriptions: Subscriptions | None = None
        self._approvals: Approvals | None = None
        self._opening: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._waiting: Waiting | None = None
        self._progress_begun = False
        self.watches_process = False

    @property
    def services(self) -> Services:
        """The services on the open data directory. Raises RpcError if it is not open."""
        if self._services is None:
            raise errors.not_initialized()
        return self._services

    @property
    def store(self) -> Store:
        """The open data directory. Raises RpcError if it is not open."""
        return self.services.store

    @property
    def engine(self) -> Engine:
        """The engine. Raises RpcError if the data directory is not open."""
        return self.services.engine

    @property
    def subscriptions(self) -> Subscriptions:
        """The client's subscriptions. Raises RpcError if the data directory is not open."""
        if self._subscriptions is None:
            raise errors.not_initialized()
        return self._subscriptions

    # Start

    def begin_opening(self, params: InitializeParams) -> None:
        """Start to open the data directory for this client. After a failure, `initialize` may retry."""
        if self._opening is not None and not (self._opening.done() and self._opening.exception()):
            return
        self.client = client_info(params)
        self._opening = asyncio.create_task(self._open())
        # `initialize` answers with the error; if it was cancelled, `run` logs it.
        self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def opened(self) -> None:
        """Wait until the data directory is open. Raises Refused."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    async def _open(self) -> None:
        options = self.options
        store = await open_store(
            options.data_dir, durability=options.durability, progress=self._tell_progress, pages=options.pages
        )
        if self.client.progress:
            self._waiting = Waiting(self.peer, self.session.notify)
        services = Services(
            store,
            options.data_dir,
            linger=options.linger,
            agents_files=options.agents_files,
            runs_agents=options.runs_agents,
            persistent=options.persistent,
            appended=self._appended,
            woken=self._wake,
            waiting=self._waiting or (lambda waits: None),
        )
        subscriptions = self._subscriptions = Subscriptions(
            store, self.session.notify, self._output_ready, length=self.client.length, bounds=options.subscriptions
        )
        self._services = services
        self._background = [asyncio.create_task(subscriptions.run(), name="subscriptions")]
        if self.client.approvals != "none":
            of_all = self.client.approvals == "all"
            self._approvals = Approvals(
                store, services.engine, self.peer, lambda: None if of_all else subscriptions.threads
            )
            services.watch.start()
            self._background.append(asyncio.create_task(self._approvals.run(), name="approvals"))
        for task in [*self._background, *await services.start()]:
            task.add_done_callback(self._background_ended)

    def _background_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s ended", task.get_name(), exc_info=error)
            # Without this, subscribers would wait forever; a client that sees its daemon exit starts another.
            self.session.exit_status = 1
            self.session.exiting.set()

    def watch(self) -> None:
        """Start to watch for appends of other processes."""
        self.services.watch.start()

    def wake(self) -> None:
        """Look for changes: this or another process may have appended, or the followed threads have changed."""
        if self._services is not None:
            self._services.wake()

    def _wake(self) -> None:
        if self._subscriptions is not None:
            self._subscriptions.wake()
        if self._approvals is not None:
            self._approvals.wake()

    def _appended(self, sequence: int) -> None:
        """Publish what this daemon appended; the log is at `sequence`."""
        self.subscriptions.appended(sequence)
        if self._approvals is not None:
            self._approvals.wake()

    def _tell_progress(self, done: int, total: int) -> None:
        """Report the progress of a rebuild: in the log, and as LSP's $/progress if `initialize` had a token."""
        log.info("rebuilding the projections: %d of %d events", done, total)
        if self.client.progress_token is None:
            return
        kind: Literal["begin", "report", "end"] = (
            "end" if done == total else "report" if self._progress_begun else "begin"
        )
        if kind == "end" and not self._progress_begun:
            return
        self._progress_begun = kind != "end"
        value = ProgressValue(
            kind,
            message=f"{done} of {total} events",
            title="Rebuilding projections" if kind == "begin" else UNSET,
            percentage=UNSET if kind == "end" else done * 100 // total,
        )
        self.session.notify("$/progress", Progress(self.client.progress_token, value))

    async def _output_ready(self) -> None:
        if self.output is not None:
            await self.output.drain(NOTIFY_BELOW)

    # Shutdown

    async def close(self) -> None:
        """Interrupt the turns of this daemon and close the data directory."""
        if self._opening is None:
            return
        # Opening may be waiting for another process, which may be stopped. A rebuild that has started is finished.
        self._opening.cancel()
        await asyncio.wait([self._opening])
        if self._opening.cancelled():
            self._opening = None
        if self._services is None:
            return
        if self._waiting is not None:
            await self._waiting.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._services.close()


def translate(error: Exception) -> RpcError | None:
    """The JSON-RPC error for an exception of a handler; None if the exception is a bug."""
    match error:
        case NotFound():
            return RpcError(errors.NOT_FOUND, str(error), {"kind": error.kind, **error.details})
        case Conflict():
            return RpcError(errors.CONFLICT, str(error), {"kind": error.kind, **error.details})
        case Rejected():
            return RpcError(errors.REJECTED, str(error), {"kind": error.kind, **error.details})
        case BadCursor():
            return errors.invalid_params(str(error), "$.params.cursor")
        case BadQuery():
            return errors.invalid_params(str(error), "$.params.query")
        case Overloaded():
            return errors.overloaded(str(error), retry_after_ms=100)
        case GitError():
            return errors.request_failed(error.kind, str(error))
        case StorageError():
            return errors.request_failed(error.kind, str(error))
    return None


class ClientLog(logging.Handler):
    """Sends warnings and errors to the client as LSP's window/logMessage, unless it does not read its input."""

    def __init__(self, session: RpcSession, output: FdWriter) -> None:
        super().__init__(logging.WARNING)
        self._session = session
        self._output = output
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        type: Literal[1, 2] = 1 if record.levelno >= logging.ERROR else 2
        self._loop.call_soon_threadsafe(self._tell, LogMessage(type, record.getMessage()))

    def _tell(self, params: LogMessage) -> None:
        if self._output.pending_bytes <= OUTPUT_HIGH_WATER:
            self._session.notify("window/logMessage", params)


class Transport:
    """Reads and writes frames on two descriptors, in the framing that the client's first byte indicates."""

    def __init__(self, stdin: int, stdout: int, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.reader, self.writer = FdReader(stdin), FdWriter(stdout)
        self.decoder = FrameDecoder(max_message_bytes)

    def write(self, body: bytes) -> None:
        """Send one message."""
        # Before the client's first byte the framing is unknown: only log messages can occur then, and are dropped.
        if self.decoder.framing is not None:
            self.writer.write(frame(self.decoder.framing, body))


async def serve(options: Options, methods: Callable[[Daemon], Mapping[str, Method]], stdin: int, stdout: int) -> int:
    """Serve one client on two descriptors; return the exit status."""
    transport = Transport(stdin, stdout, options.max_message_bytes)
    return await run(Daemon(options, methods, transport.write, transport.writer), transport)


async def run(daemon: Daemon, transport: Transport) -> int:
    """Serve one client until it sends `exit`, closes its end or has exited; return the exit status."""
    session, reader, writer = daemon.session, transport.reader, transport.writer
    client_log = ClientLog(session, writer)
    logging.getLogger("treadle").addHandler(client_log)
    set_up_loop(session.gone.set)
    reading = _read(reader, transport.decoder, session, writer)
    ends = session.exiting.wait(), session.gone.wait(), _left(writer), _abandoned(daemon, reader, writer)
    failure = (await _one_of(reading, *ends))[0]
    status = session.exit_status or 0
    if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
        log.critical("reading ended", exc_info=failure)
        status = 1
    await _one_of(session.settled(), session.gone.wait(), writer.wait_closed())
    await _one_of(session.settled(), asyncio.sleep(ENDING))
    try:
        await daemon.close()
        await daemon.opened()
    except StorageError as error:
        log.error("%s", error)
        status = 1
    except Exception:
        log.exception("the daemon failed to shut down cleanly")
        status = 1
    logging.getLogger("treadle").removeHandler(client_log)
    await asyncio.sleep(0)  # let the loop deliver the last messages, which were queued with call_soon
    if not daemon.watches_process:
        # Only the input of a script has ended: a slow reader of its output, such as a pager, still gets all answers.
        await _one_of(writer.drain(0), session.exiting.wait(), session.gone.wait())
    await writer.flush_and_close(ENDING)
    reader.close()
    return status


async def _left(writer: FdWriter) -> None:
    """Wait until the client has closed its end and earlier input has had time to be read."""
    await writer.wait_closed()
    await asyncio.sleep(GRACE)


async def _abandoned(daemon: Daemon, reader: FdReader, writer: FdWriter) -> None:
    """Wait until a client that sent `processId` has closed its input and reads none of the daemon's output.

    Reading pauses while much output is unread, so the end of the input would not be noticed. Does not apply to scripts
    (no `processId`), whose output may be read slowly.
    """
    before = 0
    while not (daemon.watches_process and reader.is_all and before == writer.pending_bytes > OUTPUT_HIGH_WATER // 2):
        before = writer.pending_bytes
        await asyncio.sleep(GRACE)


async def _one_of(*waits: Coroutine[Any, Any, Any]) -> list[Any]:
    """Wait until one of them is done and cancel the others; return all results and exceptions."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: FdReader, decoder: FrameDecoder, session: RpcSession, writer: FdWriter) -> None:
    """Receive messages, and pause while too much output is unread (backpressure)."""
    while data := await reader.read():
        for body in decoder.feed(data):
            await session.receive(body)
            if session.exiting.is_set():
                return
            if writer.pending_bytes > OUTPUT_HIGH_WATER:
                await writer.drain(OUTPUT_HIGH_WATER // 2)
    if (last := decoder.end()) is not None:
        await session.receive(last)
