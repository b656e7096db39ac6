"""Gemini CLI: `tmp/PROJECT/chats/session-*.jsonl` in `~/.gemini`, formerly `.json`.

PROJECT is a name that `projects.json` gives to a folder, formerly the SHA-256 of its path. Sessions of subagents are in
a folder with the id of the session that they work for.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from treadle.agents.shapes import Json, as_list, as_object, as_text, fitting
from treadle.domain import commands as c
from treadle.transfer.sources.gemini_thread import GeminiThread
from treadle.transfer.sources.lines import is_file, read_head, read_json, read_records, read_whole
from treadle.transfer.sources.source import Source, SourceReport, ToolSession, time_of
from treadle.transfer.sources.thread_writer import Commands, ThreadWriter

TOOL = "gemini"
MAX_NAME_FILE = 1024 * 1024  # bytes of a file with the names of folders


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The folder of Gemini CLI."""
    return Path(environment.get("GEMINI_CLI_HOME") or user) / ".gemini"


def discover(folder: Path, report: SourceReport) -> Iterator[ToolSession]:
    """The sessions in a folder of Gemini CLI; an older file of a session before a newer one. Raises OSError."""
    names = as_object(as_object(_small_json(folder / "projects.json")).get("projects"))
    for project in sorted((folder / "tmp").glob("*/chats")):
        place = project.parent
        root = place / ".project_root"
        named = root.read_text(errors="replace").strip() if is_file(root) else None
        worked_in = named or next((path for path in names if place.name in (names[path], _digest(path))), None)
        for path in sorted([*project.glob("session-*"), *project.glob("*/*.jsonl")], key=lambda path: path.suffix):
            if is_file(path) and path.suffix in (".json", ".jsonl"):
                yield _session(path, worked_in, None if path.parent == project else path.parent.name)


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    thread = GeminiThread(ThreadWriter(session, report, full))
    if session.path.suffix == ".json":
        for message in as_list(as_object(read_whole(session.path, report)).get("messages", [])):
            report.records += 1
            yield from thread.feed(as_object(message))
    else:
        for record in read_records(session.path, report):
            yield from thread.feed(record)
    yield from thread.end()


SOURCE = Source(TOOL, home, discover, read)


def _session(path: Path, folder: str | None, parent: str | None) -> ToolSession:
    told = _metadata(path)
    id = as_text(told.get("sessionId"), path.stem)
    found = path.stat()
    return ToolSession(
        tool=TOOL,
        id=id,
        thread_id=fitting(f"{TOOL}:{id}"),
        path=path,
        folder=folder,
        size=found.st_size,
        modified=found.st_mtime,
        oldest=time_of(told.get("startTime")),
        parent=c.ParentThread(thread_id=fitting(f"{TOOL}:{parent}")) if parent else None,
    )


def _metadata(path: Path) -> Json:
    """What a file says of its session: a whole JSON text, or one of the first lines."""
    if path.suffix == ".json":
        try:
            return as_object(read_whole(path, SourceReport()))
        except OSError:
            return {}
    return next((record for record in read_head(path) if "sessionId" in record), {})


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode(errors="replace")).hexdigest()


def _small_json(path: Path) -> object:
    return read_json(path.read_bytes()) if is_file(path) and path.stat().st_size <= MAX_NAME_FILE else None
