"""Codex: `sessions/YEAR/MONTH/DAY/rollout-TIME-THREAD.jsonl` in `~/.codex`, and `archived_sessions`.

After a week it compresses a file in place (`.jsonl.zst`). Its databases are indexes of these files, and not read.
"""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from treadle.agents.shapes import Json, as_object, as_text, fitting
from treadle.domain import commands as c
from treadle.transfer.sources.codex_thread import CodexThread
from treadle.transfer.sources.forks import Turns, shared_turns, turns_of
from treadle.transfer.sources.lines import COMPRESSED, is_file, read_head, read_records
from treadle.transfer.sources.source import Source, SourceReport, ToolSession, time_of
from treadle.transfer.sources.thread_writer import Commands, ThreadWriter

TOOL = "codex"
_NAME = re.compile(r"rollout-.{19}-([0-9a-f-]{36})")


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The folder of Codex."""
    return Path(environment.get("CODEX_HOME") or user / ".codex")


def discover(folder: Path, report: SourceReport) -> Iterator[ToolSession]:
    """The sessions in a folder of Codex. Raises OSError."""
    files = [
        path
        for place in ("sessions", "archived_sessions")
        for path in sorted((folder / place).rglob("rollout-*"))
        if is_file(path) and path.name.endswith((".jsonl", ".jsonl.zst"))
    ]
    plain = {path.name for path in files}
    can_decompress = importlib.util.find_spec("zstandard") is not None
    found: list[tuple[ToolSession, Json]] = []
    for path in files:
        if path.suffix == ".zst":
            if path.stem in plain:  # it was opened again, and is both
                continue
            if not can_decompress:
                report.skip(COMPRESSED, str(path))
                continue
        found.append(_session(path))
    paths = {session.id: session.path for session, _ in found}
    for session, meta in found:
        yield _related(session, meta, paths)


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    thread = CodexThread(ThreadWriter(session, report, full))
    for record in read_records(session.path, report, _last_record):
        yield from thread.feed(record)
    yield from thread.end()


SOURCE = Source(TOOL, home, discover, read)


def _last_record(line: bytes) -> bytes | None:
    """The record that follows a cut one in the same line (https://github.com/openai/codex/issues/24425)."""
    start = line.rfind(b'{"timestamp":')
    return line[start:] if start > 0 else None


def _session(path: Path) -> tuple[ToolSession, Json]:
    """The session of a file, and what it says of itself."""
    head = read_head(path)
    first = next((record for record in head if record.get("type", "session_meta") == "session_meta"), {})
    meta = as_object(first.get("payload", first))
    named = _NAME.match(path.name)
    id = as_text(meta.get("id"), "") or (named[1] if named else path.name.partition(".")[0])
    told = path.stat()
    session = ToolSession(
        tool=TOOL,
        id=id,
        thread_id=fitting(f"{TOOL}:{id}"),
        path=path,
        folder=as_text(meta.get("cwd"), "") or None,
        size=told.st_size,
        modified=told.st_mtime,
        oldest=next((at for record in head if (at := time_of(record.get("timestamp")))), None),
        is_archived="archived_sessions" in path.parts,
    )
    return session, meta


def _related(session: ToolSession, meta: Json, paths: Mapping[str, Path]) -> ToolSession:
    """The session with the one that it was forked from, or that it works for. Both repeat the turns of that one."""
    subagent = as_object(as_object(meta.get("source")).get("subagent"))
    spawned = as_object(subagent.get("thread_spawn"))
    parent = as_text(spawned.get("parent_thread_id"), as_text(meta.get("parent_thread_id"), ""))
    forked = as_text(meta.get("forked_from_id"), "")
    if parent and parent != session.id and not forked:
        session = replace(session, parent=c.ParentThread(thread_id=fitting(f"{TOOL}:{parent}")))
    original = forked or parent
    if not original or original == session.id:
        return session
    path = paths.get(original)
    shared = shared_turns(_turns(session.path), _turns(path)) if path is not None else []
    if shared or forked:
        turn_id = shared[-1] if shared else None
        fork = c.ForkedThread(thread_id=fitting(f"{TOOL}:{original}"), turn_id=turn_id)
        session = replace(session, fork_of=fork)
    return session


def _turns(path: Path) -> Turns:
    """The turns of a file. Times are new in a copy, and so is what the tool adds for itself."""
    session, _ = _session(path)
    return turns_of(path, CodexThread(ThreadWriter(session, SourceReport(), False)), lambda record: "")
