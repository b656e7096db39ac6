"""Rows for checkpoints: what a snapshot costs beside git itself, a turn, and the disk."""

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import wire
from benchmarks import rows_agents
from benchmarks.harness import Absent, Bench, Figure, ms, p50
from checkouts import Checkout, new_ref
from treadle.workspace.repositories import open_repository
from treadle.workspace.snapshots import Snapshot, take_snapshot

FOLDERS = 100
TAKEN = 5  # of each kind per round


def checkout(bench: Bench, files: int) -> Checkout:
    """A committed repository with so many files of some 200 bytes in folders of folders."""
    home = bench.folder("checkpoints")
    made = Checkout(home / "app", home)
    for folder in range(min(FOLDERS, files)):
        (made.folder / f"{folder % 10}" / f"{folder}").mkdir(parents=True)
    for n in range(files):
        folder = n % min(FOLDERS, files)
        (made.folder / f"{folder % 10}" / f"{folder}" / f"{n}.txt").write_text(f"{n}\n" * 40)
    made.git("config", "gc.auto", "0")
    made.git("config", "maintenance.auto", "false")  # or git packs in the background while something is measured
    made.commit()
    return made


def status(made: Checkout) -> float:
    began = time.perf_counter()
    subprocess.run(["git", "-C", made.top, "status", "--porcelain"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


async def timed(made: Checkout, previous: str | None) -> tuple[float, Snapshot]:
    """The seconds of a snapshot as before a turn, with finding the repository."""
    began = time.perf_counter()
    repository = await open_repository(made.folder, made.data_dir)
    taken = await take_snapshot(repository, new_ref(), "bench", previous=previous)
    return time.perf_counter() - began, taken


def beside_status(bench: Bench, files: int, name: str) -> Mapping[str, Figure | Absent]:
    made = checkout(bench, files)
    previous = asyncio.run(timed(made, None))[1].commit
    status(made)
    ours, theirs = list[float](), list[float]()
    for _ in bench.rounds():
        taken, bare = list[float](), list[float]()
        for _ in range(TAKEN):
            bare.append(status(made))
            taken.append(asyncio.run(timed(made, previous))[0])
        ours.append(p50(taken))
        theirs.append(p50(bare))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {name: Figure(ratios, f"{ms(p50(ours))}, {ms(p50(theirs))} of `git status`")}


def small(bench: Bench) -> Mapping[str, Figure | Absent]:
    return beside_status(bench, bench.sizes.files, "checkpoint: small")


def large(bench: Bench) -> Mapping[str, Figure | Absent]:
    return beside_status(bench, bench.sizes.many_files, "checkpoint: large")


def prompt(bench: Bench) -> Mapping[str, Figure | Absent]:
    made = checkout(bench, bench.sizes.files)
    extra, with_them, without = list[float](), list[float](), list[float]()
    with rows_agents.agents(bench, 1) as daemon:
        daemon.dispatch("UpdateProject", id="p", path=str(made.folder.resolve()))
        rows_agents.first_chunk(daemon)  # it starts the agent
        for _ in bench.rounds():
            on, off = (first_chunks(bench, daemon, setting) for setting in ("auto", "off"))
            with_them.append(on)
            without.append(off)
            extra.append((on - off) * 1000)
    return {"checkpoint: prompt": Figure(extra, f"{ms(p50(with_them))}, {ms(p50(without))} without")}


def first_chunks(bench: Bench, daemon: wire.Daemon, setting: str) -> float:
    daemon.dispatch("ChangeSetting", key="checkpoints", value=setting)
    return p50([rows_agents.first_chunk(daemon) for _ in range(bench.sizes.first_chunks)])


def disk(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Blocks, not lengths: small files take whole ones."""
    made = checkout(bench, bench.sizes.files)
    ratios, ours, theirs = list[float](), list[float](), list[float]()
    previous = asyncio.run(timed(made, None))[1].commit
    for number in bench.rounds():
        for n in range(bench.sizes.checkpoints):
            before = used_blocks(made.top / ".git")
            (made.folder / "0" / "0" / "0.txt").write_text(f"{number} {n}\n" * 40)
            previous = asyncio.run(timed(made, previous))[1].commit
            ours.append(used_blocks(made.top / ".git") - before)
            before = used_blocks(made.top / ".git")
            (made.folder / "0" / "0" / "0.txt").write_text(f"{number} {n} again\n" * 40)
            made.git("commit", "--quiet", "--all", "--message", "bench")
            theirs.append(used_blocks(made.top / ".git") - before)
        ratios.append(p50(ours) / p50(theirs))
    return {"checkpoint: disk": Figure(ratios, f"{p50(ours):,.0f} bytes, {p50(theirs):,.0f} of the commit, unpacked")}


def used_blocks(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not os.path.isdir(path))  # noqa: PTH112
