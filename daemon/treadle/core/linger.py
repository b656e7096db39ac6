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
        self._ended: asyncio.Future[None] | None = None

    def arrived(self, submission: Submission) -> None:
        """End the wait for what is not a delta. A delta wakes nobody: many may come in one wait."""
        if self._ended is not None and not self._ended.done() and not submission.mergeable:
            self._ended.set_result(None)

    async def wait(self, queue: deque[Submission]) -> None:
        """Wait until the time is over, or until something that is not a delta is in the queue."""
        loop = asyncio.get_running_loop()
        if self._seconds <= 0 or loop.time() < self._not_before or not all(one.mergeable for one in queue):
            return
        before = len(queue)
        self._ended = loop.create_future()
        ended, _ = await asyncio.wait([self._ended], timeout=self._seconds)
        self._ended = None
        if not ended and len(queue) == before:
            self._not_before = loop.time() + self.PAUSE
