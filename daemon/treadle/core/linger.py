"""Delays deltas of streamed text briefly, so that several become one event."""

import asyncio
from collections import deque

from treadle.core.group_commit import Submission


class Linger:
    """Delays an AppendMessage so that it can be merged with the next ones, as long as that helps.

    A client that awaits each answer never sends the next delta in time, and every wait would only slow it down. So
    after a wait in which nothing arrived, there is no further wait for `PAUSE`.
    """

    PAUSE = 1.0  # seconds

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._not_before = 0.0

    async def wait(self, queue: deque[Submission], arrived: asyncio.Event) -> None:
        """Wait until the time is over, or until something that is not a delta is in the queue."""
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
