"""Makes the commands of one thread from what a tool recorded."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from treadle.agents.mapper import NO_END, OUTSIDE
from treadle.agents.shapes import Json, digest, fitting
from treadle.domain import commands as c
from treadle.domain.ids import ActivityStatus, Role, Timestamp
from treadle.transfer.sources.cutter import Cutter
from treadle.transfer.sources.source import SourceReport, ToolSession

__all__ = ["NO_END", "Commands", "ThreadWriter"]

Commands = Iterator[c.Command]

SOMETIME = "1970-01-01T00:00:00.000Z"
UNTITLED = "Untitled"
MAX_WAITING = 100  # activities between two turns that are kept for the next


class ThreadWriter:
    """Makes the commands of one thread; ids are the tool's own, and a command's id is a digest of what it is for.

    So the same records always give the same commands, and one that was given before is answered and adds nothing. All
    content belongs to a turn: what comes outside one gets a turn without a prompt. Turns that a fork shares with its
    origin are left out. at: of a record, None if it has no time: it is then that of the record before. So a turn that
    ends because the next one begins ends when something was last done in it.
    """

    def __init__(self, session: ToolSession, report: SourceReport, full: bool, origin: c.Origin | None = None) -> None:
        """origin: without it, that of the session; `folder` and `branch` are taken when the thread is created."""
        self.session, self.report, self.cutter = session, report, Cutter(report, full)
        self.thread_id = session.thread_id
        self.origin = origin or session.origin()
        self.turn_id = ""
        self.title = ""
        self.folder, self.branch = session.folder, ""
        self._at = session.oldest
        self._is_created = False
        self._shared = session.fork_of.turn_id if session.fork_of else None
        self._last_turn: str | None = None
        self._turns: set[int] = set()
        self._messages: set[int] = set()
        self._activities: dict[int, int] = {}
        self._nameless: Counter[str] = Counter()
        self._waiting: list[tuple[str, str, str, Any, Timestamp | None]] = []

    @property
    def last_turn(self) -> str | None:
        """The turn that runs or ran last."""
        return self._last_turn

    def nameless(self, kind: str, value: Any) -> str:
        """An id for what the tool gave none: of its content, and how many times that was there before."""
        id = f"{kind}-{digest(value)}"
        self._nameless[id] += 1
        return id if self._nameless[id] == 1 else f"{id}-{self._nameless[id]}"

    def knows(self, turn_id: str) -> bool:
        """Whether there was a turn with this id."""
        return hash(fitting(turn_id)) in self._turns

    # Turns

    def start(self, id: str, prompt: str, at: Timestamp | None) -> Commands:
        """Start a turn, once. The caller has ended the one before."""
        id = fitting(id)
        if hash(id) in self._turns:
            self.report.skip("a record that was repeated")
            return
        self._turns.add(hash(id))
        if self._shared is not None and self._last_turn == self._shared:
            self._shared = None
        self._last_turn = self.turn_id = id
        prompt = self.cutter.text(prompt)
        yield from self._create(prompt, at)
        message_id = id if hash(id) not in self._messages else fitting(f"{id}:prompt")
        yield from self._emit(c.StartTurn, at, ("turn", id), id=id, message_id=message_id, prompt=prompt)
        if self.title == UNTITLED:
            yield from self.rename(prompt)
        waiting, self._waiting = self._waiting, []
        for kind, native, title, detail, when in waiting:
            yield from self.record(kind, native, title, detail, when, is_cut=True)

    def complete(self, stop_reason: str | None, usage: Json | None, at: Timestamp | None = None) -> Commands:
        """End the running turn normally, if there is one."""
        word = (stop_reason or "end_turn")[:128]
        yield from self._end(c.CompleteTurn, at, stop_reason=word, usage=self.cutter.detail(usage))

    def fail(
        self, error: str, kind: str | None = None, at: Timestamp | None = None, usage: Json | None = None
    ) -> Commands:
        """End the running turn with an error, if there is one."""
        yield from self._cost(usage, at)
        yield from self._end(c.FailTurn, at, error=self.cutter.text(error) or "failed", kind=kind and kind[:128])

    def interrupt(self, reason: str = NO_END, at: Timestamp | None = None, usage: Json | None = None) -> Commands:
        """Interrupt the running turn, if there is one."""
        yield from self._cost(usage, at)
        yield from self._end(c.InterruptTurn, at, reason=reason)

    def _cost(self, usage: Json | None, at: Timestamp | None) -> Commands:
        """What a turn cost that has no place for it: only a completed turn has."""
        if self.turn_id and usage:
            yield from self.record("usage", f"{self.turn_id}:usage", "Usage", usage, at)

    # What is in a turn

    def say(self, id: str, role: Role, text: str, at: Timestamp | None) -> Commands:
        """Add a message."""
        yield from self._turn(id, at)
        id = fitting(id)
        if role == "user":  # a prompt during the turn, which may be recorded once more
            if hash(id) in self._turns:
                self.report.skip("a record that was repeated")
                return
            self._turns.add(hash(id))
        elif hash(id) in self._turns:
            id = fitting(f"{id}:message")
        self._messages.add(hash(id))
        text = self.cutter.text(text)
        yield from self._emit(c.AddMessage, at, ("message", id), id=id, turn_id=self.turn_id, role=role, text=text)

    def record(
        self,
        kind: str,
        id: str,
        title: str,
        detail: Any,
        at: Timestamp | None,
        status: ActivityStatus = "completed",
        *,
        is_cut: bool = False,
    ) -> Commands:
        """Record an activity. Its id may come again with another status. is_cut: the detail was cut before."""
        yield from self._turn(id, at)
        id, kind = fitting(id), kind[:128] or "activity"
        place = hash((self.turn_id, kind))
        if self._activities.setdefault(hash(id), place) != place:  # another activity has the id
            id = fitting(f"{id}:{kind}:{self.turn_id}")
        title, detail = title[:1024], detail if is_cut else self.cutter.detail(detail)
        key = ("activity", id, kind, status)
        yield from self._emit(
            c.RecordActivity, at, key, id=id, turn_id=self.turn_id, kind=kind, title=title, status=status, detail=detail
        )

    def show(self, kind: str, id: str, title: str, detail: Any, at: Timestamp | None) -> Commands:
        """Record an activity that needs no turn of its own: between two turns, it waits for the next."""
        if self.turn_id:
            yield from self.record(kind, id, title, detail, at)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append((kind, id, title, self.cutter.detail(detail), at))
        else:
            self.report.skip("a record outside of turns")

    def unknown(self, kind: str, id: str, record: Json, at: Timestamp | None) -> Commands:
        """Record what this release does not know as an activity, and count it."""
        self.report.unknown[kind] += 1
        yield from self.show(f"{self.session.tool}.{kind}", id, kind, record, at)

    def ask(self, id: str, title: str, options: dict[str, str], chosen: str, at: Timestamp | None) -> Commands:
        """Add an approval with the option that was chosen. options: the kind of each, by name."""
        yield from self._turn(id, at)
        id = fitting(id)
        offered = {fitting(name): c.ApprovalOption(fitting(name), name, kind) for name, kind in options.items()}
        turn_id, title, outcome = self.turn_id, self.cutter.text(title), fitting(chosen)
        key = ("approval", id)
        yield from self._emit(
            c.RequestApproval, at, key, id=id, turn_id=turn_id, title=title, options=[*offered.values()]
        )
        yield from self._emit(c.ResolveApproval, at, (*key, "resolved"), id=id, outcome=outcome)

    def checkpoint(self, id: str, git_ref: str, message: str, at: Timestamp | None) -> Commands:
        """Record a state of the workspace that the tool kept."""
        yield from self._turn(id, at)
        id, turn_id = fitting(id), self.turn_id
        yield from self._emit(
            c.CreateCheckpoint, at, ("checkpoint", id), id=id, turn_id=turn_id, git_ref=git_ref[:1024], message=message
        )

    # The thread

    def finish(self, title: str = "") -> Commands:
        """The session is over, and its last turn has ended: what waits for a turn gets one. title: what it is called.

        Without any turn there is no thread.
        """
        if self._waiting and self._is_created:
            yield from self._turn(self._waiting[0][1], self._waiting[0][4])
            yield from self.complete("outside_turn", None)
        for _ in self._waiting:
            self.report.skip("a record outside of turns")
        yield from self.rename(title)
        if self._is_created and self.session.is_archived:
            yield from self._emit(c.ArchiveThread, None, ("archived",))

    def rename(self, title: str) -> Commands:
        """Give the thread a title that came after its first turn."""
        title = _title(title)
        if self._is_created and title and title != self.title:
            self.title = title
            yield from self._emit(c.RenameThread, None, ("title", title), title=title)

    def _create(self, prompt: str, at: Timestamp | None) -> Commands:
        if self._is_created or self._shared is not None:
            return
        self._is_created = True
        self.title = _title(self.title) or _title(prompt) or UNTITLED
        folder = self.folder[:4096] if self.folder and self.folder.startswith("/") else None
        origin = replace(self.origin, cwd=folder, branch=self.branch[:1024] or None)
        yield from self._emit(c.CreateThread, at, ("thread",), project_id="", title=self.title, origin=origin)

    def _turn(self, id: str, at: Timestamp | None) -> Commands:
        """Start a turn without a prompt if none is running."""
        if not self.turn_id:
            yield from self.start(f"{OUTSIDE}-{id}", "", at)
            if not self.turn_id:  # it was there before
                yield from self.start(self.nameless(OUTSIDE, id), "", at)

    def _end(self, command: type[c.Command], at: Timestamp | None, **fields: Any) -> Commands:
        if self.turn_id:
            yield from self._emit(command, at, ("end", self.turn_id), id=self.turn_id, **fields)
            self.turn_id = ""

    def _emit(self, command: type[c.Command], at: Timestamp | None, key: tuple[str, ...], **fields: Any) -> Commands:
        self._at = at or self._at or SOMETIME
        if self._shared is not None:
            return
        identity = "\0".join((self.thread_id, *key)).encode()
        command_id = f"{self.session.tool}-{hashlib.sha256(identity).hexdigest()[:32]}"
        yield command(command_id=command_id, at=self._at, thread_id=self.thread_id, **fields)  # type: ignore[call-arg]


def _title(text: str) -> str:
    """The first line with text in it, shortened."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:1024]
