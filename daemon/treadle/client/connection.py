"""The client's JSON-RPC 2.0 connection over two streams: requests, their answers, and inboxes of notifications."""

import asyncio
import contextlib
import itertools
from typing import Any

import msgspec
from msgspec import Struct

from treadle.client.inbox import Flow, Inbox
from treadle.contract.errors import RpcError
from treadle.contract.framing import FrameDecoder, Framing, frame

MAX_MESSAGE_BYTES = 1024 * 1024 * 1024
HELD_BYTES = 4 * 1024 * 1024  # of unconsumed notifications, above which the pipe is read only while a task waits
MOST_BYTES = 64 * 1024 * 1024  # of one subscription, above which it overflows and must be opened again
NEWEST = 100  # kept notifications of no subscription, which a program need not consume


class RemoteError(Exception):
    """The daemon answered with an error. code, message, data: as in docs/protocol.md, "Errors"."""

    def __init__(self, code: int, message: str, data: dict[str, Any]) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data

    @property
    def kind(self) -> str:
        """The kind of the error: `data.kind`, a stable name."""
        return str(self.data.get("kind", ""))


class Disconnected(Exception):
    """The daemon has closed the connection. Unanswered requests may or may not have been executed."""


class _ErrorMember(Struct):
    code: int
    message: str
    data: dict[str, Any] = {}


class _Message(Struct):
    id: int | str | None = None
    method: str | None = None
    params: dict[str, Any] = {}
    result: Any = None
    error: _ErrorMember | None = None


_decode = msgspec.json.Decoder(_Message | list[_Message]).decode


class Connection:
    """Sends requests, and receives answers and notifications. flow: decides when the pipe is read (backpressure).

    held_bytes, most_bytes: the limits of unconsumed notifications, in all inboxes and in one.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        framing: Framing,
        *,
        held_bytes: int = HELD_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.flow = Flow(held_bytes, most_bytes)
        self._inboxes = {"": Inbox(self.flow, newest=NEWEST)}
        self._reader = reader
        self._writer = writer
        self._framing = framing
        self._ids = itertools.count(1)
        self._answers: dict[int | str | None, tuple[asyncio.Future[Any], int]] = {}  # and the request's size
        self._why = "the daemon is gone"
        self._reading = asyncio.create_task(self._read())

    @property
    def is_gone(self) -> bool:
        """Whether the daemon has closed its end."""
        return self._reading.done()

    async def call(self, method: str, params: object = None) -> Any:
        """Send a request and return its result. It is written before the first await; waits while the pipe is full.

        Cancelling it cancels the request, if that is still possible (`$/cancelRequest`). Raises RemoteError and
        Disconnected.
        """
        id = next(self._ids)
        body = _encode(method, params, id=id)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[id] = answer, len(body)
        try:
            with self.flow.waiting():
                await self._send(body)
                return await answer
        except asyncio.CancelledError:
            if (answer.cancelled() or not answer.done()) and not self.is_gone:
                self._write(_encode("$/cancelRequest", {"id": id}))
            raise
        finally:
            self._answers.pop(id, None)

    async def notify(self, method: str, params: object = None) -> None:
        """Send a notification. Raises Disconnected."""
        with self.flow.waiting():
            await self._send(_encode(method, params))

    def inbox(self, subscription_id: str = "") -> Inbox:
        """The inbox of a subscription; without an id, the newest notifications that belong to no subscription."""
        if subscription_id not in self._inboxes:
            self._inboxes[subscription_id] = Inbox(self.flow)
        return self._inboxes[subscription_id]

    def drop_inbox(self, subscription_id: str) -> None:
        """Drop the inbox of a closed subscription."""
        if (inbox := self._inboxes.pop(subscription_id, None)) is not None:
            inbox.clear()

    async def close(self) -> None:
        """Close the daemon's input."""
        self._writer.close()
        with self.flow.waiting(), contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def ended(self) -> None:
        """Wait until the daemon has closed its end and all its output is read."""
        with self.flow.waiting():
            await asyncio.gather(self._reading, return_exceptions=True)

    async def abandon(self) -> None:
        """Stop reading."""
        self._reading.cancel()
        await self.ended()

    def gone(self) -> Disconnected:
        """The exception for a closed connection, with the reason."""
        return Disconnected(self._why)

    async def _send(self, body: bytes) -> None:
        if self.is_gone:
            raise self.gone()
        self._write(body)
        with contextlib.suppress(ConnectionError):  # an answer may still arrive; the end of input reports it
            await self._writer.drain()

    def _write(self, body: bytes) -> None:
        self._writer.write(frame(self._framing, body))

    async def _read(self) -> None:
        decoder = FrameDecoder(MAX_MESSAGE_BYTES)
        try:
            while data := await self._more():
                for body in decoder.feed(data):
                    self._receive(body)
        except ConnectionError:
            pass
        except (RpcError, msgspec.MsgspecError) as error:
            self._why = f"the daemon cannot be understood: {error}"
            self._writer.transport.abort()
        finally:
            for id in self._answers:
                self._fail(id, self.gone())
            self.flow.gone = self.gone()
            for inbox in self._inboxes.values():
                inbox.wake()

    async def _more(self) -> bytes:
        await self.flow.room()
        return await self._reader.read(1 << 18)

    def _receive(self, body: bytes | RpcError) -> None:
        if isinstance(body, RpcError):
            raise body
        message = _decode(body)
        for one in message if isinstance(message, list) else [message]:
            if one.method is not None:
                inbox = self.inbox(str(one.params.get("subscriptionId", "")))
                inbox.put({"method": one.method, **one.params}, len(body))
            elif one.error is not None:
                self._refused(one.id, one.error)
            elif one.id in self._answers and not self._answers[one.id][0].done():
                self._answers[one.id][0].set_result(one.result)

    def _refused(self, id: int | str | None, error: _ErrorMember) -> None:
        raised = RemoteError(error.code, error.message, error.data)
        if raised.kind == "messageTooLarge":  # the daemon could not read its id
            for large in [id for id, (_, size) in self._answers.items() if size > error.data["limitBytes"]]:
                self._fail(large, raised)
        else:
            self._fail(id, raised)

    def _fail(self, id: int | str | None, error: Exception) -> None:
        answer, _ = self._answers.get(id, (None, 0))
        if answer is not None and not answer.done():
            answer.set_exception(error)
            answer.exception()  # mark as retrieved: there may be no waiter


def _encode(method: str, params: object, **id: int) -> bytes:
    message = {"jsonrpc": "2.0", **id, "method": method, "params": {} if params is None else sparse(params)}
    return msgspec.json.encode(message)


def sparse(value: object) -> object:
    """A struct without fields that have their default, since an older daemon rejects fields that it does not know."""
    if isinstance(value, list | tuple):
        return [sparse(item) for item in value]
    if not isinstance(value, Struct):
        return value
    config = value.__struct_config__
    members: dict[str, object] = {} if config.tag_field is None else {config.tag_field: config.tag}
    for field in msgspec.structs.fields(value):
        member = getattr(value, field.name)
        if field.required or member != field.default:
            members[field.encode_name] = sparse(member)
    return members
