"""Prints a turn while it runs: what the agent says to stdout, and everything else to stderr."""

import sys
from typing import Any, NamedTuple

import treadle.cli.output as output
from treadle.cli.details import said
from treadle.cli.output import one_line
from treadle.domain import agent_events as a
from treadle.domain import events as e
from treadle.domain.detail import changed


class _Activity(NamedTuple):
    kind: str
    title: str
    status: str
    detail: Any


class TurnPrinter:
    """prints_answer: whether stdout gets the text; if not, something else is printed there."""

    def __init__(self, *, prints_answer: bool) -> None:
        self._prints_answer = prints_answer
        self._paint = output.Paint(to=sys.stderr)
        self._messages: set[str] = set()
        self._activities: dict[str, _Activity] = {}
        self._approvals: dict[str, e.ApprovalRequested] = {}
        self._has_printed = False  # text, in this turn
        self._is_open = False  # the last line on stdout has no end yet
        self._begins = False  # the next text is that of a new message

    def hear(self, event: e.AnyEvent, turn: str | None) -> None:
        """Print what the event adds. turn: the one to show; None: it has not begun."""
        match event:
            case a.ContextLost():
                self.say("yellow", f"the agent knows nothing of what was said before: {one_line(event.reason)}")
            case e.MessageAdded(role="assistant") if event.turn_id == turn:
                self._messages.add(event.id)
                self._begins = True
                self._print("\n".join(block.text for block in said(event.text, event.content)))
                if not event.streaming:
                    self.end_line()
            case e.MessageAppended() if event.id in self._messages:
                self._print(event.text)
            case e.MessageCompleted() if event.id in self._messages:
                self.end_line()
            case e.ActivityRecorded() if event.turn_id == turn:
                self._note(event.id, _Activity(event.kind, event.title, event.status, event.detail))
            case e.ActivityUpdated() if event.id in self._activities:
                kind, title, status, detail = self._activities[event.id]
                detail = changed(detail, event.detail, event.append)
                self._note(
                    event.id, _Activity(event.kind or kind, event.title or title, event.status or status, detail)
                )
            case e.ApprovalRequested() if event.turn_id == turn:
                self._approvals[event.id] = event
            case e.ApprovalResolved() if event.id in self._approvals:
                self._tell_answer(self._approvals.pop(event.id), event)
            case a.BudgetReached() if event.turn_id == turn:
                limit = f"{event.amount:g} {event.limit}"
                self.say("red", f"the budget of the {event.scope} is reached: {event.spent:g} of {limit}")
            case _:
                pass

    def detail_of(self, activity_id: str | None) -> dict[str, Any]:
        """The detail of an activity of the turn; empty if there is no such one."""
        found = self._activities.get(activity_id or "")
        return found.detail if found is not None and isinstance(found.detail, dict) else {}

    def say(self, style: str, text: str) -> None:
        """Print lines on stderr. They may contain only text that is safe on a terminal."""
        if self._is_open and output.is_terminal():
            self.end_line()
        sys.stdout.flush()
        print(self._paint(style, text), file=sys.stderr, flush=True)

    def end_line(self) -> None:
        """End the line on stdout, if there is one without an end."""
        if self._is_open:
            sys.stdout.write("\n")
            self._is_open = False

    def _print(self, text: str) -> None:
        if not text or not self._prints_answer:
            return
        if self._begins:
            self.end_line()
            if self._has_printed:
                sys.stdout.write("\n")
        self._begins, self._has_printed = False, True
        sys.stdout.write(output.clean(text) if output.is_terminal() else text)
        self._is_open = not text.endswith("\n")

    def _note(self, id: str, activity: _Activity) -> None:
        before = self._activities.get(id)
        self._activities[id] = activity
        is_over = activity.status in ("completed", "failed")
        if activity.kind == "tool_call" and is_over and (before is None or before.status != activity.status):
            self.say("dim", f"⚙ {activity.status}  {one_line(activity.title)}")

    def _tell_answer(self, asked: e.ApprovalRequested, answer: e.ApprovalResolved) -> None:
        name = next((option.name for option in asked.options if option.id == answer.outcome), "cancelled")
        by = "" if answer.by is None else f" (by {one_line(answer.by)})"
        self.say("dim", f"? {one_line(asked.title)}: {one_line(name)}{by}")
