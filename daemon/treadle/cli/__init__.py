"""The command line. Each command is its own module, imported only when it runs, because an editor waits for `serve`."""

import argparse
import codecs
import importlib
import os
import sys
from collections.abc import Sequence

from treadle import __version__
from treadle.cli.options import Commands, Parser

COMMANDS = (
    *("run", "prompts", "approvals", "rules"),
    *("diff", "undo", "checkpoints", "blame", "worktree"),
    *("serve", "acp", "call"),
    *("threads", "show", "search", "tail", "events", "stats", "export", "import"),
    *("erase", "redact", "prune"),
    *("agents", "host", "verify", "rebuild", "doctor", "backup", "restore"),
    *("log", "clone", "share", "schema", "completion"),
)
"""In the order of `--help`. To add one, add its name here and a module of that name."""

EPILOG = """\
An editor plugin, a program or a script starts `treadle serve` and speaks JSON-RPC 2.0 over its stdin and stdout,
with Content-Length headers (as language servers do) or one JSON text per line.

  $ treadle serve --data-dir /tmp/try <<< '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'

Exit status: 0 for success, 1 for a failure or a problem found, 2 for a usage error, 130 after Ctrl-C.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 success, 1 failure or a problem found, 2 usage error."""
    _set_up_streams()
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser(words[0] if words else None).parse_args(words)
    options.parser = parser  # for `treadle completion`, which needs the options of every command
    if getattr(options, "at_once", False):  # an editor waits for it
        return int(options.run(options))
    from treadle.cli.logs import set_up_logging

    log_file = getattr(options, "log_file", None)
    try:
        set_up_logging(options.log_level, log_file)
    except OSError as error:
        parser().error(f"argument --log-file: {log_file} cannot be written: {error.strerror}")
    from treadle.domain.errors import Rejected
    from treadle.store.errors import StorageError, UserError

    try:
        status = int(options.run(options))
        sys.stdout.flush()  # flush here, so that a closed pipe does not end in a traceback
        return status
    except (StorageError, UserError, Rejected) as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:  # from an argument: stored text and JSON are always UTF-8
        from treadle.cli.output import clean

        print(f"treadle: not valid UTF-8: {clean(error.object)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python reports it again when it flushes stdout
        return 1
    except OSError as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1


def parser(command: str | None = None) -> Parser:
    """The parser of all commands, or of only this one if it exists."""
    top = Parser(
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
    """Import the module of a command and let it declare its arguments."""
    module = "import_" if name == "import" else name  # `import` is a keyword
    importlib.import_module(f"treadle.cli.{module}").add(commands)


def _set_up_streams() -> None:
    """Replace closed standard streams and set their encodings.

    Otherwise a file that we open could get descriptor 0, 1 or 2, and be read as commands or printed into.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error("as escapes", _as_escapes)
    # UTF-8 whatever the locale, because JSON is. Bytes of a file name that are not UTF-8 are shown as escapes.
    sys.stdout.reconfigure(encoding="utf-8", errors="as escapes")  # type: ignore[union-attr]
    if sys.stderr is not None:
        sys.stderr.reconfigure(errors="as escapes")  # type: ignore[union-attr]


def _as_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler: escape what cannot be encoded. Bytes that were not UTF-8 (PEP 383) become `\\xe9`."""
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    if all("\udc80" <= character <= "\udcff" for character in wrong):
        return "".join(f"\\x{ord(character) - 0xDC00:02x}" for character in wrong), error.end
    return codecs.backslashreplace_errors(error)
