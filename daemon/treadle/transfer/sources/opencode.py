"""OpenCode: `~/.local/share/opencode`, with up to three stores; see opencode_stores.py."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from treadle.agents.shapes import Json, as_object, as_text, fitting
from treadle.domain import commands as c
from treadle.store.sqlite.foreign import open_foreign
from treadle.transfer.sources.lines import described, is_file, read_json, read_whole
from treadle.transfer.sources.opencode_stores import (
    has_idle,
    session_files,
    session_ids,
    session_row,
    stamp_of_files,
    stamp_of_rows,
    stored_in_database,
    stored_in_files,
)
from treadle.transfer.sources.opencode_thread import OpenCodeThread
from treadle.transfer.sources.source import Discovery, Source, SourceReport, ToolSession, time_of
from treadle.transfer.sources.thread_writer import Commands, ThreadWriter

TOOL = "opencode"


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The data folder of OpenCode."""
    if database := environment.get("OPENCODE_DB"):
        return Path(database).parent
    return Path(environment.get("XDG_DATA_HOME") or user / ".local" / "share") / "opencode"


def discover(folder: Path, report: SourceReport, known: Discovery = described) -> Iterator[ToolSession]:
    """The sessions in a data folder, each in the newest store that has its messages. Raises OSError."""
    seen: set[str] = set()

    def rows_of(path: Path) -> list[ToolSession]:
        try:
            return _sessions(path)
        except OSError as error:
            report.skip("a database that cannot be read", f"{path}: {error}")
            return []

    for path in sorted(folder.glob("opencode*.db")):
        for session in known(path, rows_of):
            if session.id not in seen:
                seen.add(session.id)
                yield session
    for path, store in session_files(folder):
        told = as_object(read_whole(path, report)) if is_file(path) else {}
        id = path.stem if (store / "message" / path.stem).is_dir() else as_text(told.get("id"), path.stem)
        messages = store / "message" / id
        if id not in seen and messages.is_dir():
            seen.add(id)
            yield _session(path, id, _from_file(told, messages))


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    writer = ThreadWriter(session, report, full)
    if session.path.suffix == ".json":
        told = as_object(read_whole(session.path, report))
        store = _store(session.path)
        thread = OpenCodeThread(writer, reverted=_reverted(told.get("revert")))
        for stored in stored_in_files(store, session.id, report):
            yield from thread.feed(stored)
        yield from thread.end(as_text(told.get("title"), ""))
        return
    with open_foreign(session.path) as database:
        table = dict(session_ids(database)).get(session.id, "message")
        row = session_row(database, session.id, table)
        thread = OpenCodeThread(writer, reverted=_reverted(row.get("revert")), has_ends=has_idle(database, session.id))
        for stored in stored_in_database(database, session.id, table, report):
            yield from thread.feed(stored)
        yield from thread.end(as_text(row.get("title"), ""))


SOURCE = Source(TOOL, home, None, discover, read, frozenset({"storage", "project"}))


def _sessions(path: Path) -> list[ToolSession]:
    """The sessions in a database. Each is stamped by the times and sizes of its rows, which are written in place."""
    with open_foreign(path) as database:
        return [
            _session(path, id, {**session_row(database, id, table), **stamp_of_rows(database, id, table)})
            for id, table in session_ids(database)
        ]


def _session(path: Path, id: str, row: Json) -> ToolSession:
    modified = row.get("time_updated")
    parent, fork = as_text(row.get("parent_id"), ""), as_text(row.get("fork_session_id"), "")
    return ToolSession(
        tool=TOOL,
        id=id,
        thread_id=_thread_id(id),
        path=path,
        folder=as_text(row.get("directory"), "") or None,
        size=row.get("size", 0),
        modified=modified / 1000 if isinstance(modified, int | float) else path.stat().st_mtime,
        oldest=time_of(row.get("time_created")),
        stamp=row["stamp"],
        parent=c.ParentThread(thread_id=_thread_id(parent)) if parent else None,
        fork_of=c.ForkedThread(thread_id=_thread_id(fork)) if fork else None,
    )


def _thread_id(id: str) -> str:
    return fitting(f"{TOOL}:{id}")


def _from_file(told: Json, messages: Path) -> Json:
    """What a file says of a session, with the names that the database has."""
    times = as_object(told.get("time"))
    files = [path.stat() for path in messages.glob("*.json") if is_file(path)]
    latest = max((file.st_mtime for file in files), default=0.0) * 1000
    names = {"parentID": "parent_id", "directory": "directory"}
    return {
        **{new: told.get(old) for old, new in names.items()},
        "time_created": times.get("created"),
        "time_updated": latest,
        "size": sum(file.st_size for file in files),
        "stamp": stamp_of_files(messages),
    }


def _store(path: Path) -> Path:
    """The store of a session file: `STORE/session/PROJECT/ID.json`, formerly `STORE/session/info/ID.json`."""
    return path.parent.parent if path.parent.name == "info" else path.parent.parent.parent


def _reverted(value: Any) -> str:
    """The message that the user went back to before."""
    told = read_json(value.encode(errors="replace")) if isinstance(value, str) else value
    return as_text(as_object(told).get("messageID"), "")
