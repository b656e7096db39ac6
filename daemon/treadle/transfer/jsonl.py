"""Export the log as JSON Lines and import it into an empty data directory, with the same sequences and bytes."""

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
from msgspec import Raw, Struct

from treadle import __version__
from treadle.contract.bounds import is_time
from treadle.contract.json_text import holds_nul
from treadle.domain.detail import PLAIN_NAME
from treadle.domain.events import ActivityUpdated, Event, decode
from treadle.domain.ids import ID_PATTERN
from treadle.store.errors import Refused, UserError
from treadle.store.pages import MAX_BYTES
from treadle.store.ports import Reads
from treadle.store.sqlite.bulk_append import EventRefused, fill_log
from treadle.store.sqlite.database import make_private_file, sync
from treadle.store.sqlite.projections import Progress
from treadle.store.sqlite.reader import Reader

FORMAT = "treadle-log"
VERSION = 1
PAGE = 500  # events read or appended at once; fewer if they exceed MAX_BYTES
MAX_LINE = 1_100_000_000  # bytes: SQLite stores no text longer than 1,000,000,000


class Header(Struct, frozen=True, rename="camel"):
    """The first line of an export. events: the number of lines that follow, to detect a truncated file.

    log_id: of the exported log; an import gets a new one. treadle: the version that exported it.
    """

    format: str
    version: int
    events: Annotated[int, msgspec.Meta(ge=0)]
    log_id: str = ""
    treadle: str = ""


class Line(Struct, frozen=True):
    sequence: int
    event: Raw
    actor: str | None = None


class BadExport(UserError):
    """The file is not an export, or is damaged."""


_ID = re.compile(ID_PATTERN)
_HEADER = msgspec.json.Decoder(Header)
_LINE = msgspec.json.Decoder(Line)


def export(reader: Reader, write: Callable[[bytes], Any], progress: Progress = lambda done, total: None) -> int:
    """Write the log as JSON Lines; return the number of events. Events appended after the start are not included."""
    end, log_id = reader.read(lambda reads: (reads.sequence(), reads.log_span().log_id))
    write(msgspec.json.encode(Header(FORMAT, VERSION, end, log_id, __version__)) + b"\n")
    after = 0

    def page(reads: Reads) -> tuple[list[Raw], int | None]:
        return reads.events(None, after, min(PAGE, end - after))

    while after < end:
        progress(after, end)
        events, last = reader.read(page)
        for event in events:
            write(bytes(event) + b"\n")
        after = end if last is None else last
    progress(end, end)
    return int(end)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Create a private file atomically: after the block it is complete and synced to disk, or does not exist.

    Raises Refused if the path exists.
    """
    if path.exists():
        raise Refused(f"{path} already exists: choose a new name")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        make_private_file(part)
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.rename(path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def read_header(stream: IO[bytes]) -> Header:
    """Read the first line. Raises BadExport."""
    try:
        header = _HEADER.decode(_read_line(stream, 1))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadExport(f"line 1: not an export of a treadle log: {error}") from None
    if header.format != FORMAT:
        raise BadExport(f"line 1: not an export of a treadle log: its format is {header.format!r}")
    if header.version != VERSION:
        raise BadExport(
            f"line 1: version {header.version} of the format is not supported, this treadle reads {VERSION}"
        )
    return header


def import_log(data_dir: Path, header: Header, stream: IO[bytes], progress: Progress = lambda done, total: None) -> int:
    """Append the events after the header to an existing empty log, in one transaction; return the number of events.

    Raises BadExport with the number of the invalid line, Refused if the log is not empty.
    """
    try:
        return fill_log(data_dir, _pages(stream, header), header.events, progress)
    except EventRefused as error:
        raise BadExport(f"line {error.sequence + 1}: the database refuses it: {error.why}") from None


def _pages(stream: IO[bytes], header: Header) -> Iterator[list[tuple[str, str | None]]]:
    """The events after the header, in pages, each as its original JSON text and its actor. Raises BadExport."""
    events: list[tuple[str, str | None]] = []
    size = 0
    for sequence in range(1, header.events + 1):
        number = sequence + 1
        text = _read_line(stream, number)
        if not text:
            raise BadExport(f"line {number}: the file ends here, after {sequence - 1:,} of {header.events:,} events")
        events.append(_event(text, number, sequence))
        size += len(text)
        if len(events) == PAGE or size > MAX_BYTES:
            yield events
            events, size = [], 0
    if events:
        yield events
    number = header.events + 2
    if _read_line(stream, number):
        raise BadExport(f"line {number}: there are more events than the {header.events:,} that line 1 announces")


def _read_line(stream: IO[bytes], number: int) -> bytes:
    text = stream.readline(MAX_LINE)
    if len(text) == MAX_LINE:
        raise BadExport(f"line {number}: longer than any event")
    return text


def _event(text: bytes, number: int, sequence: int) -> tuple[str, str | None]:
    """The event of a line, as its original JSON text, and its actor. Raises BadExport."""
    try:
        line = _LINE.decode(text)
        if line.sequence != sequence:
            raise BadExport(f"line {number}: sequence {line.sequence} instead of {sequence}")
        if holds_nul(text):
            raise BadExport(f"line {number}: a string holds U+0000")
        _require_readable(decode(line.event), number)
        return bytes(line.event).decode(), line.actor
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise BadExport(f"line {number}: damaged: {why}") from None


def _require_readable(event: Event, number: int) -> None:
    """Check that the time, the ids and the names of changed members of an event are valid. Raises BadExport."""
    if not is_time(event.at):
        raise BadExport(f"line {number}: damaged: {event.at!r} is not a time")
    for name in ("id", "thread_id", "project_id", "turn_id", "runner"):
        id = getattr(event, name, None)
        if id is not None and not _ID.match(id):
            raise BadExport(f"line {number}: damaged: {id!r} is not a valid id")
    if isinstance(event, ActivityUpdated):
        for name in (*event.detail, *event.append):
            if not PLAIN_NAME.fullmatch(name):
                raise BadExport(f"line {number}: damaged: a member that changes is named {name!r}")
