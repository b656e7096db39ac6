"""The spool of a recording: what was said, in files, until it is in the log.

A folder with files that are read in the order of their names. A record is a header (when, who, how many bytes) and the
bytes as they were written, which need not be whole lines. A record of what is missing has a size but no bytes. The
process that writes, and the one that puts the records into the log, share the lock of the folder: a folder that nobody
has locked was left, and anyone may import it.
"""

import fcntl
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

EDITOR, AGENT = 0, 1
LOST, TO_LINE_END = 2, 4  # added to the sender
FILE_BYTES = 8 * 1024 * 1024  # after which the next file is begun
SPOOL_BYTES = 256 * 1024 * 1024  # of all files of a recording that are not in the log yet
ABOUT = "about.json"
OPENINGS = "openings.json"
HEADER = struct.Struct(">dBI")


class SpoolRecord(NamedTuple):
    """at: in seconds since 1970. sender: EDITOR or AGENT. missing: how many bytes are not there, if so; to_line_end:
    whether they ended with a line."""

    at: float
    sender: int
    data: bytes
    missing: int = 0
    to_line_end: bool = False


def encoded(at: float, sender: int, data: bytes) -> bytes:
    """A record of what a sender has written."""
    return HEADER.pack(at, sender, len(data)) + data


def lost(at: float, sender: int, count: int, to_line_end: bool) -> bytes:
    """A record of what is missing."""
    return HEADER.pack(at, sender + LOST + TO_LINE_END * to_line_end, min(count, 2**32 - 1))


def hold(folder: Path, about: dict[str, str | None]) -> int:
    """Make the folder of a recording and share its lock; the descriptor that holds it. Raises OSError.

    about: what is kept with the recording.
    """
    folder.mkdir(0o700, parents=True, exist_ok=True)
    lock = os.open(folder / ABOUT, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.pwrite(lock, json.dumps(about).encode(), 0)
    except OSError:
        os.close(lock)
        raise
    return lock


class SpoolWriter:
    """Writes the files of a recording. about: what is kept with them."""

    def __init__(self, folder: Path, about: dict[str, str | None]) -> None:
        self._folder, self._about = folder, about
        self._lock: int | None = None
        self._file: int | None = None
        self._number = 0
        self._size = 0
        self._kept: dict[Path, int] = {}
        self._rest = b""

    def write(self, record: bytes) -> bool:
        """Write a record; False if there is no space for it now. Then the same record is to be written again."""
        try:
            if self._lock is None:
                self._lock = hold(self._folder, self._about)
            if self._file is None or (self._size >= FILE_BYTES and not self._rest):
                self._begin_file()
            if not self._rest and self._is_full(len(record)):
                return False
            rest = self._rest or record
            while rest:
                count = os.write(self._file, rest)  # type: ignore[arg-type]
                self._size += count
                rest = self._rest = rest[count:]
        except OSError:
            return False
        return True

    def _begin_file(self) -> None:
        if not (self._folder / ABOUT).exists():  # the folder was deleted
            self._lock = hold(self._folder, self._about)
        path = self._folder / f"{self._number + 1:08}.spool"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        if self._file is not None:
            self._kept[self._folder / f"{self._number:08}.spool"] = self._size
            os.close(self._file)
        self._file, self._size = file, 0
        self._number += 1

    def _is_full(self, more: int) -> bool:
        if sum(self._kept.values()) + self._size + more <= SPOOL_BYTES:
            return False
        self._kept = {path: size for path, size in self._kept.items() if path.exists()}
        return sum(self._kept.values()) + self._size + more > SPOOL_BYTES


class SpoolReader:
    """Reads the files of a recording, also while they grow. about: what is kept with them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[tuple[Path, BinaryIO]] = []
        self._at = 0
        self.about: dict[str, str | None] = {}
        with suppress(OSError, ValueError):
            self.about = json.loads((folder / ABOUT).read_bytes())

    @property
    def name(self) -> str:
        """The name of the recording."""
        return self._folder.name

    @property
    def position(self) -> str:
        """The name of the file that is read."""
        return self._files[self._at][0].name if self._files else ""

    @property
    def is_at_first_file(self) -> bool:
        """Whether no file has been read to its end."""
        return self._at == 0

    def rewind(self) -> None:
        """Read again from the first file that was not forgotten, even if it was deleted."""
        self._at = 0
        for _, file in self._files:
            file.seek(0)

    def records(self) -> Iterator[SpoolRecord]:
        """The records from here on, as far as they are written."""
        while True:
            file = self._file()
            if file is None:
                return
            has_next = self._has_next()  # asked first: what is complete now grows no more
            while (record := _read(file)) is not None:
                yield record
            if not has_next:
                return
            self._at += 1

    def openings(self) -> bytes:
        """What was kept of the files that were forgotten; empty if there is nothing."""
        with suppress(OSError):
            return (self._folder / OPENINGS).read_bytes()
        return b""

    def forget(self, openings: bytes) -> None:
        """Delete the files before the one that is read, and keep this instead."""
        with suppress(OSError):
            (self._folder / OPENINGS).write_bytes(openings)
        for path, file in self._files[: self._at]:
            file.close()
            with suppress(OSError):
                path.unlink()
        del self._files[: self._at]
        self._at = 0

    def delete(self) -> None:
        """Delete the whole recording."""
        for _, file in self._files:
            file.close()
        with suppress(OSError):
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()

    def _file(self) -> BinaryIO | None:
        if self._at == len(self._files):
            known = {path for path, _ in self._files}
            for path in self._paths():
                if path not in known and (not known or path > max(known)):
                    self._files.append((path, path.open("rb")))
                    break
            else:
                return None
        return self._files[self._at][1]

    def _has_next(self) -> bool:
        return self._at + 1 < len(self._files) or any(path > self._files[self._at][0] for path in self._paths())

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.spool"))


def _read(file: BinaryIO) -> SpoolRecord | None:
    start = file.tell()
    header = file.read(HEADER.size)
    if len(header) == HEADER.size:
        at, sender, size = HEADER.unpack(header)
        if sender >= LOST:
            return SpoolRecord(at, sender % LOST, b"", size, sender >= TO_LINE_END)
        data = file.read(size)
        if len(data) == size:
            return SpoolRecord(at, sender, data)
    file.seek(start)
    return None


@contextmanager
def left_recordings(folder: Path) -> Iterator[list[Path]]:
    """The recordings in a folder whose processes have ended, locked within the block."""
    found: list[Path] = []
    locks: list[int] = []
    try:
        for about in sorted(folder.glob(f"*/{ABOUT}")):
            with suppress(OSError):
                lock = os.open(about, os.O_RDWR | os.O_CLOEXEC)
                locks.append(lock)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(about.parent)
        yield found
    finally:
        for lock in locks:
            os.close(lock)
