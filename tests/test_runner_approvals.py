"""What an agent asks permission for reaches the user or a rule, and the answer reaches the agent, whatever happens."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runs import Json, Runs, Thread, running
from wire import kill, serving, spawn

RM: Json = {"kind": "execute", "command": ["rm", "-rf"]}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with running(tmp_path) as runs:
        yield runs


def asked(thread: Thread, text: str = "script=ask", count: int = 1) -> Json:
    """Queue a prompt, and wait for what the agent asks."""
    thread.ask(text)
    return thread.until("ApprovalRequested", count)


def answer(thread: Thread, approval: Json, outcome: str | None, **fields: Any) -> None:
    thread.dispatch("ResolveApproval", id=approval["id"], outcome=outcome, **fields)


def says(thread: Thread, turn: str) -> str:
    """What the agent said in a turn that was completed."""
    assert thread.end_of(turn)["status"] == "completed"
    return thread.text_of(turn)


def approval_of(thread: Thread, id: str) -> Json:
    return next(one for one in thread.read()["approvals"] if one["id"] == id)


def permissions(thread: Thread) -> list[Any]:
    """The answers that reached the agent."""
    return [one["result"] for one in thread.heard() if "method" not in one]


def add_rule(runs: Runs, id: str, decision: str, **fields: Any) -> None:
    runs.daemon.dispatch("AddRule", **{"id": id, "decision": decision, "match": RM, **fields})


# The user answers


@pytest.mark.parametrize("outcome", ["allow", "reject"])
def test_a_permission_waits_for_the_answer_of_the_user_and_the_turn_goes_on(runs: Runs, outcome: str) -> None:
    thread = runs.thread("t")
    approval = asked(thread)
    call = next(one for one in thread.read()["activities"] if one["id"] == approval["activityId"])
    assert (call["kind"], call["title"], approval["title"]) == ("tool_call", "rm -rf build", "rm -rf build")
    assert thread.read()["threads"][0]["status"] == "waiting"
    answer(thread, approval, outcome, by="kim")
    assert says(thread, approval["turnId"]) == f"chose {outcome}"
    assert permissions(thread) == [{"outcome": {"outcome": "selected", "optionId": outcome}}]
    resolved = thread.until("ApprovalResolved")
    assert (resolved["outcome"], resolved["by"], resolved.get("ruleId")) == (outcome, "kim", None)


def test_a_permission_that_the_user_cancels_is_cancelled_for_the_agent(runs: Runs) -> None:
    thread = runs.thread("t")
    approval = asked(thread)
    answer(thread, approval, None)
    assert says(thread, approval["turnId"]) == "cancelled"
    assert permissions(thread) == [{"outcome": {"outcome": "cancelled"}}]


def test_another_daemon_answers(runs: Runs) -> None:
    thread = runs.thread("t")
    approval = asked(thread)
    with serving(runs.daemon.data_dir) as other:
        [pending] = other.result("approval/list", {"threadId": "t"})["items"]
        assert pending["id"] == approval["id"]
        other.dispatch("ResolveApproval", threadId="t", id=approval["id"], outcome="reject", by="other")
        assert says(thread, approval["turnId"]) == "chose reject"
    assert approval_of(thread, approval["id"])["by"] == "other"


def test_two_questions_at_the_same_time_are_answered_each_by_itself(runs: Runs) -> None:
    thread = runs.thread("t")
    second = asked(thread, "script=ask-twice", count=2)
    first = thread.until("ApprovalRequested")
    answer(thread, second, "reject")
    answer(thread, first, "allow")
    assert says(thread, first["turnId"]) == "chose allow chose reject "


def test_options_of_one_kind_are_all_offered_and_told_apart_by_their_ids(runs: Runs) -> None:
    thread = runs.thread("t")
    approval = asked(thread, "script=ask-always-first")
    offered = [(option["id"], option["kind"]) for option in approval["options"]]
    assert offered == [
        ("always-project", "allow_always"),
        ("always-user", "allow_always"),
        ("allow", "allow_once"),
        ("cancel", "reject_once"),
    ]
    answer(thread, approval, "always-user")
    assert says(thread, approval["turnId"]) == "chose always-user"


@pytest.mark.parametrize("script", ["ask-unannounced", "ask-other-session"])
def test_a_question_about_an_unknown_call_or_session_is_asked_with_all_that_it_says(runs: Runs, script: str) -> None:
    thread = runs.thread("t")
    approval = asked(thread, f"script={script}")
    assert approval["detail"]["rawInput"] == {"command": "rm -rf build"}
    answer(thread, approval, "allow")
    assert says(thread, approval["turnId"]) == "chose allow"
    [call] = [one for one in thread.read()["activities"] if one["kind"] == "tool_call"]
    assert call["status"] == "completed"


def test_a_question_that_the_agent_withdraws_is_closed_and_answered_once(runs: Runs) -> None:
    thread = runs.thread("t")
    approval = asked(thread, "script=ask-withdrawn")
    assert says(thread, approval["turnId"]) == "withdrawn"
    closed = approval_of(thread, approval["id"])
    assert (closed["status"], closed["by"]) == ("cancelled", "agent")
    assert permissions(thread) == [{"outcome": {"outcome": "cancelled"}}]


def test_a_question_that_the_agent_withdraws_before_it_is_recorded_is_closed_too(runs: Runs) -> None:
    thread = runs.thread("t")
    approval = asked(thread, "script=ask-withdrawn-at-once")
    assert says(thread, approval["turnId"]) == "withdrawn"
    closed = approval_of(thread, approval["id"])
    assert (closed["status"], closed["by"]) == ("cancelled", "agent")
    assert permissions(thread) == [{"outcome": {"outcome": "cancelled"}}]


def test_a_question_that_the_agent_withdraws_before_its_turn_begins_is_not_asked(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.answer("script=late-ask-withdrawn")
    own = thread.until("TurnStarted", 2)["id"]
    thread.until("MessageAdded", turnId=own, role="assistant")
    assert thread.text_of(own) == "withdrawn"
    assert thread.said("ApprovalRequested") == []
    assert permissions(thread) == [{"outcome": {"outcome": "cancelled"}}]


@pytest.mark.parametrize(
    ("outcome", "content", "got"),
    [
        ("accept", {"name": "Kim"}, {"action": "accept", "content": {"name": "Kim"}}),
        ("decline", None, {"action": "decline"}),
        (None, None, {"action": "cancel"}),
    ],
)
def test_a_form_is_filled_in_declined_or_cancelled(
    runs: Runs, outcome: str | None, content: Json | None, got: Json
) -> None:
    add_rule(runs, "r", "deny", match={"kind": "other"})  # rules are about tool calls
    thread = runs.thread("t")
    approval = asked(thread, "script=elicit")
    assert approval["title"] == "Your name?"
    assert approval["detail"]["requestedSchema"]["required"] == ["name"]
    answer(thread, approval, outcome, content=content)
    assert says(thread, approval["turnId"]) == f"elicitation: {got['action']}"
    assert permissions(thread) == [got]
    assert approval_of(thread, approval["id"])["content"] == content


def test_the_death_of_the_daemon_cancels_its_questions_and_a_late_answer_is_rejected(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        thread = runs.thread("t")
        with spawn(runs.daemon.data_dir) as first:
            first.initialize()
            first.dispatch("QueuePrompt", threadId="t", text="script=ask")
            approval = thread.until("ApprovalRequested")
            kill(first)
        ended = thread.end_of(approval["turnId"])
        assert (ended["status"], ended["confirmed"]) == ("interrupted", False)
        resolved = approval_of(thread, approval["id"])
        assert (resolved["status"], resolved["by"]) == ("cancelled", "turnEnd")
        late = {"type": "ResolveApproval", "threadId": "t", "id": approval["id"], "outcome": "allow"}
        error = runs.daemon.error("command/dispatch", late)
        assert error["data"]["kind"] == "approvalResolved"
        assert permissions(thread) == []


# Rules answer


@pytest.mark.parametrize(("decision", "outcome"), [("allow", "allow"), ("deny", "reject")])
def test_a_rule_answers_for_this_one_time_and_the_turn_goes_on(runs: Runs, decision: str, outcome: str) -> None:
    add_rule(runs, "r", decision)
    thread = runs.thread("t")
    turn = thread.answer("script=ask")
    assert (turn["status"], thread.text_of(turn["id"])) == ("completed", f"chose {outcome}")
    [approval] = thread.read()["approvals"]
    assert (approval["outcome"], approval["by"], approval["ruleId"]) == (outcome, "rule", "r")
    options = {"allow": "allow", "deny": "cancel"}
    turn = thread.answer("script=ask-always-first")
    assert thread.text_of(turn["id"]) == f"chose {options[decision]}"


def test_a_rule_that_denies_goes_before_one_that_asks_and_that_before_one_that_allows(runs: Runs) -> None:
    add_rule(runs, "allow", "allow")
    thread = runs.thread("t")
    add_rule(runs, "ask", "ask", scope={"projectId": "of-t"})
    approval = asked(thread)
    answer(thread, approval, "allow")
    assert says(thread, approval["turnId"]) == "chose allow"
    assert approval_of(thread, approval["id"])["ruleId"] is None
    add_rule(runs, "deny", "deny", agent="t")
    turn = thread.answer("script=ask")
    assert thread.text_of(turn["id"]) == "chose reject"


def test_a_rule_that_is_removed_or_expires_while_the_agent_runs_answers_no_more(runs: Runs) -> None:
    thread = runs.thread("t")
    add_rule(runs, "r", "allow", scope={"threadId": "t"})
    thread.answer("script=ask")
    assert [rule["id"] for rule in runs.daemon.result("rule/list", {})["items"]] == ["r"]
    runs.daemon.dispatch("RemoveRule", id="r")
    approval = asked(thread, count=2)
    answer(thread, approval, "reject")
    assert says(thread, approval["turnId"]) == "chose reject"

    until = time.time() + 0.5
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(until)) + f".{int(until % 1 * 1000):03}Z"
    add_rule(runs, "short", "allow", until=stamp)
    while time.time() <= until:
        time.sleep(until - time.time() + 0.001)
    approval = asked(thread, count=3)
    answer(thread, approval, "reject")
    assert says(thread, approval["turnId"]) == "chose reject"
    assert len(thread.heard("initialize")) == 1


def test_a_rule_of_another_project_thread_or_agent_does_not_answer(runs: Runs) -> None:
    other, thread = runs.thread("other"), runs.thread("t")
    others: dict[str, Json] = {
        "project": {"scope": {"projectId": "of-other"}},
        "thread": {"scope": {"threadId": "other"}},
        "agent": {"agent": "other"},
        "command": {"match": {"kind": "execute", "command": ["rm", "-r"]}},
    }
    for id, about in others.items():
        add_rule(runs, id, "allow", **about)
    approval = asked(thread)
    answer(thread, approval, "reject")
    assert says(thread, approval["turnId"]) == "chose reject"
    turn = other.answer("script=ask")
    assert other.text_of(turn["id"]) == "chose allow"


@pytest.mark.parametrize("kind", ["fetch", "other", "switch_mode"])
def test_what_may_mean_anything_cannot_be_allowed_by_a_rule(runs: Runs, kind: str) -> None:
    for match in ({"kind": kind}, {"kind": kind, "path": "**"}):
        error = runs.daemon.error("command/dispatch", {"type": "AddRule", "decision": "allow", "match": match})
        assert error["data"]["kind"] == "ruleTooBroad"


@pytest.mark.parametrize(
    ("kind", "announced"),
    [("fetch", "fetch"), ("other", "other"), ("switch_mode", "switch_mode"), ("_new", "_new"), ("fetch", "execute")],
)
def test_what_may_mean_anything_is_asked_whatever_the_rules_allow_and_may_be_denied(
    runs: Runs, kind: str, announced: str
) -> None:
    add_rule(runs, "command", "allow", match={"command": ["rm"]})
    add_rule(runs, "path", "allow", match={"path": "**"})
    thread = runs.thread("t")
    text = f"script=ask-kind kind={kind} announced={announced}"
    approval = asked(thread, text)
    assert approval_of(thread, approval["id"])["status"] == "pending"
    answer(thread, approval, "reject")
    assert says(thread, approval["turnId"]) == "chose reject"
    add_rule(runs, "no", "deny", match={"kind": kind})
    turn = thread.answer(text)
    assert thread.text_of(turn["id"]) == "chose reject"
    assert thread.until("ApprovalResolved", 2)["ruleId"] == "no"
    turn = thread.answer("script=ask-kind")  # the rules do allow this one
    assert thread.text_of(turn["id"]) == "chose allow"


def test_a_call_without_a_kind_is_allowed_by_no_rule(runs: Runs) -> None:
    add_rule(runs, "path", "allow", match={"path": "**"})
    add_rule(runs, "command", "allow", match={"command": ["rm"]})
    thread = runs.thread("t")
    second = asked(thread, "script=ask-twice", count=2)  # these say only a title
    for approval in (thread.until("ApprovalRequested"), second):
        answer(thread, approval, "reject")
    assert says(thread, second["turnId"]) == "chose reject chose reject "


def test_a_rule_that_another_daemon_adds_answers_in_this_one(runs: Runs) -> None:
    thread = runs.thread("t")
    thread.answer("the agent runs")
    with serving(runs.daemon.data_dir) as other:
        other.dispatch("AddRule", id="r", decision="deny", match=RM)
        other.dispatch("QueuePrompt", threadId="t", text="script=ask")
    turn = thread.until("TurnStarted", 2)["id"]
    assert says(thread, turn) == "chose reject"
