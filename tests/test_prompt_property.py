"""Whatever is asked in whatever order, prompts are sent once, and only what may end a turn ends it."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from decisions import PROJECT, THREAD, THREAD_2, contents, when
from treadle.domain import agent_commands as a
from treadle.domain import agent_events as ev
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.decider import evolve, initial_state
from treadle.domain.errors import Rejected
from treadle.domain.state import State, ThreadState

T = TypeVar("T")

ENDS_TURNS = (c.CompleteTurn, c.FailTurn, c.ArchiveThread, c.DeleteThread)


class Told:
    """What events say of one thread, kept without the state."""

    def __init__(self) -> None:
        self.positions: dict[str, float] = {}
        self.left: set[str] = set()
        self.sessions: set[str] = set()
        self.turn: str | None = None
        self.turns: list[str] = []

    def learn(self, event: e.Event, sequence: int, command: c.Command) -> None:
        match event:
            case ev.PromptQueued(id=id):
                assert id not in self.left, "an id is never reused"
                self.positions[id] = sequence
            case ev.PromptMoved(id=id, position=position):
                assert id in self.positions
                self.positions[id] = position
            case ev.PromptSent(id=id) | ev.PromptRemoved(id=id):
                assert id not in self.left, "it is sent or removed once, and not both"
                del self.positions[id]
                self.left.add(id)
            case ev.SessionOpened(id=id):
                self.sessions.add(id)
                assert len(self.sessions) == 1
            case ev.SessionEnded(id=id):
                self.sessions.remove(id)
            case e.TurnStarted(id=id, prompt_id=prompt):
                self.turn = prompt
                self.turns.append(id)
            case e.TurnCompleted() | e.TurnFailed() | e.TurnInterrupted():
                confirmed = isinstance(command, c.InterruptTurn) and command.confirmed is not None
                assert self.turn is None or confirmed or isinstance(command, ENDS_TURNS)
                self.turn = None

    def must_be(self, thread: ThreadState) -> None:
        if not thread.deleted:
            queue = {one.id: one.position for one in thread.queue}
            assert queue == self.positions
            assert [*queue] == sorted(queue, key=self.positions.__getitem__)
            assert len({*queue.values()}) == len(queue)
            assert thread.session == next(iter(self.sessions), None)
            assert (thread.turn and thread.turn.prompt) == self.turn
        assert thread.paused is None or thread.queue


class Draft(NamedTuple):
    """A command whose ids are picked among those that are known when its turn comes."""

    kind: type[c.Command]
    thread: str
    which: int
    other: int


DRAFTS = st.builds(
    Draft,
    st.sampled_from(
        [
            *[a.QueuePrompt, c.StartTurn, a.MovePrompt] * 3,
            *[c.AddMessage, a.RemovePrompt, c.CompleteTurn, c.InterruptTurn, a.OpenSession, a.EndSession] * 2,
            *[a.AssignAgent, a.EditPrompt, a.PauseQueue, a.ResumeQueue, a.RequireAuth, c.FailTurn, c.CancelTurn],
            *[c.ArchiveThread, c.UnarchiveThread, c.UnarchiveThread, c.DeleteThread],
        ]
    ),
    st.sampled_from(["t", "t", "t", "t2"]),
    st.integers(0, 11),
    st.integers(0, 11),
)


def command(draft: Draft, told: Told, fresh: str) -> c.Command:
    def pick(known: Sequence[T], number: int, otherwise: T) -> T:
        return known[number % len(known)] if known else otherwise

    prompts = [*told.positions, *sorted(told.left)[:1]]
    id, before = pick(prompts, draft.which, "x"), pick([*prompts, None], draft.other, None)
    turn = pick(told.turns[-2:][::-1], draft.other // 8, "x")
    fields: dict[type[c.Command], dict[str, Any]] = {
        a.QueuePrompt: {"id": id if draft.which > 10 else fresh, "text": "x"},
        c.StartTurn: {"id": fresh, "message_id": fresh, "prompt_id": before},
        c.AddMessage: {"id": fresh, "turn_id": turn, "role": "user", "prompt_id": before},
        c.CompleteTurn: {"id": turn, "stop_reason": pick(["end_turn", "end_turn", "refusal"], draft.which, "")},
        c.FailTurn: {"id": turn, "error": ""},
        c.CancelTurn: {"id": turn},
        c.DeleteThread: {"thread_id": "t2"},
        c.InterruptTurn: {
            "by": pick([None, "steer"], draft.which, None),
            "confirmed": pick([None, None, True, False], draft.other, None),
        },
        a.AssignAgent: {"agent": pick(["claude", "codex"], draft.which, "")},
        a.EditPrompt: {"id": id, "text": pick(["", "y"], draft.other, "")},
        a.MovePrompt: {"id": id, "before": before},
        a.RemovePrompt: {"id": id},
        a.OpenSession: {"id": fresh, "agent": "claude", "session_id": "x", "how": "new"},
        a.EndSession: {"id": pick([*told.sessions], 0, "x"), "reason": ""},
        a.RequireAuth: {"agent": "claude", "reason": ""},
    }
    return draft.kind(**{"thread_id": draft.thread, **fields.get(draft.kind, {})})


def accepted(state: State, command: c.Command) -> list[e.Event]:
    try:
        return when(state, command)
    except Rejected:
        return []


def asked(state: State, told: dict[str, Told], command: c.Command) -> None:
    events, savepoint, before = accepted(state, command), state.savepoint(), contents(state)
    for event in events:
        evolve(state, event)
    state.rollback(savepoint)
    assert contents(state) == before
    for event in events:
        evolve(state, event)
        if isinstance(event, e.ThreadEvent):
            told[event.thread_id].learn(event, state.sequence, command)
    for id, thread in told.items():
        if state.get(("thread", id)) is not None:
            thread.must_be(state["thread", id])


@settings(max_examples=200, deadline=None)
@given(st.lists(DRAFTS, min_size=20, max_size=80))
def test_in_any_order_of_commands_prompts_are_sent_once_and_queues_keep_their_order(drafts: list[Draft]) -> None:
    state = initial_state()
    told = {"t": Told(), "t2": Told()}
    agents = [a.AssignAgent(thread_id=thread, agent="claude") for thread in told]
    prompts = [a.QueuePrompt(thread_id=thread, id=f"n{number}", text="x") for thread in told for number in range(3)]
    for first in [PROJECT, THREAD, THREAD_2, *agents, *prompts]:
        asked(state, told, first)
    for number, draft in enumerate(drafts):
        asked(state, told, command(draft, told[draft.thread], f"x{number}"))


def test_the_place_of_a_prompt_is_the_one_that_was_asked_for_however_often_prompts_are_moved() -> None:
    state = initial_state()
    agent = a.AssignAgent(thread_id="t", agent="claude")
    order = ["n0", "n1", "n2", "n3"]
    for command in [PROJECT, THREAD, agent, *(a.QueuePrompt(thread_id="t", id=id, text="x") for id in order)]:
        for event in when(state, command):
            evolve(state, event)
    for _ in range(200):
        id, before = order[2], order[1]
        order[1:3] = id, before
        for event in when(state, a.MovePrompt(thread_id="t", id=id, before=before)):
            evolve(state, event)
        queue = state["thread", "t"].queue
        assert [one.id for one in queue] == order
        assert len({one.position for one in queue}) == len(order)
