"""A search: a few words are enough to find what was said weeks ago in some thread."""

from pathlib import Path

from treadle.client import connect
from treadle.domain import commands as c


async def test_searching_for_words_of_a_message_finds_its_thread(tmp_path: Path) -> None:
    async with connect(tmp_path / "data") as client:
        await client.dispatch(c.CreateProject(id="p", name="Shop", path="/work/shop"))
        for thread, prompt in (("t1", "Why is the checkout slow?"), ("t2", "Add a retry to the payment client")):
            await client.dispatch(c.CreateThread(thread_id=thread, project_id="p", title=f"Thread {thread}"))
            await client.dispatch(c.StartTurn(thread_id=thread, id="turn", prompt=prompt, message_id="prompt"))
            await client.dispatch(c.CompleteTurn(thread_id=thread, id="turn", stop_reason="end_turn"))

        found = await client.search_query(query="retry payment")
        assert [hit.thread_id for hit in found.items] == ["t2"]
        assert "payment" in found.items[0].snippet

        # A deleted thread is not found.
        await client.dispatch(c.DeleteThread(thread_id="t2"))
        assert (await client.search_query(query="retry payment")).items == []
