"""Compares snapshots of a folder with each other, and with its files as they are now."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

from msgspec import Struct

from treadle.workspace.git import Git, within
from treadle.workspace.parsing import RawChange, parse_diff
from treadle.workspace.repositories import Repository, quarantined
from treadle.workspace.skipping import Bounds, Hidden, is_among, shown
from treadle.workspace.snapshots import Read, read_commit, read_present

FILES_PER_PAGE = 500
PATCHES_PER_PAGE = 50
PATCH_BYTES = 256 * 1024
DIFF_BYTES = 32 * 1024 * 1024
MAX_ARGUMENTS = 100_000
"""Bytes of paths that are named on the command line of git; with more, it compares all files."""

Status = Literal["added", "removed", "modified", "renamed", "typeChanged"]
_STATUS: Final[dict[str, Status]] = {
    **{"A": "added", "D": "removed", "M": "modified", "R": "renamed", "T": "typeChanged"},
}
_DIFF: Final = ("diff-tree", "-r", "-z", "--raw", "--numstat", "-M", "-l1000", "--no-ext-diff", "--no-textconv")
_DEFAULT: Final = Bounds()
_NONE: Final[Mapping[str, Read]] = {}


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


class Diff(Struct, frozen=True):
    """A comparison with exact bytes. changes: ordered by path. patches: unified diffs of the first ones of them, whole;
    fewer than the changes if there was no room for all."""

    changes: list[RawChange]
    patches: list[bytes]

    @property
    def left_out(self) -> list[RawChange]:
        """The changes without a patch."""
        return self.changes[len(self.patches) :]


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
        everything, _ = await _changes(git, repository, trees, hidden)
        changes = [change for change in everything if _is_among(change, paths)]
    lines = [(change.added or 0, change.removed or 0) for change in changes]
    end = start + limit
    return Comparison(
        [file_of(change) for change in changes[start:end]],
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
        everything, listed = await _changes(git, repository, trees, hidden)
        changes = [change for change in everything if _is_among(change, paths)]
        page = changes[start : start + limit]
        if not page:
            return PatchPage([])
        patches, partial = await _patches(git, repository, trees, listed, page, max_bytes)
    taken = [
        FilePatch(file_of(change), text.decode(errors="replace")) for change, text in zip(page, patches, strict=False)
    ]
    if not taken:
        taken.append(FilePatch(file_of(page[0]), partial.decode(errors="replace"), cut=True))
    end = start + len(taken)
    return PatchPage(taken, end if end < len(changes) else None)


async def read_diff(
    repository: Repository,
    before: str,
    after: str | None,
    *,
    paths: Sequence[str] = (),
    patches: bool = True,
    max_bytes: int = DIFF_BYTES,
    bounds: Bounds = _DEFAULT,
    known: Mapping[str, Read] = _NONE,
) -> Diff:
    """All that differs, at once. patches: False for none. max_bytes: of all patches. known: commits that were read
    already. For the rest see `compare`.

    Raises GitError.
    """
    async with _compared(repository, before, after, bounds, known) as (git, trees, hidden):
        if patches and not paths:
            output, whole = await git.start_of_output(*_DIFF, "-p", *trees, *repository.below, limit=max_bytes)
            found, texts = parse_diff(output) if whole else ([], [])
            if whole and len(found) == len(texts):  # usually: then git need not run a second time
                told = [pair for pair in zip(found, texts, strict=True) if not _is_hidden(pair[0], hidden)]
                return Diff([change for change, _ in told], [text for _, text in told])
        everything, listed = await _changes(git, repository, trees, hidden)
        changes = [change for change in everything if _is_among(change, paths)]
        if not patches or not changes:
            return Diff(changes, [])
        begun, _ = await _patches(git, repository, trees, listed, changes, max_bytes)
        return Diff(changes, begun)


async def _patches(
    git: Git, repository: Repository, trees: tuple[str, str], listed: int, wanted: list[RawChange], max_bytes: int
) -> tuple[list[bytes], bytes]:
    """The patches of the first of these changes, as many as fit; and what fits of the next one.

    listed: bytes of the lists of all changes that git prints first.
    """
    named = list(dict.fromkeys(path for change in wanted for path in (change.old_path, change.path)))
    few = sum(map(len, named)) <= MAX_ARGUMENTS
    only: list[str | bytes] = ["--", *named] if few else [*repository.below]
    # The lists of files come first, and are as long as they were for all changes at most.
    output, whole = await git.start_of_output(*_DIFF, "-p", *trees, *only, limit=listed + max_bytes)
    found, patches = parse_diff(output)
    by_path = {change.path: patch for change, patch in zip(found, patches, strict=False)}
    partial = found[len(patches) - 1].path if patches and not whole else None
    taken, room = list[bytes](), max_bytes
    for change in wanted:
        text = by_path.get(change.path, b"")
        if not text or change.path == partial or len(text) > room:
            return taken, text[:room]
        room -= len(text)
        taken.append(text)
    return taken, b""


@asynccontextmanager
async def _compared(
    repository: Repository, before: str, after: str | None, bounds: Bounds, known: Mapping[str, Read] = _NONE
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
            tree, skipped = known.get(before) or await read_commit(repository.git, before)
            after_tree, after_skipped = known.get(after) or await read_commit(repository.git, after)
            yield repository.git, (tree, after_tree), Hidden([*skipped, *after_skipped], repository.prefix)


async def _changes(
    git: Git, repository: Repository, trees: tuple[str, str], hidden: Hidden
) -> tuple[list[RawChange], int]:
    """What differs, and how many bytes the lists of it that git prints have at most, whatever they are limited to."""
    output = await git.run(*_DIFF, *trees, *repository.below)
    changes, _ = parse_diff(output)
    told = [change for change in changes if not _is_hidden(change, hidden)]
    # Some more than here, because a file that is renamed may then be listed as two.
    return told, len(output) + 250 * len(changes)


def _is_hidden(change: RawChange, hidden: Hidden) -> bool:
    return any(hidden.hides(path, in_both=change.status in "MT") for path in {change.old_path, change.path})


def _is_among(change: RawChange, paths: Sequence[str]) -> bool:
    return is_among(change.path, paths) or is_among(change.old_path, paths)


def file_of(change: RawChange) -> FileChange:
    """The change as text."""
    return FileChange(
        shown(change.path),
        shown(change.old_path) if change.status == "R" else None,
        _STATUS[change.status],
        change.added or 0,
        change.removed or 0,
        change.added is None,
    )
