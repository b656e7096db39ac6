"""The repository that a project's folder is in, and turns on it: a quarantine for what git writes until it is kept.

The quarantine is what git-receive-pack(1) calls so: git writes new objects into a folder of its own beside the
repository's, which is moved into it once everything has succeeded. So a git that is killed leaves nothing in the
repository, and a comparison with the files as they are now leaves nothing either. If treadle itself is killed, the next
turn removes the folder, or `git gc` does.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from treadle.store.sqlite.database import FileLock
from treadle.workspace.git import Git, GitError, within

FINISHED = 600.0
"""Seconds in which what was decided is written: it is not ended half way, except if a filter of git hangs."""

RECORDING = 60.0
"""Seconds to wait for another process that takes a snapshot, restores or prunes."""


SETTLED = 2.0
"""Seconds after which the time of a file tells each further change of it."""

Mark = tuple[int, int, int, float]
_known: Final[dict[Path, tuple[tuple[Mark | None, ...], list[Path]]]] = {}
"""By the folder: what git finds the repository by, and what it found."""


class Repository(Struct, frozen=True):
    """A folder in the work tree of a repository. All paths are absolute, without symbolic links.

    folder: the project's, to which all is restricted. top: of the work tree. git_dir: of this work tree. common_dir: of
    all work trees of the repository. scratch: where treadle may put temporary files, and locks.
    """

    folder: Path
    top: Path
    git_dir: Path
    common_dir: Path
    scratch: Path

    @property
    def git(self) -> Git:
        return Git(self.top)

    @property
    def below(self) -> list[str]:
        """The pathspec of the folder: empty if it is the top of the work tree."""
        return [] if self.folder == self.top else ["--", str(self.folder.relative_to(self.top))]

    @property
    def prefix(self) -> bytes:
        """What the paths of the folder's files start with, as git names them."""
        return b"" if self.folder == self.top else os.fsencode(self.folder.relative_to(self.top)) + b"/"

    @property
    def name(self) -> str:
        """A name for the repository in names of files."""
        return hashlib.sha256(os.fsencode(self.common_dir)).hexdigest()[:16]


async def open_repository(folder: Path, data_dir: Path) -> Repository:
    """The repository that the folder is in. data_dir: treadle's data directory, which gets a folder `git`.

    Raises GitError (`noRepository`, `bareRepository`, and `folderTooWide` for one that holds the home directory, or the
    data directory without ignoring it).
    """
    folder = _real(folder)
    git = Git(folder)
    try:
        git_dir, common_dir, top = await _places(git)
    except GitError as error:
        if "not a git repository" in str(error) or not folder.is_dir():
            raise GitError("noRepository", f"{_text(folder)} is not in a git repository") from None
        raise
    home = _real(Path.home())
    if top in (home, *home.parents):
        raise GitError("folderTooWide", f"the repository at {_text(top)} holds the home directory: it is left alone")
    data_dir = _real(data_dir)
    if data_dir.is_relative_to(top):  # a restore would put back an old database
        try:
            git = Git(top, {"GIT_LITERAL_PATHSPECS": "0"})  # with 1, this command fails
            await git.run("check-ignore", "--quiet", str(data_dir / "git"))
        except GitError:
            raise GitError("folderTooWide", f"the repository at {_text(top)} holds treadle's data directory") from None
    return Repository(folder, top, git_dir, common_dir, data_dir / "git")


async def _places(git: Git) -> list[Path]:
    """The repository's folder, the one that its work trees share, and the top of this work tree. Raises GitError.

    Git is asked again only if something has changed by which it would find another one.
    """
    known = _known.get(git.folder)
    if known is not None and known[0] == await asyncio.to_thread(_marks, git.folder, known[1]):
        return known[1]
    asked = time.time()
    places = await _asked_places(git)
    marks = await asyncio.to_thread(_marks, git.folder, places)
    # What has just changed may have changed after git has looked at it.
    if marks is not None and all(mark is None or mark[-1] < asked - SETTLED for mark in marks):
        _known[git.folder] = marks, places
    else:
        _known.pop(git.folder, None)
    return places


def _marks(folder: Path, places: list[Path]) -> tuple[Mark | None, ...] | None:
    """What git finds the repository of a folder by: each `.git` from the folder up to the top of the work tree, whether
    one of these folders is a repository itself, and the settings. None if the folder is not below the top."""
    git_dir, common_dir, top = places
    if not folder.is_relative_to(top):
        return None
    upwards = [folder, *folder.parents]
    found = [each / name for each in upwards[: upwards.index(top) + 1] for name in (".git", "HEAD")]
    return tuple(
        _mark(path) for path in (*found, git_dir / "commondir", git_dir / "config.worktree", common_dir / "config")
    )


def _mark(path: Path) -> Mark | None:
    """Of a folder, only which one it is: its times change with each file that git makes in it."""
    try:
        found = path.lstat()
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return found.st_dev, found.st_ino, 0, 0.0
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime


async def _asked_places(git: Git) -> list[Path]:
    kinds = ("--absolute-git-dir", "--git-common-dir", "--show-toplevel")
    with contextlib.suppress(GitError):  # the questions one by one tell what is wrong
        *paths, is_inside, end = (await git.run("rev-parse", *kinds, "--is-inside-work-tree")).split(b"\n")
        if len(paths) == len(kinds) and (is_inside, end) == (b"true", b""):  # no path has a line feed
            return [_real(git.folder / os.fsdecode(path)) for path in paths]
    git_dir, common_dir = [await _path(git, kind) for kind in kinds[:2]]
    if await git.run("rev-parse", "--is-inside-work-tree") != b"true\n":
        raise GitError("bareRepository", f"{_text(git_dir)} has no work tree here")
    return [git_dir, common_dir, await _path(git, kinds[2])]


async def _path(git: Git, kind: str) -> Path:
    """The path that rev-parse tells, which may be relative to the folder, and may end with a line feed."""
    answer = await git.run("rev-parse", kind)
    return _real(git.folder / os.fsdecode(answer.removesuffix(b"\n")))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # never raises, not even for a loop of symbolic links


def _text(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")


class Quarantine:
    """A turn on a repository, in which git writes new objects into a folder of their own."""

    def __init__(self, repository: Repository, folder: Path, new_objects: Path, timer: asyncio.Timeout) -> None:
        self._folder = folder
        self._objects, self._new_objects, self._timer = repository.common_dir / "objects", new_objects, timer
        self._variables = {
            "GIT_OBJECT_DIRECTORY": str(new_objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(self._objects),
        }

    def git(self, repository: Repository, index: Path) -> Git:
        """Git in a work tree of the repository, with an index in the temporary folder."""
        return Git(repository.top, self._variables).with_variables(GIT_INDEX_FILE=index)

    def new_folder(self) -> Path:
        """A temporary folder, which is empty."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    async def keep(self) -> None:
        """Move the new objects into the repository. From here on there is no hurry: what follows is to be finished."""
        self._timer.reschedule(asyncio.get_running_loop().time() + FINISHED)
        await asyncio.to_thread(_move, self._new_objects, self._objects)


@asynccontextmanager
async def quarantined(repository: Repository, seconds: float) -> AsyncIterator[Quarantine]:
    """Wait for the turn on the repository, and take it within the block. seconds: from now on until it is ended.

    Raises GitError (`tooSlow`).
    """
    objects = repository.common_dir / "objects"
    await asyncio.to_thread(repository.scratch.mkdir, mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(repository.scratch / f"{repository.name}.lock")
    # Other data directories have their own locks, so they need other names. gc removes what starts with `tmp_`.
    ours = hashlib.sha256(os.fsencode(repository.scratch)).hexdigest()[:16]
    start_of_names = f"tmp_objdir-treadle-{ours}-"
    try:
        async with within(seconds) as timer, lock.held():
            await asyncio.to_thread(_remove, [*objects.glob(f"{start_of_names}*")])
            await asyncio.to_thread(_remove, [*repository.scratch.glob(f"{repository.name}-*")])
            folder = Path(tempfile.mkdtemp(prefix=f"{repository.name}-", dir=repository.scratch))
            try:
                new_objects = Path(tempfile.mkdtemp(prefix=start_of_names, dir=objects))
                yield Quarantine(repository, folder, new_objects, timer)
            finally:
                await asyncio.to_thread(_remove, [folder, *objects.glob(f"{start_of_names}*")])
    except OSError as error:
        raise GitError("gitFailed", f"{error.strerror}: {error.filename}") from error


@asynccontextmanager
async def recording(repository: Repository) -> AsyncIterator[None]:
    """Within the block, no other process removes refs that the log does not have: those of a snapshot that is about to
    be recorded. Held while one is taken and recorded, and while checkpoints are pruned. Raises GitError (`tooSlow`).
    """
    async with locked(repository.scratch / f"{repository.name}.recording.lock", RECORDING):
        yield


@asynccontextmanager
async def locked(path: Path, seconds: float) -> AsyncIterator[FileLock]:
    """Hold a lock within the block, of which each process gets its turn. seconds: to wait for it. Raises GitError
    (`tooSlow`)."""
    lock = FileLock(path)
    await asyncio.to_thread(path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as held:
        try:
            async with asyncio.timeout(seconds):
                await held.enter_async_context(lock.held())
        except TimeoutError:
            why = f"another process of treadle has worked there for {seconds:g} seconds: try again when it has ended"
            raise GitError("tooSlow", why) from None
        yield lock


def _quoted(path: Path) -> str:
    """As an item of a list of paths (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES), which has colons between them."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Move objects between folders of one file system. An index of a pack comes last: git finds the pack by it."""
    for folder in source.iterdir():  # two digits of an id, or `pack`
        place = target / folder.name
        if not place.is_dir():
            with contextlib.suppress(FileExistsError):
                place.mkdir()
                shutil.copymode(target, place)  # a repository may be shared with a group
        names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith("tmp_")]
        for name in sorted(names, key=lambda name: name.endswith(".idx")):
            os.replace(f"{folder}/{name}", f"{place}/{name}")  # noqa: PTH105
