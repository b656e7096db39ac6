"""New identifiers."""

import os
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def new_id(at: datetime | None = None) -> str:
    """A UUIDv7 (RFC 9562) for the given or current time, with microseconds in `rand_a` (section 6.2, method 3).

    A time before 1970 counts as 1970, so that a wrong clock does not fail.
    """
    microseconds = max(0, ((datetime.now(UTC) if at is None else at) - EPOCH) // MICROSECOND)
    milliseconds, rest = divmod(microseconds, 1000)
    random = int.from_bytes(os.urandom(8))
    fields = milliseconds << 80 | 7 << 76 | (rest << 12) // 1000 << 64 | 2 << 62 | random >> 2
    text = f"{fields:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
