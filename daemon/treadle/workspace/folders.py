"""Find the project of a folder: by its path and inode, after the folder was moved by a mark on it, else by its remote.

The mark is an extended attribute of the folder (xattr(7)): it moves with the folder and no directory listing shows it.
Without extended attributes (macOS, some file systems), a moved folder becomes a new project, and a new folder at the
path of a project belongs to that project.

By its git remote, a folder is found whose project has its path on another machine, or was moved without its mark: only
if that path is no folder here, so that two clones on one machine stay two projects.

In a shared log, a project is found by its remote, or by the folder that this machine has for it. There are no marks: a
folder that was moved is found by its remote again. A second clone on the same machine is refused, because the threads
of the project would work in either.
"""

import asyncio
import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Collection
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
from treadle.workspace.git import remote_of

ATTRIBUTE: Final = "user.treadle."
"""The prefix of the attribute's name; the log's id follows, because each data directory has its own projects."""


class Location(Struct, frozen=True):
    """A folder and its project. folder: its path without symbolic links. project_id: None if it has no project yet.

    moved: the project has another path, which has to be updated. remote: the folder's git remote, if it has one.
    """

    folder: str
    project_id: str | None = None
    moved: bool = False
    remote: str | None = None


async def open_project(store: Store, engine: Engine, path: str) -> ProjectOpened:
    """Find the project of a folder or of its nearest parent that has one; otherwise create a project for the folder.

    Raises Rejected (`pathNotAbsolute`, `pathIsNoFolder`; in a shared log `noRemote` and `folderTaken`).
    """
    if not path.startswith("/"):
        raise Rejected("pathNotAbsolute", f"path {path!r} is not absolute")
    while True:
        projects = await _projects(store)
        if store.is_shared:
            asked, place = True, await asyncio.to_thread(_locate_shared, path, projects)
        else:
            asked, place = await asyncio.to_thread(_locate, path, projects, store.log_id)
        id = place.project_id
        try:
            if id is None:
                named = str(place.remote) if store.is_shared else place.folder
                name = Path(named).name or named
                id = await _do(engine, c.CreateProject(name=name, path=place.folder, remote=place.remote))
            elif place.moved or place.remote not in (None, projects[id].remote):
                moved_to = place.folder if place.moved else None
                await _do(engine, c.UpdateProject(id=id, path=moved_to, remote=place.remote))
        except Rejected as error:
            if error.kind in ("pathTaken", "remoteTaken") or isinstance(error, NotFound):
                continue  # another process changed a project first: retry
            raise
        if not store.is_shared:
            await asyncio.to_thread(mark, Path(place.folder), store.log_id, id)
        if not asked:
            continue  # the other project has its new path now: retry
        project = (await _projects(store)).get(id)
        if project is not None:
            was_elsewhere = place.moved and projects[id].path is not None
            return ProjectOpened(project, created=place.project_id is None, moved=was_elsewhere)


def _locate(path: str, projects: dict[str, Project], log_id: str) -> tuple[bool, Location]:
    """As `find`, and if that finds no project, by the git remote of the folder, which the location has in any case."""
    asked, place = find(path, _paths(projects.values()), log_id)
    remote = remote_of(Path(place.folder))
    if remote is None:
        return asked, place
    found = None if place.project_id is not None else _by_remote(place.folder, remote, projects.values())
    return asked, found or msgspec.structs.replace(place, remote=remote)


def _by_remote(folder: str, remote: str, projects: Collection[Project]) -> Location | None:
    """The location of the project with this remote, or that of the nearest parent in the repository, if it is not here.

    Of several, the one that was updated last.
    """
    repository, _, below = remote.partition("//")
    while True:
        remote = f"{repository}//{below}" if below else repository
        candidates = [one for one in projects if one.remote == remote and not _may_be_here(one)]
        if candidates:
            project = max(candidates, key=lambda one: (one.updated_at, one.sequence))
            return Location(folder, project.id, moved=True, remote=remote)
        if not below:
            return None
        folder, below = posixpath.dirname(folder), posixpath.dirname(below)


def _locate_shared(path: str, projects: dict[str, Project]) -> Location:
    """The location of the folder or of its nearest parent that is a project of the shared log. Raises Rejected.

    `moved` is also true for a project that has no folder on this machine yet.
    """
    folder = _folder(path)
    by_path, by_identity = _by_place(_paths(projects.values()))
    by_remote = {project.remote: project for project in projects.values()}
    remote = remote_of(folder)
    if remote is None and not any(path_key(str(above)) in by_path for above in (folder, *folder.parents)):
        raise Rejected(
            "noRemote",
            f"several machines share this log, so its projects are known by their git remote: {folder} has none. Add "
            "one (git remote add origin URL), or keep this work in a log of your own",
        )
    repository, _, below = (remote or "").partition("//")
    within = remote
    for above in (folder, *folder.parents):
        id = by_path.get(path_key(str(above))) or by_identity.get(_identity(above))
        if id is not None:
            return Location(str(above), id)
        project = None if within is None else by_remote.get(within)
        if project is not None and _may_be_here(project):
            raise Rejected(
                "folderTaken",
                f"{within} has the folder {project.path} on this machine: open that, or give the project this one "
                f"(UpdateProject with its id {project.id} and the path {above})",
                projectId=project.id,
            )
        if project is not None:
            return Location(_utf8(above), project.id, moved=True)
        within = None
        if below:
            below = posixpath.dirname(below)
            within = f"{repository}//{below}" if below else repository
    return Location(_utf8(folder), remote=remote)


def find(path: str, projects: dict[str, str], log_id: str) -> tuple[bool, Location]:
    """Find the location of the folder `path` in the file system. projects: paths by project id. Raises Rejected.

    Returns True and the location. Returns False and the new location of another project if that was moved and the
    folder is at its old path: the caller updates that project first and retries.
    """
    folder = _folder(path)
    by_path, by_identity = _by_place(projects)
    for above in (folder, *folder.parents):
        marked_id = marked(above, log_id)
        id = by_path.get(path_key(str(above))) or by_identity.get(_identity(above))
        if id is not None:
            moved_to = None if marked_id == id else _sibling(above, log_id, id)
            if moved_to is None or path_key(str(moved_to)) in by_path:
                return True, Location(str(above), id)
            return False, Location(_utf8(moved_to), id, moved=True)
        if marked_id in projects and _has_left(Path(projects[marked_id]), log_id, marked_id):  # if not, it is a copy
            return True, Location(_utf8(above), marked_id, moved=True)
    return True, Location(_utf8(folder))


def _folder(path: str) -> Path:
    """The folder without symbolic links. Raises Rejected if it does not exist."""
    folder = Path(os.path.realpath(path))  # never raises, not even for a loop of symbolic links
    if not _is_folder(folder):
        raise Rejected("pathIsNoFolder", f"folder {path!r} does not exist")
    return folder


def _paths(projects: Collection[Project]) -> dict[str, str]:
    """The path of each project by its id."""
    return {project.id: project.path for project in projects if project.path is not None}


def _by_place(projects: dict[str, str]) -> tuple[dict[str, str], dict[tuple[int, int] | None, str]]:
    """The ids of projects by the keys of their paths, and by the identities of their folders."""
    by_path: dict[str, str] = {}
    by_identity: dict[tuple[int, int] | None, str] = {}
    for project_id, at in projects.items():
        real = Path(os.path.realpath(at))
        by_path[path_key(str(real))] = by_identity[_identity(real)] = project_id
    by_identity.pop(None, None)
    return by_path, by_identity


def _may_be_here(project: Project) -> bool:
    """Whether the folder of the project is on this machine, or that is unknown."""
    return project.path is not None and _is_folder(Path(project.path)) is not False


def _identity(path: Path) -> tuple[int, int] | None:
    """The device and inode number of a folder, equal for all its paths: file systems may ignore case or Unicode forms.

    None if it cannot be read.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sibling(folder: Path, log_id: str, project_id: str) -> Path | None:
    """The folder next to this one that has the mark of the project: it was renamed, and this one took its old name."""
    try:
        with os.scandir(folder.parent) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and marked(Path(entry.path), log_id) == project_id:
                    return Path(entry.path)
    except OSError:
        pass
    return None


def _has_left(path: Path, log_id: str, project_id: str) -> bool:
    """Whether the folder at a project's path no longer exists or does not have the project's mark."""
    return _is_folder(path) is False or marked(path, log_id) not in (project_id, None)


def _is_folder(path: Path) -> bool | None:
    """Whether the path is a folder; None if unknown: access to a parent is denied, or the name is too long."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None


def _utf8(folder: Path) -> str:
    """The path as text. Raises Rejected if it is not UTF-8, which JSON and the database require."""
    try:
        return str(folder).encode().decode()
    except UnicodeEncodeError:
        raise Rejected("pathIsNoFolder", f"the path is not UTF-8: {os.fsencode(folder)!r}") from None


def mark(folder: Path, log_id: str, project_id: str) -> None:
    """Mark the folder as the project's, unless it is marked already or the file system has no extended attributes."""
    if marked(folder, log_id) != project_id:
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(folder, ATTRIBUTE + log_id, project_id.encode())


def marked(folder: Path, log_id: str) -> str | None:
    """The id of the project whose mark the folder has; "" if it has no mark; None if marks cannot be read."""
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
    """Submit a command; return the id of its project."""
    answer = await engine.submit([command]).future
    events: list[Any] = answer.results[0].events  # JSON that is not decoded
    return str(msgspec.json.decode(events[0])["event"]["id"]) if events else str(command.id)
