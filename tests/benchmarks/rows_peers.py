"""Rows that compare with similar programs: codex's app-server, and event stores on SQLite."""

import json
import shutil
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import floors, peers
from benchmarks.floors import BATCH
from benchmarks.harness import HERE, Absent, Bench, Figure, Pipe, mib, ms, p50, resident_bytes
from benchmarks.rows_reads import timed
from treadle.store.sqlite.projections import SEARCHES, TABLES

READ_MODEL = ("projection_threads", "projection_turns", "projection_messages")


def not_installed(*names: str) -> Absent:
    return Absent(f"not measured: {', '.join(names)} not installed (`make bench-peers`)")


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
        return dict.fromkeys(("codex: list", "codex: rename"), not_installed("codex"))
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


def append(bench: Bench) -> Mapping[str, Figure | Absent]:
    stores, missing = event_stores(bench.peers)
    count, single = BATCH * bench.sizes.batches, 5 * bench.sizes.batches
    rates: dict[str, list[float]] = defaultdict(list)

    def ours(data_dir: Path, count: int, size: int) -> float:
        return float(bench.worker("append", data_dir, bench.batches, count, size))

    def theirs(name: str, count: int, size: int, kind: str = "projected") -> float:
        database = bench.folder(name)
        with closing(floors.with_tables_of(data_dir, READ_MODEL, database)) as db:
            db.execute("ALTER TABLE projection_messages ADD COLUMN text TEXT")  # treadle reads it from the log
        command = [*stores[name], database, bench.batches, count, size, kind]
        return float(subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True).stdout)

    def floor() -> float:
        tables = ("events", *TABLES, *SEARCHES)
        seconds = list(floors.seconds_to_write(data_dir, tables, bench.folder("floor"), BATCH, commits=True))
        return count / sum(seconds[1:])

    for _ in bench.rounds():
        data_dir = bench.folder("append")
        rates["treadle"].append(ours(data_dir, count, BATCH))
        rates["plain sqlite3"].append(floor())
        for name in stores:
            rates[name].append(theirs(name, count, BATCH))
            rates[f"{name} without tables"].append(theirs(name, count, BATCH, "bare"))
            rates[f"{name} one at a time"].append(theirs(name, single, 1))
        rates["treadle one at a time"].append(ours(bench.folder("append"), single, 1))

    def figure(*names: str) -> Figure:
        """Beside the fastest of these, round by round."""
        rounds = zip(*(rates[name] for name in ("treadle", *names)), strict=True)
        ratios = [mine / max(others) for mine, *others in rounds]
        shown = (name for name in rates if name.startswith(("treadle", *names)))
        return Figure(ratios, "events/s: " + ", ".join(f"{name} {p50(rates[name]):,.0f}" for name in shown))

    return {
        "append: floor": figure("plain sqlite3"),
        "append: peers": not_installed(*missing) if missing else figure(*stores),
    }


def event_stores(folder: Path) -> tuple[dict[str, list[str | Path]], list[str]]:
    """The commands that measure the event stores which are installed, and the names of those which are not."""
    python, emmett = peers.python_of_eventsourcing(folder), peers.emmett(folder)
    commands: dict[str, list[str | Path] | None] = {
        "eventsourcing": [python, HERE / "peer_eventsourcing.py"] if python.exists() else None,
        "emmett-sqlite": ["node", HERE / "peer_emmett.cjs", emmett] if emmett and shutil.which("node") else None,
    }
    return {name: c for name, c in commands.items() if c}, [name for name, c in commands.items() if not c]
