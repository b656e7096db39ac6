"""Search finds text by its words, before and after rebuilds; what people type is never parsed as syntax."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from every_event import HISTORY, LIVE, at
from support import PATIENCE, append_all, opened, plain, serving, spawned
from treadle.domain import events as e
from treadle.domain.entities import Hit
from treadle.domain.errors import NotFound
from treadle.store.errors import Refused, StorageError
from treadle.store.pages import BadCursor
from treadle.store.ports import BadQuery, Reads
from treadle.store.sqlite import database, projections
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.search import expression, unmarked
from treadle.store.sqlite.store import Store
from treadle.store.sqlite.transaction import SqliteReads


def thread(id: str, title: str, project: str = "p") -> e.AnyEvent:
    return e.ThreadCreated(thread_id=id, project_id=project, title=title, at=at(0))


def message(id: str, text: str, *, thread: str = "t", turn: str = "u", streaming: bool = False) -> e.AnyEvent:
    return e.MessageAdded(
        id=id, thread_id=thread, turn_id=turn, role="assistant", text=text, streaming=streaming, at=at(0)
    )


def activity(id: str, title: str, status: Any, detail: Any = None, *, thread: str = "t") -> e.AnyEvent:
    return e.ActivityRecorded(
        id=id, thread_id=thread, turn_id="u", kind="execute", title=title, status=status, detail=detail, at=at(0)
    )


TALK: list[e.AnyEvent] = [
    e.ProjectCreated(id="p", name="P", path="/p", at=at(0)),
    e.ProjectCreated(id="q", name="Q", path="/q", at=at(0)),
    thread("t", "Mend the retry delay"),
    thread("other", "Écoute les fenêtres", project="q"),
    e.TurnStarted(id="u", thread_id="t", runner="r", at=at(0)),
    e.TurnStarted(id="u", thread_id="other", runner="r", at=at(0)),
    message("m1", "Why does retry_delay grow without a bound?"),
    message("m2", "C'est la fenêtre 🪟 du délai.", thread="other"),
    activity("a1", "pytest -k delay", "completed", {"command": "pytest", "output": ["1 failed:\ndelay was 64 s"]}),
]


async def found(store: Store, text: str, **more: Any) -> list[Hit]:
    return (await store.search(lambda reads: reads.search(text, **more))).items


def names(hits: list[Hit]) -> set[tuple[str, str, str]]:
    return {(hit.entity, hit.thread_id, hit.id) for hit in hits}


@pytest.fixture
async def store(data_dir: Path) -> Any:
    async with opened(data_dir) as store:
        await append_all(store, TALK)
        yield store


async def test_search_finds_titles_messages_and_activities(store: Store) -> None:
    hits = await found(store, "delay")
    assert names(hits) == {("thread", "t", "t"), ("message", "t", "m1"), ("activity", "t", "a1")}
    by = {hit.entity: hit for hit in hits}
    assert by["message"].turn_id == by["activity"].turn_id == "u"
    assert by["thread"].turn_id is None
    assert {hit.thread_title for hit in hits} == {"Mend the retry delay"}
    assert {hit.project_id for hit in hits} == {"p"}
    assert [hit.rank for hit in hits] == sorted(hit.rank for hit in hits)


async def test_match_positions_are_code_point_offsets_in_the_snippet(store: Store) -> None:
    (hit,) = await found(store, "délai")
    assert hit.id == "m2"
    assert hit.snippet == "C'est la fenêtre 🪟 du délai."
    assert [hit.snippet[match.start : match.end] for match in hit.matches] == ["délai"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FENETR", {"m2", "other"}),  # neither case nor accents count, and the last may be the beginning of a word
        ("fenetr delai", set()),  # but not of another
        ("retry delay", {"t", "m1"}),  # every word, in any order, in one place
        ("delay retry", {"t", "m1"}),
        ("retry_delay", {"t", "m1"}),  # the parts of a name, side by side
        ("delay_retry", set()),
        ("64 s", {"a1"}),  # a string in the detail of an activity
        ("output", set()),  # but not its name
        ("->", set()),
        ("-> bound?", {"m1"}),
        ("", set()),
        (" \t\n", set()),
        ('" OR retry', set()),
        ("retry OR nothing", set()),
        ("title:retry", set()),
        ("retr*", {"t", "m1"}),
        ("NEAR(retry delay)", set()),
    ],
)
async def test_search_text_is_never_parsed_as_fts5_syntax(store: Store, text: str, expected: set[str]) -> None:
    assert {hit.id for hit in await found(store, text)} == expected


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_any_text_is_a_valid_query(text: str) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")
    db.execute("INSERT INTO words VALUES (?)", (text,))
    asked = expression(text)
    if asked:
        db.execute("SELECT * FROM words WHERE words MATCH ?", (asked,)).fetchall()
    db.close()


async def test_fts5_syntax_is_available_on_request_with_its_errors(store: Store) -> None:
    assert {hit.id for hit in await found(store, "bound OR fenêtre", syntax="fts5")} == {"m1", "m2"}
    for wrong in ("(", '"', "AND", "nowhere:x"):
        with pytest.raises(BadQuery):
            await found(store, wrong, syntax="fts5")


async def test_search_can_be_limited_to_a_project_or_thread(store: Store) -> None:
    assert names(await found(store, "fenetr", project_id="p")) == set()
    assert names(await found(store, "fenetr", project_id="q")) == {
        ("thread", "other", "other"),
        ("message", "other", "m2"),
    }
    assert names(await found(store, "delay", thread_id="t")) == names(await found(store, "delay"))
    assert names(await found(store, "delay", thread_id="other")) == set()
    with pytest.raises(NotFound):
        await found(store, "delay", thread_id="nobody")


async def test_a_streaming_message_is_searchable_when_complete(store: Store) -> None:
    await append_all(
        store,
        [
            message("m3", "half a ", streaming=True),
            e.MessageAppended(id="m3", thread_id="t", text="zeb", at=at(0)),
            e.MessageAppended(id="m3", thread_id="t", text="ra", at=at(0)),
        ],
    )
    assert await found(store, "half zebra") == []
    await append_all(store, [e.MessageCompleted(id="m3", thread_id="t", at=at(0))])
    assert [hit.id for hit in await found(store, "half zebra")] == ["m3"]


async def test_an_activity_is_searchable_by_its_last_content_when_it_has_ended(store: Store) -> None:
    await append_all(store, [activity("a2", "walrus", "running", "penguin")])
    assert await found(store, "walrus") == []
    await append_all(store, [activity("a2", "walrus", "completed", {"found": "penguin"})])
    assert [hit.id for hit in await found(store, "walrus penguin")] == ["a2"]
    await append_all(store, [activity("a2", "walrus", "failed", {"found": "albatross"})])
    assert await found(store, "penguin") == []
    assert [hit.id for hit in await found(store, "albatross")] == ["a2"]


async def test_search_finds_the_current_title_and_no_deleted_threads(store: Store) -> None:
    await append_all(store, [e.ThreadRenamed(thread_id="t", title="Bound the backoff", at=at(0))])
    assert ("thread", "t", "t") not in names(await found(store, "delay"))
    assert names(await found(store, "backoff")) == {("thread", "t", "t")}
    await append_all(store, [e.ThreadDeleted(thread_id="t", at=at(0))])
    for text in ("delay", "backoff", "pytest"):
        assert await found(store, text) == []
    assert names(await found(store, "delai")) == {("message", "other", "m2")}


async def test_search_pages_contain_every_hit_once_during_writes(store: Store) -> None:
    await append_all(store, [message(f"n{i}", f"needle number {i}") for i in range(25)])
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.search(partial(SqliteReads.search, text="needle", limit=10, cursor=cursor))
        seen += [hit.id for hit in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        await append_all(store, [message(f"late-{cursor}", "needle needle needle")])
    assert sorted(seen) == sorted(f"n{i}" for i in range(25))
    with pytest.raises(BadCursor):
        await found(store, "needle", cursor="bm8")


def in_year(year: int, event: e.AnyEvent) -> e.AnyEvent:
    return msgspec.structs.replace(event, at=f"{year}{event.at[4:]}")


async def test_among_similar_matches_the_latest_stands_first_wherever_it_is_in_the_log(store: Store) -> None:
    years = [2024, 2026, 2023, 2025]
    await append_all(store, [in_year(year, message(f"m{year}", "A needle in the hay")) for year in years])
    assert [hit.id for hit in await found(store, "needle")] == ["m2026", "m2025", "m2024", "m2023"]


async def test_a_much_better_match_stands_above_a_later_one(store: Store) -> None:
    long = "needle " + "hay " * 300
    await append_all(store, [message("later", long), message("better", "needle, needle")])
    await append_all(store, [in_year(2025, message("older", "needle, needle")), in_year(2025, message("worst", long))])
    assert [hit.id for hit in await found(store, "needle")] == ["better", "later", "older", "worst"]


@pytest.mark.parametrize("kind", ["thread", "message", "activity"])
async def test_a_history_that_is_imported_later_does_not_hide_what_is_newer(store: Store, kind: str) -> None:
    def match(id: str, in_thread: str) -> e.AnyEvent:
        if kind == "thread":
            return thread(id, "A needle in the hay")
        if kind == "message":
            return message(id, "A needle in the hay", thread=in_thread)
        return activity(id, "A needle in the hay", "completed", thread=in_thread)

    await append_all(store, [match(f"new-{i}", "t") for i in range(3)])
    await append_all(
        store,
        [
            in_year(2025, event)
            for event in (thread("imported", "Old"), *[match(f"old-{i}", "imported") for i in range(1_500)])
        ],
    )
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await store.search(partial(SqliteReads.search, text="needle", limit=100, cursor=cursor))
        seen += [hit.id for hit in page.items]
        cursor = page.next_cursor
    assert seen[:4] == ["new-2", "new-1", "new-0", "old-1499"]
    assert sorted(seen[3:]) == sorted(f"old-{i}" for i in range(500, 1_500))
    assert [hit.id for hit in await found(store, "needle", project_id="p", limit=2)] == seen[:2]
    assert [hit.id for hit in await found(store, "needle", project_id="q")] == []


async def test_todays_work_stands_above_a_history_that_a_client_imports_after_it(data_dir: Path) -> None:
    a_year_ago = (datetime.now(UTC) - timedelta(days=365)).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def conversation(thread: str, count: int, **at: str) -> list[dict[str, Any]]:
        of = {"threadId": thread, **at}
        said = {"type": "AddMessage", **of, "turnId": "u", "role": "user", "text": "A needle in the hay"}
        return [
            {"type": "CreateThread", **of, "projectId": "p", "title": thread},
            {"type": "StartTurn", **of, "id": "u"},
            *({**said, "id": f"{thread}-{i}"} for i in range(count)),
        ]

    async with serving(data_dir) as (client, _):
        await client.call("command/dispatch", {"type": "CreateProject", "id": "p", "name": "p", "path": "/p"})
        work = [*conversation("today", 3), *conversation("imported", 1_500, at=a_year_ago)]
        for i in range(0, len(work), 1000):
            await client.call("command/dispatchBatch", {"commands": work[i : i + 1000]})
        page = await client.call("search/query", {"query": "needle"})
        assert [hit["id"] for hit in page["items"]][:4] == ["today-2", "today-1", "today-0", "imported-1499"]
        assert len(page["items"]) == 20


async def test_a_rebuild_restores_the_search_index_and_verify_finds_missing_words(
    data_dir: Path, tmp_path: Path
) -> None:
    async with opened(data_dir) as store:
        await append_all(store, [*TALK, *(event for event in LIVE if not isinstance(event, e.ProjectCreated))][:9])
        before = await found(store, "delay")
        await store.rebuild()
        assert await found(store, "delay") == before
    assert projections.verify(data_dir / FILE_NAME, tmp_path / "copy.db")[1] == []
    with plain(data_dir) as db:
        db.execute("INSERT INTO message_search (message_search) VALUES ('delete-all')")
    _, differences = projections.verify(data_dir / FILE_NAME, tmp_path / "another.db")
    assert {(d.table, d.side) for d in differences} == {("message_search", "missing")}
    assert {"term": "bound", "doc": 1, "cnt": 1} in [d.row for d in differences]


async def test_verify_finds_words_that_point_to_the_wrong_row(store: Store, tmp_path: Path) -> None:
    with plain(store.data_dir) as db:
        titles = db.execute("SELECT sequence, title FROM projection_threads").fetchall()
        db.executemany("INSERT INTO thread_search (thread_search, rowid, title) VALUES ('delete', ?, ?)", titles)
        (one, title), (two, another) = titles
        db.executemany("INSERT INTO thread_search (rowid, title) VALUES (?, ?)", [(one, another), (two, title)])
    assert "other" in [hit.id for hit in await found(store, "retry")]
    _, differences = projections.verify(store.path, tmp_path / "copy.db")
    assert [(d.table, d.side, d.row["term"], d.row["doc"]) for d in differences] == [
        ("thread_search", "missing", "delay", one),
        ("thread_search", "unexpected", "delay", two),
    ]


async def test_the_search_index_matches_a_rebuild_after_every_event(data_dir: Path, tmp_path: Path) -> None:
    async with opened(data_dir) as store:
        for i, (event, _) in enumerate(HISTORY):
            await append_all(store, [event])
            assert projections.verify(data_dir / FILE_NAME, tmp_path / f"{i}.db")[1] == []


def test_marker_characters_in_the_text_keep_matches_inside_the_snippet() -> None:
    for text in ("\x02a\x03 b", "a\x02b\x02c\x03d\x03", "\x03\x03a\x02", "plain"):
        snippet, matches = unmarked(text)
        assert not {"\x02", "\x03"} & set(snippet)
        assert all(0 <= match.start <= match.end <= len(snippet) for match in matches)


async def test_a_client_can_search_its_latest_writes_and_gets_errors_for_bad_queries(data_dir: Path) -> None:
    async with serving(data_dir) as (client, _):
        client.send("command/dispatch", {"type": "CreateProject", "id": "p", "name": "p", "path": "/p"})
        client.send(
            "command/dispatch", {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": "A lost needle"}
        )
        page = await client.call("search/query", {"query": "need"})  # nobody waited for the answers before
        (hit,) = page["items"]
        assert {key: hit[key] for key in ("entity", "id", "threadId", "turnId", "projectId", "threadTitle")} == {
            "entity": "thread",
            "id": "t",
            "threadId": "t",
            "turnId": None,
            "projectId": "p",
            "threadTitle": "A lost needle",
        }
        assert (hit["snippet"], hit["matches"]) == ("A lost needle", [{"start": 7, "end": 13}])
        assert page["nextCursor"] is None
        for params, path in (
            ({"query": "(", "syntax": "fts5"}, "$.params.query"),
            ({"query": "needle", "cursor": "?"}, "$.params.cursor"),
            ({"query": "needle", "limit": 101}, "$.params.limit"),
            ({"query": "x" * 1001}, "$.params.query"),
        ):
            error = (await client.reply(client.send("search/query", params)))["error"]
            assert error["data"]["path"] == path
        missing = (await client.reply(client.send("search/query", {"query": "x", "threadId": "nobody"})))["error"]
        assert missing["data"]["kind"] == "notFound"


async def test_search_finds_writes_of_another_daemon(data_dir: Path) -> None:
    async with spawned(data_dir) as (one, _), spawned(data_dir) as (two, _):
        await one.call("command/dispatch", {"type": "CreateProject", "id": "p", "name": "p", "path": "/p"})
        assert (await two.call("search/query", {"query": "needle"}))["items"] == []
        command = {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": "A lost needle"}
        await one.call("command/dispatch", command)
        assert [hit["id"] for hit in (await two.call("search/query", {"query": "needle"}))["items"]] == ["t"]


def endless(begun: Callable[[], object]) -> Callable[[SqliteReads], object]:
    """A search that comes to no end by itself."""

    def run(reads: SqliteReads) -> object:
        begun()
        return reads._db.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT sum(i) FROM n"
        ).fetchone()

    return run


async def test_a_search_that_takes_too_long_times_out_and_the_next_one_runs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("treadle.store.sqlite.store.LONGEST_SEARCH", 0.0)
        with pytest.raises(StorageError, match="the search timed out") as error:
            await store.search(endless(lambda: None))
    assert error.value.kind == "searchTimedOut"
    assert await found(store, "bound")


async def test_a_search_stops_when_its_client_or_the_store_is_closed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.store.sqlite.store.LONGEST_SEARCH", 1e9)
    loop, begun = asyncio.get_running_loop(), asyncio.Semaphore(0)

    async def search_without_end() -> "asyncio.Task[object]":
        task = asyncio.create_task(store.search(endless(lambda: loop.call_soon_threadsafe(begun.release))))
        await begun.acquire()
        return task

    (await search_without_end()).cancel()
    assert await found(store, "bound")  # after it, on the same connection
    last = await search_without_end()
    await store.close()
    with pytest.raises(StorageError):
        await last


async def test_search_refuses_a_database_that_replaced_the_one_in_use(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        async with opened(tmp_path / name) as store:
            await append_all(store, TALK)
    async with serving(tmp_path / "ours") as (client, _):
        (tmp_path / "ours").rename(tmp_path / "away")
        (tmp_path / "theirs").rename(tmp_path / "ours")
        error = (await client.reply(client.send("search/query", {"query": "retry"})))["error"]
        assert error["data"]["kind"] == "databaseUnreachable"
        (tmp_path / "ours").rename(tmp_path / "theirs")
        (tmp_path / "away").rename(tmp_path / "ours")
        assert (await client.call("search/query", {"query": "retry"}))["items"]


async def test_other_reads_do_not_wait_for_a_search(store: Store) -> None:
    begun, enough = threading.Event(), threading.Event()

    def slow(reads: Reads) -> bool:
        begun.set()
        return enough.wait(PATIENCE)

    searching = asyncio.create_task(store.search(slow))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    assert await store.read(lambda reads: reads.sequence()) == len(TALK)
    assert not searching.done()
    enough.set()
    assert await searching


def test_an_sqlite_without_fts5_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def without(path: str) -> sqlite3.Connection:
        db = connect(path)
        db.create_function("sqlite_compileoption_used", 1, lambda option: 0)
        return db

    database.require_sqlite()
    monkeypatch.setattr(sqlite3, "connect", without)
    with pytest.raises(Refused, match="FTS5"):
        database.require_sqlite()
