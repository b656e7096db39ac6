"""What is erased or redacted is gone from every table and every event, and the log is as whole as before."""

import asyncio
import itertools
import json
import random
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wire
from drafts import DRAFTS, Draft, Known
from every_event import HISTORY
from support import append_all, opened, plain
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.erasing import MARK, without
from treadle.domain.errors import Conflict, Rejected
from treadle.store.sqlite import projections
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.reader import reading
from treadle.store.sqlite.sql import scripts
from treadle.store.sqlite.store import Store
from treadle.transfer.jsonl import export, import_log, read_header

SECRET = "zqsecret"


@pytest.fixture
async def engine(store: Store) -> AsyncIterator[Engine]:
    engine = Engine(store, linger=0)
    engine.start()
    yield engine
    await engine.stop()


async def do(engine: Engine, *commands: c.Command, command_id: str | None = None) -> Any:
    return await engine.submit(list(commands), command_id=command_id, digest="d").future


TALK: list[c.Command] = [
    c.CreateProject(id="p", name="p", path="/p"),
    c.CreateThread(thread_id="t", project_id="p", title=f"About {SECRET}"),
    c.StartTurn(thread_id="t", id="u", prompt=f"Use {SECRET}", message_id="m"),
    c.AddMessage(thread_id="t", id="a", turn_id="u", role="assistant", text="zq", streaming=True),
    c.AppendMessage(thread_id="t", id="a", text="sec"),
    c.RecordActivity(
        thread_id="t", id="x", turn_id="u", kind="k", title="cat", status="running", detail={"out": "zqs"}
    ),
    c.UpdateActivity(thread_id="t", id="x", detail={"out": f"{SECRET} and more"}, status="completed"),
    c.AppendMessage(thread_id="t", id="a", text="ret"),
    c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn", usage={"note": SECRET}),
]


def tables_of(db: sqlite3.Connection) -> dict[str, list[Any]]:
    """All rows of all tables, with the words of the search."""
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
    for words in projections.SEARCHES:
        db.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.{words}_v USING fts5vocab(main, {words}, row)")
    tables = [name for name in names if "_search" not in name] + [f"{words}_v" for words in projections.SEARCHES]
    return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


def everything(db: sqlite3.Connection) -> str:
    return repr(tables_of(db))


def events_of(db: sqlite3.Connection, thread_id: str) -> list[tuple[int, dict[str, Any]]]:
    rows = db.execute("SELECT sequence, payload FROM events WHERE thread_id = ? ORDER BY sequence", (thread_id,))
    return [(sequence, json.loads(payload)) for sequence, payload in rows.fetchall()]


def redaction(db: sqlite3.Connection, thread_id: str, find: str) -> c.Redact:
    changes = without(events_of(db, thread_id), find)
    return c.Redact(thread_id=thread_id, events=[c.CleanTexts(*change) for change in changes.items()])


def assert_whole(data_dir: Path, tmp_path: Path) -> None:
    """No sequence is missing, all events decode, and the tables are those of a replay."""
    with plain(data_dir) as db:
        rows = db.execute("SELECT sequence, payload FROM events ORDER BY sequence").fetchall()
    assert [sequence for sequence, _ in rows] == list(range(1, len(rows) + 1))
    for _, payload in rows:
        e.decode(payload.encode())
    copy = tmp_path / "copy.db"
    assert projections.verify(data_dir / FILE_NAME, copy) == (len(rows), [])
    copy.unlink()


# What is gone


async def test_nothing_of_an_erased_thread_is_in_any_table(engine: Engine, data_dir: Path, tmp_path: Path) -> None:
    await do(engine, *TALK)
    with plain(data_dir) as db:
        assert SECRET in everything(db)
        await do(engine, c.EraseThread(thread_id="t"))
        assert SECRET not in everything(db)
        assert all(event.get("erased") for _, event in events_of(db, "t")[:-1])
    assert_whole(data_dir, tmp_path)


async def test_what_is_redacted_is_gone_also_where_it_was_streamed_in_pieces(
    engine: Engine, data_dir: Path, tmp_path: Path
) -> None:
    await do(engine, *TALK)
    with plain(data_dir) as db:
        await do(engine, redaction(db, "t", SECRET))
        assert SECRET not in everything(db)
        texts = db.execute("SELECT text FROM message_texts ORDER BY sequence").fetchall()
        assert texts == [(f"Use {MARK}",), (MARK,)]
        assert db.execute("SELECT detail FROM activity_details").fetchall() == [(f'{{"out":"{MARK} and more"}}',)]
        assert db.execute("SELECT title FROM projection_threads").fetchall() == [(f"About {MARK}",)]
        words = "SELECT count(*) FROM message_search WHERE message_search MATCH 'redacted'"
        assert db.execute(words).fetchone() == (2,)
        await do(engine, redaction(db, "t", "more"))
        await do(engine, redaction(db, "t", "About"))
        assert "more" not in everything(db)
        assert "About" not in everything(db), "also where an earlier redaction has a copy of it"
    assert_whole(data_dir, tmp_path)


async def test_a_log_with_erasures_is_exported_and_imported_whole(
    engine: Engine, data_dir: Path, tmp_path: Path
) -> None:
    await do(engine, *TALK, c.CreateThread(thread_id="t2", project_id="p", title=f"{SECRET} 2"))
    with plain(data_dir) as db:
        await do(engine, redaction(db, "t2", SECRET))
        await do(engine, c.EraseThread(thread_id="t"))
        before = [db.execute(f"SELECT * FROM {table}").fetchall() for table in ("events", "erasures")]
    file, other = tmp_path / "log.jsonl", tmp_path / "other"
    with reading(data_dir) as reader, file.open("wb") as out:
        export(reader, out.write)
    async with opened(other):
        pass
    with file.open("rb") as stream:
        import_log(other, read_header(stream), stream)
    with plain(other) as db:
        assert [db.execute(f"SELECT * FROM {table}").fetchall() for table in ("events", "erasures")] == before
    assert_whole(other, tmp_path)


async def test_a_rebuild_after_erasures_gives_the_same_tables(store: Store, engine: Engine, data_dir: Path) -> None:
    await do(engine, *TALK, c.CreateThread(thread_id="t2", project_id="p", title=f"{SECRET} 2"))
    with plain(data_dir) as db:
        await do(engine, redaction(db, "t2", SECRET))
        await do(engine, c.EraseThread(thread_id="t"))
        before = everything(db)
        await store.rebuild()
        assert everything(db) == before


async def test_every_event_of_a_thread_decodes_once_it_is_erased(store: Store, data_dir: Path) -> None:
    await append_all(store, [event for event, _ in HISTORY])
    with plain(data_dir) as db:
        for _, event in events_of(db, "t")[:-1]:
            assert event["erased"] is True
            decoded = e.decode(json.dumps(event).encode())
            assert type(decoded).__name__ == event["type"]
        again = "SELECT count(*) FROM events AS e JOIN skeletons AS s USING (sequence) WHERE e.payload <> s.payload"
        assert db.execute(f"{again} AND e.thread_id = 't' AND e.event_type <> 'ThreadErased'").fetchone() == (0,)


@pytest.mark.parametrize("ends", [[], [c.DeleteThread(thread_id="t")], [c.EraseThread(thread_id="t")]])
async def test_a_thread_is_erased_once_whether_it_was_deleted_before_or_not(
    engine: Engine, data_dir: Path, ends: list[c.Command]
) -> None:
    await do(engine, *TALK[:4], *ends)
    await do(engine, c.EraseThread(thread_id="t"))
    await do(engine, c.EraseThread(thread_id="t"))
    with plain(data_dir) as db:
        types = [event["type"] for _, event in events_of(db, "t")]
    assert types[-2:] == ["ThreadDeleted", "ThreadErased"]
    assert types.count("ThreadErased") == types.count("ThreadDeleted") == types.count("TurnInterrupted") == 1


# Property: any commands, then erasures and redactions

WITH_TEXT = DRAFTS.map(lambda draft: draft._replace(text=f"{draft.text}{SECRET}", value={"a": [SECRET, draft.value]}))
OF_NO_THREAD = (c.CreateProject, c.UpdateProject, c.ChangeSetting)


@given(
    st.lists(WITH_TEXT.filter(lambda draft: draft.kind not in OF_NO_THREAD), min_size=5, max_size=60),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_any_thread_that_is_erased_or_redacted_loses_its_texts(drafts: list[Draft], chance: random.Random) -> None:
    asyncio.run(_erase_some(drafts, chance))


async def _erase_some(drafts: list[Draft], chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as name:
        data_dir = Path(name) / "data"
        async with opened(data_dir) as store:
            engine = Engine(store, linger=0)
            engine.start()
            known, ids = Known(), map("x{}".format, itertools.count(1))
            await do(engine, c.CreateProject(id="p", name="P", path="/p"))
            known.projects.append("p")
            known_at = 1
            with plain(data_dir) as db:
                for draft in drafts:
                    command: Any = msgspec.convert(known.command(draft, next(ids)), c.AnyCommand)
                    try:
                        await do(engine, c.with_ids(command, {field: next(ids) for field in c.missing_ids(command)}))
                    except Rejected:
                        continue
                    for sequence, payload in db.execute(
                        "SELECT sequence, payload FROM events WHERE sequence > ?", (known_at,)
                    ).fetchall():
                        known.learn(sequence, e.decode(payload.encode()))
                        known_at = sequence
                for thread_id in [*known.threads]:
                    if chance.random() < 0.5:
                        await do(engine, c.EraseThread(thread_id=thread_id))
                        assert SECRET not in json.dumps(events_of(db, thread_id))
                    elif without(events_of(db, thread_id), SECRET):
                        await do(engine, redaction(db, thread_id, SECRET))
                        assert without(events_of(db, thread_id), SECRET) == {}
                for thread_id in known.threads:
                    await do(engine, c.EraseThread(thread_id=thread_id))
                for thread_id in known.deleted:
                    await do(engine, c.EraseThread(thread_id=thread_id))
                found = tables_of(db)
                found["events"] = [row for row in found["events"] if row[4] is not None]  # of a thread
                for table in found.keys() - {"settings", "projection_rules", "projection_projects"}:
                    assert [row for row in found[table] if SECRET in repr(row)] == [], table
            await engine.stop()
        assert_whole(data_dir, Path(name))


CUTS = st.lists(st.integers(0, 30), max_size=4)


@given(st.text(alphabet='zqsecrt "\\\n', max_size=10), st.text(alphabet="zqsecrt\n", max_size=10), CUTS)
def test_a_text_that_is_cut_anywhere_is_found(before: str, after: str, cuts: list[int]) -> None:
    whole = f"{before}{SECRET}{after}"
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)] or [whole]
    events: list[tuple[int, dict[str, Any]]] = [(1, {"type": "MessageAdded", "id": "a", "text": "", "streaming": True})]
    events += [(n, {"type": "MessageAppended", "id": "a", "text": piece}) for n, piece in enumerate(pieces, 2)]
    changes = without(events, SECRET)
    now = "".join((event | changes.get(n, {}))["text"] for n, event in events)
    assert SECRET not in now
    assert now == whole.replace(SECRET, MARK)


def test_a_text_is_found_where_it_is_quoted_in_json() -> None:
    secret = 'p"ä\\s'
    detail = {"raw": json.dumps({"password": secret}), "utf8": json.dumps({"p": secret}, ensure_ascii=False)}
    changes = without([(1, {"type": "ActivityRecorded", "id": "x", "title": "", "detail": detail})], secret)
    assert changes[1]["detail"] == {"raw": f'{{"password": "{MARK}"}}', "utf8": f'{{"p": "{MARK}"}}'}


# The guard

CHANGES = [
    "UPDATE events SET payload = '{}' WHERE {where}",
    "UPDATE events SET payload = json_set(payload, '$.text', 'x', '$.title', 'x') WHERE {where}",
    "UPDATE events SET payload = json_set(payload, '$.erased', json('true')) WHERE {where}",
    "UPDATE events SET payload = json_set(payload, '$.at', '2000-01-01T00:00:00.000Z') WHERE {where}",
    "UPDATE events SET payload = json_remove(payload, '$.text') WHERE {where} AND payload ->> '$.text' IS NOT NULL",
    "UPDATE events SET payload = (SELECT payload FROM events WHERE sequence = 2) WHERE {where} AND sequence <> 2",
    "UPDATE events SET sequence = sequence + 1000 WHERE {where}",
    "UPDATE events SET actor = 'someone' WHERE {where}",
    "UPDATE OR REPLACE events SET sequence = 1 WHERE {where}",
    "UPDATE OR IGNORE events SET payload = '{}' WHERE {where}",
    "DELETE FROM events WHERE {where}",
    "REPLACE INTO events (sequence, payload) SELECT sequence, '{}' FROM events WHERE {where}",
    "INSERT OR REPLACE INTO events (sequence, payload) SELECT sequence, payload FROM events WHERE {where}",
    "INSERT INTO events (sequence, payload) SELECT sequence, '{}' FROM events WHERE {where} ON CONFLICT DO UPDATE "
    "SET payload = excluded.payload",
]
PLACES = ["sequence = 3", "thread_id = 't'", "thread_id = 'kept'", "event_type = 'EventsRedacted'", "sequence > 1"]


@pytest.fixture
async def partly_erased(engine: Engine, data_dir: Path) -> Path:
    kept = c.CreateThread(thread_id="kept", project_id="p", title=f"{SECRET} kept")
    more = c.StartTurn(thread_id="kept", id="u", prompt="Go", message_id="m")
    await do(engine, *TALK, kept, more)
    with plain(data_dir) as db:
        await do(engine, redaction(db, "kept", SECRET))
    await do(engine, c.EraseThread(thread_id="t"))
    return data_dir


@pytest.mark.parametrize("statement", [one.replace("{where}", place) for one in CHANGES for place in PLACES])
def test_no_statement_changes_what_is_in_the_log(partly_erased: Path, statement: str) -> None:
    with plain(partly_erased) as db:
        assert refused(db, statement)


def refused(db: sqlite3.Connection, statement: str) -> bool:
    """Whether the statement leaves the log as it was."""
    before = db.execute("SELECT * FROM events").fetchall()
    try:
        db.execute(statement)
    except sqlite3.DatabaseError:
        pass
    return db.execute("SELECT * FROM events").fetchall() == before


def test_only_what_a_redaction_lists_passes_the_guard(partly_erased: Path) -> None:
    with plain(partly_erased) as db:
        rows = db.execute("SELECT sequence FROM events WHERE thread_id = 'kept' ORDER BY sequence").fetchall()
        skeleton = "(SELECT payload FROM skeletons AS s WHERE s.sequence = events.sequence)"
        for (sequence,) in rows:
            with pytest.raises(sqlite3.IntegrityError, match="never changed, but erased"):
                db.execute(f"UPDATE events SET payload = {skeleton} WHERE sequence = ?", (sequence,))


def test_a_guard_that_does_not_compare_with_the_skeleton_is_found(partly_erased: Path) -> None:
    """The planted fault: what the fuzz above is for."""
    (migration,) = scripts("migrations")
    text = next(one for one in migration.statements() if "TRIGGER events_refuse_update" in one)
    compares = "NEW.payload IS (SELECT payload FROM skeletons WHERE sequence = OLD.sequence)"
    assert compares in text
    with plain(partly_erased) as db:
        db.execute("DROP TRIGGER events_refuse_update")
        db.execute(text.replace(compares, "1"))
        statements = [one.replace("{where}", place) for one in CHANGES for place in PLACES]
        assert any(not refused(db, statement) for statement in statements)


# Commands and clients


async def test_a_command_whose_events_were_erased_is_not_answered_again(engine: Engine, data_dir: Path) -> None:
    await do(engine, *TALK[:2])
    await do(engine, TALK[2], command_id="erased")
    await do(engine, c.CreateThread(thread_id="t2", project_id="p", title="Other"), command_id="kept")
    erased = await do(engine, c.EraseThread(thread_id="t"), command_id="erasing")
    with pytest.raises(Conflict) as refused:
        await do(engine, TALK[2], command_id="erased")
    assert refused.value.kind == "commandErased"
    kept = await do(engine, c.CreateThread(thread_id="t2", project_id="p", title="Other"), command_id="kept")
    assert b"Other" in bytes(kept.results[0].events[0])
    assert (await do(engine, c.EraseThread(thread_id="t"), command_id="erasing")).sequence == erased.sequence
    with plain(data_dir) as db:
        assert db.execute("SELECT command_id FROM commands WHERE digest = 'erased'").fetchall() == [("erased",)]


async def test_a_command_that_is_erased_in_the_same_append_leaves_no_digest(engine: Engine, data_dir: Path) -> None:
    await do(engine, *TALK[:2])
    first = engine.submit([TALK[2]], command_id="first", digest="d")
    second = engine.submit([c.EraseThread(thread_id="t")], command_id="second", digest="d")
    await asyncio.gather(first.future, second.future)
    with plain(data_dir) as db:
        digests = db.execute("SELECT command_id, digest FROM commands ORDER BY 1").fetchall()
    assert digests == [("first", "erased"), ("second", "d")]


async def test_a_command_whose_events_were_redacted_is_not_answered_again(engine: Engine, data_dir: Path) -> None:
    await do(engine, *TALK[:2])
    await do(engine, TALK[2], command_id="c")
    with plain(data_dir) as db:
        await do(engine, redaction(db, "t", SECRET))
    with pytest.raises(Conflict) as refused:
        await do(engine, TALK[2], command_id="c")
    assert refused.value.kind == "commandErased"


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[Any]:
    with wire.serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title=SECRET)
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt=SECRET, messageId="m")
        yield daemon


def test_a_client_that_resumes_after_an_erasure_is_told_that_the_thread_is_gone(daemon: Any) -> None:
    daemon.dispatch("EraseThread", threadId="t")
    index = daemon.result("subscription/open", {"topic": "index", "afterSequence": 3})
    assert {"type": "remove", "entity": "thread", "id": "t"} in index["changes"]
    assert SECRET not in json.dumps(index)
    thread = daemon.result("subscription/open", {"topic": "thread", "threadId": "t", "afterSequence": 3})
    assert {(change["type"], change["entity"]) for change in thread["changes"]} == {
        *(("remove", "thread"), ("remove", "turn"), ("remove", "message"))
    }
    assert SECRET not in json.dumps(daemon.result("event/list", {}))


def test_a_client_of_a_thread_is_sent_the_entities_of_rewritten_events(daemon: Any) -> None:
    before = daemon.result("thread/read", {"threadId": "t"})["sequence"]
    events = [{"sequence": 2, "members": {"title": "clean"}}, {"sequence": 4, "members": {"text": "clean"}}]
    daemon.dispatch("Redact", threadId="t", events=events)
    opened = daemon.result("subscription/open", {"topic": "thread", "threadId": "t", "afterSequence": before})
    values = {(change["entity"], change["value"]["id"]): change["value"] for change in opened["changes"]}
    assert values["message", "m"]["text"] == values["thread", "t"]["title"] == "clean"
    assert values["turn", "u"]["status"] == "interrupted"


def test_a_client_of_events_is_sent_skeletons_and_the_erasure(daemon: Any) -> None:
    daemon.dispatch("EraseThread", threadId="t")
    daemon.result("subscription/open", {"topic": "events", "afterSequence": 1})
    told = daemon.notification("event/appended")["events"]
    assert [one["event"].get("erased", False) for one in told] == [True] * (len(told) - 1) + [False]
    assert told[-1]["event"]["type"] == "ThreadErased"
    assert SECRET not in json.dumps(told)
