"""`treadle prune`: erases threads in which nothing has happened for long."""

import argparse
import re
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from pathlib import Path

MORE = """\
The age of a thread is that of its last event, not of a file; an import keeps the times of the history. Threads that
run, wait for an answer or a login, have queued prompts, or are pinned (the setting `pinned.THREAD` is true) stay,
whatever their age. Each thread is erased as by `treadle erase`. --max-size erases the oldest ones until the database
is about that small, without what is free in it.

Nothing is erased unless you run this: there is no default age. --keep-doing writes the same as the setting `retention`,
and a daemon then does it once a day; --stop takes that back.

What is erased leaves room in the database, which later work uses. --vacuum makes the file smaller instead. It needs
twice the size of the database on the disk, and daemons wait until it has ended.
"""
EXAMPLE = """\
treadle prune --older-than 365d --dry-run
treadle prune --older-than 90d --archived --yes
treadle prune --max-size 5G --keep-doing
treadle prune --vacuum
"""
AGE = re.compile(r"(\d{1,5})d")
SIZE = re.compile(r"(\d{1,6})([MG])")
AT_ONCE = 50
"""Threads that are erased, and purged, together."""


def add(commands: Commands) -> None:
    command = commands.add("prune", "erase threads that are older than an age", run, more=MORE, example=EXAMPLE)
    command.add_argument("--older-than", type=_days, metavar="AGE", help="whose last event is older: 365d")
    command.add_argument("--max-size", type=_bytes, metavar="SIZE", help="the oldest, until it has this size: 5G, 500M")
    doing = command.add_mutually_exclusive_group()
    doing.add_argument("--keep-doing", action="store_true", help="from now on, a daemon does the same once a day")
    doing.add_argument("--stop", action="store_true", help="a daemon does it no more")
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


def _bytes(text: str) -> int:
    if not (found := SIZE.fullmatch(text)) or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size, such as 5G or 500M")
    return int(found[1]) << {"M": 20, "G": 30}[found[2]]


def run(options: argparse.Namespace) -> int:
    import sys

    chooses = options.older_than is not None or options.max_size is not None
    if not (chooses or options.vacuum or options.stop) or (options.keep_doing and not chooses):
        print("treadle prune: give --older-than, --max-size, --vacuum or --stop", file=sys.stderr)
        return 2
    if options.vacuum and (options.json or options.dry_run):
        print("treadle prune: --vacuum does not go with --json or --dry-run", file=sys.stderr)
        return 2
    status = _erase_old(options) if chooses else 0
    if status == 0 and (options.stop or options.keep_doing) and not options.dry_run:
        _set_retention(options)
    if status == 0 and (chooses or options.vacuum) and not options.json:
        _give_back(data_dir_of(options), vacuum=options.vacuum)
    return status


def _set_retention(options: argparse.Namespace) -> None:
    """Write the setting, or remove it."""
    import msgspec

    from treadle.cli.own_daemon import result_of
    from treadle.server.retention import KEY, ThreadRetention

    wanted = None if options.stop else ThreadRetention(options.older_than, options.max_size, options.archived)
    change = {"type": "ChangeSetting", "key": KEY, "value": msgspec.to_builtins(wanted)}
    result_of(data_dir_of(options), "command/dispatch", change)
    if not options.json:
        print("a daemon erases nothing by itself" if options.stop else "a daemon does this once a day from now on")


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
    from datetime import UTC, datetime

    import msgspec

    import treadle.cli.output as output
    from treadle.cli.confirmation import UNCHANGED, confirmed
    from treadle.cli.erase import erase, print_receipt
    from treadle.server.retention import ThreadRetention, to_erase
    from treadle.store.sqlite.database import FILE_NAME
    from treadle.store.sqlite.reader import reading

    is_certain = options.yes or options.dry_run
    if options.json and not is_certain:
        print("treadle prune: --json needs --yes or --dry-run", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    wanted = ThreadRetention(options.older_than, options.max_size, options.archived)
    used = (data_dir / FILE_NAME).stat().st_size
    with reading(data_dir) as reader:
        threads = reader.read(lambda reads: to_erase(reads, wanted, datetime.now(UTC), used - reads.free_bytes()))
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
    versions = {thread["id"]: thread["version"] for thread in threads}  # somebody may work in one of them by now
    ids, hits = [*versions], 0
    for start in range(0, len(ids), AT_ONCE):
        for receipt in erase(data_dir, ids[start : start + AT_ONCE], versions)[1]:
            hits += receipt.hits or 0
            if not options.json:
                print_receipt(receipt)
    return 1 if hits else 0
