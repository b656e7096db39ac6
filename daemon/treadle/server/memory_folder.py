"""The data directory of a daemon with `--memory`: a private folder in memory that does not outlive it.

`memory.lock` in the folder shows whether its daemon lives: the kernel releases it however the process ends.
"""

import asyncio
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from treadle.agents.orphans import end_orphans
from treadle.server.services import RECORDS
from treadle.store.errors import Refused, explained
from treadle.store.sqlite.database import MEMORY, FileLock
from treadle.store.sqlite.environment import mounted_as

log = logging.getLogger(__name__)

SHM: Final = Path("/dev/shm")
PREFIX: Final = "treadle-memory-"


@contextmanager
def memory_folder(memory: Path = SHM) -> Iterator[Path]:
    """A new folder in memory that only its owner may enter (0700). It is removed after the block.

    First removes the folders of daemons that were killed. Raises Refused if there is no file system in memory.
    """
    if mounted_as(memory) not in ("tmpfs", "ramfs") or not os.access(memory, os.W_OK | os.X_OK):
        raise Refused(
            f"--memory needs a file system in memory at {memory} that you may write to, which Linux has and macOS has "
            "not: leave --memory out, and erase the threads afterwards"
        )
    remove_left(memory)
    try:
        folder, lock = _make(memory)
    except OSError as error:
        why = explained(error)
        raise Refused(f"--memory: {why}", why.kind) from error
    before = os.environ.get("SQLITE_TMPDIR")
    os.environ["SQLITE_TMPDIR"] = str(folder)  # SQLite's temporary files hold rows as well
    try:
        yield folder
    finally:
        os.environ.pop("SQLITE_TMPDIR")
        if before is not None:
            os.environ["SQLITE_TMPDIR"] = before
        _remove(folder)
        lock.release()


def remove_left(memory: Path = SHM) -> None:
    """Remove the folders of this user's daemons that were killed, and end the agents that they left."""
    for folder in memory.glob(f"{PREFIX}*"):
        lock = FileLock(folder / MEMORY)
        try:
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid() or not lock.acquire():
                continue
            asyncio.run(end_orphans(folder / RECORDS, lambda runner: True))
            _remove(folder)
        except OSError:
            continue  # it was removed meanwhile, by its daemon or by another one
        finally:
            lock.release()


def _make(memory: Path) -> tuple[Path, FileLock]:
    while True:
        folder = memory / f"{PREFIX}{secrets.token_hex(8)}"
        lock = FileLock(folder / MEMORY)
        folder.mkdir(mode=0o700)
        try:
            if lock.acquire() and lock.path.exists():
                return folder, lock
        except FileNotFoundError:
            pass
        # Before we locked it, another daemon took it for one that was left, and removes it.
        lock.release()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.error("%s could not be removed: remove it", folder)
