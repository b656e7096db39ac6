"""One read transaction on SQLite: the implementation of `Reads` in store/ports.py."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from msgspec import Raw

from treadle.contract.results import EntityName, IndexSnapshot, Page, SettingsSnapshot, ThreadSnapshot
from treadle.domain.entities import Hit
from treadle.domain.ids import Syntax, ThreadSort
from treadle.domain.redaction import MARKER
from treadle.domain.state import Key
from treadle.store.pages import LATEST, PAGE_BOUNDS, PageBounds
from treadle.store.records import (
    KeptCheckpoint,
    LogSpan,
    NamedEntity,
    OpenMessage,
    PendingApproval,
    QueueOwner,
    SessionOwner,
    ThreadWork,
    TranscriptItem,
    TurnOwner,
)
from treadle.store.sqlite import reads
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.search import search
from treadle.store.sqlite.sql import query

PLURALS: Final = {
    "project": "projects",
    "thread": "threads",
    "turn": "turns",
    "message": "messages",
    "activity": "activities",
    "approval": "approvals",
    "checkpoint": "checkpoints",
    "setting": "settings",
    "prompt": "prompts",
    "session": "sessions",
    "rule": "rules",
}

STEPS: Final = 1_000  # instructions of SQLite's virtual machine between checks whether to interrupt a search
AFTER_IDS: Final = "\x7f"  # sorts after every character of an id

_decode_work = msgspec.json.Decoder(ThreadWork, strict=False).decode  # SQLite has 0 and 1 for false and true


class SqliteReads:
    """Implements Reads. Its methods are thin: statements are in sql/queries, pages in store/sqlite/reads.py."""

    __slots__ = ("_db", "bounds")

    def __init__(self, db: sqlite3.Connection, bounds: PageBounds = PAGE_BOUNDS) -> None:
        self._db = db
        self.bounds = bounds

    @contextmanager
    def interrupted_if(self, is_over: Callable[[], bool]) -> Iterator[None]:
        """Interrupt statements within the block once `is_over` returns true."""
        self._db.set_progress_handler(is_over, STEPS)
        try:
            yield
        finally:
            self._db.set_progress_handler(None, 0)

    def _rows(self, name: str, **parameters: Any) -> list[Any]:
        return self._db.execute(query(name), parameters).fetchall()

    def _page(self, name: str, limit: int, **parameters: Any) -> Page[Raw]:
        return reads.page(self._db, name, limit, self.bounds.max_bytes, **parameters)

    def sequence(self) -> int:
        return reads.sequence(self._db)

    def log_span(self) -> LogSpan:
        return LogSpan(*self._rows("log_span")[0])

    def project_list(self, limit: int, before: int) -> Page[Raw]:
        return self._page("project_list", limit, before=before)

    def thread_list(
        self,
        *,
        sort: ThreadSort = "version",
        project_id: str | None = None,
        archived: bool | None = None,
        tool: str | None = None,
        session: str | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Raw]:
        return reads.thread_list(
            self._db,
            sort=sort,
            project_id=project_id,
            archived=archived,
            tool=tool,
            session=session,
            limit=limit,
            cursor=cursor,
            max_bytes=self.bounds.max_bytes,
        )

    def turn_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        self.header(thread_id)
        return self._page("turn_list", limit, thread=thread_id, before=before)

    def checkpoint_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        self.header(thread_id)
        return self._page("checkpoint_list", limit, thread=thread_id, before=before)

    def prompt_list(self, thread_id: str | None, limit: int, before: int) -> Page[Raw]:
        if thread_id is None:
            return self._page("prompt_list", limit, before=before)
        self.header(thread_id)
        return self._page("prompt_list_of_thread", limit, thread=thread_id, before=before)

    def approval_list(self, thread_id: str | None, limit: int, before: int) -> Page[Raw]:
        if thread_id is None:
            return self._page("pending_approval_list", limit, before=before)
        self.header(thread_id)
        return self._page("pending_approval_list_of_thread", limit, thread=thread_id, before=before)

    def session_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        self.header(thread_id)
        return self._page("session_list", limit, thread=thread_id, before=before)

    def rule_list(self, limit: int, before: int) -> Page[Raw]:
        return self._page("rule_list", limit, before=before)

    def setting_list(self, limit: int, after: str) -> Page[Raw]:
        return self._page("setting_list", limit, after=after)

    def events(self, thread_id: str | None, after: int, limit: int) -> tuple[list[Raw], int | None]:
        return reads.events(self._db, thread_id, after, limit, self.bounds.max_bytes)

    def search(
        self,
        text: str,
        *,
        syntax: Syntax = "plain",
        project_id: str | None = None,
        thread_id: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Hit]:
        return search(
            self._db, text, syntax=syntax, project_id=project_id, thread_id=thread_id, limit=limit, cursor=cursor
        )

    def index(self) -> IndexSnapshot:
        return reads.index(self._db, self.bounds.index_threads)

    def thread(self, thread_id: str, turn_limit: int, before: int = LATEST) -> ThreadSnapshot:
        return reads.turns(self._db, thread_id, turn_limit, before, self.bounds.max_bytes)

    def settings(self) -> SettingsSnapshot:
        return reads.settings(self._db)

    def message(self, thread_id: str, id: str) -> Raw:
        return reads.message(self._db, thread_id, id)

    def activity(self, thread_id: str, id: str) -> Raw:
        return reads.activity(self._db, thread_id, id)

    def header(self, thread_id: str) -> str:
        return reads.require_thread(self._db, thread_id)

    def entities(self, entity: EntityName, thread_id: str | None, ids: Collection[str]) -> dict[str, Raw]:
        wanted = msgspec.json.encode(ids).decode()
        return {id: Raw(value) for id, value in self._rows(f"changed_{PLURALS[entity]}", thread=thread_id, ids=wanted)}

    def projects(self) -> list[Raw]:
        return [Raw(value) for _, value in self._rows("project_list", before=LATEST, limit=-1)]

    def newest_threads(self, limit: int) -> list[Raw]:
        return reads.newest_threads(self._db, limit)

    def look_up(self, keys: Iterable[Key]) -> dict[Key, Any]:
        return look_up(self._db, keys)

    def threads_with_prefix(self, prefix: str, limit: int) -> list[str]:
        found = self._rows("thread_list_of_prefix", first=prefix, beyond=prefix + AFTER_IDS, limit=limit)
        return [str(id) for id, _ in found]

    def changes(self, after: int, thread_id: str | None, limit: int) -> list[NamedEntity]:
        name = "change_list" if thread_id is None else "change_list_of_thread"
        return [NamedEntity(*row) for row in self._rows(name, after=after, thread=thread_id, limit=limit)]

    def redacted_events(self, sequence: int) -> list[tuple[str, str | None]]:
        return self._rows("redacted_events", sequence=sequence)

    def chunks(self, row: int, after: int) -> list[tuple[int, str]]:
        return self._rows("chunks_after", message=row, after=after)

    def open_messages(self, thread_id: str) -> list[OpenMessage]:
        return [OpenMessage(*row) for row in self._rows("open_messages", thread=thread_id)]

    def pending_approvals(self, thread_ids: Collection[str] | None) -> list[PendingApproval]:
        if thread_ids is None:
            rows = self._rows("pending_approvals")
        else:
            rows = self._rows("pending_approvals_of_threads", threads=msgspec.json.encode(sorted(thread_ids)).decode())
        return sorted((PendingApproval(*row) for row in rows), key=lambda approval: approval.sequence)

    def running_turns(self) -> list[TurnOwner]:
        rows = self._rows("running_turns")
        return [TurnOwner(thread_id, id, runner, bool(cancelling)) for thread_id, id, runner, cancelling in rows]

    def open_sessions(self) -> list[SessionOwner]:
        return [SessionOwner(*row) for row in self._rows("open_sessions")]

    def open_queues(self) -> list[QueueOwner]:
        return [QueueOwner(*row) for row in self._rows("open_queues")]

    def threads_at_work(self) -> list[str]:
        return [id for (id,) in self._rows("threads_at_work")]

    def work(self, thread_ids: Collection[str]) -> list[ThreadWork]:
        rows = self._rows("work_of_threads", ids=msgspec.json.encode(sorted(thread_ids)).decode())
        return [_decode_work(work) for _, work in rows]

    def project_paths(self) -> dict[str, str]:
        return {id: path for id, path in self._rows("project_paths") if path is not None}

    def kept_checkpoints(self, project_ids: Collection[str]) -> list[KeptCheckpoint]:
        rows = self._rows("kept_checkpoints", projects=msgspec.json.encode(sorted(project_ids)).decode())
        return sorted(KeptCheckpoint._make((*row[:8], *map(bool, row[8:]))) for row in rows)

    def threads_with_refs(self, project_ids: Collection[str]) -> dict[str, bool]:
        rows = self._rows("threads_with_refs", projects=msgspec.json.encode(sorted(project_ids)).decode())
        return {id: bool(deleted) for id, deleted in rows}

    def pruned_at(self, thread_id: str, id: str) -> str | None:
        rows = self._rows("pruned_at", thread=thread_id, id=id)
        return rows[0][0] if rows else None

    def origins_of_turns(
        self, turns: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[str, str, str | None, str | None]]:
        rows = self._rows("origins_of_turns", keys=msgspec.json.encode(sorted(turns)).decode())
        return {(thread_id, id): (title, at, agent, prompt) for thread_id, id, title, at, agent, prompt in rows}

    def threads_with_worktree(self) -> list[str]:
        return [id for (id,) in self._rows("threads_with_worktree")]

    def thread_of_session(self, session_id: str) -> str | None:
        return next((id for (id,) in self._rows("thread_of_session", session=session_id)), None)

    def ran_session(self, session_id: str) -> str | None:
        return next((id for (id,) in self._rows("ran_session", session=session_id)), None)

    def own_turns(self, thread_id: str) -> list[tuple[str, str | None]]:
        return [row[:2] for row in self._rows("own_turns", thread=thread_id)]

    def turns_after(self, thread_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return [row[:2] for row in self._rows("turn_list_after", thread=thread_id, after=after, limit=limit)]

    def transcript(self, thread_id: str, after: int, before: int) -> list[TranscriptItem]:
        rows = self._rows("transcript_of_turn", thread=thread_id, after=after, before=before)
        return [TranscriptItem(*row) for row in rows]

    def entity_counts(self) -> dict[str, int]:
        cursor = self._db.execute(query("stats_entities"))
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))

    def event_counts(self, after: int, upto: int) -> list[tuple[str, int, int]]:
        return self._rows("stats_event_types", after=after, upto=upto)

    def redacted(self, after: int, upto: int) -> dict[str, int]:
        rows = self._rows("stats_redacted", after=after, upto=upto)
        return dict(Counter(kind for (payload,) in rows for kind in MARKER.findall(payload)))

    def largest_threads(self, limit: int) -> list[tuple[str, str | None, int, int]]:
        return self._rows("stats_largest_threads", limit=limit)

    def free_bytes(self) -> int:
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (page_size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int(free * page_size)
