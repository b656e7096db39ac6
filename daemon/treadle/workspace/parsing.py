"""What git prints, as data. No I/O."""

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

GITLINK = b"160000"
"""The mode of a submodule."""

_PATCH = re.compile(rb"^(?=diff --git )", re.MULTILINE)  # each line of a file has another start
_INCREMENTAL = re.compile(rb"([0-9a-f]+) (\d+) (\d+) (\d+)")


class RawChange(Struct, frozen=True):
    """A line of `diff-tree --raw`. old_path: of a renamed file, else the same as path. added, removed: lines; None for
    a binary file."""

    old_mode: bytes
    new_mode: bytes
    old_id: bytes
    status: str
    old_path: bytes
    path: bytes
    added: int | None = 0
    removed: int | None = 0

    @property
    def is_submodule(self) -> bool:
        return GITLINK in (self.old_mode, self.new_mode)


def names(output: bytes) -> list[bytes]:
    """The items of a list with a NUL after each, without repetition."""
    return list(dict.fromkeys(output.split(b"\0")[:-1]))


def listed(paths: Iterable[bytes]) -> bytes:
    """The same list, as git reads it with `-z --stdin`."""
    return b"".join(path + b"\0" for path in paths)


def unmerged_paths(output: bytes) -> list[bytes]:
    """The paths that `ls-files -z --unmerged` prints, ordered."""
    return sorted({line.split(b"\t", 1)[1] for line in names(output)})


def parse_diff(output: bytes) -> tuple[list[RawChange], list[bytes]]:
    """What `diff-tree -z --raw [--numstat] [-p]` prints: the changes, and the patches of all, in the same order."""
    lines, end = list[tuple[list[bytes], bytes, bytes]](), 0

    def field() -> bytes:
        nonlocal end
        start, end = end, output.index(b"\0", end)
        end += 1
        return output[start : end - 1]

    while output.startswith(b":", end):
        meta = field()[1:].split(b" ")
        path = field()
        lines.append((meta, path, field() if meta[4][:1] in b"RC" else path))
    counts = dict[bytes, tuple[int | None, int | None]]()
    while end < len(output) and not output.startswith(b"\0", end):
        added, removed, path = field().split(b"\t", 2)
        if not path:
            field()
            path = field()
        counts[path] = (None, None) if added == b"-" else (int(added), int(removed))
    changes = [
        RawChange(meta[0], meta[1], meta[2], meta[4][:1].decode(), old_path, path, *counts.get(path, (0, 0)))
        for meta, old_path, path in lines
    ]
    return changes, list(_patches(changes, output[end + 1 :]))


def _patches(changes: list[RawChange], text: bytes) -> Iterator[bytes]:
    """The patch of each change, as far as the text goes."""
    pieces = [piece for piece in _PATCH.split(text) if piece]
    for change in changes:
        taken = 2 if change.status == "T" else 1  # a change of the type is shown as a removal and an addition
        if not pieces:
            return
        yield b"".join(pieces[:taken])
        del pieces[:taken]


class Blamed(Struct, frozen=True):
    """Lines from start on, the commit that they are from, and where they were in it. Lines count from 1."""

    start: int
    count: int
    commit: str
    line: int
    path: bytes


def parse_blame(output: bytes) -> Iterator[Blamed]:
    """What `blame --incremental` prints."""
    found: re.Match[bytes] | None = None
    for line in output.split(b"\n"):
        if found is None:
            found = _INCREMENTAL.fullmatch(line)
        elif line.startswith(b"filename "):  # the last line of each
            path = unquoted(line.removeprefix(b"filename "))
            yield Blamed(int(found[3]), int(found[4]), found[1].decode(), int(found[2]), path)
            found = None


def unquoted(path: bytes) -> bytes:
    """A path that git has quoted as in C, if it has characters that need it."""
    if not path.startswith(b'"'):
        return path
    escaped = path[1:-1].decode("latin-1").encode("ascii", "backslashreplace")
    return escaped.decode("unicode_escape").encode("latin-1")
