"""A daemon in this process, for commands that change something and end. It runs no agents."""

import asyncio
from pathlib import Path

import msgspec
from msgspec import Raw

from treadle.contract.receipts import ErasureStatus, Receipt
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
    return (await call_all(data_dir, [(method, params)]))[-1]


async def call_all(data_dir: Path, requests: list[tuple[str, bytes]]) -> list[dict[str, Raw]]:
    """The same for several requests, one after the other. An error ends them: it is the last answer."""
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
        answers: list[dict[str, Raw]] = []
        if requests[0][0] not in FIRST:
            hello = await ask(b"0", "initialize", b"{}")
            if "error" in hello:
                return [hello]
        for number, (method, params) in enumerate(requests, 1):
            answers.append(await ask(b"%d" % number, method, params))
            if "error" in answers[-1]:
                break
        return answers
    finally:
        await daemon.close()


class RequestFailed(UserError):
    """The daemon answered with an error, whose sentence this is. kind: of the error, see docs/protocol.md."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def result_of(data_dir: Path, method: str, params: object) -> Raw:
    """The result of one request. Raises RequestFailed."""
    return results_of(data_dir, (method, params))[0]


def results_of(data_dir: Path, *requests: tuple[str, object]) -> list[Raw]:
    """The results of several requests to one daemon, one after the other. Raises RequestFailed."""
    encoded = [(method, msgspec.json.encode(params)) for method, params in requests]
    answers = asyncio.run(call_all(data_dir, encoded))
    if "error" in answers[-1]:
        error = msgspec.json.decode(answers[-1]["error"])
        raise RequestFailed(error["message"], (error.get("data") or {}).get("kind", ""))
    return [answer["result"] for answer in answers]


def dispatch(data_dir: Path, *commands: Command) -> list[StoredEvent]:
    """Execute commands, all or none; return the stored events. Raises RequestFailed."""
    return _events(result_of(data_dir, "command/dispatchBatch", {"commands": commands}))


def dispatch_and_purge(data_dir: Path, *commands: Command) -> tuple[list[StoredEvent], list[Receipt]]:
    """The same for commands that erase something; wait until the bytes are gone. The receipts are the newest first."""
    answer, status = results_of(
        data_dir, ("command/dispatchBatch", {"commands": commands}), ("erasure/status", {"wait": True})
    )
    return _events(answer), msgspec.json.decode(status, type=ErasureStatus).erasures


def _events(answer: Raw) -> list[StoredEvent]:
    results = msgspec.json.decode(answer, type=BatchDispatched).results
    return [event for result in results for event in result.events]
