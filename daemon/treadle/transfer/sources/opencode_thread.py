"""Maps the messages of one session of OpenCode to the commands of one thread."""

from typing import Any

from treadle.agents.shapes import Json, as_list, as_object, as_text
from treadle.domain.ids import ActivityStatus, Timestamp
from treadle.transfer.sources.calls import Calls
from treadle.transfer.sources.opencode_stores import Stored
from treadle.transfer.sources.source import time_of
from treadle.transfer.sources.thread_writer import NO_END, Commands, ThreadWriter

_HARNESS = frozenset(("snapshot", "step-start", "agent-switched", "model-switched", "synthetic", "system"))
_SHOWN = frozenset(("agent", "file", "retry", "shell", "subtask"))
_FINISHED: tuple[ActivityStatus, ...] = ("completed", "failed")
_STATUSES: dict[str, ActivityStatus] = {"completed": "completed", "success": "completed", "error": "failed"}


class OpenCodeThread:
    """The state of one session. reverted: the message from which on the user took everything back. has_ends: whether
    the session says where its turns end; otherwise a turn ends where the next prompt begins."""

    def __init__(self, writer: ThreadWriter, *, reverted: str = "", has_ends: bool = False) -> None:
        self.writer, self._reverted, self._has_ends = writer, reverted, has_ends
        self.calls = Calls(writer)
        self._is_reverted = False
        self._forget_turn()

    def _forget_turn(self) -> None:
        self._usage: Json = {}
        self._finish: str | None = None
        self._error: Json = {}
        self._is_complete = False

    def feed(self, stored: Stored) -> Commands:
        """The commands of one message."""
        data, at = stored.data, time_of(as_object(stored.data.get("time")).get("created")) or time_of(stored.time)
        kind = stored.type or as_text(data.get("role"), "message")
        if kind == "user":
            yield from self._user(stored, at)
        elif kind == "assistant":
            yield from self._assistant(stored, at)
        elif kind == "idle":
            outcome = as_text(data.get("outcome"), "succeeded")
            self._is_complete = True
            if outcome != "succeeded" and not self._error:
                name = "failed" if outcome == "failed" else "MessageAbortedError"
                self._error = {"name": name, "data": {"message": outcome}}
            yield from self._end_turn(at)
        elif kind == "compaction":
            yield from self.writer.show("compaction", stored.id, "Compaction", {"summary": data.get("summary")}, at)
        else:
            yield from self._other(kind, stored.id, data, at)

    def end(self, title: str) -> Commands:
        """The commands at the end of the session."""
        yield from self._end_turn(None, is_last=True)
        yield from self.writer.finish(title)

    # Turns

    def _user(self, stored: Stored, at: Timestamp | None) -> Commands:
        texts = [
            as_text(part.get("text"), "")
            for _, part in stored.parts
            if part.get("type") == "text" and not part.get("synthetic") and not part.get("ignored")
        ]
        summary = as_object(stored.data.get("summary"))
        told = as_text(summary.get("body"), as_text(summary.get("title"), "")) if not stored.parts else ""
        prompt = as_text(stored.data.get("text"), "\n\n".join(filter(None, texts)) or told)
        others = [(id, part) for id, part in stored.parts if part.get("type") != "text"]
        if not prompt and others:  # as a compaction is asked for
            for id, part in others:
                yield from self._part(id, part, at)
            return
        self._is_reverted = self._is_reverted or stored.id == self._reverted
        if self.writer.turn_id and self._has_ends:
            yield from self.writer.say(stored.id, "user", prompt, at)
        else:
            yield from self._end_turn(None)
            yield from self.writer.start(stored.id, prompt, at)
        for id, part in others:
            yield from self._part(id, part, at)
        for index, file in enumerate(as_list(stored.data.get("files", []))):
            yield from self._part(f"{stored.id}:file-{index}", {"type": "file", **as_object(file)}, at)

    def _end_turn(self, at: Timestamp | None, is_last: bool = False) -> Commands:
        if self.writer.turn_id:
            usage, reason = self._usage or None, "rewound" if self._is_reverted else self._finish
            if self._error:
                message = as_text(
                    as_object(self._error.get("data")).get("message"), as_text(self._error.get("name"), "")
                )
                if self._error.get("name") == "MessageAbortedError":
                    yield from self.writer.interrupt(message or "aborted", at, usage)
                else:
                    yield from self.writer.fail(message, as_text(self._error.get("name"), "error"), at, usage)
            elif is_last and not self._is_complete:
                yield from self.writer.interrupt(NO_END, at)
            else:
                yield from self.writer.complete(reason, usage, at)
        self._forget_turn()

    def _assistant(self, stored: Stored, at: Timestamp | None) -> Commands:
        data = stored.data
        self._error, self._finish = as_object(data.get("error")), as_text(data.get("finish"), "") or self._finish
        completed = time_of(as_object(data.get("time")).get("completed"))
        self._is_complete = completed is not None or bool(data.get("finish"))
        steps = [part for _, part in stored.parts if part.get("type") == "step-finish"]
        for cost in steps or [data]:
            self._count(cost)
        for id, part in stored.parts:
            yield from self._part(id, part, at)
        for index, block in enumerate(as_list(data.get("content", []))):
            yield from self._part(f"{stored.id}:{index + 1}", as_object(block), at)
        snapshot = as_object(data.get("snapshot"))
        if taken := as_text(snapshot.get("end"), as_text(snapshot.get("start"), "")):
            yield from self.writer.checkpoint(f"{stored.id}:snapshot", taken, "OpenCode snapshot", completed or at)

    def _count(self, cost: Json) -> None:
        """Add what a step cost."""
        tokens = as_object(cost.get("tokens"))
        cache = as_object(tokens.get("cache"))
        numbers = {**tokens, "cacheRead": cache.get("read"), "cacheWrite": cache.get("write"), "cost": cost.get("cost")}
        for name, number in numbers.items():
            if isinstance(number, int | float):
                self._usage[name] = self._usage.get(name, 0) + number

    # Parts

    def _part(self, id: str, part: Json, at: Timestamp | None) -> Commands:
        kind, text = as_text(part.get("type"), "part"), as_text(part.get("text"), "")
        times = as_object(part.get("time"))
        at = time_of(times.get("start")) or time_of(times.get("created")) or at
        if kind == "text":
            if text and not part.get("ignored"):
                yield from self.writer.say(id, "assistant", text, at)
        elif kind == "reasoning":
            if text:
                yield from self.writer.record("thought", id, "Thought", {"text": text}, at)
        elif kind == "tool":
            yield from self._tool(id, part, at)
        elif kind == "patch":
            git_ref = as_text(part.get("hash"), "")
            if git_ref:
                yield from self.writer.checkpoint(id, git_ref, "OpenCode snapshot", at)
        elif kind == "compaction":
            detail = {
                name: value for name, value in part.items() if name not in ("id", "messageID", "sessionID", "type")
            }
            yield from self.writer.record("compaction", id, "Compaction", detail, at)
        elif kind != "step-finish":
            yield from self._other(kind, id, part, at)

    def _tool(self, id: str, part: Json, at: Timestamp | None) -> Commands:
        state = as_object(part.get("state"))
        name = as_text(part.get("tool"), as_text(part.get("name"), "tool"))
        native = as_text(part.get("callID"), as_text(part.get("id"), id))
        times = as_object(state.get("time"))
        at, given = time_of(times.get("start")) or at, state.get("input")
        title = as_text(state.get("title"), as_text(as_object(given).get("command"), name))
        yield from self.calls.begin(native, title, {"toolCallId": native, "name": name, "rawInput": given}, at)
        if name == "todowrite":
            plan = {"entries": as_list(as_object(given).get("todos"))}
            yield from self.writer.record("plan", f"{native}:plan", "Plan", plan, at)
        status = _STATUSES.get(str(state.get("status")), "running")
        if status in _FINISHED:
            metadata = as_object(state.get("metadata"))
            if name == "invalid" or metadata.get("exit") not in (None, 0):
                status = "failed"
            output: Any = next((state[k] for k in ("output", "error", "content") if state.get(k) is not None), None)
            yield from self.calls.end(native, {"rawOutput": _text(output)}, status, time_of(times.get("end")) or at)

    def _other(self, kind: str, id: str, value: Json, at: Timestamp | None) -> Commands:
        if kind in _HARNESS:
            self.writer.report.skip(f"a record of the tool's own: {kind}")
        elif kind in _SHOWN:
            title = as_text(value.get("filename"), as_text(value.get("name"), as_text(value.get("command"), kind)))
            yield from self.writer.show(kind, id, title, value, at)
        else:
            yield from self.writer.unknown(kind, id, value, at)


def _text(content: Any) -> Any:
    """Content blocks as one text, if all of them are texts."""
    if isinstance(content, list) and content and all(isinstance(as_object(b).get("text"), str) for b in content):
        return "\n".join(block["text"] for block in content)
    return content
