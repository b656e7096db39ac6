"""A folder with a Markdown file for each thread, which can be written again: only what changed is.

An index in the folder says which files are ours. A file keeps its name when its thread is renamed, so that links to it
stay. The end of a name is a digest of the thread's id: names differ on file systems that ignore case as well.
"""

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from treadle import __version__
from treadle.cli.transcript import Transcript
from treadle.cli.transcript_markdown import render
from treadle.store.errors import UserError
from treadle.store.ports import Reads
from treadle.store.sqlite.reader import Reader

INDEX = ".treadle-export.json"
SLUG = 60  # characters of a title in a name
PAGE = 500  # threads read at once
OPEN = ("running", "waiting", "cancelling")
"""Statuses in which streamed text may have come since the last event that counts."""

Json = dict[str, Any]


class Written(Struct):
    """A file of ours. name: in the folder. of: what it was made of. digest: of its content."""

    name: str
    of: str
    digest: str


class FolderReport(Struct):
    """What became of the files, by name."""

    written: list[str] = []
    removed: list[str] = []
    unchanged: int = 0
    kept: list[str] = []


def write_folder(reader: Reader, folder: Path) -> FolderReport:
    """Bring the folder up to date. Raises UserError and OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    index, report = _read_index(folder), FolderReport()
    threads, projects = reader.read(_all)
    for thread in threads:
        of = msgspec.json.encode([__version__, thread, projects.get(thread["projectId"])])
        last, state = index.get(thread["id"]), hashlib.sha256(of).hexdigest()
        name = last.name if last else file_name(thread["title"], thread["id"])
        is_there = (folder / name).is_file()
        if last and last.of == state and is_there and thread["status"] not in OPEN:
            report.unchanged += 1
            continue
        if last is None and is_there and not _is_of(folder / name, thread["id"]):
            report.kept.append(name)
            continue
        text = "".join(f"{line}\n" for line in _lines(Transcript(reader, thread["id"]))).encode()
        digest = hashlib.sha256(text).hexdigest()
        if last and last.digest == digest and is_there:
            report.unchanged += 1
        else:
            _replace(folder / name, text)
            report.written.append(name)
        index[thread["id"]] = Written(name, state, digest)
    for id in index.keys() - {thread["id"] for thread in threads}:
        gone = index.pop(id)
        path = folder / gone.name
        if path.is_file() and not path.is_symlink() and hashlib.sha256(path.read_bytes()).hexdigest() == gone.digest:
            path.unlink()
            report.removed.append(gone.name)
        elif path.exists():
            report.kept.append(gone.name)
    if report.written or report.removed or not (folder / INDEX).exists():
        _replace(folder / INDEX, msgspec.json.format(msgspec.json.encode(index, order="sorted")))
    return report


def file_name(title: str, thread_id: str) -> str:
    """Words of the title in ASCII, and a digest of the id."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:SLUG].strip("-") or "thread"
    return f"{slug}-{hashlib.sha256(thread_id.encode()).hexdigest()[:10]}.md"


def _lines(transcript: Transcript) -> Iterator[str]:
    thread, project = transcript.thread, transcript.project or {}
    origin = thread["origin"] or {}
    yield "---"
    for name, value in (
        ("id", thread["id"]),
        ("title", thread["title"]),
        ("project", project.get("name")),
        ("path", project.get("path")),
        ("agent", (thread["agent"] or {}).get("name")),
        ("tool", origin.get("tool")),
        ("session", origin.get("sessionId")),
        ("status", thread["status"]),
        ("created", thread["createdAt"]),
        ("updated", thread["updatedAt"]),
        ("archived", thread["archivedAt"]),
    ):
        if value is not None:  # as JSON, which is YAML too, in one line whatever it contains
            yield f"{name}: {_quoted(value)}"
    yield "---"
    yield ""
    yield from render(transcript)


def _quoted(text: str) -> str:
    return json.dumps(text)


def _is_of(path: Path, thread_id: str) -> bool:
    """Whether the file was written for the thread, as after the loss of the index."""
    with path.open("rb") as file:
        return file.readline() == b"---\n" and file.readline() == f"id: {_quoted(thread_id)}\n".encode()


def _read_index(folder: Path) -> dict[str, Written]:
    try:
        return msgspec.json.decode((folder / INDEX).read_bytes(), type=dict[str, Written])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise UserError(f"{folder / INDEX} cannot be read: {error}. Delete it: the files are found again") from None


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _all(reads: Reads) -> tuple[list[Json], dict[str, Json]]:
    """All threads, and all projects by id."""
    threads: list[Json] = []
    cursor: str | None = None
    while True:
        page = reads.thread_list(limit=PAGE, cursor=cursor)
        threads += [msgspec.json.decode(item) for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    projects = [msgspec.json.decode(item) for item in reads.projects()]
    return threads, {project["id"]: project for project in projects}
