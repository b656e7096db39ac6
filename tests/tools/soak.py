"""`make soak`: tests the promises of docs/reliability.md for a given time; prints what was tried and what was lost.

Each part gets a share of the minutes, except the kills of agents, imports and purges, which are counted. The exit
status is 0 only if nothing was lost.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).parents[1]))

import fuzz_frames
import storms
from agent_kills import AgentKills
from benchmarks.history import fill, history
from crash_driver import Driver, Report
from erase_driver import ErasureDriver
from import_kills import kill_imports
from power import Disk, Variant, lost_in, requests, traced_run

Row = tuple[str, str, int]
"""What was tried, how often and with what results, and how much was lost."""

HISTORY_EVENTS, HISTORY_THREADS = 30_000, 1_500


async def kills(folder: Path, until: float, seed: int) -> list[Row]:
    """SIGKILL at random moments: daemons on an empty data directory and, in parallel, daemons on a long history."""
    past = folder / "history"
    await asyncio.to_thread(fill, past, history(HISTORY_EVENTS, HISTORY_THREADS, seed=seed))
    return list(
        await asyncio.gather(
            kills_over(None, "kills", folder / "kills", until, seed),
            kills_over(past, f"kills over {HISTORY_EVENTS:,} events", folder / "more", until, seed + 1000),
        )
    )


async def kills_over(past: Path | None, name: str, folder: Path, until: float, seed: int) -> Row:
    """Kill daemons on one data directory after the other; each starts as a copy of `past`."""
    total, round = Report(), 0
    began = time.monotonic()
    folder.mkdir()
    while time.monotonic() < until:
        data_dir = folder / f"{round}"
        if past is not None:
            shutil.copytree(past, data_dir)
        total.add(await Driver(data_dir, seed + round).run(25))
        shutil.rmtree(data_dir)
        round += 1
    for problem in total.problems[:20]:
        print(f"LOST: {problem}", file=sys.stderr)
    moments = ", ".join(f"{count} at {moment}" for moment, count in sorted(total.kills.items()))
    return (
        name,
        f"{total.kills.total():,} ({moments}); {total.acknowledged:,} requests acknowledged, "
        f"{total.unanswered:,} unanswered of which {total.unanswered_but_kept:,} were kept whole; "
        f"{time.monotonic() - began:.0f} s",
        len(total.problems),
    )


async def import_kills(folder: Path, kills: int, seed: int) -> list[Row]:
    """Kill imports of histories, and compare the log with that of an undisturbed import."""
    began = time.monotonic()
    (folder / "imports").mkdir()
    report = await asyncio.to_thread(kill_imports, folder / "imports", kills, seed)
    for problem in report.problems[:20]:
        print(f"LOST: {problem}", file=sys.stderr)
    return [("kills of imports", f"{report}; {time.monotonic() - began:.0f} s", len(report.problems))]


async def purge_kills(folder: Path, kills: int, seed: int) -> list[Row]:
    """Kill daemons right after an erasure, and look for what was erased in all files."""
    began = time.monotonic()
    report = await ErasureDriver(folder / "purges", seed).run(kills)
    for problem in report.problems[:20]:
        print(f"LOST: {problem}", file=sys.stderr)
    return [("kills of purges", f"{report}; {time.monotonic() - began:.0f} s", len(report.problems))]


async def power_cuts(folder: Path, until: float, seed: int) -> list[Row]:
    """Check images of the disk as a power cut may leave it. In a short soak of fewer requests."""
    images = runs = 0
    count = 120 if until - time.monotonic() > FULL_POWER_CUTS else 20
    problems: list[str] = []
    while time.monotonic() < until or runs == 0:
        data_dir = folder / f"power-{runs}"
        events = await traced_run(data_dir, requests(count), folder / "strace.log")
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


async def storm(folder: Path, until: float, seed: int) -> list[Row]:
    """Many daemons, kills, clients that do not read and a flood, once each; then writers until the time is up.

    In a short soak the sizes are smaller.
    """
    scale = min(1.0, (until - time.monotonic()) / FULL_STORM)
    appends, flood = max(2_000, int(40_000 * scale)), max(20_000, int(FLOOD * scale))
    commands = max(25, int(250 * scale))
    rows: list[Row] = []

    def tell(name: str, outcome: str, problems: list[str]) -> None:
        for problem in problems[:20]:
            print(f"LOST: {problem}", file=sys.stderr)
        rows.append((name, outcome, len(problems)))

    killed = await storms.kill_beside(folder / "killed", daemons=8, kills=max(2, int(10 * scale)))
    tell("kills beside 7 others", f"{killed.kills}; interrupted after {storms.spread(killed.seconds)}", killed.problems)
    started = await storms.start_at_once(folder / "started", daemons=8)
    tell(
        "first starts at once", f"8 in one directory; answered after {storms.spread(started.seconds)}", started.problems
    )
    noticed = await storms.notice(folder / "noticed", daemons=8, commits=max(20, int(200 * scale)))
    tell("commits noticed by others", f"{len(noticed):,}; after {storms.spread(noticed)}", [])
    for by in ("another", "itself"):
        stalled = await storms.stall(folder / f"stalled-{by}", appends=appends, size=1000, by=by)
        outcome = f"{stalled.before} MiB before, {stalled.peak} at most"
        tell(f"{appends:,} unread appends by {by}", outcome, stalled.problems)
    flooded = await storms.flood(folder / "flooded", requests=flood)
    outcome = f"{flood:,}; {flooded.before} MiB before, {flooded.peak} at most; {flooded.seconds:.0f} s"
    tell("requests without reading", outcome, flooded.problems)
    total, rounds = storms.Writing(8), 0
    while time.monotonic() < until or rounds == 0:
        data_dir = folder / f"writing-{rounds}"
        done = await storms.write_at_once(
            data_dir,
            daemons=8,
            commands=commands,
            window=1 + rounds % 3 * 5,
            rebuilds=rounds % 2 * 3,
            durability="full",
        )
        shutil.rmtree(data_dir)
        total.acknowledged += done.acknowledged
        total.waits += done.waits
        total.told += done.told
        total.rebuilds += done.rebuilds
        total.problems += done.problems
        rounds += 1
    outcome = (
        f"{total.acknowledged:,} commands in {rounds} rounds with {total.rebuilds} rebuilds; answered after "
        f"{storms.spread(total.waits)}; 24 subscribers told {storms.spread(total.told)} after the last"
    )
    tell("8 daemons write at once", outcome, total.problems)
    return rows


async def fuzz(folder: Path, until: float, seed: int) -> list[Row]:
    """Fuzz framing and codec, guided by coverage."""
    said, failures = await asyncio.to_thread(fuzz_frames.fuzz, max(2, int(until - time.monotonic())))
    if failures:
        print(said, file=sys.stderr)
    return [("fuzz of framing and codec (atheris)", said.splitlines()[-1], failures)]


async def agent_kills(folder: Path, kills: int, seed: int) -> list[Row]:
    """Kill daemons and their agents while prompts are queued."""
    began = time.monotonic()
    report = await AgentKills(folder / "agents", seed).run(kills)
    for problem in report.problems[:20]:
        print(f"LOST: {problem}", file=sys.stderr)
    return [("kills of daemons with agents", f"{report}; {time.monotonic() - began:.0f} s", len(report.problems))]


PARTS: list[tuple[float, Callable[[Path, float, int], Awaitable[list[Row]]]]] = [
    (0.68, kills),
    (0.07, power_cuts),
    (0.22, storm),
    (0.03, fuzz),
]
FLOOD = 1_000_000
FULL_STORM = 120.0  # seconds of a storm at full size
FULL_POWER_CUTS = 10.0  # seconds


async def soak(minutes: float, kills_of_agents: int, kills_of_imports: int, kills_of_purges: int, seed: int) -> int:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="treadle-soak-") as folder:
        for share, part in PARTS:
            rows += await part(Path(folder), time.monotonic() + minutes * 60 * share, seed)
        rows += await agent_kills(Path(folder), kills_of_agents, seed)
        rows += await import_kills(Path(folder), kills_of_imports, seed)
        rows += await purge_kills(Path(folder), kills_of_purges, seed)
    print(f"soak of {datetime.now(UTC):%Y-%m-%d}, {minutes:g} minutes, seed {seed}\n")
    print("| tried | how often, and what came of it | lost |")
    print("| --- | --- | --- |")
    for name, outcome, lost in rows:
        print(f"| {name} | {outcome} | {lost} |")
    return 1 if any(lost for *_, lost in rows) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--agent-kills", type=int, default=100)
    parser.add_argument("--import-kills", type=int, default=60)
    parser.add_argument("--purge-kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    return asyncio.run(
        soak(options.minutes, options.agent_kills, options.import_kills, options.purge_kills, options.seed)
    )


if __name__ == "__main__":
    sys.exit(main())
