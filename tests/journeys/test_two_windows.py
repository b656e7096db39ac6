"""Two windows: two editors on one data directory, each with its own daemon. Each sees what the other does."""

from pathlib import Path

from treadle.client import connect
from treadle.domain import commands as c


async def test_two_windows_show_the_same_thread(tmp_path: Path) -> None:
    async with connect(tmp_path / "data") as left, connect(tmp_path / "data") as right:
        await left.dispatch(c.CreateProject(id="p", name="Shop", path="/work/shop"))
        await left.dispatch(c.CreateThread(thread_id="t", project_id="p", title="Checkout"))
        shown = {
            "left": await left.subscribe("thread", thread_id="t"),
            "right": await right.subscribe("thread", thread_id="t"),
        }

        # The left window asks, and the right window stops the turn.
        await left.dispatch(c.StartTurn(thread_id="t", id="turn", prompt="Rewrite everything", message_id="prompt"))
        stopped = await right.dispatch(c.InterruptTurn(thread_id="t"))
        for window in shown.values():
            while window.replica.sequence < stopped.events[-1].sequence:
                await window.next()
        assert shown["left"].replica.entities == shown["right"].replica.entities
        assert shown["left"].replica.entities["turn"]["turn"]["status"] == "interrupted"

        # One window closes. The other one keeps working.
        assert await left.end() == 0
        await right.dispatch(c.RenameThread(thread_id="t", title="Checkout, later"))
        [thread] = (await right.thread_list()).items
        assert thread.title == "Checkout, later"
