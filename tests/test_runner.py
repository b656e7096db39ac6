"""What agents do, and what treadle makes of it: from outside, with a daemon and an agent that does what it is told."""

import itertools
import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import storms
from runs import Runs, Thread, configure, running
from scripted import assert_end, linux_only, scripted, sentinels
from scripted_agent.scripts import ODD_TEXT
from support import plain
from wire import Daemon, spawn


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A daemon that most tests share; each has a thread and an agent of its own."""
    with running(tmp_path_factory.mktemp("runs")) as found:
        yield found


def assert_in_order(thread: Thread) -> None:
    """What reached the agent: one session/prompt for each that was sent, and none while another one was open."""
    sent = [event["id"] for event in thread.said("PromptSent")]
    assert len(thread.heard("session/prompt")) == len(sent) == len(set(sent))
    bounds = [
        event["type"]
        for event in thread.runs.events
        if event.get("threadId") == thread.id and event["type"] in ("TurnStarted", *ENDS)
    ]
    assert all((first == "TurnStarted") != (second == "TurnStarted") for first, second in itertools.pairwise(bounds))


ENDS = ("TurnCompleted", "TurnFailed", "TurnInterrupted")


# What is read


def test_an_answer_after_a_thousand_updates_in_one_write_ends_the_turn_after_all_of_them(runs: Runs) -> None:
    thread = runs.thread("thousand")
    turn = thread.answer("script=thousand")
    assert (turn["status"], turn["stopReason"]) == ("completed", "end_turn")
    assert thread.text_of(turn["id"]) == "".join(f"{number} " for number in range(1_000))
    assert thread.answer("and then?")["status"] == "completed"
    assert_in_order(thread)


def test_a_line_of_20_mb_is_stored(runs: Runs) -> None:
    thread = runs.thread("long-line")
    turn = thread.answer("script=long-line")
    assert turn["status"] == "completed"
    assert len(thread.text_of(turn["id"])) == 20_000_000


def test_a_line_over_the_limit_ends_the_agent_with_a_sentence(runs: Runs) -> None:
    thread = runs.thread("over-limit", "long-line")
    thread.ask("Hello?")
    assert "a line of more than 33,554,432 bytes" in thread.until("QueuePaused")["reason"]


@linux_only
def test_a_line_over_the_limit_in_a_turn_fails_it_and_leaves_no_process(runs: Runs) -> None:
    thread = runs.thread("over-limit-in-turn")
    turn = thread.answer("script=children script=over-limit script=stream")
    assert (turn["status"], turn["error"]) == ("failed", "the agent wrote a line of more than 33,554,432 bytes")
    assert_end(thread.pids())
    assert thread.until("SessionEnded")["reason"] == turn["error"]
    assert thread.answer("and now?")["status"] == "completed"


def test_text_is_kept_as_it_came_but_for_what_is_no_character(runs: Runs) -> None:
    thread = runs.thread("odd-text")
    turn = thread.answer("script=odd-text")
    assert thread.text_of(turn["id"]) == ODD_TEXT.replace("\0", "\ufffd") + "\ufffd"
    assert turn["status"] == "completed"


def test_what_the_log_cannot_hold_is_left_out_and_a_question_in_it_is_refused(runs: Runs) -> None:
    thread = runs.thread("unstorable")
    turn = thread.answer("script=unstorable")
    assert (turn["status"], thread.text_of(turn["id"])) == ("completed", "-32601")
    assert thread.read()["approvals"] == []


def test_what_is_not_a_message_does_not_end_the_connection(runs: Runs) -> None:
    thread = runs.thread("banner", "banner", "answer-others")
    turn = thread.answer("script=banner script=plain script=banner")
    assert turn["status"] == "completed"
    assert thread.text_of(turn["id"]) == "Hello, world."


def test_an_unknown_kind_of_update_is_kept_whole(runs: Runs) -> None:
    thread = runs.thread("unknown")
    thread.answer("script=unknown-update")
    [activity] = thread.read()["activities"]
    assert activity["kind"] == "compaction_update"
    assert activity["detail"]["tokens"] == {"before": 90_000, "after": 9_000}


def test_an_empty_chunk_is_no_message_of_its_own(runs: Runs) -> None:
    thread = runs.thread("empty")
    turn = thread.answer("script=empty-chunks script=plain")
    assert thread.text_of(turn["id"]) == "Hello, world."


def test_two_mb_on_stderr_do_not_block_the_agent_and_its_last_line_is_in_the_error(runs: Runs) -> None:
    thread = runs.thread("stderr", "flood-stderr")
    assert thread.answer("script=plain")["status"] == "completed"
    turn = thread.answer("script=exit")
    assert turn["error"].endswith("exited with status 3: out of memory")
    ended = thread.until("SessionEnded")
    assert "the last words\nout of memory" in ended["stderr"]
    assert len(ended["stderr"]) < 10_000


def test_requests_that_nobody_offered_are_refused(runs: Runs) -> None:
    thread = runs.thread("ask-client", "ask")
    turn = thread.answer("script=ask-client")
    assert thread.text_of(turn["id"]) == "fs/write_text_file: -32601 craft/drainMidTurnQueue: -32601 "


@pytest.mark.parametrize("when", ["early", "late"])
def test_updates_around_the_answer_that_opens_a_session_belong_to_the_next_turn(runs: Runs, when: str) -> None:
    thread = runs.thread(f"{when}-updates", f"{when}-updates")
    turn = thread.answer("script=plain")
    assert [one["id"] for one in thread.read()["turns"]] == [turn["id"]]
    assert {one["kind"] for one in thread.read()["activities"]} >= {"available_commands_update"}
    assert {one["turnId"] for one in thread.read()["activities"]} == {turn["id"]}
    [session] = thread.read()["sessions"]
    values = {option["id"]: option["currentValue"] for option in session["options"]}
    early, late = {"mode": "ask", "model": "small"}, {"mode": "code", "model": "large"}
    assert values == (early if when == "early" else late)  # an answer is newer than what came before it


def test_a_tool_that_is_left_ends_with_its_turn(runs: Runs) -> None:
    thread = runs.thread("tool-left")
    thread.answer("script=tool-left")
    [activity] = thread.read()["activities"]
    assert activity["status"] not in ("pending", "running")


# What is sent


def test_an_agent_hears_initialize_first_and_always_gets_a_list_of_mcp_servers(runs: Runs) -> None:
    thread = runs.thread("first")
    prompts = [thread.ask(f"number {number}") for number in range(3)]
    for prompt in prompts:
        thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])
    thread.answer("script=exit")
    thread.dispatch("ResumeQueue")
    thread.answer("again")
    methods = [message["method"] for message in thread.heard()]
    once = ["initialize", "session/new", *["session/prompt"] * 4, "initialize", "session/resume", "session/prompt"]
    assert methods == once
    for message in thread.heard("session/new") + thread.heard("session/resume"):
        assert message["params"]["mcpServers"] == []
        assert message["params"]["cwd"] == str(thread.home)
    assert [message["params"]["protocolVersion"] for message in thread.heard("initialize")] == [1, 1]
    texts = [message["params"]["prompt"][0]["text"] for message in thread.heard("session/prompt")]
    assert texts == ["number 0", "number 1", "number 2", "script=exit", "again"]
    assert_in_order(thread)


def test_prompts_that_come_while_one_runs_wait_for_its_end(runs: Runs) -> None:
    thread = runs.thread("queue")
    first = thread.ask("script=stream")
    turn = thread.until("TurnStarted", promptId=first)["id"]
    thread.until("MessageAppended")
    second = thread.ask("script=plain")
    assert [prompt["id"] for prompt in thread.read()["prompts"]] == [second]
    assert len(thread.heard("session/prompt")) == 1
    thread.cancel(turn)
    assert thread.end_of(turn)["confirmed"] is True
    assert thread.until("QueuePaused")["reason"] == "the turn was interrupted"
    thread.dispatch("ResumeQueue")
    assert thread.end_of(thread.until("TurnStarted", promptId=second)["id"])["status"] == "completed"
    assert_in_order(thread)


@pytest.mark.parametrize("script", ["ask-same-id", "ask-text-id", "ask-unannounced", "ask-other-session"])
def test_a_permission_is_answered_under_the_id_that_the_agent_gave_it(runs: Runs, script: str) -> None:
    thread = runs.thread(script)
    turn = thread.until("TurnStarted", promptId=thread.ask(f"script={script}"))["id"]
    approval = thread.until("ApprovalRequested")
    assert approval["title"] == "rm -rf build"
    thread.dispatch("ResolveApproval", id=approval["id"], outcome="allow")
    assert thread.end_of(turn)["status"] == "completed"
    assert thread.text_of(turn) == "chose allow"


def test_a_permission_that_the_agent_withdraws_is_closed(runs: Runs) -> None:
    thread = runs.thread("withdrawn")
    turn = thread.until("TurnStarted", promptId=thread.ask("script=ask-withdrawn"))["id"]
    assert thread.until("ApprovalResolved")["by"] == "agent"
    assert thread.runs.daemon.result("approval/list", {"threadId": thread.id})["items"] == []
    assert thread.end_of(turn)["status"] == "completed"


# How a turn is stopped


@pytest.mark.parametrize("script", ["stream", "silent", "cancel-end-turn", "cancel-late"])
def test_a_turn_that_was_told_to_stop_is_interrupted_whatever_the_agent_answers(runs: Runs, script: str) -> None:
    thread = runs.thread(f"stop-{script}")
    turn = thread.until("TurnStarted", promptId=thread.ask(f"script={script}"))["id"]
    thread.cancel(turn)
    ended = thread.end_of(turn)
    assert (ended["status"], ended["confirmed"]) == ("interrupted", True)
    assert len(thread.heard("session/cancel")) == 1
    assert thread.answer("and now?")["status"] == "completed"
    assert len(thread.heard("initialize")) == 1
    assert_in_order(thread)


def test_a_turn_that_is_told_to_stop_twice_ends_once_and_the_next_prompt_is_not_cancelled(runs: Runs) -> None:
    thread = runs.thread("twice")
    turn = thread.until("TurnStarted", promptId=thread.ask("script=silent"))["id"]
    stop = {"type": "InterruptTurn", "threadId": thread.id, "id": turn, "reason": "I said so"}
    runs.daemon.result("command/dispatchBatch", {"commands": [stop, stop]})  # together: the turn ends soon after one
    thread.end_of(turn)
    assert len(thread.said("TurnInterrupted", id=turn)) == 1
    assert len(thread.heard("session/cancel")) == 1
    assert thread.answer("script=tool script=plain")["status"] == "completed"


def test_a_stop_that_crosses_the_answer_ends_the_turn_once_and_not_the_next_one(runs: Runs) -> None:
    thread = runs.thread("crossing")
    daemon = runs.daemon
    for number in range(10):
        prompt = thread.ask(f"script=plain number {number}")
        turn = thread.until("TurnStarted", promptId=prompt)["id"]
        if number % 2:
            thread.until("MessageAppended", count=number)
        late = {"type": "InterruptTurn", "threadId": thread.id, "id": turn, "reason": "I said so"}
        daemon.call("command/dispatch", late)  # refused if the turn has ended
        thread.end_of(turn)
        assert sum(len(thread.said(type, id=turn)) for type in ENDS) == 1
        assert thread.answer("script=tool")["status"] == "completed"
    assert_in_order(thread)


@pytest.mark.parametrize("script", ["ask", "ask-twice", "ask-hangs", "elicit"])
def test_what_an_agent_waits_for_is_answered_as_cancelled_when_its_turn_is_to_stop(runs: Runs, script: str) -> None:
    thread = runs.thread(f"stop-{script}")
    turn = thread.until("TurnStarted", promptId=thread.ask(f"script={script}"))["id"]
    questions = 2 if script == "ask-twice" else 1
    thread.until("ApprovalRequested", count=questions)
    thread.cancel(turn)
    ended = thread.end_of(turn)
    assert (ended["status"], ended["confirmed"]) == ("interrupted", True)
    after = [message for message in thread.heard() if "result" in message or message["method"] == "session/cancel"]
    assert [message.get("method") for message in after] == [*[None] * questions, "session/cancel"]
    cancelled = {"action": "cancel"} if script == "elicit" else {"outcome": {"outcome": "cancelled"}}
    assert [message["result"] for message in after[:-1]] == [cancelled] * questions
    assert {one["status"] for one in thread.read()["approvals"]} == {"cancelled"}


def test_an_agent_that_does_not_stop_is_ended_and_the_next_prompt_gets_a_fresh_one(tmp_path: Path) -> None:
    with running(tmp_path, runner={"cancelSeconds": 0.2}) as runs:
        thread = runs.thread("deaf")
        turn = thread.until("TurnStarted", promptId=thread.ask("script=children script=cancel-ignored"))["id"]
        thread.until("MessageAdded", role="assistant")
        thread.cancel(turn)
        ended = thread.end_of(turn)
        assert (ended["status"], ended["confirmed"]) == ("interrupted", False)
        assert thread.until("SessionEnded")["reason"] == "it did not stop"
        assert thread.answer("and now?")["status"] == "completed"
        assert len(thread.heard("initialize")) == 2
        assert_end(thread.pids())
        assert_in_order(thread)


def test_an_agent_that_repeats_itself_without_end_is_stopped(runs: Runs) -> None:
    thread = runs.thread("repeat")
    turn = thread.answer("script=repeat")
    assert (turn["status"], turn["by"], turn["confirmed"]) == ("interrupted", "guard", True)


# What an agent does by itself


def test_text_that_follows_the_answer_gets_a_turn_of_its_own(runs: Runs) -> None:
    thread = runs.thread("late")
    turn = thread.answer("script=late")
    own = thread.until("TurnStarted", count=2)
    assert "promptId" not in own
    next_one = thread.answer("and now?")
    assert thread.end_of(own["id"])["stopReason"] == "outside_turn"
    texts = [thread.text_of(id) for id in (turn["id"], own["id"], next_one["id"])]
    assert texts == ["before the answer", ", after the answer", "You said: and now?"]
    assert_in_order(thread)


def test_work_outside_of_any_turn_gets_a_turn_of_its_own(runs: Runs) -> None:
    thread = runs.thread("outside")
    thread.answer("script=outside")
    own = thread.until("TurnStarted", count=2)["id"]
    thread.until("MessageAdded", turnId=own, role="assistant")
    assert thread.text_of(own) == "the task in the background has ended"
    assert [one["turnId"] for one in thread.read()["activities"]] == [own]


def test_settings_that_follow_the_answer_do_not_begin_a_turn(runs: Runs) -> None:
    thread = runs.thread("late-settings")
    first = thread.answer("script=late-settings")
    second = thread.answer("and now?")
    assert [one["id"] for one in thread.read()["turns"]] == [first["id"], second["id"]]


# How an agent ends


@linux_only
def test_a_crash_in_a_turn_fails_it_and_leaves_no_process_and_the_queue_waits(runs: Runs) -> None:
    with sentinels():
        thread = runs.thread("crash")
        first, second = thread.ask("script=children script=exit"), thread.ask("and now?")
        turn = thread.end_of(thread.until("TurnStarted", promptId=first)["id"])
        assert (turn["status"], turn["errorKind"]) == ("failed", "agent_exited")
        assert turn["error"] == "the agent exited with status 3: out of memory"
        ended = thread.until("SessionEnded")
        assert (ended["exitStatus"], ended["stderr"]) == (3, "out of memory")
        assert thread.until("QueuePaused")["reason"] == "the turn failed"
        assert_end(thread.pids())
        assert [prompt["id"] for prompt in thread.read()["prompts"]] == [second]
        thread.dispatch("ResumeQueue")
        assert thread.end_of(thread.until("TurnStarted", promptId=second)["id"])["status"] == "completed"
        assert_in_order(thread)


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        ("kill", -9, "the agent was ended by SIGKILL"),  # it did not know why: what it wrote before is no reason
        ("hold-stdout", 3, "the agent exited with status 3: out of memory"),
    ],
)
def test_an_agent_that_is_killed_or_leaves_its_output_open_fails_its_turn(
    runs: Runs, script: str, status: int, error: str
) -> None:
    thread = runs.thread(f"crash-{script}")
    turn = thread.answer(f"script={script}")
    assert (turn["status"], turn["error"]) == ("failed", error)
    ended = thread.until("SessionEnded")
    assert (ended["exitStatus"], ended["stderr"]) == (status, "out of memory")


def test_an_agent_that_exits_while_it_is_idle_ends_its_session_and_the_next_prompt_continues_it(runs: Runs) -> None:
    thread = runs.thread("idle")
    thread.answer("script=children script=plain")
    os.kill(int(thread.pids().split()[0]), signal.SIGKILL)
    ended = thread.until("SessionEnded")
    assert (ended["reason"], ended["exitStatus"]) == ("the agent was ended by SIGKILL", -9)
    assert_end(thread.pids())
    assert thread.answer("and now?")["status"] == "completed"
    assert [one["how"] for one in thread.said("SessionOpened")] == ["new", "resume"]
    assert thread.said("QueuePaused") == []


def test_a_prompt_that_is_refused_fails_its_turn_but_not_the_session(runs: Runs) -> None:
    thread = runs.thread("refuse")
    assert thread.answer("script=refuse")["status"] == "failed"
    assert thread.answer("and now?")["status"] == "completed"
    assert len(thread.heard("initialize")) == 1


# Ends of the daemon


@linux_only
def test_no_process_of_an_agent_outlives_its_daemon(tmp_path: Path) -> None:
    ends = {"eof": Runs.finish, "SIGTERM": Runs.terminate, "SIGKILL": Runs.kill}
    with sentinels(), ExitStack() as stack:
        threads: dict[str, Thread] = {}
        for name in ends:
            (tmp_path / name).mkdir()
            thread = stack.enter_context(running(tmp_path / name)).thread("t", "fork-on-sigterm")
            thread.ask("script=children script=tool-left script=stream")
            thread.until("MessageAdded", role="assistant")
            threads[name] = thread
        for name, end in ends.items():
            end(threads[name].runs)
        for thread in threads.values():
            assert_end(thread.pids())
    for name in ends:
        with running(tmp_path / name) as again:
            found = again.daemon.result("thread/read", {"threadId": "t"})
            assert [one["status"] for one in found["turns"]] == ["interrupted"]
            assert found["sessions"][0]["reason"] is not None
            assert {one["status"] for one in found["activities"]} <= {"failed", "cancelled"}


@linux_only
@pytest.mark.parametrize("end", [Runs.finish, Runs.kill])
def test_an_agent_behind_a_wrapper_ends_with_its_daemon(tmp_path: Path, end: Callable[[Runs], None]) -> None:
    with sentinels(), running(tmp_path) as runs:
        thread = runs.thread("t")
        agent = scripted("stay", PIDS=str(thread.home / "pids"))
        command = ["sh", "-c", '"$@"; exit $?', "npx", agent["command"], *agent["args"]]
        configure(runs.daemon.data_dir, t={"command": command[0], "args": command[1:], "env": agent["env"]})
        thread.ask("script=children script=stream")
        thread.until("MessageAppended")
        end(runs)
        assert_end(thread.pids())


@linux_only
def test_a_record_of_an_agent_whose_process_id_was_given_to_another_ends_nothing_and_is_removed(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        runs.thread("t").answer("script=plain")
        [file] = (tmp_path / "data" / "agents").iterdir()
        record = json.loads(file.read_bytes())
    with subprocess.Popen(["sleep", "600"]) as sentinel, ExitStack() as stack:
        stack.callback(sentinel.kill)
        (tmp_path / "data" / "agents" / file.name).write_text(json.dumps({**record, "pid": sentinel.pid}))
        with running(tmp_path):
            while file.exists():
                select.select([], [], [], 0.02)
        assert sentinel.poll() is None


# Agents that do not start


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "agent 'nobody' is not configured: treadle agents add nobody"),
        ("no-program", "no-such-program is not on PATH"),
        ("dies", "the agent exited with status 3: no key was given"),
        ("version-2", "the agent speaks version 2 of ACP, treadle speaks version 1"),
    ],
)
def test_a_queue_waits_and_says_why_if_its_agent_cannot_be_started(runs: Runs, name: str, reason: str) -> None:
    configure(runs.daemon.data_dir, **{"no-program": {"command": "no-such-program"}, "dies": scripted("die")})
    configure(runs.daemon.data_dir, **{"version-2": scripted("version-2")})
    thread = runs.thread(f"start-{name}", agent="nobody" if name == "absent" else name)
    prompt = thread.ask("hello")
    assert reason in thread.until("QueuePaused")["reason"]
    assert [one["id"] for one in thread.read()["prompts"]] == [prompt]
    configure(runs.daemon.data_dir, **{"nobody": scripted(), name: scripted()})
    thread.dispatch("ResumeQueue")
    assert thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"


def test_a_queue_waits_and_names_the_line_if_the_configuration_is_invalid(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        thread = runs.thread("t")
        file = tmp_path / "data" / "agents.json"
        valid = file.read_text()
        file.write_text('{"agents": {\n"t": {"command": 7}}}')
        prompt = thread.ask("hello")
        assert "agents.json, line 2: agents.t.command" in thread.until("QueuePaused")["reason"]
        file.write_text(valid)
        thread.dispatch("ResumeQueue")
        assert thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"


def test_a_change_of_how_agents_are_run_counts_from_the_next_start_of_an_agent(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        first = runs.thread("first")
        first.answer("hello")
        configure(tmp_path / "data", {"idleMinutes": 0.001})
        second = runs.thread("second")
        second.answer("hello")
        assert second.until("SessionEnded")["reason"] == "it was idle"
        assert first.said("SessionEnded") == []


def test_fewer_places_for_agents_count_from_the_next_start_of_an_agent(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        earlier = [runs.thread(id) for id in ("first", "second")]
        for thread in earlier:
            thread.answer("hello")
        configure(tmp_path / "data", {"maxProcesses": 1})
        third = runs.thread("third")
        third.answer("hello")
        assert [thread.until("SessionEnded")["reason"] for thread in earlier] == ["it was idle"] * 2
        configure(tmp_path / "data", {"maxProcesses": 2})
        earlier[0].answer("and now?")
        assert third.said("SessionEnded") == []


def test_an_invalid_change_of_how_agents_are_run_is_named_and_does_not_touch_running_agents(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        first = runs.thread("first")
        first.answer("hello")
        configure(tmp_path / "data", {"idleMinutes": -1})
        second = runs.thread("second")
        prompt = second.ask("hello")
        assert "runner.idleMinutes" in second.until("QueuePaused")["reason"]
        assert first.answer("and now?")["status"] == "completed"
        configure(tmp_path / "data", {"idleMinutes": 0.001})
        second.dispatch("ResumeQueue")
        second.end_of(second.until("TurnStarted", promptId=prompt)["id"])
        assert second.until("SessionEnded")["reason"] == "it was idle"


def test_a_daemon_whose_supervisor_fails_says_it_keeps_answering_and_tries_again(runs: Runs) -> None:
    thread, other = runs.thread("t"), runs.thread("other")
    thread.answer("hello")
    with plain(runs.daemon.data_dir) as connection:
        [(agent,)] = connection.execute("SELECT agent FROM projection_threads WHERE id = 't'").fetchall()
        connection.execute("""UPDATE projection_threads SET agent = '{"name": 7}' WHERE id = 't'""")
    prompt, waiting = thread.ask("and now?"), other.ask("hello")
    while "failed to run agents" not in runs.daemon.stderr:
        runs.daemon.result("daemon/status", {})
    os.truncate(runs.daemon.log, 0)  # or its traceback would fail the test
    with plain(runs.daemon.data_dir) as connection:
        connection.execute("UPDATE projection_threads SET agent = ? WHERE id = 't'", [agent])
    for one, id in ((thread, prompt), (other, waiting)):
        assert one.end_of(one.until("TurnStarted", promptId=id)["id"])["status"] == "completed"


# Many agents, and clients that do not read


def test_an_idle_agent_gives_its_place_to_a_thread_that_waits_and_a_busy_one_does_not(tmp_path: Path) -> None:
    with running(tmp_path, runner={"maxProcesses": 1}) as runs:
        first, second = runs.thread("first"), runs.thread("second")
        turn = first.until("TurnStarted", promptId=first.ask("script=stream"))["id"]
        prompt = second.ask("script=plain")
        first.until("MessageAppended", count=10)
        assert second.heard() == []
        first.cancel(turn)
        assert second.end_of(second.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"
        assert first.until("SessionEnded")["reason"] == "it was idle"
        assert first.answer("script=plain")["status"] == "completed"
        assert [one["how"] for one in first.said("SessionOpened")] == ["new", "resume"]


@linux_only
def test_a_flood_with_a_client_that_does_not_read_uses_bounded_memory_and_is_stored(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        thread = runs.thread("t")
        thread.answer("script=plain")
        before, _ = storms.memory(runs.daemon.process.pid)
        prompt = thread.ask("script=flood script=flood")
        with spawn(tmp_path / "data", "--no-agents") as other:  # the daemon of this client does not read meanwhile
            other.initialize()
            while (turn := turn_of(other, prompt)) is None or turn["status"] == "running":
                select.select([], [], [], 0.02)
        assert storms.memory(runs.daemon.process.pid)[1] - before <= 60  # MiB
        assert thread.text_of(turn["id"]) == "".join(f"{number} " for number in range(5_000)) * 2


def turn_of(daemon: Daemon, prompt: str) -> Any:
    """The turn of a prompt, as another daemon sees it."""
    turns = daemon.result("thread/read", {"threadId": "t"})["turns"]
    return next((one for one in turns if one["promptId"] == prompt), None)
