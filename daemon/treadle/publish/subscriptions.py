"""Subscriptions: what each subscriber is sent, and when. A client that does not read costs no memory.

A subscription stores its client's position in the log, not the changes (no backlog). When the pipe has room, one read
transaction finds the entities touched since then, reads their rows once for all subscriptions, and makes notifications
with the sequence of that snapshot. Many changes are sent in several rounds of limited size.
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
    OpenedAtPosition,
    OpenedWithChanges,
    OpenedWithSnapshot,
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
MAX_RESUME = 10_000  # events since a replica's sequence, above which it gets a snapshot instead of changes
MAX_RESUME_BYTES = 4 * 1024 * 1024  # of changed entities, above which it gets a snapshot instead of changes
EVENTS_PAGE = 500  # events in one event/appended
NOTIFICATION_BYTES = 1024 * 1024
ROUND_BYTES = 1024 * 1024  # read for all subscriptions between two checks that the pipe has room
RETRY = 1.0  # seconds until a failed read is retried


class SubscriptionBounds(Struct, frozen=True):
    """Bounds of the subscriptions of one client, as the constants above. page, step: as PAGE and STEP of `touched`."""

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
    """A client's position in the log. sequence: the last one sent to it. sent: the text sent of each streaming message.

    Between two rounds, seen: the last sequence whose event was processed. removed: the number of threads removed from
    the index. in_parts: whether some of the changes were already sent, with the old sequence.
    """

    sequence: int = 0
    seen: int = 0
    sent: dict[str, Sent] = {}
    removed: int = 0
    in_parts: bool = False


class Subscriber:
    """One subscription. place: its client's position in the log."""

    def __init__(self, id: str, topic: Topic, thread_id: str | None) -> None:
        self.id = id
        self.topic = topic
        self.thread_id = thread_id
        self.place = Place()

    @property
    def sequence(self) -> int:
        """The last sequence that was sent to its client."""
        return self.place.sequence

    def wants(self, touched: Touched) -> list[EntityKey]:
        """The entities touched by an event that belong to this subscription's topic."""
        match self.topic:
            case "index":
                return [key for key in touched.entities if key.entity in ("project", "thread")]
            case "thread":
                return touched.entities if touched.thread_id == self.thread_id else []
            case "settings":
                return [key for key in touched.entities if key.entity in ("setting", "rule")]
            case "events":
                return []


class Subscriptions:
    """The subscriptions of one client.

    notify: sends a notification. ready: returns when the pipe has room. length: of a text, in the client's units.
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
        """The threads that the client follows with the topic `thread`."""
        return {s.thread_id for s in self._open.values() if s.topic == "thread" and s.thread_id is not None}

    def wake(self) -> None:
        """Look for new events: another process may have appended."""
        if self._open:
            self._woken.set()

    def appended(self, sequence: int) -> None:
        """Publish new events: this process has appended, and the log is at `sequence` now."""
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
        """Open a subscription. Raises NotFound.

        Returns the answer, and a function to call once the answer is sent, which starts the notifications.
        """
        if log_id is not None and log_id != self._store.log_id:
            after = None
        subscription = Subscriber(f"sub-{next(self._ids)}", topic, thread_id)
        opened = await self._store.read(lambda reads: self._begin(reads, subscription, turn_limit, after))

        def begin() -> None:
            self._open[subscription.id] = subscription
            self.wake()

        return opened, begin

    def close(self, id: str) -> None:
        """Close a subscription. Raises NotFound."""
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
            return OpenedAtPosition(subscription.id, log_id, begin)
        changes = None if after is None else _changes_since(reads, subscription, after, self.bounds)
        sent = {} if thread_id is None else open_messages(reads, thread_id, self._length)
        subscription.place = Place(sequence, sequence, sent)
        if changes is not None:
            return OpenedWithChanges(subscription.id, log_id, sequence, changes)
        snapshot: Any
        if subscription.topic == "index":
            snapshot = reads.index()
        elif thread_id is not None:
            snapshot = reads.thread(thread_id, turn_limit, LATEST)
        else:
            snapshot = reads.settings()
        return OpenedWithSnapshot(subscription.id, log_id, sequence, snapshot)

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
    """Upserts and removes for the entities touched after a sequence; None if a snapshot would be smaller."""
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
    """The notifications of one round, made in one read transaction, and whether more rounds are needed.

    Subscriptions that are furthest behind come first. Changes no position: a read that fails must not lose changes.
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
    """The next page of the log for the topic `events`, with the position after it and its size in bytes."""
    events, after = rows.reads.events(subscription.thread_id, subscription.sequence, bounds.events_page)
    upto = sequence if after is None else after
    found: list[Any] = [*events]
    appended = EventAppended(subscription.id, upto, found)
    return Place(upto, upto), [("event/appended", appended)] if events else [], sum(len(bytes(e)) for e in events)


def _changes(
    rows: Rows, subscription: Subscriber, sequence: int, room: int, bounds: SubscriptionBounds
) -> tuple[Place, Notifications, int]:
    """The changes of a page of the log for a subscription, with the position after it and their size in bytes.

    The size may exceed `room` by one step.
    """
    place, seen, size = subscription.place, subscription.place.seen, 0
    dirty: dict[EntityKey, bool] = {}  # True: send the whole entity; False: send the appended text
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
        parts.append([])  # nothing is left to send but the new sequence
    notifications: Notifications = []
    for i, part in enumerate(parts):
        at = sequence if is_last and i == len(parts) - 1 else place.sequence
        notifications.append(("projection/changed", ProjectionChanged(subscription.id, at, part)))
    if is_last:
        return Place(sequence, sequence, sent), notifications, size
    return Place(place.sequence, seen, sent, removed, place.in_parts or bool(parts)), notifications, size


def _told(rows: Rows, subscription: Subscriber, dirty: dict[EntityKey, bool]) -> tuple[list[Change], dict[str, Sent]]:
    """The changes, and how much text of each streaming message the client has after them."""
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
        # Only for these messages: text appended to others may have to be sent in the next round.
        sent = {id: known for id, known in sent.items() if id not in messages}
        sent |= {id: open[id] for id in messages if id in open}
    return changes, sent


def _removed(changes: list[Change]) -> int:
    return sum(isinstance(change, RemoveChange) and change.entity == "thread" for change in changes)
