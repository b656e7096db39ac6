"""What a redaction may change of an event that is in the log, and how a text is taken out of the events of a thread."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from treadle.domain.redacted import changed_texts

MARK: Final = "[redacted]"
"""What is stored in the place of a text that is taken out."""

Members = dict[str, Any]

KEPT: Final = frozenset(
    [
        *(
            "type",
            "threadId",
            "at",
            "id",
            "turnId",
            "projectId",
            "activityId",
            "promptId",
            "ruleId",
            "before",
            "runner",
        ),
        *("sessionId", "role", "status", "phase", "how", "when", "scope", "limit", "position", "amount", "spent"),
        *("agent", "kind", "by", "outcome", "path", "base", "gitRef", "commit", "tree", "erased", "redacted"),
    ]
)
"""Members of an event that stay as they are: what it is, what it refers to, and words that programs compare."""


def differs_only_in_texts(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two events are the same but for texts, at any depth. The names of members are no texts."""
    return before.keys() == after.keys() and all(
        before[name] == after[name] if name in KEPT else _is_alike(before[name], after[name]) for name in before
    )


def _is_alike(before: Any, after: Any) -> bool:
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(_is_alike(before[name], after[name]) for name in before)
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_is_alike, before, after))
    return isinstance(before, str) or bool(before == after)


def without(events: Iterable[tuple[int, Members]], find: str) -> dict[int, Members]:
    """The events of a thread that have a text, without it: for each sequence the members that change.

    The text may be cut: what streams comes in pieces, each in an event of its own. It may also be quoted, as in a text
    that is JSON itself. The names of members, and members that are KEPT, stay.
    """
    of_thread = dict(events)
    forms = {find, *(json.dumps(find, ensure_ascii=ascii)[1:-1] for ascii in (True, False))}
    longest_first = sorted(forms, key=len, reverse=True)
    joined = _joined_up(of_thread, longest_first)
    changes: dict[int, Members] = {}
    for sequence, event in of_thread.items():
        after = _cleaned(event | joined.get(sequence, {}), longest_first, changes)
        changed = {name: value for name, value in after.items() if value != event[name]}
        if changed:
            changes[sequence] = changed
    return changes


def _cleaned(event: Members, forms: list[str], changes: dict[int, Members]) -> Members:
    """The event without the text. changes: of earlier events, which an earlier redaction may have a copy of."""
    after = dict(event)
    for name in event.keys() - KEPT:
        if event["type"] == "EventsRedacted" and name == "events":
            after[name] = [
                {**one, "event": _cleaned(one["event"] | changes.get(one["sequence"], {}), forms, changes)}
                for one in event[name]
            ]
        else:
            after[name] = changed_texts(event[name], lambda text: _replaced(text, forms))
    return after


def _replaced(text: str, forms: Iterable[str]) -> str:
    for form in forms:
        text = text.replace(form, MARK)
    return text


def _joined_up(events: dict[int, Members], forms: list[str]) -> dict[int, Members]:
    """The members in which a text ends or begins that is cut: the mark is in the first of them."""
    found: dict[int, Members] = defaultdict(dict)
    for chain in _chains(events):
        texts = [text for *_, text in chain]
        whole = "".join(texts)
        for form in forms:
            start = whole.find(form)
            while start >= 0:
                texts = _cut_out(texts, start, start + len(form))
                whole = "".join(texts)
                start = whole.find(form, start + len(MARK))
        for (sequence, name, member, before), text in zip(chain, texts, strict=True):
            if text != before:
                if member is None:
                    found[sequence][name] = text
                else:
                    found[sequence].setdefault(name, dict(events[sequence][name]))[member] = text
    return found


def _cut_out(texts: list[str], start: int, end: int) -> list[str]:
    """Replace what is between two places of the joined texts by the mark."""
    after, place = list[str](), 0
    for text in texts:
        first, last = max(start - place, 0), end - place
        if 0 <= start - place < len(text):
            after.append(text[:first] + MARK + text[last:])
        elif start < place < end:
            after.append(text[max(last, 0) :])
        else:
            after.append(text)
        place += len(text)
    return after


_Piece = tuple[int, str, str | None, str]
"""A piece of a text: the sequence of its event, the member that has it, the member of that, the piece."""


def _chains(events: dict[int, Members]) -> Iterator[list[_Piece]]:
    """The texts that came in pieces: of messages, and of the members of activities' details."""
    open: dict[tuple[str, ...], list[_Piece]] = {}
    for sequence, event in events.items():
        id = str(event.get("id", ""))
        match event["type"]:
            case "MessageAdded" if event.get("streaming"):
                open["message", id] = [(sequence, "text", None, event.get("text", ""))]
            case "MessageAppended" if ("message", id) in open:
                open["message", id].append((sequence, "text", None, event["text"]))
            case "ActivityRecorded" | "ActivityUpdated":
                detail = event.get("detail")
                for name, text in detail.items() if isinstance(detail, dict) else ():
                    if (before := open.pop(("activity", id, name), None)) is not None:
                        yield before
                    if isinstance(text, str):
                        open["activity", id, name] = [(sequence, "detail", name, text)]
                for name, text in event.get("append", {}).items():
                    if ("activity", id, name) in open:
                        open["activity", id, name].append((sequence, "append", name, text))
    yield from open.values()
