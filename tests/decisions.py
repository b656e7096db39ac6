"""Given earlier commands, when a command arrives: the helpers and the commands that the tests of decisions share."""

from typing import Any

import msgspec
import pytest

from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.decider import Stamp, decide, evolve, initial_state, names
from treadle.domain.errors import Rejected
from treadle.domain.state import Key, State

AT = "2026-01-31T12:00:00.000Z"
STAMP = Stamp(at=AT, runner="daemon-1", latest="2026-01-31T12:01:00.000Z")
SHARED = Stamp(at=AT, runner="machine-1.daemon-1", latest=AT, is_shared=True)
"""As in a log that several machines share."""


def given(*commands: c.Command, stamp: Stamp = STAMP) -> State:
    """The state after these were accepted, one after the other."""
    state = initial_state()
    for command in commands:
        for event in when(state, command, stamp):
            evolve(state, event)
            if isinstance(event, e.ThreadCreated):
                state.load({("event", event.thread_id, str(state.sequence)): msgspec.to_builtins(event)})
    state.commit()
    return state


def when(state: State, command: c.Command, stamp: Stamp = STAMP) -> list[e.Event]:
    """What the command makes happen; the state is as it was, whether it is accepted or not."""
    keys = set(names(command))
    if isinstance(command, c.CreateProject):
        keys.add(("members", str(command.id)))
    state.load({key: None for key in keys if key not in state})
    before = contents(state)
    try:
        return decide(state, command, stamp)
    finally:
        assert contents(state) == before


def then_rejected(state: State, command: c.Command, stamp: Stamp = STAMP) -> Rejected:
    with pytest.raises(Rejected) as caught:
        when(state, command, stamp)
    return caught.value


def contents(state: State) -> tuple[int, dict[Key, Any]]:
    return state.sequence, dict(state.items())


PROJECT = c.CreateProject(id="p", name="Demo", path="/demo")
PROJECT_2 = c.CreateProject(id="p2", name="Other", path="/other")
THREAD = c.CreateThread(thread_id="t", project_id="p", title="Talk")
THREAD_2 = c.CreateThread(thread_id="t2", project_id="p", title="More")
TURN = c.StartTurn(thread_id="t", id="u", prompt="Do it", message_id="m")
TURN_2 = c.StartTurn(thread_id="t", id="u2", prompt="Again", message_id="m2")
MESSAGE = c.AddMessage(thread_id="t", id="a", turn_id="u", role="assistant", text="So", streaming=True)
ACTIVITY = c.RecordActivity(
    thread_id="t", id="c", turn_id="u", kind="tool_call", title="ls", status="running", detail={"x": 1}
)
OPTIONS = [
    c.ApprovalOption(id="once", name="Allow", kind="allow_once"),
    c.ApprovalOption(id="no", name="Reject", kind="reject_once"),
]
OFFERED = [e.OfferedOption(option.id, option.name, option.kind) for option in OPTIONS]
APPROVAL = c.RequestApproval(thread_id="t", id="q", turn_id="u", title="Run ls?", options=OPTIONS, detail=["x"])
CHECKPOINT = c.CreateCheckpoint(thread_id="t", id="k", turn_id="u", git_ref="refs/treadle/k", message="Before")
SETTING = c.ChangeSetting(key="theme", value={"a": 1, "b": [1.5, None]})
COMPLETE = c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn", usage={"tokens": 3})
ARCHIVE = c.ArchiveThread(thread_id="t")
DELETE = c.DeleteThread(thread_id="t")

ERASE = c.EraseThread(thread_id="t")
REDACT = c.Redact(
    thread_id="t",
    events=[c.CleanTexts(2, {"title": "?"})],
)

IMAGE: dict[str, Any] = {"type": "image", "data": "aGk=", "mimeType": "image/png"}

IN_THREAD = [PROJECT, THREAD]
IN_TURN = [PROJECT, THREAD, TURN]
BUSY = [*IN_TURN, MESSAGE, ACTIVITY, APPROVAL]
AFTER_TURN = [*IN_TURN, COMPLETE]
