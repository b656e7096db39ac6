"""What a client holds of a topic: entities by id, kept equal to the daemon's by applying changes in their order."""

from collections.abc import Iterable
from typing import Any

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
    """entities: for each kind (`thread`, `message`, …) its values by id, settings by key."""

    def __init__(self) -> None:
        self.sequence = 0
        self.entities: dict[str, dict[str, dict[str, Any]]] = {entity: {} for entity in PLURALS.values()}

    def load(self, snapshot: dict[str, Any]) -> None:
        """Begin with a snapshot."""
        for plural, entity in PLURALS.items():
            if plural in snapshot:
                self.entities[entity] = {_key(entity, value): value for value in snapshot[plural]}
        self.sequence = snapshot["sequence"]

    def apply(self, changes: Iterable[dict[str, Any]], sequence: int) -> None:
        """Take the changes of one notification. Raises OutOfStep."""
        for change in changes:
            held = self.entities[change["entity"]]
            match change["type"]:
                case "upsert":
                    held[_key(change["entity"], change["value"])] = change["value"]
                case "append":
                    value = held.get(change["id"])
                    if value is None or len(value["text"]) != change["offset"]:
                        raise OutOfStep(f"text for message {change['id']} at {change['offset']}")
                    value["text"] += change["text"]
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
