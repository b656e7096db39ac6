"""A client for Python: spawns a daemon, calls its methods, follows its topics."""

import asyncio
import contextlib
import itertools
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from treadle.replica import Replica
from treadle.rpc.errors import RpcError
from treadle.rpc.framing import FrameDecoder, Framing, frame

DAEMON = (sys.executable, "-m", "treadle", "serve")
MAX_MESSAGE_BYTES = 1024 * 1024 * 1024


class RemoteError(Exception):
    """What the daemon answered instead of a result."""

    def __init__(self, code: int, message: str, data: dict[str, Any]) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data

    @property
    def kind(self) -> str:
        """`data.kind`, which is stable."""
        return str(self.data.get("kind", ""))


class Disconnected(Exception):
    """The daemon is gone; what was not answered may or may not have happened."""


class Subscription:
    """id: the subscription's. opened: the answer to subscription/open. replica: what it shows, kept up by `changes`."""

    def __init__(self, client: "Client", opened: dict[str, Any], replica: Replica) -> None:
        self.id: str = opened["subscriptionId"]
        self.opened = opened
        self.replica = replica
        self._client = client
        self._queue = client.queues[self.id]
        if client.is_gone:  # after the answer, and before this
            self._queue.put_nowait(None)
        if opened["snapshot"] is not None:
            self.replica.load(opened["snapshot"])
        else:
            self.replica.apply(opened["changes"] or (), opened["sequence"])

    async def next(self) -> dict[str, Any]:
        """The params of the next notification, applied to the replica. Raises Disconnected."""
        params = await self._queue.get()
        if params is None:
            self._queue.put_nowait(None)
            raise Disconnected("the daemon is gone")
        if "changes" in params:
            self.replica.apply(params["changes"], params["sequence"])
        return params

    async def until(self, sequence: int) -> Replica:
        """The replica, once it is at that sequence."""
        while self.replica.sequence < sequence:
            await self.next()
        return self.replica

    async def close(self) -> None:
        """Follow it no more."""
        await self._client.call("subscription/close", {"subscriptionId": self.id})
        self._client.queues.pop(self.id, None)


class Client:
    """process: the daemon's. info: its answer to `initialize`. queues: notifications by subscription; "" for others."""

    def __init__(self, process: asyncio.subprocess.Process, framing: Framing) -> None:
        self.process = process
        self.info: dict[str, Any] = {}
        self.queues: dict[str, asyncio.Queue[dict[str, Any] | None]] = defaultdict(asyncio.Queue)
        self._framing = framing
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    @property
    def is_gone(self) -> bool:
        """Whether the daemon has closed its end."""
        return self._reading.done()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message as it is."""
        assert self.process.stdin is not None
        self.process.stdin.write(frame(self._framing, msgspec.json.encode(message)))

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> "asyncio.Future[Any]":
        """Send a request; the future gives its result, or raises RemoteError or Disconnected."""
        id = next(self._ids)
        future = self._answers[id] = asyncio.get_running_loop().create_future()
        if self.is_gone:
            _disconnect(future)
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})
        return future

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result of a request."""
        return await self.request(method, params)

    async def dispatch(self, type: str, **fields: Any) -> Any:
        """The answer to one command."""
        return await self.request("command/dispatch", {"type": type, **fields})

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        self.send({"jsonrpc": "2.0", "method": method, "params": params or {}})

    async def subscribe(self, topic: str, *, replica: Replica | None = None, **params: Any) -> Subscription:
        """Follow a topic. replica: one that was kept from before, which is brought up to date."""
        if replica is None:
            replica = Replica()
        else:
            params.setdefault("afterSequence", replica.sequence)
        return Subscription(self, await self.call("subscription/open", {"topic": topic, **params}), replica)

    async def shut_down(self) -> int:
        """End the daemon as LSP has it; its exit status."""
        with contextlib.suppress(Disconnected):
            await self.call("shutdown")
        self.notify("exit")
        return await self.process.wait()

    async def close(self) -> int:
        """Close the daemon's stdin and wait for its end; its exit status."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.process.stdin.close()
            await self.process.stdin.wait_closed()
        status = await self.process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)
        return status

    async def _read(self) -> None:
        assert self.process.stdout is not None
        decoder = FrameDecoder(MAX_MESSAGE_BYTES)
        try:
            while data := await self.process.stdout.read(1 << 18):
                for body in decoder.feed(data):
                    self._receive(body)
        finally:
            for future in self._answers.values():
                if not future.done():
                    _disconnect(future)
            for queue in self.queues.values():
                queue.put_nowait(None)

    def _receive(self, body: bytes | RpcError) -> None:
        if isinstance(body, RpcError):
            raise body
        message = msgspec.json.decode(body)
        for one in message if isinstance(message, list) else [message]:
            if "method" in one:
                params = one.get("params", {})
                self.queues[params.get("subscriptionId", "")].put_nowait({"method": one["method"], **params})
            elif (future := self._answers.pop(one.get("id"), None)) is not None and not future.done():
                if "error" in one:
                    error = one["error"]
                    future.set_exception(RemoteError(error["code"], error["message"], error.get("data", {})))
                else:
                    future.set_result(one["result"])


def _disconnect(future: "asyncio.Future[Any]") -> None:
    future.set_exception(Disconnected("the daemon is gone"))
    future.exception()  # nobody may be waiting for it


@asynccontextmanager
async def connect(
    data_dir: Path,
    *arguments: str,
    framing: Framing = Framing.HEADERS,
    command: Sequence[str] = DAEMON,
    initialize: bool = True,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Client]:
    """A client of a daemon of its own, which ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        "--data-dir",
        str(data_dir),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=None if env is None else {**os.environ, **env},
    )
    client = Client(process, framing)
    try:
        if initialize:
            client.info = await client.call("initialize", {"processId": os.getpid()})
            client.notify("initialized")
        yield client
    finally:
        await client.close()
