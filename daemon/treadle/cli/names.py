"""Which thread or project a word of the command line means."""

import os
import re
import sqlite3

import msgspec

from treadle.domain.paths import path_key
from treadle.store.errors import StorageError
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.reads import LATEST, thread_list
from treadle.store.sqlite.sql import query

SHOWN = 5  # of the threads that a beginning could mean
IDS = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # domain/ids.py
AFTER_IDS = "\x7f"  # comes after every character of an id


class Unclear(StorageError):
    """What was named is not there, or could be several."""


def thread_named(db: sqlite3.Connection, name: str) -> str:
    """The id of the thread that has this id, or is the only one whose id begins so; `last`: the last one changed.

    One that was deleted has to be named whole. Raises Unclear.
    """
    if IDS.fullmatch(name) is None:
        raise Unclear(f"{name!r} is no id of a thread: `treadle threads` lists them")
    if look_up(db, [("thread", name)])["thread", name] is not None:
        return name
    if name == "last":
        newest = thread_list(db, None, None, 1, LATEST).items
        if not newest:
            raise Unclear("there is no thread yet")
        return str(msgspec.json.decode(newest[0])["id"])
    bounds = {"first": name, "beyond": name + AFTER_IDS, "limit": SHOWN + 1}
    found = [str(id) for id, _ in db.execute(query("thread_list_of_prefix"), bounds).fetchall()]
    if not found:
        raise Unclear(f"there is no thread {name!r}: `treadle threads` lists them")
    if len(found) > 1:
        more = ", …" if len(found) > SHOWN else ""
        raise Unclear(f"{name!r} could be any of {', '.join(found[:SHOWN])}{more}: say more of the id")
    return found[0]


def project_named(db: sqlite3.Connection, name: str) -> str:
    """The id of the project that has this id, or is this folder. Raises Unclear."""
    if IDS.fullmatch(name) and look_up(db, [("project", name)])["project", name] is not None:
        return name
    folder = path_key(os.path.abspath(os.path.expanduser(name)))  # noqa: PTH100, PTH111  # links are not followed
    found = look_up(db, [("path", folder)])["path", folder]
    if found is None:
        raise Unclear(f"there is no project {name!r}: say its id, or its folder")
    return str(found)
