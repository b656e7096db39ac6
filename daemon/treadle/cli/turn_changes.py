"""What each turn of a transcript changed in the files: counts for each file and their diffs, bounded."""

import asyncio
import contextlib
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from treadle.cli.lists import checkpoints_of
from treadle.cli.output import count
from treadle.domain.entities import Checkpoint
from treadle.domain.errors import Rejected
from treadle.store.sqlite.reader import Reader
from treadle.workspace.diffs import Diff, FileChange, file_of, read_diff
from treadle.workspace.git import GitError
from treadle.workspace.repositories import Repository, open_repository
from treadle.workspace.snapshots import Read, read_commits

MAX_BYTES = 256 * 1024
"""Of the diffs of one turn; then only the counts of its files are shown."""
MAX_TOTAL_BYTES = 16 * 1024 * 1024
"""Of the diffs of all turns."""
MAX_FILES = 500
"""That are listed of one turn."""


class FileText(Struct, frozen=True):
    """A file that a turn changed. patch: its unified diff; None if it was left out."""

    file: FileChange
    patch: str | None


class TurnChanges(Struct, frozen=True):
    """What a turn changed. files: ordered by path; more: how many others there are. added, removed: lines, of all.

    failed: why it cannot be said; the rest is empty then.
    """

    files: list[FileText]
    more: int
    added: int
    removed: int
    failed: str = ""


class ChangesReader:
    """Reads what the turns of a thread changed, one after the other."""

    def __init__(self, reader: Reader, thread_id: str, data_dir: Path) -> None:
        self._reader, self._thread_id, self._data_dir = reader, thread_id, data_dir
        self._repository: Repository | None = None
        self._failed: str | None = None
        self._known: dict[str, Read] = {}
        self._room = MAX_TOTAL_BYTES

    def of(self, turn_id: str) -> TurnChanges | None:
        """What a turn changed; None if nothing, or if it has not both checkpoints. A failure of all is said once."""
        before, after = self._checkpoints.get((turn_id, "before")), self._checkpoints.get((turn_id, "after"))
        if before is None or after is None or self._failed is not None:
            return None
        if before.commit is not None and before.commit == after.commit:
            return None
        try:
            diff = asyncio.run(self._read(before.commit or before.git_ref, after.commit or after.git_ref))
        except (GitError, Rejected) as error:
            self._failed = str(error) if self._repository is None else None
            return TurnChanges([], 0, 0, 0, str(error))
        return self._changes(diff) if diff.changes else None

    @cached_property
    def _checkpoints(self) -> dict[tuple[str, str], Checkpoint]:
        found = checkpoints_of(self._reader, self._thread_id)
        return {(one.turn_id, one.phase): one for one in found if one.turn_id is not None}

    async def _read(self, before: str, after: str) -> Diff:
        if self._repository is None:
            (work,) = self._reader.read(lambda reads: reads.work([self._thread_id]))
            self._repository = await open_repository(Path(work.project), self._data_dir)
            with contextlib.suppress(GitError):  # they are read one by one
                commits = (one.commit for one in self._checkpoints.values())
                self._known = await read_commits(
                    self._repository.git, {one for one in commits if one is not None and one.isalnum()}
                )
        most = min(MAX_BYTES, self._room)
        return await read_diff(self._repository, before, after, max_bytes=most, known=self._known)

    def _changes(self, diff: Diff) -> TurnChanges:
        self._room -= sum(map(len, diff.patches))
        patches = [patch.decode(errors="replace") for patch in diff.patches]
        files = [
            FileText(file_of(change), patches[n] if n < len(patches) else None)
            for n, change in enumerate(diff.changes[:MAX_FILES])
        ]
        return TurnChanges(
            files,
            len(diff.changes) - len(files),
            sum(change.added or 0 for change in diff.changes),
            sum(change.removed or 0 for change in diff.changes),
        )


def counts(added: int, removed: int) -> str:
    """`+3 −1`, without what is 0."""
    return " ".join(f"{sign}{count:,}" for sign, count in (("+", added), ("−", removed)) if count)


def summary(changes: TurnChanges) -> str:
    """`3 files changed`."""
    total = len(changes.files) + changes.more
    return f"{count(total, 'file')} changed"


def how(file: FileChange) -> str:
    """How a file was changed, in words, with what tells the most: `added`, `renamed from a.txt`, `binary`."""
    words = {"modified": "", "typeChanged": "type changed", "renamed": f"renamed from {file.old_path}"}
    found = (words.get(file.status, file.status), "binary" if file.binary else "")
    return ", ".join(word for word in found if word)


def hunks(patch: str) -> str:
    """A diff without the lines of git that say which file it is of; as it is if it has no others."""
    head, start, rest = f"\n{patch}".partition("\n@@ ")
    return f"@@ {rest}".rstrip("\n") if start else head.strip("\n")
