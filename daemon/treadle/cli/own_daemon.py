"""A daemon in this process, for commands that change something and end. It runs no agents."""

import asyncio
from pathlib import Path

import msgspec
from msgspec import Raw

from treadle.contract.results import BatchDispatched
from treadle.domain.commands import Command
from treadle.domain.events import StoredEvent
from treadle.server.app import Daemon, Options
from treadle.server.handlers import methods_of
from treadle.store.errors import UserError

FIRST = frozenset({"initialize", "rpc.discover"})
"""Methods that may be called before `initialize`."""


async def call(data_dir: Path, method: str, params: bytes) -> dict[str, Raw]:
    """Run a daemon in this process for one request; return the members of its answer as JSON text."""
    messages: asyncio.Queue[bytes] = asyncio.Queue()
    daemon = Daemon(Options(data_dir=data_dir, linger=0.0, runs_agents=False), methods_of, messages.put_nowait)

    async def ask(id: bytes, method: str, params: bytes) -> dict[str, Raw]:
        head = b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":' % (id, msgspec.json.encode(method))
        await daemon.session.receive(b"%b%b}" % (head, params))
        while True:
            message = msgspec.json.decode(await messages.get(), type=dict[str, Raw])
            if bytes(message.get("id", b"")) == id:  # others are notifications
                return message

    try:
        if method not in FIRST:
            hello = await ask(b"0", "initialize", b"{}")
            if "error" in hello:
                return hello
        return await ask(b"1", method, params)
    finally:
        await daemon.close()


class RequestFailed(UserError):
    """The daemon answered with an error, whose sentence this is. kind: of the error, see docs/protocol.md."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def result_of(data_dir: Path, method: str, params: object) -> Raw:
    """The result of one request. Raises RequestFailed."""
    answer = asyncio.run(call(data_dir, method, msgspec.json.encode(params)))
    if "error" in answer:
        error = msgspec.json.decode(answer["error"])
        raise RequestFailed(error["message"], (error.get("data") or {}).get("kind", ""))
    return answer["result"]


def dispatch(data_dir: Path, *commands: Command) -> list[StoredEvent]:
    """Execute commands, all or none; return the stored events. Raises RequestFailed."""
    answer = result_of(data_dir, "command/dispatchBatch", {"commands": commands})
    results = msgspec.json.decode(answer, type=BatchDispatched).results
    return [event for result in results for event in result.events]
