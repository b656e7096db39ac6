"""Builds the parsers of the commands, and the options that several commands share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

Run = Callable[[argparse.Namespace], int]

THREAD = "its id, a unique prefix of it, or `last`: the thread that changed last"
"""The help of an argument that names a thread."""
THREAD_HERE = f"{THREAD} (default: the one of the current folder's project that changed last)"
CHANGED_PATHS = "only these files, and those in these folders"


class Parser(argparse.ArgumentParser):
    """A parser that can take the words after `--` as they are, in `after_dashes`.

    after_dashes: what they are, for an error: `a command and its arguments`. None if `--` has its usual meaning.
    """

    after_dashes: str | None = None

    def parse_known_args(  # type: ignore[override]  # the overloads of typeshed say no more
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Split at `--` before argparse looks: it would give the words to the first positional argument that fits."""
        words = list(sys.argv[1:] if args is None else args)
        at = words.index("--") if self.after_dashes and "--" in words else len(words)
        options, rest = super().parse_known_args(words[:at], namespace)
        if self.after_dashes:
            options.after_dashes = words[at + 1 :]
            if rest and at == len(words):
                self.error(f"unrecognized arguments: {' '.join(rest)}: {self.after_dashes} follow `--`")
        return options, rest


class Commands:
    """The subcommands of a parser.

    required: whether one must be given. If not, the parser has the common options itself, and they are inherited.
    """

    def __init__(self, parser: Parser, metavar: str, required: bool = True) -> None:
        self._group = parser.add_subparsers(metavar=metavar, required=required)
        self._common = Parser(add_help=False)
        self._common.add_argument(
            "--data-dir",
            type=Path,
            metavar="DIR",
            default=None if required else argparse.SUPPRESS,
            help="the data directory (default: the user's data directory)",
        )
        self._common.add_argument(
            "--log-level",
            choices=["debug", "info", "warning", "error"],
            default="warning" if required else argparse.SUPPRESS,
            help="default: warning",
        )

    def add(self, name: str, does: str, run: Run, *, more: str = "", example: str) -> Parser:
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
    """`--data-dir`, or the user's data directory. Raises OSError if there is no home directory."""
    if options.data_dir is not None:
        try:
            return Path(options.data_dir).expanduser().absolute()
        except RuntimeError as error:
            raise OSError(f"--data-dir {options.data_dir}: {error}") from None
    from platformdirs import user_data_path

    return users_folder(user_data_path)


def lasting_data_dir_of(options: argparse.Namespace) -> Path:
    """The same, for what makes no sense in a folder in memory. Raises Refused if it is that of a `serve --memory`."""
    from treadle.store.errors import Refused
    from treadle.store.sqlite.database import MEMORY

    data_dir = data_dir_of(options)
    if (data_dir / MEMORY).exists():
        raise Refused(
            f"{data_dir} is in memory, and gone when its daemon with --memory ends: choose another --data-dir"
        )
    return data_dir


def agents_files_of(options: argparse.Namespace) -> tuple[Path, Path]:
    """Where agents are configured: for the user, and in the data directory, which takes precedence."""
    from platformdirs import user_config_path

    return users_folder(user_config_path) / "agents.json", data_dir_of(options) / "agents.json"


def users_folder(find: Callable[..., Path]) -> Path:
    """The folder of treadle that a function of platformdirs finds. Raises OSError if there is no home directory."""
    try:
        return find("treadle", appauthor=False)
    except RuntimeError as error:
        raise OSError(str(error)) from None
