"""JSON-RPC 2.0 with one client: requests, answers, cancellation. Every request gets exactly one answer."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import Any, Final

import msgspec
from msgspec import Raw

from treadle.contract import errors
from treadle.contract.errors import RpcError
from treadle.core.errors import is_exit
from treadle.core.group_commit import Submission
from treadle.server.answers import Answers, Batch
from treadle.server.codec import (
    Invalid,
    Message,
    Notification,
    Request,
    Response,
    decode_body,
    encode_error,
    encode_notification,
    encode_response,
)
from treadle.server.params import decode_params

log = logging.getLogger(__name__)

CANCEL: Final = "$/cancelRequest"
MAX_IN_FLIGHT: Final = 10_000  # requests in flight, at which no more input is read
MAX_IN_FLIGHT_BYTES: Final = 16 * 1024 * 1024  # of their params and expected answers, at which no more input is read
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024  # of answers to a JSON-RPC batch, above which its other requests are refused


class Then(msgspec.Struct, frozen=True):
    """A result, and a function to call once the answer is sent."""

    result: object
    then: Callable[[], None]


class Method(msgspec.Struct, frozen=True):
    """A method and its handler. params, result: their types on the wire.

    handler: returns the result, a coroutine or future of it, or a Submission. early: allowed before `initialize`. raw:
    the handler also gets the params as JSON text. answer_bytes: the expected size of a large answer, otherwise 0.
    """

    name: str
    summary: str
    params: Any
    result: Any
    handler: Callable[..., object]
    early: bool = False
    raw: bool = False
    answer_bytes: int = 0


class RawCancelParams(msgspec.Struct):
    id: Raw


class RpcSession:
    """The JSON-RPC session with one client.

    methods: by name. ignored: notifications without effect. write: sends one message or batch, as JSON. translate: the
    error to answer for an exception of a handler. take_answer: receives the client's answers to requests of the daemon.

    exiting: the client has sent `exit`. gone: the client has exited, or a signal asked the daemon to stop.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        write: Callable[[bytes], None],
        translate: Callable[[Exception], RpcError | None],
        take_answer: Callable[[Response], None],
        ignored: frozenset[str] = frozenset({"initialized", "$/setTrace"}),
        max_in_flight: int = MAX_IN_FLIGHT,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
        max_batch_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        self.methods = methods
        self._write = write
        self._translate = translate
        self._take_answer = take_answer
        self._ignored = ignored
        self._max_in_flight = max_in_flight
        self._max_in_flight_bytes = max_in_flight_bytes
        self._max_batch_bytes = max_batch_bytes
        self.initialized = False
        self._shutdown = False
        self._initializing = False
        self._held: list[tuple[Request | Notification, Answers]] = []  # received while `initialize` was in progress
        self.exit_status: int | None = None
        self.exiting = asyncio.Event()
        self.gone = asyncio.Event()
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._pending: dict[object, Callable[[], bool]] = {}
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._cancel_decoder = msgspec.json.Decoder(RawCancelParams)

    # Incoming messages

    async def receive(self, body: bytes | RpcError) -> None:
        """Process one frame, or answer its framing error; return when another frame may be read (backpressure)."""
        if isinstance(body, RpcError):
            self._write(encode_error(Raw(b"null"), body))
            return
        messages = decode_body(body)
        if isinstance(messages, list):
            answers = Batch(sum(isinstance(m, Request | Invalid) for m in messages), self._write)
            for message in messages:
                self._receive(message, answers)
                await self._room()
        else:
            self._receive(messages, Answers(self._write))
            await self._room()

    @property
    def in_flight(self) -> int:
        """The number of requests that are not answered yet."""
        return self._in_flight

    async def settled(self) -> None:
        """Wait until no request is in flight."""
        await self._until(lambda: self._in_flight == 0)

    async def _room(self) -> None:
        """Wait until another message may be processed: at a limit, until no more than half of it is in flight."""
        if self._in_flight >= self._max_in_flight or self._in_flight_bytes >= self._max_in_flight_bytes:
            await self._until(
                lambda: (
                    self._in_flight <= self._max_in_flight // 2
                    and self._in_flight_bytes <= self._max_in_flight_bytes // 2
                )
            )

    async def _until(self, holds: Callable[[], bool]) -> None:
        if not holds():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((holds, future))
            await future

    def _receive(self, message: Message, answers: Answers) -> None:
        match message:
            case Request() | Notification() if self._initializing and not _is_urgent(message):
                self._held.append((message, answers))
                self._count(message, 1)
            case Request():
                self._request(message, answers)
            case Notification():
                self._notification(message)
            case Response():
                self._take_answer(message)
            case Invalid():
                answers.add(encode_error(message.id, message.error))

    def _request(self, request: Request, answers: Answers) -> None:
        try:
            if answers.size > self._max_batch_bytes:
                raise errors.overloaded("the batch has many answers", 0)
            method = self._method(request)
            params = decode_params(request.params, self._decoder(method))
            self._shutdown = self._shutdown or method.name == "shutdown"
            result = method.handler(params, request.params) if method.raw else method.handler(params)
        except BaseException as error:
            if is_exit(error):
                raise
            answers.add(encode_error(request.id, self._error(error, request.method)))
            return
        match result:
            case Submission():
                self._answer_later(request, result.future, result.cancel, answers)
            case CoroutineType() | asyncio.Future():
                future = asyncio.ensure_future(result)
                self._answer_later(request, future, future.cancel, answers)
                if method.name == "initialize":
                    self._initializing = True
                    future.add_done_callback(self._initialize_answered)
            case _:
                self._answer(request, result, answers)

    def _initialize_answered(self, future: "asyncio.Future[Any]") -> None:
        """Process the messages that were held during `initialize`, so that a script need not wait for its answer."""
        self._initializing = False
        self.initialized = not future.cancelled() and future.exception() is None
        held, self._held = self._held, []
        for message, answers in held:
            self._count(message, -1)
            self._receive(message, answers)
        self._release_waiters()

    def _method(self, request: Request) -> Method:
        """The method of a request. Raises RpcError if it is unknown or not allowed now."""
        if request.key in self._pending:
            raise errors.invalid_request("a request with this id is still in flight")
        if self._shutdown:
            raise errors.invalid_request("the daemon is shutting down: only `exit` may follow")
        method = self.methods.get(request.method)
        if request.method == "initialize":
            if self.initialized:
                raise errors.invalid_request("`initialize` came before")
        elif not self.initialized and not (method is not None and method.early):
            raise errors.not_initialized()
        if method is None:
            raise errors.method_not_found(request.method)
        return method

    def _decoder(self, method: Method) -> msgspec.json.Decoder[Any]:
        decoder = self._decoders.get(method.name)
        if decoder is None:
            decoder = self._decoders[method.name] = msgspec.json.Decoder(method.params)
        return decoder

    def _answer_later(
        self, request: Request, future: "asyncio.Future[Any]", cancel: Callable[[], bool], answers: Answers
    ) -> None:
        key = request.key
        if key is not None:
            self._pending[key] = cancel
        self._count(request, 1)

        def done(future: "asyncio.Future[Any]") -> None:
            self._count(request, -1)
            if key is not None:
                self._pending.pop(key, None)
            if future.cancelled():
                answers.add(encode_error(request.id, errors.cancelled()))
            elif (error := future.exception()) is not None:
                answers.add(encode_error(request.id, self._error(error, request.method)))
            else:
                self._answer(request, future.result(), answers)
            self._release_waiters()

        future.add_done_callback(done)

    def _count(self, message: Request | Notification, sign: int) -> None:
        method = self.methods.get(message.method)
        self._in_flight += sign
        self._in_flight_bytes += sign * (len(message.params or b"") + (0 if method is None else method.answer_bytes))

    def _release_waiters(self) -> None:
        for holds, waiter in self._waiting:
            if holds() and not waiter.done():
                waiter.set_result(None)
        self._waiting = [(holds, waiter) for holds, waiter in self._waiting if not waiter.done()]

    def _answer(self, request: Request, result: object, answers: Answers) -> None:
        try:
            body = encode_response(request.id, result.result if isinstance(result, Then) else result)
        except Exception as error:
            body = encode_error(request.id, self._error(error, request.method))
        answers.add(body)
        if isinstance(result, Then):
            result.then()

    def _error(self, error: BaseException, method: str) -> RpcError:
        if isinstance(error, RpcError):
            return error
        translated = self._translate(error) if isinstance(error, Exception) else None
        if translated is not None:
            return translated
        log.error("%s failed", method, exc_info=error)
        return errors.internal_error()

    def _notification(self, notification: Notification) -> None:
        if notification.method == CANCEL:
            self._cancel(notification)
        elif notification.method == "exit":
            held = any(message.method == "shutdown" for message, _ in self._held)
            self.exit_status = 0 if self._shutdown or held else 1
            self.exiting.set()
        elif notification.method in self.methods:  # JSON-RPC 2.0, section 4.1: executed but not answered
            request = Request(Raw(b"null"), notification.method, notification.params)
            self._request(request, Answers(lambda answer: None))
        elif notification.method not in self._ignored:
            log.debug("unknown notification: %s", notification.method)

    def _cancel(self, notification: Notification) -> None:
        try:
            params = decode_params(notification.params, self._cancel_decoder)
        except RpcError:
            log.debug("%s without an id", CANCEL)
            return
        key = Request(params.id, CANCEL, None).key
        pending = self._pending.get(key)
        if pending is not None:
            pending()
        for held in self._held:
            message, answers = held
            if isinstance(message, Request) and message.key == key:
                self._held.remove(held)
                self._count(message, -1)
                answers.add(encode_error(message.id, errors.cancelled()))
                return

    # Outgoing messages

    def notify(self, method: str, params: Any | None = None) -> None:
        """Send a notification."""
        self._write(encode_notification(method, params))


def _is_urgent(message: Request | Notification) -> bool:
    """Whether a message is processed at once, even while `initialize` is in progress."""
    return isinstance(message, Notification) and message.method in (CANCEL, "exit")
