"""The timers of a runner: each by its name, and each at most once."""

import asyncio
from collections.abc import Callable

from treadle.runner.context import Context
from treadle.runner.signals import ClearTimer, Expired, SetTimer

QUIET = 5.0
"""Seconds without a word, after which the agent is done with what it did by itself."""


class RunnerTimers:
    """The timers of the runner of one thread."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def set(self, output: SetTimer) -> None:
        """Start a timer of the machine."""
        settings, timer = self._context.shared.settings(), output.timer
        seconds = {"cancel": settings.cancel_seconds, "idle": settings.idle_minutes * 60, "quiet": QUIET}
        self.after(seconds[timer], timer, lambda: self._context.put(Expired(timer)))

    def clear(self, output: ClearTimer) -> None:
        """Stop a timer of the machine."""
        self.stop(output.timer)

    def after(self, seconds: float, name: str, do: Callable[[], None]) -> None:
        """Call a function after a time, in place of what the name stood for before."""
        self.stop(name)
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, do)

    def stop(self, name: str) -> None:
        """Stop the timer of this name, if there is one."""
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    def stop_all(self) -> None:
        """Stop all timers."""
        for name in list(self._timers):
            self.stop(name)
