"""Prompts into a running turn: whatever the agent answers, and if it does not, the words reach it exactly once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import Runs, Thread, running


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with running(tmp_path, runner={"steerSeconds": 0.2}) as runs:
        yield runs


def prompts(thread: Thread) -> list[str]:
    """The prompts that reached the agent, each as text."""
    return ["".join(b.get("text", "") for b in one["params"]["prompt"]) for one in thread.heard("session/prompt")]


def steered(thread: Thread) -> list[str]:
    """The prompts that the agent was asked to take into a turn."""
    return ["".join(b["text"] for b in one["params"]["prompt"]) for one in thread.heard("_session/steering")]


def queued(thread: Thread) -> list[tuple[str, str]]:
    return [(one["text"], one["when"]) for one in thread.read()["prompts"]]


def in_turn(runs: Runs, *words: str) -> tuple[Thread, str, str]:
    """A thread whose turn waits for an answer, with another prompt behind it: the turn and the approval."""
    thread = runs.thread("t", *words)
    thread.ask("script=ask")
    approval = thread.until("ApprovalRequested")
    thread.ask("later")
    return thread, approval["turnId"], approval["id"]


@pytest.mark.parametrize("word", ["steering-refused", "steering-hangs"])
def test_a_prompt_that_the_agent_does_not_take_stays_in_the_queue_once_and_is_sent_before_the_others(
    runs: Runs, word: str
) -> None:
    thread, turn, approval = in_turn(runs, "steering", word)
    steer = thread.ask("left", when="steer")
    while not steered(thread):
        thread.read()
    assert queued(thread) == [("later", "idle"), ("left", "steer")]  # those to steer go first
    thread.dispatch("ResolveApproval", id=approval, outcome="allow")
    assert thread.end_of(turn)["status"] == "completed"
    thread.until("TurnCompleted", 3)
    assert prompts(thread) == ["script=ask", "left", "later"]
    assert steered(thread) == ["left"]
    assert len(thread.said("PromptSent", id=steer)) == 1
    assert queued(thread) == []
    said = [(one["role"], one["text"]) for one in thread.read()["messages"] if one["role"] == "user"]
    assert said == [("user", "script=ask"), ("user", "left"), ("user", "later")]


def test_a_prompt_for_which_the_agent_started_a_turn_of_its_own_counts_as_sent(runs: Runs) -> None:
    thread, turn, approval = in_turn(runs, "steering", "steering-turn")
    steer = thread.ask("left", when="steer")
    assert thread.until("PromptSent", id=steer)["turnId"] == turn
    thread.dispatch("ResolveApproval", id=approval, outcome="allow")
    thread.until("TurnCompleted", 2)
    assert prompts(thread) == ["script=ask", "later"]
    assert "a turn of its own: left" in thread.text_of(turn)


def test_a_prompt_that_the_agent_took_as_its_turn_ended_is_not_sent_again_and_has_a_turn_of_its_own(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as runs:
        thread, turn, approval = in_turn(runs, "steering", "steering-late")
        steer = thread.ask("left", when="steer")
        while not steered(thread):
            thread.read()
        thread.dispatch("ResolveApproval", id=approval, outcome="allow")
        own = thread.until("PromptSent", id=steer)["turnId"]
        assert thread.end_of(turn)["status"] == thread.end_of(own)["status"] == "completed"
        assert own != turn
        thread.until("TurnCompleted", 3)
        assert prompts(thread) == ["script=ask", "later"]


def test_a_prompt_into_a_turn_of_a_thread_that_is_paused_and_idle_is_sent_and_the_others_wait_on(runs: Runs) -> None:
    thread = runs.thread("t", "steering")
    turn = thread.until("TurnStarted", promptId=thread.ask("script=stream"))["id"]
    later = thread.ask("later")
    thread.cancel(turn)
    thread.end_of(turn)
    thread.until("QueuePaused")
    assert thread.answer("left", when="steer")["status"] == "completed"
    assert [one["id"] for one in thread.read()["prompts"]] == [later]
    [state] = thread.read()["threads"]
    assert state["status"] == "paused"
    assert prompts(thread) == ["script=stream", "left"]
    thread.dispatch("ResumeQueue")
    thread.until("TurnStarted", promptId=later)
    assert steered(thread) == []


def test_a_prompt_that_is_edited_or_removed_after_the_agent_refused_it_is_sent_as_it_is_then(runs: Runs) -> None:
    thread, turn, approval = in_turn(runs, "steering", "steering-refused")
    first, second = (thread.ask(text, when="steer") for text in ("left", "right"))
    while len(steered(thread)) < 1:
        thread.read()
    thread.dispatch("EditPrompt", id=first, text="left, please")
    thread.dispatch("RemovePrompt", id=second)
    thread.dispatch("ResolveApproval", id=approval, outcome="allow")
    thread.end_of(turn)
    thread.until("TurnCompleted", 3)
    assert prompts(thread) == ["script=ask", "left, please", "later"]
