"""Rows for the daemon as a process: how soon it answers, how much memory it needs, and what it costs while idle."""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import wire
from benchmarks.harness import (
    IMPORTS,
    SERVE,
    Absent,
    Bench,
    Figure,
    Pipe,
    cpu_seconds,
    mib,
    ms,
    p50,
    request,
    require_result,
    resident_bytes,
    serve,
)
from benchmarks.rows_commands import ADD, Disk, with_a_turn


def seconds_to_import() -> float:
    """From the spawn of a Python process that only imports what the daemon needs, to its first byte."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", f"{IMPORTS}; print(flush=True)"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    elapsed = time.perf_counter() - began
    process.stdout.close()
    process.wait()
    return elapsed


def seconds_to_answer(data_dir: Path) -> float:
    """From the spawn of a daemon to its answer to `initialize`."""
    return seconds_to_answers(data_dir, "initialize")[0]


def seconds_to_answers(data_dir: Path, *methods: str) -> list[float]:
    """From the spawn of a daemon to each answer, if all requests are sent in one write."""
    began, taken = time.perf_counter(), []
    with Pipe([*SERVE, "--data-dir", data_dir]) as daemon:
        daemon.send(b"".join(daemon.frame(request(n, method)) for n, method in enumerate(methods)))
        for _ in methods:
            require_result(daemon.receive())
            taken.append(time.perf_counter() - began)
    return taken


def start(bench: Bench) -> Mapping[str, Figure | Absent]:
    data_dir = bench.folder("empty")
    seconds_to_answer(data_dir)
    seconds_to_import()
    ours, imports, lists = [], [], list[list[float]]()
    for _ in bench.rounds():
        pairs = [(seconds_to_answer(data_dir), seconds_to_import()) for _ in range(bench.sizes.starts)]
        ours.append(p50([a for a, _ in pairs]))
        imports.append(p50([b for _, b in pairs]))
        lists.append(seconds_to_answers(data_dir, "initialize", "thread/list"))
    ratios = [a / b for a, b in zip(ours, imports, strict=True)]
    first, second = (p50([both[n] for both in lists]) for n in (0, 1))
    return {
        "start": Figure(ratios, f"{ms(p50(ours))}; the imports {ms(p50(imports))}"),
        "first list": Figure([list / hello for hello, list in lists], f"{ms(second)}; `initialize` {ms(first)}"),
    }


def start_with_history(bench: Bench) -> Mapping[str, Figure | Absent]:
    empty, large = bench.folder("empty"), bench.large
    seconds_to_answer(empty)
    seconds_to_answer(large)
    full, none = [], []
    for _ in bench.rounds():
        pairs = [(seconds_to_answer(large), seconds_to_answer(empty)) for _ in range(bench.sizes.starts)]
        full.append(p50([a for a, _ in pairs]))
        none.append(p50([b for _, b in pairs]))
    ratios = [a / b for a, b in zip(full, none, strict=True)]
    beside = f"{ms(p50(full))} with {bench.sizes.events:,} events; {ms(p50(none))} with none"
    return {"start with history": Figure(ratios, beside)}


def with_a_thread(daemon: wire.Daemon) -> None:
    daemon.dispatch("CreateProject", id="project", name="p", path="/p")
    daemon.dispatch("CreateThread", threadId="thread", projectId="project", title="t")


def at_least(sequence: int) -> Callable[[Any], bool]:
    """A condition: whether a notification has reached this sequence."""
    return lambda params: bool(params["sequence"] >= sequence)


def live(bench: Bench) -> Mapping[str, Figure | Absent]:
    data_dir = bench.folder("live")
    taken = [seconds * 1000 for seconds in live_between(bench, data_dir, data_dir, bench.sizes.live)]
    return {"live": Figure(taken, f"{bench.sizes.live} commits a round, 20 to 60 ms apart")}


def live_between(bench: Bench, writes: Path, reads: Path, commits: int) -> list[float]:
    """The p50 of each round, in seconds, from a commit on one data directory to the notification on another.

    The time starts with the command's answer, which comes right after the commit, and ends in another daemon.
    """
    pause, taken = random.Random(0), []
    with bench.serving(writes) as writer, bench.serving(reads) as reader:
        with_a_thread(writer)
        reader.result("subscription/open", {"topic": "events"})
        for round in bench.rounds():
            waits = []
            for n in range(commits):
                time.sleep(pause.uniform(0.02, 0.06))
                sequence = writer.dispatch("RenameThread", threadId="thread", title=f"{round} {n}")["sequence"]
                committed = time.perf_counter()
                reader.notification("event/appended", at_least(sequence))
                waits.append(time.perf_counter() - committed)
            taken.append(p50(waits))
    return taken


def fan_out(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Three daemons: with none, one and many subscriptions, all to the thread that changes."""
    many = bench.sizes.subscriptions
    extra_of_one, extra_of_many = [], []
    with ExitStack() as stack:
        daemons = {count: stack.enter_context(bench.serving(bench.folder("fan-out"))) for count in (0, 1, many)}
        for count, daemon in daemons.items():
            with_a_thread(daemon)
            for _ in range(count):
                daemon.result("subscription/open", {"topic": "index"})
        names = itertools.count()

        def cost(count: int) -> float:
            """The CPU time per commit with this many subscriptions, in microseconds."""
            daemon, commits = daemons[count], bench.sizes.fan_out
            before = cpu_seconds(daemon.process.pid)
            for _ in range(commits):
                sequence = daemon.dispatch("RenameThread", threadId="thread", title=str(next(names)))["sequence"]
                for _ in range(count):
                    daemon.notification("projection/changed", at_least(sequence))
            return (cpu_seconds(daemon.process.pid) - before) / commits * 1e6

        for count in daemons:
            cost(count)
        for _ in bench.rounds():
            none, one, all_of_them = (cost(count) for count in daemons)
            extra_of_one.append(one - none)
            extra_of_many.append(all_of_them - none)
    ratios = [a / b for a, b in zip(extra_of_many, extra_of_one, strict=True)]
    beside = f"{p50(extra_of_many):,.0f} µs of CPU a commit for {many}; {p50(extra_of_one):,.0f} µs for one"
    return {"fan-out": Figure(ratios, beside)}


def memory(bench: Bench) -> Mapping[str, Figure | Absent]:
    idle, imports = [], []
    for _ in bench.rounds():
        with serve(bench.folder("memory")) as daemon:
            daemon.call("thread/list")  # now everything is imported
            idle.append(resident_bytes(daemon.process.pid))
        with Pipe([sys.executable, "-c", f"{IMPORTS}; print(flush=True); input()"]) as process:
            process.receive()
            imports.append(resident_bytes(process.process.pid))
            process.send(b"\n")
    ratios = [a / b for a, b in zip(idle, imports, strict=True)]
    found = {"memory, idle": Figure(ratios, f"{mib(p50(idle))}; the imports {mib(p50(imports))}")}

    batch = 500
    with serve(bench.folder("memory")) as daemon:
        with_a_turn(daemon)
        before = resident_bytes(daemon.process.pid)
        for first in range(0, bench.sizes.events, 20 * batch):
            starts = range(first, min(first + 20 * batch, bench.sizes.events), batch)
            daemon.pour(b"".join(messages(start, batch) for start in starts), len(starts))
        after = resident_bytes(daemon.process.pid)
    events = bench.sizes.events
    found["memory, after events"] = Figure(
        [after / before], f"{mib(after)} after {events:,} events; {mib(before)} before"
    )
    return found


def messages(first: int, count: int) -> bytes:
    """One request that adds this many messages."""
    commands = [{"type": "AddMessage", "id": f"message-{n}", **ADD} for n in range(first, first + count)]
    return request(first, "command/dispatchBatch", commands=commands) + b"\n"


def idle_and_disk(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Measured at the same time, because both take long and neither disturbs the other."""
    disk, percents = Disk(bench), []
    with bench.serving(bench.short(bench.sizes.few_threads)) as daemon:
        for topic in ("index", "events"):
            daemon.result("subscription/open", {"topic": topic})
        disk.start()
        for _ in bench.rounds():
            before = cpu_seconds(daemon.process.pid)
            time.sleep(bench.sizes.idle_seconds)
            percents.append((cpu_seconds(daemon.process.pid) - before) / bench.sizes.idle_seconds * 100)
        disk.join()
    became = f"{bench.sizes.streamed:,} deltas became {disk.events:,} events; {disk.after:.1f} once that has ended"
    return {
        "idle": Figure(percents, f"in {bench.sizes.idle_seconds:.0f} s each"),
        "disk: deltas": Figure([disk.ratio], became),
    }
