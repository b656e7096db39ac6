"""Which project a folder belongs to: by where it lies, and where it was moved, by a mark that it carries itself.

The mark is an extended attribute of the folder (xattr(7)), which goes where the folder goes and which no listing shows.
Where there are none (macOS, some file systems) a folder that was moved is a new one.
"""

import asyncio
import contextlib
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
        raise Rejected("pathNotAbsolute", f"a project's path is absolute, {path!r} is not")
    while True:
        projects = await _projects(store)
        place = await asyncio.to_thread(
            find, path, {id: project.path for id, project in projects.items()}, store.log_id
        )
        try:
            if place.project_id is None:
                name = Path(place.folder).name or place.folder
                id = await _do(engine, c.CreateProject(name=name, path=place.folder))
            elif place.moved:
                id = await _do(engine, c.UpdateProject(id=place.project_id, path=place.folder))
            else:
                return ProjectOpened(projects[place.project_id], created=False, moved=False)
        except Rejected as error:
            if error.kind == "pathTaken" or isinstance(error, NotFound):
                continue  # another process was first
            raise
        await asyncio.to_thread(mark, Path(place.folder), store.log_id, id)
        project = (await _projects(store)).get(id)
        if project is not None:
            return ProjectOpened(project, created=place.project_id is None, moved=place.moved)


def find(path: str, projects: dict[str, str], log_id: str) -> Location:
    """Look at the file system. projects: their paths, by id. Raises Rejected."""
    folder = Path(os.path.realpath(path))  # never raises, not even for a circle of links
    if not _is_folder(folder):
        raise Rejected("pathIsNoFolder", f"there is no folder {path!r}")
    lies = {os.path.realpath(at): id for id, at in projects.items()}
    for above in (folder, *folder.parents):
        if str(above) in lies:
            return Location(str(above), lies[str(above)])
        id = marked(above, log_id)
        if id in projects and _is_folder(Path(projects[id])) is False:  # else this is a copy
            return Location(_utf8(above), id, moved=True)
    return Location(_utf8(folder))


def _is_folder(path: Path) -> bool | None:
    """None where that cannot be seen: access is denied above, or the name is too long."""
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
    """Let the folder say whose it is, where it can."""
    with contextlib.suppress(OSError, AttributeError):
        os.setxattr(folder, ATTRIBUTE + log_id, project_id.encode())


def marked(folder: Path, log_id: str) -> str:
    """What the folder says; nothing where it does not."""
    try:
        return os.getxattr(folder, ATTRIBUTE + log_id).decode(errors="replace")
    except (OSError, AttributeError):
        return ""


async def _projects(store: Store) -> dict[str, Project]:
    rows = await store.read(lambda reads: reads.projects())
    found = (msgspec.json.decode(row, type=Project) for row in rows)
    return {project.id: project for project in found}


async def _do(engine: Engine, command: c.CreateProject | c.UpdateProject) -> str:
    """The id of the project."""
    answer = await engine.submit([command]).future
    events: list[Any] = answer.results[0].events  # JSON that is not decoded
    return str(msgspec.json.decode(events[0])["event"]["id"]) if events else str(command.id)
