"""`treadle doctor` reports what is wrong and what to do, and exits with status 1 if there is a problem."""

import errno
import fcntl
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import wire
from support import plain
from test_bad_days import EXCLUSIVE, Work, fill, limited, linux, locking, own_file_system, pages_of, tear
from treadle.store.sqlite import environment as surroundings
from treadle.store.sqlite.backup import back_up
from treadle.store.sqlite.database import FILE_NAME, FileLock
from treadle.store.sqlite.doctor import examine
from treadle.store.sqlite.environment import Finding


def told(data_dir: Path, *, quick: bool = False) -> Finding:
    """The last finding: where there is a problem, that is it."""
    return list(examine(data_dir, quick=quick))[-1]


def warnings(data_dir: Path) -> list[Finding]:
    found = list(examine(data_dir))
    assert all(finding.verdict != "problem" for finding in found), found
    return [finding for finding in found if finding.verdict == "warning"]


def command_line(data_dir: Path, *limits: object) -> "subprocess.CompletedProcess[str]":
    program = (*wire.TREADLE, "doctor", "--data-dir", str(data_dir))
    return subprocess.run(limited(*limits, program=program), capture_output=True, text=True, timeout=wire.PATIENCE)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("template") / "data"
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        for _ in range(50):
            work.add(1000)
    return data_dir


@pytest.fixture
def used(data_dir: Path, template: Path) -> Path:
    """A data directory with some messages in it, that nobody has open."""
    shutil.copytree(template, data_dir)
    return data_dir


def test_all_checks_pass_for_a_healthy_directory_during_and_after_use(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        running = wire.run("doctor", "--data-dir", str(data_dir))
        assert running.returncode == 0, running
        assert work.add() is None
    before = sorted(path.name for path in data_dir.iterdir())
    after = wire.run("doctor", "--data-dir", str(data_dir))
    assert after.returncode == 0, after
    lines = [line.split(maxsplit=1) for line in after.stdout.splitlines()]
    assert {verdict for verdict, _ in lines} == {"ok"}
    assert [text.split(":")[0] for _, text in lines] == [
        "SQLite",
        "data directory",
        "file system",
        "disk space",
        "locks",
        "files",
        "write-ahead log",
        "database",
        "integrity",
        "lock on the database",
        "schema",
        "event log",
        "running turns",
        "events",
        "projections",
        "agents.json",
        "running agents",
        "worktrees",
        "host",
        "checkpoints",
    ]
    assert sorted(path.name for path in data_dir.iterdir()) == before


def test_quick_does_not_replay_the_log(used: Path) -> None:
    with plain(used) as db:
        db.execute("UPDATE projection_threads SET title = 'another'")
    assert told(used, quick=True).verdict == "ok"
    assert told(used).verdict == "problem"


class Day(NamedTuple):
    """A bad day. spoil: makes it. check, says: the finding that names it."""

    spoil: Callable[[Path], Any]
    check: str
    says: str


def change(data_dir: Path, *statements: str) -> None:
    with plain(data_dir) as db:
        for statement in statements:
            db.execute(statement)


def edit_payload(data_dir: Path, sequence: int, old: bytes, new: bytes) -> None:
    """In the bytes of the file, where nothing watches."""
    assert len(old) == len(new)
    path = data_dir / FILE_NAME
    content = path.read_bytes()
    with plain(data_dir) as db:
        (payload,) = db.execute("SELECT payload FROM events WHERE sequence = ?", (sequence,)).fetchone()
    start = content.index(payload.encode())
    at = content.index(old, start, start + len(payload.encode()))
    path.write_bytes(content[:at] + new + content[at + len(old) :])


def foreign_database(data_dir: Path) -> None:
    (data_dir / FILE_NAME).unlink()
    change(data_dir, "CREATE TABLE photos (id)")


def folder_for_file(data_dir: Path) -> None:
    (data_dir / FILE_NAME).unlink()
    (data_dir / FILE_NAME).mkdir()


def file_for_folder(data_dir: Path) -> None:
    shutil.rmtree(data_dir)
    data_dir.write_text("")


def without_trigger(name: str) -> str:
    return f"DROP TRIGGER {name}"


DAYS = {
    "no directory": Day(shutil.rmtree, "data directory", "there is no "),
    "a file in place of the data directory": Day(
        file_for_folder, "data directory", "is not a folder: choose another --data-dir"
    ),
    "no database": Day(lambda d: (d / FILE_NAME).unlink(), "files", "`treadle serve` makes it"),
    "a folder in place of the database": Day(folder_for_file, "files", "is not a file: choose another"),
    "an empty file": Day(lambda d: (d / FILE_NAME).write_bytes(b""), "database", "an empty database"),
    "no database in the file": Day(
        lambda d: (d / FILE_NAME).write_bytes(b"Dear diary, " * 1000), "database", "`treadle restore FILE` brings back"
    ),
    "another program's database": Day(foreign_database, "database", "some other program's database: choose another"),
    "a torn page of the log": Day(
        lambda d: tear(d, pages_of(d, "events")[3]), "integrity", "it is of events. `treadle restore FILE` brings back"
    ),
    "a torn page of a projection": Day(
        lambda d: tear(d, pages_of(d, "projection_messages")[-1]), "integrity", "it is of projection_messages."
    ),
    "a torn first page": Day(lambda d: tear(d, 1), "database", "the file is damaged: file is not a database."),
    "a row missing from an index": Day(
        lambda d: change(
            d,
            "PRAGMA writable_schema = 1",
            "UPDATE sqlite_schema SET sql = sql || ' WHERE 0' WHERE name = 'idx_turns_thread'",
        ),
        "integrity",
        "idx_turns_thread",
    ),
    "a newer treadle's projections": Day(
        lambda d: change(d, "UPDATE meta SET value = '99' WHERE key = 'projectionVersion'"), "schema", "a newer version"
    ),
    "a newer treadle's migration": Day(
        lambda d: change(d, "INSERT INTO schema_migrations VALUES (999, '999_later', 'x', '')"),
        "schema",
        "has migration 999_later, written by a newer version of treadle",
    ),
    "an edited migration": Day(
        lambda d: change(d, "UPDATE schema_migrations SET checksum = 'x'"), "schema", "`treadle export FILE`"
    ),
    "a gap in the log": Day(
        lambda d: change(d, without_trigger("events_refuse_delete"), "DELETE FROM events WHERE sequence = 7"),
        "event log",
        "some are missing. `treadle restore FILE`",
    ),
    "an event that is not JSON": Day(
        lambda d: edit_payload(d, 9, b'"text"', b'"te\x01t"'), "events", "event 9 cannot be read: JSON is malformed"
    ),
    "an event that is not UTF-8": Day(
        lambda d: edit_payload(d, 9, b"text 5", b"t\xffxt 5"), "events", "event 9 cannot be read: it is not UTF-8"
    ),
    "a row that differs from the log": Day(
        lambda d: change(d, "UPDATE projection_threads SET title = 'another'"),
        "projections",
        "projection_threads has a row that is missing: id t, sequence 2. `treadle verify` shows it, `treadle rebuild`",
    ),
}


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_each_problem_is_reported_with_what_to_do(used: Path, day: Day) -> None:
    day.spoil(used)
    finding = told(used)
    assert (finding.check, finding.verdict) == (day.check, "problem"), finding
    assert day.says in finding.text


def test_a_problem_gives_exit_status_1(used: Path) -> None:
    tear(used, 1)
    done = wire.run("doctor", "--data-dir", str(used))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("PROBLEM  database: the file is damaged")
    assert done.stderr == ""


@own_file_system
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with wire.spawn(data_dir, command=limited("tmpfs", data_dir, 4 << 20)) as daemon:
        daemon.initialize()
        few = command_line(data_dir, "join", daemon.process.pid)
        assert few.returncode == 0, few
        assert "WARNING  disk space" in few.stdout
        fill(Path(f"/proc/{daemon.process.pid}/root{data_dir}/ballast"))
        full = command_line(data_dir, "join", daemon.process.pid)
        assert full.returncode == 1
        assert full.stdout.splitlines()[-1].startswith("PROBLEM  disk space: the disk is full: make room"), full
        assert daemon.finish() == 0


@linux
@pytest.mark.parametrize(
    ("name", "bits", "check"),
    [
        (".", 0o500, "data directory"),
        (FILE_NAME, 0o400, "files"),
        (FILE_NAME, 0, "files"),
        ("opening.lock", 0, "files"),
    ],
)
def test_a_file_without_write_permission_is_reported(used: Path, name: str, bits: int, check: str) -> None:
    path = used / name
    right = path.stat().st_mode
    path.chmod(bits)
    try:
        done = command_line(used, "permissions")
    finally:
        path.chmod(right)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(f"PROBLEM  {check}: {path}"), done
    assert "who owns it" in done.stdout.splitlines()[-1]


def test_files_readable_by_other_users_are_a_warning(used: Path) -> None:
    used.chmod(0o755)
    (used / FILE_NAME).chmod(0o644)
    texts = [finding.text for finding in warnings(used)]
    assert texts == [
        f"others can look into {used}: chmod 700 {used}",
        f"others may read {used / FILE_NAME}: chmod 600 {used / FILE_NAME}",
    ]


def test_a_truncated_wal_is_a_warning(data_dir: Path) -> None:
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        work.add()
        wire.kill(daemon)
    wal = data_dir / f"{FILE_NAME}-wal"
    with wal.open("r+b") as file:
        file.truncate(wal.stat().st_size - 1000)
    texts = [finding.text for finding in warnings(data_dir)]
    assert "SQLite keeps what was committed before the cut" in texts[0]
    assert texts[1] == "1 are of daemons that are gone: the next start interrupts them"


def test_a_database_locked_by_another_program_is_reported(used: Path) -> None:
    with locking(used, *EXCLUSIVE):
        finding = told(used)
    assert (finding.check, finding.verdict) == ("lock on the database", "problem")
    assert finding.text.startswith("another program has locked the database: close it")
    assert told(used).verdict == "ok"


def test_a_database_in_exclusive_locking_mode_is_reported(used: Path) -> None:
    with locking(used, "PRAGMA locking_mode = EXCLUSIVE", *EXCLUSIVE):
        finding = told(used)
    assert (finding.check, finding.verdict) == ("database", "problem")
    assert finding.text.startswith("another program has locked the database: close it")


def test_a_rebuild_by_another_process_is_only_a_warning(used: Path) -> None:
    rebuilding = FileLock(used / "rebuilding.lock")
    rebuilding.acquire()
    with locking(used, *EXCLUSIVE):
        found = warnings(used)
    rebuilding.release()
    assert [finding.text for finding in found] == [
        "a treadle process is rebuilding the projections: writes wait for it"
    ]


def test_a_restore_by_another_process_is_a_warning_to_look_again_later(used: Path) -> None:
    present = FileLock(used / "present.lock")
    present.acquire()
    found = list(examine(used))
    present.release()
    assert [(finding.verdict, finding.check) for finding in found] == [("warning", "data directory")]
    assert "look again later" in found[0].text


def test_projections_of_an_older_treadle_are_a_warning_and_not_compared(used: Path) -> None:
    change(used, "UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
    texts = [finding.text for finding in warnings(used)]
    assert texts == [
        "written by an older version of treadle: the next start upgrades it",
        "not compared: the next start rebuilds them",
    ]


def mounts(kind: str, mount: Path) -> str:
    """proc(5): an escaped path, and a mount on the way to it that is none of ours."""
    escaped = str(mount).replace(" ", r"\040")
    return (
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"22 21 0:44 / {escaped} rw,relatime shared:2 - {kind} server:/home rw\n"
        f"23 21 0:45 / {escaped}-too rw,relatime - tmpfs none rw\n"
    )


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    data_dir = tmp_path / "my home" / "data"
    data_dir.parent.mkdir()
    with wire.serving(data_dir):
        pass
    read_text = Path.read_text

    def read(path: Path, *arguments: Any) -> str:
        is_it = path == Path("/proc/self/mountinfo")
        return mounts(kind, tmp_path.resolve() / "my home") if is_it else read_text(path, *arguments)

    monkeypatch.setattr(Path, "read_text", read)
    found = warnings(data_dir)
    assert [finding.check for finding in found] == ["file system"]
    assert f"is on {kind}" in found[0].text
    assert "use a local disk" in found[0].text


def test_without_proc_the_file_system_is_reported_as_unknown(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, *arguments: Any) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", read)
        assert surroundings.file_system(used) == Finding("file system", "ok", "unknown")


def no_locks(descriptor: Any, operation: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("call", "stand_in"), [("flock", no_locks), ("lockf", no_locks), ("flock", lambda descriptor, operation: None)]
)
def test_file_locks_that_do_not_work_are_reported(
    used: Path, monkeypatch: pytest.MonkeyPatch, call: str, stand_in: Callable[..., None]
) -> None:
    monkeypatch.setattr(fcntl, call, stand_in)
    finding = told(used)
    assert (finding.check, finding.verdict) == ("locks", "problem")
    assert "use a --data-dir on a local disk" in finding.text


def test_an_sqlite_that_is_too_old_is_reported(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    finding = told(used)
    assert (finding.check, finding.verdict) == ("SQLite", "problem")
    assert "use a newer Python" in finding.text


def test_a_differing_row_is_reported_by_its_keys_without_its_text(used: Path) -> None:
    change(used, "UPDATE projection_messages SET role = 'hunter2' WHERE sequence = 9")
    finding = told(used)
    assert "projection_messages has a row that is missing: thread_id t" in finding.text
    assert "sequence 9" in finding.text
    assert "hunter2" not in finding.text


def test_verify_reports_the_table_and_key_of_each_differing_row(used: Path) -> None:
    change(
        used,
        "UPDATE projection_threads SET title = 'another'",
        "DELETE FROM projection_messages WHERE sequence = 9",
        "INSERT INTO settings (key, sequence, value, updated_at) VALUES ('k', 1, '1', '2026-01-01T00:00:00.000Z')",
    )
    done = wire.run("verify", "--data-dir", str(used))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.partition(" row ")[0] for line in lines[:-1]] == [
        "projection_threads: missing",
        "projection_threads: unexpected",
        "projection_messages: missing",
        "settings: unexpected",
    ]
    assert "'title': 't'" in lines[0]
    assert "'title': 'another'" in lines[1]
    assert "'sequence': 9" in lines[2]
    assert "'key': 'k'" in lines[3]
    assert "run `treadle rebuild`" in lines[-1]
    assert wire.run("rebuild", "--data-dir", str(used)).returncode == 0
    assert wire.run("verify", "--data-dir", str(used)).returncode == 0


@pytest.mark.parametrize("command", ["verify", "rebuild", "backup", "doctor"])
def test_every_command_reports_a_damaged_database_without_a_traceback(used: Path, tmp_path: Path, command: str) -> None:
    tear(used, pages_of(used, "events")[3])
    target = tmp_path / "copy.db"
    done = wire.run(command, "--data-dir", str(used), *([str(target)] if command == "backup" else []))
    assert done.returncode == 1
    assert "damaged" in (done.stderr or done.stdout)
    assert "Traceback" not in done.stderr
    assert not target.exists()
    assert not list(tmp_path.glob(".*"))


def test_doctor_and_backup_do_not_disturb_a_running_daemon(data_dir: Path, tmp_path: Path) -> None:
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        for i in range(5):
            assert told(data_dir).verdict == "ok"
            back_up(data_dir, tmp_path / f"{i}.db")
            assert work.add() is None
        wire.kill(daemon)
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        work.check(daemon)
        assert daemon.finish() == 0
    with closing(sqlite3.connect(tmp_path / "4.db")) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (3 + 1 + 4,)
