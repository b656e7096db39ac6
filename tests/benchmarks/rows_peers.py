"""Rows that compare with similar programs: codex's app-server, and event stores on SQLite."""

import json
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.harness import HERE, Absent, Bench, Figure, Pipe, mib, ms, p50, resident_bytes
from benchmarks.rows_reads import timed

NOT_INSTALLED = Absent("not measured: the peer is not installed (`make bench-peers`)")


def rollouts(home: Path, count: int) -> str:
    """Fill a CODEX_HOME with this many sessions of three lines; return the id of the last one."""
    for n in range(count):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n)
        stamp, id = f"{at:%Y-%m-%dT%H:%M:%S}.000Z", str(uuid.UUID(int=(0x0190 << 112) | (7 << 76) | (2 << 62) | n))
        prompt = f"Do thing {n}"
        meta = {
            "id": id,
            "timestamp": stamp,
            "cwd": "/home/user/project",
            "originator": "codex_cli_rs",
            "cli_version": "0.100.0",
            "source": "cli",
            "model_provider": "openai",
        }
        payloads = {
            "session_meta": meta,
            "event_msg": {"type": "user_message", "message": prompt, "kind": "plain"},
            "response_item": {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": prompt}],
            },
        }
        folder = home / "sessions" / f"{at:%Y/%m/%d}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"timestamp": stamp, "type": t, "payload": p}) + "\n" for t, p in payloads.items())
        (folder / f"rollout-{at:%Y-%m-%dT%H-%M-%S}-{id}.jsonl").write_text("".join(lines))
    return id


class Codex(Pipe):
    """`codex app-server`, which also sends notifications between the answers."""

    def timed(self, method: str, params: Mapping[str, Any]) -> tuple[float, Any]:
        """Send a request; return the seconds until its answer, and the result."""
        frame = self.frame(json.dumps({"id": 1, "method": method, "params": params}).encode())
        began = time.perf_counter()
        self.send(frame)
        while True:
            line = self.receive()
            elapsed = time.perf_counter() - began
            assert line, "codex has ended"
            answer = json.loads(line)
            if "id" in answer and "method" not in answer:
                assert "result" in answer, answer
                return elapsed, answer["result"]


@contextmanager
def codex_serving(binary: Path, home: Path) -> Iterator[tuple[Codex, float]]:
    """Start the server; yield it, and the seconds from its spawn to its first answer."""
    began = time.perf_counter()
    with Codex([binary, "app-server"], env={"CODEX_HOME": str(home)}, quiet=True) as server:
        server.timed("initialize", {"clientInfo": {"name": "bench", "title": "bench", "version": "1"}})
        started = time.perf_counter() - began
        server.send(server.frame(b'{"method":"initialized"}'))
        yield server, started


def codex(bench: Bench) -> Mapping[str, Figure | Absent]:
    binary, count = peers.codex(bench.peers), bench.sizes.peer_threads
    if binary is None:
        return {"codex: list": NOT_INSTALLED, "codex: rename": NOT_INSTALLED}
    home = bench.folder("codex")
    last = rollouts(home, count)
    lists: list[tuple[float, float]] = []
    renames: list[tuple[float, float]] = []
    params = {"limit": 25}
    with codex_serving(binary, home) as (peer, started), bench.serving(bench.short(count)) as daemon:
        for _ in range(2):  # the first call reads the files
            assert len(peer.timed("thread/list", params)[1]["data"]) == 25
        thread = daemon.result("thread/list", params)["items"][0]["id"]
        for round in bench.rounds():
            both = [
                (peer.timed("thread/list", params)[0], timed(daemon, "thread/list", params))
                for _ in range(bench.sizes.calls // 2)
            ]
            lists.append((p50([a for a, _ in both]), p50([b for _, b in both])))
            both = []
            for n in range(bench.sizes.calls // 2):
                title = f"name {round} {n}"
                theirs = peer.timed("thread/name/set", {"threadId": last, "name": title})[0]
                command = {"type": "RenameThread", "threadId": thread, "title": title}
                both.append((theirs, timed(daemon, "command/dispatch", command)))
            renames.append((p50([a for a, _ in both]), p50([b for _, b in both])))
        resident = resident_bytes(peer.process.pid)

    def figure(pairs: list[tuple[float, float]], more: str = "") -> Figure:
        theirs, ours = p50([a for a, _ in pairs]), p50([b for _, b in pairs])
        return Figure([a / b for a, b in pairs], f"codex {ms(theirs)}, treadle {ms(ours)}{more}")

    also = f"; codex's first start with these files takes {ms(started)}, and the process {mib(resident)}"
    return {"codex: list": figure(lists, also), "codex: rename": figure(renames)}


def eventsourcing(bench: Bench) -> Mapping[str, Figure | Absent]:
    python, batches = peers.python_of_eventsourcing(bench.peers), bench.sizes.batches
    if not python.exists():
        return {"eventsourcing": NOT_INSTALLED}

    def rate(*command: object) -> float:
        return float(subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True).stdout)

    def theirs(batches: int, size: int) -> float:
        return rate(python, HERE / "peer_eventsourcing.py", bench.folder("eventsourcing"), batches, size)

    pairs = [(bench.worker("append", bench.folder("append"), batches), theirs(batches, 500)) for _ in bench.rounds()]
    beside = f"{p50([a for a, _ in pairs]):,.0f} events/s; eventsourcing {p50([b for _, b in pairs]):,.0f}"
    beside += f", one a save {theirs(batches * 5, 1):,.0f}"
    if (folder := peers.emmett(bench.peers)) is not None:
        script = HERE / "peer_emmett.cjs"

        def emmett(batches: int, size: int) -> float:
            return rate("node", script, folder, bench.folder("emmett"), batches, size)

        beside += f"; emmett-sqlite {emmett(batches, 500):,.0f}, one an append {emmett(batches * 5, 1):,.0f}"
    return {"eventsourcing": Figure([a / b for a, b in pairs], beside)}
