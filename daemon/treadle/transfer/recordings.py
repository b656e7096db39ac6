"""Import agent recordings as commands through the engine: `treadle import acp`."""

import asyncio
import hashlib
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from treadle.agents.recording import BadRecording, Frame, SessionMapper, read_frames
from treadle.contract.results import BatchDispatched
from treadle.core.engine import Engine
from treadle.core.idempotency import digest
from treadle.domain.commands import Command, CreateProject
from treadle.domain.errors import Rejected
from treadle.domain.paths import normalized, path_key
from treadle.store.sqlite.store import Store

AT_ONCE = 1_000  # commands submitted at once: fewer than fit into the engine's queue


async def import_acp(file: Path, data_dir: Path) -> int:
    """Import the sessions of a recording; return the exit status. Importing the same file again changes nothing."""
    try:
        name, frames = _read(file)
    except (OSError, BadRecording) as error:
        print(f"treadle: {file}: {error}", file=sys.stderr)
        return 1
    store = await Store.open(data_dir)
    engine = Engine(store, linger=0)
    engine.start()
    try:
        before = await store.read(lambda reads: reads.sequence())
        project_id = await _project(store, engine, _folder(frames, file))
        results: list[BatchDispatched | BaseException] = []
        commands = enumerate(_commands(frames, project_id))
        while some := list(islice(commands, AT_ONCE)):
            answers = [
                engine.submit([c], command_id=f"import-{name}-{i}", digest=digest(msgspec.to_builtins(c))).future
                for i, c in some
            ]
            results += await asyncio.gather(*answers, return_exceptions=True)
        after = await store.read(lambda reads: reads.sequence())
    finally:
        await engine.stop()
        await store.close()
    failed = [result for result in results if isinstance(result, BaseException)]
    for failure in failed[:5]:
        print(f"treadle: not recorded: {failure}", file=sys.stderr)
    was = "" if after > before else ", all of which were there already"
    print(f"{len(frames)} frames, {len(results)} commands{was}; {after - before} new events in project {project_id}")
    return 1 if failed else 0


def _read(file: Path) -> tuple[str, list[Frame]]:
    """A name derived from the content of the file, and its frames."""
    content = file.read_bytes()
    return hashlib.sha256(content).hexdigest()[:32], list(read_frames(content.splitlines()))


def _commands(frames: list[Frame], project_id: str) -> Iterator[Command]:
    mapper = SessionMapper(project_id)
    for frame in frames:
        yield from mapper.feed(frame)
    yield from mapper.end()


def _folder(frames: list[Frame], file: Path) -> str:
    """The working directory of the first session; without one, the folder of the recording."""
    for frame in frames:
        params: Any = frame.msg.get("params")
        if frame.msg.get("method") in ("session/new", "session/load") and isinstance(params, dict):
            folder = params.get("cwd")
            if isinstance(folder, str) and folder.startswith("/"):
                return normalized(folder)
    return str(file.absolute().parent)


async def _project(store: Store, engine: Engine, folder: str) -> str:
    """The id of the folder's project, which is created if it does not exist."""
    path = ("path", path_key(folder))
    found = (await store.read(lambda reads: reads.look_up([path])))[path]
    if found is not None:
        return str(found)
    command = CreateProject(name=Path(folder).name or folder, path=folder)
    try:
        answer = await engine.submit([command]).future
    except Rejected as error:  # another process created it first
        return str(error.details["projectId"])
    created: Any = answer.results[0].events[0]  # JSON that is not decoded
    return str(msgspec.json.decode(created)["event"]["id"])
