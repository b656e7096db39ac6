"""What a runner does next, given what the log says of its thread and what its agent does. Pure: no clock, no I/O.

`step(state, input)` returns the new state and what is to be done, in order. The log is compared, not listened to: each
`Viewed` is all that the log says now, so no event can be missed. A view that was read before a commit of this runner
says too little: it is not acted on (`recording`, `since`).
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from treadle.domain.ids import How
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
    Ending,
    Exited,
    Expired,
    Finish,
    Gone,
    Input,
    Leave,
    NotBegun,
    OpenFailed,
    OpenWith,
    Options,
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
    Timer,
    View,
    Viewed,
    Wanted,
    Withdraw,
    Withdrawn,
)

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


class RunnerState(Struct, frozen=True):
    """agent: the one that the process is. ways: the ways to open a session that are left to try, best first.

    removals: of worktrees of the thread, before the process started. session: whether one is recorded as open. applied:
    the options that it has. turn, prompt: those that run here; a turn without a prompt is what the agent does by
    itself. tried: the prompt that the agent was last asked to take into the turn. steering: whether it has yet to
    answer that. asked: the approvals that the agent waits for, and the sequence of each. spoke: whether it has said
    something new in a session that it continues, before the first prompt. dead: why the process has exited. recording:
    commits whose result is not known. since: the sequence that a view must have reached.
    """

    phase: Phase = "absent"
    view: View = View()
    agent: str = ""
    removals: int = 0
    ways: tuple[How, ...] = ()
    steers: bool = False
    session: bool = False
    applied: Options = ()
    turn: str | None = None
    prompt: str | None = None
    tried: str | None = None
    steering: bool = False
    asked: tuple[tuple[str, int], ...] = ()
    spoke: bool = False
    dead: str | None = None
    closing: bool = False
    recording: int = 0
    since: int = 0

    @property
    def knows(self) -> bool:
        """Whether the view holds everything that this runner has recorded."""
        return not self.recording and self.view.sequence >= self.since

    @property
    def sends(self) -> bool:
        """Whether a prompt is to be sent."""
        return self.view.next is not None and self.view.turn is None and self.knows

    @property
    def takes(self) -> bool:
        """Whether a process may start."""
        return not self.closing and self.view.open and self.view.claimed and self.view.agent != ""

    @property
    def suits(self) -> bool:
        """Whether the process may go on: the thread takes prompts for this agent, and its folder is still there."""
        view = self.view
        return not self.closing and view.open and view.agent == self.agent and view.removals == self.removals


Outputs = list[Output]


def step(state: RunnerState, input: Input) -> tuple[RunnerState, Outputs]:
    """The state after the input, and what is to be done."""
    state, outputs = _take(state, input)
    state, more = _go_on(_recording(state, outputs))
    return _recording(state, more), outputs + more


def _recording(state: RunnerState, outputs: Outputs) -> RunnerState:
    return replace(state, recording=state.recording + sum(isinstance(output, RECORDS) for output in outputs))


def _take(state: RunnerState, input: Input) -> tuple[RunnerState, Outputs]:
    """What the input itself changes. An input that comes too late changes nothing."""
    phase = state.phase
    match input:
        case Viewed(view):
            return _viewed(state, view), []
        case Recorded(sequence):
            return _recorded(state, sequence), []
        case Wanted() if phase == "absent" and state.takes:
            return _start(state)
        case Closing():
            return _close(replace(state, closing=True))
        case Expired("idle") if phase in ("started", "ready") and state.view.next is not None:
            return state, [SetTimer("idle")]  # the prompt is sent in a moment
        case Leave() | Expired("idle") if phase in ("started", "ready"):
            return _end(state, "it was idle")
        case Started(ways, steers) if phase == "starting":
            return replace(state, phase="started", ways=ways, steers=steers), [SetTimer("idle")]
        case StartFailed(reason) if phase == "starting":
            return _give_up(state, reason)
        case SessionReady(applied, sequence) if phase == "opening":
            state = replace(_recorded_at(state, sequence), phase="ready", session=True, applied=applied)
            return state, [SetTimer("idle")]
        case OpenFailed(reason, again, silent, sequence) if phase == "opening":
            state = _recorded_at(state, sequence)
            if again and state.dead is None and state.suits and len(state.ways) > 1:
                how = state.ways[1]
                lost = reason if how == "new" else None
                return replace(state, ways=state.ways[1:], spoke=False), [OpenWith(how, state.view.options, lost)]
            return _end(state, reason) if silent else _give_up(state, reason)
        case Applied(options, failure) if phase == "applying":
            if failure is not None:
                return _give_up(state, state.dead or failure)
            return replace(state, phase="ready", applied=options), [SetTimer("idle")]
        case Began(turn, sequence) if phase == "beginning":
            return _began(_recorded_at(state, sequence), turn)
        case NotBegun(view) if phase == "beginning":
            state, outputs = _dismiss(replace(_viewed(state, view), phase="ready", prompt=None))
            return state, [*outputs, SetTimer("idle")]
        case PromptAnswered() if phase in ("prompting", "cancelling"):
            return _finish(state, "answered")
        case Steered(sequence, _):
            return replace(_recorded_at(state, sequence), steering=False), []
        case Spoke() if phase == "opening" and state.ways[0] in ("resume", "load"):
            return replace(state, spoke=True), []
        case Spoke() if phase == "ready" and state.view.next is None:
            return replace(state, phase="beginning", prompt=None), [Begin(None)]
        case Spoke() if phase == "prompting" and state.prompt is None:
            return state, [SetTimer("quiet")]
        case ApprovalAsked(approval, sequence) if phase in ("beginning", "prompting"):
            return replace(state, asked=(*state.asked, (approval, sequence))), []
        case ApprovalAsked(approval, _) if phase not in ("absent", "ending"):
            return state, [Dismiss((approval,))]
        case Withdrawn(approval):
            if any(approval == id for id, _ in state.asked):
                asked = tuple(one for one in state.asked if one[0] != approval)
                return replace(state, asked=asked), [Withdraw(approval)]
        case Expired("quiet") if phase == "prompting" and state.prompt is None:
            return (state, [SetTimer("quiet")]) if state.asked else _finish(state, "quiet")
        case Expired("cancel") if phase == "cancelling":
            state, outputs = _finish(state, "silent")
            state, more = _end(state, "it did not stop")
            return state, outputs + more
        case Exited(reason):
            return _exited(state, reason)
        case Gone() if phase == "ending":
            return replace(state, phase="absent", agent="", dead=None, steering=False, spoke=False), []
        case _:
            pass
    return state, []


def _go_on(state: RunnerState) -> tuple[RunnerState, Outputs]:
    """What the log asks for and is not done."""
    view = state.view
    match state.phase:
        case "absent" if state.takes and state.sends:
            return _start(state)
        case "started" | "ready" if state.dead is not None:
            return _give_up(state, state.dead)
        case "started" | "ready" if not state.suits:
            return _end(state, "the daemon ended" if state.closing else "the thread does not need it")
        case "started" if view.next is not None and not view.claimed:
            return _end(state, "another daemon runs the agent")
        case "started" if state.sends:
            return replace(state, phase="opening"), [ClearTimer("idle"), OpenWith(state.ways[0], view.options)]
        case "ready" if state.knows and view.options != state.applied:
            return replace(state, phase="applying"), [Apply(view.options)]
        case "ready" if state.spoke and state.knows and view.turn is None:
            return replace(state, phase="beginning", prompt=None, spoke=False), [ClearTimer("idle"), Begin(None)]
        case "ready" if state.sends and not state.steering:
            return replace(state, phase="beginning", prompt=view.next), [ClearTimer("idle"), Begin(view.next)]
        case "prompting" if state.knows:
            return _go_on_in_turn(state)
        case _:
            return state, []


def _go_on_in_turn(state: RunnerState) -> tuple[RunnerState, Outputs]:
    view = state.view
    if view.turn != state.turn or view.cancelling:
        return _stop(state)
    answered = tuple(id for id, since in state.asked if view.sequence >= since and id not in view.pending)
    state = replace(state, asked=tuple(one for one in state.asked if one[0] not in answered))
    outputs: Outputs = [Reply(id) for id in answered]
    if state.prompt is None:
        if view.next is not None and not state.asked:
            state, more = _finish(state, "quiet")
            return state, outputs + more
    elif view.steer is not None and not state.steers:
        outputs.append(AskToStop(str(state.turn)))
    elif view.steer is not None and view.steer != state.tried and not state.steering:
        return replace(state, tried=view.steer, steering=True), [*outputs, Steer(view.steer)]
    return state, outputs


def _viewed(state: RunnerState, view: View) -> RunnerState:
    """A view may come after a newer one."""
    return replace(state, view=view) if view.sequence >= state.view.sequence else state


def _recorded(state: RunnerState, sequence: int) -> RunnerState:
    return replace(_recorded_at(state, sequence), recording=state.recording - 1)


def _recorded_at(state: RunnerState, sequence: int) -> RunnerState:
    return replace(state, since=max(state.since, sequence))


def _start(state: RunnerState) -> tuple[RunnerState, Outputs]:
    started = replace(state, phase="starting", agent=state.view.agent, removals=state.view.removals)
    return started, [Start(state.view.agent)]


def _began(state: RunnerState, turn: str) -> tuple[RunnerState, Outputs]:
    """A turn was recorded. Meanwhile the process may have exited, or the daemon may be about to."""
    if state.prompt is not None:  # the view may be older, and the agent answer before the next one
        state = replace(state, view=replace(state.view, next=None))
    state = replace(state, phase="prompting", turn=turn, tried=None)
    if state.dead is not None:
        return _exited(state, state.dead)
    if state.closing:
        return _close(state)
    if state.prompt is None:
        return state, [SetTimer("quiet")]
    return state, [Send(state.prompt)]


def _stop(state: RunnerState) -> tuple[RunnerState, Outputs]:
    """Tell the agent to stop its turn."""
    state, outputs = _dismiss(state)
    outputs.append(Stop())
    if state.prompt is None:  # there is no answer to wait for
        state, finished = _finish(state, "silent")
        return state, outputs + finished
    return replace(state, phase="cancelling"), [*outputs, SetTimer("cancel")]


def _dismiss(state: RunnerState) -> tuple[RunnerState, Outputs]:
    """Cancel what the agent waits for: some agents do not stop before."""
    approvals = tuple(id for id, _ in state.asked)
    return replace(state, asked=()), [Dismiss(approvals)] if approvals else []


def _finish(state: RunnerState, how: Ending, reason: str = "") -> tuple[RunnerState, Outputs]:
    """The turn is over here."""
    timer: Timer = "quiet" if state.prompt is None else "cancel"
    turn = str(state.turn)
    state, outputs = _dismiss(state)
    state = replace(state, phase="ready", turn=None, prompt=None)
    return state, [*outputs, ClearTimer(timer), Finish(turn, how, reason), SetTimer("idle")]


def _exited(state: RunnerState, reason: str) -> tuple[RunnerState, Outputs]:
    match state.phase:
        case "prompting" | "cancelling":
            state, outputs = _finish(state, "silent" if state.phase == "cancelling" else "exited", reason)
            state, more = _end(state, reason)
            return state, outputs + more
        case "absent" | "ending":
            return state, []
        case _:  # what is under way fails, or succeeds, in a moment
            return replace(state, dead=reason), []


def _give_up(state: RunnerState, reason: str) -> tuple[RunnerState, Outputs]:
    """The agent cannot be used: prompts for it wait until somebody has done something about it."""
    paused: Outputs = [Pause(reason)] if state.suits and state.view.claimed and state.view.next is not None else []
    state, ended = _end(state, reason)
    return state, paused + ended


def _end(state: RunnerState, reason: str) -> tuple[RunnerState, Outputs]:
    recorded: Outputs = [CloseSession(reason)] if state.session else []
    return replace(state, phase="ending", session=False), [*recorded, ClearTimer("idle"), End()]


def _close(state: RunnerState) -> tuple[RunnerState, Outputs]:
    if state.phase not in ("prompting", "cancelling"):
        return state, []
    state, outputs = _dismiss(state)
    state, finished = _finish(state, "closing")
    return state, [*outputs, Stop(), *finished]
