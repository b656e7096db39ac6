"""Output of commands: text that is safe on a terminal, colour if wanted, JSON for programs."""

import os
import re
import sys
import unicodedata
from datetime import datetime
from typing import TextIO

import msgspec

# Control characters that a terminal obeys: C0 without tab and newline, DEL, C1. Bidirectional controls, which make a
# line look like a different one (CVE-2021-42574). Surrogates, which Python uses for bytes of a name that are not UTF-8
# (PEP 383) and which cannot be encoded.
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\udc80-\udcff]")
_COLOURS = re.compile(r"(\x1b\[[0-9;]*m)")  # only our own: text is cleaned before it is painted
_C1 = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # the other ones are already escaped in JSON


def clean(text: str) -> str:
    """The text with control characters replaced by visible ones."""
    return _ORDERS.sub(lambda found: _visible(ord(found[0])), text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text cleaned and joined into one line."""
    return clean(" ⏎ ".join(line.strip() for line in text.strip().splitlines()).replace("\t", " "))


def _visible(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's control pictures
    if code >= 0xDC80:
        return f"\\x{code - 0xDC00:02x}"
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


def width(text: str) -> int:
    """The number of terminal columns that the text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """The text, truncated to this many columns."""
    if width(text) <= columns:
        return text
    room, kept = max(columns, 1) - 1, []
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def cut(painted: str, columns: int) -> str:
    """Coloured text, truncated to this many columns."""
    if width(_COLOURS.sub("", painted)) <= columns:
        return painted
    room, kept = columns - 1, []
    for part in _COLOURS.split(painted):
        if _COLOURS.fullmatch(part):
            kept.append(part)
        elif room > 0:
            kept.append(part if width(part) <= room else fit(part, room + 1))
            room -= width(part)
    return "".join(kept)


def pad(text: str, columns: int) -> str:
    """The text, padded with spaces to this many columns."""
    return text + " " * (columns - width(text))


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a stream, stdout if it is None, is a terminal."""
    return (sys.stdout if stream is None else stream).isatty()


def columns() -> int | None:
    """The width of the terminal, or None if stdout is not one."""
    if not is_terminal():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}
"""Styles and their terminal codes (ECMA-48, 8.3.117)."""


class Paint:
    """Colours text by style name, unless the stream that it goes to, stdout if it is None, is not a terminal, TERM is
    dumb or NO_COLOR is set (no-color.org)."""

    def __init__(self, wanted: bool | None = None, *, to: TextIO | None = None) -> None:
        if wanted is None:
            wanted = is_terminal(to) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._wanted = wanted

    def __call__(self, style: str, text: str) -> str:
        """The text in a style: names from STYLES, separated by spaces."""
        if not self._wanted or not style or not text:
            return text
        return f"\x1b[{';'.join(str(STYLES[name]) for name in style.split())}m{text}\x1b[0m"


STATUS_STYLES = {
    "running": "yellow",
    "cancelling": "yellow",
    "streaming": "yellow",
    "waiting": "bold magenta",
    "pending": "magenta",
    "completed": "green",
    "resolved": "green",
    "failed": "bold red",
    "interrupted": "red",
    "cancelled": "red",
}
"""The style of each status of an entity."""


def print_json(text: bytes | msgspec.Raw) -> None:
    """Print one line of JSON; on a terminal, control characters are escaped."""
    line = bytes(text)
    if is_terminal():
        line = _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()
    sys.stdout.buffer.write(line + b"\n")


def local(at: str | None) -> datetime | None:
    """The time of an event in the local time zone."""
    return None if at is None else datetime.fromisoformat(at).astimezone()


def to_the_minute(at: str) -> str:
    """A time in local time, to the minute: `2026-01-31 12:00`."""
    return f"{local(at):%Y-%m-%d %H:%M}"


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 turn`, `3 turns`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """A number of bytes in readable form: `1.5 MiB`."""
    number, unit = float(count), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{count:,} bytes" if unit == "bytes" else f"{number:,.1f} {unit}"
