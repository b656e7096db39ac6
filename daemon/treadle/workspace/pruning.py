"""Removes old checkpoints: their refs in one transaction of git for each repository, and then the log says so.

If treadle is killed between the two, the next run chooses the same checkpoints again, because they are as old, and
records them. Only refs of threads that the log knows are looked at: others are of other data directories.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Final

from msgspec import Struct

from treadle.core.access import Read, Submit
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.store.errors import StorageError
from treadle.store.ports import Reads
from treadle.store.records import KeptCheckpoint
from treadle.workspace.checkpoint_settings import Retention, retention
from treadle.workspace.git import GitError, within
from treadle.workspace.repositories import Repository, open_repository, recording
from treadle.workspace.snapshots import checkpoint_ref, list_refs, prune, thread_refs

log = logging.getLogger(__name__)

PERIOD: Final = 24 * 3600
"""Seconds from one automatic run in a repository to the next."""
OPENING: Final = 10.0
"""Seconds until a repository that does not answer is left out."""
BATCH: Final = 500
"""Checkpoints that one batch of commands records as pruned."""


class Survey(Struct, frozen=True):
    """How the refs of a repository differ from the log.

    unrecorded: refs of threads that live without a checkpoint in the log. deleted: refs of threads that were deleted.
    lost: checkpoints whose ref is missing.
    """

    unrecorded: list[str]
    deleted: list[str]
    lost: list[KeptCheckpoint]


class PrunedId(Struct, frozen=True, rename="camel"):
    """A checkpoint that was recorded as pruned."""

    thread_id: str
    id: str


class Pruned(Struct, frozen=True, rename="camel"):
    """What was removed of a repository, or would be. folder: of its work tree.

    checkpoints: those that were too many or too old. lost: those whose ref was missing. refs: how many refs without a
    checkpoint in the log there were, most of them of deleted threads. failed: why nothing was removed.
    """

    folder: str
    checkpoints: list[PrunedId] = []
    lost: list[PrunedId] = []
    refs: int = 0
    failed: str | None = None


def beyond(kept: Iterable[KeptCheckpoint], wanted: Retention, now: datetime) -> list[KeptCheckpoint]:
    """The checkpoints that are too many or too old: never the newest one of a thread, or one of a running turn.

    Those of one turn stay or go together, because its diff needs both.
    """
    oldest = now - timedelta(days=min(wanted.days, 36_500))
    found = list[KeptCheckpoint]()
    by_thread = sorted(kept, key=lambda one: (one.thread_id, -one.sequence))
    for _, of_thread in groupby(by_thread, lambda one: one.thread_id):
        newest_first = list(of_thread)
        stays = [
            one.running or number == 0 or (number < wanted.keep and datetime.fromisoformat(one.created_at) >= oldest)
            for number, one in enumerate(newest_first)
        ]
        turns = {one.turn_id for one, it in zip(newest_first, stays, strict=True) if it and one.turn_id is not None}
        found += [one for one, it in zip(newest_first, stays, strict=True) if not it and one.turn_id not in turns]
    return found


def survey(refs: Collection[str], kept: list[KeptCheckpoint], threads: dict[str, bool]) -> Survey:
    """Compare the refs of a repository with the log, which was read after them. threads: whether each is deleted."""
    recorded = {one.ref for one in kept}
    is_deleted = {thread_refs(id): deleted for id, deleted in threads.items()}
    others = [(ref, is_deleted.get(ref.rpartition("/")[0] + "/")) for ref in refs if ref not in recorded]
    return Survey(
        unrecorded=[ref for ref, deleted in others if deleted is False],
        deleted=[ref for ref, deleted in others if deleted],
        lost=[one for one in kept if _is_own(one) and one.ref not in refs and not one.elsewhere],
    )


def recorded_in(reads: Reads, project_ids: Collection[str]) -> tuple[list[KeptCheckpoint], dict[str, bool]]:
    """What the log says of the checkpoints and the threads of these projects, for `survey`."""
    return reads.kept_checkpoints(project_ids), reads.threads_with_refs(project_ids)


async def repositories_of(paths: dict[str, str], data_dir: Path) -> list[tuple[Repository, list[str]]]:
    """The repositories of projects, each with the ids of its projects. paths: of the projects, by id.

    Folders that are missing, in no repository, or on a disk that does not answer are left out.
    """
    found = dict[Path, tuple[Repository, list[str]]]()
    for id, path in paths.items():
        with contextlib.suppress(GitError):
            async with within(OPENING):
                repository = await open_repository(Path(path), data_dir)
            found.setdefault(repository.common_dir, (repository, []))[1].append(id)
    return list(found.values())


class Pruner:
    """Removes old checkpoints. submit: gives commands to the engine. read: runs a read."""

    def __init__(
        self,
        data_dir: Path,
        submit: Submit,
        read: Read,
    ) -> None:
        self._data_dir, self._submit, self._read = data_dir, submit, read
        self._running: asyncio.Task[None] | None = None

    async def prune(self, *, keep: int | None = None, days: int | None = None, dry_run: bool = False) -> list[Pruned]:
        """Prune the repositories of all projects, and remove refs without a checkpoint. keep, days: instead of the
        settings. dry_run: only say what would be removed."""
        settings = await self._read(retention)
        wanted = Retention(settings.keep if keep is None else keep, settings.days if days is None else days)
        paths = await self._read(lambda reads: reads.project_paths())
        done = []
        for repository, project_ids in await repositories_of(paths, self._data_dir):
            try:
                done.append(await self._prune(repository, project_ids, wanted, whole=True, dry_run=dry_run))
            except GitError as error:
                done.append(Pruned(str(repository.top), failed=str(error)))
        return done

    def begin_daily(self, project_id: str) -> None:
        """Start to prune the repository of a project, unless that is under way or was done in the last 24 hours."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._daily(project_id), name="pruning")

    async def close(self) -> None:
        """End what `begin_daily` has started. The next run does the rest."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _daily(self, project_id: str) -> None:
        try:
            paths = await self._read(lambda reads: reads.project_paths())
            repository = await open_repository(Path(paths[project_id]), self._data_dir)
            done = repository.scratch / f"{repository.name}.pruned"
            if not await asyncio.to_thread(_take_turn, done):
                return
            pruned = await self._prune(repository, [project_id], await self._read(retention), whole=False)
            if pruned.checkpoints or pruned.refs:
                log.info("pruned %d checkpoints in %s", len(pruned.checkpoints), pruned.folder)
        except (GitError, Rejected, StorageError, OSError) as error:
            log.warning("the old checkpoints of project %s were not pruned: %s", project_id, error)

    async def _prune(
        self,
        repository: Repository,
        project_ids: Collection[str],
        wanted: Retention,
        *,
        whole: bool,
        dry_run: bool = False,
    ) -> Pruned:
        """whole: also repair what a crash, or someone else, has left: refs and checkpoints without the other."""
        async with recording(repository):
            refs = await list_refs(repository)
            kept, threads = await self._read(lambda reads: recorded_in(reads, project_ids))
            found = survey(refs, kept, threads)
            own = (one for one in kept if _is_own(one) and (one.ref in refs or not one.elsewhere))
            old = beyond(own, wanted, datetime.now(UTC))
            lost = [one for one in found.lost if one not in old] if whole else []
            leftover = found.deleted + (found.unrecorded if whole else [])
            if not dry_run:
                await prune(repository, [*(one.ref for one in old), *leftover])
                await self._record([*old, *lost])
        return Pruned(str(repository.top), _ids(old), _ids(lost), len(leftover))

    async def _record(self, pruned: list[KeptCheckpoint]) -> None:
        by_thread = sorted(pruned, key=lambda one: (one.thread_id, one.sequence))
        for thread_id, of_thread in groupby(by_thread, lambda one: one.thread_id):
            commands = [c.PruneCheckpoint(thread_id=thread_id, id=one.id) for one in of_thread]
            for start in range(0, len(commands), BATCH):
                with contextlib.suppress(Rejected):  # the thread was deleted meanwhile
                    await self._submit([*commands[start : start + BATCH]])


def _is_own(one: KeptCheckpoint) -> bool:
    """Whether treadle has made the ref. Those that a client has made are left to it."""
    return one.ref == checkpoint_ref(one.thread_id, one.id)


def _ids(checkpoints: Iterable[KeptCheckpoint]) -> list[PrunedId]:
    return [PrunedId(one.thread_id, one.id) for one in checkpoints]


def _take_turn(done: Path) -> bool:
    """Whether the last run was long enough ago; then this one counts from now on."""
    with contextlib.suppress(FileNotFoundError):
        if 0 <= time.time() - done.stat().st_mtime < PERIOD:
            return False
    done.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    done.touch()
    return True
