"""What the state machine of a runner takes and gives: views of the log and inputs; outputs, which the runner does."""

from typing import Literal

from msgspec import Struct

from treadle.domain.ids import How

Options = tuple[tuple[str, str | bool], ...]
Timer = Literal["cancel", "idle", "quiet"]
Ending = Literal["answered", "quiet", "exited", "silent", "closing"]


class View(Struct, frozen=True):
    """What the log says of a thread. sequence: of the log, when it was read.

    open: the thread takes prompts. claimed: this daemon is the one to run its agent. next: the prompt to send when no
    turn runs. steer: the prompt to send into the running turn. turn: the id of the running turn, of any daemon.
    pending: the approvals without an answer. removals: how often a worktree of the thread was removed.
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
    removals: int = 0


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


class SessionReady(Struct, frozen=True):
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


class NotBegun(Struct, frozen=True):
    """The turn was not recorded, because the log says something else by now. view: what."""

    view: View


class Recorded(Struct, frozen=True):
    """A commit has finished. sequence: of the log then, also if it was refused: an older view does not show why."""

    sequence: int


class PromptAnswered(Struct, frozen=True):
    """The agent has ended its work on the prompt."""


class Steered(Struct, frozen=True):
    """injected: the agent took the prompt into the turn, and that is recorded. Else it stays in the queue.

    Comes at the latest a moment after PromptAnswered, also if the agent gives no answer.
    """

    sequence: int
    injected: bool


class Spoke(Struct, frozen=True):
    """The agent shows something that belongs in a turn. If no turn begins for it, it is shown in the next one."""


class ApprovalAsked(Struct, frozen=True):
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
    | SessionReady
    | OpenFailed
    | Applied
    | Began
    | NotBegun
    | Recorded
    | PromptAnswered
    | Steered
    | Spoke
    | ApprovalAsked
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


class OpenWith(Struct, frozen=True):
    """Open a session and record it; answered by SessionReady or OpenFailed. lost: why an earlier way failed."""

    how: How
    options: Options
    lost: str | None = None


class Apply(Struct, frozen=True):
    """Give the session these options; answered by Applied."""

    options: Options


class Begin(Struct, frozen=True):
    """Record a turn for the prompt, or for what the agent does by itself; answered by Began or NotBegun."""

    prompt: str | None


class Send(Struct, frozen=True):
    """Send the prompt to the agent; answered by PromptAnswered, or by Exited."""

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
    closing: the daemon is about to exit. NotBegun if the turn has ended in the log.
    """

    turn: str
    how: Ending
    reason: str = ""


class Pause(Struct, frozen=True):
    """Record that the queue is paused."""

    reason: str


class CloseSession(Struct, frozen=True):
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
    | OpenWith
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
    | CloseSession
    | End
    | SetTimer
    | ClearTimer
)

RECORDS = (AskToStop, Withdraw, Finish, Pause, CloseSession)
"""What is answered by Recorded."""
