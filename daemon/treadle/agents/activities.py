"""The activities of one session: what an agent shows besides messages, told piece by piece."""

import base64
import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from treadle.agents.shapes import Agent, Json, as_object, as_text, digest, fitting, kind_of, members_of, status_of
from treadle.domain import commands as c
from treadle.domain.detail import changed, json_text
from treadle.domain.ids import UNFINISHED, ActivityStatus

Commands = Iterator[c.Command]

MAX_ID = 128
LASTING = frozenset(("available_commands_update", "current_mode_update", "config_option_update", "session_info_update"))
"""Kinds of updates that tell a state of the session. One that tells the same again, in any turn, changes nothing."""


class Ids:
    """The ids of a session. Each is unique in its scope, and comes from what the agent said.

    suffix: of every id, where a thread has several sessions: agents use the same ids in each of them.
    """

    def __init__(self, suffix: str = "") -> None:
        self._suffix = suffix
        self._taken: set[tuple[str, str]] = set()
        self._counts: dict[tuple[str, str], int] = {}

    def new(self, scope: str, wanted: Any, word: str, source: Any) -> str:
        """Return the wanted id; if there is none, one made of the word and a digest of the source. A number is
        appended to an id that is taken."""
        id = fitting(wanted) if isinstance(wanted, str) and wanted else ""
        id = id or f"{re.sub(r'[^A-Za-z0-9._:-]', '-', word)[:64]}-{digest(source)}"
        id = base = id[: MAX_ID - len(self._suffix)] + self._suffix
        while (scope, id) in self._taken:
            count = self._counts[(scope, base)] = self._counts.get((scope, base), 1) + 1
            id = f"{base[:100]}-{count}"
        self._taken.add((scope, id))
        return id


class Told(Struct, frozen=True):
    """What was told of an activity so far. id: empty until it is recorded in the running turn."""

    id: str
    title: str
    status: ActivityStatus
    detail: Json


class Activities:
    """Turns what is told of activities into commands with only what changed. turn_id: the running turn."""

    def __init__(self, agent: Agent, thread_id: str, ids: Ids) -> None:
        self._agent, self._thread_id, self._ids = agent, thread_id, ids
        self.turn_id = ""
        self._outputs: dict[str, codecs.IncrementalDecoder] = {}
        self._told: dict[tuple[str, str], Told] = {}

    def get(self, kind: str, native: str = "") -> Told | None:
        return self._told.get((kind, native))

    def forget(self, kind: str, native: str = "") -> None:
        """What is told next is of another activity."""
        self._told.pop((kind, native), None)

    def tell(
        self,
        kind: str,
        native: str = "",
        *,
        source: Json,
        members: Json,
        title: str | None = None,
        status: ActivityStatus | None = None,
        wanted: Any = None,
    ) -> Commands:
        """Record an activity, or what changed of it. native: tells it from others of its kind in the turn.

        source: the message that tells it. members: of its detail; null removes one. title, status: None if unchanged.
        """
        before = self._told.get((kind, native), Told("", native or kind, "pending", {}))
        detail = changed(before.detail, {k: v for k, v in members.items() if v is not None or k in before.detail}, {})
        after = Told(before.id, title or before.title, status or before.status, detail)
        if (kind, native) in self._told and json_text(after) == json_text(before):
            return
        if before.id:
            yield c.UpdateActivity(
                thread_id=self._thread_id,
                id=before.id,
                title=None if after.title == before.title else after.title,
                status=None if after.status == before.status else after.status,
                detail={k: v for k, v in members.items() if json_text(detail.get(k)) != json_text(before.detail.get(k))}
                or None,
            )
        else:
            after = msgspec.structs.replace(after, id=self._ids.new("activity", wanted, kind, source))
            yield c.RecordActivity(
                thread_id=self._thread_id,
                id=after.id,
                turn_id=self.turn_id,
                kind=kind,
                title=after.title,
                status=after.status,
                detail=detail or None,
            )
        self._told[(kind, native)] = after

    def record(self, kind: str, title: str, detail: Any, source: Json) -> c.Command:
        """Record an activity that is complete and that nothing more is told of."""
        return c.RecordActivity(
            thread_id=self._thread_id,
            id=self._ids.new("activity", None, kind, source),
            turn_id=self.turn_id,
            kind=kind,
            title=title,
            status="completed",
            detail=detail,
        )

    def end_turn(self) -> None:
        """The turn's end ends all activities. One that the agent continues becomes a new activity of a later turn."""
        self._told = {
            key: msgspec.structs.replace(told, id="")
            for key, told in self._told.items()
            if key[0] in LASTING or told.status in UNFINISHED
        }

    # Updates of the protocol

    def tool_call(self, update: Json, message: Json) -> Commands:
        yield from self.call(members_of(update, self._agent.version), message)

    def tool_call_content(self, update: Json, message: Json) -> Commands:
        told = self.get("tool_call", as_text(update.get("toolCallId"), "tool"))
        content = told.detail.get("content") if told else None
        so_far = content if isinstance(content, list) else []
        yield from self.call(
            {"toolCallId": update.get("toolCallId"), "content": [*so_far, update.get("content")]}, message
        )

    def call(self, call: Json, message: Json) -> Commands:
        """Tell the members of a tool call. The detail leaves out the title and the status of the activity."""
        native = as_text(call.get("toolCallId"), "tool")
        members = {name: value for name, value in call.items() if name not in ("title", "status")}
        status: ActivityStatus | None = None
        if (word := call.get("status")) is not None:
            status, is_exact = status_of(word)
            members["status"] = None if is_exact else word
        yield from self.tell(
            "tool_call",
            native,
            source=message,
            members=members,
            title=as_text(call.get("title"), ""),
            status=status,
            wanted=native,
        )

    def terminal(self, update: Json, message: Json) -> Commands:
        """Map what a terminal of the agent shows: its output is bytes in base64, whole or a chunk to append."""
        native = as_text(update.get("terminalId"), "terminal")
        members = members_of(update, self._agent.version)
        chunk, whole = members.pop("data", None), as_object(members.pop("output", None)).get("data")
        if whole is not None:
            members["output"] = self._decoded(native, whole, so_far="")
        elif chunk is not None:
            told = self.get("terminal", native)
            members["output"] = self._decoded(native, chunk, as_text(told.detail.get("output"), "") if told else "")
        status: ActivityStatus = "running"
        if isinstance(ended := members.get("exitStatus"), dict):
            status = "completed" if ended.get("exitCode") == 0 else "failed"
        yield from self.tell(
            "terminal",
            native,
            source=message,
            members=members,
            title=as_text(update.get("command"), ""),
            status=status,
            wanted=f"terminal-{native}",
        )

    def _decoded(self, native: str, data: Any, so_far: str) -> str:
        """Return the output of a terminal with these bytes. A character may be cut between two chunks."""
        if not so_far or native not in self._outputs:
            self._outputs[native] = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            text = self._outputs[native].decode(base64.b64decode(data, validate=True))
        except (TypeError, ValueError):
            text = str(data)
        return so_far + text.replace("\0", "\ufffd")

    def plan(self, update: Json, message: Json) -> Commands:
        members = members_of(update, self._agent.version)
        members |= as_object(members.pop("plan", None))  # version 2
        yield from self._state("plan", as_text(members.get("planId"), ""), "Plan", members, message)

    def usage(self, update: Json, message: Json) -> Commands:
        yield from self._state("usage", "", "Usage", members_of(update, self._agent.version), message)

    def lasting(self, update: Json, message: Json) -> Commands:
        kind = kind_of(update)
        yield from self._state(kind, "", kind, members_of(update, self._agent.version), message)

    def _state(self, kind: str, native: str, title: str, members: Json, message: Json) -> Commands:
        """Tell what is one activity a turn, and complete at any time."""
        yield from self.tell(kind, native, source=message, members=members, title=title, status="completed")


UPDATES: dict[str, Callable[[Activities, Json, Json], Commands]] = {
    "tool_call": Activities.tool_call,
    "tool_call_update": Activities.tool_call,
    "plan": Activities.plan,
    "usage_update": Activities.usage,
    **dict.fromkeys(LASTING, Activities.lasting),
    # Version 2
    "tool_call_content_chunk": Activities.tool_call_content,
    "terminal_update": Activities.terminal,
    "terminal_output_chunk": Activities.terminal,
    "plan_update": Activities.plan,
}
"""How each kind of update is told, given the update and the message that contains it."""
