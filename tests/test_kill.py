"""SIGKILL at random moments: nothing acknowledged is lost, nothing is left half done or running."""

from pathlib import Path

import pytest

from crash_driver import Driver

KILLS = 15


@pytest.mark.parametrize("seed", range(2))
async def test_everything_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path, seed: int) -> None:
    driver = Driver(tmp_path / "data", seed)
    report = await driver.run(KILLS)
    assert report.problems == []
    assert report.kills.total() == KILLS
    assert report.acknowledged > 0
