"""A replica that has events which the shared log lacks, because the server was restored from a backup, or its standby
took over without them: it is kept as a file, and a new replica is built."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from treadle.store.errors import Refused
from treadle.store.shared.replica import place_of
from treadle.store.sqlite.backup import set_aside
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.runners import Machine, machine_of

KEPT = "rewound-"
AT = "SELECT event_type, thread_id, at FROM events WHERE sequence = ?"  # what an erasure leaves as it is
LAST = "SELECT coalesce(max(sequence), 0) FROM events"
LOST = """
SELECT count(*), count(DISTINCT thread_id), min(at), max(at) FROM events WHERE sequence > ?
"""


class LostEvents(Struct, frozen=True):
    """Events of a replica that the shared log lacks. file: has them. since, until: the times of the first and last."""

    file: str
    events: int
    threads: int
    since: str
    until: str

    def __str__(self) -> str:
        return (
            f"the shared log was rewound and has lost {self.events:,} events in {self.threads:,} threads, from "
            f"{self.since} to {self.until}: they are only in {self.file}. `treadle restore` into another --data-dir "
            "makes them readable"
        )


def set_aside_if_rewound(data_dir: Path, is_alone: Callable[[], bool]) -> Machine | None:
    """Keep a replica that was found to be rewound as another file; return the machine that it was, if so.

    is_alone: whether no other process has it open, which must end first. Raises Refused and sqlite3.Error.
    """
    path = data_dir / FILE_NAME
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)) as db:
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
            return None
        if place_of(db).rewound is None:
            return None
        machine = machine_of(db)
    if not is_alone():
        return None  # reads go on, and writes are refused with what to do
    if set_aside(path, KEPT) is None:
        raise Refused(f"{path} cannot be kept as another file")
    return machine


def lost_events(data_dir: Path) -> list[LostEvents]:
    """What the replicas that were set aside have and this one lacks; raises sqlite3.Error."""
    found = []
    for file in sorted(data_dir.glob(f"{KEPT}*.db")):
        with closing(_read_only(file)) as old, closing(_read_only(data_dir / FILE_NAME)) as new:
            common = _common(old, new)
            count, threads, since, until = old.execute(LOST, (common,)).fetchone()
        if count:
            found.append(LostEvents(str(file), count, threads, since, until))
    return found


def _common(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """The last sequence up to which both have the same events: they have a common beginning, so it can be bisected."""
    low, high = 0, min(db.execute(LAST).fetchone()[0] for db in (old, new))
    while low < high:
        middle = (low + high + 1) // 2
        if old.execute(AT, (middle,)).fetchone() == new.execute(AT, (middle,)).fetchone():
            low = middle
        else:
            high = middle - 1
    return low


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
