"""What a redaction may change of an event that is in the log: its texts, and nothing that the rest depends on."""

from typing import Any, Final

KEPT: Final = frozenset(
    [
        *(
            "type",
            "threadId",
            "at",
            "id",
            "turnId",
            "projectId",
            "activityId",
            "promptId",
            "ruleId",
            "before",
            "runner",
        ),
        *("sessionId", "role", "status", "phase", "how", "when", "scope", "limit", "position", "amount", "spent"),
        *("agent", "kind", "by", "outcome", "path", "base", "gitRef", "commit", "tree", "erased", "redacted"),
    ]
)
"""Members of an event that stay as they are: what it is, what it refers to, and words that programs compare."""


def differs_only_in_texts(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two events are the same but for texts, at any depth. The names of members are no texts."""
    return before.keys() == after.keys() and all(
        before[name] == after[name] if name in KEPT else _is_alike(before[name], after[name]) for name in before
    )


def _is_alike(before: Any, after: Any) -> bool:
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(_is_alike(before[name], after[name]) for name in before)
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_is_alike, before, after))
    return isinstance(before, str) or bool(before == after)
