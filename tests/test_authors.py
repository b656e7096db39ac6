"""Who caused an event of a shared log, and what clients and people see of that."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from memory_store import MemoryStore
from support import log_sequence, opened, plain, serving
from treadle.domain import agent_events as agents
from treadle.domain import entities
from treadle.domain import events as e
from treadle.store.pages import LATEST
from treadle.store.ports import DataDirectory, Reads
from treadle.store.shared.remote import SharedEvent
from treadle.store.shared.replica import apply
from treadle.store.sqlite import projections
from treadle.store.sqlite.store import Store
from wire import run

AT = "2026-01-31T12:00:00.000Z"
OPTIONS = [e.OfferedOption(id="yes", name="Yes", kind="allow_once")]
HISTORY: list[tuple[str | None, e.Event]] = [
    ("ada", e.ProjectCreated(id="p", name="app", remote="example.org/team/app", at=AT)),
    ("ada", e.ThreadCreated(thread_id="t", project_id="p", title="Title", at=AT)),
    ("ada", e.TurnStarted(thread_id="t", id="u", runner="m.d", at=AT)),
    ("ada", e.MessageAdded(thread_id="t", id="asked", turn_id="u", role="user", text="Please", at=AT)),
    ("ada", e.MessageAdded(thread_id="t", id="said", turn_id="u", role="assistant", text="", streaming=True, at=AT)),
    ("bob", e.MessageAppended(thread_id="t", id="said", text="Sure", at=AT)),
    ("ada", e.ApprovalRequested(thread_id="t", id="may", turn_id="u", title="May it?", options=OPTIONS, at=AT)),
    ("ada", e.ApprovalRequested(thread_id="t", id="let", turn_id="u", title="Let it?", options=OPTIONS, at=AT)),
    ("bob <b>", e.ApprovalResolved(thread_id="t", id="may", outcome="yes", by="user", at=AT)),
    ("bob", e.ApprovalResolved(thread_id="t", id="let", outcome=None, at=AT)),
    ("bob", e.MessageCompleted(thread_id="t", id="said", at=AT)),
    ("bob", e.ThreadRenamed(thread_id="t", title="Renamed", at=AT)),
    (None, e.ThreadCreated(thread_id="own", project_id="p", title="Mine", at=AT)),
]


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, data_dir: Path) -> AsyncIterator[DataDirectory]:
    async with opened(data_dir) if request.param == "sqlite" else nullcontext(MemoryStore()) as store:
        yield store


async def append(store: DataDirectory, events: Sequence[tuple[str | None, e.Event]]) -> None:
    """Append the events, each with its author."""

    if isinstance(store, MemoryStore):
        for actor, event in events:
            store.contents.append(e.encode(event), event, actor)  # type: ignore[arg-type]
        return
    assert isinstance(store, Store)
    first = 1 + await log_sequence(store)
    shared = [
        SharedEvent(first + n, uuid4(), actor, e.encode(event).decode())  # type: ignore[arg-type]
        for n, (actor, event) in enumerate(events)
    ]
    await store.writer.call(apply, store.writer.require_in_place, shared)


def authors(reads: Reads) -> dict[str, Any]:
    """What the entities of the thread say of who caused them, from each read that has them."""
    thread = reads.thread("t", 10, LATEST)
    rows: list[Any] = [*thread.threads, *thread.messages, *thread.approvals]
    rows += [
        reads.header("t").encode(),
        *reads.entities("message", "t", ["asked"]).values(),
        reads.message("t", "said"),
    ]
    found: dict[str, Any] = {}
    for row in map(json.loads, map(bytes, rows)):
        said = {key: row[key] for key in ("createdBy", "resolvedBy") if key in row}
        assert found.setdefault(row["id"], said) == said
    return found


CAUSED = {
    "t": {"createdBy": "ada"},
    "asked": {"createdBy": "ada"},
    "said": {"createdBy": "ada"},
    "may": {"resolvedBy": "bob <b>"},
    "let": {"resolvedBy": "bob"},
}


async def test_threads_messages_and_answers_say_whose_they_are(store: DataDirectory) -> None:
    await append(store, HISTORY)
    assert await store.read(authors) == CAUSED
    own, shared = [json.loads(bytes(one)) for one in await store.read(lambda reads: reads.newest_threads(2))]
    assert "createdBy" not in own
    assert shared["createdBy"] == "ada"
    assert msgspec.json.decode(json.dumps(shared), type=entities.Thread).created_by == "ada"


async def test_a_prompt_is_of_the_one_who_queued_it_whoever_sends_it(store: DataDirectory) -> None:
    def queued(id: str) -> e.Event:
        return agents.PromptQueued(id=id, thread_id="t", text=id, runner="m.d", at=AT)

    def added(id: str, **fields: Any) -> e.Event:
        return e.MessageAdded(thread_id="t", id=id, turn_id="u", role="user", text=id, at=AT, **fields)

    await append(
        store,
        [
            *HISTORY[:2],
            ("bob", queued("one")),
            ("eve", agents.PromptEdited(id="one", thread_id="t", text="One", at=AT)),
            ("eve", queued("two")),
            ("ada", agents.PromptSent(id="one", thread_id="t", turn_id="u", at=AT)),
            ("ada", e.TurnStarted(id="u", thread_id="t", runner="m.d", prompt_id="one", at=AT)),
            ("ada", added("asked")),
            ("ada", agents.PromptSent(id="two", thread_id="t", turn_id="u", at=AT)),
            ("ada", added("said", prompt_id="two")),
            ("ada", added("beside")),
        ],
    )
    found = await store.read(authors)
    assert [found[id]["createdBy"] for id in ("asked", "said", "beside")] == ["bob", "eve", "ada"]


async def test_nothing_of_a_private_log_names_an_author(store: DataDirectory) -> None:
    await append(store, [(None, event) for _, event in HISTORY])
    assert await store.read(authors) == {id: {} for id in CAUSED}
    events, _ = await store.read(lambda reads: reads.events(None, 0, 100))
    assert all(json.loads(bytes(one)).keys() == {"sequence", "event"} for one in events)


async def test_events_have_their_author_in_lists_and_notifications(data_dir: Path) -> None:
    async with opened(data_dir) as other, serving(data_dir) as (client, _):
        await client.call("subscription/open", {"topic": "events", "afterSequence": 0})
        await append(other, HISTORY)
        told = await client.until(lambda params: "events" in params)
        listed = await client.call("event/list", {})
        for events in (told["events"], listed["items"]):
            assert [one.get("actor") for one in events] == [actor for actor, _ in HISTORY]
        assert "actor" not in listed["items"][-1]


async def test_a_rebuild_and_a_replay_find_the_same_authors(data_dir: Path, tmp_path: Path) -> None:
    async with opened(data_dir) as store:
        await append(store, HISTORY)
        await store.rebuild()
        assert await store.read(authors) == CAUSED
        assert projections.verify(store.path, tmp_path / "copy.db") == (len(HISTORY), [])


@pytest.fixture
async def filled(data_dir: Path) -> AsyncIterator[Store]:
    async with opened(data_dir) as store:
        await append(store, HISTORY)
        yield store


async def shown(data_dir: Path, *arguments: str) -> str:
    done = await asyncio.to_thread(run, *arguments, "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_transcript_says_who_wrote_and_who_answered(filled: Store, data_dir: Path) -> None:
    text = await shown(data_dir, "show", "t")
    assert "app (example.org/team/app) · by ada\n" in text
    assert text.count(" · by ada\n") == 3
    assert "May it?  → Yes (bob <b>)\n" in text
    assert "Let it?  → cancelled (bob)\n" in text
    markdown = await shown(data_dir, "show", "t", "--markdown")
    assert "**User** · by ada · " in markdown
    assert "→ **Yes (bob &lt;b&gt;)**" in markdown
    html = await shown(data_dir, "show", "t", "--html")
    assert '<div class="who">User · by ada</div>' in html
    assert "<b>Yes (bob &lt;b&gt;)</b>" in html
    assert " by " not in await shown(data_dir, "show", "own")


async def test_an_import_of_an_export_keeps_the_authors(filled: Store, data_dir: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "log.jsonl", tmp_path / "copy"
    file.write_text(await shown(data_dir, "export"))
    await shown(copy, "import", "jsonl", str(file))
    with plain(data_dir) as one, plain(copy) as two:
        rows = [db.execute("SELECT sequence, payload, actor FROM events").fetchall() for db in (one, two)]
    assert rows[0] == rows[1]
    assert await shown(copy, "show", "t", "--json") == await shown(data_dir, "show", "t", "--json")
