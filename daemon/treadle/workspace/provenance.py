"""Finds the turn that a line is from, by the snapshots before and after each turn.

The snapshots become a history in which each is the parent of the next, and git says which of its commits a line is from
(git-blame(1)), also after the file was renamed. What was changed between two turns belongs to neither, whether it was
committed or not. The history is in the quarantine and is discarded.
"""

import os
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from treadle.workspace.git import Git, GitError
from treadle.workspace.parsing import parse_blame
from treadle.workspace.repositories import Quarantine, Repository, quarantined
from treadle.workspace.skipping import Bounds, shown
from treadle.workspace.snapshots import IDENTITY, Present, read_present

MAX_PAIRS = 500

_DEFAULT: Final = Bounds()


class Introduced(Struct, frozen=True):
    """Where a line, or the latest version of a file, is from.

    by: `pair` number `pair` of those asked about; or another author: `between` that pair and the one before it; `since`
    the newest pair; `earlier` than the oldest pair. line, path: in that version; line is 0 for a file.
    """

    by: Literal["pair", "between", "since", "earlier"]
    pair: int | None
    line: int
    path: str


async def introduced(
    repository: Repository,
    pairs: Sequence[tuple[str, str]],
    path: str,
    line: int | None = None,
    *,
    bounds: Bounds = _DEFAULT,
) -> Introduced:
    """Which pair a line of a present file is from; without a line, which one the file was last changed or removed by.

    pairs: the commits before and after each turn, newest first; only the first 500 are considered. path: relative to
    the project's folder. line: from 1 on. Raises GitError (`noSuchFile`, `noSuchLine`, `noCommit`).
    """
    file = repository.prefix + os.fsencode(path)
    async with quarantined(repository, bounds.seconds) as quarantine:
        present = await read_present(quarantine, repository, bounds)
        git = await _without_settings(quarantine, repository, present)
        pairs = pairs[:MAX_PAIRS]
        trees = await _trees_of(git, [commit for before, after in reversed(pairs) for commit in (before, after)])
        history = await _history(git, [*trees, present.tree])
        latest = next(reversed(history))
        try:
            if line is None:
                commit, at = (await git.run("rev-list", "-1", latest, "--", file)).decode().strip(), 0
            else:
                where = f"-L{line},{line}"
                found = parse_blame(await git.run("blame", "--porcelain", where, latest, "--", file))
                commit, at, file = found.commit, found.line, found.path
        except GitError as error:
            if "has only" in str(error) or "-L invalid" in str(error):
                raise GitError("noSuchLine", f"{path} has no line {line}") from None
            if "no such path" not in str(error):
                raise
            commit = ""
    if not commit:
        raise GitError("noSuchFile", f"{path} is not in the snapshots")
    return _author(history[commit], len(pairs), at, shown(file.removeprefix(repository.prefix)))


async def _without_settings(quarantine: Quarantine, repository: Repository, present: Present) -> Git:
    """Git in an empty repository with the objects of this one, since git-blame obeys settings and fails by them."""
    folder = quarantine.new_folder()
    nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": str(folder)}
    git = replace(quarantine.git(repository, present.index).with_variables(**IDENTITY, **nowhere), folder=folder)
    object_format = "sha256" if len(present.tree) == 64 else "sha1"
    await git.run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")
    return git


def _author(version: int, pairs: int, line: int, path: str) -> Introduced:
    """By the number of the version, of which there are two for each pair, oldest first, and the present one."""
    pair = pairs - 1 - version // 2
    if version == 2 * pairs:
        return Introduced("since", None, line, path)
    if version % 2:
        return Introduced("pair", pair, line, path)
    return Introduced("between", pair, line, path) if version else Introduced("earlier", None, line, path)


async def _trees_of(git: Git, commits: list[str]) -> list[str]:
    asked = "".join(f"{commit}^{{tree}}\n" for commit in commits).encode()
    answers = (await git.run("cat-file", "--batch-check=%(objectname)", stdin=asked)).decode().splitlines()
    missing = next((commit for commit, answer in zip(commits, answers, strict=True) if " " in answer), None)
    if missing is not None:
        raise GitError("noCommit", f"commit {missing} is not in the repository")
    return answers


async def _history(git: Git, trees: list[str]) -> dict[str, int]:
    """Make a commit of each tree that differs from the one before it, its parent. Returns the commits, oldest first,
    with the number of their tree."""
    numbers, parent = dict[str, int](), list[str]()
    for number, tree in enumerate(trees):
        if number == 0 or tree != trees[number - 1]:
            commit = (await git.run("commit-tree", tree, *parent, "-m", "treadle")).decode().strip()
            numbers[commit] = number
            parent = ["-p", commit]
    return numbers
