"""The log stores events unchanged, with consecutive sequences, and rejects everything else."""

import os
import re
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from support import append_all, log_sequence, opened, plain, refused, replayed
from treadle.domain.events import AnyEvent, ProjectCreated, SettingChanged, StoredEvent, encode
from treadle.store.errors import NewerDatabase, StorageError
from treadle.store.records import CommandRecord
from treadle.store.sqlite import migrations, projections
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.sql import Script, scripts
from treadle.store.sqlite.store import Store

pytestmark = pytest.mark.both_logs

AT = "2026-01-31T12:00:00.000Z"


def setting(n: int, value: object = True) -> SettingChanged:
    return SettingChanged(key=f"key-{n}", value=value, at=AT)


def payload(n: int) -> bytes:
    return encode(setting(n))


# Appending and replaying


async def test_an_empty_log_replays_nothing(store: Store) -> None:
    assert await replayed(store) == []
    assert await log_sequence(store) == 0


async def test_an_appended_event_replays_with_its_sequence_and_payload(store: Store) -> None:
    stored = await append_all(store, [setting(1, {"deep": [1, 2.5, None, "é😀"]})])
    assert stored == [StoredEvent(1, setting(1, {"deep": [1, 2.5, None, "é😀"]}), store.actor)]
    assert await replayed(store) == stored


async def test_the_events_of_a_batch_have_consecutive_sequences(store: Store) -> None:
    await append_all(store, [setting(0)])
    stored = await append_all(store, (setting(n) for n in range(1, 8)))
    assert [s.sequence for s in stored] == [2, 3, 4, 5, 6, 7, 8]
    assert await replayed(store) == [StoredEvent(n + 1, setting(n), store.actor) for n in range(8)]


async def test_appending_an_empty_batch_changes_nothing(store: Store) -> None:
    assert await append_all(store, []) == []
    assert await store.write(lambda log: log.append(0, [], [])) == 0
    assert await log_sequence(store) == 0


async def test_replay_from_a_sequence_skips_earlier_events(store: Store) -> None:
    stored = await append_all(store, (setting(n) for n in range(6)))
    for after in range(8):
        assert await replayed(store, after) == stored[after:]


async def test_an_append_with_a_stale_expected_sequence_returns_false_and_writes_nothing(
    store: Store, data_dir: Path
) -> None:
    assert await store.write(lambda log: log.append(0, [payload(1)], [])) == 0
    record = CommandRecord("late", "digest", 1, 1)
    assert await store.write(lambda log: log.append(0, [payload(2)], [record])) is None
    assert await store.write(lambda log: log.append(2, [payload(2)], [record])) is None
    assert await store.write(lambda log: log.append(0, [], [record])) is None
    with plain(data_dir) as db:
        assert db.execute("SELECT sequence, payload FROM events").fetchall() == [(1, payload(1).decode())]
        assert db.execute("SELECT count(*) FROM commands").fetchone() == (0,)
    assert await store.write(lambda log: log.append(1, [payload(2)], [record])) == 1


async def test_an_append_with_a_recorded_command_id_returns_false_and_writes_nothing(
    store: Store, data_dir: Path
) -> None:
    # Two processes, the same commandId, and no event: nothing but the record has moved.
    first, second = CommandRecord("same", "digest", 1, 0), CommandRecord("same", "digest", 1, 1)
    assert await store.write(lambda log: log.append(0, [], [first])) == 0
    both = [CommandRecord("other", "digest", 1, 1), second]
    assert await store.write(lambda log: log.append(0, [payload(1)], both)) is None
    assert await log_sequence(store) == 0
    with plain(data_dir) as db:
        assert db.execute("SELECT command_id, last_sequence FROM commands").fetchall() == [("same", 0)]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"no JSON",
        b"[]",
        b"null",
        b'{"type":"SettingChanged"}',
        b'{"at":"2026-01-31T12:00:00.000Z"}',
        b'{"type":null,"at":"2026-01-31T12:00:00.000Z"}',
        encode(ProjectCreated(id="p", name="Again", path="/again", at=AT)),
    ],
    ids=["empty", "text", "array", "null", "no-at", "no-type", "null-type", "refused-by-a-projection"],
)
@pytest.mark.only_local("the server takes any text: an engine sends what it has decided")
async def test_a_batch_with_one_invalid_event_writes_nothing(store: Store, data_dir: Path, bad: bytes) -> None:
    await append_all(store, [ProjectCreated(id="p", name="P", path="/p", at=AT)])
    record = CommandRecord("c", "digest", 2, 4)
    with pytest.raises(StorageError):
        await store.write(lambda log: log.append(1, [payload(1), bad, payload(2)], [record]))
    with plain(data_dir) as db:
        for table, count in [("events", 1), ("settings", 0), ("commands", 0), ("event_types", 1)]:
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)
    assert [s.sequence for s in await append_all(store, [setting(1)])] == [2]


@pytest.mark.only_local("the server refuses what treadle does not write")
async def test_payload_bytes_are_stored_unchanged(store: Store, data_dir: Path) -> None:
    odd = (
        b' { "at" : "2026-01-31T12:00:00.000Z",\t"type":"SettingChanged","key":"\\u006b","value":'
        b'["\\/\\ud83d\\ude00","\xc3\xa9 \xf0\x9f\x98\x80 \x7f",1.0,1E5,-0,12345678901234567890123] } '
    )
    assert await store.write(lambda log: log.append(0, [odd], [])) == 0
    with plain(data_dir) as db:
        db.text_factory = bytes
        assert db.execute("SELECT payload, typeof(payload) FROM events").fetchone() == (odd, b"text")
    [stored] = await replayed(store)
    assert stored.event == SettingChanged(
        key="k", value=["/😀", "é 😀 \x7f", 1.0, 100000.0, 0, 12345678901234567890123], at=AT
    )


async def test_reads_and_appends_are_refused_after_a_newer_treadle_upgraded_the_database(
    store: Store, data_dir: Path
) -> None:
    with plain(data_dir) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'projectionVersion'", (str(projections.VERSION + 1),))
    with pytest.raises(NewerDatabase, match="newer treadle"):
        await store.write(lambda log: log.append(0, [payload(1)], []))
    with pytest.raises(NewerDatabase, match="newer treadle"):
        await store.read(lambda db: None)
    with plain(data_dir) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (0,)


# What the database itself rejects, from any connection


COPY = "INTO events (sequence, payload) SELECT {}, payload FROM events WHERE sequence = 1"
FORBIDDEN = {
    "update": "UPDATE events SET payload = payload || ' ' WHERE sequence = 2",
    "update of a sequence": "UPDATE events SET sequence = 9 WHERE sequence = 3",
    "update or replace": "UPDATE OR REPLACE events SET sequence = 1 WHERE sequence = 2",
    "update or ignore": "UPDATE OR IGNORE events SET sequence = 1 WHERE sequence = 2",
    "delete": "DELETE FROM events WHERE sequence = 3",
    "delete of all events": "DELETE FROM events",
    "insert over an existing sequence": f"INSERT {COPY.format(2)}",
    "replace": f"REPLACE {COPY.format(2)}",
    "replace of the last event": f"REPLACE {COPY.format(3)}",
    "insert or ignore": f"INSERT OR IGNORE {COPY.format(2)}",
    "upsert": f"INSERT {COPY.format(2)} ON CONFLICT (sequence) DO UPDATE SET payload = excluded.payload",
    "insert with a gap": f"INSERT {COPY.format(5)}",
    "insert or ignore with a gap": f"INSERT OR IGNORE {COPY.format(5)}",
    "replace with a gap": f"REPLACE {COPY.format(5)}",
    "insert of sequence 0": f"INSERT {COPY.format(0)}",
    "insert of sequence -1": f"INSERT {COPY.format(-1)}",
    "a generated column": "INSERT INTO events (sequence, payload, event_type) VALUES (4, '{}', 'SettingChanged')",
    "blob": "INSERT INTO events (sequence, payload) SELECT 4, CAST(payload AS BLOB) FROM events WHERE sequence = 1",
}


@pytest.mark.parametrize("inside", [True, False], ids=["own-connection", "plain-sqlite3"])
@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
@pytest.mark.only_local("a replica has the same triggers")
async def test_the_database_rejects(store: Store, data_dir: Path, statement: str, inside: bool) -> None:
    stored = await append_all(store, (setting(n) for n in range(3)))
    if inside:
        with pytest.raises(sqlite3.Error):
            await store.writer.call(lambda db: db.execute(statement))
    else:
        with plain(data_dir) as db, pytest.raises(sqlite3.Error):
            db.execute(statement)
    assert await replayed(store) == stored
    assert [s.sequence for s in await append_all(store, [setting(3)])] == [4]


@pytest.mark.only_local("nothing but the log inserts into a replica")
async def test_an_insert_without_a_sequence_gets_the_next_one(store: Store, data_dir: Path) -> None:
    await append_all(store, [setting(1)])
    with plain(data_dir) as db:
        db.execute("INSERT INTO events (payload) VALUES (?)", (payload(2).decode(),))
    assert await replayed(store) == [StoredEvent(1, setting(1)), StoredEvent(2, setting(2))]


async def test_the_columns_of_an_event_match_its_payload(store: Store, data_dir: Path) -> None:
    await append_all(store, [setting(1)])
    with plain(data_dir) as db:
        row = db.execute("SELECT event_type, thread_id, at FROM events").fetchone()
        assert row == ("SettingChanged", None, AT)
        assert db.execute("SELECT * FROM event_types").fetchall() == [("SettingChanged", 1)]


async def test_no_index_duplicates_the_primary_key(store: Store, data_dir: Path) -> None:
    with plain(data_dir) as db:
        indexes = [row[1] for row in db.execute("PRAGMA index_list(events)")]
        columns = {name: [row[2] for row in db.execute(f"PRAGMA index_info({name})")] for name in indexes}
    assert columns == {"idx_events_thread": ["thread_id"]}


# Every write path: it commits, it rolls back, and plain sqlite3 sees the same


def _broken_migration(db: sqlite3.Connection) -> int:
    broken = Script(
        "999_broken", "CREATE TABLE half (x);\nINSERT INTO settings VALUES ('half', '1', '');\nSELECT nonsense;\n"
    )
    return migrations.migrate(db, [*scripts("migrations"), broken])


def _broken_rebuild(db: sqlite3.Connection) -> int:
    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise InterruptedError

    return projections.rebuild(db, interrupt)


def _migration(db: sqlite3.Connection) -> int:
    return migrations.migrate(db, [*scripts("migrations"), Script("999_more", "CREATE TABLE more (x);\n")])


Write = Callable[[Store], Awaitable[object]]
PROJECT = ProjectCreated(id="p", name="P", path="/p", at=AT)
CLASHING: list[AnyEvent] = [setting(2), ProjectCreated(id="p", name="Q", path="/q", at=AT)]
WRITES: dict[str, tuple[Write, Write]] = {
    "append": (
        lambda s: s.write(lambda log: log.append(1, [payload(2)], [CommandRecord("c", "digest", 2, 2)])),
        lambda s: s.write(lambda log: log.append(1, [payload(2), b"{}"], [CommandRecord("c", "digest", 2, 3)])),
    ),
    "append_all": (lambda s: append_all(s, [setting(2)]), lambda s: append_all(s, CLASHING)),
    "migrate": (lambda s: s.writer.call(_migration), lambda s: s.writer.call(_broken_migration)),
    "rebuild": (lambda s: s.rebuild(), lambda s: s.writer.call(_broken_rebuild)),
}


def _dump(data_dir: Path) -> list[str]:
    with plain(data_dir) as db:
        return list(db.iterdump())


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_is_committed_when_it_returns(store: Store, data_dir: Path, name: str) -> None:
    await append_all(store, [PROJECT])
    await WRITES[name][0](store)
    assert not store.writer.in_transaction
    seen = _dump(data_dir)
    await store.close()
    assert _dump(data_dir) == seen


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.only_local("the server has the event then: tests/test_shared_faults.py")
async def test_a_failed_write_is_rolled_back(store: Store, data_dir: Path, name: str) -> None:
    await append_all(store, [PROJECT])
    before = _dump(data_dir)
    with pytest.raises((sqlite3.Error, StorageError, InterruptedError)):
        await WRITES[name][1](store)
    assert not store.writer.in_transaction
    assert _dump(data_dir) == before
    await store.close()
    assert _dump(data_dir) == before


async def test_a_log_is_the_same_after_reopening(data_dir: Path) -> None:
    async with opened(data_dir) as first:
        stored = await append_all(first, (setting(n) for n in range(5)))
    async with opened(data_dir) as second:
        assert await replayed(second) == stored
        assert second.log_id == first.log_id


async def test_two_logs_have_different_ids(store: Store, tmp_path: Path) -> None:
    async with opened(tmp_path / "other") as other:
        assert store.log_id != other.log_id


# The data directory and its files


async def test_only_the_owner_has_file_permissions_whatever_the_umask(data_dir: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(data_dir) as store:
            store.runner.acquire()
            await append_all(store, [setting(1)])
            await store.rebuild()
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [data_dir, *data_dir.rglob("*")]}
            folders = {path for path in modes if path.is_dir()}
    finally:
        os.umask(before)
    assert {FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"} <= {path.name for path in modes}
    assert modes == {path: 0o700 if path in folders else 0o600 for path in modes}


@pytest.mark.only_local("it exists already")
async def test_a_data_directory_readable_by_others_is_made_private(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    async with opened(data_dir):
        pass
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def _foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.execute("INSERT INTO theirs VALUES (1)")
        db.commit()


def _marked_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 12345")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "another program's database": _foreign_database,
    "an empty database with another application id": _marked_database,
    "a text file": lambda path: path.write_text("Dear diary\n" * 1000),
    "a short text file": lambda path: path.write_text("Dear diary"),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.only_local("it exists already")
async def test_a_foreign_file_is_refused_and_left_unchanged(data_dir: Path, make: Callable[[Path], object]) -> None:
    data_dir.mkdir(mode=0o700)
    path = data_dir / FILE_NAME
    make(path)
    before = path.read_bytes()
    assert re.search(r"treadle\.db belongs to another program|not a database", await refused(data_dir))
    assert path.read_bytes() == before
    assert not list(data_dir.glob("*-wal"))
    assert not list(data_dir.glob("*-journal"))


async def test_a_data_directory_that_cannot_be_created_gives_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be the data directory: " in await refused(tmp_path / "file")
    (tmp_path / "data" / FILE_NAME).mkdir(parents=True)
    assert "cannot open the database" in await refused(tmp_path / "data")


async def test_command_records_survive_reopening(store: Store, data_dir: Path) -> None:
    records = [CommandRecord("a", "d1", 1, 1), CommandRecord("b", "d2", 2, 1), CommandRecord("c", "d3", 1, 1, "[1]")]
    assert await store.write(lambda log: log.append(0, [payload(1)], records)) == 0
    await store.close()
    with plain(data_dir) as db:
        found = db.execute("SELECT command_id, digest, first_sequence, last_sequence, parts FROM commands").fetchall()
    assert found == [msgspec.structs.astuple(record) for record in records]
