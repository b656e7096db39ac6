"""Removes what an erased thread has outside of the log: its worktree, and the refs of its checkpoints."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.store.ports import Reads
from treadle.store.sqlite.reader import Reader, reading
from treadle.workspace.git import GitError
from treadle.workspace.pruning import repositories_of
from treadle.workspace.repositories import recording
from treadle.workspace.snapshots import list_refs, prune, thread_refs
from treadle.workspace.thread_folders import ThreadFolders

log = logging.getLogger(__name__)


def remove_files(data_dir: Path, thread_ids: list[str]) -> None:
    """Remove the worktrees and the refs of threads that were erased. What fails is logged, and left to the next time:
    `treadle worktree discard` and the pruning of checkpoints find it. The objects in git are left to `git gc`."""
    with reading(data_dir) as reader:
        asyncio.run(_remove(data_dir, reader, thread_ids))


async def _remove(data_dir: Path, reader: Reader, thread_ids: list[str]) -> None:
    def read(function: Callable[[Reads], Any]) -> "asyncio.Future[Any]":
        found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        found.set_result(reader.read(function))
        return found

    def submit(commands: Any) -> Any:
        raise NotImplementedError  # the log says already that they are gone

    folders = ThreadFolders(data_dir, submit, read)
    works = reader.read(lambda reads: reads.work(thread_ids))
    for work in works:
        if folders.is_there(work):
            with _logged(f"the worktree of thread {work.thread_id}"):
                async with folders.locked(work.thread_id):
                    await folders.remove(work)
    paths = {work.project_id: work.folder for work in works if work.folder is not None}
    own = [thread_refs(id) for id in thread_ids]
    for repository, _ in await repositories_of(paths, data_dir):
        with _logged(f"the checkpoints in {repository.top}"):
            async with recording(repository):
                refs = [ref for ref in await list_refs(repository) if ref.startswith(tuple(own))]
                if refs:
                    await prune(repository, refs)


@contextlib.contextmanager
def _logged(what: str) -> Any:
    try:
        yield
    except (GitError, OSError) as error:
        log.warning("%s could not be removed: %s", what, error)
