"""A turn belongs to the daemon that runs it, exactly as long as the daemon's lock is held."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import storms
import wire
from support import append_all, needs, opened, plain
from treadle.domain import events as e
from treadle.store.ids import new_id


def begin(daemon: wire.Daemon, thread: str = "t") -> None:
    """A turn with a message that streams."""
    if thread == "t":
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
    daemon.dispatch("CreateThread", threadId=thread, projectId="p", title="t")
    daemon.dispatch("StartTurn", threadId=thread, id="u", prompt="go")
    daemon.dispatch("AddMessage", threadId=thread, turnId="u", id="m", role="assistant", text="I am", streaming=True)


def goes_on(daemon: wire.Daemon, thread: str = "t") -> None:
    """Its turn runs, and it streams into it."""
    daemon.dispatch("AppendMessage", threadId=thread, id="m", text=" here")
    assert daemon.result("thread/read", {"threadId": thread})["turns"][0]["status"] == "running"


def machine(daemon: wire.Daemon) -> str:
    """The machineId that the daemon's turns carry."""
    status = daemon.result("daemon/status")
    assert status["runner"].startswith(status["machineId"] + ".")
    return str(status["machineId"])


def meta(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT key, value FROM meta").fetchall())


def interruptions(data_dir: Path) -> list[str]:
    """The threads whose turns were interrupted, in the order in which that happened."""
    return [event["threadId"] for event in storms.log_of(data_dir).values() if event["type"] == "TurnInterrupted"]


@contextmanager
def looking(daemon: wire.Daemon) -> Iterator[None]:
    """In it things happen; after it this daemon has looked for ones that are gone, and found one that is."""
    yield
    subscription = daemon.result("subscription/open", {"topic": "events"})
    with wire.spawn(daemon.data_dir) as bait:
        bait.initialize()
        begin(bait, thread := f"bait-{subscription['sequence']}")
        wire.kill(bait)

    def tells(params: Any) -> bool:
        events = [stored["event"] for stored in params["events"]]
        return any(event["type"] == "TurnInterrupted" and event["threadId"] == thread for event in events)

    daemon.notification("event/appended", tells)


async def test_the_turn_of_a_killed_daemon_is_interrupted_once_by_another_daemon(
    data_dir: Path, record_property: Any
) -> None:
    done = await storms.kill_beside(data_dir, daemons=5, kills=4)
    record_property("seconds", storms.spread(done.seconds))
    print(storms.spread(done.seconds))
    assert done.problems == []


def begin_agent(daemon: wire.Daemon) -> None:
    """A thread with an agent that runs, a turn that answers a prompt, and another prompt that waits for it."""
    daemon.dispatch("CreateProject", id="p", name="p", path="/p")
    daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
    daemon.dispatch("AssignAgent", threadId="t", agent="a")
    daemon.dispatch("QueuePrompt", threadId="t", id="first", text="Do it")
    daemon.dispatch("QueuePrompt", threadId="t", id="second", text="And test it")
    daemon.dispatch("OpenSession", threadId="t", id="s", agent="a", sessionId="x", how="new")
    daemon.dispatch("StartTurn", threadId="t", id="u", prompt="Do it", promptId="first")


def told(daemon: wire.Daemon, subscription: str, type: str) -> Any:
    """The next event of the type that the subscription is sent."""

    def events(params: Any) -> list[Any]:
        found = [stored["event"] for stored in params["events"] if stored["event"]["type"] == type]
        return found if params["subscriptionId"] == subscription else []

    return events(daemon.notification("event/appended", lambda params: bool(events(params))))[0]


def state_of(daemon: wire.Daemon) -> tuple[Any, ...]:
    read = daemon.result("thread/read", {"threadId": "t"})
    turn, session = read["turns"][-1], read["sessions"][0]
    return turn["status"], turn["confirmed"], session["reason"], read["threads"][0]["queuePaused"]


def test_the_next_daemon_ends_the_session_of_a_killed_one_and_its_queue_is_paused(data_dir: Path) -> None:
    gone = "the daemon that ran it is gone"
    with wire.spawn(data_dir, "--no-agents") as daemon:
        daemon.initialize()
        begin_agent(daemon)
        wire.kill(daemon)
    with wire.serving(data_dir, "--no-agents") as other:
        assert state_of(other) == ("interrupted", False, gone, "the turn was interrupted")
        assert [one["id"] for one in other.result("prompt/list")["items"]] == ["second"]


def test_a_queue_that_a_killed_daemon_was_to_send_is_paused_by_a_running_one(data_dir: Path) -> None:
    with wire.serving(data_dir, "--no-agents") as other, wire.spawn(data_dir, "--no-agents") as daemon:
        daemon.initialize()
        subscription = other.result("subscription/open", {"topic": "events"})["subscriptionId"]
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("AssignAgent", threadId="t", agent="a")
        daemon.dispatch("QueuePrompt", threadId="t", id="first", text="Do it")
        wire.kill(daemon)
        assert told(other, subscription, "QueuePaused")["reason"] == "the daemon that was to send it is gone"
        assert other.dispatch("ResumeQueue", threadId="t")["events"][0]["event"]["runner"].startswith(machine(other))


def test_a_queue_of_a_killed_daemon_is_left_to_the_one_that_runs_the_agent(data_dir: Path) -> None:
    with wire.serving(data_dir, "--no-agents") as runs, wire.spawn(data_dir, "--no-agents") as asks:
        asks.initialize()
        begin_agent(runs)
        asks.dispatch("QueuePrompt", threadId="t", id="third", text="And again")
        with looking(runs):
            wire.kill(asks)
        assert state_of(runs) == ("running", None, None, None)


def test_the_next_daemon_pauses_a_queue_that_another_left_to_the_session_of_a_killed_one(data_dir: Path) -> None:
    with wire.spawn(data_dir, "--no-agents") as asks, wire.spawn(data_dir, "--no-agents") as runs:
        asks.initialize()
        asks.dispatch("CreateProject", id="p", name="p", path="/p")
        asks.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        asks.dispatch("AssignAgent", threadId="t", agent="a")
        asks.dispatch("QueuePrompt", threadId="t", id="first", text="Do it")
        runs.initialize()
        runs.dispatch("OpenSession", threadId="t", id="s", agent="a", sessionId="x", how="new")
        assert asks.finish() == 0
        wire.kill(runs)
    with wire.serving(data_dir, "--no-agents") as other:
        read = other.result("thread/read", {"threadId": "t"})
        assert read["sessions"][0]["reason"] == "the daemon that ran it is gone"
        assert read["threads"][0]["queuePaused"] == "the daemon that was to send it is gone"


def test_a_daemon_that_ends_ends_its_session_and_pauses_its_queue(data_dir: Path) -> None:
    with wire.serving(data_dir, "--no-agents") as daemon:
        begin_agent(daemon)
    with wire.serving(data_dir, "--no-agents") as other:
        assert state_of(other) == ("interrupted", False, "the daemon ended", "the turn was interrupted")
    with wire.serving(data_dir, "--no-agents") as daemon:
        daemon.dispatch("ResumeQueue", threadId="t")
    with wire.serving(data_dir, "--no-agents") as other:
        assert state_of(other)[-1] == "the daemon ended"


def test_a_daemon_paused_by_sigstop_keeps_its_turn(data_dir: Path) -> None:
    with wire.serving(data_dir, "--no-agents") as stopped, wire.serving(data_dir, "--no-agents") as other:
        begin(stopped)
        stopped.process.send_signal(signal.SIGSTOP)
        try:
            with looking(other):
                pass
            with wire.serving(data_dir, "--no-agents") as late:
                assert late.result("thread/read", {"threadId": "t"})["turns"][0]["status"] == "running"
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        goes_on(stopped)
        assert [thread for thread in interruptions(data_dir) if thread == "t"] == []
        stopped.dispatch("CompleteTurn", threadId="t", id="u", stopReason="end_turn")


@pytest.mark.parametrize("moment", [0, 4_000_000_000], ids=["1970", "2096"])
def test_the_timestamp_of_a_lock_file_does_not_matter(data_dir: Path, moment: int) -> None:
    with wire.serving(data_dir) as daemon, wire.serving(data_dir) as other:
        begin(daemon)
        with looking(other):
            for file in (data_dir / "runners").iterdir():
                os.utime(file, (moment, moment))
        goes_on(daemon)
        assert "t" not in interruptions(data_dir)


@needs("faketime")
def test_a_clock_jump_does_not_interrupt_a_running_turn(data_dir: Path, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    environment = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    command = ("faketime", "-f", "+0", "env", "-u", "FAKETIME", *wire.TREADLE, "serve")
    clock.write_text("+0")
    with (
        wire.spawn(data_dir, command=command, env=environment) as daemon,
        wire.spawn(data_dir, command=command, env=environment) as other,
    ):
        daemon.initialize()
        other.initialize()
        begin(daemon)
        for jump in ("+20y", "-20y"):
            with looking(other):
                clock.write_text(jump)
            goes_on(daemon)
        years = {event["at"][:4] for event in storms.log_of(data_dir).values()}
        assert len(years) == 3, "the clock did not jump"
        assert "t" not in interruptions(data_dir)
        assert daemon.finish() == other.finish() == 0


def can_have_process_ids() -> bool:
    """Whether this user may make a namespace of process ids: root, or where user namespaces are allowed."""
    return sys.platform == "linux" and subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


ALONE = ("unshare", *(() if os.getuid() == 0 else ("--user", "--map-root-user")), "--pid", "--fork", "--kill-child")


@pytest.mark.skipif(not can_have_process_ids(), reason="no namespace of process ids may be made here")
def test_a_reused_process_id_does_not_confuse_dead_and_live_daemons(data_dir: Path) -> None:
    first = (*ALONE, *wire.TREADLE, "serve")  # each is process 1
    with wire.serving(data_dir) as watching, wire.spawn(data_dir, command=first) as lives:
        lives.initialize()
        begin(lives)
        with wire.spawn(data_dir, command=first) as dies:
            dies.initialize()
            begin(dies, "dies")
            wire.kill(dies)
        with wire.spawn(data_dir, command=first) as again:
            again.initialize()
            with looking(watching):
                begin(again, "again")
            assert interruptions(data_dir).count("dies") == 1
            for daemon, thread in ((lives, "t"), (again, "again")):
                goes_on(daemon, thread)
                assert thread not in interruptions(data_dir)


def test_copying_a_data_directory_in_use_does_not_affect_the_original(data_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with wire.serving(data_dir) as daemon:
        begin(daemon)
        shutil.copytree(data_dir, copy)
        with wire.serving(copy) as other:
            assert machine(other) != machine(daemon)
            assert other.result("thread/read", {"threadId": "t"})["turns"][0]["status"] == "interrupted"
            assert list((copy / "runners").iterdir()) == []
            begin(other, "own")
            with wire.serving(data_dir), wire.serving(copy) as late:
                assert machine(late) == machine(other)
                goes_on(daemon)
                goes_on(other, "own")
        assert interruptions(copy) == ["t", "own"]
        assert interruptions(data_dir) == []


def test_a_copy_of_a_copy_interrupts_what_ran_in_each(data_dir: Path, tmp_path: Path) -> None:
    copy, second = tmp_path / "copy", tmp_path / "second"
    with wire.serving(data_dir) as daemon:
        begin(daemon)
        machines = [machine(daemon)]
        shutil.copytree(data_dir, copy)
        with wire.serving(copy) as other:
            begin(other, "own")
            machines.append(machine(other))
            shutil.copytree(copy, second)
            with wire.serving(second) as third, plain(second) as db:
                assert interruptions(second) == ["t", "own"]
                assert sorted(machines) == json.loads(meta(db)["formerMachineIds"])
                assert machine(third) not in machines


def test_a_directory_that_is_moved_stays_the_machine_that_it_is(data_dir: Path, tmp_path: Path) -> None:
    with wire.serving(data_dir) as daemon:
        before = daemon.result("daemon/status")
    data_dir.rename(tmp_path / "moved")
    with wire.serving(tmp_path / "moved") as daemon:
        after = daemon.result("daemon/status")
        assert after["machineId"] == before["machineId"]
        assert after["runner"] != before["runner"]
        with plain(tmp_path / "moved") as db:
            assert json.loads(meta(db)["formerMachineIds"]) == []


def test_a_file_that_gets_another_inode_while_a_daemon_runs_turns_in_it_is_not_taken_for_a_copy(data_dir: Path) -> None:
    # As on a file system whose inode numbers do not last.
    with wire.serving(data_dir) as daemon:
        begin(daemon)
        before = machine(daemon)
        with plain(data_dir) as db:
            db.execute("UPDATE meta SET value = '1' WHERE key = 'machineFile'")
        with wire.serving(data_dir) as other:
            assert machine(other) == before
            goes_on(other)
        assert interruptions(data_dir) == []
    with wire.serving(data_dir) as alone:
        assert machine(alone) != before


async def test_the_turn_of_another_machine_is_left_to_it(data_dir: Path) -> None:
    foreign = f"{'f' * 16}.{new_id()}"
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
    async with opened(data_dir) as store:
        started = e.TurnStarted(id="u", thread_id="t", runner=foreign, at="2026-01-31T12:00:00.000Z")
        await append_all(store, [started])
    (data_dir / "runners").mkdir(exist_ok=True)
    (data_dir / "runners" / f"{foreign}.lock").touch()  # no lock file says anything about it
    for _ in range(2):
        with wire.serving(data_dir) as daemon:
            with looking(daemon):
                pass
            (turn,) = daemon.result("turn/list", {"threadId": "t"})["items"]
            assert (turn["status"], turn["runner"]) == ("running", foreign)
    assert "1 of other machines" in wire.run("doctor", "--data-dir", str(data_dir)).stdout
    assert "t" not in interruptions(data_dir)


def test_lock_files_do_not_accumulate_however_daemons_end(data_dir: Path) -> None:
    for ending in ("exit", "end of input", "SIGTERM", "SIGKILL", "SIGKILL"):
        with wire.spawn(data_dir) as daemon:
            daemon.initialize()
            if ending == "exit":
                begin(daemon)
                daemon.result("shutdown")
                daemon.notify("exit")
            else:
                begin(daemon, ending.replace(" ", "-") + str(len(interruptions(data_dir))))
            if ending.startswith("SIG"):
                daemon.process.send_signal(signal.Signals[ending])
            elif ending == "end of input":
                daemon.close_input()
            daemon.status()
    with wire.serving(data_dir) as daemon:
        with plain(data_dir) as db:
            assert db.execute("SELECT count(*) FROM projection_turns WHERE status <> 'interrupted'").fetchone() == (0,)
        assert list((data_dir / "runners").iterdir()) == []
