"""GitHub Copilot CLI: `session-state/SESSION/events.jsonl` in `~/.copilot`, formerly `session-state/SESSION.jsonl`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from treadle.agents.shapes import Json, as_list, as_object, as_text
from treadle.domain.ids import Timestamp
from treadle.transfer.sources.calls import Calls
from treadle.transfer.sources.lines import described, read_head, read_json, read_lines
from treadle.transfer.sources.source import Discovery, Source, SourceReport, ToolSession, session_in, time_of
from treadle.transfer.sources.thread_writer import NO_END, Commands, ThreadWriter

TOOL = "copilot"
_HARNESS = frozenset((
    "assistant.turn_start", "hook.end", "hook.start", "session.auto_mode_resolved", "session.model_change",
    "session.resume", "session.start", "session.usage_checkpoint", "system.message", "tool.user_requested",
))  # fmt: skip
_SHOWN = frozenset((
    "session.error", "session.info", "session.shutdown", "session.truncation", "subagent.completed", "subagent.failed",
    "subagent.started", "system.notification",
))  # fmt: skip


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The folder of Copilot CLI."""
    return Path(environment.get("COPILOT_HOME") or user / ".copilot")


def files(folder: Path) -> Iterator[Path]:
    """The files of the sessions in a folder of Copilot CLI, or all files in another folder."""
    states = folder / "session-state"
    found = [*states.glob("*.jsonl"), *states.glob("*/events.jsonl")]
    yield from sorted(found if states.is_dir() else folder.rglob("*.jsonl"))


def discover(folder: Path, report: SourceReport, known: Discovery = described) -> Iterator[ToolSession]:
    """The sessions in a folder of Copilot CLI. Raises OSError."""
    for path in files(folder):
        yield from known(path, _sessions)


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    yield from read_lines(_opened(session, report, full), session.path, report)


def _opened(session: ToolSession, report: SourceReport, full: bool) -> "CopilotThread":
    return CopilotThread(ThreadWriter(session, report, full))


SOURCE = Source(TOOL, home, files, discover, read, frozenset({"session-state"}), _opened)


def _sessions(path: Path) -> list[ToolSession]:
    head = read_head(path)
    id = path.parent.name if path.name == "events.jsonl" else path.stem
    contexts = [as_object(as_object(record.get("data")).get("context")) for record in head]
    folder = next((cwd for context in contexts if (cwd := as_text(context.get("cwd"), ""))), None)
    oldest = next((at for record in head if (at := time_of(record.get("timestamp")))), None)
    return [session_in(TOOL, path, id, folder=folder, oldest=oldest)]


class CopilotThread:
    """The state of one session. What the tool calls a turn is one response; here, all that answers a prompt is one."""

    def __init__(self, writer: ThreadWriter) -> None:
        self.writer = writer
        self.calls = Calls(writer)
        self._forget_turn()

    def _forget_turn(self) -> None:
        self._tokens, self._model = 0, ""
        self._is_answered = False

    def feed(self, record: Json) -> Commands:
        """The commands of one record."""
        kind, data, at = (
            as_text(record.get("type"), "record"),
            as_object(record.get("data")),
            time_of(record.get("timestamp")),
        )
        id = as_text(record.get("id"), "") or self.writer.nameless(kind, record)
        branch = as_text(as_object(data.get("context")).get("branch"), "")
        self.writer.branch = self.writer.branch or branch
        if kind == "user.message":
            yield from self._user(id, data, at)
        elif kind == "assistant.message":
            yield from self._answer(id, data, at)
        elif kind == "assistant.reasoning":
            if text := as_text(data.get("content"), ""):
                yield from self.writer.record("thought", id, "Thought", {"text": text}, at)
        elif kind == "tool.execution_start":
            yield from self._call(id, data.get("toolCallId"), data.get("toolName"), data.get("arguments"), "", at)
        elif kind == "tool.execution_complete":
            yield from self._result(id, data, at)
        elif kind == "abort":
            yield from self.writer.interrupt(as_text(data.get("reason"), "aborted"), at, self._usage())
            self._forget_turn()
        elif kind == "assistant.turn_end":
            self._is_answered = self.calls.last is None
        elif kind in _SHOWN:
            title = as_text(data.get("message"), as_text(data.get("agentName"), kind))
            yield from self.writer.show(kind, id, title, data, at)
        elif kind in _HARNESS:
            self.writer.report.skip(f"a record of the tool's own: {kind}")
        else:
            yield from self.writer.unknown(kind, id, data, at)

    def end(self) -> Commands:
        """The commands at the end of the file."""
        yield from self._end_turn(None, is_open=not self._is_answered)
        yield from self.writer.finish()

    def _user(self, id: str, data: Json, at: Timestamp | None) -> Commands:
        if not self.writer.knows(id):
            yield from self._end_turn(None, is_open=False)
        yield from self.writer.start(id, as_text(data.get("content"), ""), at)

    def _end_turn(self, at: Timestamp | None, is_open: bool) -> Commands:
        if is_open:
            yield from self.writer.interrupt(NO_END, at)
        else:
            yield from self.writer.complete(None, self._usage(), at)
        self._forget_turn()

    def _usage(self) -> Json | None:
        return {"outputTokens": self._tokens, "model": self._model} if self._tokens else None

    def _answer(self, id: str, data: Json, at: Timestamp | None) -> Commands:
        self._is_answered = False
        tokens = data.get("outputTokens")
        self._tokens += tokens if isinstance(tokens, int) else 0
        self._model = as_text(data.get("model"), self._model)
        if text := as_text(data.get("reasoningText"), ""):
            yield from self.writer.record("thought", f"{id}:thought", "Thought", {"text": text}, at)
        if text := as_text(data.get("content"), ""):
            yield from self.writer.say(id, "assistant", text, at)
        for request in map(as_object, as_list(data.get("toolRequests") or [])):
            title = as_text(request.get("intentionSummary"), "")
            yield from self._call(
                id, request.get("toolCallId"), request.get("name"), request.get("arguments"), title, at
            )

    def _call(self, id: str, native: Any, name: Any, given: Any, title: str, at: Timestamp | None) -> Commands:
        """A call, which the response asks for, and which the tool then starts."""
        native, name = as_text(native, id), as_text(name, "tool")
        if isinstance(given, str) and (decoded := read_json(given.encode(errors="replace"))) is not None:
            given = decoded
        title = title or as_text(as_object(given).get("command"), name)
        if self.calls.get(native) is None:
            yield from self.calls.begin(native, title, {"toolCallId": native, "name": name, "rawInput": given}, at)

    def _result(self, id: str, data: Json, at: Timestamp | None) -> Commands:
        result = data.get("result") if data.get("result") is not None else data.get("error")
        output = as_object(result).get("content", result)
        status = "failed" if data.get("success") is False else "completed"
        native = as_text(data.get("toolCallId"), id)
        yield from self.calls.end(native, {"rawOutput": output}, status, at)  # type: ignore[arg-type]
