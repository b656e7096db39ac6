"""`make soak`: the promises of docs/reliability.md for as long as there is time; prints what was tried and lost.

Each part gets a share of the minutes. Exit status 0 only if nothing was lost.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from crash_driver import Driver, Report
from power import Disk, Variant, lost_in, traced_run
from test_power import requests

Row = tuple[str, str, int]
"""What was tried, how often and with what outcome, and what was lost."""

AT_ONCE = 2


async def kills(folder: Path, until: float, seed: int) -> list[Row]:
    """SIGKILL at random moments."""
    total = Report()
    began = time.monotonic()

    async def drive(lane: int) -> None:
        round = 0
        while time.monotonic() < until:
            driver = Driver(folder / f"kills-{lane}-{round}", seed + 1000 * lane + round)
            total.add(await driver.run(25))
            round += 1

    await asyncio.gather(*(drive(lane) for lane in range(AT_ONCE)))
    for problem in total.problems[:20]:
        print(f"LOST: {problem}", file=sys.stderr)
    moments = ", ".join(f"{count} at {moment}" for moment, count in sorted(total.kills.items()))
    return [
        (
            "kills",
            f"{total.kills.total():,} ({moments}); {total.acknowledged:,} requests acknowledged, "
            f"{total.unanswered:,} unanswered of which {total.unanswered_but_kept:,} were kept whole; "
            f"{time.monotonic() - began:.0f} s",
            len(total.problems),
        )
    ]


async def power_cuts(folder: Path, until: float, seed: int) -> list[Row]:
    """Images of what a disk may be left with."""
    images = runs = 0
    problems: list[str] = []
    while time.monotonic() < until or runs == 0:
        data_dir = folder / f"power-{runs}"
        events = await traced_run(data_dir, requests(120), folder / "strace.log")
        chance = random.Random(seed + runs)
        disk = Disk(data_dir)
        for event in events:
            before = len(disk.answered)
            disk.take(event)
            if len(disk.answered) > before or chance.random() < 0.02:
                for variant in get_args(Variant):
                    disk.image(folder / "image", variant, chance)
                    problems += lost_in(folder / "image", disk.answered)
                    images += 1
        runs += 1
    for problem in problems[:20]:
        print(f"LOST: {problem}", file=sys.stderr)
    return [("power cuts", f"{images:,} images of {runs} traced runs", len(problems))]


PARTS: list[tuple[float, Callable[[Path, float, int], Awaitable[list[Row]]]]] = [
    (0.7, kills),
    (0.3, power_cuts),
]


async def soak(minutes: float, seed: int) -> int:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="treadle-soak-") as folder:
        for share, part in PARTS:
            rows += await part(Path(folder), time.monotonic() + minutes * 60 * share, seed)
    print(f"soak of {datetime.now(UTC):%Y-%m-%d}, {minutes:g} minutes, seed {seed}\n")
    print("| tried | how often, and what came of it | lost |")
    print("| --- | --- | --- |")
    for name, outcome, lost in rows:
        print(f"| {name} | {outcome} | {lost} |")
    return 1 if any(lost for *_, lost in rows) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    return asyncio.run(soak(options.minutes, options.seed))


if __name__ == "__main__":
    sys.exit(main())
