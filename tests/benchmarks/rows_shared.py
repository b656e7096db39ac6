"""Rows for a log that eight machines share: each has its own data directory and daemon, and writes to its own thread.

The floor is `append_v1` of the same events by one connection over the same way, in the same round.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from benchmarks.harness import HERE, Absent, Bench, Figure, Pipe, dispatch, ms, p50, percentile, request, serve
from benchmarks.rows_processes import live_between, seconds_to_answer
from benchmarks.worker import BATCH, TEXT
from treadle.domain.events import MessageAdded, ThreadRenamed, encode
from treadle.store.errors import UserError

if TYPE_CHECKING:
    from postgres import Database
    from treadle.store.shared.remote import RemoteLog

ROUND_TRIPS = (0, 10, 50)  # ms
LONGEST = 50
AT = "2026-01-01T00:00:00.000Z"
NAMES = ("one machine", "8 machines", "p99", "least", "batches", "live", "start")
ADD = {"turnId": "turn", "role": "assistant", "text": TEXT}


@dataclass
class Measured:
    """What was measured at one round trip, a value for each round; seconds and rates per second."""

    round_trip: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    bare_batches: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    median: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)

    def sentence(self, ms_apart: int) -> str:
        return (
            f"{ms_apart} ms (`SELECT` {ms(p50(self.round_trip))}): {p50(self.rate):,.0f} appends/s, "
            f"p50 {ms(p50(self.median))}, p99 {ms(p50(self.p99))}, {p50(self.batches):,.0f} events/s in batches, "
            f"least – most of the last round {self.counts[-1]}; one machine p50 {ms(p50(self.alone))}; live "
            f"{ms(p50(self.live))}; bare p50 {ms(p50(self.bare))}, {p50(self.bare_batches):,.0f} events/s in batches"
        )


class Appender:
    """One connection that does nothing but append to a log, after its last event."""

    def __init__(self, remote: "RemoteLog", log_id: UUID) -> None:
        from treadle.store.shared.remote import NO_MARK

        self._remote, self._log_id = remote, log_id
        self._known, self._mark = 0, NO_MARK

    def append(self, payloads: list[bytes]) -> float:
        """Return the seconds that it took."""
        from treadle.store.shared.remote import ScopedAppend

        scopes = ["t:thread-0"]
        asked = ScopedAppend(uuid4(), self._known, self._mark, scopes, scopes * len(payloads), payloads)
        began = time.perf_counter()
        answer = self._remote.append(self._log_id, asked)
        elapsed = time.perf_counter() - began
        assert answer.status == "appended", answer
        self._known, self._mark = self._known + len(payloads), asked.append_id
        return elapsed

    def append_for(self, seconds: float, payloads: list[bytes]) -> list[float]:
        until, taken = time.perf_counter() + seconds, list[float]()
        while not taken or time.perf_counter() < until:
            taken.append(self.append(payloads))
        return taken

    def round_trip(self) -> float:
        began = time.perf_counter()
        self._remote.execute("SELECT 1")
        return time.perf_counter() - began


@contextmanager
def way(database: "Database", milliseconds: int) -> Iterator[None]:
    """Let the services lead to the server over a round trip of this length; 0: straight to its socket."""
    from postgres import PORT

    if milliseconds == 0:
        database.reach(database.cluster.folder)
        yield
        return
    name = f".s.PGSQL.{PORT}"
    with tempfile.TemporaryDirectory(prefix="treadle-delay-", dir="/tmp") as folder:  # a socket's path must be short
        target = database.cluster.folder / name
        with Pipe([sys.executable, HERE / "delay.py", f"{folder}/{name}", target, str(milliseconds)]) as relay:
            relay.receive()
            database.reach(Path(folder))
            yield


def with_a_turn(daemon: Pipe, n: int) -> None:
    """Create the thread of a machine, and start a turn."""
    thread, project = f"thread-{n}", f"project-{n}"
    daemon.call("command/dispatch", type="CreateProject", id=project, name="p", path=f"/p{n}")
    daemon.call("command/dispatch", type="CreateThread", threadId=thread, projectId=project, title="t")
    daemon.call("command/dispatch", type="StartTurn", id=f"turn-{n}", threadId=thread, prompt="go")


def together(daemons: Sequence[Pipe], seconds: float, size: int, name: str) -> list[list[float]]:
    """Let each daemon carry out `size` commands at a time, each in its own thread; return the seconds of each time."""
    taken: list[list[float]] = [[] for _ in daemons]
    ready = threading.Barrier(len(daemons))

    def work(n: int) -> None:
        ready.wait()
        until = time.perf_counter() + seconds
        while not taken[n] or time.perf_counter() < until:
            place = f"{name}-{n}-{len(taken[n])}"
            frame = dispatch(place, "RenameThread", threadId=f"thread-{n}", title=f"title {place}")
            if size > 1:
                add = {"type": "AddMessage", "threadId": f"thread-{n}", **ADD, "turnId": f"turn-{n}"}
                commands = [{"id": f"{place}-{k}", **add} for k in range(size)]
                frame = request(place, "command/dispatchBatch", commands=commands)
            taken[n].append(daemons[n].ask(frame + b"\n"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(daemons))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(taken)
    return taken


def measured_at(bench: Bench, milliseconds: int) -> Measured:
    from postgres import create_log
    from treadle.store.shared.config import SharedLogConfig, write_config
    from treadle.store.shared.remote import RemoteLog

    found, seconds = Measured(), bench.sizes.shared_seconds
    log_id = create_log(f"shared-{milliseconds}")
    folders = [bench.folder("machine") for _ in range(bench.sizes.machines)]
    only = bench.folder("only-machine")
    for folder in (*folders, only):
        log = create_log(f"only-{milliseconds}") if folder == only else log_id
        folder.mkdir(mode=0o700)
        write_config(folder, SharedLogConfig("ada", log))
    one = [encode(ThreadRenamed(at=AT, thread_id="thread-0", title="title rename-0-0-100"))]
    many = [
        encode(MessageAdded(at=AT, thread_id="thread-0", id=f"{n}", turn_id="turn-0", role="assistant", text=TEXT))
        for n in range(BATCH)
    ]
    found.live = live_between(bench, folders[0], folders[1], bench.sizes.live // 3)
    with ExitStack() as stack:
        remote = stack.enter_context(RemoteLog("ada"))
        appender = Appender(remote, create_log(f"bare-{milliseconds}"))
        alone = stack.enter_context(serve(only))
        daemons = [stack.enter_context(serve(folder)) for folder in folders]
        with_a_turn(alone, 0)
        for n, daemon in enumerate(daemons):
            with_a_turn(daemon, n)
        together(daemons, seconds / 4, 1, "warm")
        for round in bench.rounds():
            found.round_trip.append(p50([appender.round_trip() for _ in range(bench.sizes.calls // 5)]))
            found.bare.append(p50(appender.append_for(seconds / 2, one)))
            found.alone.append(p50(together([alone], seconds / 2, 1, f"alone-{round}")[0]))
            taken = together(daemons, seconds, 1, f"rename-{round}")
            every = [one for each in taken for one in each]
            counts = [len(each) for each in taken]
            found.rate.append(len(every) / max(map(sum, taken)))
            found.median.append(p50(every))
            found.p99.append(percentile(every, 99))
            found.least.append(min(counts) / max(counts))
            found.counts.append(f"{min(counts)} – {max(counts)}")
        for round in bench.rounds():  # at the end: replicas that are behind would disturb the rest
            bare = appender.append_for(seconds / 2, many)
            found.bare_batches.append(len(bare) * BATCH / sum(bare))
            taken = together(daemons, seconds, BATCH, f"batch-{round}")
            found.batches.append(sum(map(len, taken)) * BATCH / max(map(sum, taken)))
    return found


def starts(bench: Bench) -> Figure:
    """From the spawn of a daemon to its answer to `initialize`, with and without log.json; no round trip."""
    from postgres import create_log
    from treadle.store.shared.config import SharedLogConfig, write_config

    own, shared = bench.folder("own"), bench.folder("shared")
    shared.mkdir(mode=0o700)
    write_config(shared, SharedLogConfig("ada", create_log("start")))
    seconds_to_answer(own)
    seconds_to_answer(shared)
    withs, withouts = [], []
    for _ in bench.rounds():
        pairs = [(seconds_to_answer(shared), seconds_to_answer(own)) for _ in range(bench.sizes.starts)]
        withs.append(p50([a for a, _ in pairs]))
        withouts.append(p50([b for _, b in pairs]))
    ratios = [a / b for a, b in zip(withs, withouts, strict=True)]
    return Figure(ratios, f"{ms(p50(withs))} with a log.json; {ms(p50(withouts))} without")


def ratios(values: Sequence[float], floors: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(values, floors, strict=True)]


def shared(bench: Bench) -> Mapping[str, Figure | Absent]:
    try:
        import postgres
    except (ImportError, UserError) as error:
        return {f"shared: {name}": Absent(f"not measured: {error}") for name in NAMES}
    if postgres.PROGRAMS is None:
        return {
            f"shared: {name}": Absent("not measured: it needs PostgreSQL, which tests/install installs")
            for name in NAMES
        }
    before = dict(os.environ)
    with postgres.running_cluster() as cluster, tempfile.TemporaryDirectory() as folder:
        database = postgres.Database(cluster, "logs", Path(folder))
        os.environ.update(database.environment)
        try:
            start = starts(bench)
            at = dict[int, Measured]()
            for milliseconds in ROUND_TRIPS:
                with way(database, milliseconds):
                    at[milliseconds] = measured_at(bench, milliseconds)
        finally:
            os.environ.clear()
            os.environ.update(before)
    near, far = at[0], at[LONGEST]
    return {
        "shared: one machine": Figure(
            ratios(near.alone, near.bare), f"{ms(p50(near.alone))}; bare {ms(p50(near.bare))}"
        ),
        "shared: 8 machines": Figure(
            [rate * bare for rate, bare in zip(far.rate, far.bare, strict=True)],
            "; ".join(at[milliseconds].sentence(milliseconds) for milliseconds in ROUND_TRIPS),
        ),
        "shared: p99": Figure([1000 * one for one in far.p99], f"p50 {ms(p50(far.median))}, bare {ms(p50(far.bare))}"),
        "shared: least": Figure(far.least, f"the last round: {far.counts[-1]}"),
        "shared: batches": Figure(
            ratios(far.batches, far.bare_batches),
            f"{p50(far.batches):,.0f} events/s; one bare connection {p50(far.bare_batches):,.0f}",
        ),
        "shared: live": Figure(
            ratios(far.live, far.round_trip), f"{ms(p50(far.live))}; a `SELECT 1` {ms(p50(far.round_trip))}"
        ),
        "shared: start": start,
    }
