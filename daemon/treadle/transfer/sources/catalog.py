"""What earlier imports found, so that a file that has not changed costs one `stat`. It may be deleted at any time.

The log alone decides what is imported: without the catalog, an import reads every file again, and adds nothing.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from treadle.transfer.sources.importer import Taken
from treadle.transfer.sources.lines import is_file
from treadle.transfer.sources.source import Describe, SourceReport, ToolSession, stamp_of

FILE_NAME = "imports.json"
VERSION = 2  # of the file, and of what the sources make of a record


class DescribedFile(Struct, array_like=True):
    """The sessions of a file, as it was with this stamp."""

    stamp: str
    sessions: list[ToolSession]


class ImportedSoFar(Struct, array_like=True):
    """How far a session is imported. stamp: of the session. position: the log has everything before it. check: of so
    many bytes before it. until: when the turn that may still get an end is imported without one, in seconds since
    1970; 0 if there is none."""

    stamp: str = ""
    position: int = 0
    checked: int = 0
    check: str = ""
    until: float = 0.0


class CatalogFile(Struct):
    """The content of the file. sequence: of the log when it was written; a log with fewer events is an older copy."""

    version: int = VERSION
    log_id: str = ""
    sequence: int = 0
    files: dict[str, DescribedFile] = {}
    reached: dict[str, ImportedSoFar] = {}


class Catalog:
    """The catalog of one data directory."""

    def __init__(self, data_dir: Path, log_id: str, sequence: int) -> None:
        """Read it. One of another log, or of a later state of this one, counts as none."""
        self._path = data_dir / FILE_NAME
        self._content = CatalogFile(log_id=log_id)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            content = msgspec.json.decode(self._path.read_bytes(), type=CatalogFile, dec_hook=_decoded)
            if (content.version, content.log_id) == (VERSION, log_id) and content.sequence <= sequence:
                self._content = content

    def discovery(self, report: SourceReport) -> "KnownFiles":
        """A Discovery that describes only files that have changed."""
        return KnownFiles(self._content.files, report)

    def reached(self, session: ToolSession) -> ImportedSoFar:
        """How far the session is imported; from the beginning if its file was written anew."""
        reached = self._content.reached.get(_key(session), ImportedSoFar())
        if reached.position and reached.stamp != session.stamp and reached.check != _check(session, reached):
            return ImportedSoFar()
        return reached

    def is_current(self, session: ToolSession) -> bool:
        """Whether nothing of the session is left to import."""
        reached = self._content.reached.get(_key(session))
        is_same = reached is not None and session.stamp != "" and reached.stamp == session.stamp
        return is_same and (not reached.until or time.time() < reached.until)  # type: ignore[union-attr]

    def note(self, session: ToolSession, taken: Taken, until: float = 0.0) -> None:
        """The log has what was taken of the session.

        The bytes that are compared later are those that were read: the file may be another one by now.
        """
        is_checked = session.path.suffix == ".jsonl" and taken.position > 0
        position, tail = (taken.position, taken.tail) if is_checked else (0, b"")
        self._content.reached[_key(session)] = ImportedSoFar(session.stamp, position, len(tail), _digest(tail), until)

    def write(self, sequence: int) -> None:
        """Replace the file. Without it the next import only takes longer: a full disk is no failure."""
        self._content.sequence = sequence
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=self._path.parent)
            try:
                with open(descriptor, "wb") as stream:
                    stream.write(msgspec.json.encode(self._content, enc_hook=str))
                os.replace(name, self._path)  # noqa: PTH105  # a name, as mkstemp gives it
            except OSError:
                Path(name).unlink(missing_ok=True)


class KnownFiles:
    """Describes files, those that have not changed from memory."""

    def __init__(self, files: dict[str, DescribedFile], report: SourceReport) -> None:
        self._files, self._report = files, report
        self._stamps: dict[Path, str] = {}

    def __call__(self, path: Path, describe: Describe) -> list[ToolSession]:
        beside = [path.with_name(f"{path.name}-wal")] if path.suffix == ".db" else []
        stamp = self._stamps[path] = stamp_of(path, *beside)
        before = self._files.get(str(path))
        if before is not None and before.stamp == stamp:
            return [replace(session, is_known=True) for session in before.sessions]
        if not is_file(path):
            return []
        try:
            sessions = describe(path)
        except OSError as error:
            self._report.skip("a file that cannot be read", f"{path}: {error.strerror or error}")
            return []
        forks = {session.thread_id: session.fork_of for session in before.sessions} if before is not None else {}
        return [
            replace(session, fork_of=forks[session.thread_id], is_known=True) if session.thread_id in forks else session
            for session in sessions
        ]

    def keep(self, sessions: list[ToolSession]) -> None:
        """Remember what was discovered, with which session is a fork of which."""
        by_path: dict[Path, list[ToolSession]] = {}
        for session in sessions:
            by_path.setdefault(session.path, []).append(session)
        for path in by_path.keys() & self._stamps.keys():
            self._files[str(path)] = DescribedFile(self._stamps[path], by_path[path])


def _key(session: ToolSession) -> str:
    return f"{session.path}\n{session.id}"


def _check(session: ToolSession, reached: ImportedSoFar) -> str:
    try:
        with session.path.open("rb") as stream:
            stream.seek(reached.position - reached.checked)
            return _digest(stream.read(reached.checked))
    except OSError:
        return ""


def _digest(tail: bytes) -> str:
    return hashlib.sha256(tail).hexdigest()[:32]


def _decoded(kind: type, value: Any) -> Any:
    return kind(value)
