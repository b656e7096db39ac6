"""The report of an import of histories, for people and for programs."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import treadle.cli.output as output
from treadle.cli.output import count
from treadle.transfer.histories import HistoryReport

SHOWN = 8  # kinds of what was skipped that are named


def as_json(report: HistoryReport) -> dict[str, Any]:
    """The report for programs."""
    imported, source = report.imported, report.source
    return {
        "tool": report.tool,
        "folders": report.folders,
        "sessions": report.sessions,
        "size": report.size,
        "unchanged": report.unchanged,
        "read": report.read,
        "readSize": report.read_size,
        "threads": imported.threads,
        "turns": imported.turns,
        "events": imported.events,
        "stillGoing": imported.still_going,
        "records": source.records,
        "skipped": source.skipped,
        "cut": source.cut,
        "unknown": source.unknown,
        "named": source.named,
        "rejected": imported.rejected,
        "failed": imported.failed,
        "gone": report.gone,
        "seconds": round(report.seconds, 3),
    }


def lines(report: HistoryReport, is_dry: bool) -> Iterator[str]:
    """The report for people."""
    imported, source = report.imported, report.source
    yield f"{report.tool}  {', '.join(short(Path(f)) for f in report.folders)}  {_sessions(report)}"
    new = f"{count(imported.threads, 'new thread')}, {count(imported.turns, 'new turn')}"
    said = [f"would import {new}" if is_dry else f"{new}, {count(imported.events, 'new event')}"]
    if report.unchanged:
        said.append(f"{count(report.unchanged, 'session')} unchanged")
    if imported.still_going:
        said.append(
            f"{count(imported.still_going, 'turn')} without an end for less than 10 minutes, left for the next import"
        )
    yield f"  {'; '.join(said)}; {report.seconds:.1f} s"
    if source.skipped:
        yield f"  skipped: {_kinds(source.skipped)}"
    if source.cut:
        yield f"  cut: {_kinds(source.cut)}"
    if source.unknown:
        yield f"  not known, kept as activities: {_kinds(source.unknown)}"
    if imported.rejected:
        yield f"  not accepted: {_kinds(imported.rejected)}"
    if report.gone:
        yield f"  deleted by the tool, kept here: {count(report.gone, 'thread')}"
    for name in source.named:
        yield f"  {name}"
    for reason in imported.failed:
        yield f"  failed: {reason}"


def _sessions(report: HistoryReport) -> str:
    return f"{count(report.sessions, 'session')}, {output.size(report.size)}"


def _kinds(counts: Counter[str]) -> str:
    """How many of each kind, the most frequent first. What the tool keeps for itself is one kind."""
    merged = Counter[str]()
    for kind, number in counts.items():
        merged[kind.partition(": ")[0]] += number
    counts = merged
    kinds = [f"{number:,} × {kind}" for kind, number in counts.most_common(SHOWN)]
    rest = sum(counts.values()) - sum(number for _, number in counts.most_common(SHOWN))
    return "; ".join([*kinds, *([f"{rest:,} others"] if rest else [])])


def short(folder: Path) -> str:
    """The folder, from the user's own."""
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if home in folder.parents else str(folder)
