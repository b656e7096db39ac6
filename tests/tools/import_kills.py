"""Kills imports of histories at random moments, and checks that the log is the one of an undisturbed import.

Used by tests/test_import_histories.py (some kills in every run) and tests/tools/soak.py (as many as are asked for).
"""

import json
import random
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.claude_sessions import MIB, write_sessions
from histories import CART, aged, codex_cart, write
from treadle.store.sqlite.database import FILE_NAME
from treadle.transfer.sources.catalog import FILE_NAME as CATALOG
from wire import PATIENCE, TREADLE, serving

SIZE = 2 * MIB


@dataclass
class Report:
    """kills: imports that were killed while they ran. imports: that came to their end. problems: what is wrong."""

    kills: int = 0
    imports: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.kills} kills before {self.imports} imports came to their end"


def importing(tool: str, home: Path, data_dir: Path) -> "subprocess.Popen[bytes]":
    """An import in a process of its own."""
    command = [*TREADLE, "import", tool, str(home), "--data-dir", str(data_dir)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def events_of(data_dir: Path) -> list[Any]:
    """The log without what differs between two imports of the same: ids of projects, and who imported."""
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as db:
        found = [json.loads(payload) for (payload,) in db.execute("SELECT payload FROM events ORDER BY sequence")]
    for event in found:
        event.pop("runner", None)
        event.pop("projectId", None)
        if event["type"] == "ProjectCreated":
            del event["id"]
    return found


def kill_imports(folder: Path, kills: int, seed: int) -> Report:
    """Kill so many imports. After some, a daemon recovers the log; before some, the catalog is deleted."""
    chance, report = random.Random(seed), Report()
    homes = {"claude": folder / "claude", "codex": folder / "codex"}
    write_sessions(homes["claude"], SIZE, SIZE // 3)
    for path in homes["claude"].rglob("*.jsonl"):
        aged(path)
    rollout = homes["codex"] / "sessions" / "2026" / "05" / "01" / f"rollout-2026-05-01T10-00-00-{CART}.jsonl"
    write(rollout, codex_cart())
    undisturbed, longest = folder / "undisturbed", 0.0
    for tool, home in homes.items():
        began = time.monotonic()
        assert importing(tool, home, undisturbed).wait(PATIENCE) == 0
        longest = max(longest, time.monotonic() - began)
    expected = events_of(undisturbed)
    while report.kills < kills and not report.problems:
        data_dir = folder / f"killed-{report.imports}"
        _kill_until_done(homes, data_dir, kills, longest, chance, report)
        if (found := events_of(data_dir)) != expected:
            differs = next((n for n, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), -1)
            report.problems.append(
                f"{data_dir.name}: {len(found)} events, {len(expected)} expected; the first other one is {differs}"
            )
        else:
            shutil.rmtree(data_dir)
        report.imports += 1
    return report


def _kill_until_done(
    homes: dict[str, Path], data_dir: Path, kills: int, longest: float, chance: random.Random, report: Report
) -> None:
    """Import each history, and kill that import until one comes to its end or there were enough kills.

    Not in the first third of its time, in which Python starts.
    """
    for tool, home in homes.items():
        while True:
            process = importing(tool, home, data_dir)
            try:
                limit = chance.uniform(longest / 3, longest) if report.kills < kills else PATIENCE
                if process.wait(limit) == 0:
                    break
                report.problems.append(f"the import ended with {process.returncode}")
                return
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)
                report.kills += 1
            if chance.random() < 0.2:
                with serving(data_dir):
                    pass
            if chance.random() < 0.2:
                (data_dir / CATALOG).unlink(missing_ok=True)
