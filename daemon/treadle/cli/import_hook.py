"""`treadle import claude --hook`: a hook of Claude Code, which waits for it. It must end at once and print nothing.

So this module imports little: the import itself is loaded in the process that carries it out.
"""

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from treadle.store.errors import UserError

MAX_HOOK = 16 * 1024 * 1024  # bytes of what a hook gets


def run_hook(options: argparse.Namespace, data_dir: Path) -> int:
    """Import the session that a hook names in a process of its own; with --strict in this one, and say how it went."""
    try:
        told = json.loads(sys.stdin.buffer.read(MAX_HOOK))
        options.paths = [Path(told["transcript_path"])]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if options.strict:
            raise UserError(f"stdin is not what a hook gets, a JSON object with `transcript_path`: {error}") from None
        return 0
    if options.strict:
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing):
            return _import(options, data_dir)
    if os.fork():
        return 0
    try:  # the tool may wait until its pipes are closed, and may end the processes of its group
        os.setsid()
        os.chdir("/")
        nothing_at_all = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing_at_all, descriptor)
        _import(options, data_dir)
    finally:
        os._exit(0)


def _import(options: argparse.Namespace, data_dir: Path) -> int:
    from treadle.cli.histories import import_tools

    return import_tools(options, data_dir, [options.tool])
