"""The histories of other tools become threads: once, with their own ids and times, whatever their files look like."""

from pathlib import Path

import msgspec
import pytest

from histories import (
    CART,
    SES,
    SHOP,
    Claude,
    Codex,
    Imports,
    aged,
    at,
    call,
    claude_shop,
    codex_cart,
    copilot_cart,
    gemini_cart,
    opencode_database,
    qwen_cart,
    text,
    write,
    write_opencode_entries,
    write_opencode_files,
    write_opencode_rows,
)
from support import log_sequence
from treadle.core.engine import Engine
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain.erasing import MARK, without
from treadle.store.sqlite.store import Store
from treadle.transfer.sources import claude, codex, copilot, cutter, gemini, opencode, qwen
from treadle.transfer.sources.thread_writer import NO_END

SHOP_THREAD = f"claude:{SHOP}"


@pytest.fixture
def claude_home(store: Store, engine: Engine, tmp_path: Path) -> Imports:
    return Imports(store, engine, claude.SOURCE, tmp_path / "claude")


def session_file(home: Path, session: str = SHOP) -> Path:
    return home / "projects" / "-work-shop" / f"{session}.jsonl"


# Claude Code


async def test_a_session_of_claude_code_becomes_a_thread(claude_home: Imports) -> None:
    write(session_file(claude_home.home), claude_shop())
    imported = await claude_home.take()
    assert (imported.threads, imported.turns, imported.failed) == (1, 2, [])
    rows = await claude_home.thread(SHOP_THREAD)
    assert rows["thread"]["title"] == "Why is the cart empty?"
    assert rows["thread"]["origin"] == {
        "tool": "claude",
        "sessionId": SHOP,
        "branch": "main",
        "cwd": "/work/shop",
        "source": str(session_file(claude_home.home)),
    }
    assert (rows["thread"]["createdAt"], rows["thread"]["updatedAt"]) == (at(2), at(8))
    assert [(t["id"], t["startedAt"], t["endedAt"], t["stopReason"]) for t in rows["turns"]] == [
        ("u1", at(2), at(6), "end_turn"),
        ("u3", at(7), at(8), "end_turn"),
    ]
    assert rows["turns"][0]["usage"] == {
        "input_tokens": 10,
        "output_tokens": 633,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 100,
        "model": "m-1",
    }
    assert [(m["id"], m["role"], m["text"]) for m in rows["messages"]] == [
        ("u1", "user", "Why is the cart empty?"),
        ("a3", "assistant", "It is never filled."),
        ("u3", "user", "Thanks."),
        ("a4", "assistant", "You are welcome."),
    ]
    thought, tool = rows["activities"]
    assert (thought["kind"], thought["detail"]) == ("thought", {"text": "Look."})
    assert (tool["id"], tool["kind"], tool["title"], tool["status"]) == (
        "toolu_1",
        "tool_call",
        "List the files",
        "completed",
    )
    assert (tool["createdAt"], tool["updatedAt"], tool["detail"]["rawOutput"]) == (at(4), at(5), "cart.ts\n")
    assert claude_home.report.skipped == {"a record of the tool's own: permission-mode": 1}


async def test_a_second_import_adds_nothing(claude_home: Imports) -> None:
    write(session_file(claude_home.home), claude_shop())
    await claude_home.take()
    before = await log_sequence(claude_home.store)
    assert (await claude_home.take()).events == 0
    assert await log_sequence(claude_home.store) == before


async def test_a_session_cut_at_any_record_gets_what_is_new(claude_home: Imports) -> None:
    """Also of a turn that had no end when it was imported, because the session was old."""
    records = claude_shop()
    for count in range(len(records) + 1):
        session = f"5e551000-0000-4000-8000-{count:012}"
        path = session_file(claude_home.home, session)
        write(path, records[:count])
        await claude_home.take()
        write(path, records)
        await claude_home.take()
        assert (await claude_home.take()).events == 0
        rows = await claude_home.thread(f"claude:{session}")
        said = [m["text"] for m in rows["messages"] if m["text"]]
        assert said == ["Why is the cart empty?", "It is never filled.", "Thanks.", "You are welcome."], count
        outputs = [a["detail"].get("rawOutput") for a in rows["activities"] if a["kind"] == "tool_call"]
        assert outputs in (["cart.ts\n"], [None, "cart.ts\n"]), count
        costs = [t["usage"]["output_tokens"] for t in rows["turns"] if t["usage"]]
        assert costs == [633], count
        assert not [t for t in rows["turns"] if t["status"] == "running"]
        path.unlink()


async def test_a_turn_that_is_still_going_is_left_for_a_later_import(claude_home: Imports) -> None:
    path = session_file(claude_home.home)
    write(path, claude_shop()[:4], is_old=False)
    imported = await claude_home.take()
    assert (imported.events, imported.still_going) == (0, 1)
    write(path, claude_shop(), is_old=False)
    assert (await claude_home.take()).turns == 2
    assert [id for id, _, _ in await claude_home.turns(SHOP_THREAD)] == ["u1", "u3"]


async def test_a_turn_without_an_end_is_interrupted_when_it_is_old(claude_home: Imports) -> None:
    write(session_file(claude_home.home), claude_shop()[:4])
    await claude_home.take()
    (turn,) = (await claude_home.thread(SHOP_THREAD))["turns"]
    assert (turn["status"], turn["reason"]) == ("interrupted", NO_END)


async def test_a_session_that_was_truncated_or_moved_keeps_its_thread(claude_home: Imports) -> None:
    path = session_file(claude_home.home)
    write(path, claude_shop())
    await claude_home.take()
    write(path, claude_shop()[:3])
    assert (await claude_home.take()).events == 0
    moved = write(claude_home.home / "projects" / "-work-store" / path.name, claude_shop())
    path.unlink()
    assert (await claude_home.take()).events == 0
    assert moved.exists()
    assert len(await claude_home.turns(SHOP_THREAD)) == 2


async def test_work_of_subagents_is_in_threads_of_their_own(claude_home: Imports) -> None:
    of, side = Claude(), Claude(isSidechain=True, agentId="a7")
    write(
        session_file(claude_home.home),
        [
            of.user("u1", "Search the shop"),
            of.assistant("a1", call("toolu_1", "Task", description="Search")),
            of.result("u2", "toolu_1", "found", toolUseResult={"agentId": "a7"}),
            of.assistant("a2", text("Found it.")),
        ],
    )
    folder = session_file(claude_home.home).with_suffix("") / "subagents" / "workflows" / "w1"
    write(folder / "agent-a7.jsonl", [side.user("c1", "Search for TODO"), side.assistant("c2", text("One TODO."))])
    write(folder / "agent-a7.meta.json", [{"agentType": "general", "toolUseId": "toolu_1"}])
    await claude_home.take()
    thread_id = f"{SHOP_THREAD}:agent-a7"
    assert await claude_home.texts(thread_id) == [("user", "Search for TODO"), ("assistant", "One TODO.")]
    rows = await claude_home.thread(thread_id)
    assert rows["thread"]["origin"]["parent"] == {"threadId": SHOP_THREAD, "activityId": "toolu_1"}
    assert (await claude_home.activities(SHOP_THREAD))["toolu_1"]["detail"]["threadId"] == thread_id
    assert await claude_home.texts(SHOP_THREAD) == [("user", "Search the shop"), ("assistant", "Found it.")]


async def test_records_of_subagents_between_those_of_the_session_are_told_apart(claude_home: Imports) -> None:
    of, side = Claude(), Claude(isSidechain=True)
    write(
        session_file(claude_home.home),
        [
            of.user("u1", "Search the shop"),
            of.assistant("a1", call("toolu_1", "Task", description="Search")),
            side.user("c1", "Search for TODO"),
            side.assistant("c2", text("One TODO.")),
            of.result("u2", "toolu_1", "found"),
            of.assistant("a2", text("Found it.")),
        ],
    )
    await claude_home.take()
    assert await claude_home.texts(SHOP_THREAD) == [("user", "Search the shop"), ("assistant", "Found it.")]
    thread_id = f"{SHOP_THREAD}:agent-c1"
    assert await claude_home.texts(thread_id) == [("user", "Search for TODO"), ("assistant", "One TODO.")]
    rows = await claude_home.thread(thread_id)
    assert rows["thread"]["origin"]["parent"] == {"threadId": SHOP_THREAD, "activityId": "toolu_1"}


FORK = "f0000000-0000-4000-8000-000000000002"


async def test_a_fork_has_only_its_own_turns_and_names_the_thread_that_it_continues(claude_home: Imports) -> None:
    of = Claude(FORK)
    copied = [{**record, "sessionId": FORK} for record in claude_shop()]
    own = [of.user("f1", "And the price?"), of.assistant("f2", text("Fine."))]
    write(session_file(claude_home.home), claude_shop())
    write(session_file(claude_home.home, FORK), [*copied, *own], is_old=False)
    await claude_home.take()
    assert await claude_home.texts(f"claude:{FORK}") == [("user", "And the price?"), ("assistant", "Fine.")]
    origin = (await claude_home.thread(f"claude:{FORK}"))["thread"]["origin"]
    assert origin["forkOf"] == {"threadId": SHOP_THREAD, "turnId": "u3"}
    session_file(claude_home.home).unlink()  # as the tool does after a month
    assert (await claude_home.take()).events == 0


async def test_a_fork_within_a_turn_has_that_turn_whole(claude_home: Imports) -> None:
    of = Claude(FORK)
    copied = [{**record, "sessionId": FORK} for record in claude_shop()[:7]]
    write(session_file(claude_home.home), claude_shop())
    write(session_file(claude_home.home, FORK), [*copied, of.assistant("f2", text("Anything else?"))], is_old=False)
    await claude_home.take()
    assert await claude_home.texts(f"claude:{FORK}") == [("user", "Thanks."), ("assistant", "Anything else?")]


async def test_what_the_tool_writes_in_the_users_name_makes_no_turn(claude_home: Imports) -> None:
    of = Claude()
    write(
        session_file(claude_home.home),
        [
            of.user("m1", "Caveat: the messages below …", isMeta=True),
            of.user("u1", "<ide_opened_file>cart.ts</ide_opened_file>\nWhy is `<command-name>` in the log?"),
            of.assistant("a1", text("It is quoted.")),
            of.user("m2", "<command-name>/clear</command-name>\n<command-args></command-args>"),
            of.user("m3", "<local-command-stdout>done</local-command-stdout>"),
            of.user("m4", [text("<system-reminder>Be brief.</system-reminder>")]),
        ],
    )
    await claude_home.take()
    assert await claude_home.texts(SHOP_THREAD) == [
        ("user", "Why is `<command-name>` in the log?"),
        ("assistant", "It is quoted."),
    ]
    assert [(a["kind"], a["title"]) for a in (await claude_home.activities(SHOP_THREAD)).values()] == [
        ("command", "/clear")
    ]
    assert claude_home.report.skipped["a message of the tool itself"] == 5


async def test_a_compaction_is_an_activity_and_nothing_before_it_is_lost(claude_home: Imports) -> None:
    of = Claude()
    write(
        session_file(claude_home.home),
        [
            *claude_shop(),
            of.record("system", "s1", subtype="compact_boundary", compactMetadata={"trigger": "auto", "preTokens": 9}),
            of.user("u9", "The user asked about a cart.", isCompactSummary=True),
            of.assistant("a9", text("I continue.")),
        ],
    )
    await claude_home.take()
    assert [id for id, _, _ in await claude_home.turns(SHOP_THREAD)] == ["u1", "u3"]
    compaction = (await claude_home.activities(SHOP_THREAD))["s1"]
    assert (compaction["kind"], compaction["detail"]) == (
        "compaction",
        {"trigger": "auto", "preTokens": 9, "summary": "The user asked about a cart."},
    )
    assert (await claude_home.texts(SHOP_THREAD))[-1] == ("assistant", "I continue.")


async def test_a_prompt_that_was_queued_while_the_agent_worked_is_a_message_of_the_turn(claude_home: Imports) -> None:
    of = Claude()
    queued = of.record("attachment", attachment={"type": "queued_command", "prompt": "And hurry."})
    write(session_file(claude_home.home), [*claude_shop()[:3], queued, *claude_shop()[3:]])
    await claude_home.take()
    assert (await claude_home.texts(SHOP_THREAD))[1] == ("user", "And hurry.")


async def test_the_text_of_a_response_in_several_records_is_there_once(claude_home: Imports) -> None:
    """Some versions record what is new, others all so far."""
    of = Claude()
    same = {"id": "msg_1"}
    write(
        session_file(claude_home.home),
        [
            of.user("u1", "Count"),
            of.assistant("a1", text("One"), message=same),
            of.assistant("a2", text("One, two"), message=same),
            of.assistant("a3", text("One, two"), call("toolu_1"), message=same),
            of.result("u2", "toolu_1", "ok"),
            of.assistant("a4", text("One, two"), text("Three."), message=same),
        ],
    )
    await claude_home.take()
    said = [text for role, text in await claude_home.texts(SHOP_THREAD) if role == "assistant"]
    assert said == ["One", ", two", "Three."]


async def test_a_turn_ends_as_the_session_says(claude_home: Imports) -> None:
    of = Claude()
    write(
        session_file(claude_home.home),
        [
            of.user("u1", "One"),
            of.user("u2", [text("[Request interrupted by user for tool use]")]),
            of.user("u3", "Two"),
            of.assistant("a3", text("API Error: overloaded"), isApiErrorMessage=True),
            of.user("u4", "Three", parentUuid="a3"),
            of.assistant("a4", text("Wrong way.")),
            of.user("u5", "Three, again", parentUuid="a3"),
            of.assistant("a5", text("Right."), message={"stop_reason": "max_tokens"}),
        ],
    )
    await claude_home.take()
    assert await claude_home.turns(SHOP_THREAD) == [
        ("u1", "interrupted", None),
        ("u3", "failed", None),
        ("u4", "completed", "rewound"),
        ("u5", "completed", "max_tokens"),
    ]
    turns = (await claude_home.thread(SHOP_THREAD))["turns"]
    assert turns[0]["reason"] == "Request interrupted by user for tool use"
    assert turns[1]["error"] == "API Error: overloaded"


async def test_only_approvals_that_the_session_has_are_imported(claude_home: Imports) -> None:
    of = Claude()
    options = [{"label": "Red"}, {"label": "Blue"}]
    question = {"question": "Which colour?", "options": options}
    write(
        session_file(claude_home.home),
        [
            of.user("u1", "Paint it"),
            of.assistant("a1", call("toolu_1", command="rm paint")),
            of.result("u2", "toolu_1", "No.", block={"is_error": True}, toolDenialKind="user-rejected"),
            of.assistant("a2", call("toolu_2", "AskUserQuestion", questions=[question])),
            of.result("u3", "toolu_2", "Blue", toolUseResult={"answers": {"Which colour?": "Blue"}}),
            of.assistant("a3", call("toolu_3")),
            of.result("u4", "toolu_3", "done"),
            of.assistant("a4", text("Painted.")),
        ],
    )
    await claude_home.take()
    approvals = (await claude_home.thread(SHOP_THREAD))["approvals"]
    assert [(a["title"], a["outcome"]) for a in approvals] == [("rm paint", "Reject"), ("Which colour?", "Blue")]
    assert (await claude_home.activities(SHOP_THREAD))["toolu_1"]["status"] == "failed"


async def test_the_best_title_of_a_session_is_that_of_the_thread(claude_home: Imports) -> None:
    of = Claude()
    titles = [of.record("ai-title", aiTitle="Cart"), of.record("summary", summary="A talk about a cart")]
    write(session_file(claude_home.home), [*claude_shop(), *titles])
    await claude_home.take()
    assert (await claude_home.thread(SHOP_THREAD))["thread"]["title"] == "Cart"


async def test_records_of_an_unknown_kind_are_kept_and_counted(claude_home: Imports) -> None:
    of = Claude()
    new = of.record("hologram", "h1", beams=[1, 2])
    write(session_file(claude_home.home), [new, *claude_shop(), of.record("system", "h2", subtype="beam")])
    await claude_home.take()
    assert claude_home.report.unknown == {"hologram": 1, "system.beam": 1}
    activities = await claude_home.activities(SHOP_THREAD)
    assert (activities["h1"]["kind"], activities["h1"]["detail"]["beams"]) == ("claude.hologram", [1, 2])
    assert activities["h2"]["kind"] == "claude.system.beam"


async def test_long_results_lose_their_middle_and_files_are_left_out(claude_home: Imports) -> None:
    of = Claude()
    long = "word " * 20_000
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K" * 9_000}}
    records = [
        of.user("u1", [text("See"), image]),
        of.assistant("a1", call("toolu_1"), call("toolu_2")),
        of.result("u2", "toolu_1", long),
        of.result("u3", "toolu_2", [image]),
        of.assistant("a2", text("Seen.")),
    ]
    write(session_file(claude_home.home), records)
    await claude_home.take()
    assert claude_home.report.cut == {"a tool result over 32 KiB": 1, "a file in base64": 2}
    activities = await claude_home.activities(SHOP_THREAD)
    output = activities["toolu_1"]["detail"]["rawOutput"]
    assert cutter.MAX_RESULT < len(output) < cutter.MAX_RESULT + 100
    assert output.startswith("word word")
    assert output.endswith("word word ")
    assert "67,232 characters cut" in output
    assert "iVBORw0K" not in str(activities["toolu_2"]["detail"])
    write(session_file(claude_home.home, FORK), [{**record, "uuid": f"x{record['uuid']}"} for record in records])
    await claude_home.take(full=True)
    whole = await claude_home.store.read(lambda reads: reads.activity(f"claude:{FORK}", "toolu_1"))
    assert msgspec.json.decode(whole)["detail"]["rawOutput"] == long


async def test_a_result_in_a_file_of_its_own_is_read_from_the_sessions_folder_only(claude_home: Imports) -> None:
    of = Claude()
    folder = session_file(claude_home.home).with_suffix("") / "tool-results"
    write(folder / "r1.txt", ["the whole result"])
    write(claude_home.home / "secret.txt", ["a secret"])
    write(
        session_file(claude_home.home),
        [
            of.user("u1", "Look"),
            of.assistant("a1", call("toolu_1"), call("toolu_2")),
            of.result("u2", "toolu_1", "the wh…", toolUseResult={"persistedOutputPath": str(folder / "r1.txt")}),
            of.result(
                "u3", "toolu_2", "…", toolUseResult={"persistedOutputPath": str(claude_home.home / "secret.txt")}
            ),
        ],
    )
    await claude_home.take()
    outputs = [a["detail"]["rawOutput"] for a in (await claude_home.activities(SHOP_THREAD)).values()]
    assert outputs == ["the whole result\n", "…"]


async def test_prompts_of_sessions_that_are_gone_are_imported_from_the_prompt_history(claude_home: Imports) -> None:
    gone = {"display": "What was here?", "timestamp": 1_777_629_600_000, "project": "/work/shop", "sessionId": "gone"}
    write(session_file(claude_home.home), claude_shop())
    write(claude_home.home / "history.jsonl", [gone, {**gone, "display": "Thanks.", "sessionId": SHOP}])
    await claude_home.take()
    assert await claude_home.texts("claude:gone") == [("user", "What was here?")]
    assert (await claude_home.thread("claude:gone"))["thread"]["createdAt"] == at(0)
    session_file(claude_home.home).unlink()
    assert (await claude_home.take()).events == 0, "the thread has its prompts already"


async def test_a_thread_that_was_deleted_is_not_imported_again(claude_home: Imports) -> None:
    write(session_file(claude_home.home), claude_shop())
    await claude_home.take()
    await claude_home.engine.submit([c.DeleteThread(thread_id=SHOP_THREAD)]).future
    write(session_file(claude_home.home), [*claude_shop(), Claude().user("u7", "Still there?")])
    assert (await claude_home.take()).events == 0


@pytest.mark.parametrize("keeps_catalog", [True, False])
async def test_a_thread_that_was_erased_is_not_imported_again(claude_home: Imports, keeps_catalog: bool) -> None:
    write(session_file(claude_home.home), claude_shop())
    await claude_home.take()
    await claude_home.engine.submit([c.EraseThread(thread_id=SHOP_THREAD)]).future
    if keeps_catalog:
        write(session_file(claude_home.home), [*claude_shop(), Claude().user("u7", "Still there?")])
    assert (await claude_home.take()).events == 0


async def test_what_was_redacted_is_not_imported_again(claude_home: Imports) -> None:
    write(session_file(claude_home.home), claude_shop())
    await claude_home.take()
    before = await claude_home.texts(SHOP_THREAD)
    events = await claude_home.store.read(lambda reads: reads.events(SHOP_THREAD, 0, 100)[0])
    decoded = [msgspec.json.decode(event) for event in events]
    changes = without([(one["sequence"], one["event"]) for one in decoded], before[0][1])
    texts = [c.CleanTexts(*change) for change in changes.items()]
    await claude_home.engine.submit([c.Redact(thread_id=SHOP_THREAD, events=texts)]).future
    write(session_file(claude_home.home), [*claude_shop(), Claude().user("u7", "Still there?")])
    taken = await claude_home.take()
    assert (await claude_home.texts(SHOP_THREAD))[: len(before)] == [("user", MARK), *before[1:]]
    assert taken.rejected == {}


@pytest.mark.parametrize("gone", [c.DeleteThread(thread_id="t"), c.EraseThread(thread_id="t")])
async def test_a_session_that_treadle_ran_in_a_thread_that_is_gone_is_not_imported(
    claude_home: Imports, gone: c.Command
) -> None:
    create = c.CreateProject(id="p", name="shop", path="/work/shop")
    thread = c.CreateThread(thread_id="t", project_id="p", title="Cart")
    opened = ac.OpenSession(thread_id="t", id="s", agent="claude", session_id=SHOP, how="new")
    assign = ac.AssignAgent(thread_id="t", agent="claude")
    await claude_home.engine.submit([create, thread, assign, opened, gone]).future
    write(session_file(claude_home.home), claude_shop())
    assert (await claude_home.take()).events == 0


async def test_a_session_that_treadle_recorded_itself_is_not_imported(claude_home: Imports) -> None:
    create = c.CreateProject(id="p", name="shop", path="/work/shop")
    await claude_home.engine.submit([create, c.CreateThread(thread_id=SHOP, project_id="p", title="Cart")]).future
    write(session_file(claude_home.home), claude_shop())
    assert (await claude_home.take()).events == 0
    assert claude_home.report.skipped == {"a session that treadle ran or recorded itself": 1}


async def test_a_session_that_treadle_ran_in_a_thread_of_its_own_is_not_imported(claude_home: Imports) -> None:
    create = c.CreateProject(id="p", name="shop", path="/work/shop")
    thread = c.CreateThread(thread_id="t", project_id="p", title="Cart")
    opened = ac.OpenSession(thread_id="t", id="s", agent="claude", session_id=SHOP, how="new")
    assign = ac.AssignAgent(thread_id="t", agent="claude")
    await claude_home.engine.submit([create, thread, assign, opened]).future
    write(session_file(claude_home.home), claude_shop())
    assert (await claude_home.take()).events == 0
    assert claude_home.report.skipped == {"a session that treadle ran or recorded itself": 1}


# Codex

CART_THREAD = f"codex:{CART}"


@pytest.fixture
def codex_home(store: Store, engine: Engine, tmp_path: Path) -> Imports:
    return Imports(store, engine, codex.SOURCE, tmp_path / "codex")


def rollout(home: Path, id: str = CART, suffix: str = ".jsonl") -> Path:
    return home / "sessions" / "2026" / "05" / "01" / f"rollout-2026-05-01T10-00-00-{id}{suffix}"


async def test_a_rollout_of_codex_becomes_a_thread_with_each_text_once(codex_home: Imports) -> None:
    write(rollout(codex_home.home), codex_cart())
    await codex_home.take()
    assert await codex_home.turns(CART_THREAD) == [("t1", "completed", "end_turn"), ("t2", "completed", "end_turn")]
    assert await codex_home.texts(CART_THREAD) == [
        ("user", "Why is the cart empty?"),
        ("assistant", "It is never filled."),
        ("user", "Why is the cart empty?"),
        ("assistant", "As I said."),
    ]
    rows = await codex_home.thread(CART_THREAD)
    assert rows["thread"]["origin"] == {
        "tool": "codex",
        "sessionId": CART,
        "branch": "main",
        "cwd": "/work/shop",
        "source": str(rollout(codex_home.home)),
    }
    assert rows["turns"][0]["usage"] == {"input_tokens": 20, "output_tokens": 42, "model": "m-1"}
    thought, tool = rows["activities"]
    assert (thought["kind"], thought["detail"]) == ("thought", {"text": "Look."})
    assert (tool["id"], tool["title"], tool["status"]) == ("call_1", "ls -l", "failed")
    assert tool["detail"]["rawOutput"] == {"output": "a", "metadata": {"exit_code": 1}}
    assert (await codex_home.take()).events == 0


async def test_a_rollout_cut_at_any_record_gets_what_is_new(codex_home: Imports) -> None:
    records = codex_cart()
    for count in range(len(records) + 1):
        id = f"0199aaaa-0000-7000-8000-{count + 100:012}"
        path = rollout(codex_home.home, id)
        records[0]["payload"]["id"] = id
        write(path, records[:count])
        await codex_home.take()
        write(path, records)
        await codex_home.take()
        assert (await codex_home.take()).events == 0
        said = [text for _, text in await codex_home.texts(f"codex:{id}") if text]
        assert said == ["Why is the cart empty?", "It is never filled.", "Why is the cart empty?", "As I said."], count
        path.unlink()


async def test_a_rollout_without_turns_and_events_is_split_at_its_prompts(codex_home: Imports) -> None:
    of = Codex()
    records = [
        of.meta(),
        of.said("user", "# AGENTS.md instructions for /work/shop"),
        of.said("user", "One"),
        of.said("assistant", "1"),
        of.said("user", "Two"),
        of.said("assistant", "2"),
    ]
    write(rollout(codex_home.home), records)
    await codex_home.take()
    assert await codex_home.texts(CART_THREAD) == [
        ("user", "One"),
        ("assistant", "1"),
        ("user", "Two"),
        ("assistant", "2"),
    ]
    assert len(await codex_home.turns(CART_THREAD)) == 2


async def test_turns_of_codex_end_as_the_rollout_says(codex_home: Imports) -> None:
    of = Codex()
    write(
        rollout(codex_home.home),
        [
            of.meta(),
            *of.turn("t1", "One", "1")[:-1],
            of.event("turn_aborted", turn_id="t1", reason="interrupted"),
            *of.turn("t2", "Two", "2")[:-1],
            of.event("task_complete", turn_id="t2", error={"message": "no quota"}),
            *of.turn("t3", "Three", "3")[:-1],
        ],
    )
    await codex_home.take()
    turns = (await codex_home.thread(CART_THREAD))["turns"]
    assert [(t["status"], t["reason"], t["error"]) for t in turns] == [
        ("interrupted", "interrupted", None),
        ("failed", None, "no quota"),
        ("interrupted", NO_END, None),
    ]


async def test_forks_and_subagents_of_codex_have_only_their_own_turns(codex_home: Imports) -> None:
    """Although they begin with those of their origin, with new times."""
    fork, agent = "0199aaaa-0000-7000-8000-000000000002", "0199aaaa-0000-7000-8000-000000000003"
    write(rollout(codex_home.home), codex_cart())
    for id, meta in (
        (fork, {"forked_from_id": CART}),
        (agent, {"source": {"subagent": {"thread_spawn": {"parent_thread_id": CART}}}}),
    ):
        of = Codex(second=20)
        copied = [{**record, "timestamp": at(21)} for record in codex_cart()]
        head = {**of.meta(id), "payload": {**of.meta(id)["payload"], **meta}}
        write(rollout(codex_home.home, id), [head, *copied, *of.turn("t3", "And the price?", "Fine.")])
    await codex_home.take()
    own = [("user", "And the price?"), ("assistant", "Fine.")]
    assert await codex_home.texts(f"codex:{fork}") == own
    assert await codex_home.texts(f"codex:{agent}") == own
    origin = (await codex_home.thread(f"codex:{fork}"))["thread"]["origin"]
    assert origin["forkOf"] == {"threadId": CART_THREAD, "turnId": "t2"}
    origin = (await codex_home.thread(f"codex:{agent}"))["thread"]["origin"]
    assert origin["parent"] == {"threadId": CART_THREAD}


async def test_a_rollout_that_is_archived_or_compressed_is_the_same_thread(codex_home: Imports) -> None:
    zstandard = pytest.importorskip("zstandard", reason="treadle[zstd] is not installed")
    path = rollout(codex_home.home)
    whole = write(path, codex_cart()).read_bytes()
    await codex_home.take()
    path.with_name(f"{path.name}.zst").write_bytes(zstandard.compress(whole))
    assert (await codex_home.take()).events == 0, "both are there"
    path.unlink()
    assert (await codex_home.take()).events == 0
    (codex_home.home / "archived_sessions").mkdir()
    path.with_name(f"{path.name}.zst").rename(codex_home.home / "archived_sessions" / f"{path.name}.zst")
    assert (await codex_home.take()).events == 1
    assert (await codex_home.thread(CART_THREAD))["thread"]["archivedAt"] is not None
    other = "0199aaaa-0000-7000-8000-000000000009"
    records = codex_cart()
    records[0]["payload"]["id"] = other
    compressed = rollout(codex_home.home, other, ".jsonl.zst")
    compressed.write_bytes(zstandard.compress(write(path, records).read_bytes()))
    path.unlink()
    aged(compressed)
    await codex_home.take()
    assert len(await codex_home.turns(f"codex:{other}")) == 2
    compressed.write_bytes(b"\x28\xb5\x2f\xfd damaged")
    assert [f"{compressed}: damaged: " in reason for reason in (await codex_home.take()).failed] == [True]


async def test_a_record_that_follows_a_cut_one_in_its_line_is_kept(codex_home: Imports) -> None:
    lines = [msgspec.json.encode(record) for record in codex_cart()]
    write(rollout(codex_home.home), [*lines[:5], lines[5][:20] + lines[6], *lines[7:]])
    await codex_home.take()
    assert codex_home.report.skipped["a cut record"] == 1
    assert ("assistant", "As I said.") in await codex_home.texts(CART_THREAD)


# OpenCode

SES_THREAD = f"opencode:{SES}"


@pytest.fixture
def opencode_home(store: Store, engine: Engine, tmp_path: Path) -> Imports:
    return Imports(store, engine, opencode.SOURCE, tmp_path / "opencode")


@pytest.mark.parametrize("kind", ["files", "rows"])
async def test_a_session_of_opencode_becomes_a_thread_from_files_or_rows(opencode_home: Imports, kind: str) -> None:
    if kind == "files":
        write_opencode_files(opencode_home.home)
    else:
        with opencode_database(opencode_home.home) as db:
            write_opencode_rows(db)
    await opencode_home.take()
    assert await opencode_home.texts(SES_THREAD) == [
        ("user", "Why is the cart empty?"),
        ("assistant", "It is never filled."),
    ]
    rows = await opencode_home.thread(SES_THREAD)
    assert (rows["thread"]["title"], rows["thread"]["createdAt"]) == ("Cart", at(0))
    assert rows["thread"]["origin"]["cwd"] == "/work/shop"
    (turn,) = rows["turns"]
    assert (turn["status"], turn["stopReason"]) == ("completed", "stop")
    assert turn["usage"] == {
        "input": 9, "output": 4, "reasoning": 0, "cacheRead": 7, "cacheWrite": 0, "cost": 0.5
    }  # fmt: skip
    thought, tool = rows["activities"]
    assert thought["kind"] == "thought"
    assert (tool["id"], tool["title"], tool["status"], tool["createdAt"], tool["updatedAt"]) == (
        "call_1", "ls", "failed", at(2), at(3)
    )  # fmt: skip
    assert [c["gitRef"] for c in rows["checkpoints"]] == ["3f2a1c9e8b7d6540a1b2c3d4e5f60718293a4b5c"]
    assert (await opencode_home.take()).events == 0


async def test_the_newest_store_that_has_messages_of_a_session_is_read(opencode_home: Imports) -> None:
    write_opencode_files(opencode_home.home)
    write_opencode_files(opencode_home.home, "ses_old")
    with opencode_database(opencode_home.home) as db:
        write_opencode_rows(db)
        write_opencode_rows(db, "ses_middle")
        write_opencode_entries(db)
        db.execute("INSERT INTO session_v2 (id) VALUES ('ses_middle')")
    assert (await opencode_home.take()).threads == 3
    assert await opencode_home.texts(SES_THREAD) == [
        ("user", "Why is the cart empty?"),
        ("assistant", "It is never filled."),
        ("user", "And hurry."),
    ]
    assert await opencode_home.turns(SES_THREAD) == [(f"{SES}e0", "completed", "stop")]
    assert len(await opencode_home.turns("opencode:ses_old")) == 1
    assert len(await opencode_home.turns("opencode:ses_middle")) == 1
    assert (await opencode_home.take()).events == 0


async def test_a_database_is_read_while_opencode_writes_it_and_not_changed(opencode_home: Imports) -> None:
    path = opencode_home.home / "opencode.db"
    with opencode_database(opencode_home.home) as db:
        write_opencode_rows(db)
        before = (path.read_bytes(), path.stat().st_mtime_ns)
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE session SET title = 'Not yet'")
        await opencode_home.take()
        assert (await opencode_home.thread(SES_THREAD))["thread"]["title"] == "Cart"
        db.execute("COMMIT")
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        assert (await opencode_home.take()).events == 1
    assert (await opencode_home.thread(SES_THREAD))["thread"]["title"] == "Not yet"


async def test_subtasks_and_what_the_user_took_back_are_marked(opencode_home: Imports) -> None:
    with opencode_database(opencode_home.home) as db:
        write_opencode_rows(db, revert='{"messageID": "ses_cartmsg_1"}')
        write_opencode_rows(db, "ses_child", parent_id=SES)
        db.execute("INSERT INTO message VALUES ('bad', 'ses_child', 0, 0, '[1')")
    await opencode_home.take()
    assert [stop for _, _, stop in await opencode_home.turns(SES_THREAD)] == ["rewound"]
    child = (await opencode_home.thread("opencode:ses_child"))["thread"]
    assert child["origin"]["parent"] == {"threadId": SES_THREAD}
    assert opencode_home.report.skipped["a row that is not a JSON object"] == 1


# Gemini CLI and Qwen Code

SAID = [
    ("user", "Why is the cart empty?"),
    ("assistant", "It is never filled."),
    ("user", "Thanks."),
    ("assistant", "You are welcome."),
]


@pytest.fixture
def gemini_home(store: Store, engine: Engine, tmp_path: Path) -> Imports:
    return Imports(store, engine, gemini.SOURCE, tmp_path / "gemini")


def chat(home: Path, name: str = "session-2026-05-01T10-00-cart.jsonl") -> Path:
    return home / "tmp" / "shop" / "chats" / name


@pytest.mark.parametrize("kind", ["jsonl", "json"])
async def test_a_session_of_gemini_becomes_a_thread(gemini_home: Imports, kind: str) -> None:
    records = gemini_cart()
    if kind == "jsonl":
        write(chat(gemini_home.home), records)
    else:  # it was rewritten as a whole, and had each message once
        messages = [r for n, r in enumerate(records) if "id" in r and n != 2]
        write(chat(gemini_home.home, "session-cart.json"), [{**records[0], "messages": messages}])
    write(gemini_home.home / "projects.json", [{"projects": {"/work/shop": "shop"}}])
    await gemini_home.take()
    assert await gemini_home.texts("gemini:cart") == SAID
    rows = await gemini_home.thread("gemini:cart")
    assert rows["thread"]["origin"]["cwd"] == "/work/shop"
    assert rows["turns"][0]["usage"] == {"input": 10, "output": 4, "model": "m-1"}
    thought, tool = rows["activities"]
    assert (thought["title"], thought["detail"]) == ("Look", {"text": "Into the store."})
    assert (tool["id"], tool["title"], tool["status"], tool["detail"]["rawOutput"]) == ("run_1", "ls", "completed", "a")
    assert (await gemini_home.take()).events == 0


async def test_a_chat_cut_at_any_record_gets_what_is_new(gemini_home: Imports) -> None:
    records = gemini_cart()
    for count in range(len(records) + 1):
        path = chat(gemini_home.home, f"session-{count:02}.jsonl")
        records[0]["sessionId"] = f"cart{count:02}"
        write(path, records[:count])
        await gemini_home.take()
        write(path, records)
        await gemini_home.take()
        assert (await gemini_home.take()).events == 0
        said = [m for m in await gemini_home.texts(f"gemini:cart{count:02}") if m[1]]
        assert said == SAID, count
        path.unlink()


async def test_messages_that_were_replaced_or_taken_back_stay_and_are_marked(gemini_home: Imports) -> None:
    records = gemini_cart()
    revised = {**records[4], "content": "It was filled."}
    again = {"$set": {"messages": [records[1], records[3], revised]}}
    more = [{"$rewindTo": "m4"}, {"id": "m6", "timestamp": at(6), "type": "user", "content": "Not so fast."}]
    write(chat(gemini_home.home), [*records, again, *more, {"id": "m7", "type": "info", "content": "Cancelled."}])
    await gemini_home.take()
    assert await gemini_home.texts("gemini:cart") == [*SAID, ("user", "Not so fast."), ("system", "Cancelled.")]
    assert [stop for _, _, stop in await gemini_home.turns("gemini:cart")] == ["end_turn", "rewound", None]
    shown = {a["kind"]: a["detail"] for a in (await gemini_home.thread("gemini:cart"))["activities"]}
    assert shown["message_revised"] == {"message": "m3", "text": "It was filled."}
    assert shown["rewound"] == {"toMessage": "m4"}


async def test_a_session_of_qwen_becomes_a_thread(store: Store, engine: Engine, tmp_path: Path) -> None:
    home = Imports(store, engine, qwen.SOURCE, tmp_path / "qwen")
    path = home.home / "projects" / "-work-shop" / "chats" / "cart.jsonl"
    for count in range(len(qwen_cart()) + 1):
        write(path.with_stem(f"cart{count}"), qwen_cart()[:count])
        await home.take()
        write(path.with_stem(f"cart{count}"), qwen_cart())
        await home.take()
        assert [said for said in await home.texts(f"qwen:cart{count}") if said[1]] == SAID
        assert (await home.take()).events == 0
        path.with_stem(f"cart{count}").unlink()
    rows = await home.thread("qwen:cart7")
    assert (rows["thread"]["title"], rows["thread"]["origin"]["cwd"]) == ("Cart", "/work/shop")
    assert rows["turns"][0]["usage"] == {"promptTokenCount": 10, "model": "m-1"}
    assert [(a["kind"], a["status"]) for a in rows["activities"]] == [
        ("thought", "completed"),
        ("tool_call", "completed"),
    ]


# Copilot CLI


async def test_a_session_of_copilot_becomes_a_thread(store: Store, engine: Engine, tmp_path: Path) -> None:
    home = Imports(store, engine, copilot.SOURCE, tmp_path / "copilot")
    for count in range(len(copilot_cart()) + 1):
        path = home.home / "session-state" / f"cart{count:02}" / "events.jsonl"
        write(path, copilot_cart()[:count])
        await home.take()
        write(path, copilot_cart())
        await home.take()
        assert [said for said in await home.texts(f"copilot:cart{count:02}") if said[1]] == SAID
        assert (await home.take()).events == 0
        path.unlink()
    rows = await home.thread("copilot:cart10")
    assert (rows["thread"]["origin"]["cwd"], rows["thread"]["origin"]["branch"]) == ("/work/shop", "main")
    assert rows["turns"][0]["usage"] == {"outputTokens": 10, "model": "m-1"}
    assert [(a["kind"], a["title"], a["status"]) for a in rows["activities"]] == [
        ("thought", "Thought", "completed"),
        ("tool_call", "ls", "failed"),
    ]


async def test_an_aborted_turn_of_copilot_is_interrupted(store: Store, engine: Engine, tmp_path: Path) -> None:
    home = Imports(store, engine, copilot.SOURCE, tmp_path / "copilot")
    abort = {"type": "abort", "id": "x", "timestamp": at(3), "data": {"reason": "user initiated"}}
    write(home.home / "session-state" / "cart.jsonl", [*copilot_cart()[:3], abort])
    await home.take()
    (turn,) = (await home.thread("copilot:cart"))["turns"]
    assert (turn["status"], turn["reason"]) == ("interrupted", "user initiated")
