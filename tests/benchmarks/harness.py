"""What all measurements use: sizes, clocks, pipes, and the figures that result from pairs of values."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import wire
from benchmarks.history import batches, conversations, fill, history
from treadle.domain.events import encode

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / ".bench"  # not in /tmp, which may be in memory, where a sync costs nothing
SERVE = (sys.executable, "-m", "treadle", "serve", "--durability", "full")
IMPORTS = "import asyncio, aiosqlite, msgspec"


@dataclass(frozen=True)
class Sizes:
    """How much is measured. rounds: pairs per row. The others: the number of each per round."""

    rounds: int = 5
    pipelined: int = 10_000
    one_by_one: int = 200
    echoes: int = 1_500
    starts: int = 5  # per round
    calls: int = 100
    batches: int = 40
    events: int = 1_000_000
    threads: int = 50_000
    few_threads: int = 100
    peer_threads: int = 5_000
    turns: int = 2_000
    replayed: int = 100_000
    deltas: int = 50_000
    first_deltas: int = 1_000
    streamed: int = 10_000
    tool_results: int = 3_000
    live: int = 60
    fan_out: int = 400
    chunks: int = 300
    first_chunks: int = 20
    files: int = 3_000
    many_files: int = 100_000
    checkpoints: int = 20
    subscriptions: int = 50
    idle_seconds: float = 18.0
    imported: float = 100  # MB
    machines: int = 8
    shared_seconds: float = 2.0  # of each measurement with 8 machines


QUICK = Sizes(
    rounds=1,
    pipelined=200,
    one_by_one=5,
    echoes=20,
    starts=1,
    calls=5,
    batches=1,
    events=3_000,
    threads=150,
    few_threads=10,
    peer_threads=50,
    turns=30,
    replayed=2_000,
    deltas=300,
    first_deltas=100,
    streamed=60,
    tool_results=20,
    live=3,
    fan_out=5,
    chunks=5,
    first_chunks=2,
    files=30,
    many_files=100,
    checkpoints=2,
    subscriptions=5,
    idle_seconds=0.5,
    imported=0.5,
    machines=2,
    shared_seconds=0.05,
)


@dataclass(frozen=True)
class Figure:
    """A measured row. values: one per pair. beside: the absolute figures behind them, in words."""

    values: Sequence[float]
    beside: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Absent:
    """A row that could not be measured, and why."""

    why: str


Measure = Callable[["Bench"], Mapping[str, Figure | Absent]]
"""Measures one row, or several that belong together; returns them by name."""


@dataclass(frozen=True)
class Row:
    """The definition of a row. reach: the required value. better: whether values must be at least or at most that."""

    name: str
    measured_as: str
    better: Literal["≥", "≤"]
    reach: float
    aim: float
    measure: Measure
    unit: str = ""

    def reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.better == "≥" else value <= bound

    def share(self, value: float, bound: float | None = None) -> float:
        """The value as a share of the required value, or of another bound: 1 or more reaches it."""
        bound = self.reach if bound is None else bound
        return value / bound if self.better == "≥" else bound / max(value, bound / 1000)


@dataclass
class Bench:
    """One run. peers: the folder in which they are installed."""

    sizes: Sizes
    peers: Path
    work: Path
    _made: int = field(default=0)

    def folder(self, name: str) -> Path:
        """A path for a new folder, which does not exist yet."""
        self._made += 1
        return self.work / f"{self._made:03}-{name}"

    def rounds(self) -> range:
        return range(self.sizes.rounds)

    @cached_property
    def large(self) -> Path:
        """The data directory with the large history, which must not be changed."""
        data_dir = self.folder("large")
        fill(data_dir, history(self.sizes.events, self.sizes.threads))
        return data_dir

    @cached_property
    def conversations(self) -> Path:
        """The data directory with a long and a short thread."""
        data_dir = self.folder("conversations")
        fill(data_dir, conversations({"long": self.sizes.turns, "short": 20}))
        return data_dir

    @cached_property
    def batches(self) -> Path:
        """The file with the events that are appended, a JSON text a line; one batch more, to warm up."""
        path = self.folder("batches")
        with path.open("wb") as file:
            for batch in batches(1 + self.sizes.batches):
                file.writelines(encode(event) + b"\n" for event in batch)
        return path

    def short(self, threads: int) -> Path:
        """A new data directory with this many threads of about three events each."""
        data_dir = self.folder(f"{threads}-threads")
        fill(data_dir, history(20 + 3 * threads, threads))
        return data_dir

    def copy(self, data_dir: Path) -> Path:
        copy = self.folder("copy")
        shutil.copytree(data_dir, copy)
        return copy

    def worker(self, *arguments: object) -> Any:
        """Run `worker.py` in its own process; return what it measured."""
        command = [sys.executable, str(HERE / "worker.py"), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    @contextmanager
    def serving(self, data_dir: Path, *arguments: str) -> Iterator[wire.Daemon]:
        """An initialized daemon."""
        with wire.serving(data_dir, "--durability", "full", *arguments) as daemon:
            yield daemon


class Pipe:
    """A process that answers each line with a line or, with `headers`, each frame with a frame. Decodes no answers."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        headers: bool = False,
        env: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> None:
        self.headers = headers
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env={**os.environ, **(env or {})},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to: IO[bytes] = self.process.stdin
        self._from: IO[bytes] = self.process.stdout

    def frame(self, body: bytes) -> bytes:
        return f"Content-Length: {len(body)}\r\n\r\n".encode() + body if self.headers else body + b"\n"

    def send(self, data: bytes) -> None:
        self._to.write(data)
        self._to.flush()

    def receive(self) -> bytes:
        """Read the body of the next frame."""
        if not self.headers:
            return self._from.readline()
        length = 0
        while (line := self._from.readline()) != b"\r\n":
            assert line, "the process has ended"
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return self._from.read(length)

    def ask(self, frame: bytes) -> float:
        """Write a frame and read its answer; return the seconds that it took."""
        began = time.perf_counter()
        self.send(frame)
        answer = self.receive()
        elapsed = time.perf_counter() - began
        require_result(answer)
        return elapsed

    def call(self, method: str, **params: Any) -> Any:
        """Send one request; return its result."""
        self.send(self.frame(request("call", method, **params)))
        answer = json.loads(self.receive())
        assert "result" in answer, answer
        return answer["result"]

    def pour(self, data: bytes, count: int) -> float:
        """Write all data while reading `count` answers; return the seconds that it took."""
        began = time.perf_counter()
        writer = threading.Thread(target=self.send, args=(data,))
        writer.start()
        for _ in range(count):
            require_result(self.receive())
        elapsed = time.perf_counter() - began
        writer.join()
        return elapsed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._to.close()
            self.process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self.process.kill()
            self.process.wait()
            self._from.close()


def serve(data_dir: Path, *arguments: str, headers: bool = False) -> Pipe:
    """An initialized daemon at the other end of a Pipe, which decodes no answers."""
    pipe = Pipe([*SERVE, "--data-dir", data_dir, *arguments], headers=headers)
    pipe.call("initialize")
    return pipe


def require_result(answer: bytes) -> None:
    assert answer, "no answer"
    assert b'"error":{' not in answer, answer


def request(id: int | str, method: str, /, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()


def dispatch(id: int | str, type: str, /, **fields: Any) -> bytes:
    return request(id, "command/dispatch", type=type, **fields)


def percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def cpu_seconds(process: int) -> float:
    """The CPU time of all threads of a process, to the nanosecond. The clock ticks of `stat` are too coarse."""
    total = 0
    for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has just ended
            total += int(path.read_text().split()[0])
    return total / 1e9


def resident_bytes(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 0.02 else f"{seconds * 1000:.0f} ms"


def mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
