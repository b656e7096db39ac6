"""Events/s that the library `eventsourcing` saves into SQLite, with rows of threads, turns and messages.

    peer_eventsourcing.py DATABASE EVENTS COUNT SIZE (projected | bare)

The rows are written by a recorder of its own, in the transaction that saves the events, which is the library's fastest
way: its SQLite recorder has no subscriptions, and a process application commits once an event. The library leaves
`synchronous` at SQLite's default, FULL.
"""

# mypy: disable-error-code="misc, untyped-decorator"
# It runs in an environment of its own: the library is none of treadle's.
import json
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.sqlite import SQLiteApplicationRecorder

BATCH = 500


class Thread(Aggregate):
    @staticmethod
    def create_id(thread: str) -> UUID:
        return UUID(thread)

    @event("Created")
    def __init__(self, thread: str, project: str, title: str) -> None:
        self.title = title
        self.running = False

    @event("TurnStarted")
    def start_turn(self, turn: str, runner: str) -> None:
        self.running = True

    @event("MessageAdded")
    def add_message(self, message: str, turn: str, role: str, text: str) -> None:
        pass

    @event("TurnCompleted")
    def complete_turn(self, turn: str, reason: str) -> None:
        self.running = False


class Recorder(SQLiteApplicationRecorder):
    """projected: the events that the tables have to show."""

    def _insert_events(self, c: Any, stored_events: Any, projected: Any = (), **more: Any) -> Any:
        saved = super()._insert_events(c, stored_events, **more)
        threads, turns, messages, ended, changed = [], [], [], [], []
        for happened in projected:
            thread, at = str(happened.originator_id), happened.timestamp.isoformat()
            if isinstance(happened, Thread.Created):
                threads.append((thread, happened.project, happened.title, happened.originator_version, at, at))
                continue
            if isinstance(happened, Thread.MessageAdded):
                messages.append((thread, happened.message, happened.turn, happened.role, happened.text, at, at))
            elif isinstance(happened, Thread.TurnStarted):
                turns.append((thread, happened.turn, happened.runner, at))
            else:
                ended.append((happened.reason, at, thread, happened.turn))
            started, completed = isinstance(happened, Thread.TurnStarted), isinstance(happened, Thread.TurnCompleted)
            changed.append((happened.originator_version, at, started, completed, thread))
        c.executemany(
            "INSERT INTO projection_threads (id, project_id, title, version, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            threads,
        )
        c.executemany(
            "INSERT INTO projection_turns (thread_id, id, runner, status, started_at) VALUES (?, ?, ?, 'running', ?)",
            turns,
        )
        c.executemany(
            "INSERT INTO projection_messages "
            "(thread_id, id, turn_id, role, text, status, created_at, completed_at) "
            "VALUES (?, ?, ?, ?, ?, 'complete', ?, ?)",
            messages,
        )
        c.executemany(
            "UPDATE projection_turns SET status = 'completed', stop_reason = ?, ended_at = ? "
            "WHERE thread_id = ? AND id = ?",
            ended,
        )
        c.executemany(
            "UPDATE projection_threads SET version = ?, updated_at = ?, "
            "turn_status = CASE WHEN ? THEN 'running' WHEN ? THEN NULL ELSE turn_status END WHERE id = ?",
            changed,
        )
        return saved


def happen(threads: dict[str, Thread], payload: dict[str, Any]) -> Thread:
    """Make the thread, or do to it what the event says; nothing is saved yet."""
    kind, key = payload["type"], payload["threadId"]
    if kind == "ThreadCreated":
        threads[key] = Thread(thread=key, project=payload["projectId"], title=payload["title"])
    elif kind == "TurnStarted":
        threads[key].start_turn(payload["id"], payload["runner"])
    elif kind == "MessageAdded":
        threads[key].add_message(payload["id"], payload["turnId"], payload["role"], payload["text"])
    else:
        assert kind == "TurnCompleted", kind
        threads[key].complete_turn(payload["id"], payload["stopReason"])
    return threads[key]


def main(database: str, path: Path, count: int, size: int, projected: bool) -> None:
    app: Application = Application(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": database,
            "APPLICATION_RECORDER_TOPIC": f"{__name__}:Recorder",
        }
    )
    payloads = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    starts = [0, *range(BATCH, BATCH + count, size)]
    threads: dict[str, Thread] = {}
    elapsed = 0.0
    for start, end in zip(starts, [*starts[1:], BATCH + count], strict=True):
        for payload in payloads[start:end]:  # all of one thread
            thread = happen(threads, payload)
        began = time.perf_counter()
        app.save(thread, projected=list(thread.pending_events) if projected else ())
        elapsed += time.perf_counter() - began if start else 0.0
    print(count / elapsed)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "projected")
