"""Which project a folder belongs to: by its path and identity, and after it was moved by a mark that it carries.

The mark is an extended attribute of the folder (xattr(7)), which moves with the folder and which no listing shows.
Without extended attributes (macOS, some file systems) a folder that was moved is a new project, and a new folder at
the path of a project belongs to that project.
"""

import asyncio
import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.contract.results import ProjectOpened
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.domain.entities import Project
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.paths import path_key
from treadle.store.sqlite.store import Store

ATTRIBUTE: Final = "user.treadle."
"""And the log's id: another data directory has other projects."""


class Location(Struct, frozen=True):
    """folder: without symbolic links. project_id: whose it is, None for nobody's. moved: from another path."""

    folder: str
    project_id: str | None = None
    moved: bool = False


async def open_project(store: Store, engine: Engine, path: str) -> ProjectOpened:
    """The project of a folder, or of the nearest folder above it that has one; else a new one of that folder.

    Raises Rejected: `pathNotAbsolute`, `pathIsNoFolder`.
    """
    if not path.startswith("/"):
        raise Rejected("pathNotAbsolute", f"path {path!r} is not absolute")
    while True:
        projects = await _projects(store)
        asked, place = await asyncio.to_thread(
            find, path, {id: project.path for id, project in projects.items()}, store.log_id
        )
        try:
            if place.project_id is None:
                name = Path(place.folder).name or place.folder
                id = await _do(engine, c.CreateProject(name=name, path=place.folder))
            elif place.moved:
                id = await _do(engine, c.UpdateProject(id=place.project_id, path=place.folder))
            else:
                id = place.project_id
        except Rejected as error:
            if error.kind == "pathTaken" or isinstance(error, NotFound):
                continue  # another process was first
            raise
        await asyncio.to_thread(mark, Path(place.folder), store.log_id, id)
        if not asked:
            continue  # the project that had the path is out of the way
        project = (await _projects(store)).get(id)
        if project is not None:
            return ProjectOpened(project, created=place.project_id is None, moved=place.moved)


def find(path: str, projects: dict[str, str], log_id: str) -> tuple[bool, Location]:
    """Look at the file system. projects: their paths, by id. Raises Rejected.

    False with the place of another project that has to be recorded first: it has been moved, and the folder that is
    asked for lies at its old path.
    """
    folder = Path(os.path.realpath(path))  # never raises, not even for a circle of links
    if not _is_folder(folder):
        raise Rejected("pathIsNoFolder", f"folder {path!r} does not exist")
    by_path: dict[str, str] = {}
    by_identity: dict[tuple[int, int] | None, str] = {}
    for project_id, at in projects.items():
        real = Path(os.path.realpath(at))
        by_path[path_key(str(real))] = by_identity[_identity(real)] = project_id
    by_identity.pop(None, None)
    for above in (folder, *folder.parents):
        marked_id = marked(above, log_id)
        id = by_path.get(path_key(str(above))) or by_identity.get(_identity(above))
        if id is not None:
            moved_to = None if marked_id == id else _sibling(above, log_id, id)
            if moved_to is None or path_key(str(moved_to)) in by_path:
                return True, Location(str(above), id)
            return False, Location(_utf8(moved_to), id, moved=True)
        if marked_id in projects and _has_left(Path(projects[marked_id]), log_id, marked_id):  # else this is a copy
            return True, Location(_utf8(above), marked_id, moved=True)
    return True, Location(_utf8(folder))


def _identity(path: Path) -> tuple[int, int] | None:
    """The folder's own, under whatever names it has: file systems may ignore case or Unicode's forms."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sibling(folder: Path, log_id: str, project_id: str) -> Path | None:
    """The folder beside this one that carries the mark of a project: renamed, and another one took its name."""
    try:
        with os.scandir(folder.parent) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and marked(Path(entry.path), log_id) == project_id:
                    return Path(entry.path)
    except OSError:
        pass
    return None


def _has_left(path: Path, log_id: str, project_id: str) -> bool:
    """Whether the folder at a project's path is gone, or is another one: it does not carry the mark."""
    return _is_folder(path) is False or marked(path, log_id) not in (project_id, None)


def _is_folder(path: Path) -> bool | None:
    """None if that cannot be seen: access is denied above, or the name is too long."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None


def _utf8(folder: Path) -> str:
    """The path, which JSON and the database take as UTF-8 alone. Raises Rejected."""
    try:
        return str(folder).encode().decode()
    except UnicodeEncodeError:
        raise Rejected("pathIsNoFolder", f"the path is not UTF-8: {os.fsencode(folder)!r}") from None


def mark(folder: Path, log_id: str, project_id: str) -> None:
    """Mark the folder as the project's, if it can be marked and is not yet."""
    if marked(folder, log_id) != project_id:
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(folder, ATTRIBUTE + log_id, project_id.encode())


def marked(folder: Path, log_id: str) -> str | None:
    """The id of the project whose mark the folder carries; "" if it carries none; None if that cannot be seen."""
    try:
        return os.getxattr(folder, ATTRIBUTE + log_id).decode(errors="replace")
    except AttributeError:
        return None
    except OSError as error:
        return "" if error.errno == errno.ENODATA else None


async def _projects(store: Store) -> dict[str, Project]:
    rows = await store.read(lambda reads: reads.projects())
    found = (msgspec.json.decode(row, type=Project) for row in rows)
    return {project.id: project for project in found}


async def _do(engine: Engine, command: c.CreateProject | c.UpdateProject) -> str:
    """The id of the project."""
    answer = await engine.submit([command]).future
    events: list[Any] = answer.results[0].events  # JSON that is not decoded
    return str(msgspec.json.decode(events[0])["event"]["id"]) if events else str(command.id)
