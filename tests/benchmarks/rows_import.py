"""Rows for importing a history: generated sessions of Claude Code, with a daemon that works beside the import."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.claude_sessions import write_sessions
from benchmarks.harness import Absent, Bench, Figure, cpu_seconds, ms, p50, percentile, serve
from benchmarks.rows_commands import ADD, used_bytes, with_a_turn

MB = 1_000_000
SESSIONS = 10
EVERY = 0.02  # seconds between two dispatches of the daemon beside


def imports(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Once, because it takes long."""
    home, data_dir = bench.folder("claude"), bench.folder("imported")
    total = int(bench.sizes.imported * MB)
    size, text = write_sessions(home, total, total // SESSIONS)
    with serve(data_dir) as daemon:
        with_a_turn(daemon)
        before = used_bytes(data_dir)
        began, process = time.perf_counter(), importing(home, data_dir)
        waits, peak, cpu, number = list[float](), 0, 0.0, 0
        while process.poll() is None:
            due = time.perf_counter() + EVERY
            number += 1
            asked = time.perf_counter()
            daemon.call("command/dispatch", type="AddMessage", **{**ADD, "id": f"beside-{number}"})
            waits.append(time.perf_counter() - asked)
            peak, cpu = max(peak, peak_bytes(process.pid)), max(cpu, cpu_seconds(process.pid))
            time.sleep(max(0.0, due - time.perf_counter()))
        seconds = time.perf_counter() - began
        report = told(process)
    again = [second_run(home, data_dir) for _ in bench.rounds()]
    grown = used_bytes(data_dir) - before
    beside = f"{size / MB:,.0f} MB, {report['events']:,} events in {seconds:.1f} s: {size / MB / seconds:.1f} MB/s"
    slow = f"p99 {ms(percentile(waits, 99))}, {len(waits):,} dispatches, one each {ms(EVERY)}"
    return {
        "import": Figure([size / MB / cpu], f"{beside}; {cpu:.1f} s of CPU"),
        "import: memory": Figure([peak / 2**20], f"the largest session has {size / SESSIONS / MB:,.0f} MB"),
        "import: disk": Figure([grown / text], f"{grown / MB:,.0f} MB for {text / MB:,.0f} MB of text"),
        "import: again": Figure(again, f"{SESSIONS} sessions"),
        "import: beside": Figure([p50(waits) * 1000], slow),
    }


def importing(home: Path, data_dir: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "treadle", "import", "claude", str(home), "--json", "--data-dir", str(data_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def told(process: "subprocess.Popen[bytes]") -> dict[str, int]:
    """The report of an import that has ended."""
    out, _ = process.communicate()
    assert process.returncode == 0, out
    report: dict[str, int] = json.loads(out)
    return report


def second_run(home: Path, data_dir: Path) -> float:
    """The seconds of an import that has nothing to do."""
    began = time.perf_counter()
    report = told(importing(home, data_dir))
    assert (report["events"], report["read"]) == (0, 0), report
    return time.perf_counter() - began


def peak_bytes(process: int) -> int:
    """The most memory that a process had resident so far; 0 if it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
