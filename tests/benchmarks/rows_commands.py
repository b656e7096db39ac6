"""Rows for writes: commands over a pipe, compared with plain sqlite3 and with a loop at the other end of a pipe."""

import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from benchmarks import floors
from benchmarks.harness import Absent, Bench, Figure, Pipe, cpu_seconds, dispatch, ms, p50, serve
from benchmarks.history import Scribe
from benchmarks.worker import TEXT
from treadle.core.redacting import Redacting
from treadle.domain import commands as c
from treadle.domain.state import State

ADD = {"threadId": "thread", "turnId": "turn", "role": "assistant", "text": TEXT}


def with_a_turn(pipe: Pipe) -> None:
    """Create a project and a thread, and start a turn."""
    pipe.call("command/dispatch", type="CreateProject", id="project", name="p", path="/p")
    pipe.call("command/dispatch", type="CreateThread", threadId="thread", projectId="project", title="t")
    pipe.call("command/dispatch", type="StartTurn", id="turn", threadId="thread", prompt="go")


def pipelined(bench: Bench) -> Mapping[str, Figure | Absent]:
    count = bench.sizes.pipelined
    frames = b"".join(dispatch(n, "AddMessage", id=f"message-{n}", **ADD) + b"\n" for n in range(count))
    rates, rows, echoes = [], [], []
    for _ in bench.rounds():
        data_dir = bench.folder("pipelined")
        with serve(data_dir) as daemon:
            with_a_turn(daemon)
            rates.append(count / daemon.pour(frames, count))
        payloads = floors.payloads_of(data_dir, count, "MessageAdded")
        rows.append(floors.rows_per_second(bench.work, payloads))
        with floors.echo() as loop:
            loop.ask(b"{}\n")
            echoes.append(count / loop.pour(frames, count))
    ratios = [rate * (1 / a + 1 / e) for rate, a, e in zip(rates, rows, echoes, strict=True)]
    a, e = p50(rows), p50(echoes)
    beside = f"{p50(rates):,.0f} commands/s; a {a:,.0f}, e {e:,.0f}, floor {1 / (1 / a + 1 / e):,.0f}"
    return {"pipelined": Figure(ratios, beside)}


def one_at_a_time(bench: Bench) -> Mapping[str, Figure | Absent]:
    data_dir, count = bench.folder("one"), bench.sizes.one_by_one
    differences, ours, commits, echoes = [], [], [], []
    with serve(data_dir) as daemon, floors.echo() as loop, closing(floors.plain_log(bench.work)) as plain:
        with_a_turn(daemon)
        for round in bench.rounds():
            taken: list[tuple[float, float, float]] = []
            for n in range(count):
                frame = dispatch(n, "AddMessage", id=f"message-{round}-{n}", **ADD) + b"\n"
                dispatched = daemon.ask(frame)
                began = time.perf_counter()
                plain.execute("INSERT INTO events (payload) VALUES (?)", (frame.decode(),))
                taken.append((dispatched, time.perf_counter() - began, loop.ask(frame)))
            dispatched, commit, echo = (p50(column) for column in zip(*taken, strict=True))
            ours.append(dispatched)
            commits.append(commit)
            echoes.append(echo)
            differences.append((dispatched - commit) * 1000)
    beside = f"dispatch {ms(p50(ours))}; bare commit {ms(p50(commits))}, loop {ms(p50(echoes))}"
    return {"one at a time": Figure(differences, beside)}


def redaction(bench: Bench) -> Mapping[str, Figure | Absent]:
    """What it adds to a delta without a secret, in this process."""
    text = "and then the function returns a value of this type, with a bit more text that follows after it all. "
    taken, delta = [], c.AppendMessage(thread_id="thread", id="message", text=text)
    for _ in bench.rounds():
        redacting = Redacting(State(), {})
        before = time.process_time()
        for _ in range(bench.sizes.deltas):
            redacting.command(delta)
            redacting.accept()
        taken.append((time.process_time() - before) / bench.sizes.deltas * 1e6)
    return {"redaction": Figure(taken, f"{len(text)} characters, {bench.sizes.deltas:,} times")}


def streaming(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Measured in CPU time, because whether a sync happens during a thousand deltas says nothing about them.

    The expected version prevents deltas from being merged into one event.
    """
    total, piece, first, last = bench.sizes.deltas, bench.sizes.first_deltas, [], []

    with serve(bench.folder("streaming")) as daemon:

        def cost(message: str, count: int) -> float:
            version = daemon.call("thread/list")["items"][0]["version"]
            fields = {
                "threadId": "thread",
                "id": message,
                "text": "a few more words of it ",
                "expectedVersion": version,
            }
            frames = b"".join(dispatch(n, "AppendMessage", **fields) + b"\n" for n in range(count))
            before = cpu_seconds(daemon.process.pid)
            daemon.pour(frames, count)
            return (cpu_seconds(daemon.process.pid) - before) / count * 1e6

        with_a_turn(daemon)
        for round in range(-1, bench.sizes.rounds):
            message = f"message-{round}"
            daemon.call("command/dispatch", type="AddMessage", id=message, streaming=True, **ADD)
            if round < 0:
                cost(message, piece)  # warm up
                continue
            first.append(cost(message, piece))
            cost(message, total - 2 * piece)
            last.append(cost(message, piece))
    ratios = [a / b for a, b in zip(last, first, strict=True)]
    beside = f"{p50(last):.0f} µs of CPU for each of the last {piece:,} of {total:,}; {p50(first):.0f} of the first"
    return {"streaming": Figure(ratios, beside)}


def tool_results(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Told in full each time, as an edit is: its text is known before it is made."""
    count = bench.sizes.tool_results
    scribe = Scribe(0)
    outputs = [scribe.output(2_400) for _ in range(count)]
    statuses = ("pending", "running", "completed")

    def ratio(*told: str) -> float:
        """Of what the database grows by to the text, if so many of the three have it."""
        data_dir = bench.folder("tool-results")
        frames = (
            dispatch(
                f"{n} {status}",
                "RecordActivity",
                id=f"call-{n}",
                threadId="thread",
                turnId="turn",
                kind="execute",
                title="Run the tests",
                status=status,
                detail={"output": output} if status in told else None,
            )
            + b"\n"
            for n, output in enumerate(outputs)
            for status in statuses
        )
        with serve(data_dir) as daemon:
            with_a_turn(daemon)
            before = used_bytes(data_dir)
            daemon.pour(b"".join(frames), count * len(statuses))
            return (used_bytes(data_dir) - before) / sum(map(len, outputs))

    beside = f"{count:,} results; {ratio('completed'):.2f} if only the completed one has the text"
    return {"disk: tool results": Figure([ratio(*statuses)], beside)}


class Disk(threading.Thread):
    """Streams 100 deltas of 20 bytes per second in a thread, while something else is measured, because this takes long.

    ratio: the growth of the database divided by the size of the text. events: how many events the deltas became. after:
    the ratio once the message is complete.
    """

    EVERY = 0.01  # seconds
    TEXT = "twenty bytes of text"

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.ratio = self.after = 0.0
        self.events = 0
        self._data_dir = bench.folder("disk")
        self._count = bench.sizes.streamed

    def run(self) -> None:
        message = {"threadId": "thread", "id": "message"}
        with serve(self._data_dir) as daemon:
            with_a_turn(daemon)
            daemon.call("command/dispatch", type="AddMessage", streaming=True, **{**ADD, "id": "message", "text": ""})
            before = used_bytes(self._data_dir)
            deltas = [dispatch(n, "AppendMessage", text=self.TEXT, **message) + b"\n" for n in range(self._count)]
            pacer = threading.Thread(target=self._pace, args=(daemon, deltas))
            pacer.start()
            for _ in deltas:
                assert b'"error":{' not in daemon.receive()
            pacer.join()
            size = self._count * len(self.TEXT)
            self.ratio = (used_bytes(self._data_dir) - before) / size
            self.events = len(floors.payloads_of(self._data_dir, self._count, "MessageAppended"))
            daemon.call("command/dispatch", type="CompleteMessage", **message)
            self.after = (used_bytes(self._data_dir) - before) / size

    def _pace(self, daemon: Pipe, frames: Iterable[bytes]) -> None:
        due = time.perf_counter()
        for frame in frames:
            due += self.EVERY
            time.sleep(max(0.0, due - time.perf_counter()))
            daemon.send(frame)


def used_bytes(data_dir: Path) -> int:
    """The size of log, tables and indexes: the pages of the database that are in use."""
    with closing(sqlite3.connect(data_dir / "treadle.db")) as db:
        size, pages, free = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count", "freelist_count")
        )
    return size * (pages - free)
