"""What to show of the free JSON in an activity: commands, texts and changes of files, where they can be told."""

import difflib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

MOST_LINES = 5_000  # of two texts that are compared: the time for it goes up faster than their length


class Block(NamedTuple):
    """title: what it is, may be empty. kind: how to show the text."""

    kind: Literal["text", "code", "diff", "json"]
    title: str
    text: str


def blocks(detail: Any) -> list[Block]:
    """In an order to read them in. What is not known is shown as JSON; nothing for null.

    Known are the tool calls, plans, thoughts and file requests of the Agent Client Protocol (agentclientprotocol.com).
    """
    if detail is None:
        return []
    if isinstance(detail, str):
        return [Block("text", "", detail)]
    found = list(_known(detail)) if isinstance(detail, dict) else []
    return found or [Block("json", "", as_json(detail))]


def as_json(value: Any) -> str:
    """JSON with line breaks."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _known(detail: dict[str, Any]) -> Iterator[Block]:
    given, content = detail.get("rawInput"), detail.get("content")
    if isinstance(detail.get("text"), str):
        yield Block("text", "", detail["text"])
    if isinstance(detail.get("entries"), list):
        yield Block("text", "", "\n".join(map(_entry, detail["entries"])))
    shown = list(_content(content)) if isinstance(content, list) else []
    if isinstance(given, dict):
        yield from _input(given, any(block.kind == "diff" for block in shown))
    if isinstance(detail.get("params"), dict):
        yield from _input({k: v for k, v in detail["params"].items() if k != "sessionId"}, False)
    yield from shown
    if not shown:
        yield from _output(detail.get("rawOutput"))
    yield from _output(detail.get("result"))
    if detail.get("error") is not None:
        yield Block("json", "error", as_json(detail["error"]))


def _input(given: dict[str, Any], has_diff: bool) -> Iterator[Block]:
    """What a tool was given: a command as people type it, a text as it is, the rest as JSON."""
    rest = dict(given)
    if isinstance(rest.get("command"), str):
        yield Block("code", "command", rest.pop("command"))
    for name in ("content", "diff"):
        if isinstance(rest.get(name), str):
            text = rest.pop(name)
            if not has_diff:
                yield Block("diff" if name == "diff" else "code", name, text)
    if rest:
        yield Block("json", "input", as_json(rest))


def _content(content: list[Any]) -> Iterator[Block]:
    """The content of a tool call: texts, changes of files, what else there is."""
    for part in content:
        inner = part.get("content") if isinstance(part, dict) else None
        if not isinstance(part, dict):
            yield Block("json", "output", as_json(part))
        elif isinstance(inner, dict) and isinstance(inner.get("text"), str):
            yield Block("code", "output", inner["text"])
        elif part.get("type") == "diff" and isinstance(part.get("newText"), str):
            yield Block("diff", str(part.get("path", "")), _diff(part.get("oldText") or "", part["newText"]))
        else:
            yield Block("json", "output", as_json(part))


def _output(given: Any) -> Iterator[Block]:
    if isinstance(given, dict) and isinstance(given.get("output"), str):
        yield Block("code", "output", given["output"])
    elif isinstance(given, str):
        yield Block("code", "output", given)
    elif given:
        yield Block("json", "output", as_json(given))


def _diff(old: Any, new: str) -> str:
    before, after = str(old).splitlines(), new.splitlines()
    if len(before) + len(after) > MOST_LINES:
        return "\n".join(f"+{line}" for line in after)
    lines = list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]  # without the names, which are the same
    return "\n".join(lines) or "(no change)"


def _entry(entry: Any) -> str:
    """A line of a plan."""
    if not isinstance(entry, dict):
        return str(entry)
    mark = {"completed": "✓", "in_progress": "▸"}.get(str(entry.get("status")), "·")
    return f"{mark} {entry.get('content', '')}"
