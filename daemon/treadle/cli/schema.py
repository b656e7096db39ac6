"""`treadle schema`: print the protocol in machine-readable form."""

import argparse

from treadle.cli.options import Commands

EXAMPLE = """\
treadle schema --format json-schema > treadle.schema.json
treadle schema | jq -r '.methods[].name'
"""


def add(commands: Commands) -> None:
    more = "Generated from the types that the daemon decodes messages with."
    command = commands.add("schema", "print the protocol in machine-readable form", run, more=more, example=EXAMPLE)
    command.add_argument(
        "--format",
        choices=["openrpc", "json-schema"],
        default="openrpc",
        help="openrpc: the methods, as rpc.discover returns them; json-schema: every type (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    from treadle.contract.openrpc import printed

    print(printed(options.format), end="", flush=True)
    return 0
