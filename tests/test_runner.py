"""What agents do, and what treadle makes of it: seen from outside, with a daemon and an agent that does what it is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import Runs, running


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A daemon that most tests share; each has a thread and an agent of its own."""
    with running(tmp_path_factory.mktemp("runs")) as found:
        yield found


def test_chunks_are_stored_in_the_order_of_the_wire(runs: Runs) -> None:
    thread = runs.thread("flood")
    turn = thread.answer("script=flood")
    assert turn["status"] == "completed"
    assert thread.text_of(turn["id"]) == "".join(f"{number} " for number in range(5_000))
