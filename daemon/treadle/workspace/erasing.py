"""Removes what an erased thread has outside of the log: its worktree, and the refs of its checkpoints."""

import contextlib
import logging
from pathlib import Path
from typing import Any

from treadle.core.access import Read
from treadle.workspace.git import GitError
from treadle.workspace.pruning import repositories_of
from treadle.workspace.repositories import recording
from treadle.workspace.snapshots import list_refs, prune, thread_refs
from treadle.workspace.thread_folders import ThreadFolders

log = logging.getLogger(__name__)


async def remove_files(data_dir: Path, read: Read, thread_ids: list[str]) -> None:
    """Remove the worktrees and the refs of threads that were erased. read: runs a read.

    What fails is logged, and left to the next time: `treadle worktree discard` and the pruning of checkpoints find it.
    The objects in git are left to `git gc`.
    """

    def submit(commands: Any) -> Any:
        raise NotImplementedError  # the log says already that they are gone

    folders = ThreadFolders(data_dir, submit, read)
    works = await read(lambda reads: reads.work(thread_ids))
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
