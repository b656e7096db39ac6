"""`treadle schema`: the protocol for programs."""

import argparse

from treadle.cli.options import Commands

EXAMPLE = """\
treadle schema --format json-schema > treadle.schema.json
treadle schema | jq -r '.methods[].name'
"""


def add(commands: Commands) -> None:
    more = "It is made from what the daemon decodes with."
    command = commands.add("schema", "print the protocol in a form for programs", run, more=more, example=EXAMPLE)
    command.add_argument(
        "--format",
        choices=["openrpc", "json-schema"],
        default="openrpc",
        help="openrpc: the methods, as rpc.discover answers; json-schema: every type (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    from treadle.contract.openrpc import printed

    print(printed(options.format), end="", flush=True)
    return 0
