"""What `treadle import` does with the histories of other tools, and how it says it."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import treadle.cli.output as output
from treadle.cli.progress import ProgressLine
from treadle.domain.paths import normalized, path_key
from treadle.store.errors import UserError
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.reader import Reader, reading
from treadle.transfer.histories import HistoryImport, HistoryReport, preview, threads_of
from treadle.transfer.sources.catalog import Catalog
from treadle.transfer.sources.overview import SOON, ToolOverview, overview
from treadle.transfer.sources.selection import Selection
from treadle.transfer.sources.source import Source
from treadle.transfer.sources.tools import SOURCES

Work = list[tuple[Source, list[Path], HistoryReport]]

SHOWN = 8  # kinds of what was skipped that are named
MAX_HOOK = 16 * 1024 * 1024  # bytes of what a hook gets


# What there is


def show_overview(options: argparse.Namespace, data_dir: Path) -> int:
    """Print the table of histories."""
    found: list[ToolOverview] = []
    failed = False
    for source in SOURCES.values():
        folder = source.home(os.environ, Path.home())
        if folder.is_dir():
            try:
                found.append(overview(source, folder, _known(source, data_dir)))
            except OSError as error:
                print(f"treadle: {folder}: {error.strerror or error}", file=sys.stderr)
                failed = True
    if options.json:
        for one in found:
            output.print_json(msgspec.json.encode(one))
        return int(failed)
    rows = [("TOOL", "FOLDER", "SESSIONS", "SIZE", "OLDEST", "DELETED SOON", "HERE")]
    for one in found:
        oldest = output.to_the_minute(one.oldest)[:10] if one.oldest else ""
        soon = "never" if one.keeps is None else f"{one.deleted_soon:,}"
        size, count = output.size(one.size), f"{one.sessions:,}"
        rows.append((one.tool, _short(Path(one.folder)), count, size, oldest, soon, f"{one.imported:,}"))
    if not found:
        print("no history of another tool was found: name its folder, as in `treadle import claude FOLDER`")
        return int(failed)
    widths = [max(map(output.width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (output.pad(output.one_line(cell), width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print(f"\nDELETED SOON: what the tool deletes within {SOON:.0f} days. HERE: sessions that are threads here.")
    print("`treadle import --all` imports what is new; `treadle import TOOL` only that of one tool.")
    return int(failed)


def _known(source: Source, data_dir: Path) -> set[str]:
    """Ids and files that threads here come from."""
    if not (data_dir / FILE_NAME).exists():
        return set()
    with reading(data_dir) as reader:
        threads = reader.read(lambda reads: [*threads_of(reads, source.tool)])
    return {name for thread in threads for name in (thread.id, thread.session, str(thread.source)) if name}


def _short(folder: Path) -> str:
    """The folder, from the user's own."""
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if home in folder.parents else str(folder)


# Importing


def import_tools(options: argparse.Namespace, data_dir: Path, tools: list[str]) -> int:
    """Import the histories of these tools; print what became of them and return the exit status."""
    project = options.project and path_key(normalized(str(options.project.expanduser().absolute())))
    paths = tuple(path.expanduser().absolute() for path in options.paths)
    selection = Selection(paths=paths, project=project, since=options.since, session=options.session)
    work: Work = []
    for source in (SOURCES[tool] for tool in tools):
        folders = [*paths] or [source.home(os.environ, Path.home()).absolute()]
        if missing := [folder for folder in folders if not folder.exists()]:
            if not options.all:
                raise UserError(f"{missing[0]} does not exist: name the folder with the history of {source.tool}")
            continue
        work.append((source, folders, HistoryReport(tool=source.tool, folders=[*map(str, folders)])))
    if not work:
        print("no history of another tool was found")
        return 0
    if options.dry_run:
        _preview(work, data_dir, selection, options.full)
    else:
        asyncio.run(_import(work, data_dir, selection, options))
    if options.dry_run or not options.follow:
        _print_all(work, options)
    return _status(work, options.strict)


async def _import(work: Work, data_dir: Path, selection: Selection, options: argparse.Namespace) -> None:
    progress = ProgressLine("importing", "bytes")
    async with HistoryImport(data_dir, full=options.full, progress=progress) as history:
        try:
            for source, folders, report in work:
                try:
                    await history.run(source, folders, selection, report)
                except OSError as error:
                    report.imported.failed.append(str(error))
        except asyncio.CancelledError:
            _print_all(work, options)
            raise
        if options.follow:
            _print_all(work, options)
            print("treadle: following; press Ctrl-C to stop", file=sys.stderr, flush=True)
            await history.follow(work, selection, _told(options))


def _told(options: argparse.Namespace) -> Callable[[HistoryReport, int], None]:
    """Prints that something new was imported."""

    def told(report: HistoryReport, events: int) -> None:
        if options.json:
            output.print_json(msgspec.json.encode({"tool": report.tool, "events": events}))
        else:
            print(f"{report.tool}: {_count(events, 'new event')}")
        sys.stdout.flush()

    return told


def _preview(work: Work, data_dir: Path, selection: Selection, full: bool) -> None:
    """Count what is new, and write nothing."""
    if not (data_dir / FILE_NAME).exists():
        _count_new(work, selection, full, Catalog(data_dir, "", 0), None)
        return
    with reading(data_dir) as reader:
        log_id, sequence = reader.read(lambda reads: (reads.log_span().log_id, reads.sequence()))
        _count_new(work, selection, full, Catalog(data_dir, log_id, sequence), reader)


def _count_new(work: Work, selection: Selection, full: bool, catalog: Catalog, reader: Reader | None) -> None:
    for source, folders, report in work:
        for thread_id, turns in preview(source, folders, selection, report, catalog, full):
            there = 0
            if reader is not None:
                is_known = bool(reader.read(lambda reads, id=thread_id: reads.entities("thread", None, [id])))  # type: ignore[misc]
                for start in range(0, len(turns), 500):
                    part = turns[start : start + 500]
                    there += len(reader.read(lambda reads, id=thread_id, ids=part: reads.entities("turn", id, ids)))  # type: ignore[misc]
            report.imported.threads += reader is None or not is_known
            report.imported.turns += len(turns) - there


def _status(work: Work, strict: bool) -> int:
    """1 if something could not be read or was rejected; with `strict`, also if anything was skipped."""
    for _, _, report in work:
        if report.imported.failed or report.imported.rejected or (strict and report.source.skipped):
            return 1
    return 0


# What became of it


def _print_all(work: Work, options: argparse.Namespace) -> None:
    for _, _, report in work:
        if options.json:
            output.print_json(msgspec.json.encode(as_json(report)))
        else:
            sys.stdout.writelines(f"{output.clean(line)}\n" for line in lines(report, options.dry_run))
    sys.stdout.flush()


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
    yield f"{report.tool}  {', '.join(_short(Path(f)) for f in report.folders)}  {_sessions(report)}"
    new = f"{_count(imported.threads, 'new thread')}, {_count(imported.turns, 'new turn')}"
    said = [f"would import {new}" if is_dry else f"{new}, {_count(imported.events, 'new event')}"]
    if report.unchanged:
        said.append(f"{_count(report.unchanged, 'session')} unchanged")
    if imported.still_going:
        said.append(f"{_count(imported.still_going, 'turn')} still going, left for the next import")
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
        yield f"  deleted by the tool, kept here: {_count(report.gone, 'thread')}"
    for name in source.named:
        yield f"  {name}"
    for reason in imported.failed:
        yield f"  failed: {reason}"


def _sessions(report: HistoryReport) -> str:
    return f"{_count(report.sessions, 'session')}, {output.size(report.size)}"


def _kinds(counts: Counter[str]) -> str:
    """How many of each kind, the most frequent first. What the tool keeps for itself is one kind."""
    merged = Counter[str]()
    for kind, number in counts.items():
        merged[kind.partition(": ")[0]] += number
    counts = merged
    kinds = [f"{number:,} × {kind}" for kind, number in counts.most_common(SHOWN)]
    rest = sum(counts.values()) - sum(number for _, number in counts.most_common(SHOWN))
    return "; ".join([*kinds, *([f"{rest:,} others"] if rest else [])])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# As a hook


def run_hook(options: argparse.Namespace, data_dir: Path) -> int:
    """Start the import of the session that a hook names. With --strict, wait for it and say how it went."""
    try:
        told = json.loads(sys.stdin.buffer.read(MAX_HOOK))
        path = Path(told["transcript_path"]).expanduser().absolute()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if options.strict:
            raise UserError(f"stdin is not what a hook gets, a JSON object with `transcript_path`: {error}") from None
        return 0
    command = [sys.executable, "-m", "treadle", "import", options.tool, str(path), "--data-dir", str(data_dir)]
    try:
        if options.strict:
            return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode
        nothing = subprocess.DEVNULL
        subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, cwd="/")
    except (OSError, ValueError) as error:
        if options.strict:
            raise UserError(f"the import was not started: {error}") from None
    return 0
