"""Simulates what a power cut would leave of a data directory, at every moment of a traced run.

strace records every write, truncation, sync and unlink of a daemon, and when it sent which answer. From any prefix of
that trace, this creates images of the directory as a power cut may leave it: only what was synced; everything that was
written; or what was synced and any part of the rest. A new file, or the removal of one, is certain only once its folder
was synced. SQLite's shared memory is not part of an image: it does not survive a power cut.
"""

import asyncio
import json
import random
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat"
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_RESULT = re.compile(r"\) += (-?\d+)")
_DESCRIPTOR = re.compile(r"^(?P<number>\d+)<(?P<path>[^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')

Variant = Literal["synced", "written", "any"]


@dataclass
class Event:
    """One relevant system call. kind: create, write, truncate, sync, unlink or answer."""

    kind: str
    path: str
    offset: int = 0
    data: bytes = b""


@dataclass
class File:
    """A file on the disk. content: what is certainly there. pending: later calls, of which any part may be there."""

    content: bytes = b""
    pending: list[Event] = field(default_factory=list)
    linked: bool = False  # its name is certainly in the folder
    unlinked: bool = False  # its name was removed, but maybe not on the disk yet


def requests(messages: int) -> list[bytes]:
    """A session that writes enough for a WAL checkpoint to happen during it."""
    work = [
        ("initialize", {}),
        ("command/dispatch", {"type": "CreateProject", "id": "p", "name": "p", "path": "/p"}),
        ("command/dispatch", {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": "t"}),
        ("command/dispatch", {"type": "StartTurn", "threadId": "t", "id": "u", "prompt": "go"}),
    ]
    for i in range(messages):
        fields = {"threadId": "t", "turnId": "u", "role": "assistant", "text": f"{i} " * 6_000}
        work.append(("command/dispatch", {"type": "AddMessage", "commandId": f"c{i}", **fields}))
        work.append(("setting/list", {}))  # a read waits for earlier commands, so there are many commits, not one
    return [
        json.dumps({"jsonrpc": "2.0", "id": i, "method": method, "params": params}).encode() + b"\n"
        for i, (method, params) in enumerate(work)
    ]


async def traced_run(data_dir: Path, lines: list[bytes], log: Path) -> list[Event]:
    """Serve these requests under strace; return the relevant calls, in order."""
    process = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-y", "-xx", "-s", "4000000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log)),
        *(sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    await process.communicate(b"".join(lines))
    assert process.returncode == 0
    return parse(log, data_dir)


def parse(log: Path, data_dir: Path) -> list[Event]:
    """The calls in a strace log. A sync counts from its return; an answer from its call, up to what the pipe took."""
    events: list[Event] = []
    unfinished: dict[str, str] = {}
    answers: dict[str, Event] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            pid, _, call = line.rstrip("\n").partition(" ")
            call = call.lstrip()
            if call.endswith("<unfinished ...>"):
                call = call.removesuffix("<unfinished ...>").rstrip()
                unfinished[pid] = call
                if call.startswith("write(") and "<pipe:" in call.partition(",")[0]:
                    answers[pid] = Event("answer", "", data=_text(call))
                    events.append(answers[pid])
            elif call.startswith("<..."):
                begun = unfinished.pop(pid, "")
                rest = call.partition("resumed>")[2]
                if (answer := answers.pop(pid, None)) is not None:
                    result = _RESULT.search(rest)
                    assert result is not None, rest[:200]
                    answer.data = answer.data[: max(0, int(result[1]))]
                else:
                    events += _events(begun + rest, data_dir)
            else:
                events += _events(call, data_dir)
    return events


def _text(call: str) -> bytes:
    found = _TEXT.search(call)
    return b"" if found is None else bytes.fromhex(found.group(1).replace("\\x", ""))


def _events(call: str, data_dir: Path) -> list[Event]:
    match = _CALL.match(call)
    if match is None or int(match["result"]) < 0:
        return []
    name, arguments = match["name"], match["arguments"]
    if name in ("unlink", "unlinkat"):
        path = _text(arguments).decode()
        return [Event("unlink", path)] if path.startswith(f"{data_dir}/") else []
    if name == "openat":
        path = _text(arguments).decode()
        return [Event("create", path)] if "O_CREAT" in arguments and path.startswith(f"{data_dir}/") else []
    descriptor = _DESCRIPTOR.match(arguments)
    assert descriptor is not None, call[:200]
    path = _decoded(descriptor["path"])
    if name == "write" and path.startswith("pipe:"):
        return [Event("answer", "", data=_text(arguments)[: int(match["result"])])]
    if path != str(data_dir) and not path.startswith(f"{data_dir}/"):
        return []
    if name == "pwrite64":
        return [Event("write", path, int(arguments.rsplit(",", 1)[1]), _text(arguments)[: int(match["result"])])]
    if name == "ftruncate":
        return [Event("truncate", path, int(arguments.rsplit(",", 1)[1]))]
    if name in ("fsync", "fdatasync"):
        return [Event("sync", path)]
    raise AssertionError(f"not understood: {call[:200]}")


def _decoded(path: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), path)


class Disk:
    """The data directory at one moment of the trace. answered: what the client has been sent until then."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = str(data_dir)
        self.files: dict[str, File] = {}
        self.answered = b""

    def take(self, event: Event) -> None:
        file = self.files.setdefault(event.path, File()) if event.kind in ("create", "write", "truncate") else None
        match event.kind:
            case "answer":
                self.answered += event.data
            case "create" if file is not None and file.unlinked:
                self.files[event.path] = File(linked=file.linked)
            case "write" | "truncate":
                assert file is not None
                file.pending.append(event)
            case "unlink" if event.path in self.files:
                self.files[event.path].unlinked = True
            case "sync" if event.path == self.data_dir:
                self.files = {path: file for path, file in self.files.items() if not file.unlinked}
                for file in self.files.values():
                    file.linked = True
            case "sync" if event.path in self.files:
                synced = self.files[event.path]
                synced.content = _applied(synced.content, synced.pending)
                synced.pending = []

    def image(self, target: Path, variant: Variant, chance: random.Random) -> None:
        """Write an image of the directory as a power cut may leave it."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path, file in self.files.items():
            if path.endswith("-shm"):
                continue
            there = {"synced": file.linked, "written": not file.unlinked, "any": file.linked or chance.random() < 0.5}
            if file.unlinked and variant == "any":
                there["any"] = chance.random() < 0.5
            if not there[variant]:
                continue
            kept = {
                "synced": [],
                "written": file.pending,
                "any": [event for event in file.pending if chance.random() < 0.5],
            }[variant]
            (target / Path(path).name).write_bytes(_applied(file.content, kept))


def _applied(content: bytes, events: list[Event]) -> bytes:
    result = bytearray(content)
    for event in events:
        if event.kind == "truncate":
            del result[event.offset :]
            result.extend(bytes(event.offset - len(result)))
        else:
            result.extend(bytes(max(0, event.offset - len(result))))
            result[event.offset : event.offset + len(event.data)] = event.data
    return bytes(result)


def lost_in(image: Path, answered: bytes) -> list[str]:
    """What a client had been told but the image does not contain."""
    told = [
        stored
        for line in answered.split(b"\n")[:-1]
        for stored in (json.loads(line).get("result") or {}).get("events", [])
    ]
    path = image / "treadle.db"
    if not told:
        return []
    if not path.exists():
        return [f"{len(told)} events: there is no database"]
    try:
        with closing(sqlite3.connect(path)) as db:
            problems = [str(row[0]) for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
            log: dict[int, Any] = dict(db.execute("SELECT sequence, payload FROM events").fetchall())
    except sqlite3.Error as error:
        return [f"{len(told)} events: {error}"]
    if sorted(log) != list(range(1, len(log) + 1)):
        problems.append("the log has a gap")
    return problems + [
        f"event {stored['sequence']}"
        for stored in told
        if json.loads(log.get(stored["sequence"], "0")) != stored["event"]
    ]
