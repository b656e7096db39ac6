"""Formats a transcript as one HTML page: no scripts, no network, light or dark like the reader's system."""

import html
import re
from collections.abc import Iterator
from typing import Any

from treadle.cli.code_blocks import pieces
from treadle.cli.details import Block, blocks, said
from treadle.cli.output import clean, count, one_line
from treadle.cli.transcript import (
    Entity,
    Item,
    NumberedTurn,
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
from treadle.cli.transcript_style import STYLE
from treadle.cli.turn_changes import FileText, TurnChanges, counts, how, hunks, summary

_CODE = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]+)\1(?!`)")
# Applied after _CODE, to text whose only tags are <code>: bold text may contain whole code spans, never part of one.
_BOLD = re.compile(r"\*\*(?=\S)((?:[^*\n<]|<code>[^*\n<]*</code>)+?)(?<=\S)\*\*")

STATUS_CLASS = {"completed": "good", "resolved": "good", "failed": "bad", "interrupted": "bad", "cancelled": "bad"}
STATUS_CLASS |= {"running": "wait", "pending": "wait", "streaming": "wait"}


def render(transcript: Transcript) -> Iterator[str]:
    """The lines of the page. Everything that people and agents wrote is escaped."""
    thread, project = transcript.thread, transcript.project
    title = escape(one_line(thread["title"]))
    yield "<!doctype html>"
    yield '<html lang="en">'
    yield '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    # If anything ever gets through the escaping, it still cannot run or use the network.
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f'<meta name="generator" content="treadle"><title>{title}</title><style>{STYLE}</style></head>'
    yield f"<body><header><h1>{title}</h1>"
    yield '<p class="about">'
    if project is not None:
        yield f"<span>{escape(one_line(project['name']))} · {escape(place(project))}</span>"
    yield f"<span>{count(len(transcript.turns), 'turn')}, {thread['status']}</span>"
    if "createdBy" in thread:
        yield f"<span>{escape(author(thread))}</span>"
    if thread["origin"]:
        yield f"<span>{escape(origin(thread['origin']))}</span>"
    if transcript.resume is not None:
        yield f"<span>continue it with <code>{escape(resume(transcript.resume))}</code></span>"
    yield f"<span>{day_and_time(thread['createdAt'])} to {day_and_time(thread['updatedAt'])}</span>"
    yield f'<span class="id">{escape(thread["id"])}</span></p>'
    if len(transcript.turns) > 1:
        yield '<nav aria-label="Turns"><ol>'
        yield from (_link(turn) for turn in transcript.turns)
        yield "</ol></nav>"
    yield "</header><main>"
    if transcript.left_out:
        yield f'<p class="about">{transcript.left_out:,} earlier turns are left out.</p>'
    for turn, items in transcript.parts():
        if turn is None and not items:
            continue
        if turn is not None:
            begin = turn.value["startedAt"]
            yield f'<section id="turn-{turn.number}"><h2>Turn {turn.number} {_time(begin, day_and_time(begin))}</h2>'
        else:
            yield "<section>"
        yield '<ol class="timeline">'
        for item in items:
            yield from _item(item)
        if turn is not None:
            yield from _end(turn.value)
        yield "</ol></section>"
    yield f"</main><footer>{escape(one_line(thread['title']))}, from treadle</footer></body></html>"


def escape(text: str) -> str:
    """The text, escaped for HTML."""
    return html.escape(clean(text))


def _time(at: str, shown: str) -> str:
    return f'<time datetime="{escape(at)}">{shown}</time>'


def _link(turn: NumberedTurn) -> str:
    value = turn.value
    parts = [str(turn.number), clock(value["startedAt"]), took(value["startedAt"], value["endedAt"]), value["status"]]
    about = " · ".join(part for part in parts if part)
    return f'<li class="{STATUS_CLASS[value["status"]]}"><a href="#turn-{turn.number}">{about}</a></li>'


def _row(kinds: str, at: str, *content: str) -> Iterator[str]:
    yield f'<li class="{kinds}">{_time(at, clock(at))}'
    yield from content
    yield "</li>"


def _end(value: Entity) -> Iterator[str]:
    at = value["endedAt"]
    parts = [ending(value), took(value["startedAt"], at), tokens(value["usage"])]
    text = escape(" · ".join(part for part in parts if part))
    kind = STATUS_CLASS[value["status"]]
    yield from _row(kind, at or value["startedAt"], f'<div class="line end">{text}</div>')


def _item(item: Item) -> Iterator[str]:
    value = item.value
    match item.entity:
        case "message":
            streaming = ', <span class="kind">streaming</span>' if value["status"] == "streaming" else ""
            role = " · ".join(filter(None, [value["role"].capitalize(), author(value)]))
            who = f'<div><div class="who">{escape(role)}{streaming}</div><div class="text">'
            written = (line for block in said(value["text"], value["content"]) for line in _prose(block))
            yield from _row(escape(value["role"]), value["createdAt"], who, *written, "</div></div>")
        case "activity" if value["kind"] == "usage":
            text = escape(one_line(_usage(value["detail"])))
            yield from _row("", value["createdAt"], f'<div class="line kind">{text}</div>')
        case "activity":
            yield from _row(f"tool {STATUS_CLASS[value['status']]}", value["createdAt"], *_activity(value))
        case "approval":
            kind = "ask" if value["status"] == "resolved" else STATUS_CLASS[value["status"]]
            text = f"Asked: <code>{escape(one_line(value['title']))}</code> → <b>{escape(answer(value))}</b>"
            yield from _row(kind, value["createdAt"], f'<div class="line">{text}</div>')
        case "checkpoint":
            restored = f" · restored {day_and_time(value['restoredAt'])}" if value["restoredAt"] else ""
            ref = f"<code>{escape(kept(value['gitRef'], value['commit']))}</code>"
            what = checkpoint(value["phase"]).capitalize()
            text = f"<b>{what}</b> {escape(one_line(value['message']))} {ref}{restored}"
            yield from _row("checkpoint", value["createdAt"], f'<div class="line">{text}</div>')
        case "changes":
            yield from _changes(value)


def _changes(changes: TurnChanges) -> Iterator[str]:
    """A row of the timeline without a time: it is about the whole turn."""
    yield '<li class="changes">'
    if changes.failed:
        yield f'<div class="line kind">What this turn changed cannot be shown: {escape(one_line(changes.failed))}</div>'
    else:
        yield f'<div><div class="who">{summary(changes)} {_counts(changes.added, changes.removed)}</div>'
        for each in changes.files:
            yield from _file(each)
        if changes.more:
            yield f'<p class="kind">and {changes.more:,} more</p>'
        yield "</div>"
    yield "</li>"


def _file(each: FileText) -> Iterator[str]:
    file = each.file
    about = f'<span class="kind">{escape(one_line(how(file)))}</span>' if how(file) else ""
    yield f"<details><summary><code>{escape(one_line(file.path))}</code>{about}"
    yield f'<span class="status">{_counts(file.added, file.removed)}</span></summary><div class="inside">'
    if each.patch is None:
        yield '<p class="kind">The diff is left out for its length.</p>'
    else:
        yield from _block(Block("diff", "", hunks(each.patch)))
    yield "</div></details>"


def _counts(added: int, removed: int) -> str:
    parts = (("good", counts(added, 0)), ("bad", counts(0, removed)))
    return " ".join(f'<span class="count {kind}">{text}</span>' for kind, text in parts if text)


def _usage(detail: Any) -> str:
    if isinstance(detail, dict) and isinstance(detail.get("used"), int) and isinstance(detail.get("size"), int):
        return f"{detail['used']:,} of {detail['size']:,} tokens of context used"
    return "Usage"


def _activity(value: Entity) -> Iterator[str]:
    is_said = value["kind"] == "tool_call" or value["kind"].lower() == value["title"].lower()
    kind = "" if is_said else f'<span class="kind">{escape(one_line(value["kind"]))}</span>'
    status = " · ".join(part for part in (value["status"], took(value["createdAt"], value["updatedAt"])) if part)
    yield f"<details><summary>{kind}<code>{escape(one_line(value['title']))}</code>"
    yield f'<span class="status">{status}</span></summary><div class="inside">'
    for block in blocks(value["detail"]):
        if not (block.title == "command" and block.text.strip() == value["title"].strip()):
            yield from _block(block)
    yield "</div></details>"


def _block(block: Block) -> Iterator[str]:
    if block.title:
        yield f"<h3>{escape(one_line(block.title))}</h3>"
    if block.kind in ("text", "link"):
        yield '<div class="text">'
        yield from _prose(block)
        yield "</div>"
    elif block.kind == "diff":
        yield _pre("\n".join(map(_changed, clean(block.text).rstrip("\n").split("\n"))))
    else:
        yield _pre(escape(block.text.rstrip("\n")))


def _pre(escaped: str) -> str:
    return f'<pre tabindex="0"><code>{escaped}</code></pre>'


def _changed(line: str) -> str:
    kind = {"+": "plus", "-": "minus", "@": "hunk"}.get(line[:1])
    return f'<span class="{kind}">{html.escape(line)}</span>' if kind else html.escape(line)


def _prose(block: Block) -> Iterator[str]:
    if block.kind == "link":
        yield f'<p class="kind">{escape(one_line(block.text))}</p>'
    else:
        yield from _text(block.text)


def _text(text: str) -> Iterator[str]:
    """Render text: only the parts of Markdown that help most and cannot break the page."""
    for lines, code in pieces(clean(text)):
        escaped = html.escape("\n".join(lines))
        if code is not None:
            yield (f'<p class="language">{html.escape(code)}</p>' if code else "") + _pre(escaped)
        elif escaped.strip():
            escaped = _CODE.sub(r"<code>\2</code>", escaped.strip("\n"))
            yield "<p>" + _BOLD.sub(r"<b>\1</b>", escaped) + "</p>"
