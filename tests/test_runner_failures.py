"""What a runner cannot read in the database stops the thread that it belongs to, and no other one."""

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import Runs, Thread, running
from support import plain


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with running(tmp_path) as runs:
        yield runs


def damage(runs: Runs, statement: str, *values: str) -> None:
    """Change the database as another program could."""
    with plain(runs.daemon.data_dir) as db:
        assert db.execute(statement, values).rowcount != 0


def damage_events(runs: Runs, type: str, text: str) -> None:
    """Make a text in events of a type unreadable: it is UTF-8 no more."""
    damage(runs, "DROP TRIGGER IF EXISTS events_refuse_update")
    damaged = "replace(payload, ?, CAST(x'ff' AS TEXT))"
    damage(runs, f"UPDATE events SET payload = {damaged} WHERE event_type = ?", text, type)


def held_back(thread: Thread, text: str) -> str:
    """Queue a prompt that is not sent before ResumeQueue; return its id."""
    turn = thread.until("TurnStarted", promptId=thread.ask("script=stream"))["id"]
    prompt = thread.ask(text)
    thread.cancel(turn)
    thread.end_of(turn)
    thread.until("QueuePaused")
    return prompt


def assert_stopped(thread: Thread, pauses: int) -> None:
    """The agent of the thread has ended, its queue waits, and agents of other threads run."""
    assert "the database file is damaged" in thread.until("QueuePaused", pauses)["reason"]
    assert thread.runs.thread("other").answer("two")["status"] == "completed"
    assert_ended(thread)


def expect_traceback(runs: Runs) -> None:
    """A defect is logged with its traceback, which no test but this one expects."""
    assert "Traceback" in runs.daemon.stderr
    runs.daemon.log.write_text("")


def assert_ended(thread: Thread) -> None:
    while any(one["threadId"] == thread.id for one in thread.runs.daemon.result("daemon/status")["agents"]):
        select.select([], [], [], 0.02)


def test_a_prompt_that_cannot_be_read_pauses_its_queue_and_ends_the_agent(runs: Runs) -> None:
    thread = runs.thread("t")
    prompt = held_back(thread, "two")
    damage_events(runs, "PromptQueued", "two")
    thread.dispatch("ResumeQueue")
    assert "the database file is damaged" in thread.until("SessionEnded")["reason"]
    assert_stopped(thread, pauses=2)
    thread.dispatch("RemovePrompt", id=prompt)
    assert [turn["status"] for turn in thread.read()["turns"]] == ["interrupted"]
    assert thread.answer("three")["status"] == "completed"


def test_a_transcript_that_cannot_be_read_pauses_the_queue_and_ends_the_agent(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.dispatch("StartTurn", id="was", prompt="by a client")
    thread.dispatch("CompleteTurn", id="was", stopReason="end_turn")
    damage_events(runs, "MessageAdded", "by a client")
    thread.ask("two")
    assert_stopped(thread, pauses=1)


def test_a_fork_of_a_thread_that_cannot_be_read_pauses_its_queue(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.answer("one")
    thread.dispatch("ForkThread", id="f")
    damage(runs, "UPDATE projection_threads SET agent = '[]' WHERE id = ?", "t")
    copy = Thread(runs, "f")
    copy.ask("two")
    assert copy.until("QueuePaused")["reason"] == "treadle failed: see its log"
    assert_ended(copy)
    expect_traceback(runs)


@pytest.mark.parametrize("damaged", ["[1", ""])
def test_a_thread_that_cannot_be_read_does_not_stop_the_others(runs: Runs, damaged: str) -> None:
    thread = runs.thread("t")
    held_back(thread, "two")
    damage(runs, "UPDATE projection_threads SET agent = ? WHERE id = ?", damaged, "t")
    other = runs.thread("other")
    thread.dispatch("ResumeQueue")
    for number in range(3):
        assert other.answer(f"number {number}")["status"] == "completed"
    damage(runs, """UPDATE projection_threads SET agent = '{"name":"t","mode":null,"options":{}}' WHERE id = ?""", "t")
    thread.until("TurnCompleted")
