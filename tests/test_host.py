"""`treadle host`: agents keep working when the editor closes, and nobody waits for a host that has gone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import wire
from scripted import assert_end, linux_only, scripted
from treadle.agents.orphans import AgentRecord
from treadle.agents.reaper import start_time
from treadle.server.host_lock import HOST_LOCK, HostRecord, has_host
from treadle.store.sqlite.database import FileLock
from wire import PATIENCE, TREADLE, Daemon, kill, run, serving


class Place:
    """A data directory with an agent. pids: the file that its script `children` writes the ids of all processes to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data_dir, self.pids, self._log = folder, folder / "data", folder / "pids", folder / "log"
        self.data_dir.mkdir(mode=0o700)
        file = self.data_dir / "agents.json"
        file.write_text(json.dumps({"agents": {"it": scripted(SCRIPTED_LOG=str(self._log), PIDS=str(self.pids))}}))
        file.chmod(0o600)

    @property
    def prompts(self) -> list[str]:
        """The prompts that the agent got."""
        messages = map(json.loads, self._log.read_text().splitlines())
        return [one["params"]["prompt"][0]["text"] for one in messages if one.get("method") == "session/prompt"]

    @property
    def records(self) -> list[AgentRecord]:
        files = (self.data_dir / "agents").glob("*.json")
        return [msgspec.json.decode(file.read_bytes(), type=AgentRecord) for file in files]

    def host(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run("host", "--data-dir", str(self.data_dir), *arguments)

    @contextmanager
    def hosting(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A host that is ready, and that ends well unless it was killed."""
        command = [*TREADLE, "host", "--data-dir", str(self.data_dir), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
            try:
                assert host.stdout is not None
                assert host.stdout.readline() == f"host {host.pid} runs\n"
                yield host
                if host.poll() is None:
                    host.send_signal(signal.SIGTERM)
                _, stderr = host.communicate(timeout=PATIENCE)
                assert (host.returncode in (0, -signal.SIGKILL), stderr) == (True, "")
            finally:
                host.kill()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Follower:
    """A daemon that tells of all events. events: those that it told of so far."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.events: list[dict[str, Any]] = []
        daemon.result("subscription/open", {"topic": "events", "afterSequence": 0})

    def until(self, type: str, **members: Any) -> dict[str, Any]:
        """The first event of this type with these members."""
        seen = 0
        while True:
            for event in self.events[seen:]:
                if event["type"] == type and members.items() <= event.items():
                    return event
            seen = len(self.events)
            told = self.daemon.notification("event/appended")["events"]
            self.events += [one["event"] for one in told]


def begin(daemon: Daemon, place: Place, *threads: str) -> None:
    """Threads with an agent."""
    daemon.dispatch("CreateProject", id="p", name="P", path=str(place.folder))
    for thread in threads:
        daemon.dispatch("CreateThread", threadId=thread, projectId="p", title=f"Thread {thread}")
        daemon.dispatch("AssignAgent", threadId=thread, agent="it")


def ask(daemon: Daemon, thread: str, id: str, text: str) -> None:
    daemon.dispatch("QueuePrompt", threadId=thread, id=id, text=text)


def runner_of(daemon: Daemon) -> str:
    name: str = daemon.result("daemon/status")["runner"]
    return name


def sent(follower: Follower, prompt: str) -> str:
    """The turn in which a prompt was sent."""
    turn: str = follower.until("PromptSent", id=prompt)["turnId"]
    return turn


# While a host runs


def test_a_turn_goes_on_when_the_editor_that_asked_for_it_closes(place: Place) -> None:
    with place.hosting(), serving(place.data_dir) as other:
        follower = Follower(other)
        with serving(place.data_dir) as editor:
            begin(editor, place, "t")
            ask(editor, "t", "q", "script=ask")
            ask(editor, "t", "next", "hello")
            approval = follower.until("ApprovalRequested")["id"]
        other.dispatch("ResolveApproval", threadId="t", id=approval, outcome="allow")
        follower.until("TurnCompleted", id=sent(follower, "q"), stopReason="end_turn")
        follower.until("TurnCompleted", id=sent(follower, "next"), stopReason="end_turn")
    assert place.prompts == ["script=ask", "hello"]


def test_a_prompt_that_a_script_left_behind_is_sent_by_the_host(place: Place) -> None:
    with place.hosting(), serving(place.data_dir) as other:
        begin(other, place, "t")
        follower = Follower(other)
        params = json.dumps({"type": "QueuePrompt", "threadId": "t", "id": "q", "text": "hello"})
        done = run("call", "command/dispatch", params, "--data-dir", str(place.data_dir))
        assert done.returncode == 0, done
        follower.until("TurnCompleted", id=sent(follower, "q"))


def test_an_approval_that_the_host_waits_for_is_answered_from_a_daemon(place: Place) -> None:
    with place.hosting(), serving(place.data_dir) as daemon:
        begin(daemon, place, "t")
        follower = Follower(daemon)
        ask(daemon, "t", "q", "script=ask")
        approval = follower.until("ApprovalRequested")["id"]
        shown = place.host("--status").stdout
        assert "t  it  waits for an approval  Thread t" in shown
        daemon.dispatch("ResolveApproval", threadId="t", id=approval, outcome="allow")
        follower.until("MessageAdded", role="assistant", text="chose allow")
        follower.until("TurnCompleted", id=sent(follower, "q"))


def test_with_a_host_and_three_daemons_each_prompt_is_sent_once_and_by_the_host(place: Place) -> None:
    with (
        place.hosting() as host,
        serving(place.data_dir) as a,
        serving(place.data_dir) as b,
        serving(place.data_dir) as c,
    ):
        begin(a, place, "t1", "t2")
        follower = Follower(a)
        prompts = [f"q{i}" for i in range(9)]
        for i, prompt in enumerate(prompts):
            ask((a, b, c)[i % 3], ("t1", "t2")[i % 2], prompt, prompt)
        for prompt in prompts:
            follower.until("TurnCompleted", id=sent(follower, prompt))
        assert a.result("daemon/status")["hostPid"] == host.pid
        runners = {event["runner"] for event in follower.events if event["type"] in ("SessionOpened", "TurnStarted")}
        assert len(runners) == 1
        assert not runners & {runner_of(daemon) for daemon in (a, b, c)}
    assert sorted(place.prompts) == prompts


def test_a_new_host_sends_what_waits_at_a_daemon_that_runs_no_agents(place: Place) -> None:
    with serving(place.data_dir, "--no-agents") as daemon:
        begin(daemon, place, "t")
        ask(daemon, "t", "q", "hello")
        follower = Follower(daemon)
        with place.hosting():
            follower.until("TurnCompleted", id=sent(follower, "q"))


def test_a_daemon_keeps_the_session_that_it_has_when_a_host_appears(place: Place) -> None:
    with serving(place.data_dir) as daemon:
        begin(daemon, place, "t")
        follower = Follower(daemon)
        ask(daemon, "t", "q1", "one")
        follower.until("TurnCompleted", id=sent(follower, "q1"))
        with place.hosting():
            ask(daemon, "t", "q2", "two")
            turn = sent(follower, "q2")
            assert follower.until("TurnStarted", id=turn)["runner"] == runner_of(daemon)
            follower.until("TurnCompleted", id=turn)


def test_what_a_killed_daemon_left_before_there_was_a_host_waits_until_it_is_resumed(place: Place) -> None:
    with wire.spawn(place.data_dir, "--no-agents") as killed:
        killed.initialize()
        begin(killed, place, "t")
        ask(killed, "t", "q", "hello")
        kill(killed)
    with place.hosting(), serving(place.data_dir) as daemon:
        follower = Follower(daemon)
        follower.until("QueuePaused", reason="the daemon that was to send it is gone")
        daemon.dispatch("ResumeQueue", threadId="t")
        follower.until("TurnCompleted", id=sent(follower, "q"))
        types = [event["type"] for event in follower.events]
        assert types.index("PromptSent") > types.index("QueueResumed")


# When the host ends


@linux_only
def test_the_agents_of_a_killed_host_end_and_any_daemon_interrupts_its_turns(place: Place) -> None:
    with place.hosting() as host, serving(place.data_dir) as daemon:
        begin(daemon, place, "t")
        follower = Follower(daemon)
        ask(daemon, "t", "q", "script=children script=plain script=silent")
        ask(daemon, "t", "next", "hello")
        turn = sent(follower, "q")
        follower.until("MessageAdded", role="assistant")
        pids = place.pids.read_text()
        host.kill()
        follower.until("TurnInterrupted", id=turn, confirmed=False)
        follower.until("QueuePaused", reason="the turn was interrupted")
        assert_end(pids)
        follower.until("SessionEnded")
        daemon.dispatch("ResumeQueue", threadId="t")
        turn = sent(follower, "next")
        assert follower.until("TurnStarted", id=turn)["runner"] == runner_of(daemon)
        follower.until("TurnCompleted", id=turn)


def test_a_prompt_that_waits_for_the_host_is_sent_by_its_daemon_once_the_host_is_killed(place: Place) -> None:
    with place.hosting() as host, serving(place.data_dir) as daemon:
        host.send_signal(signal.SIGSTOP)
        begin(daemon, place, "t")
        ask(daemon, "t", "q", "hello")
        follower = Follower(daemon)
        follower.until("PromptQueued", id="q")
        assert daemon.result("daemon/status")["agents"] == []
        host.kill()
        turn = sent(follower, "q")
        assert follower.until("TurnStarted", id=turn)["runner"] == runner_of(daemon)
        follower.until("TurnCompleted", id=turn)


@linux_only
def test_a_host_that_is_told_to_end_interrupts_its_turns(place: Place) -> None:
    with place.hosting() as host, serving(place.data_dir) as daemon:
        begin(daemon, place, "t")
        follower = Follower(daemon)
        ask(daemon, "t", "q", "script=children script=plain script=silent")
        turn = sent(follower, "q")
        follower.until("MessageAdded", role="assistant")
        pids = place.pids.read_text()
        host.send_signal(signal.SIGINT)
        follower.until("TurnInterrupted", id=turn, reason="the daemon ended")
        follower.until("SessionEnded", reason="the daemon ended")
        assert host.wait(PATIENCE) == 0
        assert_end(pids)


def test_the_host_ends_when_no_agent_has_worked_for_a_while(place: Place) -> None:
    with place.hosting("--idle-minutes", "0.01") as host:
        assert host.wait(PATIENCE) == 0
    assert not has_host(place.data_dir)


def test_the_host_does_not_end_while_a_turn_runs(place: Place) -> None:
    with serving(place.data_dir, "--no-agents") as daemon:
        begin(daemon, place, "t")
        ask(daemon, "t", "q", "script=ask")
        follower = Follower(daemon)
        with place.hosting("--idle-minutes", "0.02") as host:
            approval = follower.until("ApprovalRequested")["id"]
            while time.time() < (place.data_dir / HOST_LOCK).stat().st_mtime + 2:
                assert place.host("--status").returncode == 0
            daemon.dispatch("ResolveApproval", threadId="t", id=approval, outcome="allow")
            follower.until("TurnCompleted", id=sent(follower, "q"), stopReason="end_turn")
            assert host.wait(PATIENCE) == 0


# The command


def test_a_second_host_says_that_one_runs_already(place: Place) -> None:
    with place.hosting() as host:
        for arguments in ((), ("--detach",)):
            second = place.host(*arguments)
            assert (second.returncode, second.stdout, second.stderr) == (0, f"host {host.pid} runs already\n", "")


def test_a_detached_host_is_ready_when_the_command_returns_and_ends_when_it_is_stopped(place: Place) -> None:
    before = place.host("--status")
    assert (before.returncode, before.stdout) == (1, "no host runs\n")
    started = place.host("--detach")
    assert started.returncode == 0, started
    found = re.fullmatch(r"host (\d+) runs\n", started.stdout)
    assert found, started
    pid = int(found[1])
    assert os.getsid(pid) == pid
    shown = place.host("--status")
    assert shown.returncode == 0
    assert re.fullmatch(rf"host {pid} runs since \d{{4}}-\d\d-\d\d \d\d:\d\d\n", shown.stdout), shown
    stopped = place.host("--stop")
    assert (stopped.returncode, stopped.stdout) == (0, f"host {pid} has ended\n")
    assert_end(str(pid))
    assert place.host("--stop").stdout == "no host runs\n"
    assert (place.data_dir / "host.log").read_text() == ""
    assert (place.data_dir / "host.log").stat().st_mode & 0o077 == 0


def test_a_detached_host_that_cannot_start_says_why(place: Place) -> None:
    (place.data_dir / "treadle.db").write_text("not a database " * 100)
    failed = place.host("--detach")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "treadle.db" in failed.stderr
    assert not has_host(place.data_dir)


def test_only_the_process_that_holds_the_lock_is_stopped(place: Place) -> None:
    file, lock = place.data_dir / HOST_LOCK, FileLock(place.data_dir / HOST_LOCK)
    with subprocess.Popen(["sleep", "600"]) as other:
        record = HostRecord(other.pid, start_time(other.pid), "2026-01-31T12:00:00.000Z", "")
        file.write_bytes(msgspec.json.encode(record))
        assert place.host("--stop").stdout == "no host runs\n"
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, start_time="1")))
        lock.acquire()
        refused = place.host("--stop")
        lock.release()
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "its lock does not name its process" in refused.stderr
        assert other.poll() is None
        other.kill()


# What daemons say of agents


def test_the_status_shows_what_the_agents_of_a_daemon_do(place: Place) -> None:
    with serving(place.data_dir) as daemon:
        status = daemon.result("daemon/status")
        assert (status["agents"], status["hostPid"]) == ([], None)
        begin(daemon, place, "t")
        follower = Follower(daemon)
        ask(daemon, "t", "q", "script=ask")
        approval = follower.until("ApprovalRequested")["id"]
        [record] = place.records
        agents = daemon.result("daemon/status")["agents"]
        assert agents == [{"threadId": "t", "agent": "it", "phase": "prompting", "pid": record.pid}]
        daemon.dispatch("ResolveApproval", threadId="t", id=approval, outcome="allow")
        follower.until("TurnCompleted", id=sent(follower, "q"))
        assert [agent["phase"] for agent in daemon.result("daemon/status")["agents"]] == ["ready"]


def test_an_agent_that_is_started_ahead_of_its_first_prompt_is_that_of_a_live_daemon(place: Place) -> None:
    with serving(place.data_dir) as daemon:
        begin(daemon, place, "t")
        while [one["phase"] for one in daemon.result("daemon/status")["agents"]] != ["started"]:
            pass
        [record] = place.records
        lock = FileLock(place.data_dir / "runners" / f"{record.runner}.lock")
        assert lock.path.exists()
        assert not lock.acquire(shared=True)
        lock.release()


def test_the_configured_agents_are_listed_without_what_may_be_secret(place: Place) -> None:
    with serving(place.data_dir) as daemon:
        listed = daemon.result("agent/list")["agents"]
        assert {"name": "it", "command": sys.executable} in listed
        (place.data_dir / "agents.json").write_text('{"agents":\n {"it": {"command": 7}}}')
        error = daemon.error("agent/list")
        assert error["data"]["kind"] == "badConfig"
        assert f"{place.data_dir}/agents.json, line 2: agents.it.command" in error["message"]


# What `treadle doctor` says of agents


def doctor(place: Place) -> tuple[int, dict[str, str]]:
    """The exit status, and the line of each check of agents."""
    done = run("doctor", "--data-dir", str(place.data_dir), "--quick")
    assert done.stderr == ""
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    found = {text.partition(": ")[0]: f"{verdict}: {text.partition(': ')[2]}" for verdict, text in lines}
    return done.returncode, {check: found.get(check, "") for check in ("agents.json", "running agents", "host")}


def test_doctor_tells_of_a_host_and_of_agents_that_a_killed_daemon_left(place: Place) -> None:
    with serving(place.data_dir) as daemon:
        begin(daemon, place, "t")
        status, told = doctor(place)
        assert (status, told["running agents"]) == (0, "ok: each of a daemon that lives")
    assert told["host"] == "ok: none runs"
    with place.hosting() as host:
        assert doctor(place)[1]["host"].startswith(f"ok: process {host.pid} runs the agents of all daemons")
    with serving(place.data_dir) as daemon:
        gone = runner_of(daemon)
    record = {"mark": "0" * 32, "runner": gone, "bootId": "", "reaperPid": 1}
    (place.data_dir / "agents").mkdir(exist_ok=True)
    (place.data_dir / "agents" / f"{'1' * 32}.json").write_text("half a rec")
    (place.data_dir / "agents" / f"{'0' * 32}.json").write_text(json.dumps(record))
    status, told = doctor(place)
    assert (status, told["running agents"]) == (0, "WARNING: 2 are of daemons that are gone: the next start ends them")


def test_doctor_tells_of_a_configuration_that_others_may_read_or_that_is_invalid(place: Place) -> None:
    with serving(place.data_dir):
        pass
    file = place.data_dir / "agents.json"
    file.chmod(0o644)
    status, told = doctor(place)
    assert (status, told["agents.json"]) == (
        0,
        f"WARNING: others may read {file}, which may hold keys: chmod 600 {file}",
    )
    file.write_text("{")
    status, told = doctor(place)
    assert status == 1
    assert told["agents.json"].startswith(f"PROBLEM: no agent can start: {file}, line 1: ")
