"""`treadle search`: find threads, messages and activities by words."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, add_json, data_dir_of, positive

if TYPE_CHECKING:
    from treadle.domain.entities import Hit
    from treadle.store.ports import Reads

MORE = """\
All words must occur in the same title, message or activity; the last may be a prefix. The exit status
is 1 if nothing is found.
"""
EXAMPLE = """\
treadle search retry delay
treadle search --project . --json timeout | jq -r .threadId
treadle search --syntax fts5 'retry NEAR delay'
"""
PAGE = 100  # hits read at once


def add(commands: Commands) -> None:
    command = commands.add(
        "search", "search titles, messages and activities, best matches first", run, more=MORE, example=EXAMPLE
    )
    command.add_argument("words", nargs="+", metavar="WORD", help="a word to search for")
    command.add_argument("--project", metavar="PROJECT", help="only in this project: its id or its folder")
    command.add_argument(
        "--thread", metavar="THREAD", help="only in this thread: its id, a unique prefix of it, or `last`"
    )
    command.add_argument(
        "--syntax",
        choices=["plain", "fts5"],
        default="plain",
        help="fts5: the words are a query in SQLite's FTS5 syntax (default: %(default)s)",
    )
    command.add_argument("--limit", type=positive, default=20, metavar="N", help="print at most N hits (default: 20)")
    add_json(command, "one hit per line, as in the result of `search/query`")


def run(options: argparse.Namespace) -> int:
    import sys

    import treadle.cli.output as output
    from treadle.domain.errors import NotFound
    from treadle.store.ports import BadQuery
    from treadle.store.sqlite.reader import reading

    try:
        with reading(data_dir_of(options)) as reader:
            hits = reader.read(lambda reads: _read(reads, options))
    except BadQuery as error:
        print(f"treadle search: invalid FTS5 query: {output.clean(str(error))}", file=sys.stderr)
        return 2
    except NotFound as error:  # the thread was deleted
        print(f"treadle: {error}", file=sys.stderr)
        return 1
    if options.json:
        import msgspec

        for hit in hits:
            output.print_json(msgspec.json.encode(hit))
    else:
        _print(hits)
    return 0 if hits else 1


def _read(reads: "Reads", options: argparse.Namespace) -> "list[Hit]":
    from treadle.cli.names import project_named, thread_named

    project = None if options.project is None else project_named(reads, options.project)
    thread = None if options.thread is None else thread_named(reads, options.thread)
    hits: list[Hit] = []
    cursor = None
    while len(hits) < options.limit:
        page = reads.search(
            " ".join(options.words),
            syntax=options.syntax,
            project_id=project,
            thread_id=thread,
            limit=min(PAGE, options.limit - len(hits)),
            cursor=cursor,
        )
        hits += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return hits


def _print(hits: "list[Hit]") -> None:
    import treadle.cli.output as output

    paint = output.Paint()
    for hit in hits:
        print(paint("bold", output.one_line(hit.thread_title)), paint("dim", f"{hit.thread_id}  {hit.entity} {hit.id}"))
        told, done = "  ", 0
        for match in hit.matches:
            told += _inside(hit.snippet[done : match.start])
            told += paint("yellow", _inside(hit.snippet[match.start : match.end]))
            done = match.end
        print(told + _inside(hit.snippet[done:]))


def _inside(text: str) -> str:
    """A part of a line, cleaned; spaces at its ends are kept."""
    import treadle.cli.output as output

    return output.clean(text.replace("\n", " "))
