"""Maps the records of one rollout of Codex to the commands of one thread.

What happened is in up to three logs, which the file mixes: `event_msg` (for its interface), `response_item` (for the
model) and, in newer versions, `item_completed`. Which of them has what depends on the version (codex-rs/rollout,
policy.rs), so each text is taken from the one that has it first.
"""

import re
from collections import Counter
from typing import Any

from treadle.agents.shapes import Json, as_list, as_object, as_text
from treadle.domain.detail import json_text
from treadle.domain.ids import ActivityStatus, Timestamp
from treadle.transfer.sources.calls import Calls
from treadle.transfer.sources.lines import read_json
from treadle.transfer.sources.source import time_of
from treadle.transfer.sources.thread_writer import NO_END, Commands, ThreadWriter

_HARNESS = frozenset((
    "context_compacted", "ghost_snapshot", "inter_agent_communication_metadata", "realtime_item", "retained_context",
    "security_risk_score", "session_meta", "thread_settings_applied", "token_usage_record", "turn_context",
    "world_state",
))  # fmt: skip
_SHOWN = frozenset((
    "agent_message_between_agents", "entered_review_mode", "error", "exited_review_mode", "guardian_assessment",
    "inter_agent_communication", "stream_error", "sub_agent_activity", "thread_goal_updated", "undo_completed",
    "warning",
))  # fmt: skip
_CALLS = frozenset(("custom_tool_call", "function_call", "local_shell_call", "tool_search_call"))
_OUTPUTS = frozenset(("custom_tool_call_output", "function_call_output", "tool_search_output"))
_ENDS = frozenset((
    "exec_command_end", "image_generation_end", "mcp_tool_call_end", "patch_apply_end", "view_image_tool_call",
))  # fmt: skip
_ITEMS = frozenset(("CommandExecution", "Extension", "FileChange", "McpToolCall"))
_ENVELOPE = re.compile(r"\s*(<([A-Za-z_ ]+)(\s[^>]*)?>.*</\2>\s*$|# AGENTS\.md instructions)", re.DOTALL)
_EXIT = re.compile(r"(?:exit code:?|exited with code) (\d+)", re.IGNORECASE)


class CodexThread:
    """The state of one rollout: the running turn, its calls, and what the logs have said already."""

    def __init__(self, writer: ThreadWriter) -> None:
        self.writer = writer
        self.calls = Calls(writer)
        self._said: Counter[tuple[str, int]] = Counter()
        self._next = self._title = self._model = ""
        self._is_bracketed = False
        self._error: str | None = None
        self._usage: Counter[str] = Counter()
        self._total: Any = None

    def feed(self, record: Json) -> Commands:
        """The commands of one record."""
        at, kind = time_of(record.get("timestamp")), as_text(record.get("type"), "record")
        payload = as_object(record.get("payload"))
        if "payload" not in record:  # as in 2025, an item without anything around it
            kind, payload = ("response_item", record) if "type" in record else ("session_meta", record)
        inner = as_text(payload.get("type"), kind)
        if kind == "session_meta":
            self._meta(payload)
        elif kind == "turn_context":
            self._next = as_text(payload.get("turn_id"), "")
            self._model = as_text(payload.get("model"), self._model)
        elif kind == "response_item":
            yield from self._item(inner, payload, at)
        elif kind == "event_msg":
            yield from self._event(inner, payload, at)
        elif kind == "compacted":
            detail = {"summary": summary} if (summary := as_text(payload.get("message"), "")) else None
            id = self.writer.nameless("compaction", payload)
            yield from self.writer.show("compaction", id, "Compaction", detail, at)
        else:
            yield from self._other(kind, payload, at)
        if (kind if kind != "event_msg" else inner) in _HARNESS:
            self.writer.report.skip(f"a record of the tool's own: {kind if kind != 'event_msg' else inner}")

    def end(self) -> Commands:
        """The commands at the end of the file."""
        if self._is_bracketed:
            yield from self.writer.interrupt(NO_END)
        yield from self._end_turn(None)
        yield from self.writer.finish(self._title)

    def _meta(self, payload: Json) -> None:
        writer = self.writer
        writer.folder = writer.folder or as_text(payload.get("cwd"), "") or None
        writer.branch = writer.branch or as_text(as_object(payload.get("git")).get("branch"), "")

    # Turns

    def _event(self, kind: str, payload: Json, at: Timestamp | None) -> Commands:
        if kind in ("task_started", "turn_started"):
            yield from self._started(as_text(payload.get("turn_id"), ""), at)
        elif kind in ("task_complete", "turn_complete"):
            error = as_object(payload.get("error"))
            self._error = as_text(error.get("message"), "the turn failed") if error else None
            yield from self._end_turn(at)
        elif kind == "turn_aborted":
            usage = self._cost()
            yield from self.writer.interrupt(as_text(payload.get("reason"), "aborted"), at, usage)
            self._is_bracketed = False
        elif kind == "user_message":
            yield from self._prompt("event", as_text(payload.get("message"), ""), at)
        elif kind == "agent_message":
            yield from self._message("event", None, as_text(payload.get("message"), ""), at)
        elif kind in ("agent_reasoning", "agent_reasoning_raw_content"):
            yield from self._thought("event", None, as_text(payload.get("text"), ""), at)
        elif kind == "token_count":
            self._count(as_object(payload.get("info")))
        elif kind == "item_completed":
            yield from self._completed(as_object(payload.get("item")), at)
        elif kind == "web_search_end":
            yield from self._search("event", payload, at)
        elif kind in _ENDS:
            yield from self._call_ended(as_text(payload.get("call_id"), ""), kind, payload, at)
        elif kind == "thread_name_updated":
            self._title = as_text(payload.get("thread_name"), "")
        elif kind == "thread_rolled_back":
            id = self.writer.nameless("rewound", payload)
            yield from self.writer.show("rewound", id, "Went back", {"turns": payload.get("num_turns")}, at)
        else:
            if kind == "error":
                self._error = as_text(payload.get("message"), "the turn failed")
            yield from self._other(kind, payload, at)

    def _started(self, turn_id: str, at: Timestamp | None) -> Commands:
        self._next = turn_id or self._next
        if self.writer.turn_id and self.writer.turn_id != turn_id:
            yield from self._end_turn(None)
        self._is_bracketed = True

    def _prompt(self, log: str, text: str, at: Timestamp | None) -> Commands:
        if not text.strip() or not self._is_new(log, "user", text):
            return
        id = self.writer.nameless("prompt", text)
        if self.writer.turn_id and self._is_bracketed:
            yield from self.writer.say(id, "user", text, at)
            return
        is_bracketed = self._is_bracketed
        yield from self._end_turn(None)
        self._is_bracketed = is_bracketed
        yield from self._start(id, text, at)

    def _start(self, id: str, text: str, at: Timestamp | None) -> Commands:
        id = self._next if self._next and not self.writer.knows(self._next) else id
        yield from self.writer.start(id, text, at)

    def _in_turn(self, at: Timestamp | None) -> Commands:
        """Start the turn that was announced, if it had no prompt."""
        if not self.writer.turn_id and self._is_bracketed and self._next and not self.writer.knows(self._next):
            yield from self.writer.start(self._next, "", at)

    def _end_turn(self, at: Timestamp | None) -> Commands:
        if self.writer.turn_id:
            usage = self._cost()
            if self._error is not None:
                yield from self.writer.fail(self._error, None, at, usage)
            else:
                yield from self.writer.complete("end_turn", usage, at)
        self._is_bracketed, self._error = False, None

    def _count(self, info: Json) -> None:
        """Add what a response cost. The tool tells the same once more when only its limits changed."""
        total = info.get("total_token_usage")
        if total is not None and total == self._total:
            return
        self._total = total
        for name, number in as_object(info.get("last_token_usage")).items():
            if isinstance(number, int):
                self._usage[name] += number

    def _cost(self) -> Json | None:
        usage: Json = dict(self._usage)
        self._usage.clear()
        return {**usage, "model": self._model} if usage else None

    # What the agent says and does

    def _item(self, kind: str, payload: Json, at: Timestamp | None) -> Commands:
        if kind == "message":
            text = _text(payload.get("content"))
            if payload.get("role") == "assistant":
                yield from self._message("item", payload.get("id"), text, at)
            elif payload.get("role") == "user" and not _ENVELOPE.match(text):
                yield from self._prompt("item", text, at)
            else:
                self.writer.report.skip("a message of the tool itself")
        elif kind == "reasoning":
            for part in as_list(payload.get("summary")):
                yield from self._thought("item", payload.get("id"), as_text(as_object(part).get("text"), ""), at)
        elif kind in _CALLS:
            yield from self._call(payload, at)
        elif kind in _OUTPUTS:
            yield from self._call_ended(as_text(payload.get("call_id"), ""), kind, payload, at)
        elif kind == "web_search_call":
            yield from self._search("item", payload, at)
        elif kind == "image_generation_call":
            yield from self._call_ended(as_text(payload.get("id"), ""), kind, payload, at)
        elif kind == "agent_message":
            yield from self._other("agent_message_between_agents", payload, at)
        else:
            yield from self._other(kind, payload, at)

    def _completed(self, item: Json, at: Timestamp | None) -> Commands:
        kind, id = as_text(item.get("type"), "item"), as_text(item.get("id"), "")
        if kind == "UserMessage":
            yield from self._prompt("completed", _text(item.get("content")), at)
        elif kind == "AgentMessage":
            yield from self._message("completed", id, _text(item.get("content")), at)
        elif kind == "Reasoning":
            for text in as_list(item.get("summary_text")):
                yield from self._thought("completed", id, as_text(text, ""), at)
        elif kind == "Plan":
            yield from self._in_turn(at)
            plan_id = id or self.writer.nameless("plan", item)
            yield from self.writer.record("plan", plan_id, "Plan", {"entries": [{"content": item.get("text")}]}, at)
        elif kind in _ITEMS:
            yield from self._call_ended(id, kind, item, at)
        else:
            yield from self._other(f"item.{kind}", item, at)

    def _message(self, log: str, id: Any, text: str, at: Timestamp | None) -> Commands:
        if text.strip() and self._is_new(log, "assistant", text):
            self._error = None
            yield from self._in_turn(at)
            yield from self.writer.say(as_text(id, "") or self.writer.nameless("message", text), "assistant", text, at)

    def _thought(self, log: str, id: Any, text: str, at: Timestamp | None) -> Commands:
        if text.strip() and self._is_new(log, "thought", text):
            yield from self._in_turn(at)
            yield from self.writer.record(
                "thought", self.writer.nameless("thought", text), "Thought", {"text": text}, at
            )

    def _is_new(self, log: str, who: str, text: str) -> bool:
        """Whether no other log has said this text as often as this one."""
        key = hash(text.strip())
        self._said[(f"{log} {who}", key)] += 1
        if self._said[(f"{log} {who}", key)] <= self._said[(who, key)]:
            return False
        self._said[(who, key)] += 1
        return True

    def _call(self, payload: Json, at: Timestamp | None) -> Commands:
        yield from self._in_turn(at)
        given: Any = payload.get("arguments", payload.get("input", payload.get("action")))
        if isinstance(given, str) and (decoded := read_json(given.encode(errors="replace"))) is not None:
            given = decoded
        native = as_text(payload.get("call_id"), "") or self.writer.nameless("call", payload)
        name = as_text(payload.get("name"), as_text(payload.get("type"), "tool"))
        command = as_object(given).get("command", as_object(given).get("cmd"))
        title = " ".join(map(str, command)) if isinstance(command, list) else as_text(command, name)
        yield from self.calls.begin(native, title, {"toolCallId": native, "name": name, "rawInput": given}, at)
        if name == "update_plan":
            steps = [as_object(step) for step in as_list(as_object(given).get("plan"))]
            plan = {"entries": [{"content": step.get("step"), "status": step.get("status")} for step in steps]}
            yield from self.writer.record("plan", f"{native}:plan", "Plan", plan, at)

    def _call_ended(self, native: str, kind: str, payload: Json, at: Timestamp | None) -> Commands:
        yield from self._in_turn(at)
        output = payload.get(
            "output", {k: v for k, v in payload.items() if k not in ("type", "call_id", "id", "turn_id")}
        )
        if isinstance(output, str) and output.startswith("{"):
            output = read_json(output.encode(errors="replace")) or output
        output = _text(output) or output
        native = native or self.writer.nameless(kind, payload)
        yield from self.calls.end(native, {"rawOutput": output}, _status(output), at, kind)

    def _search(self, log: str, payload: Json, at: Timestamp | None) -> Commands:
        if self._is_new(log, "search", json_text(payload.get("action"))):
            yield from self._in_turn(at)
            id = as_text(payload.get("call_id"), as_text(payload.get("id"), "")) or self.writer.nameless(
                "search", payload
            )
            yield from self.writer.record(
                "tool_call", id, "Search the web", {"name": "web_search", "rawInput": payload}, at
            )

    def _other(self, kind: str, payload: Json, at: Timestamp | None) -> Commands:
        id = as_text(payload.get("id"), "") or self.writer.nameless(kind, payload)
        if kind in _SHOWN:
            yield from self.writer.show(kind, id, kind.replace("_", " "), payload, at)
        elif kind not in _HARNESS:
            yield from self.writer.unknown(kind, id, payload, at)


def _text(content: Any) -> str:
    """The texts of content blocks."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else [content]
    return "\n".join(text for block in blocks if (text := as_text(as_object(block).get("text"), "")))


def _status(output: Any) -> ActivityStatus:
    """Whether a call succeeded, by its exit code or its own word."""
    if isinstance(output, str):
        found = _EXIT.search(output, 0, 1024)
        return "failed" if found and found[1] != "0" else "completed"
    told = as_object(output)
    code = told.get("exit_code", as_object(told.get("metadata")).get("exit_code"))
    is_error = code not in (None, 0) or told.get("success") is False or told.get("status") in ("failed", "declined")
    result = as_object(told.get("result"))
    return (
        "failed" if is_error or "Err" in result or as_object(result.get("Ok")).get("isError") is True else "completed"
    )
