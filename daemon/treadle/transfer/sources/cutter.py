"""Keeps the values of an imported history small: long results are cut in the middle, and encoded files left out."""

import re
from typing import Any

from treadle.agents.shapes import Json
from treadle.transfer.sources.source import SourceReport

MAX_RESULT = 32 * 1024  # characters of one text in a detail; a longer one loses its middle, unless all is kept
MAX_TEXT = 2 * 1024 * 1024  # characters of a message, and of one text in a detail if all is kept
MAX_DETAIL = 1024 * 1024  # characters in one detail
MAX_WHOLE = 4 * 1024 * 1024  # characters in one detail if all is kept
MAX_DEPTH = 64

_DATA_URL = re.compile(r"data:([\w.+/-]{0,100});base64,", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{2048,}={0,2}", re.ASCII)
_VARIED = (re.compile("[A-Z]"), re.compile("[a-z]"), re.compile("[0-9]"))


class Cutter:
    """Cuts values, and counts that in the report."""

    def __init__(self, report: SourceReport, full: bool) -> None:
        self._report = report
        self._longest, self._most = (MAX_TEXT, MAX_WHOLE) if full else (MAX_RESULT, MAX_DETAIL)
        self._left = 0

    def text(self, text: str) -> str:
        """A message, which is whole unless it is huge."""
        return text if len(text) <= MAX_TEXT else self._middle(text, MAX_TEXT, f"a text over {MAX_TEXT >> 20} MiB")

    def detail(self, value: Any) -> Any:
        """A JSON value, with each text in it cut."""
        self._left = self._most
        return self._cut(value, 0)

    def _cut(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._string(value)
        if not isinstance(value, dict | list):
            self._left -= 8
            return value if not isinstance(value, int) or abs(value) < 1 << 63 else str(value)[:64]
        if depth >= MAX_DEPTH or self._left <= 0:
            self._report.cut["a value that is too large"] += 1
            return "[cut]"
        if isinstance(value, list):
            kept = []
            for item in value:
                if self._left <= 0:
                    self._report.cut["a value that is too large"] += 1
                    break
                kept.append(self._cut(item, depth + 1))
            return kept
        return self._object(value, depth)

    def _object(self, value: Json, depth: int) -> Json:
        is_file = isinstance(value.get("data"), str) and (
            value.get("type") in ("base64", "image", "audio") or any(n in value for n in ("mimeType", "mime_type"))
        )
        kept: Json = {}
        for name, member in value.items():
            if self._left <= 0:
                self._report.cut["a value that is too large"] += 1
                break
            self._left -= len(name)
            kept[name[:1024]] = self._left_out(member) if is_file and name == "data" else self._cut(member, depth + 1)
        return kept

    def _string(self, text: str) -> str:
        if text.startswith("data:") and _DATA_URL.match(text):
            return self._left_out(text)
        if len(text) >= 2048 and _BASE64.fullmatch(text) and all(kind.search(text, 0, 2048) for kind in _VARIED):
            return self._left_out(text)
        limit = min(self._longest, max(self._left, 1024))
        if len(text) > limit:
            text = self._middle(text, limit, f"a tool result over {self._longest >> 10} KiB")
        self._left -= len(text)
        return text

    def _left_out(self, text: str) -> str:
        self._report.cut["a file in base64"] += 1
        kind = found[1] if (found := _DATA_URL.match(text)) else "base64"
        return f"[{kind}: {len(text):,} characters left out]"

    def _middle(self, text: str, limit: int, what: str) -> str:
        self._report.cut[what] += 1
        half = limit // 2
        return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters cut …]\n{text[-half:]}"
