"""Invented sessions of Claude Code of any size, in the shapes of its files, with a few kilobytes a record."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
WORDS = (
    ("the cart store test file error import value list name return this from with of to a retry index when session")
    + (" handler request empty price total check before after update function module branch commit")
).split(" ")
TEXTS = 400  # different texts: generating each word by itself would take longer than importing them


class Texts:
    """Texts of random words, of about a length. written: characters of all of them."""

    def __init__(self, seed: int) -> None:
        self.written = 0
        self._random = random.Random(seed)
        self._pool = [" ".join(self._random.choices(WORDS, k=40)) + f" {number:x}." for number in range(TEXTS)]

    def __call__(self, length: int) -> str:
        text = "\n".join(self._random.choices(self._pool, k=max(1, length // 230)))
        self.written += len(text)
        return text

    def length(self, least: int, most: int) -> int:
        return int(least * (most / least) ** self._random.random())


def records(session: str, size: int, texts: Texts) -> Iterator[bytes]:
    """The lines of one session of about this size."""
    written = second = 0
    last: str | None = None

    def line(kind: str, content: Any, **members: Any) -> bytes:
        nonlocal second, last, written
        second += 1
        uuid = f"{session[:8]}-{second:012}"
        record = {
            "parentUuid": last, "isSidechain": False, "userType": "external", "cwd": "/work/shop", "sessionId": session,
            "version": "2.1.300", "gitBranch": "main", "type": kind, "uuid": uuid,
            "timestamp": f"2026-05-{1 + second // 86400 % 28:02}T{second // 3600 % 24:02}:{second // 60 % 60:02}:"
            f"{second % 60:02}.000Z", "message": {"role": kind, "content": content}, **members,
        }  # fmt: skip
        last = uuid
        data = json.dumps(record).encode() + b"\n"
        written += len(data)
        return data

    def said(*blocks: Any, stop: str) -> bytes:
        usage = {"input_tokens": 9, "output_tokens": 40, "cache_read_input_tokens": 12_000}
        message = {"id": f"msg_{session[:8]}_{second}", "role": "assistant", "model": "m-1", "content": [*blocks]}
        return line("assistant", [], message={**message, "stop_reason": stop, "usage": usage}, requestId=f"r{second}")

    while written < size:
        yield line("user", texts(300))
        for _ in range(8):
            call = f"toolu_{session[:8]}_{second}"
            yield said({"type": "thinking", "thinking": texts(500), "signature": "x" * 300}, stop="tool_use")
            given = {"command": texts(100), "description": texts(40)[:60]}
            yield said({"type": "tool_use", "id": call, "name": "Bash", "input": given}, stop="tool_use")
            output = texts(texts.length(300, 20_000))
            result = {"type": "tool_result", "tool_use_id": call, "content": output}
            yield line("user", [result], toolUseResult={"stdout": output, "stderr": ""})
        yield said({"type": "text", "text": texts(1_200)}, stop="end_turn")


def write_sessions(home: Path, total: int, each: int) -> tuple[int, int]:
    """Fill a folder of Claude Code with this many bytes, in sessions of a size; return how many bytes it has, and how
    many of them are text."""
    folder = home / "projects" / "-work-shop"
    folder.mkdir(parents=True, exist_ok=True)
    written = text = number = 0
    while written < total:
        texts = Texts(number)
        session = f"{number:08x}-0000-4000-8000-{number:012x}"
        with (folder / f"{session}.jsonl").open("wb") as file:
            file.writelines(records(session, min(each, total - written), texts))
            written += file.tell()
        text += texts.written
        number += 1
    return written, text
