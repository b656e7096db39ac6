"""Formats a transcript as Markdown (CommonMark, with the HTML that GitHub shows)."""

import html
import re
from collections.abc import Iterator

from treadle.cli.code_blocks import pieces
from treadle.cli.details import Block, blocks, said
from treadle.cli.output import clean, one_line
from treadle.cli.transcript import (
    Item,
    Transcript,
    answer,
    author,
    checkpoint,
    clock,
    day_and_time,
    ending,
    kept,
    origin,
    place,
    resume,
    tokens,
    took,
)
from treadle.cli.turn_changes import TurnChanges, counts, how, hunks, summary

_MARKS = re.compile(r"`{3,}|~{3,}")
_SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]+)\1(?!`)")
_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")


def render(transcript: Transcript) -> Iterator[str]:
    """The lines of a transcript. What people and agents wrote stays Markdown and cannot escape from its quote."""
    thread, project = transcript.thread, transcript.project
    yield f"# {_plain(thread['title'])}"
    yield ""
    where = _plain(thread["projectId"] if project is None else f"{project['name']} ({place(project)})")
    yield f"Thread `{thread['id']}` ({thread['status']}), project {where},"
    made = f", {_plain(origin(thread['origin']))}" if thread["origin"] else ""
    created = f"{day_and_time(thread['createdAt'])} {_plain(author(thread))}".rstrip()
    yield f"created {created}, updated {day_and_time(thread['updatedAt'])}{made}."
    if transcript.resume is not None:
        yield f"\nContinue it in its own tool: {_plain(resume(transcript.resume))}"
    if transcript.left_out:
        yield f"\n*{transcript.left_out:,} earlier turns are left out.*"
    for turn, items in transcript.parts():
        if turn is not None:
            yield f"\n## Turn {turn.number} · {day_and_time(turn.value['startedAt'])}"
        for item in items:
            yield ""
            yield from _item(item)
        if turn is not None:
            value = turn.value
            parts = [ending(value), took(value["startedAt"], value["endedAt"]), tokens(value["usage"])]
            yield f"\n*{_plain(' · '.join(part for part in parts if part))}*"


def _plain(text: str) -> str:
    """The text in one line, with all Markdown escaped."""
    return html.escape(_SPECIAL.sub(r"\\\1", one_line(text)), quote=False)


def _item(item: Item) -> Iterator[str]:
    value = item.value
    match item.entity:
        case "message":
            streaming = ", streaming" if value["status"] == "streaming" else ""
            parts = [f"**{value['role'].capitalize()}**", _plain(author(value)), clock(value["createdAt"])]
            yield f"{' · '.join(filter(None, parts))}{streaming}"
            for block in said(value["text"], value["content"]):
                yield ""
                lines = [_plain(block.text)] if block.kind == "link" else quoted(block.text)
                yield from (f"> {line}".rstrip() for line in lines)
        case "activity":
            title = html.escape(one_line(value["title"]))
            kind = "" if value["kind"] == "tool_call" else f"{html.escape(one_line(value['kind']))}: "
            duration = took(value["createdAt"], value["updatedAt"])
            yield f"<details><summary>⚙ {kind}<code>{title}</code> · {value['status']} {duration}</summary>"
            yield ""
            for block in blocks(value["detail"]):
                yield from _block(block)
            yield "</details>"
        case "approval":
            yield f"- **?** {_plain(value['title'])} → **{_plain(answer(value))}**"
        case "checkpoint":
            restored = f", restored {clock(value['restoredAt'])}" if value["restoredAt"] else ""
            what, where = checkpoint(value["phase"]), _plain(kept(value["gitRef"], value["commit"]))
            yield f"- **◆ {what}** {_plain(value['message'])} ({where}{restored})"
        case "changes":
            yield from _changes(value)


def _changes(changes: TurnChanges) -> Iterator[str]:
    if changes.failed:
        yield f"*What this turn changed cannot be shown: {_plain(changes.failed)}*"
        return
    yield f"**± {summary(changes)}** {counts(changes.added, changes.removed)}"
    for each in changes.files:
        about = " ".join(part for part in (how(each.file), counts(each.file.added, each.file.removed)) if part)
        name = f"<code>{html.escape(one_line(each.file.path))}</code> {html.escape(one_line(about))}".rstrip()
        yield ""
        yield f"<details><summary>{name}</summary>"
        yield ""
        if each.patch is None:
            yield "*The diff is left out for its length.*"
            yield ""
        else:
            yield from _block(Block("diff", "", hunks(each.patch)))
        yield "</details>"
    if changes.more:
        yield f"\n*and {changes.more:,} more*"


def _block(block: Block) -> Iterator[str]:
    if block.title:
        yield f"{_plain(block.title)}:"
        yield ""
    yield from fenced(clean(block.text).rstrip("\n").split("\n"), {"diff": "diff", "json": "json"}.get(block.kind, ""))
    yield ""


def fenced(lines: list[str], info: str = "") -> Iterator[str]:
    """A code block with fences that no line in it can close."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield fence + info
    yield from lines
    yield fence


def quoted(text: str) -> Iterator[str]:
    """Markdown from a user or agent, with its code blocks fenced safely and HTML escaped in the rest."""
    for lines, code in pieces(clean(text)):
        yield from map(_without_html, lines) if code is None else fenced(lines, code)


def _without_html(line: str) -> str:
    parts, end = [], 0
    for span in _SPAN.finditer(line):
        parts.append(line[end : span.start()].replace("<", "&lt;"))
        # In a Markdown code span, an HTML entity would appear literally. But a renderer may not recognise this span as
        # code, so HTML in it must be escaped: use <code> instead.
        parts.append(f"<code>{html.escape(span[2])}</code>" if "<" in span[2] else span[0])
        end = span.end()
    parts.append(line[end:].replace("<", "&lt;"))
    return _MARKS.sub(lambda marks: "".join(f"\\{mark}" for mark in marks[0]), "".join(parts))
