"""JSON-RPC 2.0 over pygls: every request gets exactly one answer, whatever it holds.

pygls brings the server, the registry of methods and the requests to the client; overridden is what it does with a
message and how it sends one. Its own way answers malformed input with silence, makes a class for each message and sends
tracebacks; hence the pin to 2.1 in pyproject.toml.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import msgspec
from msgspec import Raw
from pygls.protocol import JsonRPCProtocol
from pygls.server import JsonRPCServer

from treadle.rpc import errors
from treadle.rpc.codec import (
    Invalid,
    Message,
    Notification,
    Request,
    Response,
    decode_body,
    decode_params,
    encode_batch,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)
from treadle.rpc.errors import RpcError

log = logging.getLogger(__name__)

CANCEL: Final = "$/cancelRequest"
MAX_IN_FLIGHT: Final = 10_000  # requests that are not answered; past it nothing more is read
MAX_IN_FLIGHT_BYTES: Final = 16 * 1024 * 1024  # of what they brought and what their answers may hold; the same
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024  # of answers to a JSON-RPC batch; past it the rest of it is refused

Reply = Callable[[bytes], None]


class Cancellable(Protocol):
    """What a handler returns while there is no result yet."""

    @property
    def future(self) -> "asyncio.Future[Any]": ...

    def cancel(self) -> bool:
        """Whether the request was taken back, and nothing of it will happen."""
        ...


class Then(msgspec.Struct, frozen=True):
    """A result, and what to do once its answer is sent."""

    result: object
    then: Callable[[], None]


@dataclass
class Method:
    """params, result: the types on the wire. handler: gives the result, an awaitable of it, or a Cancellable.

    early: may come before `initialize`. raw: the handler also gets the params as they came. answer_bytes: about what
    the answer may hold, where that is much.
    """

    name: str
    summary: str
    params: Any
    result: Any
    handler: Callable[..., object]
    early: bool = False
    raw: bool = False
    answer_bytes: int = 0


class CancelParams(msgspec.Struct):
    id: Raw


class TreadleProtocol(JsonRPCProtocol):
    """One client's side of the conversation.

    write: takes one message, or one batch, as JSON. translate: what to answer when a handler raises.
    exiting: the client has said `exit`. gone: nobody is there any more who waits for answers.
    """

    def __init__(self, server: JsonRPCServer, converter: Any) -> None:
        super().__init__(server, converter)
        self.write: Callable[[bytes], None] = lambda body: None
        self.translate: Callable[[Exception], RpcError | None] = lambda error: None
        self.initialized = False
        self._opening = False
        self._held: list[tuple[Request, Reply]] = []  # came after `initialize`, before its answer
        self.exit_status: int | None = None
        self.exiting = asyncio.Event()
        self.gone = asyncio.Event()
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._pending: dict[object, tuple[asyncio.Future[Any], Callable[[], bool]]] = {}
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._cancel_decoder = msgspec.json.Decoder(CancelParams)

    # In

    async def receive(self, body: bytes | RpcError) -> None:
        """Take one frame, or what was wrong with it; return when there is room for another one."""
        if isinstance(body, RpcError):
            self.write(encode_error(Raw(b"null"), body))
            return
        messages = decode_body(body)
        if isinstance(messages, list):
            batch = Batch(sum(isinstance(m, Request | Invalid) for m in messages), self.write)
            for message in messages:
                if isinstance(message, Request) and batch.size > MAX_BATCH_BYTES:
                    batch.add(encode_error(message.id, errors.overloaded("the batch has many answers", 0)))
                    continue
                self._receive(message, batch.add)
                await self._room()
        else:
            self._receive(messages, self.write)
            await self._room()

    def handle_message(self, message: Any) -> None:
        """Where pygls would dispatch a message that it decoded; here it is one of codec's."""
        self._receive(cast(Message, message), self.write)

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""
        return self._in_flight

    async def settled(self) -> None:
        """Return when no request waits for its answer."""
        await self._until(lambda: self._in_flight == 0)

    async def _room(self) -> None:
        """Return when more may be taken: at once, or where too much is in flight, when half of that is answered."""
        if self._in_flight >= MAX_IN_FLIGHT or self._in_flight_bytes >= MAX_IN_FLIGHT_BYTES:
            await self._until(
                lambda: self._in_flight <= MAX_IN_FLIGHT // 2 and self._in_flight_bytes <= MAX_IN_FLIGHT_BYTES // 2
            )

    async def _until(self, holds: Callable[[], bool]) -> None:
        if not holds():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((holds, future))
            await future

    def _receive(self, message: Message, reply: Reply) -> None:
        match message:
            case Request():
                self._request(message, reply)
            case Notification():
                self._notification(message)
            case Response():
                self._response(message)
            case Invalid():
                reply(encode_error(message.id, message.error))

    def _request(self, request: Request, reply: Reply) -> None:
        if self._opening:
            self._held.append((request, reply))
            self._count(request, 1)
            return
        try:
            method = self._method(request)
            params = decode_params(request.params, self._decoder(method))
            self.initialized = self.initialized or method.name == "initialize"
            self._shutdown = self._shutdown or method.name == "shutdown"
            result = method.handler(params, request.params) if method.raw else method.handler(params)
        except Exception as error:
            reply(encode_error(request.id, self._error(error, request.method)))
            return
        if inspect.iscoroutine(result):
            task: asyncio.Task[Any] = asyncio.ensure_future(cast(Coroutine[Any, Any, Any], result))
            self._answer_later(request, task, task.cancel, reply)
            if method.name == "initialize":
                self._hold_until(task)
        elif isinstance(result, asyncio.Future):
            self._answer_later(request, result, result.cancel, reply)
        elif hasattr(result, "future"):
            ticket = cast(Cancellable, result)
            self._answer_later(request, ticket.future, ticket.cancel, reply)
        else:
            self._answer(request, result, reply)

    def _hold_until(self, opened: "asyncio.Task[Any]") -> None:
        """Keep what comes until `initialize` is answered, so that a script need not wait for that."""
        self._opening = True

        def release(opened: "asyncio.Task[Any]") -> None:
            self._opening = False
            self.initialized = not opened.cancelled() and opened.exception() is None
            held, self._held = self._held, []
            for request, reply in held:
                self._count(request, -1)
                self._request(request, reply)
            self._release_waiters()

        opened.add_done_callback(release)

    def _method(self, request: Request) -> Method:
        """The method that is asked for, where it may be asked for now. Raises RpcError."""
        if request.key in self._pending:
            raise errors.invalid_request("a request with this id is still in flight")
        if self._shutdown:
            raise errors.invalid_request("the daemon is shutting down: only `exit` may follow")
        method = self.fm.features.get(request.method)
        if request.method == "initialize":
            if self.initialized:
                raise errors.invalid_request("`initialize` came before")
        elif not self.initialized and not (isinstance(method, Method) and method.early):
            raise errors.not_initialized()
        if not isinstance(method, Method):
            raise errors.method_not_found(request.method)
        return method

    def _decoder(self, method: Method) -> msgspec.json.Decoder[Any]:
        decoder = self._decoders.get(method.name)
        if decoder is None:
            decoder = self._decoders[method.name] = msgspec.json.Decoder(method.params)
        return decoder

    def _answer_later(
        self, request: Request, future: "asyncio.Future[Any]", cancel: Callable[[], bool], reply: Reply
    ) -> None:
        key = request.key
        if key is not None:
            self._pending[key] = (future, cancel)
        self._count(request, 1)

        def done(future: "asyncio.Future[Any]") -> None:
            self._count(request, -1)
            if key is not None:
                self._pending.pop(key, None)
            if future.cancelled():
                reply(encode_error(request.id, errors.cancelled()))
            elif (error := future.exception()) is not None:
                reply(encode_error(request.id, self._error(error, request.method)))
            else:
                self._answer(request, future.result(), reply)
            self._release_waiters()

        future.add_done_callback(done)

    def _count(self, request: Request, sign: int) -> None:
        method = self.fm.features.get(request.method)
        self._in_flight += sign
        self._in_flight_bytes += sign * (len(request.params or b"") + getattr(method, "answer_bytes", 0))

    def _release_waiters(self) -> None:
        for holds, waiter in self._waiting:
            if holds() and not waiter.done():
                waiter.set_result(None)
        self._waiting = [(holds, waiter) for holds, waiter in self._waiting if not waiter.done()]

    def _answer(self, request: Request, result: object, reply: Reply) -> None:
        try:
            body = encode_response(request.id, result.result if isinstance(result, Then) else result)
        except Exception as error:
            body = encode_error(request.id, self._error(error, request.method))
        reply(body)
        if isinstance(result, Then):
            result.then()

    def _error(self, error: BaseException, method: str) -> RpcError:
        if isinstance(error, RpcError):
            return error
        translated = self.translate(error) if isinstance(error, Exception) else None
        if translated is not None:
            return translated
        log.error("%s failed", method, exc_info=error)
        return errors.internal_error()

    def _notification(self, notification: Notification) -> None:
        if notification.method == CANCEL:
            self._cancel(notification)
        elif notification.method == "exit":
            held = any(request.method == "shutdown" for request, _ in self._held)
            self.exit_status = 0 if self._shutdown or held else 1
            self.exiting.set()
        else:
            handler = self.fm.features.get(notification.method)
            if isinstance(handler, NotificationMethod):
                handler.handler(notification.params)
            elif isinstance(handler, Method):  # JSON-RPC 2.0, section 4.1: it happens, and nobody hears how it went
                self._request(Request(Raw(b"null"), notification.method, notification.params), lambda answer: None)
            else:
                log.debug("a notification that nobody here listens to: %s", notification.method)

    def _cancel(self, notification: Notification) -> None:
        try:
            params = decode_params(notification.params, self._cancel_decoder)
        except RpcError:
            log.debug("%s without an id", CANCEL)
            return
        key = Request(params.id, CANCEL, None).key
        pending = self._pending.get(key)
        if pending is not None:
            pending[1]()
        for held in [held for held in self._held if held[0].key == key]:
            self._held.remove(held)
            self._count(held[0], -1)
            held[1](encode_error(held[0].id, errors.cancelled()))

    def _response(self, response: Response) -> None:
        key = response.key
        if key not in self._request_futures:
            log.debug("an answer to what was not asked")
            return
        result, error = None, None
        try:
            if response.error is not None:
                error = msgspec.json.decode(response.error, type=errors.ErrorObject)
            elif response.result is not None:
                result = msgspec.json.decode(response.result)
        except (ValueError, RecursionError):  # codec does not look into what answers hold
            error = errors.ErrorObject(errors.INTERNAL_ERROR, "the answer cannot be decoded", {})
        self._handle_response(cast(Any, key), result, cast(Any, error))

    # Out

    def notify(self, method: str, params: Any | None = None) -> None:
        """Send a notification."""
        self.write(encode_notification(method, params))

    def _send_data(self, data: Any) -> None:
        """What pygls sends by itself: requests to the client."""
        self.write(encode_request(data.id, data.method, data.params))


@dataclass
class NotificationMethod:
    """A notification that the daemon listens to. handler: gets the params as they came."""

    name: str
    summary: str
    handler: Callable[[Raw | None], None]


class Batch:
    """Collects the answers to a batch and sends them together (JSON-RPC 2.0, section 6); none for none.

    size: in bytes, of those that it has.
    """

    def __init__(self, expected: int, reply: Reply) -> None:
        self._missing = expected
        self._reply = reply
        self._answers: list[bytes] = []
        self.size = 0

    def add(self, answer: bytes) -> None:
        self._answers.append(answer)
        self.size += len(answer)
        self._missing -= 1
        if self._missing == 0:
            self._reply(encode_batch(self._answers))


def register(server: JsonRPCServer, method: Method | NotificationMethod) -> None:
    """Put a method into pygls' registry, which refuses a name that is there already."""
    server.feature(method.name)(cast(Any, method))
