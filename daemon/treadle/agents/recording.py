"""Reads recordings of the Agent Client Protocol and maps them to treadle commands.

A recording has one JSON text per line: `{"t": seconds, "dir": "client" | "agent", "msg": JSON-RPC message}`. `dir` is
the sender. This module matches requests with responses and messages with sessions; mapper.py maps each session.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from treadle.agents.mapper import METHODS, AgentSession, Commands, Prompt
from treadle.agents.shapes import Json, as_object, as_text, fitting
from treadle.domain.commands import Command

__all__ = ["BadRecording", "Frame", "SessionMapper", "read_frames"]


class BadRecording(ValueError):
    """A line is not a valid frame. The message names the line."""


class Frame(Struct, frozen=True):
    """One recorded message. t: seconds since the recording began. dir: the sender. msg: the JSON-RPC message."""

    t: float
    dir: Literal["client", "agent"]
    msg: Json


def read_frames(source: str | Path | Iterable[bytes]) -> Iterator[Frame]:
    """Yield the frames of a recording, given its path or its lines. Blank lines are skipped.

    Raises BadRecording for a line that is not a frame, OSError for a path that cannot be read.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as lines:
            yield from read_frames(lines)
        return
    decode = msgspec.json.Decoder(Frame).decode
    for number, line in enumerate(source, 1):
        if line.strip():
            try:
                # treadle rejects U+0000, which tools sometimes print: replace it with U+FFFD. The text
                # `\\u0000` is not U+0000: it is an escaped backslash and five letters.
                yield decode(re.sub(rb"(?<!\\)((?:\\\\)*)\\u0000", rb"\1\\ufffd", line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadRecording(f"line {number} is not a frame of a recording: {error}") from error


class SessionMapper:
    """Maps the messages between one client and one agent.

    project_id: the project of all threads. thread_id, title: those of the first session's thread. By default, and for
    every further session, a thread has the id of its session, and the first line of the first prompt as its title.
    """

    def __init__(self, project_id: str, *, thread_id: str | None = None, title: str | None = None) -> None:
        self._project_id = project_id
        self._first = thread_id, title
        self._sessions: dict[str, AgentSession] = {}
        self._latest: AgentSession | None = None
        # Keyed by sender and id: each side numbers its own requests, so both may use the id 3.
        self._asked: dict[tuple[str, str], Callable[[Json], Commands]] = {}

    def feed(self, frame: Frame) -> list[Command]:
        """Return the commands that this frame maps to, in order."""
        if "method" in frame.msg:
            return list(self._told(frame.dir, frame.msg))
        asker = "client" if frame.dir == "agent" else "agent"
        answered = self._asked.pop((asker, repr(frame.msg.get("id"))), None)
        return [] if answered is None else list(answered(frame.msg))

    def end(self) -> list[Command]:
        """Return the commands after the last frame, which interrupt running turns and give waiting messages a turn."""
        return [command for session in self._sessions.values() for command in session.end()]

    def _told(self, sender: str, message: Json) -> Commands:
        method, key = as_text(message["method"], "request"), (sender, repr(message.get("id")))
        params = as_object(message.get("params"))
        session = self._session(params.get("sessionId"))
        if session is None or method.startswith("$/"):  # before the first session, or part of JSON-RPC itself
            return
        if sender == "agent":
            handler = METHODS.get(method, AgentSession.request)
            if "id" in message:
                self._asked[key] = lambda answer: session.tell(handler, message, answer)
            yield from session.tell(handler, message)
        elif method == "session/prompt":
            prompt = Prompt(params.get("prompt"))
            self._asked[key] = partial(session.answer, prompt)
            yield from session.prompt(prompt)

    def _session(self, session_id: object) -> AgentSession | None:
        """Return the session with this id; for a message without an id, the session that was used last."""
        if isinstance(session_id, str):
            if session_id not in self._sessions:
                thread_id, title = (None, None) if self._sessions else self._first
                self._sessions[session_id] = AgentSession(self._project_id, thread_id or fitting(session_id), title)
            self._latest = self._sessions[session_id]
        return self._latest
