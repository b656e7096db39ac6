"""Starts an agent with a pipe on its stdin and its stdout.

The process that the editor has started becomes the agent itself (exec), so exit status, signals, stderr, process group
and process id are those of the agent. The pipe is a process beside it, in a session of its own as nobody may signal it:
it ends when the agent or the editor does, as a pipe of the kernel would. If a step fails, the agent gets the editor's
own descriptors and nothing is recorded.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # exit statuses, as those of a shell


class PipeEnds(NamedTuple):
    """The descriptors of a pipe beside an agent. wake: each byte to it says that there is more to record."""

    from_editor: int
    to_editor: int
    to_agent: int
    from_agent: int
    wake: int


def launch(program: list[str], carry: Callable[[PipeEnds], None], record: Callable[[int], None]) -> NoReturn:
    """Become the program. Before that, start a process that calls `carry`, and one that calls `record`.

    record: is given the other end of `wake`, whose end says that all is there.
    """
    with contextlib.suppress(OSError):
        agent_in, to_agent = os.pipe()
        from_agent, agent_out = os.pipe()
        woken, wake = os.pipe()
        child = os.fork()
        if child == 0:
            _beside(PipeEnds(0, 1, to_agent, from_agent, wake), woken, carry, record)
        if os.waitpid(child, 0)[1] == 0:
            os.dup2(agent_in, 0)
            os.dup2(agent_out, 1)
    become(program)


def become(program: list[str]) -> NoReturn:
    """Replace this process by the program. If that is impossible, exit as a shell does."""
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the program would inherit that
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(program[0], program, _environment())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(2, f"treadle: {program[0]} cannot be started: {error.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


def _environment() -> dict[bytes, bytes]:
    """The environment that this process was given. Python may have added LC_CTYPE to its own (PEP 538)."""
    environment = dict(os.environb)
    with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as given:
        if not any(variable.startswith(b"LC_CTYPE=") for variable in given.read().split(b"\0")):
            environment.pop(b"LC_CTYPE", None)
    return environment


def _beside(ends: PipeEnds, woken: int, carry: Callable[[PipeEnds], None], record: Callable[[int], None]) -> NoReturn:
    """Start both processes, so that none of them is a child of the agent. Exits with 0 if the pipe works."""
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:
            _run(lambda: record(woken), {woken}, null=(0, 1, 2))
        if os.fork() == 0:
            _run(lambda: carry(ends), set(ends), null=(2,))
        status = 0
    finally:
        os._exit(status)


def _run(work: Callable[[], None], kept: set[int], null: tuple[int, ...]) -> NoReturn:
    """Work with only these descriptors and the first three: another one would hold a pipe open that shall end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for descriptor in null:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        first = 3
        for descriptor in sorted(kept - {0, 1, 2}):
            os.closerange(first, descriptor)
            first = descriptor + 1
        os.closerange(first, max(first, _most_descriptors()))
        work()
    finally:
        os._exit(0)


def _most_descriptors() -> int:
    with contextlib.suppress(OSError, ValueError):
        return max(int(path.name) for path in Path("/dev/fd").iterdir()) + 1
    return int(os.sysconf("SC_OPEN_MAX")) if sys.platform != "linux" else 4096
