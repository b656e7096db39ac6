"""A crash: the daemon is killed while an answer streams. Nothing that was acknowledged is lost."""

import signal
from pathlib import Path

import pytest

from treadle.client import Disconnected, connect
from treadle.domain import commands as c


async def test_a_killed_daemon_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    async with connect(tmp_path / "data") as client:
        await client.dispatch(c.CreateProject(id="p", name="Shop", path="/work/shop"))
        await client.dispatch(c.CreateThread(thread_id="t", project_id="p", title="Checkout"))
        await client.dispatch(c.StartTurn(thread_id="t", id="turn", prompt="Why is it slow?", message_id="prompt"))
        await client.dispatch(
            c.AddMessage(thread_id="t", turn_id="turn", id="answer", role="assistant", text="", streaming=True)
        )
        for token in ("One", " query", " per"):
            await client.dispatch(c.AppendMessage(thread_id="t", id="answer", text=token))
        client.process.send_signal(signal.SIGKILL)
        with pytest.raises(Disconnected):
            await client.dispatch(c.AppendMessage(thread_id="t", id="answer", text=" item"))

    # The next daemon has every acknowledged token, and reports the turn as interrupted.
    async with connect(tmp_path / "data") as client:
        read = await client.thread_read(thread_id="t")
        assert [message.text for message in read.messages] == ["Why is it slow?", "One query per"]
        assert [message.status for message in read.messages] == ["complete", "complete"]
        assert [turn.status for turn in read.turns] == ["interrupted"]
        # The thread accepts the next prompt.
        await client.dispatch(c.StartTurn(thread_id="t", prompt="Once more, please"))
