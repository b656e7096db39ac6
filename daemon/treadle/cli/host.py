"""`treadle host`: run agents for all daemons, so that they keep working when an editor closes."""

import argparse
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, agents_files_of, lasting_data_dir_of

if TYPE_CHECKING:
    from treadle.server.host_lock import HostRecord
    from treadle.store.records import ThreadWork

MORE = """\
An editor's daemon ends with the editor, and its agents with it. While a host runs, daemons leave new work to it: it
sends the prompts, and any daemon shows what the agents do and answers their approvals. It ends by itself once no agent
has worked for a while. --status exits with 1 if no host runs.
"""
EXAMPLE = """\
treadle host --detach
treadle host --status
treadle host --stop
"""
LOG = "host.log"
ENDING = 30.0  # seconds that --stop waits
POLL = 0.05  # seconds


def add(commands: Commands) -> None:
    does = "keep agents working when the editor closes"
    command = commands.add("host", does, run, more=MORE, example=EXAMPLE)
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--detach", action="store_true", help=f"run in the background; the log goes to {LOG} in the data directory"
    )
    which.add_argument("--stop", action="store_true", help="end the host that runs: its agents are ended")
    which.add_argument("--status", action="store_true", help="say whether a host runs, and what it does")
    command.add_argument(
        "--idle-minutes",
        type=_minutes,
        default=10,
        metavar="N",
        help="end once no agent has worked for so long (default: %(default)s)",
    )


def _minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def run(options: argparse.Namespace) -> int:
    data_dir = lasting_data_dir_of(options)
    if options.stop:
        return _stop(data_dir)
    if options.status:
        return _status(data_dir)
    if options.detach:
        return _detach(lambda ready: _run(options, data_dir, ready), data_dir / LOG)
    return _run(options, data_dir, lambda: print(f"host {os.getpid()} runs", flush=True))


def _run(options: argparse.Namespace, data_dir: Path, ready: Callable[[], None]) -> int:
    import asyncio

    from treadle.server.host import run_host
    from treadle.server.host_lock import HostLock, host_of

    files = agents_files_of(options)
    lock = HostLock(data_dir)
    if not lock.acquire():
        print(_named(host_of(data_dir), "runs already"))
        return 0
    try:
        return asyncio.run(
            run_host(data_dir, lock, idle=options.idle_minutes * 60, agents_files=lambda: files, ready=ready)
        )
    finally:
        lock.release()


def _named(host: "HostRecord | None", does: str) -> str:
    return f"{'a host' if host is None else f'host {host.pid}'} {does}"


def _detach(run: Callable[[Callable[[], None]], int], log: Path) -> int:
    """Run in a process of its own session, and return once it is ready, or has ended.

    Until it is ready, it says what is wrong on the standard streams of this process.
    """
    source, sink = os.pipe()
    child = os.fork()
    if child:
        os.close(sink)
        with open(source, "rb") as told:
            if told.read():
                print(f"host {child} runs")
                return 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  # whoever waits for the end of an inherited pipe would wait for us
        if int(name) not in (0, 1, 2, sink):
            with contextlib.suppress(OSError):
                os.close(int(name))

    def ready() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        os.write(sink, b"ready")
        os.close(sink)

    return run(ready)


def _stop(data_dir: Path) -> int:
    import time

    from treadle.server.host_lock import has_host, host_of
    from treadle.store.errors import UserError

    host = host_of(data_dir)
    if host is None:
        if has_host(data_dir):
            raise UserError("the host cannot be told to end: its lock does not name its process")
        print("no host runs")
        return 0
    host.end()
    deadline = time.monotonic() + ENDING
    while (now := host_of(data_dir)) is not None and now.pid == host.pid:
        if time.monotonic() > deadline:
            raise UserError(f"host {host.pid} has not ended after {ENDING:g} s: see its log")
        time.sleep(POLL)
    print(f"host {host.pid} has ended")
    return 0


def _status(data_dir: Path) -> int:
    import treadle.cli.output as output
    from treadle.server.host_lock import has_host, host_of
    from treadle.store.sqlite.reader import reading

    host = host_of(data_dir)
    if host is None and not has_host(data_dir):
        print("no host runs")
        return 1
    if host is None or not host.runner:
        print(_named(host, "is starting"))
        return 0
    print(f"host {host.pid} runs since {output.to_the_minute(host.since)}")
    with reading(data_dir) as reader:
        works = reader.read(lambda reads: reads.work(reads.threads_at_work()))
    for work in works:
        if work.session is not None and work.session.open and work.session.runner == host.runner:
            print(f"  {work.thread_id}  {work.session.agent}  {_does(work)}  {output.one_line(work.title)}")
    return 0


def _does(work: "ThreadWork") -> str:
    if work.turn is None:
        return "idle"
    return "waits for an approval" if work.approvals else "works"
