"""Durable commands a second over a pipe, beside the floor of the two walls that no daemon gets around.

a: rows that plain sqlite3 appends a second, in batches of 500 of the same payloads, synchronous=FULL.
e: frames that a loop of the standard library reads, json.loads, json.dumps and writes a second over the same pipe.
floor: 1 / (1/a + 1/e). Each is measured in turn, and the medians are compared.
"""

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

COMMANDS = 10_000
BATCH = 500
ROUNDS = 5

ECHO = """
import json, sys
read, write = sys.stdin.buffer, sys.stdout.buffer
for line in read:
    write.write(json.dumps(json.loads(line)).encode() + b"\\n")
    write.flush()
"""


def frames() -> list[bytes]:
    """What a client sends: messages of about a hundred characters."""
    text = "The delay doubles each time, so that a service which is down is not asked too often by all. "
    return [
        json.dumps(
            {
                "jsonrpc": "2.0",
                "id": i,
                "method": "command/dispatch",
                "params": {
                    "type": "AddMessage",
                    "threadId": "thread",
                    "turnId": "turn",
                    "id": f"message-{i}",
                    "role": "assistant",
                    "text": text,
                },
            }
        ).encode()
        + b"\n"
        for i in range(COMMANDS)
    ]


def answers_per_second(process: "subprocess.Popen[bytes]", sent: bytes, count: int) -> float:
    """Write all of it, read as many lines as answers are due."""
    assert process.stdin is not None
    assert process.stdout is not None
    began = time.perf_counter()
    writer = threading.Thread(target=lambda: (process.stdin.write(sent), process.stdin.flush()))  # type: ignore[union-attr]
    writer.start()
    for _ in range(count):
        line = process.stdout.readline()
        assert b'"error"' not in line, line
    elapsed = time.perf_counter() - began
    writer.join()
    return count / elapsed


def appended_rows_per_second(folder: Path, payloads: list[str]) -> float:
    """Plain sqlite3: one table, no trigger, no index."""
    path = folder / f"raw-{os.urandom(4).hex()}.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL) STRICT")
    began = time.perf_counter()
    for start in range(0, len(payloads), BATCH):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO events (payload) VALUES (?)", [(p,) for p in payloads[start : start + BATCH]])
        db.execute("COMMIT")
    elapsed = time.perf_counter() - began
    db.close()
    return len(payloads) / elapsed


def echoed_frames_per_second(sent: bytes) -> float:
    process = subprocess.Popen([sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    rate = answers_per_second(process, sent, COMMANDS)
    process.stdin.close()  # type: ignore[union-attr]
    process.wait()
    return rate


def dispatched_commands_per_second(folder: Path, sent: bytes) -> tuple[float, list[str]]:
    data_dir = folder / f"data-{os.urandom(4).hex()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    prepare = [
        ("initialize", {}),
        ("command/dispatch", {"type": "CreateProject", "id": "project", "name": "p", "path": "/p"}),
        ("command/dispatch", {"type": "CreateThread", "threadId": "thread", "projectId": "project", "title": "t"}),
        ("command/dispatch", {"type": "StartTurn", "id": "turn", "threadId": "thread", "prompt": "go"}),
    ]
    for i, (method, params) in enumerate(prepare):
        line = json.dumps({"jsonrpc": "2.0", "id": f"p{i}", "method": method, "params": params}).encode() + b"\n"
        answers_per_second(process, line, 1)
    rate = answers_per_second(process, sent, COMMANDS)
    process.stdin.close()  # type: ignore[union-attr]
    process.wait()
    with sqlite3.connect(data_dir / "treadle.db") as db:
        payloads = [row[0] for row in db.execute("SELECT payload FROM events WHERE event_type = 'MessageAdded'")]
    db.close()
    assert len(payloads) == COMMANDS + 1
    return rate, payloads


def main() -> None:
    sent = b"".join(frames())
    rows: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as name:
        folder = Path(name)
        for _ in range(ROUNDS):
            rate, payloads = dispatched_commands_per_second(folder, sent)
            rows.append((rate, appended_rows_per_second(folder, payloads), echoed_frames_per_second(sent)))
    rate, a, e = (statistics.median(column) for column in zip(*rows, strict=True))
    floor = 1 / (1 / a + 1 / e)
    print(f"{COMMANDS} pipelined AddMessage, synchronous=FULL, medians of {ROUNDS} rounds in turn")
    print(f"  treadle           {rate:9,.0f} commands/s")
    print(f"  a  plain sqlite3  {a:9,.0f} rows/s in batches of {BATCH}")
    print(f"  e  stdlib loop    {e:9,.0f} frames/s")
    print(f"  floor             {floor:9,.0f} /s")
    print(f"  treadle / floor   {rate / floor:9.2f}")


if __name__ == "__main__":
    main()
