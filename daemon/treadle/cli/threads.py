"""`treadle threads`: list threads, most recently changed first."""

import argparse
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from treadle.cli.options import Commands, add_json, data_dir_of, positive

if TYPE_CHECKING:
    from treadle.store.ports import Reads

EXAMPLE = """\
treadle threads --project . --limit 10
treadle threads --origin claude-code --sort updatedAt
treadle threads --json | jq -r 'select(.status == "waiting") | .id'
"""
PAGE = 500  # threads read at once
KEPT = 8 * 1024 * 1024  # bytes kept in memory; a longer list goes to a temporary file
WIDEST_ID, WIDEST_PROJECT, WIDEST_TOOL = 36, 24, 16  # columns; a longer id is not cut and shifts the other columns


def add(commands: Commands) -> None:
    does = "list threads, most recently changed first"
    more = "Archived threads are left out unless --archived or --all is given."
    command = commands.add("threads", does, run, more=more, example=EXAMPLE)
    command.add_argument("--project", metavar="PROJECT", help="only threads of this project: its id or its folder")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--archived", action="store_true", help="only archived threads")
    which.add_argument("--all", action="store_true", help="archived threads as well")
    command.add_argument(
        "--origin",
        metavar="TOOL[:SESSION]",
        type=_origin,
        default=(None, None),
        help="only threads that come from this tool, or from this session of it",
    )
    command.add_argument(
        "--sort",
        choices=["version", "updatedAt"],
        default="version",
        help="updatedAt: in the order of their times, which an import keeps (default: %(default)s)",
    )
    command.add_argument("--limit", type=positive, metavar="N", help="list at most N threads")
    add_json(command, "one thread per line, as in the result of `thread/list`")


def _origin(text: str) -> tuple[str, str | None]:
    tool, colon, session = text.partition(":")
    if not tool or (colon and not session):
        raise argparse.ArgumentTypeError(f"invalid origin {text!r}: give TOOL or TOOL:SESSION")
    return tool, session or None


def run(options: argparse.Namespace) -> int:
    import treadle.cli.output as output
    from treadle.store.sqlite.reader import reading

    # The list is one snapshot, and a pager may show it for an hour: no transaction may stay open that long.
    with tempfile.SpooledTemporaryFile(max_size=KEPT) as rows:
        with reading(data_dir_of(options)) as reader:
            projects = reader.read(lambda reads: _read(reads, options, rows))
        rows.seek(0)
        if options.json:
            for line in rows:
                output.print_json(line.rstrip(b"\n"))
        else:
            _print_table(iter(rows), projects)
    return 0


def _read(reads: "Reads", options: argparse.Namespace, rows: "tempfile.SpooledTemporaryFile[bytes]") -> dict[str, str]:
    """Write the threads to `rows`, one per line; return the names of all projects."""
    import msgspec

    from treadle.cli.names import project_named
    from treadle.store.pages import LATEST

    project = None if options.project is None else project_named(reads, options.project)
    tool, session = options.origin
    cursor, left = None, options.limit or LATEST
    while left > 0:
        page = reads.thread_list(
            sort=options.sort,
            project_id=project,
            archived=None if options.all else options.archived,
            tool=tool,
            session=session,
            limit=min(PAGE, left),
            cursor=cursor,
        )
        rows.writelines(bytes(item) + b"\n" for item in page.items)
        left -= len(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    found = [msgspec.json.decode(item) for item in reads.projects()]
    return {project["id"]: project["name"] for project in found}


def _print_table(rows: Iterator[bytes], projects: dict[str, str]) -> None:
    from itertools import chain, islice

    import msgspec

    import treadle.cli.output as output

    paint = output.Paint()
    first = [msgspec.json.decode(row) for row in islice(rows, PAGE)]
    if not first:
        if output.is_terminal():
            print("no threads")
        return

    def project_of(thread: dict[str, Any]) -> str:
        return output.one_line(projects.get(thread["projectId"], thread["projectId"]))

    def tool_of(thread: dict[str, Any]) -> str:
        return output.one_line(thread["origin"]["tool"]) if thread["origin"] else ""

    ids = min(WIDEST_ID, max(len(thread["id"]) for thread in first))
    statuses = max(7, *(len(_status(thread)) for thread in first))
    names = min(WIDEST_PROJECT, max(7, *(output.width(project_of(thread)) for thread in first)))
    from_tools = any(thread["origin"] for thread in first)
    tools = min(WIDEST_TOOL, max(4, *(output.width(tool_of(thread)) for thread in first))) if from_tools else 0
    screen = output.columns()
    for_title = 60 if screen is None else max(screen - ids - names - (tools and tools + 2) - statuses - 16 - 4 * 2, 12)
    titles = min(for_title, max(5, *(output.width(output.one_line(thread["title"])) for thread in first)))
    tool = f"{'TOOL':<{tools}}  " if tools else ""
    head = f"{'ID':<{ids}}  {'STATUS':<{statuses}}  {'TITLE':<{titles}}  {'PROJECT':<{names}}  {tool}UPDATED"
    print(paint("bold", head))
    for thread in chain(first, map(msgspec.json.decode, rows)):
        status = _status(thread)
        title = output.one_line(thread["title"])
        cells = [
            thread["id"].ljust(ids),
            paint(output.STATUS_STYLES.get(status, "dim"), status.ljust(statuses)),
            output.pad(output.fit(title, titles), titles),
            paint("dim", output.pad(output.fit(project_of(thread), names), names)),
            *([paint("dim", output.pad(output.fit(tool_of(thread), tools), tools))] if tools else []),
            paint("dim", output.to_the_minute(thread["updatedAt"])),
        ]
        print("  ".join(cells))


def _status(thread: dict[str, Any]) -> str:
    return "archived" if thread["archivedAt"] and thread["status"] == "idle" else str(thread["status"])
