"""Reads recordings of the Agent Client Protocol and maps them to treadle commands.

A recording has one JSON text per line: `{"t": seconds, "dir": "client" | "agent", "msg": JSON-RPC message}`. `dir` is
the sender. This module matches requests with responses and messages with sessions; mapper.py maps each session.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from treadle.agents.activities import Ids
from treadle.agents.mapper import METHODS, NO_END, REQUEST_CANCELLED, AgentSession, Commands, PromptMessage
from treadle.agents.shapes import Agent, Json, as_list, as_object, as_text, fitting
from treadle.contract.json_text import storable
from treadle.domain import commands as c

__all__ = ["BadRecording", "Frame", "SessionMapper", "read_frames"]

_OPENING = ("session/new", "session/load", "session/resume", "session/fork")


class BadRecording(ValueError):
    """A line is not a valid frame. The message names the line. line: its number. is_unfinished: it is the last one and
    has no line feed yet."""

    def __init__(self, line: int, reason: object, is_unfinished: bool = False) -> None:
        super().__init__(f"line {line} is not a frame of a recording: {reason}")
        self.line = line
        self.is_unfinished = is_unfinished


class Frame(Struct, frozen=True):
    """One recorded message. t: when, in seconds since the recording began or since 1970. dir: the sender. msg: the
    JSON-RPC message."""

    t: Annotated[float, Meta(ge=-1e9, le=1e11)]
    dir: Literal["client", "agent"]
    msg: Json


def read_frames(
    source: str | Path | Iterable[bytes], skipped: Callable[[BadRecording], object] | None = None
) -> Iterator[Frame]:
    """Yield the frames of a recording, given its path or its lines. Blank lines are skipped.

    skipped: called for a line that is not a frame; without it, BadRecording is raised. Raises OSError for a path that
    cannot be read.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as lines:
            yield from read_frames(lines, skipped)
        return
    decode = msgspec.json.Decoder(Frame).decode
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            frame = decode(storable(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            bad = BadRecording(number, error, is_unfinished=not line.endswith(b"\n"))
            if skipped is None:
                raise bad from error
            skipped(bad)
        else:
            yield frame


class SessionMapper:
    """Maps the messages between one client and one agent.

    project_id: the project of all threads. thread_id, title: for the first session. By default, and for every further
    session, the thread takes the id of the session, and the first line of the first prompt as its title. source: the
    file that the messages are read from. suffix: of every id, where the threads have more connections.
    """

    def __init__(
        self,
        project_id: str,
        *,
        thread_id: str | None = None,
        title: str | None = None,
        source: str | None = None,
        suffix: str = "",
    ) -> None:
        self._project_id, self._file, self._suffix = project_id, source, suffix
        self._first = thread_id, title
        self._agent = Agent()
        self._folders: dict[str, str] = {}
        self._sessions: dict[str, AgentSession] = {}
        self._latest: AgentSession | None = None
        # Keyed by sender and id: each side numbers its own requests, so both may use the id 3.
        self._asked: dict[tuple[str, str], Callable[[Json], Commands]] = {}

    @property
    def waiting(self) -> int:
        """The number of messages that wait for the next turn of their session."""
        return sum(session.waiting for session in self._sessions.values())

    @property
    def is_quiet(self) -> bool:
        """Whether no turn runs, no message waits for one, and no request for its response."""
        return not (self._asked or self.waiting or any(session.in_turn for session in self._sessions.values()))

    def feed(self, frame: Frame) -> list[c.Command]:
        """Return the commands that this frame maps to, in order."""
        if "method" in frame.msg:
            return list(self._told(frame))
        asker = "client" if frame.dir == "agent" else "agent"
        answered = self._asked.pop((asker, repr(frame.msg.get("id"))), None)
        return [] if answered is None else list(answered(frame.msg))

    def cut_off(self, reason: str) -> list[c.Command]:
        """Return the commands that interrupt the running turns, of which nothing more is known."""
        self._asked.clear()
        return [command for session in self._sessions.values() for command in session.cut_off(reason)]

    def end(self, reason: str = NO_END) -> list[c.Command]:
        """Return the commands after the last frame: running turns are interrupted, waiting messages get a turn."""
        return [command for session in self._sessions.values() for command in session.end(reason)]

    def _told(self, frame: Frame) -> Commands:
        sender, message = frame.dir, frame.msg
        method, key = as_text(message["method"], "request"), (sender, repr(message.get("id")))
        params = as_object(message.get("params"))
        if sender == "client" and method == "initialize":
            yield from self._connect(key)
        elif sender == "client" and method in _OPENING:
            folder = as_text(params.get("cwd"), "")
            self._open(params.get("sessionId"), folder)
            self._asked[key] = lambda answer: self._open(as_object(answer.get("result")).get("sessionId"), folder)
        elif sender == "agent" and method == "$/cancel_request":  # the agent withdraws a question
            withdrawn = self._asked.pop((sender, repr(params.get("requestId"))), None)
            if withdrawn is not None:
                yield from withdrawn({"error": {"code": REQUEST_CANCELLED, "message": "withdrawn by the agent"}})
        session = self._session(params.get("sessionId"))
        if session is None or method.startswith("$/"):  # before the first session, or part of JSON-RPC itself
            return
        if sender == "agent":
            handler = METHODS.get(method, AgentSession.request)
            if "id" in message:
                self._asked[key] = lambda answer: session.tell(handler, message, answer)
            yield from session.tell(handler, message)
        elif method == "session/prompt":
            prompt = PromptMessage(as_list(params.get("prompt")), frame)
            self._asked[key] = partial(session.answer, prompt)
            yield from session.prompt(prompt)
        elif method == "session/cancel":
            session.cancel()

    def _connect(self, key: tuple[str, str]) -> Commands:
        """A client has started an agent. If that is another one, the answers of the one before never come."""
        yield from self.cut_off("the connection to the agent ended")
        self._asked[key] = self._introduced

    def _introduced(self, answer: Json) -> Commands:
        self._agent.introduce(as_object(answer.get("result")))
        return iter(())

    def _open(self, session_id: object, folder: str) -> Commands:
        if isinstance(session_id, str) and folder.startswith("/"):
            self._folders.setdefault(session_id, folder)
        return iter(())

    def _session(self, session_id: object) -> AgentSession | None:
        """Return the session with this id; for a message without an id, the session that was used last."""
        if isinstance(session_id, str) and session_id:
            if session_id not in self._sessions:
                thread_id, title = (None, None) if self._sessions else self._first
                thread = c.CreateThread(
                    thread_id=thread_id or fitting(session_id),
                    project_id=self._project_id,
                    title=title or "",
                    origin=c.Origin(
                        tool=self._agent.name,
                        session_id=session_id[:1024],
                        cwd=self._folders.get(session_id),
                        source=self._file,
                    ),
                )
                self._sessions[session_id] = AgentSession(self._agent, thread, Ids(self._suffix))
            self._latest = self._sessions[session_id]
        return self._latest
