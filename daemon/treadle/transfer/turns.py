"""The turns of an import: what of a recorded turn the log does not have yet."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from treadle.agents.mapper import NO_END, OUTSIDE
from treadle.contract.results import EntityName
from treadle.core.recovery import RUNNER_ENDED, RUNNER_GONE
from treadle.domain import commands as c
from treadle.domain.detail import changed, json_text
from treadle.domain.errors import NotFound
from treadle.domain.ids import UNFINISHED
from treadle.domain.redacted import redacted
from treadle.domain.redaction import KEY, redactor_of
from treadle.store.ports import Reads

CONNECTION_ENDED = "the agent or its editor has ended"
WITHOUT_END = frozenset({NO_END, CONNECTION_ENDED, RUNNER_GONE, RUNNER_ENDED})
"""Why turns are interrupted whose end may still be found."""
Items = dict[tuple[str, str], Any]
"""Messages, activities and approvals by kind and id."""


def is_end(command: c.Command) -> bool:
    """Whether the command ends a turn."""
    return isinstance(command, c.CompleteTurn | c.FailTurn | c.InterruptTurn)


def add(commands: list[Any], command: Any) -> None:
    """Add a command to those of its turn. It replaces an update of the same activity that changed only the detail."""
    last = commands[-1] if commands else None
    if (
        isinstance(last, c.UpdateActivity)
        and isinstance(command, c.UpdateActivity)
        and (last.id, last.title, last.status) == (command.id, None, None)
    ):
        command = replace(command, detail={**(last.detail or {}), **(command.detail or {})})
        commands.pop()
    commands.append(command)


def joined(commands: list[Any]) -> list[Any]:
    """The commands, with texts that are appended to a message one after the other as one, as a daemon does."""
    result: list[Any] = []
    texts: list[str] = []
    for command in commands:
        if isinstance(command, c.AppendMessage) and result and _key(result[-1]) == _key(command):
            texts.append(command.text)
            continue
        if texts:
            result[-1] = replace(result[-1], text=result[-1].text + "".join(texts))
            texts = []
        result.append(command)
    return result


def missing(reads: Reads, commands: list[Any]) -> list[Any]:
    """The commands for what the log does not have of a turn; an empty list if it has all.

    A turn that the log interrupted for want of an end is continued by another one.
    """
    start, end = commands[0], commands[-1]
    last = known_turn(reads, start)
    if last is None:
        return _with_free_ids(reads, commands)
    number, turn_id = 2, f"{start.id}:2"
    while (part := _read(reads, "turn", start.thread_id, turn_id)) is not None:
        last, number, turn_id = part, number + 1, f"{start.id}:{number + 1}"
    if not is_outside(start.id) and last["reason"] not in WITHOUT_END:
        return []
    rest = [replace(item, turn_id=turn_id) for item in _rest(reads, _as_stored(reads, _items(commands)), number)]
    if not rest and (is_outside(start.id) or getattr(end, "reason", None) in WITHOUT_END):
        return []
    begins = (rest[0] if rest else end).at
    started = c.StartTurn(thread_id=start.thread_id, id=turn_id, message_id=f"{start.message_id}:{number}", at=begins)
    asked = {item.id for item in rest if isinstance(item, c.RequestApproval)}
    resolved = [r for r in commands if isinstance(r, c.ResolveApproval) and r.id in asked]
    return [started, *rest, *resolved, replace(end, id=turn_id)]


def known_turn(reads: Reads, start: c.StartTurn) -> dict[str, Any] | None:
    """The turn as the log has it, or None."""
    return _read(reads, "turn", start.thread_id, str(start.id))


def is_outside(turn_id: str) -> bool:
    """Whether it is the turn of messages that no prompt asked for, which may also be in a turn with a prompt."""
    return turn_id.startswith(f"{OUTSIDE}-")


def _with_free_ids(reads: Reads, commands: list[Any]) -> list[Any]:
    """The commands of a new turn. What another turn of the thread has under the same id is either the same, if one of
    the two turns is an outside one, or it gets another id here."""
    start = commands[0]
    items = _items(commands)
    held: dict[tuple[str, str], str] = {}
    kinds: tuple[EntityName, ...] = ("message", "activity", "approval")
    for kind in kinds:
        ids = [id for of, id in items if of == kind]
        for id, value in reads.entities(kind, start.thread_id, ids).items():
            held[(kind, id)] = msgspec.json.decode(value)["turnId"]
    same = {key for key, turn_id in held.items() if is_outside(start.id) or is_outside(turn_id)}
    if same and same == items.keys():
        return []
    kept = [command for command in commands if _key(command) not in same]
    return [replace(k, id=f"{k.id[:64]}:{start.id}") if _key(k) in held else k for k in kept]


def _key(command: Any) -> tuple[str, str] | None:
    match command:
        case c.AddMessage() | c.AppendMessage() | c.CompleteMessage():
            return "message", str(command.id)
        case c.RecordActivity() | c.UpdateActivity():
            return "activity", str(command.id)
        case c.RequestApproval() | c.ResolveApproval():
            return "approval", str(command.id)
    return None


def _items(commands: list[Any]) -> Items:
    """The items of a turn, each as the one command that makes it as it is at the end."""
    items: Items = {}
    for command in commands:
        key = _key(command)
        match command:
            case c.AddMessage():
                items[key] = replace(command, streaming=False)  # type: ignore[index]
            case c.RecordActivity() | c.RequestApproval():
                items[key] = command  # type: ignore[index]
            case c.AppendMessage():
                items[key] = replace(items[key], text=items[key].text + command.text)  # type: ignore[index]
            case c.UpdateActivity():
                before = items[key]  # type: ignore[index]
                items[key] = replace(  # type: ignore[index]
                    before,
                    title=before.title if command.title is None else command.title,
                    status=command.status or before.status,
                    detail=changed(before.detail, command.detail or {}, {}),
                    at=command.at,
                )
    return items


def _as_stored(reads: Reads, items: Items) -> Items:
    """The items as the engine redacts them, so that they can be compared with what the log has."""
    setting = ("setting", KEY)
    redactor = redactor_of(reads.look_up([setting])[setting])
    return items if redactor is None else {key: redacted(item, redactor) for key, item in items.items()}


def _rest(reads: Reads, items: Items, number: int) -> Iterator[Any]:
    """What the log does not have of these items, with ids that no earlier part of the turn has."""
    for (kind, id), item in items.items():
        names = [id, *(f"{id}:{part}" for part in range(2, number))]
        known = [found for name in names if (found := _read(reads, kind, item.thread_id, name)) is not None]
        if not known:
            yield item
        elif isinstance(item, c.AddMessage) and item.content is None:
            text = "".join(part["text"] for part in known)
            if item.text != text:
                is_longer = item.text.startswith(text)
                yield replace(item, id=f"{id}:{number}", text=item.text[len(text) :] if is_longer else item.text)
        elif isinstance(item, c.RecordActivity) and not _is_same(item, known[-1]):
            yield replace(item, id=f"{id}:{number}")


def _is_same(item: c.RecordActivity, known: dict[str, Any]) -> bool:
    """Whether the log has the activity as it is. The end of a turn ends it, whatever the agent said last."""
    return (
        (item.status in UNFINISHED or item.status == known["status"])
        and item.title == known["title"]
        and json_text(item.detail) == json_text(known["detail"])
    )


def _read(reads: Reads, kind: str, thread_id: str, id: str) -> dict[str, Any] | None:
    """The entity with its whole text and detail, or None."""
    try:
        if kind == "message":
            return _decode(reads.message(thread_id, id))
        if kind == "activity":
            return _decode(reads.activity(thread_id, id))
    except NotFound:
        return None
    return _decode(reads.entities(kind, thread_id, [id]).get(id))  # type: ignore[arg-type]


def _decode(value: Raw | None) -> dict[str, Any] | None:
    return None if value is None else msgspec.json.decode(value)
