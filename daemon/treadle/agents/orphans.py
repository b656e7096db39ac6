"""Records of running agents, by which the next daemon ends agents whose daemon and reaper were both killed.

A record is a file, `MARK.json`, in the folder `agents` of the data directory. It is written before the agent is started
and removed when nothing of the agent is left. A process counts as the agent's only if it has the mark in its
environment, or the id and the start time of the record.
"""

import asyncio
import contextlib
import logging
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from treadle.agents.reaper import start_time

log = logging.getLogger(__name__)

REAPER = str(Path(__file__).with_name("reaper.py"))
TERMINATED = 4.0
"""Seconds from SIGTERM to SIGKILL."""
MAX_RECORD_BYTES = 4096
SUFFIX, PART = ".json", ".part"
MARK = re.compile(r"[0-9a-f]{32}")

ProcessId = Annotated[int, Meta(ge=0, lt=2**31)]


class AgentRecord(Struct, frozen=True, rename="camel"):
    """A running agent. runner: the name of its daemon. pid, start_time: of its process; 0 and empty until it runs.
    boot_id: of the system; ids and start times are of one boot."""

    mark: str
    runner: str
    boot_id: str
    reaper_pid: ProcessId
    pid: ProcessId = 0
    start_time: str = ""


class Records(Struct, frozen=True):
    """Where the records of a daemon are. runner: its name."""

    folder: Path
    runner: str

    def write(self, mark: str, reaper_pid: int, pid: int = 0) -> None:
        """Write the record of an agent, or replace it in one step. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = AgentRecord(mark, self.runner, boot_id(), reaper_pid, pid, start_time(pid) if pid else "")
        part = self.folder / f"{mark}{PART}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(record))
        part.replace(self.folder / f"{mark}{SUFFIX}")

    def remove(self, mark: str) -> None:
        """Remove the record of an agent of which nothing is left."""
        with contextlib.suppress(OSError):
            (self.folder / f"{mark}{SUFFIX}").unlink(missing_ok=True)


def boot_id() -> str:
    """What the system calls its present boot; empty if it does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


async def start_reaper(mark: str, closed: float, terminated: float) -> asyncio.subprocess.Process:
    """Start a reaper, in a session of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", REAPER, mark, str(closed), str(terminated)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


async def reap(mark: str, pid: int, started: str, terminated: float = TERMINATED) -> bool:
    """End all processes of an agent at once; return whether none is left. Cancelling this does not stop it."""
    reaper = await start_reaper(mark, 0, terminated)
    await reaper.communicate(f"{pid} {started}\n".encode())
    return reaper.returncode == 0


async def end_orphans(folder: Path, is_gone: Callable[[str], bool]) -> int:
    """End the agents whose daemons have exited, and remove their records; return how many were recorded.

    is_gone: tells whether the daemon of this name has exited. Returns when nothing of them is left, which takes some
    seconds. What cannot be read, removed or ended is logged as a warning, and tried again the next time.
    """
    orphans = _orphans(folder, is_gone)
    await asyncio.gather(*(_end(file, record) for file, record in orphans))
    return len(orphans)


def left_behind(folder: Path, is_gone: Callable[[str], bool]) -> list[Path]:
    """The records whose daemons have exited, and those that are invalid. Changes nothing. Raises OSError."""
    left: list[Path] = []
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            if is_gone(_read(file).runner):
                left.append(file)
        except FileNotFoundError:
            continue  # the agent has just ended
        except (ValueError, RecursionError):
            left.append(file)
    return left


def _orphans(folder: Path, is_gone: Callable[[str], bool]) -> list[tuple[Path, AgentRecord]]:
    """The records whose daemons have exited. Removes those that are invalid or of another boot."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("the records of agents cannot be read: %s", error)
        return []
    orphans: list[tuple[Path, AgentRecord]] = []
    for file in files:
        try:
            record = _read(file)
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, FileNotFoundError):
                continue  # the agent has just ended
            log.warning("the record of an agent is invalid and is removed: %s: %s", file, error)
            _remove(file)
            continue
        if record.boot_id != boot_id():
            _remove(file)
        elif is_gone(record.runner):
            orphans.append((file, record))
    return orphans


async def _end(file: Path, record: AgentRecord) -> None:
    if await reap(record.mark, record.pid, record.start_time):
        log.info("an agent of %s, which has exited, was ended", record.runner)
        _remove(file.with_suffix(PART))
        _remove(file)
    else:
        log.warning("processes of an agent of %s are left: see %s", record.runner, file)


def _read(file: Path) -> AgentRecord:
    """The record in a file. Raises ValueError if it is not one, and OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # neither a link, nor waiting for a pipe
    with open(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a file")
        record = msgspec.json.decode(opened.read(MAX_RECORD_BYTES), type=AgentRecord)
    if not MARK.fullmatch(record.mark) or record.mark != file.stem:
        raise ValueError("its name is not its mark")
    if re.search(r"[\0-\x1f]", record.start_time):
        raise ValueError("its start time is invalid")
    return record


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be removed: %s", file, error)
