"""The connection to one agent: requests in both directions, and what is wrong with what the agent writes. No I/O."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from treadle.agents.codec import AgentMessage, NotAMessage, decode_line, encode_error, encode_request
from treadle.agents.shapes import Json, as_object, sentence
from treadle.contract.errors import METHOD_NOT_FOUND, RpcError
from treadle.contract.framing import FrameDecoder, Framing

MAX_LINE_BYTES = 32 * 1024 * 1024
"""A line of an agent. Tool output comes in lines of megabytes."""
MAX_PROBLEMS = 20
"""The newest problems that are kept."""


class AgentFailed(Exception):
    """An agent could not be started, ended, stayed silent or refused a request. The text is a sentence for people."""


class AgentConnection:
    """JSON-RPC with an agent.

    write: sends bytes to it. received: is called with each of its requests and notifications, in the order in which it
    wrote them. Each request must be answered. problems: what the agent wrote that is not a message.
    """

    def __init__(
        self, write: Callable[[bytes], None], received: Callable[["AgentConnection", AgentMessage], None]
    ) -> None:
        self.problems: deque[str] = deque(maxlen=MAX_PROBLEMS)
        self._write, self._received = write, received
        self._decoder = FrameDecoder(MAX_LINE_BYTES, Framing.LINES)
        self._ids = itertools.count(1)
        # Only answers are looked up here: the agent numbers its own requests, and may use the same ids.
        self._answers: dict[int, asyncio.Future[AgentMessage]] = {}
        self._heard = 0.0
        self._end: str | None = None

    async def call(self, method: str, params: object, patience: float) -> Json:
        """Send a request and return its result. Everything that the agent wrote before has been received by then.

        patience: for how many seconds the agent may send nothing at all. Raises AgentFailed.
        """
        if self._end is not None:
            raise AgentFailed(self._end)
        loop, id = asyncio.get_running_loop(), next(self._ids)
        answer = self._answers[id] = loop.create_future()
        self._heard = loop.time()
        try:
            self._write(encode_request(id, method, params))
            while not answer.done():
                left = self._heard + patience - loop.time()
                if left <= 0:
                    raise AgentFailed(f"the agent has not answered {method}, and sent nothing for {patience:g} s")
                await asyncio.wait([answer], timeout=left)
            message = answer.result()
        finally:
            del self._answers[id]
            answer.cancel()
        try:
            if message.error and (error := msgspec.json.decode(message.error)) is not None:
                raise AgentFailed(f"the agent refused {method}: {sentence(error)}")
            return as_object(msgspec.json.decode(message.result))
        except msgspec.DecodeError as error:
            raise AgentFailed(f"the answer to {method} is invalid: {error}") from None

    def refuse(self, request: AgentMessage) -> None:
        """Answer a request of the agent: there is no such method. An agent may wait for the answer."""
        self._write(encode_error(request.id, METHOD_NOT_FOUND, "Method not found"))

    def feed(self, data: bytes) -> None:
        """Take what the agent wrote, in pieces of any size."""
        for line in self._decoder.feed(data):
            self._receive(line)

    def end(self, reason: str) -> None:
        """Nothing more comes from the agent: requests fail with the reason."""
        if self._end is not None:
            return
        if (rest := self._decoder.end()) is not None:
            self._receive(rest)
        self._end = reason
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AgentFailed(reason))

    def _receive(self, line: bytes | RpcError) -> None:
        if isinstance(line, RpcError):
            self.problems.append(f"a line is longer than {MAX_LINE_BYTES:,} bytes and was skipped")
            return
        try:
            message = decode_line(line)
        except NotAMessage as problem:
            self.problems.append(str(problem))
            return
        self._heard = asyncio.get_running_loop().time()
        if message.method:
            self._received(self, message)
            return
        answer = self._answers.get(_key(message.id))
        if answer is not None and not answer.done():  # else it comes too late
            answer.set_result(message)


def _key(id: msgspec.Raw) -> Any:
    """The id of an answer, if it is a number. We send no other."""
    try:
        return msgspec.json.decode(id, type=int | float)
    except msgspec.DecodeError:
        return None
