"""Recordings of the Agent Client Protocol, as the treadle commands that keep what they hold.

A recording is one JSON a line: `{"t": seconds, "dir": "client" | "agent", "msg": JSON-RPC message}`, where `dir` is who
sent it. This module reads them and tells requests, answers and sessions apart; acp_session.py maps one session.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from treadle.agents.mapper import METHODS, Commands, Prompt, Session
from treadle.agents.shapes import Json, as_object, as_text, fitting
from treadle.domain.commands import Command

__all__ = ["BadRecording", "Frame", "SessionMapper", "read_frames"]


class BadRecording(ValueError):
    """A line that is no frame, told in a sentence that names it."""


class Frame(Struct, frozen=True):
    """t: seconds since the recording began. dir: who sent it. msg: the JSON-RPC message."""

    t: float
    dir: Literal["client", "agent"]
    msg: Json


def read_frames(source: str | Path | Iterable[bytes]) -> Iterator[Frame]:
    """The frames of a recording, given as its path or its lines; blank ones are skipped.

    Raises BadRecording, which names the line, and OSError for a path that cannot be read.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as lines:
            yield from read_frames(lines)
        return
    decode = msgspec.json.Decoder(Frame).decode
    for number, line in enumerate(source, 1):
        if line.strip():
            try:
                # Tools print U+0000, which treadle refuses: U+FFFD stands for it. An escaped backslash is left alone.
                yield decode(re.sub(rb"(?<!\\)((?:\\\\)*)\\u0000", rb"\1\\ufffd", line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadRecording(f"line {number} is no frame of a recording: {error}") from error


class SessionMapper:
    """Maps what one client and one agent say to each other.

    project_id: the project of all its threads. thread_id, title: of the first session; without them, and for each
    other session, the thread has the session's own id, and the first line of the first prompt for a title.
    """

    def __init__(self, project_id: str, *, thread_id: str | None = None, title: str | None = None) -> None:
        self._project_id = project_id
        self._first = thread_id, title
        self._sessions: dict[str, Session] = {}
        self._latest: Session | None = None
        # By who asked and the id: each side numbers its own requests, so that 3 and 3 are two of them.
        self._asked: dict[tuple[str, str], Callable[[Json], Commands]] = {}

    def feed(self, frame: Frame) -> list[Command]:
        """The commands that follow from this frame, in order."""
        if "method" in frame.msg:
            return list(self._told(frame.dir, frame.msg))
        asker = "client" if frame.dir == "agent" else "agent"
        answered = self._asked.pop((asker, repr(frame.msg.get("id"))), None)
        return [] if answered is None else list(answered(frame.msg))

    def end(self) -> list[Command]:
        """The commands after the last frame: what still runs is interrupted, what waits for a turn gets one."""
        return [command for session in self._sessions.values() for command in session.end()]

    def _told(self, sender: str, message: Json) -> Commands:
        method, key = as_text(message["method"], "request"), (sender, repr(message.get("id")))
        params = as_object(message.get("params"))
        session = self._session(params.get("sessionId"))
        if session is None or method.startswith("$/"):  # before any session, or JSON-RPC's own affair
            return
        if sender == "agent":
            handler = METHODS.get(method, Session.request)
            if "id" in message:
                self._asked[key] = lambda answer: session.tell(handler, message, answer)
            yield from session.tell(handler, message)
        elif method == "session/prompt":
            prompt = Prompt(params.get("prompt"))
            self._asked[key] = partial(session.answer, prompt)
            yield from session.prompt(prompt)

    def _session(self, session_id: object) -> Session | None:
        """The session of that id; for a message that names none, the one that was spoken of last."""
        if isinstance(session_id, str):
            if session_id not in self._sessions:
                thread_id, title = (None, None) if self._sessions else self._first
                self._sessions[session_id] = Session(self._project_id, thread_id or fitting(session_id), title)
            self._latest = self._sessions[session_id]
        return self._latest
