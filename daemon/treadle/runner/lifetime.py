"""The process of a thread's agent, from its start to its end."""

import asyncio
import logging
from pathlib import Path

from treadle.agents.connection import AgentFailed
from treadle.agents.process import AgentProcess
from treadle.agents.session import can_steer, initialize, ways_of
from treadle.core.engine import Overloaded
from treadle.domain.errors import Rejected
from treadle.runner import signals as s
from treadle.runner.context import Context
from treadle.runner.failures import answer_to
from treadle.runner.questions import AgentQuestions
from treadle.runner.tasks import RunnerTasks
from treadle.runner.timers import RunnerTimers
from treadle.store.errors import StorageError

log = logging.getLogger(__name__)


class ProcessLifetime:
    """Starts and ends the agent of one thread. gone: set when it has been ended."""

    def __init__(self, context: Context, tasks: RunnerTasks, timers: RunnerTimers, questions: AgentQuestions) -> None:
        self._context, self._tasks, self._timers, self._questions = context, tasks, timers, questions
        self.gone = asyncio.Event()

    def start(self, output: s.Start) -> None:
        """Start the agent as soon as there is a place for it."""
        self._tasks.talk(self._start(output.agent), answer_to(output))

    def end(self, _: s.End | None = None) -> None:
        """End the agent and all that it has started."""
        self._tasks.start(self._end())

    async def _start(self, name: str) -> None:
        context, work = self._context, self._context.work
        assert work is not None
        try:
            await context.shared.places.take(context.thread_id, context.shared.settings().max_processes, self._leave)
            context.config = context.shared.config_of(name)
            await context.find_folder(work)
            process = context.process = await AgentProcess.start(
                context.config,
                lambda _, message: context.put(message),
                ended=lambda reason: context.put(s.Exited(context.explained(reason))),
                cwd=Path(context.folder),
                records=context.shared.records,
            )
            context.agent = await initialize(process.connection, context.shared.settings().start_seconds)
            earlier = await context.earlier(work, context.config)
        except (AgentFailed, Rejected, StorageError, Overloaded, OSError) as error:
            log.warning("agent %s could not be started: %s", name, error)
            context.put(s.StartFailed(context.explained(f"agent {name!r} could not be started: {error}")))
        else:
            ways = ways_of(context.agent, earlier is not None, earlier is not None and earlier.is_other)
            context.put(s.Started(ways, can_steer(context.agent)))

    def _leave(self) -> bool:
        """Another thread waits for the place: return whether this one leaves it."""
        state = self._context.state
        if state.phase in ("started", "ready") and state.view.next is None:
            self._context.put(s.Leave())
            return True
        return False

    async def _end(self) -> None:
        context = self._context
        process, context.process = context.process, None
        self._timers.stop_all()
        if process is not None:
            try:
                await process.end()
            except Exception:  # its record stays, by which the next daemon ends what is left
                log.exception("the agent of thread %s could not be ended", context.thread_id)
        await self._tasks.talks_ended()  # they fail now that nobody answers
        context.shared.places.release(context.thread_id)
        context.session, context.mapper = None, None
        self._questions.forget()
        context.put(s.Gone())
        self.gone.set()
