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
Ending = Literal["answered", "quiet", "exited", "silent", "closing"]

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
    turn without a prompt is what the agent does by itself. tried: the prompt that the agent was last asked to take into
    the turn. steering: whether it has yet to answer that. asked: the approvals that the agent waits for, and the
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
    tried: str | None = None
    steering: bool = False
    asked: tuple[tuple[str, int], ...] = ()
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
        """Whether the process may go on: the thread still takes prompts, and for this agent."""
        return not self.closing and self.view.open and self.view.agent == self.agent


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
    """again: in another way it may succeed. silent: another daemon has the thread, or it is gone, or the log has the
    failure already. sequence: of the log then, if it is silent."""

    reason: str
    again: bool = False
    silent: bool = False
    sequence: int = 0


class Applied(Struct, frozen=True):
    """options: those that were asked for, also if the agent refused one of them."""

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
    """A commit has finished. sequence: of the log then, also if it was refused: an older view does not show why."""

    sequence: int


class Answered(Struct, frozen=True):
    """The agent has ended its work on the prompt."""


class Steered(Struct, frozen=True):
    """injected: the agent took the prompt into the turn, and that is recorded. Else it stays in the queue.

    Comes at the latest a moment after Answered, also if the agent gives no answer.
    """

    sequence: int
    injected: bool


class Spoke(Struct, frozen=True):
    """The agent shows something that belongs in a turn. If no turn begins for it, it is shown in the next one."""


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
    """Nothing is left of the process, and no other input will come from it."""


class Closing(Struct, frozen=True):
    """The daemon is about to exit. A start, an opening or a change of options that is under way has to fail now."""


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
    """Ask the agent to take the prompt into its turn, and record it if so; answered by Steered.

    If the agent took it but the turn has ended in the log, the prompt is removed: it must not be sent again.
    """

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

    answered: by the answer of the agent; after Stop it was interrupted, whatever the answer says. quiet: it did
    something by itself, and is quiet now. exited: it has exited. silent: it was told to stop, and gave no answer.
    closing: the daemon is about to exit. Refused if the turn has ended in the log.
    """

    turn: str
    how: Ending
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
    state, more = _go_on(_recording(state, outputs))
    return _recording(state, more), outputs + more


def _recording(state: State, outputs: Outputs) -> State:
    return replace(state, recording=state.recording + sum(isinstance(output, RECORDS) for output in outputs))


def _take(state: State, input: Input) -> tuple[State, Outputs]:
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
        case Leave() | Expired("idle") if phase in ("started", "ready"):
            return _end(state, "it was idle")
        case Started(ways, steers) if phase == "starting":
            return replace(state, phase="started", ways=ways, steers=steers), [SetTimer("idle")]
        case StartFailed(reason) if phase == "starting":
            return _give_up(state, reason)
        case Opened(applied, sequence) if phase == "opening":
            state = replace(_recorded_at(state, sequence), phase="ready", session=True, applied=applied)
            return state, [SetTimer("idle")]
        case OpenFailed(reason, again, silent, sequence) if phase == "opening":
            state = _recorded_at(state, sequence)
            if again and state.dead is None and state.suits and len(state.ways) > 1:
                how = state.ways[1]
                lost = reason if how == "new" else None
                return replace(state, ways=state.ways[1:]), [Open(how, state.view.options, lost)]
            return _end(state, reason) if silent else _give_up(state, reason)
        case Applied(options, failure) if phase == "applying":
            paused: Outputs = [] if failure is None else [Pause(failure)]
            return replace(state, phase="ready", applied=options), [*paused, SetTimer("idle")]
        case Began(turn, sequence) if phase == "beginning":
            return _began(_recorded_at(state, sequence), turn)
        case Refused(view) if phase == "beginning":
            return replace(_viewed(state, view), phase="ready", prompt=None), [SetTimer("idle")]
        case Answered() if phase in ("prompting", "cancelling"):
            return _finish(state, "answered")
        case Steered(sequence, _):
            return replace(_recorded_at(state, sequence), steering=False), []
        case Spoke() if phase == "ready" and state.view.next is None:
            return replace(state, phase="beginning", prompt=None), [Begin(None)]
        case Spoke() if phase == "prompting" and state.prompt is None:
            return state, [SetTimer("quiet")]
        case Asked(approval, sequence) if phase == "prompting":
            return replace(state, asked=(*state.asked, (approval, sequence))), []
        case Asked(approval, _) if phase not in ("absent", "ending"):
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
            return replace(state, phase="absent", agent="", dead=None, steering=False), []
        case _:
            pass
    return state, []


def _go_on(state: State) -> tuple[State, Outputs]:
    """What the log asks for and is not done."""
    view = state.view
    match state.phase:
        case "absent" if state.takes and state.sends:
            return _start(state)
        case "started" | "ready" if state.dead is not None:
            return _give_up(state, state.dead)
        case "started" | "ready" if not state.suits:
            return _end(state, "the daemon ended" if state.closing else "the thread does not need it")
        case "started" if state.sends and view.claimed:
            return replace(state, phase="opening"), [ClearTimer("idle"), Open(state.ways[0], view.options)]
        case "ready" if state.knows and view.options != state.applied:
            return replace(state, phase="applying"), [Apply(view.options)]
        case "ready" if state.sends and not state.steering:
            return replace(state, phase="beginning", prompt=view.next), [ClearTimer("idle"), Begin(view.next)]
        case "prompting" if state.knows:
            return _go_on_in_turn(state)
        case _:
            return state, []


def _go_on_in_turn(state: State) -> tuple[State, Outputs]:
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


def _viewed(state: State, view: View) -> State:
    """A view may come after a newer one."""
    return replace(state, view=view) if view.sequence >= state.view.sequence else state


def _recorded(state: State, sequence: int) -> State:
    return replace(_recorded_at(state, sequence), recording=state.recording - 1)


def _recorded_at(state: State, sequence: int) -> State:
    return replace(state, since=max(state.since, sequence))


def _start(state: State) -> tuple[State, Outputs]:
    return replace(state, phase="starting", agent=state.view.agent), [Start(state.view.agent)]


def _began(state: State, turn: str) -> tuple[State, Outputs]:
    """A turn was recorded. Meanwhile the process may have exited, or the daemon may be about to."""
    state = replace(state, phase="prompting", turn=turn, tried=None)
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


def _finish(state: State, how: Ending, reason: str = "") -> tuple[State, Outputs]:
    """The turn is over here."""
    timer: Timer = "quiet" if state.prompt is None else "cancel"
    turn = str(state.turn)
    state, outputs = _dismiss(state)
    state = replace(state, phase="ready", turn=None, prompt=None)
    return state, [*outputs, ClearTimer(timer), Finish(turn, how, reason), SetTimer("idle")]


def _exited(state: State, reason: str) -> tuple[State, Outputs]:
    match state.phase:
        case "prompting" | "cancelling":
            state, outputs = _finish(state, "silent" if state.phase == "cancelling" else "exited", reason)
            state, more = _end(state, reason)
            return state, outputs + more
        case "absent" | "ending":
            return state, []
        case _:  # what is under way fails, or succeeds, in a moment
            return replace(state, dead=reason), []


def _give_up(state: State, reason: str) -> tuple[State, Outputs]:
    """The agent cannot be used: prompts for it wait until somebody has done something about it."""
    paused: Outputs = [Pause(reason)] if state.suits and state.view.next is not None else []
    state, ended = _end(state, reason)
    return state, paused + ended


def _end(state: State, reason: str) -> tuple[State, Outputs]:
    recorded: Outputs = [EndSession(reason)] if state.session else []
    return replace(state, phase="ending", session=False), [*recorded, ClearTimer("idle"), End()]


def _close(state: State) -> tuple[State, Outputs]:
    if state.phase not in ("prompting", "cancelling"):
        return state, []
    state, outputs = _dismiss(state)
    state, finished = _finish(state, "closing")
    return state, [*outputs, Stop(), *finished]
