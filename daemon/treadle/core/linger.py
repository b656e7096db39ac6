"""Delays deltas of streamed text briefly, so that several become one event."""

import asyncio
from collections import deque

from treadle.core.group_commit import Submission

Message = tuple[str, str]
"""The ids of a thread and of a message in it."""


class Linger:
    """Delays an AppendMessage so that it can be merged with the next ones, as long as that is worth it.

    A wait is worth it for a message that streams fast: whose last `DELTAS` came in the time of `WAITS` waits, so that
    at least four of them become one event. The first deltas of a message are appended at once, and so are all of a
    message that streams slowly: merging two or three would save little, and everybody would see the text later.

    A client that awaits each answer never sends the next delta in time, and every wait would only slow it down. So
    after a wait in which nothing arrived, there is no further wait for `PAUSE`.
    """

    DELTAS, WAITS = 16, 4  # over several waits, because a busy machine delivers them unevenly
    PAUSE = 1.0  # seconds
    MESSAGES = 1_000  # whose pace is known; of further ones, those that have waited longest for a delta are forgotten

    def __init__(self, seconds: float) -> None:
        self._seconds, self._within = seconds, seconds * self.WAITS
        self._not_before = 0.0
        self._ended: asyncio.Future[None] | None = None
        self._arrived: dict[Message, deque[float]] = {}  # when the last deltas of each message did

    def arrived(self, submission: Submission) -> None:
        """End the wait for what is not to wait. A delta that is to wait wakes nobody: many may come in one wait."""
        if self._seconds <= 0:
            return
        message = _message_of(submission)
        if message is not None:
            self._note(message)
        if self._ended is not None and not self._ended.done() and not self._is_fast(message):
            self._ended.set_result(None)

    async def wait(self, queue: deque[Submission]) -> None:
        """Wait until the time is over, or until something is in the queue that is not to wait."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before or not all(self._is_fast(_message_of(one)) for one in queue):
            return
        before = len(queue)
        self._ended = loop.create_future()
        ended, _ = await asyncio.wait([self._ended], timeout=self._seconds)
        self._ended = None
        if not ended and len(queue) == before:
            self._not_before = loop.time() + self.PAUSE

    def _note(self, message: Message) -> None:
        times = self._arrived.pop(message, None) or deque(maxlen=self.DELTAS + 1)
        times.append(asyncio.get_running_loop().time())
        self._arrived[message] = times
        if len(self._arrived) > self.MESSAGES:
            del self._arrived[next(iter(self._arrived))]

    def _is_fast(self, message: Message | None) -> bool:
        """Whether the deltas of a message come so fast that a wait is worth it."""
        times = None if message is None else self._arrived.get(message)
        return times is not None and len(times) > self.DELTAS and times[-1] - times[0] < self._within


def _message_of(submission: Submission) -> Message | None:
    """The message of a delta; None of anything else."""
    delta = submission.delta
    return None if delta is None else (delta.thread_id, delta.id)
