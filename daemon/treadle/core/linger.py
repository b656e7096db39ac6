"""Coalescing: lets deltas of streamed text wait for each other, so that they become one event."""

import asyncio
from collections import deque

from treadle.core.group_commit import Submission


class Linger:
    """Lets an AppendMessage wait for company, as long as that pays.

    A client that awaits each answer would never have company, and would be slowed down by every wait: after a wait
    in vain there is none for a second.
    """

    PAUSE = 1.0  # seconds

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._not_before = 0.0

    async def wait(self, queue: deque[Submission], arrived: asyncio.Event) -> None:
        """Return when something waits that is no delta, or when the time is over."""
        loop = asyncio.get_running_loop()
        if self._seconds <= 0 or loop.time() < self._not_before:
            return
        until = loop.time() + self._seconds
        before = len(queue)
        seen = 0
        while loop.time() < until:
            while seen < len(queue):
                if not queue[seen].mergeable:
                    return
                seen += 1
            arrived.clear()
            try:
                async with asyncio.timeout_at(until):
                    await arrived.wait()
            except TimeoutError:
                break
        arrived.set()
        if len(queue) == before:
            self._not_before = loop.time() + self.PAUSE
