"""What has come from the daemon and is not yet taken, and whether the pipe is read meanwhile."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from treadle.client.replica import OutOfStep

Params = dict[str, Any]


class Flow:
    """Decides whether the pipe is read: while the inboxes hold little, and whenever a task waits for the daemon.

    A task that waits (for an answer, for a notification in an empty inbox, for a write) is never left waiting because
    another inbox is full: so a consumer may await a request, or another subscription, while its own inbox is full.

    held: bytes in all inboxes. limit: with more than this, nothing is read unless a task waits. most: bytes in one
    inbox; one that would hold more overflows. gone: why nothing more comes, once that is so.
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
        """Whether nothing is read until a task takes something or waits."""
        return self.held > self.limit and not self._waiting

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A task waits for the daemon within the block."""
        self._waiting += 1
        self._changed.set()
        try:
            yield
        finally:
            self._waiting -= 1

    def hold(self, size: int) -> None:
        """Count bytes that were put into an inbox, or taken from one if negative."""
        self.held += size
        self._changed.set()

    async def room(self) -> None:
        """Return when the pipe may be read."""
        while self.is_paused:
            self._changed.clear()
            await self._changed.wait()


class Inbox:
    """The notifications of one subscription that are not yet taken, in order. newest: keep no more than so many."""

    def __init__(self, flow: Flow, *, newest: int | None = None) -> None:
        self._flow = flow
        self._items: deque[tuple[Params, int]] = deque(maxlen=newest)
        self._drops = newest is not None
        self._held = 0
        self._overflowed = False
        self._arrived = asyncio.Event()

    def put(self, params: Params, size: int) -> None:
        """Add one that came as so many bytes. With too many bytes the inbox overflows: it is emptied and stays so."""
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
        """Take the oldest. Raises OutOfStep if the inbox has overflowed, Disconnected if nothing more comes."""
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
        """Forget what is not taken."""
        self._items.clear()
        self._hold(-self._held)

    def wake(self) -> None:
        """Let `get` see that nothing more comes."""
        self._arrived.set()

    @property
    def _is_ready(self) -> bool:
        return bool(self._items) or self._overflowed or self._flow.gone is not None

    def _hold(self, size: int) -> None:
        self._held += size
        self._flow.hold(size)
