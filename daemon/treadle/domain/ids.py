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
Remote = Annotated[str, Meta(min_length=1, max_length=1024)]
SettingKey = Annotated[str, Meta(min_length=1, max_length=256)]
Word = Annotated[str, Meta(min_length=1, max_length=128)]
ObjectId = Annotated[str, Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})(?![\s\S])"), note("The id of a git object")]
Content = Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=1000)]
"""Content blocks in the shape of the Agent Client Protocol (https://agentclientprotocol.com/protocol/v1/content)."""
Version = Annotated[int, Meta(ge=0)]

Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z(?![\s\S])",
        extra_json_schema={"format": "date-time"},
    ),
]
"""UTC, ISO 8601 with milliseconds and `Z`: `2026-01-31T12:00:00.000Z`."""
Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A Time in what the daemon sends: not validated again."""

Json = Any
"""Free-form JSON, stored as received: `detail`, `usage` and a setting's `value`."""

Role = Literal["user", "assistant", "system"]
Phase = Literal["before", "after", "manual"]
"""When a checkpoint was made: before or after a turn of an agent, or on request."""
ActivityStatus = Literal["pending", "running", "completed", "failed"]
UNFINISHED: tuple[ActivityStatus, ...] = ("pending", "running")

When = Literal["idle", "steer"]
"""When a prompt is sent: once the thread is idle, or into the running turn."""
How = Literal["new", "load", "resume", "fork"]
"""How a session of an agent was opened: anew, or from an earlier one, by the method of the Agent Client Protocol."""
Decision = Literal["allow", "ask", "deny"]
BudgetScope = Literal["turn", "thread"]
BudgetLimit = Literal["cost", "tokens", "minutes"]

Topic = Literal["index", "thread", "settings", "events"]
"""What a client can subscribe to."""

TOPICS: Final[tuple[str, ...]] = get_args(Topic)

Syntax = Literal["plain", "fts5"]
ThreadSort = Literal["version", "updatedAt"]
Durability = Literal["full", "normal"]
"""full: an answered command is on disk. normal: a power failure may lose the most recent ones."""
