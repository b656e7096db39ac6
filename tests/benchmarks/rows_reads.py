"""Rows of what is read: over a pipe, and the log itself."""

import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing

import wire
from benchmarks import floors
from benchmarks.harness import HERE, Absent, Bench, Figure, Pipe, ms, p50, percentile, request, serve
from benchmarks.worker import TEXT
from treadle.store.sqlite.projections import SEARCHES, SLICE, TABLES


def read(bench: Bench) -> Mapping[str, Figure | Absent]:
    count, ours, theirs = bench.sizes.echoes, [], []
    with serve(bench.folder("settings"), headers=True) as daemon:
        for n in range(3):
            daemon.call("command/dispatch", type="ChangeSetting", key=f"key-{n}", value={"text": TEXT})
        lists = b"".join(daemon.frame(request(n, "setting/list")) for n in range(count))
        echoes = b"".join(
            daemon.frame(
                request(n, "bench/echo", items=[{"key": f"key-{k}", "value": {"text": TEXT}} for k in range(3)])
            )
            for n in range(count)
        )
        for _ in bench.rounds():
            ours.append(count / daemon.pour(lists, count))
            with Pipe([sys.executable, HERE / "worker.py", "echo"], headers=True) as stock:
                stock.call("bench/echo", items=[])
                theirs.append(count / stock.pour(echoes, count))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"read": Figure(ratios, f"{p50(ours):,.0f} lists/s; stock pygls {p50(theirs):,.0f} echoes/s")}


def timed(daemon: wire.Daemon, method: str, params: Mapping[str, object]) -> float:
    """The seconds that a read takes, until its last byte is here."""
    began = time.perf_counter()
    daemon.send({"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
    body = daemon.body()
    elapsed = time.perf_counter() - began
    assert b'"error":{' not in body, body
    return elapsed


def list_with_history(bench: Bench) -> Mapping[str, Figure | Absent]:
    sizes, many, few = bench.sizes, [], []
    params = {"limit": 50}
    with bench.serving(bench.large) as large, bench.serving(bench.short(sizes.few_threads)) as small:
        for daemon in (large, small):
            timed(daemon, "thread/list", params)
        for _ in bench.rounds():
            pairs = [
                (timed(large, "thread/list", params), timed(small, "thread/list", params)) for _ in range(sizes.calls)
            ]
            many.append(percentile([a for a, _ in pairs], 95))
            few.append(percentile([b for _, b in pairs], 95))
    ratios = [a / b for a, b in zip(many, few, strict=True)]
    beside = f"p95 {ms(p50(many))} of {sizes.threads:,} threads; {ms(p50(few))} of {sizes.few_threads:,}"
    return {"list with history": Figure(ratios, beside)}


def read_with_history(bench: Bench) -> Mapping[str, Figure | Absent]:
    sizes, long, short = bench.sizes, [], []

    def read(thread: str) -> float:
        return timed(daemon, "thread/read", {"threadId": thread, "turnLimit": 20})

    with bench.serving(bench.conversations) as daemon:
        read("long")
        read("short")
        for _ in bench.rounds():
            pairs = [(read("long"), read("short")) for _ in range(sizes.calls)]
            long.append(p50([a for a, _ in pairs]))
            short.append(p50([b for _, b in pairs]))
    ratios = [a / b for a, b in zip(long, short, strict=True)]
    beside = f"{ms(p50(long))} of {sizes.turns:,} turns; {ms(p50(short))} of 20; the last 20 turns of each"
    return {"read with history": Figure(ratios, beside)}


def replay(bench: Bench) -> Mapping[str, Figure | Absent]:
    count, page = bench.sizes.replayed, 500
    pages = range(0, count, page)

    def plain() -> float:
        with closing(sqlite3.connect(bench.large / "treadle.db")) as db:
            began = time.perf_counter()
            rows = db.execute("SELECT sequence, payload FROM events ORDER BY sequence LIMIT ?", (count,)).fetchall()
            elapsed = time.perf_counter() - began
        assert len(rows) == count
        return count / elapsed

    listed, selected = [], []
    with serve(bench.large) as daemon:
        asked = b"".join(request(n, "event/list", afterSequence=n, limit=page) + b"\n" for n in pages)
        daemon.call("event/list", limit=page)
        plain()
        for _ in bench.rounds():
            listed.append(count / daemon.pour(asked, len(pages)))
            selected.append(plain())
    ratios = [a / b for a, b in zip(listed, selected, strict=True)]
    beside = f"{p50(listed):,.0f} events/s in pages of {page}; plain SELECT {p50(selected):,.0f} rows/s"
    return {"replay over the pipe": Figure(ratios, beside)}


def rebuild(bench: Bench) -> Mapping[str, Figure | Absent]:
    data_dir = bench.copy(bench.large)
    ours, plain = [], []
    for _ in bench.rounds()[:3]:  # each takes long enough to be steady
        ours.append(bench.worker("rebuild", data_dir))
        seconds = floors.seconds_to_write(data_dir, (*TABLES, *SEARCHES), bench.folder("rebuild"), SLICE, commits=False)
        plain.append(bench.sizes.events / sum(seconds))
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    return {"rebuild": Figure(ratios, f"{p50(ours):,.0f} events/s; plain sqlite3 those of {p50(plain):,.0f}")}
