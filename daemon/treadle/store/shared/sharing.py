"""The part of an open data directory that makes it a replica of a shared log."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from treadle.domain.ids import Durability
from treadle.store.errors import translated
from treadle.store.shared.config import read_config
from treadle.store.shared.follower import Follower
from treadle.store.shared.link import LONGEST, Link
from treadle.store.shared.shared_log import SharedLog
from treadle.store.sqlite.database import SqliteConnection

T = TypeVar("T")


class Sharing:
    """follower: pulls what others append, once it is started."""

    def __init__(
        self,
        data_dir: Path,
        durability: Durability,
        writer: SqliteConnection,
        machine_id: str,
    ) -> None:
        config = read_config(data_dir)
        self._writer = writer
        self._link = Link(config, durability)
        self.follower = Follower(data_dir, config, machine_id, writer.inode[1], self._write)

    async def write(self, function: Callable[[SharedLog], T]) -> T:
        """Run `function` on the one thread that may write; return its result."""
        try:
            return await self._write(function)
        finally:
            self.follower.wake()

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

    @property
    def login(self) -> str | None:
        """The login that appends here; None before the first connection."""
        return self._link.login

    async def close(self) -> None:
        """End the connections. What waits for an answer fails."""
        self._link.close()
        await self.follower.close()
        with contextlib.suppress(ValueError):  # the database was closed before
            await self._writer.call(lambda _: self._link.drop())
