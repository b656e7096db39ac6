"""Bytes to frames and back: `Content-Length` headers, or one JSON text a line. Pure: no input or output here.

Headers are those of the Language Server Protocol 3.17, "Base Protocol"; lines are those of the Agent Client Protocol's
stdio transport. Which of the two a client speaks is heard from its first byte.
"""

import enum
import re
from collections.abc import Callable
from typing import Final

from treadle.contract.errors import RpcError, message_too_large, parse_error

MAX_HEADER_BYTES: Final = 8192
"""The headers of one message, their line breaks included, may not be longer."""

_SKIPPABLE: Final = 16
"""A body of up to this many times the limit is skipped by its length; a longer one is not believed."""

_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = re.compile(rb"[ \t\r\n]*")
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name: RFC 9110, section 5.6.2
_CHARSET: Final = re.compile(rb"charset[ \t]*=[ \t]*\"?([^ \t;\"]*)")

# The next header, wherever it stands: a JSON body has no line break at its end. With no quote before the line break it
# cannot be text inside a JSON string, for that ends with a quote and holds no line break.
_NEXT_HEADER: Final = re.compile(rb"content-length[ \t]{0,8}:[^\"\n]{0,64}\n", re.IGNORECASE)
_NEXT_HEADER_BYTES: Final = 14 + 8 + 1 + 64 + 1


class Framing(enum.Enum):
    """How messages are told apart on the stream."""

    HEADERS = "headers"
    LINES = "lines"


def frame(framing: Framing, body: bytes) -> bytes:
    """`body` as it goes on the wire. In LINES it may hold no line break; JSON from an encoder holds none."""
    if framing is Framing.LINES:
        return body + b"\n"
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class FrameDecoder:
    """Makes frames of a stream of bytes that comes in pieces of any size.

    A frame that is broken or over `max_message_bytes` becomes one RpcError, to be answered with id null, and decoding
    goes on with the next frame that can be found. No more than one frame and one piece is ever buffered, and each byte
    is looked at a bounded number of times.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self.framing: Framing | None = None
        """None until the first byte that is not white space has come."""
        self._limit = max_message_bytes
        self._found: list[bytes | RpcError] = []
        self._buffer = bytearray()
        self._start = 0  # what is before it is done with
        self._scanned = 0  # between `_start` and it there is no line break
        self._header_bytes = 0  # how much of this message's headers is done with
        self._length: int | None = None  # bytes of the body, or what is left to skip of it
        self._complaint: RpcError | None = None  # why the body cannot be read although its length is known
        self._state: Callable[[], bool] = self._byte_order_mark

    def feed(self, data: bytes) -> list[bytes | RpcError]:
        """The frames that `data` completes, in order."""
        self._buffer += data
        while self._state():
            pass
        del self._buffer[: self._start]
        self._scanned = max(0, self._scanned - self._start)
        self._start = 0
        found, self._found = self._found, []
        return found

    def end(self) -> bytes | RpcError | None:
        """The input is over: a last line without its line break is a frame, half of anything else an error."""
        rest, state = bytes(self._buffer), self._state
        self._buffer.clear()
        self._scanned = 0
        self._state = self._between_frames
        if state in (self._header, self._body):
            return parse_error("the input ended inside a message")
        if state in (self._line, self._byte_order_mark) and rest:
            return rest.removesuffix(b"\r")
        return None

    # The states. Each takes what it can from `_start` on, and says whether there is more to do with what is here.

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
        # A body that is longer than was said leaves its end in front of the next message's Content-Length.
        misplaced = name.endswith(b"content-length") and name != b"content-length"
        if not colon or not _TOKEN.fullmatch(name) or misplaced:
            self._lose_step("a line of the headers is not a header", self._start)
            return True
        self._header_bytes += following - self._start
        self._start = self._scanned = following
        if name == b"content-length":
            # More than 19 digits say no more than 19 do, and cost time that grows with their square.
            length = int(value.lstrip(b"0")[:19] or b"0") if value.isdigit() else None
            if length is None:
                self._lose_step("Content-Length is not a number of bytes", following)
            elif self._length not in (None, length):
                self._lose_step("Content-Length is there twice, with different numbers", following)
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
        """Report `error` (a text is a parse error's reason), and look for the next header from `resume` on."""
        self._found.append(parse_error(error) if isinstance(error, str) else error)
        self._start = resume
        self._state = self._out_of_step

    def _slice(self, end: int) -> bytes:
        with memoryview(self._buffer) as view:  # a slice of the bytearray itself would be copied twice
            return bytes(view[self._start : end])
