"""The stores of OpenCode: JSON files (up to 1.1), SQLite (1.2 to 1.18) and SQLite in other tables (2.x).

A machine may have all three, and a session in several: an upgrade copies, and not always everything
(https://github.com/anomalyco/opencode/issues/49641). So each session is looked for in the newest store first.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from treadle.agents.shapes import Json, as_object, as_text
from treadle.store.sqlite.foreign import ForeignDatabase
from treadle.transfer.sources.lines import MAX_LINE, is_file, read_json, read_whole
from treadle.transfer.sources.source import SourceReport

_SESSION_IDS = {
    "session_message": "SELECT DISTINCT session_id FROM session_message",
    "message": "SELECT DISTINCT session_id FROM message",
}
_SESSION = {
    "session_v2": "SELECT * FROM session_v2 WHERE id = ?",
    "session": "SELECT * FROM session WHERE id = ?",
}
_WORKTREE = "SELECT worktree FROM project WHERE id = ?"
_UPDATED = {
    "session_message": "SELECT max(time_updated) FROM session_message WHERE session_id = ?",
    "message": "SELECT max(time_updated) FROM message WHERE session_id = ?",
}
_STAMPS = {
    name: f"SELECT count(*), max(time_updated), sum(length(data)) FROM {name} WHERE session_id = ?"
    for name in ("session_message", "message", "part")
}
_MESSAGES = "SELECT id FROM message WHERE session_id = ? ORDER BY time_created, id"
_MESSAGE = "SELECT data, time_created FROM message WHERE id = ? AND length(data) <= ?"
_PARTS = "SELECT id, data, time_created FROM part WHERE message_id = ? AND length(data) <= ? ORDER BY id"
_ENTRIES = "SELECT id FROM session_message WHERE session_id = ? ORDER BY seq, id"
_ENTRY = "SELECT type, data, time_created FROM session_message WHERE id = ? AND length(data) <= ?"


class Stored(Struct):
    """A message of a session. type: its kind in the newest store, empty in the others. parts: of the others, by id."""

    id: str
    type: str
    data: Json
    time: Any = None
    parts: list[tuple[str, Json]] = []


# SQLite


def session_ids(database: ForeignDatabase) -> Iterator[tuple[str, str]]:
    """The sessions that have messages, and the table that has them, the newest store first."""
    seen: set[str] = set()
    for table, ids in _SESSION_IDS.items():
        if not database.columns(table):
            continue
        for (id,) in database.rows(ids):
            if isinstance(id, str) and id not in seen:
                seen.add(id)
                yield id, table


def session_row(database: ForeignDatabase, id: str, table: str) -> Json:
    """What the database says of a session."""
    told: Json = {}
    for name in ("session_v2", "session"):
        columns = database.rows("SELECT name FROM pragma_table_info(?)", name)
        for row in database.rows(_SESSION[name], id) if columns else ():
            told = {**dict(zip((column for (column,) in columns), row, strict=True)), **told}
    if not told.get("directory") and told.get("project_id") and database.columns("project"):
        told["directory"] = next((path for (path,) in database.rows(_WORKTREE, told["project_id"])), None)
    told.setdefault("time_updated", database.rows(_UPDATED[table], id)[0][0])
    return told


def stamp_of_rows(database: ForeignDatabase, id: str, table: str) -> Json:
    """How large the session is, and a stamp that differs once a row of it was added or written."""
    tables = ("message", "part") if table == "message" else ("session_message",)
    found = [database.rows(_STAMPS[name], id)[0] for name in tables if database.columns(name)]
    return {"stamp": " ".join(map(str, found)), "size": sum(size or 0 for _, _, size in found)}


def has_idle(database: ForeignDatabase, id: str) -> bool:
    """Whether the session says itself where its turns end."""
    sql = "SELECT 1 FROM session_message WHERE session_id = ? AND type = 'idle' LIMIT 1"
    return bool(database.columns("session_message")) and bool(database.rows(sql, id))


def stored_in_database(database: ForeignDatabase, id: str, table: str, report: SourceReport) -> Iterator[Stored]:
    """The messages of a session."""
    for (message_id,) in database.rows(_MESSAGES if table == "message" else _ENTRIES, id):
        for row in database.rows(_MESSAGE if table == "message" else _ENTRY, message_id, MAX_LINE):
            type, text, created = ("", *row) if table == "message" else row
            data = _decoded(text, report, f"{table} {message_id}")
            stored = Stored(str(message_id), str(type), data, created)
            if table == "message":
                parts = database.rows(_PARTS, message_id, MAX_LINE)
                stored.parts = [(str(p), _decoded(part, report, f"part {p}")) for p, part, _ in parts]
            report.records += 1 + len(stored.parts)
            yield stored


def _decoded(text: Any, report: SourceReport, where: str) -> Json:
    value = read_json(text.encode(errors="replace") if isinstance(text, str) else bytes(text or b""))
    if not isinstance(value, dict):
        report.skip("a row that is not a JSON object", where)
    return as_object(value)


# Files


def session_files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The files that describe a session, and the folder of their store, which has `message` and `part`. The folder may
    be the store itself."""
    for path in sorted(folder.glob("session/*/*.json")):
        yield path, folder
    for path in sorted(folder.glob("storage/session/*/*.json")):
        yield path, folder / "storage"
    for path in sorted(folder.glob("project/*/storage/session/info/*.json")):
        yield path, path.parent.parent


def stamp_of_files(messages: Path) -> str:
    """Differs once a message of the session, or a part of one, was added or written."""
    parts = messages.parent.parent / "part"
    found = _json_files(messages)
    files = [*found, *(file for path in found for file in _json_files(parts / path.stem))]
    times = [file.stat().st_mtime_ns for file in files]
    return f"{len(files)} {max(times, default=0)}"


def stored_in_files(store: Path, id: str, report: SourceReport) -> Iterator[Stored]:
    """The messages of a session. Ids are those of the files, and of the members where the files are only numbered."""
    loose: dict[str, list[Path]] = defaultdict(list)  # some versions put all parts into one folder
    for path in _json_files(store / "part"):
        loose[as_text(as_object(read_whole(path, SourceReport())).get("messageID"), "")].append(path)
    for path in _json_files(store / "message" / id):
        data = as_object(read_whole(path, report))
        message_id = as_text(data.get("id"), path.stem)
        parts = []
        folders = (store / "part" / message_id, store / "part" / id / message_id)
        for file in [*loose[message_id], *(file for folder in folders for file in _json_files(folder))]:
            part = as_object(read_whole(file, report))
            parts.append((as_text(part.get("id"), f"{message_id}:{file.stem}"), part))
        report.records += 1 + len(parts)
        yield Stored(message_id, "", data, None, parts)


def _json_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.json")) if is_file(path)] if folder.is_dir() else []
