"""What the running turn uses, and what stops it: a budget, or that the agent repeats itself without end."""

import logging
from typing import Any

from treadle.agents.runaway import Runaway
from treadle.agents.shapes import Json, kind_of, text_of
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.runner.context import Context
from treadle.runner.recorder import ThreadRecorder
from treadle.runner.timers import RunnerTimers
from treadle.runner.usage import Reached, TurnUsage

log = logging.getLogger(__name__)

MINUTES = "minutes"
"""The timer of a turn that may take only so many."""


class TurnLimits:
    """Watches the turns of one thread. usage: of the running turn."""

    def __init__(self, context: Context, recorder: ThreadRecorder, timers: RunnerTimers) -> None:
        self._context, self._recorder, self._timers = context, recorder, timers
        self.usage = TurnUsage()
        self._runaway, self._over_budget = Runaway(), False

    def begin(self, prompt_id: str | None) -> None:
        """A turn begins."""
        self.usage.begin()
        self._runaway, self._over_budget = Runaway(), False
        minutes = self._context.shared.settings().budget.turn.minutes
        if minutes is not None and prompt_id is not None:
            self._timers.after(minutes * 60, MINUTES, lambda: self._reach(Reached("turn", "minutes", minutes, minutes)))

    def end(self) -> None:
        """The turn is over."""
        self._timers.stop(MINUTES)

    def hear(self, update: Json) -> None:
        """Watch an update of the agent."""
        kind = kind_of(update)
        if kind == "usage_update":
            self.usage.note(update)
            self._check_budget()
        if self._runaway.hear(kind, text_of(update.get("content")) or ""):
            self._interrupt("the agent repeats itself without end", by="guard")

    def answered(self, turn: str, usage: Any, ending: list[c.Command]) -> list[c.Command]:
        """The agent has ended its turn with these commands. Some say only now what they used, which may be too much."""
        self.usage.answered(usage)
        reached = self._reached()
        if reached is None or self._over_budget:
            return ending
        pause = ac.PauseQueue(thread_id=self._context.thread_id, reason=reached.sentence)
        return [self._budget_reached(turn, reached), *ending, pause]

    def _reached(self) -> Reached | None:
        """The limit that is reached, if any."""
        work = self._context.work
        return self.usage.reached(self._context.shared.settings().budget, work.usage if work else None)

    def _check_budget(self) -> None:
        if (reached := self._reached()) is not None:
            self._reach(reached)

    def _reach(self, reached: Reached) -> None:
        turn = self._context.state.turn
        if turn is not None and not self._over_budget:
            self._over_budget = True
            cancel = c.CancelTurn(thread_id=self._context.thread_id, id=turn, by="budget")
            self._recorder.tell(self._budget_reached(turn, reached), cancel)

    def _budget_reached(self, turn: str, reached: Reached) -> c.Command:
        return ac.ReachBudget(thread_id=self._context.thread_id, turn_id=turn, **reached._asdict())

    def _interrupt(self, reason: str, by: str) -> None:
        log.warning("thread %s: %s", self._context.thread_id, reason)
        if (turn := self._context.state.turn) is not None:
            self._recorder.tell(c.CancelTurn(thread_id=self._context.thread_id, id=turn, by=by))
