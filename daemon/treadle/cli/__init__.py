"""The command line. A command is a module of its own, imported when it is asked for: an editor waits for `serve`."""

import argparse
import codecs
import os
import sys
from collections.abc import Sequence

from treadle import __version__
from treadle.cli.options import Commands

COMMANDS = (
    *("serve", "call", "threads", "show", "search", "tail", "events", "stats", "export", "import"),
    *("verify", "rebuild", "doctor", "backup", "restore", "schema", "completion"),
)
"""In the order of `--help`. A new one is a name here, a line in `_add`, and a module."""

EPILOG = """\
An editor plugin, a program or a script spawns `treadle serve` and talks JSON-RPC 2.0 over its stdin and stdout:
with Content-Length headers, as language servers do, or one JSON text a line.

  $ treadle serve --data-dir /tmp/try <<< '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'

The exit status is 0 for done, 1 where it failed or found something, 2 where it was asked for wrongly, and 130 after
Ctrl-C.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, 1 it failed or found something, 2 it was asked for wrongly."""
    _set_up_streams()
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser(words[0] if words else None).parse_args(words)
    options.parser = parser  # for `treadle completion`, which completes all of them
    from treadle.cli.logs import set_up_logging

    log_file = getattr(options, "log_file", None)
    try:
        set_up_logging(options.log_level, log_file)
    except OSError as error:
        parser().error(f"argument --log-file: {log_file} cannot be written: {error.strerror}")
    import sqlite3

    from treadle.store.errors import StorageError, explained

    try:
        status = int(options.run(options))
        sys.stdout.flush()  # here, where a reader that is gone is no traceback
        return status
    except StorageError as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:  # Ctrl-C within a statement
            return 130
        print(f"treadle: {explained(error)}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:  # of an argument: what is stored and what comes in JSON is UTF-8
        from treadle.cli.output import clean

        print(f"treadle: this is not UTF-8: {clean(error.object)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains again when it flushes stdout
        return 1
    except OSError as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Every command and option; or of the commands only this one, where there is such a one."""
    top = argparse.ArgumentParser(
        prog="treadle",
        description="A daemon that keeps coding-agent work: projects, threads, turns, messages, approvals.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"treadle {__version__}")
    commands = Commands(top, "COMMAND")
    for name in [command] if command in COMMANDS else COMMANDS:
        _add(name, commands)
    return top


def _add(name: str, commands: Commands) -> None:
    """Let the module of a command say what it takes."""
    match name:
        case "serve":
            from treadle.cli.serve import add
        case "call":
            from treadle.cli.call import add
        case "threads":
            from treadle.cli.threads import add
        case "show":
            from treadle.cli.show import add
        case "search":
            from treadle.cli.search import add
        case "tail":
            from treadle.cli.tail import add
        case "events":
            from treadle.cli.events import add
        case "stats":
            from treadle.cli.stats import add
        case "export":
            from treadle.cli.export import add
        case "import":
            from treadle.cli.importing import add
        case "verify":
            from treadle.cli.verify import add
        case "rebuild":
            from treadle.cli.rebuild import add
        case "doctor":
            from treadle.cli.doctor import add
        case "backup":
            from treadle.cli.backup import add
        case "restore":
            from treadle.cli.restore import add
        case "schema":
            from treadle.cli.schema import add
        case "completion":
            from treadle.cli.completion import add
    add(commands)


def _set_up_streams() -> None:
    """A file of ours that opened as descriptor 0, 1 or 2 would be read as commands, or printed into."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error("as escapes", _as_escapes)
    # UTF-8 whatever the locale is, for JSON is; what is not UTF-8 in the name of a file is shown as escapes.
    sys.stdout.reconfigure(encoding="utf-8", errors="as escapes")  # type: ignore[union-attr]
    if sys.stderr is not None:
        sys.stderr.reconfigure(errors="as escapes")  # type: ignore[union-attr]


def _as_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """What cannot be encoded, as escapes: bytes that were not UTF-8 (PEP 383) as they were, `\\xe9`."""
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    if all("\udc80" <= character <= "\udcff" for character in wrong):
        return "".join(f"\\x{ord(character) - 0xDC00:02x}" for character in wrong), error.end
    return codecs.backslashreplace_errors(error)
