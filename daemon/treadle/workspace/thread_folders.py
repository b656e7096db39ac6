"""Where the agents of threads work: in the folder of the project, or in a worktree that is made for the thread.

A worktree is below `worktrees/` of the data directory, in a folder of the thread. The log says that it is there once it
is whole, and that it is gone before it is removed: so what a killed daemon leaves is found by its place, and removed.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from treadle.core.access import Read, Submit
from treadle.domain import commands as c
from treadle.domain.errors import NotFound, Rejected
from treadle.store.records import ThreadWork
from treadle.store.sqlite.database import FileLock
from treadle.workspace.git import GitError
from treadle.workspace.repositories import Repository, locked, open_repository
from treadle.workspace.worktrees import WORKTREE_SECONDS, create_worktree, reattach_worktree, remove_worktree

FOLDER: Final = "worktrees"
"""In the data directory."""


def worktree_folder(data_dir: Path, thread_id: str) -> Path:
    """The folder for the worktree of a thread. Ids may have `:`, be `..`, or differ by case only."""
    return data_dir.resolve() / FOLDER / hashlib.sha256(thread_id.encode()).hexdigest()[:16]


class ThreadFolders:
    """Makes worktrees, finds and removes them. submit: gives commands to the engine. read: runs a read."""

    def __init__(
        self,
        data_dir: Path,
        submit: Submit,
        read: Read,
    ) -> None:
        self._data_dir, self._submit, self._read = data_dir, submit, read

    async def work(self, thread_id: str, *, deleted: bool = False) -> ThreadWork:
        """What the log says of a thread. deleted: also of one that was deleted. Raises NotFound."""
        found: list[ThreadWork] = await self._read(lambda reads: reads.work([thread_id]))
        if not found or (found[0].deleted and not deleted):
            raise NotFound("thread", thread_id)
        return found[0]

    async def project(self, work: ThreadWork) -> Repository:
        """The repository of the folder of the thread's project. Raises GitError, and Rejected (`folderMissing`)."""
        return await open_repository(Path(work.project), self._data_dir)

    async def opened(self, work: ThreadWork) -> Repository:
        """The repository of the folder that the thread's agent works in.

        Raises GitError (`worktreeLost` if the worktree is not there any more), and Rejected if it was not made yet.
        """
        if work.worktree is None:
            return await self.project(work)
        if work.worktree.path is None:
            raise Rejected("noWorktree", f"the worktree of thread {work.thread_id!r} is not there: a prompt makes it")
        top = self._top(work)
        if not top.is_dir():
            raise _lost(work, f"{top} does not exist")
        try:
            return await self._open(work, top)
        except GitError as error:
            if error.kind not in ("noRepository", "worktreeLost"):
                raise
        async with self.locked(work.thread_id):
            try:
                await reattach_worktree(await self.project(work), top, str(work.worktree.base))
            except (GitError, OSError) as error:
                raise _lost(work, str(error)) from None
            return await self._open(work, top)

    async def ready(self, thread_id: str, base: str | None = None) -> Repository:
        """The same, with a worktree that is made if it is not there. base: at which it begins, HEAD if that is missing.

        Raises GitError, and what the engine raises. Then nothing half made is left.
        """
        async with self.locked(thread_id) as lock:
            work = await self.work(thread_id)
            if work.worktree is not None and work.worktree.path is None:
                await self._make(work, base, lock)
        return await self.opened(await self.work(thread_id))

    async def _make(self, work: ThreadWork, base: str | None, lock: FileLock) -> None:
        try:
            project = await self.project(work)
            top = self.place(work.thread_id) / (project.top.name or "root")
            await self._clear(project, work.thread_id, top)
            await asyncio.to_thread(top.parent.mkdir, mode=0o700, parents=True)
        except OSError as error:
            raise GitError("gitFailed", f"the worktree cannot be made: {error.strerror}: {error.filename}") from None
        try:
            try:
                made = await create_worktree(project, top, base or "HEAD", descriptors=lock.held_by())
            except GitError as error:
                if base is None or error.kind != "noCommit":
                    raise
                made = await create_worktree(project, top, descriptors=lock.held_by())
            command = c.CreateWorktree(thread_id=work.thread_id, path=str(made.folder), base=made.commit)
            await self._submit([command])
        except asyncio.CancelledError:  # the next one removes what there is
            raise
        except BaseException:
            await self._clear(project, work.thread_id, top)
            raise

    async def remove(self, work: ThreadWork) -> None:
        """Remove the worktree, whatever is in it. The log has to say so before. Raises GitError."""
        try:
            project = await self.project(work)
        except (GitError, Rejected):  # it is gone itself, or not on this machine
            project = None
        top = None
        if work.worktree is not None and work.worktree.path is not None:
            with contextlib.suppress(GitError):
                top = self._top(work)
        await self._clear(project, work.thread_id, top)

    def is_there(self, work: ThreadWork) -> bool:
        """Whether there is anything in the place of the thread's worktree."""
        place = self.place(work.thread_id)
        return place.is_dir() and any(place.iterdir())

    def place(self, thread_id: str) -> Path:
        """The folder for the worktree of a thread."""
        return worktree_folder(self._data_dir, thread_id)

    @asynccontextmanager
    async def locked(self, thread_id: str) -> AsyncIterator[FileLock]:
        """Nobody else makes or removes the worktree of the thread within the block. Raises GitError (`tooSlow`)."""
        path = self._data_dir / "git" / f"worktree-{self.place(thread_id).name}.lock"
        async with locked(path, WORKTREE_SECONDS) as lock:
            yield lock

    async def _open(self, work: ThreadWork, top: Path) -> Repository:
        found = await open_repository(self._folder(work), self._data_dir)
        if found.top != top:  # a repository around the data directory
            raise _lost(work, f"{top} is no work tree of git")
        try:
            back = await asyncio.to_thread((found.git_dir / "gitdir").read_bytes)
        except OSError as error:
            raise _lost(work, f"{error.filename}: {error.strerror}") from None
        if back.removesuffix(b"\n") != os.fsencode(top / ".git"):  # it was moved, so git would forget it
            raise _lost(work, "git has it in another place")
        return found

    def _top(self, work: ThreadWork) -> Path:
        """The worktree of which the log says that it is there. Raises GitError, see `_folder`."""
        place = self.place(work.thread_id)
        return place / self._folder(work).relative_to(place).parts[0]

    def _folder(self, work: ThreadWork) -> Path:
        """The folder in it that the agent works in. The log may say that it is where the data directory was before.

        Nothing outside the place of the thread is ever touched, whatever the log says. Raises GitError.
        """
        place, parts = self.place(work.thread_id), Path(work.path).parts
        within_place = parts[parts.index(place.name) + 1 :] if place.name in parts else ()
        if not within_place or ".." in within_place:
            raise _lost(work, f"{work.path} is not in this data directory")
        return place.joinpath(*within_place)

    async def _clear(self, project: Repository | None, thread_id: str, top: Path | None) -> None:
        place = self.place(thread_id)
        found = list(place.iterdir()) if place.is_dir() else []
        for folder in sorted({*found, *([] if top is None else [top])}):
            await remove_worktree(project, folder)
        if place.is_dir():
            place.rmdir()


def _lost(work: ThreadWork, why: str) -> GitError:
    return GitError(
        "worktreeLost",
        f"the worktree of thread {work.thread_id} cannot be used: {why}. `treadle worktree discard {work.thread_id}` "
        "forgets it, and the next prompt makes a new one",
    )
