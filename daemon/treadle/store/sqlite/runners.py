"""Runners: daemons that run turns. Each holds a lock file for as long as its process lives.

A runner is named `machineId.name`. A lock file says whether a runner of this data directory is alive, and nothing about
the runners of another one, whose events are in this log because it is shared or copied. Of a machine that shares the
log, only its lease tells whether it is there.
"""

import contextlib
import fcntl
import os
import re
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from treadle.store.errors import explained
from treadle.store.ids import new_id
from treadle.store.sqlite.database import FileLock

_NAME = re.compile(r"([0-9a-f]{16})\.[A-Za-z0-9-]{1,64}")
"""Names are read from the log, which may be imported: only a name that matches is used in a path."""


GONE_AFTER = 600.0
"""Seconds after the end of its lease in which a machine may come back: a laptop that slept, a network that failed."""


class Machine(Struct, frozen=True):
    """A data directory, as opposed to others with events in the same log.

    id: random. former: the ids of the directories that this one was copied, restored or imported from: their daemons
    write to another log, so none of them runs a turn of this one.
    """

    id: str
    former: frozenset[str] = frozenset()


def machine_of(connection: sqlite3.Connection) -> Machine:
    """The machine of a database; its id is empty if no daemon has opened the database yet."""
    meta = _meta(connection)
    return Machine(meta.get("machineId", ""), _former(meta))


def identify(connection: sqlite3.Connection, file: int, alone: Callable[[], bool]) -> Machine:
    """The machine of a database, which gets an id if it has none, and another one if it is a copy.

    file: the inode number of the database file. If it differs from the one in the database, the file is a copy. alone:
    whether no other process has the database open. If one has, its turns need the id to stay.
    """
    meta = _meta(connection)
    id = meta.get("machineId")
    if id is None or (meta.get("machineFile") != str(file) and alone()):
        former = _former(meta) if id is None else _former(meta) | {id}
        id = secrets.token_hex(8)
        _store(connection, machineId=id, machineFile=str(file), formerMachineIds=_json(former))
    return machine_of(connection)


def identify_anew(connection: sqlite3.Connection) -> None:
    """Let the next start give the database another machine id, since it is a copy of one that is in use."""
    _store(connection, machineFile="")


def note_former(connection: sqlite3.Connection, runners: set[str]) -> None:
    """Note the machines of these runners as former ones of this database."""
    machines = {match[1] for match in map(_NAME.fullmatch, runners) if match}
    _store(connection, formerMachineIds=_json(machine_of(connection).former | machines))


def note_machine(connection: sqlite3.Connection, machine: Machine) -> None:
    """Note a machine, with its former ones, as a former one of this database."""
    ids = machine_of(connection).former | machine.former | {machine.id}
    _store(connection, formerMachineIds=_json(ids - {""}))


def _meta(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT key, value FROM meta").fetchall())


def _former(meta: dict[str, str]) -> frozenset[str]:
    return msgspec.json.decode(meta.get("formerMachineIds", "[]"), type=frozenset[str])


def _json(ids: frozenset[str]) -> str:
    return msgspec.json.encode(sorted(ids)).decode()


def _store(connection: sqlite3.Connection, **values: str) -> None:
    """Write the values in one statement, so that a crash leaves all of them or none."""
    connection.execute(
        "INSERT INTO meta (key, value) SELECT key, value FROM json_each(?) WHERE true "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (msgspec.json.encode(values).decode(),),
    )


class Runner:
    """This daemon as a runner. It acquires its lock before the first event that names it.

    The kernel releases a flock when the process ends. So a reused process id, a stopped process or a wrong clock cannot
    make a live runner look dead. Names are never reused, so a missing lock file means that the runner is dead.

    away: the seconds since the end of the lease of another machine, by its id; 0 while it holds or if that is unknown.
    """

    def __init__(self, data_dir: Path, machine: Machine) -> None:
        self.machine = machine
        self.name = self._new_name()
        self._folder = data_dir / "runners"
        self._lock: FileLock | None = None
        self.away: Callable[[str], float] = lambda machine_id: 0.0

    def acquire(self) -> None:
        """Acquire the lock file. Required before the first event that names it is appended. Raises StorageError."""
        if self._lock is None:
            lock = FileLock(self._path(self.name))
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                while not (lock.acquire() and lock.path.exists()):
                    # Before we locked the new file, another daemon took it for a stale one and removed it.
                    lock.release()
                    self.name = self._new_name()
                    lock = FileLock(self._path(self.name))
            except OSError as error:
                raise explained(error) from error
            self._lock = lock

    def release(self) -> None:
        """Remove and release the lock file, once no turn of this daemon is running."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # if the file stays, it is not locked
                self._path(self.name).unlink()
            self._lock.release()
            self._lock = None

    def is_gone(self, name: str) -> bool:
        """Whether the runner of this name is dead, or its machine away for long; False if that is unknown."""
        if name == self.name:
            return self._lock is None
        match = _NAME.fullmatch(name)
        if not match or match[1] in self.machine.former:
            return True
        if match[1] != self.machine.id:
            return self.away(match[1]) > GONE_AFTER
        try:
            descriptor = os.open(self._path(name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            # Shared, so that two daemons that check at the same time do not take each other for the runner.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def is_elsewhere(self, name: str | None) -> bool:
        """Whether the runner of this name is one of another machine."""
        match = _NAME.fullmatch(name or "")
        return match is not None and match[1] != self.machine.id and match[1] not in self.machine.former

    def is_away(self, name: str) -> bool:
        """Whether the runner of this name is on another machine, which is not there now."""
        return self.is_elsewhere(name) and self.away(name.partition(".")[0]) > 0

    def left_behind(self) -> set[str]:
        """Dead runners that did not remove their lock file, whether they ran a turn or not."""
        names = {path.stem for path in self._folder.glob("*.lock")}
        return {name for name in names if name != self.name and self.is_gone(name)}

    def forget(self, name: str) -> None:
        """Remove the lock file of a dead runner; does nothing if the runner is alive."""
        if not _NAME.fullmatch(name):
            return
        path = self._path(name)
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                # Locked while it is removed: a runner that has just created it fails to lock it, or finds it missing,
                # and creates another one.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)

    def _new_name(self) -> str:
        return f"{self.machine.id}.{new_id()}"

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
