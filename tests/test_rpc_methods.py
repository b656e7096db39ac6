"""What the methods promise beyond the types: pages, windows, order, atomicity, idempotency."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from treadle.client.replica import PLURALS
from treadle.domain.entities import ENTITIES
from treadle.domain.events import StoredEvent
from wire import Daemon, serving, spawn

pytestmark = pytest.mark.both_logs

MIB = 1024 * 1024
TURNS = 17
THREADS = 23

LISTS: dict[str, dict[str, Any]] = {
    "project/list": {},
    "thread/list": {},
    "turn/list": {"threadId": "t0"},
    "checkpoint/list": {"threadId": "t0"},
    "prompt/list": {"threadId": "t2"},
    "approval/list": {"threadId": "t2"},
    "session/list": {"threadId": "t2"},
    "rule/list": {},
    "setting/list": {},
    "event/list": {},
}


def dispatch_all(daemon: Daemon, commands: list[dict[str, Any]]) -> Any:
    return daemon.result("command/dispatchBatch", {"commands": commands})


def thread_command(type: str, **fields: Any) -> dict[str, Any]:
    return {"type": type, "threadId": "t0", **fields}


def a_turn(i: int) -> list[dict[str, Any]]:
    """A turn of thread t0 with two messages, an activity, an approval and a checkpoint."""
    turn = f"u{i}"
    options = [{"id": "yes", "name": "Yes", "kind": "allow_once"}]
    return [
        thread_command("StartTurn", id=turn, messageId=f"{turn}-asked", prompt=f"question {i}"),
        thread_command("AddMessage", turnId=turn, id=f"{turn}-said", role="assistant", text=f"answer {i} 🧵"),
        thread_command(
            "RecordActivity", turnId=turn, id=f"{turn}-did", kind="tool_call", title="x", status="completed"
        ),
        thread_command("RequestApproval", turnId=turn, id=f"{turn}-may", title="?", options=options, detail={"i": i}),
        thread_command("CreateCheckpoint", turnId=turn, id=f"{turn}-kept", gitRef=f"refs/{i}", message=f"at {i}"),
        thread_command("CompleteTurn", id=turn, stopReason="end_turn", usage={"tokens": 10**20 + i}),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with 3 projects, 23 threads, of which each fourth is archived, 17 turns in t0, and 30 settings."""
    with serving(tmp_path_factory.mktemp("library") / "data") as daemon:
        dispatch_all(
            daemon, [{"type": "CreateProject", "id": f"p{i}", "name": f"p{i}", "path": f"/p{i}"} for i in range(3)]
        )
        threads = [{"threadId": f"t{i}", "projectId": f"p{i % 3}", "title": f"thread {i}"} for i in range(THREADS)]
        dispatch_all(daemon, [{"type": "CreateThread", **thread} for thread in threads])
        dispatch_all(daemon, [{"type": "ArchiveThread", "threadId": f"t{i}"} for i in range(1, THREADS, 4)])
        dispatch_all(daemon, [{"type": "AssignAgent", "threadId": "t2", "agent": "a"}])
        dispatch_all(daemon, [{"type": "StartTurn", "threadId": "t2", "id": "asks", "prompt": "go"}])
        dispatch_all(daemon, [command for i in range(9) for command in work_of_an_agent(i)])
        dispatch_all(daemon, [command for i in range(TURNS) for command in a_turn(i)])
        dispatch_all(daemon, [thread_command("CreateCheckpoint", id="last", gitRef="refs/last", message="no turn's")])
        dispatch_all(daemon, [{"type": "ChangeSetting", "key": f"k{i:02}", "value": {"n": i}} for i in range(30)])
        yield daemon


def work_of_an_agent(i: int) -> list[dict[str, Any]]:
    """A queued prompt, a pending approval and a session of the thread t2, and a rule."""
    of: dict[str, Any] = {"threadId": "t2"}
    return [
        {"type": "QueuePrompt", **of, "id": f"q{i}", "text": f"next {i}"},
        {"type": "RequestApproval", **of, "turnId": "asks", "id": f"may{i}", "title": "?", "options": []},
        {"type": "OpenSession", **of, "id": f"s{i}", "agent": "a", "sessionId": "x", "how": "new"},
        {"type": "EndSession", **of, "id": f"s{i}", "reason": "done"},
        {"type": "AddRule", "id": f"r{i}", "match": {"path": f"{i}"}, "decision": "ask"},
    ]


def pages(daemon: Daemon, method: str, params: dict[str, Any]) -> list[list[Any]]:
    """The items of every page, to the end."""
    found, cursor = [], None
    while True:
        page = daemon.result(method, params if cursor is None else {**params, "cursor": cursor})
        found.append(page["items"])
        cursor = page["nextCursor"]
        if cursor is None:
            return found


def key(item: Any) -> Any:
    return item.get("id") or item.get("key") or item["sequence"]


# Pages


@pytest.mark.parametrize("limit", [1, 7, 500])
@pytest.mark.parametrize("method", LISTS)
def test_list_pages_contain_each_row_once_in_a_stable_order(library: Daemon, method: str, limit: int) -> None:
    found = pages(library, method, {**LISTS[method], "limit": limit})
    assert all(len(page) == limit for page in found[:-1])
    assert 1 <= len(found[-1]) <= limit
    items = [item for page in found for item in page]
    assert items == [item for page in pages(library, method, {**LISTS[method], "limit": 100}) for item in page]
    assert len(set(map(key, items))) == len(items)
    expected = {"project/list": 3, "thread/list": THREADS, "turn/list": TURNS, "checkpoint/list": TURNS + 1}
    assert len(items) == expected.get(method, len(items))


def test_lists_are_in_the_documented_order(library: Daemon) -> None:
    listed = {method: pages(library, method, params)[0] for method, params in LISTS.items()}
    assert [project["id"] for project in listed["project/list"]] == ["p2", "p1", "p0"]
    versions = [thread["version"] for thread in listed["thread/list"]]
    assert versions == sorted(versions, reverse=True)
    assert listed["thread/list"][0]["id"] == "t0"
    assert [turn["id"] for turn in listed["turn/list"]] == [f"u{i}" for i in reversed(range(TURNS))]
    assert [kept["id"] for kept in listed["checkpoint/list"]] == [
        "last",
        *(f"u{i}-kept" for i in reversed(range(TURNS))),
    ]
    for method, prefix in (("prompt", "q"), ("approval", "may"), ("session", "s"), ("rule", "r")):
        assert [one["id"] for one in listed[f"{method}/list"]] == [f"{prefix}{i}" for i in reversed(range(9))]
    assert [setting["key"] for setting in listed["setting/list"]] == [f"k{i:02}" for i in range(30)]
    sequences = [stored["sequence"] for stored in listed["event/list"]]
    assert sequences == list(range(1, len(sequences) + 1))


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize("cursor", ["", "?", "ä", "bnVsbA", "W10", "LTE", "MS41", "dHJ1ZQ", "x" * 512, "Ilx1ZDgwMCI"])
def test_invalid_cursor_is_rejected(library: Daemon, method: str, cursor: str) -> None:
    error = library.error(method, {**LISTS[method], "cursor": cursor})
    assert (error["code"], error["data"]["path"]) == (-32602, "$.params.cursor")


def test_a_cursor_of_another_method_is_rejected(library: Daemon) -> None:
    of_settings = library.result("setting/list", {"limit": 1})["nextCursor"]
    of_threads = library.result("thread/list", {"limit": 1})["nextCursor"]
    assert library.error("thread/list", {"cursor": of_settings})["data"]["path"] == "$.params.cursor"
    assert library.error("setting/list", {"cursor": of_threads})["data"]["path"] == "$.params.cursor"
    by_time = library.result("thread/list", {"limit": 1, "sort": "updatedAt"})["nextCursor"]
    assert library.error("thread/list", {"cursor": by_time})["data"]["path"] == "$.params.cursor"
    error = library.error("thread/list", {"cursor": of_threads, "sort": "updatedAt"})
    assert (error["code"], error["data"]["path"]) == (-32602, "$.params.cursor")
    error = library.error("thread/read", {"threadId": "t0", "before": of_settings})
    assert (error["code"], error["data"]["path"]) == (-32602, "$.params.before")


def test_a_page_after_the_last_row_is_empty(library: Daemon) -> None:
    last = library.result("daemon/status")["sequence"]
    assert library.result("event/list", {"afterSequence": last}) == {"items": [], "nextCursor": None}
    assert library.result("event/list", {"afterSequence": 2**63 - 1}) == {"items": [], "nextCursor": None}


@pytest.mark.parametrize("texts", [["x", '"', "\u0001"], ["é", "🧵"]], ids=ascii)
@pytest.mark.only_local("reads do not know what log it is")
def test_a_page_is_limited_to_one_mebibyte(data_dir: Path, texts: list[str]) -> None:
    with serving(data_dir) as daemon:
        for text in texts:
            before = daemon.result("daemon/status")["sequence"]
            row = text * (200_000 // (len(json.dumps(text, ensure_ascii=False).encode()) - 2))
            for i in range(8):
                daemon.dispatch("ChangeSetting", key=f"k{i}", value=row)
            for method, params in (("setting/list", {}), ("event/list", {"afterSequence": before})):
                sizes: list[int] = []
                cursor = None
                while not sizes or cursor is not None:
                    daemon.request(method, {**params, **({} if cursor is None else {"cursor": cursor})})
                    body = daemon.body()
                    assert len(body) <= MIB + 4096
                    page = json.loads(body)["result"]
                    sizes.append(len(page["items"]))
                    cursor = page["nextCursor"]
                assert sizes == [5, 3]  # and not much smaller


@pytest.mark.only_local("reads do not know what log it is")
def test_a_row_larger_than_the_page_limit_gets_its_own_page(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        for i, size in enumerate([10, 10, 3 * MIB, 10, 2 * MIB, 10]):
            daemon.dispatch("ChangeSetting", key=f"k{i}", value="x" * size)
        for method in ("setting/list", "event/list"):
            sizes = [len(page) for page in pages(daemon, method, {})]
            assert sizes == [2, 1, 1, 1, 1]


def test_event_list_by_thread_returns_only_events_of_that_thread(library: Daemon) -> None:
    everything = [stored for page in pages(library, "event/list", {}) for stored in page]
    of_it = [stored for page in pages(library, "event/list", {"threadId": "t0", "limit": 10}) for stored in page]
    assert of_it == [stored for stored in everything if stored["event"].get("threadId") == "t0"]
    assert pages(library, "event/list", {"threadId": "none"}) == [[]]


# Filters and windows


@pytest.mark.parametrize("project", [None, "p0", "p1", "p2", "none"])
@pytest.mark.parametrize("archived", [None, True, False])
def test_thread_list_filters_by_project_and_archived(
    library: Daemon, project: str | None, archived: bool | None
) -> None:
    params = {"projectId": project, "archived": archived, "limit": 3}
    found = [thread["id"] for page in pages(library, "thread/list", params) for thread in page]
    everything = [thread for page in pages(library, "thread/list", {}) for thread in page]
    assert found == [
        thread["id"]
        for thread in everything
        if project in (None, thread["projectId"]) and archived in (None, thread["archivedAt"] is not None)
    ]
    assert (len(found) == 0) == (project == "none")


ORIGINS = [
    None,
    {"tool": "claude-code", "sessionId": "one"},
    {"tool": "claude-code", "sessionId": "two"},
    {"tool": "codex", "sessionId": "one"},
    {"tool": "codex"},
]
TIMES = ["2025-03-01T00:00:00.000Z", "2024-01-01T00:00:00.000Z", "2025-03-01T00:00:00.000Z", "2023-07-07T07:07:07.007Z"]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Threads of two projects from several tools, with times that repeat and go back; every third is archived."""
    with serving(tmp_path_factory.mktemp("imported")) as daemon:
        dispatch_all(daemon, [{"type": "CreateProject", "id": p, "name": p, "path": f"/{p}"} for p in ("p0", "p1")])
        for i in range(40):
            of = {"threadId": f"t{i}", "at": TIMES[i % len(TIMES)]}
            origin = ORIGINS[i % len(ORIGINS)]
            dispatch_all(
                daemon,
                [
                    {"type": "CreateThread", **of, "projectId": f"p{i % 2}", "title": "T", "origin": origin},
                    *([{"type": "ArchiveThread", **of}] if i % 3 == 0 else []),
                ],
            )
        yield daemon


@pytest.mark.parametrize("sort", ["version", "updatedAt"])
@pytest.mark.parametrize("project", [None, "p0"])
@pytest.mark.parametrize("archived", [None, True, False])
@pytest.mark.parametrize(
    "origin", [None, {"tool": "claude-code"}, {"tool": "codex", "sessionId": "one"}, {"tool": "none"}], ids=str
)
def test_threads_are_listed_by_origin_and_in_either_order_in_pages_that_hold_each_once(
    imported: Daemon, sort: str, project: str | None, archived: bool | None, origin: dict[str, str] | None
) -> None:
    params = {"sort": sort, "projectId": project, "archived": archived, "origin": origin, "limit": 3}
    found = [thread for page in pages(imported, "thread/list", params) for thread in page]
    everything = imported.result("thread/list", {"limit": 500})["items"]
    assert len(everything) == 40

    def place(thread: dict[str, Any]) -> Any:
        return thread["version"] if sort == "version" else (thread["updatedAt"], thread["sequence"])

    assert found == sorted(
        (
            thread
            for thread in everything
            if project in (None, thread["projectId"])
            and archived in (None, thread["archivedAt"] is not None)
            and (origin is None or origin.items() <= (thread["origin"] or {}).items())
        ),
        key=place,
        reverse=True,
    )
    assert (found == []) == (origin == {"tool": "none"})


def test_a_session_is_only_named_with_its_tool(imported: Daemon) -> None:
    error = imported.error("thread/list", {"origin": {"sessionId": "one"}})
    assert (error["code"], error["data"]["path"]) == (-32602, "$.params.origin.tool")


@pytest.mark.parametrize("limit", [1, 4, TURNS, 500])
def test_thread_windows_contain_each_turn_and_its_entities_once(library: Daemon, limit: int) -> None:
    windows = [library.result("thread/read", {"threadId": "t0", "turnLimit": limit})]
    while (before := windows[0]["beforeCursor"]) is not None:
        windows.insert(0, library.result("thread/read", {"threadId": "t0", "turnLimit": limit, "before": before}))
    assert [len(window["turns"]) for window in windows[1:]] == [limit] * (len(windows) - 1)
    whole = {
        plural: [value for window in windows for value in window[plural]] for plural in PLURALS if plural in windows[0]
    }
    assert [turn["id"] for turn in whole["turns"]] == [f"u{i}" for i in range(TURNS)]
    assert [m["id"] for m in whole["messages"]] == [f"u{i}-{what}" for i in range(TURNS) for what in ("asked", "said")]
    assert [a["id"] for a in whole["activities"]] == [f"u{i}-did" for i in range(TURNS)]
    assert [a["id"] for a in whole["approvals"]] == [f"u{i}-may" for i in range(TURNS)]
    assert [c["id"] for c in whole["checkpoints"]] == [*(f"u{i}-kept" for i in range(TURNS)), "last"]
    assert {thread["id"] for thread in whole["threads"]} == {"t0"}
    for window in windows:
        turns = {turn["id"] for turn in window["turns"]}
        assert {
            value["turnId"] for plural in ("messages", "activities", "approvals") for value in window[plural]
        } == turns


def windows_of(daemon: Daemon, **params: Any) -> list[dict[str, Any]]:
    """Every page of thread `t`, the oldest first."""
    windows = [daemon.result("thread/read", {"threadId": "t", **params})]
    while (before := windows[0]["beforeCursor"]) is not None:
        windows.insert(0, daemon.result("thread/read", {"threadId": "t", "before": before, **params}))
    return windows


@pytest.mark.only_local("reads do not know what log it is")
def test_a_large_turn_is_read_in_pages_that_all_include_the_turn(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        work = {"threadId": "t", "kind": "tool_call", "title": "x", "status": "completed", "detail": "x" * 60_000}
        for turn, activities in (("small", 1), ("large", 50), ("last", 1)):
            daemon.dispatch("StartTurn", threadId="t", id=turn, prompt=turn, messageId=f"{turn}-prompt")
            for n in range(activities):
                daemon.dispatch("RecordActivity", id=f"{turn}-{n}", turnId=turn, **work)
            daemon.dispatch("CreateCheckpoint", id=turn, threadId="t", turnId=turn, gitRef="r", message="")
            daemon.dispatch("CompleteTurn", threadId="t", id=turn, stopReason="end_turn")
        windows = windows_of(daemon)
        assert len(windows) == 4
        for window in windows:
            assert len(msgspec.json.encode(window)) <= MIB + 4_096
            assert {a["turnId"] for a in window["activities"]} <= {turn["id"] for turn in window["turns"]}
        turns = [t["id"] for window in windows for t in window["turns"]]
        assert list(dict.fromkeys(turns)) == ["small", "large", "last"]
        assert turns.count("large") >= 3
        held = [a["id"] for window in windows for a in window["activities"]]
        assert held == ["small-0", *(f"large-{n}" for n in range(50)), "last-0"]
        assert [c["id"] for window in windows for c in window["checkpoints"]] == ["small", "large", "last"]
        assert [m["id"] for window in windows for m in window["messages"]] == [
            *("small-prompt", "large-prompt", "last-prompt")
        ]
        assert {len(window["turns"]) for window in windows_of(daemon, turnLimit=1)} == {1}


@pytest.mark.parametrize("size", [32_767, 32_768, 3 * MIB])  # a letter of two bytes; a text of JSON has two quotes more
@pytest.mark.only_local("reads do not know what log it is")
def test_a_large_detail_is_omitted_from_windows_and_read_separately(data_dir: Path, size: int) -> None:
    detail = "é" * size
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="p")
        work = {"threadId": "t", "id": "a", "turnId": "u", "kind": "k", "title": "x", "status": "completed"}
        daemon.dispatch("RecordActivity", **work, detail=detail)
        (shown,) = daemon.result("thread/read", {"threadId": "t"})["activities"]
        whole = daemon.result("activity/read", {"threadId": "t", "id": "a"})
        assert whole["detail"] == detail
        assert whole["detailBytes"] is None
        if 2 * size + 2 <= 65_536:
            assert shown == whole
        else:
            assert shown == {**whole, "detail": None, "detailBytes": 2 * size + 2}


@pytest.mark.parametrize("size", [65_536, 65_537, 3 * MIB])
@pytest.mark.only_local("reads do not know what log it is")
def test_a_long_text_is_truncated_in_windows_and_read_separately(data_dir: Path, size: int) -> None:
    text = "é" * size
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt=text, messageId="m")
        daemon.dispatch("AddMessage", threadId="t", turnId="u", id="open", role="assistant", text=text, streaming=True)
        shown, streaming = [message for window in windows_of(daemon) for message in window["messages"]]
        assert streaming["text"] == text, "clients append to it"
        whole = daemon.result("message/read", {"threadId": "t", "id": "m"})
        assert whole["text"] == text
        assert whole["textBytes"] is None
        assert shown == (whole if size == 65_536 else {**whole, "text": text[:65_536], "textBytes": 2 * size})


@pytest.mark.parametrize("entity", ["activity", "message"])
def test_reading_a_missing_entity_gives_not_found(library: Daemon, entity: str) -> None:
    for params in ({"threadId": "t0", "id": "none"}, {"threadId": "none", "id": "u0-did"}):
        error = library.error(f"{entity}/read", params)
        assert error["code"] == -32011
        assert error["data"]["entity"] == entity


def test_every_row_has_the_type_of_its_entity(library: Daemon) -> None:
    entities = {method: ENTITIES[method.partition("/")[0]] for method in LISTS if method != "event/list"}
    for method, entity in entities.items():
        for item in pages(library, method, LISTS[method])[0]:
            msgspec.convert(item, entity, strict=True)
    window = library.result("thread/read", {"threadId": "t0"})
    for plural, name in PLURALS.items():
        for value in window.get(plural, []):
            msgspec.convert(value, ENTITIES[name], strict=True)
    for stored in pages(library, "event/list", {})[0]:
        msgspec.convert(stored, StoredEvent, strict=True)
    assert window["turns"][-1]["usage"] == {"tokens": 10**20 + TURNS - 1}


# Order


def test_a_read_sees_earlier_writes(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.send_together(
            message
            for i in range(1, 201)
            for message in (
                {"jsonrpc": "2.0", "id": i, "method": "command/dispatch",
                 "params": {"type": "ChangeSetting", "key": f"k{i:03}", "value": i}},
                {"jsonrpc": "2.0", "id": -i, "method": "setting/list", "params": {"limit": 500}},
            )
        )  # fmt: skip
        for i in range(1, 201):
            assert daemon.answer(i)["result"]["sequence"] == i
            assert len(daemon.answer(-i)["result"]["items"]) >= i


def test_commands_are_executed_in_the_order_received(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        asked = [
            daemon.request("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": i}) for i in range(900)
        ]
        assert [daemon.answer(id)["result"]["sequence"] for id in asked] == list(range(1, 901))
        values = [stored["event"]["value"] for page in pages(daemon, "event/list", {}) for stored in page]
        assert values == list(range(900))


# Batches of commands


def test_each_command_of_a_batch_sees_the_ones_before_it(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        answer = dispatch_all(
            daemon,
            [
                {"type": "CreateProject", "id": "p", "name": "p", "path": "/p"},
                {"type": "CreateThread", "threadId": "t0", "projectId": "p", "title": "t"},
                thread_command("RenameThread", title="t"),
                thread_command("StartTurn", id="u", prompt="hello"),
            ],
        )
        assert answer["sequence"] == 4
        assert [result["sequence"] for result in answer["results"]] == [1, 2, 2, 4]
        assert [[stored["sequence"] for stored in result["events"]] for result in answer["results"]] == [
            [1],
            [2],
            [],
            [3, 4],
        ]


def test_a_batch_with_one_rejected_command_leaves_no_trace(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        commands = [{"type": "ChangeSetting", "key": "k", "value": 1}, {"type": "DeleteProject", "id": "none"}]
        batch = daemon.request("command/dispatchBatch", {"commands": commands, "commandId": "c"})
        beside = daemon.request("command/dispatch", {"type": "ChangeSetting", "key": "beside", "value": 1})
        error = daemon.answer(batch)["error"]
        assert (error["code"], error["data"]) == (-32011, {"kind": "notFound", "entity": "project", "id": "none"})
        assert daemon.answer(beside)["result"]["sequence"] == 1
        assert [item["key"] for item in daemon.result("setting/list")["items"]] == ["beside"]
        # Its commandId is free.
        daemon.result("command/dispatchBatch", {"commands": commands[:1], "commandId": "c"})


def test_a_batch_is_limited_to_a_thousand_commands(data_dir: Path) -> None:
    command = {"type": "ChangeSetting", "key": "k"}
    with serving(data_dir) as daemon:
        error = daemon.error("command/dispatchBatch", {"commands": [command | {"value": i} for i in range(1001)]})
        assert (error["code"], error["data"]["path"]) == (-32602, "$.params.commands")
        answer = dispatch_all(daemon, [command | {"value": i} for i in range(1000)])
        assert answer["sequence"] == len(answer["results"]) == 1000


@pytest.mark.parametrize("command_id", [None, "c"])
def test_an_empty_batch_of_commands_is_answered(data_dir: Path, command_id: str | None) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("ChangeSetting", key="k", value=1)
        for _ in range(2):
            batch = daemon.request("command/dispatchBatch", {"commands": [], "commandId": command_id})
            beside = daemon.request("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})
            assert daemon.answer(batch)["result"] == {"sequence": 1, "results": []}
            assert daemon.answer(beside)["result"] == {"sequence": 1, "events": []}


# Idempotency and conditions


def test_a_repeated_command_id_gets_the_same_answer_from_every_daemon(data_dir: Path) -> None:
    project = {"type": "CreateProject", "name": "p", "path": "/p", "commandId": "make-p"}
    batch = {
        "commandId": "settings",
        "commands": [{"type": "ChangeSetting", "key": key, "value": 1} for key in ("a", "b", "a")],
    }
    with serving(data_dir) as daemon, serving(data_dir) as other:
        made = daemon.result("command/dispatch", project)
        set_ = daemon.result("command/dispatchBatch", batch)
        assert [len(result["events"]) for result in set_["results"]] == [1, 1, 0]
        daemon.dispatch("ChangeSetting", key="later", value=1)
        for again in (daemon, other):
            assert again.result("command/dispatch", project) == made
            assert again.result("command/dispatchBatch", batch) == set_
        # Of two that come together, one is done and both get its answer.
        twice = {"type": "ChangeSetting", "key": "twice", "value": 1, "commandId": "twice"}
        ids = [daemon.request("command/dispatch", twice) for _ in range(3)]
        assert len({json.dumps(daemon.answer(id)["result"]) for id in ids}) == 1
    with serving(data_dir) as daemon:
        assert daemon.result("command/dispatch", project) == made
        assert daemon.result("command/dispatchBatch", batch) == set_
        assert daemon.result("daemon/status")["sequence"] == 5


def test_reusing_a_command_id_for_another_command_is_a_conflict(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        command = {"type": "ChangeSetting", "key": "k", "value": {"a": 1, "b": [1.5, None]}, "commandId": "c"}
        made = daemon.result("command/dispatch", command)
        reordered = {"commandId": "c", "value": {"b": [1.5, None], "a": 1}, "key": "k", "type": "ChangeSetting"}
        assert daemon.result("command/dispatch", reordered) == made
        for other in ({**command, "key": "l"}, {**command, "value": {"a": 1.0, "b": [1.5, None]}}):
            error = daemon.error("command/dispatch", other)
            assert (error["code"], error["data"]["kind"]) == (-32012, "commandIdConflict")
        error = daemon.error("command/dispatchBatch", {"commands": [], "commandId": "c"})
        assert error["data"]["kind"] == "commandIdConflict"


def test_the_answer_to_a_no_op_command_is_stored(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        nothing = {"type": "ChangeSetting", "key": "k", "value": None, "commandId": "c"}
        answer = daemon.result("command/dispatch", nothing)
        assert answer == {"sequence": 0, "events": []}
        daemon.dispatch("ChangeSetting", key="k", value=1)
        assert daemon.result("command/dispatch", nothing) == answer
        assert [item["value"] for item in daemon.result("setting/list")["items"]] == [1]


def test_expected_version_makes_a_command_conditional(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        created = daemon.dispatch("CreateThread", threadId="t0", projectId="p", title="t", expectedVersion=0)
        version = created["sequence"]
        rename = {"type": "RenameThread", "threadId": "t0", "title": "u", "expectedVersion": version, "commandId": "c"}
        renamed = daemon.result("command/dispatch", rename)
        error = daemon.error("command/dispatch", thread_command("RenameThread", title="v", expectedVersion=version))
        assert (error["code"], error["data"]) == (
            -32012,
            {"kind": "versionConflict", "expected": version, "actual": renamed["sequence"]},
        )
        # What was done once stays done: the commandId is looked at first.
        assert daemon.result("command/dispatch", rename) == renamed


def test_missing_ids_are_generated_and_returned(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        project = daemon.dispatch("CreateProject", name="p", path="/p")["events"][0]["event"]["id"]
        thread = daemon.dispatch("CreateThread", projectId=project, title="t")["events"][0]["event"]["threadId"]
        turn, message = daemon.dispatch("StartTurn", threadId=thread, prompt="hello")["events"]
        made = [project, thread, turn["event"]["id"], message["event"]["id"]]
        assert Counter(uuid.UUID(id).version for id in made) == {7: 4}
        assert len(set(made)) == 4


# daemon/status and LSP conventions


def test_status_reports_process_versions_sizes_and_queues(data_dir: Path) -> None:
    with spawn(data_dir, "--durability", "full") as daemon:
        hello = daemon.initialize()
        daemon.dispatch("ChangeSetting", key="k", value=1)
        daemon.result("subscription/open", {"topic": "settings"})
        status = daemon.result("daemon/status")
        assert status["pid"] == daemon.process.pid
        assert status["dataDir"] == str(data_dir)
        assert status["durability"] == "full"
        assert status["logId"] == hello["logId"]
        assert (status["version"], status["protocolVersion"]) == (hello["serverInfo"]["version"], 1)
        assert status["sequence"] == 1
        assert status["sizes"]["databaseBytes"] + status["sizes"]["walBytes"] > 0
        assert status["queues"] == {"commands": 0, "requests": 1, "outputBytes": 0, "subscriptions": 1}


def test_a_method_sent_as_a_notification_is_executed_without_an_answer(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.notify("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})
        daemon.notify("command/dispatch", {"type": "DeleteProject", "id": "none"})
        daemon.notify("setting/list")
        assert [item["key"] for item in daemon.result("setting/list")["items"]] == ["k"]
        assert (daemon.answers, daemon.notifications) == ({}, [])


def test_members_that_lsp_clients_add_are_ignored(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        assert daemon.result("thread/list", {"limit": 5, "workDoneToken": "t1"})["items"] == []
        setting = {"type": "ChangeSetting", "commandId": "c", "key": "k", "value": None}
        first = daemon.result("command/dispatch", setting | {"workDoneToken": "t2", "_meta": {"a": 1}})
        assert daemon.result("command/dispatch", setting | {"workDoneToken": "t3"}) == first
        assert daemon.error("command/dispatch", setting | {"value": 1})["data"]["kind"] == "commandIdConflict"


def test_null_for_an_optional_param_means_its_default(data_dir: Path) -> None:
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p", commandId=None)
        assert len(daemon.result("project/list", {"limit": None, "cursor": None})["items"]) == 1
        assert len(daemon.result("event/list", {"afterSequence": None, "limit": None})["items"]) == 1
        daemon.dispatch("DeleteProject", id="p", cascade=None)
        assert daemon.error("project/list", {"limit": 0})["data"]["path"] == "$.params.limit"


# Order


def test_a_turn_that_is_written_at_once_is_in_the_order_in_which_it_was_written(data_dir: Path) -> None:
    turn: list[dict[str, Any]] = [thread_command("StartTurn", id="u", messageId="asked", prompt="Do")]
    for n in range(3):
        turn.append(thread_command("AddMessage", turnId="u", id=f"said-{n}", role="assistant", text=f"{n}"))
        turn.append(
            thread_command("RecordActivity", turnId="u", id=f"did-{n}", kind="tool_call", title="x", status="completed")
        )
    with serving(data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="P", path="/p")
        daemon.dispatch("CreateThread", threadId="t0", projectId="p", title="T")
        daemon.send_together(
            {"jsonrpc": "2.0", "id": f"d{n}", "method": "command/dispatch", "params": command}
            for n, command in enumerate(turn)
        )
        assert all("result" in daemon.answer(f"d{n}") for n in range(len(turn)))
        for _ in range(2):
            read = daemon.result("thread/read", {"threadId": "t0"})
            items = sorted(read["messages"] + read["activities"], key=lambda item: item["sequence"])
            assert len({item["sequence"] for item in items}) == len(items)
            assert [item["id"] for item in items] == [
                "asked",
                *(f"{did}-{n}" for n in range(3) for did in ("said", "did")),
            ]
            # What changes later stays where it was.
            daemon.dispatch("UpdateActivity", threadId="t0", id="did-0", detail={"late": True})
