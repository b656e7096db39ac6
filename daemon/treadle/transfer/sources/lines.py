"""Reads files of JSON Lines that another program writes: leniently, one line at a time, with bounded memory."""

import io
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import msgspec

from treadle.agents.shapes import Json
from treadle.contract.json_text import storable
from treadle.domain import commands as c
from treadle.transfer.sources.source import Conversation, Describe, SourceReport, ToolSession

MAX_LINE = 16 * 1024 * 1024  # bytes; a longer line is skipped
MAX_FILE = 64 * 1024 * 1024  # bytes of a file that is one JSON text
TAIL = 64  # bytes before a position that show that a file is still the same
MAX_SMALL = 1024 * 1024  # bytes of a file with settings or names
COMPRESSED = "compressed with Zstandard: install treadle[zstd] to read it"
HEAD_LINES = 40  # in which discovery looks for the folder and the first time of a session

_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder().decode

Rescue = Callable[[bytes], bytes | None]
"""Gives the part of a line that is not JSON which may be."""


class UnreadableFile(OSError):
    """A file that cannot be read as it is. The message says why, and what to do."""


def is_file(path: Path) -> bool:
    """Whether it is a file: not a folder, a pipe or a link to nothing."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def described(path: Path, describe: Describe) -> list[ToolSession]:
    """A Discovery that knows nothing."""
    return describe(path) if is_file(path) else []


def read_records(
    path: Path, report: SourceReport, rescue: Rescue = lambda line: None, start: int = 0
) -> Iterator[Json]:
    """Yield the objects of a file of JSON Lines, from a position on, and count what is not one. Raises OSError.

    An unfinished last line is not counted: the tool is writing it. At the end, the position is that of the next line.
    Where it starts at one, the report has the tail before that.
    """
    report.position = end = start
    tail = report.tail = report.tail if start else b""
    with closing(open_lines(path)) as stream:
        if start:
            stream.seek(start)
        for number, line, size in _lines(stream, report, path):
            is_whole = line.endswith(b"\n")
            report.position, report.tail = end, tail
            if is_whole:
                end, tail = start + size, line[-TAIL:]
            record = read_json(line)
            if record is None and is_whole and (rest := rescue(line)) is not None:
                report.skip("a cut record", f"{path}:{number}")
                record = read_json(rest)
            if isinstance(record, dict):
                report.records += 1
                yield record
            elif is_whole:
                report.skip(
                    "a line that is not JSON" if record is None else "a line that is not an object", f"{path}:{number}"
                )
        report.position, report.tail = end, tail


def read_lines(
    conversation: Conversation, path: Path, report: SourceReport, rescue: Rescue = lambda line: None
) -> Iterator[c.Command]:
    """The commands of a session in a file of JSON Lines. Raises OSError."""
    for record in read_records(path, report, rescue):
        yield from conversation.feed(record)
    yield from conversation.end()


def read_head(path: Path) -> list[Json]:
    """The objects in the first lines of a file; none if it cannot be read."""
    found = []
    try:
        with closing(open_lines(path)) as stream:
            for _, line, _ in _lines(stream, SourceReport(), path, HEAD_LINES):
                if isinstance(record := read_json(line), dict):
                    found.append(record)
    except OSError:
        pass
    return found


def read_whole(path: Path, report: SourceReport) -> Any:
    """The JSON text that a file consists of; None, and counted, if it is not one. Raises OSError."""
    if path.stat().st_size > MAX_FILE:
        report.skip(f"a file over {MAX_FILE >> 20} MiB", str(path))
        return None
    value = read_json(path.read_bytes())
    if value is None:
        report.skip("a file that is not JSON", str(path))
    return value


def read_small(path: Path) -> Any:
    """The JSON text of a small file; None if it is not one."""
    try:
        return read_json(path.read_bytes()) if is_file(path) and path.stat().st_size <= MAX_SMALL else None
    except OSError:
        return None


def read_json(text: bytes) -> Any:
    """Decode a JSON text, with U+FFFD for U+0000 and lone surrogates, which treadle rejects; None if it is not JSON."""
    if b"\\u0000" in text:
        text = storable(text)
    for repair in (lambda text: text, _repaired):
        try:
            return _decode(repair(text))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return None


def open_lines(path: Path) -> IO[bytes]:
    """Open a file, which may be compressed with Zstandard (`.zst`). Raises OSError, UnreadableFile."""
    if path.suffix != ".zst":
        return path.open("rb")
    try:
        import zstandard
    except ImportError:
        raise UnreadableFile(f"{path}: {COMPRESSED}") from None
    return io.BufferedReader(_Decompressed(path, zstandard.ZstdDecompressor(), zstandard.ZstdError))


class _Decompressed(io.RawIOBase):
    def __init__(self, path: Path, decompressor: Any, damage: type[Exception]) -> None:
        self._path, self._damage = path, damage
        self._reader = decompressor.stream_reader(path.open("rb"), read_across_frames=True, closefd=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._reader.read(len(buffer))
        except self._damage as error:
            raise UnreadableFile(f"{self._path}: damaged: {error}") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._reader.close()
        super().close()


def _lines(
    stream: IO[bytes], report: SourceReport, path: Path, most: int | None = None
) -> Iterator[tuple[int, bytes, int]]:
    """Yield the lines that are not blank: the number, the text, and how many bytes there were with it."""
    number = size = 0
    while (most is None or number < most) and (line := stream.readline(MAX_LINE)):
        number += 1
        size += len(line)
        if not line.endswith(b"\n") and len(line) == MAX_LINE:
            report.skip(f"a line over {MAX_LINE >> 20} MiB", f"{path}:{number}")
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
                size += len(line)
            continue
        if number == 1:
            line = line.removeprefix(_BOM)
        if line.strip():
            yield number, line, size


def _repaired(text: bytes) -> bytes:
    return storable(text.decode(errors="replace").encode())
