"""Qwen Code: `projects/FOLDER/chats/SESSION.jsonl` in `~/.qwen`.

It began as a copy of Gemini CLI, but records otherwise (packages/core/src/services/chatRecordingService.ts): records
are only appended, each with an id, and a message has the form of the API.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from treadle.agents.shapes import Json, as_list, as_object, as_text
from treadle.domain.ids import Timestamp
from treadle.transfer.sources.calls import Calls
from treadle.transfer.sources.gemini_thread import output_of
from treadle.transfer.sources.lines import described, read_head, read_lines
from treadle.transfer.sources.source import Discovery, Source, SourceReport, ToolSession, session_in, time_of
from treadle.transfer.sources.thread_writer import NO_END, Commands, ThreadWriter

TOOL = "qwen"
_HARNESS = frozenset((
    "agent_bootstrap", "agent_session_ready", "at_command", "attribution_snapshot", "branch_checkpoint",
    "file_history_snapshot", "goal_state", "parent_session", "session_approval_mode", "session_execution_engine",
    "session_model", "session_notes", "session_source", "session_sources_snapshot", "slash_command", "turn_result",
    "ui_telemetry", "user_text_elements",
))  # fmt: skip


def home(environment: Mapping[str, str], user: Path) -> Path:
    """The folder of Qwen Code."""
    return user / ".qwen"


def files(folder: Path) -> Iterator[Path]:
    """The files of the sessions in a folder of Qwen Code, or all files in another folder."""
    found = [*folder.glob("projects/*/chats/*.jsonl"), *folder.glob("tmp/*/chats/*.jsonl")]
    is_home = (folder / "projects").is_dir() or (folder / "tmp").is_dir()
    yield from sorted(found if is_home else folder.rglob("*.jsonl"))


def discover(folder: Path, report: SourceReport, known: Discovery = described) -> Iterator[ToolSession]:
    """The sessions in a folder of Qwen Code. Raises OSError."""
    for path in files(folder):
        yield from known(path, _sessions)


def read(session: ToolSession, report: SourceReport, full: bool) -> Commands:
    """The commands of a session. Raises OSError."""
    yield from read_lines(_opened(session, report, full), session.path, report)


def _opened(session: ToolSession, report: SourceReport, full: bool) -> "QwenThread":
    return QwenThread(ThreadWriter(session, report, full))


SOURCE = Source(TOOL, home, files, discover, read, frozenset({"projects", "tmp"}), _opened)


def _sessions(path: Path) -> list[ToolSession]:
    head = read_head(path)
    folder = next((cwd for record in head if (cwd := as_text(record.get("cwd"), ""))), None)
    oldest = next((at for record in head if (at := time_of(record.get("timestamp")))), None)
    return [session_in(TOOL, path, path.stem, folder=folder, oldest=oldest)]


class QwenThread:
    """The state of one session."""

    def __init__(self, writer: ThreadWriter) -> None:
        self.writer = writer
        self.calls = Calls(writer)
        self._title = ""
        self._usage: Json = {}
        self._is_answered = False
        self._is_rewound = False

    def feed(self, record: Json) -> Commands:
        """The commands of one record."""
        kind, subtype = as_text(record.get("type"), "record"), as_text(record.get("subtype"), "")
        at = time_of(record.get("timestamp"))
        id = as_text(record.get("uuid"), "") or self.writer.nameless(kind, record)
        self.writer.branch = self.writer.branch or as_text(record.get("gitBranch"), "")
        parts = [as_object(part) for part in as_list(as_object(record.get("message")).get("parts") or [])]
        if kind == "user" and subtype in ("", "mid_turn_user_message"):
            text = "\n\n".join(text for part in parts if (text := as_text(part.get("text"), "")))
            if subtype and self.writer.turn_id:
                yield from self.writer.say(id, "user", text, at)
            elif text and not self.writer.knows(id):
                yield from self._end_turn(None, is_open=False)
                yield from self.writer.start(id, text, at)
        elif kind == "assistant":
            yield from self._answer(id, record, parts, at)
        elif kind == "tool_result":
            yield from self._results(id, record, parts, at)
        elif subtype == "custom_title":
            self._title = as_text(as_object(record.get("systemPayload")).get("customTitle"), "")
        elif subtype in ("chat_compression", "rewind"):
            self._is_rewound = subtype == "rewind"
            shown, title = ("rewound", "Went back") if self._is_rewound else ("compaction", "Compaction")
            yield from self.writer.show(shown, id, title, record.get("systemPayload"), at)
        elif subtype in _HARNESS or kind == "user":
            self.writer.report.skip(f"a record of the tool's own: {subtype}")
        else:
            yield from self.writer.unknown(".".join(filter(None, (kind, subtype))), id, record, at)

    def end(self) -> Commands:
        """The commands at the end of the file."""
        yield from self._end_turn(None, is_open=not self._is_answered)
        yield from self.writer.finish(self._title)

    def _end_turn(self, at: Timestamp | None, is_open: bool) -> Commands:
        if is_open and not self._is_rewound:
            yield from self.writer.interrupt(NO_END, at)
        else:
            yield from self.writer.complete("rewound" if self._is_rewound else None, self._usage or None, at)
        self._usage, self._is_answered, self._is_rewound = {}, False, False

    def _answer(self, id: str, record: Json, parts: list[Json], at: Timestamp | None) -> Commands:
        for number, part in enumerate(parts):
            name, text = f"{id}:{number + 1}" if number else id, as_text(part.get("text"), "")
            call = as_object(part.get("functionCall"))
            if call:
                native = as_text(call.get("id"), name)
                tool, given = as_text(call.get("name"), "tool"), call.get("args")
                title = as_text(as_object(given).get("description"), as_text(as_object(given).get("command"), tool))
                yield from self.calls.begin(native, title, {"toolCallId": native, "name": tool, "rawInput": given}, at)
            elif text and part.get("thought"):
                yield from self.writer.record("thought", name, "Thought", {"text": text}, at)
            elif text:
                yield from self.writer.say(name, "assistant", text, at)
            self._is_answered = bool(text) and not call
        for name, number_of in as_object(record.get("usageMetadata")).items():
            if isinstance(number_of, int):
                self._usage[name] = self._usage.get(name, 0) + number_of
        if self._usage and (model := as_text(record.get("model"), "")):
            self._usage["model"] = model

    def _results(self, id: str, record: Json, parts: list[Json], at: Timestamp | None) -> Commands:
        result = as_object(record.get("toolCallResult"))
        is_failed = result.get("status") in ("error", "cancelled")
        for part in parts:
            response = as_object(part.get("functionResponse"))
            native = as_text(response.get("id"), as_text(result.get("callId"), self.calls.last or id))
            status = "failed" if is_failed or "error" in as_object(response.get("response")) else "completed"
            yield from self.calls.end(native, {"rawOutput": output_of(response)}, status, at)  # type: ignore[arg-type]
