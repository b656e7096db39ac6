"""What the scripted agent reads and writes. Its turns run in threads of their own."""

import itertools
import json
import os
import queue
import sys
import threading
from typing import Any

Json = dict[str, Any]
OUT = sys.stdout.buffer
ANY = object()

_writing = threading.Lock()
_ids = itertools.count()  # from 0, as those of all known agents
_open: dict[str, "queue.Queue[Json]"] = {}


def write(*lines: bytes) -> None:
    with _writing:
        OUT.write(b"".join(line + b"\n" for line in lines))
        OUT.flush()


def encode(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


def send(**message: Any) -> None:
    write(encode(**message))


def receive() -> Any:
    line = sys.stdin.buffer.readline()
    if "SCRIPTED_LOG" in os.environ and line:
        with open(os.environ["SCRIPTED_LOG"], "ab") as log:
            log.write(line)
    return json.loads(line) if line else None


def ask(method: str, params: Json, id: Any = ANY, withdrawn: bool = False) -> tuple[Any, "queue.Queue[Json]"]:
    """Send a request; return its id, and a queue that gets the answer. withdrawn: withdraw it in the same write."""
    id = next(_ids) if id is ANY else id
    answer = _open[json.dumps(id)] = queue.Queue()
    withdrawal = encode(method="$/cancel_request", params={"requestId": id})
    write(encode(id=id, method=method, params=params), *([withdrawal] if withdrawn else []))
    return id, answer


def answered(message: Json) -> None:
    """An answer has arrived. One that nobody waits for any more is dropped."""
    if waiting := _open.pop(json.dumps(message.get("id")), None):
        waiting.put(message)
