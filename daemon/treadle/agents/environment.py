"""The environment of an agent: that of treadle, and the PATH of the user's shell if treadle has only the system's.

A program that is started from a desktop has a PATH like `/usr/bin:/bin`, without what the user's shell adds: agents are
not found on it, and neither is the `node` of their first line. Only an interactive login shell reads all files in which
people set it.
"""

import asyncio
import functools
import logging
import os
import pwd
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from treadle.agents.reaper import VARIABLE

log = logging.getLogger(__name__)

OF_ANOTHER_AGENT = frozenset(("CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_SESSION_ID"))
"""Variables by which Claude Code finds that it runs within another one, and refuses to start."""
OF_THE_SYSTEM = frozenset(("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"))
"""What PATH holds if nobody has set it."""
SHELL_SECONDS = 4.0
"""Seconds in which the user's shell has to start."""

_ASK = '/bin/sh -c \'printf %s "$PATH" >"$TREADLE_PATH_FILE"\''
"""bash, zsh and fish read this alike. It writes to a file, because the files of a shell may print anything."""
_one_at_a_time = threading.Lock()


async def environment_for(variables: Mapping[str, str], mark: str | None = None) -> dict[str, str]:
    """The environment of an agent: that of treadle, the configured variables, and the mark, if there is one.

    Variables of git are left out: in a hook they name the hook's repository, and the author of its commit.
    """
    kept = {k: v for k, v in os.environ.items() if k not in OF_ANOTHER_AGENT and not k.startswith("GIT_")}
    path = kept.get("PATH", "")
    if "PATH" not in variables and OF_THE_SYSTEM.issuperset(path.split(os.pathsep)):
        kept["PATH"] = await asyncio.to_thread(path_of_shell, path)
    marks = ":".join(filter(None, (os.environ.get(VARIABLE), mark)))
    return {**kept, **variables, **({VARIABLE: marks} if marks else {})}


def path_of_shell(path: str) -> str:
    """The PATH that the user's shell sets, asked once; if it fails, `path`, with a warning. Blocks for some seconds."""
    with _one_at_a_time:
        return _asked(os.environ.get("SHELL") or pwd.getpwuid(os.getuid()).pw_shell, path)


@functools.cache
def _asked(shell: str, path: str) -> str:
    with tempfile.TemporaryDirectory(prefix="treadle-") as folder:
        file = Path(folder) / "path"
        file.touch(0o600)
        failure = _run(shell, file)
        found = file.read_text(errors="surrogateescape")
    if os.sep in found:
        return found
    log.warning("the PATH of your shell is unknown, agents get that of treadle: %s %s", shell, failure)
    return path


def _run(shell: str, file: Path) -> str:
    """Let the shell write its PATH to a file; return what it did, for a warning."""
    try:
        process = subprocess.Popen(
            [shell, "-i", "-l", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TREADLE_PATH_FILE": str(file)},
            start_new_session=True,  # an interactive shell takes the terminal, and a job of its own may stay
        )
    except (OSError, ValueError) as error:
        return f"cannot be run: {error}"
    try:
        return f"exited with status {process.wait(SHELL_SECONDS)}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"has not started within {SHELL_SECONDS:g} s"
