"""`treadle backup` makes a consistent copy while daemons write, and `treadle restore` puts it back."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import wire
from support import plain
from test_bad_days import Work, fill, limited, linux, locking, own_file_system, pages_of, tear
from treadle.core.engine import Engine
from treadle.domain.commands import ChangeSetting
from treadle.store.errors import Refused
from treadle.store.sqlite import projections
from treadle.store.sqlite.backup import back_up, restore
from treadle.store.sqlite.database import APPLICATION_ID, FILE_NAME, FileLock
from treadle.store.sqlite.store import Store

KILL_AT = Path(__file__).parent / "fixtures" / "kill_at.py"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def log_of(path: Path) -> list[tuple[int, str]]:
    """The log of a database file that needs no file beside it."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as db:
        return db.execute("SELECT sequence, payload FROM events ORDER BY sequence").fetchall()


def live_log(data_dir: Path) -> list[tuple[int, str]]:
    with plain(data_dir) as db:
        return db.execute("SELECT sequence, payload FROM events ORDER BY sequence").fetchall()


def assert_whole(path: Path, tmp_path: Path) -> None:
    """One private file, whole in itself, whose projections are what its log says."""
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes()[18:20] == b"\x01\x01", "it needs a WAL (sqlite.org/fileformat2.html, 1.3.3)"
    assert not list(path.parent.glob(f"*{path.name}?*"))
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    log = log_of(path)
    assert [sequence for sequence, _ in log] == list(range(1, len(log) + 1))
    copy = tmp_path / f"replayed-{path.name}"
    total, differences = projections.verify(path, copy)
    copy.unlink()
    assert (total, differences) == (len(log), [])


def setting(data_dir: Path, value: str) -> None:
    """A data directory whose log says that."""

    async def change() -> None:
        store = await Store.open(data_dir, durability="normal")
        engine = Engine(store, linger=0)
        engine.start()
        await engine.submit([ChangeSetting(key="which", value=value)]).future
        await engine.stop()
        await store.close()

    asyncio.run(change())


def value_of(data_dir: Path) -> Any:
    """What it says, to any program that reads it."""
    with plain(data_dir) as db:
        return json.loads(db.execute("SELECT value FROM settings WHERE key = 'which'").fetchone()[0])


# Backup


def test_a_backup_is_a_snapshot_of_its_start_despite_concurrent_writes(
    data_dir: Path, target: Path, tmp_path: Path
) -> None:
    with wire.serving(data_dir) as one, wire.serving(data_dir) as two:
        work = Work(one)
        work.begin()
        for _ in range(24):
            work.add(500_000)
        before = live_log(data_dir)
        steps = []

        def write(done: int, total: int) -> None:
            steps.append((done, total))
            assert work.add(100_000) is None
            two.dispatch("ChangeSetting", key="k", value=len(steps))

        size = back_up(data_dir, target, write)
        assert len(steps) > 2
        assert [total for _, total in steps] == [steps[0][1]] * len(steps)
        assert [done for done, _ in steps] == sorted({done for done, _ in steps}), "it began anew"
        assert size == target.stat().st_size
        work.check()
    assert log_of(target) == before
    assert live_log(data_dir)[: len(before)] == before
    assert_whole(target, tmp_path)


def test_a_backup_made_while_two_daemons_write_is_consistent(data_dir: Path, target: Path, tmp_path: Path) -> None:
    with wire.serving(data_dir) as one, wire.serving(data_dir) as two:
        work = Work(one)
        work.begin()
        for _ in range(8):
            work.add(500_000)
        acknowledged = len(work.kept)
        command = [*wire.TREADLE, "backup", "--data-dir", str(data_dir), str(target)]
        asked: list[tuple[wire.Daemon, int]] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as backup:
            while backup.poll() is None:
                for daemon in (one, two):
                    change = {"type": "ChangeSetting", "key": "k", "value": len(asked)}
                    asked.append((daemon, daemon.request("command/dispatch", change)))
                    daemon.answer(asked[-1][1])
            assert backup.stdout is not None
            assert backup.stdout.read() == f"backed up to {target}: {target.stat().st_size:,} bytes\n"
        assert backup.returncode == 0
        log = log_of(target)
        assert acknowledged <= len(log) <= len(live_log(data_dir))
        assert live_log(data_dir)[: len(log)] == log
    assert_whole(target, tmp_path)


def test_a_backup_does_not_overwrite_an_existing_file(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    target.write_text("mine")
    with pytest.raises(Refused, match="already exists: choose a new name"):
        back_up(data_dir, target)
    assert target.read_text() == "mine"


def test_a_backup_without_a_database_is_refused(data_dir: Path, target: Path) -> None:
    with pytest.raises(Refused, match="no treadle database in"):
        back_up(data_dir, target)
    assert not target.exists()


def test_a_backup_into_a_missing_folder_is_refused(data_dir: Path, tmp_path: Path) -> None:
    setting(data_dir, "old")
    with pytest.raises(Refused, match="it does not exist: check"):
        back_up(data_dir, tmp_path / "nowhere" / "copy.db")


def test_a_backup_of_a_damaged_database_is_refused_and_leaves_no_file(data_dir: Path, tmp_path: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        for _ in range(30):
            work.add(1000)
    tear(data_dir, pages_of(data_dir, "events")[2])
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(Refused, match=r"treadle\.db is damaged|treadle\.db cannot be copied") as refused:
        back_up(data_dir, folder / "copy.db")
    assert refused.value.kind == "databaseCorrupt"
    assert list(folder.iterdir()) == []


@own_file_system
def test_a_backup_to_a_full_disk_is_refused_and_leaves_no_file(data_dir: Path, tmp_path: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        work.add(1_000_000)
    folder = tmp_path / "small"
    folder.mkdir()
    list_too = f"{sys.executable} -m treadle backup --data-dir {data_dir} {folder}/copy.db; ls -A {folder}"
    done = subprocess.run(
        limited("tmpfs", folder, 1 << 20, program=("sh", "-c", list_too)), capture_output=True, text=True
    )
    assert "the disk is full: make room" in done.stderr
    assert done.stdout == ""


def test_a_backup_is_refused_during_a_restore(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    present = FileLock(data_dir / "present.lock")
    present.acquire()
    with pytest.raises(Refused, match="restoring or upgrading"):
        back_up(data_dir, target)
    present.release()
    back_up(data_dir, target)


def lines_of_kills(function: str, data_dir: Path, file: Path, stride: int) -> list[list[str]]:
    """Of each kill: the step at which it came, and what was found."""
    done = subprocess.run(
        [sys.executable, str(KILL_AT), function, str(data_dir), str(file)],
        env={**os.environ, "STRIDE": str(stride)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("; ") for line in done.stdout.splitlines()]
    assert lines[-1][0] == "end"
    assert len(lines) > 20
    return lines


@linux
def test_a_backup_killed_at_any_step_leaves_no_partial_file(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    lines = lines_of_kills("back_up", data_dir, target, 13)
    for step, database, file, *_ in lines:
        assert database == '"old"', step
        assert file in ("file none", 'file "old"'), step
    assert lines[0][2] == "file none"
    assert lines[-1][2] == 'file "old"'


# Restore


def refused(data_dir: Path, source: Path) -> Refused:
    """A restore that is refused, and changes nothing."""
    before = {path: path.read_bytes() for path in data_dir.iterdir() if path.suffix == ".db"}
    with pytest.raises(Refused) as error:
        restore(data_dir, source)
    assert {path: path.read_bytes() for path in data_dir.iterdir() if path.suffix == ".db"} == before
    assert not list(data_dir.glob(".*")), "half a copy is left"
    return error.value


def test_a_restore_replaces_the_database_and_keeps_the_previous_one(
    data_dir: Path, target: Path, tmp_path: Path
) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    setting(data_dir, "new")
    done = wire.run("restore", "--data-dir", str(data_dir), str(target))
    assert done.returncode == 0, done
    (kept,) = data_dir.glob("before-restore-*.db")
    assert done.stdout == f"restored {target}; the previous database is kept as {kept}\n"
    assert value_of(data_dir) == "old"
    assert_whole(kept, tmp_path)
    assert [payload for _, payload in log_of(kept)][-1].endswith('"value":"new"}')
    # And back again.
    restore(data_dir, kept)
    assert value_of(data_dir) == "new"
    assert wire.run("verify", "--data-dir", str(data_dir)).returncode == 0
    assert {path.stat().st_mode & 0o777 for path in data_dir.iterdir() if path.is_file()} == {0o600}


def test_a_backup_can_be_restored_into_a_new_data_directory(data_dir: Path, target: Path, tmp_path: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    elsewhere = tmp_path / "new home" / "data"
    elsewhere.parent.mkdir()
    assert restore(elsewhere, target) is None
    assert value_of(elsewhere) == "old"
    assert elsewhere.stat().st_mode & 0o777 == 0o700


def test_a_restore_keeps_what_a_killed_daemon_left_in_the_wal(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.dispatch("ChangeSetting", key="which", value="new")
        wire.kill(daemon)
    assert (data_dir / f"{FILE_NAME}-wal").stat().st_size > 0
    kept = restore(data_dir, target)
    assert kept is not None
    assert log_of(kept)[-1][1].endswith('"value":"new"}')
    assert value_of(data_dir) == "old"


def test_a_restore_replaces_a_damaged_database_and_keeps_it_with_its_wal(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.dispatch("ChangeSetting", key="which", value="new")
        wire.kill(daemon)
    wal = (data_dir / f"{FILE_NAME}-wal").read_bytes()
    (data_dir / FILE_NAME).write_bytes(b"\xa5" * 8192)
    kept = restore(data_dir, target)
    assert kept is not None
    assert kept.read_bytes() == b"\xa5" * 8192
    assert kept.with_name(kept.name + "-wal").read_bytes() == wal
    assert value_of(data_dir) == "old"


def test_a_client_of_the_previous_log_gets_a_snapshot_after_a_restore(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="which", value="new")
        knows = daemon.result("subscription/open", {"topic": "settings"})
    resume = {"topic": "settings", "logId": knows["logId"]}
    with wire.serving(data_dir) as daemon:
        assert daemon.result("subscription/open", {**resume, "afterSequence": 1})["type"] == "changes"
    restore(data_dir, target)
    with wire.spawn(data_dir) as daemon:
        assert daemon.initialize()["logId"] != knows["logId"]
        # Sequence 1 is in both logs, and not the same in both for all that a daemon knows.
        opened = daemon.result("subscription/open", {**resume, "afterSequence": 1})
        assert opened["logId"] != knows["logId"]
        assert [item["value"] for item in opened["snapshot"]["settings"]] == ["old"]
        assert daemon.finish() == 0


def test_each_restore_of_a_backup_gets_its_own_log_id(data_dir: Path, target: Path, tmp_path: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    ids = set()
    for folder in (data_dir, tmp_path / "one", tmp_path / "two"):
        if folder != data_dir:
            restore(folder, target)
        with wire.spawn(folder) as daemon:
            ids.add(daemon.initialize()["logId"])
            assert daemon.finish() == 0
    assert len(ids) == 3


def test_turns_that_ran_when_the_copy_was_made_are_interrupted_here_and_on_another_machine(
    data_dir: Path, target: Path, tmp_path: Path
) -> None:
    with wire.serving(data_dir) as daemon:
        machines = {daemon.result("daemon/status")["machineId"]}
        work = Work(daemon)
        work.begin()
        back_up(data_dir, target)
        restore(elsewhere := tmp_path / "elsewhere", target)
        with wire.serving(elsewhere) as other:
            assert statuses(other) == ["interrupted"]
            machines.add(other.result("daemon/status")["machineId"])
        assert work.add() is None
        assert statuses(daemon) == ["running"]
    restore(data_dir, target)
    with wire.serving(data_dir) as daemon:
        assert statuses(daemon) == ["interrupted"]
        machines.add(daemon.result("daemon/status")["machineId"])
    assert len(machines) == 3


def statuses(daemon: wire.Daemon) -> list[str]:
    return [turn["status"] for turn in daemon.result("turn/list", {"threadId": "t"})["items"]]


def test_a_restore_is_refused_while_a_daemon_is_running(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    with wire.serving(data_dir) as daemon:
        assert "close the editors that use it" in str(refused(data_dir, target))
        daemon.dispatch("ChangeSetting", key="which", value="new")
    assert value_of(data_dir) == "new"
    restore(data_dir, target)


@pytest.mark.parametrize("statement", ["BEGIN EXCLUSIVE", "SELECT count(*) FROM events"])
def test_a_restore_is_refused_while_another_program_has_the_database_open(
    data_dir: Path, target: Path, statement: str
) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.dispatch("ChangeSetting", key="which", value="new")
        wire.kill(daemon)
    with locking(data_dir, statement):
        error = refused(data_dir, target)
        assert error.kind == "databaseLocked"
        assert "another program has locked the database: close it" in str(error)
    assert value_of(data_dir) == "new"
    restore(data_dir, target)


def test_a_restore_is_refused_while_a_backup_runs(data_dir: Path, target: Path, tmp_path: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    refusals = []

    def meanwhile(done: int, total: int) -> None:
        refusals.append(wire.run("restore", "--data-dir", str(data_dir), str(target)))

    back_up(data_dir, tmp_path / "second.db", meanwhile)
    assert refusals[0].returncode == 1
    assert "close the editors" in refusals[0].stderr


def spoiled(change: Callable[[sqlite3.Connection], Any]) -> Callable[[Path], None]:
    def spoil(copy: Path) -> None:
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            change(db)

    return spoil


def text(copy: Path) -> None:
    copy.write_bytes(b"Dear diary, " * 1000)


def foreign(copy: Path) -> None:
    copy.unlink()
    with closing(sqlite3.connect(copy)) as db:
        db.execute("CREATE TABLE photos (id)")


def torn(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[-4096:] = b"\xa5" * 4096
    copy.write_bytes(content)


SPOILS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "no file": (Path.unlink, "databaseRefused", "does not exist"),
    "a text file": (text, "databaseCorrupt", "not a database"),
    "an empty file": (lambda copy: copy.write_bytes(b""), "databaseRefused", "is not a treadle database"),
    "another program's database": (foreign, "databaseRefused", "is not a treadle database"),
    "a torn page": (torn, "databaseCorrupt", "damaged"),
    "a truncated file": (lambda copy: os.truncate(copy, copy.stat().st_size // 2), "databaseCorrupt", "damaged"),
    "a newer treadle's projections": (
        spoiled(lambda db: db.execute("UPDATE meta SET value = '99' WHERE key = 'projectionVersion'")),
        "databaseNewer",
        "a newer version",
    ),
    "a newer treadle's migration": (
        spoiled(lambda db: db.execute("INSERT INTO schema_migrations VALUES (999, '999_later', 'x', '')")),
        "databaseNewer",
        "a newer version",
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "says"), SPOILS.values(), ids=SPOILS)
def test_restoring_a_damaged_newer_or_foreign_file_is_refused(
    data_dir: Path, target: Path, spoil: Callable[[Path], Any], kind: str, says: str
) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    setting(data_dir, "new")
    spoil(target)
    error = refused(data_dir, target)
    assert error.kind == kind, error
    assert says in str(error)
    assert str(target) in str(error)
    assert value_of(data_dir) == "new"


def test_a_backup_from_an_older_treadle_can_be_restored_and_upgraded(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    spoiled(lambda db: db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'"))(target)
    restore(data_dir, target)
    assert value_of(data_dir) == "old"
    assert wire.run("verify", "--data-dir", str(data_dir)).returncode == 1, "verify changes nothing"
    assert wire.run("rebuild", "--data-dir", str(data_dir)).returncode == 0
    assert wire.run("verify", "--data-dir", str(data_dir)).returncode == 0


@own_file_system
def test_a_restore_to_a_full_disk_is_refused_and_changes_nothing(data_dir: Path, target: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        work.add(1_000_000)
        back_up(data_dir, target)
    small = data_dir.with_name("small")
    small.mkdir()
    with wire.spawn(small, command=limited("tmpfs", small, 2 << 20)) as daemon:
        daemon.initialize()
        daemon.dispatch("ChangeSetting", key="which", value="new")
        inside = Path(f"/proc/{daemon.process.pid}/root{small}")
        fill(inside / "ballast")
        # The daemon stays for the file system's sake. That it has the database open must not be seen.
        (inside / "present.lock").unlink()
        program = (*wire.TREADLE, "restore", "--data-dir", str(small), str(target))
        done = subprocess.run(
            limited("join", daemon.process.pid, program=program), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert "the disk is full: make room" in done.stderr, done
        assert not list(inside.glob(".*"))
        assert not list(inside.glob("before-*"))
        (inside / "ballast").unlink()
        daemon.dispatch("ChangeSetting", key="which", value="newer")
        assert daemon.finish() == 0


@linux
@pytest.mark.parametrize("with_wal", [True, False])
def test_a_restore_killed_at_any_step_leaves_the_old_or_the_new_database(
    data_dir: Path, tmp_path: Path, with_wal: bool
) -> None:
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        daemon.dispatch("ChangeSetting", key="which", value="old")
        if with_wal:
            wire.kill(daemon)
        else:
            assert daemon.finish() == 0
    other = tmp_path / "other"
    setting(other, "new")
    lines = lines_of_kills("restore", data_dir, other / FILE_NAME, 31)
    databases = [line[1] for line in lines]
    assert set(databases) == {'"old"', '"new"'}
    assert databases == sorted(databases, reverse=True), "once restored, it stays so"
    for step, database, *found in lines:
        if database == '"new"':
            assert 'kept "old"' in found, step
        assert 'file "new"' in found, step
        assert step == "end" or found[-1] == 'again "new"', step


def test_a_backup_has_the_application_id_in_its_header(data_dir: Path, target: Path) -> None:
    setting(data_dir, "old")
    back_up(data_dir, target)
    assert int.from_bytes(target.read_bytes()[68:72], "big") == APPLICATION_ID
