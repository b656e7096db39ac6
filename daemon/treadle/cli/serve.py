"""`treadle serve`: run a daemon for one client."""

import argparse
from pathlib import Path

from treadle.cli.options import Commands, agents_files_of, data_dir_of, natural, positive

EXAMPLE = """\
treadle serve --data-dir /tmp/try <<< '{"jsonrpc":"2.0","id":1,"method":"initialize"}'
"""


def add(commands: Commands) -> None:
    command = commands.add("serve", "serve one client on stdin and stdout", run, example=EXAMPLE)
    command.add_argument(
        "--durability",
        choices=["full", "normal"],
        default="full",
        help="full: an answered command is on disk; normal: a power cut may lose the last ones (default: %(default)s)",
    )
    command.add_argument(
        "--max-message-bytes",
        type=positive,
        default=32 * 1024 * 1024,
        metavar="N",
        help="the largest message that is accepted (default: %(default)s)",
    )
    command.add_argument(
        "--linger-ms",
        type=natural,
        default=50,
        metavar="N",
        help="how long a streamed token may wait to be merged with the next; 0 disables it (default: %(default)s)",
    )
    command.add_argument(
        "--no-agents", action="store_true", help="run no agents: queued prompts wait for another daemon"
    )
    kept = command.add_mutually_exclusive_group()
    kept.add_argument("--log-file", type=Path, metavar="FILE", help="write the log to this file instead of stderr")
    kept.add_argument(
        "--memory",
        action="store_true",
        help="keep everything in memory: nothing is on disk, and nothing is left when the daemon ends (Linux)",
    )


def run(options: argparse.Namespace) -> int:
    import asyncio
    import contextlib
    import gc
    import os

    # stdout carries only the protocol: anything else that is printed goes to stderr.
    stdout = os.dup(1)
    os.dup2(2, 1)
    from treadle.server.app import Options, serve
    from treadle.server.handlers import methods_of
    from treadle.server.memory import return_large_blocks

    # Requests and answers are thousands of short-lived objects without cycles. With the default threshold of 700, the
    # garbage collector took a quarter of the main thread's time.
    gc.set_threshold(10_000)
    return_large_blocks()
    with contextlib.ExitStack() as until_the_end:
        if options.memory:
            from treadle.server.memory_folder import memory_folder

            data_dir = until_the_end.enter_context(memory_folder())
        else:
            data_dir = data_dir_of(options)
        served = Options(
            data_dir=data_dir,
            persistent=not options.memory,
            durability=options.durability,
            max_message_bytes=options.max_message_bytes,
            linger=options.linger_ms / 1000,
            agents_files=lambda: agents_files_of(options),
            runs_agents=not options.no_agents,
        )
        return asyncio.run(serve(served, methods_of, 0, stdout))
