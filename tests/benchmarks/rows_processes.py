"""Rows of what a daemon is as a process: how soon it answers, and what it takes while it does nothing."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import IMPORTS, SERVE, Absent, Bench, Figure, Pipe, ms, p50, request


def seconds_to_import() -> float:
    """From the spawn of a Python that imports what the daemon needs, and no more, to its first byte."""
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
    began = time.perf_counter()
    with Pipe([*SERVE, "--data-dir", data_dir]) as daemon:
        daemon.ask(daemon.frame(request(1, "initialize")))
        return time.perf_counter() - began


def start(bench: Bench) -> Mapping[str, Figure | Absent]:
    data_dir = bench.folder("empty")
    seconds_to_answer(data_dir)
    seconds_to_import()
    ours, imports = [], []
    for _ in bench.rounds():
        pairs = [(seconds_to_answer(data_dir), seconds_to_import()) for _ in range(bench.sizes.starts)]
        ours.append(p50([a for a, _ in pairs]))
        imports.append(p50([b for _, b in pairs]))
    ratios = [a / b for a, b in zip(ours, imports, strict=True)]
    return {"start": Figure(ratios, f"{ms(p50(ours))}; the imports {ms(p50(imports))}")}


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
