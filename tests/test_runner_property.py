"""Whatever the log, the agent, the clients and the clock do, and in whichever order, a runner keeps its promises.

A model of all that is around the state machine: a log that others write to as well, commits that finish later, views
that are read at one time and shown at another, and a process that may do anything that an agent has been seen to do.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from treadle.domain.ids import How
from treadle.runner import machine as m
from treadle.runner import signals as s
from treadle.runner.failures import FAILED, answer_to

ENDLESS = 300  # steps, with QUEUE prompts
QUEUE = 4
BAD = (None, None, "start", "open", "session", "options", "turn", "treadle")
WAYS: tuple[tuple[How, ...], ...] = (("new",), ("resume", "new"), ("resume", "load", "new"))
FAILING = (s.OpenWith, s.Begin, s.AskToStop, s.Withdraw, s.Pause)
"""What may fail unexpectedly. The end of a turn or of a session is recorded whatever happens."""


class Log:
    """What the log says of one thread."""

    def __init__(self) -> None:
        self.sequence = 1
        self.agent = "a"
        self.options: s.Options = ()
        self.archived = self.deleted = self.paused = self.elsewhere = self.session = False
        self.queue: list[tuple[str, str]] = []
        self.turn: str | None = None
        self.prompt: str | None = None
        self.cancelling = False
        self.by: str | None = None
        self.pending: set[str] = set()
        self.sent: dict[str, str] = {}

    def view(self) -> s.View:
        queue = [] if self.paused else [id for id, _ in sorted(self.queue, key=lambda one: one[1] != "steer")]
        return s.View(
            sequence=self.sequence,
            agent=self.agent,
            options=self.options,
            open=not self.archived and not self.deleted,
            claimed=not self.elsewhere,
            next=queue[0] if queue else None,
            steer=queue[0] if queue and (queue[0], "steer") in self.queue else None,
            turn=self.turn,
            cancelling=self.cancelling,
            pending=frozenset(self.pending),
        )

    def pause(self) -> None:
        self.paused = bool(self.queue)

    def drop(self, prompt: str) -> None:
        self.queue = [one for one in self.queue if one[0] != prompt]
        self.paused = self.paused and bool(self.queue)

    def end(self) -> None:
        self.turn = self.prompt = None
        self.cancelling = False
        self.pending.clear()


class Process:
    """An agent that runs. doing: what it was asked for besides prompts."""

    def __init__(self) -> None:
        self.doing: s.Start | s.OpenWith | s.Apply | None = None
        self.prompt: str | None = None
        self.steer: str | None = None
        self.waits: set[str] = set()
        self.withdrawn: set[str] = set()
        self.exited = self.ending = self.said = False


class Commit(NamedTuple):
    """do: returns what the machine is told. output: what it was asked for, if it waits for the answer."""

    do: Callable[[], s.Input | None]
    output: s.Output | None = None


class Runner(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = m.RunnerState()
        self.log = Log()
        self.process: Process | None = None
        self.timers: set[str] = set()
        self.commits: deque[Commit] = deque()
        self.results: deque[s.Input] = deque()
        self.views: list[s.View] = []
        self.unrecorded = 0
        self.given: set[str] = set()  # prompts that the agent got, in either way
        self.asked: set[str] = set()  # approvals that the state machine was told of, and the agent waits for
        self.causes = self.starts = self.names = 0

    def name(self, of: str) -> str:
        self.names += 1
        return f"{of}{self.names}"

    def take(self, input: s.Input) -> None:
        if isinstance(input, s.Recorded):
            self.unrecorded -= 1
        process = self.process
        if isinstance(input, s.ApprovalAsked) and process is not None and not process.ending:
            self.asked |= {input.approval} & process.waits
        self.state, outputs = m.step(self.state, input)
        for output in outputs:
            self.execute(output)

    def execute(self, output: s.Output) -> None:
        self.unrecorded += isinstance(output, s.RECORDS)
        process = self.process
        match output:
            case s.Start():
                assert process is None, "one process at a time"
                self.starts += 1
                self.process = Process()
                self.process.doing = output
                return
            case s.Begin(prompt):
                assert prompt is None or not self.unrecorded, "the log may say something else by now"
                self.commits.append(Commit(lambda: self.begin(prompt), output))
            case s.AskToStop() | s.Withdraw() | s.Finish() | s.Pause() | s.CloseSession():
                self.commits.append(Commit(lambda: self.record(output), output))
            case s.SetTimer(timer):
                self.timers.add(timer)
                return
            case s.ClearTimer(timer):
                self.timers.discard(timer)
                return
            case _:
                pass
        assert process is not None, output
        assert not process.ending or isinstance(output, s.RECORDS), output
        match output:
            case s.OpenWith() | s.Apply():
                assert process.doing is None
                process.doing = output
            case s.Send(prompt):
                assert process.prompt is None, "the agent still works on the prompt before"
                assert process.steer is None
                assert prompt in self.log.sent, "it is sent only after the turn was recorded"
                assert prompt not in self.given, "it is sent at most once"
                self.given.add(prompt)
                process.prompt = prompt
            case s.Steer(prompt):
                assert process.prompt is not None or process.exited or self.state.turn is not None
                assert process.steer is None
                process.steer = prompt
            case s.Dismiss(approvals):
                for approval in approvals:
                    self.answer(approval)
            case s.Reply(approval):
                assert approval not in self.log.pending
                self.answer(approval)
            case s.End():
                process.ending = True
                self.asked.clear()
            case _:
                pass

    def answer(self, approval: str) -> None:
        assert self.process is not None
        waits = self.process.withdrawn if approval in self.process.withdrawn else self.process.waits
        waits.remove(approval)  # only once
        self.asked.discard(approval)

    def refuse(self, approval: str) -> None:
        if self.process is not None:
            self.process.waits.discard(approval)

    # Commits

    def begin(self, prompt: str | None) -> s.Input:
        log = self.log
        queued = prompt is None or any(id == prompt for id, _ in log.queue)
        if log.turn is not None or log.archived or log.deleted or not queued:
            return s.NotBegun(log.view())
        log.turn, log.prompt, log.by = self.name("turn"), prompt, None
        if prompt is not None:
            log.drop(prompt)
            log.sent[prompt] = log.turn
        log.sequence += 1
        return s.Began(log.turn, log.sequence)

    def record(self, output: s.Output) -> s.Input:
        log = self.log
        log.sequence += 1
        match output:
            case s.AskToStop(turn) if log.turn == turn and not log.cancelling:
                log.cancelling, log.by = True, "steer"
            case s.Withdraw(approval) if approval in log.pending:
                log.pending.remove(approval)
            case s.Finish(turn, how) if log.turn == turn:
                interrupted = log.cancelling or how in ("silent", "closing")
                log.end()
                if how == "exited" or (interrupted and log.by != "steer"):
                    log.pause()
            case s.Pause() if log.queue and not log.paused and not log.deleted:
                log.pause()
            case s.CloseSession():
                log.session = False
            case _:
                log.sequence -= 1
        return s.Recorded(log.sequence)

    def open_session(self, options: s.Options) -> s.Input:
        if self.log.deleted or self.log.elsewhere:
            return s.OpenFailed("it cannot be", silent=True, sequence=self.log.sequence)
        assert not self.log.session
        self.log.session = True
        self.log.sequence += 1
        return s.SessionReady(options, self.log.sequence)

    def inject(self, prompt: str, turn: str | None) -> s.Input:
        queued = any(id == prompt for id, _ in self.log.queue)
        if queued:
            self.log.drop(prompt)
            self.log.sequence += 1
        return s.Steered(self.log.sequence, queued and self.log.turn == turn)

    def request(self, approval: str, turn: str | None) -> s.Input | None:
        if self.log.turn != turn or turn is None:
            self.refuse(approval)
            return None
        self.log.pending.add(approval)
        self.log.sequence += 1
        return s.ApprovalAsked(approval, self.log.sequence)

    @rule()
    @precondition(lambda self: self.commits)
    def commit(self) -> None:
        result = self.commits.popleft().do()
        if result is not None:
            self.results.append(result)

    @rule()
    @precondition(lambda self: self.results)
    def tell(self) -> None:
        self.take(self.results.popleft())

    @rule()
    def read(self) -> None:
        self.views.append(self.log.view())

    @rule(at=st.integers(0, 9))
    @precondition(lambda self: self.views)
    def show(self, at: int) -> None:
        self.take(s.Viewed(self.views.pop(at % len(self.views))))

    @rule()
    def see(self) -> None:
        self.take(s.Viewed(self.log.view()))

    # The agent

    def is_up(self) -> bool:
        return self.process is not None and not self.process.exited and not self.process.ending

    @rule(good=st.sampled_from([True, True, True, False]), ways=st.sampled_from(WAYS), flag=st.booleans())
    @precondition(lambda self: self.process is not None and self.process.doing is not None)
    def do(self, good: bool, ways: tuple[How, ...], flag: bool) -> None:
        assert self.process is not None
        doing, self.process.doing = self.process.doing, None
        match doing:
            case s.Start():
                self.take(s.Started(ways, steers=flag) if good else s.StartFailed("no such program"))
            case s.OpenWith(_, options) if good:
                self.commits.append(Commit(lambda: self.open_session(options if flag else ()), doing))
            case s.OpenWith():
                self.take(s.OpenFailed("unknown session", again=flag))
            case s.Apply(options):
                self.take(s.Applied(options, None if good else "no such model"))
            case _:
                raise AssertionError

    @rule()
    @precondition(lambda self: self.is_up() and self.process.prompt is not None)
    def answers(self) -> None:
        assert self.process is not None
        self.process.prompt = None
        self.take(s.PromptAnswered())

    @rule(injected=st.booleans())
    @precondition(lambda self: self.process is not None and self.process.steer is not None)
    def steered(self, injected: bool) -> None:
        assert self.process is not None
        prompt, self.process.steer = str(self.process.steer), None
        if injected and self.is_up() and self.process.prompt is not None:
            assert prompt not in self.given, "it is sent at most once"
            self.given.add(prompt)
            turn = self.state.turn
            self.commits.append(Commit(lambda: self.inject(prompt, turn)))
        else:
            self.commits.append(Commit(lambda: s.Steered(0, False)))

    @rule()
    @precondition(
        lambda self: self.is_up() and (self.state.turn or (self.state.phase == "beginning" and self.log.turn))
    )
    def asks(self) -> None:
        """Also in a turn that was recorded a moment ago: a checkpoint is made before the prompt is sent."""
        assert self.process is not None
        approval, turn = self.name("approval"), self.state.turn or self.log.turn
        self.process.waits.add(approval)
        self.commits.append(Commit(lambda: self.request(approval, turn)))

    @rule()
    @precondition(lambda self: self.is_up() and self.process.waits)
    def withdraws(self) -> None:
        assert self.process is not None
        approval = min(self.process.waits)
        self.process.waits.remove(approval)
        self.process.withdrawn.add(approval)
        self.asked.discard(approval)
        self.commits.append(Commit(lambda: s.Withdrawn(approval)))

    @rule()
    @precondition(lambda self: self.is_up() and self.state.session)
    def speaks(self) -> None:
        self.take(s.Spoke())

    @rule()
    @precondition(lambda self: self.is_up())
    def exits(self) -> None:
        assert self.process is not None
        self.process.exited = True
        self.process.prompt = None
        self.asked.clear()
        self.take(s.Exited("the agent exited"))

    @rule()
    @precondition(lambda self: self.process is not None and not self.process.ending)
    def fails(self) -> None:
        """Something in treadle fails: what the agent is asked for, or the next commit. The agent does not exit."""
        assert self.process is not None
        failed: s.Output | None = self.process.doing
        self.process.doing = None
        if failed is None and self.has_next(*FAILING):
            failed = self.commits.popleft().output
        self.causes += 1
        self.take(s.Exited(FAILED))
        if failed is not None and (answer := answer_to(failed)) is not None:
            self.take(answer)

    def is_asked(self) -> bool:
        return self.process is not None and isinstance(self.process.doing, s.OpenWith | s.Apply)

    def has_next(self, *outputs: type[s.Output]) -> bool:
        """Whether the next commit is for one of these."""
        return bool(self.commits) and isinstance(self.commits[0].output, outputs)

    @rule()
    @precondition(lambda self: self.is_gone())
    def gone(self) -> None:
        self.process = None
        self.take(s.Gone())

    def is_gone(self) -> bool:
        process = self.process
        return (
            process is not None
            and process.ending
            and not (process.doing or process.steer or self.results or self.commits)
        )

    # Clients, and the daemon

    @rule(when=st.sampled_from(["idle", "idle", "steer"]))
    @precondition(lambda self: not self.log.archived and not self.log.deleted and len(self.log.queue) < QUEUE)
    def queues(self, when: str) -> None:
        self.log.queue.append((self.name("prompt"), when))
        self.changed()

    def changed(self) -> None:
        self.log.sequence += 1
        self.causes += 1

    @rule(at=st.integers(0, 9), how=st.sampled_from(["idle", "steer", "remove", "first"]))
    @precondition(lambda self: self.log.queue)
    def edits(self, at: int, how: str) -> None:
        prompt, when = self.log.queue[at % len(self.log.queue)]
        if how == "remove":
            self.log.drop(prompt)
        else:
            paused = self.log.paused
            self.log.drop(prompt)
            self.log.queue.insert(0, (prompt, when if how == "first" else how))
            self.log.paused = paused
        self.changed()

    @rule()
    @precondition(lambda self: self.log.turn is not None)
    def interrupts(self) -> None:
        if self.log.prompt is not None:
            self.log.cancelling = True
        else:
            self.log.end()
            self.log.pause()
        self.changed()

    @rule(what=st.sampled_from(["archive", "unarchive", "pause", "resume", "model", "agent", "elsewhere", "delete"]))
    def changes(self, what: str) -> None:
        log = self.log
        match what:
            case "archive" | "delete":
                log.archived = True
                log.deleted = log.deleted or what == "delete"
                log.end()
                log.pause()
                if log.deleted:
                    log.queue.clear()
            case "unarchive":
                log.archived = log.deleted
            case "pause":
                log.pause()
            case "resume":
                log.paused = False
            case "model":
                log.options = (("model", self.name("model")),)
            case "agent":
                log.agent = "b" if log.agent == "a" else "a"
            case _:
                log.elsewhere = not log.elsewhere and not log.session
        self.changed()

    @rule(at=st.integers(0, 9))
    @precondition(lambda self: self.log.pending)
    def resolves(self, at: int) -> None:
        self.log.pending.remove(sorted(self.log.pending)[at % len(self.log.pending)])
        self.changed()

    @rule(input=st.sampled_from([s.Wanted(), s.Leave()]))
    def host(self, input: s.Input) -> None:
        self.causes += 1
        self.take(input)

    @rule(at=st.integers(0, 2))
    @precondition(lambda self: self.timers)
    def fires(self, at: int) -> None:
        timer: Any = sorted(self.timers)[at % len(self.timers)]
        self.timers.remove(timer)
        self.causes += timer == "idle"
        self.take(s.Expired(timer))

    @rule(sure=st.sampled_from([False] * 9 + [True]))
    def closes(self, sure: bool) -> None:
        if sure:
            self.take(s.Closing())

    # What holds

    @invariant()
    def every_commit_is_counted(self) -> None:
        assert self.state.recording == self.unrecorded

    @invariant()
    def nothing_that_was_asked_outlives_its_turn(self) -> None:
        if self.state.turn is None and self.state.phase != "beginning":
            assert not self.asked

    @invariant()
    def the_number_of_starts_is_bounded_by_what_clients_do(self) -> None:
        assert self.starts <= self.causes

    @rule(steps=st.integers(1, 12), bad=st.sampled_from(BAD))
    def goes_on(self, steps: int, bad: str | None) -> None:
        for _ in range(steps):
            self.does_what_is_due(bad)

    @rule(bad=st.sampled_from(BAD))
    def settles(self, bad: str | None) -> None:
        steps = 0
        while self.does_what_is_due(bad):
            steps += 1
            assert steps < ENDLESS, "an endless loop"
        self.is_calm()

    def does_what_is_due(self, bad: str | None) -> bool:
        """One step of all that is left to do, in a fair order; clients do nothing but answer.

        bad: what the agent always fails at, or what it exits in; `treadle`: nothing after the start succeeds.
        """
        process = self.process
        if self.results:
            self.tell()
        elif bad == "treadle" and self.is_up() and (self.is_asked() or self.has_next(s.OpenWith, s.Begin)):
            self.fails()
        elif self.commits:
            self.commit()
        elif process is not None and process.doing is not None:
            fails = {s.Start: "start", s.OpenWith: "open", s.Apply: "options"}[type(process.doing)]
            self.do(not process.exited and bad != fails, ("resume", "new"), True)
        elif self.is_up() and bad == ("session" if self.state.turn is None else "turn"):
            self.exits()
        elif process is not None and process.steer is not None:
            self.steered(False)
        elif self.is_gone():
            self.gone()
        elif self.state.view != self.log.view():
            self.see()
        elif self.log.pending:
            self.log.pending.clear()
            self.log.sequence += 1
        elif self.is_up() and process is not None and process.prompt is not None:
            self.answers()
        elif "quiet" in self.timers:
            self.timers.remove("quiet")
            self.take(s.Expired("quiet"))
        else:
            return False
        return True

    def is_calm(self) -> None:
        state, view, process = self.state, self.log.view(), self.process
        assert state.recording == 0
        assert self.log.turn is None, "no turn stays running"
        assert process is None or process.ending or not process.waits, "the agent waits for nothing"
        assert view.next is None or not (view.open and view.claimed) or state.closing, "what is queued gets sent"
        if state.phase == "absent":
            assert process is None
            assert not self.timers
            assert not self.log.session
        else:
            assert state.phase in ("started", "ready")
            assert not state.closing
            assert state.agent == self.log.agent
            assert self.is_up()
            assert self.timers == {"idle"}, "a process that is not needed ends some day"

    def teardown(self) -> None:
        self.settles(None)


TestRunner = Runner.TestCase
TestRunner.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
