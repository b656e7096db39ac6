"""Full disks, damaged files and foreign locks: each error says what to do, nothing refused is stored, nothing
acknowledged is lost, and the same daemon recovers when the cause is gone."""

import errno
import fcntl
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import support
import wire
from support import needs
from treadle.core.engine import Engine
from treadle.store.sqlite import database
from treadle.store.sqlite.database import FILE_NAME

LIMITS = Path(__file__).parent / "fixtures" / "limits.py"

linux = pytest.mark.skipif(sys.platform != "linux", reason="prlimit, capabilities and mount namespaces are Linux's")


def can_mount() -> bool:
    """Whether this user may have a file system of its own: root, or where user namespaces are allowed."""
    probe = [sys.executable, str(LIMITS), "tmpfs", "/tmp", "65536", "--", "true"]
    return sys.platform == "linux" and subprocess.run(probe, capture_output=True).returncode == 0


own_file_system = pytest.mark.skipif(not can_mount(), reason="no mount namespace may be made here")


def limited(*limits: object, program: tuple[str, ...] = (*wire.TREADLE, "serve")) -> tuple[str, ...]:
    return (sys.executable, str(LIMITS), *map(str, limits), "--", *program)


def durable(data_dir: Path, *limits: object) -> wire.Daemon:
    """A daemon as users have it, under limits."""
    return wire.spawn(data_dir, "--durability", "full", command=limited(*limits))


class Work:
    """Messages in a turn: kept are the stored events that were acknowledged, refused the texts that were not."""

    def __init__(self, daemon: wire.Daemon) -> None:
        self.daemon = daemon
        self.kept: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self._texts = 0

    def begin(self) -> None:
        """A project, a thread and a running turn."""
        self._keep("CreateProject", id="p", name="p", path="/p")
        self._keep("CreateThread", threadId="t", projectId="p", title="t")
        self._keep("StartTurn", threadId="t", id="u", prompt="go")

    def add(self, size: int = 20_000) -> dict[str, Any] | None:
        """One more message, of that many characters; the error where it was refused."""
        self._texts += 1
        text = f"text {self._texts} ".ljust(size, ".")
        command = {"type": "AddMessage", "threadId": "t", "turnId": "u", "role": "assistant", "text": text}
        answer = self.daemon.call("command/dispatch", command)
        if "error" in answer:
            self.refused.append(text)
            error: dict[str, Any] = answer["error"]
            return error
        self.kept += answer["result"]["events"]
        return None

    def until_refused(self, size: int = 20_000) -> dict[str, Any]:
        """The error of the first message that is refused."""
        for _ in range(500):
            if (error := self.add(size)) is not None:
                return error
        raise AssertionError("nothing was refused")

    def check(self, daemon: wire.Daemon | None = None) -> None:
        """All that was acknowledged is in the log as it was told, without a gap; nothing that was refused is."""
        self.daemon = daemon or self.daemon
        log: list[dict[str, Any]] = []
        page: dict[str, Any] = {"nextCursor": None}
        while not log or page["nextCursor"]:
            cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
            page = self.daemon.result("event/list", cursor)
            log += page["items"]
        assert [stored["sequence"] for stored in log] == list(range(1, len(log) + 1))
        assert all(log[stored["sequence"] - 1] == stored for stored in self.kept)
        assert not {stored["event"].get("text") for stored in log} & set(self.refused)

    def _keep(self, type: str, **fields: Any) -> None:
        self.kept += self.daemon.dispatch(type, **fields)["events"]


def verified(data_dir: Path) -> bool:
    done = wire.run("verify", "--data-dir", str(data_dir))
    assert done.stdout.startswith("OK: "), done
    return done.returncode == 0


def error_at_start(daemon: wire.Daemon) -> dict[str, Any]:
    """The daemon stays to say what is wrong."""
    return daemon.error("initialize", {})


# A full disk


@own_file_system
def test_a_full_disk_refuses_writes_but_not_reads_until_space_is_freed(data_dir: Path) -> None:
    data_dir.mkdir()
    with durable(data_dir, "tmpfs", data_dir, 8 << 20) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        work.add()
        seen_from_here = Path(f"/proc/{daemon.process.pid}/root{data_dir}")
        ballast = seen_from_here / "ballast"
        fill(ballast)
        error = work.until_refused()
        assert error["data"]["kind"] == "diskFull"
        assert "make room" in error["message"]
        work.until_refused()
        work.check()
        ballast.unlink()
        assert work.add() is None
        work.check()
        checked = subprocess.run(
            limited("join", daemon.process.pid, program=(*wire.TREADLE, "verify", "--data-dir", str(data_dir))),
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, checked
        assert daemon.finish() == 0


def fill(path: Path) -> None:
    """Leave no byte of the file system that the file is on."""
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"x" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2


@own_file_system
def test_a_turn_is_refused_when_its_lock_file_does_not_fit_on_the_disk(data_dir: Path) -> None:
    data_dir.mkdir()
    with durable(data_dir, "tmpfs", data_dir, 8 << 20) as daemon:
        daemon.initialize()
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        ballast = Path(f"/proc/{daemon.process.pid}/root{data_dir}/ballast")
        fill(ballast)
        start = {"type": "StartTurn", "threadId": "t", "id": "u", "prompt": "go"}
        assert daemon.error("command/dispatch", start)["data"]["kind"] == "diskFull"
        ballast.unlink()
        daemon.result("command/dispatch", start)
        assert daemon.finish() == 0


@own_file_system
def test_a_start_on_a_full_disk_is_refused_until_space_is_freed(data_dir: Path) -> None:
    data_dir.mkdir()
    with durable(data_dir, "tmpfs", data_dir, 8192) as daemon:
        error = error_at_start(daemon)
        assert error["data"]["kind"] == "diskFull"
        assert "make room" in error["message"]
        room = limited("join", daemon.process.pid, program=("mount", "-o", "remount,size=8m", str(data_dir)))
        subprocess.run(room, check=True)
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        work.check()
        assert daemon.finish() == 0


@linux
def test_a_failed_write_is_not_acknowledged_and_a_later_one_can_succeed(data_dir: Path) -> None:
    with durable(data_dir, "file-size", 1_000_000) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        error = work.until_refused()
        assert error["data"]["kind"] == "ioError"
        assert "check its free space" in error["message"]
        work.until_refused()
        work.check()
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for _ in range(100):
            assert work.add() is None
        work.check()
        assert daemon.finish() == 0
    with wire.serving(data_dir) as daemon:
        work.check(daemon)
    assert verified(data_dir)


@linux
def test_a_failed_write_leaves_nothing_behind_after_a_kill(data_dir: Path) -> None:
    with durable(data_dir, "file-size", 1_000_000) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        work.until_refused()
        wire.kill(daemon)
    with wire.serving(data_dir) as daemon:
        work.check(daemon)
    assert verified(data_dir)


@needs("strace")
def test_a_write_whose_fsync_fails_is_not_acknowledged_and_a_later_one_can_succeed(data_dir: Path) -> None:
    with durable(data_dir) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        syncs = "fdatasync,fsync"
        command = f"strace -f -p {daemon.process.pid} -e trace={syncs} -e inject={syncs}:error=EIO".split()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            if "attached" not in (said := tracer.stderr.readline()):
                pytest.skip(f"no process may be traced here: {said}")
            for _ in range(3):
                error = work.add()
                assert error is not None
                assert error["data"]["kind"] == "ioError"
            work.check()
            tracer.send_signal(signal.SIGINT)
        assert work.add() is None
        work.check()
        wire.kill(daemon)
    with wire.serving(data_dir) as daemon:
        work.check(daemon)
    assert verified(data_dir)


@linux
def test_a_daemon_that_exits_while_writes_fail_leaves_its_turns_to_the_next_daemon(data_dir: Path) -> None:
    with durable(data_dir, "file-size", 1_000_000) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        work.until_refused()
        work.until_refused(20)  # now there is no room for the end of a turn either
        assert daemon.finish() == 0
        assert "failed to interrupt the turns of this daemon, another one will" in daemon.stderr
    with wire.serving(data_dir) as daemon:
        work.check(daemon)
        (turn,) = daemon.result("turn/list", {"threadId": "t"})["items"]
        assert turn["status"] == "interrupted"


# Permissions


@linux
@pytest.mark.parametrize("name", [".", FILE_NAME, "opening.lock", "present.lock"])
@pytest.mark.parametrize("bits", [0o500, 0o000])
def test_a_read_only_file_is_named_in_the_error_until_it_is_writable(data_dir: Path, name: str, bits: int) -> None:
    with wire.serving(data_dir) as daemon:
        Work(daemon).begin()
    path = data_dir / name
    right = path.stat().st_mode
    path.chmod(bits)
    try:
        with durable(data_dir, "permissions") as daemon:
            error = error_at_start(daemon)
            assert error["data"]["kind"] in ("databaseReadOnly", "databaseUnreachable")
            assert str(path) in error["message"]
            assert "check" in error["message"]
            path.chmod(right)
            daemon.initialize()
            daemon.dispatch("ChangeSetting", key="k", value=1)
            assert daemon.finish() == 0
    finally:
        path.chmod(right)


@linux
def test_only_the_turn_is_refused_when_its_lock_file_cannot_be_created(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
    runners = data_dir / "runners"
    runners.mkdir(exist_ok=True)
    runners.chmod(0o500)
    with durable(data_dir, "permissions") as daemon:
        daemon.initialize()
        start = {"type": "StartTurn", "threadId": "t", "id": "u", "prompt": "go"}
        refused = daemon.request("command/dispatch", start)
        beside = daemon.request("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})
        assert daemon.answer(refused)["error"]["data"]["kind"] == "databaseUnreachable"
        assert "result" in daemon.answer(beside)
        runners.chmod(0o700)
        daemon.result("command/dispatch", start)
        assert daemon.finish() == 0


# Foreign and damaged files


@contextmanager
def foreign(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def test_a_file_that_is_not_a_database_is_refused_and_left_unchanged(data_dir: Path) -> None:
    data_dir.mkdir()
    path = data_dir / FILE_NAME
    path.write_bytes(b"Dear diary, " * 1000)
    with wire.spawn(data_dir) as daemon:
        error = error_at_start(daemon)
        assert error["data"]["kind"] == "databaseCorrupt"
        assert str(path) in error["message"]
        assert "treadle restore" in error["message"]
        assert daemon.finish() == 1
    assert path.read_bytes() == b"Dear diary, " * 1000


def test_a_database_of_another_program_is_refused_and_left_unchanged(data_dir: Path) -> None:
    data_dir.mkdir()
    path = data_dir / FILE_NAME
    with foreign(path) as db:
        db.execute("CREATE TABLE photos (id)")
    before = path.read_bytes()
    with wire.spawn(data_dir) as daemon:
        error = error_at_start(daemon)
        assert error["data"]["kind"] == "databaseRefused"
        assert "choose another --data-dir" in error["message"]
        assert daemon.finish() == 1
    assert path.read_bytes() == before


def pages_of(data_dir: Path, table: str) -> list[int]:
    """The numbers of a closed database's leaf pages of a table: those that hold its rows."""
    with support.plain(data_dir) as db:
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
        (size,) = db.execute("PRAGMA page_size").fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (data_dir / FILE_NAME).read_bytes()
    pages, leaves = [root], []
    while pages:
        page = pages.pop(0)
        start = (page - 1) * size
        header = content[start : start + 12]
        if header[0] != 5:  # an interior page of a table (sqlite.org/fileformat2.html, 1.6)
            leaves.append(page)
            continue
        for i in range(int.from_bytes(header[3:5], "big")):
            cell = start + int.from_bytes(content[start + 12 + 2 * i : start + 14 + 2 * i], "big")
            pages.append(int.from_bytes(content[cell : cell + 4], "big"))
        pages.append(int.from_bytes(header[8:12], "big"))
    return leaves


def tear(data_dir: Path, page: int) -> None:
    """A page of which the disk kept nothing that makes sense."""
    with (data_dir / FILE_NAME).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def test_a_torn_page_fails_only_the_requests_that_touch_it(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        for _ in range(250):
            work.add(10)
        daemon.dispatch("ChangeSetting", key="k", value=1)
    messages = pages_of(data_dir, "projection_messages")
    assert len(messages) > 4
    tear(data_dir, messages[-1])
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        error = daemon.error("thread/read", {"threadId": "t"})
        assert error["data"]["kind"] == "databaseCorrupt"
        assert "treadle doctor" in error["message"]
        assert "treadle restore" in error["message"]
        start = {"type": "StartTurn", "threadId": "t", "id": "u2", "prompt": "its message would lie on the torn page"}
        beside = [daemon.request("command/dispatch", {"type": "ChangeSetting", "key": k, "value": 2}) for k in "abc"]
        refused = daemon.request("command/dispatch", start)
        beside += [daemon.request("command/dispatch", {"type": "ChangeSetting", "key": k, "value": 2}) for k in "def"]
        assert daemon.answer(refused)["error"]["data"]["kind"] == "databaseCorrupt"
        assert all("result" in daemon.answer(id) for id in beside)
        assert len(daemon.result("setting/list")["items"]) == 7
        work.check(daemon)
        assert daemon.finish() == 0


def test_a_log_with_a_torn_last_page_is_neither_read_nor_appended_to(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        for _ in range(50):
            work.add(1000)
    tear(data_dir, pages_of(data_dir, "events")[-1])
    before = (data_dir / FILE_NAME).read_bytes()
    with wire.spawn(data_dir) as daemon:
        daemon.initialize()
        change = {"type": "ChangeSetting", "key": "k", "value": 1}
        for method, params in (("command/dispatch", change), ("event/list", {}), ("subscription/open", INDEX)):
            error = daemon.error(method, params)
            assert error["data"]["kind"] == "databaseCorrupt"
            assert "treadle restore" in error["message"]
        assert daemon.finish() == 0
    assert (data_dir / FILE_NAME).read_bytes() == before


INDEX = {"topic": "index"}


@pytest.mark.parametrize("cut", [1, 5_000, 20_000])
def test_a_truncated_wal_keeps_what_was_committed_before_the_cut(data_dir: Path, cut: int) -> None:
    with durable(data_dir) as daemon:
        daemon.initialize()
        work = Work(daemon)
        work.begin()
        for _ in range(10):
            work.add(2000)
        wire.kill(daemon)
    wal = data_dir / f"{FILE_NAME}-wal"
    with wal.open("r+b") as file:
        file.truncate(wal.stat().st_size - cut)
    with wire.serving(data_dir) as daemon:
        log = daemon.result("event/list")["items"]
        kept = [stored for stored in log if stored["event"]["type"] != "TurnInterrupted"]
        assert kept == work.kept[: len(kept)]
        assert 3 < len(kept) < len(work.kept)
        daemon.dispatch("StartTurn", threadId="t", id="u2", prompt="go on")
    assert verified(data_dir)


# Locks


@contextmanager
def locking(data_dir: Path, *statements: str) -> Iterator[None]:
    """Another program that holds the database locked until the block ends."""
    code = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]: db.execute(statement).fetchall()\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
        "db.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir / FILE_NAME), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()
        process.wait(wire.PATIENCE)


EXCLUSIVE = ("BEGIN EXCLUSIVE",)


def test_a_write_waits_for_a_lock_to_be_released_and_reads_do_not(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        with locking(data_dir, *EXCLUSIVE):
            id = daemon.request("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})
            with wire.serving(data_dir) as other:
                work.check(other)
            assert id not in daemon.answers
        assert "result" in daemon.answer(id)
        work.check(daemon)


async def test_a_lock_held_too_long_is_a_retryable_error(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    support.set_default(monkeypatch, Engine, "busy_patience", 0.0)
    change = {"type": "ChangeSetting", "key": "k", "value": 1}
    async with support.serving(data_dir) as (client, _):
        with locking(data_dir, *EXCLUSIVE):
            error = (await client.reply(client.send("command/dispatch", change)))["error"]
            assert error["code"] == -32001
            assert error["data"]["kind"] == "overloaded"
            assert error["data"]["retryAfterMs"] > 0
            assert "keep the database busy" in error["message"]
            assert (await client.call("setting/list"))["items"] == []
        assert (await client.call("command/dispatch", change))["sequence"] == 1


async def test_a_database_in_exclusive_locking_mode_is_refused_until_it_is_released(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire.serving(data_dir) as daemon:
        Work(daemon).begin()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    async with support.serving(data_dir, initialize=False) as (client, _):
        with locking(data_dir, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
            error = (await client.reply(client.send("initialize", {})))["error"]
            assert error["data"]["kind"] == "databaseLocked"
            assert "another program has locked the database" in error["message"]
        await client.call("initialize", {})
        await client.call("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})


async def test_a_file_system_without_file_locking_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    async with support.serving(data_dir, initialize=False) as (client, _):
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", no_locks)
            error = (await client.reply(client.send("initialize", {})))["error"]
            assert error["data"]["kind"] == "databaseRefused"
            assert "local disk" in error["message"]
        await client.call("initialize", {})


async def test_a_file_system_with_ineffective_locks_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with support.serving(data_dir, initialize=False) as (client, _):
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", lambda descriptor, operation: None)
            error = (await client.reply(client.send("initialize", {})))["error"]
            assert error["data"]["kind"] == "databaseRefused"
            assert "local disk" in error["message"]
        await client.call("initialize", {})


# A data directory that is moved or replaced


def test_a_moved_database_is_not_written_to(data_dir: Path, tmp_path: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        away = tmp_path / "elsewhere"
        data_dir.rename(away)
        error = work.add()
        assert error is not None
        assert error["data"]["kind"] == "databaseUnreachable"
        away.rename(data_dir)
        assert work.add() is None
        work.check()


def test_a_database_replaced_under_a_running_daemon_is_not_written_to(data_dir: Path, tmp_path: Path) -> None:
    with wire.serving(data_dir) as daemon:
        work = Work(daemon)
        work.begin()
        path = data_dir / FILE_NAME
        path.rename(tmp_path / "kept.db")
        shutil.copy(tmp_path / "kept.db", path)
        error = work.add()
        assert error is not None
        assert error["data"]["kind"] == "databaseUnreachable"
        assert "start treadle again" in error["message"]
        (tmp_path / "kept.db").rename(path)
        assert work.add() is None
        work.check()
