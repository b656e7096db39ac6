"""Check a data directory for problems, and say what to do about each: `treadle doctor`."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from treadle.domain.events import decode
from treadle.store.errors import NewerDatabase, StorageError, UserError, explained, said
from treadle.store.sqlite import environment as surroundings
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.copies import folder_for_copy
from treadle.store.sqlite.database import APPLICATION_ID, FILE_NAME, PRESENT, SHARED_LOG, FileLock
from treadle.store.sqlite.environment import Finding
from treadle.store.sqlite.runners import Runner, machine_of
from treadle.store.sqlite.sql import query
from treadle.store.sqlite.store import REBUILDING

KEYS = ("thread_id", "id", "key", "message", "sequence")  # columns
WAL_HEADER, FRAME_HEADER = 32, 24  # bytes (sqlite.org/fileformat2.html, section 4.1)


def examine(data_dir: Path, *, quick: bool = False) -> Iterator[Finding]:
    """The findings of all checks. Each check relies on the ones before it, so the first problem ends the list.

    Changes nothing, except that SQLite recovers a WAL when it opens the file. quick: do not replay the log.
    """
    present = FileLock(data_dir / PRESENT)
    try:
        with contextlib.suppress(OSError):  # a problem with the folder or the file is reported below
            if present.path.exists() and not present.acquire(shared=True):
                yield Finding(
                    "data directory",
                    "warning",
                    f"another treadle process is restoring or upgrading {data_dir}: look again later",
                )
                return
        yield from _examine(data_dir, quick)
    finally:
        present.release()


def _examine(data_dir: Path, quick: bool) -> Iterator[Finding]:
    checks: list[tuple[str, Callable[[Path], Finding]]] = [
        ("SQLite", surroundings.sqlite),
        ("data directory", surroundings.directory),
        ("file system", surroundings.file_system),
        ("disk space", surroundings.space),
        ("locks", surroundings.locks),
        ("files", surroundings.files),
        ("write-ahead log", _wal),
        ("database", _opens),
        ("integrity", _integrity),
        ("lock on the database", _unlocked),
        ("schema", _schema),
        ("event log", _log),
        ("running turns", _turns),
    ]
    if (data_dir / SHARED_LOG).exists():
        checks.append(("shared log", _shared))
    if not quick:
        checks += [("events", _events), ("projections", _projections)]
    for name, check in checks:
        try:
            finding = check(data_dir)
        except StorageError as error:
            finding = Finding(name, "problem", str(error))
        except sqlite3.Error as error:
            is_damage = explained(error).kind == "databaseCorrupt"
            finding = _damaged(data_dir, name, said(error)) if is_damage else _told(name, error)
        except OSError as error:
            finding = _told(name, error)
        yield finding
        if finding.verdict == "problem":
            return


def _told(check: str, error: sqlite3.Error | OSError) -> Finding:
    return Finding(check, "problem", str(explained(error)))


def _damaged(data_dir: Path, check: str, how: str) -> Finding:
    return Finding(
        check,
        "problem",
        f"the file is damaged: {how}. `treadle restore FILE` brings back a copy; copies are kept as "
        f"{data_dir}/before-*.db",
    )


def _wal(data_dir: Path) -> Finding:
    """Check the WAL by its size, since only SQLite may open it. A file cut off between two frames is not noticed."""
    path = data_dir / f"{FILE_NAME}-wal"
    size = path.stat().st_size if path.exists() else 0
    try:
        with closing(_connect(data_dir)) as db:
            page_size = db.execute("PRAGMA page_size").fetchone()[0]
    except sqlite3.DatabaseError:
        return Finding("write-ahead log", "ok", f"{size:,} bytes")  # the check of the database reports the problem
    if size and (size < WAL_HEADER or (size - WAL_HEADER) % (FRAME_HEADER + page_size)):
        return Finding(
            "write-ahead log",
            "warning",
            f"{path} has {size:,} bytes, which is no whole number of frames: it was cut off, by a full disk or from "
            "outside. SQLite keeps what was committed before the cut",
        )
    return Finding("write-ahead log", "ok", f"{size:,} bytes")


def _connect(data_dir: Path) -> sqlite3.Connection:
    uri = f"{(data_dir / FILE_NAME).resolve().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=1.0)


def _opens(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID:
        whose = "some other program's" if tables else "an empty"
        return Finding("database", "problem", f"it is {whose} database: choose another --data-dir")
    return Finding("database", "ok", "it is treadle's")


def _integrity(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        try:
            # Limit 1: sqlite3 reads one row ahead, and if that raises, the row before it is lost.
            (problem,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.OperationalError:  # a generated column of an event that is not valid JSON
            if (finding := _events(data_dir)).verdict == "problem":
                return finding
            raise
        if problem == "ok":
            return Finding("integrity", "ok", "every page and index is whole")
        tables = ", ".join(_damaged_tables(db)) or "no table that could be told"
    return _damaged(data_dir, "integrity", f"{problem.splitlines()[-1]}; it is of {tables}")


def _damaged_tables(db: sqlite3.Connection) -> Iterator[str]:
    for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
        try:
            whole = db.execute("SELECT integrity_check FROM pragma_integrity_check(?)", (name,)).fetchone() == ("ok",)
        except sqlite3.DatabaseError:
            whole = False
        if not whole:
            yield name


def _unlocked(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            rebuilding = FileLock(data_dir / REBUILDING)
            try:
                if rebuilding.path.exists() and not rebuilding.acquire(shared=True):
                    text = "a treadle process is rebuilding the projections: writes wait for it"
                    return Finding("lock on the database", "warning", text)
            finally:
                rebuilding.release()
            return _told("lock on the database", error)
    return Finding("lock on the database", "ok", "it can be written")


def _schema(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        todo = migrations.pending(db)
        try:
            current = not todo and projections.is_current(db)
        except NewerDatabase as error:
            return Finding("schema", "problem", str(error))
    if not current:
        return Finding("schema", "warning", "written by an older version of treadle: the next start upgrades it")
    return Finding("schema", "ok", f"projections of version {projections.VERSION}")


def _log(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        count, first, last = db.execute(query("log_extent")).fetchone()
    if count and (first != 1 or last != count):
        return Finding(
            "event log",
            "problem",
            f"{count:,} events from {first} to {last}: some are missing. `treadle restore FILE` brings back a copy",
        )
    return Finding("event log", "ok", f"{count:,} events without a gap")


def runner_of(data_dir: Path) -> Runner:
    """A runner that knows which other runners are alive. Raises StorageError."""
    try:
        with closing(_connect(data_dir)) as db:
            return Runner(data_dir, machine_of(db))
    except sqlite3.Error as error:
        raise explained(error) from error


def _turns(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        runner = Runner(data_dir, machine_of(db))
        turns = db.execute(query("running_turns")).fetchall()
    gone = [turn for turn in turns if runner.is_gone(turn[2])]
    if gone:
        return Finding(
            "running turns", "warning", f"{len(gone)} are of daemons that are gone: the next start interrupts them"
        )
    elsewhere = sum(not turn[2].startswith(f"{runner.machine.id}.") for turn in turns)
    here = f"{len(turns) - elsewhere}, each of a daemon that lives"
    others = f"; {elsewhere} of other machines, which only they can judge" if elsewhere else ""
    return Finding("running turns", "ok", here + others)


def _shared(data_dir: Path) -> Finding:
    """What the process that follows the log has said last, and what a log that was rewound has lost."""
    from treadle.store.shared.config import read_config
    from treadle.store.shared.status import read_status

    status = read_status(data_dir, read_config(data_dir))
    try:
        from treadle.store.shared.rewound import lost_events
    except UserError as error:
        return Finding("shared log", "problem", str(error))
    lost = lost_events(data_dir)
    if lost or status.problem:
        return Finding("shared log", "warning", "; ".join([*map(str, lost), *filter(None, [status.problem])]))
    there = sum(machine.is_there for machine in status.machines)
    return Finding("shared log", "ok", f"of service {status.service!r}; {there} machines are there")


def _events(data_dir: Path) -> Finding:
    count = 0
    with closing(_connect(data_dir)) as db:
        db.text_factory = bytes
        for sequence, payload in db.execute("SELECT sequence, payload FROM events ORDER BY sequence"):
            try:
                decode(payload.decode())
            except (UnicodeDecodeError, msgspec.DecodeError) as error:
                why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                return _damaged(data_dir, "events", f"event {sequence} cannot be read: {why}")
            count += 1
    return Finding("events", "ok", f"each of {count:,} can be read")


def _projections(data_dir: Path) -> Finding:
    with closing(_connect(data_dir)) as db:
        if migrations.pending(db) or not projections.is_current(db):
            return Finding("projections", "warning", "not compared: the next start rebuilds them")
    with folder_for_copy("doctor-", data_dir) as folder:
        total, differences = projections.verify(data_dir / FILE_NAME, folder / "copy.db")
    if differences:
        first = differences[0]
        # Only its keys: people share the output of `treadle doctor`.
        row = ", ".join(f"{name} {first.row[name]}" for name in KEYS if name in first.row)
        return Finding(
            "projections",
            "problem",
            f"{first.table} has a row that is {first.side}: {row}. `treadle verify` shows it, `treadle rebuild` "
            "rebuilds the tables",
        )
    return Finding("projections", "ok", f"every row is what {total:,} events say")
