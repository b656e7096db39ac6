"""Maps the records of one conversation of Claude Code to the commands of one thread.

The format is not documented and grows. The order of the file is the order of the conversation: the tree of parentUuid
has holes (https://github.com/anthropics/claude-code/issues/58554), and only marks what the user went back from.
"""

import re
from collections.abc import Callable
from typing import Any

from treadle.agents.shapes import Json, as_list, as_object, as_text
from treadle.domain.ids import Timestamp
from treadle.transfer.sources.calls import Calls
from treadle.transfer.sources.source import time_of
from treadle.transfer.sources.thread_writer import NO_END, Commands, ThreadWriter

HARNESS = frozenset((
    "agent-setting", "api-request", "api-request-blob", "api-request-shape", "atis-latch", "bridge-session",
    "cost-state", "file-history-snapshot", "frame-link", "last-prompt", "mode", "permission-mode", "progress",
    "queue-operation", "relocated", "result", "started", "worktree-state",
))  # fmt: skip
"""Types of records that only the tool itself needs. They are counted."""

_HARNESS_SYSTEM = frozenset((
    "away_summary", "bridge_status", "local_command", "scheduled_task_fire", "session_start", "stop_hook_summary",
    "turn_duration",
))  # fmt: skip
_SHOWN_SYSTEM = frozenset(("api_error", "api_refusal", "error", "informational", "model_refusal_fallback"))
_TITLES = {"custom-title": "customTitle", "agent-name": "agentName", "ai-title": "aiTitle", "summary": "summary"}
"""The records with a title, the best one first, and its member."""

_ENVELOPE = re.compile(
    r"\s*<(command-[a-z]+|local-command-[a-z]+|bash-[a-z]+|system-reminder|task-notification|ide_\w+"
    r"|user-prompt-submit-hook)(?:\s[^>]*)?>(.*?)</\1>\s*",
    re.DOTALL,
)
_INTERRUPTED = "[Request interrupted by user"
_PLANS = frozenset(("TodoWrite", "TaskCreate", "ExitPlanMode"))
_TOKENS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

Spilled = Callable[[str], str | None]
"""Reads a tool result that the tool keeps in a file of its own, given the path that the record names."""


class ClaudeThread:
    """The state of one conversation: the running turn, its tool calls and what it cost."""

    def __init__(self, writer: ThreadWriter, spilled: Spilled) -> None:
        self.writer, self._spilled = writer, spilled
        self.calls = Calls(writer)
        self._titles: dict[str, str] = {}
        self._boundary: Json | None = None
        self._response = ""
        self._said: list[str] = []
        self._asked: dict[str, str] = {}
        self._counted: set[int] = set()
        self._forget_turn()

    def _forget_turn(self) -> None:
        self._usages: dict[str, Json] = {}
        self._model = ""
        self._stop: str | None = None
        self._error: str | None = None
        self._is_answered = self._is_rewound = False

    def feed(self, record: Json) -> Commands:
        """The commands of one record."""
        kind, at = as_text(record.get("type"), "record"), time_of(record.get("timestamp"))
        writer = self.writer
        writer.folder = writer.folder or as_text(record.get("cwd"), "") or None
        writer.branch = writer.branch or as_text(record.get("gitBranch"), "")
        if self._boundary is not None and not record.get("isCompactSummary"):
            yield from self._compacted("", at)
        if kind == "user":
            yield from self._user(record, at)
        elif kind == "assistant":
            yield from self._assistant(record, at)
        elif kind == "system":
            yield from self._system(record, at)
        elif kind in _TITLES:
            self._titles[kind] = as_text(record.get(_TITLES[kind]), "")
        elif kind == "attachment":
            yield from self._attachment(record, at)
        elif kind == "pr-link":
            title = as_text(record.get("prUrl"), "pull request")
            yield from self.writer.show("pull_request", self._id(record), title, record, at)
        elif kind in HARNESS:
            writer.report.skip(f"a record of the tool's own: {kind}")
        else:
            yield from self.writer.unknown(kind, self._id(record), record, at)

    def end(self) -> Commands:
        """The commands at the end of the file."""
        if self._boundary is not None:
            yield from self._compacted("", None)
        is_open = not self._is_answered and self._error is None
        yield from self._end_turn(None, is_open)
        yield from self.writer.finish(next((self._titles[k] for k in _TITLES if self._titles.get(k)), ""))

    # Turns

    def _user(self, record: Json, at: Timestamp | None) -> Commands:
        blocks = _blocks(record)
        results = [block for block in blocks if block.get("type") == "tool_result"]
        for block in results:
            yield from self._result(record, block, at)
        text = "\n\n".join(as_text(b.get("text"), "") for b in blocks if b.get("type") == "text").strip()
        images = [block for block in blocks if block.get("type") not in ("tool_result", "text")]
        if record.get("isCompactSummary"):
            yield from self._compacted(text, at, record)
        elif text.startswith(_INTERRUPTED):
            yield from self.writer.interrupt(text.strip("[]"), at, self._usage())
            self._forget_turn()
        elif record.get("isMeta"):
            if not results:
                self.writer.report.skip("a message of the tool itself")
        elif text or images:
            self.writer.cutter.detail(images)
            yield from self._prompt(record, text or "[image]", at)
        elif not results:
            self.writer.report.skip("a message without content")

    def _prompt(self, record: Json, text: str, at: Timestamp | None) -> Commands:
        while found := _ENVELOPE.match(text):
            text = text[found.end() :]
            if found[1] == "command-name":
                yield from self.writer.show("command", self._id(record), found[2].strip(), record, at)
            else:
                self.writer.report.skip("a message of the tool itself")
        if not text.strip():
            return
        id = self._id(record)
        if self.writer.knows(id):
            self.writer.report.skip("a record that was repeated")
            return
        parent = as_text(record.get("parentUuid"), "")
        left = self._asked.get(parent)
        self._is_rewound = left is not None
        yield from self._end_turn(None, is_open=False)
        yield from self.writer.start(id, text, at)
        if parent:
            self._asked[parent] = id
        if left is not None:
            yield from self.writer.record("rewound", f"{id}:rewound", "Went back", {"toBeforeTurn": left}, at)

    def _end_turn(self, at: Timestamp | None, is_open: bool) -> Commands:
        if self._error is not None:
            yield from self.writer.fail(self._error, "api_error", at, self._usage())
        elif is_open:
            yield from self.writer.interrupt(NO_END, at)
        else:
            yield from self.writer.complete("rewound" if self._is_rewound else self._stop, self._usage(), at)
        self._forget_turn()

    def _usage(self) -> Json | None:
        """What the turn cost, and no turn before: the sum over its responses."""
        new = {key: usage for key, usage in self._usages.items() if hash(key) not in self._counted}
        self._counted.update(map(hash, new))
        total = {name: sum(_number(usage.get(name)) for usage in new.values()) for name in _TOKENS}
        return {**total, "model": self._model} if any(total.values()) else None

    # What the agent says and does

    def _assistant(self, record: Json, at: Timestamp | None) -> Commands:
        message, id = as_object(record.get("message")), self._id(record)
        response = as_text(message.get("id"), id)
        if response != self._response:
            self._response, self._said = response, []
        usage, key = as_object(message.get("usage")), f"{response}/{record.get('requestId')}"
        if _number(usage.get("output_tokens")) >= _number(self._usages.get(key, {}).get("output_tokens")):
            self._usages[key] = usage
        model = as_text(message.get("model"), "")
        self._model = model if model and model != "<synthetic>" else self._model
        self._stop = as_text(message.get("stop_reason"), "") or self._stop
        self._error = None
        for index, block in enumerate(_blocks(record)):
            name = id if index == 0 else f"{id}:{index + 1}"
            yield from self._block(name, block, at)
        if record.get("isApiErrorMessage"):
            self._error = as_text(_text(message.get("content")), "the API failed")

    def _block(self, id: str, block: Json, at: Timestamp | None) -> Commands:
        kind = as_text(block.get("type"), "block")
        if kind in ("text", "thinking"):
            text = self._new(kind, as_text(block.get(kind), ""))
            if text and kind == "text":
                self._is_answered = self._stop != "tool_use"
                yield from self.writer.say(id, "assistant", text, at)
            elif text:
                yield from self.writer.record("thought", id, "Thought", {"text": text}, at)
        elif kind in ("tool_use", "server_tool_use"):
            yield from self._call(id, block, at)
        elif kind.endswith("_tool_result"):
            yield from self._result({}, block, at)
        elif kind != "redacted_thinking":
            yield from self.writer.unknown(f"block.{kind}", id, block, at)

    def _new(self, kind: str, text: str) -> str:
        """What the running response has not said before: its records repeat it, whole or as far as it was."""
        said = [before for of, _, before in (s.partition(":") for s in self._said) if of == kind]
        if text in said:
            return ""
        self._said.append(f"{kind}:{text}")
        longest = max((before for before in said if text.startswith(before)), key=len, default="")
        return text[len(longest) :]

    def _call(self, id: str, block: Json, at: Timestamp | None) -> Commands:
        native, name = as_text(block.get("id"), id), as_text(block.get("name"), "tool")
        given = as_object(block.get("input"))
        title = next(
            (t for k in ("description", "command", "file_path", "pattern") if (t := as_text(given.get(k), ""))), name
        )
        self._is_answered = False
        yield from self.calls.begin(native, title, {"toolCallId": native, "name": name, "rawInput": given}, at)
        if name in _PLANS:
            entries = given.get("todos") if name == "TodoWrite" else [given.get("plan") or given.get("subject")]
            plan = {"entries": [e if isinstance(e, dict) else {"content": e} for e in as_list(entries)]}
            yield from self.writer.record("plan", f"{native}:plan", "Plan", plan, at)

    def _result(self, record: Json, block: Json, at: Timestamp | None) -> Commands:
        native = as_text(block.get("tool_use_id"), as_text(record.get("sourceToolUseID"), ""))
        if not native or (self.calls.get(native) is None and "tool_use_id" not in block):
            native = self.calls.last or native or self._id(record)
        result = as_object(record.get("toolUseResult"))
        output = _text(block.get("content"))
        if (path := as_text(result.get("persistedOutputPath"), "")) and (spilled := self._spilled(path)) is not None:
            output = spilled
        members: Json = {"rawOutput": output}
        if agent := as_text(result.get("agentId"), ""):
            members["threadId"] = f"{self.writer.thread_id}:agent-{agent}"
        call = self.calls.get(native)
        name = as_text(call.detail.get("name"), "tool") if call else "tool"
        is_failed = block.get("is_error") is True
        yield from self.calls.end(native, members, "failed" if is_failed else "completed", at)
        if record.get("toolDenialKind") == "user-rejected":
            options = {"Allow": "allow_once", "Reject": "reject_once"}
            yield from self.writer.ask(f"{native}:approval", call.title if call else name, options, "Reject", at)
        elif call and name == "AskUserQuestion":
            yield from self._answers(native, call.detail, as_object(result.get("answers")), at)

    def _answers(self, native: str, detail: Json, answers: Json, at: Timestamp | None) -> Commands:
        """The questions of the agent, with what the user chose or wrote."""
        for number, question in enumerate(as_list(as_object(detail.get("rawInput")).get("questions")), 1):
            title = as_text(as_object(question).get("question"), "")
            offered = as_list(as_object(question).get("options"))
            options = {label: "allow_once" for o in offered if (label := as_text(as_object(o).get("label"), ""))}
            if answer := as_text(answers.get(title), ""):
                options.setdefault(answer, "allow_once")
                yield from self.writer.ask(f"{native}:question-{number}", title, options, answer, at)

    # What the tool itself adds

    def _system(self, record: Json, at: Timestamp | None) -> Commands:
        kind = as_text(record.get("subtype"), "system")
        if kind == "compact_boundary":
            self._boundary = record
        elif kind in _HARNESS_SYSTEM:
            self.writer.report.skip(f"a record of the tool's own: {kind}")
        elif kind in _SHOWN_SYSTEM:
            yield from self.writer.show(kind, self._id(record), kind.replace("_", " "), record, at)
        else:
            yield from self.writer.unknown(f"system.{kind}", self._id(record), record, at)

    def _compacted(self, summary: str, at: Timestamp | None, record: Json | None = None) -> Commands:
        boundary, self._boundary = self._boundary, None
        told = as_object((boundary or {}).get("compactMetadata"))
        detail = {**told, "summary": summary} if summary else told
        yield from self.writer.show("compaction", self._id(boundary or record or {}), "Compaction", detail, at)

    def _attachment(self, record: Json, at: Timestamp | None) -> Commands:
        given = as_object(record.get("attachment"))
        text = as_text(_text(given.get("prompt")), "").strip()
        if given.get("type") != "queued_command" or not text:
            self.writer.report.skip("a record of the tool's own: attachment")
            return
        id = as_text(given.get("source_uuid"), "") or self.writer.nameless("queued", given)
        if _ENVELOPE.fullmatch(text):
            self.writer.report.skip("a message of the tool itself")
        elif self.writer.turn_id:
            yield from self.writer.say(id, "user", text, at)
        else:
            yield from self._prompt({**record, "uuid": id}, text, at)

    def _id(self, record: Json) -> str:
        return as_text(record.get("uuid"), "") or self.writer.nameless(as_text(record.get("type"), "record"), record)


def _blocks(record: Json) -> list[Json]:
    """The content blocks of a message; a text stands for one block."""
    content = as_object(record.get("message")).get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _text(content: Any) -> Any:
    """Content blocks as one text, if all of them are texts."""
    if isinstance(content, list) and content and all(isinstance(as_object(b).get("text"), str) for b in content):
        return "\n".join(block["text"] for block in content)
    return content


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
