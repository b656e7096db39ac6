"""The connection to one agent: requests in both directions, and what is wrong with what the agent writes. No I/O."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from treadle.agents.codec import (
    AgentMessage,
    NotAMessage,
    decode_line,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)
from treadle.agents.shapes import Json, as_object, sentence
from treadle.contract.errors import METHOD_NOT_FOUND, RpcError
from treadle.contract.framing import FrameDecoder, Framing

MAX_LINE_BYTES = 32 * 1024 * 1024
"""A line of an agent. Tool output comes in lines of megabytes."""
MAX_PROBLEMS = 20
"""The newest problems that are kept."""


PATIENCES = 10
"""How many times its patience a call waits for an agent that sends messages, but no answer."""
POLL = 0.05
"""Seconds. A call does not look more often than this whether its time is over."""


class AgentFailed(Exception):
    """An agent could not be started, ended, stayed silent or refused a request. The text is a sentence for people."""


class AgentRefused(AgentFailed):
    """An agent answered a request with an error. code: of JSON-RPC, None if it has none. error: all of it."""

    def __init__(self, method: str, error: Any) -> None:
        super().__init__(f"the agent refused {method}: {sentence(error)}")
        self.error: Json = as_object(error)
        code = self.error.get("code")
        self.code: int | None = code if isinstance(code, int) else None


Answered = Callable[[Json | AgentFailed], None]
"""Takes the result of a request, or why there is none."""


class AgentConnection:
    """JSON-RPC with an agent.

    write: sends bytes to it. received: is called with each of its requests and notifications, in the order in which it
    wrote them. Each request must be answered. ended: is called once nothing more comes from it, with the reason.
    told: is called with each line that is not a message. problems: the last of them, and what is wrong with them.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        received: Callable[["AgentConnection", AgentMessage], None],
        ended: Callable[[str], None] = lambda reason: None,
        told: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.problems: deque[str] = deque(maxlen=MAX_PROBLEMS)
        self._write, self._received, self._ended, self._told = write, received, ended, told
        self._decoder = FrameDecoder(MAX_LINE_BYTES, Framing.LINES)
        self._ids = itertools.count(1)
        # Only answers are looked up here: the agent numbers its own requests, and may use the same ids.
        self._open: dict[int, tuple[str, Answered]] = {}
        self._heard = 0.0
        self._paused_at: float | None = None
        self._paused_for = 0.0
        self._end: str | None = None

    def request(self, method: str, params: object, answered: Answered) -> int:
        """Send a request and return its id.

        answered: is called once, after `received` for all that the agent wrote before its answer, and before that for
        what it wrote after it. If the agent has ended, it is called at once.
        """
        id = next(self._ids)
        if self._end is not None:
            answered(AgentFailed(self._end))
        else:
            self._open[id] = method, answered
            self._write(encode_request(id, method, params))
        return id

    async def call(
        self,
        method: str,
        params: object,
        patience: float | None,
        answered: Callable[[], None] = lambda: None,
    ) -> Json:
        """Send a request and return its result. Everything that the agent wrote before has been received by then.

        patience: for how many seconds the agent may send nothing at all; it may take PATIENCES times as long in all.
        None: as long as it takes. answered: see `request`. Raises AgentFailed.
        """

        def take(result: Json | AgentFailed) -> None:
            if not answer.done():
                answer.set_result(result)
                answered()

        answer: asyncio.Future[Json | AgentFailed] = asyncio.get_running_loop().create_future()
        self._heard = started = self._now()
        id = self.request(method, params, take)
        try:
            while not answer.done():
                left = None if patience is None else self._left(method, patience, started)
                await asyncio.wait([answer], timeout=left)
            result = answer.result()
        finally:
            self._open.pop(id, None)
            answer.cancel()
        if isinstance(result, AgentFailed):
            raise result
        return result

    def notify(self, method: str, params: object) -> None:
        """Send a notification."""
        self._write(encode_notification(method, params))

    def respond(self, id: msgspec.Raw, result: object) -> None:
        """Answer a request of the agent. id: exactly as it came."""
        self._write(encode_result(id, result))

    def refuse(self, request: AgentMessage) -> None:
        """Answer a request of the agent: there is no such method. An agent may wait for the answer."""
        self._write(encode_error(request.id, METHOD_NOT_FOUND, "Method not found"))

    def pause(self) -> None:
        """Nothing is read until `resume`: this time counts for no patience."""
        if self._paused_at is None:
            self._paused_at = asyncio.get_running_loop().time()

    def resume(self) -> None:
        """Reading continues."""
        if self._paused_at is not None:
            self._paused_for += asyncio.get_running_loop().time() - self._paused_at
            self._paused_at = None

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read."""
        return self._paused_at is not None

    def feed(self, data: bytes) -> None:
        """Take what the agent wrote, in pieces of any size. After the end it is ignored."""
        if self._end is None:
            for line in self._decoder.feed(data):
                if self._end is None:
                    self._receive(line)

    def end(self, reason: str) -> None:
        """Nothing more comes from the agent: requests fail with the reason."""
        if self._end is not None:
            return
        if isinstance(rest := self._decoder.end(), bytes):
            self._receive(rest)
        self._end = reason
        unanswered, self._open = self._open, {}
        for _, answered in unanswered.values():
            answered(AgentFailed(reason))
        self._ended(reason)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes from the agent."""
        return self._end is not None

    def _now(self) -> float:
        """Seconds, of which none pass while reading is paused."""
        now = asyncio.get_running_loop().time() if self._paused_at is None else self._paused_at
        return now - self._paused_for

    def _left(self, method: str, patience: float, started: float) -> float:
        """The seconds until the time of a call is over. Raises AgentFailed if it is."""
        now = self._now()
        if now >= self._heard + patience:
            raise AgentFailed(f"the agent has not answered {method}, and sent nothing for {patience:g} s")
        if now >= started + patience * PATIENCES:
            raise AgentFailed(f"the agent has not answered {method} for {patience * PATIENCES:g} s")
        return max(POLL, min(self._heard + patience, started + patience * PATIENCES) - now)

    def _receive(self, line: bytes | RpcError) -> None:
        if isinstance(line, RpcError):
            self.end(f"the agent wrote a line of more than {MAX_LINE_BYTES:,} bytes")  # it may have been an answer
            return
        try:
            message = decode_line(line)
        except NotAMessage as problem:
            self.problems.append(str(problem))
            self._told(line.decode(errors="replace"))
            return
        self._heard = self._now()
        if message.method:
            self._received(self, message)
        elif (request := self._open.pop(_key(message.id), None)) is not None:  # else nobody waits for the answer
            method, answered = request
            answered(_result(method, message))


def _result(method: str, message: AgentMessage) -> Json | AgentFailed:
    """What an answer says."""
    try:
        if message.error and (error := msgspec.json.decode(message.error)) is not None:
            return AgentRefused(method, error)
        return as_object(msgspec.json.decode(message.result))
    except msgspec.DecodeError as error:
        return AgentFailed(f"the answer to {method} is invalid: {error}")


def _key(id: msgspec.Raw) -> Any:
    """The id of an answer, if it is a number. We send no other."""
    try:
        return msgspec.json.decode(id, type=int | float)
    except msgspec.DecodeError:
        return None
