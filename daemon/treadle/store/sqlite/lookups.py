"""Load what commands refer to, for the state that they are decided against."""

import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from treadle.domain.detail import json_text
from treadle.domain.ids import ActivityStatus
from treadle.domain.paths import path_key, project_key
from treadle.domain.state import (
    ActivityState,
    AgentState,
    ApprovalState,
    Key,
    ProjectState,
    PromptState,
    QueuedState,
    RunningTurn,
    SessionState,
    ThreadState,
)
from treadle.store.sqlite.sql import query


def look_up(connection: sqlite3.Connection, keys: Iterable[Key]) -> dict[Key, Any]:
    """The value of each key in the projections, None if it does not exist."""
    by_kind: dict[str, list[Key]] = defaultdict(list)
    found: dict[Key, Any] = {}
    for key in keys:
        by_kind[key[0]].append(key)
        found[key] = None
    for _, project_id in by_kind.pop("members", []):
        rows = connection.execute(query("lookup_members"), {"project": project_id}).fetchall()
        found[("members", project_id)] = tuple(id for (id,) in rows)
        by_kind["thread"] += [("thread", id) for (id,) in rows]
    if paths := set(by_kind.pop("path", [])):
        # Compared in Python: SQLite has no Unicode normalisation, and there are few live projects.
        for path, remote, project_id in connection.execute(query("lookup_paths")).fetchall():
            key = ("path", project_key(path, remote))
            if key in paths and found[key] is None:
                found[key] = project_id
    if folders := set(by_kind.pop("folder", [])):
        for path, project_id in connection.execute(query("lookup_folders")).fetchall():
            key = ("folder", path_key(path))
            if key in folders:
                found[key] = project_id
    for kind, wanted in by_kind.items():
        name, read = _READERS[kind]
        rows = connection.execute(query(name), {"keys": msgspec.json.encode(wanted).decode()}).fetchall()
        found.update(read(connection, row) for row in rows)
    return found


def _thread(connection: sqlite3.Connection, row: tuple[Any, ...]) -> tuple[Key, ThreadState]:
    id, project_id, title, version, archived, deleted, turn_status, agent, queued, paused, auth_required, *last = row
    session, worktree, erased = last
    if deleted:
        return ("thread", id), ThreadState(
            project_id, title, version, bool(archived), deleted=True, erased=bool(erased)
        )
    queue = connection.execute(query("lookup_queue"), {"thread": id}).fetchall() if queued else []
    return ("thread", id), ThreadState(
        project_id,
        title,
        version,
        archived=bool(archived),
        turn=None if turn_status is None else _running_turn(connection, id, turn_status == "cancelling"),
        agent=None if agent is None else msgspec.json.decode(agent, type=AgentState),
        queue=tuple(QueuedState(*prompt) for prompt in queue),
        paused=paused,
        auth_required=bool(auth_required),
        session=session,
        worktree=worktree,
    )


def _running_turn(connection: sqlite3.Connection, thread_id: str, cancelling: bool) -> RunningTurn | None:
    def rows(name: str) -> list[tuple[Any, ...]]:
        return connection.execute(query(name), {"thread": thread_id}).fetchall()

    turns = rows("lookup_running_turn")
    if not turns:
        return None
    id, runner, prompt = turns[0]
    return RunningTurn(
        id,
        runner,
        messages=tuple(id for (id,) in rows("lookup_open_messages")),
        activities=tuple(id for (id,) in rows("lookup_unfinished_activities")),
        approvals=tuple(id for (id,) in rows("lookup_pending_approvals")),
        cancelling=cancelling,
        prompt=prompt,
    )


def _activity_state(turn_id: str, kind: str, title: str, status: ActivityStatus, detail: str | None) -> ActivityState:
    return ActivityState(turn_id, kind, title, status, None if detail is None else msgspec.json.decode(detail))


def _prompt_state(queued: int, text: str, content: str | None, when: str) -> PromptState:
    if not queued:
        return SENT
    # msgspec leaves a default out of an event only if it is the same object.
    same: Any = sys.intern(when)
    return PromptState(text, None if content is None else msgspec.json.decode(content), same)


SENT = PromptState(queued=False)


def _option_ids(options: str) -> tuple[str, ...]:
    return tuple(option["id"] for option in msgspec.json.decode(options))


_READERS: dict[str, tuple[str, Callable[[sqlite3.Connection, tuple[Any, ...]], tuple[Key, Any]]]] = {
    "project": (
        "lookup_projects",
        lambda _, row: (("project", row[0]), ProjectState(row[1], row[2], row[3], bool(row[4]))),
    ),
    "thread": ("lookup_threads", _thread),
    "turn": ("lookup_turns", lambda _, row: (("turn", *row[:2]), row[2])),
    "message": ("lookup_messages", lambda _, row: (("message", *row[:2]), row[2])),
    "activity": ("lookup_activities", lambda _, row: (("activity", *row[:2]), _activity_state(*row[2:]))),
    "approval": (
        "lookup_approvals",
        lambda _, row: (("approval", *row[:2]), ApprovalState(_option_ids(row[2]), bool(row[3]), row[4])),
    ),
    "checkpoint": ("lookup_checkpoints", lambda _, row: (("checkpoint", *row[:2]), bool(row[2]))),
    "prompt": ("lookup_prompts", lambda _, row: (("prompt", *row[:2]), _prompt_state(*row[2:]))),
    "session": (
        "lookup_sessions",
        lambda _, row: (("session", *row[:2]), SessionState(msgspec.json.decode(row[2]), bool(row[3]))),
    ),
    "event": ("lookup_events", lambda _, row: (("event", row[0], str(row[1])), msgspec.json.decode(row[2]))),
    "rule": ("lookup_rules", lambda _, row: (("rule", row[0]), not row[1])),
    "setting": ("lookup_settings", lambda _, row: (("setting", row[0]), json_text(msgspec.json.decode(row[1])))),
}
