"""What a client holds of a topic: entities by id, kept equal to the daemon's by applying changes in their order."""

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
}


class OutOfStep(Exception):
    """A change does not fit what was held: something was lost on the way. Open the subscription anew."""


class Replica:
    """entities: for each kind (`thread`, `message`, …) its values by id, settings by key. A value is never changed, but
    another one takes its place. sequence, log_id: what it is at, and of which log: with both it can go on from there.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.log_id: str | None = None
        self.entities: dict[str, dict[str, dict[str, Any]]] = {entity: {} for entity in PLURALS.values()}

    def all(self, kind: type[E]) -> dict[str, E]:
        """The entities of a kind by id, settings by key: `replica.all(Message)`."""
        (name,) = (name for name, entity in ENTITIES.items() if entity is kind)
        return {id: msgspec.convert(value, kind) for id, value in self.entities[name].items()}

    def load(self, snapshot: dict[str, Any]) -> None:
        """Begin with a snapshot."""
        for plural, entity in PLURALS.items():
            if plural in snapshot:
                self.entities[entity] = {_key(entity, value): value for value in snapshot[plural]}
        self.sequence = snapshot["sequence"]

    def apply(self, changes: Iterable[dict[str, Any]], sequence: int) -> None:
        """Take the changes of one notification, but not of entities that are not known here. Raises OutOfStep."""
        for change in changes:
            held = self.entities.get(change["entity"])
            if held is None:
                continue
            match change["type"]:
                case "upsert":
                    held[_key(change["entity"], change["value"])] = change["value"]
                case "append":
                    value = held.get(change["id"])
                    if value is None or len(value["text"]) != change["offset"]:
                        raise OutOfStep(f"text for message {change['id']} at {change['offset']}")
                    held[change["id"]] = {**value, "text": value["text"] + change["text"]}
                case "remove":
                    held.pop(change["id"], None)
                    if change["entity"] == "thread":
                        self._remove_what_is_in(change["id"])
        self.sequence = sequence

    def _remove_what_is_in(self, thread_id: str) -> None:
        for entity, held in self.entities.items():
            self.entities[entity] = {key: v for key, v in held.items() if v.get("threadId") != thread_id}


def _key(entity: str, value: dict[str, Any]) -> str:
    return str(value["key" if entity == "setting" else "id"])
