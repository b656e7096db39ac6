"""Shows long output in a pager, as git does: GIT_PAGER, core.pager, PAGER, or less, if stdout is a terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import treadle.cli.output as output

MISSING = (126, 127)
"""The exit statuses of a shell that cannot run the program."""


def page(lines: Iterable[str], folder: Path) -> None:
    """Print lines in the pager that git would use in this folder, and wait until the user leaves it."""
    text = "".join(f"{line}\n" for line in lines)
    pager = _pager(folder) if output.is_terminal() else "cat"
    if pager == "cat" or not text or not _shown(pager, text.encode()):
        sys.stdout.write(text)


def _pager(folder: Path) -> str:
    command = ("git", "-C", str(folder), "var", "GIT_PAGER")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "less"
    return os.fsdecode(done.stdout).strip() or "cat"


def _shown(pager: str, text: bytes) -> bool:
    """Whether there is such a program. less leaves colours as they are, and ends at once if all fits on the screen."""
    environment = {"LESS": "FRX", "LV": "-c", **os.environ}
    sys.stdout.flush()
    process = subprocess.Popen(["sh", "-c", pager], stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager, which we wait for
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(text)
        return process.wait() not in MISSING
    finally:
        signal.signal(signal.SIGINT, before)
