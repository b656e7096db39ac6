"""A power cut at any moment: what was answered before it is there after it."""

import json
import random
from pathlib import Path
from typing import get_args

import pytest

from power import Disk, Variant, lost_in, traced_run
from support import needs
from treadle.store.sqlite.store import Store


def requests(messages: int) -> list[bytes]:
    """A session whose write-ahead log is long enough to be checkpointed on the way."""
    work = [
        ("initialize", {}),
        ("command/dispatch", {"type": "CreateProject", "id": "p", "name": "p", "path": "/p"}),
        ("command/dispatch", {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": "t"}),
        ("command/dispatch", {"type": "StartTurn", "threadId": "t", "id": "u", "prompt": "go"}),
    ]
    for i in range(messages):
        fields = {"threadId": "t", "turnId": "u", "role": "assistant", "text": f"{i} " * 6_000}
        work.append(("command/dispatch", {"type": "AddMessage", "commandId": f"c{i}", **fields}))
        work.append(("setting/list", {}))  # a read waits for the commands before it: many commits, not one
    return [
        json.dumps({"jsonrpc": "2.0", "id": i, "method": method, "params": params}).encode() + b"\n"
        for i, (method, params) in enumerate(work)
    ]


@needs("strace")
@pytest.mark.parametrize("seed", [1])
async def test_after_a_power_cut_at_any_moment_everything_answered_is_there(tmp_path: Path, seed: int) -> None:
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
