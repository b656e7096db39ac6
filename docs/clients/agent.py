"""Simulates an agent: answers the running turn word by word, and completes it.

Takes a data directory as its argument; the default is the user's data directory.
"""

import asyncio
import re
import sys
from pathlib import Path

from platformdirs import user_data_path

from treadle.client import connect

ANSWER = "I looked at it. 🧵 The helper tries three times,\nand its tests pass."


async def main(data_dir: Path) -> None:
    async with connect(data_dir) as client:

        async def dispatch(type: str, **fields: object) -> None:
            await client.call("command/dispatch", {"type": type, "threadId": thread["id"], **fields})

        threads = (await client.call("thread/list"))["items"]
        thread = next((one for one in threads if one["status"] == "running"), None)
        if thread is None:
            sys.exit("no turn is running: send a prompt first")
        [turn] = (await client.call("turn/list", {"threadId": thread["id"], "limit": 1}))["items"]
        message = f"answer-{turn['id']}"
        await dispatch("AddMessage", id=message, turnId=turn["id"], role="assistant", text="", streaming=True)
        for word in re.findall(r"\S+\s*", ANSWER):
            await asyncio.sleep(0.1)
            await dispatch("AppendMessage", id=message, text=word)
        await dispatch("RecordActivity", turnId=turn["id"], kind="tool_call", title="pytest", status="completed")
        await dispatch("CompleteTurn", id=turn["id"], stopReason="end_turn")


asyncio.run(main(Path(sys.argv[1]) if sys.argv[1:] else user_data_path("treadle", appauthor=False)))
