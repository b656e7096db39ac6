"""Traps in the histories of other tools that importers fall into; the others are in test_sources.py and its like."""

import json
from pathlib import Path
from typing import Any

import pytest

from histories import (
    CART,
    SES,
    SHOP,
    Claude,
    Codex,
    Imports,
    call,
    claude_shop,
    codex_cart,
    gemini_cart,
    opencode_database,
    text,
    write,
    write_opencode_entries,
    write_opencode_rows,
)
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.store.sqlite.store import Store
from treadle.transfer.sources import claude, codex, gemini, lines, opencode
from treadle.transfer.sources.claude_thread import ClaudeThread

SHOP_THREAD = f"claude:{SHOP}"
FORK = "f0000000-0000-4000-8000-000000000002"


@pytest.fixture
def claude_home(store: Store, engine: Engine, tmp_path: Path) -> Imports:
    return Imports(store, engine, claude.SOURCE, tmp_path / "claude")


@pytest.fixture
def codex_home(store: Store, engine: Engine, tmp_path: Path) -> Imports:
    return Imports(store, engine, codex.SOURCE, tmp_path / "codex")


def session_file(home: Path, session: str = SHOP) -> Path:
    return home / "projects" / "-work-shop" / f"{session}.jsonl"


def rollout(home: Path, id: str = CART) -> Path:
    return home / "sessions" / "2026" / "05" / "01" / f"rollout-2026-05-01T10-00-00-{id}.jsonl"


# Claude Code


@pytest.mark.parametrize("names", [(SHOP, FORK), (FORK, SHOP)])
async def test_which_of_two_files_is_listed_first_does_not_matter_to_a_fork(
    claude_home: Imports, names: tuple[str, str]
) -> None:
    """The original is the one that was written first."""
    original, fork = names
    of = Claude(fork)
    of.second = 10
    own = [of.user("f1", "And the price?"), of.assistant("f2", text("Fine."))]
    write(session_file(claude_home.home, original), [{**record, "sessionId": original} for record in claude_shop()])
    write(
        session_file(claude_home.home, fork),
        [*({**record, "sessionId": fork} for record in claude_shop()), *own],
        is_old=False,
    )
    await claude_home.take()
    assert len(await claude_home.turns(f"claude:{original}")) == 2
    assert await claude_home.texts(f"claude:{fork}") == [("user", "And the price?"), ("assistant", "Fine.")]
    origin = (await claude_home.thread(f"claude:{fork}"))["thread"]["origin"]
    assert origin["forkOf"] == {"threadId": f"claude:{original}", "turnId": "u3"}
    turns = [*(await claude_home.thread(f"claude:{original}"))["turns"]]
    turns += (await claude_home.thread(f"claude:{fork}"))["turns"]
    assert [t["usage"]["output_tokens"] for t in turns if t["usage"]] == [633], "what a fork repeats costs nothing"


async def test_the_order_of_the_file_is_that_of_the_conversation_whatever_its_tree_says(claude_home: Imports) -> None:
    of = Claude()
    records = [
        of.record("file-history-snapshot", messageId="u1", snapshot={"messageId": "u1"}),
        of.user("u1", "One", parentUuid="missing"),
        of.assistant("a1", text("First."), parentUuid="a2"),
        of.user("u2", "Two", parentUuid=None),
        of.assistant("a2", text("Second."), parentUuid="a1"),
        of.record("progress", "p1", parentUuid="a1"),
        of.user("u3", "Three", parentUuid="u3"),
        of.assistant("a3", text("Third."), parentUuid="p1"),
    ]
    write(session_file(claude_home.home), records)
    await claude_home.take()
    said = [text for _, text in await claude_home.texts(SHOP_THREAD)]
    assert said == ["One", "First.", "Two", "Second.", "Three", "Third."]


async def test_a_response_in_many_records_costs_its_largest_usage_once(claude_home: Imports) -> None:
    """Also with a result and a queued prompt between its records, and with the work of a subagent beside."""
    of, side = Claude(), Claude(isSidechain=True, agentId="a7")
    same: Any = {"id": "msg_1", "stop_reason": None}

    def used(tokens: int) -> Any:
        return {**same, "usage": {"output_tokens": tokens}}

    queued = {"type": "queued_command", "prompt": "And hurry."}
    records = [
        of.user("u1", "Search"),
        of.assistant("a1", {"type": "thinking", "thinking": "Hm."}, message=used(3), requestId="r1"),
        of.assistant("a2", text("I search."), message=used(40), requestId="r1"),
        of.assistant("a3", call("toolu_1", "Task"), message=used(631), requestId="r1"),
        of.record("attachment", attachment=queued),
        of.result("u2", "toolu_1", "found"),
        of.assistant("a4", text("I search."), message=used(631), requestId="r1"),
        of.assistant("a5", text("Found."), message={"usage": {"output_tokens": 2}}, requestId="r2"),
    ]
    write(session_file(claude_home.home), records)
    folder = session_file(claude_home.home).with_suffix("") / "subagents"
    answer = side.assistant("c2", text("Here."), message={"usage": {"output_tokens": 70}})
    write(folder / "agent-a7.jsonl", [side.user("c1", "Search for it"), answer])
    await claude_home.take()
    (turn,) = (await claude_home.thread(SHOP_THREAD))["turns"]
    assert turn["usage"]["output_tokens"] == 633
    (turn,) = (await claude_home.thread(f"{SHOP_THREAD}:agent-a7"))["turns"]
    assert turn["usage"]["output_tokens"] == 70
    said = [text for role, text in await claude_home.texts(SHOP_THREAD) if role == "assistant"]
    assert said == ["I search.", "Found."]


async def test_a_subagent_in_a_file_beside_the_session_belongs_to_it(claude_home: Imports) -> None:
    """As older versions wrote it."""
    side = Claude(isSidechain=True, agentId="b2")
    write(session_file(claude_home.home), claude_shop())
    records = [side.user("c1", "Search for TODO"), side.assistant("c2", text("One TODO."))]
    write(session_file(claude_home.home).with_name("agent-b2.jsonl"), records)
    await claude_home.take()
    thread_id = f"{SHOP_THREAD}:agent-b2"
    assert await claude_home.texts(thread_id) == [("user", "Search for TODO"), ("assistant", "One TODO.")]
    assert (await claude_home.thread(thread_id))["thread"]["origin"]["parent"] == {"threadId": SHOP_THREAD}


async def test_a_session_that_begins_with_a_compaction_has_a_title_and_no_prompt_of_it(claude_home: Imports) -> None:
    of = Claude()
    records = [
        of.record("system", "s1", subtype="compact_boundary", compactMetadata={"trigger": "manual"}),
        of.user("u1", "The user asked about a cart.", isCompactSummary=True),
        of.user("u2", "Go on with the price."),
        of.assistant("a2", text("Fine.")),
    ]
    write(session_file(claude_home.home), records)
    await claude_home.take()
    assert (await claude_home.thread(SHOP_THREAD))["thread"]["title"] == "Go on with the price."
    assert await claude_home.texts(SHOP_THREAD) == [("user", "Go on with the price."), ("assistant", "Fine.")]
    (compaction,) = (await claude_home.activities(SHOP_THREAD)).values()
    assert compaction["detail"] == {"trigger": "manual", "summary": "The user asked about a cart."}


async def test_a_release_that_maps_records_otherwise_adds_nothing_to_what_is_there(
    claude_home: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(session_file(claude_home.home), claude_shop())
    await claude_home.take()
    block = ClaudeThread._block

    def other(self: ClaudeThread, id: str, block_: Any, at: Any) -> Any:
        yield from block(self, id, {**block_, "text": f"{block_.get('text')} (better)", "thinking": "Better."}, at)

    monkeypatch.setattr(ClaudeThread, "_block", other)
    assert (await claude_home.take()).events == 0
    assert (await claude_home.texts(SHOP_THREAD))[1] == ("assistant", "It is never filled.")


async def test_a_future_version_with_other_fields_is_read_as_far_as_it_goes(claude_home: Imports) -> None:
    of = Claude()
    records: list[Any] = [
        {**of.user("u1", "One"), "type": ["user"]},
        {**of.user("u2", "Two"), "message": [{"role": "user", "content": "Two"}]},
        {**of.user("u3", "Three"), "timestamp": {"seconds": 7}, "cwd": 5, "parentUuid": {}},
        {**of.assistant("a3", {"type": "hologram", "data": [1]}, text("Third.")), "requestId": 7},
        {**of.record("mind-map", "x1"), "nodes": [1]},
    ]
    write(session_file(claude_home.home), records)
    await claude_home.take()
    assert await claude_home.texts(SHOP_THREAD) == [("user", "Three"), ("assistant", "Third.")]
    assert claude_home.report.unknown == {"block.hologram": 1, "mind-map": 1, "record": 1}
    assert (await claude_home.take()).events == 0


async def test_a_project_whose_folder_was_renamed_keeps_its_threads(claude_home: Imports) -> None:
    write(session_file(claude_home.home), claude_shop())
    await claude_home.take()
    project_id = (await claude_home.thread(SHOP_THREAD))["thread"]["projectId"]
    moved = c.UpdateProject(id=project_id, path="/work/store")
    await claude_home.engine.submit([moved]).future
    of = Claude()
    of.second = 20
    write(session_file(claude_home.home), [*claude_shop(), of.user("u9", "More"), of.assistant("a9", text("Yes."))])
    assert (await claude_home.take()).turns == 1
    assert (await claude_home.thread(SHOP_THREAD))["thread"]["projectId"] == project_id


async def test_a_link_to_a_session_elsewhere_is_followed(claude_home: Imports, tmp_path: Path) -> None:
    outside = write(tmp_path / "elsewhere.jsonl", claude_shop())
    session_file(claude_home.home).parent.mkdir(parents=True)
    session_file(claude_home.home).symlink_to(outside)
    await claude_home.take()
    assert len(await claude_home.turns(SHOP_THREAD)) == 2


# Codex


async def test_a_fork_whose_original_is_gone_has_all_of_its_turns(codex_home: Imports) -> None:
    of = Codex(second=20)
    records = [of.meta(CART, forked_from_id="0199aaaa-0000-7000-8000-00000000dead"), *codex_cart()[1:]]
    write(rollout(codex_home.home), records)
    await codex_home.take()
    assert len(await codex_home.turns(f"codex:{CART}")) == 2
    origin = (await codex_home.thread(f"codex:{CART}"))["thread"]["origin"]
    assert origin["forkOf"] == {"threadId": "codex:0199aaaa-0000-7000-8000-00000000dead"}


async def test_what_a_compaction_of_codex_repeats_is_not_said_again(codex_home: Imports) -> None:
    of = Codex(second=40)
    history = [of.said("user", "Why is the cart empty?")["payload"], of.said("assistant", "Never filled.")["payload"]]
    compacted = of.record("compacted", message="A cart.", replacement_history=history)
    write(rollout(codex_home.home), [*codex_cart(), compacted, *of.turn("t3", "And the price?", "Fine.")])
    await codex_home.take()
    said = [text for _, text in await codex_home.texts(f"codex:{CART}")]
    assert said[:2] == ["Why is the cart empty?", "It is never filled."]
    assert said[2:] == ["Why is the cart empty?", "As I said.", "And the price?", "Fine."]
    kinds = [a["kind"] for a in (await codex_home.activities(f"codex:{CART}")).values()]
    assert kinds.count("compaction") == 1


async def test_compressed_sessions_are_named_where_nothing_can_read_them(
    codex_home: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = rollout(codex_home.home)
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.zst").write_bytes(b"compressed")
    write(rollout(codex_home.home, FORK), [Codex().meta(FORK), *Codex().turn("t1", "Hello", "Hi")])
    imported = await codex_home.take()
    assert (imported.threads, imported.failed) == (1, [])
    assert codex_home.report.named == [f"{path}.zst: {lines.COMPRESSED}"]


# OpenCode and Gemini CLI


async def test_empty_tables_of_a_newer_opencode_do_not_hide_older_ones(
    store: Store, engine: Engine, tmp_path: Path
) -> None:
    home = Imports(store, engine, opencode.SOURCE, tmp_path)
    with opencode_database(tmp_path) as db:
        write_opencode_rows(db)
        assert db.execute("SELECT count(*) FROM session_message").fetchone() == (0,)
        await home.take()
        assert len(await home.turns(f"opencode:{SES}")) == 1
        write_opencode_entries(db, "ses_new")
        assert (await home.take()).threads == 1


async def test_a_part_that_opencode_writes_again_in_its_place_has_its_final_state(
    store: Store, engine: Engine, tmp_path: Path
) -> None:
    home = Imports(store, engine, opencode.SOURCE, tmp_path)
    with opencode_database(tmp_path) as db:
        write_opencode_rows(db)
        find = f"SELECT id, data FROM part WHERE id = '{SES}prt_4'"
        id, data = db.execute(find).fetchone()
        done = json.loads(data)
        running = {**done, "state": {"status": "running", "input": {"command": "ls"}}}
        change = "UPDATE part SET data = ?, time_updated = time_updated + 1 WHERE id = ?"
        db.execute(change, (json.dumps(running), id))
        stamps = [session.stamp for session in opencode.discover(tmp_path, home.report)]
        await home.take()
        db.execute(change, (json.dumps(done), id))
        assert [session.stamp for session in opencode.discover(tmp_path, home.report)] != stamps
        await home.take()
    calls = [a for a in (await home.activities(f"opencode:{SES}")).values() if a["kind"] == "tool_call"]
    assert calls[-1]["detail"]["rawOutput"] == "a"
    assert (await home.take()).events == 0


async def test_a_session_of_gemini_in_both_forms_is_one_thread(store: Store, engine: Engine, tmp_path: Path) -> None:
    home = Imports(store, engine, gemini.SOURCE, tmp_path)
    records, chats = gemini_cart(), tmp_path / "tmp" / "shop" / "chats"
    messages = [record for record in records[:5] if "id" in record]
    write(chats / "session-cart.json", [{**records[0], "messages": messages}])
    write(chats / "session-cart.jsonl", [*records, {"$rewindTo": "unknown"}])
    await home.take()
    assert await home.threads() == ["gemini:cart"]
    assert [text for _, text in await home.texts("gemini:cart")] == [
        "Why is the cart empty?", "It is never filled.", "Thanks.", "You are welcome.",
    ]  # fmt: skip
    assert [stop for *_, stop in await home.turns("gemini:cart")] == ["end_turn", "rewound"]
    assert (await home.take()).events == 0
