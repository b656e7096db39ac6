"""What a runner does next, given what the log says of its thread and what its agent does. Pure: no clock, no I/O.

`step(state, input)` returns the new state and what is to be done, in order. The log is compared, not listened to: each
`Viewed` is all that the log says now, so no event can be missed. A view that was read before a commit of this runner
says too little: it is not acted on (`recording`, `since`).
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from treadle.domain.ids import How

Options = tuple[tuple[str, str | bool], ...]
Timer = Literal["cancel", "idle", "quiet"]

Phase = Literal[
    "absent",  # no process
    "starting",  # the process starts, or waits for its place
    "started",  # it has answered `initialize`
    "opening",  # it opens a session
    "ready",  # a session is open, no turn runs
    "applying",  # it gets the options of the thread
    "beginning",  # a turn is about to be recorded
    "prompting",  # a turn runs
    "cancelling",  # a turn runs that is to stop
    "ending",  # the process is being ended
]


class View(Struct, frozen=True):
    """What the log says of a thread. sequence: of the log, when it was read.

    open: the thread takes prompts. claimed: this daemon is the one to run its agent. next: the prompt to send when no
    turn runs. steer: the prompt to send into the running turn. turn: the id of the running turn, of any daemon.
    pending: the approvals without an answer.
    """

    sequence: int = 0
    agent: str = ""
    options: Options = ()
    open: bool = False
    claimed: bool = False
    next: str | None = None
    steer: str | None = None
    turn: str | None = None
    cancelling: bool = False
    pending: frozenset[str] = frozenset()


class State(Struct, frozen=True):
    """agent: the one that the process is. ways: the ways to open a session that are left to try, best first.

    session: whether one is recorded as open. applied: the options that it has. turn, prompt: those that run here; a
    turn without a prompt is what the agent does by itself. over: the log says that the turn has ended. steering: the
    prompt that the agent is asked to take into the turn. asked: the approvals that the agent waits for, and the
    sequence of each. dead: why the process has exited. recording: commits whose result is not known. since: the
    sequence that a view must have reached.
    """

    phase: Phase = "absent"
    view: View = View()
    agent: str = ""
    ways: tuple[How, ...] = ()
    steers: bool = False
    session: bool = False
    applied: Options = ()
    turn: str | None = None
    prompt: str | None = None
    over: bool = False
    steering: str | None = None
    asked: tuple[tuple[str, int], ...] = ()
    dead: str | None = None
    wanted: bool = False
    closing: bool = False
    recording: int = 0
    since: int = 0

    @property
    def knows(self) -> bool:
        """Whether the view holds everything that this runner has recorded."""
        return not self.recording and self.view.sequence >= self.since

    @property
    def suits(self) -> bool:
        """Whether the process may go on: the thread still takes prompts, and for this agent."""
        return not self.closing and self.dead is None and self.view.open and self.view.agent == self.agent


# Inputs


class Viewed(Struct, frozen=True):
    """The log was read."""

    view: View


class Wanted(Struct, frozen=True):
    """A prompt is likely to come: start the agent ahead of it."""


class Started(Struct, frozen=True):
    """The agent has answered `initialize`. ways: to open a session, best first. steers: it takes prompts in a turn."""

    ways: tuple[How, ...]
    steers: bool


class StartFailed(Struct, frozen=True):
    reason: str


class Opened(Struct, frozen=True):
    """A session is open and recorded. applied: the options that it has."""

    applied: Options
    sequence: int


class OpenFailed(Struct, frozen=True):
    """again: in another way it may succeed. silent: another daemon has the thread, or it is gone."""

    reason: str
    again: bool = False
    silent: bool = False


class Applied(Struct, frozen=True):
    options: Options
    failure: str | None = None


class Began(Struct, frozen=True):
    """A turn was recorded."""

    turn: str
    sequence: int


class Refused(Struct, frozen=True):
    """The turn was not recorded, because the log says something else by now. view: what."""

    view: View


class Recorded(Struct, frozen=True):
    """A commit has finished. sequence: of the log then; 0 if it was refused."""

    sequence: int


class Answered(Struct, frozen=True):
    """The agent has ended its work on the prompt."""


class Steered(Struct, frozen=True):
    """injected: the agent took the prompt into the turn, and that is recorded. Else it stays in the queue."""

    sequence: int
    injected: bool


class Spoke(Struct, frozen=True):
    """The agent shows something that belongs in a turn."""


class Asked(Struct, frozen=True):
    """The agent waits for an approval, which is recorded."""

    approval: str
    sequence: int


class Withdrawn(Struct, frozen=True):
    """The agent does not wait for the approval any more."""

    approval: str


class Expired(Struct, frozen=True):
    timer: Timer


class Exited(Struct, frozen=True):
    """The process has exited, or its output has ended."""

    reason: str


class Gone(Struct, frozen=True):
    """Nothing is left of the process."""


class Closing(Struct, frozen=True):
    """The daemon is about to exit."""


class Leave(Struct, frozen=True):
    """Another thread waits for the place of this process."""


Input = (
    Viewed
    | Wanted
    | Started
    | StartFailed
    | Opened
    | OpenFailed
    | Applied
    | Began
    | Refused
    | Recorded
    | Answered
    | Steered
    | Spoke
    | Asked
    | Withdrawn
    | Expired
    | Exited
    | Gone
    | Closing
    | Leave
)


# Outputs. Those that record are answered by Recorded, unless they name another input.


class Start(Struct, frozen=True):
    """Start the process; answered by Started or StartFailed."""

    agent: str


class Open(Struct, frozen=True):
    """Open a session and record it; answered by Opened or OpenFailed. lost: why an earlier way failed."""

    how: How
    options: Options
    lost: str | None = None


class Apply(Struct, frozen=True):
    """Give the session these options; answered by Applied."""

    options: Options


class Begin(Struct, frozen=True):
    """Record a turn for the prompt, or for what the agent does by itself; answered by Began or Refused."""

    prompt: str | None


class Send(Struct, frozen=True):
    """Send the prompt to the agent; answered by Answered, or by Exited."""

    prompt: str


class Steer(Struct, frozen=True):
    """Ask the agent to take the prompt into its turn, and record it if so; answered by Steered."""

    prompt: str


class AskToStop(Struct, frozen=True):
    """Record that the turn is to stop, so that the prompt can be sent."""

    turn: str


class Dismiss(Struct, frozen=True):
    """Tell the agent that these approvals are cancelled."""

    approvals: tuple[str, ...]


class Stop(Struct, frozen=True):
    """Tell the agent to stop its turn."""


class Reply(Struct, frozen=True):
    """Tell the agent the answer to an approval, as the log has it."""

    approval: str


class Withdraw(Struct, frozen=True):
    """Record that nobody waits for the approval any more."""

    approval: str


class Finish(Struct, frozen=True):
    """Record the end of the turn.

    answered: by the answer of the agent. quiet: it did something by itself, and is quiet now. exited: it has exited.
    silent: it did not stop when it was told to. closing: the daemon is about to exit.
    """

    turn: str
    how: Literal["answered", "quiet", "exited", "silent", "closing"]
    reason: str = ""


class Pause(Struct, frozen=True):
    """Record that the queue is paused."""

    reason: str


class EndSession(Struct, frozen=True):
    """Record that the session has ended."""

    reason: str


class End(Struct, frozen=True):
    """End the process and all that it has started; answered by Gone."""


class SetTimer(Struct, frozen=True):
    timer: Timer


class ClearTimer(Struct, frozen=True):
    timer: Timer


Output = (
    Start
    | Open
    | Apply
    | Begin
    | Send
    | Steer
    | AskToStop
    | Dismiss
    | Stop
    | Reply
    | Withdraw
    | Finish
    | Pause
    | EndSession
    | End
    | SetTimer
    | ClearTimer
)

RECORDS = (AskToStop, Withdraw, Finish, Pause, EndSession)
"""What is answered by Recorded."""

Outputs = list[Output]


def step(state: State, input: Input) -> tuple[State, Outputs]:
    """The state after the input, and what is to be done."""
    state, outputs = _take(state, input)
    state, more = _go_on(state)
    outputs += more
    state = replace(state, recording=state.recording + sum(isinstance(output, RECORDS) for output in outputs))
    return state, outputs


def _take(state: State, input: Input) -> tuple[State, Outputs]:
    """What the input itself changes. An input that comes too late changes nothing."""
    phase = state.phase
    match input:
        case Viewed(view):
            if view.sequence >= state.view.sequence:
                state = replace(state, view=view)
        case Recorded(sequence):
            return _recorded(state, sequence), []
        case Wanted() if phase == "absent":
            return replace(state, wanted=True), []
        case Closing():
            return _close(replace(state, closing=True))
        case Leave() | Expired("idle") if phase in ("started", "ready"):
            return _end(state, "it was idle")
        case Started(ways, steers) if phase == "starting":
            return replace(state, phase="started", ways=ways, steers=steers), [SetTimer("idle")]
        case StartFailed(reason) if phase == "starting":
            return _give_up(state, reason)
        case Opened(applied, sequence) if phase == "opening":
            state = replace(_recorded_at(state, sequence), phase="ready", session=True, applied=applied)
            return state, [SetTimer("idle")]
        case OpenFailed(reason, again, silent) if phase == "opening":
            if again and state.dead is None and len(state.ways) > 1:
                how = state.ways[1]
                lost = reason if how == "new" else None
                return replace(state, ways=state.ways[1:]), [Open(how, state.view.options, lost)]
            return _end(state, reason) if silent else _give_up(state, reason)
        case Applied(options, failure) if phase == "applying":
            paused: Outputs = [] if failure is None else [Pause(failure)]
            return replace(state, phase="ready", applied=options), paused
        case Began(turn, sequence) if phase == "beginning":
            return _began(_recorded_at(state, sequence), turn)
        case Refused(view) if phase == "beginning":
            return replace(state, phase="ready", view=view, prompt=None), [SetTimer("idle")]
        case Answered() if phase in ("prompting", "cancelling"):
            return _finish(state, "answered")
        case Steered(sequence, _):
            return replace(_recorded_at(state, sequence), steering=None), []
        case Spoke() if phase == "ready":
            return replace(state, phase="beginning", prompt=None), [Begin(None)]
        case Spoke() if phase == "prompting" and state.prompt is None:
            return state, [SetTimer("quiet")]
        case Asked(approval, sequence):
            if phase == "prompting":
                return replace(state, asked=(*state.asked, (approval, sequence))), []
            return state, [Dismiss((approval,))]
        case Withdrawn(approval):
            if any(approval == id for id, _ in state.asked):
                asked = tuple(one for one in state.asked if one[0] != approval)
                return replace(state, asked=asked), [Withdraw(approval)]
        case Expired("quiet") if phase == "prompting" and state.prompt is None:
            return _finish(state, "quiet")
        case Expired("cancel") if phase == "cancelling":
            state, outputs = _finish(state, "silent")
            state, more = _end(state, "it did not stop")
            return state, outputs + more
        case Exited(reason):
            return _exited(state, reason)
        case Gone() if phase == "ending":
            return replace(state, phase="absent", agent="", dead=None, steering=None), []
        case _:
            pass
    return state, []


def _go_on(state: State) -> tuple[State, Outputs]:
    """What the log asks for and is not done."""
    view = state.view
    sends = view.next is not None and view.turn is None and state.knows
    match state.phase:
        case "absent":
            takes = view.open and view.agent and view.claimed and not state.closing
            if takes and (sends or state.wanted):
                return replace(state, phase="starting", agent=view.agent, wanted=False), [Start(view.agent)]
            return replace(state, wanted=False), []
        case "started":
            if not state.suits:
                return _end(state, "the thread does not need it")
            if sends and view.claimed:
                return replace(state, phase="opening"), [ClearTimer("idle"), Open(state.ways[0], view.options)]
        case "ready":
            if not state.suits:
                return _end(state, state.dead or "the thread does not need it")
            if state.knows and view.options != state.applied:
                return replace(state, phase="applying"), [Apply(view.options)]
            if sends and state.steering is None:
                return replace(state, phase="beginning", prompt=view.next), [ClearTimer("idle"), Begin(view.next)]
        case "prompting" if state.knows:
            return _go_on_in_turn(state)
        case "cancelling" if state.knows and view.turn != state.turn and not state.over:
            return replace(state, over=True), []
        case _:
            pass
    return state, []


def _go_on_in_turn(state: State) -> tuple[State, Outputs]:
    view = state.view
    if view.turn != state.turn or view.cancelling:
        return _stop(replace(state, over=view.turn != state.turn))
    answered = tuple(id for id, since in state.asked if view.sequence >= since and id not in view.pending)
    state = replace(state, asked=tuple(one for one in state.asked if one[0] not in answered))
    outputs: Outputs = [Reply(id) for id in answered]
    if state.prompt is None:
        if view.next is not None:
            state, more = _finish(state, "quiet")
            return state, outputs + more
    elif view.steer is not None and state.steering is None:
        if not state.steers:
            return state, [*outputs, AskToStop(str(state.turn))]
        return replace(state, steering=view.steer), [*outputs, Steer(view.steer)]
    return state, outputs


def _recorded(state: State, sequence: int) -> State:
    return replace(_recorded_at(state, sequence), recording=state.recording - 1)


def _recorded_at(state: State, sequence: int) -> State:
    return replace(state, since=max(state.since, sequence))


def _began(state: State, turn: str) -> tuple[State, Outputs]:
    """A turn was recorded. Meanwhile the process may have exited, or the daemon may be about to."""
    state = replace(state, phase="prompting", turn=turn, over=False, asked=())
    if state.dead is not None:
        return _exited(state, state.dead)
    if state.closing:
        return _close(state)
    if state.prompt is None:
        return state, [SetTimer("quiet")]
    return state, [Send(state.prompt)]


def _stop(state: State) -> tuple[State, Outputs]:
    """Tell the agent to stop its turn."""
    state, outputs = _dismiss(state)
    outputs.append(Stop())
    if state.prompt is None:  # there is no answer to wait for
        state, finished = _finish(state, "silent")
        return state, outputs + finished
    return replace(state, phase="cancelling"), [*outputs, SetTimer("cancel")]


def _dismiss(state: State) -> tuple[State, Outputs]:
    """Cancel what the agent waits for: some agents do not stop before."""
    approvals = tuple(id for id, _ in state.asked)
    return replace(state, asked=()), [Dismiss(approvals)] if approvals else []


def _finish(
    state: State, how: Literal["answered", "quiet", "exited", "silent", "closing"], reason: str = ""
) -> tuple[State, Outputs]:
    """The turn is over here; record its end, unless the log has it already."""
    timer: Timer = "quiet" if state.prompt is None else "cancel"
    state, outputs = _dismiss(state)
    outputs.append(ClearTimer(timer))
    if state.turn is not None and not state.over:
        outputs.append(Finish(state.turn, how, reason))
    return replace(state, phase="ready", turn=None, prompt=None, over=False), [*outputs, SetTimer("idle")]


def _exited(state: State, reason: str) -> tuple[State, Outputs]:
    match state.phase:
        case "prompting" | "cancelling":
            state, outputs = _finish(state, "silent" if state.phase == "cancelling" else "exited", reason)
            state, more = _end(state, reason)
            return state, outputs + more
        case "started" | "ready":
            return _end(state, reason)
        case "absent" | "ending":
            return state, []
        case _:  # something is under way that fails, or succeeds, in a moment
            return replace(state, dead=reason), []


def _give_up(state: State, reason: str) -> tuple[State, Outputs]:
    """The agent cannot be used: prompts wait until somebody has done something about it."""
    paused: Outputs = [Pause(reason)] if state.view.next is not None else []
    state, ended = _end(state, reason)
    return state, paused + ended


def _end(state: State, reason: str) -> tuple[State, Outputs]:
    recorded: Outputs = [EndSession(reason)] if state.session else []
    return replace(state, phase="ending", session=False), [*recorded, ClearTimer("idle"), End()]


def _close(state: State) -> tuple[State, Outputs]:
    match state.phase:
        case "prompting" | "cancelling":
            state, outputs = _dismiss(state)
            state, finished = _finish(state, "closing")
            state, ended = _end(state, "the daemon ended")
            return state, [*outputs, Stop(), *finished, *ended]
        case "started" | "ready":
            return _end(state, "the daemon ended")
        case _:
            return state, []
