"""`treadle prompts`, `treadle approvals` and `treadle rules`: what people change of running agents, in one command."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from people import on_terminal
from treadle.server.host_lock import HOST_LOCK
from treadle.store.sqlite.database import FileLock
from wire import run, serving


@pytest.fixture
def data_dir(data_dir: Path) -> Path:
    """With the threads `t` and `u`, which have an agent, and `bare`, which has none."""
    with serving(data_dir, "--no-agents") as daemon:
        daemon.dispatch("CreateProject", id="p", name="P", path=str(data_dir.parent))
        for thread in ("t", "u", "bare"):
            daemon.dispatch("CreateThread", threadId=thread, projectId="p", title=thread)
        for thread in ("t", "u"):
            daemon.dispatch("AssignAgent", threadId=thread, agent="it")
    return data_dir


@pytest.fixture
def treadle(data_dir: Path) -> Any:
    """Runs a command; returns what it prints: on stdout, or if it fails on stderr."""

    def command(*arguments: str, status: int = 0) -> str:
        done: subprocess.CompletedProcess[str] = run(*arguments, "--data-dir", str(data_dir))
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    return command


@contextmanager
def host(data_dir: Path) -> Iterator[None]:
    """As if a host ran the agents of the data directory, and were slow."""
    lock = FileLock(data_dir / HOST_LOCK)
    assert lock.acquire(shared=False)
    try:
        yield
    finally:
        lock.release()


def listed(treadle: Any, *arguments: str) -> list[Any]:
    return [json.loads(line) for line in treadle(*arguments, "--json").splitlines()]


def texts(treadle: Any) -> list[str]:
    return [prompt["text"] for prompt in listed(treadle, "prompts")]


# Prompts


def test_a_prompt_is_added_edited_moved_and_removed(data_dir: Path, treadle: Any) -> None:
    with host(data_dir):
        for text in ("one", "two", "three"):
            treadle("prompts", "add", "t", text, "words")
        one, two, three = (prompt["id"] for prompt in listed(treadle, "prompts"))
        assert treadle("prompts", "edit", two, "2", "words") == "changed\n"
        assert treadle("prompts", "edit", two, "2", "words") == "nothing to change\n"
        assert treadle("prompts", "move", three, "--before", one) == "moved\n"
        assert texts(treadle) == ["three words", "one words", "2 words"]
        treadle("prompts", "move", three)
        assert texts(treadle) == ["one words", "2 words", "three words"]
        assert treadle("prompts", "remove", one) == "removed\n"
        assert texts(treadle) == ["2 words", "three words"]
        assert "not found: `treadle prompts` lists what there is" in treadle("prompts", "remove", one, status=1)


def test_prompts_are_listed_of_one_thread_or_of_all(data_dir: Path, treadle: Any) -> None:
    assert treadle("prompts") == ""
    assert on_terminal("prompts", "--data-dir", str(data_dir)) == (0, "no queued prompts\n")
    with host(data_dir):
        treadle("prompts", "add", "t", "to t")
        treadle("prompts", "add", "u", "to u", "--steer")
    lines = [re.split(r" {2,}", line)[1:] for line in treadle("prompts").splitlines()]
    assert lines == [["THREAD", "WHEN", "TEXT"], ["t", "idle", "to t"], ["u", "steer", "to u"]]
    assert [prompt["text"] for prompt in listed(treadle, "prompts", "--thread", "u")] == ["to u"]


def test_a_prompt_is_named_by_a_unique_prefix(data_dir: Path, treadle: Any) -> None:
    with serving(data_dir, "--no-agents") as daemon:
        for id in ("a-1", "a-2"):
            daemon.dispatch("QueuePrompt", threadId="t", id=id, text=id)
        assert "'a' is ambiguous: it matches a-1, a-2" in treadle("prompts", "remove", "a", status=1)
        treadle("prompts", "remove", "a-2")
        treadle("prompts", "edit", "a", "only")
        assert texts(treadle) == ["only"]


def test_without_a_host_an_added_prompt_waits_in_a_paused_queue_that_says_why(treadle: Any) -> None:
    added = treadle("prompts", "add", "t", "hello")
    why = "no process runs agents for it: start `treadle host`, then resume"
    assert added.endswith(f"the queue is paused: {why}\n")
    assert [thread["queuePaused"] for thread in listed(treadle, "threads") if thread["id"] == "t"] == [why]
    refused = treadle("prompts", "resume", "t", status=1)
    assert refused == ("treadle: no process would send the prompts of thread t: start `treadle host`, then resume it\n")


def test_with_a_host_an_added_prompt_stays_queued_for_it(data_dir: Path, treadle: Any) -> None:
    treadle("prompts", "add", "t", "before there was a host")
    with host(data_dir):
        assert treadle("prompts", "resume", "t") == "resumed\n"
        treadle("prompts", "add", "u", "hello")
        with serving(data_dir):  # it could find that the daemon of the command has exited
            assert {thread["id"]: thread["status"] for thread in listed(treadle, "threads")} == {
                **{"t": "queued", "u": "queued"},
                "bare": "idle",
            }
    with serving(data_dir, "--no-agents"):
        found = {thread["id"]: thread["queuePaused"] for thread in listed(treadle, "threads")}
    assert found["t"] == found["u"] == "the daemon that was to send it is gone"


def test_a_queue_is_paused(data_dir: Path, treadle: Any) -> None:
    assert treadle("prompts", "pause", "t") == "nothing to change\n"
    with host(data_dir):
        treadle("prompts", "add", "t", "hello")
        assert treadle("prompts", "pause", "t") == "paused\nthe queue is paused: paused on the command line\n"


def test_a_thread_without_an_agent_takes_no_prompt(treadle: Any) -> None:
    assert "assign an agent first" in treadle("prompts", "add", "bare", "hello", status=1)
    assert "thread 'x' not found" in treadle("prompts", "add", "x", "hello", status=1)


def test_json_of_an_action_is_the_events_that_it_led_to(treadle: Any) -> None:
    events = listed(treadle, "prompts", "add", "t", "hello")
    assert [event["event"]["type"] for event in events] == ["PromptQueued", "QueuePaused"]
    assert [event["event"]["type"] for event in listed(treadle, "rules", "add", "--deny", "--kind", "fetch")] == [
        "RuleAdded"
    ]


# Approvals


ALLOW, REJECT = ({"id": kind, "name": kind.title(), "kind": f"{kind}_once"} for kind in ("allow", "reject"))
ALWAYS = {"id": "always", "name": "Always", "kind": "allow_always"}


@contextmanager
def asked(data_dir: Path, *options: dict[str, str], **fields: Any) -> Iterator[Any]:
    """A daemon whose turn waits for an approval."""
    with serving(data_dir, "--no-agents") as daemon:
        daemon.dispatch("StartTurn", threadId="t", id="turn", prompt="go")
        about = {"threadId": "t", "turnId": "turn", "id": "approval-1", "title": "rm -rf build", **fields}
        daemon.dispatch("RequestApproval", **about, options=list(options))
        yield daemon


@pytest.mark.parametrize(
    ("answer", "options", "outcome", "printed"),
    [
        ("--allow", (ALLOW, ALWAYS, REJECT), "allow", "Allow"),
        ("--deny", (ALLOW, REJECT), "reject", "Reject"),
        ("--deny", (ALLOW,), None, "cancelled"),
        ("always", (ALLOW, ALWAYS, REJECT), "always", "Always"),
    ],
)
def test_an_approval_is_listed_and_answered(
    data_dir: Path, treadle: Any, answer: str, options: Any, outcome: str | None, printed: str
) -> None:
    assert treadle("approvals") == ""
    with asked(data_dir, *options) as daemon:
        head, line = treadle("approvals").splitlines()
        assert head.split() == ["ID", "THREAD", "OPTIONS", "TITLE"]
        assert re.split(r" {2,}", line)[:2] == ["approval-1", "t"]
        assert "allow: Allow" in line
        assert line.endswith("rm -rf build")
        assert treadle("approvals", "answer", "appr", answer) == f"rm -rf build: {printed}\n"
        found = daemon.result("thread/read", {"threadId": "t"})["approvals"]
        assert [(one["outcome"], one["by"]) for one in found] == [(outcome, "user")]
        assert treadle("approvals") == ""
        assert "pending approval 'appr' not found" in treadle("approvals", "answer", "appr", "--deny", status=1)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ((ALLOW, {**ALLOW, "id": "other"}, REJECT), {}),
        ((ALWAYS, REJECT), {}),
        ((ALLOW, REJECT), {"detail": {"requestedSchema": {}}}),
    ],
)
def test_an_answer_that_is_not_clear_is_not_given(data_dir: Path, treadle: Any, options: Any, fields: Any) -> None:
    with asked(data_dir, *options, **fields):
        said = treadle("approvals", "answer", "approval-1", "--allow", status=1)
        assert f"--allow needs exactly one option that allows one time: choose one of {options[0]['id']} (" in said
        assert "is not one of its options" in treadle("approvals", "answer", "approval-1", "nonsense", status=1)
        assert [approval["status"] for approval in listed(treadle, "approvals")] == ["pending"]


# Rules


def test_a_rule_is_added_listed_and_removed(data_dir: Path, treadle: Any) -> None:
    assert treadle("rules") == ""
    folder = str(data_dir.parent)
    assert treadle("rules", "add", "--allow", "--command", "git 'diff'", "--project", folder).endswith(" added\n")
    treadle("rules", "add", "--deny", "--path", "**/.env", "--thread", "t", "--agent", "it", "--until", "2h")
    treadle("rules", "add", "--ask", "--kind", "fetch", "--until", "2999-12-31T12:00Z")
    first, second, third = listed(treadle, "rules")
    assert (first["match"], first["scope"], first["decision"]) == (
        *({"command": ["git", "diff"]}, {"projectId": "p"}),
        "allow",
    )
    assert (second["match"], second["scope"], second["agent"]) == ({"path": "**/.env"}, {"threadId": "t"}, "it")
    left = datetime.fromisoformat(second["until"]) - datetime.now(UTC)
    assert timedelta(hours=1) < left <= timedelta(hours=2)
    assert (third["match"], third["scope"], third["until"]) == ({"kind": "fetch"}, {}, "2999-12-31T12:00:00.000Z")
    lines = [re.split(r" {2,}", line)[1:] for line in treadle("rules").splitlines()]
    assert lines[0] == ["DECISION", "WHERE", "AGENT", "UNTIL", "MATCHES"]
    assert lines[1] == ["allow", "project p", "any", "removed", "git diff"]
    assert [line[4] for line in lines[2:]] == ["**/.env", "fetch"]
    assert treadle("rules", "remove", first["id"]) == f"rule {first['id']} removed\n"
    assert [rule["decision"] for rule in listed(treadle, "rules")] == ["deny", "ask"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("--kind", "read"), 2, "one of the arguments --allow --ask --deny is required"),
        (("--allow", "--command", "'"), 2, "is not a command"),
        (("--allow", "--command", " "), 2, "give the first words of a command"),
        (("--deny", "--kind", "x", "--until", "soon"), 2, "'soon' is not a time"),
        (("--deny", "--kind", "x", "--until", "2020-01-01"), 1, "which has passed"),
        (("--deny",), 1, "the rule matches everything"),
        (("--allow", "--kind", "execute"), 1, "a rule that allows needs a command"),
        (("--deny", "--kind", ""), 1, "invalid rule: "),
        (("--deny", "--kind", "x", "--project", "/nowhere"), 1, "project '/nowhere' not found"),
    ],
)
def test_a_rule_that_is_not_valid_is_told(treadle: Any, arguments: tuple[str, ...], status: int, says: str) -> None:
    assert says in treadle("rules", "add", *arguments, status=status)
    assert listed(treadle, "rules") == []
