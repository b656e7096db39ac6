"""Cursors and bounds of the lists that clients read page by page, whichever store they come from."""

import base64
import binascii
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

MAX_BYTES: Final = 1024 * 1024  # of a page; a single row or turn that is larger comes alone
LATEST: Final = 2**63 - 1
INDEX_THREADS: Final = 500


class PageBounds(Struct, frozen=True):
    """max_bytes: of a page. index_threads: how many threads the snapshot of `index` holds."""

    max_bytes: int = MAX_BYTES
    index_threads: int = INDEX_THREADS


PAGE_BOUNDS: Final = PageBounds()
INVALID_CURSOR: Final = "invalid cursor: it was not issued by this list"


class BadCursor(ValueError):
    """The cursor was not issued by a list of this kind."""


def encode_cursor(position: int | str | list[int]) -> str:
    """An opaque text for a place in a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str | None, start: Any) -> Any:
    """The place, of `start`'s type; `start` without a cursor. Raises BadCursor."""
    if cursor is None:
        return start
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        position = msgspec.json.decode(raw, type=type(start))
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise BadCursor(INVALID_CURSOR) from error
    if isinstance(position, int) and not 0 <= position <= LATEST:
        raise BadCursor(INVALID_CURSOR)
    return position


def stored_event(sequence: int, payload: str | bytes) -> Raw:
    """`{sequence, event}` as JSON."""
    text = payload if isinstance(payload, str) else payload.decode()
    return Raw(f'{{"sequence":{sequence},"event":{text}}}')
