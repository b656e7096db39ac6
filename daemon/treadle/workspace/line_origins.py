"""Which turn a line of a file is from: the one between whose checkpoints the line appeared.

What appeared between two turns is not ascribed to either, whether it was committed or not. While several turns ran at
once, or where the checkpoint after a turn is missing, it is only possible that the line is theirs.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from treadle.contract.results import LineOrigin, Provenance, TurnOrigin
from treadle.core.access import Read
from treadle.domain.entities import Project
from treadle.domain.errors import NotFound
from treadle.store.ports import Reads
from treadle.store.records import KeptCheckpoint
from treadle.workspace.provenance import MAX_VERSIONS, first_versions
from treadle.workspace.repositories import open_repository

Key = tuple[str, str]
"""A turn: the ids of its thread and of itself."""


class Span(Struct, frozen=True):
    """A turn among snapshots. before, after: the numbers of its first and last one. sure: whether both were taken."""

    key: Key
    before: int
    after: int
    sure: bool


class LineOrigins:
    """Finds the turns that lines are from. read: runs a read."""

    def __init__(self, data_dir: Path, read: Read) -> None:
        self._data_dir, self._read = data_dir, read

    async def find(self, path: str, line: int | None = None) -> Provenance:
        """Where each line of a file is from. path: absolute. line: only this one. Raises GitError and NotFound."""
        file = await asyncio.to_thread(_real, path)
        projects, kept = await self._read(lambda reads: _around(reads, file))
        if not projects:
            raise NotFound("project", str(file.parent))
        folder = Path(projects[-1].path)
        repository = await open_repository(folder, self._data_dir)
        taken = [one for one in kept if one.commit is not None]
        looked_at = taken[-MAX_VERSIONS:]
        commits = [one.commit or "" for one in looked_at]
        found = await first_versions(repository, commits, str(file.relative_to(folder)), line)
        spans = _spans(looked_at)
        keys = list[Key]()
        lines = []
        for each in found:
            by, turns = _author(each.version, len(looked_at), spans)
            keys += [turn for turn in turns if turn not in keys]
            numbers = [keys.index(turn) for turn in turns]
            lines.append(
                LineOrigin(start=each.start, count=each.count, by=by, turns=numbers, path=each.path, line=each.line)
            )
        origins = await self._read(lambda reads: reads.origins_of_turns(keys))
        return Provenance(lines=lines, turns=[_turn(key, origins[key]) for key in keys], cut=len(taken) > MAX_VERSIONS)


def _real(path: str) -> Path:
    """Without symbolic links in the folders above the file."""
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100  # `..` is resolved as a shell does
    return Path(os.path.realpath(folder)) / name


def _around(reads: Reads, file: Path) -> tuple[list[Project], list[KeptCheckpoint]]:
    """The projects whose folder holds the file, the innermost one last, and the checkpoints of it, oldest first."""
    projects = [msgspec.json.decode(one, type=Project) for one in reads.projects()]
    here = {one.id: one.path for one in projects if one.path is not None and Path(one.path) in file.parents}
    around = sorted((one for one in projects if one.id in here), key=lambda one: len(here[one.id]))
    kept = reads.kept_checkpoints(list(here))
    return around, [one for one in kept if one.in_project and not one.elsewhere]


def _spans(taken: Sequence[KeptCheckpoint]) -> list[Span]:
    befores, spans = dict[Key, int](), list[Span]()
    for number, one in enumerate(taken):
        key = (one.thread_id, one.turn_id or "")
        if one.phase == "before":
            befores[key] = number
        elif one.phase == "after" and key in befores:
            spans.append(Span(key, befores.pop(key), number, sure=True))
    for key, number in befores.items():
        after = next((n for n, one in enumerate(taken) if n > number and one.thread_id == key[0]), len(taken))
        spans.append(Span(key, number, after, sure=taken[number].running))
    return spans


def _author(
    version: int, count: int, spans: list[Span]
) -> tuple[Literal["turn", "perhaps", "between", "since", "earlier"], list[Key]]:
    """What appeared with a version, of so many, and the turns in which that was. The present has the number `count`."""
    if version == 0 and count:
        return "earlier", []
    during = [span for span in spans if span.before < version <= span.after]
    if during:
        is_sure = len(during) == 1 and during[0].sure
        return "turn" if is_sure else "perhaps", [span.key for span in during]
    return "since" if version == count else "between", []


def _turn(key: Key, origin: tuple[str, str, str | None, str | None]) -> TurnOrigin:
    title, started_at, agent, prompt = origin
    return TurnOrigin(thread_id=key[0], turn_id=key[1], title=title, agent=agent, prompt=prompt, started_at=started_at)
