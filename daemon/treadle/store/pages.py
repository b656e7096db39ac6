"""Cursors and limits of the lists that clients read page by page, in every store."""

import base64
import binascii
from typing import Any, Final

import msgspec
from msgspec import Raw

MAX_BYTES: Final = 1024 * 1024  # of a page; a single larger row gets a page of its own
LATEST: Final = 2**63 - 1
INDEX_THREADS: Final = 500

INVALID_CURSOR: Final = "invalid cursor: it was not issued by this list"


class BadCursor(ValueError):
    """The cursor was not issued by a list of this kind."""


def encode_cursor(position: int | str | list[int]) -> str:
    """An opaque cursor for a position in a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str | None, start: Any) -> Any:
    """The position that a cursor encodes, of `start`'s type; `start` if there is no cursor. Raises BadCursor."""
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


def stored_event(sequence: int, payload: str | bytes, actor: str | None = None) -> Raw:
    """A stored event as JSON: `{sequence, event, actor?}`."""
    text = payload if isinstance(payload, str) else payload.decode()
    by = "" if actor is None else f',"actor":{msgspec.json.encode(actor).decode()}'
    return Raw(f'{{"sequence":{sequence},"event":{text}{by}}}')
