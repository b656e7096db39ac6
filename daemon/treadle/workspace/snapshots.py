"""Snapshots of a project's folder: commits without parents under `refs/treadle/`, which no branch has.

They are made with a copy of the user's index, so that git reads only files that have changed. Nothing of the user's is
written: not HEAD, the index, the stash, a file or its times.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import stat
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from treadle.workspace.git import Git, GitError, together
from treadle.workspace.parsing import listed, names, parse_diff, unmerged_paths
from treadle.workspace.repositories import Quarantine, Repository, quarantined
from treadle.workspace.skipping import Bounds, Skipped, SkippedPath, choose, message_of, skipped_in

REFS: Final = "refs/treadle/"
MAX_UNREADABLE = 20
"""Files that git may fail to read before the snapshot fails: each costs some runs of git to find."""

MAX_MADE = 1_000
"""Snapshots of which is remembered what they were made of."""
CHECKSUM_BYTES = 20

IDENTITY: Final = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "treadle"), ("EMAIL", "treadle@localhost"))
}
_DEFAULT: Final = Bounds()


class Snapshot(Struct, frozen=True):
    """A snapshot. commit, tree: ids of git. took: seconds. reused: the commit is the previous one, as nothing differs.

    Outside the project's folder, the tree has what the user's index has.
    """

    commit: str
    tree: str
    skipped: list[Skipped]
    took: float
    reused: bool = False


class Present(Struct, frozen=True):
    """The files of a folder as they are now. tree: in the quarantine. index: a file that only this has."""

    tree: str
    skipped: list[SkippedPath]
    index: Path


class Staged(Struct, frozen=True):
    """The present files in an index, from which a tree can be written. index: as that of Present. same_as: the checksum
    of the user's index, if the files are as that has them; None if they differ, or it has none (index.skipHash)."""

    skipped: list[SkippedPath]
    index: Path
    same_as: bytes | None


class Made(Struct, frozen=True):
    """What a snapshot was made of, so that the next one can tell without git that it would be the same."""

    same_as: bytes
    skipped: list[SkippedPath]
    tree: str

    def is_same(self, staged: Staged) -> bool:
        return (self.same_as, self.skipped) == (staged.same_as, staged.skipped)


Read = tuple[str, list[SkippedPath]]
"""What a commit tells: its tree, and what it skipped."""

_made: Final[OrderedDict[tuple[Path, str], Made]] = OrderedDict()
"""By the folder and the commit: those that this process has made or used last."""


def checkpoint_ref(thread_id: str, id: str) -> str:
    """The name of the ref for a checkpoint. Ids may have `:` or `..`, and differ by case only, which refs may not."""
    return f"{thread_refs(thread_id)}{_digest(id)}"


def thread_refs(thread_id: str) -> str:
    """What the names of all refs of a thread start with."""
    return f"{REFS}{_digest(thread_id)}/"


def _digest(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest()[:32]


async def take_snapshot(
    repository: Repository, ref: str, title: str, *, previous: str | None = None, bounds: Bounds = _DEFAULT
) -> Snapshot:
    """Take a snapshot of the folder, and let the ref point to it. previous: a commit that may be used again.

    Raises GitError, also if the ref exists. Then the repository is as before.
    """
    started = time.monotonic()
    async with quarantined(repository, bounds.seconds) as quarantine:
        staged = await _stage(quarantine, repository, bounds)
        made = None if previous is None else _made.get((repository.folder, previous))
        if previous is not None and made is not None and made.is_same(staged):
            with contextlib.suppress(GitError):  # it was pruned, or the ref exists: what follows tells
                await _create_ref(repository, ref, previous)
                return Snapshot(previous, made.tree, _shown(staged.skipped), time.monotonic() - started, reused=True)
        present = await _written(quarantine, repository, staged)
        snapshot = await keep_present(quarantine, repository, present, ref, title, started, previous)
        if staged.same_as is not None:
            _made[repository.folder, snapshot.commit] = Made(staged.same_as, staged.skipped, snapshot.tree)
            if len(_made) > MAX_MADE:
                _made.popitem(last=False)
        return snapshot


async def keep_present(
    quarantine: Quarantine,
    repository: Repository,
    present: Present,
    ref: str,
    title: str,
    started: float,
    previous: str | None = None,
) -> Snapshot:
    """Make a commit of the present files, and let the ref point to it. Raises GitError."""
    git = quarantine.git(repository, present.index).with_variables(**IDENTITY)
    commit = previous
    if previous is None or not await _is_equal(git, previous, present):
        message = message_of(title, present.skipped)
        commit = (await git.run("commit-tree", "--no-gpg-sign", present.tree, stdin=message)).decode().strip()
    await quarantine.keep()
    assert commit is not None
    await _create_ref(repository, ref, commit)
    took = time.monotonic() - started
    return Snapshot(commit, present.tree, _shown(present.skipped), took, reused=commit == previous)


async def _create_ref(repository: Repository, ref: str, commit: str) -> None:
    """Raises GitError if it exists, or the commit does not."""
    await repository.git.run("update-ref", "--stdin", stdin=f"create {ref} {commit}\n".encode())


def _shown(skipped: Iterable[SkippedPath]) -> list[Skipped]:
    return [each.shown() for each in skipped]


async def _is_equal(git: Git, commit: str, present: Present) -> bool:
    try:
        found = await read_commit(git, commit)
    except GitError:
        return False  # it was pruned
    return found == (present.tree, present.skipped)


async def read_commit(git: Git, commit: str) -> Read:
    """The tree of a commit, and what it skipped: nothing if treadle has not made it. Raises GitError (`noCommit`)."""
    try:
        text = await git.run("cat-file", "commit", "--end-of-options", commit)
    except GitError as error:
        if error.kind != "gitFailed":
            raise
        raise GitError("noCommit", f"commit {commit} is not in the repository") from None
    return _read_text(text)


async def read_commits(git: Git, commits: Iterable[str]) -> dict[str, Read]:
    """The same for many commits in one run of git, without those that it does not have. Raises GitError."""
    asked = "".join(f"{commit}\n" for commit in commits).encode()
    output, found, end = await git.run("cat-file", "--batch", stdin=asked), dict[str, Read](), 0
    while end < len(output):
        line, end = output[end : (start := output.index(b"\n", end) + 1)].split(), start
        if len(line) == 3 and line[2].isdigit():  # else it is missing
            end += int(line[2]) + 1
            if line[1] == b"commit":
                found[line[0].decode()] = _read_text(output[start : end - 1])
    return found


def _read_text(text: bytes) -> Read:
    headers, _, message = text.partition(b"\n\n")
    ours = f"\ncommitter {IDENTITY['GIT_COMMITTER_NAME']} <{IDENTITY['GIT_COMMITTER_EMAIL']}> ".encode() in headers
    return headers.split()[1].decode(), skipped_in(message) if ours else []


async def read_present(quarantine: Quarantine, repository: Repository, bounds: Bounds) -> Present:
    """Write the files of the folder as they are now into the quarantine. Raises GitError."""
    return await _written(quarantine, repository, await _stage(quarantine, repository, bounds))


async def _written(quarantine: Quarantine, repository: Repository, staged: Staged) -> Present:
    tree = await _write_tree(quarantine.git(repository, staged.index))
    return Present(tree, staged.skipped, staged.index)


async def _stage(quarantine: Quarantine, repository: Repository, bounds: Bounds) -> Staged:
    """Add the files of the folder as they are now to a copy of the index. Raises GitError."""
    index = quarantine.new_folder() / "index"
    git = quarantine.git(repository, index)
    try:
        # With its time, from which git tells that a file may have changed in the moment in which it was added.
        await asyncio.to_thread(shutil.copy2, repository.git_dir / "index", index)
        checksum = await asyncio.to_thread(_checksum, index)
        tracked, untracked = await _differing(git, repository)
    except (FileNotFoundError, GitError) as error:
        if isinstance(error, GitError) and error.kind != "gitFailed":
            raise
        # It is missing or damaged: what is tracked is known from HEAD, unless that has no commit yet.
        index.unlink(missing_ok=True)
        checksum = None
        with contextlib.suppress(GitError):
            await git.run("read-tree", "HEAD")
        tracked, untracked = await _differing(git, repository)
    deleted = [path for path, status in tracked if status == "D"]
    sizes = await asyncio.to_thread(_with_sizes, repository.top, [path for path, status in tracked if status != "D"])
    new = await asyncio.to_thread(_with_sizes, repository.top, untracked)
    taken, skipped = choose(sizes, new, repository.prefix, bounds)
    if deleted:
        await git.run("update-index", "-z", "--force-remove", "--stdin", stdin=listed(deleted))
    unreadable = list[bytes]()
    await _add(git, taken, unreadable)
    by_path = dict([*sizes, *new])
    skipped += [SkippedPath(path, "unreadable", by_path[path]) for path in unreadable]
    return Staged(sorted(skipped), index, None if deleted or taken else checksum)


def _checksum(index: Path) -> bytes | None:
    """The end of the checksum that git writes at the end of an index (gitformat-index(5))."""
    with index.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - CHECKSUM_BYTES, 0))
        end = file.read()
    return end if any(end) else None


async def _differing(git: Git, repository: Repository) -> tuple[list[tuple[bytes, str]], list[bytes]]:
    """Tracked files that may differ from the index, with a letter of git for how; and untracked files."""
    # A submodule is read for its commit, and not entered.
    raw, untracked = await together(
        git.run("diff-files", "-z", "--raw", "--ignore-submodules=dirty", *repository.below),
        git.run("ls-files", "-z", "--others", "--exclude-standard", *repository.below),
    )
    by_path = {change.path: change.status for change in parse_diff(raw)[0]}  # one that is unmerged is listed twice
    return list(by_path.items()), names(untracked)


def _with_sizes(top: Path, paths: list[bytes]) -> list[tuple[bytes, int]]:
    return [(path, _size(os.path.join(os.fsencode(top), path))) for path in paths]  # noqa: PTH118


def _size(path: bytes) -> int:
    """The bytes of a file; 0 if it is none or was removed meanwhile."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


async def _add(git: Git, paths: list[bytes], unreadable: list[bytes]) -> None:
    """Add the files to the index. Those that git cannot read are found by halving, because it stops at the first."""
    if not paths:
        return
    try:
        await git.run("update-index", "-z", "--add", "--remove", "--replace", "--stdin", stdin=listed(paths))
    except GitError as error:
        if error.kind != "gitFailed" or len(unreadable) >= MAX_UNREADABLE:
            raise
        if len(paths) == 1:
            unreadable.append(paths[0])
        else:
            half = len(paths) // 2
            await _add(git, paths[:half], unreadable)
            await _add(git, paths[half:], unreadable)


async def _write_tree(git: Git) -> str:
    try:
        return (await git.run("write-tree")).decode().strip()
    except GitError:
        # A merge has left conflicts outside the folder, where the tree does not matter.
        unmerged = unmerged_paths(await git.run("ls-files", "-z", "--unmerged"))
        if not unmerged:
            raise
    await git.run("update-index", "-z", "--force-remove", "--stdin", stdin=listed(unmerged))
    return (await git.run("write-tree")).decode().strip()


async def list_refs(repository: Repository) -> dict[str, str]:
    """All refs of treadle in the repository, also of other projects and data directories: name and commit."""
    lines = (await repository.git.run("for-each-ref", "--format=%(refname) %(objectname)", REFS)).decode().split("\n")
    return {name: commit for name, _, commit in (line.partition(" ") for line in lines[:-1])}


async def prune(repository: Repository, refs: Iterable[str]) -> int:
    """Delete these refs in one transaction; return how many of them existed. Raises GitError (`foreignRef`).

    The files are left to `git gc`. A commit that another ref has as well stays.
    """
    asked = set(refs)
    foreign = next((ref for ref in sorted(asked) if not ref.startswith(REFS)), None)
    if foreign is not None:
        raise GitError("foreignRef", f"{foreign} is not a ref of treadle")
    present = sorted(asked & (await list_refs(repository)).keys())
    await repository.git.run("update-ref", "--stdin", stdin="".join(f"delete {ref}\n" for ref in present).encode())
    return len(present)
