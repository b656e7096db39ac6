"""Samples of the texts of events: by them it is shown later that nothing of the texts is left in a file."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from treadle.domain.erasing import KEPT

LENGTH: Final = 32
"""Bytes of a sample."""
LEAST: Final = 12
"""Bytes of the shortest text that is worth one: shorter ones are found by chance."""
MOST: Final = 256
"""Samples of one thread."""
ORIGIN: Final = "origin"
"""Of a thread that was imported: the id of its session and its file stay known, so that it is not imported again."""
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
"""What JSON text has as it is."""


def samples_of(events: Iterable[dict[str, Any]]) -> list[bytes]:
    """A sample of each text, at most MOST of them, evenly from the first to the last.

    EventsRedacted has whole events, with what stays of them: their texts are in the events themselves as well.
    """
    own = [event for event in events if event["type"] != "EventsRedacted"]
    return _spread([sample for event in own for text in _texts(event) if (sample := _sample(text))])


def samples_of_removed(before: dict[str, Any], after: dict[str, Any]) -> list[bytes]:
    """Samples of what one event has and another one, with other texts, has not."""
    removed = [_removed(a, b) for a, b in zip(_texts(before), _texts(after), strict=False) if a != b]
    return _spread([sample for text in removed if (sample := _sample(text))])


def _texts(event: Any, *, top: bool = True) -> Iterator[str]:
    if isinstance(event, str):
        yield event
    elif isinstance(event, list):
        for value in event:
            yield from _texts(value, top=False)
    elif isinstance(event, dict):
        for name, value in event.items():
            if not (top and name in (*KEPT, ORIGIN)):
                yield from _texts(value, top=False)


def _removed(before: str, after: str) -> str:
    start = _alike(before, after)
    return before[start : len(before) - _alike(before[start:][::-1], after[start:][::-1])]


def _alike(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _sample(text: str) -> bytes | None:
    longest = max(_PLAIN.findall(text), key=len, default="").encode(errors="replace")
    return longest[:LENGTH] if len(longest) >= LEAST else None


def _spread(samples: list[bytes]) -> list[bytes]:
    different = list(dict.fromkeys(samples))
    step = max(1.0, len(different) / MOST)
    return [different[int(i * step)] for i in range(min(len(different), MOST))]
