"""Invented histories of other tools, in the shapes of their files, and a way to import them."""

import json
import os
import time
from collections.abc import Iterable
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
