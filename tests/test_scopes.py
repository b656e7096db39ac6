"""What a command reads and what an event changes: the decision of the one is the same before and after the other."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given as of_any
from hypothesis import settings
from hypothesis import strategies as st

from decisions import IN_THREAD, PROJECT, SHARED, STAMP, THREAD, THREAD_2, given, when
from drafts import DRAFTS, Draft, Known
from every_event import HISTORY
from treadle.core.redacting import SETTING
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain import scopes
from treadle.domain.decider import Stamp, evolve, initial_state, names
from treadle.domain.errors import Rejected
from treadle.domain.scopes import changed_scopes, read_scopes
from treadle.domain.state import State

OTHER_PROJECT = c.CreateProject(id="p2", name="Other", path="/other")
ELSEWHERE = c.CreateThread(thread_id="z", project_id="p2", title="Elsewhere")


def reads(state: State, command: c.Command) -> set[str]:
    """The scopes that a command reads, as the engine asks for them."""
    keys = {SETTING} | names(command)
    state.load({key: () if key[0] == "members" else None for key in keys if state.get(key) is None})
    return read_scopes(keys, state)


def decided(state: State, command: c.Command, stamp: Stamp) -> Any:
    """The events, or why it is rejected."""
    try:
        return when(state, command, stamp)
    except Rejected as error:
        return type(error), error.kind, error.details


def moved_by(state: State, first: c.Command, then: c.Command, stamp: Stamp = STAMP) -> bool:
    """Whether `then` is decided otherwise after `first`. Fails if it is, and nothing that it read has changed."""
    read, before = reads(state, then), decided(state, then, stamp)
    events = decided(state, first, stamp)
    if isinstance(events, tuple):
        return False
    savepoint = state.savepoint()
    apply(state, events)
    after = decided(state, then, stamp)
    state.rollback(savepoint)
    changed = {scope for event in events for scope in changed_scopes(event)}
    assert before == after or changed & read, (first, then, changed, read)
    return bool(before != after)


def apply(state: State, events: Iterable[e.Event]) -> None:
    for event in events:
        evolve(state, event)


def made(known: Known, draft: Draft, name: str, is_shared: bool) -> c.Command:
    """The command of a draft, with ids; in a shared log a project has a remote."""
    asked = known.command(draft, name)
    if is_shared and "Project" in asked["type"] and asked.get("path") is not None:
        asked["remote"] = f"example.org/team/{draft.other}"
    command: c.Command = msgspec.convert(asked, c.AnyCommand)
    return c.with_ids(command, {field: f"{name}-{field}" for field in c.missing_ids(command)})


@settings(max_examples=100, deadline=None)
@of_any(st.lists(DRAFTS, min_size=10, max_size=40), st.booleans())
def test_a_command_is_decided_the_same_way_after_events_that_change_nothing_it_reads(
    drafts: list[Draft], is_shared: bool
) -> None:
    state, known, stamp = initial_state(), Known(), SHARED if is_shared else STAMP
    for n, (draft, other) in enumerate(pairwise(drafts)):
        command, beside = (made(known, d, f"{n}{which}", is_shared) for d, which in ((draft, "a"), (other, "b")))
        moved_by(state, command, beside, stamp)
        events = decided(state, command, stamp)
        if isinstance(events, list):
            for event in events:
                evolve(state, event)
                if isinstance(event, e.ThreadEvent):
                    state.load({("event", event.thread_id, str(state.sequence)): msgspec.to_builtins(event)})
                known.learn(state.sequence, event)
            state.commit()


DELETE_PROJECT = c.DeleteProject(id="p")
FORK = ac.ForkThread(thread_id="t", id="fork", title="Again")
ASSIGN = ac.AssignAgent(thread_id="t", agent="a")
QUEUED = [ac.QueuePrompt(thread_id="t", id=id, text=id) for id in ("one", "two")]
MOVE = ac.MovePrompt(thread_id="t", id="two", before="one")

MOVES: dict[str, tuple[list[c.Command], c.Command, c.Command]] = {
    "a project whose last thread was deleted": (IN_THREAD, c.DeleteThread(thread_id="t"), DELETE_PROJECT),
    "a project that got a thread": ([PROJECT], THREAD, DELETE_PROJECT),
    "a project whose thread was renamed, with all its threads": (
        IN_THREAD,
        c.StartTurn(thread_id="t", id="u", prompt="go", message_id="m"),
        c.DeleteProject(id="p", cascade=True),
    ),
    "a fork of a thread that got an agent": (IN_THREAD, ASSIGN, FORK),
    "a fork of a thread that was deleted": (IN_THREAD, c.DeleteThread(thread_id="t"), FORK),
    "a fork whose id was taken": (IN_THREAD, c.CreateThread(thread_id="fork", project_id="p", title="x"), FORK),
    "a prompt before one that was removed": (
        [*IN_THREAD, ASSIGN, *QUEUED],
        ac.RemovePrompt(thread_id="t", id="one"),
        MOVE,
    ),
    "a project whose folder was taken": (
        [PROJECT],
        c.CreateProject(id="p3", name="x", path="/taken"),
        c.CreateProject(id="p4", name="y", path="/taken"),
    ),
    "a thread of a project that was deleted": ([PROJECT], DELETE_PROJECT, THREAD),
}
"""What there is, a command, and one that is decided otherwise after it."""


@pytest.mark.parametrize("case", MOVES)
def test_what_changes_a_decision_changes_a_scope_that_it_has_read(case: str) -> None:
    before, first, then = MOVES[case]
    assert moved_by(given(*before), first, then)


@pytest.mark.parametrize("then", [DELETE_PROJECT, FORK, MOVE], ids=lambda command: type(command).__name__)
def test_commands_of_another_project_or_thread_change_nothing_that_is_read(then: c.Command) -> None:
    """So that machines at work in different threads do not wait for each other."""
    state = given(*IN_THREAD, ASSIGN, *QUEUED, OTHER_PROJECT, ELSEWHERE)
    events = when(state, c.StartTurn(thread_id="z", id="u", prompt="go", message_id="m"))
    assert {scope for event in events for scope in changed_scopes(event)} == {"t:z"}
    assert not reads(state, then) & {"t:z"}


def test_a_project_is_read_with_the_threads_that_it_has() -> None:
    state = given(*IN_THREAD, THREAD_2, OTHER_PROJECT, ELSEWHERE)
    assert reads(state, DELETE_PROJECT) == {"p:p", "m:p", "t:t", "t:t2", "s:redaction"}
    assert reads(state, FORK) >= {"t:t", "t:fork"}


def test_leaving_out_the_threads_of_a_project_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scopes.read_scopes

    def without_members(keys: Iterable[Any], state: State) -> set[str]:
        keys = [*keys]
        members = {f"t:{thread}" for key in keys if key[0] == "members" for thread in state[key]}
        return whole(keys, state) - members

    monkeypatch.setitem(globals(), "read_scopes", without_members)
    state, first, then = MOVES["a project whose last thread was deleted"]
    with pytest.raises(AssertionError):
        moved_by(given(*state), first, then)


def test_each_type_of_event_has_scopes_without_spaces() -> None:
    """They are sent with spaces between them."""
    events = [event for event, _ in HISTORY]
    assert {type(event) for event in events} == set(e.EVENTS)
    for event in (*events, e.SettingChanged(key="a b % \t", value=1, at=events[0].at)):
        found = changed_scopes(event)
        assert found
        assert not [scope for scope in found if len(scope.split()) != 1 or "*" in scope]


def test_settings_with_similar_keys_have_scopes_of_their_own() -> None:
    keys = ["a b", "a%20b", "a%2520b", "a%b", "a%25b"]
    assert len({changed_scopes(e.SettingChanged(key=key, value=1, at="x"))[0] for key in keys}) == len(keys)
