"""The decider: which events a command leads to, given the state. Pure: no clock, no random ids, no I/O.

Its contract is `initial_state`, `decide` and `evolve`; `names` returns the keys that `decide` reads. What each command
leads to is in thread_decider.py, turn_decider.py and agent_decider.py.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from treadle.domain import agent_commands as agents
from treadle.domain import agent_decider, thread_decider, turn_decider
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.checks import Decisions, Stamp, live_thread
from treadle.domain.errors import Conflict, Rejected
from treadle.domain.evolution import evolve
from treadle.domain.ids import Timestamp
from treadle.domain.paths import path_key
from treadle.domain.state import Key, State, initial_state

__all__ = ["Stamp", "decide", "evolve", "initial_state", "names"]


def decide(state: State, command: c.Command, stamp: Stamp) -> list[e.Event]:
    """The events that the command leads to; an empty list if it changes nothing. Does not change `state`.

    All ids of the command must be assigned, and every key of `names(command)` loaded. Raises Rejected, NotFound or
    Conflict.
    """
    if command.at is not None:
        stamp = _at(command.at, stamp)
    expected = getattr(command, "expected_version", None)
    if expected is not None:
        _expect_version(state, command, expected)
    return list(_DECIDE[type(command)](state, command, stamp))


def _at(at: Timestamp, stamp: Stamp) -> Stamp:
    """The stamp with the time that the command gives."""
    if at > stamp.at and at > stamp.latest:
        raise Rejected("atInFuture", f"{at} is more than a minute after the daemon's clock", now=stamp.at)
    return msgspec.structs.replace(stamp, at=at)


def names(command: c.Command) -> set[Key]:
    """The keys that `decide` and `evolve` read for this command."""
    return set(_names(command))


def _names(command: c.Command) -> Iterator[Key]:
    match command:
        case c.CreateProject(id=id, path=path, remote=remote) | c.UpdateProject(id=id, path=path, remote=remote):
            yield ("project", str(id))
            if path is not None:
                yield from (("path", path_key(path)), ("folder", path_key(path)))
            if remote is not None:  # in a shared log
                yield ("path", remote)
        case c.DeleteProject(id=id):
            yield from (("project", id), ("members", id))
        case c.CreateThread(thread_id=thread_id, project_id=project_id):
            yield from (("thread", str(thread_id)), ("project", project_id))
        case c.ChangeSetting(key=key):
            yield ("setting", key)
        case agents.AddRule(id=id, scope=scope):
            yield ("rule", str(id))
            if scope.thread_id is not None:
                yield ("thread", scope.thread_id)
            if scope.project_id is not None:
                yield ("project", scope.project_id)
        case agents.RemoveRule(id=id):
            yield ("rule", id)
        case c.ThreadCommand(thread_id=thread_id):
            yield ("thread", thread_id)
            if isinstance(command, agents.ForkThread):
                yield ("thread", str(command.id))
            if isinstance(command, c.Redact):
                yield from (("event", thread_id, str(one.sequence)) for one in command.events)
            for field, entity in _named(type(command)):
                id = getattr(command, field)
                if id is not None:
                    yield (entity, thread_id, id)


@cache
def _named(kind: type[c.Command]) -> list[tuple[str, str]]:
    """The fields of a kind of command that name an entity of its thread, and what they name."""
    entities = {"id": _ENTITY_OF.get(kind), **_REFERENCES}
    return [(field, entity) for field, entity in entities.items() if entity and field in kind.__struct_fields__]


_ENTITY_OF: dict[type[c.Command], str] = {
    c.StartTurn: "turn",
    c.CompleteTurn: "turn",
    c.FailTurn: "turn",
    c.CancelTurn: "turn",
    c.InterruptTurn: "turn",
    c.AddMessage: "message",
    c.AppendMessage: "message",
    c.CompleteMessage: "message",
    c.RecordActivity: "activity",
    c.UpdateActivity: "activity",
    c.RequestApproval: "approval",
    c.ResolveApproval: "approval",
    c.CreateCheckpoint: "checkpoint",
    c.RestoreCheckpoint: "checkpoint",
    c.PruneCheckpoint: "checkpoint",
    agents.QueuePrompt: "prompt",
    agents.EditPrompt: "prompt",
    agents.MovePrompt: "prompt",
    agents.RemovePrompt: "prompt",
    agents.OpenSession: "session",
    agents.ChangeSession: "session",
    agents.EndSession: "session",
    agents.LoseContext: "session",
    agents.ReportUsage: "turn",
}
_REFERENCES = {
    "turn_id": "turn",
    "after_turn_id": "turn",
    "message_id": "message",
    "prompt_id": "prompt",
    "before": "prompt",
}
"""Fields of commands that name an entity of the same thread."""


def _expect_version(state: State, command: Any, expected: int) -> None:
    thread_id = command.thread_id
    if type(command) not in (c.CreateThread, c.EraseThread):
        live_thread(state, thread_id)
    thread = state[("thread", thread_id)]
    actual = 0 if thread is None else thread.version
    if actual != expected:
        raise Conflict(
            "versionConflict",
            f"thread {thread_id!r} is at version {actual}, not {expected}: read it again and retry",
            expected=expected,
            actual=actual,
        )


_DECIDE: Decisions = {
    **thread_decider.DECIDE,
    **turn_decider.DECIDE,
    **agent_decider.DECIDE,
}
