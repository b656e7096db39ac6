"""Ends what daemons that have exited left: their turns, their agents' sessions, and the queues they were to send."""

import asyncio
import logging
from collections.abc import Callable
from functools import cache

from treadle.core.engine import Engine, Overloaded
from treadle.domain.agent_commands import EndSession, PauseQueue
from treadle.domain.commands import Command, InterruptTurn
from treadle.domain.errors import Rejected
from treadle.store.errors import StorageError
from treadle.store.ports import DataDirectory, Reads
from treadle.store.records import QueueOwner, SessionOwner, TurnOwner

log = logging.getLogger(__name__)

RUNNER_GONE = "the daemon that ran it is gone"
RUNNER_ENDED = "the daemon ended"
LOOK_FOR_GONE = 1.0  # seconds between two checks

Owned = tuple[list[TurnOwner], list[SessionOwner], list[QueueOwner]]


class Recovery:
    """Finds daemons that exited without ending what they ran.

    looking: called before each check. has_host: whether a host sends the prompts of all daemons: their queues are left
    to it.
    """

    def __init__(
        self,
        store: DataDirectory,
        engine: Engine,
        looking: Callable[[], None],
        *,
        has_host: Callable[[], bool],
        every: float = LOOK_FOR_GONE,
    ) -> None:
        self._store = store
        self._engine = engine
        self._looking = looking
        self._has_host = has_host
        self._every = every
        self._failure = ""

    async def run(self) -> None:
        """Check periodically until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            self._looking()
            await self.look()

    async def look(self) -> None:
        """Check once, and end what such daemons left. A failure is logged once and retried with the next check."""
        try:
            await self.end_what_gone_daemons_left()
        except (StorageError, Overloaded) as error:
            if str(error) != self._failure:  # once, not every second
                log.warning("failed to end what daemons that have exited left, will retry: %s", error)
            self._failure = str(error)
        else:
            self._failure = ""

    async def end_what_gone_daemons_left(self) -> None:
        """Interrupt the turns, end the sessions and pause the queues of every daemon that has exited."""
        runner = self._store.runner
        owned = await self._store.read(_owned)
        await self._take_over([turn for turn in owned[0] if turn.cancelling and runner.is_away(turn.runner)])
        is_gone = cache(lambda name: name != runner.name and runner.is_gone(name))
        gone = {one.runner for some in owned for one in some if is_gone(one.runner)} | runner.left_behind()
        await self._end(owned, is_gone, RUNNER_GONE, "the daemon that was to send it is gone")
        for name in gone:
            runner.forget(name)

    async def _take_over(self, turns: list[TurnOwner]) -> None:
        """Interrupt turns that somebody asked to stop, and whose machine is not there to do it."""
        if turns:
            why = "its machine was away when it was asked to stop"
            await self._submit(
                [InterruptTurn(thread_id=turn.thread_id, id=turn.id, reason=why, confirmed=False) for turn in turns]
            )

    async def end_own(self, reason: str) -> None:
        """The same for this daemon, which is about to exit."""
        own = self._store.runner.name
        await self._end(await self._store.read(_owned), lambda name: name == own, reason, reason)

    async def _end(self, owned: Owned, ends: Callable[[str], bool], reason: str, why_paused: str) -> None:
        """End what the runners have for which `ends` is true. The end of a session may leave a queue of another one."""
        turns, sessions, queues = owned
        ending: list[Command] = [
            InterruptTurn(thread_id=turn.thread_id, id=turn.id, reason=reason, confirmed=False)
            for turn in turns
            if ends(turn.runner)
        ]
        ending += [
            EndSession(thread_id=session.thread_id, id=session.id, reason=reason)
            for session in sessions
            if ends(session.runner)
        ]
        if ending:
            await self._submit(ending)
            queues = await self._store.read(lambda reads: reads.open_queues())
        # With the version, because another daemon may have taken the queue over meanwhile.
        pausing: list[Command] = [
            PauseQueue(thread_id=queue.thread_id, expected_version=queue.version, reason=why_paused)
            for queue in queues
            if ends(queue.runner)
        ]
        if pausing and not self._has_host():
            await self._submit(pausing)

    async def _submit(self, commands: list[Command]) -> None:
        answers = [self._engine.submit([command]).future for command in commands]
        for outcome in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Rejected):  # another daemon did it first
                raise outcome


def _owned(reads: Reads) -> Owned:
    return reads.running_turns(), reads.open_sessions(), reads.open_queues()
