"""Given what has happened to a runner, when something happens next, then it does this."""

from typing import Any

import pytest
from msgspec.structs import replace

from treadle.runner.failures import FAILED, answer_to
from treadle.runner.machine import RunnerState, step
from treadle.runner.signals import (
    RECORDS,
    Applied,
    Apply,
    ApprovalAsked,
    AskToStop,
    Began,
    Begin,
    ClearTimer,
    CloseSession,
    Closing,
    Dismiss,
    End,
    Exited,
    Expired,
    Finish,
    Gone,
    Input,
    Leave,
    NotBegun,
    OpenFailed,
    OpenWith,
    Output,
    Pause,
    PromptAnswered,
    Recorded,
    Reply,
    Send,
    SessionReady,
    SetTimer,
    Spoke,
    Start,
    Started,
    StartFailed,
    Steer,
    Steered,
    Stop,
    View,
    Viewed,
    Wanted,
    Withdraw,
    Withdrawn,
)


def given(*inputs: Input) -> RunnerState:
    """The state after these, one after the other."""
    state = RunnerState()
    for input in inputs:
        state, _ = step(state, input)
    return state


def when(state: RunnerState, *inputs: Input) -> list[Output]:
    """What is done then, besides setting timers."""
    return [output for output in every(state, *inputs) if not isinstance(output, SetTimer | ClearTimer)]


def timers(state: RunnerState, *inputs: Input) -> set[str]:
    """Those that are set by these and not cleared."""
    left: set[str] = set()
    for output in every(state, *inputs):
        if isinstance(output, SetTimer):
            left.add(output.timer)
        elif isinstance(output, ClearTimer):
            left.discard(output.timer)
    return left


def every(state: RunnerState, *inputs: Input) -> list[Output]:
    outputs: list[Output] = []
    for input in inputs:
        state, more = step(state, input)
        outputs += more
    return outputs


def log(sequence: int, **said: Any) -> Viewed:
    """The log says this of a thread that takes prompts, and whose agent this daemon runs."""
    return Viewed(replace(View(sequence=sequence, agent="claude", open=True, claimed=True), **said))


WAYS = Started(("resume", "load", "new"), steers=True)
CANNOT_STEER = Started(("new",), steers=False)

STARTING: list[Input] = [log(1, next="p")]
OPENING: list[Input] = [*STARTING, WAYS]
IDLE: list[Input] = [log(1), Wanted(), WAYS]
BEGINNING: list[Input] = [*OPENING, SessionReady((), 2), log(2, next="p")]
IN_TURN: list[Input] = [*BEGINNING, Began("t", 3), log(3, turn="t")]
READY: list[Input] = [*IN_TURN, PromptAnswered(), Recorded(4), log(4)]
STOPPING: list[Input] = [*IN_TURN, log(4, turn="t", cancelling=True)]
CANNOT_BE_STEERED: list[Input] = [*STARTING, CANNOT_STEER, SessionReady((), 2), log(2, next="p"), Began("t", 3)]
BY_ITSELF: list[Input] = [*READY, Spoke(), Began("t2", 5), log(5, turn="t2")]
ASKED: list[Input] = [*IN_TURN, ApprovalAsked("q", 4)]
ENDING: list[Input] = [*READY, Leave()]


# Starting


def test_a_queued_prompt_starts_the_agent() -> None:
    assert when(given(), log(1, next="p")) == [Start("claude")]


@pytest.mark.parametrize("said", [{"open": False}, {"claimed": False}, {"agent": ""}, {"turn": "foreign"}])
def test_a_prompt_does_not_start_an_agent_that_may_not_run(said: dict[str, Any]) -> None:
    assert when(given(), log(1, **{"next": "p", **said})) == []


def test_a_thread_without_a_prompt_to_send_starts_nothing() -> None:
    assert when(given(), log(1)) == []


def test_an_agent_is_started_ahead_of_its_prompt_and_opens_no_session() -> None:
    assert when(given(log(1)), Wanted()) == [Start("claude")]
    assert when(given(log(1), Wanted()), WAYS) == []
    assert timers(given(log(1), Wanted()), WAYS) == {"idle"}


def test_an_agent_that_was_started_ahead_opens_a_session_for_the_first_prompt() -> None:
    assert when(given(*IDLE), log(2, next="p")) == [OpenWith("resume", ())]


def test_an_agent_is_not_started_ahead_where_none_may_run() -> None:
    assert when(given(log(1, open=False)), Wanted()) == []
    assert when(given(log(1, open=False), Wanted()), log(2)) == []


def test_an_agent_that_was_started_ahead_leaves_the_prompt_to_the_daemon_that_claims_it() -> None:
    assert when(given(*IDLE), log(2, next="p", claimed=False)) == [End()]  # its place is free


def test_a_failed_start_pauses_the_queue() -> None:
    assert when(given(*STARTING), StartFailed("no such program")) == [Pause("no such program"), End()]


def test_a_failed_start_ahead_of_prompts_pauses_nothing() -> None:
    assert when(given(log(1), Wanted()), StartFailed("no such program")) == [End()]


def test_a_start_that_fails_after_another_agent_was_assigned_does_not_pause_the_prompts_of_that_one() -> None:
    state = given(*STARTING, log(2, next="p", agent="codex"))
    assert when(state, StartFailed("no such program")) == [End()]
    assert when(state, StartFailed("no such program"), Gone()) == [End(), Start("codex")]


def test_an_agent_that_answers_its_start_and_exits_pauses_the_queue() -> None:
    assert when(given(*STARTING, Exited("status 1")), WAYS) == [Pause("status 1"), End()]


def test_after_a_failed_start_the_agent_is_not_started_before_the_pause_is_seen() -> None:
    failed: list[Input] = [*STARTING, StartFailed("no such program"), Gone()]
    assert when(given(*failed), log(1, next="p")) == []
    assert when(given(*failed), Recorded(2), log(1, next="p")) == []
    assert when(given(*failed), Recorded(2), log(2)) == []
    assert when(given(*failed), Recorded(2), log(2), log(3, next="p")) == [Start("claude")]


# Opening a session


def test_a_session_is_opened_by_the_best_way_first() -> None:
    assert when(given(*STARTING), WAYS) == [OpenWith("resume", ())]


def test_a_session_gets_the_options_of_the_thread() -> None:
    assert when(given(log(1, next="p", options=(("model", "x"),))), WAYS) == [OpenWith("resume", (("model", "x"),))]


def test_a_way_that_fails_leads_to_the_next_one_and_a_new_session_says_why_context_is_lost() -> None:
    state = given(*OPENING)
    assert when(state, OpenFailed("unknown session", again=True)) == [OpenWith("load", ())]
    assert when(state, OpenFailed("unknown session", again=True), OpenFailed("empty", again=True)) == [
        OpenWith("load", ()),
        OpenWith("new", (), lost="empty"),
    ]


def test_after_the_last_way_the_queue_is_paused() -> None:
    state = given(*STARTING, CANNOT_STEER)
    assert when(state, OpenFailed("no", again=True)) == [Pause("no"), End()]


def test_a_failure_that_is_not_of_the_way_is_not_tried_in_another_one() -> None:
    assert when(given(*OPENING), OpenFailed("no credit")) == [Pause("no credit"), End()]


def test_no_other_way_is_tried_once_the_thread_has_another_agent() -> None:
    state = given(*OPENING, log(2, next="p", agent="codex"))
    assert when(state, OpenFailed("unknown session", again=True)) == [End()]


def test_a_session_that_another_daemon_opened_first_ends_the_process_and_pauses_nothing() -> None:
    state = given(*OPENING)
    assert when(state, OpenFailed("taken", silent=True, sequence=5)) == [End()]


def test_after_that_the_agent_does_not_start_again_on_an_old_view() -> None:
    lost = given(*OPENING, OpenFailed("taken", silent=True, sequence=5))
    assert when(lost, Gone(), log(4, next="p"), log(5, next="p", claimed=False)) == []


def test_an_agent_that_exits_while_its_session_opens_pauses_the_queue() -> None:
    state = given(*OPENING, Exited("status 1"))
    assert when(state, OpenFailed("the pipe is closed", again=True)) == [Pause("the pipe is closed"), End()]
    assert when(state, SessionReady((), 2)) == [Pause("status 1"), CloseSession("status 1"), End()]


def test_an_agent_that_exits_right_after_its_session_opened_pauses_the_queue() -> None:
    state = given(*OPENING, SessionReady((), 2))
    assert when(state, Exited("status 1")) == [Pause("status 1"), CloseSession("status 1"), End()]


# Sending prompts


def test_the_turn_is_recorded_before_the_prompt_is_sent() -> None:
    assert when(given(*OPENING), SessionReady((), 2), log(2, next="p")) == [Begin("p")]
    assert when(given(*BEGINNING), Began("t", 3)) == [Send("p")]


def test_a_prompt_is_not_begun_before_the_log_shows_the_session() -> None:
    assert when(given(*OPENING), SessionReady((), 2), log(1, next="p")) == []


def test_a_prompt_that_is_gone_when_its_turn_is_recorded_is_not_sent() -> None:
    assert when(given(*BEGINNING), NotBegun(log(3).view)) == []
    assert when(given(*BEGINNING), NotBegun(log(3, next="p2").view)) == [Begin("p2")]


def test_a_refusal_that_was_read_before_a_newer_view_does_not_hide_it() -> None:
    state = given(*BEGINNING, log(5, next="p2"))
    assert when(state, NotBegun(log(3, turn="foreign").view)) == [Begin("p2")]


def test_what_an_agent_asks_while_its_turn_is_recorded_waits_for_an_answer() -> None:
    asked = given(*BEGINNING, ApprovalAsked("q", 4), Began("t", 3))
    assert when(asked, log(4, turn="t", pending=frozenset(("q",)))) == []
    assert when(asked, log(5, turn="t")) == [Reply("q")]


def test_what_an_agent_asks_for_a_turn_that_is_not_recorded_is_dismissed() -> None:
    assert when(given(*BEGINNING, ApprovalAsked("q", 4)), NotBegun(log(4).view)) == [Dismiss(("q",))]


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        (STARTING, Start("claude")),
        (OPENING, OpenWith("resume", ())),
        ([*READY, log(5, options=(("model", "large"),), next="p2")], Apply((("model", "large"),))),
        (BEGINNING, Begin("p")),
    ],
)
def test_a_failure_of_treadle_ends_the_agent_and_pauses_the_queue(inputs: list[Input], output: Output) -> None:
    state = given(*inputs)
    answer = answer_to(output)
    assert answer is not None
    paused, *_, ended = when(state, Exited(FAILED), answer)
    assert (paused, ended) == (Pause(FAILED), End())


def test_no_prompt_is_sent_while_one_runs() -> None:
    assert when(given(*IN_TURN), log(4, turn="t", next="p2")) == []


def test_the_next_prompt_is_sent_once_the_log_shows_the_end_of_the_turn() -> None:
    state = given(*IN_TURN, log(4, turn="t", next="p2"))
    assert when(state, PromptAnswered()) == [Finish("t", "answered")]
    assert when(given(*READY), log(5, next="p2")) == [Begin("p2")]


def test_a_view_from_before_a_commit_of_the_runner_is_not_acted_on() -> None:
    state = given(*IN_TURN, PromptAnswered())
    assert when(state, log(4, next="p2")) == []
    assert when(state, Recorded(5), log(4, next="p2")) == []
    assert when(state, Recorded(5), log(5, next="p2")) == [Begin("p2")]


def test_a_view_that_comes_after_a_newer_one_changes_nothing() -> None:
    state = given(*READY, log(6))
    assert when(state, log(5, next="p2"), log(5, open=False)) == []


def test_a_paused_queue_sends_nothing_until_it_is_resumed() -> None:
    assert when(given(*READY), log(5)) == []
    assert when(given(*READY), log(5), log(6, next="p2")) == [Begin("p2")]


def test_the_turn_of_another_daemon_is_waited_for() -> None:
    assert when(given(*READY), log(5, next="p2", turn="foreign")) == []


# Options


def test_options_that_changed_are_given_to_the_session_before_the_next_prompt() -> None:
    state = given(*READY)
    chosen = log(5, next="p2", options=(("model", "x"),))
    assert when(state, chosen) == [Apply((("model", "x"),))]
    assert when(state, chosen, Applied((("model", "x"),))) == [Apply((("model", "x"),)), Begin("p2")]


def test_options_that_change_in_a_turn_wait_for_its_end() -> None:
    assert when(given(*IN_TURN), log(4, turn="t", options=(("model", "x"),))) == []


def test_an_option_that_the_agent_refuses_ends_the_session_and_pauses_the_queue() -> None:
    refused, options = Applied((("model", "x"),), "no such model"), (("model", "x"),)
    assert when(given(*READY, log(5, options=options)), refused) == [CloseSession("no such model"), End()]
    paused = [Pause("no such model"), CloseSession("no such model"), End()]
    assert when(given(*READY, log(5, next="p2", options=options)), refused) == paused


def test_an_agent_that_exits_while_options_change_ends_with_its_session() -> None:
    state = given(*READY, log(5, options=(("model", "x"),)), Exited("status 1"))
    assert when(state, Applied((("model", "x"),), "the pipe is closed")) == [
        CloseSession("status 1"),
        End(),
    ]


# Steering


def test_a_steering_prompt_goes_into_the_turn() -> None:
    assert when(given(*IN_TURN), log(4, turn="t", steer="p2", next="p2")) == [Steer("p2")]


def test_one_steering_prompt_is_given_at_a_time() -> None:
    state = given(*IN_TURN, log(4, turn="t", steer="p2"))
    assert when(state, log(5, turn="t", steer="p3")) == []
    assert when(state, Steered(6, True), log(5, turn="t", steer="p2")) == []
    assert when(state, Steered(6, True), log(6, turn="t", steer="p3")) == [Steer("p3")]


def test_a_steering_prompt_that_the_agent_does_not_take_stays_queued_and_is_sent_after_the_turn() -> None:
    """`promptRequired`, or an answer that was lost."""
    state = given(*IN_TURN, log(4, turn="t", steer="p2", next="p2"))
    assert when(state, Steered(0, False), log(5, turn="t", steer="p2", next="p2")) == []
    ended: list[Input] = [Steered(0, False), PromptAnswered(), Recorded(5), log(5, next="p2", steer="p2")]
    assert when(state, *ended) == [Finish("t", "answered"), Begin("p2")]


def test_in_the_next_turn_the_agent_is_asked_again_to_take_a_prompt() -> None:
    tried: list[Input] = [
        *IN_TURN,
        log(4, turn="t", steer="p3"),
        Steered(0, False),
        PromptAnswered(),
        Recorded(5),
        log(5, next="p2"),
    ]
    assert when(given(*tried, Began("t2", 6)), log(6, turn="t2", steer="p3")) == [Steer("p3")]


def test_after_the_turn_no_prompt_is_sent_before_the_steering_is_answered() -> None:
    state = given(*IN_TURN, log(4, turn="t", steer="p2"), PromptAnswered(), Recorded(5), log(5, next="p2"))
    assert when(state, Steered(0, False)) == [Begin("p2")]
    assert when(state, Steered(6, True)) == []


def test_an_agent_that_cannot_be_steered_is_stopped_so_that_the_prompt_can_be_sent() -> None:
    state = given(*CANNOT_BE_STEERED)
    asked = log(4, turn="t", steer="p2", next="p2")
    assert when(state, asked) == [AskToStop("t")]
    stopping: list[Input] = [asked, Recorded(5), log(5, turn="t", steer="p2", next="p2", cancelling=True)]
    assert when(state, *stopping) == [AskToStop("t"), Stop()]
    ended: list[Input] = [*stopping, PromptAnswered(), Recorded(6), log(6, next="p2")]
    assert when(state, *ended) == [AskToStop("t"), Stop(), Finish("t", "answered"), Begin("p2")]


def test_a_steering_prompt_does_not_start_a_turn_of_its_own_while_the_turn_stops() -> None:
    assert when(given(*STOPPING), log(5, turn="t", cancelling=True, steer="p2", next="p2")) == []


# Stopping a turn


def test_a_turn_that_is_to_stop_is_stopped_and_ends_with_the_answer_of_the_agent() -> None:
    assert when(given(*IN_TURN), log(4, turn="t", cancelling=True)) == [Stop()]
    assert timers(given(*IN_TURN), log(4, turn="t", cancelling=True)) == {"cancel"}
    assert when(given(*STOPPING), PromptAnswered()) == [Finish("t", "answered")]


def test_a_turn_is_stopped_once() -> None:
    assert when(given(*STOPPING), log(5, turn="t", cancelling=True)) == []


def test_a_turn_that_is_to_stop_before_the_prompt_was_sent_is_stopped_after() -> None:
    state = given(*BEGINNING)
    assert when(state, log(4, turn="t", cancelling=True), Began("t", 3)) == [Send("p"), Stop()]


def test_a_turn_that_ends_just_before_it_is_to_stop_ends_once_and_the_next_prompt_is_not_stopped() -> None:
    state = given(*IN_TURN, PromptAnswered())
    assert when(state, log(4, turn="t", cancelling=True), Recorded(5), log(5, next="p2")) == [Begin("p2")]


def test_an_agent_that_does_not_stop_is_ended_and_its_turn_too() -> None:
    assert when(given(*STOPPING), Expired("cancel")) == [
        Finish("t", "silent"),
        CloseSession("it did not stop"),
        End(),
    ]


def test_after_that_the_next_prompt_gets_a_fresh_process() -> None:
    ended: list[Input] = [*STOPPING, Expired("cancel"), Recorded(5), Recorded(6), log(6, next="p2")]
    assert when(given(*ended), PromptAnswered(), Gone()) == [Start("claude")]


def test_an_agent_that_exits_instead_of_stopping_was_stopped_without_an_answer() -> None:
    assert when(given(*STOPPING), Exited("status 1")) == [
        Finish("t", "silent", "status 1"),
        CloseSession("status 1"),
        End(),
    ]


@pytest.mark.parametrize("said", [{"open": False}, {"agent": "codex"}])
def test_a_turn_that_the_log_has_ended_is_stopped_and_then_the_process_ends(said: dict[str, Any]) -> None:
    """By ArchiveThread, DeleteThread or the recovery of another daemon."""
    state = given(*IN_TURN)
    assert when(state, log(4, **said)) == [Stop()]
    assert when(state, log(4, **said), PromptAnswered())[2:] == [CloseSession("the thread does not need it"), End()]


def test_an_agent_that_works_on_after_the_log_has_ended_its_turn_gets_no_prompt() -> None:
    assert when(given(*IN_TURN), log(4, next="p2"), log(5, next="p2")) == [Stop()]


# Approvals


def test_the_answer_to_an_approval_is_passed_on_once() -> None:
    state = given(*ASKED)
    assert when(state, log(5, turn="t", pending=frozenset({"q"}))) == []
    assert when(state, log(5, turn="t"), log(6, turn="t")) == [Reply("q")]


def test_a_view_from_before_the_question_is_not_its_answer() -> None:
    assert when(given(*IN_TURN), ApprovalAsked("q", 4), log(3, turn="t")) == []


def test_on_a_stop_what_the_agent_waits_for_is_cancelled_first() -> None:
    stopping = log(5, turn="t", cancelling=True, pending=frozenset({"q"}))
    assert when(given(*ASKED), stopping) == [Dismiss(("q",)), Stop()]


def test_what_is_asked_while_the_turn_stops_is_cancelled_at_once() -> None:
    assert when(given(*STOPPING), ApprovalAsked("q", 5)) == [Dismiss(("q",))]


def test_what_is_asked_after_the_turn_is_cancelled_at_once() -> None:
    assert when(given(*READY), ApprovalAsked("q", 5)) == [Dismiss(("q",))]


def test_an_approval_that_the_agent_withdraws_is_closed_and_not_answered() -> None:
    state = given(*ASKED)
    assert when(state, Withdrawn("q")) == [Withdraw("q")]
    assert when(state, Withdrawn("q"), Recorded(5), log(5, turn="t")) == [Withdraw("q")]


def test_an_approval_that_is_withdrawn_after_its_answer_is_left_alone() -> None:
    assert when(given(*ASKED, log(5, turn="t")), Withdrawn("q")) == []


def test_what_the_agent_still_waits_for_at_the_end_of_its_turn_is_cancelled() -> None:
    assert when(given(*ASKED), PromptAnswered()) == [Dismiss(("q",)), Finish("t", "answered")]


# What the agent does by itself


def test_what_the_agent_shows_outside_of_a_turn_gets_a_turn_that_ends_when_it_is_quiet() -> None:
    assert when(given(*READY), Spoke()) == [Begin(None)]
    fast = given(*BEGINNING, Began("t", 3), PromptAnswered())  # no view has come since the prompt was sent
    assert when(fast, Spoke()) == [Begin(None)]
    assert when(given(*READY), Spoke(), Began("t2", 5)) == [Begin(None)]
    assert timers(given(*READY, Spoke()), Began("t2", 5)) == {"quiet"}
    assert timers(given(*BY_ITSELF), Spoke()) == {"quiet"}
    assert when(given(*BY_ITSELF), Expired("quiet")) == [Finish("t2", "quiet")]


def test_what_the_agent_says_after_it_has_continued_a_session_gets_such_a_turn_before_the_prompt() -> None:
    opened: list[Input] = [SessionReady((), 2), log(2, next="p")]
    assert when(given(*OPENING, Spoke()), *opened) == [Begin(None)]
    own: list[Input] = [Began("t", 3), log(3, turn="t", next="p")]
    assert when(given(*OPENING, Spoke(), *opened), *own) == [Finish("t", "quiet")]
    assert when(given(*OPENING, Spoke(), *opened, *own), Recorded(4), log(4, next="p")) == [Begin("p")]
    assert when(given(*STARTING, CANNOT_STEER, Spoke()), *opened) == [Begin("p")]


def test_what_it_says_in_a_way_that_fails_does_not() -> None:
    state = given(*OPENING, Spoke(), OpenFailed("no", again=True))
    assert when(state, SessionReady((), 2), log(2, next="p")) == [Begin("p")]


def test_a_prompt_ends_such_a_turn_and_is_sent() -> None:
    state = given(*BY_ITSELF)
    asked = log(6, turn="t2", next="p2")
    assert when(state, asked) == [Finish("t2", "quiet")]
    assert when(state, asked, Recorded(7), log(7, next="p2")) == [Finish("t2", "quiet"), Begin("p2")]


def test_an_agent_that_shows_things_all_the_time_does_not_keep_a_prompt_from_being_sent() -> None:
    state = given(*BY_ITSELF, log(6, turn="t2", next="p2"))
    assert when(state, Spoke(), Recorded(7), Spoke(), log(7, next="p2")) == [Begin("p2")]


def test_such_a_turn_waits_for_what_the_agent_asks() -> None:
    state = given(*BY_ITSELF, ApprovalAsked("q", 6), log(6, turn="t2", pending=frozenset({"q"})))
    waiting = log(7, turn="t2", next="p2", pending=frozenset({"q"}))
    assert when(state, Expired("quiet"), waiting) == []
    assert timers(state, Expired("quiet")) == {"quiet"}
    assert when(state, waiting, log(8, turn="t2", next="p2")) == [Reply("q"), Finish("t2", "quiet")]


def test_such_a_turn_is_stopped_without_an_answer_to_wait_for() -> None:
    assert when(given(*BY_ITSELF), log(6)) == [Stop(), Finish("t2", "silent")]


def test_what_the_agent_shows_in_the_turn_of_a_prompt_sets_no_timer() -> None:
    assert every(given(*IN_TURN), Spoke()) == []


def test_a_turn_for_what_the_agent_does_by_itself_may_be_refused() -> None:
    assert when(given(*READY, Spoke()), NotBegun(log(5, turn="foreign").view)) == []


# The process exits


def test_an_agent_that_exits_in_a_turn_fails_it_and_ends_the_session() -> None:
    assert when(given(*ASKED), Exited("status 1")) == [
        Dismiss(("q",)),
        Finish("t", "exited", "status 1"),
        CloseSession("status 1"),
        End(),
    ]


def test_an_agent_that_exits_while_its_turn_is_recorded_fails_the_turn_and_gets_no_prompt() -> None:
    assert when(given(*BEGINNING), Exited("status 1"), Began("t", 3)) == [
        Finish("t", "exited", "status 1"),
        CloseSession("status 1"),
        End(),
    ]


def test_an_agent_that_exits_while_its_turn_is_refused_ends() -> None:
    assert when(given(*BEGINNING), Exited("status 1"), NotBegun(log(3).view)) == [CloseSession("status 1"), End()]


@pytest.mark.parametrize("inputs", [IDLE, READY])
def test_an_agent_that_exits_while_it_has_nothing_to_do_pauses_nothing(inputs: list[Input]) -> None:
    outputs = when(given(*inputs), Exited("status 1"))
    assert outputs == [*[CloseSession("status 1")] * (inputs is READY), End()]
    recorded: list[Input] = [Recorded(5)] * (inputs is READY)
    assert when(given(*inputs, Exited("status 1"), Gone(), *recorded), log(6, next="p2")) == [Start("claude")]


def test_an_agent_that_exits_while_it_is_ended_changes_nothing() -> None:
    assert when(given(*ENDING), Exited("status 0")) == []


# Another agent, idleness, the place for another thread


@pytest.mark.parametrize("inputs", [IDLE, READY])
def test_a_process_that_is_not_the_agent_of_the_thread_any_more_ends(inputs: list[Input]) -> None:
    assert when(given(*inputs), log(5, agent="codex"))[-1] == End()


def test_an_agent_whose_worktree_was_removed_ends_and_the_next_prompt_starts_it_anew() -> None:
    state = given(*READY)
    assert when(state, log(5, removals=1))[-1] == End()
    later = given(*READY, log(5, removals=1), Recorded(5), Gone())
    assert when(later, log(6, next="p2", removals=1)) == [Start("claude")]


def test_the_agent_of_a_running_turn_finishes_it_and_then_makes_room_for_the_other_one() -> None:
    state = given(*IN_TURN)
    other: dict[str, Any] = {"agent": "codex", "next": "p2"}
    assert when(state, log(4, turn="t", **other)) == []
    replaced: list[Input] = [
        log(4, turn="t", **other),
        PromptAnswered(),
        Recorded(5),
        Recorded(6),
        Gone(),
        log(6, **other),
    ]
    assert when(state, *replaced) == [
        Finish("t", "answered"),
        CloseSession("the thread does not need it"),
        End(),
        Start("codex"),
    ]


@pytest.mark.parametrize("input", [Leave(), Expired("idle")])
def test_an_idle_agent_ends(input: Input) -> None:
    assert when(given(*IDLE), input) == [End()]
    assert when(given(*READY), input) == [CloseSession("it was idle"), End()]
    assert timers(given(*IN_TURN), PromptAnswered()) == {"idle"}
    assert timers(given(*READY, log(5, options=(("a", "b"),))), Applied((("a", "b"),))) == {"idle"}


@pytest.mark.parametrize("input", [Leave(), Expired("idle")])
@pytest.mark.parametrize("inputs", [[], STARTING, OPENING, BEGINNING, IN_TURN, STOPPING, ENDING])
def test_an_agent_that_is_busy_does_not_end_for_idleness(inputs: list[Input], input: Input) -> None:
    assert every(given(*inputs), input) == []


def test_an_agent_does_not_end_for_idleness_while_a_prompt_waits_to_be_sent() -> None:
    state = given(*OPENING, SessionReady((), 2))  # the log has yet to show the session
    assert every(state, Expired("idle")) == [SetTimer("idle")]
    assert when(state, Expired("idle"), log(2, next="p")) == [Begin("p")]


def test_a_prompt_that_comes_while_the_process_ends_starts_the_next_one_after() -> None:
    state = given(*ENDING, Recorded(5))
    assert when(state, log(6, next="p2")) == []
    assert when(state, log(6, next="p2"), Gone()) == [Start("claude")]


def test_what_was_of_one_process_does_not_concern_the_next_one() -> None:
    again: list[Input] = [Recorded(6), Gone(), log(6), Wanted(), WAYS]
    assert when(given(*ENDING, *again), Leave()) == [End()]
    assert when(given(*OPENING, Exited("status 1"), OpenFailed("no"), *again), log(7, next="p")) == [
        OpenWith("resume", ())
    ]
    steering: list[Input] = [*IN_TURN, log(4, turn="t", steer="p2"), Exited("status 1"), Recorded(5), *again]
    assert when(given(*steering, log(7, next="p2"), SessionReady((), 8)), log(8, next="p2")) == [Begin("p2")]


# The daemon exits


@pytest.mark.parametrize("inputs", [[], ENDING, [*ENDING, Gone()]])
def test_a_daemon_that_exits_starts_nothing(inputs: list[Input]) -> None:
    commits: list[Input] = [Recorded(5)] * bool(inputs)
    assert when(given(*inputs), Closing(), *commits, Gone(), log(6, next="p2"), Wanted()) == []


@pytest.mark.parametrize(
    ("inputs", "failure"),
    [(STARTING, StartFailed("it was ended")), (STARTING, WAYS), (OPENING, OpenFailed("it was ended", again=True))],
)
def test_a_daemon_that_exits_ends_what_is_under_way_and_pauses_nothing(inputs: list[Input], failure: Input) -> None:
    assert when(given(*inputs), Closing()) == []
    assert when(given(*inputs), Closing(), failure) == [End()]


@pytest.mark.parametrize("inputs", [READY, [*OPENING, SessionReady((), 2)]])
def test_a_daemon_that_exits_ends_its_sessions(inputs: list[Input]) -> None:
    assert when(given(*inputs), Closing()) == [CloseSession("the daemon ended"), End()]


@pytest.mark.parametrize("inputs", [ASKED, [*STOPPING]])
def test_a_daemon_that_exits_ends_its_turns(inputs: list[Input]) -> None:
    dismissed: list[Output] = [Dismiss(("q",))] * (inputs is ASKED)
    assert when(given(*inputs), Closing()) == [
        *dismissed,
        Stop(),
        Finish("t", "closing"),
        CloseSession("the daemon ended"),
        End(),
    ]


def test_a_daemon_that_exits_while_a_turn_is_recorded_ends_the_turn_and_sends_nothing() -> None:
    state = given(*BEGINNING)
    assert when(state, Closing(), Began("t", 3)) == [
        Stop(),
        Finish("t", "closing"),
        CloseSession("the daemon ended"),
        End(),
    ]
    assert when(state, Closing(), NotBegun(log(3).view)) == [CloseSession("the daemon ended"), End()]


# In every state


EVERY_INPUT: list[Input] = [
    Viewed(View()),
    Wanted(),
    WAYS,
    StartFailed("no"),
    SessionReady((), 9),
    OpenFailed("no"),
    Applied(()),
    Began("late", 9),
    NotBegun(View()),
    PromptAnswered(),
    Steered(9, True),
    Spoke(),
    ApprovalAsked("late", 9),
    Withdrawn("late"),
    Expired("cancel"),
    Expired("quiet"),
]


@pytest.mark.parametrize("input", EVERY_INPUT, ids=lambda input: type(input).__name__)
def test_what_comes_too_late_changes_nothing(input: Input) -> None:
    """A process that is being ended may still say anything."""
    assert every(given(*ENDING), input) == []


def test_commits_are_counted_until_they_finish() -> None:
    state, outputs = step(given(*IN_TURN), Exited("status 1"))
    assert state.recording == sum(isinstance(output, RECORDS) for output in outputs) == 2
    for sequence in (5, 6):
        state, _ = step(state, Recorded(sequence))
    assert (state.recording, state.since) == (0, 6)
