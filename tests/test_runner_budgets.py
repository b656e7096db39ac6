"""What agents may use: a limit interrupts the turn, the queue waits, and the user decides whether it goes on."""

import time
from pathlib import Path

import pytest

from runs import Json, Runs, Thread, configure, running


def prompts(thread: Thread) -> list[str]:
    return [one["params"]["prompt"][-1]["text"] for one in thread.heard("session/prompt")]


def thread_of(runs: Runs) -> Json:
    found: Json = runs.daemon.result("thread/read", {"threadId": "t"})["threads"][0]
    return found


@pytest.mark.parametrize("limits", [{"cost": 0.6}, {"tokens": 4_500}])
def test_the_budget_of_a_thread_counts_all_its_turns_and_more_of_it_lets_the_queue_go_on(
    tmp_path: Path, limits: Json
) -> None:
    [limit] = limits
    with running(tmp_path, runner={"budget": {"thread": limits}, "idleMinutes": 0.001}) as runs:
        thread = runs.thread("t")
        for number in range(2):
            assert thread.answer(f"script=usage {number}")["status"] == "completed"
            thread.until("SessionEnded", number + 1)  # the turns are those of several processes
        third = thread.ask("script=usage script=stream")
        waiting = thread.ask("script=usage waiting")
        reached = thread.until("BudgetReached")
        assert (reached["scope"], reached["limit"], reached["amount"]) == ("thread", limit, limits[limit])
        assert reached["spent"] >= limits[limit]
        turn = thread.end_of(reached["turnId"])
        assert (turn["promptId"], turn["status"], turn["by"]) == (third, "interrupted", "budget")
        assert thread.until("QueuePaused")["reason"] == "the turn was interrupted"

        configure(runs.daemon.data_dir, {"budget": {"thread": {limit: 100_000}}, "idleMinutes": 0.001})
        thread.dispatch("ResumeQueue")
        assert thread.end_of(thread.until("TurnStarted", promptId=waiting)["id"])["status"] == "completed"
        assert len(thread.said("BudgetReached")) == 1
        assert thread_of(runs)["usage"]["cost"] == 1.0


def test_without_more_budget_each_prompt_that_is_sent_is_interrupted_at_once(tmp_path: Path) -> None:
    with running(tmp_path, runner={"budget": {"thread": {"cost": 0.2}}}) as runs:
        thread = runs.thread("t")
        thread.ask("script=usage script=usage script=stream")  # the second update comes after the limit is reached
        second, third = (thread.ask(f"script=usage script=usage script=stream {number}") for number in (2, 3))
        thread.until("QueuePaused")
        thread.dispatch("ResumeQueue")
        turn = thread.end_of(thread.until("TurnStarted", promptId=second)["id"])
        assert (turn["status"], turn["by"]) == ("interrupted", "budget")
        thread.until("QueuePaused", 2)
        assert [one["spent"] for one in thread.said("BudgetReached")] == [0.25, 0.75]
        assert [one["id"] for one in thread.read()["prompts"]] == [third]


def test_tokens_that_the_agent_reports_only_in_its_answer_count_too(tmp_path: Path) -> None:
    with running(tmp_path, runner={"budget": {"thread": {"tokens": 1_500}}}) as runs:
        thread = runs.thread("t")
        thread.ask("script=usage-answer one")
        thread.ask("script=usage-answer two")
        waiting = thread.ask("script=usage-answer three")
        reached = thread.until("BudgetReached")
        assert (reached["scope"], reached["limit"], reached["spent"]) == ("thread", "tokens", 2_000)
        turn = thread.end_of(reached["turnId"])
        assert turn["status"] == "completed"  # it had ended when it was known
        assert thread.until("QueuePaused")["reason"] == "the budget of the thread is reached: tokens 2,000 of 1,500"
        assert [one["id"] for one in thread.read()["prompts"]] == [waiting]
        assert prompts(thread) == ["script=usage-answer one", "script=usage-answer two"]


def test_a_budget_of_minutes_is_that_of_each_turn(tmp_path: Path) -> None:
    with running(tmp_path, runner={"budget": {"turn": {"minutes": 0.05}}}) as runs:
        thread = runs.thread("t")
        started = time.monotonic()
        while time.monotonic() < started + 4.5:  # together they take longer than one may
            assert thread.answer("script=echo a b c d e f g h")["status"] == "completed"
        thread.ask("script=stream")
        waiting = thread.ask("short")
        reached = thread.until("BudgetReached")
        assert (reached["scope"], reached["limit"]) == ("turn", "minutes")
        assert thread.end_of(reached["turnId"])["by"] == "budget"
        thread.until("QueuePaused")
        thread.dispatch("ResumeQueue")
        assert thread.end_of(thread.until("TurnStarted", promptId=waiting)["id"])["status"] == "completed"
        assert len(thread.said("BudgetReached")) == 1
