"""Which thread or project a word of the command line means."""

import os
import re

import msgspec

from treadle.domain.decider import normalized
from treadle.store.errors import UserError
from treadle.store.pages import LATEST
from treadle.store.ports import Reads

SHOWN = 5  # of the threads that a beginning could mean
IDS = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # domain/ids.py


class Unclear(UserError):
    """What was named is not there, or could be several."""


def thread_named(reads: Reads, name: str) -> str:
    """The id of the thread that has this id, or is the only one whose id begins so; `last`: the last one changed.

    One that was deleted has to be named whole. Raises Unclear.
    """
    if IDS.fullmatch(name) is None:
        raise Unclear(f"{name!r} is no id of a thread: `treadle threads` lists them")
    if reads.look_up([("thread", name)])["thread", name] is not None:
        return name
    if name == "last":
        newest = reads.thread_list(None, None, 1, LATEST).items
        if not newest:
            raise Unclear("there is no thread yet")
        return str(msgspec.json.decode(newest[0])["id"])
    found = reads.threads_with_prefix(name, SHOWN + 1)
    if not found:
        raise Unclear(f"there is no thread {name!r}: `treadle threads` lists them")
    if len(found) > 1:
        more = ", …" if len(found) > SHOWN else ""
        raise Unclear(f"{name!r} could be any of {', '.join(found[:SHOWN])}{more}: say more of the id")
    return found[0]


def project_named(reads: Reads, name: str) -> str:
    """The id of the project that has this id, or is this folder. Raises Unclear."""
    if IDS.fullmatch(name) and reads.look_up([("project", name)])["project", name] is not None:
        return name
    folder = normalized(os.path.abspath(os.path.expanduser(name)))  # noqa: PTH100, PTH111  # links are not followed
    found = reads.look_up([("path", folder)])["path", folder]
    if found is None:
        raise Unclear(f"there is no project {name!r}: say its id, or its folder")
    return str(found)
