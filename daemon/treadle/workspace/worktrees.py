"""Git worktrees: a second folder for a repository, in which an agent works beside the user; what it did is applied to
the project's folder, or discarded."""

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from treadle.workspace.git import Git, GitError, within
from treadle.workspace.parsing import names, parse_diff, unmerged_paths
from treadle.workspace.repositories import Quarantine, Repository, quarantined
from treadle.workspace.restore import Restored, Undoable, change_to, plan_change
from treadle.workspace.skipping import Bounds, shown
from treadle.workspace.snapshots import Present, keep_present, read_commit, read_present

WORKTREE_SECONDS = 120.0
MAX_NAMED = 5  # files that an error names

_DEFAULT: Final = Bounds()
_PATCH: Final = ("diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")

_APPLY: Final = ("apply", "--cached", "--3way", "--whitespace=nowarn", "--no-ignore-whitespace")


class Worktree(Struct, frozen=True):
    """A worktree. top: its folder. folder: in it, what the project's folder is in the repository. commit: at which it
    was made; its HEAD is detached."""

    top: Path
    folder: Path
    commit: str


class Unapplied(Struct, frozen=True):
    """What a worktree has and the folder of the project has not. changes: what applying it would do, None if it has
    changed nothing. skipped: files that are too big, too many or otherwise not to be applied.
    """

    changes: Restored | None
    skipped: list[str]

    @property
    def files(self) -> list[str]:
        """All of them, ordered."""
        changes = [] if self.changes is None else [*self.changes.written, *self.changes.removed, *self.changes.left]
        return sorted({*changes, *self.skipped})


class _Merged(Struct, frozen=True):
    """theirs: the files of the worktree. present: those of the project. tree: what they would be, None if the worktree
    has changed nothing."""

    theirs: Present
    present: Present
    tree: str | None


async def create_worktree(
    project: Repository, top: Path, commit: str = "HEAD", *, descriptors: tuple[int, ...] = ()
) -> Worktree:
    """Create a worktree at a commit, in a folder that does not exist. What is not committed is not in it.

    descriptors: of locks that are held until git has ended, even if this process is killed.

    Raises GitError (`noCommit`, also if the repository has no commit yet; `hasSubmodules`).
    """
    try:
        commit = (await project.git.run("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")).decode().strip()
    except GitError as error:
        if error.kind != "gitFailed":
            raise
        why = "the repository has no commit yet" if commit == "HEAD" else f"commit {commit} is not in the repository"
        raise GitError("noCommit", f"{why}: a worktree begins at one") from None
    if await project.git.run("ls-tree", commit, ".gitmodules"):
        raise GitError("hasSubmodules", "the repository has submodules, whose files a worktree would not have")
    async with within(WORKTREE_SECONDS):
        git = replace(project.git, descriptors=descriptors)
        await git.run("worktree", "add", "--detach", os.fsencode(top), commit)
    worktree = Worktree(top, top / project.folder.relative_to(project.top), commit)
    worktree.folder.mkdir(parents=True, exist_ok=True)  # the commit may have nothing in it
    return worktree


async def reattach_worktree(project: Repository, top: Path, commit: str) -> None:
    """Make a folder a worktree of the repository again, as it was. commit: at which it began.

    The project may have been moved, or git has forgotten the worktree (`git worktree prune`). Raises GitError.
    """
    try:
        await project.git.run("worktree", "repair", os.fsencode(top))
        await Git(top).run("rev-parse", "--verify", "--quiet", "HEAD")
    except GitError:
        bare = top.with_name(f"{top.name}.new")
        await remove_worktree(project, bare)
        await project.git.run("worktree", "add", "--detach", "--no-checkout", os.fsencode(bare), commit)
        os.replace(bare / ".git", top / ".git")  # noqa: PTH105
        bare.rmdir()
        await project.git.run("worktree", "repair", os.fsencode(top))
        await Git(top).run("read-tree", "HEAD")


async def plan_apply(project: Repository, worktree: Repository, commit: str, *, bounds: Bounds = _DEFAULT) -> Unapplied:
    """What `apply_worktree` would do. Changes nothing. Raises GitError, as it does."""
    async with quarantined(project, bounds.seconds) as quarantine:
        merged = await _merge(quarantine, project, worktree, commit, bounds)
        skipped = [shown(each.path) for each in merged.theirs.skipped]
        if merged.tree is None:
            return Unapplied(None, skipped)
        plan = await plan_change(quarantine, project, merged.present, merged.tree, merged.theirs.skipped)
        return Unapplied(plan.shown(), skipped)


async def apply_worktree(
    project: Repository, worktree: Repository, commit: str, ref: str, title: str, *, bounds: Bounds = _DEFAULT
) -> Undoable | None:
    """Apply what a worktree changed since a commit to the project's folder, merged with what was changed there.

    ref, title: of the snapshot that is taken before. Returns None if the worktree changed nothing in the folder. Raises
    GitError (`conflict`, `foreignWorktree`). Then no file is changed.
    """
    started = time.monotonic()
    async with quarantined(project, bounds.seconds) as quarantine:
        merged = await _merge(quarantine, project, worktree, commit, bounds)
        if merged.tree is None:
            return None
        before = await keep_present(quarantine, project, merged.present, ref, title, started)
        changed = await change_to(quarantine, project, merged.present, merged.tree, merged.theirs.skipped)
        return Undoable(before, changed)


async def _merge(
    quarantine: Quarantine, project: Repository, worktree: Repository, commit: str, bounds: Bounds
) -> _Merged:
    if (worktree.common_dir, worktree.prefix) != (project.common_dir, project.prefix):
        raise GitError("foreignWorktree", "the folder is not that of the project in a worktree of its repository")
    theirs = await read_present(quarantine, worktree, bounds)
    present = await read_present(quarantine, project, bounds)
    git = quarantine.git(project, present.index)
    base, _ = await read_commit(git, commit)
    patch = await git.run(*_PATCH, base, theirs.tree, *project.below)
    if not patch:
        return _Merged(theirs, present, None)
    # Only the index is patched, a temporary one: on a conflict, nothing else was written.
    merged = quarantine.git(project, quarantine.new_folder() / "index")
    await merged.run("read-tree", present.tree)
    await merged.run("update-index", "-z", "--replace", "--index-info", stdin=await _same(git, base, theirs, present))
    try:
        await merged.run(*_APPLY, stdin=patch)
    except GitError as error:
        if error.kind != "gitFailed":
            raise
        unmerged = unmerged_paths(await merged.run("ls-files", "-z", "--unmerged"))
        raise GitError("conflict", _conflict(unmerged, str(error))) from None
    return _Merged(theirs, present, (await merged.run("write-tree")).decode().strip())


async def _same(git: Git, base: str, theirs: Present, present: Present) -> bytes:
    """Entries of an index that undo what both have changed in the same way: git refuses to add or remove it twice."""
    changes, _ = parse_diff(await git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", base, theirs.tree))
    differing = set(
        names(await git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", theirs.tree, present.tree))
    )
    return b"".join(
        b"%s %s\t%s\0" % (change.old_mode, change.old_id, change.path)
        for change in changes
        if change.path not in differing
    )


def _conflict(paths: list[bytes], said: str) -> str:
    if not paths:
        return f"the worktree cannot be applied, and nothing was changed: {said}"
    where = named([shown(path) for path in paths])
    return f"the worktree and the folder changed the same lines, and nothing was applied: {where}"


def named(paths: list[str]) -> str:
    """The first of these files, as an error says them."""
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(paths[:MAX_NAMED]) + more


async def remove_worktree(project: Repository | None, top: Path) -> None:
    """Remove a worktree with its folder, whatever is in it, also one that is only half made. It may be missing.

    project: None if the repository is gone. Raises GitError.
    """
    await asyncio.to_thread(shutil.rmtree, top, ignore_errors=True)
    if await asyncio.to_thread(os.path.lexists, top):
        raise GitError("gitFailed", f"{os.fsencode(top).decode(errors='replace')} cannot be removed")
    if project is not None:
        async with within(WORKTREE_SECONDS):
            listed = await project.git.run("worktree", "list", "--porcelain", "-z")
            if b"worktree %s" % os.fsencode(top) in listed.split(b"\0"):
                # Twice: git locks a worktree until it is made.
                await project.git.run("worktree", "remove", "--force", "--force", os.fsencode(top))
