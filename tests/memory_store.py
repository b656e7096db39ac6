"""A data directory in memory: implements the protocols of `store/ports.py` with dicts and lists.

Tests that need no disk use it; tests/test_store_contract.py compares it with SQLite. It accepts only events that the
decider makes, from one daemon. It differs from SQLite in what the contract leaves open:

- `search` finds plain words, newest first. It has no FTS5 syntax and no rank, and a snippet is the whole text.
- JSON is encoded again, so sizes may differ by a few bytes; `free_bytes` is 0.
"""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from treadle.contract.results import EntityName, IndexSnapshot, Page, SettingsSnapshot, ThreadSnapshot
from treadle.domain import agent_events as a
from treadle.domain import events as e
from treadle.domain.detail import changed
from treadle.domain.entities import (
    ENTITIES,
    Activity,
    Assigned,
    Hit,
    Match,
    Message,
    NeededAuth,
    Setting,
    Spent,
    Thread,
    ThreadWorktree,
)
from treadle.domain.errors import NotFound
from treadle.domain.evolution import evolve
from treadle.domain.ids import UNFINISHED, Syntax, ThreadSort
from treadle.domain.redaction import MARKER
from treadle.domain.state import Key, State, ThreadState
from treadle.store.errors import StorageError
from treadle.store.ids import new_id
from treadle.store.pages import LATEST, PAGE_BOUNDS, PageBounds, Position, decode_cursor, encode_cursor, stored_event
from treadle.store.ports import DecidedBy
from treadle.store.records import (
    CommandRecord,
    KeptCheckpoint,
    Loaded,
    LogSpan,
    NamedEntity,
    OpenMessage,
    PendingApproval,
    QueuedPrompt,
    QueueOwner,
    RestoredFiles,
    SessionOwner,
    SessionWork,
    ThreadWork,
    TranscriptItem,
    TurnOwner,
    TurnWork,
)

T = TypeVar("T")
CUT = 65_536  # code points of a text, or bytes of the JSON of content or a detail, in lists and snapshots
ITEMS = {"message": "messages", "activity": "activities", "approval": "approvals", "checkpoint": "checkpoints"}
IN_THREAD = {"turn": "turns", **ITEMS}
OF_AGENT = {"prompt": "prompts", "session": "sessions"}
PLURALS = {"project": "projects", "thread": "threads", **IN_THREAD, "setting": "settings", **OF_AGENT, "rule": "rules"}

Effect = tuple[str, Callable[[Any], dict[str, Any]]]
EFFECTS: dict[type[e.Event], Effect] = {
    e.ProjectCreated: ("project", lambda event: {}),
    e.ProjectUpdated: ("project", lambda event: {}),
    e.ThreadCreated: ("thread", lambda event: {"id": event.thread_id}),
    e.ThreadRenamed: ("thread", lambda event: {}),
    e.ThreadArchived: ("thread", lambda event: {"archived_at": event.at}),
    e.ThreadUnarchived: ("thread", lambda event: {"archived_at": None}),
    e.TurnStarted: ("turn", lambda event: {"status": "running", "started_at": event.at}),
    e.TurnCompleted: ("turn", lambda event: {"status": "completed", "ended_at": event.at}),
    e.TurnFailed: ("turn", lambda event: {"status": "failed", "ended_at": event.at, "error_kind": event.kind}),
    e.TurnInterrupted: ("turn", lambda event: {"status": "interrupted", "ended_at": event.at}),
    e.MessageAdded: ("message", lambda event: added(event)),
    e.MessageCompleted: ("message", lambda event: completed(event)),
    e.ActivityRecorded: ("activity", lambda event: {"detail": event.detail, "updated_at": event.at}),
    e.ActivityUpdated: ("activity", lambda event: {"updated_at": event.at}),
    e.ApprovalRequested: ("approval", lambda event: {"status": "pending"}),
    e.ApprovalResolved: ("approval", lambda event: {"status": resolution(event), "resolved_at": event.at}),
    e.CheckpointCreated: ("checkpoint", lambda event: {}),
    e.CheckpointRestored: ("checkpoint", lambda event: {"restored_at": event.at}),
    e.SettingChanged: ("setting", lambda event: {"updated_at": event.at}),
    a.PromptQueued: ("prompt", lambda event: {"text": text_of(event)}),
    a.PromptEdited: ("prompt", lambda event: {"text": text_of(event), "content": event.content}),
    a.PromptMoved: ("prompt", lambda event: {}),
    a.SessionOpened: ("session", lambda event: {}),
    a.SessionChanged: ("session", lambda event: {}),
    a.SessionEnded: ("session", lambda event: {"ended_at": event.at}),
    a.RuleAdded: ("rule", lambda event: {}),
}
"""The kind of the entity that an event creates or changes, and its fields other than those with the name of a field of
the event."""


def added(event: e.MessageAdded) -> dict[str, Any]:
    fields = {"status": "streaming"} if event.streaming else completed(event)
    return {**fields, "text": text_of(event)}


def text_of(event: e.MessageAdded | a.PromptQueued | a.PromptEdited) -> str:
    return event.text or "\n".join(block["text"] for block in event.content or () if block["type"] == "text")


def completed(event: e.Event) -> dict[str, Any]:
    return {"status": "complete", "completed_at": event.at}


def resolution(event: e.ApprovalResolved) -> str:
    return "cancelled" if event.outcome is None else "resolved"


class WholeState(State):
    """Holds every key, unlike the engine's state, which holds the keys that were loaded."""

    def put(self, key: Key, entity: Any) -> None:
        self.load({key: entity})


class Row(Struct):
    """chunks: the text of a streaming message, in the parts in which it came."""

    entity: Any
    chunks: list[tuple[int, str]] = []

    @property
    def sequence(self) -> int:
        return int(self.entity.sequence)


class Stored(NamedTuple):
    sequence: int
    payload: bytes
    event: e.AnyEvent
    actor: str | None


class Contents:
    """The log, the records of commands, and what is derived from the log: the state and the rows of entities."""

    def __init__(self) -> None:
        self.log: list[Stored] = []
        self.records: dict[str, CommandRecord] = {}
        self.state = WholeState()
        self.rows: dict[Key, Row] = {}
        self.auth: dict[str, NeededAuth] = {}
        self.queue_runners: dict[str, str] = {}
        self.cancelled_by: dict[str, str | None] = {}
        self.worktrees: dict[str, ThreadWorktree] = {}
        self.removals: dict[str, int] = {}

    def append(self, payload: bytes, event: e.AnyEvent, actor: str | None) -> None:
        evolve(self.state, event)
        self.state.commit()
        sequence = self.state.sequence
        self.log.append(Stored(sequence, payload, event, actor))
        thread = event.thread_id if isinstance(event, e.ThreadEvent) else ""
        if isinstance(event, e.ThreadCreated) and event.worktree:
            self.worktrees[thread] = ThreadWorktree(path=None, base=None)
        match event:
            case e.ProjectDeleted(id=id):
                del self.rows["project", id]
            case e.ThreadDeleted():
                kinds = ("thread", *IN_THREAD, *OF_AGENT)
                in_thread = [key for key in self.rows if key[0] in kinds and key[1] == thread]
                for key in in_thread:
                    del self.rows[key]
            case e.SettingChanged(key=name, value=None):
                del self.rows["setting", name]
            case e.MessageAppended(thread_id=thread_id, id=id, text=text):
                row = self.rows["message", thread_id, id]
                row.chunks.append((sequence, text))
                row.entity = msgspec.structs.replace(row.entity, text=row.entity.text + text)
            case e.TurnCancelling():
                self.cancelled_by[thread] = event.by
            case a.PromptSent() | a.PromptRemoved():
                del self.rows["prompt", thread, event.id]
            case e.CheckpointPruned():
                del self.rows["checkpoint", thread, event.id]
            case a.RuleRemoved():
                del self.rows["rule", event.id]
            case a.ContextLost():
                self._replace(("session", thread, event.id), context_lost=event.reason)
            case a.UsageReported():
                self._replace(("turn", thread, event.id), spent=self._spent(event))
            case a.AuthRequired():
                self.auth[thread] = NeededAuth(agent=event.agent, reason=event.reason, methods=event.methods)
            case a.QueueResumed():
                self.queue_runners[thread] = event.runner
            case e.WorktreeCreated():
                self.worktrees[thread] = ThreadWorktree(path=event.path, base=event.base)
            case e.WorktreeRemoved():
                self.worktrees[thread] = msgspec.structs.replace(self.worktrees[thread], path=None)
                self.removals[thread] = self.removals.get(thread, 0) + 1
            case e.ThreadErased():
                worktree = self.worktrees.pop(thread, None)
                if worktree is not None and worktree.path is not None:  # it may still have to be removed
                    self.worktrees[thread] = ThreadWorktree(path="", base="")
            case (
                e.EventsRedacted()
                | e.CheckpointFailed()
                | a.AgentAssigned()
                | a.ThreadOptionSet()
                | a.QueuePaused()
                | a.BudgetReached()
            ):
                pass  # they change only the thread
            case _:
                self._project(event, thread, actor)
        if (header := self.rows.get(("thread", thread))) and not isinstance(event, e.MessageAppended):
            latest = max(header.entity.updated_at or "", event.at)
            fields = {"status": self._status(thread), "version": sequence, "updated_at": latest}
            header.entity = msgspec.structs.replace(header.entity, **fields, **self._agent(thread))

    def _status(self, thread: str) -> str:
        state = self.state["thread", thread]
        if state.turn is not None:
            return "cancelling" if state.turn.cancelling else "waiting" if state.turn.approvals else "running"
        if state.auth_required:
            return "needsAuth"
        return "idle" if not state.queue else "queued" if state.paused is None else "paused"

    def _agent(self, thread: str) -> dict[str, Any]:
        """What the entity of a thread says of its agent."""
        state = self.state["thread", thread]
        agent = state.agent
        return {
            "agent": None if agent is None else Assigned(name=agent.name, mode=agent.mode, options=agent.options),
            "queued": len(state.queue),
            "queue_paused": state.paused,
            "auth_required": self.auth[thread] if state.auth_required else None,
            "usage": self._usage(thread),
            "worktree": self.worktrees.get(thread),
        }

    def _spent(self, event: a.UsageReported) -> Spent | None:
        before: Spent | None = self.rows["turn", event.thread_id, event.id].entity.spent
        if event.cost is None and event.tokens is None:
            return before
        was = before or Spent(cost=None, currency=None, tokens=None)
        given = {"cost": event.cost, "currency": event.currency, "tokens": event.tokens}
        return msgspec.structs.replace(was, **{name: value for name, value in given.items() if value is not None})

    def _usage(self, thread: str) -> Spent | None:
        reported = [s.event for s in self.log if isinstance(s.event, a.UsageReported) and s.event.thread_id == thread]
        counted = [event for event in reported if event.cost is not None or event.tokens is not None]
        currency = next((event.currency for event in counted if event.currency is not None), None)
        turns = [self.rows["turn", thread, id].entity.spent for id in {event.id: None for event in counted}]
        costs = [one.cost for one in turns if one.cost is not None and one.currency in (None, currency)]
        tokens = [one.tokens for one in turns if one.tokens is not None]
        if not turns:
            return None
        return Spent(
            cost=round(sum(costs), 9) if costs else None, currency=currency, tokens=sum(tokens) if tokens else None
        )

    def _author(self, event: e.MessageAdded, actor: str | None) -> str | None:
        """Who wrote a message: a prompt may have been queued by another one than it was sent by."""
        before, prompt = self.log[-2].event, event.prompt_id
        if isinstance(before, e.TurnStarted):
            prompt = before.prompt_id
        for stored in self.log if actor else ():
            queued = stored.event
            if isinstance(queued, a.PromptQueued) and (queued.thread_id, queued.id) == (event.thread_id, prompt):
                return stored.actor or actor
        return actor

    def _replace(self, key: Key, **fields: object) -> None:
        row = self.rows[key]
        row.entity = msgspec.structs.replace(row.entity, **fields)

    def _project(self, event: Any, thread: str, actor: str | None) -> None:
        kind, more = EFFECTS[type(event)]
        names = ENTITIES[kind].__struct_fields__
        fields = {name: getattr(event, name) for name in names if getattr(event, name, None) is not None} | more(event)
        if isinstance(event, e.ApprovalResolved):
            fields["resolved_by"] = actor
        if isinstance(event, e.MessageAdded):
            actor = self._author(event, actor)
        id = getattr(event, "key", None) or getattr(event, "id", "")
        key = tuple(filter(None, (kind, thread, id)))
        row = self.rows.get(key)
        if kind in ("project", "prompt"):
            fields["updated_at"] = event.at if row is None else max(row.entity.updated_at, event.at)
        if isinstance(event, a.PromptQueued):
            fields["position"] = float(self.state.sequence)
            threaded = self.state["thread", thread]
            if len(threaded.queue) == 1 or threaded.paused is not None:
                self.queue_runners[thread] = event.runner
        if row is None:
            new = dict.fromkeys(names) | {"sequence": self.state.sequence, "created_at": event.at, "created_by": actor}
            make: Any = ENTITIES[kind]
            row = Row(make(**{name: value for name, value in (new | fields).items() if name in names}))
            self.rows[key] = row
            if fields.get("status") == "streaming":
                row.chunks.append((row.sequence, row.entity.text))
        else:
            if isinstance(event, e.ActivityUpdated):
                fields["detail"] = changed(row.entity.detail, event.detail, event.append)
            row.entity = msgspec.structs.replace(row.entity, **fields)

    def look_up(self, keys: Iterable[Key]) -> dict[Key, Any]:
        found: dict[Key, Any] = {}
        for key in keys:
            if key[0] == "members":
                rows = [row.entity for (kind, *_), row in self.rows.items() if kind == "thread"]
                members = sorted((row.version, row.id) for row in rows if row.project_id == key[1])
                found |= {key: tuple(id for _, id in members)} | self.look_up(("thread", id) for _, id in members)
            elif key[0] == "event":
                at = int(key[2])
                stored = self.log[at - 1] if 0 < at <= len(self.log) else None
                is_there = stored is not None and thread_of(stored) == key[1]
                found[key] = msgspec.json.decode(stored.payload) if stored is not None and is_there else None
            elif len(key) == 2 or ("thread", key[1]) in self.rows:
                found[key] = self._entity(key)
            else:  # its thread is gone
                found[key] = None
        return found

    def _entity(self, key: Key) -> Any:
        entity = self.state.get(key)
        if isinstance(entity, ThreadState) and entity.turn is not None:
            activities = sorted(entity.turn.activities, key=lambda id: self.rows["activity", key[1], id].sequence)
            turn = msgspec.structs.replace(entity.turn, activities=tuple(activities))
            return msgspec.structs.replace(entity, turn=turn)
        return entity


def json_of(entity: Struct) -> str:
    return msgspec.json.encode(entity).decode()


def shown(entity: Any) -> str:
    """The JSON in lists and snapshots: a long text is cut, long content and a long detail are left out."""
    match entity:
        case Message(status=status, text=text, content=content):
            if status == "complete" and len(text) > CUT:
                entity = msgspec.structs.replace(entity, text=text[:CUT], text_bytes=len(text.encode()))
            if content is not None and (size := len(msgspec.json.encode(content))) > CUT:
                entity = msgspec.structs.replace(entity, content=None, content_bytes=size)
        case Activity(detail=detail) if len(json := msgspec.json.encode(detail)) > CUT:
            entity = msgspec.structs.replace(entity, detail=None, detail_bytes=len(json))
    return json_of(entity)


class MemoryReads:
    """Implements Reads."""

    def __init__(self, contents: Contents, log_id: str, bounds: PageBounds) -> None:
        self.bounds = bounds
        self._contents = contents
        self._log_id = log_id

    def _rows(self, kind: str, thread_id: str | None = None) -> list[Row]:
        """Oldest first."""
        rows = self._contents.rows.items()
        found = [row for key, row in rows if key[0] == kind and thread_id in (None, key[1])]
        return sorted(found, key=lambda row: row.sequence)

    def _threads(self) -> list[Thread]:
        """Most recently changed first."""
        return sorted((row.entity for row in self._rows("thread")), key=lambda thread: -thread.version)

    def _settings(self) -> list[Setting]:
        return sorted((row.entity for row in self._rows("setting")), key=lambda setting: setting.key)

    def _one(self, *key: str) -> Any:
        if key not in self._contents.rows:
            raise NotFound(key[0], key[-1])
        return self._contents.rows[key].entity

    def _log(self, thread_id: str | None, after: int, upto: int = LATEST) -> list[Stored]:
        return [s for s in self._contents.log[after:upto] if thread_id in (None, getattr(s.event, "thread_id", None))]

    def _bounded(self, limit: int, rows: Iterable[tuple[Any, str]]) -> tuple[list[tuple[Any, str]], bool]:
        """The rows that fit into a page, at least one, and whether there are more."""
        page: list[tuple[Any, str]] = []
        size = 0
        for position, text in rows:
            size += len(text.encode())
            if page and (len(page) == limit or size > self.bounds.max_bytes):
                return page, True
            page.append((position, text))
        return page, False

    def _page(self, limit: int, rows: Iterable[tuple[Any, str]]) -> Page[Raw]:
        page, more = self._bounded(limit, rows)
        return Page([Raw(text) for _, text in page], encode_cursor(page[-1][0]) if more else None)

    def _list(self, kind: str, limit: int, before: int, thread_id: str | None = None) -> Page[Raw]:
        rows = reversed(self._rows(kind, thread_id))
        return self._page(limit, ((row.sequence, shown(row.entity)) for row in rows if row.sequence < before))

    def sequence(self) -> int:
        return self._contents.state.sequence

    def log_span(self) -> LogSpan:
        log = self._contents.log
        return LogSpan(self._log_id, log[0].event.at if log else None, log[-1].event.at if log else None)

    def project_list(self, limit: int, before: int) -> Page[Raw]:
        return self._list("project", limit, before)

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
        def place(thread: Thread) -> Any:
            return (thread.updated_at, thread.sequence) if sort == "updatedAt" else thread.version

        def is_asked(thread: Thread) -> bool:
            origin = thread.origin or e.GivenOrigin(tool="")
            asked = (project_id, archived, tool, session)
            found = (thread.project_id, thread.archived_at is not None, origin.tool, origin.session_id)
            return place(thread) < before and all(a in (None, f) for a, f in zip(asked, found, strict=True))

        before: Any = LATEST
        if sort == "updatedAt":
            before = decode_cursor(cursor, ("~", LATEST), tuple[str, Position])
        else:
            before = decode_cursor(cursor, LATEST)
        threads = sorted(filter(is_asked, self._threads()), key=place, reverse=True)
        return self._page(limit, ((place(thread), shown(thread)) for thread in threads))

    def turn_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        self.header(thread_id)
        return self._list("turn", limit, before, thread_id)

    def checkpoint_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        self.header(thread_id)
        return self._list("checkpoint", limit, before, thread_id)

    def prompt_list(self, thread_id: str | None, limit: int, before: int) -> Page[Raw]:
        if thread_id is not None:
            self.header(thread_id)
        return self._list("prompt", limit, before, thread_id)

    def approval_list(self, thread_id: str | None, limit: int, before: int) -> Page[Raw]:
        if thread_id is not None:
            self.header(thread_id)
        rows = [row for row in reversed(self._rows("approval", thread_id)) if row.entity.status == "pending"]
        return self._page(limit, ((row.sequence, shown(row.entity)) for row in rows if row.sequence < before))

    def session_list(self, thread_id: str, limit: int, before: int) -> Page[Raw]:
        self.header(thread_id)
        return self._list("session", limit, before, thread_id)

    def rule_list(self, limit: int, before: int) -> Page[Raw]:
        return self._list("rule", limit, before)

    def setting_list(self, limit: int, after: str) -> Page[Raw]:
        return self._page(limit, ((one.key, shown(one)) for one in self._settings() if one.key > after))

    def events(self, thread_id: str | None, after: int, limit: int) -> tuple[list[Raw], int | None]:
        page, more = self._bounded(limit, ((s.sequence, s.payload.decode()) for s in self._log(thread_id, after)))
        stored = {s.sequence: s for s in self._log(thread_id, after)}
        return [stored_event(*row, stored[row[0]].actor) for row in page], page[-1][0] if more else None

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
        assert syntax == "plain", "there is no FTS5 in memory"
        upto, offset = decode_cursor(cursor, (self.sequence(), 0), tuple[Position, Position])
        if thread_id is not None:
            self.header(thread_id)
        hits: list[tuple[int, Hit]] = []
        kinds: list[Any] = ["thread", "message", "activity"]
        for name, row in [(kind, row) for kind in kinds for row in self._rows(kind)]:
            one, body = row.entity, searched(row.entity)
            thread = self._one("thread", getattr(one, "thread_id", one.id))
            is_wanted = project_id in (None, thread.project_id) and thread_id in (None, thread.id)
            if is_wanted and row.sequence <= upto and (found := matches(text, body)):
                turn = getattr(one, "turn_id", None)
                hit = Hit(name, one.id, thread.id, turn, thread.project_id, thread.title, body, found, 0.0)
                hits.append((-row.sequence, hit))
        end = offset + limit
        page = [hit for _, hit in sorted(hits, key=lambda hit: hit[0])][offset:end]
        return Page(page, encode_cursor([upto, end]) if len(hits) > end else None)

    def index(self) -> IndexSnapshot:
        projects: list[Any] = self.projects()
        threads: list[Any] = self.newest_threads(self.bounds.index_threads)
        return IndexSnapshot(self.sequence(), projects, threads)

    def thread(self, thread_id: str, turn_limit: int, before: int) -> ThreadSnapshot:
        header: Any = Raw(self.header(thread_id))
        rows = [(row.sequence, kind, shown(row.entity)) for kind in IN_THREAD for row in self._rows(kind, thread_id)]
        older = sorted(row for row in rows if row[0] < before)
        window: list[tuple[int, str, str]] = []
        size = turns = 0
        while older:
            size, turn = size + len(older[-1][2].encode()), older[-1][1] == "turn"
            if window and (size > self.bounds.max_bytes or turns == turn_limit):
                break
            turns += turn
            window.insert(0, older.pop())
        cursor = encode_cursor(window[0][0]) if older else None
        if older and window[0][1] != "turn":  # it ends within a turn
            window = [row for row in older if row[1] == "turn"][-1:] + window
        of: dict[str, Any] = {IN_THREAD[k]: [Raw(text) for _, kind, text in window if kind == k] for k in IN_THREAD}
        of["prompts"] = [Raw(shown(prompt)) for prompt in self._queue(thread_id)]
        of["sessions"] = [Raw(shown(row.entity)) for row in self._rows("session", thread_id)[-1:]]
        return ThreadSnapshot(self.sequence(), [header], **of, before_cursor=cursor)

    def _queue(self, thread_id: str) -> list[Any]:
        prompts = [row.entity for row in self._rows("prompt", thread_id)]
        return sorted(prompts, key=lambda prompt: float(prompt.position))

    def settings(self) -> SettingsSnapshot:
        settings: list[Any] = [Raw(shown(one)) for one in self._settings()]
        rules: list[Any] = [Raw(shown(row.entity)) for row in self._rows("rule")]
        return SettingsSnapshot(self.sequence(), settings, rules)

    def message(self, thread_id: str, id: str) -> Raw:
        return Raw(json_of(self._one("message", thread_id, id)))

    def activity(self, thread_id: str, id: str) -> Raw:
        return Raw(json_of(self._one("activity", thread_id, id)))

    def header(self, thread_id: str) -> str:
        return shown(self._one("thread", thread_id))

    def entities(self, entity: EntityName, thread_id: str | None, ids: Collection[str]) -> dict[str, Raw]:
        keys = {id: (entity, id) if thread_id is None else (entity, thread_id, id) for id in ids}
        return {id: Raw(shown(self._one(*key))) for id, key in keys.items() if key in self._contents.rows}

    def projects(self) -> list[Raw]:
        return [Raw(shown(row.entity)) for row in reversed(self._rows("project"))]

    def newest_threads(self, limit: int) -> list[Raw]:
        return [Raw(shown(thread)) for thread in self._threads()[:limit]]

    def look_up(self, keys: Iterable[Key]) -> dict[Key, Any]:
        return self._contents.look_up(keys)

    def threads_with_prefix(self, prefix: str, limit: int) -> list[str]:
        return sorted(thread.id for thread in self._threads() if thread.id.startswith(prefix))[:limit]

    def changes(self, after: int, thread_id: str | None, limit: int) -> list[NamedEntity]:
        def named(stored: Stored) -> NamedEntity:
            event: Any = stored.event
            id: Any = getattr(event, "id", getattr(event, "key", None))
            return NamedEntity(stored.sequence, type(event).__name__, getattr(event, "thread_id", None), id)

        return [named(stored) for stored in self._log(thread_id, after)[:limit]]

    def redacted_events(self, sequence: int) -> list[tuple[str, str | None]]:
        event: Any = self._contents.log[sequence - 1].event
        return [(one.event["type"], one.event.get("id")) for one in event.events]

    def chunks(self, row: int, after: int) -> list[tuple[int, str]]:
        return [
            chunk for one in self._rows("message") if one.sequence == row for chunk in one.chunks if chunk[0] > after
        ]

    def open_messages(self, thread_id: str) -> list[OpenMessage]:
        rows = [row for row in self._rows("message", thread_id) if row.entity.status == "streaming"]
        return [OpenMessage(r.entity.id, r.sequence, r.chunks[-1][0], r.entity.text) for r in rows]

    def pending_approvals(self, thread_ids: Collection[str] | None) -> list[PendingApproval]:
        def pending(row: Row) -> PendingApproval:
            asked, thread = row.entity, self._one("thread", row.entity.thread_id)
            options = msgspec.json.encode(asked.options).decode()
            return PendingApproval(row.sequence, thread.id, asked.id, asked.title[:1000], thread.title[:200], options)

        rows = [row for row in self._rows("approval") if row.entity.status == "pending"]
        return [pending(row) for row in rows if thread_ids is None or row.entity.thread_id in thread_ids]

    def running_turns(self) -> list[TurnOwner]:
        turns = {thread.id: self._contents.state["thread", thread.id].turn for thread in self._threads()}
        return [
            TurnOwner(thread, turn.id, turn.runner, turn.cancelling)
            for thread, turn in turns.items()
            if turn is not None
        ]

    def open_sessions(self) -> list[SessionOwner]:
        rows = [row.entity for row in self._rows("session") if row.entity.ended_at is None]
        return [SessionOwner(one.thread_id, one.id, one.runner) for one in rows]

    def open_queues(self) -> list[QueueOwner]:
        found = [(thread, self._contents.state["thread", thread.id]) for thread in self._threads()]
        return [
            QueueOwner(thread.id, thread.version, self._contents.queue_runners[thread.id])
            for thread, state in found
            if state.queue and state.paused is None and state.session is None
        ]

    def threads_at_work(self) -> list[str]:
        live = {thread.id: self._contents.state["thread", thread.id] for thread in self._threads()}
        return sorted(id for id, one in live.items() if one.queue or one.session or (one.turn and one.turn.prompt))

    def work(self, thread_ids: Collection[str]) -> list[ThreadWork]:
        state = self._contents.state
        return [self._work(id) for id in sorted(thread_ids) if state.get(("thread", id)) is not None]

    def project_paths(self) -> dict[str, str]:
        paths: dict[str, str] = {}
        for stored in self._log(None, 0):
            if isinstance(stored.event, e.ProjectCreated | e.ProjectUpdated) and stored.event.path is not None:
                paths[stored.event.id] = stored.event.path
        return paths

    def kept_checkpoints(self, project_ids: Collection[str]) -> list[KeptCheckpoint]:
        running = {(turn.thread_id, turn.id) for turn in self.running_turns()}
        threads = [thread.id for thread in self._threads() if thread.project_id in project_ids]
        kept = [row.entity for id in threads for row in self._rows("checkpoint", id)]
        worktrees = {thread.id for thread in self._threads() if thread.worktree is not None}
        return sorted(
            KeptCheckpoint(
                *(one.sequence, one.thread_id, one.id, one.git_ref, one.commit, one.turn_id, one.phase, one.created_at),
                running=(one.thread_id, one.turn_id) in running,
                in_project=one.in_project or one.thread_id not in worktrees,
                elsewhere=False,
            )
            for one in kept
        )

    def threads_with_refs(self, project_ids: Collection[str]) -> dict[str, bool]:
        deleted = {s.event.thread_id for s in self._log(None, 0) if isinstance(s.event, e.ThreadDeleted)}
        living = [thread.id for thread in self._threads() if thread.project_id in project_ids]
        return dict.fromkeys(living, False) | dict.fromkeys(deleted, True)

    def pruned_at(self, thread_id: str, id: str) -> str | None:
        if ("thread", thread_id) not in self._contents.rows:
            return None
        pruned = (s.event for s in self._log(thread_id, 0) if isinstance(s.event, e.CheckpointPruned))
        return next((event.at for event in pruned if event.id == id), None)

    def origins_of_turns(
        self, turns: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[str, str, str | None, str | None]]:
        found = {}
        for thread, id in turns:
            turn = self._one("turn", thread, id)
            agents = [row.entity.agent for row in self._rows("session", thread) if row.sequence < turn.sequence]
            prompts = [row.entity for row in self._rows("message", thread) if row.entity.turn_id == id]
            texts = [one.text[:1000] or None for one in prompts if one.role == "user"]
            title = self._one("thread", thread).title
            found[thread, id] = (title, turn.started_at, agents[-1] if agents else None, texts[0] if texts else None)
        return found

    def _restored(self, thread_id: str) -> list[RestoredFiles]:
        """The restores since the last turn began."""
        found = list[RestoredFiles]()
        in_project = set[str]()
        for stored in self._log(thread_id, 0):
            match stored.event:
                case e.TurnStarted() | e.ThreadDeleted():
                    found.clear()
                case e.CheckpointCreated(id=id, in_project=True):
                    in_project.add(id)
                case e.CheckpointRestored(id=id, written=written, removed=removed) if id not in in_project:
                    found.append(RestoredFiles(written, removed))
        return found

    def _work(self, thread_id: str) -> ThreadWork:
        state, runners = self._contents.state["thread", thread_id], self._contents.queue_runners
        created: Any = next(s for s in self._log(thread_id, 0) if isinstance(s.event, e.ThreadCreated)).event
        prompts = self._queue(thread_id)
        received = {s.event.id: s.event.runner for s in self._log(thread_id, 0) if isinstance(s.event, a.PromptQueued)}
        newest = [row.entity for row in self._rows("session", thread_id)][-1:]
        turn, header = state.turn, self._contents.rows.get(("thread", thread_id))
        project = self._contents.state["project", state.project_id]
        worktree = self._contents.worktrees.get(thread_id)
        return ThreadWork(
            thread_id=thread_id,
            project_id=state.project_id,
            folder=project.path,
            remote=project.remote,
            title=state.title,
            agent=None if header is None else header.entity.agent,
            archived=state.archived,
            deleted=state.deleted,
            queue=[QueuedPrompt(one.id, one.when, received[one.id], one.position) for one in prompts],
            paused=state.paused,
            queue_runner=runners.get(thread_id),
            auth_required=state.auth_required,
            turn=None
            if turn is None
            else TurnWork(
                turn.id,
                turn.runner,
                turn.prompt,
                turn.cancelling,
                self._contents.cancelled_by[thread_id] if turn.cancelling else None,
            ),
            session=None
            if not newest
            else SessionWork(
                newest[0].id,
                newest[0].agent,
                newest[0].session_id,
                newest[0].runner,
                newest[0].ended_at is None,
                newest[0].how,
            ),
            restored=self._restored(thread_id),
            worktree=worktree,
            removals=self._contents.removals.get(thread_id, 0),
            origin=created.origin,
            approvals=[] if turn is None else list(turn.approvals),
            usage=None if header is None else header.entity.usage,
        )

    def threads_with_worktree(self) -> list[str]:
        return sorted(id for id, one in self._contents.worktrees.items() if one.path is not None)

    def thread_of_session(self, session_id: str) -> str | None:
        rows = (row.entity for row in self._rows("session"))
        return next((session.thread_id for session in rows if session.session_id == session_id), None)

    def ran_session(self, session_id: str) -> str | None:
        opened = (s.event for s in self._log(None, 0) if isinstance(s.event, a.SessionOpened))
        return next((event.thread_id for event in opened if event.session_id == session_id), None)

    def own_turns(self, thread_id: str) -> list[tuple[str, str | None]]:
        turns = (row.entity for row in self._rows("turn", thread_id))
        return [(t.started_at, t.ended_at) for t in turns if t.prompt_id is not None or t.id.startswith("turn-")]

    def turns_after(self, thread_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        rows = [row for row in self._rows("turn", thread_id) if row.sequence > after]
        return [(row.sequence, json_of(row.entity)) for row in rows[:limit]]

    def transcript(self, thread_id: str, after: int, before: int) -> list[TranscriptItem]:
        rows = [(row.sequence, kind, json_of(row.entity)) for kind in ITEMS for row in self._rows(kind, thread_id)]
        return [TranscriptItem(*row) for row in sorted(rows) if after < row[0] < before]

    def entity_counts(self) -> dict[str, int]:
        return {
            **{plural: len(self._rows(kind)) for kind, plural in PLURALS.items()},
            "archivedThreads": sum(thread.archived_at is not None for thread in self._threads()),
            "deletedThreads": sum(isinstance(stored.event, e.ThreadDeleted) for stored in self._contents.log),
            "runningTurns": len(self.running_turns()),
            "pendingApprovals": len(self.pending_approvals(None)),
            "openSessions": len(self.open_sessions()),
        }

    def event_counts(self, after: int, upto: int) -> list[tuple[str, int, int]]:
        sizes: dict[str, list[int]] = defaultdict(list)
        for stored in self._log(None, after, upto):
            sizes[type(stored.event).__name__].append(len(stored.payload))
        return [(name, len(some), sum(some)) for name, some in sizes.items()]

    def redacted(self, after: int, upto: int) -> dict[str, int]:
        payloads = [stored.payload.decode() for stored in self._log(None, after, upto)]
        return dict(Counter(kind for payload in payloads for kind in MARKER.findall(payload)))

    def largest_threads(self, limit: int) -> list[tuple[str, str | None, int, int]]:
        sizes: dict[str, list[int]] = defaultdict(list)
        for stored in self._log(None, 0):
            if isinstance(stored.event, e.ThreadEvent):
                sizes[stored.event.thread_id].append(len(stored.payload))
        titles = {thread.id: thread.title for thread in self._threads()}
        largest = sorted(sizes.items(), key=lambda item: (-sum(item[1]), item[0]))[:limit]
        return [(id, titles.get(id), len(some), sum(some)) for id, some in largest]

    def free_bytes(self) -> int:
        return 0


def searched(entity: Any) -> str:
    """The text that `search` looks at: none of a streaming message or an unfinished activity."""
    match entity:
        case Thread(title=title):
            return title
        case Message(status="complete", text=text):
            return text
        case Activity(title=title, detail=detail) if entity.status not in UNFINISHED:
            return " ".join([title, *strings(detail)])
    return ""


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, without the names of members."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(one)


def matches(asked: str, text: str) -> list[Match]:
    """Where the words are in the text, if it has all of them. The last may be the beginning of a word."""
    words = [rf"\b{re.escape(word)}\b" for word in asked.split()]
    if words and len(asked.split()[-1]) >= 3:
        words[-1] = words[-1].removesuffix(r"\b") + r"\w*"
    found = [[Match(*match.span()) for match in re.finditer(word, text, re.IGNORECASE)] for word in words]
    return sorted((match for some in found for match in some), key=lambda match: match.start) if all(found) else []


def thread_of(stored: Stored) -> str | None:
    return getattr(stored.event, "thread_id", None)


SKELETON = {
    *("type", "threadId", "at", "id", "turnId", "projectId", "activityId", "promptId", "ruleId", "before", "runner"),
    *("sessionId", "role", "status", "phase", "how", "when", "scope", "limit", "position", "amount", "spent"),
}


def skeleton(payload: bytes) -> bytes:
    event = msgspec.json.decode(payload)
    blank = {
        name: "" if isinstance(value, str) else [] for name, value in event.items() if isinstance(value, str | list)
    }
    blank.pop("content", None)
    kept = {name: value for name, value in event.items() if name in SKELETON or isinstance(value, bool | None)}
    members = blank | kept
    return msgspec.json.encode({name: members[name] for name in event if name in members} | {"erased": True})


class MemoryLog:
    """Implements Log."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def append(
        self,
        expected: int,
        payloads: list[bytes],
        records: list[CommandRecord],
        by: DecidedBy | None = None,
    ) -> int | None:
        known = self._contents.records
        if expected != self.sequence() or any(record.command_id in known for record in records):
            return None
        try:
            events = [e.decode(payload) for payload in payloads]
        except msgspec.MsgspecError as error:
            raise StorageError(str(error)) from error
        for payload, event in zip(payloads, events, strict=True):
            self._contents.append(payload, event, None)
        known.update({record.command_id: record for record in records})
        for stored in self._contents.log[expected:]:
            if isinstance(stored.event, e.ThreadErased):
                of_thread = [s for s in self._contents.log[: stored.sequence - 1] if thread_of(s) == thread_of(stored)]
                self._rewrite({s.sequence: skeleton(s.payload) for s in of_thread})
            elif isinstance(stored.event, e.EventsRedacted):
                cleaned = {one.sequence: one.event | {"redacted": stored.sequence} for one in stored.event.events}
                self._rewrite({sequence: msgspec.json.encode(event) for sequence, event in cleaned.items()})
        return expected

    def is_current(self, expected: int, by: DecidedBy) -> bool:
        return self.sequence() == expected

    def _rewrite(self, payloads: dict[int, bytes]) -> None:
        """Replace events of the log, and derive all else from it again."""
        log, records = self._contents.log, self._contents.records
        self._contents.__init__()  # type: ignore[misc]
        for stored in log:
            payload = payloads.get(stored.sequence, stored.payload)
            self._contents.append(payload, e.decode(payload), stored.actor)
        for id, record in records.items():
            is_gone = any(record.first_sequence <= sequence <= record.last_sequence for sequence in payloads)
            self._contents.records[id] = msgspec.structs.replace(record, digest="erased") if is_gone else record

    def load(self, keys: list[Key], command_ids: list[str]) -> Loaded:
        answers = {}
        for record in [self._contents.records[id] for id in command_ids if id in self._contents.records]:
            stored = self._contents.log[record.first_sequence - 1 : record.last_sequence]
            answers[record.command_id] = record, [stored_event(s.sequence, s.payload, s.actor) for s in stored]
        return Loaded(self.sequence(), self._contents.look_up(keys), answers)

    def sequence(self) -> int:
        return self._contents.state.sequence


class OneDaemon:
    """Implements Presence and AppendOrder for the only daemon of a data directory."""

    def __init__(self) -> None:
        self.name = f"memory.{new_id()}"
        self._is_alive = False

    def acquire(self) -> None:
        self._is_alive = True

    def is_gone(self, name: str) -> bool:
        return name != self.name or not self._is_alive

    def is_elsewhere(self, name: str | None) -> bool:
        return False

    def is_away(self, name: str) -> bool:
        return False

    def left_behind(self) -> set[str]:
        return set()

    def forget(self, name: str) -> None: ...

    @property
    def is_shared(self) -> bool:
        return False

    async def begin(self) -> bool:
        return False

    async def lost(self) -> None: ...

    def end(self) -> None: ...


class MemoryStore:
    """Implements DataDirectory."""

    def __init__(self, *, pages: PageBounds = PAGE_BOUNDS) -> None:
        contents = self.contents = Contents()
        self.log_id = new_id()
        self._log = MemoryLog(contents)
        self.runner = self.append_queue = OneDaemon()
        self.is_shared, self.actor = False, None
        self._reads = MemoryReads(contents, self.log_id, pages)

    def read(self, function: Callable[[MemoryReads], T]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        loop.call_soon(self._run, function, future)
        return future

    async def write(self, function: Callable[[MemoryLog], T]) -> T:
        return function(self._log)

    def _run(self, function: Callable[[MemoryReads], T], future: "asyncio.Future[T]") -> None:
        if not future.done():  # it was not cancelled
            try:
                future.set_result(function(self._reads))
            except Exception as error:
                future.set_exception(error)

    def is_rebuilding(self) -> bool:
        return False
