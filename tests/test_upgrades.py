"""A database with any released schema is upgraded with all its content, or left unchanged.

tests/fixtures/NNN.db.gz is a database of a treadle whose last migration was NNN, made by make_NNN.py.
"""

import gzip
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import support
import wire
from support import log_sequence
from test_backup import assert_whole, log_of
from test_bad_days import Work, durable, fill, limited, own_file_system
from treadle.domain.events import EVENT_TYPES
from treadle.store.errors import StorageError
from treadle.store.sqlite import log, migrations, projections
from treadle.store.sqlite.backup import restore
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.sql import Script, scripts
from treadle.store.sqlite.store import Store

FIXTURES = Path(__file__).parent / "fixtures"
RELEASED = [path.name.removesuffix(".db.gz") for path in sorted(FIXTURES.glob("*.db.gz"))]
SHIPPED = scripts("migrations")
NEWEST = RELEASED[-1]

NEXT = Script(
    "002_notes",
    """
    -- A table, a column, rows that come from the log, and a guard that is taken off and put back.
    CREATE TABLE notes (sequence INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
    ALTER TABLE commands ADD COLUMN note TEXT;
    INSERT INTO notes SELECT sequence, event_type FROM events WHERE thread_id IS NULL;
    DROP TRIGGER events_refuse_delete;
    CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events BEGIN
      SELECT RAISE(ABORT, 'events are never deleted, still');
    END
    """,
)
FAILING = Script("002_fails", NEXT.text + ";\nDROP TABLE settings;\nDROP INDEX idx_projects_path;\nSELECT nonsense;\n")


def unpack(name: str, data_dir: Path) -> bytes:
    """A data directory of that release, and the bytes of its database."""
    data_dir.mkdir(mode=0o700)
    content = gzip.decompress((FIXTURES / f"{name}.db.gz").read_bytes())
    path = data_dir / FILE_NAME
    path.touch(mode=0o600)
    path.write_bytes(content)
    return content


def bring(monkeypatch: pytest.MonkeyPatch, *more: Script) -> None:
    """From now on, this treadle brings these migrations as well."""
    for module in (migrations, log):
        monkeypatch.setattr(module, "scripts", lambda folder: [*SHIPPED, *more])
    monkeypatch.setattr(log, "_unknown", log._unknown.__wrapped__)  # nothing is remembered of other tests


def the_copy(data_dir: Path) -> Path:
    """The last one: a fixture whose projections are older ones is rebuilt when it is first opened, which keeps one."""
    return max(data_dir.glob("before-*.db"))


def everything(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_every_released_schema_has_a_fixture_and_its_script() -> None:
    assert [f"{migrations.version_of(script):03}" for script in SHIPPED] == RELEASED
    assert all((FIXTURES / f"make_{name}.py").exists() for name in RELEASED)


@pytest.mark.parametrize("name", RELEASED)
def test_a_fixture_has_the_schema_and_every_event_type_of_its_release(name: str, data_dir: Path) -> None:
    unpack(name, data_dir)
    with support.plain(data_dir) as db:
        assert db.execute("SELECT max(version) FROM schema_migrations").fetchone() == (int(name),)
        types = {row[0] for row in db.execute("SELECT DISTINCT event_type FROM events")}
        assert db.execute("SELECT count(*) FROM commands").fetchone() == (3,)
        assert db.execute("SELECT count(*) FROM projection_turns WHERE status = 'running'").fetchone() == (1,)
    assert types == EVENT_TYPES


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_database_can_be_opened_read_appended_to_and_verified(name: str, data_dir: Path) -> None:
    unpack(name, data_dir)
    with support.plain(data_dir) as db:
        before = [
            {"sequence": sequence, "event": payload}
            for sequence, payload in db.execute("SELECT sequence, payload FROM events ORDER BY sequence")
        ]
    with wire.spawn(data_dir) as daemon:
        assert daemon.initialize()["logId"] == "1" * 32
        # The log is what it was, and at its end is what the daemon that was killed could not say.
        answered = daemon.request("event/list", {"limit": 500})
        text = daemon.body().decode()
        assert f'"id":{answered},' in text
        for stored in before:
            assert f'{{"sequence":{stored["sequence"]},"event":{stored["event"]}}}' in text
        after = daemon.result("event/list", {"afterSequence": len(before)})["items"]
        assert [stored["event"]["type"] for stored in after] == [
            "MessageCompleted",
            "ApprovalResolved",
            "ActivityUpdated",
            "TurnInterrupted",
            "SessionEnded",
            "QueuePaused",
        ]
        read_what_it_holds(daemon)
        answered_before(daemon)
        append_to_it(daemon)
        assert daemon.finish() == 0
    done = wire.run("verify", "--data-dir", str(data_dir))
    assert done.returncode == 0, done
    assert wire.run("doctor", "--data-dir", str(data_dir)).returncode == 0


def read_what_it_holds(daemon: wire.Daemon) -> None:
    projects = {project["id"]: project for project in daemon.result("project/list")["items"]}
    assert (projects["p"]["name"], projects["p"]["path"]) == ("Löom ✓", "/work/moved")
    assert "gone" not in projects
    threads = {thread["id"]: thread for thread in daemon.result("thread/list")["items"]}
    assert threads["t"]["title"] == "One of each 🧵"
    assert threads["archived"]["archivedAt"] is not None
    assert {"deleted", "in-gone"}.isdisjoint(threads)
    assert [threads[id]["status"] for id in ("t", "archived", "running")] == ["paused", "idle", "idle"]
    one = daemon.result("thread/read", {"threadId": "t"})
    assert [(turn["id"], turn["status"]) for turn in one["turns"]] == [
        ("completed", "completed"),
        ("failed", "failed"),
        ("interrupted", "interrupted"),
        ("sent", "completed"),
    ]
    assert [(prompt["id"], prompt["text"], prompt["when"]) for prompt in one["prompts"]] == [("p2", "Löt it", "steer")]
    assert (one["sessions"][0]["contextLost"], one["sessions"][0]["options"]) == ("moths", [])
    assert one["turns"][3]["spent"] == threads["t"]["usage"] == {"cost": 0.5, "currency": "EUR", "tokens": 7}
    assert threads["t"]["agent"] == {"name": "loom", "mode": "plan", "options": {"speed": "fast"}}
    assert [rule["id"] for rule in daemon.result("rule/list")["items"]] == ["r"]
    assert [message["text"] for message in one["messages"][:2]] == ['Weave\n"this"', "over and under"]
    assert one["messages"][2]["text"] == "See"
    assert one["activities"][0]["detail"] == {"big": 12345678901234567890, "out": "ok", "list": [None, True]}
    assert (threads["t"]["origin"]["tool"], one["turns"][1]["errorKind"]) == ("loom", "yarn")
    assert (one["approvals"][0]["outcome"], one["checkpoints"][0]["gitRef"]) == ("yes", "refs/treadle/1")
    assert one["checkpoints"][0]["restoredAt"] is not None
    running = daemon.result("thread/read", {"threadId": "running"})
    assert [message["text"] for message in running["messages"]] == ["Go on", "I am still weav"]
    assert [message["status"] for message in running["messages"]] == ["complete", "complete"]
    settings = {setting["key"]: setting["value"] for setting in daemon.result("setting/list")["items"]}
    assert settings == {'theme."dark"': {"a": [1, 2.5, "x"]}}


def answered_before(daemon: wire.Daemon) -> None:
    """Commands that the older daemon has answered are answered as they were, and are not done again."""
    made = daemon.dispatch("CreateProject", commandId="made-once", id="p", name="Loom", path="/work/loom")
    assert [stored["sequence"] for stored in made["events"]] == [1]
    nothing = daemon.dispatch("UnarchiveThread", commandId="changes-nothing", threadId="t")
    assert nothing["events"] == []
    conflict = {"type": "DeleteThread", "commandId": "made-once", "threadId": "t"}
    assert daemon.error("command/dispatch", conflict)["data"]["kind"] == "commandIdConflict"
    # An id is never used twice, whoever used it.
    again = {"type": "CreateThread", "threadId": "deleted", "projectId": "p", "title": "again"}
    assert daemon.error("command/dispatch", again)["data"]["kind"] == "idTaken"


def append_to_it(daemon: wire.Daemon) -> None:
    before = daemon.result("daemon/status")["sequence"]
    daemon.dispatch("StartTurn", threadId="t", id="new", prompt="more")
    daemon.dispatch("AddMessage", threadId="t", turnId="new", id="m", role="assistant", text="a", streaming=True)
    daemon.dispatch("AppendMessage", threadId="t", id="m", text="b")
    answer = daemon.dispatch("CompleteTurn", threadId="t", id="new", stopReason="end_turn")
    assert answer["sequence"] == before + 6
    assert daemon.result("thread/read", {"threadId": "t"})["messages"][-1]["text"] == "ab"


# The next migration


def test_migrating_a_released_database_leaves_its_log_unchanged(data_dir: Path) -> None:
    unpack(NEWEST, data_dir)
    path = data_dir / FILE_NAME
    before = log_of(path)
    with support.plain(data_dir) as db:
        assert migrations.migrate(db, [*SHIPPED, NEXT]) == 1
        assert migrations.migrate(db, [*SHIPPED, NEXT]) == 0
        assert db.execute("SELECT count(*) FROM notes").fetchone()[0] > 5
        with pytest.raises(sqlite3.IntegrityError, match="never deleted, still"):
            db.execute("DELETE FROM events")
        record = db.execute("SELECT version, name, checksum FROM schema_migrations ORDER BY version").fetchall()[-1]
        assert record == (2, "002_notes", NEXT.checksum)
    assert log_of(path) == before


async def test_a_private_backup_is_kept_before_a_migration_and_named_in_the_log(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unpack(NEWEST, data_dir)
    # A daemon that was killed: what it committed last is in the WAL alone.
    with durable(data_dir) as daemon:
        daemon.initialize()
        daemon.dispatch("ChangeSetting", key="last", value="in the WAL")
        wire.kill(daemon)
    caplog.set_level("INFO")
    bring(monkeypatch, NEXT)
    async with support.opened(data_dir) as store:
        count = len(await support.replayed(store))
    monkeypatch.undo()
    copy = the_copy(data_dir)
    assert f"kept a copy of the database as {copy}" in caplog.text
    assert re.fullmatch(r"before-\d{8}T\d{6}\.\d{6}Z\.db", copy.name)
    assert_whole(copy, tmp_path)
    assert len(log_of(copy)) == count
    assert '"in the WAL"' in log_of(copy)[-1][1]
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("SELECT max(version) FROM schema_migrations").fetchone() == (len(SHIPPED),)
    # It opens by itself: the older treadle goes on with it.
    restore(tmp_path / "elsewhere", copy)
    with wire.serving(tmp_path / "elsewhere") as daemon:
        assert daemon.result("daemon/status")["sequence"] == count


async def test_a_failing_migration_leaves_a_released_database_unchanged(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = unpack(NEWEST, data_dir)
    path = data_dir / FILE_NAME
    before = everything(path)
    bring(monkeypatch, FAILING)
    for _ in range(2):
        with pytest.raises(StorageError, match="nonsense"):
            await Store.open(data_dir)
        assert everything(path) == before
    with support.plain(data_dir) as db, pytest.raises(sqlite3.OperationalError, match="nonsense"):
        migrations.migrate(db, [*SHIPPED, FAILING])
    assert path.read_bytes() == content
    monkeypatch.undo()
    async with support.opened(data_dir) as store:
        assert await log_sequence(store) > 300


async def test_a_failing_migration_is_reported_and_initialize_can_be_retried(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(NEWEST, data_dir)
    bring(monkeypatch, FAILING)
    async with support.serving(data_dir, initialize=False) as (client, _):
        error = (await client.reply(client.send("initialize", {})))["error"]
        assert error["data"]["kind"] == "storage"
        assert error["message"].startswith("migration 002_fails failed, and the database is as it was before it: ")
        monkeypatch.undo()
        bring(monkeypatch, NEXT)
        await client.call("initialize", {})
        await client.call("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})


async def test_a_migration_that_cannot_be_recorded_is_rolled_back(data_dir: Path) -> None:
    unpack(NEWEST, data_dir)
    before = everything(data_dir / FILE_NAME)
    takes_its_record = Script("002_x", "INSERT INTO schema_migrations VALUES (2, 'x', 'x', 'x');\n")
    with support.plain(data_dir) as db, pytest.raises(sqlite3.IntegrityError):
        migrations.migrate(db, [*SHIPPED, takes_its_record])
    assert everything(data_dir / FILE_NAME) == before


def test_a_last_statement_without_a_semicolon_is_run() -> None:
    script = Script("002_x", "CREATE TABLE a (x);\nCREATE TABLE b (x)\n")
    assert [statement.strip() for statement in script.statements()] == ["CREATE TABLE a (x);", "CREATE TABLE b (x)"]


# The backup before an upgrade


def older(data_dir: Path) -> None:
    """The next start has to fill the projections from scratch."""
    with support.plain(data_dir) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")


def test_the_backup_before_a_rebuild_is_private_and_replaces_partial_ones(data_dir: Path, tmp_path: Path) -> None:
    unpack(NEWEST, data_dir)
    older(data_dir)
    left = [data_dir / ".before-20260131T000000.000000Z.db.0a1b2c3d.part", data_dir / ".before-x.db.1.part-journal"]
    for path in left:
        path.write_bytes(b"half")
    command = ("sh", "-c", 'umask 0; exec "$0" "$@"', *wire.TREADLE, "serve")
    with wire.spawn(data_dir, "--log-level", "info", command=command) as daemon:
        daemon.initialize()
        assert f"kept a copy of the database as {the_copy(data_dir)}" in daemon.stderr
        assert daemon.finish() == 0
    assert_whole(the_copy(data_dir), tmp_path)
    assert not any(path.exists() for path in left)


@own_file_system
def test_without_disk_space_for_a_backup_nothing_is_upgraded(data_dir: Path, tmp_path: Path) -> None:
    unpack(NEWEST, tmp_path / "source")
    older(tmp_path / "source")
    content = (tmp_path / "source" / FILE_NAME).read_bytes()
    data_dir.mkdir()
    put = 'cp "$0" "$1"; shift; exec "$@"'
    program = ("sh", "-c", put, str(tmp_path / "source" / FILE_NAME), str(data_dir), *wire.TREADLE, "serve")
    command = limited("tmpfs", data_dir, len(content) + (200 << 10), program=program)
    with wire.spawn(data_dir, "--durability", "full", command=command) as daemon:
        error = daemon.error("initialize", {})
        assert error["data"]["kind"] == "diskFull", error
        inside = Path(f"/proc/{daemon.process.pid}/root{data_dir}")
        assert (inside / FILE_NAME).read_bytes() == content
        assert not list(inside.glob("*before*"))
        subprocess.run(
            limited("join", daemon.process.pid, program=("mount", "-o", "remount,size=16m", str(data_dir))), check=True
        )
        daemon.initialize()
        work = Work(daemon)
        work.daemon.dispatch("ChangeSetting", key="k", value=1)
        fill(inside / "ballast")
        assert daemon.finish() == 0


def test_unpacking_and_verifying_a_fixture_twice_gives_the_same_content(tmp_path: Path) -> None:
    content: list[Any] = []
    for name in ("one", "two"):
        unpack(NEWEST, tmp_path / name)
        total, differences = projections.verify(tmp_path / name / FILE_NAME, tmp_path / f"{name}.db")
        assert differences == []
        content.append((total, everything(tmp_path / name / FILE_NAME)))
    assert content[0] == content[1]
