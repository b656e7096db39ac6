"""`treadle run`: the real command, a scripted agent, and a terminal where keys are pressed."""

import json
import termios
from pathlib import Path
from typing import Any

import pytest

from command_lines import CommandLine
from scripted import Json, assert_end, scripted
from terminals import CTRL_C, Terminal
from wire import spawn


@pytest.fixture
def treadle(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


# What is printed where


def test_only_the_answer_goes_to_stdout(treadle: CommandLine) -> None:
    done = treadle.do("run", "script=thought", "script=tool", "script=ids")
    assert done.stdout == "First half, second half.\n\nFirst half, second half.\n"
    (thread,) = treadle.threads()
    assert done.stderr == f"thread {thread['id']}, agent it\n⚙ completed  make test\n"


def test_the_first_line_of_a_prompt_from_stdin_is_the_title_of_a_new_thread(treadle: CommandLine) -> None:
    done = treadle.do("run", stdin="\nWhy does it fail?\nHere is the log.\n")
    assert done.stdout == "You said: \nWhy does it fail?\nHere is the log.\n"
    assert [thread["title"] for thread in treadle.threads()] == ["Why does it fail?"]
    assert treadle.do("run", "-", "--title", "Another", stdin="Hello").stdout == "You said: Hello\n"
    assert [thread["title"] for thread in treadle.threads()] == ["Another", "Why does it fail?"]


def test_a_thread_is_continued_in_the_session_that_the_agent_kept(treadle: CommandLine) -> None:
    treadle.do("run", "script=ids")
    done = treadle.do("run", "--thread", "last", "script=ids")
    (thread,) = treadle.threads()
    assert done.stderr == f"thread {thread['id']}, agent it\n"
    sessions = json.loads(treadle.do("call", "session/list", json.dumps({"threadId": thread["id"]})).stdout)["items"]
    assert [session["how"] for session in sessions] == ["resume", "new"]


def test_a_new_thread_belongs_to_the_project_of_the_folder(treadle: CommandLine, tmp_path: Path) -> None:
    below = treadle.work / "below"
    below.mkdir()
    treadle.do("run", "one")
    treadle.do("run", "two", "--cwd", str(below))
    treadle.do("run", "three", "--cwd", str(tmp_path))
    projects = [thread["projectId"] for thread in treadle.threads()]
    assert projects[1] == projects[2] != projects[0]


def test_json_prints_the_events_from_the_prompt_to_the_end_of_the_turn(treadle: CommandLine) -> None:
    treadle.do("run", "before")
    done = treadle.do("run", "--thread", "last", "--json", "script=plain")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    types = [event["event"]["type"] for event in events]
    assert types[0] == "PromptQueued"
    assert types[-1] == "TurnCompleted"
    stored = [json.loads(line) for line in treadle.do("events", "--thread", "last").stdout.splitlines()]
    assert [event for event in stored if event["sequence"] <= events[-1]["sequence"]][-len(events) :] == events
    texts = [event["event"].get("text", "") for event in events if "Message" in event["event"]["type"]]
    assert texts[0] == "script=plain"
    assert "".join(texts[1:]) == "Hello, world."


def test_a_lost_context_is_said(treadle: CommandLine) -> None:
    treadle.configure(it=scripted("no-load", "no-resume"))
    treadle.do("run", "one")
    said = treadle.said("--thread", "last", "two")
    assert "the agent knows nothing of what was said before: the agent cannot continue a session\n" in said


# Exit status


@pytest.mark.parametrize(
    ("prompt", "status", "says"),
    [
        ("stop=end_turn", 0, ""),
        ("script=exit", 1, "treadle: the turn failed: the agent exited with status 3: out of memory"),
        ("script=refuse", 1, "treadle: the turn failed: Internal error"),
        ("stop=cancelled", 3, "treadle: the turn was interrupted"),
        ("stop=refusal", 4, "treadle: the agent refused"),
        ("stop=max_tokens", 4, "treadle: the agent reached its limit of tokens"),
        ("stop=max_turn_requests", 4, "treadle: the agent reached its limit of requests in a turn"),
        ("script=refuse-auth", 5, "treadle: agent it needs a login: Authentication required"),
    ],
)
def test_the_exit_status_says_how_the_turn_ended(treadle: CommandLine, prompt: str, status: int, says: str) -> None:
    assert says in treadle.said(prompt, status=status)


def test_a_budget_that_is_reached_is_said_and_is_a_limit(treadle: CommandLine) -> None:
    content = {"agents": {"it": scripted()}, "runner": {"budget": {"turn": {"cost": 0.1}}}}
    treadle.data.write_text(json.dumps(content))
    said = treadle.said("script=usage script=stream", status=4)
    assert "the budget of the turn is reached: 0.25 of 0.1 cost\n" in said


def test_an_agent_that_cannot_be_started_leaves_neither_prompt_nor_thread(treadle: CommandLine) -> None:
    treadle.do("run", "one")
    treadle.configure(it=scripted("die"))
    said = treadle.said("two", status=1)
    reason = "agent 'it' could not be started: the agent exited with status 3: no key was given\n"
    assert said.endswith(f"treadle: the prompt was not sent: {reason}")
    assert reason in treadle.said("--thread", "last", "three", status=1)
    assert [(thread["title"], thread["status"]) for thread in treadle.threads()] == [("one", "idle")]
    treadle.configure(it=scripted())
    assert treadle.do("run", "--thread", "last", "four").stdout == "You said: four\n"


def test_a_login_that_is_needed_is_told_with_the_ways_and_tried_again_the_next_time(treadle: CommandLine) -> None:
    treadle.do("run", "one")
    treadle.configure(it=scripted("auth-on-new"))
    said = treadle.said("--thread", "last", "two", status=5)
    assert "\ntreadle: agent it needs a login: " in said
    assert "\n  API key\n" in said
    assert [thread["status"] for thread in treadle.threads()] == ["needsAuth"]
    treadle.configure(it=scripted())
    assert treadle.do("run", "--thread", "last", "three").stdout == "You said: three\n"


def test_a_paused_queue_is_told_and_nothing_is_added_to_it(treadle: CommandLine) -> None:
    treadle.do("run", "one")
    treadle.do("prompts", "add", "last", "earlier")
    said = treadle.said("--thread", "last", "two", status=1)
    assert "is paused: no process runs agents for it: start `treadle host`" in said
    assert "`treadle prompts remove`" in said
    assert [prompt["text"] for prompt in treadle.listed("prompts")] == ["earlier"]


# Which agent


def test_without_an_agent_the_names_to_choose_from_are_told(treadle: CommandLine) -> None:
    treadle.configure(one=scripted(), two=scripted())
    for arguments in (("hello",), ("--agent", "three", "hello")):
        assert "there are one, two; `treadle agents add` adds another\n" in treadle.said(*arguments, status=2)
    treadle.do("run", "--agent", "two", "hello")
    assert treadle.said("--thread", "last", "hello").endswith(", agent two\n")
    assert treadle.said("--thread", "last", "--agent", "one", "hello").splitlines()[0].endswith(", agent one")
    treadle.configure()
    assert treadle.said("hello", status=2) == (
        "treadle run: no agent is configured: `treadle agents add NAME` adds one\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "the prompt is empty"),
        ((" ",), "the prompt is empty"),
        (("--thread", "no-such", "hello"), "thread 'no-such' not found"),
        (("--yes", "--deny", "hello"), "not allowed with"),
        (("--thread", "last", "--title", "x", "hello"), "not allowed with"),
    ],
)
def test_a_wrong_use_has_exit_status_2(treadle: CommandLine, arguments: tuple[str, ...], says: str) -> None:
    assert says in treadle.said(*arguments, status=2)


# Approvals without a terminal


@pytest.mark.parametrize(
    ("options", "script", "answer"),
    [
        ((), "ask", "chose reject"),
        (("--deny",), "ask", "chose reject"),
        (("--rules",), "ask", "chose reject"),
        (("--yes",), "ask", "chose allow"),
        (("--yes",), "ask-always-first", "chose allow"),
        (("--yes",), "elicit", "elicitation: decline"),
    ],
)
def test_without_a_terminal_what_no_rule_answers_is_denied_unless_yes_is_given(
    treadle: CommandLine, options: tuple[str, ...], script: str, answer: str
) -> None:
    done = treadle.do("run", *options, f"script={script}")
    assert done.stdout == f"{answer}\n"
    assert "(by treadle run)" in done.stderr


def test_a_rule_goes_before_yes_and_deny(treadle: CommandLine) -> None:
    treadle.do("run", "one")
    treadle.do("rules", "add", "--deny", "--command", "rm", "--thread", "last")
    done = treadle.do("run", "--thread", "last", "--yes", "script=ask")
    assert done.stdout == "chose reject\n"
    assert "? rm -rf build: Reject (by rule)\n" in done.stderr
    treadle.do("rules", "remove", treadle.listed("rules")[0]["id"])
    treadle.do("rules", "add", "--allow", "--command", "rm -rf build", "--project", str(treadle.work))
    assert treadle.do("run", "--deny", "script=ask").stdout == "chose allow\n"


# On a terminal


@pytest.fixture
def run_on_terminal(treadle: CommandLine, terminals: list[Terminal]) -> Any:
    def run(*arguments: str, **how: Any) -> Terminal:
        terminals.append(treadle.on_terminal("run", *arguments, **how))
        return terminals[-1]

    return run


@pytest.mark.parametrize(
    ("script", "key", "chosen"),
    [
        ("ask", b"a", "allow"),
        ("ask", b"d", "reject"),
        ("ask-always-first", b"a", "allow"),
        ("ask-always-first", b"2", "always-user"),
        ("ask-always-first", b"x\x1b1", "always-project"),
    ],
)
def test_an_approval_is_asked_by_key(run_on_terminal: Any, script: str, key: bytes, chosen: str) -> None:
    terminal = run_on_terminal(f"script={script}")
    printed = terminal.until("[d]")
    assert "[A]" not in printed  # no rule is narrow enough
    assert "? rm -rf build" in printed
    assert "command: rm -rf build" in printed
    terminal.press(key)
    terminal.until(f"chose {chosen}")
    assert terminal.status() == 0
    assert termios.tcgetattr(terminal.theirs) == terminal.settings


def test_two_questions_are_asked_one_after_the_other(run_on_terminal: Any) -> None:
    terminal = run_on_terminal("script=ask-twice")
    assert "? rm b" not in terminal.until("[d]")
    terminal.press(b"a")
    terminal.until("? rm b")
    terminal.press(b"d")
    terminal.until("chose reject")
    assert "chose allow" in terminal.printed
    assert terminal.status() == 0


def test_what_was_typed_before_the_question_is_no_answer(run_on_terminal: Any) -> None:
    terminal = run_on_terminal("script=ask", typed=b"aaa")
    terminal.until("[d]")
    terminal.press(b"d")
    terminal.until("chose reject")
    assert terminal.status() == 0


def test_always_adds_a_rule_of_treadle_in_the_scope_that_is_chosen(treadle: CommandLine, run_on_terminal: Any) -> None:
    terminal = run_on_terminal("script=ask-diff")
    terminal.until("[A]")
    terminal.press(b"A")
    terminal.until("[p]")
    assert "Always allow: git diff\x1b" in terminal.printed
    terminal.printed = ""
    terminal.press(b"x")  # back
    terminal.until("[A]")
    terminal.press(b"Ap")
    terminal.until("chose allow")
    assert terminal.status() == 0
    (rule,) = treadle.listed("rules")
    assert (rule["decision"], rule["match"]) == ("allow", {"kind": "execute", "command": ["git", "diff"]})
    assert rule["scope"] == {"projectId": treadle.threads()[0]["projectId"]}
    assert treadle.do("run", "script=ask-diff").stdout == "chose allow\n"


def test_an_approval_that_is_answered_elsewhere_closes_the_question(treadle: CommandLine, run_on_terminal: Any) -> None:
    terminal = run_on_terminal("script=ask script=plain")
    terminal.until("[d]")
    (approval,) = treadle.listed("approvals")
    assert treadle.do("approvals", "answer", approval["id"], "--allow").stdout == "rm -rf build: Allow\n"
    terminal.until("? rm -rf build: Allow (by user)")
    terminal.until("Hello, world.")
    assert terminal.status() == 0
    assert termios.tcgetattr(terminal.theirs) == terminal.settings


def test_the_answer_goes_to_a_file_while_questions_are_asked_on_the_terminal(
    run_on_terminal: Any, tmp_path: Path
) -> None:
    answer = tmp_path / "answer"
    terminal = run_on_terminal("script=ask", to_file=answer)
    terminal.until("[d]")
    terminal.press(b"a")
    assert terminal.status() == 0
    assert answer.read_text() == "chose allow\n"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_used_on_a_terminal_unless_no_color_is_set(
    treadle: CommandLine, run_on_terminal: Any, no_color: str, coloured: bool
) -> None:
    treadle.env["NO_COLOR"] = no_color
    terminal = run_on_terminal("script=tool")
    assert terminal.status() == 0
    assert ("\x1b[2m⚙ completed" in terminal.printed) == coloured
    assert ("\x1b" in terminal.printed) == coloured


def test_control_characters_of_an_agent_do_not_reach_the_terminal(run_on_terminal: Any) -> None:
    terminal = run_on_terminal("a\x1b[2Jb")
    terminal.until("You said: a␛[2Jb")
    assert terminal.status() == 0


# Ctrl-C


def test_the_first_ctrl_c_asks_the_agent_to_stop(treadle: CommandLine, run_on_terminal: Any) -> None:
    terminal = run_on_terminal("script=stream")
    terminal.until("5 ")
    terminal.press(CTRL_C)
    terminal.until("interrupting the agent; press Ctrl-C again to end it")
    terminal.until("the turn was interrupted")
    assert terminal.status() == 3
    (turn,) = json.loads(treadle.do("call", "turn/list", json.dumps({"threadId": treadle.threads()[0]["id"]})).stdout)[
        "items"
    ]
    assert (turn["status"], turn["by"], turn["confirmed"]) == ("interrupted", "user", True)


def test_ctrl_c_ends_an_open_question(run_on_terminal: Any) -> None:
    terminal = run_on_terminal("script=ask")
    terminal.until("[d]")
    terminal.press(CTRL_C)
    assert terminal.status() == 3
    assert termios.tcgetattr(terminal.theirs) == terminal.settings


def test_the_second_ctrl_c_ends_an_agent_that_does_not_stop(
    treadle: CommandLine, run_on_terminal: Any, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    treadle.configure(it=scripted(PIDS=str(pids)))
    terminal = run_on_terminal("script=children script=cancel-ignored")
    terminal.until("nothing stops me")
    terminal.press(CTRL_C)
    terminal.until("interrupting the agent")
    terminal.press(CTRL_C)
    assert terminal.status() == 3
    assert_end(pids.read_text())
    assert [thread["status"] for thread in treadle.threads()] == ["idle"]


def test_ctrl_c_before_the_prompt_was_sent_takes_it_back(treadle: CommandLine, run_on_terminal: Any) -> None:
    treadle.configure(it=scripted("silence"))
    terminal = run_on_terminal("hello")
    terminal.until("agent it")
    terminal.press(CTRL_C)
    terminal.until("the prompt was removed from the queue")
    assert terminal.status() == 3
    assert treadle.threads() == []
    assert treadle.listed("prompts") == []


# Another process runs the agent


def completes_a_turn(params: Json) -> bool:
    return any(one["event"]["type"] == "TurnCompleted" for one in params["events"])


def test_an_agent_that_another_daemon_runs_is_only_watched(treadle: CommandLine) -> None:
    with spawn(treadle.data_dir, env=treadle.env) as daemon:
        daemon.initialize()
        daemon.dispatch("CreateProject", id="p", name="P", path=str(treadle.work))
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="T")
        daemon.result("subscription/open", {"topic": "events", "threadId": "t"})
        daemon.dispatch("AssignAgent", threadId="t", agent="it")
        daemon.dispatch("QueuePrompt", threadId="t", text="one")
        daemon.notification("event/appended", completes_a_turn)
        assert treadle.do("run", "--thread", "t", "two").stdout == "You said: two\n"
        sessions = daemon.result("session/list", {"threadId": "t"})["items"]
        assert [session["endedAt"] for session in sessions] == [None]
        daemon.notification("event/appended", completes_a_turn)
        assert treadle.do("prompts", "add", "t", "three").stdout.startswith("queued\n")
        daemon.notification("event/appended", completes_a_turn)
        turns = daemon.result("turn/list", {"threadId": "t"})["items"]
        assert len(turns) == 3
        assert {turn["runner"] for turn in turns} == {daemon.result("daemon/status")["runner"]}
        assert daemon.finish() == 0
