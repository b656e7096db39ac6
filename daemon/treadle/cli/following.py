"""Reads the log page by page, then follows what other processes append."""

from collections.abc import Iterator

from msgspec import Raw

from treadle.store.ports import Reads
from treadle.store.sqlite.reader import Reader

PAGE = 500  # events read at once
PATIENCE = 3600.0  # seconds until an empty page, if the caller does not need any


def follow(
    reader: Reader, after: int, thread_id: str | None, *, forever: bool, pause: float = PATIENCE
) -> Iterator[list[Raw]]:
    """Yield pages of stored events after a sequence. forever: then wait for more; a timeout yields an empty page."""

    def page(reads: Reads) -> tuple[list[Raw], int, bool]:
        events, last = reads.events(thread_id, after, PAGE)
        return events, reads.sequence() if last is None else last, last is None

    while True:
        events, after, is_end = reader.read(page)
        if events:
            yield events
        if is_end:
            if not forever:
                return
            if not reader.wait(pause):
                yield []
