"""The activities of one session: what an agent shows besides messages, told piece by piece."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from treadle.agents.shapes import Json, digest, fitting
from treadle.domain import commands as c
from treadle.domain.detail import changed, json_text
from treadle.domain.ids import UNFINISHED, ActivityStatus

LASTING = frozenset(("available_commands_update", "current_mode_update", "config_option_update", "session_info_update"))
"""Kinds of updates that tell a state of the session. One that tells the same again, in any turn, changes nothing."""


class Ids:
    """The ids of a session. Each is unique in its scope, and comes from what the agent said."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()
        self._counts: dict[tuple[str, str], int] = {}

    def new(self, scope: str, wanted: Any, word: str, source: Any) -> str:
        """Return the wanted id; if there is none, one made of the word and a digest of the source. A number is
        appended to an id that is taken."""
        id = fitting(wanted) if isinstance(wanted, str) and wanted else ""
        id = base = id or f"{re.sub(r'[^A-Za-z0-9._:-]', '-', word)[:64]}-{digest(source)}"
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
    """Turns what is told of activities into commands with only what changed."""

    def __init__(self, thread_id: str, ids: Ids) -> None:
        self._thread_id, self._ids = thread_id, ids
        self._told: dict[tuple[str, str], Told] = {}

    def get(self, kind: str, native: str = "") -> Told | None:
        return self._told.get((kind, native))

    def forget(self, kind: str, native: str = "") -> None:
        """What is told next is of another activity."""
        self._told.pop((kind, native), None)

    def tell(
        self,
        turn_id: str,
        kind: str,
        native: str = "",
        *,
        source: Json,
        members: Json,
        title: str | None = None,
        status: ActivityStatus | None = None,
        wanted: Any = None,
    ) -> Iterator[c.Command]:
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
                turn_id=turn_id,
                kind=kind,
                title=after.title,
                status=after.status,
                detail=detail or None,
            )
        self._told[(kind, native)] = after

    def record(self, turn_id: str, kind: str, title: str, detail: Any, source: Json) -> c.Command:
        """Record an activity that is complete and that nothing more is told of."""
        return c.RecordActivity(
            thread_id=self._thread_id,
            id=self._ids.new("activity", None, kind, source),
            turn_id=turn_id,
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
