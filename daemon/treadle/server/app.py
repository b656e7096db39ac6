"""One daemon: stdin to frames to messages to methods, and back out; its beginning and its end."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from treadle.contract import errors
from treadle.contract.errors import RpcError
from treadle.contract.framing import FrameDecoder, frame
from treadle.core.engine import Engine, Overloaded
from treadle.core.recovery import Recovery
from treadle.domain.errors import Conflict, NotFound, Rejected
from treadle.domain.ids import Durability
from treadle.publish.subscriptions import Subscriptions
from treadle.publish.watch import Watch
from treadle.server.session import Conversation
from treadle.server.stdio import FdReader, FdWriter
from treadle.store.errors import Refused, StorageError, explained
from treadle.store.pages import BadCursor
from treadle.store.ports import BadQuery
from treadle.store.sqlite.store import Store

log = logging.getLogger(__name__)

OUTPUT_HIGH_WATER = 4 * 1024 * 1024  # bytes of answers that wait for the client; past it nothing more is read
NOTIFY_BELOW = 256 * 1024  # bytes: notifications are made when no more than this waits
GRACE = 1.0  # seconds in which the input of a client is still read that reads nothing any more
ENDING = 2.0  # seconds for each thing that an end waits for, where nobody is there any more who waits for answers
LOOK_AGAIN = (0.003, 0.01, 0.03, 0.06, 0.1, 0.3)  # seconds after the WAL file was written


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """data_dir: where the database lies. max_message_bytes: of one frame. linger: seconds a delta may wait."""

    data_dir: Path
    durability: Durability = "full"
    max_message_bytes: int = 32 * 1024 * 1024
    linger: float = 0.05


class Daemon:
    """What the methods work on: the store, its engine, and the subscriptions of the one client."""

    store: Store
    engine: Engine
    recovery: Recovery
    subscriptions: Subscriptions

    def __init__(self, options: Options) -> None:
        self.options = options
        self.conversation = Conversation()
        self.conversation.translate = translate
        self.output: FdWriter | None = None
        self.progress_token: str | int | None = None
        self._opening: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._watch: Watch | None = None
        self._looks: list[asyncio.TimerHandle] = []
        self._progress_begun = False
        self.watches_process = False

    # The beginning

    def begin_opening(self) -> None:
        """Open the data directory; where that failed, it is tried again."""
        if self._opening is not None and not (self._opening.done() and self._opening.exception()):
            return
        self._opening = asyncio.create_task(self._open())
        # Who asks for it is told; where nobody does, `run` tells stderr.
        self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def opened(self) -> None:
        """Return when there is a store. Raises Refused."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    async def _open(self) -> None:
        options = self.options
        try:
            self.store = store = await Store.open(
                options.data_dir, durability=options.durability, progress=self._tell_progress
            )
        except OSError as error:
            why = explained(error)
            raise Refused(f"{options.data_dir} cannot be the data directory: {why}", why.kind) from error
        self.subscriptions = Subscriptions(store, self.conversation.notify, self._output_ready)
        self.engine = Engine(store, linger=options.linger, published=self.subscriptions.appended)
        self.engine.start()
        self.recovery = Recovery(store, self.engine, self.subscriptions.wake)
        self._watch = Watch(options.data_dir, self._wal_was_written)
        self._background = [
            asyncio.create_task(self.subscriptions.run(), name="subscriptions"),
            asyncio.create_task(self.recovery.run(), name="recovery"),
        ]
        for task in self._background:
            task.add_done_callback(self._background_ended)
        await self.recovery.look()

    def _background_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s ended", task.get_name(), exc_info=error)
            # Subscribers would wait for ever; a client that sees its daemon end starts another.
            self.conversation.exit_status = 1
            self.conversation.exiting.set()

    def watch(self) -> None:
        """From now on somebody wants to know what other processes append."""
        if self._watch is not None:
            self._watch.start()

    def _wal_was_written(self) -> None:
        """Publish what there is now, and look again: a commit is seen only after the fsync that follows the write,
        and of that nothing tells. What takes longer still is seen with the next look for daemons that are gone."""
        loop = asyncio.get_running_loop()
        for look in self._looks:
            look.cancel()
        self.subscriptions.wake()
        self._looks = [loop.call_later(seconds, self.subscriptions.wake) for seconds in LOOK_AGAIN]

    def _tell_progress(self, done: int, total: int) -> None:
        """Of a rebuild: LSP's $/progress under the token that came with `initialize`, else a line in the log."""
        log.info("rebuilding the projections: %d of %d events", done, total)
        if self.progress_token is None:
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
        self.conversation.notify("$/progress", {"token": self.progress_token, "value": value})

    async def _output_ready(self) -> None:
        if self.output is not None:
            await self.output.drain(NOTIFY_BELOW)

    # The end

    async def close(self) -> None:
        """End what this daemon runs, then let go of the data directory."""
        if self._opening is None:
            return
        # It may be waiting for another treadle, which may be stopped. A rebuild that was begun is finished.
        self._opening.cancel()
        await asyncio.wait([self._opening])
        if self._opening.cancelled():
            self._opening = None
        if not hasattr(self, "engine"):
            return
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._watch is not None:
            self._watch.stop()
        try:
            async with asyncio.timeout(ENDING):
                await self.engine.settled()
                await self.recovery.interrupt_own("the daemon ended")
        except (StorageError, Overloaded, TimeoutError) as error:
            why = str(error) or "the database is locked"
            log.error("turns of this daemon stay for another one to interrupt: %s", why)
        finally:
            await self.engine.stop(now=True)
            await self.store.close()


def translate(error: Exception) -> RpcError | None:
    """What to answer where a method raised; None for what is a defect."""
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
    """Tells the client of warnings and errors, as LSP's window/logMessage; not one that does not read."""

    TYPES = ((logging.ERROR, 1), (logging.WARNING, 2))  # LSP's MessageType

    def __init__(self, conversation: Conversation, output: FdWriter) -> None:
        super().__init__(logging.WARNING)
        self._conversation = conversation
        self._output = output
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        type = next(type for level, type in self.TYPES if record.levelno >= level)
        self._loop.call_soon_threadsafe(self._tell, {"type": type, "message": record.getMessage()})

    def _tell(self, params: dict[str, object]) -> None:
        if self._output.pending_bytes <= OUTPUT_HIGH_WATER:
            self._conversation.notify("window/logMessage", params)


async def run(daemon: Daemon, stdin: int, stdout: int) -> int:
    """Serve one client on two descriptors until it says `exit`, closes its end or is gone; the exit status."""
    loop = asyncio.get_running_loop()
    conversation = daemon.conversation
    reader, writer = FdReader(stdin), FdWriter(stdout)
    decoder = FrameDecoder(daemon.options.max_message_bytes)
    daemon.output = writer

    def write(body: bytes) -> None:
        # Until the client's first byte nobody knows its framing, and nothing but a log message can want to go out.
        if decoder.framing is not None:
            writer.write(frame(decoder.framing, body))

    conversation.write = write
    client_log = ClientLog(conversation, writer)
    logging.getLogger("treadle").addHandler(client_log)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # Emacs ends its children with SIGHUP
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, conversation.gone.set)
    loop.set_exception_handler(_log_unhandled)
    reading = _read(reader, decoder, conversation, writer)
    ends = conversation.exiting.wait(), conversation.gone.wait(), _left(writer), _abandoned(daemon, reader, writer)
    failure = (await _one_of(reading, *ends))[0]
    status = conversation.exit_status or 0
    if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
        log.critical("reading ended", exc_info=failure)
        status = 1
    await _one_of(conversation.settled(), conversation.gone.wait(), writer.wait_closed())
    await _one_of(conversation.settled(), asyncio.sleep(ENDING))
    try:
        await daemon.close()
        await daemon.opened()
    except StorageError as error:
        log.error("%s", error)
        status = 1
    except Exception:
        log.exception("the daemon did not end well")
        status = 1
    logging.getLogger("treadle").removeHandler(client_log)
    await asyncio.sleep(0)  # what it was given last is still on its way through the loop
    if not daemon.watches_process:
        # A script's input has ended, and no more: a pager, or who else reads slowly, gets all the answers.
        await _one_of(writer.drain(0), conversation.exiting.wait(), conversation.gone.wait())
    await writer.flush_and_close(ENDING)
    reader.close()
    return status


async def _left(writer: FdWriter) -> None:
    """Return when nobody reads the answers any more, and what had been sent before has had its time to be taken."""
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
    """Return when one of them is done; what came of each, the others cancelled."""
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


async def _read(reader: FdReader, decoder: FrameDecoder, conversation: Conversation, writer: FdWriter) -> None:
    """Take what comes, as fast as the answers go out."""
    while data := await reader.read():
        for body in decoder.feed(data):
            await conversation.receive(body)
            if conversation.exiting.is_set():
                return
            if writer.pending_bytes > OUTPUT_HIGH_WATER:
                await writer.drain(OUTPUT_HIGH_WATER // 2)
    if (last := decoder.end()) is not None:
        await conversation.receive(last)
