"""The part of an open data directory that makes it a replica of a shared log."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from treadle.contract.shared_log import SharedLogStatus
from treadle.domain.ids import Durability
from treadle.store.errors import translated
from treadle.store.shared.config import read_config
from treadle.store.shared.follower import Follower, lessee
from treadle.store.shared.link import LONGEST, Link
from treadle.store.shared.remote import RemoteLog
from treadle.store.shared.shared_log import SharedLog
from treadle.store.shared.status import read_status
from treadle.store.sqlite.database import SqliteConnection

T = TypeVar("T")

IDLE = 60.0  # seconds after which the unused connection for appends is closed


class Sharing:
    """follower: pulls what others append, once it is started."""

    def __init__(
        self,
        data_dir: Path,
        durability: Durability,
        writer: SqliteConnection,
        machine_id: str,
    ) -> None:
        self._data_dir, self._config = data_dir, read_config(data_dir)
        self._writer = writer
        self._link = Link(self._config, durability)
        machine = lessee(data_dir, machine_id, writer.inode[1])
        self.follower = Follower(data_dir, self._config, machine, self._write, self._link.suspect)
        self._idle = asyncio.get_running_loop().call_later(IDLE, self._drop)
        self._dropping: asyncio.Future[None] | None = None

    async def write(self, function: Callable[[SharedLog], T]) -> T:
        """Run `function` on the one thread that may write; return its result."""
        self._idle.cancel()
        try:
            return await self._write(function)
        finally:
            self.follower.wake()
            self._idle = asyncio.get_running_loop().call_later(IDLE, self._drop)

    async def _write(self, function: Callable[[SharedLog], T]) -> T:
        in_place = self._writer.require_in_place

        def run(connection: sqlite3.Connection) -> T:
            return function(SharedLog(connection, in_place, self._link))

        # A server may take an append and never answer, because it waits for its standby.
        timer = asyncio.get_running_loop().call_later(LONGEST, self._link.cut)
        try:
            with translated():
                return await self._writer.call(run)
        finally:
            timer.cancel()

    async def pull_all(self, remote: RemoteLog, progress: Callable[[int], None]) -> int:
        """Pull what is in the log, before anything follows it; return the sequence of the last event."""
        place = await self._write(SharedLog.place)
        while page := await asyncio.to_thread(remote.pull, self._config.log_id, place.sequence, place.mark):
            place = await self._write(lambda log, page=page: log.follow(page))  # type: ignore[misc]
            progress(place.sequence)
        return place.sequence

    @property
    def login(self) -> str | None:
        """The login that appends here; None before the first connection."""
        return self._link.login

    @property
    def status(self) -> SharedLogStatus:
        """The state of the log, as the process of this machine knows it that follows it."""
        return self.follower.status if self.follower.is_following else read_status(self._data_dir, self._config)

    def _drop(self) -> None:
        """Close the connection for appends: the server may have few."""
        self._dropping = asyncio.ensure_future(self._writer.call(lambda _: self._link.drop()))

    async def close(self) -> None:
        """End the connections. What waits for an answer fails."""
        self._idle.cancel()
        self._link.close()
        await self.follower.close()
        with contextlib.suppress(ValueError):  # the database was closed before
            await self._writer.call(lambda _: self._link.drop())
