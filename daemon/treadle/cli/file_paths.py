"""Paths of files: from the command line to git, and as git prints them."""

import os
from collections.abc import Iterable

from treadle.store.errors import UserError
from treadle.store.records import ThreadWork
from treadle.workspace.repositories import Repository

_ESCAPES = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 11: b"\\v", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
_QUOTED = {number: b"\\%03o" % number for number in (*range(32), 127)} | _ESCAPES


def below_top(repository: Repository, words: Iterable[str], work: ThreadWork) -> list[str]:
    """Paths that are relative to the current folder, or absolute, relative to the top of the work tree.

    A path in the thread's worktree and one in the folder of the project stand for the same file: whoever undoes what
    was done in a worktree may be in either. Patterns are not expanded: `*` is a character as any other. Raises
    UserError for one outside the project's folder.
    """
    folder, top = str(repository.folder), str(repository.top)
    others = [os.path.realpath(other) for other in (work.path, work.project)]  # a worktree may be below the project
    found = []
    for word in words:
        head, name = os.path.split(os.path.abspath(word))  # noqa: PTH100
        # The path itself may be a symbolic link: that is the file which is meant.
        place = os.path.join(os.path.realpath(head), name).rstrip("/")  # noqa: PTH118
        inside = next((each for each in (folder, *others) if place == each or place.startswith(f"{each}/")), None)
        if inside is None:
            raise UserError(f"{word!r} is outside the folder of the project, {work.project}")
        found.append(os.path.relpath(folder + place.removeprefix(inside), top))
    return found


def quoted(path: bytes) -> bytes:
    """A path as git prints it: in double quotes and with escapes as in C if it has control characters, `"` or `\\`."""
    if not any(byte in _QUOTED for byte in path):
        return path
    return b'"%b"' % b"".join(_QUOTED.get(byte, bytes([byte])) for byte in path)
