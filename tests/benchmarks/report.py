"""Reports the results of a run, on the terminal and in docs/benchmarks.md."""

import json
import os
import platform
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import plot
from benchmarks.harness import ROOT, WORK, Absent, Figure, Row

PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.svg"
LAST = WORK / "last.json"
MEASURED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- /measured -->)", re.DOTALL)

ADDED = Absent("not measured: the row is newer than the run")

Found = Mapping[str, Figure | Absent]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(figure: Figure) -> str:
    return f"{number(min(figure.values))} – {number(max(figure.values))}"


def bound(row: Row, value: float) -> str:
    return f"{row.better} {number(value)}" + (f" {row.unit}" if row.unit else "")


def verdict(row: Row, figure: Figure) -> str:
    if row.reaches(figure.median, row.aim):
        return "aim"
    return "reached" if row.reaches(figure.median, row.reach) else "FALLS SHORT"


def line(row: Row, found: Figure | Absent) -> str:
    """A row as a line for the terminal."""
    if isinstance(found, Absent):
        return f"{row.name:22} {'–':>8}  {found.why}"
    value = f"{number(found.median)} {row.unit}".strip()
    return f"{row.name:22} {value:>8}  {bound(row, row.reach):9} {verdict(row, found):11}  {found.beside}"


def tables(rows: tuple[Row, ...], found: Found) -> str:
    """The rows as tables for docs/benchmarks.md."""
    lines = [
        "| row | measured as | median | least – most | reach | aim | so |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        figure = found.get(row.name, ADDED)
        measured = ("–", "–") if isinstance(figure, Absent) else (number(figure.median), spread(figure))
        outcome = figure.why if isinstance(figure, Absent) else verdict(row, figure)
        if outcome == "FALLS SHORT":
            outcome = "**falls short**"
        unit = f" {row.unit}" if row.unit and not isinstance(figure, Absent) else ""
        cells = (row.name, row.measured_as, f"{measured[0]}{unit}", measured[1])
        lines.append(f"| {' | '.join(cells)} | {bound(row, row.reach)} | {bound(row, row.aim)} | {outcome} |")
    lines += ["", "What these came from, medians:", ""]
    for row in rows:
        figure = found.get(row.name, ADDED)
        if isinstance(figure, Figure):
            lines.append(f"- {row.name}: {figure.beside}")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """The machine, in general terms."""
    return (
        f"{os.cpu_count()} {platform.machine()} cores of a shared machine, {platform.system()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def keep(found: Found, rounds: int) -> None:
    """Save the results, so that the page can be generated again."""
    figures = {name: asdict(figure) for name, figure in found.items()}
    LAST.write_text(json.dumps({"date": f"{datetime.now(UTC):%Y-%m-%d}", "rounds": rounds, "rows": figures}))


def write(rows: tuple[Row, ...], page: Path = PAGE) -> None:
    """Write the last whole run between the marks of the page, and leave the rest of the page unchanged."""
    last = json.loads(LAST.read_text())
    found: dict[str, Figure | Absent] = {
        name: Absent(**fields) if "why" in fields else Figure(**fields) for name, fields in last["rows"].items()
    }
    medians = [(row, figure.median) for row in rows if isinstance(figure := found.get(row.name), Figure)]
    PLOT.write_text(plot.svg(medians), encoding="utf-8")
    image = f"![Each figure beside what it must reach]({PLOT.name})"
    head = f"{image}\n\nMeasured on {last['date']}: {machine()}.\nMedians of {last['rounds']} pairs, taken in turn.\n\n"
    text = f"\n{head}{tables(rows, found)}\n"
    page.write_text(MEASURED.sub(lambda _: text, page.read_text(encoding="utf-8")), encoding="utf-8")
