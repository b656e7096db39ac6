"""Who is told what: a client is a replica, and a slow one costs nothing.

A subscription keeps the ids that changed, not the changes. When the pipe can take more, one read transaction finds out
what the log has named since, reads these rows once for all subscriptions, and gives the notifications with the
sequence that the rows are of.
"""

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Literal, get_args

from msgspec import Raw, Struct

from treadle.changes import Change, EntityKey, Mark, Remove, Rows, Upsert, marks_after
from treadle.domain.errors import NotFound
from treadle.store import reads
from treadle.store.errors import StorageError
from treadle.store.sql import query
from treadle.store.store import Store

log = logging.getLogger(__name__)

Topic = Literal["index", "thread", "settings", "events"]
TOPICS: tuple[str, ...] = get_args(Topic)

MAX_SUBSCRIPTIONS = 1_000
MAX_RESUME = 10_000  # events after which a snapshot is less than what changed
EVENTS_PAGE = 500  # events in one event/appended
NOTIFICATION_BYTES = 1024 * 1024
RETRY = 1.0  # seconds until a read that failed is tried again

Notify = Callable[[str, object], None]
"""Called with the method and the params of a notification."""


class Opened(Struct, frozen=True, rename="camel"):
    """The answer to subscription/open.

    snapshot: what the topic shows at `sequence`; null where `changes` say what is new since afterSequence, and for
    the topic `events`.
    """

    subscription_id: str
    log_id: str
    sequence: int
    snapshot: reads.Index | reads.Turns | reads.Settings | None = None
    changes: list[Change] | None = None


class ProjectionChanged(Struct, frozen=True, rename="camel"):
    """A replica that applies the changes in order is at `sequence`. Where one transaction has too many for one
    notification, all but the last of them repeat the sequence before."""

    subscription_id: str
    sequence: int
    changes: list[Change]


class EventAppended(Struct, frozen=True, rename="camel"):
    """The log went on. sequence: how far it was looked through, for one thread's events, too."""

    subscription_id: str
    sequence: int
    events: list[Raw]


class Subscription:
    """sequence: what its client knows. sent: of each open message, how much of its text."""

    def __init__(self, id: str, topic: Topic, thread_id: str | None) -> None:
        self.id = id
        self.topic = topic
        self.thread_id = thread_id
        self.sequence = 0
        self.sent: dict[str, Sent] = {}

    def wants(self, mark: Mark) -> list[EntityKey]:
        """The entities that it shows, of those that an event names."""
        match self.topic:
            case "index":
                return [key for key in mark.entities if key.entity in ("project", "thread")]
            case "thread":
                return mark.entities if mark.thread_id == self.thread_id else []
            case "settings":
                return [key for key in mark.entities if key.entity == "setting"]
            case "events":
                return []


class Sent(Struct, frozen=True):
    """How far a client knows an open message. row: its sequence. chunk: the last one sent. length: in code points."""

    row: int
    chunk: int
    length: int


class Subscriptions:
    """Those of one client.

    notify: sends a notification. ready: returns when the pipe can take more.
    """

    def __init__(self, store: Store, notify: Notify, ready: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._notify = notify
        self._ready = ready
        self._open: dict[str, Subscription] = {}
        self._ids = itertools.count(1)
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def wake(self) -> None:
        """Something was appended, here or elsewhere."""
        if self._open:
            self._woken.set()

    async def run(self) -> None:
        """Publish, for ever."""
        failure = ""
        while True:
            await self._woken.wait()
            self._woken.clear()
            more = True
            while more and self._open:
                await self._ready()
                try:
                    more = await self._publish()
                    failure = ""
                except StorageError as error:
                    if str(error) != failure:  # once, not every second
                        log.warning("what changed cannot be read, to be tried again: %s", error)
                    failure = str(error)
                    await asyncio.sleep(RETRY)

    async def open(
        self,
        topic: Topic,
        *,
        thread_id: str | None = None,
        turn_limit: int = 50,
        after: int | None = None,
        log_id: str | None = None,
    ) -> tuple[Opened, Callable[[], None]]:
        """The answer, and what to call once it is sent: notifications come only after that. Raises NotFound."""
        if log_id is not None and log_id != self._store.log_id:
            after = None
        subscription = Subscription(f"sub-{next(self._ids)}", topic, thread_id)
        opened = await self._store.read(lambda db: self._begin(db, subscription, turn_limit, after))

        def begin() -> None:
            self._open[subscription.id] = subscription
            self.wake()

        return opened, begin

    def close(self, id: str) -> None:
        """Raises NotFound."""
        if self._open.pop(id, None) is None:
            raise NotFound("subscription", id)

    def _begin(self, db: sqlite3.Connection, subscription: Subscription, turn_limit: int, after: int | None) -> Opened:
        sequence = reads.sequence(db)
        if after is not None and after > sequence:
            after = None
        thread_id = subscription.thread_id
        subscription.sequence = sequence
        opened = Opened(subscription.id, self._store.log_id, sequence)
        if subscription.topic == "events":
            if thread_id is not None:
                reads.require_thread(db, thread_id)
            subscription.sequence = sequence if after is None else after
            return Opened(subscription.id, self._store.log_id, subscription.sequence)
        changes = None if after is None else self._changes_since(db, subscription, after)
        if thread_id is not None:
            subscription.sent = _open_messages(db, thread_id)
        if changes is not None:
            return Opened(subscription.id, self._store.log_id, sequence, changes=changes)
        snapshot: reads.Index | reads.Turns | reads.Settings
        if subscription.topic == "index":
            snapshot = reads.index(db)
        elif thread_id is not None:
            snapshot = reads.turns(db, thread_id, turn_limit)
        else:
            snapshot = reads.settings(db)
        return Opened(opened.subscription_id, opened.log_id, sequence, snapshot=snapshot)

    def _changes_since(self, db: sqlite3.Connection, subscription: Subscription, after: int) -> list[Change] | None:
        """Whole upserts and removes for what the log named after a sequence; None where that is too much."""
        dirty: dict[EntityKey, None] = {}
        for count, mark in enumerate(marks_after(db, after, subscription.thread_id)):
            if count == MAX_RESUME:
                return None
            dirty.update(dict.fromkeys(subscription.wants(mark)))
        if subscription.topic == "thread" and not dirty:
            assert subscription.thread_id is not None
            reads.require_thread(db, subscription.thread_id)
        rows = Rows(db, dirty)
        changes = [rows.change(key) for key in dirty]
        return changes + _moved_in(db, changes) if subscription.topic == "index" else changes

    async def _publish(self) -> bool:
        """Send what changed to everyone; whether there is more to send."""
        everyone = list(self._open.values())
        notifications, more = await self._store.read(lambda db: _collect(db, everyone))
        for subscription, method, params in notifications:
            if subscription.id in self._open:
                self._notify(method, params)
        return more


def _collect(
    db: sqlite3.Connection, everyone: list[Subscription]
) -> tuple[list[tuple[Subscription, str, object]], bool]:
    """What to tell each subscription, from one read transaction; moves them on, all or none."""
    sequence = reads.sequence(db)
    notifications: list[tuple[Subscription, str, object]] = []
    more = False
    behind = [s for s in everyone if s.topic != "events" and s.sequence < sequence]
    dirty: dict[str, dict[EntityKey, bool]] = {s.id: {} for s in behind}
    if behind:
        for mark in marks_after(db, min(s.sequence for s in behind)):
            for subscription in behind:
                if mark.sequence > subscription.sequence:
                    of_it = dirty[subscription.id]
                    for key in subscription.wants(mark):
                        of_it[key] = of_it.get(key, False) or not mark.is_delta or key.id not in subscription.sent
    rows = Rows(db, [key for of_it in dirty.values() for key, whole in of_it.items() if whole])
    moves: list[tuple[Subscription, int, dict[str, Sent]]] = []
    for subscription in behind:
        changes, sent = _changes(subscription, dirty[subscription.id], rows)
        for i, part in enumerate(parts := _in_parts(changes)):
            at = sequence if i == len(parts) - 1 else subscription.sequence
            params = ProjectionChanged(subscription.id, at, part)
            notifications.append((subscription, "projection/changed", params))
        moves.append((subscription, sequence, sent))
    for subscription in everyone:
        if subscription.topic == "events" and subscription.sequence < sequence:
            events, after = reads.events(db, subscription.thread_id, subscription.sequence, EVENTS_PAGE)
            more = more or after is not None
            upto = sequence if after is None else after
            if events:
                notifications.append((subscription, "event/appended", EventAppended(subscription.id, upto, events)))
            moves.append((subscription, upto, subscription.sent))
    for subscription, upto, sent in moves:  # only now: a read that fails above must lose nothing
        subscription.sequence, subscription.sent = upto, sent
    return notifications, more


def _changes(
    subscription: Subscription, dirty: dict[EntityKey, bool], rows: Rows
) -> tuple[list[Change], dict[str, Sent]]:
    """The changes, and how far they bring each open message."""
    changes: list[Change] = []
    sent = dict(subscription.sent)
    refresh = False
    for key, whole in dirty.items():
        if whole:
            changes.append(rows.change(key))
            refresh = refresh or key.entity == "message"
        elif (delta := rows.delta(key.id, (known := sent[key.id]).row, known.chunk, known.length)) is not None:
            change, chunk, length = delta
            sent[key.id] = Sent(known.row, chunk, length)
            changes.append(change)
    if refresh and subscription.thread_id is not None:
        # Deltas went out above: of the other open messages, this is how far they are by now, too.
        sent = _open_messages(rows.db, subscription.thread_id)
    if subscription.topic == "index":
        changes += _moved_in(rows.db, changes)
    return changes, sent


def _moved_in(db: sqlite3.Connection, changes: list[Change]) -> list[Change]:
    """The oldest threads of the index: where some were removed, as many that the client never saw are in its window."""
    removed = sum(isinstance(change, Remove) and change.entity == "thread" for change in changes)
    if not removed:
        return []
    window = reads.index(db).threads
    held_all = len(window) + removed <= reads.INDEX_THREADS
    return [] if held_all else [Upsert("thread", value) for value in window[-removed:]]


def _open_messages(db: sqlite3.Connection, thread_id: str) -> dict[str, Sent]:
    rows = db.execute(query("open_messages"), {"thread": thread_id}).fetchall()
    return {id: Sent(row, chunk, length) for id, row, chunk, length in rows}


def _in_parts(changes: list[Change]) -> list[list[Change]]:
    """The changes in runs that are no larger than a notification should be."""
    parts: list[list[Change]] = []
    size = NOTIFICATION_BYTES
    for change in changes:
        if size >= NOTIFICATION_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(change)
        size += change.size
    return parts
