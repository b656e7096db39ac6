"""How many agents may run at once in a daemon: each takes some hundred megabytes."""

import asyncio
from collections import deque
from collections.abc import Callable


class Places:
    """Places for processes. A holder that is idle is asked to leave when another one waits.

    leave: asks a holder to end its process; returns whether it is idle and will.
    """

    def __init__(self) -> None:
        self._number = self._free = 0  # below zero: more are taken than there are now
        self._holders: dict[str, Callable[[], bool]] = {}  # the one that was idle longest comes first
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    async def take(self, name: str, number: int, leave: Callable[[], bool]) -> None:
        """Wait for a place. number: how many there are from now on."""
        self._resize(number)
        if self._free > 0:
            self._free -= 1
        else:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((name, place))
            self._ask()
            try:
                await place
            except BaseException:
                if not place.cancelled():
                    self._give()
                raise
            finally:
                self._waiting = deque(one for one in self._waiting if one[1] is not place)
        self._holders[name] = leave

    def release(self, name: str) -> None:
        """The holder needs its place no more; does nothing if it has none."""
        if self._holders.pop(name, None) is not None:
            self._give()

    def is_waiting(self, name: str) -> bool:
        """Whether it waits for a place."""
        return any(name == one for one, _ in self._waiting)

    def now_idle(self, name: str) -> None:
        """A holder has become idle."""
        if name in self._holders:
            self._holders[name] = self._holders.pop(name)
            if self._waiting:
                self._ask()

    def _resize(self, number: int) -> None:
        more, self._number = number - self._number, number
        for _ in range(more):
            self._give()
        self._free += min(more, 0)

    def _give(self) -> None:
        if self._free < 0:
            self._free += 1
            if self._waiting:
                self._ask()
            return
        while self._waiting:
            _, place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _ask(self) -> None:
        for leave in list(self._holders.values()):
            if leave():
                return
