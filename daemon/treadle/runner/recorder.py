"""Records what a runner and its agent do, in order. An agent that is faster than the disk has to wait."""

import asyncio
import logging
from typing import NamedTuple

from treadle.contract.results import BatchDispatched
from treadle.core.engine import Overloaded
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.runner.context import Context
from treadle.runner.signals import Exited, Recorded
from treadle.runner.tasks import RunnerTasks
from treadle.store.errors import StorageError

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until something is recorded again that the disk or another process did not allow."""
MAX_UNSAVED = 1_000
"""Commands that wait for the disk, at which the agent has to wait."""


class SubmitOutcome(NamedTuple):
    """What became of commands. sequence: of the log then."""

    sequence: int
    accepted: bool


class ThreadRecorder:
    """Records what concerns one thread."""

    def __init__(self, context: Context, tasks: RunnerTasks) -> None:
        self._context, self._tasks = context, tasks
        self._unsaved = 0

    def record(self, *commands: c.Command) -> None:
        """Record these together; the machine is told when."""
        submitted = self.submit(*commands)

        async def wait() -> None:
            self._context.put(Recorded((await self.recorded(submitted, *commands)).sequence))

        self._tasks.start(wait(), Recorded(0))

    def tell(self, *commands: c.Command) -> None:
        """Record what the agent says. If that is impossible the agent is ended: nothing runs unrecorded."""
        self.submit(*commands).add_done_callback(self._told)

    def submit(self, *commands: c.Command) -> "asyncio.Future[BatchDispatched]":
        """Give commands to the engine, all or none of them."""
        self._unsaved += 1
        if self._unsaved == MAX_UNSAVED and self._context.process is not None:
            self._context.process.pause()
        try:
            future = self._context.shared.submit(list(commands), atomic=len(commands) > 1)
        except Overloaded as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        future.add_done_callback(self._saved)
        return future

    async def recorded(self, submitted: "asyncio.Future[BatchDispatched]", *commands: c.Command) -> SubmitOutcome:
        """What became of commands. Tries until the disk lets it."""
        while True:
            try:
                try:
                    return SubmitOutcome((await submitted).sequence, True)
                except Rejected as error:
                    log.debug("not recorded: %s", error)
                    return SubmitOutcome(await self._context.shared.read(lambda reads: reads.sequence()), False)
            except (StorageError, Overloaded) as error:
                thread_id = self._context.thread_id
                log.warning("failed to record what the agent of thread %s did, will retry: %s", thread_id, error)
                await asyncio.sleep(RETRY)
                submitted = self.submit(*commands)

    def _saved(self, _: "asyncio.Future[BatchDispatched]") -> None:
        self._unsaved -= 1
        if self._unsaved == MAX_UNSAVED // 2 and self._context.process is not None:
            self._context.process.resume()

    def _told(self, future: "asyncio.Future[BatchDispatched]") -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Rejected):  # the turn has ended meanwhile
            log.debug("not recorded: %s", error)
        elif error is not None:
            self._context.put(Exited(f"what it does cannot be recorded: {error}"))
