"""Subscriptions: a client is a replica, and a slow client costs nothing.

A subscription keeps its place in the log, not what changed. When the pipe can take more, one read transaction finds out
what the log has named since, reads these rows once for all subscriptions, and gives the notifications with the
sequence that the rows are of. Where that is much, it goes by rounds of a bounded size.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from treadle.contract.results import (
    AppendChange,
    Change,
    EventAppended,
    ProjectionChanged,
    RemoveChange,
    SubscriptionOpened,
)
from treadle.domain.errors import NotFound
from treadle.domain.ids import Topic
from treadle.publish.touched import (
    PAGE,
    STEP,
    EntityKey,
    Rows,
    Sent,
    Touched,
    in_parts,
    moved_in,
    open_messages,
    size_of,
    touched_after,
)
from treadle.store.errors import StorageError
from treadle.store.pages import LATEST
from treadle.store.ports import DataDirectory, Reads

log = logging.getLogger(__name__)


MAX_SUBSCRIPTIONS = 1_000
MAX_RESUME = 10_000  # events after which a snapshot is less than what changed
MAX_RESUME_BYTES = 4 * 1024 * 1024  # of what changed; the same
EVENTS_PAGE = 500  # events in one event/appended
NOTIFICATION_BYTES = 1024 * 1024
ROUND_BYTES = 1024 * 1024  # read for all subscriptions between two looks at whether the pipe can take more
RETRY = 1.0  # seconds until a read that failed is tried again


class SubscriptionBounds(Struct, frozen=True):
    """Bounds of the subscriptions of one client: see the constants above. page, step: those of `touched`."""

    max_subscriptions: int = MAX_SUBSCRIPTIONS
    max_resume: int = MAX_RESUME
    max_resume_bytes: int = MAX_RESUME_BYTES
    events_page: int = EVENTS_PAGE
    notification_bytes: int = NOTIFICATION_BYTES
    round_bytes: int = ROUND_BYTES
    retry: float = RETRY
    page: int = PAGE
    step: int = STEP


SUBSCRIPTION_BOUNDS: Final = SubscriptionBounds()

Notify = Callable[[str, object], None]
"""Called with the method and the params of a notification."""


class Place(Struct, frozen=True):
    """How far a client is. sequence: what it was told that it knows. sent: of each open message, how much of its text.

    While more rounds are to come, seen: how far the log was looked through. removed: threads that went from the index.
    in_parts: changes were sent already, under the old sequence.
    """

    sequence: int = 0
    seen: int = 0
    sent: dict[str, Sent] = {}
    removed: int = 0
    in_parts: bool = False


class Subscriber:
    """place: how far its client is."""

    def __init__(self, id: str, topic: Topic, thread_id: str | None) -> None:
        self.id = id
        self.topic = topic
        self.thread_id = thread_id
        self.place = Place()

    @property
    def sequence(self) -> int:
        """What its client knows."""
        return self.place.sequence

    def wants(self, touched: Touched) -> list[EntityKey]:
        """The entities that it shows, of those that an event names."""
        match self.topic:
            case "index":
                return [key for key in touched.entities if key.entity in ("project", "thread")]
            case "thread":
                return touched.entities if touched.thread_id == self.thread_id else []
            case "settings":
                return [key for key in touched.entities if key.entity == "setting"]
            case "events":
                return []


class Subscriptions:
    """The subscriptions of one client.

    notify: sends a notification. ready: returns when the pipe can take more. length: of a text, in the client's units.
    """

    def __init__(
        self,
        store: DataDirectory,
        notify: Notify,
        ready: Callable[[], Awaitable[None]],
        *,
        length: Callable[[str], int] = len,
        bounds: SubscriptionBounds = SUBSCRIPTION_BOUNDS,
    ) -> None:
        self.bounds = bounds
        self._store = store
        self._length = length
        self._notify = notify
        self._ready = ready
        self._open: dict[str, Subscriber] = {}
        self._ids = itertools.count(1)
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def threads(self) -> set[str]:
        """Those that the client follows by the topic `thread`."""
        return {s.thread_id for s in self._open.values() if s.topic == "thread" and s.thread_id is not None}

    def wake(self) -> None:
        """Another process may have appended."""
        if self._open:
            self._woken.set()

    def appended(self, sequence: int) -> None:
        """This process appended; the log is at `sequence` now."""
        if any(subscription.place.seen < sequence for subscription in self._open.values()):
            self._woken.set()

    async def run(self) -> None:
        """Publish until cancelled."""
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
                        log.warning("failed to read changes, will retry: %s", error)
                    failure = str(error)
                    await asyncio.sleep(self.bounds.retry)

    async def open(
        self,
        topic: Topic,
        *,
        thread_id: str | None = None,
        turn_limit: int = 50,
        after: int | None = None,
        log_id: str | None = None,
    ) -> tuple[SubscriptionOpened, Callable[[], None]]:
        """The answer, and what to call once it is sent: notifications come only after that. Raises NotFound."""
        if log_id is not None and log_id != self._store.log_id:
            after = None
        subscription = Subscriber(f"sub-{next(self._ids)}", topic, thread_id)
        opened = await self._store.read(lambda reads: self._begin(reads, subscription, turn_limit, after))

        def begin() -> None:
            self._open[subscription.id] = subscription
            self.wake()

        return opened, begin

    def close(self, id: str) -> None:
        """Raises NotFound."""
        if self._open.pop(id, None) is None:
            raise NotFound("subscription", id)

    def _begin(self, reads: Reads, subscription: Subscriber, turn_limit: int, after: int | None) -> SubscriptionOpened:
        sequence = reads.sequence()
        if after is not None and after > sequence:
            after = None
        thread_id, log_id = subscription.thread_id, self._store.log_id
        if subscription.topic == "events":
            if thread_id is not None:
                reads.header(thread_id)
            begin = sequence if after is None else after
            subscription.place = Place(begin, begin)
            return SubscriptionOpened(subscription.id, log_id, begin, None, None)
        changes = None if after is None else _changes_since(reads, subscription, after, self.bounds)
        sent = {} if thread_id is None else open_messages(reads, thread_id, self._length)
        subscription.place = Place(sequence, sequence, sent)
        if changes is not None:
            return SubscriptionOpened(subscription.id, log_id, sequence, None, changes)
        snapshot: Any
        if subscription.topic == "index":
            snapshot = reads.index()
        elif thread_id is not None:
            snapshot = reads.thread(thread_id, turn_limit, LATEST)
        else:
            snapshot = reads.settings()
        return SubscriptionOpened(subscription.id, log_id, sequence, snapshot, None)

    async def _publish(self) -> bool:
        """Send what changed, up to one round; return whether there is more."""
        everyone = list(self._open.values())
        news, more = await self._store.read(lambda reads: _collect(reads, everyone, self._length, self.bounds))
        for subscription, place, notifications in news:
            subscription.place = place
            if subscription.id in self._open:
                for method, params in notifications:
                    self._notify(method, params)
        return more


Notifications = list[tuple[str, object]]
News = tuple[Subscriber, Place, Notifications]


def _changes_since(
    reads: Reads, subscription: Subscriber, after: int, bounds: SubscriptionBounds
) -> list[Change] | None:
    """Whole upserts and removes for what the log named after a sequence; None where that is too much."""
    dirty: dict[EntityKey, None] = {}
    for count, touched in enumerate(touched_after(reads, after, subscription.thread_id, bounds.page)):
        if count == bounds.max_resume:
            return None
        dirty.update(dict.fromkeys(subscription.wants(touched)))
    if subscription.topic == "thread" and not dirty:
        assert subscription.thread_id is not None
        reads.header(subscription.thread_id)
    keys, rows, size = list(dirty), Rows(reads), 0
    for start in range(0, len(keys), bounds.step):
        size += rows.load(keys[start : start + bounds.step])
        if size > bounds.max_resume_bytes:
            return None
    changes = [rows.change(key) for key in keys]
    return changes + moved_in(reads, _removed(changes)) if subscription.topic == "index" else changes


def _collect(
    reads: Reads, everyone: list[Subscriber], length: Callable[[str], int], bounds: SubscriptionBounds
) -> tuple[list[News], bool]:
    """What to tell, from one read transaction, those who are furthest behind first; whether there is more to tell.

    Moves nobody on: a read that fails half-way must lose nothing.
    """
    sequence, rows, room = reads.sequence(), Rows(reads, page=bounds.page, length=length), bounds.round_bytes
    news: list[News] = []
    behind = sorted((s for s in everyone if s.place.seen < sequence), key=lambda s: s.place.seen)
    for subscription in behind:
        if room <= 0:
            break
        tell = _events if subscription.topic == "events" else _changes
        place, notifications, size = tell(rows, subscription, sequence, room, bounds)
        news.append((subscription, place, notifications))
        room -= size
    return news, len(news) < len(behind) or any(place.seen < sequence for _, place, _ in news)


def _events(
    rows: Rows, subscription: Subscriber, sequence: int, room: int, bounds: SubscriptionBounds
) -> tuple[Place, Notifications, int]:
    """The next page of the log, and its size."""
    events, after = rows.reads.events(subscription.thread_id, subscription.sequence, bounds.events_page)
    upto = sequence if after is None else after
    found: list[Any] = [*events]
    appended = EventAppended(subscription.id, upto, found)
    return Place(upto, upto), [("event/appended", appended)] if events else [], sum(len(bytes(e)) for e in events)


def _changes(
    rows: Rows, subscription: Subscriber, sequence: int, room: int, bounds: SubscriptionBounds
) -> tuple[Place, Notifications, int]:
    """What a page of the log changed of what the subscription shows, and its size; it may be over `room` by a step."""
    place, seen, size = subscription.place, subscription.place.seen, 0
    dirty: dict[EntityKey, bool] = {}  # whether the whole of it is to be sent, or what was added to a text
    page = rows.touched(seen)
    for start in range(0, len(page), bounds.step):
        step, whole = page[start : start + bounds.step], []
        for touched in step:
            for key in subscription.wants(touched):
                if touched.is_delta and key.id in place.sent:
                    dirty.setdefault(key, False)
                elif not dirty.get(key):
                    dirty[key] = True
                    whole.append(key)
        size += rows.load(whole)
        seen = step[-1].sequence
        if size >= room:
            break
    changes, sent = _told(rows, subscription, dirty)
    size += sum(size_of(change) for change in changes if isinstance(change, AppendChange))
    is_last, removed = seen == sequence, place.removed + _removed(changes)
    if is_last and subscription.topic == "index":
        changes += moved_in(rows.reads, removed)
    parts = in_parts(changes, bounds.notification_bytes)
    if is_last and place.in_parts and not parts:
        parts.append([])  # what was told in earlier rounds was all
    notifications: Notifications = []
    for i, part in enumerate(parts):
        at = sequence if is_last and i == len(parts) - 1 else place.sequence
        notifications.append(("projection/changed", ProjectionChanged(subscription.id, at, part)))
    if is_last:
        return Place(sequence, sequence, sent), notifications, size
    return Place(place.sequence, seen, sent, removed, place.in_parts or bool(parts)), notifications, size


def _told(rows: Rows, subscription: Subscriber, dirty: dict[EntityKey, bool]) -> tuple[list[Change], dict[str, Sent]]:
    """The changes, and how far they bring each open message."""
    changes: list[Change] = []
    sent = dict(subscription.place.sent)
    messages: set[str] = set()
    for key, is_whole in dirty.items():
        if is_whole:
            changes.append(rows.change(key))
            if key.entity == "message":
                messages.add(key.id)
        elif (found := rows.delta(key.id, sent[key.id])) is not None:
            change, sent[key.id] = found
            changes.append(change)
    if messages and subscription.thread_id is not None:
        open = open_messages(rows.reads, subscription.thread_id, rows.length)
        # Of these alone: what was added to another one may be told in the next round only.
        sent = {id: known for id, known in sent.items() if id not in messages}
        sent |= {id: open[id] for id in messages if id in open}
    return changes, sent


def _removed(changes: list[Change]) -> int:
    return sum(isinstance(change, RemoveChange) and change.entity == "thread" for change in changes)
