"""The runner of one thread: an inbox, the machine that decides what happens next, and the parts that do it.

Everything that comes (views of the log, messages of the agent, results) goes through the one inbox, in order, so that
an answer cannot overtake what was said before it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from treadle.agents.codec import AgentMessage
from treadle.contract.results import AgentPhase
from treadle.runner import signals as s
from treadle.runner.automatic import Automatic
from treadle.runner.context import Context, Item, Shared
from treadle.runner.failures import answer_to, exit_of
from treadle.runner.hearing import Hearing
from treadle.runner.lifetime import ProcessLifetime
from treadle.runner.limits import TurnLimits
from treadle.runner.machine import step
from treadle.runner.questions import AgentQuestions
from treadle.runner.recorder import ThreadRecorder
from treadle.runner.sessions import ThreadSessions
from treadle.runner.steering import Steering
from treadle.runner.tasks import RunnerTasks
from treadle.runner.timers import RunnerTimers
from treadle.runner.turns import ThreadTurns
from treadle.store.records import ThreadWork

log = logging.getLogger(__name__)

FAREWELL = 2.0
"""Seconds that the end of the daemon waits for an agent and its last checkpoint; the agent's reaper waits longer."""


class ThreadRunner:
    """Runs the agent of one thread."""

    def __init__(self, thread_id: str, shared: Shared) -> None:
        self.thread_id = thread_id
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()
        self._put = self._inbox.put_nowait
        self._context = context = Context(thread_id, shared, self._put)
        self._tasks = tasks = RunnerTasks(thread_id, self._put)
        self._timers = timers = RunnerTimers(context)
        recorder = ThreadRecorder(context, tasks)
        limits = TurnLimits(context, recorder, timers)
        questions = AgentQuestions(context, tasks, recorder)
        sessions = ThreadSessions(context, tasks, recorder, limits)
        self._automatic = Automatic(thread_id, shared.checkpoints, shared.read)
        turns = ThreadTurns(context, tasks, recorder, questions, limits, self._automatic)
        self._lifetime = ProcessLifetime(context, tasks, timers, questions)
        self._hearing = Hearing(context, sessions, questions, limits)
        self._do: dict[type[s.Output], Callable[[Any], None]] = {
            s.Start: self._lifetime.start,
            s.End: self._lifetime.end,
            s.OpenWith: sessions.open,
            s.Apply: sessions.apply,
            s.CloseSession: sessions.close,
            s.Begin: turns.begin,
            s.Send: turns.send,
            s.AskToStop: turns.ask_to_stop,
            s.Stop: turns.stop,
            s.Finish: turns.finish,
            s.Pause: turns.pause,
            s.Steer: Steering(context, tasks, recorder).steer,
            s.Reply: questions.reply,
            s.Dismiss: questions.dismiss,
            s.Withdraw: questions.withdraw,
            s.SetTimer: timers.set,
            s.ClearTimer: timers.clear,
        }
        self._main = asyncio.create_task(self._run(), name=f"agent of {thread_id}")

    def see(self, work: ThreadWork | None, sequence: int, claimed: bool) -> None:
        """The log says this of the thread."""
        self._context.work = work or self._context.work
        self._put(s.Viewed(self._context.view(work, sequence, claimed)))

    def want(self) -> None:
        """A prompt is likely to come."""
        self._put(s.Wanted())

    @property
    def is_idle(self) -> bool:
        """Whether there is no process, and none is about to start."""
        return self._context.state.phase == "absent" and self._inbox.empty() and not self._tasks.any_left

    @property
    def phase(self) -> AgentPhase:
        """What it does now: see machine.Phase; `waiting` while other agents have all the places."""
        is_waiting = self._context.shared.places.is_waiting(self.thread_id)
        return "waiting" if is_waiting else self._context.state.phase

    @property
    def pid(self) -> int | None:
        """The id of the process, if there is one."""
        return None if self._context.process is None else self._context.process.pid

    @property
    def agent(self) -> str:
        """The name of the agent."""
        return self._context.state.agent

    async def close(self) -> None:
        """End the process. What is left of it after a moment is ended without this daemon."""
        self._put(s.Closing())
        if self._context.state.phase in ("starting", "opening", "applying"):
            self._tasks.cancel_talks()
            self._lifetime.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                if self._context.state.phase != "absent":
                    await self._lifetime.gone.wait()
                await self._automatic.finished()
        self._main.cancel()
        await asyncio.gather(self._main, self._tasks.cancel(), self._automatic.close(), return_exceptions=True)
        self._timers.stop_all()

    async def _run(self) -> None:
        while True:
            item = await self._inbox.get()
            try:
                if isinstance(item, AgentMessage):
                    self._hearing.hear(item)
                elif callable(item):
                    item()
                else:
                    self._step(item)
            except Exception as error:
                self._failed(error)

    def _step(self, input: s.Input) -> None:
        context = self._context
        before = context.state.phase
        context.state, outputs = step(context.state, input)
        for output in outputs:
            try:
                self._do[type(output)](output)
            except Exception as error:  # the other outputs are done: one of them may be End
                self._failed(error, answer_to(output))
        if context.state.phase != before and context.state.phase in ("started", "ready"):
            context.shared.places.now_idle(self.thread_id)

    def _failed(self, error: Exception, answer: s.Input | None = None) -> None:
        """The agent is ended. answer: what the machine waits for."""
        log.error("the runner of thread %s failed", self.thread_id, exc_info=error)
        self._put(exit_of(error))
        if answer is not None:
            self._put(answer)
