"""The settings of checkpoints: whether they are taken automatically, and how long they are kept."""

import logging
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.store.ports import Reads

log = logging.getLogger(__name__)

AUTOMATIC: Final = "checkpoints"
"""`off` takes none; with a dot and the id of a project behind it, for that project alone."""
KEEP: Final = "checkpointsKeep"
DAYS: Final = "checkpointsDays"


class Retention(Struct, frozen=True):
    """What is kept of each thread. keep: the newest so many checkpoints. days: those that are no older."""

    keep: int = 50
    days: int = 30


def are_off(reads: Reads, project_id: str) -> bool:
    """Whether no checkpoints are taken automatically in a project."""
    keys = [AUTOMATIC, f"{AUTOMATIC}.{project_id}"]
    values = _values(reads, keys)
    return next((values[key] for key in reversed(keys) if key in values), None) == "off"


def retention(reads: Reads) -> Retention:
    """What is kept, as the settings say."""
    values, usual = _values(reads, [KEEP, DAYS]), Retention()
    return Retention(_whole(values, KEEP, 1, usual.keep), _whole(values, DAYS, 0, usual.days))


def _values(reads: Reads, keys: list[str]) -> dict[str, Any]:
    return {key: msgspec.json.decode(value)["value"] for key, value in reads.entities("setting", None, keys).items()}


def _whole(values: dict[str, Any], key: str, least: int, usual: int) -> int:
    value = values.get(key, usual)
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    log.warning("the setting %s is ignored: it must be a whole number of %d or more", key, least)
    return usual
