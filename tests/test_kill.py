"""SIGKILL at random moments: nothing acknowledged is lost, nothing is half done, nothing says «running» for ever."""

from pathlib import Path

import pytest

from crash_driver import Driver

KILLS = 15


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_moment_of_a_kill_what_was_acknowledged_is_there(tmp_path: Path, seed: int) -> None:
    driver = Driver(tmp_path / "data", seed)
    report = await driver.run(KILLS)
    assert report.problems == []
    assert report.kills.total() == KILLS
    assert report.acknowledged > 0
