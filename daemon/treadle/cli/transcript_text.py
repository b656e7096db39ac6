"""Formats a transcript for a terminal."""

from collections.abc import Iterator

import treadle.cli.output as output
from treadle.cli.details import Block, blocks, said
from treadle.cli.output import STATUS_STYLES, Paint, clean, one_line
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
from treadle.cli.turn_changes import TurnChanges, counts, how, hunks, summary

FEW_LINES = 10  # of tool input or output
RULE = 72  # columns
WHO = {"user": "bold cyan", "assistant": "bold", "system": "bold dim"}


def render(transcript: Transcript, paint: Paint, *, full: bool) -> Iterator[str]:
    """The lines of a transcript. full: do not truncate tool input and output."""
    thread, project = transcript.thread, transcript.project
    yield paint("bold", one_line(thread["title"]))
    where = thread["projectId"] if project is None else f"{one_line(project['name'])} ({place(project)})"
    yield paint("dim", " · ".join(filter(None, [thread["id"], thread["status"], where, author(thread)])))
    if thread["origin"]:
        yield paint("dim", origin(thread["origin"]))
    if transcript.resume is not None:
        yield paint("dim", f"continue it in its own tool: {resume(transcript.resume)}")
    yield paint("dim", f"created {day_and_time(thread['createdAt'])}, updated {day_and_time(thread['updatedAt'])}")
    if transcript.left_out:
        yield paint("dim", f"… {transcript.left_out:,} earlier turns")
    for turn, items in transcript.parts():
        if turn is not None:
            yield ""
            yield _rule(paint, f"turn {turn.number} · {day_and_time(turn.value['startedAt'])}")
        for item in items:
            yield from _item(item, paint, full)
        if turn is not None:
            yield from _end(turn, paint)


def _rule(paint: Paint, text: str) -> str:
    return paint("dim", f"── {text} ".ljust(RULE, "─"))


def _end(turn: NumberedTurn, paint: Paint) -> Iterator[str]:
    value = turn.value
    parts = [ending(value), took(value["startedAt"], value["endedAt"]), tokens(value["usage"])]
    yield ""
    yield paint(STATUS_STYLES[value["status"]], " · ".join(part for part in parts if part))


def _item(item: Item, paint: Paint, full: bool) -> Iterator[str]:
    value = item.value
    match item.entity:
        case "message":
            streaming = paint("yellow", "  streaming") if value["status"] == "streaming" else ""
            yield ""
            when = paint("dim", " · ".join(filter(None, [clock(value["createdAt"]), author(value)])))
            yield f"{paint(WHO[value['role']], value['role'])}  {when}{streaming}"
            for block in said(value["text"], value["content"]):
                lines = clean(block.text).rstrip().split("\n")
                yield from (paint("dim", line) for line in lines) if block.kind == "link" else lines
        case "activity":
            yield from _activity(value, paint, full)
        case "approval":
            text = paint(STATUS_STYLES[value["status"]], answer(value))
            yield f"  {paint('magenta', '?')} {one_line(value['title'])}  {paint('dim', '→')} {text}"
        case "checkpoint":
            restored = f"  restored {clock(value['restoredAt'])}" if value["restoredAt"] else ""
            what = checkpoint(value["phase"])
            text = f"{paint('cyan', f'◆ {what}')} {one_line(value['message'])}"
            yield f"  {text}  {paint('dim', kept(value['gitRef'], value['commit']) + restored)}"
        case "changes":
            yield from _changes(value, paint, full)


def _changes(changes: TurnChanges, paint: Paint, full: bool) -> Iterator[str]:
    yield ""
    if changes.failed:
        yield paint("dim", f"  what this turn changed cannot be shown: {one_line(changes.failed)}")
        return
    yield f"  {paint('cyan', '±')} {summary(changes)}  {_counts(changes.added, changes.removed, paint)}"
    for each in changes.files:
        file = each.file
        parts = [one_line(file.path), paint("dim", one_line(how(file))), _counts(file.added, file.removed, paint)]
        yield f"    {'  '.join(part for part in parts if part)}"
        if full and each.patch is not None:
            yield from _block(Block("diff", "", hunks(each.patch)), "", paint, full)
        elif full:
            yield paint("dim", "    │ (the diff is left out for its length: `treadle diff` shows it)")
    if changes.more:
        yield paint("dim", f"    … and {changes.more:,} more")


def _counts(added: int, removed: int, paint: Paint) -> str:
    parts = [paint("green", counts(added, 0)), paint("red", counts(0, removed))]
    return " ".join(part for part in parts if part)


def _activity(value: Entity, paint: Paint, full: bool) -> Iterator[str]:
    is_tool = value["kind"] == "tool_call"
    kind = "" if is_tool else f"{one_line(value['kind'])}: "
    status = paint(STATUS_STYLES[value["status"]], value["status"])
    duration = took(value["createdAt"], value["updatedAt"])
    mark = paint("yellow", "⚙") if is_tool else paint("dim", "·")
    yield f"  {mark} {kind}{one_line(value['title'])}  {status}  {paint('dim', duration)}".rstrip()
    if value["kind"] == "usage" and not full:
        return
    for block in blocks(value["detail"]):
        if full or block.kind != "json":
            yield from _block(block, value["title"], paint, full)


def _block(block: Block, title: str, paint: Paint, full: bool) -> Iterator[str]:
    if block.title == "command" and block.text.strip() == title.strip():
        return
    lines = clean(block.text).rstrip("\n").split("\n")
    shown = lines if full else lines[:FEW_LINES]
    for line in shown:
        style = {"+": "green", "-": "red", "@": "dim"}.get(line[:1], "") if block.kind == "diff" else "dim"
        yield f"    {paint('dim', '│')} {paint(style, line if full else output.fit(line, 200))}"
    if len(shown) < len(lines):
        yield f"    {paint('dim', f'│ … {len(lines) - len(shown):,} more lines (show them with --full)')}"
