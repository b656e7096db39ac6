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
from treadle.transfer.sources.lines import described, is_file, read_head, read_lines, read_small, read_whole
from treadle.transfer.sources.source import Discovery, Source, SourceReport, ToolSession, session_in, time_of
from treadle.transfer.sources.thread_writer import Commands, ThreadWriter

TOOL = "gemini"
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "m": 30.0}


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The folder of Gemini CLI."""
    return Path(environment.get("GEMINI_CLI_HOME") or user) / ".gemini"


def files(folder: Path) -> Iterator[Path]:
    """The files of the sessions in a folder of Gemini CLI, or all files in another folder."""
    for path, _, _ in _files(folder):
        yield path


def discover(folder: Path, report: SourceReport, known: Discovery = described) -> Iterator[ToolSession]:
    """The sessions in a folder of Gemini CLI; an older file of a session before a newer one. Raises OSError."""
    names = as_object(as_object(read_small(folder / "projects.json")).get("projects"))
    folders: dict[Path, str | None] = {}
    for path, place, parent in _files(folder):
        if place not in folders:
            folders[place] = _worked_in(place, names)
        worked_in = folders[place]
        yield from known(path, lambda path, f=worked_in, p=parent: [_session(path, f, p)])  # type: ignore[misc]


def keeps(folder: Path) -> float | None:
    """After how many days without a change the tool deletes a session."""
    settings = as_object(read_small(folder / "settings.json"))
    told = as_object(as_object(settings.get("general")).get("sessionRetention", settings.get("sessionRetention")))
    if told.get("enabled") is False:
        return None
    number, unit = as_text(told.get("maxAge"), "30d")[:-1], as_text(told.get("maxAge"), "30d")[-1:]
    return float(number) * _DAYS[unit] if number.isascii() and number.isdecimal() and unit in _DAYS else 30.0


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    thread = _opened(session, report, full)
    if session.path.suffix != ".json":
        yield from read_lines(thread, session.path, report)
        return
    for message in as_list(as_object(read_whole(session.path, report)).get("messages", [])):
        report.records += 1
        yield from thread.feed(as_object(message))
    yield from thread.end()


def _opened(session: ToolSession, report: SourceReport, full: bool) -> GeminiThread:
    return GeminiThread(ThreadWriter(session, report, full))


SOURCE = Source(TOOL, home, files, discover, read, frozenset({"tmp"}), _opened, keeps=keeps)


def _files(folder: Path) -> Iterator[tuple[Path, Path, str | None]]:
    """Each file of a session, the folder of its project, and the session that a subagent works for."""
    if not (folder / "tmp").is_dir():
        for path in sorted(folder.rglob("*.json*"), key=lambda path: path.suffix):
            if path.suffix in (".json", ".jsonl"):
                yield path, path.parent, None
        return
    for chats in sorted((folder / "tmp").glob("*/chats")):
        for path in sorted([*chats.glob("session-*"), *chats.glob("*/*.jsonl")], key=lambda path: path.suffix):
            if path.suffix in (".json", ".jsonl"):
                yield path, chats.parent, None if path.parent == chats else path.parent.name


def _worked_in(place: Path, names: Json) -> str | None:
    """The folder of a project, which the tool has written into a file or knows by a name or a digest."""
    root = place / ".project_root"
    named = root.read_text(errors="replace").strip() if is_file(root) else None
    return named or next((path for path in names if place.name in (names[path], _digest(path))), None)


def _session(path: Path, folder: str | None, parent: str | None) -> ToolSession:
    told = _metadata(path)
    id = as_text(told.get("sessionId"), path.stem)
    belongs = c.ParentThread(thread_id=fitting(f"{TOOL}:{parent}")) if parent else None
    return session_in(TOOL, path, id, folder=folder, oldest=time_of(told.get("startTime")), parent=belongs)


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
