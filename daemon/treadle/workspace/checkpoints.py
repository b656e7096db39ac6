"""Checkpoints of threads: snapshots of their folders, with what the log says of them."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from treadle.contract.results import ChangedFile, CheckpointDiff, Restoration
from treadle.core.access import Read, Submit
from treadle.domain import commands as c
from treadle.domain.entities import Checkpoint
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.events import StoredEvent
from treadle.domain.ids import Phase
from treadle.store.ids import new_id
from treadle.store.pages import LATEST, encode_cursor
from treadle.store.ports import Reads
from treadle.store.records import ThreadWork
from treadle.workspace.diffs import FileChange, compare, read_diff, read_patches
from treadle.workspace.git import GitError
from treadle.workspace.pruning import Pruner
from treadle.workspace.repositories import recording
from treadle.workspace.restore import Restored, plan_restore, restore
from treadle.workspace.skipping import shown
from treadle.workspace.snapshots import checkpoint_ref, read_commit, take_snapshot
from treadle.workspace.thread_folders import ThreadFolders

log = logging.getLogger(__name__)

MAX_SKIPPED: Final = 100
"""Skipped files that are recorded of one checkpoint."""
MAX_PATHS: Final = 1_000
"""Written, and removed files that are recorded of one restore."""


class Checkpoints:
    """Takes, compares and restores checkpoints. pruner: removes old ones.

    folders: those that agents work in. submit: gives commands to the engine. read: runs a read. machine: the id of this
    one. persistent: whether what is taken outlives the daemon; without, none is taken, since its ref would stay in the
    user's repository.
    """

    def __init__(
        self,
        data_dir: Path,
        folders: ThreadFolders,
        submit: Submit,
        read: Read,
        machine: str = "",
        *,
        persistent: bool = True,
    ) -> None:
        self._folders, self._submit, self._read, self._machine = folders, submit, read, machine
        self._persistent = persistent
        self.pruner = Pruner(data_dir, submit, read)

    async def take(
        self, thread_id: str, *, turn_id: str | None = None, phase: Phase = "manual", message: str = ""
    ) -> str:
        """Take a checkpoint of the thread's folder and record it; return its id.

        Raises GitError, NotFound and Rejected. A failure is recorded too, except that the folder is in no repository.
        """
        if not self._persistent:
            raise GitError(
                "onlyInMemory", "a checkpoint would stay in the repository when this daemon with --memory ends"
            )
        work = await self._folders.work(thread_id)
        try:
            repository = await self._folders.opened(work)
            async with recording(repository):
                newest = await self._read(lambda reads: _newest(reads, thread_id))
                id = new_id()
                ref = checkpoint_ref(thread_id, id)
                snapshot = await take_snapshot(
                    repository, ref, message or work.title, previous=newest and newest.commit
                )
                skipped = [
                    c.SkippedPathname(each.path, each.reason, each.bytes) for each in snapshot.skipped[:MAX_SKIPPED]
                ]
                await self._submit(
                    [
                        c.CreateCheckpoint(
                            thread_id=thread_id,
                            id=id,
                            turn_id=turn_id,
                            git_ref=ref,
                            message=message,
                            commit=snapshot.commit,
                            tree=snapshot.tree,
                            phase=phase,
                            skipped=skipped,
                        )
                    ]
                )
                return id
        except GitError as error:
            if error.kind != "noRepository":
                await self._submit([c.FailCheckpoint(thread_id=thread_id, turn_id=turn_id, reason=str(error))])
            raise

    async def compare(
        self,
        thread_id: str,
        before: str | None,
        after: str | None,
        *,
        start: int,
        limit: int,
        paths: Sequence[str] = (),
        patches: bool = False,
    ) -> CheckpointDiff:
        """The files that differ between two checkpoints. before: None for the commit that the thread's worktree began
        at. after: None for the files as they are now. start: the index of the first file. patches: with their diffs.

        Raises GitError, NotFound, and Rejected if there is no worktree, or the checkpoint is on another machine.
        """
        work = await self._folders.work(thread_id)
        first = None if before is None else await self._checkpoint(work, before)
        last = None if after is None else await self._checkpoint(work, after)
        if first is None and (work.worktree is None or work.worktree.base is None):
            raise Rejected("noWorktree", f"thread {thread_id!r} has no worktree: name a checkpoint to compare with")
        begun_at = None if work.worktree is None else work.worktree.base
        commits = (str(begun_at) if first is None else _commit(first), None if last is None else _commit(last))
        # Two checkpoints can be compared without a worktree, which has the refs of its repository.
        in_project = last is not None or (first is not None and first.in_project)
        repository = await (self._folders.project(work) if in_project else self._folders.opened(work))
        found = await compare(repository, *commits, start=start, limit=limit, paths=paths)
        if patches:
            page = await read_patches(repository, *commits, start=start, limit=limit, paths=paths)
            files, next_start = [changed_file(each.file, each.text, each.cut) for each in page.patches], page.next
        else:
            files, next_start = [changed_file(file) for file in found.files], found.next
        return CheckpointDiff(
            files=files,
            total=found.total,
            added=found.added,
            removed=found.removed,
            next_cursor=None if next_start is None else encode_cursor(next_start),
        )

    async def restore(
        self, thread_id: str, id: str, *, paths: Sequence[str] = (), dry_run: bool = False
    ) -> Restoration:
        """Put the files of the thread's folder back to a checkpoint, after taking one of what is there now.

        A worktree that was discarded is made again for that. dry_run: only say what would be written and removed.
        Raises GitError, NotFound, and Rejected while a turn runs in the folder, or if the checkpoint is on another
        machine.
        """
        work = await self._folders.work(thread_id)
        checkpoint = await self._checkpoint(work, id)
        commit = _commit(checkpoint)
        if checkpoint.in_project:
            folder, repository = work.project, await self._folders.project(work)
        elif work.worktree is not None and work.worktree.path is None:
            if dry_run:
                return await self._in_new_worktree(work, commit, paths)
            repository = await self._folders.ready(thread_id, work.worktree.base)
            folder = str(repository.folder)
        else:
            folder, repository = work.path, await self._folders.opened(work)
        if dry_run:
            return restoration(await plan_restore(repository, commit, paths=paths), None)
        running = await self._read(lambda reads: running_turn(reads, folder))
        if running is not None:
            raise Rejected("turnRunning", f"turn {running!r} is still running in {folder}", turnId=running)
        before = new_id()
        ref = checkpoint_ref(thread_id, before)
        async with recording(repository):
            done = await restore(repository, commit, ref, "before a restore", paths=paths)
            restored = done.restored
            await self._submit(
                [
                    c.CreateCheckpoint(
                        thread_id=thread_id,
                        id=before,
                        git_ref=ref,
                        message="before a restore",
                        commit=done.before.commit,
                        tree=done.before.tree,
                        in_project=checkpoint.in_project,
                    ),
                    c.RestoreCheckpoint(
                        thread_id=thread_id,
                        id=id,
                        before=before,
                        written=restored.written[:MAX_PATHS],
                        removed=restored.removed[:MAX_PATHS],
                    ),
                ]
            )
        return restoration(restored, before)

    async def _in_new_worktree(self, work: ThreadWork, commit: str, paths: Sequence[str]) -> Restoration:
        """What a restore would write and remove in a worktree that it makes first."""
        repository = await self._folders.project(work)
        base = str((work.worktree and work.worktree.base) or "HEAD")
        changes = (await read_diff(repository, base, commit, paths=paths, patches=False)).changes
        written = [shown(each.path) for each in changes if each.status != "D"]
        removed = [shown(each.old_path) for each in changes if each.status in "DR"]
        return Restoration(written=written, removed=removed, left=[], before=None)

    async def _checkpoint(self, work: ThreadWork, id: str) -> Checkpoint:
        thread_id = work.thread_id
        found = await self._read(lambda reads: reads.entities("checkpoint", thread_id, [id]))
        if id in found:
            checkpoint = msgspec.json.decode(found[id], type=Checkpoint)
            if checkpoint.machine not in (None, self._machine):
                await self._require_here(work, checkpoint)
            return checkpoint
        pruned_at = await self._read(lambda reads: reads.pruned_at(thread_id, id))
        if pruned_at is not None:
            message = f"checkpoint {id!r} was pruned on {pruned_at[:10]}: its files are not kept any more"
            raise Rejected("checkpointPruned", message, prunedAt=pruned_at)
        raise NotFound("checkpoint", id)

    async def _require_here(self, work: ThreadWork, checkpoint: Checkpoint) -> None:
        """Raise Rejected (`checkpointElsewhere`) if the repository on this machine has not got it."""
        repository = await self._folders.project(work)
        try:
            await read_commit(repository.git, _commit(checkpoint))
        except GitError as error:
            if error.kind != "noCommit":
                raise
            ((stored,), _) = await self._read(lambda reads: reads.events(work.thread_id, checkpoint.sequence - 1, 1))
            by = msgspec.json.decode(stored, type=StoredEvent).actor
            whose = f"machine {checkpoint.machine}" if by is None else f"the machine of {by}"
            raise Rejected(
                "checkpointElsewhere",
                f"checkpoint {checkpoint.id!r} is on {whose}: compare it, or restore it, there",
                machine=checkpoint.machine,
                by=by,
            ) from None


def _commit(checkpoint: Checkpoint) -> str:
    return checkpoint.commit or checkpoint.git_ref


def changed_file(file: FileChange, patch: str | None = None, cut: bool = False) -> ChangedFile:
    """As clients get it."""
    return ChangedFile(
        path=file.path,
        old_path=file.old_path,
        status=file.status,
        added=file.added,
        removed=file.removed,
        binary=file.binary,
        patch=patch,
        cut=cut,
    )


def restoration(restored: Restored | None, before: str | None) -> Restoration:
    """What was done. restored: None for nothing."""
    restored = restored or Restored([], [], [])
    return Restoration(written=restored.written, removed=restored.removed, left=restored.left, before=before)


def _newest(reads: Reads, thread_id: str) -> Checkpoint | None:
    page = reads.checkpoint_list(thread_id, 1, LATEST).items
    return msgspec.json.decode(page[0], type=Checkpoint) if page else None


def running_turn(reads: Reads, path: str) -> str | None:
    """The id of a turn that runs in the folder, in one above or in one below it; of any thread."""
    turns = {turn.thread_id: turn.id for turn in reads.running_turns()}
    works = reads.work(list(turns)) if turns else []
    folder = Path(os.path.realpath(path))
    for work in works:
        if work.folder is None:
            continue
        other = Path(os.path.realpath(work.path))
        if folder.is_relative_to(other) or other.is_relative_to(folder):
            return turns[work.thread_id]
    return None
