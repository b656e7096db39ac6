"""Measures inside its own process: python tests/benchmarks/worker.py WHAT … prints JSON.

replay DIR COUNT: events/s when reading and decoding the first COUNT events of the log, and rows/s of plain sqlite3,
alternately.
rebuild DIR: events/s of a rebuild.
append DIR BATCHES: events/s of appending and projecting, 500 events at a time.
echo: measures nothing: a stock pygls server that answers with the params that it was sent.
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
    import msgspec

    from treadle.domain.events import StoredEvent
    from treadle.store.sqlite.store import Store

    async def ours() -> float:
        began, after = time.perf_counter(), 0
        while after < count:
            page, _ = await store.read(lambda reads, after=after: reads.events(None, after, 1_000))  # type: ignore[misc]
            after += len([msgspec.json.decode(event, type=StoredEvent) for event in page])
        return after / (time.perf_counter() - began)

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


async def append(data_dir: Path, batches: int) -> float:
    from treadle.domain import events as e
    from treadle.domain.events import AnyEvent
    from treadle.store.sqlite.store import Store

    at = "2026-01-01T08:00:00.000Z"

    def message(n: int) -> AnyEvent:
        return e.MessageAdded(
            id=f"message-{n}", thread_id="thread", turn_id="turn", role="assistant", text=TEXT, streaming=False, at=at
        )

    async def append_all(events: list[AnyEvent]) -> None:
        payloads = [e.encode(event) for event in events]
        assert await store.write(lambda log: log.append(log.sequence(), payloads, []))

    store = await Store.open(data_dir)
    await append_all(
        [
            e.ProjectCreated(id="project", name="p", path="/p", at=at),
            e.ThreadCreated(thread_id="thread", project_id="project", title="t", at=at),
            e.TurnStarted(id="turn", thread_id="thread", runner="gone", at=at),
        ]
    )
    all_of_them = [[message(b * BATCH + n) for n in range(BATCH)] for b in range(batches + 1)]
    await append_all(all_of_them.pop())
    began = time.perf_counter()
    for batch in all_of_them:
        await append_all(batch)
    elapsed = time.perf_counter() - began
    await store.close()
    return batches * BATCH / elapsed


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
        print(json.dumps(asyncio.run(append(Path(arguments[0]), int(arguments[1])))))


if __name__ == "__main__":
    sys.path.pop(0)
    main(*sys.argv[1:])
