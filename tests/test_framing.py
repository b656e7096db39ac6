"""From bytes to frames: both framings, any chunking, any bytes."""

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from treadle.contract.errors import INVALID_REQUEST, PARSE_ERROR, RpcError
from treadle.contract.framing import MAX_HEADER_BYTES, FrameDecoder, Framing, frame

LIMIT = 64
GOOD = b'{"jsonrpc":"2.0"}'

Seen = bytes | tuple[int, object]


def seen(found: bytes | RpcError) -> Seen:
    return found if isinstance(found, bytes) else (found.code, found.data["kind"])


def decode(*chunks: bytes, limit: int = LIMIT) -> list[Seen]:
    """All frames of a stream that ends, errors as their code and kind."""
    decoder = FrameDecoder(limit)
    frames = [seen(found) for chunk in chunks for found in decoder.feed(chunk)]
    last = decoder.end()
    return frames if last is None else [*frames, seen(last)]


def headers(body: bytes, *more: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body) + b"".join(line + b"\r\n" for line in more) + b"\r\n" + body


BROKEN = (PARSE_ERROR, "parseError")
TOO_LARGE = (INVALID_REQUEST, "messageTooLarge")


@pytest.mark.parametrize(
    ("data", "framing"),
    [
        (b"", None),
        (b" \r\n\t\n", None),
        (b"\xef\xbb\xbf", None),
        (b"C", Framing.HEADERS),
        (b"c", Framing.HEADERS),
        (b"\r\n Content-Length: 2", Framing.HEADERS),
        (b"\xef\xbb\xbfContent-Length: 2", Framing.HEADERS),
        (b"{", Framing.LINES),
        (b" \n[", Framing.LINES),
        (b"\xef\xbb\xbf{", Framing.LINES),
        (b"\xef\xbbx", Framing.LINES),
        (b"hello", Framing.LINES),
        (b"\x00", Framing.LINES),
    ],
)
def test_framing_is_detected_from_the_first_non_whitespace_byte(data: bytes, framing: Framing | None) -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(data)
    assert decoder.framing is framing


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"", []),
        (b"\n\r\n \t\n", []),
        (b"1\n2\r\n\n\n3\n", [b"1", b"2", b"3"]),
        (b"  1 \n", [b"1 "]),
        (b"\xef\xbb\xbf1\n\xef\xbb\xbf2\n", [b"1", b"\xef\xbb\xbf2"]),
        (b"1\n2", [b"1", b"2"]),
        (b"1\n2\r", [b"1", b"2"]),
        (b"1\n   ", [b"1"]),
        (b"\xef\xbb", [b"\xef\xbb"]),
        (b"1\rContent-Length: 2\n", [b"1\rContent-Length: 2"]),
        (b"x" * LIMIT + b"\n1\n", [b"x" * LIMIT, b"1"]),
        (b"x" * LIMIT + b"\r\n1\n", [b"x" * LIMIT, b"1"]),
        (b"   " + b"x" * LIMIT + b"\r", [b"x" * LIMIT]),
        (b"x" * (LIMIT + 1) + b"\n1\n", [TOO_LARGE, b"1"]),
        (b"1\n" + b"x" * 9999 + b"\n2\n" + b"y" * 9999, [b"1", TOO_LARGE, b"2", TOO_LARGE]),
        (b"x" * LIMIT + b"\r\r\n1\n", [TOO_LARGE, b"1"]),
    ],
)
def test_each_non_blank_line_is_a_frame(data: bytes, frames: list[Seen]) -> None:
    assert decode(data) == frames


NEXT = headers(b"next")


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (headers(GOOD) + NEXT, [GOOD, b"next"]),
        (b"Content-Length: 2\n\n{}" + NEXT, [b"{}", b"next"]),
        (b"cOnTeNt-LeNgTh \t:   2  \r\n\r\n{}" + NEXT, [b"{}", b"next"]),
        (b"Content-Type: x/y; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}" + NEXT, [b"{}", b"next"]),
        (headers(b"{}", b'Content-Type: x/y; charset = "UTF8"', b"X-Other: 1") + NEXT, [b"{}", b"next"]),
        (headers(b"{}", b"Content-Type: x/y") + NEXT, [b"{}", b"next"]),
        (headers(b"{}", b"Content-Length: 02") + NEXT, [b"{}", b"next"]),
        (headers(b"") + NEXT, [b"", b"next"]),
        (headers(b"a\r\n\r\nb") + NEXT, [b"a\r\n\r\nb", b"next"]),
        (headers(b"{}") + b"\r\n\n  " + NEXT, [b"{}", b"next"]),
        (headers(b"x" * LIMIT) + NEXT, [b"x" * LIMIT, b"next"]),
        (headers(b"x" * (LIMIT + 1)) + NEXT, [TOO_LARGE, b"next"]),
        (headers(b"Content-Length: 1\r\n\r\n1" * 10) + NEXT, [TOO_LARGE, b"next"]),
        (b"Content-Length: %d\r\n\r\n{}" % (LIMIT * 16 + 1) + NEXT, [TOO_LARGE, b"next"]),
        (b"Content-Length: %s\r\n\r\n{}" % (b"9" * 5000) + NEXT, [TOO_LARGE, b"next"]),
        (b"Content-Length: -2\r\n\r\n{}" + NEXT, [BROKEN, b"next"]),
        (b"Content-Length: +2\r\n\r\n{}" + NEXT, [BROKEN, b"next"]),
        (b"Content-Length: two\r\n\r\n{}" + NEXT, [BROKEN, b"next"]),
        (b"Content-Length: 2.0\r\n\r\n{}" + NEXT, [BROKEN, b"next"]),
        (b"Content-Length:\r\n\r\n{}" + NEXT, [BROKEN, b"next"]),
        (b"Content-Length: x\r\n\r\n{}Content-Length: y\r\n\r\n{}" + NEXT, [BROKEN, BROKEN, b"next"]),
        (b"Content-Type: x/y\r\n\r\n{}" + NEXT, [BROKEN, b"next"]),
        (headers(b"{}", b"Content-Length: 3") + NEXT, [BROKEN, b"next"]),
        (headers(b"{}", b"no header") + NEXT, [BROKEN, b"next"]),
        (headers(b"{}", b"X" * MAX_HEADER_BYTES) + NEXT, [BROKEN, b"next"]),
        (headers(b"{}", *[b"X: 1"] * MAX_HEADER_BYTES) + NEXT, [BROKEN, b"next"]),
        (headers(b"{}", b"Content-Type: x/y; charset=utf-16") + NEXT, [BROKEN, b"next"]),
        (headers(b"x" * (LIMIT + 1), b"Content-Type: x/y; charset=utf-16") + NEXT, [TOO_LARGE, b"next"]),
        (headers(GOOD) + GOOD + b"\n" + NEXT, [GOOD, BROKEN, b"next"]),
        (b"Content-Length: 2\r\n\r\n{}}" + NEXT, [b"{}", BROKEN, b"next"]),
        (b"Content-Length: 3\r\n\r\nnull" + NEXT, [b"nul", BROKEN, b"next"]),
        (b'Content-Length: x\r\n\r\n"Content-Length: 5\\r\\n\\r\\n"' + NEXT, [BROKEN, b"next"]),
        (b"Couldn't start\n" + NEXT, [BROKEN, b"next"]),
        (b"Content-Length: 5\r\n\r\n{}", [BROKEN]),
        (b"Content-Length: 5\r\n", [BROKEN]),
        (b"Content-Length: x\r\n\r\n{}", [BROKEN]),
        (b"Content-Length: 100\r\n\r\n{}", [TOO_LARGE]),
        (headers(GOOD) + b"\r\n", [GOOD]),
    ],
)
def test_header_framing_gives_one_error_per_broken_frame(data: bytes, frames: list[Seen]) -> None:
    assert decode(data) == frames
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == frames


def test_headers_over_the_size_limit_are_rejected() -> None:
    start, end = b"Content-Length: 2\r\nX: ", b"\r\n\r\n"
    padding = b"x" * (MAX_HEADER_BYTES - len(start) - len(end))
    assert decode(start + padding + end + b"{}" + NEXT) == [b"{}", b"next"]
    assert decode(start + padding + b"x" + end + b"{}" + NEXT) == [BROKEN, b"next"]


def test_framing_errors_are_reported_as_soon_as_they_are_detected() -> None:
    decoder = FrameDecoder(LIMIT)
    assert [seen(found) for found in decoder.feed(b"Content-Length: 65\r\n\r\n")] == [TOO_LARGE]
    assert decoder.feed(b"x" * 65) == []
    assert [seen(found) for found in decoder.feed(b"{")] == [BROKEN]
    lines = FrameDecoder(LIMIT)
    assert [seen(found) for found in lines.feed(b"x" * 66)] == [TOO_LARGE]
    assert lines.feed(b"x" * 9999) == []


def test_the_error_for_an_oversized_frame_gives_the_limit() -> None:
    (error,) = FrameDecoder(LIMIT).feed(b"x" * 100)
    assert isinstance(error, RpcError)
    assert error.data == {"kind": "messageTooLarge", "limitBytes": LIMIT}


PIECES = [
    *(b"{}", b"1", b"\n", b"\r\n", b"\r", b" ", b":", b'"', b"x" * (LIMIT - 1), b"x" * (LIMIT + 1)),
    *(b"\xef\xbb\xbf", b"\xef", b"Content-Length: 2", b"content-length:", b"Content-Length: 70", b"Content-Length: -1"),
    *(b"Content-Length: 99999", b"Content-Type: x; charset=latin-1", b"C", b"Content-", b"Length: 1", headers(b"[]")),
    *(b"Content-Length: 1\r\n\r\n1", b"X: " + b"y" * 4000 + b"\r\n", b" " * 100),
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=24), st.data())
@settings(max_examples=400, deadline=None)
@example([b"Content-Length: ", b"x\r\n", b"content-length", b" " * 9, b":1\n\n1"], None)
def test_any_chunking_of_the_input_gives_the_same_frames(pieces: list[bytes], data: st.DataObject | None) -> None:
    stream = b"".join(pieces)
    whole = decode(stream)
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == whole
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        assert decode(*(stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True))) == whole


@given(st.sampled_from(Framing), st.lists(st.binary(min_size=1, max_size=LIMIT), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_encoded_frames_decode_to_the_same_bodies(framing: Framing, bodies: list[bytes]) -> None:
    if framing is Framing.LINES:
        bodies = [b'"' + body.hex().encode()[: LIMIT - 2] + b'"' for body in bodies]
    assert decode(b"".join(frame(framing, body) for body in bodies)) == bodies


def peak_of(decoder: FrameDecoder, chunk: bytes, times: int) -> int:
    """The most memory that was in use while `chunk` was fed so often."""
    tracemalloc.start()
    try:
        for _ in range(times):
            decoder.feed(chunk)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "chunk"),
    [
        (b"{", b"x" * 65536),
        (b"", b"\n" * 65536),
        (b"", b" \r\n\t" * 16384),
        (b"Content-Length: 1600000\r\n\r\n", b"x" * 65536),
        (b"Content-Length: 9999999999\r\n\r\n", b"x" * 65536),
        (b"Content-Length: -1\r\n\r\n", b"Content-Length: " * 4096),
        (b"C", b"X" * 65536),
        (b"C", b"X: y\r\n" * 10000),
    ],
)
def test_discarded_input_is_not_buffered(start: bytes, chunk: bytes) -> None:
    decoder = FrameDecoder(100_000)
    decoder.feed(start)
    assert peak_of(decoder, chunk, 100) < 1_000_000


def test_a_million_blank_lines_give_no_frames() -> None:
    assert decode(b"\n" * 1_000_000, b"\r\n" * 1_000_000, b"1\n") == [b"1"]
    decoder = FrameDecoder(LIMIT)
    assert all(not decoder.feed(b"\n") for _ in range(100_000))


@pytest.mark.parametrize("framing", list(Framing))
def test_a_large_frame_in_small_pieces_is_not_rescanned_for_each_piece(framing: Framing) -> None:
    body = b'"' + b"x" * 4_000_000 + b'"'
    stream = frame(framing, body)
    # 125,000 pieces: looking through what has come for each of them would be 250 GB to read.
    assert decode(*(stream[i : i + 32] for i in range(0, len(stream), 32)), limit=5_000_000) == [body]


def test_end_of_input_returns_the_remaining_bytes_once() -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(b"{")
    assert decoder.end() == b"{"
    assert decoder.end() is None
