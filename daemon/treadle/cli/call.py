"""`treadle call`: send one request, as a client would."""

import argparse
import os

from treadle.cli.options import Commands, data_dir_of

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
    from treadle.cli.own_daemon import call
    from treadle.store.sqlite.reader import bring_up_to_date, require_database

    params = sys.stdin.buffer.read() if options.params == "-" else os.fsencode(options.params)
    why = _is_no_object(params)
    if why is not None:
        print(f"treadle call: invalid params: not a JSON object: {why}", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    if options.method not in MAKES:
        require_database(data_dir)
        bring_up_to_date(data_dir)
    answer = asyncio.run(call(data_dir, options.method, params))
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
