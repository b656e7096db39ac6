"""treadle's JSON-RPC with the methods of the specification's examples beside its own: run by test_rpc_spec.py.

`heard` gives the params of the notifications that came: the specification's `update` and `notify_*` do something.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from treadle.server.app import Daemon, Options, serve
from treadle.server.handlers import methods_of
from treadle.server.session import Method


class Subtract(Struct):
    minuend: int
    subtrahend: int


heard: list[Any] = []


def subtract(params: Subtract | list[int]) -> int:
    if isinstance(params, Subtract):
        return params.minuend - params.subtrahend
    return params[0] - params[1]


METHODS = [
    Method("subtract", "The difference of two.", Subtract | list[int], int, subtract),
    Method("sum", "The sum of some.", list[int], int, sum),
    Method("get_data", "Something.", Any, Any, lambda params: ["hello", 5]),
    *(Method(name, "Told.", Any, None, heard.append) for name in ("update", "notify_hello", "notify_sum")),
    Method("heard", "What was told.", Any, Any, lambda params: heard),
]


def methods(daemon: Daemon) -> dict[str, Method]:
    return methods_of(daemon) | {method.name: method for method in METHODS}


if __name__ == "__main__":
    stdout = os.dup(1)
    os.dup2(2, 1)
    data_dir = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    sys.exit(asyncio.run(serve(Options(data_dir=data_dir), methods, 0, stdout)))
