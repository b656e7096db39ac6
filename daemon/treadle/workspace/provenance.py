"""Finds the snapshot in which a line first was, among those that were taken of a folder.

The snapshots become a history in which each is the parent of the next, and git says which of its commits a line is from
(git-blame(1)), also after the file was renamed. The history is in the quarantine and is discarded.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from treadle.workspace.git import Git, GitError
from treadle.workspace.parsing import parse_blame
from treadle.workspace.repositories import Quarantine, Repository, quarantined
from treadle.workspace.skipping import Bounds, shown
from treadle.workspace.snapshots import IDENTITY, Present, read_present

MAX_VERSIONS: Final = 1_000
"""Snapshots that are looked at, the newest ones."""
MAX_FILE_BYTES: Final = 1024 * 1024
"""Of the file whose lines are looked at."""

_DEFAULT: Final = Bounds()


class Lines(Struct, frozen=True):
    """Lines of the present file that follow each other and are from the same version.

    start: of the first one, from 1 on. version: the number of the first snapshot that had them; the number of snapshots
    if only the present file has them. path, line: in that version.
    """

    start: int
    count: int
    version: int
    path: str
    line: int


async def first_versions(
    repository: Repository,
    snapshots: Sequence[str],
    path: str,
    line: int | None = None,
    *,
    bounds: Bounds = _DEFAULT,
) -> list[Lines]:
    """In which snapshot each line of a present file first was. line: only this one, from 1 on.

    snapshots: commits, oldest first, at most 1,000; one that git does not have counts as the one before it. path:
    relative to the project's folder. Raises GitError (`noSuchFile`, `noSuchLine`, `fileTooBig`).
    """
    assert len(snapshots) <= MAX_VERSIONS
    file = repository.prefix + os.fsencode(path)
    async with quarantined(repository, bounds.seconds) as quarantine:
        present = await read_present(quarantine, repository, bounds)
        git = await _without_settings(quarantine, repository, present)
        await _require_readable(git, present.tree, file, path)
        commits = await _history(git, [*await _trees_of(git, snapshots), present.tree], quarantine.new_folder())
        where = [] if line is None else [f"-L{line},{line}"]
        try:
            output = await git.run("blame", "--incremental", *where, list(commits)[-1], "--", file)
        except GitError as error:
            if "has only" in str(error) or "-L invalid" in str(error):
                raise GitError("noSuchLine", f"{path} has no line {line}") from None
            raise
    found = [
        Lines(each.start, each.count, commits[each.commit], shown(each.path.removeprefix(repository.prefix)), each.line)
        for each in parse_blame(output)
    ]
    return _joined(sorted(found, key=lambda lines: lines.start))


def _joined(found: list[Lines]) -> list[Lines]:
    joined = list[Lines]()
    for lines in found:
        if joined and (joined[-1].version, joined[-1].path) == (lines.version, lines.path):
            joined[-1] = replace(joined[-1], count=joined[-1].count + lines.count)
        else:
            joined.append(lines)
    return joined


async def _without_settings(quarantine: Quarantine, repository: Repository, present: Present) -> Git:
    """Git in an empty repository with the objects of this one, since git-blame obeys settings and fails by them."""
    folder = quarantine.new_folder()
    nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": str(folder)}
    git = replace(quarantine.git(repository, present.index).with_variables(**IDENTITY, **nowhere), folder=folder)
    object_format = "sha256" if len(present.tree) == 64 else "sha1"
    await git.run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")
    return git


async def _require_readable(git: Git, tree: str, file: bytes, path: str) -> None:
    entry = await git.run("ls-tree", "-z", "-l", tree, "--", file)
    kind, size = (entry.split()[1], entry.split()[3]) if entry else (b"", b"")
    if kind != b"blob":
        raise GitError("noSuchFile", f"{path} is not in the project: it does not exist, or git ignores it")
    if int(size) > MAX_FILE_BYTES:
        raise GitError("fileTooBig", f"{path} has {int(size):,} bytes, and {MAX_FILE_BYTES:,} is the limit")


async def _trees_of(git: Git, commits: Sequence[str]) -> list[str]:
    """The trees of the commits; in place of one that git does not have, that of the one before it, or of the first."""
    asked = "".join(f"{commit}^{{tree}}\n" for commit in commits).encode()
    answers = (await git.run("cat-file", "--batch-check=%(objectname)", stdin=asked)).decode().splitlines()
    last = next((answer for answer in answers if " " not in answer), None)
    trees = list[str]()
    for answer in answers:
        last = last if " " in answer else answer
        trees += [] if last is None else [last]
    return trees


async def _history(git: Git, trees: list[str], folder: Path) -> dict[str, int]:
    """Make a commit of each tree that differs from the one before it, its parent. Returns the commits, oldest first,
    with the number of their tree."""
    numbers = [n for n, tree in enumerate(trees) if n == 0 or tree != trees[n - 1]]
    name = f"{IDENTITY['GIT_COMMITTER_NAME']} <{IDENTITY['GIT_COMMITTER_EMAIL']}>"
    stream = "".join(
        f'commit refs/heads/main\nmark :{n + 1}\ncommitter {name} {n} +0000\ndata 0\nM 040000 {trees[n]} ""\n\n'
        for n in numbers
    )
    marks = folder / "marks"
    await git.run("fast-import", "--quiet", f"--export-marks={marks}", stdin=stream.encode())
    by_mark = dict(line.split() for line in marks.read_text().splitlines())
    return {by_mark[f":{n + 1}"]: n for n in numbers}
