"""Formats comparisons as git does: the unified diff in colours, the statistics of files, their names."""

import os
from collections.abc import Iterator

import treadle.cli.output as output
from treadle.cli.file_paths import quoted
from treadle.cli.output import Paint, clean, count
from treadle.workspace.diffs import Diff
from treadle.workspace.parsing import RawChange

WIDTH = 80  # columns of the statistics if stdout is no terminal
_STYLES = {b"+": "green", b"-": "red"}


def coloured(patches: list[bytes], paint: Paint) -> Iterator[str]:
    """The lines of unified diffs, safe on a terminal."""
    for patch in patches:
        in_head = True
        for line in patch.removesuffix(b"\n").split(b"\n"):
            text = clean(os.fsdecode(line))
            if line.startswith(b"@@ "):
                in_head = False
                place, ats, rest = text[3:].partition(" @@")
                yield paint("cyan", f"@@ {place}{ats}") + rest
            elif line.startswith(b"diff --git "):  # a change of the type is a removal and an addition
                in_head = True
                yield paint("bold", text)
            else:
                yield paint("bold" if in_head else _STYLES.get(line[:1], ""), text)


def statistics(diff: Diff, paint: Paint) -> Iterator[str]:
    """A line for each file, with a bar as long as what changed, and a line for all."""
    names = [clean(os.fsdecode(_name(change))) for change in diff.changes]
    lines = [(change.added or 0, change.removed or 0) for change in diff.changes]
    columns = output.columns() or WIDTH
    longest = max((sum(each) for each in lines), default=0)
    digits = max(len(str(longest)), 3)
    widest = min(max((output.width(name) for name in names), default=0), max(columns - digits - 16, 20))
    room = max(columns - widest - digits - 6, 8)
    for name, change, (added, removed) in zip(names, diff.changes, lines, strict=True):
        if change.added is None:
            changed, bar = "Bin", ""
        else:
            plus, minus = _bar(added, removed, longest, room)
            changed, bar = str(added + removed), f" {paint('green', '+' * plus)}{paint('red', '-' * minus)}"
        yield f" {output.pad(_end_of(name, widest), widest)} | {changed:>{digits}}{bar}".rstrip()
    if names:
        yield summary(len(names), sum(added for added, _ in lines), sum(removed for _, removed in lines))


def summary(files: int, added: int, removed: int) -> str:
    """` 3 files changed, 2 insertions(+), 1 deletion(-)`."""
    parts = [f" {count(files, 'file')} changed"]
    if added or not removed:
        parts.append(f"{count(added, 'insertion')}(+)")
    if removed or not added:
        parts.append(f"{count(removed, 'deletion')}(-)")
    return ", ".join(parts)


def _name(change: RawChange) -> bytes:
    return quoted(change.path) if change.status != "R" else quoted(change.old_path) + b" => " + quoted(change.path)


def _bar(added: int, removed: int, longest: int, room: int) -> tuple[int, int]:
    """The lengths of both parts; a part that is there has at least one character."""
    if longest <= room:
        return added, removed
    plus, minus = (max(round(lines * room / longest), 1) if lines else 0 for lines in (added, removed))
    return plus, min(minus, room - plus) if plus < room else minus


def _end_of(name: str, columns: int) -> str:
    """The name, or its end if it is too wide."""
    if output.width(name) <= columns:
        return name
    kept, room = "", columns - 1
    for character in reversed(name):
        room -= output.width(character)
        if room < 0:
            break
        kept = character + kept
    return f"…{kept}"
