"""Checks JSON text (RFC 8259) without decoding it to values, for what a decoder refuses or does not notice.

Everything here takes time linear in the text, and nothing recurses, whatever the text is. The results of `holds_nul`,
`holds_lone_surrogate` and `is_deeper_than` are meaningful only for valid JSON.
"""

import codecs
import enum
import itertools
import json
import re
from typing import Final

_SLICE: Final = 1 << 16

_STRING: Final = re.compile(rb'"[^"]*"')
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: +1 and -1
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))

_SURROGATE_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG_ESCAPE: Final = re.compile(rb"\\u[0-9a-fA-F]{4}")
_SHORT_ESCAPE: Final = re.compile(rb'\\["/bfnrt]')
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|u0000|.)", re.DOTALL
)

# For text whose escapes are blanked out: a backslash that is left is an error.
_BLANK: Final = re.compile(rb"[ \t\r\n]*")
_TOKEN: Final = re.compile(
    rb'[ \t\r\n]*("[^"\\\x00-\x1f]*"|[\[\]{},:]|true|false|null'
    rb"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
)
# Match many opening or closing brackets in one step: text that is nested absurdly deep is mostly brackets.
_RUN: Final = 128
_OPENINGS: Final = re.compile(rb'(?:[ \t\r\n]*(?:\[|\{[ \t\r\n]*"[^"\\\x00-\x1f]*"[ \t\r\n]*:)){1,%d}' % _RUN)
_CLOSINGS: Final = re.compile(rb"(?:[ \t\r\n]*[\]}]){1,%d}" % _RUN)
_CLOSER: Final = bytes.maketrans(b"[{", b"]}")


class NotJson(ValueError):
    """The text is not valid JSON. The message says where."""


def is_utf8(text: bytes) -> bool:
    """Whether `text` is valid UTF-8. Uses a bounded amount of memory."""
    if text.isascii():
        return True
    try:
        if len(text) <= _SLICE:
            text.decode()
            return True
        decoder = codecs.getincrementaldecoder("utf-8")()
        view = memoryview(text)
        for start in range(0, len(text), _SLICE):
            decoder.decode(view[start : start + _SLICE], start + _SLICE >= len(text))
    except UnicodeDecodeError:
        return False
    return True


def holds_nul(text: bytes) -> bool:
    """Whether a string contains U+0000, which JSON can only express as an escape."""
    return b"\\u0000" in text and b"\\u0000" in _blot_backslashes(text)


def holds_lone_surrogate(text: bytes) -> bool:
    """Whether a string contains half a surrogate pair, which is not a character (RFC 8259, section 8.2)."""
    return _SURROGATE.search(_SURROGATE_PAIR.sub(b"", _blot_backslashes(text))) is not None


def storable(text: bytes) -> bytes:
    """`text` with U+FFFD in place of each U+0000 and each half of a surrogate pair, which are not stored.

    Tools print U+0000. Programs in JavaScript write half a pair where they have cut a text.
    """
    return _ESCAPE.sub(_storable, text) if b"\\u" in text else text


def _storable(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if len(escape[0]) == 6 else escape[0]  # of six characters, the pattern matches only those


def is_deeper_than(limit: int, text: bytes) -> bool:
    """Whether arrays and objects nest deeper than `limit`."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    bare = _STRING.sub(b"", _blot_backslashes(text).replace(b'\\"', b""))
    steps = memoryview(bare.translate(_STEPS, _NOT_BRACKETS)).cast("b")
    return max(itertools.accumulate(steps), default=0) > limit


def _blot_backslashes(text: bytes) -> bytes:
    """`text` with its escaped backslashes blanked out, so that each backslash that is left starts an escape."""
    return text.replace(b"\\\\", b"__")


class _Wanted(enum.Enum):
    VALUE = enum.auto()
    VALUE_OR_END = enum.auto()
    NAME = enum.auto()
    NAME_OR_END = enum.auto()
    COLON = enum.auto()
    COMMA_OR_END = enum.auto()


_VALUE: Final = (_Wanted.VALUE, _Wanted.VALUE_OR_END)
_NAME: Final = (_Wanted.NAME, _Wanted.NAME_OR_END)
_END: Final = (_Wanted.COMMA_OR_END, _Wanted.VALUE_OR_END, _Wanted.NAME_OR_END)


def walk(text: bytes, names: frozenset[str], most: int) -> dict[str, bytes] | list[bytes] | None:
    """Split an object or an array into the JSON texts of its values; None for any other value. `text` is UTF-8.

    For an object, returns the members that `names` lists (the last one if a name occurs twice); for an array, the first
    `most` items. Raises NotJson for invalid JSON. It takes about 0.5 µs per token: use it only for text that a decoder
    written in C refuses.
    """
    plain = _SHORT_ESCAPE.sub(b"__", _LONG_ESCAPE.sub(b"______", _blot_backslashes(text)))
    members: dict[str, bytes] = {}
    items: list[bytes] = []
    name, opening = "", b""
    begin = end = 0  # where the current value one level down starts; where the last token ends
    closers = bytearray()  # the closing brackets that are still missing, innermost last
    wanted = _Wanted.VALUE
    while closers or not end:
        if len(closers) > _RUN and (run := _skip_run(plain, end, closers, wanted)):
            end, wanted = run
        token = _TOKEN.match(plain, end)
        if token is None:
            raise _malformed(end)
        start = token.start(1)
        mark = plain[start : start + 1]
        if wanted is _Wanted.COMMA_OR_END and len(closers) == 1:
            if opening == b"[" and len(items) < most:
                items.append(text[begin:end])
            elif name in names:
                members[name] = text[begin:end]
        if mark in (b"]", b"}") and wanted in _END and closers.endswith(mark):
            closers.pop()
            wanted = _Wanted.COMMA_OR_END
        elif mark == b"," and wanted is _Wanted.COMMA_OR_END:
            wanted = _Wanted.VALUE if closers.endswith(b"]") else _Wanted.NAME
        elif mark == b":" and wanted is _Wanted.COLON:
            wanted = _Wanted.VALUE
        elif mark == b'"' and wanted in _NAME:
            if len(closers) == 1:
                name = json.loads(text[start : token.end()])
            wanted = _Wanted.COLON
        elif mark not in (b"]", b"}", b",", b":") and wanted in _VALUE:
            if len(closers) == 1:
                begin = start
            wanted = _Wanted.COMMA_OR_END
            if mark in (b"[", b"{"):
                opening = opening or mark
                closers += mark.translate(_CLOSER)
                wanted = _Wanted.VALUE_OR_END if mark == b"[" else _Wanted.NAME_OR_END
        else:
            raise _malformed(start)
        end = token.end()
    if not _BLANK.fullmatch(plain, end):
        raise _malformed(end)
    if opening == b"[":
        return items
    return members if opening == b"{" else None


def _skip_run(plain: bytes, end: int, closers: bytearray, wanted: _Wanted) -> tuple[int, _Wanted] | None:
    """Skip opening or closing brackets from `end` on and update `closers`; the new end and what is expected there."""
    if wanted in _VALUE:
        if run := _OPENINGS.match(plain, end):
            closers += _STRING.sub(b"", run[0]).translate(_CLOSER, _NOT_BRACKETS)
            return run.end(), _Wanted.VALUE_OR_END if run[0].endswith(b"[") else _Wanted.VALUE
    elif wanted is _Wanted.COMMA_OR_END and (run := _CLOSINGS.match(plain, end)):
        ended = run[0].translate(None, b" \t\r\n")
        if not closers.endswith(ended[::-1]):
            raise _malformed(end)
        del closers[-len(ended) :]
        return run.end(), wanted
    return None


def _malformed(position: int) -> NotJson:
    return NotJson(f"JSON is malformed (byte {position})")
