"""Compares snapshots of a folder with each other, and with its files as they are now."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

from msgspec import Struct

from treadle.workspace.git import Git, within
from treadle.workspace.parsing import RawChange, parse_diff
from treadle.workspace.repositories import Repository, quarantined
from treadle.workspace.skipping import Bounds, Hidden, is_among, shown
from treadle.workspace.snapshots import read_commit, read_present

FILES_PER_PAGE = 500
PATCHES_PER_PAGE = 50
PATCH_BYTES = 256 * 1024

Status = Literal["added", "removed", "modified", "renamed", "typeChanged"]
_STATUS: Final[dict[str, Status]] = {
    **{"A": "added", "D": "removed", "M": "modified", "R": "renamed", "T": "typeChanged"},
}
_DIFF: Final = ("diff-tree", "-r", "-z", "--raw", "--numstat", "-M", "-l1000", "--no-ext-diff", "--no-textconv")
_DEFAULT: Final = Bounds()


class FileChange(Struct, frozen=True):
    """A file that differs. path, old_path: relative to the top of the work tree, old_path only of a renamed file.

    status: `typeChanged` if one is a symbolic link or a submodule. added, removed: lines; 0 of a binary file.
    """

    path: str
    old_path: str | None
    status: Status
    added: int
    removed: int
    binary: bool


class Comparison(Struct, frozen=True):
    """Files that differ, ordered by path. total, added, removed: of all pages. next: where the next page starts."""

    files: list[FileChange]
    total: int
    added: int
    removed: int
    next: int | None = None


class FilePatch(Struct, frozen=True):
    """The unified diff of a file. text: bytes that are not UTF-8 are U+FFFD. cut: whether the text ends early."""

    file: FileChange
    text: str
    cut: bool = False


class PatchPage(Struct, frozen=True):
    """Diffs of files, in the order of the Comparison. next: where the next page starts."""

    patches: list[FilePatch]
    next: int | None = None


async def compare(
    repository: Repository,
    before: str,
    after: str | None,
    *,
    start: int = 0,
    limit: int = FILES_PER_PAGE,
    paths: Sequence[str] = (),
    bounds: Bounds = _DEFAULT,
) -> Comparison:
    """Which files differ between two commits. after: None for the files as they are now. start: of an earlier page.
    paths: only these files, and those in these folders, relative to the top of the work tree; all if empty.

    What one of them skipped is left out. Raises GitError.
    """
    async with _compared(repository, before, after, bounds) as (git, trees, hidden):
        changes = [change for change in await _changes(git, repository, trees, hidden) if is_among(change.path, paths)]
    lines = [(change.added or 0, change.removed or 0) for change in changes]
    end = start + limit
    return Comparison(
        [_file(change) for change in changes[start:end]],
        len(changes),
        sum(added for added, _ in lines),
        sum(removed for _, removed in lines),
        end if end < len(changes) else None,
    )


async def read_patches(
    repository: Repository,
    before: str,
    after: str | None,
    *,
    start: int = 0,
    limit: int = PATCHES_PER_PAGE,
    max_bytes: int = PATCH_BYTES,
    paths: Sequence[str] = (),
    bounds: Bounds = _DEFAULT,
) -> PatchPage:
    """The diffs of the files of a comparison. max_bytes: of a page; only the diff of its first file can be cut.

    Raises GitError.
    """
    async with _compared(repository, before, after, bounds) as (git, trees, hidden):
        changes = [change for change in await _changes(git, repository, trees, hidden) if is_among(change.path, paths)]
        page = changes[start : start + limit]
        if not page:
            return PatchPage([])
        named = list(dict.fromkeys(path for change in page for path in (change.old_path, change.path)))
        # The lists of files come first, and are as long as they were for all changes at most.
        listed = sum(len(change.path) + len(change.old_path) + 200 for change in changes)
        output, whole = await git.start_of_output(*_DIFF, "-p", *trees, "--", *named, limit=listed + max_bytes)
    found, patches = parse_diff(output)
    by_path = {change.path: patch for change, patch in zip(found, patches, strict=False)}
    partial = found[len(patches) - 1].path if patches and not whole else None
    taken, room = list[FilePatch](), max_bytes
    for change in page:
        text = by_path.get(change.path)
        if text is None or change.path == partial or len(text) > room:
            break
        room -= len(text)
        taken.append(FilePatch(_file(change), text.decode(errors="replace")))
    if not taken:
        text = by_path.get(page[0].path, b"")[:max_bytes]
        taken.append(FilePatch(_file(page[0]), text.decode(errors="replace"), cut=True))
    end = start + len(taken)
    return PatchPage(taken, end if end < len(changes) else None)


@asynccontextmanager
async def _compared(
    repository: Repository, before: str, after: str | None, bounds: Bounds
) -> AsyncIterator[tuple[Git, tuple[str, str], Hidden]]:
    """Git, the two trees, and what they do not tell about. What was read of the present files is discarded."""
    if after is None:
        async with quarantined(repository, bounds.seconds) as quarantine:
            present = await read_present(quarantine, repository, bounds)
            git = quarantine.git(repository, present.index)
            tree, skipped = await read_commit(git, before)
            yield git, (tree, present.tree), Hidden([*skipped, *present.skipped], repository.prefix)
    else:
        async with within(bounds.seconds):
            tree, skipped = await read_commit(repository.git, before)
            after_tree, after_skipped = await read_commit(repository.git, after)
            yield repository.git, (tree, after_tree), Hidden([*skipped, *after_skipped], repository.prefix)


async def _changes(git: Git, repository: Repository, trees: tuple[str, str], hidden: Hidden) -> list[RawChange]:
    changes, _ = parse_diff(await git.run(*_DIFF, *trees, *repository.below))
    return [
        change
        for change in changes
        if not any(hidden.hides(path, in_both=change.status in "MT") for path in {change.old_path, change.path})
    ]


def _file(change: RawChange) -> FileChange:
    return FileChange(
        shown(change.path),
        shown(change.old_path) if change.status == "R" else None,
        _STATUS[change.status],
        change.added or 0,
        change.removed or 0,
        change.added is None,
    )
