"""A turn of the scripted agent, for its scripts."""

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from scripted_agent.streams import ANY, Json, ask, encode, write


class Cancelled(Exception):
    """The turn was cancelled, and its script does not mind."""


class Refused(Exception):
    """The prompt is answered with an error: its code, message and data."""


@dataclass
class Session:
    id: str
    cwd: str
    mode: str = "ask"
    model: str = "small"
    cost: float = 0.0
    used: int = 0
    history: list[Json] = field(default_factory=list)


class Turn:
    """lines: are written together with the answer. after: is called once the answer is written."""

    def __init__(self, session: Session, prompt_id: Any, text: str) -> None:
        self.session, self.prompt_id, self.text = session, prompt_id, text
        self.cancelled = threading.Event()
        self.stop = self.word("stop", "end_turn")
        self.lines: list[bytes] = []
        self.after: Any = lambda: None
        self.usage: Json = {}

    def word(self, name: str, default: str) -> str:
        """The value of a NAME=VALUE in the prompt."""
        return next((w.partition("=")[2] for w in self.text.split() if w.startswith(f"{name}=")), default)

    def line(self, kind: str, /, **members: Any) -> bytes:
        """The line of an update, which becomes part of the history."""
        update = {"sessionUpdate": kind, **members}
        self.session.history.append(update)
        return encode(method="session/update", params={"sessionId": self.session.id, "update": update})

    def update(self, kind: str, /, **members: Any) -> None:
        write(self.line(kind, **members))

    def say(self, text: str, id: str | None = None, kind: str = "agent_message_chunk") -> None:
        members = {} if id is None else {"messageId": id}
        self.update(kind, content={"type": "text", "text": text}, **members)

    def tool(self, title: str, kind: str = "execute", **members: Any) -> str:
        """Announce a tool call; return its id, which is unique in the session."""
        call = f"call-{sum(u['sessionUpdate'] == 'tool_call' for u in self.session.history)}"
        self.update("tool_call", toolCallId=call, title=title, kind=kind, status="pending", **members)
        return call

    def call(self, call: str, status: str, **members: Any) -> None:
        self.update("tool_call_update", toolCallId=call, status=status, **members)

    def request(
        self, method: str, params: Json, id: Any = ANY, withdrawn: bool = False
    ) -> tuple[Any, "queue.Queue[Json]"]:
        return ask(method, {"sessionId": self.session.id, **params}, id, withdrawn)

    def wait(self, answer: "queue.Queue[Json]") -> Json:
        """Wait for an answer. Raises Cancelled."""
        while True:
            try:
                return answer.get(timeout=0.02)
            except queue.Empty:
                self.check()

    def check(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        if self.cancelled.wait(seconds):
            raise Cancelled

    @staticmethod
    def never() -> None:
        while True:
            time.sleep(600)
