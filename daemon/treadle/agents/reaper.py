"""Ends an agent and all that it has started. A program of its own, so that it does this after a SIGKILL of treadle too.

`python -I -S reaper.py MARK CLOSED TERMINATED`: waits for the end of its input, of which treadle has the only other
end. By then the input of the agent is closed as well, so it is given CLOSED seconds to end by itself, then all of its
processes get SIGTERM and TERMINATED seconds, then SIGKILL. Exits with 0 once none is left. What belongs to an agent is
recognised by a mark in its environment, because tools run in sessions of their own. On systems without /proc, it is
the process group whose id treadle has written to the input.

PR_SET_PDEATHSIG (prctl(2)) would not do: it signals only the agent, and most agents that are killed leave their tools
running.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

VARIABLE = "TREADLE_AGENT"
"""Holds the mark; several with colons between them if treadle itself runs in an agent of another treadle."""
KILLED = 5.0  # seconds until processes that SIGKILL does not end, because they wait for a device, are left
POLL = 0.1  # seconds


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


def send(number: int, mark: str, group: int) -> bool:
    """Send a signal to all processes of an agent; return whether there are any. 0 only looks."""
    found = False
    if os.path.isdir("/proc/self"):  # noqa: PTH112
        for process in processes_with(mark):
            with contextlib.suppress(OSError):
                os.kill(process, number)
                found = True
    elif group:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
            found = True
    return found


def wait(seconds: float, number: int, mark: str, group: int) -> bool:
    """Wait until no process of the agent is left, sending them a signal; return whether any is."""
    end, absent = time.monotonic() + seconds, 0
    while absent < 2:  # a process that has just called exec(3) has no environment for a moment
        absent = 0 if send(number, mark, group) else absent + 1
        if absent == 0 and time.monotonic() > end:
            return True
        time.sleep(POLL)
    return False


def reap(mark: str, group: int, closed: float, terminated: float) -> bool:
    """End all processes of an agent whose input is closed; return whether any is left."""
    if not wait(closed, 0, mark, group):
        return False
    send(signal.SIGTERM, mark, group)
    return wait(terminated, 0, mark, group) and wait(KILLED, signal.SIGKILL, mark, group)


if __name__ == "__main__":
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    mark, closed, terminated = sys.argv[1:]
    told = sys.stdin.read().strip()
    sys.exit(reap(mark, int(told or 0), float(closed), float(terminated)))
