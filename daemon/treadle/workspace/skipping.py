"""Which files a snapshot skips, and what follows for a comparison with it. No I/O.

Paths are bytes, as git has them: relative to the top of the work tree, with slashes. A path that ends with a slash is
a folder.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from msgspec import Struct

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_UNTRACKED = 20_000
SNAPSHOT_SECONDS = 10.0

Reason = Literal["size", "count", "repository", "unreadable"]
_LINE = "treadle-skipped: "


class Bounds(Struct, frozen=True):
    """What a snapshot takes. file_bytes: of the largest file. untracked: files that git does not track. seconds: until
    it is ended, with the wait for other snapshots of the repository."""

    file_bytes: int = MAX_FILE_BYTES
    untracked: int = MAX_UNTRACKED
    seconds: float = SNAPSHOT_SECONDS


class Skipped(Struct, frozen=True):
    """A path that a snapshot does not have as it is, and that is never written or removed.

    path: relative to the top of the work tree; a folder ends with `/`. Bytes that are not UTF-8 are shown as U+FFFD.
    reason: `size`; `count`: a folder with too many untracked files, of which only those that git tracks are in the
    snapshot; `repository`: another one within this; `unreadable`: git could not read it, or a filter failed.
    bytes: the size of a file, 0 of a folder.
    """

    path: str
    reason: Reason
    bytes: int = 0


class SkippedPath(Struct, frozen=True, order=True):
    """As Skipped, with the exact path."""

    path: bytes
    reason: Reason
    size: int = 0

    def shown(self) -> Skipped:
        return Skipped(shown(self.path), self.reason, self.size)


def shown(path: bytes) -> str:
    """A path as text for people and JSON."""
    return path.decode(errors="replace")


def choose(
    tracked: Iterable[tuple[bytes, int]], untracked: Collection[tuple[bytes, int]], prefix: bytes, bounds: Bounds
) -> tuple[list[bytes], list[SkippedPath]]:
    """Which files with these sizes are taken, and which are skipped. prefix: of the project's folder.

    If there are too many untracked ones, whole folders are skipped, those with the most files first: of the folders
    directly in the project's, and the files directly in it count as one.
    """
    skipped = [SkippedPath(path, "repository") for path, _ in untracked if path.endswith(b"/")]
    files = [(path, size) for path, size in untracked if not path.endswith(b"/")]
    excess, left_out = len(files) - bounds.untracked, set[bytes]()
    if excess > 0:
        for folder, count in Counter(_folder(path, prefix) for path, _ in files).most_common():
            if excess <= 0:
                break
            excess -= count
            left_out.add(folder)
        skipped += [SkippedPath(folder, "count") for folder in left_out]
        files = [(path, size) for path, size in files if _folder(path, prefix) not in left_out]
    taken = list[bytes]()
    for path, size in (*tracked, *files):
        if size > bounds.file_bytes:
            skipped.append(SkippedPath(path, "size", size))
        else:
            taken.append(path)
    return taken, skipped


def _folder(path: bytes, prefix: bytes) -> bytes:
    """The folder directly in the project's that the path is in, with a slash; for a file directly in it, the prefix."""
    head, slash, _ = path[len(prefix) :].partition(b"/")
    return prefix + head + slash if slash else prefix or b"./"


def is_among(path: bytes, paths: Sequence[str]) -> bool:
    """Whether a path is one of these, or in a folder that is; always if there are none."""
    wanted = [os.fsencode(each).rstrip(b"/") for each in paths]
    return not wanted or any(path == each or path.startswith(each + b"/") or each == b"." for each in wanted)


class Hidden:
    """Paths of which two snapshots do not tell whether they differ, because one of them skipped it."""

    def __init__(self, skipped: Iterable[SkippedPath], prefix: bytes) -> None:
        self._prefix = prefix
        self._reasons = {each.path: each.reason for each in skipped}

    def hides(self, path: bytes, *, in_both: bool) -> bool:
        """Whether a difference at this path is unknown. in_both: whether both snapshots have a file there."""
        if path in self._reasons:
            return True
        if in_both:
            return False  # it is tracked
        if self._reasons.get(self._prefix or b"./") == "count" and b"/" not in path[len(self._prefix) :]:
            return True
        return any(above in self._reasons for above in folders_above(path) if above != self._prefix)


def folders_above(path: bytes) -> list[bytes]:
    """The folders that the path is in, outermost first, each with a slash."""
    parts = path.split(b"/")
    return [b"/".join(parts[:n]) + b"/" for n in range(1, len(parts))]


def message_of(title: str, skipped: Iterable[SkippedPath]) -> bytes:
    """The message of a snapshot's commit. It has the skipped paths, because a restore may not remove them."""
    lines = [_LINE + json.dumps([os.fsdecode(each.path), each.reason, each.size]) for each in skipped]
    subject = " ".join(title.replace("\0", " ").split()) or "treadle"
    return "\n".join([subject, "", *lines, ""]).encode(errors="replace")


def skipped_in(message: bytes) -> list[SkippedPath]:
    """The skipped paths in a message of `message_of`."""
    found = list[SkippedPath]()
    for line in message.decode(errors="replace").splitlines()[2:]:
        path, reason, size = json.loads(line.removeprefix(_LINE))
        found.append(SkippedPath(os.fsencode(path), reason, size))
    return found
