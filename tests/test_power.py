"""A power failure at any moment loses nothing that was acknowledged."""

import random
from pathlib import Path
from typing import get_args

import pytest

from power import Disk, Variant, lost_in, requests, traced_run
from support import needs
from treadle.store.sqlite.store import Store


@needs("strace")
@pytest.mark.parametrize("seed", [1])
async def test_everything_acknowledged_survives_a_power_failure_at_any_moment(tmp_path: Path, seed: int) -> None:
    data_dir = tmp_path / "data"
    events = await traced_run(data_dir, requests(120), tmp_path / "strace.log")
    chance = random.Random(seed)
    disk, image = Disk(data_dir), tmp_path / "image"
    answers = checked = 0
    for event in events:
        before = len(disk.answered)
        disk.take(event)
        answers += len(disk.answered) > before
        if chance.random() < (0.5 if len(disk.answered) > before else 0.01):
            variant = chance.choice(get_args(Variant))
            disk.image(image, variant, chance)
            assert lost_in(image, disk.answered) == [], (variant, event.kind, event.path)
            checked += 1
    assert answers > 30
    assert checked > 50
    assert any(e.kind == "write" and e.path.endswith("treadle.db") for e in events), "no checkpoint was in it"
    disk.image(image, "synced", chance)
    store = await Store.open(image)  # and treadle itself starts on what is left
    await store.close()
