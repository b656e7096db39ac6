"""Progress that the daemon initiates: LSP's `window/workDoneProgress/create`, then `$/progress`."""

import asyncio
import itertools
import logging
from collections.abc import Callable

from treadle.contract.methods import WORK_DONE_PROGRESS_CREATE
from treadle.contract.results import Progress, ProgressValue
from treadle.server.answers import PeerError
from treadle.server.peer import Peer

log = logging.getLogger(__name__)


class Waiting:
    """Shows progress while commands wait for another process that rebuilds the projections.

    notify: sends a notification.
    """

    def __init__(self, peer: Peer, notify: Callable[[str, object], None]) -> None:
        self._peer = peer
        self._notify = notify
        self._tokens = itertools.count(1)
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    def __call__(self, waits: bool) -> None:
        """Start or end the progress. waits: whether commands are waiting now."""
        if not waits:
            self._over.set()
        elif self._task is None or self._task.done():
            self._over.clear()
            self._task = asyncio.create_task(self._tell(f"treadle-{next(self._tokens)}"), name="progress")

    async def _tell(self, token: str) -> None:
        try:
            await self._peer.request(WORK_DONE_PROGRESS_CREATE, token)
        except PeerError as error:
            log.warning("cannot show progress: %s", error)
            return
        if self._over.is_set():
            return
        title = "Waiting for another process that rebuilds the projections"
        self._notify("$/progress", Progress(token, ProgressValue("begin", title=title)))
        await self._over.wait()
        self._notify("$/progress", Progress(token, ProgressValue("end")))

    async def close(self) -> None:
        """Stop reporting progress."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
