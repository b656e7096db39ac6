"""Patterns of paths, such as `src/**/*.py`. No I/O: symbolic links are the caller's business."""

import fnmatch
import glob
import posixpath
import unicodedata

from treadle.domain.paths import path_key


def relative_to(folder: str, path: str) -> str | None:
    """Return the path relative to the folder, `` for the folder itself, or None if it is outside.

    folder: an absolute path. path: absolute, or relative to the folder. `..` is resolved in the text.
    """
    base, whole = path_key(folder), path_key(posixpath.join(folder, path))
    if whole == base:
        return ""
    base = base.rstrip("/") + "/"
    return whole[len(base) :] if whole.startswith(base) else None


def path_matches(pattern: str, path: str, folder: str, *, generous: bool) -> bool:
    """Return whether the path matches the pattern.

    A pattern is absolute or relative to the folder; a relative one matches nothing outside. `*`, `?` and `[...]` match
    within one name, `**` any number of names, and a pattern that ends with `/` all that is in that folder. Names that
    begin with a dot are matched by a pattern that begins with one, as in a shell: `**` must not reach `.git/hooks`.

    generous: for a rule that does not allow: wildcards match names with a dot too, and case is ignored.
    """
    pattern += "**" if pattern.endswith("/") else ""
    if generous:
        pattern, path, folder = pattern.casefold(), path.casefold(), folder.casefold()
    pattern = unicodedata.normalize("NFC", pattern)  # as path_key does with the path
    whole = path_key(posixpath.join(folder, path)) if pattern.startswith("/") else relative_to(folder, path)
    if whole is None:
        return False
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return _match(parts, [name for name in whole.split("/") if name], generous)


def exact_pattern(path: str, folder: str, *, everywhere: bool) -> str:
    """Return the pattern that only this path matches. everywhere: an absolute one, for a rule of all projects."""
    inside = None if everywhere else relative_to(folder, path)
    return glob.escape(inside or path_key(posixpath.join(folder, path)))


def _match(parts: list[str], names: list[str], hidden: bool) -> bool:
    reached = {0}  # the numbers of names that the parts so far can match
    for part in parts:
        if part == "**":
            for n, name in enumerate(names):
                if n in reached and (hidden or not name.startswith(".")):
                    reached.add(n + 1)
        else:
            reached = {n + 1 for n in reached if n < len(names) and _name_matches(part, names[n], hidden)}
    return len(names) in reached


def _name_matches(part: str, name: str, hidden: bool) -> bool:
    return (hidden or not name.startswith(".") or part.startswith(".")) and fnmatch.fnmatchcase(name, part)
