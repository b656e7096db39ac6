"""The command line. Each command imports what it needs: an editor waits for `serve` to start."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from treadle import __version__

EPILOG = """\
An editor plugin, a program or a script spawns `treadle serve` and talks JSON-RPC 2.0 over its stdin and stdout:
with Content-Length headers, as language servers do, or one JSON text a line.

  $ treadle serve --data-dir /tmp/try <<< '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, 1 it failed or found something, 2 it was asked for wrongly."""
    _open_missing_streams()
    options = parser().parse_args(arguments)
    log_file = getattr(options, "log_file", None)
    try:
        _set_up_logging(options.log_level, log_file)
    except OSError as error:
        parser().error(f"argument --log-file: {log_file} cannot be written: {error.strerror}")
    import sqlite3

    from treadle.store.errors import StorageError, explained

    try:
        return int(options.run(options))
    except StorageError as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"treadle: {explained(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains again when it flushes stdout
        return 1
    except OSError as error:
        print(f"treadle: {error}", file=sys.stderr)
        return 1


def _open_missing_streams() -> None:
    """A file of ours that opened as descriptor 0, 1 or 2 would be read as commands, or printed into."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the database lies (default: the user's data directory)"
    )
    common.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="warning", help="default: %(default)s"
    )
    top = argparse.ArgumentParser(
        prog="treadle",
        description="A daemon that keeps coding-agent work: projects, threads, turns, messages, approvals.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"treadle {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    serve = _command(commands, "serve", "serve one client on stdin and stdout", common, _serve)
    serve.add_argument(
        "--durability",
        choices=["full", "normal"],
        default="full",
        help="full: answered means on disk; normal: a power cut may take the last moments (default: %(default)s)",
    )
    serve.add_argument(
        "--max-message-bytes", type=_positive, default=32 * 1024 * 1024, metavar="N", help="default: %(default)s"
    )
    serve.add_argument(
        "--linger-ms",
        type=_natural,
        default=50,
        metavar="N",
        help="how long a streamed token may wait for company, 0 for not at all (default: %(default)s)",
    )
    serve.add_argument("--log-file", type=Path, metavar="FILE", help="write the log there instead of to stderr")

    _command(commands, "verify", "replay the log and compare every row of the projections", common, _verify)
    _command(commands, "rebuild", "fill the projections anew from the log", common, _rebuild)

    doctor = _command(commands, "doctor", "look for what can be wrong with a data directory", common, _doctor)
    doctor.add_argument("--quick", action="store_true", help="do not replay the log")

    backup = _command(commands, "backup", "copy the database to a new file, while daemons write", common, _backup)
    backup.add_argument("file", type=Path, metavar="FILE")

    restore = _command(commands, "restore", "put a copy in the place of the database, which is kept", common, _restore)
    restore.add_argument("file", type=Path, metavar="FILE")

    schema = commands.add_parser(
        "schema",
        help="print the protocol in a form for programs",
        description="Print the protocol in a form for programs, made from what the daemon decodes with.",
        epilog="  $ treadle schema --format json-schema > treadle.schema.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    schema.add_argument(
        "--format",
        choices=["openrpc", "json-schema"],
        default="openrpc",
        help="openrpc: the methods, as rpc.discover answers; json-schema: every type (default: %(default)s)",
    )
    schema.set_defaults(run=_schema, log_level="warning")

    importer = commands.add_parser("import", help="record what another program has kept")
    formats = importer.add_subparsers(metavar="FORMAT", required=True)
    acp = _command(formats, "acp", "a recording of Agent Client Protocol frames, one JSON a line", common, _import_acp)
    acp.add_argument("file", type=Path, metavar="FILE")
    return top


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    does: str,
    common: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.", parents=[common])
    command.set_defaults(run=run)
    return command


def _positive(text: str) -> int:
    return _at_least(1, text)


def _natural(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def _set_up_logging(level: str, file: Path | None) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        from treadle.store.database import make_private_file

        with contextlib.suppress(FileExistsError):
            make_private_file(file)
        handler = logging.FileHandler(file, encoding="utf-8")
    kind = logging.Formatter if level == "debug" else Discreet
    handler.setFormatter(kind("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in ("pygls", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Discreet(logging.Formatter):
    """Tells of an exception what it is and where it was raised, and not its message, which may hold a client's text."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        error, parts = ei[1], []
        while error is not None:
            where = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"Traceback (most recent call last):\n{where}{type(error).__qualname__}")
            error = error.__cause__ or error.__context__
        return "\n".join(parts)


def _data_dir(options: argparse.Namespace) -> Path:
    if options.data_dir is not None:
        try:
            return Path(options.data_dir).expanduser().absolute()
        except RuntimeError as error:
            raise OSError(f"--data-dir {options.data_dir}: {error}") from None
    from platformdirs import user_data_path

    return user_data_path("treadle", appauthor=False)


def _serve(options: argparse.Namespace) -> int:
    # stdout carries the protocol alone: whatever else prints there goes to stderr.
    stdout = os.dup(1)
    os.dup2(2, 1)
    from treadle.rpc.beginning import begin
    from treadle.rpc.conversation import Carrier
    from treadle.rpc.server import Daemon, Options, run

    def load(daemon: Daemon) -> Carrier:
        from treadle.rpc.methods import add_methods

        carrier = add_methods(daemon)
        # Requests and their answers are thousands of objects that die young and have no cycles: looking for cycles
        # after each 700 of them was a quarter of the main thread's time. Not before, since imports do leave cycles.
        gc.set_threshold(10_000)
        return carrier

    async def serve() -> int:
        daemon = Daemon(
            Options(
                data_dir=_data_dir(options),
                durability=options.durability,
                max_message_bytes=options.max_message_bytes,
                linger=options.linger_ms / 1000,
            )
        )
        begin(daemon, load)
        return await run(daemon, 0, stdout)

    return asyncio.run(serve())


class Progress:
    """Of long work: a bar on a terminal, else a line now and then."""

    WIDTH = 30

    def __init__(self, what: str, unit: str = "events") -> None:
        self._what = what
        self._unit = unit
        self._terminal = sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._last < (0.1 if self._terminal else 5.0):
            return
        self._last = now
        share = 1.0 if total == 0 else done / total
        if self._terminal:
            bar = ("#" * round(share * self.WIDTH)).ljust(self.WIDTH, ".")
            end = "\n" if done == total else ""
            print(f"\r{self._what} [{bar}] {done:,} of {total:,} {self._unit}", end=end, file=sys.stderr, flush=True)
        else:
            print(f"{self._what}: {done:,} of {total:,} {self._unit}", file=sys.stderr, flush=True)


def _verify(options: argparse.Namespace) -> int:
    from treadle.store import projections
    from treadle.store.store import Store

    data_dir = _data_dir(options)
    _require_database(data_dir)

    async def verify() -> tuple[int, list[projections.Difference]]:
        store = await Store.open(data_dir, progress=Progress("rebuilding"))
        try:  # open all the while, so that nobody puts another database in its place
            with tempfile.TemporaryDirectory(dir=data_dir, prefix="verify-") as folder:
                return projections.verify(store.path, Path(folder) / "copy.db", Progress("replaying"))
        finally:
            await store.close()

    total, differences = asyncio.run(verify())
    for difference in differences:
        print(f"{difference.table}: {difference.side} row {difference.row}")
    if differences:
        print(f"the projections differ from the log of {total:,} events: `treadle rebuild` fills them anew")
        return 1
    print(f"{total:,} events, and every row of {len(projections.TABLES)} tables is what they say")
    return 0


def _rebuild(options: argparse.Namespace) -> int:
    from treadle.store.store import Store

    data_dir = _data_dir(options)
    _require_database(data_dir)

    async def rebuild() -> int:
        store = await Store.open(data_dir)
        try:
            return await store.rebuild(Progress("rebuilding"))
        finally:
            await store.close()

    print(f"rebuilt from {asyncio.run(rebuild()):,} events")
    return 0


def _require_database(data_dir: Path) -> None:
    from treadle.store.database import FILE_NAME
    from treadle.store.errors import Refused

    if not (data_dir / FILE_NAME).exists():
        raise Refused(f"there is no treadle database in {data_dir}: say where it is with --data-dir")


def _doctor(options: argparse.Namespace) -> int:
    from treadle.store.doctor import examine

    worst = 0
    for finding in examine(_data_dir(options), quick=options.quick):
        mark = {"ok": "ok      ", "warning": "WARNING ", "problem": "PROBLEM "}[finding.verdict]
        print(f"{mark} {finding.check}: {finding.text}", flush=True)
        worst = max(worst, {"ok": 0, "warning": 0, "problem": 1}[finding.verdict])
    return worst


def _backup(options: argparse.Namespace) -> int:
    from treadle.store.backup import back_up

    size = back_up(_data_dir(options), options.file, Progress("copying", "pages"))
    print(f"{options.file}: {size:,} bytes, whole")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from treadle.store.backup import restore

    kept = restore(_data_dir(options), options.file, Progress("copying", "pages"))
    print(f"restored {options.file}" + ("" if kept is None else f"; what was there is kept as {kept}"))
    return 0


def _schema(options: argparse.Namespace) -> int:
    from treadle.rpc.openrpc import printed

    print(printed(options.format), end="", flush=True)
    return 0


def _import_acp(options: argparse.Namespace) -> int:
    from treadle.importing import import_acp

    return asyncio.run(import_acp(options.file, _data_dir(options)))
