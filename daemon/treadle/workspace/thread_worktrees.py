"""What becomes of the work in a worktree: it is applied to the folder of the project, or discarded."""

from functools import partial
from typing import Final

from treadle.contract.results import Discarded, Restoration
from treadle.core.access import Read, Submit
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.store.ids import new_id
from treadle.store.ports import Reads
from treadle.store.records import ThreadWork
from treadle.workspace.checkpoints import Checkpoints, restoration, running_turn
from treadle.workspace.diffs import compare
from treadle.workspace.git import GitError
from treadle.workspace.repositories import Repository, recording
from treadle.workspace.snapshots import checkpoint_ref
from treadle.workspace.thread_folders import ThreadFolders
from treadle.workspace.worktrees import apply_worktree, named, plan_apply

MAX_FILES: Final = 1_000
"""Files that are told of those that a worktree has and the project has not."""


class ThreadWorktrees:
    """Applies and discards the worktrees of threads. submit: gives commands to the engine. read: runs a read."""

    def __init__(
        self,
        folders: ThreadFolders,
        checkpoints: Checkpoints,
        submit: Submit,
        read: Read,
    ) -> None:
        self._folders, self._checkpoints, self._submit, self._read = folders, checkpoints, submit, read

    async def apply(self, thread_id: str, *, dry_run: bool = False) -> Restoration:
        """Apply what the worktree changed to the project's folder, after taking a checkpoint of what is there.

        dry_run: only say what would be written and removed. Raises GitError (`conflict`), NotFound, and Rejected while
        a turn runs in one of the folders.
        """
        work = await self._folders.work(thread_id)
        base = _base(work)
        worktree, project = await self._folders.opened(work), await self._folders.project(work)
        if dry_run:
            planned = await plan_apply(project, worktree, base)
            return restoration(planned.changes, None)
        for folder in (work.path, work.project):
            if (running := await self._read(partial(_running_in, folder))) is not None:
                raise Rejected("turnRunning", f"turn {running!r} is still running in {folder}", turnId=running)
        id, title = new_id(), "before a worktree was applied"
        ref = checkpoint_ref(thread_id, id)
        async with recording(project):
            done = await apply_worktree(project, worktree, base, ref, title)
            if done is None:
                return restoration(None, None)
            await self._submit(
                [
                    c.CreateCheckpoint(
                        thread_id=thread_id,
                        id=id,
                        git_ref=ref,
                        message=title,
                        commit=done.before.commit,
                        tree=done.before.tree,
                        in_project=True,
                    )
                ]
            )
        return restoration(done.restored, id)

    async def discard(self, thread_id: str, *, force: bool = False, dry_run: bool = False) -> Discarded:
        """Remove the worktree, after taking a checkpoint of it. The thread may have been deleted: then there is none.

        force: also if it has changes that the project's folder has not. dry_run: only say which. Raises GitError
        (`worktreeNotClean`), NotFound, and Rejected while a turn runs in it.
        """
        work = await self._folders.work(thread_id, deleted=True)
        _base(work, made=False)
        worktree = await self._found(work, force or dry_run)
        files = [] if worktree is None else await self._only_there(work, worktree)
        if dry_run:
            return Discarded(files[:MAX_FILES], None)
        if files and not force:
            raise GitError("worktreeNotClean", f"the worktree has what {work.project} does not have: {named(files)}")
        if work.turn is not None:
            raise Rejected("turnRunning", f"turn {work.turn.id!r} is still running", turnId=work.turn.id)
        kept = None
        if worktree is not None and not work.deleted:
            kept = await self._checkpoints.take(thread_id, message="before the worktree was discarded")
        async with self._folders.locked(thread_id):
            if not work.deleted:
                await self._submit([c.RemoveWorktree(thread_id=thread_id)])
            await self._folders.remove(work)
        return Discarded(files[:MAX_FILES], kept)

    async def _found(self, work: ThreadWork, force: bool) -> Repository | None:
        """The worktree; None if it is not there. force: also if what is there cannot be used."""
        if work.worktree is None or work.worktree.path is None or not self._folders.is_there(work):
            return None
        try:
            return await self._folders.opened(work)
        except GitError:
            if not force:
                raise
            return None

    async def _only_there(self, work: ThreadWork, worktree: Repository) -> list[str]:
        """The files that the worktree has, or has changed, and the project's folder has not."""
        base = _base(work)
        try:
            return (await plan_apply(await self._folders.project(work), worktree, base)).files
        except GitError:  # they conflict, or the folder of the project is gone
            found = await compare(worktree, base, None, limit=MAX_FILES)
            return [file.path for file in found.files]


def _running_in(folder: str, reads: Reads) -> str | None:
    return running_turn(reads, folder)


def _base(work: ThreadWork, *, made: bool = True) -> str:
    if work.worktree is None:
        raise Rejected("noWorktree", f"thread {work.thread_id!r} was created without a worktree")
    if made and work.worktree.path is None:
        raise Rejected("noWorktree", f"the worktree of thread {work.thread_id!r} is not there")
    return str(work.worktree.base)
