"""The tool calls of one thread: a call and its result are two records, and become one activity."""

from msgspec import Struct

from treadle.agents.shapes import Json
from treadle.domain.detail import json_text
from treadle.domain.ids import ActivityStatus, Timestamp
from treadle.transfer.sources.thread_writer import Commands, ThreadWriter

MAX_OPEN = 1_000  # calls without a result whose input is kept; of older ones, the result becomes an activity of its own


class OpenCall(Struct):
    """A call without a result. id: of its activity. turn_id: that it was made in."""

    id: str
    turn_id: str
    title: str
    detail: Json


class Calls:
    """Maps calls and results by the tool's id of the call. Some models count their calls from 0 in every turn."""

    def __init__(self, writer: ThreadWriter) -> None:
        self._writer = writer
        self._open: dict[str, OpenCall] = {}
        self._known: dict[int, int] = {}

    @property
    def last(self) -> str | None:
        """The latest call without a result."""
        return next(reversed(self._open), None)

    def get(self, native: str) -> OpenCall | None:
        """The call, if it has no result yet."""
        return self._open.get(native)

    def begin(self, native: str, title: str, detail: Json, at: Timestamp | None) -> Commands:
        """Record a call that runs."""
        detail = self._writer.cutter.detail(detail)
        content = hash(json_text(detail))
        if self._known.get(hash(native)) == content:
            self._writer.report.skip("a record that was repeated")
            return
        id = native if hash(native) not in self._known else f"{native}:{self._writer.nameless('call', native)[-8:]}"
        self._known[hash(native)] = content
        title = title or "tool"
        yield from self._writer.record("tool_call", id, title, detail, at, "running", is_cut=True)
        if len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._open[native] = OpenCall(id, self._writer.turn_id, title, detail)

    def end(
        self, native: str, members: Json, status: ActivityStatus, at: Timestamp | None, title: str = "tool"
    ) -> Commands:
        """Record the result of a call. members: what it adds to the detail."""
        call = self._open.pop(native, None)
        if call is None:
            if hash(native) in self._known:
                self._writer.report.skip("a second result of a tool call")
                return
            self._known[hash(native)] = 0
            call = OpenCall(native, self._writer.turn_id, title, {"toolCallId": native})
        elif call.turn_id != self._writer.turn_id:  # its turn has ended, and the call with it
            call.id = f"{call.id}:result"
        detail = call.detail | self._writer.cutter.detail(members)
        yield from self._writer.record("tool_call", call.id, call.title, detail, at, status, is_cut=True)
