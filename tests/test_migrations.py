"""A database is upgraded once, completely or not at all, and never by an older treadle than the one that wrote it."""

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from support import append_all, log_sequence, opened, plain, refused, rows
from treadle.domain.events import ProjectCreated, SettingChanged
from treadle.store.errors import StorageError
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.database import APPLICATION_ID, FILE_NAME
from treadle.store.sqlite.sql import Script, scripts
from treadle.store.sqlite.store import Store

AT = "2026-01-31T12:00:00.000Z"
SHIPPED = scripts("migrations")
MORE = Script("998_more", "CREATE TABLE more (x);\nINSERT INTO more VALUES (1);\n")
BROKEN = Script("999_broken", "CREATE TABLE half (x);\nDELETE FROM settings;\nSELECT nonsense;\n")


def with_migrations(monkeypatch: pytest.MonkeyPatch, *more: Script) -> None:
    """From now on, this treadle brings these migrations as well."""
    monkeypatch.setattr(migrations, "scripts", lambda folder: [*SHIPPED, *more])


def dump(data_dir: Path) -> list[str]:
    with plain(data_dir) as db:
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        return [str(application_id), *db.iterdump()]


async def filled(data_dir: Path, count: int = 5) -> None:
    """A database with events, closed."""
    async with opened(data_dir) as store:
        await append_all(store, [ProjectCreated(id="p", name="P", path="/p", at=AT)])
        await append_all(store, (SettingChanged(key=f"k{n}", value=n, at=AT) for n in range(count - 1)))


def copies(data_dir: Path) -> list[Path]:
    return sorted(data_dir.glob("before-*.db"))


# Migrations


async def test_the_first_open_applies_and_records_each_migration(data_dir: Path) -> None:
    async with opened(data_dir), opened(data_dir):
        pass
    with plain(data_dir) as db:
        records = db.execute("SELECT version, name, checksum FROM schema_migrations ORDER BY version").fetchall()
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert records == [(migrations.version_of(s), s.name, s.checksum) for s in SHIPPED]
    assert [version for version, *_ in records] == list(range(1, len(records) + 1))


async def test_the_second_open_changes_nothing(data_dir: Path) -> None:
    await filled(data_dir)
    before = dump(data_dir)
    async with opened(data_dir) as store:
        assert await store.writer.call(migrations.migrate) == 0
    assert dump(data_dir) == before
    assert copies(data_dir) == []


async def test_a_new_migration_is_applied_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(data_dir)
    with_migrations(monkeypatch, MORE)
    for _ in range(2):
        async with opened(data_dir):
            pass
    with plain(data_dir) as db:
        assert db.execute("SELECT x FROM more").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM schema_migrations WHERE name = '998_more'").fetchone() == (1,)
    assert len(copies(data_dir)) == 1


async def test_a_failing_migration_leaves_the_database_unchanged(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(data_dir)
    before = dump(data_dir)
    with_migrations(monkeypatch, BROKEN)
    with pytest.raises(StorageError, match="nonsense"):
        await Store.open(data_dir)
    assert dump(data_dir) == before
    monkeypatch.undo()
    async with opened(data_dir):
        pass


async def test_migrations_before_a_failing_one_stay_applied(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(data_dir)
    with_migrations(monkeypatch, MORE, BROKEN)
    with pytest.raises(StorageError):
        await Store.open(data_dir)
    with plain(data_dir) as db:
        assert db.execute("SELECT x FROM more").fetchall() == [(1,)]
        assert db.execute("SELECT name FROM schema_migrations WHERE version > 900").fetchall() == [("998_more",)]
        assert db.execute("SELECT count(*) FROM settings").fetchone() == (4,)


async def test_a_database_can_be_opened_after_its_first_migration_failed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "scripts", lambda folder: [BROKEN])
    with pytest.raises(StorageError):
        await Store.open(data_dir)
    monkeypatch.undo()
    async with opened(data_dir) as store:
        assert await log_sequence(store) == 0


def edit_a_migration(db: sqlite3.Connection) -> None:
    db.execute("UPDATE schema_migrations SET checksum = 'of another text'")


def record_a_newer_migration(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO schema_migrations VALUES (9000, '9000_later', '', '')")


def make_the_projections_newer(db: sqlite3.Connection) -> None:
    db.execute("UPDATE meta SET value = ? WHERE key = 'projectionVersion'", (projections.VERSION + 1,))


def append_an_unknown_event(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO events (payload) VALUES (?)", (f'{{"type":"ThreadPinned","at":"{AT}"}}',))


NOT_OURS: dict[str, tuple[Callable[[sqlite3.Connection], None], str]] = {
    "an edited migration": (
        edit_a_migration,
        "differs from the one that this treadle has: a version from before the first release created it. Export its "
        "log with that version (`treadle export FILE`)",
    ),
    "a newer migration": (record_a_newer_migration, "has migration 9000_later, written by a newer version of treadle"),
    "newer projections": (make_the_projections_newer, "a newer version wrote it"),
    "an unknown event type": (append_an_unknown_event, "type ThreadPinned, written by a newer version of treadle"),
}


@pytest.mark.parametrize(("change", "sentence"), NOT_OURS.values(), ids=NOT_OURS)
async def test_a_foreign_or_newer_database_is_refused_and_left_unchanged(
    data_dir: Path, change: Callable[[sqlite3.Connection], None], sentence: str
) -> None:
    await filled(data_dir)
    with plain(data_dir) as db:
        change(db)
    before, content = dump(data_dir), (data_dir / FILE_NAME).read_bytes()
    assert sentence in await refused(data_dir)
    assert (data_dir / FILE_NAME).read_bytes() == content
    assert dump(data_dir) == before
    assert copies(data_dir) == []


def test_every_statement_in_the_sql_files_is_run() -> None:
    for script in [*SHIPPED, *scripts("projections")]:
        assert "".join(script.statements()).strip() == script.text.strip(), f"all of {script.name} is run"


# Projections of another version


def make_old(data_dir: Path) -> None:
    """As if an older treadle had filled the projections, in its own way."""
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
        db.execute("UPDATE settings SET value = '\"old\"'")
        db.execute("DROP TRIGGER settings_changed")


async def test_older_projections_are_rebuilt_at_startup_with_progress(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "SLICE", 2)
    await filled(data_dir, 5)
    with plain(data_dir) as db:
        before = {table: rows(db, table) for table in projections.TABLES}
    make_old(data_dir)
    told: list[tuple[int, int]] = []
    store = await Store.open(data_dir, progress=lambda done, total: told.append((done, total)))
    await store.close()
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]
    with plain(data_dir) as db:
        assert {table: rows(db, table) for table in projections.TABLES} == before
    async with opened(data_dir) as store:
        await append_all(store, [SettingChanged(key="k0", value="new", at=AT)])
    with plain(data_dir) as db:
        assert db.execute("SELECT value FROM settings WHERE key = 'k0'").fetchone() == ('"new"',)


async def test_projections_with_a_different_checksum_are_rebuilt(data_dir: Path) -> None:
    await filled(data_dir)
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = 'of another text' WHERE key = 'projectionChecksum'")
        db.execute("DELETE FROM settings")
    async with opened(data_dir):
        pass
    with plain(data_dir) as db:
        assert db.execute("SELECT count(*) FROM settings").fetchone() == (4,)


async def test_a_complete_backup_is_kept_before_a_rebuild(data_dir: Path) -> None:
    async with opened(data_dir) as store:  # still open: what was appended lies in the WAL
        await append_all(store, (SettingChanged(key=f"k{n}", value=n, at=AT) for n in range(50)))
    make_old(data_dir)
    before = dump(data_dir)
    async with opened(data_dir):
        pass
    [copy] = copies(data_dir)
    with closing(sqlite3.connect(copy)) as db:
        assert [str(APPLICATION_ID), *db.iterdump()] == before
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_no_backup_is_made_of_a_log_without_events(data_dir: Path) -> None:
    async with opened(data_dir):
        pass
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
    async with opened(data_dir):
        pass
    assert copies(data_dir) == []


async def test_an_upgrade_is_refused_while_an_older_daemon_has_the_database_open(data_dir: Path) -> None:
    await filled(data_dir)
    async with opened(data_dir) as older:
        make_old(data_dir)
        before = dump(data_dir)
        assert "another treadle process has it open: close the editors" in await refused(data_dir)
        assert dump(data_dir) == before
        assert not older.writer.in_transaction
    async with opened(data_dir):
        pass
    with plain(data_dir) as db:
        assert dict(db.execute("SELECT key, value FROM meta"))["projectionVersion"] == str(projections.VERSION)


# Concurrent opens


async def test_a_failure_to_open_says_what_to_do_even_if_the_opening_was_cancelled(data_dir: Path) -> None:
    await filled(data_dir)
    with plain(data_dir) as db:
        db.execute("DROP TABLE meta")
    opening = asyncio.create_task(Store.open(data_dir))
    await asyncio.sleep(0)  # it has begun
    opening.cancel()
    with pytest.raises(StorageError, match="treadle doctor"):
        await opening


async def test_four_stores_can_open_one_empty_directory_at_once(data_dir: Path) -> None:
    stores = await asyncio.gather(*(Store.open(data_dir, durability="normal") for _ in range(4)))
    try:
        assert len({store.log_id for store in stores}) == 1
        for n, store in enumerate(stores):
            [stored] = await append_all(store, [SettingChanged(key=f"k{n}", value=n, at=AT)])
            assert stored.sequence == n + 1
    finally:
        for store in stores:
            await store.close()
    assert copies(data_dir) == []


async def test_four_processes_can_open_one_empty_directory_at_once(data_dir: Path) -> None:
    hello = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
    daemons = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    logs = set()
    for daemon, (answer, errors) in zip(
        daemons, await asyncio.gather(*(daemon.communicate(hello) for daemon in daemons)), strict=True
    ):
        assert (daemon.returncode, errors) == (0, b"")
        logs.add(msgspec.json.decode(answer)["result"]["logId"])
    assert len(logs) == 1
    with plain(data_dir) as db:
        assert db.execute("SELECT count(*) FROM schema_migrations").fetchone() == (len(SHIPPED),)


async def test_an_older_database_opened_by_four_stores_is_upgraded_once(data_dir: Path) -> None:
    await filled(data_dir)
    make_old(data_dir)
    stores = await asyncio.gather(*(Store.open(data_dir, durability="normal") for _ in range(4)))
    for store in stores:
        await store.close()
    assert len(copies(data_dir)) == 1
