"""Rows of what is written: commands over a pipe, beside plain sqlite3 and a loop at the other end of the same pipe."""

import time
from collections.abc import Mapping
from contextlib import closing

from benchmarks import floors
from benchmarks.harness import Absent, Bench, Figure, Pipe, dispatch, ms, p50, serve
from benchmarks.worker import TEXT

ADD = {"threadId": "thread", "turnId": "turn", "role": "assistant", "text": TEXT}


def with_a_turn(pipe: Pipe) -> None:
    """A project, a thread and a turn that runs."""
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
            differences.append((dispatched - commit - echo) * 1000)
    beside = f"dispatch {ms(p50(ours))}; bare commit {ms(p50(commits))}, loop {ms(p50(echoes))}"
    return {"one at a time": Figure(differences, beside)}
