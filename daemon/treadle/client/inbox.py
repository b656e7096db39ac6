"""Inboxes of notifications that were not consumed yet, and when the client stops reading the pipe (backpressure)."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from treadle.client.replica import OutOfStep

Params = dict[str, Any]


class Flow:
    """Decides whether the pipe is read: while the inboxes hold less than `limit`, or while a task waits for the daemon.

    A full inbox never blocks a task that waits for an answer, for a notification in an empty inbox, or for a write. So
    a consumer may await a request or another subscription while its own inbox is full.

    held: bytes in all inboxes. limit: bytes above which nothing is read unless a task waits. most: bytes above which
    one inbox overflows. gone: why the connection is closed, None while it is open.
    """

    def __init__(self, limit: int, most: int) -> None:
        self.limit = limit
        self.most = most
        self.held = 0
        self.gone: Exception | None = None
        self._waiting = 0
        self._changed = asyncio.Event()

    @property
    def is_paused(self) -> bool:
        """Whether reading is paused until a task consumes a notification or waits."""
        return self.held > self.limit and not self._waiting

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the calling task as waiting for the daemon within the block."""
        self._waiting += 1
        self._changed.set()
        try:
            yield
        finally:
            self._waiting -= 1

    def hold(self, size: int) -> None:
        """Count bytes that were put into an inbox, or, if negative, removed from one."""
        self.held += size
        self._changed.set()

    async def room(self) -> None:
        """Wait until the pipe may be read."""
        while self.is_paused:
            self._changed.clear()
            await self._changed.wait()


class Inbox:
    """The unconsumed notifications of one subscription, in order. newest: keep only this many and drop older ones."""

    def __init__(self, flow: Flow, *, newest: int | None = None) -> None:
        self._flow = flow
        self._items: deque[tuple[Params, int]] = deque(maxlen=newest)
        self._drops = newest is not None
        self._held = 0
        self._overflowed = False
        self._arrived = asyncio.Event()

    def put(self, params: Params, size: int) -> None:
        """Add a notification of `size` bytes. Above the limit the inbox overflows: it is cleared and stays empty."""
        if self._drops:
            size = 0
        if self._held + size > self._flow.most:
            self.clear()
            self._overflowed = True
        if not self._overflowed:
            self._items.append((params, size))
            self._hold(size)
        self._arrived.set()

    async def get(self) -> Params:
        """Wait for the oldest notification and remove it. Raises OutOfStep on overflow, Disconnected at the end."""
        if not self._is_ready:
            with self._flow.waiting():
                while not self._is_ready:
                    self._arrived.clear()
                    await self._arrived.wait()
        if self._overflowed:
            raise OutOfStep(
                f"more than {self._flow.most} bytes were not taken in time: subscribe again with the replica"
            )
        if not self._items:
            assert self._flow.gone is not None
            raise self._flow.gone
        params, size = self._items.popleft()
        self._hold(-size)
        return params

    def clear(self) -> None:
        """Drop all notifications."""
        self._items.clear()
        self._hold(-self._held)

    def wake(self) -> None:
        """Wake `get` after the connection was closed."""
        self._arrived.set()

    @property
    def _is_ready(self) -> bool:
        return bool(self._items) or self._overflowed or self._flow.gone is not None

    def _hold(self, size: int) -> None:
        self._held += size
        self._flow.hold(size)
