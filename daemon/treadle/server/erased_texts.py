"""What is taken of texts before they are erased: samples to search for afterwards, and where else the texts may be."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from treadle.core.access import Read
from treadle.domain.commands import Command, EraseThread, Redact
from treadle.domain.samples import samples_of, samples_of_removed
from treadle.store.ports import Reads

PAGE = 500
"""Events that are read at once."""


class Before(Struct, frozen=True):
    """thread_id: of the thread. whole: whether all of it is erased. samples: of its texts. not_ours: see Receipt.

    sessions: what agents and tools call its sessions, with the name of the tool: they have files of their own.
    """

    thread_id: str
    whole: bool
    samples: list[bytes]
    not_ours: list[str]
    sessions: list[tuple[str, str]] = []


def erasing(commands: Sequence[Command]) -> list[EraseThread | Redact]:
    """Those of the commands that erase something."""
    return [command for command in commands if isinstance(command, EraseThread | Redact)]


async def taken_before(read: Read, command: EraseThread | Redact) -> Before:
    """What there is before a command erases it. Of a thread that does not exist there is nothing."""
    before: Before = await read(lambda reads: _look(reads, command))
    files = await asyncio.to_thread(_files_of_sessions, before) if before.sessions else []
    return msgspec.structs.replace(before, not_ours=[*dict.fromkeys([*before.not_ours, *files])])


def _look(reads: Reads, command: EraseThread | Redact) -> Before:
    thread_id = command.thread_id
    stored = _events(reads, thread_id)
    if isinstance(command, Redact):
        wanted = {one.sequence: one.members for one in command.events}
        samples = [
            sample
            for sequence, event in stored
            if sequence in wanted
            for sample in samples_of_removed(event, event | wanted[sequence])
        ]
        return Before(thread_id, False, samples, [], [])
    events = [event for _, event in stored]
    return Before(thread_id, True, samples_of(events), _not_ours(reads, events), _sessions(events))


def _events(reads: Reads, thread_id: str) -> list[tuple[int, dict[str, object]]]:
    found, after = [], 0
    while True:
        items, last = reads.events(thread_id, after, PAGE)
        for item in items:
            stored = msgspec.json.decode(item)
            found.append((stored["sequence"], stored["event"]))
        if last is None:
            return found
        after = last


def _sessions(events: list[dict[str, object]]) -> list[tuple[str, str]]:
    found = dict[tuple[str, str], None]()
    for event in events:
        origin = event.get("origin")
        if event["type"] == "ThreadCreated" and isinstance(origin, dict) and "sessionId" in origin:
            found[str(origin.get("tool")), str(origin["sessionId"])] = None
        elif event["type"] == "SessionOpened":
            found[str(event.get("agent")), str(event.get("sessionId"))] = None
    return [*found]


def _not_ours(reads: Reads, events: list[dict[str, object]]) -> list[str]:
    found = []
    checkpoints = sum(event["type"] == "CheckpointCreated" for event in events)
    created = next((event for event in events if event["type"] == "ThreadCreated"), None)
    if created is not None:
        project = reads.entities("project", None, [str(created["projectId"])])
        path = msgspec.json.decode(project[str(created["projectId"])])["path"] if project else "its project"
        if checkpoints:
            found.append(
                f"{path}: git keeps the files of {checkpoints} checkpoints until it collects its garbage: `git gc "
                "--prune=now`"
            )
        origin = created.get("origin")
        if isinstance(origin, dict) and origin.get("source"):
            found.append(str(origin["source"]))
    return found


def _files_of_sessions(before: Before) -> list[str]:
    """The files of tools that are named after a session of the thread. Looks at names alone."""
    from treadle.agents.known import known_name
    from treadle.transfer.sources.tools import SOURCES

    found = list[str]()
    for tool, id in before.sessions:
        source = SOURCES.get(known_name(tool) or tool)
        if source is None or source.files is None or len(id) < 8:
            continue
        try:
            found += [str(file) for file in source.files(source.home(os.environ, Path.home())) if id in file.name]
        except (OSError, RuntimeError):
            continue
    return found
