"""The tasks of a runner. One that fails ends the agent: nothing runs that the runner has lost sight of."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from treadle.runner.failures import exit_of
from treadle.runner.signals import Input
from treadle.store.errors import StorageError

log = logging.getLogger(__name__)


class RunnerTasks:
    """The tasks of the runner of one thread. put: into its inbox."""

    def __init__(self, thread_id: str, put: Callable[[Input], None]) -> None:
        self._thread_id, self._put = thread_id, put
        self._tasks: set[asyncio.Task[None]] = set()
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def any_left(self) -> bool:
        """Whether one runs."""
        return bool(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, None], failed: Input | None = None) -> "asyncio.Task[None]":
        """Start a task. failed: what the machine is told if it fails, in place of the answer that the task gives."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: self._ended(task, failed))
        return task

    def talk(self, coroutine: Coroutine[Any, Any, None], failed: Input | None) -> None:
        """Start a task that waits for the agent."""
        task = self.start(coroutine, failed)
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    def cancel_talks(self) -> None:
        """Cancel the tasks that wait for the agent."""
        for task in self._talks:
            task.cancel()

    async def talks_ended(self) -> None:
        """Wait for the tasks that wait for the agent."""
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def cancel(self) -> None:
        """Cancel all tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]", failed: Input | None) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            defect = None if isinstance(error, StorageError) else error
            log.error("the runner of thread %s failed: %s", self._thread_id, error, exc_info=defect)
            self._put(exit_of(error))
            if failed is not None:
                self._put(failed)
