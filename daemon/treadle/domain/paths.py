"""Paths of projects: their normal form, and when two paths or two projects are the same."""

import posixpath
import unicodedata


def normalized(path: str) -> str:
    """The absolute path without `.`, `..`, doubled or trailing slashes. Symbolic links are not resolved."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path


def path_key(path: str) -> str:
    """A key that all spellings of a path share: some programs write `é` composed (NFC), others decomposed (NFD)."""
    return unicodedata.normalize("NFC", normalized(path))


def project_key(path: str | None, remote: str | None) -> str:
    """What no two live projects share: the path, or the remote of a project of a shared log, which has no path.

    Empty if it has no remote either: only its id is its own.
    """
    return (remote or "") if path is None else path_key(path)
