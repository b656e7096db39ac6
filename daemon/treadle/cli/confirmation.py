"""Asks on the terminal for a yes before something is changed."""

import sys

from treadle.cli.output import is_terminal

UNCHANGED = "nothing was changed"


def confirmed(question: str) -> bool:
    """Ask on stdout, or on stderr if stdout is a pipe. Anything but `y` or `yes` is a no, and UNCHANGED is printed."""
    try:
        print(f"{question} [y/N] ", end="", file=sys.stdout if is_terminal() else sys.stderr, flush=True)
        is_wanted = sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        print(f"\n{UNCHANGED}", file=sys.stderr)
        raise
    if not is_wanted:
        print(UNCHANGED, file=sys.stderr)
    return is_wanted
