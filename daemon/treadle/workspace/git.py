"""Asks git about a folder."""

import os
import subprocess
from pathlib import Path
from typing import Final

from treadle.domain.remotes import normalized_remote

TIMEOUT = 2.0  # seconds until git is killed

QUIET: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
OF_ANOTHER_REPOSITORY: Final = frozenset(
    {
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"),
        *("GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"),
    }
)
"""Variables that a daemon has inherited if its editor was started by git, say by a hook."""


def remote_of(folder: Path) -> str | None:
    """The normalised remote `origin` of a folder in a repository; None if there is none, or git cannot tell."""
    top = next((above for above in (folder, *folder.parents) if os.path.lexists(above / ".git")), None)
    if top is None:
        return None  # without starting a process
    # The folder within the repository is the path below `.git`, since git may look no further up than that.
    below = "" if folder == top else folder.relative_to(top).as_posix()
    url = _output("config", "--get", "remote.origin.url", folder=top)
    return None if url is None else normalized_remote(url, below)


def _output(*arguments: str, folder: Path) -> str | None:
    """What git prints, without the line's end; None if it fails, is missing, or takes too long."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    environment |= {**QUIET, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=TIMEOUT,
            check=True,
        )
        return done.stdout.decode().removesuffix("\n")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
