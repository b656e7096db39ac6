"""Decode bytes to frames and encode frames: `Content-Length` headers, or one JSON text per line. No I/O.

Headers are those of the Language Server Protocol 3.17, "Base Protocol"; lines are those of the Agent Client Protocol's
stdio transport. Which of the two a client uses is shown by its first byte; an agent uses lines.
"""

import enum
import re
from collections.abc import Callable
from typing import Final

from treadle.contract.errors import RpcError, message_too_large, parse_error

MAX_HEADER_BYTES: Final = 8192
"""The limit of the headers of one message, including their line breaks."""

_SKIPPABLE: Final = 16
"""A body of up to this many times the limit is skipped by its length. A larger length is taken for garbage."""

_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = re.compile(rb"[ \t\r\n]*")
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name: RFC 9110, section 5.6.2
_CHARSET: Final = re.compile(rb"charset[ \t]*=[ \t]*\"?([^ \t;\"]*)")

# The next header, anywhere in the stream: it need not start a line, because a JSON body does not end with a line break.
# A match cannot be inside a JSON string: there, a quote would come before the line break.
_NEXT_HEADER: Final = re.compile(rb"content-length[ \t]{0,8}:[^\"\n]{0,64}\n", re.IGNORECASE)
_NEXT_HEADER_BYTES: Final = 14 + 8 + 1 + 64 + 1


class Framing(enum.Enum):
    """How messages are separated in the stream."""

    HEADERS = "headers"
    LINES = "lines"


def frame(framing: Framing, body: bytes) -> bytes:
    """Frame `body` for the wire. With LINES it must not contain a line break; encoded JSON never does."""
    if framing is Framing.LINES:
        return body + b"\n"
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class FrameDecoder:
    """Splits a stream of bytes, which arrives in pieces of any size, into frames.

    A frame that is invalid or larger than `max_message_bytes` becomes one RpcError, to be answered with id null, and
    decoding continues with the next frame that can be found. At most one frame and one piece are buffered, and each
    byte is scanned a bounded number of times.
    """

    def __init__(self, max_message_bytes: int, framing: Framing | None = None) -> None:
        self.framing = framing
        """If it was not given, None until the first byte that is not white space has arrived."""
        self._limit = max_message_bytes
        self._found: list[bytes | RpcError] = []
        self._buffer = bytearray()
        self._start = 0  # everything before it is consumed
        self._scanned = 0  # there is no line break between `_start` and here
        self._header_bytes = 0  # bytes of this message's headers that are consumed
        self._length: int | None = None  # bytes of the body, or those of it that are left to skip
        self._complaint: RpcError | None = None  # why the body is refused although its length is known
        self._state: Callable[[], bool] = self._byte_order_mark

    def feed(self, data: bytes) -> list[bytes | RpcError]:
        """Decode `data`; return the frames that it completes, in order."""
        self._buffer += data
        while self._state():
            pass
        del self._buffer[: self._start]
        self._scanned = max(0, self._scanned - self._start)
        self._start = 0
        found, self._found = self._found, []
        return found

    def end(self) -> bytes | RpcError | None:
        """End the input. Returns a last line without a line break as a frame, any other partial frame as an error."""
        rest, state = bytes(self._buffer), self._state
        self._buffer.clear()
        self._scanned = 0
        self._state = self._between_frames
        if state in (self._header, self._body):
            return parse_error("the input ended inside a message")
        if state in (self._line, self._byte_order_mark) and rest:
            return rest.removesuffix(b"\r")
        return None

    # The states. Each consumes what it can from `_start` on, and returns whether the next state can continue with the
    # bytes that have arrived.

    def _byte_order_mark(self) -> bool:
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return False
        if self._buffer.startswith(_BOM):
            self._start = len(_BOM)
        self._state = self._between_frames
        return True

    def _between_frames(self) -> bool:
        blank = _BLANK.match(self._buffer, self._start)
        self._start = self._scanned = blank.end() if blank else self._start
        if self._start == len(self._buffer):
            return False
        if self.framing is None:
            is_header = self._buffer[self._start] in b"Cc"
            self.framing = Framing.HEADERS if is_header else Framing.LINES
        if self.framing is Framing.LINES:
            self._state = self._line
        elif _TOKEN.match(self._buffer, self._start):
            self._header_bytes = 0
            self._length = self._complaint = None
            self._state = self._header
        else:
            self._lose_step("expected a header", self._start)
        return True

    def _line(self) -> bool:
        line_break = self._buffer.find(b"\n", self._scanned)
        end = self._scanned = len(self._buffer) if line_break < 0 else line_break
        over = end - self._start - self._limit
        if over > 1 or (over == 1 and self._buffer[end - 1] != ord("\r")):
            self._found.append(message_too_large(self._limit))
            self._start = end
            self._state = self._rest_of_line
            return True
        if line_break < 0:
            return False
        self._found.append(self._slice(end).removesuffix(b"\r"))
        self._start = end + 1
        self._state = self._between_frames
        return True

    def _rest_of_line(self) -> bool:
        line_break = self._buffer.find(b"\n", self._start)
        if line_break < 0:
            self._start = len(self._buffer)
            return False
        self._start = line_break + 1
        self._state = self._between_frames
        return True

    def _header(self) -> bool:
        last = self._start + MAX_HEADER_BYTES - self._header_bytes
        line_break = self._buffer.find(b"\n", self._scanned, last)
        if line_break < 0:
            self._scanned = min(len(self._buffer), last)
            if self._scanned == last:
                self._lose_step(f"the headers are over {MAX_HEADER_BYTES} bytes", last)
            return self._scanned == last
        line, following = self._slice(line_break).strip(), line_break + 1
        if not line:
            return self._end_of_headers(following)
        name, colon, value = (part.strip() for part in line.lower().partition(b":"))
        # If a body is longer than its Content-Length, its rest stands in front of the next message's Content-Length.
        misplaced = name.endswith(b"content-length") and name != b"content-length"
        if not colon or not _TOKEN.fullmatch(name) or misplaced:
            self._lose_step("a line of the headers is not a header", self._start)
            return True
        self._header_bytes += following - self._start
        self._start = self._scanned = following
        if name == b"content-length":
            # 19 digits are already over every limit, and the time to parse more grows with the square of their number.
            length = int(value.lstrip(b"0")[:19] or b"0") if value.isdigit() else None
            if length is None:
                self._lose_step("Content-Length is not a number of bytes", following)
            elif self._length not in (None, length):
                self._lose_step("Content-Length occurs twice with different values", following)
            else:
                self._length = length
        elif name == b"content-type":
            charset = _CHARSET.search(value)
            if charset and charset[1] not in (b"utf-8", b"utf8"):
                self._complaint = parse_error("the charset of a message must be utf-8")
        return True

    def _end_of_headers(self, following: int) -> bool:
        if self._length is None:
            self._lose_step("Content-Length is missing", following)
        elif self._length > self._limit * _SKIPPABLE:
            self._lose_step(message_too_large(self._limit), following)
        else:
            self._start = following
            if self._length > self._limit:
                self._complaint = message_too_large(self._limit)
            if self._complaint is None:
                self._state = self._body
            else:
                self._found.append(self._complaint)
                self._state = self._rest_of_body
        return True

    def _body(self) -> bool:
        end = self._start + (self._length or 0)
        if len(self._buffer) < end:
            return False
        self._found.append(self._slice(end))
        self._start = end
        self._state = self._between_frames
        return True

    def _rest_of_body(self) -> bool:
        left = self._length or 0
        skipped = min(left, len(self._buffer) - self._start)
        self._start += skipped
        self._length = left - skipped
        if self._length:
            return False
        self._state = self._between_frames
        return True

    def _out_of_step(self) -> bool:
        header = _NEXT_HEADER.search(self._buffer, self._start)
        if header is None:
            self._start = max(self._start, len(self._buffer) - _NEXT_HEADER_BYTES + 1)
            return False
        self._start = header.start()
        self._state = self._between_frames
        return True

    def _lose_step(self, error: RpcError | str, resume: int) -> None:
        """Report `error` (a str is the reason of a parse error), and search for the next header from `resume` on."""
        self._found.append(parse_error(error) if isinstance(error, str) else error)
        self._start = resume
        self._state = self._out_of_step

    def _slice(self, end: int) -> bytes:
        with memoryview(self._buffer) as view:  # slicing the bytearray itself would copy twice
            return bytes(view[self._start : end])
