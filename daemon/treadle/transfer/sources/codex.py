"""Codex: `sessions/YEAR/MONTH/DAY/rollout-TIME-THREAD.jsonl` in `~/.codex`, and `archived_sessions`.

After a week it compresses a file in place (`.jsonl.zst`). Its databases are indexes of these files, and not read.
"""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from treadle.agents.shapes import as_object, as_text, fitting
from treadle.domain import commands as c
from treadle.transfer.sources.codex_thread import CodexThread
from treadle.transfer.sources.forks import Turns, shared_turns, turns_of
from treadle.transfer.sources.lines import COMPRESSED, described, read_head, read_lines
from treadle.transfer.sources.source import Discovery, Source, SourceReport, ToolSession, session_in, time_of
from treadle.transfer.sources.thread_writer import Commands, ThreadWriter

TOOL = "codex"
PLACES = frozenset({"sessions", "archived_sessions"})
_NAME = re.compile(r"rollout-.{19}-([0-9a-f-]{36})")


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The folder of Codex."""
    return Path(environment.get("CODEX_HOME") or user / ".codex")


def files(folder: Path) -> Iterator[Path]:
    """The files of the sessions in a folder of Codex, or all files in another folder."""
    places = [folder / place for place in sorted(PLACES) if (folder / place).is_dir()]
    pattern = "rollout-*" if places else "*"
    found = [path for place in places or [folder] for path in sorted(place.rglob(pattern), reverse=True)]
    plain = {path.name for path in found}
    for path in reversed(found):
        is_both = path.suffix == ".zst" and path.stem in plain  # it was opened again
        if path.name.endswith((".jsonl", ".jsonl.zst")) and path.name != "session_index.jsonl" and not is_both:
            yield path


def discover(folder: Path, report: SourceReport, known: Discovery = described) -> Iterator[ToolSession]:
    """The sessions in a folder of Codex. Raises OSError."""
    can_decompress = importlib.util.find_spec("zstandard") is not None
    found: list[ToolSession] = []
    for path in files(folder):
        if path.suffix == ".zst" and not can_decompress:
            report.skip(COMPRESSED, str(path))
        else:
            found += known(path, lambda path: [_session(path)])
    paths = {session.id: session.path for session in found}
    for session in found:
        yield session if session.is_known else _related(session, paths)


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    yield from read_lines(_opened(session, report, full), session.path, report, _last_record)


def _opened(session: ToolSession, report: SourceReport, full: bool) -> CodexThread:
    return CodexThread(ThreadWriter(session, report, full))


def _last_record(line: bytes) -> bytes | None:
    """The record that follows a cut one in the same line (https://github.com/openai/codex/issues/24425)."""
    start = line.rfind(b'{"timestamp":')
    return line[start:] if start > 0 else None


SOURCE = Source(TOOL, home, files, discover, read, PLACES, _opened, _last_record)


def _session(path: Path) -> ToolSession:
    """The session of a file. It begins as the one that it was forked from, or that it works for."""
    head = read_head(path)
    first = next((record for record in head if record.get("type", "session_meta") == "session_meta"), {})
    meta = as_object(first.get("payload", first))
    named = _NAME.match(path.name)
    id = as_text(meta.get("id"), "") or (named[1] if named else path.name.partition(".")[0])
    subagent = as_object(as_object(meta.get("source")).get("subagent"))
    spawned = as_object(subagent.get("thread_spawn"))
    parent = as_text(spawned.get("parent_thread_id"), as_text(meta.get("parent_thread_id"), ""))
    forked = as_text(meta.get("forked_from_id"), "")
    return session_in(
        TOOL,
        path,
        id,
        folder=as_text(meta.get("cwd"), "") or None,
        oldest=next((at for record in head if (at := time_of(record.get("timestamp")))), None),
        is_archived="archived_sessions" in path.parts,
        parent=c.ParentThread(thread_id=fitting(f"{TOOL}:{parent}")) if parent not in ("", id) and not forked else None,
        begins_as=forked or parent,
    )


def _related(session: ToolSession, paths: Mapping[str, Path]) -> ToolSession:
    """The session with what it is a fork of. Both a fork and a subagent repeat the turns of the original."""
    original = session.begins_as
    if not original or original == session.id:
        return session
    path = paths.get(original)
    shared = shared_turns(_turns(session.path), _turns(path)) if path is not None else []
    if shared or session.parent is None:
        turn_id = shared[-1] if shared else None
        fork = c.ForkedThread(thread_id=fitting(f"{TOOL}:{original}"), turn_id=turn_id)
        session = replace(session, fork_of=fork)
    return session


def _turns(path: Path) -> Turns:
    """The turns of a file. Times are new in a copy, and so is what the tool adds for itself."""
    thread = CodexThread(ThreadWriter(_session(path), SourceReport(), False))
    return turns_of(path, thread, lambda record: "")
