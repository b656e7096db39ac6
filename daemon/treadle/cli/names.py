"""Finds the thread or project that a command line argument names."""

import os
import re

import msgspec

from treadle.domain.entities import Project
from treadle.domain.paths import path_key
from treadle.store.errors import UserError
from treadle.store.ports import Reads
from treadle.store.records import ThreadWork

SHOWN = 5  # how many threads are listed if a prefix is ambiguous
IDS = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # domain/ids.py


class Unclear(UserError):
    """What was named (a thread, project, turn or checkpoint) does not exist, or the name is ambiguous."""


def thread_named(reads: Reads, name: str) -> str:
    """The id of the thread with this id or unique prefix; `last` names the thread that changed last.

    A deleted thread must be named by its full id. Raises Unclear.
    """
    if IDS.fullmatch(name) is None:
        raise Unclear(f"invalid thread id {name!r}: `treadle threads` lists the threads")
    if reads.look_up([("thread", name)])["thread", name] is not None:
        return name
    if name == "last":
        newest = reads.newest_threads(1)
        if not newest:
            raise Unclear("there are no threads yet")
        return str(msgspec.json.decode(newest[0])["id"])
    found = reads.threads_with_prefix(name, SHOWN + 1)
    if not found:
        raise Unclear(f"thread {name!r} not found: `treadle threads` lists the threads")
    if len(found) > 1:
        more = ", …" if len(found) > SHOWN else ""
        raise Unclear(f"{name!r} is ambiguous: it matches {', '.join(found[:SHOWN])}{more}")
    return found[0]


def thread_here(reads: Reads, folder: str) -> str:
    """The id of the thread that changed last in the project of a folder, or of its nearest parent that has one.

    folder: absolute. Archived threads do not count. Raises Unclear.
    """
    real = {os.path.realpath(one.path): one.id for one in _projects(reads) if one.path is not None}
    place = os.path.realpath(folder)
    while place not in real and place != os.path.dirname(place):  # noqa: PTH120
        place = os.path.dirname(place)  # noqa: PTH120
    advice = "name a thread: `treadle threads` lists them"
    if place not in real:
        raise Unclear(f"{folder} is in no project: {advice}")
    newest = reads.thread_list(project_id=real[place], archived=False, limit=1).items
    if not newest:
        raise Unclear(f"the project at {place} has no threads: {advice}")
    return str(msgspec.json.decode(newest[0])["id"])


def thread_work(reads: Reads, name: str | None) -> ThreadWork:
    """The thread with this name, or that of the current folder, and the folder that it works in.

    Raises Unclear, also if the thread was deleted.
    """
    thread_id = thread_here(reads, os.getcwd()) if name is None else thread_named(reads, name)  # noqa: PTH109
    (work,) = reads.work([thread_id])
    if work.deleted:
        raise Unclear(f"thread {thread_id!r} was deleted")
    return work


def _projects(reads: Reads) -> list[Project]:
    return [msgspec.json.decode(project, type=Project) for project in reads.projects()]


def project_named(reads: Reads, name: str) -> str:
    """The id of the project with this id or this folder. Raises Unclear."""
    if IDS.fullmatch(name) and reads.look_up([("project", name)])["project", name] is not None:
        return name
    folder = path_key(os.path.abspath(os.path.expanduser(name)))  # noqa: PTH100, PTH111  # links are not followed
    found = reads.look_up([("path", folder)])["path", folder]
    if found is None:
        raise Unclear(f"project {name!r} not found: give its id or its folder")
    return str(found)
