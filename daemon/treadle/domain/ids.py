"""The scalar types of commands, events and entities: identifiers, times, lengths of texts."""

from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta


def note(text: str) -> Meta:
    """The description of a field, shown in docs/protocol.md and in the schema."""
    return Meta(description=text)


# `(?![\s\S])` matches only the end of the text in both Python and ECMA 262; `$` would allow a trailing line feed.
ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}(?![\s\S])"

Id = Annotated[str, Meta(pattern=ID_PATTERN, extra_json_schema={"format": "id"})]
GivenId = Annotated[str, Meta(extra_json_schema={"format": "id"})]
"""An Id in what the daemon sends: not validated again."""
Name = Annotated[str, Meta(min_length=1, max_length=1024)]
Path = Annotated[str, Meta(min_length=1, max_length=4096), note("An absolute path")]
SettingKey = Annotated[str, Meta(min_length=1, max_length=256)]
Word = Annotated[str, Meta(min_length=1, max_length=128)]
Version = Annotated[int, Meta(ge=0)]

Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""UTC, ISO 8601 with milliseconds and `Z`: `2026-01-31T12:00:00.000Z`."""

Json = Any
"""Free-form JSON, stored as received: `detail`, `usage` and a setting's `value`."""

Role = Literal["user", "assistant", "system"]
ActivityStatus = Literal["pending", "running", "completed", "failed"]
UNFINISHED: tuple[ActivityStatus, ...] = ("pending", "running")

Topic = Literal["index", "thread", "settings", "events"]
"""What a client can subscribe to."""

TOPICS: Final[tuple[str, ...]] = get_args(Topic)

Syntax = Literal["plain", "fts5"]
Durability = Literal["full", "normal"]
"""full: an answered command is on disk. normal: a power failure may lose the most recent ones."""
