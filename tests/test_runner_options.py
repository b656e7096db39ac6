"""Which agent a thread has, started ahead of its prompts, and the mode and options that its sessions get."""

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import Json, Runs, Thread, configure, running
from scripted import assert_end, linux_only, scripted


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with running(tmp_path) as runs:
        yield runs


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Runs]:
    """Agents end as soon as they are idle."""
    with running(tmp_path, runner={"idleMinutes": 0.001}) as runs:
        yield runs


def until_agent(thread: Thread, agent: str, phase: str) -> None:
    """Wait until this agent of the thread does this, and no other one runs."""
    while [(one["agent"], one["phase"]) for one in thread.runs.daemon.result("daemon/status")["agents"]] != [
        (agent, phase)
    ]:
        select.select([], [], [], 0.02)


def values_of(thread: Thread) -> Json:
    """The options that the thread's session has, as the log says."""
    return {option["id"]: option["currentValue"] for option in thread.read()["sessions"][-1]["options"]}


def configured(thread: Thread, *words: str, **members: object) -> None:
    """Configure the thread's agent again, with these members too."""
    names = {"SCRIPTED_LOG": "heard", "SCRIPTED_SESSIONS": "sessions", "PIDS": "pids"}
    agent = scripted(*words, **{name: str(thread.home / file) for name, file in names.items()})
    configure(thread.runs.daemon.data_dir, **{thread.id: {**agent, **members}})


# Ahead of the first prompt


def test_an_agent_is_started_when_it_is_assigned_and_the_first_prompt_opens_its_session(runs: Runs) -> None:
    thread = runs.thread("t")
    until_agent(thread, "t", "started")
    assert [one["method"] for one in thread.heard()] == ["initialize"]
    assert thread.read()["sessions"] == []
    assert thread.answer("hello")["status"] == "completed"
    assert [one["method"] for one in thread.heard()] == ["initialize", "session/new", "session/prompt"]


def test_an_agent_that_was_started_ahead_and_gets_no_prompt_ends_and_comes_back_for_one(brief: Runs) -> None:
    thread = brief.thread("t")
    while not thread.heard("initialize") or brief.daemon.result("daemon/status")["agents"]:
        select.select([], [], [], 0.02)
    assert thread.said("QueuePaused") == []
    assert thread.answer("hello")["status"] == "completed"
    assert len(thread.heard("initialize")) == 2


def test_a_start_ahead_of_prompts_that_fails_is_tried_again_for_the_first_one(runs: Runs) -> None:
    thread = runs.thread("t", "die")
    while "could not be started" not in runs.daemon.stderr:
        select.select([], [], [], 0.02)
    assert thread.said("QueuePaused") == []
    configured(thread)
    assert thread.answer("hello")["status"] == "completed"


# Another agent


@linux_only
def test_another_agent_that_is_assigned_while_the_first_is_idle_gets_the_next_prompt(runs: Runs) -> None:
    runs.thread("other")
    thread = runs.thread("t")
    thread.answer("script=children script=plain")
    thread.dispatch("AssignAgent", agent="other")
    assert thread.until("SessionEnded")["reason"] == "the thread does not need it"
    assert_end(thread.pids())
    assert thread.answer("hello")["status"] == "completed"
    assert thread.until("SessionOpened", 2)["agent"] == "other"
    assert (len(thread.heard("session/prompt")), len(Thread(runs, "other").heard("session/prompt"))) == (1, 1)


def test_another_agent_that_is_assigned_while_a_turn_runs_gets_the_prompts_after_it(runs: Runs) -> None:
    runs.thread("other")
    thread = runs.thread("t")
    thread.ask("script=ask")
    approval = thread.until("ApprovalRequested")
    waiting = thread.ask("hello")
    thread.dispatch("AssignAgent", agent="other")
    thread.dispatch("ResolveApproval", id=approval["id"], outcome="allow")
    assert thread.end_of(approval["turnId"])["status"] == "completed"
    assert thread.text_of(approval["turnId"]) == "chose allow"
    assert thread.end_of(thread.until("TurnStarted", promptId=waiting)["id"])["status"] == "completed"
    assert [one["agent"] for one in thread.said("SessionOpened")] == ["t", "other"]
    assert (len(thread.heard("session/prompt")), len(Thread(runs, "other").heard("session/prompt"))) == (1, 1)


def test_an_agent_that_takes_over_from_another_one_begins_a_session_and_says_that_context_is_lost(runs: Runs) -> None:
    runs.thread("other")
    thread = runs.thread("t")
    thread.answer("one")
    thread.dispatch("AssignAgent", agent="other")
    thread.answer("two")
    thread.dispatch("AssignAgent", agent="t")
    thread.answer("three")
    assert [(one["agent"], one["how"]) for one in thread.said("SessionOpened")] == [
        ("t", "new"),
        ("other", "new"),
        ("t", "new"),
    ]
    assert [one["reason"] for one in thread.said("ContextLost")] == [
        f"the agent was changed from {one} to {another}; it begins with the transcript"
        for one, another in (("t", "other"), ("other", "t"))
    ]


# Mode and options of agents.json


def test_the_mode_and_options_of_agents_json_are_those_of_each_new_session_and_of_each_that_continues(
    brief: Runs,
) -> None:
    thread = brief.thread("t")
    configured(thread, mode="code", options={"model": "large"})
    thread.answer("one")
    settings = ["session/set_mode", "session/set_config_option"]
    first = [one["method"] for one in thread.heard() if one["method"].startswith("session/")]
    assert first == ["session/new", *settings, "session/prompt"]
    assert values_of(thread) == {"mode": "code", "model": "large"}
    thread.until("SessionEnded")
    thread.answer("two")  # the agent has kept what was set
    assert [one["method"] for one in thread.heard()][-2:] == ["session/resume", "session/prompt"]
    assert values_of(thread) == {"mode": "code", "model": "large"}
    thread.until("SessionEnded", 2)
    configured(thread, mode="ask", options={"model": "small"})
    thread.answer("three")
    assert [one["method"] for one in thread.heard()][-4:] == ["session/resume", *settings, "session/prompt"]
    assert values_of(thread) == {"mode": "ask", "model": "small"}


@pytest.mark.parametrize("words", [(), ("no-resume",)])
def test_an_agent_that_does_not_tell_its_options_when_it_continues_gets_the_mode_again(
    brief: Runs, words: tuple[str, ...]
) -> None:
    thread = brief.thread("t")
    configured(thread, *words, "no-settings-again", mode="code")
    thread.answer("one")
    thread.until("SessionEnded")
    assert thread.answer("two")["status"] == "completed"
    how = "session/load" if words else "session/resume"
    assert [one["method"] for one in thread.heard()][-3:] == [how, "session/set_mode", "session/prompt"]
    assert values_of(thread) == {"mode": "code", "model": "small"}
    assert thread.said("ContextLost") == []


def test_what_a_thread_says_goes_before_what_agents_json_says(runs: Runs) -> None:
    thread = runs.thread("t")
    configured(thread, mode="code", options={"model": "large"})
    thread.dispatch("AssignAgent", agent="t", options={"model": "small"})
    thread.answer("one")
    assert values_of(thread) == {"mode": "code", "model": "small"}
    thread.dispatch("AssignAgent", agent="t", mode="ask")
    thread.answer("two")
    assert values_of(thread) == {"mode": "ask", "model": "large"}
    assert len(thread.said("SessionOpened")) == 1


@pytest.mark.parametrize(
    ("words", "members", "says"),
    [
        (
            (),
            {"mode": "yolo"},
            "option 'mode' cannot be 'yolo': the agent refused session/set_mode: Invalid params; its values: ask, code",
        ),
        (("no-settings",), {"mode": "code"}, "no option 'mode'"),
        ((), {"options": {"speed": "high"}}, "no option 'speed'"),
        ((), {"options": {"model": "huge"}}, "option 'model' cannot be 'huge'"),
    ],
)
def test_a_mode_or_option_that_the_agent_does_not_have_is_said_and_no_prompt_is_sent(
    runs: Runs, words: tuple[str, ...], members: Json, says: str
) -> None:
    thread = runs.thread("t")
    configured(thread, *words, **members)
    prompt = thread.ask("hello")
    assert says in thread.until("QueuePaused")["reason"]
    assert thread.heard("session/prompt") == []
    configured(thread, *words)
    thread.dispatch("ResumeQueue")
    assert thread.end_of(thread.until("TurnStarted", promptId=prompt)["id"])["status"] == "completed"


# What the agent changes by itself


@pytest.mark.parametrize("words", [("no-resume",), ("no-resume", "early-updates"), ("no-resume", "late-updates")])
def test_after_a_session_was_loaded_the_log_has_the_newest_mode_options_and_commands(
    brief: Runs, words: tuple[str, ...]
) -> None:
    thread = brief.thread("t", *words)
    thread.answer("script=settings")
    assert values_of(thread) == {"mode": "code", "model": "large"}
    thread.until("SessionEnded")
    thread.answer("two")
    assert thread.until("SessionOpened", 2)["how"] == "load"
    assert values_of(thread) == {"mode": "code", "model": "large"}
    assert commands_of(thread) == [{"name": "test", "description": "Run the tests"}]


def test_what_came_after_the_last_turn_of_a_session_is_in_the_log_once_it_was_loaded(brief: Runs) -> None:
    thread = brief.thread("t", "no-resume")
    thread.answer("script=late-settings")
    thread.until("SessionEnded")
    thread.answer("two")
    assert thread.until("SessionOpened", 2)["how"] == "load"
    assert values_of(thread) == {"mode": "code", "model": "large"}
    assert commands_of(thread) == [{"name": "test", "description": "Run the tests"}]


def commands_of(thread: Thread) -> list[Json]:
    """The newest commands of the agent that the log has."""
    found = [one for one in thread.read()["activities"] if one["kind"] == "available_commands_update"]
    return list(found[-1]["detail"]["availableCommands"]) if found else []
