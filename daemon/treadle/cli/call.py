"""`treadle call`: send one request, as a client would."""

import argparse
import os
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, data_dir_of

if TYPE_CHECKING:
    from pathlib import Path

    from msgspec import Raw

MORE = """\
The result is printed as one line of JSON, or indented on a terminal. An error is printed to stderr with its kind, and
the exit status is 1. For methods and their params, see docs/protocol.md or run `treadle call rpc.discover`.

The call is a client with a daemon of its own, and both end after the answer: a turn that it starts is interrupted. Only
`command/dispatch`, `command/dispatchBatch` and `project/open` create a data directory that does not exist.
"""
EXAMPLE = """\
treadle call thread/list '{"limit": 5}'
treadle call command/dispatch '{"type": "CreateProject", "name": "Demo", "path": "/tmp/demo"}'
jq -n '{type: "ChangeSetting", key: "theme", value: "dusk"}' | treadle call command/dispatch -
"""
MAKES = frozenset({"command/dispatch", "command/dispatchBatch", "project/open", "rpc.discover"})
"""Methods that need no existing database: they create one, or read nothing from it."""
FIRST = frozenset({"initialize", "rpc.discover"})
"""Methods that may be called before `initialize`."""


def add(commands: Commands) -> None:
    command = commands.add("call", "call one method and print its result", run, more=MORE, example=EXAMPLE)
    command.add_argument("method", metavar="METHOD", help="for example thread/list")
    command.add_argument(
        "params",
        nargs="?",
        default="{}",
        metavar="JSON",
        help="the params as a JSON object; - reads stdin (default: {})",
    )


def run(options: argparse.Namespace) -> int:
    import asyncio
    import sys

    import msgspec

    import treadle.cli.output as output
    from treadle.store.sqlite.reader import require_database

    params = sys.stdin.buffer.read() if options.params == "-" else os.fsencode(options.params)
    why = _is_no_object(params)
    if why is not None:
        print(f"treadle call: invalid params: not a JSON object: {why}", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    if options.method not in MAKES:
        require_database(data_dir)
    answer = asyncio.run(_call(data_dir, options.method, params))
    if "error" in answer:
        error = msgspec.json.decode(answer["error"])
        print(f"treadle: {output.clean(error['message'])} ({error['data']['kind']})", file=sys.stderr)
        return 1
    result = bytes(answer["result"])
    output.print_json(msgspec.json.format(result, indent=2) if output.is_terminal() else result)
    return 0


def _is_no_object(text: bytes) -> str | None:
    """Why the text is not a JSON object, or None if it is one."""
    import msgspec

    from treadle.contract import json_text as grammar

    if not grammar.is_utf8(text):
        return "the text is not UTF-8"
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        return "a string contains half of a surrogate pair" if grammar.holds_lone_surrogate(text) else str(error)
    return None


async def _call(data_dir: "Path", method: str, params: bytes) -> "dict[str, Raw]":
    """Run a daemon in this process for one request; return the members of its answer as JSON text."""
    import asyncio

    import msgspec

    from treadle.server.app import Daemon, Options
    from treadle.server.handlers import methods_of

    messages: asyncio.Queue[bytes] = asyncio.Queue()
    daemon = Daemon(Options(data_dir=data_dir, linger=0.0), methods_of, messages.put_nowait)

    async def ask(id: bytes, method: str, params: bytes) -> dict[str, msgspec.Raw]:
        head = b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":' % (id, msgspec.json.encode(method))
        await daemon.session.receive(b"%b%b}" % (head, params))
        while True:
            message = msgspec.json.decode(await messages.get(), type=dict[str, msgspec.Raw])
            if bytes(message.get("id", b"")) == id:  # others are notifications
                return message

    try:
        if method not in FIRST:
            hello = await ask(b"0", "initialize", b"{}")
            if "error" in hello:
                return hello
        return await ask(b"1", method, params)
    finally:
        await daemon.close()
