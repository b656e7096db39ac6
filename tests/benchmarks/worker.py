"""What is measured inside one process: python tests/benchmarks/worker.py WHAT …, which prints JSON.

replay DIR COUNT: events/s of EventStore.replay_all and of plain sqlite3, of the first COUNT events, in turn.
rebuild DIR: events/s of filling the tables anew.
append DIR EVENTS COUNT SIZE: events/s of appending and projecting COUNT events of a file, SIZE at a time.
echo: not a measure: a stock pygls server that answers with the params it was given.
"""

import asyncio
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

TEXT = "The delay doubles each time, so that a service which is down is not asked too often by all. "
BATCH = 500


async def replay(data_dir: Path, count: int, rounds: int) -> list[tuple[float, float]]:
    from treadle.store.sqlite.store import Store

    async def ours() -> float:
        began, seen = time.perf_counter(), 0
        async for _ in store.events.replay_all():
            seen += 1
            if seen == count:
                break
        return count / (time.perf_counter() - began)

    def plain() -> float:
        with closing(sqlite3.connect(data_dir / "treadle.db")) as db:
            began = time.perf_counter()
            rows = db.execute("SELECT sequence, payload FROM events ORDER BY sequence LIMIT ?", (count,)).fetchall()
            elapsed = time.perf_counter() - began
        assert len(rows) == count
        return count / elapsed

    store = await Store.open(data_dir)
    plain()
    pairs = [(await ours(), plain()) for _ in range(rounds)]
    await store.close()
    return pairs


async def rebuild(data_dir: Path) -> float:
    from treadle.store.sqlite.store import Store

    store = await Store.open(data_dir)
    began = time.perf_counter()
    count = await store.rebuild()
    elapsed = time.perf_counter() - began
    await store.close()
    return count / elapsed


async def append(data_dir: Path, path: Path, count: int, size: int) -> float:
    from treadle.domain.events import decode
    from treadle.store.sqlite.store import Store

    events = [decode(line) for line in path.read_bytes().splitlines()]
    store = await Store.open(data_dir)
    await store.events.append_all(events[:BATCH])
    began = time.perf_counter()
    for start in range(BATCH, BATCH + count, size):
        await store.events.append_all(events[start : start + size])
    elapsed = time.perf_counter() - began
    await store.close()
    return count / elapsed


def echo() -> None:
    from pygls.lsp.server import LanguageServer

    server = LanguageServer("echo", "1")

    @server.feature("bench/echo")
    def answer(params: Any) -> Any:
        return params

    server.start_io()


def main(what: str, *arguments: str) -> None:
    if what == "echo":
        echo()
    elif what == "replay":
        print(json.dumps(asyncio.run(replay(Path(arguments[0]), int(arguments[1]), int(arguments[2])))))
    elif what == "rebuild":
        print(json.dumps(asyncio.run(rebuild(Path(arguments[0])))))
    elif what == "append":
        data_dir, path, count, size = arguments
        print(json.dumps(asyncio.run(append(Path(data_dir), Path(path), int(count), int(size)))))


if __name__ == "__main__":
    sys.path.pop(0)
    main(*sys.argv[1:])
