"""Finds the fenced code blocks in Markdown that people and agents wrote."""

import re
from collections.abc import Iterator

# Only unindented fences: an indented one belongs to a list or a quote, which this does not parse.
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*((?:[A-Za-z][\w+#.-]*)?)[ \t]*")


def pieces(text: str) -> Iterator[tuple[list[str], str | None]]:
    """Yield runs of lines: prose with None, a code block (without its fences) with its language, which may be empty.

    A block that is not closed extends to the end (CommonMark 0.31, section 4.5).
    """
    lines: list[str] = []
    fence, info = "", None
    for line in text.strip("\n").split("\n"):
        found = _FENCE.fullmatch(line)
        is_end = found is not None and not found[2] and found[1].startswith(fence)
        if found is not None and (info is None or is_end):
            yield lines, info
            lines = []
            fence, info = (found[1], found[2]) if info is None else ("", None)
        else:
            lines.append(line)
    yield lines, info
