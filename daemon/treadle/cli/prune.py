"""`treadle prune`: erases threads in which nothing has happened for long."""

import argparse
import re
from typing import TYPE_CHECKING, Any

from treadle.cli.options import Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from treadle.store.ports import Reads

MORE = """\
The age of a thread is that of its last event, not of a file; an import keeps the times of the history. Threads that
run, wait for an answer or a login, or have queued prompts stay, whatever their age. Each thread is erased as by
`treadle erase`. Nothing is erased unless you run this: there is no default age.

What is erased leaves room in the database, which later work uses. --vacuum makes the file smaller instead. It needs
twice the size of the database on the disk, and daemons wait until it has ended.
"""
EXAMPLE = """\
treadle prune --older-than 365d --dry-run
treadle prune --older-than 90d --archived --yes
treadle prune --vacuum
"""
AGE = re.compile(r"(\d{1,5})d")
PAGE = 500
AT_ONCE = 50
"""Threads that are erased, and purged, together."""


def add(commands: Commands) -> None:
    command = commands.add("prune", "erase threads that are older than an age", run, more=MORE, example=EXAMPLE)
    command.add_argument("--older-than", type=_days, metavar="AGE", help="whose last event is older: 365d")
    command.add_argument(
        "--vacuum", action="store_true", help="at the end, or alone, give what is free in the database back to the disk"
    )
    command.add_argument("--archived", action="store_true", help="only archived threads")
    command.add_argument("--dry-run", action="store_true", help="only list them")
    command.add_argument("--yes", action="store_true", help="do not ask")
    add_json(command, "one thread per line, as in the result of `thread/list`; needs --yes or --dry-run")


def _days(text: str) -> int:
    if not (found := AGE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not an age in days, such as 365d")
    return int(found[1])


def run(options: argparse.Namespace) -> int:
    import sys

    if options.older_than is None and not options.vacuum:
        print("treadle prune: give --older-than or --vacuum", file=sys.stderr)
        return 2
    if options.vacuum and (options.json or options.dry_run):
        print("treadle prune: --vacuum does not go with --json or --dry-run", file=sys.stderr)
        return 2
    status = 0 if options.older_than is None else _erase_old(options)
    if status == 0 and not options.json:
        _give_back(data_dir_of(options), vacuum=options.vacuum)
    return status


def _give_back(data_dir: "Path", *, vacuum: bool) -> None:
    """Make the database file smaller, or say that it can be. Raises Refused."""
    import treadle.cli.output as output
    import treadle.store.sqlite.vacuum as database
    from treadle.store.sqlite.reader import reading

    with reading(data_dir):
        if vacuum:
            print(f"{output.size(database.vacuum(data_dir))} given back to the disk")
        elif (free := database.offered(data_dir)) is not None:
            print(f"treadle prune --vacuum gives {output.size(free)} back to the disk")


def _erase_old(options: argparse.Namespace) -> int:
    import sys
    from datetime import UTC, datetime, timedelta

    import msgspec

    import treadle.cli.output as output
    from treadle.cli.confirmation import UNCHANGED, confirmed
    from treadle.cli.erase import erase, print_receipt
    from treadle.store.sqlite.reader import reading

    is_certain = options.yes or options.dry_run
    if options.json and not is_certain:
        print("treadle prune: --json needs --yes or --dry-run", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    before = datetime.now(UTC) - timedelta(days=options.older_than)
    with reading(data_dir) as reader:
        threads = reader.read(lambda reads: _old(reads, before, archived=True if options.archived else None))
    for thread in threads:
        if options.json:
            output.print_json(msgspec.json.encode(thread))
        else:
            when = output.to_the_minute(thread["updatedAt"])
            print(f"{output.one_line(thread['id'])}  {when}  {output.one_line(thread['title'])}")
    if not options.json:
        print(output.count(len(threads), "thread"))
    if options.dry_run or not threads:
        return 0
    if not is_certain:
        if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
            print(f"treadle prune: {UNCHANGED}: there is no terminal to ask on, so give --yes", file=sys.stderr)
            return 2
        if not confirmed("Erase them for good?"):
            return 1
    ids, hits = [thread["id"] for thread in threads], 0
    for start in range(0, len(ids), AT_ONCE):
        for receipt in erase(data_dir, ids[start : start + AT_ONCE])[1]:
            hits += receipt.hits or 0
            if not options.json:
                print_receipt(receipt)
    return 1 if hits else 0


def _old(reads: "Reads", before: "datetime", *, archived: bool | None) -> list[dict[str, Any]]:
    """Idle threads whose last event is older, the oldest first."""
    from datetime import datetime

    import msgspec

    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = reads.thread_list(sort="updatedAt", archived=archived, limit=PAGE, cursor=cursor)
        for item in page.items:
            thread = msgspec.json.decode(item)
            is_idle = thread["status"] == "idle" and not thread["queued"]
            if is_idle and datetime.fromisoformat(thread["updatedAt"]) < before:
                found.append(thread)
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]
