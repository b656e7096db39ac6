"""Cursors and limits of the lists that clients read page by page, in every store."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar, cast

import msgspec
from msgspec import Meta, Raw, Struct

T = TypeVar("T")

MAX_BYTES: Final = 1024 * 1024  # of a page; a single larger row gets a page of its own
LATEST: Final = 2**63 - 1
Position = Annotated[int, Meta(ge=0, le=LATEST)]
INDEX_THREADS: Final = 500


class PageBounds(Struct, frozen=True):
    """max_bytes: of a page. index_threads: the number of threads in the snapshot of `index`."""

    max_bytes: int = MAX_BYTES
    index_threads: int = INDEX_THREADS


PAGE_BOUNDS: Final = PageBounds()
INVALID_CURSOR: Final = "invalid cursor: it was not issued by this list"


class BadCursor(ValueError):
    """The cursor was not issued by a list of this kind."""


def encode_cursor(position: int | str | Sequence[int | str]) -> str:
    """An opaque cursor for a position in a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str | None, start: T, shape: Any = None) -> T:
    """The position that a cursor encodes; `start` if there is no cursor. Raises BadCursor.

    shape: the type of the position, if it is neither a Position nor a text.
    """
    if cursor is None:
        return start
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return cast(T, msgspec.json.decode(raw, type=shape or (Position if isinstance(start, int) else str)))
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise BadCursor(INVALID_CURSOR) from error


def stored_event(sequence: int, payload: str | bytes, actor: str | None = None) -> Raw:
    """A stored event as JSON: `{sequence, event, actor?}`."""
    text = payload if isinstance(payload, str) else payload.decode()
    by = "" if actor is None else f',"actor":{msgspec.json.encode(actor).decode()}'
    return Raw(f'{{"sequence":{sequence},"event":{text}{by}}}')
