"""Which writes of the WAL file make the daemon look for what other processes appended."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support import PATIENCE
from treadle.publish.watch import WAL, Watch


class Watched:
    """A watched folder. looks: how often `changed` was called. is_appending: what the watch is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looks = 0
        self.is_appending = False
        self.watch = Watch(folder, self._looked, lambda: self.is_appending, look_again=(0, 0, 0), look_after_own=(0,))

    def _looked(self) -> None:
        self.looks += 1

    def write(self, name: str = WAL) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(b"a page")

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            for _ in iter(condition, True):
                await asyncio.sleep(0)

    async def settled(self) -> None:
        """Return when every look that was scheduled has been taken."""
        loop = asyncio.get_running_loop()
        await self.until(lambda: all(look.cancelled() or look.when() < loop.time() for look in self.watch._looks))
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    (tmp_path / WAL).touch()
    watched = Watched(tmp_path)
    watched.watch.start()
    yield watched
    watched.watch.stop()


async def test_a_write_by_another_process_is_checked_at_once_and_after_its_fsync(watched: Watched) -> None:
    watched.write()
    await watched.until(lambda: watched.looks == 4)


async def test_an_append_by_this_process_causes_one_check(watched: Watched) -> None:
    watched.is_appending = True
    watched.write()
    await watched.until(lambda: bool(watched.watch._looks))
    await watched.settled()
    assert watched.looks == 0
    watched.is_appending = False
    watched.watch.appended()
    await watched.settled()
    assert watched.looks == 1


async def test_a_wal_checkpoint_is_not_taken_for_an_append(watched: Watched) -> None:
    watched.write("treadle.db")
    for _ in range(3):  # the loop polls inotify each time, and the event is there when the write returns
        await asyncio.sleep(0)
    assert (watched.looks, watched.watch._looks) == (0, [])
    watched.write()
    await watched.until(lambda: watched.looks == 4)
