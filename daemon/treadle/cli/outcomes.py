"""How a prompt ended, as the events of its thread tell it: a sentence and an exit status. Pure."""

from typing import Any, Final, NamedTuple

from treadle.cli.output import one_line
from treadle.domain import agent_events as a
from treadle.domain import events as e

COMPLETED: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 3
LIMITED: Final = 4
NEEDS_LOGIN: Final = 5

REASONS = {
    "refusal": "the agent refused",
    "max_tokens": "the agent reached its limit of tokens",
    "max_turn_requests": "the agent reached its limit of requests in a turn",
}


class Outcome(NamedTuple):
    """status: of the command. text: what to say on stderr; nothing if the turn was completed."""

    status: int
    text: str = ""


class Course:
    """The course of one prompt. turn: that it was sent in, None before. outcome: None until it has ended."""

    def __init__(self, prompt_id: str) -> None:
        self.prompt_id = prompt_id
        self.turn: str | None = None
        self.outcome: Outcome | None = None
        self._queued = False

    def hear(self, event: e.AnyEvent) -> None:
        """An event of the thread, in order."""
        if isinstance(event, a.PromptQueued) and event.id == self.prompt_id:
            self._queued = True
        elif self.outcome is None and self._queued:
            self.outcome = self._of_queue(event) if self.turn is None else self._of_turn(event)

    def _of_queue(self, event: e.AnyEvent) -> Outcome | None:
        match event:
            case a.PromptSent(id=self.prompt_id):
                self.turn = event.turn_id
            case a.AuthRequired():
                return Outcome(NEEDS_LOGIN, login(event.agent, event.reason, event.methods))
            case a.QueuePaused():
                return Outcome(FAILED, f"the prompt was not sent: {one_line(event.reason)}")
            case a.PromptRemoved(id=self.prompt_id):
                return Outcome(INTERRUPTED, "the prompt was removed from the queue")
            case e.ThreadDeleted():
                return Outcome(INTERRUPTED, "the thread was deleted")
            case _:
                pass
        return None

    def _of_turn(self, event: e.AnyEvent) -> Outcome | None:
        match event:
            case e.TurnCompleted(id=self.turn):
                return _completed(event.stop_reason)
            case e.TurnFailed(id=self.turn, kind="auth_required"):
                return None  # AuthRequired follows, with the ways to log in
            case a.AuthRequired():
                return Outcome(NEEDS_LOGIN, login(event.agent, event.reason, event.methods))
            case e.TurnFailed(id=self.turn):
                return Outcome(FAILED, f"the turn failed: {one_line(event.error)}")
            case e.TurnInterrupted(id=self.turn):
                status = LIMITED if event.by == "budget" else INTERRUPTED
                unsure = "" if event.confirmed is not False else "; the agent did not confirm that it stopped"
                return Outcome(status, f"the turn was interrupted: {one_line(event.reason)}{unsure}")
            case e.ThreadDeleted():
                return Outcome(INTERRUPTED, "the thread was deleted")
            case _:
                return None


def _completed(reason: str) -> Outcome:
    if reason == "end_turn":
        return Outcome(COMPLETED)
    if reason == "cancelled":
        return Outcome(INTERRUPTED, "the turn was cancelled")
    return Outcome(LIMITED, REASONS.get(reason, f"the turn ended: {one_line(reason)}"))


def login(agent: str, reason: str, methods: list[Any]) -> str:
    """What an agent says of the login that it needs, and what to do."""
    lines = [f"agent {agent} needs a login: {one_line(reason)}"]
    for method in methods:
        if isinstance(method, dict):
            name = one_line(str(method.get("name") or method.get("id") or "unnamed"))
            about = method.get("description")
            lines.append(f"  {name}: {one_line(about)}" if isinstance(about, str) and about else f"  {name}")
    lines.append(
        f"log in with `treadle agents login {agent}`, or set its key in `env` of agents.json; then run this again"
    )
    return "\n".join(lines)
