"""Maps the records of one session of Gemini CLI to the commands of one thread."""

from typing import Any

from treadle.agents.shapes import Json, as_list, as_object, as_text
from treadle.domain.ids import Timestamp
from treadle.transfer.sources.calls import Calls
from treadle.transfer.sources.source import time_of
from treadle.transfer.sources.thread_writer import NO_END, Commands, ThreadWriter

_SYSTEM = ("info", "warning", "error")


class GeminiThread:
    """The state of one session. The tool writes a message again, with the same id, when it knows more of it: so each
    one waits until another follows."""

    def __init__(self, writer: ThreadWriter) -> None:
        self.writer = writer
        self.calls = Calls(writer)
        self._pending: Json | None = None
        self._texts: dict[int, int] = {}
        self._forget_turn()

    def _forget_turn(self) -> None:
        self._usage: Json = {}
        self._is_answered = self._is_rewound = False

    def feed(self, record: Json) -> Commands:
        """The commands of one record."""
        if "$rewindTo" in record:
            yield from self._flush()
            self._is_rewound = True
            target = {"toMessage": record["$rewindTo"]}
            yield from self.writer.show("rewound", self.writer.nameless("rewound", record), "Went back", target, None)
        elif "$set" in record:
            for message in as_list(as_object(record["$set"]).get("messages", [])):
                yield from self._message(as_object(message))
        elif "type" in record:
            yield from self._message(record)
        else:
            self.writer.report.skip("a record of the tool's own: session")

    def end(self) -> Commands:
        """The commands at the end of the file."""
        yield from self._flush()
        yield from self._end_turn(None, is_open=not self._is_answered)
        yield from self.writer.finish()

    def _message(self, message: Json) -> Commands:
        if self._pending is not None and (not message.get("id") or self._pending.get("id") != message.get("id")):
            yield from self._flush()
        self._pending = message

    def _flush(self) -> Commands:
        message, self._pending = self._pending, None
        if message is None:
            return
        kind, at = as_text(message.get("type"), "message"), time_of(message.get("timestamp"))
        id = as_text(message.get("id"), "") or self.writer.nameless(kind, message)
        text = _text(message.get("content"))
        before = self._texts.setdefault(hash(id), hash(text))
        if before != hash(text):
            self._texts[hash(id)] = hash(text)
            detail = {"message": id, "text": text}
            yield from self.writer.show("message_revised", f"{id}:revised", "Message changed", detail, at)
        elif kind == "user":
            yield from self._user(id, text, message, at)
        elif kind in _SYSTEM:
            if text:
                yield from self.writer.say(id, "system", text, at)
        elif kind not in ("gemini", "model"):
            yield from self.writer.unknown(kind, id, message, at)
        if kind in ("gemini", "model"):
            yield from self._answer(id, text if before == hash(text) else "", message, at)

    def _user(self, id: str, text: str, message: Json, at: Timestamp | None) -> Commands:
        if text.startswith(("/", "?", "<session_context>")) or not (text or message.get("content")):
            self.writer.report.skip("a message of the tool itself")
        elif not self.writer.knows(id):
            yield from self._end_turn(None, is_open=False)
            yield from self.writer.start(id, text or "[file]", at)

    def _end_turn(self, at: Timestamp | None, is_open: bool) -> Commands:
        if is_open and not self._is_rewound:
            yield from self.writer.interrupt(NO_END, at)
        else:
            yield from self.writer.complete("rewound" if self._is_rewound else None, self._usage or None, at)
        self._forget_turn()

    def _answer(self, id: str, text: str, message: Json, at: Timestamp | None) -> Commands:
        for number, thought in enumerate(as_list(message.get("thoughts") or []), 1):
            told = as_object(thought)
            title = as_text(told.get("subject"), "Thought")
            detail = {"text": as_text(told.get("description"), "")}
            yield from self.writer.record(
                "thought", f"{id}:t{number}", title, detail, time_of(told.get("timestamp")) or at
            )
        if text:
            yield from self.writer.say(id, "assistant", text, at)
        calls = as_list(message.get("toolCalls") or [])
        for call in calls:
            yield from self._call(as_object(call), at)
        self._is_answered = bool(text) and not calls
        for name, number_of in as_object(message.get("tokens")).items():
            if isinstance(number_of, int):
                self._usage[name] = self._usage.get(name, 0) + number_of
        if self._usage and (model := as_text(message.get("model"), "")):
            self._usage["model"] = model

    def _call(self, call: Json, at: Timestamp | None) -> Commands:
        name, at = as_text(call.get("name"), "tool"), time_of(call.get("timestamp")) or at
        native = as_text(call.get("id"), "") or self.writer.nameless(name, call)
        given = call.get("args")
        title = as_text(call.get("description"), as_text(as_object(given).get("command"), name))
        yield from self.calls.begin(native, title, {"toolCallId": native, "name": name, "rawInput": given}, at)
        status, result = call.get("status"), call.get("result")
        if (status is not None or result is not None) and self.calls.get(native) is not None:
            outputs = [output_of(as_object(part).get("functionResponse")) for part in as_list(result)]
            output: Any = outputs[0] if len(outputs) == 1 else outputs
            is_failed = status in ("error", "cancelled")
            yield from self.calls.end(native, {"rawOutput": output}, "failed" if is_failed else "completed", at)


def output_of(response: Any) -> Any:
    """What a function answered: its output or error, or all of the answer."""
    told = as_object(response).get("response")
    return next((told[name] for name in ("output", "error") if name in told), told) if isinstance(told, dict) else told


def _text(content: Any) -> str:
    """The texts of the parts of a message."""
    parts = [content] if isinstance(content, str) else as_list(content)
    texts = [part if isinstance(part, str) else as_text(as_object(part).get("text"), "") for part in parts]
    return "\n".join(filter(None, texts)).strip()
