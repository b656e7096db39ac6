"""`treadle import`: the histories of other tools, an exported log, or a recording of another program."""

import argparse
import re
import time
from datetime import datetime
from pathlib import Path

from treadle.cli.options import Commands, data_dir_of, lasting_data_dir_of

MORE = """\
Without an action: what other tools keep on this machine, what of it they will delete within 7 days, and how much of it
is here already. Nothing is changed. --all imports what is new of all of them.
"""
EXAMPLE = """\
treadle import
treadle import --all
treadle import --all --follow
"""
TOOLS = {
    "claude": "Claude Code",
    "codex": "Codex",
    "opencode": "OpenCode",
    "gemini": "Gemini CLI",
    "qwen": "Qwen Code",
    "copilot": "GitHub Copilot CLI",
}
TOOL_MORE = """\
An import can be repeated, interrupted and killed: it adds what is new, once, and never removes anything. It only reads
the tool's files, and leaves out a turn that may still be going. What it skipped or cut is counted at the end.
"""
HOOK_MORE = """\
With --hook it reads the JSON that a hook of the tool gets, starts the import of that session, and ends at once with
status 0, whatever happens: a hook must not disturb the tool.
"""
ACP_EXAMPLE = "treadle import acp session.jsonl"
ACP_MORE = """\
An import can be repeated: it adds the turns that are new. A turn without an end is left for the next import; after 10
minutes without a change of the file it is imported as interrupted. Lines that are not frames are skipped and named.
"""
JSONL_MORE = """\
The data directory must not contain a log yet. The import is all or nothing; an error names the invalid line. The new
log is identical event by event, but has its own logId and remembers no commandId.
"""
JSONL_EXAMPLE = """\
treadle import jsonl --data-dir ~/new treadle.jsonl
ssh old treadle export | treadle import jsonl --data-dir ~/new -
"""
_AGE = re.compile(r"(\d{1,5})([hdw])")
_SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def add(commands: Commands) -> None:
    does = "import the histories of other tools, a log or a recording"
    command = commands.add("import", does, run, more=MORE, example=EXAMPLE)
    command.add_argument("--all", action="store_true", help="import what is new of every tool")
    _add_options(command)
    command.set_defaults(paths=[], project=None, session=None)
    formats = Commands(command, "[ACTION]", required=False)
    for tool, name in TOOLS.items():
        more = TOOL_MORE + (HOOK_MORE if tool == "claude" else "")
        one = formats.add(tool, f"import the history of {name}", run_tool, more=more, example=_example(tool))
        one.set_defaults(tool=tool)
        one.add_argument(
            "paths", nargs="*", type=Path, metavar="PATH", help="a file or a folder, instead of the tool's own folder"
        )
        one.add_argument("--project", type=Path, metavar="DIR", help="only what was done in this folder or below")
        one.add_argument("--session", metavar="ID", help="only the session with this id")
        _add_options(one, inherited=True)
        one.set_defaults(hook=False)
        if tool == "claude":
            one.add_argument("--hook", action="store_true", help="read what a hook gets from stdin")
    does = "import a recording of Agent Client Protocol frames, one JSON text per line"
    acp = formats.add("acp", does, run_acp, more=ACP_MORE, example=ACP_EXAMPLE)
    acp.add_argument("file", type=Path, metavar="FILE", help="recorded frames, each with a time and a direction")
    does = "import a log written by `treadle export`"
    jsonl = formats.add("jsonl", does, run_jsonl, more=JSONL_MORE, example=JSONL_EXAMPLE)
    jsonl.add_argument("file", metavar="FILE", help="the exported file; - reads stdin")


def _example(tool: str) -> str:
    more = {"claude": "treadle import claude --since 30d --project .\ntreadle import claude ~/backup/.claude"}
    return f"treadle import {tool}\n{more.get(tool, '')}"


def _add_options(command: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """The options of an import of one tool or of all. inherited: they may stand before the name of the tool as well."""
    since = argparse.SUPPRESS if inherited else 0.0
    does = "only what changed since then: 30d, 12h or 2026-01-31"
    command.add_argument("--since", type=_since, default=since, metavar="WHEN", help=does)
    for name, does in {
        "full": "keep whole tool results, also those over 32 KiB",
        "dry-run": "say what would be imported, and write nothing",
        "follow": "then import what is written from now on, until Ctrl-C",
        "strict": "exit status 1 if anything was skipped",
        "json": "one tool per line",
    }.items():
        default = argparse.SUPPRESS if inherited else False
        command.add_argument(f"--{name}", action="store_true", default=default, help=does)


def _since(text: str) -> float:
    if found := _AGE.fullmatch(text):
        return time.time() - int(found[1]) * _SECONDS[found[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is neither an age (30d, 12h, 2w) nor a date (2026-01-31)") from None


def run(options: argparse.Namespace) -> int:
    if options.all:
        from treadle.cli.histories import import_tools

        return import_tools(options, lasting_data_dir_of(options), [*TOOLS])
    from treadle.cli.import_table import show_overview

    return show_overview(options, lasting_data_dir_of(options))


def run_tool(options: argparse.Namespace) -> int:
    if options.hook:
        from treadle.cli.import_hook import run_hook

        return run_hook(options, data_dir_of(options))
    from treadle.cli.histories import import_tools

    return import_tools(options, lasting_data_dir_of(options), [options.tool])


def run_acp(options: argparse.Namespace) -> int:
    import asyncio

    from treadle.cli.progress import ProgressLine
    from treadle.transfer.recordings import import_acp

    return asyncio.run(import_acp(options.file, lasting_data_dir_of(options), ProgressLine("importing", "frames")))


def run_jsonl(options: argparse.Namespace) -> int:
    import asyncio
    import sys

    from treadle.cli.progress import ProgressLine
    from treadle.store.sqlite.store import Store
    from treadle.transfer.jsonl import BadExport, import_log, read_header

    data_dir = lasting_data_dir_of(options)

    async def make() -> None:
        await (await Store.open(data_dir)).close()

    name = "stdin" if options.file == "-" else options.file
    stream = sys.stdin.buffer if options.file == "-" else open(options.file, "rb")  # noqa: SIM115
    with stream:
        try:
            header = read_header(stream)  # before a database is created
            asyncio.run(make())
            count = import_log(data_dir, header, stream, ProgressLine("importing"))
        except BadExport as error:
            print(f"treadle: {name}: {error}. Nothing was imported", file=sys.stderr)
            return 1
    print(f"{count:,} events imported into {data_dir}")
    return 0
