"""The projections match the log: after each event, after a rebuild, and according to `verify`."""

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from every_event import HISTORY, LIVE, Effect, at
from support import append_all, opened, plain, rows, serving
from treadle import cli
from treadle.domain import events as e
from treadle.store.sqlite import projections
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.sql import query, scripts
from treadle.store.sqlite.store import Store

PINNED = (1, "88279e61a6d1669a901890abb2be3b1769242bab2e680b1a5254f6c1c4a2fa4c")


def test_changed_projections_need_a_new_version() -> None:
    now = (projections.VERSION, projections.checksum())
    assert now == PINNED, (
        "sql/projections or the event types have changed. If a released treadle has filled databases with the text "
        "before, raise VERSION in daemon/treadle/store/sqlite/projections.py, or these would never be rebuilt. Then "
        f"write here: PINNED = {now}"
    )


# What each event does


KEYS = {
    "projection_projects": ("id",),
    "projection_threads": ("id",),
    "parts": ("entity", "member", "sequence"),
    "projection_usage": ("thread_id", "turn_id"),
    "projection_rules": ("id",),
    "restores": ("sequence",),
    "run_sessions": ("session_id",),
    "settings": ("key",),
}


def tables(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Every row of the projections, by table and key."""
    found = {}
    for table in projections.TABLES:
        cursor = db.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            key = " ".join(str(row[name]) for name in KEYS.get(table, ("thread_id", "id")))
            found[f"{table} {key}"] = row
    return found


def effect(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> Effect:
    changes: Effect = dict.fromkeys(before.keys() - after.keys())
    for key, row in after.items():
        was = before.get(key, {})
        if changed := {name: value for name, value in row.items() if name not in was or was[name] != value}:
            changes[key] = changed
    return changes


async def test_each_event_changes_only_the_expected_rows(store: Store, data_dir: Path) -> None:
    assert {type(event) for event, _ in HISTORY} == set(e.EVENTS)
    with plain(data_dir) as db:
        before = tables(db)
        for event, expected in HISTORY:
            [stored] = await append_all(store, [event])
            after = tables(db)
            assert effect(before, after) == expected, stored
            before = after


async def test_one_batch_gives_the_same_rows_as_single_appends(store: Store, data_dir: Path, tmp_path: Path) -> None:
    await append_all(store, (event for event, _ in HISTORY))
    with plain(data_dir) as db:
        at_once = tables(db)
    async with opened(tmp_path / "other") as other:
        for event, _ in HISTORY:
            await append_all(other, [event])
    with plain(tmp_path / "other") as db:
        assert tables(db) == at_once


async def test_the_same_ids_in_two_threads_are_separate_entities(store: Store, data_dir: Path) -> None:
    named = [event for event in LIVE if not isinstance(event, e.EventsRedacted)]  # which names events by their sequence
    of_thread = [event for event in named if isinstance(event, e.ThreadEvent)]
    other = [msgspec.structs.replace(event, thread_id="t2") for event in of_thread]
    both = [event for pair in zip(of_thread, other, strict=True) for event in pair]
    await append_all(store, [LIVE[0], *both])
    with plain(data_dir) as db:
        found = tables(db)
        places = {"sequence": 0, "base": 0, "position": 0, "pruned": 0, "thread_id": ""}
        for key, row in found.items():
            if " t " in key:
                twin = found[key.replace(" t ", " t2 ")]
                assert {**row, **places} == {**twin, **places}
        await append_all(store, [e.ThreadDeleted(thread_id="t", at=at(70))])
        left = tables(db)
        assert not [key for key in left if " t " in key]
        assert [key for key in left if " t2 " in key] == [key for key in found if " t2 " in key]
        assert len(rows(db, "parts")) == sum(event.startswith("parts ") for event in found) / 2


# Rebuild and verify


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_rebuild_gives_the_same_rows_as_live_writes(
    store: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(projections, "SLICE", size)
    await append_all(store, LIVE)
    with plain(data_dir) as db:
        live = {table: rows(db, table) for table in projections.TABLES}
        assert all(live.values())
        for table in projections.TABLES:
            db.execute(f"DELETE FROM {table}")
        assert await store.rebuild() == len(LIVE)
        assert {table: rows(db, table) for table in projections.TABLES} == live
        await store.rebuild()
        assert {table: rows(db, table) for table in projections.TABLES} == live
    await append_all(store, [e.ThreadDeleted(thread_id="t", at=at(70))])


def verified(data_dir: Path, tmp_path: Path) -> list[projections.Difference]:
    copy = tmp_path / "copy.db"
    copy.unlink(missing_ok=True)
    _, differences = projections.verify(data_dir / FILE_NAME, copy)
    return differences


async def test_verify_finds_no_differences_in_intact_projections(store: Store, data_dir: Path, tmp_path: Path) -> None:
    await append_all(store, LIVE)
    assert verified(data_dir, tmp_path) == []


CHANGED = {
    "projection_projects": "name = 'another'",
    "projection_threads": "version = version - 1",
    "projection_turns": "usage = '{}'",
    "projection_messages": "role = 'system'",
    "projection_activities": "base = base - 1",
    "parts": "text = 'other'",
    "projection_approvals": "outcome = NULL",
    "checkpoints": "turn_id = 'another'",
    "restores": "thread_id = 'another'",
    "projection_prompts": "position = 0",
    "projection_sessions": "how = 'load'",
    "run_sessions": "thread_id = 'another'",
    "projection_usage": "tokens = 7",
    "projection_rules": "decision = 'ask'",
    "settings": "value = '12.0'",
}


@pytest.mark.parametrize("table", projections.TABLES)
async def test_verify_finds_a_changed_row(store: Store, data_dir: Path, tmp_path: Path, table: str) -> None:
    await append_all(store, LIVE)
    with plain(data_dir) as db:
        [before] = _first(db, table)
        db.execute(f"UPDATE {table} SET {CHANGED[table]} WHERE {_is(before)}", before)
        differences = verified(data_dir, tmp_path)
    assert {d.table for d in differences} == {table}
    assert [d.row for d in differences if d.side == "missing"] == [before]
    assert [d.side for d in differences] == ["missing", "unexpected"]


@pytest.mark.parametrize("table", projections.TABLES)
async def test_verify_finds_a_missing_row(store: Store, data_dir: Path, tmp_path: Path, table: str) -> None:
    await append_all(store, LIVE)
    with plain(data_dir) as db:
        [gone] = _first(db, table)
        db.execute(f"DELETE FROM {table} WHERE {_is(gone)}", gone)
    assert verified(data_dir, tmp_path) == [projections.Difference(table, "missing", gone)]


@pytest.mark.parametrize("table", projections.TABLES)
async def test_verify_finds_an_extra_row(store: Store, data_dir: Path, tmp_path: Path, table: str) -> None:
    await append_all(store, LIVE)
    with plain(data_dir) as db:
        [model] = _first(db, table)
        keys = KEYS.get(table, ("thread_id", "id"))
        extra = {
            **model,
            **({"sequence": 99} if "sequence" in model else {}),
            keys[-1]: "extra" if keys[-1] != "sequence" else 99,
        }
        if table == "projection_projects":
            extra["path"] = "/another"
        db.execute(
            f"INSERT INTO {table} ({', '.join(extra)}) VALUES ({', '.join(f':{name}' for name in extra)})", extra
        )
    assert verified(data_dir, tmp_path) == [projections.Difference(table, "unexpected", extra)]


def _first(db: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]  # without the generated ones
    for values in db.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 1").fetchall():
        yield dict(zip(columns, values, strict=True))


def _is(row: dict[str, Any]) -> str:
    return " AND ".join(f"{name} IS :{name}" for name in row)


async def test_verify_limits_the_number_of_reported_rows(store: Store, data_dir: Path, tmp_path: Path) -> None:
    await append_all(store, (e.SettingChanged(key=f"k{n}", value=n, at=at(0)) for n in range(60)))
    with plain(data_dir) as db:
        db.execute("DELETE FROM settings")
    assert len(verified(data_dir, tmp_path)) == 20


async def test_verify_finds_and_rebuild_repairs_a_changed_row(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(data_dir) as store:
        await append_all(store, LIVE)
    found = await _run("verify", data_dir, capsys)
    assert found == (0, f"OK: 15 tables match a replay of {len(LIVE)} events\n")
    with plain(data_dir) as db:
        db.execute("UPDATE settings SET value = '13'")
    status, printed = await _run("verify", data_dir, capsys)
    assert status == 1
    assert printed.splitlines() == [
        f"settings: missing row {{'key': 'size', 'sequence': 39, 'value': '12', 'updated_at': '{at(39)}'}}",
        f"settings: unexpected row {{'key': 'size', 'sequence': 39, 'value': '13', 'updated_at': '{at(39)}'}}",
        f"the projections do not match the log of {len(LIVE)} events: run `treadle rebuild`",
    ]
    assert await _run("rebuild", data_dir, capsys) == (0, f"rebuilt from {len(LIVE)} events\n")
    assert (await _run("verify", data_dir, capsys))[0] == 0
    assert sorted(path.name for path in data_dir.iterdir() if path.suffix == ".db" or path.is_dir()) == [FILE_NAME]


async def _run(command: str, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    # In a thread: the command runs a loop of its own.
    status = await asyncio.to_thread(cli.main, [command, "--data-dir", str(data_dir)])
    return status, capsys.readouterr().out


# The files


BESIDE = {
    "projection_threads": {"thread_search", "events"},
    "projection_approvals": {"events"},
    "projection_messages": {"parts", "message_search", "message_texts", "message_parts"},
    "projection_activities": {"parts", "activity_search", "activity_texts", "activity_parts", "events"},
}
"""What else a file has: in `parts` the rows of its own entities, and the log, which holds their text and authors."""

TOUCHES = {sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}


@pytest.mark.parametrize("script", scripts("projections"), ids=lambda script: script.name)
async def test_a_projection_reads_and_writes_only_its_own_tables(store: Store, data_dir: Path, script: Any) -> None:
    own = {script.name} | BESIDE.get(script.name, set())
    triggers = set(re.findall(r"CREATE TRIGGER (\w+)", script.text))
    touched: set[tuple[str, str]] = set()

    def authorize(action: int, table: str | None, _column: object, _schema: object, within: str | None) -> int:
        if within and within in triggers and table and action in TOUCHES:
            touched.add((within, table))
        return sqlite3.SQLITE_OK

    with plain(data_dir) as db:
        db.set_authorizer(authorize)
        db.execute(query("replay"), {"after": 0, "upto": 0})
        db.set_authorizer(None)
    assert triggers
    assert {trigger for trigger, _ in touched} == triggers
    assert {table for _, table in touched} - {"projector", "rare_projector", "json_each"} == own


# projection_threads folds every event of a thread but one, as its head says and its trigger does.
NAMING = [script for script in scripts("projections") if script.name != "projection_threads"]


@pytest.mark.parametrize("script", NAMING, ids=lambda script: script.name)
def test_the_header_comment_of_a_projection_names_the_events_it_folds(script: Any) -> None:
    head = " ".join(line for line in script.text.split("\n\n")[0].splitlines())
    folded = set(
        re.findall(r"'(\w+)'", " ".join(re.findall(r"WHEN NEW\.event_type(.*?)BEGIN", script.text, re.DOTALL)))
    )
    assert {word for word in re.findall(r"\w+", head) if word in e.EVENT_TYPES} == folded & e.EVENT_TYPES


def test_no_trigger_condition_has_an_in_list_of_more_than_two_values() -> None:
    """SQLite builds an ephemeral table for IN with more than two values (sqlite3FindInIndex), at every evaluation."""
    conditions = [
        condition
        for script in scripts("projections")
        for condition in re.findall(r"^WHEN (.*?) BEGIN$", script.text, re.DOTALL | re.MULTILINE)
    ]
    assert conditions
    assert [c for c in conditions if any(len(values.split(",")) > 2 for values in re.findall(r"IN \((.*?)\)", c))] == []


def test_every_projection_has_a_file_and_every_table_a_projection() -> None:
    assert {script.name for script in scripts("projections")} | {"parts"} == set(projections.TABLES)
    text = "".join(script.text for script in scripts("migrations"))
    assert set(re.findall(r"CREATE TABLE (\w+)", text)) - set(projections.TABLES) == {
        "schema_migrations",
        "meta",
        "events",
        "event_types",
        "commands",
        "project_folders",
        "erasures",
    }


# What is read


BIG = {"integer": 12345678901234567890123, "float": 1e300, "small": -1.5e-300, "one": 1.0, "max": 2**64 - 1}
BIG_JSON = '{"integer":12345678901234567890123,"float":1e300,"small":-1.5e-300,"one":1.0,"max":18446744073709551615}'


async def test_numbers_of_any_size_are_read_back_unchanged(data_dir: Path) -> None:
    async with serving(data_dir) as (wire, daemon):

        async def dispatch(**command: Any) -> None:
            await wire.call("command/dispatch", command)

        await dispatch(type="CreateProject", id="p", name="P", path="/p")
        await dispatch(type="CreateThread", threadId="t", projectId="p", title="T")
        await dispatch(type="StartTurn", threadId="t", id="u", prompt="", messageId="m")
        await dispatch(
            type="RecordActivity", threadId="t", id="a", turnId="u", kind="k", title="", status="completed", detail=BIG
        )
        await dispatch(type="RequestApproval", threadId="t", id="q", turnId="u", title="", options=[], detail=BIG)
        await dispatch(type="ChangeSetting", key="big", value=BIG)
        await dispatch(type="CompleteTurn", threadId="t", id="u", stopReason="end", usage=BIG)
        for _ in range(2):
            read = await wire.call("thread/read", {"threadId": "t"})
            settings = await wire.call("setting/list")
            opened = await wire.call("subscription/open", {"topic": "thread", "threadId": "t"})
            resumed = await wire.call("subscription/open", {"topic": "settings", "afterSequence": 0})
            found = [
                read["turns"][0]["usage"],
                read["activities"][0]["detail"],
                read["approvals"][0]["detail"],
                settings["items"][0]["value"],
                opened["snapshot"]["turns"][0]["usage"],
                resumed["changes"][0]["value"]["value"],
            ]
            # As text: 1.0 is not 1, and 1e300 is not a 1 with 300 zeros.
            assert [msgspec.json.encode(value).decode() for value in found] == [BIG_JSON] * len(found)
            await daemon.store.rebuild()
        with plain(data_dir) as db:
            payloads = [payload for (payload,) in db.execute("SELECT payload FROM events")]
        assert sum(BIG_JSON in payload for payload in payloads) == 4


async def test_text_that_streams_is_in_the_log_alone(store: Store, data_dir: Path) -> None:
    await append_all(store, LIVE)
    words = ["é", "😀", "\n", '"', "e\u0301", "𝄞" * 3]
    with plain(data_dir) as db:
        row = rows(db, "projection_messages")
        await append_all(store, [e.MessageAppended(id="open", thread_id="t", text=word, at=at(41)) for word in words])
        assert rows(db, "projection_messages") == row
        assert _text(db) == ("left" + "".join(words), "streaming")
        await append_all(store, [e.MessageCompleted(id="open", thread_id="t", at=at(42))])
        assert db.execute("SELECT text FROM parts WHERE text IS NOT NULL").fetchall() == []
        assert _text(db) == ("left" + "".join(words), "complete")


async def test_a_message_of_many_parts_is_folded_into_one_when_it_ends(
    store: Store, data_dir: Path, tmp_path: Path
) -> None:
    await append_all(store, LIVE)
    words = [f"{n} é😀 " for n in range(15)]  # with the text that it began with, and "left": 17
    with plain(data_dir) as db:
        await append_all(store, [e.MessageAppended(id="open", thread_id="t", text=word, at=at(41)) for word in words])
        [end] = await append_all(store, [e.MessageCompleted(id="open", thread_id="t", at=at(42))])
        text = "left" + "".join(words)
        assert _text(db) == (text, "complete")
        assert db.execute("SELECT sequence, text FROM parts WHERE entity = 37").fetchall() == [(end.sequence, text)]
        assert verified(data_dir, tmp_path) == []
        await store.rebuild()
        assert _text(db) == (text, "complete")


def _text(db: sqlite3.Connection) -> tuple[str, str]:
    (value,) = db.execute("SELECT value FROM message_entities WHERE id = 'open'").fetchone()
    message = msgspec.json.decode(value)
    return message["text"], message["status"]
