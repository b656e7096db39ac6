"""Ends an agent and all that it has started. A program of its own, so that it does this after a SIGKILL of treadle too.

`python -I -S reaper.py MARK CLOSED TERMINATED`: treadle has the only other end of its input, and writes the id and the
start time of the agent's process to it. The end of the input means that the input of the agent is closed as well, so it
is given CLOSED seconds to exit. Once it has exited, whenever that is, all processes of the agent that are left get
SIGTERM, and SIGKILL after TERMINATED seconds. Exits with 0 once no process is left. What belongs to an agent is
recognised by a mark in its environment, because tools run in sessions of their own. On systems without /proc, it is the
process group of the agent.

PR_SET_PDEATHSIG (prctl(2)) would not do: it signals only the agent, and most agents that are killed leave their tools
running.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

VARIABLE = "TREADLE_AGENT"
"""Holds the mark; several with colons between them if treadle itself runs in an agent of another treadle."""
KILLED = 5.0  # seconds until processes that SIGKILL does not end, because they wait for a device, are left
POLL = 0.1  # seconds
WATCH = 0.5  # seconds between two looks at an agent, on systems that cannot tell when it exits


def has_proc() -> bool:
    """Whether the system shows its processes as files."""
    return os.path.isdir("/proc/self")  # noqa: PTH112


def start_time(process: int) -> str:
    """When a process was started, in the system's own words; with its id this is unique. Empty if it has ended."""
    if has_proc():
        try:
            with open(f"/proc/{process}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in b"ZX" else fields[19].decode()
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=False)
    return told.stdout.strip()


class MarkedAgent:
    """An agent: its mark, and its first process if that is known and still the one that was started then."""

    def __init__(self, mark: str, process: int = 0, started: str = "") -> None:
        self.mark = mark
        self._process = self._descriptor = 0
        if process > 1 and started and start_time(process) == started:
            self._process = process
            with contextlib.suppress(AttributeError, OSError):  # not Linux, or it has just ended
                self._descriptor = os.pidfd_open(process)
        self._started = started

    def wait(self, seconds: float | None, *more: int) -> bool:
        """Wait until the first process has exited, or one of the descriptors can be read; return whether it has."""
        end = None if seconds is None else time.monotonic() + seconds
        while self._lives():
            left = None if end is None else max(0.0, end - time.monotonic())
            if self._descriptor:
                ready, _, _ = select.select([self._descriptor, *more], [], [], left)
            else:
                ready, _, _ = select.select(more, [], [], WATCH if left is None else min(WATCH, left))
            if set(ready) & set(more) or left == 0:
                break
        return not self._lives()

    def _lives(self) -> bool:
        if self._descriptor:
            return not select.select([self._descriptor], [], [], 0)[0]
        return self._process != 0 and start_time(self._process) == self._started

    def send(self, number: int) -> bool:
        """Send a signal to all processes of the agent; return whether there are any. 0 only looks."""
        found = False
        if not has_proc():
            if self._process:
                with contextlib.suppress(OSError):
                    os.killpg(self._process, number)
                    found = True
            return found
        others = list(processes_with(self.mark))
        if self._lives() and self._process not in others:  # it has changed its environment, or hides it
            others.append(self._process)
        for process in others:
            with contextlib.suppress(OSError):
                os.kill(process, number)
                found = True
        return found


def processes_with(mark: str) -> Iterator[int]:
    """The ids of the processes with this mark."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        try:
            with open(f"/proc/{int(name)}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except (ValueError, OSError):  # no process, has ended, or is another user's
            continue
        values = [variable.partition(b"=")[2] for variable in variables if variable.startswith(f"{VARIABLE}=".encode())]
        if any(mark.encode() in value.split(b":") for value in values):
            yield int(name)


def wait(seconds: float, number: int, agent: MarkedAgent) -> bool:
    """Wait until no process of the agent is left, sending them a signal; return whether any is."""
    end, absent = time.monotonic() + seconds, 0
    while absent < 2:  # a process that has just called exec(3) has no environment for a moment
        absent = 0 if agent.send(number) else absent + 1
        if absent == 0 and time.monotonic() > end:
            return True
        time.sleep(POLL)
    return False


def reap(agent: MarkedAgent, terminated: float) -> bool:
    """End all processes of an agent; return whether any is left."""
    agent.send(signal.SIGTERM)
    return wait(terminated, 0, agent) and wait(KILLED, signal.SIGKILL, agent)


def main(mark: str, closed: str, terminated: str) -> int:
    """Wait for the end of the input or of the agent, and end all of it; return the exit status."""
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    process, _, started = os.read(0, 256).decode().partition(" ")  # empty if the agent could not be started
    agent = MarkedAgent(mark, int(process or 0), started.strip())
    if not agent.wait(None, 0):
        agent.wait(float(closed))
    return int(reap(agent, float(terminated)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
