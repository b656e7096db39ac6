"""Git worktrees: a second folder for a repository, in which an agent works beside the user; what it did is applied to
the project's folder, or discarded."""

import os
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from treadle.workspace.git import Git, GitError, within
from treadle.workspace.parsing import names, parse_diff
from treadle.workspace.repositories import Repository, quarantined
from treadle.workspace.restore import Undoable, change_to
from treadle.workspace.skipping import Bounds, shown
from treadle.workspace.snapshots import Present, keep_present, read_commit, read_present

WORKTREE_SECONDS = 120.0
MAX_NAMED = 5  # files that the message of a conflict names

_DEFAULT: Final = Bounds()
_PATCH: Final = ("diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")

_APPLY: Final = ("apply", "--cached", "--3way", "--whitespace=nowarn", "--no-ignore-whitespace")


class Worktree(Struct, frozen=True):
    """A worktree. top: its folder. folder: in it, what the project's folder is in the repository. commit: at which it
    was made; its HEAD is detached."""

    top: Path
    folder: Path
    commit: str


async def create_worktree(project: Repository, top: Path) -> Worktree:
    """Create a worktree at HEAD in a folder that does not exist or is empty. What is not committed is not in it.

    Raises GitError (`noCommit` if the repository has no commit yet).
    """
    try:
        commit = (await project.git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")).decode().strip()
    except GitError as error:
        if error.kind != "gitFailed":
            raise
        raise GitError("noCommit", "the repository has no commit yet: a worktree starts at one") from None
    async with within(WORKTREE_SECONDS):
        await project.git.run("worktree", "add", "--detach", os.fsencode(top), commit)
    return Worktree(top, top / project.folder.relative_to(project.top), commit)


async def apply_worktree(
    project: Repository, worktree: Repository, commit: str, ref: str, title: str, *, bounds: Bounds = _DEFAULT
) -> Undoable | None:
    """Apply what a worktree changed since a commit to the project's folder, merged with what was changed there.

    ref, title: of the snapshot that is taken before. Returns None if the worktree changed nothing in the folder. Raises
    GitError (`conflict`, `foreignWorktree`). Then no file is changed.
    """
    if (worktree.common_dir, worktree.prefix) != (project.common_dir, project.prefix):
        raise GitError("foreignWorktree", "the folder is not that of the project in a worktree of its repository")
    started = time.monotonic()
    async with quarantined(project, bounds.seconds) as quarantine:
        theirs = await read_present(quarantine, worktree, bounds)
        present = await read_present(quarantine, project, bounds)
        git = quarantine.git(project, present.index)
        base, _ = await read_commit(git, commit)
        patch = await git.run(*_PATCH, base, theirs.tree, *project.below)
        if not patch:
            return None
        # Only the index is patched, a temporary one: on a conflict, nothing else was written.
        merged = quarantine.git(project, quarantine.new_folder() / "index")
        await merged.run("read-tree", present.tree)
        await merged.run(
            "update-index", "-z", "--replace", "--index-info", stdin=await _same(git, base, theirs, present)
        )
        try:
            await merged.run(*_APPLY, stdin=patch)
        except GitError as error:
            if error.kind != "gitFailed":
                raise
            unmerged = {line.split(b"\t", 1)[1] for line in names(await merged.run("ls-files", "-z", "--unmerged"))}
            raise GitError("conflict", _conflict(sorted(unmerged), str(error))) from None
        tree = (await merged.run("write-tree")).decode().strip()
        before = await keep_present(quarantine, project, present, ref, title, started)
        return Undoable(before, await change_to(quarantine, project, present, tree, theirs.skipped))


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
    named = ", ".join(map(shown, paths[:MAX_NAMED]))
    if len(paths) > MAX_NAMED:
        named += f" and {len(paths) - MAX_NAMED} more"
    return f"the worktree and the folder changed the same lines, and nothing was applied: {named}"


async def remove_worktree(project: Repository, top: Path, *, force: bool) -> None:
    """Remove a worktree with its folder. force: also if it has changes, which are lost then.

    Raises GitError (`worktreeNotClean`).
    """
    async with within(WORKTREE_SECONDS):
        try:
            await project.git.run("worktree", "remove", *(["--force"] if force else []), os.fsencode(top))
        except GitError as error:
            if "modified or untracked" in str(error):
                raise GitError("worktreeNotClean", "the worktree has changes that would be lost") from None
            raise
