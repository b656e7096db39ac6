"""One daemon for one client: the I/O loop from stdin to methods and back, start and shutdown."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from treadle.contract import errors
from treadle.contract.errors import RpcError
from treadle.contract.framing import FrameDecoder, frame
from treadle.contract.params import InitializeParams
from treadle.core.engine import Engine, Overloaded
from treadle.core.recovery import Recovery
from treadle.domain.errors import Conflict, NotFound, Rejected
from treadle.domain.ids import Durability
from treadle.publish.subscriptions import SUBSCRIPTION_BOUNDS, SubscriptionBounds, Subscriptions
from treadle.publish.watch import Watch
from treadle.server.approvals import Approvals
from treadle.server.client_info import ClientInfo, client_info
from treadle.server.peer import Peer
from treadle.server.progress import Waiting
from treadle.server.session import Method, Session
from treadle.server.stdio import FdReader, FdWriter
from treadle.store.errors import Refused, StorageError, explained
from treadle.store.pages import PAGE_BOUNDS, BadCursor, PageBounds
from treadle.store.ports import BadQuery
from treadle.store.sqlite.store import Store

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # of one frame
OUTPUT_HIGH_WATER = 4 * 1024 * 1024  # bytes of answers that the client has not read; above it nothing more is read
NOTIFY_BELOW = 256 * 1024  # bytes of unread output above which no notifications are sent
GRACE = 1.0  # seconds for which input is still read after the client stopped reading
ENDING = 2.0  # seconds that each step of the shutdown may take once no client waits for answers
LOOK_AGAIN = (0.003, 0.01, 0.03, 0.06, 0.1, 0.3)  # seconds after the WAL file was written


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """data_dir: the data directory. max_message_bytes: the size of one frame. linger: seconds that a delta may wait.

    subscriptions, pages: their bounds.
    """

    data_dir: Path
    durability: Durability = "full"
    max_message_bytes: int = MAX_MESSAGE_BYTES
    linger: float = 0.05
    subscriptions: SubscriptionBounds = SUBSCRIPTION_BOUNDS
    pages: PageBounds = PAGE_BOUNDS


class Services:
    """What works on an open data directory. approvals: None where the client did not ask for dialogs."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        subscriptions: Subscriptions,
        watch: Watch,
        approvals: Approvals | None,
        recovery: Recovery,
    ) -> None:
        self.store = store
        self.engine = engine
        self.subscriptions = subscriptions
        self.watch = watch
        self.approvals = approvals
        self.recovery = recovery


class Daemon:
    """What the methods work on: the session of the client, and once the data directory is open, its services.

    methods: returns the methods of this daemon, by name. write: sends one message, as JSON. output: where that goes, if
    it can be slow.
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
        self.session = Session(methods(self), write=write, translate=translate, take_answer=self.peer.take_answer)
        self.client = ClientInfo()
        self._services: Services | None = None
        self._opening: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._looks: list[asyncio.TimerHandle] = []
        self._waiting: Waiting | None = None
        self._progress_begun = False
        self.watches_process = False

    @property
    def services(self) -> Services:
        """What works on the data directory. Raises RpcError while that is not open."""
        if self._services is None:
            raise errors.not_initialized()
        return self._services

    @property
    def store(self) -> Store:
        """The open data directory. Raises RpcError."""
        return self.services.store

    @property
    def engine(self) -> Engine:
        """What takes commands. Raises RpcError."""
        return self.services.engine

    @property
    def subscriptions(self) -> Subscriptions:
        """Those of the client. Raises RpcError."""
        return self.services.subscriptions

    # The beginning

    def begin_opening(self, params: InitializeParams) -> None:
        """Open the data directory for this client; after a failure `initialize` may try again."""
        if self._opening is not None and not (self._opening.done() and self._opening.exception()):
            return
        self.client = client_info(params)
        self._opening = asyncio.create_task(self._open())
        # `initialize` answers with the error; if it was cancelled, `run` logs it.
        self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def opened(self) -> None:
        """Return when there is a store. Raises Refused."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    async def _open(self) -> None:
        options = self.options
        try:
            store = await Store.open(
                options.data_dir, durability=options.durability, progress=self._tell_progress, pages=options.pages
            )
        except OSError as error:
            why = explained(error)
            raise Refused(f"{options.data_dir} cannot be the data directory: {why}", why.kind) from error
        if self.client.progress:
            self._waiting = Waiting(self.peer, self.session.notify)
        subscriptions = Subscriptions(
            store, self.session.notify, self._output_ready, length=self.client.length, bounds=options.subscriptions
        )
        engine = Engine(
            store, linger=options.linger, published=self._appended, waiting=self._waiting or (lambda waits: None)
        )
        approvals = None
        if self.client.approvals != "none":
            of_all = self.client.approvals == "all"
            approvals = Approvals(store, engine, self.peer, lambda: None if of_all else subscriptions.threads)
        watch = Watch(options.data_dir, self._wal_was_written)
        recovery = Recovery(store, engine, self.wake)
        self._services = Services(store, engine, subscriptions, watch, approvals, recovery)
        engine.start()
        self._background = [
            asyncio.create_task(subscriptions.run(), name="subscriptions"),
            asyncio.create_task(recovery.run(), name="recovery"),
        ]
        if approvals is not None:
            watch.start()
            self._background.append(asyncio.create_task(approvals.run(), name="approvals"))
        for task in self._background:
            task.add_done_callback(self._background_ended)
        await recovery.look()

    def _background_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s ended", task.get_name(), exc_info=error)
            # Subscribers would wait for ever; a client that sees its daemon end starts another.
            self.session.exit_status = 1
            self.session.exiting.set()

    def watch(self) -> None:
        """Notice from now on what other processes append."""
        self.services.watch.start()

    def wake(self) -> None:
        """Something was appended, here or elsewhere, or the client follows other threads."""
        if self._services is not None:
            self._services.subscriptions.wake()
            if self._services.approvals is not None:
                self._services.approvals.wake()

    def _appended(self, sequence: int) -> None:
        """This daemon has appended: the log is at `sequence`."""
        self.services.subscriptions.appended(sequence)
        if self.services.approvals is not None:
            self.services.approvals.wake()

    def _wal_was_written(self) -> None:
        """Publish what there is now, and look again: a commit is seen only after the fsync that follows the write,
        and of that nothing tells. What takes longer still is seen with the next look for daemons that are gone."""
        loop = asyncio.get_running_loop()
        for look in self._looks:
            look.cancel()
        self.wake()
        self._looks = [loop.call_later(seconds, self.wake) for seconds in LOOK_AGAIN]

    def _tell_progress(self, done: int, total: int) -> None:
        """Of a rebuild: LSP's $/progress under the token that came with `initialize`, else a line in the log."""
        log.info("rebuilding the projections: %d of %d events", done, total)
        if self.client.progress_token is None:
            return
        percentage = 100 if total == 0 else done * 100 // total
        kind = "end" if done == total else "report" if self._progress_begun else "begin"
        if kind == "end" and not self._progress_begun:
            return
        self._progress_begun = kind != "end"
        value: dict[str, object] = {"kind": kind, "message": f"{done} of {total} events"}
        if kind == "begin":
            value["title"] = "Rebuilding projections"
        if kind != "end":
            value["percentage"] = percentage
        self.session.notify("$/progress", {"token": self.client.progress_token, "value": value})

    async def _output_ready(self) -> None:
        if self.output is not None:
            await self.output.drain(NOTIFY_BELOW)

    # The end

    async def close(self) -> None:
        """Interrupt the turns of this daemon, then close the data directory."""
        if self._opening is None:
            return
        # It may wait for another process, which may be stopped. A rebuild that has started is finished.
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
        self._services.watch.stop()
        try:
            async with asyncio.timeout(ENDING):
                await self.engine.settled()
                await self._services.recovery.interrupt_own("the daemon ended")
        except (StorageError, Overloaded, TimeoutError) as error:
            why = str(error) or "the database is locked"
            log.error("failed to interrupt the turns of this daemon, another one will: %s", why)
        finally:
            await self.engine.stop(now=True)
            await self.store.close()


def translate(error: Exception) -> RpcError | None:
    """The error to answer for an exception of a handler; None for a defect."""
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
        case StorageError():
            return errors.request_failed(error.kind, str(error))
    return None


class ClientLog(logging.Handler):
    """Sends warnings and errors as LSP's window/logMessage, unless the client does not read."""

    TYPES = ((logging.ERROR, 1), (logging.WARNING, 2))  # LSP's MessageType

    def __init__(self, session: Session, output: FdWriter) -> None:
        super().__init__(logging.WARNING)
        self._session = session
        self._output = output
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        type = next(type for level, type in self.TYPES if record.levelno >= level)
        self._loop.call_soon_threadsafe(self._tell, {"type": type, "message": record.getMessage()})

    def _tell(self, params: dict[str, object]) -> None:
        if self._output.pending_bytes <= OUTPUT_HIGH_WATER:
            self._session.notify("window/logMessage", params)


class Transport:
    """Frames on two descriptors, in the framing that the client's first byte shows."""

    def __init__(self, stdin: int, stdout: int, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.reader, self.writer = FdReader(stdin), FdWriter(stdout)
        self.decoder = FrameDecoder(max_message_bytes)

    def write(self, body: bytes) -> None:
        """Send one message."""
        # Until the client's first byte the framing is unknown, and nothing but a log message can be sent.
        if self.decoder.framing is not None:
            self.writer.write(frame(self.decoder.framing, body))


async def serve(options: Options, methods: Callable[[Daemon], Mapping[str, Method]], stdin: int, stdout: int) -> int:
    """Serve one client on two descriptors; the exit status."""
    transport = Transport(stdin, stdout, options.max_message_bytes)
    return await run(Daemon(options, methods, transport.write, transport.writer), transport)


async def run(daemon: Daemon, transport: Transport) -> int:
    """Serve one client until it says `exit`, closes its end or is gone; the exit status."""
    loop = asyncio.get_running_loop()
    session, reader, writer = daemon.session, transport.reader, transport.writer
    client_log = ClientLog(session, writer)
    logging.getLogger("treadle").addHandler(client_log)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # Emacs ends its children with SIGHUP
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, session.gone.set)
    loop.set_exception_handler(_log_unhandled)
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
    await asyncio.sleep(0)  # what it was given last is still on its way through the loop
    if not daemon.watches_process:
        # A script's input has ended, and no more: a pager, or who else reads slowly, gets all the answers.
        await _one_of(writer.drain(0), session.exiting.wait(), session.gone.wait())
    await writer.flush_and_close(ENDING)
    reader.close()
    return status


async def _left(writer: FdWriter) -> None:
    """Return when the client has closed its end and earlier input has had time to be read."""
    await writer.wait_closed()
    await asyncio.sleep(GRACE)


async def _abandoned(daemon: Daemon, reader: FdReader, writer: FdWriter) -> None:
    """Return when a client that named its process has closed its end, and takes none of the answers that keep the
    daemon from seeing that. A script may: it is read by whoever takes its time."""
    before = 0
    while not (daemon.watches_process and reader.is_all and before == writer.pending_bytes > OUTPUT_HIGH_WATER // 2):
        before = writer.pending_bytes
        await asyncio.sleep(GRACE)


async def _one_of(*waits: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return the results once one of them is done; the others are cancelled."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio's own handler writes out futures with the exceptions in them, and those may hold a client's text."""
    log.error("%s", context["message"], exc_info=context.get("exception"))


async def _read(reader: FdReader, decoder: FrameDecoder, session: Session, writer: FdWriter) -> None:
    """Take what comes, as fast as the answers go out."""
    while data := await reader.read():
        for body in decoder.feed(data):
            await session.receive(body)
            if session.exiting.is_set():
                return
            if writer.pending_bytes > OUTPUT_HIGH_WATER:
                await writer.drain(OUTPUT_HIGH_WATER // 2)
    if (last := decoder.end()) is not None:
        await session.receive(last)
