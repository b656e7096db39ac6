"""Imports the histories of other tools: `treadle import TOOL`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

import treadle.cli.output as output
from treadle.cli.import_report import as_json, lines
from treadle.cli.progress import ProgressLine
from treadle.domain.paths import normalized, path_key
from treadle.store.errors import UserError
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.reader import Reader, reading
from treadle.transfer.histories import HistoryImport, HistoryReport, preview
from treadle.transfer.sources.catalog import Catalog
from treadle.transfer.sources.importer import is_recorded
from treadle.transfer.sources.selection import Selection
from treadle.transfer.sources.source import Source, ToolSession
from treadle.transfer.sources.tools import SOURCES

Work = list[tuple[Source, list[Path], HistoryReport]]


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
            print(f"{report.tool}: {output.count(events, 'new event')}")
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
    def is_left_out(session: ToolSession) -> bool:
        return reader is not None and bool(reader.read(lambda reads: is_recorded(reads, session)))

    for source, folders, report in work:
        for thread_id, turns in preview(source, folders, selection, report, catalog, full, is_left_out):
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


def _print_all(work: Work, options: argparse.Namespace) -> None:
    for _, _, report in work:
        if options.json:
            output.print_json(msgspec.json.encode(as_json(report)))
        else:
            sys.stdout.writelines(f"{output.clean(line)}\n" for line in lines(report, options.dry_run))
    sys.stdout.flush()
