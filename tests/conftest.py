"""Fixtures that several tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support import opened
from treadle.engine import Engine
from treadle.store.store import Store


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
async def store(data_dir: Path) -> AsyncIterator[Store]:
    """An open store on an empty log."""
    async with opened(data_dir) as store:
        yield store


@pytest.fixture
async def engine(store: Store) -> AsyncIterator[Engine]:
    """An engine that takes commands, and does not linger."""
    engine = Engine(store, linger=0)
    engine.start()
    yield engine
    await engine.stop()
