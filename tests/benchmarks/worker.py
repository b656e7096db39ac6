"""What is measured inside one process: python tests/benchmarks/worker.py WHAT …, which prints JSON.

rebuild DIR: events/s of filling the tables anew.
append DIR EVENTS COUNT SIZE [off]: events/s of appending and projecting COUNT events of a file, SIZE at a time; off:
  without secure_delete.
echo: not a measure: a stock pygls server that answers with the params it was given.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

TEXT = "The delay doubles each time, so that a service which is down is not asked too often by all. "
BATCH = 500


async def rebuild(data_dir: Path) -> float:
    from treadle.store.sqlite.store import Store

    store = await Store.open(data_dir)
    began = time.perf_counter()
    count = await store.rebuild()
    elapsed = time.perf_counter() - began
    await store.close()
    return count / elapsed


async def append(data_dir: Path, path: Path, count: int, size: int, secure_delete: str) -> float:
    from treadle.domain.events import decode, encode
    from treadle.store.sqlite.store import Store

    async def append_all(start: int, end: int) -> None:
        payloads = [encode(event) for event in events[start:end]]
        assert await store.write(lambda log: log.append(log.sequence(), payloads, [])) is not None

    events = [decode(line) for line in path.read_bytes().splitlines()]
    store = await Store.open(data_dir)
    await store.writer.call(lambda db: db.execute(f"PRAGMA secure_delete = {secure_delete}").fetchone())
    await append_all(0, BATCH)
    began = time.perf_counter()
    for start in range(BATCH, BATCH + count, size):
        await append_all(start, start + size)
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
    elif what == "rebuild":
        print(json.dumps(asyncio.run(rebuild(Path(arguments[0])))))
    elif what == "append":
        data_dir, path, count, size, secure_delete = (*arguments, "on")[:5]
        print(json.dumps(asyncio.run(append(Path(data_dir), Path(path), int(count), int(size), secure_delete))))


if __name__ == "__main__":
    sys.path.pop(0)
    main(*sys.argv[1:])
