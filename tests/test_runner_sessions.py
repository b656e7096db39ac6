"""An agent's sessions, options and prompts: continued, kept and sent once, however the agent and the daemons behave."""

import select
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runs import Json, Runs, Thread, configure, running
from scripted import scripted
from wire import serving

BRIEF: Json = {"idleMinutes": 0.001}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with running(tmp_path) as runs:
        yield runs


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Runs]:
    """Agents end as soon as they are idle."""
    with running(tmp_path, runner=BRIEF) as runs:
        yield runs


def prompts(thread: Thread) -> list[str]:
    """The prompts that reached the agent, each as text."""
    return ["".join(b.get("text", "") for b in one["params"]["prompt"]) for one in thread.heard("session/prompt")]


def state_of(thread: Thread) -> Json:
    [state] = thread.read()["threads"]
    return dict(state)


def option(session: Json, id: str) -> str:
    return str(next(one["currentValue"] for one in session["options"] if one["id"] == id))


# Continuing


@pytest.mark.parametrize(("words", "how"), [((), "resume"), (("no-resume",), "load"), (("resume-replays",), "resume")])
def test_an_idle_agent_ends_and_continues_its_session_without_storing_anything_twice(
    brief: Runs, words: tuple[str, ...], how: str
) -> None:
    thread = brief.thread("t", *words)
    thread.answer("script=ids script=usage")
    assert thread.until("SessionEnded")["reason"] == "it was idle"
    before = thread.read()
    turn = thread.answer("two script=usage")
    assert thread.until("SessionOpened", 2)["how"] == how
    after = thread.read()
    known = {one["id"] for one in before["messages"] + before["activities"]}
    new = [one for one in after["messages"] if one["id"] not in known]
    assert [(one["role"], one["turnId"]) for one in new] == [("user", turn["id"])]
    assert thread.said("ContextLost") == []
    assert turn["spent"]["cost"] == 0.25
    assert state_of(thread)["usage"] == {"cost": 0.5, "currency": "USD", "tokens": 2_000}


@pytest.mark.parametrize("words", [("load-fails",), ("no-load", "no-resume")])
def test_a_session_that_cannot_be_continued_begins_again_and_says_that_context_is_lost(
    brief: Runs, words: tuple[str, ...]
) -> None:
    thread = brief.thread("t", *words)
    thread.answer("one script=usage")
    thread.until("SessionEnded")
    turn = thread.answer("two script=usage")
    assert turn["spent"]["cost"] == 0.25
    lost = thread.until("ContextLost")
    assert (thread.until("SessionOpened", 2)["how"], lost["id"]) == ("new", thread.said("SessionOpened")[1]["id"])
    assert all(one["params"]["mcpServers"] == [] for one in thread.heard("session/new"))


def test_a_session_that_the_agent_has_lost_begins_again_and_says_why(brief: Runs) -> None:
    thread = brief.thread("t")
    thread.answer("one")
    thread.until("SessionEnded")
    shutil.rmtree(thread.home / "sessions")
    assert thread.answer("two")["status"] == "completed"
    assert [one["method"] for one in thread.heard()][-4:-1] == ["session/resume", "session/load", "session/new"]
    assert "Resource not found" in thread.until("ContextLost")["reason"]


def test_another_agent_begins_with_the_transcript_and_the_log_says_that_the_agent_was_changed(runs: Runs) -> None:
    thread, other = runs.thread("t"), runs.thread("other")
    thread.answer("the first words")
    thread.dispatch("AssignAgent", agent="other")
    thread.answer("two")
    thread.answer("three")
    changed = "the agent was changed from t to other; it begins with the transcript"
    assert [one["reason"] for one in thread.said("ContextLost")] == [changed]
    assert [one["how"] for one in thread.said("SessionOpened")] == ["new", "new"]
    first, second = (one["params"]["prompt"] for one in other.heard("session/prompt"))
    assert "the first words" in first[0]["resource"]["text"]
    assert "You said: the first words" in first[0]["resource"]["text"]
    assert (first[1:], second) == ([{"type": "text", "text": "two"}], [{"type": "text", "text": "three"}])


def test_an_agent_that_is_assigned_again_knows_what_the_other_one_did(runs: Runs) -> None:
    thread = runs.thread("t")
    runs.thread("other")
    thread.answer("one")
    thread.dispatch("AssignAgent", agent="other")
    thread.answer("two")
    thread.dispatch("AssignAgent", agent="t")
    thread.answer("three")
    assert [one["reason"] for one in thread.said("ContextLost")] == [
        "the agent was changed from t to other; it begins with the transcript",
        "the agent was changed from other to t; it begins with the transcript",
    ]
    text = thread.heard("session/prompt")[-1]["params"]["prompt"][0]["resource"]["text"]
    assert 0 < text.index("one") < text.index("two")


@pytest.mark.parametrize("words", [(), ("no-resume",), ("resume-replays",)])
def test_what_an_agent_says_right_after_it_has_continued_a_session_is_new_and_gets_a_turn_of_its_own(
    brief: Runs, words: tuple[str, ...]
) -> None:
    thread = brief.thread("t", "speaks-again", *words)
    first = thread.answer("script=plain")
    thread.until("SessionEnded")
    second = thread.answer("two")
    turns = [one["id"] for one in thread.read()["turns"]]
    assert (turns[0], turns[2:]) == (first["id"], [second["id"]])
    assert "promptId" not in thread.said("TurnStarted")[1]
    texts = [thread.text_of(id) for id in turns]
    assert texts == ["Hello, world.", "the task in the background has ended", "You said: two"]


@pytest.mark.parametrize("words", [("fork",), ("fork", "fork-costs-nothing")])
def test_a_fork_does_not_cost_what_its_source_has_cost(runs: Runs, words: tuple[str, ...]) -> None:
    thread = runs.thread("t", *words)
    thread.answer("script=usage")
    thread.answer("script=usage script=usage")
    thread.dispatch("ForkThread", id="f")
    copy = Thread(runs, "f")
    turn = copy.answer("script=usage")
    assert copy.until("SessionOpened")["how"] == "fork"
    assert turn["spent"]["cost"] == 0.25
    assert state_of(copy)["usage"]["cost"] == 0.25


def test_a_fork_continues_a_copy_of_the_session(runs: Runs) -> None:
    thread = runs.thread("t", "fork")
    thread.answer("one")
    thread.dispatch("ForkThread", id="f")
    copy = Thread(runs, "f")
    turn = copy.answer("two")
    assert turn["status"] == "completed"
    assert copy.until("SessionOpened")["how"] == "fork"
    assert prompts(thread) == ["one", "two"]


def test_a_fork_after_a_turn_begins_with_the_transcript_until_there(runs: Runs) -> None:
    thread = runs.thread("t", "fork")
    first = thread.answer("the first words")
    thread.answer("the second words")
    thread.dispatch("ForkThread", id="f", afterTurnId=first["id"])
    copy = Thread(runs, "f")
    copy.answer("three")
    assert (copy.until("SessionOpened")["how"], copy.said("ContextLost")) == ("new", [])
    resource, text = thread.heard("session/prompt")[-1]["params"]["prompt"]
    assert (resource["type"], text["text"]) == ("resource", "three")
    assert "the first words" in resource["resource"]["text"]
    assert "the second words" not in resource["resource"]["text"]


def test_a_long_transcript_is_cut_at_its_beginning_and_says_so(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.answer("the first words")
    thread.answer("script=long-line")
    last = thread.answer("the last words")
    thread.dispatch("ForkThread", id="f", afterTurnId=last["id"])
    Thread(runs, "f").answer("go on")
    text = thread.heard("session/prompt")[-1]["params"]["prompt"][0]["resource"]["text"]
    assert len(text) < 201_000
    assert "(Older parts are left out.)" in text
    assert "the last words" in text
    assert "the first words" not in text


# Threads that another tool has begun


def recorded(there: Thread, said: str, **origin: Any) -> Thread:
    """A thread with a turn that no agent ran here, with the agent of another thread for the next turn."""
    daemon = there.runs.daemon
    given = {"origin": origin} if origin else {}
    daemon.dispatch("CreateThread", threadId="from", projectId=f"of-{there.id}", title="From elsewhere", **given)
    daemon.dispatch("StartTurn", threadId="from", id="was", prompt=said)
    daemon.dispatch("CompleteTurn", threadId="from", id="was", stopReason="end_turn")
    daemon.dispatch("AssignAgent", threadId="from", agent=there.id)
    return Thread(there.runs, "from")


@pytest.mark.parametrize(("words", "how"), [((), "resume"), (("no-resume",), "load")])
def test_a_session_that_the_tool_of_the_agent_recorded_is_continued(
    runs: Runs, words: tuple[str, ...], how: str
) -> None:
    there = runs.thread("claude", *words)
    there.answer("one")
    session = there.until("SessionOpened")["sessionId"]
    thread = recorded(there, "the first words", tool="@agentclientprotocol/claude-agent-acp", sessionId=session)
    thread.answer("two")
    opened = thread.until("SessionOpened")
    assert (opened["how"], opened["sessionId"], thread.said("ContextLost")) == (how, session, [])
    assert prompts(there) == ["one", "two"]
    assert [message["text"] for message in thread.read()["messages"] if message["role"] == "user"] == [
        "the first words", "two"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "origin"),
    [
        ((), {"tool": "codex", "sessionId": "1"}),
        ((), {"tool": "claude", "sessionId": "gone"}),
        (("load-fails",), {"tool": "claude", "sessionId": "1"}),
        ((), {"tool": "claude", "sessionId": "1", "parent": {"threadId": "claude"}}),
        ((), {}),
    ],
    ids=["another tool", "unknown session", "load fails", "subagent", "recorded by a client"],
)
def test_a_session_that_the_agent_cannot_continue_begins_with_the_transcript(
    runs: Runs, words: tuple[str, ...], origin: Json
) -> None:
    there = runs.thread("claude", *words)
    thread = recorded(there, "the first words", **origin)
    thread.answer("two")
    thread.answer("three")
    assert ([one["how"] for one in thread.said("SessionOpened")], thread.said("ContextLost")) == (["new"], [])
    first, second = (one["params"]["prompt"] for one in there.heard("session/prompt"))
    assert "the first words" in first[0]["resource"]["text"]
    assert ([block["type"] for block in first], second) == (["resource", "text"], [{"type": "text", "text": "three"}])


def test_a_thread_that_was_a_fork_in_its_tool_begins_with_both_transcripts(runs: Runs) -> None:
    there = runs.thread("t")
    there.answer("what the fork knows")
    recorded(there, "the words of the fork", tool="codex", sessionId="1", forkOf={"threadId": "t"}).answer("two")
    text = there.heard("session/prompt")[-1]["params"]["prompt"][0]["resource"]["text"]
    assert 0 < text.index("what the fork knows") < text.index("the words of the fork")


# Options


def test_the_mode_and_the_options_are_applied_before_the_first_prompt_and_changed_when_the_turn_has_ended(
    runs: Runs,
) -> None:
    thread = runs.thread("t")
    thread.dispatch("SetThreadOption", id="mode", value="code")
    thread.dispatch("SetThreadOption", id="model", value="large")
    thread.answer("one")
    methods = [one["method"] for one in thread.heard()]
    settings = ["session/set_mode", "session/set_config_option"]
    assert methods == ["initialize", "session/new", *settings, "session/prompt"]
    session = thread.until("SessionOpened")
    assert (option(session, "mode"), option(session, "model")) == ("code", "large")

    thread.dispatch("SetThreadOption", id="model", value="small")
    changed = thread.until("SessionChanged")
    assert (option(changed, "mode"), option(changed, "model")) == ("code", "small")

    thread.ask("script=stream")
    turn = thread.until("TurnStarted", 2)["id"]
    thread.dispatch("SetThreadOption", id="mode", value="ask")
    thread.cancel(turn)
    changed = thread.until("SessionChanged", 2)
    assert (option(changed, "mode"), option(changed, "model")) == ("ask", "small")
    thread.answer("three")
    assert len(thread.said("SessionChanged")) == 2


def test_an_option_that_the_agent_does_not_have_ends_the_session_and_pauses_the_queue(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.answer("one")
    thread.dispatch("SetThreadOption", id="speed", value="high")
    assert "no option 'speed'" in thread.until("SessionEnded")["reason"]
    thread.ask("two")
    assert "no option 'speed'" in thread.until("QueuePaused")["reason"]
    assert prompts(thread) == ["one"]


# Logins


def test_a_login_that_is_needed_for_a_session_holds_the_prompt_until_the_queue_is_resumed(runs: Runs) -> None:
    thread = runs.thread("t", "auth-on-new")
    thread.ask("one")
    assert thread.until("AuthRequired")["methods"] == [{"id": "key", "name": "API key"}]
    assert state_of(thread)["status"] == "needsAuth"
    while runs.daemon.result("daemon/status")["agents"]:  # it ends, and is not tried again and again
        select.select([], [], [], 0.02)
    steer = thread.ask("two", when="steer")  # no more than the other
    runs.thread("other").answer("time passes")
    assert (len(thread.heard("initialize")), prompts(thread)) == (1, [])
    thread.dispatch("RemovePrompt", id=steer)
    log_in(thread)
    thread.dispatch("ResumeQueue")
    assert thread.end_of(thread.until("TurnStarted")["id"])["status"] == "completed"
    assert prompts(thread) == ["one"]


def test_a_prompt_that_needs_a_login_fails_and_is_not_sent_again(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.ask("script=refuse-auth")
    thread.ask("two")
    thread.until("AuthRequired")
    assert state_of(thread)["status"] == "needsAuth"
    thread.dispatch("ResumeQueue")
    assert thread.end_of(thread.until("TurnStarted", 2)["id"])["status"] == "completed"
    assert prompts(thread) == ["script=refuse-auth", "two"]


def log_in(thread: Thread) -> None:
    files = {"SCRIPTED_LOG": "heard", "SCRIPTED_SESSIONS": "sessions"}
    configure(
        thread.runs.daemon.data_dir,
        **{thread.id: scripted(**{name: str(thread.home / file) for name, file in files.items()})},
    )


# Prompts into a running turn


def test_a_prompt_is_taken_into_the_turn(runs: Runs) -> None:
    thread = runs.thread("t", "steering")
    thread.ask("script=stream")
    turn = thread.until("TurnStarted")["id"]
    prompt = thread.ask("left", when="steer")
    assert thread.until("PromptSent", id=prompt)["turnId"] == turn
    thread.cancel(turn)
    thread.end_of(turn)
    assert "steered: left" in thread.text_of(turn)
    assert prompts(thread) == ["script=stream"]


@pytest.mark.parametrize("words", [(), ("steering", "steering-lost")])
def test_a_prompt_that_cannot_go_into_the_turn_is_sent_after_it(runs: Runs, words: tuple[str, ...]) -> None:
    thread = runs.thread("t", *words)
    thread.ask("script=stream")
    thread.until("TurnStarted")
    steer = thread.ask("left", when="steer")
    turn = thread.until("TurnStarted", promptId=steer)["id"]
    assert thread.end_of(turn)["status"] == "completed"
    assert prompts(thread) == ["script=stream", "left"]
    if not words:
        ended = thread.read()["turns"][0]
        assert (ended["status"], ended["by"]) == ("interrupted", "steer")
        assert thread.said("QueuePaused") == []


def test_a_prompt_that_was_to_go_into_a_turn_does_not_start_a_failing_agent_again_and_again(runs: Runs) -> None:
    thread = runs.thread("t", "die")
    prompt = thread.ask("left", when="steer")
    thread.until("QueuePaused")
    assert thread.until("PromptEdited", id=prompt)["text"] == "left"
    log_in(thread)
    thread.dispatch("ResumeQueue")
    turn = thread.until("TurnStarted", promptId=prompt)["id"]
    assert thread.end_of(turn)["status"] == "completed"
    assert len(thread.said("QueuePaused")) == 1


# The queue


def test_prompts_go_out_in_the_order_of_the_queue_one_a_turn(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.ask("script=stream")
    turn = thread.until("TurnStarted")["id"]
    first, second, third = [thread.ask(text) for text in ("first", "second", "third")]
    thread.dispatch("MovePrompt", id=third, before=first)
    thread.dispatch("EditPrompt", id=first, text="first, edited")
    thread.dispatch("RemovePrompt", id=second)
    thread.dispatch("PauseQueue", reason="lunch")
    thread.cancel(turn)
    thread.end_of(turn)
    assert state_of(thread)["status"] == "paused"
    thread.dispatch("ResumeQueue")
    thread.until("TurnCompleted", 2)
    assert prompts(thread) == ["script=stream", "third", "first, edited"]


def test_nothing_is_sent_after_a_failure_until_the_queue_is_resumed(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.ask("script=refuse")
    thread.ask("two")
    assert thread.until("QueuePaused")["reason"] == "the turn failed"
    thread.dispatch("ResumeQueue")
    thread.until("TurnCompleted")
    assert prompts(thread) == ["script=refuse", "two"]


def test_after_a_kill_of_the_daemon_its_queue_waits_and_is_then_sent_in_order_and_once(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        thread = runs.thread("t")
        turn = thread.until("TurnStarted", promptId=thread.ask("script=stream"))["id"]
        for text in ("two", "three"):
            thread.ask(text)
        thread.until("MessageAppended")
        runs.kill()
    with running(tmp_path) as again:
        thread = Thread(again, "t")
        assert thread.end_of(turn)["status"] == "interrupted"
        thread.until("QueuePaused")
        assert prompts(thread) == ["script=stream"]
        thread.dispatch("ResumeQueue")
        thread.until("TurnCompleted", 2)
        assert prompts(thread) == ["script=stream", "two", "three"]
        assert [one["how"] for one in thread.said("SessionOpened")] == ["new", "resume"]


def test_prompts_of_two_daemons_are_sent_once_and_in_order(runs: Runs) -> None:
    thread = runs.thread("t")
    with serving(runs.daemon.data_dir) as other:
        for number in range(3):
            thread.ask(f"mine {number}")
            other.dispatch("QueuePrompt", threadId="t", text=f"theirs {number}")
        thread.until("TurnCompleted", 6)
    assert prompts(thread) == [f"{whose} {number}" for number in range(3) for whose in ("mine", "theirs")]


# Budgets


@pytest.mark.parametrize(
    ("budget", "limit", "scope"),
    [
        ({"turn": {"cost": 0.2}}, "cost", "turn"),
        ({"turn": {"tokens": 900}}, "tokens", "turn"),
        ({"turn": {"minutes": 0.005}}, "minutes", "turn"),
        ({"thread": {"cost": 0.25}}, "cost", "thread"),
    ],
)
def test_a_budget_that_is_reached_interrupts_the_turn_and_pauses_the_queue(
    tmp_path: Path, budget: Json, limit: str, scope: str
) -> None:
    with running(tmp_path, runner={"budget": budget}) as runs:
        thread = runs.thread("t")
        thread.ask("script=usage script=stream")
        thread.ask("two")
        reached = thread.until("BudgetReached")
        assert (reached["limit"], reached["scope"]) == (limit, scope)
        turn = thread.end_of(reached["turnId"])
        assert (turn["status"], turn["by"], turn["spent"]["cost"]) == ("interrupted", "budget", 0.25)
        thread.until("QueuePaused")
        assert len(thread.said("BudgetReached")) == 1
        assert prompts(thread) == ["script=usage script=stream"]
