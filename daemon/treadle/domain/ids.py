"""Identifiers, times and the other scalar types that commands and events are made of."""

from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta


def note(text: str) -> Meta:
    """What a field is for the reader of the protocol: docs/protocol.md and the schema show it."""
    return Meta(description=text)


# `(?![\s\S])` is the end of the text in both Python and ECMA 262, where `$` would let a line feed through.
ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}(?![\s\S])"

Id = Annotated[str, Meta(pattern=ID_PATTERN, extra_json_schema={"format": "id"})]
GivenId = Annotated[str, Meta(extra_json_schema={"format": "id"})]
"""An Id in what the daemon says, which is not checked again."""
Name = Annotated[str, Meta(min_length=1, max_length=1024)]
Path = Annotated[str, Meta(min_length=1, max_length=4096), note("An absolute path")]
SettingKey = Annotated[str, Meta(min_length=1, max_length=256)]
Word = Annotated[str, Meta(min_length=1, max_length=128)]
Version = Annotated[int, Meta(ge=0)]

Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""UTC, ISO 8601 with milliseconds and `Z`: `2026-01-31T12:00:00.000Z`."""

Json = Any
"""Free JSON, kept as it came: `detail`, `usage` and a setting's `value`."""

Role = Literal["user", "assistant", "system"]
ActivityStatus = Literal["pending", "running", "completed", "failed"]
UNFINISHED: tuple[ActivityStatus, ...] = ("pending", "running")

Topic = Literal["index", "thread", "settings", "events"]
"""What a client can follow."""

TOPICS: Final[tuple[str, ...]] = get_args(Topic)

Syntax = Literal["plain", "fts5"]
Durability = Literal["full", "normal"]
"""full: answered means on disk. normal: a power cut may take the last moments."""
