"""Copies a thread from a log of one's own into a shared one, as one append: all of it or nothing."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from treadle.core.engine import Engine
from treadle.domain import agent_events as a
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.entities import Project
from treadle.domain.errors import Rejected
from treadle.domain.events import StoredEvent
from treadle.domain.scopes import read_scopes
from treadle.domain.state import Key, State
from treadle.store.errors import UserError
from treadle.store.ports import Log, Reads
from treadle.store.sqlite.store import Store

LEFT_OUT = (
    a.AgentAssigned,
    a.ThreadOptionSet,
    a.PromptQueued,
    a.PromptEdited,
    a.PromptMoved,
    a.PromptRemoved,
    a.PromptSent,
    a.QueuePaused,
    a.QueueResumed,
    a.SessionOpened,
    a.SessionChanged,
    a.SessionEnded,
    a.ContextLost,
    a.AuthRequired,
    e.CheckpointCreated,
    e.CheckpointFailed,
    e.CheckpointRestored,
    e.CheckpointPruned,
    e.WorktreeCreated,
    e.WorktreeRemoved,
    e.EventsRedacted,
)
"""What is of this machine: its agents, their queue, what is in its repositories, and sequences of its log."""

PAGE = 500


class SharedCopy(NamedTuple):
    """What was copied. project: where to. events: their number. sequence: of the last one in the shared log."""

    project: Project
    events: int
    sequence: int


class Copied(NamedTuple):
    """Implements DecidedBy: the copy depends on the new thread and its project alone."""

    reads: set[str]
    rejected: list[str]
    folders: dict[str, str]
    of_own_turn: bool = False


def events_to_share(reads: Reads, thread_id: str) -> list[Any]:
    """The events of a thread that others can use. Raises UserError if its turn runs."""
    thread = msgspec.json.decode(reads.header(thread_id))
    if thread["status"] in ("running", "cancelling", "waiting"):
        raise UserError("its turn is running: share the thread once the turn has ended")
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page, after = reads.events(thread_id, after, PAGE)
        found += [msgspec.json.decode(stored, type=StoredEvent).event for stored in page]
    return [_alone(event) for event in found if not isinstance(event, LEFT_OUT)]


async def share(events: list[Any], project: Project, target: Store, engine: Engine) -> SharedCopy:
    """Copy the events of a thread of this project. Raises Rejected if the log has the thread, and StorageError."""
    shared = await _project(project, target, engine)
    created = events[0]
    payloads = [
        e.encode(msgspec.structs.replace(event, project_id=shared.id) if event is created else event)
        for event in events
    ]
    keys: list[Key] = [("thread", created.thread_id), ("project", shared.id)]

    def append(log: Log) -> int | None:
        loaded = log.load(keys, [])
        if loaded.state[keys[0]] is not None:
            raise Rejected("idTaken", "the shared log has the thread already")
        state = State(loaded.sequence)
        state.load(loaded.state)
        return log.append(loaded.sequence, payloads, [], Copied(read_scopes(keys, state), [], {}))

    base = None
    while base is None:  # others have changed the project
        base = await target.write(append)
    return SharedCopy(shared, len(payloads), base + len(payloads))


async def _project(project: Project, target: Store, engine: Engine) -> Project:
    """The project of the shared log with the same remote; it is created if there is none, with the folder as it is."""

    def known(reads: Reads) -> Iterable[Project]:
        return [msgspec.json.decode(one, type=Project) for one in reads.projects()]

    if project.remote is None:
        raise Rejected(
            "noRemote",
            f"the folder of project {project.name!r} has no git remote, by which other machines could find it: add one "
            "(git remote add origin URL), and open it in an editor or with `treadle run`",
        )
    for _ in range(2):
        found = [one for one in await target.read(known) if one.remote == project.remote]
        if found:
            return found[0]
        create = c.CreateProject(name=project.name, path=str(project.path), remote=project.remote)
        try:
            await engine.submit([create]).future
        except Rejected as error:
            if error.kind != "remoteTaken":  # another machine was faster
                raise
    return next(one for one in await target.read(known) if one.remote == project.remote)


def _alone(event: Any) -> Any:
    """The event without what it refers to on this machine."""
    if isinstance(event, e.ThreadCreated):
        return msgspec.structs.replace(event, worktree=False)
    if isinstance(event, e.TurnStarted | e.MessageAdded):
        return msgspec.structs.replace(event, prompt_id=None)
    return event
