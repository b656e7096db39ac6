"""Interrupts the turns of daemons that have exited."""

import asyncio
import logging
from collections.abc import Callable

from treadle.core.engine import Engine, Overloaded
from treadle.domain.commands import InterruptTurn
from treadle.domain.errors import Rejected
from treadle.store.errors import StorageError
from treadle.store.ports import DataDirectory, TurnOwner

log = logging.getLogger(__name__)

LOOK_FOR_GONE = 1.0  # seconds between two checks


class Recovery:
    """Finds daemons that exited without ending their turns. looking: called before each check."""

    def __init__(
        self, store: DataDirectory, engine: Engine, looking: Callable[[], None], *, every: float = LOOK_FOR_GONE
    ) -> None:
        self._store = store
        self._engine = engine
        self._looking = looking
        self._every = every
        self._failure = ""

    async def run(self) -> None:
        """Check periodically until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            self._looking()
            await self.look()

    async def look(self) -> None:
        """Check once, and interrupt such turns. A failure is logged once and retried with the next check."""
        try:
            await self.interrupt_turns_of_gone_runners()
        except (StorageError, Overloaded) as error:
            if str(error) != self._failure:  # once, not every second
                log.warning("failed to interrupt turns of daemons that have exited, will retry: %s", error)
            self._failure = str(error)
        else:
            self._failure = ""

    async def interrupt_turns_of_gone_runners(self) -> None:
        """Append TurnInterrupted for every running turn of a daemon that has exited."""
        runner = self._store.runner
        turns = await self._store.read(lambda reads: reads.running_turns())
        ended = {turn.runner for turn in turns if turn.runner != runner.name and runner.is_gone(turn.runner)}
        gone = ended | runner.left_behind()
        await self._interrupt([turn for turn in turns if turn.runner in gone], "the daemon that ran it is gone")
        for name in gone:
            runner.forget(name)

    async def interrupt_own(self, reason: str) -> None:
        """Interrupt the turns of this daemon, which is about to exit."""
        turns = await self._store.read(lambda reads: reads.running_turns())
        await self._interrupt([turn for turn in turns if turn.runner == self._store.runner.name], reason)

    async def _interrupt(self, turns: list[TurnOwner], reason: str) -> None:
        answers = [
            self._engine.submit([InterruptTurn(thread_id=turn.thread_id, id=turn.id, reason=reason)]).future
            for turn in turns
        ]
        for outcome in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Rejected):  # another daemon did it first
                raise outcome
