"""Builds the parsers of the commands, and the options that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path

Run = Callable[[argparse.Namespace], int]


class Commands:
    """The subcommands of a parser."""

    def __init__(self, parser: argparse.ArgumentParser, metavar: str) -> None:
        self._group = parser.add_subparsers(metavar=metavar, required=True)
        self._common = argparse.ArgumentParser(add_help=False)
        self._common.add_argument(
            "--data-dir", type=Path, metavar="DIR", help="the data directory (default: the user's data directory)"
        )
        self._common.add_argument(
            "--log-level", choices=["debug", "info", "warning", "error"], default="warning", help="default: %(default)s"
        )

    def add(self, name: str, does: str, run: Run, *, more: str = "", example: str) -> argparse.ArgumentParser:
        """Add a command. does: one line. more: the rest of the description. example: shell lines."""
        command = self._group.add_parser(
            name,
            help=does,
            description=f"{_capitalized(does)}." + (f"\n\n{more.strip()}" if more else ""),
            epilog="example:\n" + "\n".join(f"  $ {line}" for line in example.strip().splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[self._common],
        )
        command.set_defaults(run=run)
        return command

    def group(self, name: str, does: str, metavar: str) -> "Commands":
        """Add a command that has subcommands."""
        return Commands(self._group.add_parser(name, help=does, description=f"{_capitalized(does)}."), metavar)


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def add_json(command: argparse.ArgumentParser, what: str) -> None:
    """Add `--json`, the output for programs."""
    command.add_argument("--json", action="store_true", help=what)


def positive(text: str) -> int:
    """Parse a whole number of 1 or more."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """Parse a whole number of 0 or more."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def data_dir_of(options: argparse.Namespace) -> Path:
    """`--data-dir`, or the user's data directory. Raises OSError if a home directory does not exist."""
    if options.data_dir is not None:
        try:
            return Path(options.data_dir).expanduser().absolute()
        except RuntimeError as error:
            raise OSError(f"--data-dir {options.data_dir}: {error}") from None
    from platformdirs import user_data_path

    return user_data_path("treadle", appauthor=False)
