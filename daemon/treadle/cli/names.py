"""Finds the thread or project that a command line argument names."""

import os
import re
import sqlite3

import msgspec

from treadle.domain.paths import path_key
from treadle.store.errors import StorageError
from treadle.store.sqlite.lookups import look_up
from treadle.store.sqlite.reads import LATEST, thread_list
from treadle.store.sqlite.sql import query

SHOWN = 5  # of the threads that match an ambiguous prefix
IDS = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # domain/ids.py
AFTER_IDS = "\x7f"  # sorts after every character of an id


class Unclear(StorageError):
    """The thread or project that was named does not exist, or the name is ambiguous."""


def thread_named(db: sqlite3.Connection, name: str) -> str:
    """The id of the thread with this id or unique prefix; `last` is the thread that changed last.

    A deleted thread must be named by its full id. Raises Unclear.
    """
    if IDS.fullmatch(name) is None:
        raise Unclear(f"invalid thread id {name!r}: `treadle threads` lists the threads")
    if look_up(db, [("thread", name)])["thread", name] is not None:
        return name
    if name == "last":
        newest = thread_list(db, None, None, 1, LATEST).items
        if not newest:
            raise Unclear("there are no threads yet")
        return str(msgspec.json.decode(newest[0])["id"])
    bounds = {"first": name, "beyond": name + AFTER_IDS, "limit": SHOWN + 1}
    found = [str(id) for id, _ in db.execute(query("thread_list_of_prefix"), bounds).fetchall()]
    if not found:
        raise Unclear(f"thread {name!r} not found: `treadle threads` lists the threads")
    if len(found) > 1:
        more = ", …" if len(found) > SHOWN else ""
        raise Unclear(f"{name!r} is ambiguous: it matches {', '.join(found[:SHOWN])}{more}")
    return found[0]


def project_named(db: sqlite3.Connection, name: str) -> str:
    """The id of the project with this id or this folder. Raises Unclear."""
    if IDS.fullmatch(name) and look_up(db, [("project", name)])["project", name] is not None:
        return name
    folder = path_key(os.path.abspath(os.path.expanduser(name)))  # noqa: PTH100, PTH111  # links are not followed
    found = look_up(db, [("path", folder)])["path", folder]
    if found is None:
        raise Unclear(f"project {name!r} not found: give its id or its folder")
    return str(found)
