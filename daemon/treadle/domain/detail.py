"""The difference between two versions of an activity's detail, so that the log holds each text once."""

import re
from typing import Any

import msgspec

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""Names that are the same text in JSON, in a path of SQLite and in Python."""

_MOST_MEMBERS = 256
"""SQLite finds a member by reading all before it, so that reading each of them takes quadratic time."""


def json_text(value: object) -> str:
    """One text for one JSON value, to compare values: keys sorted, and 1, 1.0 and true distinct."""
    return msgspec.json.encode(value, order="deterministic").decode()


def difference(before: Any, after: Any) -> tuple[dict[str, Any], dict[str, str]] | None:
    """The members to set (None: to remove) and the texts to append; None if only the whole detail can say it.

    That is so for a detail that is not an object or becomes an empty one, for unusual or too many member names, and for
    a member that becomes null.
    """
    if json_text(before) == json_text(after):
        return {}, {}
    if before is None:
        before = {}
    if not isinstance(before, dict) or not isinstance(after, dict) or not after:
        return None
    if max(len(before), len(after)) > _MOST_MEMBERS:
        return None
    members: dict[str, Any] = dict.fromkeys(name for name in before if name not in after)
    append: dict[str, str] = {}
    for name, value in after.items():
        old = before.get(name)
        if name in before and json_text(old) == json_text(value):
            continue
        if value is None:
            return None
        if isinstance(value, str) and isinstance(old, str) and old and value.startswith(old):
            append[name] = value[len(old) :]
        else:
            members[name] = value
    if not all(map(PLAIN_NAME.fullmatch, [*members, *append, *before])):
        return None
    return members, append


def changed(detail: Any, members: dict[str, Any], append: dict[str, str]) -> Any:
    """The detail with the difference applied."""
    if not members and not append:
        return detail
    merged = {**(detail or {}), **members}
    merged |= {name: merged[name] + text for name, text in append.items()}
    return {name: value for name, value in merged.items() if value is not None or name not in members}
