"""Helpers for tests of checkpoints: a project's folder in a real git repository, and what must not change in it."""

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import needs
from treadle.workspace.repositories import Repository, open_repository
from treadle.workspace.restore import Undoable, restore
from treadle.workspace.snapshots import Snapshot, checkpoint_ref, take_snapshot

with_git = needs("git")
_numbers = itertools.count()


def new_ref() -> str:
    return checkpoint_ref("thread", str(next(_numbers)))


def git(*arguments: str | bytes | Path) -> None:
    """Run git as the user would run it."""
    subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments], check=True)


def commands_of_git(settings: Path) -> Callable[[], list[str]]:
    """What git is asked to do from here on by whoever has these settings; each call gives what is new, sorted."""
    log = settings.parent / "commands-of-git"
    settings.write_text(f"[trace2]\neventTarget = {log}\n")

    def new() -> list[str]:
        told = [json.loads(line) for line in log.read_text().splitlines()]
        log.write_text("")
        return sorted(each["name"] for each in told if each["event"] == "cmd_name")

    return new


class Checkout:
    """A repository, and the folder in it that is the project's. home: the user's home directory, for `.gitconfig`."""

    def __init__(self, top: Path, home: Path, below: str = "") -> None:
        self.top, self.folder, self.home = top, top / below, home
        self.data_dir = home / "treadle"
        self.folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Ada")
        self.git("config", "user.email", "ada@example.org")

    def git(self, *arguments: str | bytes, check: bool = True) -> str:
        """What git prints. It runs as the user would run it."""
        done = subprocess.run(["git", "-C", self.top, *arguments], capture_output=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.decode(errors="surrogateescape").removesuffix("\n")

    def write(self, path: str | bytes, content: str | bytes = "text\n") -> Path:
        place = self.folder / os.fsdecode(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "work")
        return self.git("rev-parse", "HEAD")

    async def open(self) -> Repository:
        return await open_repository(self.folder, self.data_dir)

    async def snapshot(self, **options: Any) -> Snapshot:
        return await take_snapshot(await self.open(), new_ref(), "test", **options)

    async def restore(self, commit: str, **options: Any) -> Undoable:
        return await restore(await self.open(), commit, new_ref(), "test", **options)

    def files(self, tree: str) -> list[str]:
        return self.git("ls-tree", "-r", "-z", "--name-only", tree).split("\0")[:-1]

    def text(self, tree: str, path: str) -> str:
        return self.git("cat-file", "blob", f"{tree}:{path}")

    def work_tree(self) -> dict[str, Any]:
        """Each file of the work tree, ignored ones and other repositories included: type, mode, content and times."""
        found = {}
        for folder, folders, names in os.walk(self.top):
            if Path(folder) == self.top:
                folders.remove(".git")
            for name in (*names, *(name for name in folders if (Path(folder) / name).is_symlink())):
                path = Path(folder) / name
                content = path.readlink() if path.is_symlink() else path.read_bytes()
                found[str(path.relative_to(self.top))] = (path.lstat().st_mode, content, path.lstat().st_mtime_ns)
        return found

    def contents(self) -> dict[str, Any]:
        """As `work_tree`, without times."""
        return {path: (mode, content) for path, (mode, content, _) in self.work_tree().items()}

    def repository(self) -> dict[str, bytes]:
        """Each file of the repository with its content, except objects and the refs of treadle."""
        found = {}
        for path in (self.top / ".git").rglob("*"):
            name = str(path.relative_to(self.top / ".git"))
            if path.is_file() and not name.startswith(("objects/", "refs/treadle/")):
                found[name] = path.read_bytes()
        return found

    def litter(self) -> list[str]:
        """Files that a command of git, or of treadle, should have removed."""
        found = [path for path in (self.top / ".git").rglob("*") if path.name.endswith(".lock") or "tmp_" in path.name]
        kept = [path for path in self.data_dir.glob("git/**/*") if path.suffix != ".lock"]
        return sorted(map(str, (*found, *kept)))
