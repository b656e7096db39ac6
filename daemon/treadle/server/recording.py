"""The process that puts the recording of `treadle acp` into the log, while it is made.

Whatever the database does, the files of the recording stay until all of it is in the log. If that takes longer than
LAST seconds after the end of the session, the next daemon or the next `treadle acp` imports them.
"""

import asyncio
import logging
import os
from pathlib import Path

from treadle.core.engine import Overloaded
from treadle.recorder.left import import_left
from treadle.recorder.recorder import Recorder
from treadle.recorder.spool import SpoolReader, hold
from treadle.server.services import Services, open_store
from treadle.store.errors import StorageError

log = logging.getLogger(__name__)

LAST = 10.0  # seconds after the end of the session
RETRY = 1.0  # seconds until a database that failed is opened again
LINGER = 0.05  # seconds that a delta may wait to be merged


async def record(folder: Path, about: dict[str, str | None], data_dir: Path, woken: int) -> None:
    """Record into the data directory what comes into this folder. woken: see launch."""
    more = _More(woken)
    if not await more.wait() and not more.begun:
        return
    recording = asyncio.create_task(_record(folder, about, data_dir, more))
    ended = asyncio.create_task(more.ended.wait())
    await asyncio.wait([recording, ended], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait([recording], timeout=LAST)
    if not recording.done():
        log.warning("the recording %s is not in the log yet, the next daemon will import it", folder.name)
        os._exit(0)  # its lock tells others that it is gone
    recording.result()


async def _record(folder: Path, about: dict[str, str | None], data_dir: Path, more: "_More") -> None:
    failure = ""
    lock: int | None = None
    spool: SpoolReader | None = None
    while True:
        try:
            lock = hold(folder, about) if lock is None else lock
            spool = spool or SpoolReader(folder)
            await _into_log(spool, data_dir, folder.parent, more)
            spool.delete()
            return
        except (StorageError, Overloaded, OSError) as error:
            if str(error) != failure:  # once, not every second
                log.warning("failed to record, will retry: %s", error)
            failure = str(error)
        await asyncio.sleep(RETRY)


async def _into_log(spool: SpoolReader, data_dir: Path, recordings: Path, more: "_More") -> None:
    store = await open_store(data_dir)
    services = Services(store, data_dir, linger=LINGER, agents_files=tuple, runs_agents=False)
    left: asyncio.Task[None] | None = None
    try:
        await services.start()
        left = asyncio.create_task(import_left(store, services.engine, recordings))
        await Recorder(store, services.engine, spool, more.wait, live=True).run()
        await left
    finally:
        if left is not None:
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        await services.close()


class _More:
    """Whether there is more to record, as the other process says through a descriptor. begun: there is something."""

    def __init__(self, woken: int) -> None:
        self._woken = woken
        self._changed = asyncio.Event()
        self.begun, self.ended = False, asyncio.Event()
        os.set_blocking(woken, False)
        asyncio.get_running_loop().add_reader(woken, self._read)

    async def wait(self) -> bool:
        """Wait until there is more; False if that was all."""
        if not self.ended.is_set():
            await self._changed.wait()
        self._changed.clear()
        return not self.ended.is_set()

    def _read(self) -> None:
        if os.read(self._woken, 65_536):
            self.begun = True
        else:
            asyncio.get_running_loop().remove_reader(self._woken)
            self.ended.set()
        self._changed.set()
