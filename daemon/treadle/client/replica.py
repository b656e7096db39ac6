"""A client's replica of a topic: entities by id, in the order of their creation, kept up to date by changes."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from treadle.domain.entities import ENTITIES, Entity

E = TypeVar("E", bound=Entity)

PLURALS = {
    "projects": "project",
    "threads": "thread",
    "turns": "turn",
    "messages": "message",
    "activities": "activity",
    "approvals": "approval",
    "checkpoints": "checkpoint",
    "settings": "setting",
    "prompts": "prompt",
    "sessions": "session",
    "rules": "rule",
}


class OutOfStep(Exception):
    """Changes were lost: a change does not fit the replica, or an inbox has overflowed. Subscribe again."""


class _Growing:
    """A text that is appended to: its pieces, which are joined when read, and its length in code points."""

    __slots__ = ("length", "pieces")

    def __init__(self, text: str) -> None:
        self.pieces = [text]
        self.length = len(text)

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)


class Replica:
    """A replica of a topic. sequence, log_id: its position in which log; a subscription resumes with both."""

    def __init__(self) -> None:
        self.sequence = 0
        self.log_id: str | None = None
        self._entities: dict[str, dict[str, dict[str, Any]]] = {entity: {} for entity in PLURALS.values()}
        self._growing: dict[tuple[str, str], _Growing] = {}
        self._unsorted: set[str] = set()

    @property
    def entities(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The entities of each kind (`thread`, `message`, …) by id, settings by key, sorted by their `sequence`.

        An entity is replaced, never modified. Read this property again after each change: only then is appended text
        joined, and the order right.
        """
        self._join()
        for entity in self._unsorted:
            held = self._entities[entity]
            self._entities[entity] = {_key(entity, value): value for value in sorted(held.values(), key=_sequence)}
        self._unsorted.clear()
        return self._entities

    def all(self, kind: type[E]) -> dict[str, E]:
        """The entities of a kind as structs, by id, settings by key, sorted as above: `replica.all(Message)`."""
        (name,) = (name for name, entity in ENTITIES.items() if entity is kind)
        return {id: msgspec.convert(value, kind) for id, value in self.entities[name].items()}

    def start(self, opened: dict[str, Any]) -> None:
        """Start from the answer to subscription/open. Raises OutOfStep."""
        self.log_id = opened["logId"]
        match opened["type"]:
            case "snapshot":
                self.load(opened["snapshot"])
            case "changes":
                self.apply(opened["changes"], opened["sequence"])
            case "position":
                self.sequence = opened["sequence"]

    def load(self, snapshot: dict[str, Any]) -> None:
        """Replace the content with a snapshot."""
        self._join()
        for plural, entity in PLURALS.items():
            if plural in snapshot:
                self._entities[entity] = {_key(entity, value): value for value in snapshot[plural]}
                self._unsorted.add(entity)
        self.sequence = snapshot["sequence"]

    def apply(self, changes: Iterable[dict[str, Any]], sequence: int) -> None:
        """Apply the changes of one notification; ignore unknown kinds of entities. Raises OutOfStep."""
        for change in changes:
            entity = change["entity"]
            held = self._entities.get(entity)
            if held is None:
                continue
            match change["type"]:
                case "upsert":
                    self._put(entity, held, change["value"])
                case "append":
                    self._append(held, change)
                case "remove":
                    self._growing.pop((entity, change["id"]), None)
                    held.pop(change["id"], None)
                    if entity == "thread":
                        self._remove_contents(change["id"])
        self.sequence = sequence

    def _put(self, entity: str, held: dict[str, dict[str, Any]], value: dict[str, Any]) -> None:
        key = _key(entity, value)
        self._growing.pop((entity, key), None)
        if key not in held or _sequence(held[key]) != _sequence(value):  # a setting may be removed and set again
            held.pop(key, None)
            if held and _sequence(held[next(reversed(held))]) > _sequence(value):
                self._unsorted.add(entity)
        held[key] = value

    def _append(self, held: dict[str, dict[str, Any]], change: dict[str, Any]) -> None:
        key = change["entity"], change["id"]
        growing = self._growing.get(key)
        if growing is None and change["id"] in held:
            growing = _Growing(held[change["id"]]["text"])
        if growing is None or growing.length != change["offset"]:
            raise OutOfStep(f"text for message {change['id']} at {change['offset']}")
        growing.add(change["text"])
        self._growing[key] = growing

    def _join(self) -> None:
        for (entity, id), growing in self._growing.items():
            held = self._entities[entity]
            held[id] = {**held[id], "text": "".join(growing.pieces)}
        self._growing.clear()

    def _remove_contents(self, thread_id: str) -> None:
        self._join()
        for entity, held in self._entities.items():
            self._entities[entity] = {key: v for key, v in held.items() if v.get("threadId") != thread_id}


def _key(entity: str, value: dict[str, Any]) -> str:
    return str(value["key" if entity == "setting" else "id"])


def _sequence(value: dict[str, Any]) -> int:
    return int(value["sequence"])
