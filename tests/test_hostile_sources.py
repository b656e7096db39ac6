"""Damaged and hostile histories: nothing is raised, what can be read is imported, and importing again adds nothing."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from histories import (
    CART,
    SHOP,
    Claude,
    Imports,
    claude_shop,
    codex_cart,
    copilot_cart,
    gemini_cart,
    qwen_cart,
    text,
    write,
)
from support import CHECKOUT, opened, serving
from treadle.contract.bounds import require_bounded
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.store.sqlite.store import Store
from treadle.transfer.sources import claude, codex, copilot, gemini, lines, qwen
from treadle.transfer.sources.source import Source, SourceReport, time_of

FILES: dict[str, tuple[Source, str, list[dict[str, object]]]] = {
    "claude": (claude.SOURCE, f"projects/-work-shop/{SHOP}.jsonl", claude_shop()),
    "codex": (codex.SOURCE, f"sessions/2026/05/01/rollout-2026-05-01T10-00-00-{CART}.jsonl", codex_cart()),
    "gemini": (gemini.SOURCE, "tmp/shop/chats/session-cart.jsonl", gemini_cart()),
    "copilot": (copilot.SOURCE, "session-state/cart/events.jsonl", copilot_cart()),
    "qwen": (qwen.SOURCE, "projects/-work-shop/chats/cart.jsonl", qwen_cart()),
}
"""For each tool that writes JSON Lines: its source, a file, and what is in it."""

GARBAGE = [
    b"",
    b"{",
    b"null",
    b"[1, 2]",
    b'"text"',
    b"\xff\xfe{}",
    b"\0\0\0\0",
    b'{"type": "user"}',
    b'{"type": ["user"], "message": 3, "payload": []}',
    b'{"type": "assistant", "uuid": 7, "message": {"content": {"a": [null]}, "usage": []}}',
    b'{"type": "user", "uuid": "x", "timestamp": 1e300, "message": {"content": [[], 5, {"type": 3}]}}',
    b'{"type": "event_msg", "payload": {"type": "user_message", "message": ["a"]}}',
    b'{"type": "response_item", "payload": {"type": "function_call", "arguments": 12, "call_id": {}}}',
    b'{"type": "gemini", "id": "m2", "content": 5, "toolCalls": 7, "thoughts": "no", "tokens": []}',
    b'{"$set": {"messages": [1, {"id": "m1"}]}}',
    b'{"$rewindTo": {}}',
    b'{"type": "surrogate", "uuid": "s", "text": "\\ud83d and \\u0000 and \\\\u0000", "n": 1e999}',
    b'{"type": "number", "uuid": "n", "n": ' + b"9" * 400 + b"}",
    b'{"type": "deep", "uuid": "d", "value": ' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"type": "user", "uuid": "' + b"u" * 4000 + b'", "message": {"content": "A long id"}}',
    b'{"type": "keys", "uuid": "k", "' + b"k" * 5000 + b'": {"\\u0000": 1}}',
]

mutations = st.lists(
    st.one_of(
        st.tuples(st.just("drop"), st.integers(0, 30), st.just(b"")),
        st.tuples(st.just("double"), st.integers(0, 30), st.just(b"")),
        st.tuples(st.just("cut"), st.integers(0, 30), st.just(b"")),
        st.tuples(st.just("swap"), st.integers(0, 30), st.just(b"")),
        st.tuples(st.just("insert"), st.integers(0, 30), st.sampled_from(GARBAGE) | st.binary(max_size=40)),
    ),
    max_size=6,
)


def mutated(records: list[dict[str, object]], changes: list[tuple[str, int, bytes]]) -> bytes:
    """The lines of a file after these changes."""
    text = [json.dumps(record).encode() for record in records]
    for change, place, garbage in changes:
        if not text:
            break
        index = place % len(text)
        match change:
            case "drop":
                del text[index]
            case "double":
                text.insert(place * 7 % (len(text) + 1), text[index])
            case "cut":
                text[index] = text[index][: len(text[index]) // 2]
            case "swap":
                other = place * 5 % len(text)
                text[index], text[other] = text[other], text[index]
            case _:
                text.insert(index, garbage)
    return b"\n".join(text) + b"\n"


@pytest.mark.parametrize("tool", FILES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations)
@example([("insert", index, garbage) for index, garbage in enumerate(GARBAGE)])
@example([("double", index, b"") for index in range(20)])
def test_whatever_happened_to_a_file_importing_it_twice_is_importing_it_once(
    tool: str, changes: list[tuple[str, int, bytes]]
) -> None:
    source, name, records = FILES[tool]

    async def imports_it() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "home", name)
            async with opened(Path(folder, "data")) as store:
                engine = Engine(store, linger=0)
                engine.start()
                home = Imports(store, engine, source, Path(folder, "home"))
                for content in (mutated(records, changes), mutated(records, [])):
                    write(path, [content.removesuffix(b"\n")])
                    await home.take()
                    assert (await home.take()).events == 0
                await engine.stop()

    asyncio.run(imports_it())


@pytest.mark.parametrize("tool", FILES)
def test_every_command_is_one_that_a_client_may_send(tool: str, tmp_path: Path) -> None:
    source, name, records = FILES[tool]
    content = mutated(records, [("insert", index, garbage) for index, garbage in enumerate(GARBAGE)])
    write(tmp_path / name, [content.removesuffix(b"\n")])
    report = SourceReport()
    (session,) = source.discover(tmp_path, report)
    commands = list(source.read(session, report, False))
    for command in commands:
        sent = msgspec.json.decode(msgspec.json.encode(command))
        sent |= {"projectId": "p"} if isinstance(command, c.CreateThread) else {}
        assert msgspec.convert(sent, c.AnyCommand).command_id == command.command_id
        require_bounded(command, "command")
        assert b"\\u0000" not in msgspec.json.encode(command)
    assert report.skipped["a line that is not JSON"] >= 5
    assert report.skipped["a line that is not an object"] == 2  # null is one, and a list


async def test_characters_that_treadle_rejects_are_replaced(store: Store, engine: Engine, tmp_path: Path) -> None:
    of = Claude()
    prompt = json.dumps(of.user("u1", "PLACE")).replace("PLACE", r"a\u0000b \ud83d \\u0000 \ud83d\ude00")
    answer = json.dumps(of.assistant("a1", text("Größe")), ensure_ascii=False).encode("latin-1")
    write(tmp_path / "projects" / "-work" / f"{SHOP}.jsonl", [b"\xef\xbb\xbf" + prompt.encode(), answer + b"\r"])
    home = Imports(store, engine, claude.SOURCE, tmp_path)
    await home.take()
    assert await home.texts(f"claude:{SHOP}") == [
        ("user", "a\ufffdb \ufffd \\u0000 😀"),
        ("assistant", "Gr\ufffd\ufffde"),
    ]


async def test_what_is_not_a_file_is_not_read(store: Store, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "projects" / "-work"
    write(folder / f"{SHOP}.jsonl", claude_shop())
    (folder / "folder.jsonl").mkdir()
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "loop.jsonl").symlink_to("loop.jsonl")
    (folder / "empty.jsonl").touch()
    home = Imports(store, engine, claude.SOURCE, tmp_path)
    assert (await home.take()).threads == 1


async def test_an_unfinished_last_line_is_not_an_error_and_comes_later(
    store: Store, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "projects" / "-work" / f"{SHOP}.jsonl"
    whole = write(path, claude_shop()).read_bytes()
    home = Imports(store, engine, claude.SOURCE, tmp_path)
    for cut in range(1, 400, 7):
        write(path, [])
        path.write_bytes(whole[:-cut])
        await home.take()
        assert home.report.skipped["a line that is not JSON"] == 0
    write(path, claude_shop())
    await home.take()
    assert (await home.texts(f"claude:{SHOP}"))[-1] == ("assistant", "You are welcome.")


READ = """
import re, resource, sys
from pathlib import Path
from treadle.transfer.sources import claude
from treadle.transfer.sources.source import SourceReport
report = SourceReport()
for session in claude.SOURCE.discover(Path(sys.argv[1]), report):
    for command in claude.SOURCE.read(session, report, False):
        pass
print(report.skipped["a line over 16 MiB"], report.cut["a tool result over 32 KiB"])
status = Path("/proc/self/status")  # getrusage(2) would count the process that started this one
peak = re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text()) if status.exists() else None
print(int(peak[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_huge_line_is_skipped_and_takes_little_memory(tmp_path: Path) -> None:
    of = Claude()
    path = tmp_path / "projects" / "-work" / f"{SHOP}.jsonl"
    large = json.dumps(of.result("r1", "toolu_9", "word " * 3_000_000)).encode()  # 15 MB
    write(path, [*claude_shop(), large])
    with path.open("ab") as stream:
        stream.write(b'{"type": "user", "text": "')
        for _ in range(200):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n' + json.dumps(of.user("u9", "Still there?")).encode() + b"\n")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    counts, peak = done.stdout.splitlines()
    assert counts == "1 1"
    assert int(peak) * (1 if sys.platform == "darwin" else 1024) < 200 * 1024 * 1024


KILLED = """
import asyncio, os, sys
from pathlib import Path
from histories import Imports
from treadle.core.engine import Engine
from treadle.store.sqlite.store import Store
from treadle.transfer.sources import claude, importer

home, data, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
importer.BATCH = 3  # so that a turn is in several transactions
dispatch = importer.Importer._dispatch

async def counted(self, commands):
    global left
    left -= 1
    if left == 0:
        os._exit(9)
    return await dispatch(self, commands)

importer.Importer._dispatch = counted

async def imports_it():
    store = await Store.open(data)
    engine = Engine(store, linger=0)
    engine.start()
    await Imports(store, engine, claude.SOURCE, home).take()

asyncio.run(imports_it())
"""


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
async def test_an_import_that_was_killed_is_completed_by_the_next(tmp_path: Path, data_dir: Path, count: int) -> None:
    """Also if a daemon has interrupted the turns of the dead one in between."""
    write(tmp_path / "projects" / "-work" / f"{SHOP}.jsonl", claude_shop())
    killed = [sys.executable, "-c", KILLED, str(tmp_path), str(data_dir), str(count)]
    process = await asyncio.create_subprocess_exec(*killed, cwd=CHECKOUT / "tests")
    assert await process.wait() == 9
    async with serving(data_dir), opened(data_dir) as store:
        engine = Engine(store, linger=0)
        engine.start()
        home = Imports(store, engine, claude.SOURCE, tmp_path)
        await home.take()
        assert (await home.take()).events == 0
        await engine.stop()
        rows = await home.thread(f"claude:{SHOP}")
    assert sorted(m["text"] for m in rows["messages"] if m["text"]) == [
        "It is never filled.",
        "Thanks.",
        "Why is the cart empty?",
        "You are welcome.",
    ]
    assert [a["detail"]["rawOutput"] for a in rows["activities"] if "rawOutput" in a["detail"]] == ["cart.ts\n"]
    assert [turn["status"] for turn in rows["turns"]].count("running") == 0


def test_times_are_read_as_tools_write_them() -> None:
    assert time_of("2026-05-01T10:00:00.123456+02:00") == "2026-05-01T08:00:00.123Z"
    assert time_of("2026-05-01T10:00:00Z") == "2026-05-01T10:00:00.000Z"
    assert time_of(1_777_629_600_000) == time_of(1_777_629_600) == "2026-05-01T10:00:00.000Z"
    nonsense: list[object] = [None, True, "soon", "", -5, 1e300, float("nan"), [], "9999-99-99T00:00:00Z"]
    assert [time_of(value) for value in (*nonsense, "1969-12-31T00:00:00Z")] == [None] * (len(nonsense) + 1)


def test_a_compressed_file_is_named_when_nothing_can_read_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(lines.UnreadableFile, match=r"treadle\[zstd\]"):
        lines.open_lines(tmp_path / "rollout.jsonl.zst")
