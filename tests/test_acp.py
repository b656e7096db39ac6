"""Recorded Agent Client Protocol sessions become commands that the decider accepts, and nothing in them is lost."""

import binascii
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from treadle.agents.recording import BadRecording, Frame, SessionMapper, read_frames
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.decider import Stamp, decide, evolve, initial_state, names
from treadle.domain.detail import changed

RECORDING = Path(__file__).parent / "recordings" / "opencode-retry-helper.jsonl"
SESSION = "ses_1"
STAMP = Stamp(at="2026-01-31T12:00:00.000Z", runner="test")

Json = dict[str, Any]


def client(method: str, id: Any = None, **params: Any) -> Frame:
    return frame("client", {"method": method, "params": {"sessionId": SESSION, **params}}, id)


def agent(method: str, id: Any = None, **params: Any) -> Frame:
    return frame("agent", {"method": method, "params": {"sessionId": SESSION, **params}}, id)


def frame(sender: Any, message: Json, id: Any = None) -> Frame:
    return Frame(0.0, sender, {"jsonrpc": "2.0", **message, **({} if id is None else {"id": id})})


def update(kind: str, /, **fields: Any) -> Frame:
    return agent("session/update", update={"sessionUpdate": kind, **fields})


def chunk(text: str, message_id: str | None = None, kind: str = "agent_message_chunk") -> Frame:
    native = {} if message_id is None else {"messageId": message_id}
    return update(kind, content={"type": "text", "text": text}, **native)


def prompt(text: str = "Do it", id: int = 1) -> Frame:
    return client("session/prompt", id, prompt=[{"type": "text", "text": text}])


def answer(id: Any = 1, sender: str = "agent", **result: Any) -> Frame:
    return frame(sender, {"result": result or {"stopReason": "end_turn"}}, id)


def ask(id: int, title: str = "Run it?", options: tuple[str, ...] = ("once", "reject")) -> Frame:
    choices = [{"optionId": o, "name": o.title(), "kind": f"allow_{o}"} for o in options]
    return agent("session/request_permission", id, toolCall={"toolCallId": "call", "title": title}, options=choices)


def mapped(*frames: Frame, **of_the_thread: str) -> list[c.Command]:
    """All commands of a session, each of which the wire and the decider take."""
    mapper = SessionMapper("project", **of_the_thread)
    commands = [command for each in frames for command in mapper.feed(each)] + mapper.end()
    decided(commands)
    return numbered(commands)


def numbered(commands: list[c.Command]) -> list[c.Command]:
    """The commands with ids that are easy to read: `turn-1` for `turn-` and a digest."""
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()

    def name(id: Any) -> Any:
        found = re.fullmatch(r"(.+)-[0-9a-f]{16}(-\d+)?", str(id))
        if found is None:
            return id
        if id not in names:
            counts[found[1]] += 1
            names[id] = f"{found[1]}-{counts[found[1]]}"
        return names[id]

    return [
        msgspec.structs.replace(
            command,
            **{f: name(getattr(command, f)) for f in ("id", "turn_id", "message_id") if hasattr(command, f)},
        )
        for command in commands
    ]


def decided(commands: list[c.Command]) -> list[e.Event]:
    state, log = initial_state(), []
    for command in [c.CreateProject(id="project", name="Demo", path="/workspace/demo"), *commands]:
        assert not c.missing_ids(command)
        assert msgspec.json.decode(msgspec.json.encode(command), type=c.AnyCommand) == command
        state.load({key: None for key in names(command) if key not in state})
        for event in decide(state, command, STAMP):
            evolve(state, event)
            log.append(event)
    return log


def of(kind: type[Any], commands: list[c.Command]) -> list[Any]:
    return [command for command in commands if isinstance(command, kind)]


def activities(commands: list[c.Command], kind: str | None = None) -> list[c.RecordActivity]:
    """Each activity as a whole, once for every command that tells of it."""
    now: dict[str, c.RecordActivity] = {}
    told = []
    for command in commands:
        if isinstance(command, c.RecordActivity):
            now[str(command.id)] = command
        elif isinstance(command, c.UpdateActivity):
            before = now[command.id]
            now[command.id] = msgspec.structs.replace(
                before,
                title=before.title if command.title is None else command.title,
                status=command.status or before.status,
                detail=changed(before.detail, command.detail or {}, {}),
            )
        else:
            continue
        told.append(now[str(command.id)])
    return [a for a in told if kind in (None, a.kind)]


def texts(commands: list[c.Command]) -> dict[str, str]:
    """Every message's text by id, as its commands build it."""
    text: dict[str, str] = {}
    for command in commands:
        if isinstance(command, c.AddMessage | c.AppendMessage):
            text[str(command.id)] = text.get(str(command.id), "") + command.text
    return text


# The recording


@pytest.fixture
def recording() -> list[Frame]:
    return list(read_frames(RECORDING))


def test_a_recorded_session_becomes_the_expected_commands(recording: list[Frame]) -> None:
    commands = mapped(*recording)
    assert Counter(type(command).__name__ for command in commands) == {
        "CreateThread": 1,
        "StartTurn": 2,
        "AddMessage": 8,
        "AppendMessage": 242 - 8,
        "CompleteMessage": 6,
        "RecordActivity": 8 + 4 + 2,
        "UpdateActivity": 24 - 4 + 4,
        "RequestApproval": 8,
        "ResolveApproval": 8,
        "CompleteTurn": 2,
    }


def test_the_thread_gets_the_session_id_and_the_first_prompt_as_title(recording: list[Frame]) -> None:
    commands = mapped(*recording)
    assert commands[0] == c.CreateThread(
        thread_id="ses_df927a4e3ffeIAcdtHqOk4sjKV",
        project_id="project",
        title="Add a retry helper with a test",
        origin=c.Origin(tool="OpenCode", session_id="ses_df927a4e3ffeIAcdtHqOk4sjKV", cwd="/workspace/demo"),
    )
    assert commands[1] == c.StartTurn(
        thread_id="ses_df927a4e3ffeIAcdtHqOk4sjKV",
        id="turn-1",
        prompt="Add a retry helper with a test",
        message_id="prompt-1",
    )


def test_assistant_messages_contain_the_text_of_all_recorded_chunks(recording: list[Frame]) -> None:
    chunks: dict[str, str] = {}
    for each in recording:
        told = each.msg.get("params", {}).get("update", {})
        if told.get("sessionUpdate") == "agent_message_chunk":
            chunks[told["messageId"]] = chunks.get(told["messageId"], "") + told["content"]["text"]
    assert texts(mapped(*recording)) == chunks
    assert len(chunks) == 8


def test_tool_calls_end_with_the_reported_status_and_the_detail_of_all_updates(recording: list[Frame]) -> None:
    told: dict[str, Json] = {}
    for each in recording:
        fields = dict(each.msg.get("params", {}).get("update", {}))
        if fields.pop("sessionUpdate", "").startswith("tool_call"):
            told.setdefault(fields["toolCallId"], {}).update(
                {name: value for name, value in fields.items() if name not in ("title", "status")}
            )
    last = {a.id: a for a in activities(mapped(*recording), "tool_call")}
    assert {id: a.detail for id, a in last.items()} == told
    assert {a.status for a in last.values()} == {"completed"}
    assert last["call_1795411176164116"].title == "retry.py"
    assert set(last["call_1795411176164116"].detail) == {
        "toolCallId",
        "kind",
        "locations",
        "rawInput",
        "content",
        "rawOutput",
    }


def test_approvals_are_resolved_when_both_sides_use_the_same_request_ids(recording: list[Frame]) -> None:
    commands = mapped(*recording)
    assert [a.id for a in of(c.RequestApproval, commands)] == [f"approval-{n}" for n in range(1, 9)]
    assert [(a.id, a.outcome) for a in of(c.ResolveApproval, commands)] == [
        (f"approval-{n}", "once") for n in range(1, 9)
    ]
    assert [t.id for t in of(c.CompleteTurn, commands)] == ["turn-1", "turn-2"]
    assert of(c.CompleteTurn, commands)[0].usage == {"inputTokens": 1200, "outputTokens": 90, "totalTokens": 1290}


def test_every_update_of_the_recording_that_tells_something_new_asks_for_something(recording: list[Frame]) -> None:
    mapper = SessionMapper("project")
    told: dict[str, Json] = {}
    for each in recording:
        commands = mapper.feed(each)
        if each.msg.get("method") == "session/update":
            update = each.msg["params"]["update"]
            call = told.setdefault(update.get("toolCallId"), {})
            is_new = call != {**call, **update, "sessionUpdate": None}
            call |= {**update, "sessionUpdate": None}
            assert bool(commands) == (is_new or "toolCallId" not in update), each
    assert mapper.end() == []


def test_mapping_a_recording_twice_gives_the_same_commands(recording: list[Frame]) -> None:
    assert mapped(*recording) == mapped(*recording)


def test_a_recording_truncated_anywhere_still_gives_accepted_commands(recording: list[Frame]) -> None:
    for length in range(0, len(recording), 7):
        commands = mapped(*recording[:length])
        ends = of(c.CompleteTurn, commands) + of(c.InterruptTurn, commands)
        assert len(ends) == len(of(c.StartTurn, commands))


# Reading


def test_an_error_gives_the_number_of_the_invalid_line() -> None:
    good = b'{"t": 0, "dir": "client", "msg": {}}'
    with pytest.raises(BadRecording, match=r"^line 3 is not a frame of a recording: "):
        list(read_frames([good, b"\n", b'{"t": 0, "dir": "client"', good]))
    with pytest.raises(BadRecording, match=r"^line 2 .*\$\.dir"):
        list(read_frames([good, b'{"t": 0, "dir": "editor", "msg": {}}']))
    with pytest.raises(BadRecording, match=r"^line 1 .*msg"):
        list(read_frames([b'{"t": 0, "dir": "client"}']))


@pytest.mark.parametrize("line", [b"\xff\xfe", b'"\xff"', b"[" * 100_000, b"[]", b"null"])
def test_a_line_that_is_not_a_frame_is_rejected(line: bytes) -> None:
    with pytest.raises(BadRecording, match="line 1"):
        list(read_frames([line]))


def test_blank_lines_are_ignored() -> None:
    assert list(read_frames([b"", b"\n", b"  \r\n"])) == []


def test_nul_characters_are_read_as_replacement_characters() -> None:
    lines = [rb'{"t": 0, "dir": "agent", "msg": {"text": "a\u0000\u0000\\u0000\\\u0000"}}']
    assert next(read_frames(lines)).msg == {"text": "a\ufffd\ufffd\\u0000\\\ufffd"}


# Turns


def test_a_thread_is_created_at_the_first_prompt_and_titled_by_its_first_line() -> None:
    mapper = SessionMapper("project")
    assert mapper.feed(frame("client", {"method": "session/new", "params": {"cwd": "/"}}, 1)) == []
    assert mapper.feed(answer(1, sessionId=SESSION)) == []
    thread, _ = mapper.feed(prompt(f"\n  {'x' * 100}\nmore"))
    origin = c.Origin(tool="acp", session_id=SESSION, cwd="/")
    assert thread == c.CreateThread(thread_id=SESSION, project_id="project", title="x" * 80, origin=origin)


def test_a_thread_with_an_empty_first_prompt_is_titled_new_session() -> None:
    assert of(c.CreateThread, mapped(prompt("")))[0].title == "New session"


def test_the_first_thread_gets_the_given_id_and_title() -> None:
    other = frame("client", {"method": "session/prompt", "params": {"sessionId": "b", "prompt": []}}, 2)
    threads = of(c.CreateThread, mapped(prompt(), other, thread_id="mine", title="Mine"))
    assert [(t.thread_id, t.title) for t in threads] == [("mine", "Mine"), ("b", "New session")]


def test_an_invalid_session_id_is_always_replaced_by_the_same_thread_id() -> None:
    mapper, another = SessionMapper("project"), SessionMapper("project")
    told = frame("client", {"method": "session/prompt", "params": {"sessionId": "/a b/ü", "prompt": []}}, 1)
    thread_id = mapper.feed(told)[0].thread_id  # type: ignore[attr-defined]
    assert thread_id.startswith("_a_b__-")
    assert another.feed(told)[0].thread_id == thread_id  # type: ignore[attr-defined]


def test_interleaved_sessions_become_separate_threads() -> None:
    def in_b(each: Frame) -> Frame:
        return Frame(0, each.dir, {**each.msg, "params": {**each.msg["params"], "sessionId": "b"}})

    commands = mapped(
        prompt("A", 1), in_b(prompt("B", 2)), chunk("a", "m"), in_b(chunk("b", "m")), answer(2), answer(1)
    )
    assert [(t.thread_id, t.prompt) for t in of(c.StartTurn, commands)] == [(SESSION, "A"), ("b", "B")]
    assert [(m.thread_id, m.id, m.text) for m in of(c.AddMessage, commands)] == [(SESSION, "m", "a"), ("b", "m", "b")]
    assert [t.thread_id for t in of(c.CompleteTurn, commands)] == ["b", SESSION]


def test_a_prompt_with_other_blocks_than_text_keeps_them_all_as_they_came() -> None:
    blocks = [
        {"type": "text", "text": "Look:"},
        {"type": "image", "mimeType": "image/png", "data": "AAAA"},
        {"type": "resource", "resource": {"uri": "file:///a.py", "text": "pass"}},
        {"type": "resource_link", "name": "b", "uri": "file:///b.py"},
    ]
    commands = mapped(client("session/prompt", 1, prompt=blocks))
    assert [(t.prompt, t.content) for t in of(c.StartTurn, commands)] == [("", blocks)]
    assert [t.title for t in of(c.CreateThread, commands)] == ["Look:"]


@pytest.mark.parametrize(
    ("prompt", "title"),
    [([{"type": "image"}], "[image]"), ([{"type": "resource", "resource": {"uri": "file:///a.py"}}], "file:///a.py")],
)
def test_a_prompt_without_text_is_named_by_what_or_where_it_is(prompt: Any, title: str) -> None:
    assert of(c.CreateThread, mapped(client("session/prompt", 1, prompt=prompt)))[0].title == title


def test_what_is_no_block_of_a_prompt_is_kept_as_a_text() -> None:
    commands = mapped(client("session/prompt", 1, prompt=["a", None, {"type": "text", "text": 7}]))
    assert [block["text"] for block in of(c.StartTurn, commands)[0].content] == [
        '"a"',
        "null",
        '{"type":"text","text":7}',
    ]


def test_a_prompt_of_very_many_blocks_keeps_the_last_ones_in_one() -> None:
    block = {"type": "image"}
    content = of(c.StartTurn, mapped(client("session/prompt", 1, prompt=[block] * 1002)))[0].content
    assert (len(content), content[-1]["type"], msgspec.json.decode(content[-1]["text"])) == (1000, "text", [block] * 3)


def test_a_cancelled_prompt_interrupts_its_turn() -> None:
    commands = mapped(prompt(), client("session/cancel"), answer(stopReason="cancelled"))
    assert commands[2:] == [
        c.InterruptTurn(thread_id=SESSION, id="turn-1", reason="cancelled", by="client", confirmed=True)
    ]


def test_a_prompt_that_the_agent_cancels_by_itself_says_so() -> None:
    [*_, ended] = mapped(prompt(), answer(stopReason="cancelled"))
    assert ended == c.InterruptTurn(thread_id=SESSION, id="turn-1", reason="the agent cancelled it", confirmed=True)


@pytest.mark.parametrize(
    ("error", "told", "kind"),
    [
        ({"code": -32603, "message": "Internal error"}, "Internal error", "internal_error"),
        ({"code": 500, "message": "no"}, "no", "500"),
        (
            {"code": -32603, "message": "Internal error", "data": {"details": "quota"}},
            'Internal error: {"details":"quota"}',
            "internal_error",
        ),
        ("broken", "the agent failed", None),
    ],
)
def test_a_prompt_answered_with_an_error_fails_its_turn(error: Any, told: str, kind: str | None) -> None:
    commands = mapped(prompt(), frame("agent", {"error": error}, 1))
    assert commands[2:] == [c.FailTurn(thread_id=SESSION, id="turn-1", error=told, kind=kind)]


def test_a_request_cancelled_error_interrupts_the_turn() -> None:
    error = {"code": -32800, "message": "Request cancelled"}
    commands = mapped(prompt(), frame("agent", {"error": error}, 1))
    ended = c.InterruptTurn(thread_id=SESSION, id="turn-1", reason="Request cancelled", confirmed=True)
    assert commands[2:] == [ended]


def test_a_turn_still_running_at_the_end_of_the_recording_is_interrupted() -> None:
    commands = mapped(prompt(), chunk("so far"))
    assert commands[-1] == c.InterruptTurn(thread_id=SESSION, id="turn-1", reason="no end in the recording")


def test_a_prompt_sent_during_a_turn_starts_its_own_turn_afterwards() -> None:
    commands = mapped(prompt("A", 1), prompt("B", 2), chunk("a"), answer(1), chunk("b"), answer(2))
    assert [type(command).__name__ for command in commands[1:]] == [
        "StartTurn",
        "AddMessage",
        "CompleteTurn",
        "StartTurn",
        "AddMessage",
        "CompleteTurn",
    ]


def test_prompts_answered_out_of_order_keep_their_stop_reasons() -> None:
    commands = mapped(prompt("A", 1), prompt("B", 2), answer(2, stopReason="refusal"), answer(1))
    assert [(t.id, t.stop_reason) for t in of(c.CompleteTurn, commands)] == [
        ("turn-1", "end_turn"),
        ("turn-2", "refusal"),
    ]


def test_responses_without_a_request_are_ignored() -> None:
    assert mapped(answer(7), answer(7, "client"), frame("client", {"method": "initialize"}, 7)) == []


# Messages


def test_chunks_are_appended_to_their_message_until_another_message_starts() -> None:
    commands = mapped(prompt(), chunk("a", "m1"), chunk("b", "m1"), chunk("c", "m2"))
    assert commands[2:-1] == [
        c.AddMessage(thread_id=SESSION, id="m1", turn_id="turn-1", role="assistant", text="a", streaming=True),
        c.AppendMessage(thread_id=SESSION, id="m1", text="b"),
        c.CompleteMessage(thread_id=SESSION, id="m1"),
        c.AddMessage(thread_id=SESSION, id="m2", turn_id="turn-1", role="assistant", text="c", streaming=True),
    ]


def test_a_message_continues_after_a_tool_call() -> None:
    commands = mapped(prompt(), chunk("a", "m"), update("tool_call", toolCallId="t", title="T"), chunk("b", "m"))
    assert texts(commands) == {"m": "ab"}


def test_chunks_without_a_message_id_form_one_message_until_another_kind_of_update() -> None:
    commands = mapped(
        prompt(), chunk("a"), chunk("b"), update("tool_call", toolCallId="t", title="T"), chunk("c"), answer()
    )
    assert texts(commands) == {"message-1": "ab", "message-2": "c"}
    assert [m.id for m in of(c.CompleteMessage, commands)] == ["message-1"]


def test_reusing_the_id_of_a_completed_message_starts_a_new_message() -> None:
    commands = mapped(
        prompt(), chunk("a", "m"), chunk("b", "n"), chunk("c", "m"), answer(), prompt("", 2), chunk("d", "m")
    )
    assert texts(commands) == {"m": "a", "n": "b", "m-2": "c", "m-3": "d"}


def test_an_invalid_message_id_is_replaced() -> None:
    commands = mapped(prompt(), chunk("a", "a b"), chunk("b", "a b"), chunk("c", ""))
    assert list(texts(commands).values()) == ["ab", "c"]


def test_user_message_chunks_become_a_user_message() -> None:
    commands = mapped(prompt("Do it"), chunk("Stop", "u", "user_message_chunk"), chunk("Why?", "u"))
    assert [(m.id, m.role, m.text) for m in of(c.AddMessage, commands)] == [
        ("u", "user", "Stop"),
        ("u-2", "assistant", "Why?"),
    ]


def test_a_prompt_echoed_by_the_agent_is_not_recorded_twice() -> None:
    commands = mapped(prompt("Do it"), chunk("Do it", kind="user_message_chunk"), chunk("Done"))
    assert [m.role for m in of(c.AddMessage, commands)] == ["assistant"]


def test_only_the_first_echo_of_a_prompt_is_skipped() -> None:
    echo = chunk("Do it", kind="user_message_chunk")
    commands = mapped(prompt("Do it"), chunk("Do it"), echo, echo)
    assert [m.role for m in of(c.AddMessage, commands)] == ["assistant", "user"]


def test_a_thought_with_another_message_id_completes_the_previous_message() -> None:
    commands = mapped(prompt(), chunk("a", "m"), chunk("b", "n", "agent_thought_chunk"), chunk("c", "m"))
    assert texts(commands) == {"m": "a", "m-2": "c"}
    assert [m.id for m in of(c.CompleteMessage, commands)] == ["m"]


@pytest.mark.parametrize("kind", ["agent_message_chunk", "agent_thought_chunk", "user_message_chunk"])
@pytest.mark.parametrize("content", [{"type": "text", "text": 7}, "text", 3])
def test_content_that_is_no_block_is_kept_as_an_activity(kind: str, content: Any) -> None:
    commands = mapped(prompt(), update(kind, content=content))
    assert [a.detail for a in activities(commands, "content")] == [content]


def test_a_block_that_is_no_text_is_a_message_between_those_before_and_after() -> None:
    image = {"type": "image", "data": "A"}
    commands = mapped(
        prompt(),
        chunk("a", "m"),
        update("agent_message_chunk", content=image, messageId="m"),
        chunk("b", "m"),
        answer(),
    )
    assert [(m.id, m.role, m.text, m.content) for m in of(c.AddMessage, commands)] == [
        ("m", "assistant", "a", None),
        ("m-2", "assistant", "", [image]),
        ("m-3", "assistant", "b", None),
    ]


def test_text_that_a_retry_repeats_is_kept_as_it_came() -> None:
    commands = mapped(prompt(), chunk("half an", "m"), chunk("half an answer", "m"), answer())
    assert texts(commands) == {"m": "half anhalf an answer"}
    commands = mapped(prompt(), chunk("half an", "m"), chunk("half an answer", "n"), answer())
    assert texts(commands) == {"m": "half an", "n": "half an answer"}


# Activities


def test_a_thought_is_appended_to_as_it_comes() -> None:
    commands = mapped(prompt(), *[chunk("x", kind="agent_thought_chunk")] * 100, answer())
    thoughts = activities(commands, "thought")
    assert {a.id for a in thoughts} == {"thought-1"}
    assert [a.status for a in thoughts] == ["running"] * 100 + ["completed"]
    assert thoughts[-1].detail == {"text": "x" * 100}
    written = sum(len(e.encode(event)) for event in decided(commands))
    assert written < 100 * 200, "only what was added is written"
    assert isinstance(commands[-1], c.CompleteTurn)


def test_a_thought_ends_when_a_message_chunk_follows() -> None:
    commands = mapped(
        prompt(),
        chunk("a", "m", "agent_thought_chunk"),
        chunk("b", "m"),
        chunk("c", "m", "agent_thought_chunk"),
        chunk("d", "m"),
        answer(),
    )
    thoughts = [(a.id, a.status, a.detail["text"]) for a in activities(commands, "thought")]
    assert thoughts == [
        ("m", "running", "a"),
        ("m", "completed", "a"),
        ("m-2", "running", "c"),
        ("m-2", "completed", "c"),
    ]
    assert texts(commands) == {"m": "bd"}


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("pending", "pending"),
        ("in_progress", "running"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "failed"),
        ("paused", "running"),
        (None, "pending"),
    ],
)
def test_tool_call_statuses_are_mapped_to_activity_statuses(told: str | None, status: str) -> None:
    (call,) = activities(mapped(prompt(), update("tool_call", toolCallId="t", title="T", status=told)), "tool_call")
    assert call.status == status


def test_a_tool_call_update_changes_only_the_fields_it_contains() -> None:
    commands = mapped(
        prompt(),
        update("tool_call", toolCallId="t", title="T", kind="edit", rawInput={"a": 1}, _meta={"x": 1}),
        update("tool_call_update", toolCallId="t", status="completed", rawInput=None, title=None, rawOutput={"b": 2}),
    )
    last = activities(commands, "tool_call")[-1]
    assert (last.id, last.title, last.status) == ("t", "T", "completed")
    assert last.detail == {
        "toolCallId": "t",
        "kind": "edit",
        "rawInput": {"a": 1},
        "_meta": {"x": 1},
        "rawOutput": {"b": 2},
    }
    assert of(c.UpdateActivity, commands) == [
        c.UpdateActivity(thread_id=SESSION, id="t", status="completed", detail={"rawOutput": {"b": 2}})
    ]


def test_a_status_that_treadle_has_no_word_for_is_kept_until_the_next() -> None:
    commands = mapped(
        prompt(),
        update("tool_call", toolCallId="t", title="T", status="paused"),
        update("tool_call_update", toolCallId="t", status="completed"),
    )
    assert [(a.status, a.detail) for a in activities(commands)] == [
        ("running", {"toolCallId": "t", "status": "paused"}),
        ("completed", {"toolCallId": "t"}),
    ]


def test_an_update_that_tells_nothing_new_asks_for_nothing() -> None:
    call = update("tool_call_update", toolCallId="t", status="in_progress", rawInput={"a": 1})
    commands = mapped(prompt(), call, call, answer(), prompt("B", 2), call, answer(2))
    assert len(activities(commands)) == 1


@pytest.mark.parametrize("title", ["", None, 7, ["T"]])
def test_a_tool_call_without_a_title_is_titled_by_its_id(title: Any) -> None:
    (call,) = activities(mapped(prompt(), update("tool_call", toolCallId="t", title=title)))
    assert call.title == "t"


def test_an_invalid_tool_call_id_is_replaced_and_kept_in_the_detail() -> None:
    one, two = activities(
        mapped(
            prompt(),
            update("tool_call", toolCallId="a/b", title="T"),
            update("tool_call_update", toolCallId="a/b", status="failed"),
        ),
        "tool_call",
    )
    assert one.id == two.id != "a/b"
    assert two.detail["toolCallId"] == "a/b"


def test_a_tool_call_that_continues_in_the_next_turn_gets_a_new_activity() -> None:
    commands = mapped(
        prompt("A", 1),
        update("tool_call", toolCallId="t", title="Serve", status="in_progress"),
        answer(1),
        prompt("B", 2),
        update("tool_call_update", toolCallId="t", status="completed"),
        answer(2),
    )
    assert [(a.id, a.turn_id, a.title, a.status) for a in activities(commands, "tool_call")] == [
        ("t", "turn-1", "Serve", "running"),
        ("t-2", "turn-2", "Serve", "completed"),
    ]


def test_reusing_the_id_of_a_finished_tool_call_starts_a_new_activity() -> None:
    call = update("tool_call", toolCallId="t", title="One", status="completed", rawInput=1)
    commands = mapped(
        prompt("A", 1), call, answer(1), prompt("B", 2), update("tool_call", toolCallId="t", title="Two", rawInput=2)
    )
    assert [(a.id, a.detail) for a in activities(commands)][-1] == ("t-2", {"toolCallId": "t", "rawInput": 2})


def test_plan_and_usage_each_have_one_activity_per_turn() -> None:
    entries = [{"content": "Look", "priority": "high", "status": "pending"}]
    turn = [update("plan", entries=[]), update("usage_update", used=1, size=9), update("plan", entries=entries)]
    commands = mapped(prompt("A", 1), *turn, answer(1), prompt("B", 2), *turn, answer(2))
    assert [(a.id, a.turn_id, a.detail) for a in activities(commands, "plan")] == [
        ("plan-1", "turn-1", {"entries": []}),
        ("plan-1", "turn-1", {"entries": entries}),
        ("plan-2", "turn-2", {"entries": []}),
        ("plan-2", "turn-2", {"entries": entries}),
    ]
    assert [(a.id, a.detail) for a in activities(commands, "usage")] == [
        ("usage-1", {"used": 1, "size": 9}),
        ("usage-2", {"used": 1, "size": 9}),
    ]


@pytest.mark.parametrize(
    "kind",
    ["available_commands_update", "current_mode_update", "config_option_update", "session_info_update"],
)
def test_a_state_of_the_session_that_is_told_again_costs_nothing(kind: str) -> None:
    state, other = update(kind, list=["a"] * 100), update(kind, list=["b"])
    commands = mapped(prompt("A", 1), state, state, answer(1), prompt("B", 2), state, answer(2), prompt("C", 3), other)
    assert [(a.kind, a.status, a.turn_id, a.detail) for a in activities(commands)] == [
        (kind, "completed", "turn-1", {"list": ["a"] * 100}),
        (kind, "completed", "turn-3", {"list": ["b"]}),
    ]


def test_an_update_of_another_kind_is_kept_whole() -> None:
    kind = "x/new kind"
    first, second = activities(mapped(prompt(), update(kind, a=1), update(kind, b=[None])))
    assert (first.kind, first.status, first.detail) == (kind, "completed", {"sessionUpdate": kind, "a": 1})
    assert second.detail == {"sessionUpdate": kind, "b": [None]}
    assert first.id != second.id


def test_an_update_without_a_kind_is_kept() -> None:
    (activity,) = activities(mapped(prompt(), agent("session/update", update={"a": 1})))
    assert (activity.kind, activity.detail) == ("update", {"a": 1})


def test_updates_between_turns_are_recorded_at_the_start_of_the_next_turn() -> None:
    commands = mapped(
        update("available_commands_update", n=1), prompt("A", 1), answer(1), chunk("late", "m"), prompt("B", 2)
    )
    assert [type(command).__name__ for command in commands] == [
        "CreateThread",
        "StartTurn",
        "RecordActivity",
        "CompleteTurn",
        "StartTurn",
        "AddMessage",
        "InterruptTurn",
    ]


def test_updates_after_the_last_turn_get_a_turn_of_their_own() -> None:
    commands = mapped(prompt(), answer(), update("session_info_update", title="Retry"))
    started, recorded, completed = commands[-3:]
    assert isinstance(started, c.StartTurn)
    assert isinstance(recorded, c.RecordActivity)
    assert isinstance(completed, c.CompleteTurn)
    assert (started.prompt, recorded.turn_id, completed.stop_reason) == ("", "outside-1", "outside_turn")


def test_the_conversation_of_a_loaded_session_becomes_turns() -> None:
    commands = mapped(
        client("session/load", 1, cwd="/", mcpServers=[]),
        update("current_mode_update", currentModeId="ask"),
        chunk("First", "u1", "user_message_chunk"),
        chunk("question", "u1", "user_message_chunk"),
        chunk("First answer", "a1"),
        update("tool_call", toolCallId="t", title="T", status="completed"),
        chunk("Second question", "u2", "user_message_chunk"),
        chunk("Second answer", "a2"),
        frame("agent", {"result": None}, 1),
        prompt("Third", 2),
        answer(2),
    )
    assert of(c.CreateThread, commands)[0].title == "First"
    assert [t.prompt for t in of(c.StartTurn, commands)] == ["First\nquestion", "Second question", "Third"]
    assert [(m.turn_id, m.text) for m in of(c.AddMessage, commands)] == [
        ("outside-1", "First answer"),
        ("outside-2", "Second answer"),
    ]
    assert [(a.turn_id, a.kind) for a in activities(commands)] == [
        ("outside-1", "current_mode_update"),
        ("outside-1", "tool_call"),
    ]
    assert [t.stop_reason for t in of(c.CompleteTurn, commands)] == ["outside_turn", "outside_turn", "end_turn"]


def test_a_loaded_session_without_a_new_prompt_keeps_its_conversation() -> None:
    commands = mapped(
        client("session/load", 1),
        chunk("First", kind="user_message_chunk"),
        chunk("Answer"),
        chunk("Second", kind="user_message_chunk"),
    )
    assert [t.prompt for t in of(c.StartTurn, commands)] == ["First", "Second"]
    assert [t.id for t in of(c.CompleteTurn, commands)] == ["outside-1", "outside-2"]
    assert [m.turn_id for m in of(c.AddMessage, commands)] == ["outside-1"]


# Requests


def test_requests_with_the_same_id_in_both_directions_are_distinct() -> None:
    commands = mapped(prompt("A", 3), ask(3), answer(3, "client", outcome={"outcome": "selected", "optionId": "once"}))
    assert [type(command).__name__ for command in commands[1:]] == [
        "StartTurn",
        "RecordActivity",
        "RequestApproval",
        "ResolveApproval",
        "InterruptTurn",
    ]
    other = mapped(prompt("A", 3), ask(3), answer(3, "agent"))
    assert [type(command).__name__ for command in other[1:]] == [
        "StartTurn",
        "RecordActivity",
        "RequestApproval",
        "CompleteTurn",
    ]


def test_a_string_request_id_does_not_match_the_same_number() -> None:
    commands = mapped(prompt("A", 3), answer("3"), answer(3))
    assert len(of(c.CompleteTurn, commands)) == 1


def test_a_permission_request_becomes_an_approval_with_options_and_tool_call() -> None:
    (asked,) = of(c.RequestApproval, mapped(prompt(), ask(5)))
    assert asked == c.RequestApproval(
        thread_id=SESSION,
        id="approval-1",
        turn_id="turn-1",
        title="Run it?",
        options=[
            c.ApprovalOption(id="once", name="Once", kind="allow_once"),
            c.ApprovalOption(id="reject", name="Reject", kind="allow_reject"),
        ],
        detail={"toolCallId": "call", "title": "Run it?"},
        activity_id="call",
    )


def test_a_tool_call_that_is_only_asked_for_is_an_activity() -> None:
    call = {
        "toolCallId": "t",
        "title": "Write a.py",
        "kind": "edit",
        "status": "pending",
        "content": [{"type": "diff"}],
    }
    commands = mapped(
        prompt(),
        agent("session/request_permission", 5, toolCall=call, options=[]),
        update("tool_call_update", toolCallId="t", status="completed"),
        agent("session/request_permission", 6, toolCall=call, options=[]),
    )
    detail = {"toolCallId": "t", "kind": "edit", "content": [{"type": "diff"}]}
    assert [(a.id, a.title, a.status, a.detail) for a in activities(commands)] == [
        ("t", "Write a.py", "pending", detail),
        ("t", "Write a.py", "completed", detail),
    ], "and asking for one that was announced does not change it"


def test_a_question_that_the_agent_withdraws_is_cancelled() -> None:
    commands = mapped(
        prompt(),
        ask(5),
        frame("agent", {"method": "$/cancel_request", "params": {"requestId": 5}}),
        answer(5, "client", outcome={"outcome": "selected", "optionId": "once"}),
        answer(),
    )
    assert [a.outcome for a in of(c.ResolveApproval, commands)] == [None]


def test_an_untitled_permission_request_takes_the_title_of_its_tool_call() -> None:
    ask_untitled = agent("session/request_permission", 5, toolCall={"toolCallId": "t", "title": None}, options=[])
    commands = mapped(prompt(), ask_untitled, update("tool_call", toolCallId="t", title="Write a.py"), ask_untitled)
    assert [a.title for a in of(c.RequestApproval, commands)] == ["t", "Write a.py"]


@pytest.mark.parametrize(
    "reply",
    [
        {"result": {"outcome": {"outcome": "cancelled"}}},
        {"result": {"outcome": {"outcome": "selected", "optionId": "not offered"}}},
        {"result": None},
        {"error": {"code": -32603, "message": "closed"}},
    ],
)
def test_a_permission_response_without_a_choice_cancels_the_approval(reply: Json) -> None:
    commands = mapped(prompt(), ask(5), frame("client", reply, 5))
    assert [a.outcome for a in of(c.ResolveApproval, commands)] == [None]


@pytest.mark.parametrize("option", ["", "x" * 200, "Allow all: *"])
def test_an_option_with_a_long_or_invalid_id_can_be_chosen(option: str) -> None:
    commands = mapped(
        prompt(),
        ask(5, options=(option, "b")),
        answer(5, "client", outcome={"outcome": "selected", "optionId": option}),
    )
    (asked,), (resolved,) = of(c.RequestApproval, commands), of(c.ResolveApproval, commands)
    assert resolved.outcome == asked.options[0].id


def test_a_duplicate_option_is_offered_once() -> None:
    (asked,) = of(c.RequestApproval, mapped(prompt(), ask(5, options=("once", "once"))))
    assert [option.id for option in asked.options] == ["once"]


def test_a_permission_response_after_the_end_of_its_turn_is_ignored() -> None:
    late = answer(5, "client", outcome={"outcome": "selected", "optionId": "once"})
    assert of(c.ResolveApproval, mapped(prompt("A", 1), ask(5), answer(1), late)) == []
    assert of(c.ResolveApproval, mapped(prompt("A", 1), ask(5), answer(1), prompt("B", 2), late)) == []


def test_a_permission_request_between_turns_is_recorded_in_the_next_turn() -> None:
    commands = mapped(
        client("session/load", 1),
        ask(5),
        answer(5, "client", outcome={"outcome": "selected", "optionId": "once"}),
        prompt("A", 2),
    )
    assert [a.outcome for a in of(c.ResolveApproval, commands)] == ["once"]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ({"result": {"content": "text"}}, "completed"),
        ({"result": None}, "completed"),
        ({"error": {"code": -32000, "message": "no"}}, "failed"),
    ],
)
def test_other_agent_requests_become_activities_that_end_with_the_response(reply: Json, status: str) -> None:
    commands = mapped(prompt("A", 8), agent("fs/read_text_file", 8, path="/a.py"), frame("client", reply, 8))
    asked, answered = activities(commands)
    params = {"sessionId": SESSION, "path": "/a.py"}
    assert (asked.kind, asked.title, asked.status, asked.detail) == (
        "fs/read_text_file",
        "/a.py",
        "running",
        {"params": params},
    )
    assert (answered.id, answered.status, answered.detail) == (
        asked.id,
        status,
        {"params": params, **{name: value for name, value in reply.items() if value is not None}},
    )


def test_the_result_of_a_request_answered_after_its_turn_is_in_the_next_turn() -> None:
    asked, late = agent("terminal/create", 8, command="ls"), answer(8, "client", terminalId="x")
    commands = mapped(prompt("A", 1), asked, answer(1), late, prompt("B", 2))
    assert [(a.turn_id, a.title, a.status) for a in activities(commands)] == [
        ("turn-1", "ls", "running"),
        ("turn-2", "ls", "completed"),
    ]


def test_a_request_without_a_session_id_belongs_to_the_latest_session() -> None:
    nameless = frame("agent", {"method": "_x/ask", "params": {"message": "?"}}, 9)
    assert mapped(nameless) == []
    assert [a.kind for a in activities(mapped(prompt(), nameless))] == ["_x/ask"]


def test_extension_notifications_are_kept_and_protocol_notifications_are_dropped() -> None:
    commands = mapped(prompt(), agent("_vendor/ping", n=1), agent("$/cancel_request", requestId=1))
    assert [(a.kind, a.status) for a in activities(commands)] == [("_vendor/ping", "completed")]


# Identity


def test_ids_come_from_what_was_said_and_not_from_its_place() -> None:
    said = [prompt("A", 1), chunk("a"), update("x", a=1), update("plan", entries=[]), ask(7), answer(1)]
    other = [prompt("B", 2), chunk("b"), answer(2)]

    def ids(*frames: Frame) -> set[str]:
        mapper = SessionMapper("project")
        commands = [command for each in frames for command in mapper.feed(each)]
        return {str(getattr(command, "id", "")) for command in commands} | {
            command.message_id for command in commands if isinstance(command, c.StartTurn) and command.message_id
        }

    assert ids(*said) < ids(*other, *said)
    assert len(ids(*said)) == 8, "the thread, a turn, its prompt, a message, the activities x, plan, call, an approval"


def test_what_is_said_twice_alike_is_two() -> None:
    commands = mapped(prompt("A", 1), update("x"), update("x"), answer(1), prompt("A", 1), answer(1))
    assert len({t.id for t in of(c.StartTurn, commands)}) == 2
    assert len({a.id for a in activities(commands)}) == 2


def test_another_connection_ends_the_turn_of_the_one_before() -> None:
    hello = frame("client", {"method": "initialize", "params": {"protocolVersion": 1}}, 0)
    commands = mapped(
        hello,
        prompt("A", 1),
        update("tool_call", toolCallId="t", status="in_progress"),
        hello,
        prompt("B", 1),
        answer(1),
    )
    assert [(t.id, t.reason, t.confirmed) for t in of(c.InterruptTurn, commands)] == [
        ("turn-1", "the connection to the agent ended", None)
    ]
    assert [t.id for t in of(c.CompleteTurn, commands)] == ["turn-2"]


# Version 2


def version_2(*frames: Frame) -> list[c.Command]:
    return mapped(
        frame("client", {"method": "initialize", "params": {"protocolVersion": 2}}, 0),
        frame("agent", {"result": {"protocolVersion": 2, "info": {"name": "Agent"}}}, 0),
        *frames,
    )


def state(state: str, **fields: Any) -> Frame:
    return update("state_update", state=state, **fields)


IDLE = state("idle", stopReason="end_turn")


def test_in_version_2_a_turn_ends_when_the_agent_is_idle() -> None:
    usage = {"totalTokens": 7}
    commands = version_2(
        prompt("A", 1),
        answer(1, messageId="u"),
        state("running"),
        chunk("a", "m"),
        state("requires_action"),
        state("running"),
        state("idle", stopReason="max_tokens", usage=usage),
        state("idle"),
        prompt("B", 2),
        chunk("b", "n"),
        answer(2, messageId="v"),
        IDLE,
    )
    assert [t.prompt for t in of(c.StartTurn, commands)] == ["A", "B"]
    assert [(m.turn_id, m.text) for m in of(c.AddMessage, commands)] == [("turn-1", "a"), ("turn-2", "b")]
    assert [(t.id, t.stop_reason, t.usage) for t in of(c.CompleteTurn, commands)] == [
        ("turn-1", "max_tokens", usage),
        ("turn-2", "end_turn", None),
    ]
    assert activities(commands) == []
    assert of(c.CreateThread, commands)[0].origin.tool == "Agent"


def test_in_version_2_a_cancelled_turn_says_who_cancelled_it() -> None:
    commands = version_2(
        prompt(), client("session/cancel"), state("idle", stopReason="cancelled"), prompt("B", 2), IDLE
    )
    (interrupted,) = of(c.InterruptTurn, commands)
    assert (interrupted.by, interrupted.confirmed) == ("client", True)


def test_in_version_2_a_prompt_that_is_refused_fails_its_turn() -> None:
    commands = version_2(prompt("A", 1), frame("agent", {"error": {"code": -32000, "message": "log in"}}, 1))
    assert [(t.error, t.kind) for t in of(c.FailTurn, commands)] == [("log in", "auth_required")]


def test_in_version_2_a_prompt_during_a_turn_is_a_message_in_it() -> None:
    echo = update("user_message", messageId="u2", content=[{"type": "text", "text": "faster"}])
    commands = version_2(
        prompt("A", 1), chunk("a", "m"), prompt("faster", 2), answer(2, messageId="u2"), echo, chunk("b", "n"), IDLE
    )
    assert len(of(c.StartTurn, commands)) == 1
    assert [(m.role, m.text) for m in of(c.AddMessage, commands)] == [
        ("assistant", "a"),
        ("user", "faster"),
        ("assistant", "b"),
    ]


def test_in_version_2_an_agent_starts_to_work_by_itself() -> None:
    commands = version_2(prompt("A", 1), IDLE, state("running"), chunk("woke up", "m"), IDLE)
    assert [t.prompt for t in of(c.StartTurn, commands)] == ["A", ""]
    assert [m.turn_id for m in of(c.AddMessage, commands)] == ["turn-2"]


def test_in_version_2_a_turn_without_an_end_is_interrupted() -> None:
    assert [t.reason for t in of(c.InterruptTurn, version_2(prompt("A", 1), answer(1), chunk("a", "m")))] == [
        "no end in the recording"
    ]


def whole(kind: str, id: str, *texts: str) -> Frame:
    return update(kind, messageId=id, content=[{"type": "text", "text": text} for text in texts])


def test_a_whole_message_adds_to_its_chunks_and_chunks_add_to_it() -> None:
    commands = version_2(
        prompt(),
        whole("user_message", "u", "Do it"),
        chunk("a", "m"),
        whole("agent_message", "m", "a", "b"),
        whole("agent_message", "m", "ab"),
        chunk("c", "m"),
        update("agent_message", messageId="m"),
        whole("agent_message", "n", "x"),
        IDLE,
    )
    assert texts(commands) == {"m": "abc", "n": "x"}


def test_a_whole_message_that_says_something_else_stands_beside_the_first() -> None:
    image = {"type": "image", "data": "A"}
    commands = version_2(
        prompt(),
        whole("agent_message", "m", "a"),
        whole("agent_message", "m", "b"),
        update("agent_message", messageId="n", content=[{"type": "text", "text": "c"}, image]),
        IDLE,
    )
    assert [(m.id, m.text, m.content) for m in of(c.AddMessage, commands)] == [
        ("m", "a", None),
        ("m-2", "b", None),
        ("n", "", [{"type": "text", "text": "c"}, image]),
    ]


def test_a_whole_thought_replaces_what_was_thought_so_far() -> None:
    commands = version_2(prompt(), chunk("a", "t", "agent_thought_chunk"), whole("agent_thought", "t", "b"), IDLE)
    assert [(a.id, a.status, a.detail) for a in activities(commands)] == [
        ("t", "running", {"text": "a"}),
        ("t", "running", {"text": "b"}),
        ("t", "completed", {"text": "b"}),
    ]


def test_in_version_2_null_removes_a_member_of_a_tool_call() -> None:
    commands = version_2(
        prompt(),
        update("tool_call_update", toolCallId="t", title="T", rawInput=1, rawOutput=2),
        update("tool_call_update", toolCallId="t", rawInput=None),
        IDLE,
    )
    assert activities(commands)[-1].detail == {"toolCallId": "t", "rawOutput": 2}


def test_in_version_2_the_content_of_a_tool_call_comes_piece_by_piece() -> None:
    piece = {"type": "content", "content": {"type": "text", "text": "x"}}
    commands = version_2(prompt(), *[update("tool_call_content_chunk", toolCallId="t", content=piece)] * 3, IDLE)
    assert activities(commands)[-1].detail == {"toolCallId": "t", "content": [piece] * 3}


def test_a_terminal_of_the_agent_is_an_activity_with_its_output_as_text() -> None:
    def base64(data: bytes) -> str:
        return binascii.b2a_base64(data, newline=False).decode()

    commands = version_2(
        prompt(),
        update("terminal_update", terminalId="t", command="make", cwd="/a"),
        update("terminal_output_chunk", terminalId="t", data=base64("n\0 €".encode()[:-1])),
        update("terminal_output_chunk", terminalId="t", data=base64("€".encode()[-1:])),
        update("terminal_output_chunk", terminalId="t", data="no base64"),
        update("terminal_update", terminalId="t", output={"data": base64(b"all")}, exitStatus={"exitCode": 2}),
        IDLE,
    )
    told = activities(commands, "terminal")
    assert {(a.id, a.title) for a in told} == {("terminal-t", "make")}
    assert [(a.status, a.detail.get("output")) for a in told] == [
        ("running", None),
        ("running", "n\ufffd "),
        ("running", "n\ufffd €"),
        ("running", "n\ufffd €no base64"),
        ("failed", "all"),
    ]
    assert told[-1].detail["cwd"] == "/a"


def test_a_plan_of_version_2_has_its_entries() -> None:
    entries = [{"content": "Look", "status": "pending"}]
    commands = version_2(
        prompt(), update("plan_update", plan={"planId": "p", "type": "items", "entries": entries}), IDLE
    )
    assert [(a.kind, a.detail["entries"]) for a in activities(commands)] == [("plan", entries)]


def test_a_question_of_version_2_has_a_title_of_its_own() -> None:
    call = {"toolCallId": "t", "title": "make", "status": "pending"}
    commands = version_2(
        prompt(),
        agent(
            "session/request_permission",
            5,
            title="Run it?",
            description="It may take long",
            subject={"type": "tool_call", "toolCall": call},
            options=[{"optionId": "yes", "name": "Yes", "kind": "allow_once"}],
        ),
        answer(5, "client", outcome={"outcome": "selected", "optionId": "yes"}),
        agent("session/request_permission", 6, title="Open it?", subject={"type": "url", "url": "x"}, options=[]),
        IDLE,
    )
    assert [(a.title, a.detail) for a in of(c.RequestApproval, commands)] == [
        ("Run it?", {**call, "description": "It may take long"}),
        ("Open it?", {"subject": {"type": "url", "url": "x"}}),
    ]
    assert [(a.id, a.title) for a in activities(commands)] == [("t", "make")]
    assert [a.outcome for a in of(c.ResolveApproval, commands)] == ["yes"]


def test_the_recording_of_version_2_has_its_work_in_the_turn_of_its_prompt() -> None:
    commands = mapped(*read_frames(RECORDING.with_name("codex-greeting-acp-v2.jsonl")))
    assert [t.prompt for t in of(c.StartTurn, commands)] == ["script=demo please", "script=slow please"]
    assert Counter((a.kind, a.turn_id) for a in of(c.RecordActivity, commands)) == {
        ("thought", "turn-1"): 1,
        ("tool_call", "turn-1"): 3,
        ("terminal", "turn-1"): 3,
        **{(kind, f"turn-{n}"): 1 for kind in ("notice", "session_info_update", "usage") for n in (1, 2)},
    }
    assert [(t.id, t.stop_reason) for t in of(c.CompleteTurn, commands)] == [("turn-1", "end_turn")]
    assert [(t.id, t.reason, t.by) for t in of(c.InterruptTurn, commands)] == [("turn-2", "cancelled", "client")]
