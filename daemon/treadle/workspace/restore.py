"""Restores a snapshot: writes and removes only the files of the folder that differ from it.

What is there now is kept in a snapshot first, so a restore can be undone. Nothing is removed or replaced that this
snapshot does not have: ignored and skipped files, submodules and other repositories stay as they are.
"""

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from treadle.workspace.git import GitError
from treadle.workspace.parsing import RawChange, listed, names, parse_diff
from treadle.workspace.repositories import Quarantine, Repository, quarantined
from treadle.workspace.skipping import Bounds, Hidden, SkippedPath, folders_above, is_among, shown
from treadle.workspace.snapshots import Present, Snapshot, keep_present, read_commit, read_present

_DEFAULT: Final = Bounds()


class Restored(Struct, frozen=True):
    """Paths that a restore writes and removes, relative to the top of the work tree, ordered.

    left: paths that differ and stay, because something is there that is not the project's to replace: a file that git
    ignores or that was skipped, a submodule, another repository.
    """

    written: list[str]
    removed: list[str]
    left: list[str]


class Undoable(Struct, frozen=True):
    """What was done to the files. before: the snapshot to restore to undo it."""

    before: Snapshot
    restored: Restored


class Plan(Struct, frozen=True):
    """As Restored, with exact paths."""

    written: list[bytes]
    removed: list[bytes]
    left: list[bytes]

    def shown(self) -> Restored:
        return Restored(*([shown(path) for path in paths] for paths in (self.written, self.removed, self.left)))


async def plan_restore(
    repository: Repository, commit: str, *, paths: Sequence[str] = (), bounds: Bounds = _DEFAULT
) -> Restored:
    """What `restore` would write and remove now. Changes nothing. Raises GitError."""
    async with quarantined(repository, bounds.seconds) as quarantine:
        present = await read_present(quarantine, repository, bounds)
        tree, skipped = await read_commit(quarantine.git(repository, present.index), commit)
        return (await plan_change(quarantine, repository, present, tree, skipped, paths)).shown()


async def restore(
    repository: Repository,
    commit: str,
    ref: str,
    title: str,
    *,
    paths: Sequence[str] = (),
    bounds: Bounds = _DEFAULT,
) -> Undoable:
    """Restore the files of a snapshot. ref, title: of the snapshot that is taken before. paths: see `compare`.

    Raises GitError. Then no file is changed, except if the disk fails in between; the ref may exist.
    """
    started = time.monotonic()
    async with quarantined(repository, bounds.seconds) as quarantine:
        present = await read_present(quarantine, repository, bounds)
        tree, skipped = await read_commit(quarantine.git(repository, present.index), commit)
        before = await keep_present(quarantine, repository, present, ref, title, started)
        return Undoable(before, await change_to(quarantine, repository, present, tree, skipped, paths))


async def change_to(
    quarantine: Quarantine,
    repository: Repository,
    present: Present,
    tree: str,
    skipped: list[SkippedPath],
    paths: Sequence[str] = (),
) -> Restored:
    """Change the present files, which were kept, to those of a tree. Raises GitError (`changedMeanwhile`)."""
    git = quarantine.git(repository, present.index)
    plan = await plan_change(quarantine, repository, present, tree, skipped, paths)
    written = listed(plan.written)
    target = quarantine.git(repository, quarantine.new_folder() / "index")
    if written:
        await target.run("read-tree", tree)
        # A filter of the user that fails would end git half way. If one does, it does here, where nothing is changed.
        trial = f"--prefix={quarantine.new_folder()}/"
        await target.run("checkout-index", "-z", "--stdin", trial, stdin=written)
    now = await git.run("diff-files", "-z", "--name-only", "--ignore-submodules=all", *repository.below)
    changed = set(names(now)) & {*plan.written, *plan.removed}
    if changed:
        raise GitError("changedMeanwhile", f"{shown(min(changed))} has just been changed: nothing was restored")
    await asyncio.to_thread(_remove, repository, plan.removed)
    if written:
        await target.run("checkout-index", "--force", "-z", "--stdin", stdin=written)
    return plan.shown()


async def plan_change(
    quarantine: Quarantine,
    repository: Repository,
    present: Present,
    tree: str,
    skipped: Iterable[SkippedPath],
    paths: Sequence[str] = (),
) -> Plan:
    """What `change_to` would do. Raises GitError."""
    git = quarantine.git(repository, present.index)
    changes, _ = parse_diff(
        await git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", present.tree, tree, *repository.below)
    )
    changes = [change for change in changes if is_among(change.path, paths)]
    tagged = names(await git.run("ls-files", "-z", "-v", *repository.below)) if changes else []
    # The user has told git not to look at these (`update-index --assume-unchanged`, a sparse checkout).
    kept = {line[2:] for line in tagged if line[:1] == b"S" or line[:1].islower()}
    if any(change.path.endswith(b".gitignore") for change in changes):
        kept |= await _ignored_by(quarantine, repository, present, tree)
    hidden = Hidden([*skipped, *present.skipped], repository.prefix)
    others = {each.path for each in present.skipped if each.reason == "repository"}
    removed, written, left = divide(changes, hidden, kept, others)
    new = [change.path for change in changes if change.status == "A"]
    obstructed = await asyncio.to_thread(_obstructed, os.fsencode(repository.top), removed, new)
    return Plan([path for path in written if path not in obstructed], removed, sorted({*left, *obstructed}))


async def _ignored_by(quarantine: Quarantine, repository: Repository, present: Present, tree: str) -> set[bytes]:
    """Which of the present files a tree ignores: it would not have them even if they were there."""
    work_tree = quarantine.new_folder()
    target = quarantine.git(repository, quarantine.new_folder() / "index")
    await target.run("read-tree", tree)
    every = names(await target.run("ls-files", "-z"))
    rules = listed(path for path in every if path.split(b"/")[-1] == b".gitignore")
    await target.run("checkout-index", "-z", "--stdin", f"--prefix={work_tree}/", stdin=rules)
    git = quarantine.git(repository, present.index).with_variables(GIT_DIR=repository.git_dir, GIT_WORK_TREE=work_tree)
    ignored = await replace(git, folder=work_tree).run("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
    return set(names(ignored))


def divide(
    changes: list[RawChange], hidden: Hidden, kept: set[bytes], repositories: set[bytes]
) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Which paths are removed, written and left, as far as trees tell. kept: left in any case. repositories: folders
    of others, each with a slash.

    A file that only the target has is written even into a folder that was skipped, if nothing is there.
    """
    removed, written, left = list[bytes](), list[bytes](), list[bytes]()
    within = repositories | {change.path + b"/" for change in changes if change.is_submodule}
    for change in changes:
        path = change.path
        if (
            change.is_submodule
            or path in kept
            or any(above in within for above in folders_above(path))
            or hidden.hides(path, in_both=change.status != "D")
        ):
            left.append(path)
        else:
            (removed if change.status == "D" else written).append(path)
    return removed, written, left


def _obstructed(top: bytes, removed: list[bytes], new: list[bytes]) -> set[bytes]:
    """Which new files have something in their place that is not removed either.

    Files are told by their inode, because a file system may ignore case.
    """
    gone = {_inode(os.path.join(top, path)) for path in removed}  # noqa: PTH118
    return {path for path in new if not _is_free(top, path, gone)}


def _is_free(top: bytes, path: bytes, gone: set[tuple[int, int] | None]) -> bool:
    for above in (*folders_above(path), path):
        place = os.path.join(top, above.rstrip(b"/"))  # noqa: PTH118
        try:
            found = os.lstat(place)
        except OSError:
            return True
        if not stat.S_ISDIR(found.st_mode):
            return (found.st_dev, found.st_ino) in gone
    files = (os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names)  # noqa: PTH118
    return all(_inode(file) in gone for file in files)


def _inode(path: bytes) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(repository: Repository, paths: list[bytes]) -> None:
    """Remove the files, and then the folders that are empty."""
    top, folder = os.fsencode(repository.top), os.fsencode(repository.folder)
    for path in paths:
        place = os.path.join(top, path)  # noqa: PTH118
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)  # noqa: PTH108
        with contextlib.suppress(OSError):  # it is not empty
            while (place := os.path.dirname(place)) != folder:  # noqa: PTH120
                os.rmdir(place)  # noqa: PTH106
