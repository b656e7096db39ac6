"""Rows of what is erased for good."""

import time
from collections.abc import Mapping
from typing import Any

import wire
from benchmarks.harness import Absent, Bench, Figure, ms, p50

EVENTS = 500  # in the thread that is erased


def secure_delete(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Streamed messages that end give up the pages of their parts, which are overwritten."""
    count = bench.sizes.batches * 500
    on: list[float] = []
    off: list[float] = []
    for n in bench.rounds():
        kinds = (("on", on), ("off", off))
        for kind, found in kinds if n % 2 else reversed(kinds):
            found.append(bench.worker("append", bench.folder(kind), bench.batches, count, 500, kind))
    ratios = [a / b for a, b in zip(on, off, strict=True)]
    return {"secure_delete": Figure(ratios, f"{p50(on):,.0f} events/s; without {p50(off):,.0f}")}


def erase(bench: Bench) -> Mapping[str, Figure | Absent]:
    """The daemon answers before the bytes are gone; how long those take is told beside it."""
    erased, deleted, gone = [], [], []
    with bench.serving(bench.copy(bench.large)) as daemon:
        for n in bench.rounds():
            for kind in ("EraseThread", "DeleteThread"):
                _long_thread(daemon, f"{kind}-{n}")
            deleted.append(_timed(daemon, "command/dispatch", type="DeleteThread", threadId=f"DeleteThread-{n}"))
            erased.append(_timed(daemon, "command/dispatch", type="EraseThread", threadId=f"EraseThread-{n}"))
            gone.append(_timed(daemon, "erasure/status", threadId=f"EraseThread-{n}", wait=True))
    beside = f"to delete one {ms(p50(deleted))}; until its bytes are gone and searched for {p50(gone):.1f} s"
    return {"erase": Figure([1000 * seconds for seconds in erased], beside)}


def _long_thread(daemon: wire.Daemon, id: str) -> None:
    project = daemon.result("project/list", {"limit": 1})["items"][0]["id"]
    commands: list[dict[str, Any]] = [
        {"type": "CreateThread", "threadId": id, "projectId": project, "title": id},
        {"type": "StartTurn", "threadId": id, "id": "u"},
    ]
    commands += [
        {
            "type": "AddMessage",
            "threadId": id,
            "turnId": "u",
            "role": "assistant",
            "text": f"{id}: answer {n}",
        }
        for n in range(EVENTS)
    ]
    commands.append({"type": "CompleteTurn", "threadId": id, "id": "u", "stopReason": "end_turn"})
    daemon.result("command/dispatchBatch", {"commands": commands})


def _timed(daemon: wire.Daemon, method: str, **params: Any) -> float:
    began = time.perf_counter()
    daemon.result(method, params)
    return time.perf_counter() - began
