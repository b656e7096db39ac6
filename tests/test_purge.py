"""Bytes: what is erased is in no file of the data directory, whatever happens meanwhile."""

import asyncio
import gc
import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import wire
from erase_driver import ErasureDriver, Marked
from support import opened
from treadle.server.purger import Purger
from treadle.store.errors import StorageError
from treadle.store.sqlite.sql import query
from wire import Daemon, serving

KILLS = 5


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def fill(daemon: Daemon, thread_id: str = "t") -> Marked:
    """A thread with markers, in a project that may exist already."""
    daemon.call("command/dispatch", {"type": "CreateProject", "id": "project", "name": "p", "path": "/p"})
    marked = Marked(random.Random(thread_id), thread_id)
    for command in marked.commands():
        daemon.result("command/dispatch", command)
    return marked


def erase(daemon: Daemon, thread_id: str = "t") -> None:
    daemon.dispatch("EraseThread", threadId=thread_id)


def receipt(daemon: Daemon, *, wait: bool = True) -> Any:
    return receipt_of(daemon, "t", wait=wait)


def receipt_of(daemon: Daemon, thread_id: str, *, wait: bool = True) -> Any:
    return daemon.result("erasure/status", {"threadId": thread_id, "wait": wait})["erasures"][0]


@contextmanager
def reader(data_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another program that has a read transaction open until its input is closed."""
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute('BEGIN');"
        "db.execute('SELECT count(*) FROM events').fetchone(); print('reads', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(data_dir / "treadle.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        yield process


# Nothing is left


async def test_deleted_content_is_overwritten_on_every_connection_that_writes(data_dir: Path) -> None:
    async with opened(data_dir) as store:
        assert await store.writer.call(lambda db: db.execute("PRAGMA secure_delete").fetchone()) == (1,)


def test_no_text_of_an_erased_thread_is_in_any_file(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        marked, other = fill(daemon), fill(daemon, "other")
        assert marked.left(data_dir)
        erase(daemon)
        found = receipt(daemon)
        assert (found["purged"], found["hits"], found["found"]) == (True, 0, [])
        assert found["samples"] > 40
        assert found["filesSearched"] >= 3
        assert marked.left(data_dir) == []
        assert other.left(data_dir)
        assert daemon.result("search/query", {"query": other.markers[-3]})["items"]
    assert marked.left(data_dir) == []
    assert wire.run("rebuild", "--data-dir", str(data_dir)).returncode == 0
    assert wire.run("verify", "--data-dir", str(data_dir)).returncode == 0
    assert marked.left(data_dir) == []


def test_a_thread_that_was_deleted_before_is_purged_too(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        marked = fill(daemon)
        daemon.dispatch("DeleteThread", threadId="t")
        assert marked.left(data_dir)
        erase(daemon)
        assert receipt(daemon)["hits"] == 0
    assert marked.left(data_dir) == []


def test_a_receipt_outlives_the_daemon_and_says_what_is_not_ours(data_dir: Path, tmp_path: Path) -> None:
    history = tmp_path / "session.jsonl"
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="project", name="p", path="/p")
        origin = {"tool": "claude", "sessionId": "0f0f0f0f-0f0f", "source": str(history)}
        daemon.dispatch("CreateThread", threadId="t", projectId="project", title="a title to erase", origin=origin)
        daemon.dispatch("CreateCheckpoint", threadId="t", id="c", gitRef="refs/x/y", message="a message to erase")
        erase(daemon)
        first = receipt(daemon)
    with serving(data_dir) as daemon:
        again = receipt(daemon)
    assert first == again
    assert again["notOurs"][1:] == [str(history)]
    assert again["notOurs"][0].startswith("/p: git keeps the files of 1 checkpoints")
    assert again["machines"] == [{"machineId": again["machines"][0]["machineId"], "applied": 5, "erased": True}]


def test_a_text_that_another_thread_has_as_well_is_no_hit(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="project", name="p", path="/p")
        for id in ("t", "other"):
            daemon.dispatch("CreateThread", threadId=id, projectId="project", title="the very same title")
        erase(daemon)
        found = receipt(daemon)
    assert (found["hits"], found["samples"]) == (0, 0)


def test_the_search_finds_what_is_left_in_a_file(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        marked = fill(daemon)
        (data_dir / "notes.txt").write_text(f"some words, {marked.markers[0]} and more. ")
        erase(daemon)
        found = receipt(daemon)
    assert (found["hits"], found["found"]) == (1, ["notes.txt"])


# Beside others, and after kills


def test_a_purge_ends_beside_other_daemons_and_once_a_reader_lets_go(data_dir: Path) -> None:
    with serving(data_dir) as one, serving(data_dir) as two, serving(data_dir) as three:
        marked = fill(one)
        with reader(data_dir) as process:
            erase(two)
            waiting = two.request("erasure/status", {"wait": True})
            for i in range(50):  # nobody is held up
                three.dispatch("ChangeSetting", key=f"k{i}", value=i)
                two.dispatch("ChangeSetting", key=f"l{i}", value=i)
            assert receipt(three, wait=False)["purged"] is False
            process.communicate("")
        assert two.answer(waiting)["result"]["erasures"][0]["hits"] == 0
        assert receipt(three)["purged"] is True
    assert marked.left(data_dir) == []


@pytest.mark.parametrize("seed", range(2))
async def test_a_purge_that_is_killed_at_any_moment_is_ended_by_the_next_daemon(data_dir: Path, seed: int) -> None:
    report = await ErasureDriver(data_dir, seed).run(KILLS)
    assert report.problems == []
    assert report.erased == 2 * KILLS


def test_a_daemon_that_ends_during_a_purge_ends_well_and_the_next_one_continues(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        marked = fill(daemon)
        with reader(data_dir) as process:  # so that the purge cannot end
            erase(daemon)
            assert receipt(daemon, wait=False)["purged"] is False
            assert daemon.finish() == 0
            assert daemon.stderr == ""
            process.communicate("")
    with serving(data_dir) as daemon:
        assert receipt(daemon)["purged"] is True
    assert marked.left(data_dir) == []


async def test_a_purge_that_fails_while_its_daemon_ends_is_left_to_the_next_one(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context["message"]))
    async with opened(data_dir) as store:
        noted = json.dumps([{"type": "EraseThread", "threadId": "t"}])
        await store.writer.call(
            lambda connection: connection.execute(query("purge_note_commands"), {"commands": noted})
        )
        submitted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        begun = asyncio.Event()

        def submit(commands: object) -> "asyncio.Future[Any]":
            begun.set()
            return submitted

        running = asyncio.create_task(Purger(store, data_dir, submit).run())
        await begun.wait()
        running.cancel()
        await asyncio.sleep(0)  # it waits for the purge now
        submitted.set_exception(StorageError("the disk is full"))
        (ended,) = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)
    del running
    gc.collect()
    assert unhandled == []
    assert [record.getMessage() for record in caplog.records] == [
        "what was erased could not be purged, the next daemon will retry: the disk is full"
    ]


# Copies


def test_old_copies_that_have_an_erased_thread_are_removed_and_others_stay(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="k", value=1)
    shutil.copy(data_dir / "treadle.db", data_dir / "before-earlier.db")
    with serving(data_dir) as daemon:
        marked = fill(daemon)
    for name in ("before-later.db", "before-restore-later.db", ".before-later.db.0a.part", ".treadle.db.part"):
        shutil.copy(data_dir / "treadle.db", data_dir / name)
    for name in ("before-torn.db", "before-later.db-wal"):
        (data_dir / name).write_bytes(marked.markers[0].encode())
    folder = data_dir / "doctor-left"
    folder.mkdir()
    (folder / "in-use.lock").touch()
    shutil.copy(data_dir / "treadle.db", folder / "copy.db")
    with serving(data_dir) as daemon:
        erase(daemon)
        removed = receipt(daemon)["removed"]
    assert marked.left(data_dir) == []
    assert [*data_dir.glob("*before*")] == [data_dir / "before-earlier.db"]
    assert len(removed) == 7


def test_a_restored_backup_erases_again_what_was_erased_since(data_dir: Path, tmp_path: Path) -> None:
    backup = tmp_path / "monday.db"
    with serving(data_dir) as daemon:
        marked, other = fill(daemon), fill(daemon, "other")
    assert wire.run("backup", "--data-dir", str(data_dir), str(backup)).returncode == 0
    with serving(data_dir) as daemon:
        erase(daemon)
        receipt(daemon)
    done = wire.run("restore", "--data-dir", str(data_dir), str(backup))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\nerasing again what was erased since the backup, in 1 thread\n")
    assert marked.left(data_dir) == []
    assert other.left(data_dir)
    with serving(data_dir) as daemon:
        threads = daemon.result("thread/list")["items"]
        assert [thread["id"] for thread in threads] == ["other"]
        assert receipt(daemon)["hits"] == 0
    assert len([*data_dir.glob("before-restore-*.db")]) == 1  # the previous database has nothing of it


def test_a_restore_that_ends_before_it_has_erased_again_is_made_good_by_the_next_daemon(
    data_dir: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "monday.db"
    with serving(data_dir) as daemon:
        marked = fill(daemon)
    wire.run("backup", "--data-dir", str(data_dir), str(backup))
    with serving(data_dir) as daemon:
        erase(daemon)
        receipt(daemon)
    from treadle.store.sqlite.backup import restore

    restore(data_dir, backup)
    assert marked.left(data_dir)
    with serving(data_dir) as daemon:
        assert daemon.result("erasure/status", {"wait": True})["erasures"][0]["hits"] == 0
    assert marked.left(data_dir) == []


def test_a_restored_backup_redacts_again_and_what_was_redacted_is_in_no_file(data_dir: Path, tmp_path: Path) -> None:
    secret, backup = "Zk3secretwordwithmanyletters", tmp_path / "monday.db"
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="project", name="p", path="/p")
        title = f"a title with {secret} in it"
        told = daemon.dispatch("CreateThread", threadId="t", projectId="project", title=title)
        wire.run("backup", "--data-dir", str(data_dir), str(backup))
        clean = [{"sequence": told["sequence"], "members": {"title": "a title with nothing in it"}}]
        daemon.dispatch("Redact", threadId="t", events=clean)
        found = receipt(daemon)
        assert (found["whole"], found["events"], found["hits"], found["samples"]) == (False, 1, 0, 1)
    marked = Marked(random.Random(), "t")
    marked.markers = [secret]
    assert marked.left(data_dir) == []
    assert wire.run("restore", "--data-dir", str(data_dir), str(backup)).returncode == 0
    assert marked.left(data_dir) == []
    with serving(data_dir) as daemon:
        assert daemon.result("thread/list")["items"][0]["title"] == "a title with nothing in it"


def test_erase_waits_for_the_purge_and_prints_a_receipt_that_can_be_printed_again(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        marked = fill(daemon)
    assert wire.run("erase", "--data-dir", str(data_dir)).returncode == 2
    done = wire.run("erase", "t", "--yes", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    assert marked.left(data_dir) == []
    again = wire.run("erase", "--receipt", "--data-dir", str(data_dir))
    assert done.stdout.endswith(f"erased\n{again.stdout}")
    assert re.fullmatch(
        r"t: \d+ events erased\n  \d+ samples of its texts searched for in \d+ files: 0 found\n", again.stdout
    )
    as_json = wire.run("erase", "--receipt", "t", "--json", "--data-dir", str(data_dir))
    assert json.loads(as_json.stdout)["hits"] == 0
    assert wire.run("erase", "--receipt", "other", "--data-dir", str(data_dir)).stdout == "nothing was erased\n"


# By age


def test_prune_erases_idle_threads_by_their_last_event_and_lists_them_first(data_dir: Path) -> None:
    old = "2020-01-31T12:00:00.000Z"
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="project", name="p", path="/p")
        for id in ("old", "archived", "running", "changed"):
            daemon.dispatch("CreateThread", threadId=id, projectId="project", title=f"the title of {id}", at=old)
        daemon.dispatch("ArchiveThread", threadId="archived", at=old)
        daemon.dispatch("RenameThread", threadId="changed", title="of today")
        daemon.dispatch("StartTurn", threadId="running", id="u", prompt="go", at=old)

        def prune(*arguments: str, status: int = 0) -> list[str]:
            done = wire.run("prune", "--older-than", "365d", "--data-dir", str(data_dir), *arguments)
            assert done.returncode == status, done.stderr
            return [json.loads(line)["id"] for line in done.stdout.splitlines() if line.startswith("{")]

        def kept() -> set[str]:
            return {
                thread["id"]
                for archived in (False, True)
                for thread in daemon.result("thread/list", {"archived": archived})["items"]
            }

        assert sorted(prune("--dry-run", "--json")) == ["archived", "old"]
        assert prune("--json", status=2) == prune(status=2) == []
        assert kept() == {"old", "archived", "running", "changed"}
        assert prune("--archived", "--yes", "--json") == ["archived"]
        assert kept() == {"old", "running", "changed"}
        assert prune("--yes", "--json") == ["old"]
        assert kept() == {"running", "changed"}
        assert receipt_of(daemon, "old")["hits"] == 0


def test_prune_offers_a_vacuum_which_shrinks_the_same_file_beside_a_daemon(data_dir: Path) -> None:
    database = data_dir / "treadle.db"

    def prune(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return wire.run("prune", "--data-dir", str(data_dir), *arguments)

    assert prune().returncode == 2
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="project", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="project", title="t", at="2020-01-31T12:00:00.000Z")
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE room AS SELECT randomblob(20000000) AS bytes")
            connection.execute("DROP TABLE room")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        before = database.stat()
        assert "treadle prune --vacuum gives" in prune("--older-than", "365d", "--yes").stdout
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            locked = prune("--vacuum")
        assert locked.returncode == 1
        assert "another program uses the database: try again later, nothing was changed" in locked.stderr
        done = prune("--vacuum")
        assert done.returncode == 0, done.stderr
        after = database.stat()
        assert (after.st_ino, after.st_dev) == (before.st_ino, before.st_dev)
        assert after.st_size < before.st_size - 15_000_000
        daemon.dispatch("CreateThread", threadId="u", projectId="project", title="after")
        assert [one["id"] for one in daemon.result("thread/list", {})["items"]] == ["u"]
        assert "--vacuum" not in prune("--older-than", "365d", "--yes").stdout
