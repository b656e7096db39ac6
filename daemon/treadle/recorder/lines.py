"""The records of a spool as the messages that editor and agent sent each other."""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from treadle.agents.recording import Frame
from treadle.agents.shapes import Json
from treadle.contract.bounds import MAX_DEPTH
from treadle.contract.json_text import is_deeper_than, storable
from treadle.recorder.spool import AGENT, EDITOR, SpoolRecord

LINE_BYTES = 64 * 1024 * 1024  # of one message; a longer one counts as missing
GAP = "recording_gap"


class _Line(Struct):
    """parts: of the line so far. broken: its beginning is missing, so that the rest is none."""

    parts: list[bytes] = []
    size: int = 0
    broken: bool = False


class LineJoiner:
    """Puts together what was written in pieces. skipped: lines that are no JSON-RPC message."""

    def __init__(self) -> None:
        self._open = {EDITOR: _Line(), AGENT: _Line()}
        self.skipped = 0

    @property
    def is_between(self) -> bool:
        """Whether no line is unfinished."""
        return not any(line.parts or line.broken for line in self._open.values())

    def feed(self, record: SpoolRecord) -> Iterator[Frame]:
        """The messages that this record completes. What is missing is told as an update of the agent."""
        line = self._open[record.sender]
        if record.missing:
            line.parts, line.size, line.broken = [], 0, not record.to_line_end
            yield _gap(record.at, record.missing)
            return
        *ends, rest = record.data.split(b"\n")
        for end in ends:
            whole, was_broken = b"".join([*line.parts, end]), line.broken
            line.parts, line.size, line.broken = [], 0, False
            if not was_broken:
                yield from self._frames(record, whole)
        if rest and not line.broken:
            line.parts.append(rest)
            line.size += len(rest)
            if line.size > LINE_BYTES:
                yield _gap(record.at, line.size)
                line.parts, line.size, line.broken = [], 0, True

    def _frames(self, record: SpoolRecord, line: bytes) -> Iterator[Frame]:
        if not line.strip():
            return
        message = _json(line)
        messages = message if isinstance(message, list) else [message]
        for each in messages:
            if isinstance(each, dict):
                yield Frame(record.at, "client" if record.sender == EDITOR else "agent", each)
            else:
                self.skipped += 1


def is_gap(frame: Frame) -> bool:
    """Whether the frame says that something is missing."""
    params = frame.msg.get("params")
    return (
        isinstance(params, dict) and "sessionId" not in params and params.get("update", {}).get("sessionUpdate") == GAP
    )


def _gap(at: float, count: int) -> Frame:
    update: Json = {"sessionUpdate": GAP, "bytes": count}
    return Frame(at, "agent", {"jsonrpc": "2.0", "method": "session/update", "params": {"update": update}})


def _json(line: bytes) -> object:
    """None for what is no JSON, or JSON that is deeper than the log can hold."""
    text = storable(line)
    if is_deeper_than(MAX_DEPTH, text):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
