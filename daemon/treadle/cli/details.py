"""Turns content and free-form JSON into readable blocks: texts, commands and file changes where recognised."""

import difflib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

import treadle.cli.output as output

MOST_LINES = 5_000  # of two texts to compare: diffing takes more than linear time


class Block(NamedTuple):
    """A block of text to show. title: a heading, may be empty. kind: how to render the text.

    A `link` stands for what is not shown, such as an image: `[image/png, 12.0 KiB]`.
    """

    kind: Literal["text", "code", "diff", "json", "link"]
    title: str
    text: str


def blocks(detail: Any) -> list[Block]:
    """The blocks of a detail, in reading order. Unrecognised JSON is shown as JSON, and null as nothing.

    It recognises tool calls, plans, thoughts and file requests of the Agent Client Protocol (agentclientprotocol.com).
    """
    if detail is None:
        return []
    if isinstance(detail, str):
        return [Block("text", "", detail)]
    found = list(_known(detail)) if isinstance(detail, dict) else []
    return found or [Block("json", "", as_json(detail))]


def said(text: str, content: list[dict[str, Any]] | None) -> list[Block]:
    """The blocks of a message. Its text starts with the texts of its content, and goes on with what was appended."""
    found = [
        Block("text", "", str(block.get("text"))) if block.get("type") == "text" else _link(block)
        for block in content or ()
    ]
    written = [block.text for block in found if block.kind == "text"]
    rest = Block("text", "", text.removeprefix("\n".join(written)))
    if not written:
        found.insert(0, rest)
    elif rest.text:
        last = found.pop() if found[-1].kind == "text" else Block("text", "", "")
        found.append(rest._replace(text=last.text + rest.text))
    return found if len(found) == 1 else [block for block in found if block.text]


def _link(block: dict[str, Any]) -> Block:
    """A content block that is not text, by its name or type, where it is, and how large."""
    inner = block.get("resource")
    held = inner if isinstance(inner, dict) else block
    named = held.get("name") or held.get("mimeType") or block.get("type")
    parts = [str(named), *([held["uri"]] if isinstance(held.get("uri"), str) else [])]
    data, text = held.get("data", held.get("blob")), held.get("text")
    if isinstance(data, str):
        parts.append(output.size(len(data.rstrip("=")) * 3 // 4))  # base64
    elif isinstance(text, str):
        parts.append(output.size(len(text.encode())))
    return Block("link", "", f"[{', '.join(parts)}]")


def as_json(value: Any) -> str:
    """Indented JSON."""
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
    """The input of a tool: a command line as typed, a text unchanged, anything else as JSON."""
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
    """The content of a tool call: texts, file changes, and anything else as JSON."""
    for part in content:
        inner = part.get("content") if isinstance(part, dict) else None
        if not isinstance(part, dict):
            yield Block("json", "output", as_json(part))
        elif isinstance(inner, dict) and isinstance(inner.get("text"), str):
            yield Block("code", "output", inner["text"])
        elif isinstance(inner, dict) and inner.get("type") in ("image", "audio", "resource_link", "resource"):
            yield _link(inner)
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
    lines = list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]  # without the header of file names
    return "\n".join(lines) or "(no change)"


def _entry(entry: Any) -> str:
    """A line of a plan."""
    if not isinstance(entry, dict):
        return str(entry)
    mark = {"completed": "✓", "in_progress": "▸"}.get(str(entry.get("status")), "·")
    return f"{mark} {entry.get('content', '')}"
