"""Formats events as readable lines: one per event, with streamed text in whole lines instead of deltas."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

import treadle.cli.output as output
from treadle.cli.details import said
from treadle.cli.output import Paint, one_line
from treadle.cli.transcript import checkpoint, ended, kept, origin
from treadle.domain import agent_events as a
from treadle.domain import events as e

LONGEST = 400  # code points of streamed text that are held back until its line ends
NAME = 24  # columns of a thread's title
NAMES = 5_000  # that are kept in memory
ROLES = {"user": "bold cyan", "assistant": "", "system": "dim"}

Lookup = Callable[[str, str, str], str]
"""Returns a name by kind, thread and id: the title of a `thread`, a message's `role`, the name of an `option`, the
`kind`, `title` or `status` of an activity."""


class Open(NamedTuple):
    """Streamed text that is not printed yet. at, actor: of its first event."""

    at: str
    actor: str | None
    text: str


class EventFormatter:
    """Formats events, in log order, as lines. columns: the maximum width; None for no limit.

    Streamed text is held back until its line ends, another event of its thread follows, or `rest` is called.
    """

    def __init__(self, look_up: Lookup, paint: Paint, columns: int | None = None) -> None:
        self._look_up = look_up
        self._paint = paint
        self._columns = columns
        self._names: dict[tuple[str, str, str], str] = {}
        self._open: dict[tuple[str, str], Open] = {}

    def lines(self, stored: e.StoredEvent) -> Iterator[str]:
        """The lines that this event completes."""
        event, actor = stored.event, stored.actor
        thread_id = getattr(event, "thread_id", None)
        match event:
            case e.MessageAppended():
                yield from self._stream(event.at, actor, event.thread_id, event.id, event.text)
            case e.MessageAdded(streaming=True):
                yield from self.rest(thread_id)
                self._name("role", event.thread_id, event.id, event.role)
                yield from self._stream(event.at, actor, event.thread_id, event.id, _text_of(event))
            case e.MessageCompleted():
                yield from self.rest(thread_id)
            case e.ActivityRecorded() | e.ActivityUpdated():
                # Agents record an activity repeatedly while its output grows: print it only if the line changed.
                key, text = ("activity", event.thread_id, event.id), self._text(event)
                if self._names.get(key) != text:
                    yield from self.rest(thread_id)
                    yield self._line(event.at, actor, thread_id, text)
                self._names[key] = text
            case _:
                if thread_id is not None:
                    yield from self.rest(thread_id)
                yield self._line(event.at, actor, thread_id, self._text(event))

    def rest(self, thread_id: str | None = None) -> Iterator[str]:
        """The streamed text that is still held back, of one thread or of all."""
        for key in [key for key in self._open if thread_id in (None, key[0])]:
            at, actor, text = self._open.pop(key)
            if text.strip():
                yield self._said(at, actor, *key, text)

    def _stream(self, at: str, actor: str | None, thread_id: str, id: str, text: str) -> Iterator[str]:
        begun, by, before = self._open.get((thread_id, id), Open(at, actor, ""))
        *whole, text = (before + text).split("\n")
        for line in whole:
            if line.strip():
                yield self._said(begun, by, thread_id, id, line)
            begun, by = at, actor
        while len(text) > LONGEST:
            end = max(text.rfind(". ", 0, LONGEST), 0) or max(text.rfind(" ", 0, LONGEST), 0) or LONGEST - 1
            yield self._said(begun, by, thread_id, id, text[: end + 1])
            begun, by, text = at, actor, text[end + 1 :]
        self._open[thread_id, id] = Open(begun, by, text) if text else Open(at, actor, text)

    def _said(self, at: str, actor: str | None, thread_id: str, id: str, text: str) -> str:
        return self._line(at, actor, thread_id, self._message(self._name("role", thread_id, id), text), whole=True)

    def _message(self, role: str, text: str) -> str:
        return f"{self._paint('bold', role)}: {self._paint(ROLES.get(role, ''), one_line(text))}"

    def _line(self, at: str, actor: str | None, thread_id: str | None, text: str, *, whole: bool = False) -> str:
        parts = [self._paint("dim", f"{output.local(at):%H:%M:%S}")]
        if thread_id is not None:
            name = output.fit(one_line(self._name("thread", thread_id)), NAME)
            parts.append(self._paint("blue", output.pad(name, NAME)))
        if actor is not None:
            parts.append(self._paint("magenta", one_line(actor)))
        line = "  ".join([*parts, text])
        return line if whole or self._columns is None else output.cut(line, self._columns)

    def _text(self, event: e.AnyEvent) -> str:
        """What happened, in a few words."""
        paint = self._paint
        match event:
            case e.MessageAdded():
                return self._message(event.role, _text_of(event))
            case e.TurnStarted():
                return paint("dim", "turn started")
            case e.TurnCompleted():
                return paint("green", f"turn {ended('completed', event.stop_reason)}")
            case e.TurnFailed():
                return paint("bold red", f"turn {ended('failed', event.error, kind=event.kind)}")
            case e.TurnCancelling():
                return paint("yellow", f"turn {ended('cancelling', None, by=event.by)}")
            case e.TurnInterrupted():
                how = ended("interrupted", event.reason, by=event.by, confirmed=event.confirmed)
                return paint("red", f"turn {how}")
            case e.ActivityRecorded() | e.ActivityUpdated():
                thread_id, id = event.thread_id, event.id
                kind = one_line(self._name("kind", thread_id, id, event.kind))
                title = one_line(self._name("title", thread_id, id, event.title))
                status = self._name("status", thread_id, id, event.status)
                mark = paint("yellow", "⚙") if kind == "tool_call" else paint("dim", "·")
                what = title if kind == "tool_call" else f"{kind}: {title}"
                return f"{mark} {paint(output.STATUS_STYLES.get(status, 'dim'), status)}  {what}"
            case e.ApprovalRequested():
                for option in event.options:
                    self._name("option", event.thread_id, f"{event.id} {option.id}", option.name)
                names = " / ".join(one_line(option.name) for option in event.options)
                return f"{paint('bold magenta', '? approval')}  {one_line(event.title)}  {paint('dim', f'[{names}]')}"
            case e.ApprovalResolved(outcome=None):
                return paint("red", "✗ approval cancelled")
            case e.ApprovalResolved():
                name = self._name("option", event.thread_id, f"{event.id} {event.outcome}")
                return paint("green", f"✓ {one_line(name)}")
            case e.CheckpointCreated():
                where = paint("dim", kept(event.git_ref, event.commit))
                return f"{paint('cyan', f'◆ {checkpoint(event.phase)}')}  {one_line(event.message)}  {where}"
            case e.CheckpointFailed():
                return paint("red", f"◆ checkpoint failed: {one_line(event.reason)}")
            case e.CheckpointRestored():
                files = len(event.written) + len(event.removed)
                counted = f": {output.count(files, 'file')}" if files else ""
                return paint("cyan", f"◆ checkpoint {event.id} restored{counted}")
            case e.CheckpointPruned():
                return paint("dim", f"◆ checkpoint {event.id} pruned")
            case e.WorktreeCreated():
                return paint("cyan", f"◆ worktree made at {event.base[:10]}  {one_line(event.path)}")
            case e.WorktreeRemoved():
                return paint("cyan", "◆ worktree removed")
            case e.ThreadCreated():
                given = None if event.origin is None else msgspec.to_builtins(event.origin)
                return paint("dim", f"thread created {origin(given)}".rstrip())
            case e.ThreadRenamed():
                self._name("thread", event.thread_id, "", event.title)
                return paint("dim", "thread renamed")
            case e.EventsRedacted():
                return paint("dim", f"redacted: {output.count(len(event.events), 'event')}")
            case e.ThreadArchived() | e.ThreadUnarchived() | e.ThreadDeleted() | e.ThreadErased():
                return paint("dim", f"thread {type(event).__name__.removeprefix('Thread').lower()}")
            case e.ProjectCreated():
                place = str(event.remote) if event.path is None else event.path
                return paint("dim", f"project created: {one_line(event.name)} ({one_line(place)})")
            case e.ProjectUpdated():
                return paint(
                    "dim", f"project updated: {one_line(event.name or event.path or event.remote or event.id)}"
                )
            case e.ProjectDeleted():
                return paint("dim", f"project deleted: {event.id}")
            case e.SettingChanged():
                value = "removed" if event.value is None else f"= {msgspec.json.encode(event.value).decode()}"
                return paint("dim", f"setting {one_line(event.key)} {one_line(value)}")
        return self._text_of_agent(event)

    def _text_of_agent(self, event: e.Event) -> str:
        """The same for the events of running agents."""
        paint = self._paint
        match event:
            case a.AgentAssigned():
                return paint("dim", f"agent {one_line(event.agent)}")
            case a.ThreadOptionSet():
                value = event.value if isinstance(event.value, str) else msgspec.json.encode(event.value).decode()
                return paint("dim", f"option {one_line(event.id)} = {one_line(value)}")
            case a.PromptQueued() | a.PromptEdited():
                mark = paint("cyan", "… queued" if isinstance(event, a.PromptQueued) else "… edited")
                when = "" if event.when == "idle" else paint("dim", f" ({event.when})")
                return f"{mark}{when}  {one_line(_text_of(event))}"
            case a.PromptMoved() | a.PromptRemoved() | a.PromptSent():
                return paint("dim", f"prompt {type(event).__name__.removeprefix('Prompt').lower()}")
            case a.QueuePaused():
                return paint("yellow", f"queue paused: {one_line(event.reason)}")
            case a.QueueResumed():
                return paint("dim", "queue resumed")
            case a.SessionOpened():
                release = "" if event.release is None else f" {one_line(event.release)}"
                return paint("dim", f"session opened: {one_line(event.agent)}{release} ({event.how})")
            case a.SessionChanged():
                return paint("dim", "session options changed")
            case a.SessionEnded():
                status = "" if event.exit_status is None else f" (exit status {event.exit_status})"
                return paint("dim", f"session ended: {one_line(event.reason)}{status}")
            case a.ContextLost():
                return paint("yellow", f"context lost: {one_line(event.reason)}")
            case a.AuthRequired():
                agent = one_line(event.agent)
                told = f"login required by {agent}: {one_line(event.reason)}; `treadle agents login {agent}` logs in"
                return paint("yellow", told)
            case a.UsageReported():
                return paint("dim", f"usage: {_usage(event)}")
            case a.BudgetReached():
                return paint(
                    "red", f"budget of the {event.scope} reached: {event.spent:g} of {event.amount:g} {event.limit}"
                )
            case a.RuleAdded():
                return paint("dim", f"rule added: {event.decision} {one_line(matched(event.match))}")
            case a.RuleRemoved():
                return paint("dim", f"rule removed: {event.id}")
        raise AssertionError(event)

    def _name(self, kind: str, thread_id: str, id: str = "", known: str | None = None) -> str:
        """A name: given by the event, remembered from an earlier one, or looked up."""
        key = (kind, thread_id, id)
        if len(self._names) > NAMES:
            self._names.clear()
        if known is not None:
            self._names[key] = known
        elif key not in self._names:
            self._names[key] = self._look_up(kind, thread_id, id)
        return self._names[key]


def _text_of(event: e.MessageAdded | a.PromptQueued | a.PromptEdited) -> str:
    return "\n".join(block.text for block in said(event.text, event.content))


def _usage(event: a.UsageReported) -> str:
    context = "" if event.size is None else f" of {event.size:,}"
    found = [
        f"{event.tokens:,} tokens" if event.tokens is not None else "",
        f"{event.cost:.4g} {event.currency or ''}".rstrip() if event.cost is not None else "",
        f"context {event.used:,}{context}" if event.used is not None else "",
    ]
    return ", ".join(filter(None, found)) or "unknown"


def matched(match: a.GivenMatch) -> str:
    """What a rule is about, as words."""
    return " ".join(filter(None, [match.kind, *(match.command or ()), match.path]))
