"""Many daemons on one data directory: one log, one answer per command, and every client sees the same changes live."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import storms
import treadle
import wire
from support import plain
from treadle.store.sqlite import projections

pytestmark = pytest.mark.both_logs

PACKAGE = Path(treadle.__file__).parent


def report(record_property: Any, **figures: object) -> None:
    """Print and keep what was measured; nothing is asserted of it."""
    for name, value in figures.items():
        record_property(name, value)
        print(f"{name}: {value}")


@pytest.mark.parametrize("window", [1, 10])
async def test_eight_daemons_share_one_log_and_every_client_sees_all_changes(
    data_dir: Path, window: int, record_property: Any
) -> None:
    done = await storms.write_at_once(data_dir, daemons=8, commands=25, window=window, durability="full")
    report(record_property, waits=storms.spread(done.waits), told=storms.spread(done.told))
    assert done.problems == []
    assert done.acknowledged == 8 * 25


async def test_daemons_keep_writing_while_projections_are_rebuilt(data_dir: Path) -> None:
    done = await storms.write_at_once(data_dir, daemons=3, commands=120, window=4, rebuilds=3)
    assert done.problems == []
    assert done.acknowledged == 3 * 120


async def test_each_client_is_notified_of_the_commits_of_other_daemons(data_dir: Path, record_property: Any) -> None:
    waits = await storms.notice(data_dir, daemons=8, commits=16)
    report(record_property, noticed=storms.spread(waits))
    assert len(waits) == 16 * 7


async def test_eight_daemons_starting_on_an_empty_directory_create_one_database(data_dir: Path) -> None:
    started = await storms.start_at_once(data_dir, daemons=8)
    assert started.problems == []


# Different releases at the same time


@pytest.fixture
def newer(tmp_path: Path) -> dict[str, str]:
    """The environment in which a treadle runs that has other projections; told by their version."""
    folder = tmp_path / "newer"
    shutil.copytree(PACKAGE, folder / "treadle", ignore=shutil.ignore_patterns("__pycache__"))
    if not (folder / "treadle" / "sql").exists():
        shutil.copytree(PACKAGE.parents[1] / "sql", folder / "treadle" / "sql")
    module = folder / "treadle" / "store" / "sqlite" / "projections.py"
    text, line = module.read_text(), f"VERSION = {projections.VERSION}\n"
    assert line in text
    module.write_text(text.replace(line, f"VERSION = {projections.VERSION + 1}\n"))
    return {"PYTHONPATH": str(folder)}


def rows(data_dir: Path) -> list[Any]:
    with plain(data_dir) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def test_a_newer_treadle_upgrades_only_after_older_daemons_have_exited(data_dir: Path, newer: dict[str, str]) -> None:
    with wire.serving(data_dir) as older:
        older.dispatch("ChangeSetting", key="k", value=1)
        before = rows(data_dir)
        with wire.spawn(data_dir, env=newer) as upgraded:
            error = upgraded.error("initialize")
            assert error["data"]["kind"] == "databaseRefused", error
            assert "close the editors that use it" in error["message"]
            assert rows(data_dir) == before
            # The older one is not disturbed.
            older.dispatch("ChangeSetting", key="k", value=2)
            assert older.finish() == 0
            upgraded.initialize()
            assert upgraded.result("setting/list")["items"][0]["value"] == 2
            before = rows(data_dir)
            with wire.spawn(data_dir) as late:
                assert late.error("initialize")["data"]["kind"] == "databaseNewer"
                assert late.finish() == 1
            assert rows(data_dir) == before
            assert upgraded.finish() == 0


WITH = {
    "projections": f"UPDATE meta SET value = '{projections.VERSION + 1}' WHERE key = 'projectionVersion'",
    "an event": """INSERT INTO events (sequence, payload) SELECT max(sequence) + 1,
        '{"type":"ThreadPinned","at":"2027-01-01T00:00:00.000Z","threadId":"t"}' FROM events""",
}


@pytest.mark.parametrize("what", WITH)
def test_a_daemon_stops_reading_and_writing_a_database_that_a_newer_treadle_changed(data_dir: Path, what: str) -> None:
    with wire.serving(data_dir) as older, wire.serving(data_dir) as other:
        older.dispatch("CreateProject", id="p", name="p", path="/p")
        older.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        subscription = other.result("subscription/open", {"topic": "index"})["subscriptionId"]
        older.dispatch("RenameThread", threadId="t", title="told")
        other.notification("projection/changed", lambda params: params["subscriptionId"] == subscription)
        with plain(data_dir) as db:
            db.execute(WITH[what])
        before = rows(data_dir)
        for daemon in (older, other):
            for method, params in (
                ("command/dispatch", {"type": "RenameThread", "threadId": "t", "title": "no"}),
                ("command/dispatch", {"type": "RenameThread", "threadId": "t", "title": "told"}),
                ("command/dispatch", {"type": "RenameThread", "threadId": "none", "title": "no"}),
                ("thread/read", {"threadId": "t"}),
                ("setting/list", {}),
                ("event/list", {}),
                ("subscription/open", {"topic": "index"}),
            ):
                error = daemon.error(method, params)
                assert error["data"]["kind"] == "databaseNewer", (method, error)
        assert rows(data_dir) == before
        assert [sent for sent in other.notifications if sent["method"] == "projection/changed"] == []


def test_another_program_reading_the_database_does_not_block_a_daemon(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="k", value=1)
        with plain(data_dir) as db, closing(db.execute("SELECT * FROM events")) as reading:
            db.execute("BEGIN")
            assert len(reading.fetchmany(1)) == 1
            daemon.dispatch("ChangeSetting", key="k", value=2)
            assert daemon.result("setting/list")["items"][0]["value"] == 2
