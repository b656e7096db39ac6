"""What decisions check first: that what a command refers to exists, and that what it creates does not."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from treadle.domain.command import Command
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.event import Event
from treadle.domain.ids import Timestamp
from treadle.domain.state import ProjectState, State, ThreadState


class Stamp(msgspec.Struct, frozen=True):
    """What the engine adds to a command. at: when it arrived. runner: the daemon that received it.

    latest: the latest time that the command itself may give. is_shared: whether several machines share the log, so that
    no event may have a path of one of them.
    """

    at: Timestamp
    runner: str
    latest: Timestamp = ""
    is_shared: bool = False

    @property
    def machine(self) -> str | None:
        """The machine of the daemon, if several share the log."""
        return self.runner.partition(".")[0] if self.is_shared else None


Decisions = dict[type[Command], Callable[[State, Any, Stamp], Iterator[Event]]]
"""For each command a function that yields the events it leads to."""


def unused(state: State, entity: str, *scope_and_id: str) -> None:
    if state[(entity, *scope_and_id)] is not None:
        raise Rejected(
            "idTaken",
            f"{entity} id {scope_and_id[-1]!r} is already taken; ids are never reused",
            entity=entity,
            id=scope_and_id[-1],
        )


def live_project(state: State, id: str) -> ProjectState:
    project: ProjectState | None = state[("project", id)]
    if project is None or project.deleted:
        raise NotFound("project", id)
    return project


def live_thread(state: State, id: str) -> ThreadState:
    thread: ThreadState | None = state[("thread", id)]
    if thread is None or thread.deleted:
        raise NotFound("thread", id)
    return thread


def running_turn(state: State, thread_id: str, turn_id: str) -> ThreadState:
    """The thread, if this is its running turn. Raises NotFound or Rejected."""
    thread = live_thread(state, thread_id)
    if thread.turn is None or thread.turn.id != turn_id:
        if state[("turn", thread_id, turn_id)] is None:
            raise NotFound("turn", turn_id)
        raise Rejected("turnEnded", f"turn {turn_id!r} has ended", turnId=turn_id)
    return thread


def content_blocks(content: Any, text: str) -> Any:
    """The content blocks of a message. Text is either in them or beside them, so that it is stored once."""
    for index, block in enumerate(content or ()):
        if not isinstance(block.get("type"), str):
            raise Rejected("contentBlock", f"content block {index} has no type", index=index)
        if block["type"] == "text" and (text or not isinstance(block.get("text"), str)):
            why = "the message has its text beside its content as well" if text else f"block {index} has no text"
            raise Rejected("contentBlock", why, index=index)
    return content
