"""The help of every command in docs/cli.md: a block `text help` under a heading that is the command.

`python tests/tools/docs_help.py` writes the output of `--help` into the page. A test compares it.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from treadle.cli import parser

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
WIDTH = "100"  # columns

_BLOCK = re.compile(r"^(#+ `(treadle [a-z ]+)`\n\n```text help\n)(.*?)^```$", re.MULTILINE | re.DOTALL)


def subcommands(of: argparse.ArgumentParser, name: str = "treadle") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that can be run, with its full name."""
    if of.get_default("run"):
        yield name, of
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, sub in action.choices.items():
                yield from subcommands(sub, f"{name} {word}")


def said() -> dict[str, str]:
    """The output of --help, by command."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        return {name: command.format_help() for name, command in subcommands(parser())}
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def shown(page: str) -> dict[str, str]:
    """The help that the page shows, by command."""
    return {name: text for _, name, text in _BLOCK.findall(page)}


def main() -> int:
    helps = said()
    page = PAGE.read_text("utf-8")
    PAGE.write_text(_BLOCK.sub(lambda found: f"{found[1]}{helps[found[2]].rstrip()}\n```", page), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
