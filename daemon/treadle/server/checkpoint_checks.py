"""The check of `treadle doctor` that concerns checkpoints: whether the log and the refs of repositories agree."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from treadle.store.errors import StorageError, UserError
from treadle.store.sqlite.environment import Finding
from treadle.store.sqlite.reader import Reader, reading
from treadle.workspace.git import GitError
from treadle.workspace.pruning import recorded_in, repositories_of, survey
from treadle.workspace.snapshots import list_refs

CHECK = "checkpoints"
REPAIR = "`treadle checkpoints prune`"


def examine_checkpoints(data_dir: Path) -> Iterator[Finding]:
    """One finding for each repository that does not agree with the log; else one for all. Changes nothing."""
    try:
        with reading(data_dir) as reader:
            yield from asyncio.run(_compared(data_dir, reader))
    except (StorageError, UserError) as error:
        yield Finding(CHECK, "warning", f"not looked at: {error}")


async def _compared(data_dir: Path, reader: Reader) -> list[Finding]:
    paths = reader.read(lambda reads: reads.project_paths())
    repositories, count, findings = await repositories_of(paths, data_dir), 0, list[Finding]()
    for repository, project_ids in repositories:
        try:
            refs = await list_refs(repository)
        except GitError as error:
            findings.append(Finding(CHECK, "warning", f"not looked at {repository.top}: {error}"))
            continue
        kept, threads = reader.read(lambda reads, ids=project_ids: recorded_in(reads, ids))  # type: ignore[misc]
        count += len(kept)
        found = survey(refs, kept, threads)
        without_checkpoint = len(found.unrecorded) + len(found.deleted)
        if without_checkpoint or found.lost:
            text = (
                f"{repository.top}: {without_checkpoint:,} refs without a checkpoint, "
                f"{len(found.lost):,} checkpoints without a ref: {REPAIR} repairs that"
            )
            findings.append(Finding(CHECK, "warning", text))
    return findings or [Finding(CHECK, "ok", f"{count:,} in {len(repositories):,} repositories, each with its ref")]
