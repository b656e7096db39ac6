"""Claude Code: `projects/FOLDER/SESSION.jsonl` in `~/.claude`, and what is beside it.

FOLDER is made of the path, but cannot be turned back into it: the folder of a session is in its records. Beside a
session are those of its subagents (`SESSION/subagents/**/agent-ID.jsonl`, formerly `agent-ID.jsonl`) and long tool
results (`SESSION/tool-results`). `history.jsonl` has the prompts of all sessions, also of those that the tool deleted.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from treadle.agents.shapes import Json, as_object, as_text, digest, fitting
from treadle.domain import commands as c
from treadle.transfer.sources.claude_thread import ClaudeThread
from treadle.transfer.sources.forks import Turns, shared_turns, turns_of
from treadle.transfer.sources.lines import described, is_file, read_head, read_lines, read_records, read_small
from treadle.transfer.sources.source import Discovery, Source, SourceReport, ToolSession, session_in, time_of
from treadle.transfer.sources.thread_writer import Commands, ThreadWriter

TOOL = "claude"
HISTORY = "history.jsonl"
SUBAGENTS = "*/subagents/**/agent-*.jsonl"
KEPT_DAYS = 30.0
MAX_SPILLED = 64 * 1024  # bytes that are read from each end of a tool result in a file of its own


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The folder of Claude Code."""
    return Path(environment.get("CLAUDE_CONFIG_DIR") or user / ".claude")


def files(folder: Path) -> Iterator[Path]:
    """The files of the sessions in a folder of Claude Code, or in a copy of the folder of one project."""
    for project in _projects(folder):
        yield from sorted(project.glob("*.jsonl"))
        yield from sorted(project.glob(SUBAGENTS))


def discover(folder: Path, report: SourceReport, known: Discovery = described) -> Iterator[ToolSession]:
    """The sessions in a folder of Claude Code, or in a copy of the folder of one project. Raises OSError."""
    for project in _projects(folder):
        found = [session for path in sorted(project.glob("*.jsonl")) for session in known(path, _sessions)]
        yield from _with_forks([session for session in found if session.parent is None])
        yield from (session for session in found if session.parent is not None)
        for path in sorted(project.glob(SUBAGENTS)):
            parent = path.relative_to(project).parts[0]
            yield from known(path, lambda path, parent=parent: _sessions(path, parent))  # type: ignore[misc]
    yield from known(folder / HISTORY, lambda path: [session_in(TOOL, path, "history", is_remainder=True)])


def keeps(folder: Path) -> float | None:
    """After how many days without a change the tool deletes a session."""
    days = as_object(read_small(folder / "settings.json")).get("cleanupPeriodDays", KEPT_DAYS)
    return float(days) if isinstance(days, int | float) else KEPT_DAYS


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    if session.is_remainder:
        yield from _prompts(session, report, full)
    else:
        yield from read_lines(_Threads(session, report, full), session.path, report)


# Discovery


def _projects(folder: Path) -> Iterator[Path]:
    """The folders with the sessions of a project each."""
    projects = folder / "projects"
    if projects.is_dir():
        yield from sorted(path for path in projects.iterdir() if path.is_dir())
        return
    for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        if not {"subagents", "tool-results"} & {*place.relative_to(folder).parts}:
            yield place


def _sessions(path: Path, parent: str | None = None) -> list[ToolSession]:
    """The session of a file, in a list. parent: of a subagent."""
    head = read_head(path)
    folder = next((f for record in head if (f := as_text(record.get("cwd"), ""))), None)
    oldest = next((t for record in head if (t := time_of(record.get("timestamp")))), None)
    id = path.stem
    is_side = parent is not None or any(record.get("isSidechain") or record.get("agentId") for record in head)
    if not (id.startswith("agent-") and is_side):
        first = next((uuid for record in head if (uuid := as_text(record.get("uuid"), ""))), id)
        return [session_in(TOOL, path, id, folder=folder, oldest=oldest, begins_as=first)]
    parent = parent or next((s for record in head if (s := as_text(record.get("sessionId"), ""))), "unknown")
    told = as_object(read_small(path.with_suffix(".meta.json")))
    activity_id = as_text(told.get("toolUseId"), "")
    belongs = c.ParentThread(
        thread_id=fitting(f"{TOOL}:{parent}"), activity_id=fitting(activity_id) if activity_id else None
    )
    session = session_in(TOOL, path, id, folder=folder, oldest=oldest, parent=belongs)
    return [replace(session, thread_id=fitting(f"{TOOL}:{parent}:{id}"))]


def _with_forks(sessions: list[ToolSession]) -> Iterator[ToolSession]:
    """The sessions, with which of them begins as a copy of which. A copy has the same uuids, and no other sign.

    The first to be written last is the original, since a copy is made in order to be continued. What is known is not
    asked again: it would have to be read.
    """
    families: dict[str, list[ToolSession]] = defaultdict(list)
    for session in sessions:
        families[session.begins_as].append(session)
    for family in families.values():
        family.sort(key=lambda session: (not session.is_known, session.modified, session.id))
        turns: dict[str, Turns] = {}
        for number, session in enumerate(family):
            if number and not session.is_known:
                for one in family[: number + 1]:
                    turns.setdefault(one.thread_id, _turns(one.path))
                yield _with_fork(session, turns)
            else:
                yield session


def _with_fork(session: ToolSession, turns: dict[str, Turns]) -> ToolSession:
    """The session, with which of the ones before it it begins as a copy of."""
    own = turns[session.thread_id]
    shared = {id: shared_turns(own, others) for id, others in turns.items() if id != session.thread_id}
    best = max(shared, key=lambda thread_id: len(shared[thread_id]))
    if not shared[best]:
        return session
    return replace(session, fork_of=c.ForkedThread(thread_id=best, turn_id=shared[best][-1]))


def _turns(path: Path) -> Turns:
    thread = ClaudeThread(ThreadWriter(session_in(TOOL, path, path.stem), SourceReport(), False), lambda path: None)
    return turns_of(path, thread, lambda record: as_text(record.get("uuid"), ""))


# Reading


class _Threads:
    """The conversations in one file: the session, and subagents whose records older versions put between its own."""

    def __init__(self, session: ToolSession, report: SourceReport, full: bool) -> None:
        self._session, self._report, self._full = session, report, full
        self._main = self._thread(session)
        self._sides: dict[str, ClaudeThread] = {}
        self._side_of: dict[str, str] = {}

    def of(self, record: Json) -> ClaudeThread:
        """The conversation that a record belongs to."""
        if not record.get("isSidechain") or self._session.parent is not None:
            return self._main
        id, parent = as_text(record.get("uuid"), ""), as_text(record.get("parentUuid"), "")
        key = as_text(record.get("agentId"), "") or self._side_of.get(parent) or id or "side"
        self._side_of[id] = key
        if key not in self._sides:
            belongs = c.ParentThread(thread_id=self._session.thread_id, activity_id=_activity(self._main))
            thread_id = fitting(f"{self._session.thread_id}:agent-{key}")
            self._sides[key] = self._thread(replace(self._session, thread_id=thread_id, parent=belongs, fork_of=None))
        return self._sides[key]

    def end(self) -> Commands:
        for thread in (*self._sides.values(), self._main):
            yield from thread.end()

    def feed(self, record: Json) -> Commands:
        yield from self.of(record).feed(record)

    def _thread(self, session: ToolSession) -> ClaudeThread:
        return ClaudeThread(ThreadWriter(session, self._report, self._full), self._spilled)

    def _spilled(self, name: str) -> str | None:
        """A tool result in a file. Only in the session's own folder: a transcript may name any file."""
        path = self._session.path.with_suffix("") / "tool-results" / Path(name).name
        if not is_file(path):
            return None
        size = path.stat().st_size
        with path.open("rb") as stream:
            if size <= 2 * MAX_SPILLED or self._full:
                return stream.read(16 * 1024 * 1024).decode(errors="replace").replace("\0", "\ufffd")
            head = stream.read(MAX_SPILLED)
            stream.seek(-MAX_SPILLED, 2)
            text = head + b"\n" + stream.read()
            return text.decode(errors="replace").replace("\0", "\ufffd")


def _activity(thread: ClaudeThread) -> str | None:
    """The tool call that a subagent works for: the latest that has no result."""
    last = thread.calls.last
    return fitting(last) if last else None


def _prompts(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The prompts of sessions whose files are gone, each as a turn."""
    projects = session.path.parent / "projects"
    kept = {path.stem for path in projects.glob("*/*.jsonl")}
    writers: dict[str, ThreadWriter] = {}
    for record in read_records(session.path, report):
        project, text = as_text(record.get("project"), ""), as_text(record.get("display"), "").strip()
        id = as_text(record.get("sessionId"), "") or f"prompts-{digest(project)}"
        if id in kept or not text:
            report.skip("a prompt of a session that is there" if id in kept else "a message without content")
            continue
        if id not in writers:
            described = replace(session, id=id, thread_id=fitting(f"{TOOL}:{id}"), folder=project or None)
            writers[id] = ThreadWriter(described, report, full)
        at = time_of(record.get("timestamp"))
        yield from writers[id].start(writers[id].nameless("prompt", record), text, at)
        yield from writers[id].complete("prompt_only", None, at)


SOURCE = Source(TOOL, home, files, discover, read, opened=_Threads, keeps=keeps)
