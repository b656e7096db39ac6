"""Redacts commands before they are decided. The end of a text that streams may be the beginning of a secret: it is held
back until more of the text shows whether it is one, or the text ends. No I/O, no clock."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.detail import PLAIN_NAME
from treadle.domain.ids import UNFINISHED
from treadle.domain.redacted import changed_texts, redacted
from treadle.domain.redaction import CONTEXT, KEY, MAX_UNFINISHED, Redactor, redactor_of
from treadle.domain.state import Key, State

SETTING: Final[Key] = ("setting", KEY)
HOLD: Final = 2.0  # seconds that the end of a text is held back at most
MAX_TEXTS: Final = (
    1_000  # streaming texts that are known; of further ones, those that have waited longest are forgotten
)


class HeldText(Struct, frozen=True):
    """Of a message that streams: the last characters that are stored, and what is held back of its end.

    Of an activity: the members of its detail whose end is held back, each as a whole.
    """

    stored: str = ""
    rest: str = ""
    members: dict[str, Any] = {}

    @property
    def holds(self) -> bool:
        """Whether anything is held back."""
        return bool(self.rest or self.members)


_NOTHING: Final = HeldText()
_ENDS: Final = {e.MessageCompleted, e.ActivityUpdated, e.ActivityRecorded}
"""The events that may end a text of which something is held back."""


class Redacting:
    """Redacts the commands of one group. held: what is held back, as of the last append; `changes` are to follow it.

    A command changes nothing until `accept`: it may be rejected, and the group may have to be decided again.
    """

    def __init__(self, state: State, held: dict[Key, HeldText]) -> None:
        self._state, self._held = state, held
        self.changes: dict[Key, HeldText] = {}
        self._pending: dict[Key, HeldText] = {}

    def accept(self) -> None:
        """The last commands are accepted."""
        if self._pending:
            self.changes |= self._pending
            self._pending = {}

    def reject(self) -> None:
        """The last commands are rejected."""
        self._pending = {}

    def command(self, command: c.Command, *, releases: bool = False, holds: bool = True) -> c.Command:
        """The command as it is decided. releases: it has no text, but that of it which is held back.

        holds: whether the end of its text may be held back. Not if a retry of it is to be recognised: then all of it
        has to be stored together with its id.
        """
        redactor = redactor_of(self._state.get(SETTING))
        match command:
            case c.AppendMessage():
                return self._more(command, redactor, releases, holds)
            case c.AddMessage(streaming=True, content=None, text=text) if text and holds:
                ready = self._split(("message", command.thread_id, str(command.id)), "", text, redactor)
                return command if ready == text else msgspec.structs.replace(command, text=ready)
            case c.RecordActivity():
                return self._activity(command, redactor, holds)
            case c.UpdateActivity():
                if releases:
                    members = self._released(("activity", command.thread_id, command.id), redactor)
                    return msgspec.structs.replace(command, detail=members or None)
                return self._activity(command, redactor, holds)
        return command if redactor is None else redacted(command, redactor)

    def events(self, events: list[e.Event]) -> Iterable[e.Event]:
        """The events of a command. Where a text ends, what was held back of it comes first."""
        return events if _ENDS.isdisjoint(map(type, events)) else self._with_rests(events)

    def _with_rests(self, events: list[e.Event]) -> Iterator[e.Event]:
        for event in events:
            if isinstance(event, e.MessageCompleted):
                key = ("message", event.thread_id, event.id)
                if rest := self._of(key).rest:
                    redactor = redactor_of(self._state.get(SETTING))
                    text = rest if redactor is None else _whole(self._of(key), redactor)
                    yield e.MessageAppended(id=event.id, thread_id=event.thread_id, text=text, at=event.at)
                self._forget(key)
            elif isinstance(event, e.ActivityUpdated | e.ActivityRecorded) and event.status not in (None, *UNFINISHED):
                members = self._released(("activity", event.thread_id, event.id), redactor_of(self._state.get(SETTING)))
                if members:
                    event = msgspec.structs.replace(event, detail={**(event.detail or {}), **members})
            yield event

    # Messages

    def _more(
        self, command: c.AppendMessage, redactor: Redactor | None, releases: bool, holds: bool
    ) -> c.AppendMessage:
        key = ("message", command.thread_id, command.id)
        held = self._of(key)
        if releases or not holds:
            held = HeldText(held.stored, held.rest + command.text)
            text = held.rest if redactor is None else _whole(held, redactor)
            self._put(key, HeldText((held.stored + held.rest)[-CONTEXT:]))
        else:
            text = self._split(key, held.stored, held.rest + command.text, redactor)
        return command if text == command.text else msgspec.structs.replace(command, text=text)

    def _split(self, key: Key, stored: str, text: str, redactor: Redactor | None) -> str:
        """What is stored of a text that goes on; the rest is held back. stored: what was stored before it."""
        if redactor is None:
            self._forget(key)
            return text
        whole = stored + text
        ready, rest = redactor.split(whole, len(stored))
        if len(rest) > MAX_UNFINISHED:
            ready, rest = redactor.finish(whole, len(stored)), ""
        self._put(key, HeldText(whole[: len(whole) - len(rest)][-CONTEXT:], rest))
        return ready

    # Activities

    def _activity(
        self, command: c.RecordActivity | c.UpdateActivity, redactor: Redactor | None, holds: bool
    ) -> c.Command:
        """An activity that is told again as it grows: each member of its detail comes as a whole."""
        key = ("activity", command.thread_id, str(command.id))
        is_new = isinstance(command, c.RecordActivity)
        held = {} if is_new else {k: v for k, v in self._of(key).members.items() if k not in (command.detail or {})}
        result: c.Command = command if redactor is None else redacted(command, redactor)
        if (
            holds
            and redactor is not None
            and command.status in (None, *UNFINISHED)
            and isinstance(command.detail, dict)
        ):
            begun = {name: changed_texts(value, redactor.begun) for name, value in command.detail.items()}
            whole = changed_texts(command.detail, redactor.text)
            cut = {name for name in begun if begun[name] != whole[name] and PLAIN_NAME.fullmatch(name)}
            if cut:
                held |= {name: command.detail[name] for name in cut}
                detail = {name: begun[name] if name in cut else value for name, value in whole.items()}
                result = msgspec.structs.replace(result, detail=detail)
        self._put(key, HeldText(members=held)) if held else self._forget(key)
        return result

    def _released(self, key: Key, redactor: Redactor | None) -> dict[str, Any]:
        """What is held back of an activity, which is not held back any more."""
        members = self._of(key).members
        self._forget(key)
        released: dict[str, Any] = members if redactor is None else changed_texts(members, redactor.text)
        return released

    def _of(self, key: Key) -> HeldText:
        return self._pending.get(key) or self.changes.get(key) or self._held.get(key, _NOTHING)

    def _put(self, key: Key, held: HeldText) -> None:
        self._pending[key] = held

    def _forget(self, key: Key) -> None:
        if self._of(key) is not _NOTHING:
            self._pending[key] = _NOTHING


def keep(held: dict[Key, HeldText], changes: dict[Key, HeldText]) -> None:
    """Apply the changes of a group that is appended."""
    for key, value in changes.items():
        held.pop(key, None)
        if value is not _NOTHING:
            held[key] = value
    while len(held) > MAX_TEXTS and not held[oldest := next(iter(held))].holds:
        del held[oldest]


def release(key: Key) -> c.Command:
    """The command that stores what is held back of a text."""
    entity, thread_id, id = key
    if entity == "message":
        return c.AppendMessage(thread_id=thread_id, id=id, text="")
    return c.UpdateActivity(thread_id=thread_id, id=id)


def _whole(held: HeldText, redactor: Redactor) -> str:
    """The end of a text that is over, without secrets."""
    return redactor.finish(held.stored + held.rest, len(held.stored))
