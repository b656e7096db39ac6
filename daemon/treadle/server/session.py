"""JSON-RPC 2.0 with one client: every request gets exactly one answer, whatever it holds.

Which methods there are, and who waits for answers of the client, is known to pygls (server/peer.py). That takes longer
to import than all else together, so a conversation begins without it: what only it can tell is held until it has come.
"""

import asyncio
import contextlib
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, cast

import msgspec
from msgspec import Raw

from treadle.contract import errors
from treadle.contract.errors import RpcError
from treadle.core.errors import is_exit
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
MAX_IN_FLIGHT: Final = 10_000  # requests that are not answered; past it nothing more is read
MAX_IN_FLIGHT_BYTES: Final = 16 * 1024 * 1024  # of what they brought and what their answers may hold; the same
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024  # of answers to a JSON-RPC batch; past it the rest of it is refused


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


class Method(msgspec.Struct, eq=False, dict=True):  # dict: pygls marks what it registers
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


class NotificationMethod(msgspec.Struct, eq=False, dict=True):
    """A notification that the daemon listens to. handler: gets the params as they came."""

    name: str
    summary: str
    handler: Callable[[Raw | None], None]


class CancelParams(msgspec.Struct):
    id: Raw


class Carrier(Protocol):
    """What pygls is to a conversation."""

    @property
    def features(self) -> Mapping[str, object]:
        """The registry: every method and notification that there is, by name."""
        ...

    def take_answer(self, response: Response) -> None:
        """It is the client's, to a request that was sent to it."""
        ...


class Conversation:
    """With one client, from its first message to its last.

    features: what may be asked for, by name. load: brings pygls, and with it all of them; until then there are those
    that were given to begin with. write: takes one message, or one batch, as JSON. translate: what to answer when a
    handler raises. exiting: the client has said `exit`. gone: nobody is there any more who waits for answers.
    """

    def __init__(self) -> None:
        self.features: Mapping[str, object] = {}
        self.load: Callable[[], Awaitable[Carrier]] | None = None
        self.write: Callable[[bytes], None] = lambda body: None
        self.translate: Callable[[Exception], RpcError | None] = lambda error: None
        self.initialized = False
        self._shutdown = False
        self._carrier: Carrier | None = None
        self._loading: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._held: deque[tuple[Request | Notification, Answers]] = deque()  # came before `_beginning` was done
        self._held_bytes = 0
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
            answers = Batch(sum(isinstance(m, Request | Invalid) for m in messages), self.write)
            for message in messages:
                self._receive(message, answers)
                await self._room()
        else:
            self._receive(messages, Answers(self.write))
            await self._room()

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""
        return self._in_flight + len(self._held)

    async def settled(self) -> None:
        """Return when no request waits for its answer."""
        await self._until(lambda: self.in_flight == 0)

    async def _room(self) -> None:
        """Return when more may be taken: at once, or where too much waits, when there is less of it."""
        if self._held:
            await self._until(lambda: len(self._held) < MAX_IN_FLIGHT and self._held_bytes < MAX_IN_FLIGHT_BYTES)
        await self._room_for_answers()

    async def _room_for_answers(self) -> None:
        """The same, of what was begun: then when half of that is answered."""
        if self._in_flight >= MAX_IN_FLIGHT or self._in_flight_bytes >= MAX_IN_FLIGHT_BYTES:
            await self._until(
                lambda: self._in_flight <= MAX_IN_FLIGHT // 2 and self._in_flight_bytes <= MAX_IN_FLIGHT_BYTES // 2
            )

    async def _until(self, holds: Callable[[], bool]) -> None:
        if not holds():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((holds, future))
            await future

    def _receive(self, message: Message, answers: Answers) -> None:
        if self._beginning is not None and isinstance(message, Request | Notification) and not _is_urgent(message):
            self._held.append((message, answers))
            self._held_bytes += len(message.params or b"")
        else:
            self._take(message, answers)

    def _take(self, message: Message, answers: Answers) -> None:
        match message:
            case Request():
                self._request(message, answers)
            case Notification():
                self._notification(message)
            case Response():
                self._response(message)
            case Invalid():
                answers.add(encode_error(message.id, message.error))

    def _request(self, request: Request, answers: Answers) -> None:
        try:
            if answers.size > MAX_BATCH_BYTES:
                raise errors.overloaded("the batch has many answers", 0)
            method = self._method(request)
            params = decode_params(request.params, self._decoder(method))
            self.initialized = self.initialized or method.name == "initialize"
            self._shutdown = self._shutdown or method.name == "shutdown"
            result = method.handler(params, request.params) if method.raw else method.handler(params)
        except BaseException as error:
            if is_exit(error):
                raise
            answers.add(encode_error(request.id, self._error(error, request.method)))
            return
        if inspect.iscoroutine(result):
            task: asyncio.Task[Any] = asyncio.ensure_future(cast(Coroutine[Any, Any, Any], result))
            self._answer_later(request, task, task.cancel, answers)
            if method.name == "initialize":
                self._beginning = asyncio.create_task(self._begin(task))
        elif isinstance(result, asyncio.Future):
            self._answer_later(request, result, result.cancel, answers)
        elif hasattr(result, "future"):
            ticket = cast(Cancellable, result)
            self._answer_later(request, ticket.future, ticket.cancel, answers)
        else:
            self._answer(request, result, answers)

    # The beginning

    async def loaded(self) -> Mapping[str, object]:
        """The features, once all of them are there."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        await asyncio.shield(self._loading)
        return self.features

    async def _load(self) -> None:
        assert self.load is not None
        try:
            self._carrier = await self.load()
        except Exception as error:
            log.critical("pygls cannot be loaded: %s", error)
            self.exit_status = 1
            self.exiting.set()
            raise
        self.features = self._carrier.features

    async def _begin(self, opened: "asyncio.Task[Any]") -> None:
        """Keep what comes until `initialize` is answered and all is loaded, so that a script need not wait for that."""
        await asyncio.wait([opened])
        self.initialized = not opened.cancelled() and opened.exception() is None
        if self.initialized:
            with contextlib.suppress(Exception):  # it was told, and is what each request is answered
                await self.loaded()
        while self._held:
            message, answers = self._held.popleft()
            self._held_bytes -= len(message.params or b"")
            self._take(message, answers)
            self._release_waiters()
            await self._room_for_answers()
        self._beginning = None

    def _method(self, request: Request) -> Method:
        """The method that is asked for, where it may be asked for now. Raises RpcError."""
        if request.key in self._pending:
            raise errors.invalid_request("a request with this id is still in flight")
        if self._shutdown:
            raise errors.invalid_request("the daemon is shutting down: only `exit` may follow")
        method = self.features.get(request.method)
        if request.method == "initialize":
            if self.initialized:
                raise errors.invalid_request("`initialize` came before")
        elif not self.initialized and not (isinstance(method, Method) and method.early):
            raise errors.not_initialized()
        if not isinstance(method, Method):
            raise errors.internal_error() if self._carrier is None else errors.method_not_found(request.method)
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
            self._pending[key] = (future, cancel)
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

    def _count(self, request: Request, sign: int) -> None:
        method = self.features.get(request.method)
        self._in_flight += sign
        self._in_flight_bytes += sign * (len(request.params or b"") + getattr(method, "answer_bytes", 0))

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
        translated = self.translate(error) if isinstance(error, Exception) else None
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
        else:
            handler = self.features.get(notification.method)
            if isinstance(handler, NotificationMethod):
                handler.handler(notification.params)
            elif isinstance(handler, Method):  # JSON-RPC 2.0, section 4.1: it happens, and nobody hears how it went
                request = Request(Raw(b"null"), notification.method, notification.params)
                self._request(request, Answers(lambda answer: None))
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
        for held in [held for held in self._held if isinstance(held[0], Request) and held[0].key == key]:
            self._held.remove(held)
            self._held_bytes -= len(held[0].params or b"")
            held[1].add(encode_error(cast(Request, held[0]).id, errors.cancelled()))

    def _response(self, response: Response) -> None:
        if self._carrier is None:
            log.debug("an answer to what was not asked")
        else:
            self._carrier.take_answer(response)

    # Out

    def notify(self, method: str, params: Any | None = None) -> None:
        """Send a notification."""
        self.write(encode_notification(method, params))


URGENT: Final = frozenset({CANCEL, "exit"})


def _is_urgent(message: Request | Notification) -> bool:
    """Whether it is about what is held, and not one of it."""
    return isinstance(message, Notification) and message.method in URGENT
