"""Checkpoints that are taken without being asked for: before and after each turn of an agent."""

import asyncio
import logging

from treadle.agents.shapes import Json
from treadle.core.access import Read
from treadle.domain.errors import Rejected
from treadle.domain.ids import Phase
from treadle.store.errors import StorageError
from treadle.store.records import ThreadWork
from treadle.workspace.checkpoint_settings import are_off
from treadle.workspace.checkpoints import Checkpoints
from treadle.workspace.git import GitError

log = logging.getLogger(__name__)

MAX_FAILURES = 2
"""In a row, after which there is a break."""
BREAK = 600.0
"""Seconds."""
MAX_NAMED = 50
"""Files that the agent is told of by name."""


class Automatic:
    """The automatic checkpoints of one thread. A failure is recorded, and never stops a turn."""

    def __init__(
        self,
        thread_id: str,
        checkpoints: Checkpoints,
        read: Read,
    ) -> None:
        self._thread_id, self._checkpoints, self._read = thread_id, checkpoints, read
        self._failures, self._break_until = 0, 0.0
        self._running: asyncio.Task[None] | None = None

    async def before(self, turn_id: str, project_id: str) -> None:
        """Take one before the prompt of a turn is sent."""
        await self._take(turn_id, project_id, "before")

    def after(self, turn_id: str, project_id: str) -> None:
        """Take one after a turn has ended, while other things go on."""
        self._running = asyncio.create_task(self._after(turn_id, project_id), name="checkpoint")

    async def finished(self) -> None:
        """Wait until the one after the last turn is taken."""
        if self._running is not None:
            await asyncio.wait([self._running])
            self._running = None

    async def close(self) -> None:
        """Give up the one that is being taken."""
        if self._running is not None:
            self._running.cancel()
            await self.finished()

    async def _after(self, turn_id: str, project_id: str) -> None:
        if await self._take(turn_id, project_id, "after"):
            self._checkpoints.pruner.begin_daily(project_id)

    async def _take(self, turn_id: str, project_id: str, phase: Phase) -> bool:
        """Return whether one was taken."""
        if asyncio.get_running_loop().time() < self._break_until:
            return False
        try:
            is_wanted = not await self._read(lambda reads: are_off(reads, project_id))
            if is_wanted:
                await self._checkpoints.take(self._thread_id, turn_id=turn_id, phase=phase)
            self._failures = 0
            return is_wanted
        except (GitError, Rejected, StorageError, OSError) as error:
            if isinstance(error, GitError) and error.kind in ("noRepository", "onlyInMemory"):
                return False
            log.warning("no checkpoint of thread %s: %s", self._thread_id, error)
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._failures = 0
                self._break_until = asyncio.get_running_loop().time() + BREAK
            return False


def restored_files(work: ThreadWork | None) -> list[Json]:
    """What the agent is told of files that were put back since its last turn, as content blocks."""
    restored = [] if work is None else work.restored
    paths = list(dict.fromkeys(path for one in restored for path in (*one.written, *one.removed)))
    if not paths:
        return []
    lines = [f"- {path}" for path in paths[:MAX_NAMED]]
    if len(paths) > MAX_NAMED:
        lines.append(f"- and {len(paths) - MAX_NAMED} more")
    heading = "The user has put these files back to an earlier state. Read them again before you change them:"
    return [{"type": "text", "text": "\n".join([heading, *lines])}]
