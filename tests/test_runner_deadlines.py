"""Agents that let treadle wait, and what treadle lets agents wait for: a place, and room on the disk."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runs import Runs, Thread, configure, running
from scripted import assert_end, linux_only, scripted, sentinels
from test_bad_days import fill, limited, own_file_system
from wire import spawn


def agents_of(runs: Runs) -> dict[str, str]:
    """What the agents of the daemon do, by thread."""
    return {one["threadId"]: one["phase"] for one in runs.daemon.result("daemon/status")["agents"]}


def until_agents(runs: Runs, expected: dict[str, str]) -> None:
    """Wait until the agents of the daemon do this."""
    while agents_of(runs) != expected:
        select.select([], [], [], 0.02)


def repair(thread: Thread) -> None:
    """From now on the thread's agent does what is usual."""
    configure(thread.runs.daemon.data_dir, **{thread.id: scripted(SCRIPTED_LOG=str(thread.home / "heard"))})


# Deadlines


@linux_only
def test_an_agent_that_does_not_start_in_time_is_ended_with_its_tools_and_its_late_answer_changes_nothing(
    tmp_path: Path,
) -> None:
    with sentinels(), running(tmp_path, runner={"startSeconds": 3}) as runs:
        thread = runs.thread("t", "children", "late-start", "updates")
        prompt = thread.ask("hello")
        reason = thread.until("QueuePaused")["reason"]
        assert reason == (
            "agent 't' could not be started: the agent has not answered initialize, and sent nothing for 3 s"
        )
        until_agents(runs, {})
        assert_end(thread.pids())
        assert ([one["id"] for one in thread.read()["prompts"]], thread.read()["sessions"]) == ([prompt], [])
        assert thread.read()["turns"] == []
        repair(thread)
        thread.dispatch("ResumeQueue")
        assert thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"
        assert (len(thread.heard("initialize")), len(thread.heard("session/prompt"))) == (2, 1)
        assert thread.read()["activities"] == []


@linux_only
def test_an_agent_that_opens_no_session_in_time_is_ended_with_its_tools_and_the_queue_waits(tmp_path: Path) -> None:
    with running(tmp_path, runner={"openSeconds": 3}) as runs:
        thread = runs.thread("t", "children", "new-hangs")
        prompt = thread.ask("hello")
        reason = thread.until("QueuePaused")["reason"]
        assert reason == "the agent has not answered session/new, and sent nothing for 3 s"
        assert_end(thread.pids())
        repair(thread)
        thread.dispatch("ResumeQueue")
        assert thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"
        assert len(thread.said("SessionOpened")) == 1


# Places


def test_an_agent_that_waits_for_a_place_is_shown_as_waiting_until_it_has_one(tmp_path: Path) -> None:
    with running(tmp_path, runner={"maxProcesses": 1}) as runs:
        first, second = runs.thread("first"), runs.thread("second")
        turn = first.until("TurnStarted", promptId=first.ask("script=stream"))["id"]
        first.until("MessageAppended")
        until_agents(runs, {"first": "prompting", "second": "waiting"})  # it was started ahead of its prompt
        prompt = second.ask("script=ask")
        until_agents(runs, {"first": "prompting", "second": "waiting"})
        first.cancel(turn)
        approval = second.until("ApprovalRequested")
        assert second.said("TurnStarted", promptId=prompt) != []
        until_agents(runs, {"second": "prompting"})
        second.dispatch("ResolveApproval", id=approval["id"], outcome="allow")
        second.until("TurnCompleted")
        until_agents(runs, {"second": "ready"})


# A full disk


@contextmanager
def on_small_disk(folder: Path) -> Iterator[tuple[Runs, Path]]:
    """A daemon with a data directory on a disk of its own, and the file that fills it."""
    data_dir = folder / "data"
    with running(folder, command=limited("tmpfs", data_dir, 8 << 20)) as runs:
        seen_from_here = Path(f"/proc/{runs.daemon.process.pid}/root{data_dir}")
        runs.daemon.data_dir = seen_from_here
        yield runs, seen_from_here / "ballast"


@own_file_system
def test_an_agent_whose_work_does_not_fit_on_the_disk_is_ended_and_its_turn_fails_once_there_is_room(
    tmp_path: Path,
) -> None:
    with sentinels(), on_small_disk(tmp_path) as (runs, ballast):
        thread = runs.thread("t")
        turn = thread.until("TurnStarted", promptId=thread.ask("script=children script=stream"))["id"]
        waiting = thread.ask("and now?")
        thread.until("MessageAppended")
        fill(ballast)
        assert_end(thread.pids())  # nothing works unrecorded
        ballast.unlink()
        ended = thread.end_of(turn)
        assert (ended["status"], ended["errorKind"]) == ("failed", "agent_exited")
        assert ended["error"].startswith("what it does cannot be recorded: the disk is full: make room")
        assert thread.until("QueuePaused")["reason"] == "the turn failed"
        assert thread.until("SessionEnded")["reason"] == ended["error"]
        thread.dispatch("ResumeQueue")
        assert thread.end_of(thread.until("TurnStarted", promptId=waiting)["id"])["status"] == "completed"
        assert len(thread.heard("session/prompt")) == 2


@own_file_system
def test_a_prompt_is_not_sent_while_its_turn_does_not_fit_on_the_disk(tmp_path: Path) -> None:
    with on_small_disk(tmp_path) as (runs, ballast):
        go = tmp_path / "go"
        thread = runs.thread("t", "children", "wait", GO=str(go))
        prompt = thread.ask("hello")
        until_agents(runs, {"t": "starting"})
        while not (thread.home / "pids").exists():
            select.select([], [], [], 0.02)
        fill(ballast)
        go.touch()
        while not thread.heard("session/new"):
            select.select([], [], [], 0.02)
        while "will retry" not in runs.daemon.stderr:
            select.select([], [], [], 0.02)
        assert thread.heard("session/prompt") == []
        ballast.unlink()
        assert thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"
        assert len(thread.heard("session/prompt")) == len(thread.said("SessionOpened")) == 1


# A daemon that was asleep


def test_a_prompt_behind_thousands_of_events_that_came_while_the_daemon_slept_is_sent(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        thread = runs.thread("t")
        thread.answer("one")
        pid = runs.daemon.process.pid
        with spawn(runs.daemon.data_dir, "--no-agents") as other:
            other.initialize()
            os.kill(pid, signal.SIGSTOP)
            try:
                for number in range(115):
                    commands = [{"type": "ChangeSetting", "key": "k", "value": [number, n]} for n in range(100)]
                    other.result("command/dispatchBatch", {"commands": commands})
                prompt = other.dispatch("QueuePrompt", threadId="t", text="two")["events"][0]["event"]["id"]
            finally:
                os.kill(pid, signal.SIGCONT)
            assert thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"
            assert other.finish() == 0
