"""Invented histories of other tools, in the shapes of their files, and a way to import them."""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from treadle.core.engine import Engine
from treadle.store.pages import LATEST
from treadle.store.sqlite.store import Store
from treadle.transfer.sources.importer import STILL_GOING, Imported, Importer
from treadle.transfer.sources.source import Source, SourceReport

Json = dict[str, Any]

DAY = "2026-05-01T10:00:"


def at(second: int) -> str:
    """A time on the day of these histories."""
    return f"{DAY}{second:02}.000Z"


def write(path: Path, records: Iterable[Json | str | bytes], *, is_old: bool = True) -> Path:
    """Write records as JSON Lines; texts and bytes as they are. is_old: nothing is added to the last turn any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [r if isinstance(r, bytes) else (r if isinstance(r, str) else json.dumps(r)).encode() for r in records]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return aged(path, is_old)


def aged(path: Path, is_old: bool = True) -> Path:
    """Let a file be as if it was written long ago, or just now."""
    then = time.time() - (2 * STILL_GOING if is_old else 0)
    os.utime(path, (then, then))
    return path


class Imports:
    """Imports the history in a folder into one log."""

    def __init__(self, store: Store, engine: Engine, source: Source, home: Path) -> None:
        self.store, self.engine, self.source, self.home = store, engine, source, home
        self.report = SourceReport()

    async def take(self, *, full: bool = False) -> Imported:
        """Import all sessions; nothing may be rejected."""
        self.report = SourceReport()
        importer = Importer(self.store, self.engine, self.source, full=full)
        for session in self.source.discover(self.home, self.report):
            await importer.take(session, self.report)
        assert importer.imported.rejected == {}
        return importer.imported

    async def thread(self, id: str) -> Json:
        """What is in a thread: everything by kind, and the thread itself under `thread`."""
        snapshot = await self.store.read(lambda reads: reads.thread(id, 1000, LATEST))
        rows: Json = msgspec.json.decode(msgspec.json.encode(snapshot))
        return {**rows, "thread": rows["threads"][0]}

    async def threads(self) -> list[str]:
        return await self.store.read(lambda reads: sorted(reads.threads_with_prefix("", 1000)))

    async def texts(self, id: str) -> list[tuple[str, str]]:
        """The messages of a thread: who said what."""
        return [(m["role"], m["text"]) for m in (await self.thread(id))["messages"]]

    async def turns(self, id: str) -> list[tuple[str, str, str | None]]:
        """The turns of a thread: id, status and stop reason."""
        return [(t["id"], t["status"], t["stopReason"]) for t in (await self.thread(id))["turns"]]

    async def activities(self, id: str) -> dict[str, Json]:
        return {a["id"]: a for a in (await self.thread(id))["activities"]}


# Claude Code

SHOP = "5e551000-0000-4000-8000-000000000001"


class Claude:
    """Records of one session of Claude Code. Each comes a second after the one before."""

    def __init__(self, session: str = SHOP, **members: Any) -> None:
        self.members = {"sessionId": session, "cwd": "/work/shop", "gitBranch": "main", "isSidechain": False, **members}
        self.second = 0
        self.last: str | None = None

    def record(self, type: str, uuid: str | None = None, **members: Any) -> Json:
        self.second += 1
        record = {"type": type, "timestamp": at(self.second), **self.members, **members}
        if uuid is not None:
            record = {"uuid": uuid, "parentUuid": self.last, **record}
            self.last = uuid
        return record

    def user(self, uuid: str, content: Any, **members: Any) -> Json:
        return self.record("user", uuid, message={"role": "user", "content": content}, **members)

    def assistant(self, uuid: str, *blocks: Any, message: Json | None = None, **members: Any) -> Json:
        said = {
            "id": f"msg_{uuid}",
            "role": "assistant",
            "model": "m-1",
            "content": [*blocks],
            "stop_reason": "end_turn",
        }
        members = {"requestId": f"req_{uuid}", **members}
        return self.record("assistant", uuid, message={**said, **(message or {})}, **members)

    def result(self, uuid: str, call: str, content: Any, **members: Any) -> Json:
        block = {"type": "tool_result", "tool_use_id": call, "content": content, **members.pop("block", {})}
        return self.user(uuid, [block], **members)


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def call(id: str, name: str = "Bash", **given: Any) -> Json:
    return {"type": "tool_use", "id": id, "name": name, "input": given or {"command": "ls"}}


def claude_shop() -> list[Json]:
    """Two turns: one with a thought, a tool and its cost, and one that was answered at once."""
    of = Claude()
    usage = {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 100}
    first = {"id": "msg_1", "stop_reason": None, "usage": usage}
    return [
        of.record("permission-mode", permissionMode="default"),
        of.user("u1", "Why is the cart empty?"),
        of.assistant("a1", {"type": "thinking", "thinking": "Look.", "signature": "s"}, message=first, requestId="r1"),
        of.assistant(
            "a2",
            call("toolu_1", description="List the files"),
            message={**first, "stop_reason": "tool_use", "usage": {**usage, "output_tokens": 631}},
            requestId="r1",
        ),
        of.result("u2", "toolu_1", "cart.ts\n"),
        of.assistant("a3", text("It is never filled."), message={"usage": {"input_tokens": 1, "output_tokens": 2}}),
        of.user("u3", [text("Thanks.")]),
        of.assistant("a4", text("You are welcome.")),
    ]


# Codex

CART = "0199aaaa-0000-7000-8000-000000000001"


class Codex:
    """Records of one rollout of Codex. Each comes a second after the one before."""

    def __init__(self, second: int = 0) -> None:
        self.second = second

    def record(self, kind: str, **payload: Any) -> Json:
        self.second += 1
        return {"timestamp": at(self.second), "type": kind, "payload": payload}

    def meta(self, id: str = CART, **members: Any) -> Json:
        return self.record("session_meta", id=id, cwd="/work/shop", source="cli", git={"branch": "main"}, **members)

    def event(self, type: str, **members: Any) -> Json:
        return self.record("event_msg", **{"type": type, **members})

    def item(self, type: str, **members: Any) -> Json:
        return self.record("response_item", **{"type": type, **members})

    def said(self, role: str, text: str, **members: Any) -> Json:
        kind = "output_text" if role == "assistant" else "input_text"
        return self.item("message", role=role, content=[{"type": kind, "text": text}], **members)

    def cost(self, output: int, total: int) -> Json:
        last = {"input_tokens": 10, "output_tokens": output}
        info = {"last_token_usage": last, "total_token_usage": {"output_tokens": total}}
        return self.event("token_count", info=info)

    def turn(self, id: str, prompt: str, answer: str) -> list[Json]:
        """A turn in which both logs have each text."""
        return [
            self.event("task_started", turn_id=id),
            self.record("turn_context", turn_id=id, model="m-1"),
            self.said("user", f"<environment_context>\n  <cwd>/work/shop</cwd> {id}\n</environment_context>"),
            self.said("user", prompt),
            self.event("user_message", message=prompt),
            self.event("agent_message", message=answer),
            self.said("assistant", answer, id=f"msg_{id}"),
            self.event("task_complete", turn_id=id),
        ]


def codex_cart() -> list[Json]:
    """A turn with a thought, two calls and their cost, and one that is the same prompt again."""
    of = Codex()
    first = of.turn("t1", "Why is the cart empty?", "It is never filled.")
    work = [
        of.event("agent_reasoning", text="Look."),
        of.item("reasoning", summary=[{"type": "summary_text", "text": "Look."}], encrypted_content="x"),
        of.item("function_call", name="shell", call_id="call_1", arguments='{"command": ["ls", "-l"]}'),
        of.cost(40, 40),
        of.cost(40, 40),
        of.item("function_call_output", call_id="call_1", output='{"output": "a", "metadata": {"exit_code": 1}}'),
        of.event("exec_command_end", call_id="call_1", exit_code=1, aggregated_output="a"),
        of.cost(2, 42),
    ]
    return [of.meta(), *first[:5], *work, *first[5:], *of.turn("t2", "Why is the cart empty?", "As I said.")]


# OpenCode

SES = "ses_cart"
BEGAN = 1_777_629_600_000
"""10 o'clock on the day of these histories, in milliseconds since 1970."""

_OPENCODE = """
CREATE TABLE IF NOT EXISTS project (id TEXT PRIMARY KEY, worktree TEXT);
CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT, directory TEXT, title TEXT,
    revert TEXT, time_created INTEGER, time_updated INTEGER);
CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER, time_updated INTEGER,
    data TEXT);
CREATE TABLE IF NOT EXISTS part (id TEXT PRIMARY KEY, message_id TEXT, session_id TEXT, time_created INTEGER,
    time_updated INTEGER, data TEXT);
CREATE TABLE IF NOT EXISTS session_v2 (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT, title TEXT,
    time_created INTEGER, time_updated INTEGER, fork_session_id TEXT);
CREATE TABLE IF NOT EXISTS session_message (id TEXT PRIMARY KEY, session_id TEXT, type TEXT, seq INTEGER,
    time_created INTEGER, time_updated INTEGER, data TEXT);
"""


@contextmanager
def opencode_database(home: Path) -> Iterator[sqlite3.Connection]:
    """The database of OpenCode, with a write-ahead log, as its writer sees it."""
    home.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(home / "opencode.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(_OPENCODE)
        yield db


def opencode_messages(prompt: str = "Why is the cart empty?") -> list[tuple[str, Json, list[Json]]]:
    """The messages of a session, with their parts."""
    times = {"start": BEGAN + 2000, "end": BEGAN + 3000}
    state = {"status": "completed", "input": {"command": "ls"}, "output": "a", "metadata": {"exit": 1}, "time": times}
    tokens = {"input": 9, "output": 4, "reasoning": 0, "cache": {"read": 7, "write": 0}}
    return [
        ("msg_1", {"role": "user", "time": {"created": BEGAN}}, [{"id": "prt_1", "type": "text", "text": prompt}]),
        (
            "msg_2",
            {
                "role": "assistant",
                "parentID": "msg_1",
                "time": {"created": BEGAN + 1000, "completed": BEGAN + 5000},
                "finish": "stop",
            },
            [
                {"id": "prt_2", "type": "step-start"},
                {"id": "prt_3", "type": "reasoning", "text": "Look."},
                {"id": "prt_4", "type": "tool", "callID": "call_1", "tool": "bash", "state": state},
                {"id": "prt_5", "type": "text", "text": "It is never filled."},
                {"id": "prt_6", "type": "step-finish", "tokens": tokens, "cost": 0.5},
                {"id": "prt_7", "type": "patch", "hash": "3f2a1c9e8b7d6540a1b2c3d4e5f60718293a4b5c"},
            ],
        ),
    ]


def write_opencode_rows(db: sqlite3.Connection, session: str = SES, **members: Any) -> None:
    """Write the session into the tables of OpenCode 1.2."""
    row = {"id": session, "directory": "/work/shop", "title": "Cart", "time_created": BEGAN, "time_updated": BEGAN}
    row |= members
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT OR REPLACE INTO session ({', '.join(row)}) VALUES ({marks})", [*row.values()])
    for index, (id, data, parts) in enumerate(opencode_messages()):
        created = BEGAN + 1000 * index
        message = (f"{session}{id}", session, created, created, json.dumps(data))
        db.execute("INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)", message)
        for part in parts:
            values = (f"{session}{part['id']}", message[0], session, created, created, json.dumps(part))
            db.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?)", values)


def write_opencode_files(home: Path, session: str = SES) -> None:
    """Write the session as the files of OpenCode 1.1."""
    told = {"id": session, "directory": "/work/shop", "title": "Cart", "time": {"created": BEGAN}}
    write(home / "storage" / "session" / "global" / f"{session}.json", [told])
    for id, data, parts in opencode_messages():
        write(home / "storage" / "message" / session / f"{id}.json", [{"id": id, **data}])
        for part in parts:
            write(home / "storage" / "part" / id / f"{part['id']}.json", [part])


def write_opencode_entries(db: sqlite3.Connection, session: str = SES) -> None:
    """Write the session into the tables of OpenCode 2."""
    tool = {"status": "completed", "input": {"command": "ls"}, "content": [{"type": "text", "text": "a"}]}
    content = [
        {"type": "reasoning", "text": "Look."},
        {"type": "tool", "id": "call_1", "name": "shell", "state": tool},
        {"type": "text", "text": "It is never filled."},
    ]
    entries: list[tuple[str, Json]] = [
        ("user", {"text": "Why is the cart empty?"}),
        ("assistant", {"content": content, "finish": "stop", "cost": 0.5, "tokens": {"input": 9, "output": 4}}),
        ("user", {"text": "And hurry."}),
        ("idle", {"outcome": "succeeded"}),
    ]
    values = (session, "/work/shop", "Cart", BEGAN, BEGAN)
    db.execute(
        "INSERT INTO session_v2 (id, directory, title, time_created, time_updated) VALUES (?, ?, ?, ?, ?)", values
    )
    for seq, (kind, data) in enumerate(entries):
        entry = (f"{session}e{seq}", session, kind, seq, BEGAN + 1000 * seq, BEGAN, json.dumps(data))
        db.execute("INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)", entry)


# Gemini CLI and Qwen Code


def gemini_cart() -> list[Json]:
    """A turn with a thought and a call, whose message was written twice, and one that was answered at once."""
    call = {"id": "run_1", "name": "run_shell_command", "args": {"command": "ls"}, "status": "success"}
    done = {**call, "result": [{"functionResponse": {"response": {"output": "a"}}}]}
    looked = {"id": "m2", "timestamp": at(2), "type": "gemini", "content": "", "model": "m-1"}
    thoughts = [{"subject": "Look", "description": "Into the store.", "timestamp": at(1)}]
    return [
        {"sessionId": "cart", "projectHash": "shop", "startTime": at(0), "kind": "main"},
        {"id": "m1", "timestamp": at(1), "type": "user", "content": [{"text": "Why is the cart empty?"}]},
        {**looked, "thoughts": thoughts, "toolCalls": []},
        {**looked, "thoughts": thoughts, "toolCalls": [done], "tokens": {"input": 9, "output": 4}},
        {"id": "m3", "timestamp": at(3), "type": "gemini", "content": "It is never filled.", "tokens": {"input": 1}},
        {"$set": {"lastUpdated": at(3)}},
        {"id": "m4", "timestamp": at(4), "type": "user", "content": "Thanks."},
        {"id": "m5", "timestamp": at(5), "type": "gemini", "content": "You are welcome."},
    ]


def qwen_cart() -> list[Json]:
    """The same in the form of Qwen Code."""

    def record(second: int, kind: str, *parts: Json, **members: Any) -> Json:
        common = {"uuid": f"q{second}", "sessionId": "cart", "timestamp": at(second), "cwd": "/work/shop"}
        return {**common, "type": kind, "message": {"parts": [*parts]}, **members}

    response = {"functionResponse": {"id": "run_1", "response": {"output": "a"}}}
    return [
        record(1, "user", {"text": "Why is the cart empty?"}),
        record(
            2,
            "assistant",
            {"text": "Into the store.", "thought": True},
            {"functionCall": {"id": "run_1", "name": "run_shell_command", "args": {"command": "ls"}}},
            usageMetadata={"promptTokenCount": 9},
        ),
        record(3, "tool_result", response, toolCallResult={"callId": "run_1", "status": "success"}),
        record(4, "assistant", {"text": "It is never filled."}, usageMetadata={"promptTokenCount": 1}, model="m-1"),
        record(5, "user", {"text": "Thanks."}),
        record(6, "assistant", {"text": "You are welcome."}),
        record(7, "system", subtype="custom_title", systemPayload={"customTitle": "Cart"}),
    ]


def copilot_cart() -> list[Json]:
    """The same as a session of Copilot CLI."""

    def record(second: int, kind: str, **data: Any) -> Json:
        return {"type": kind, "id": f"e{second}", "timestamp": at(second), "data": data}

    wanted = {"toolCallId": "call_1", "name": "shell", "arguments": '{"command": "ls"}'}
    return [
        record(0, "session.start", context={"cwd": "/work/shop", "branch": "main"}),
        record(1, "user.message", content="Why is the cart empty?"),
        record(2, "assistant.message", content="", reasoningText="Look.", toolRequests=[wanted], outputTokens=9),
        record(3, "tool.execution_start", toolCallId="call_1", toolName="shell", arguments={"command": "ls"}),
        record(4, "tool.execution_complete", toolCallId="call_1", success=False, result={"content": "a"}),
        record(5, "assistant.message", content="It is never filled.", outputTokens=1, model="m-1"),
        record(6, "assistant.turn_end"),
        record(7, "user.message", content="Thanks."),
        record(8, "assistant.message", content="You are welcome."),
        record(9, "assistant.turn_end"),
    ]
