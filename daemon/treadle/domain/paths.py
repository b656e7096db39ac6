"""Paths of projects: how they are written, and when two are the same."""

import posixpath
import unicodedata


def normalized(path: str) -> str:
    """The one way to write an absolute path: no `.`, `..`, doubled or trailing slash. Symbolic links are not read."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path


def path_key(path: str) -> str:
    """The same text for all spellings of a path: one program writes `é` composed, another one decomposed (NFC, NFD)."""
    return unicodedata.normalize("NFC", normalized(path))
