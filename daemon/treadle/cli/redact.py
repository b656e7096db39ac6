"""`treadle redact`: takes a text out of everything that was said, for good."""

import argparse
from typing import TYPE_CHECKING, Any

from treadle.cli.options import THREAD, Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.store.ports import Reads
    from treadle.store.sqlite.reader import Reader

SHORTEST = 4
"""Characters of a text: a shorter one is in too much that has nothing to do with it."""
AT_ONCE = 1000
"""Events that one command rewrites."""
BYTES = 1024 * 1024
"""Of these events, before another command is begun."""

MORE = """\
The text is read from stdin, so that neither the shell nor the list of processes has it; a line feed at its end is not
part of it. In its place is `[redacted]` from then on. It is also found where it was streamed in pieces. A running turn
of a thread that has it is interrupted first, and a deleted thread that has it is erased.

Ids, paths, words that programs compare and the names of members in JSON stay: if one of them has the text, the exit
status is 1, and only `treadle erase` removes it.
"""


def add(commands: Commands) -> None:
    does = "take a text, such as a password, out of all threads for good"
    command = commands.add("redact", does, run, more=MORE, example="treadle redact --stdin < password.txt")
    command.add_argument("--stdin", action="store_true", required=True, help="read the text from stdin")
    command.add_argument("--thread", metavar="THREAD", help=f"only of this thread: {THREAD}")
    command.add_argument("--dry-run", action="store_true", help="only list the threads that have it")
    add_json(command, "one thread per line: threadId, events, erased, left")


def run(options: argparse.Namespace) -> int:
    import sys

    import msgspec

    import treadle.cli.output as output
    from treadle.cli.erase import erase
    from treadle.cli.names import thread_named
    from treadle.domain.erasing import MARK
    from treadle.store.sqlite.reader import reading

    find = sys.stdin.read().removesuffix("\n")
    if len(find) < SHORTEST or find in MARK:
        why = "is part of what would replace it" if find in MARK else f"has fewer than {SHORTEST} characters"
        print(f"treadle redact: the text {why}", file=sys.stderr)
        return 2
    data_dir = data_dir_of(options)
    found = left = 0
    with reading(data_dir) as reader:
        if options.thread is None:
            threads, outside = reader.read(lambda reads: _threads(reads, find))
        else:
            threads, outside = [reader.read(lambda reads: thread_named(reads, options.thread))], 0
        for thread_id in threads:
            told = _redact(data_dir, reader, thread_id, find, options.dry_run)
            if told["erased"] and not options.dry_run:
                erase(data_dir, [thread_id])
            if told["events"] or told["left"]:
                found, left = found + 1, left + told["left"]
                if options.json:
                    output.print_json(msgspec.json.encode(told))
                else:
                    print(_line(told, options.dry_run))
    if not options.json:
        print(f"found in {output.count(found, 'thread')}")
    if outside:
        print(
            f"{output.count(outside, 'event')} of projects, settings or rules have it, too: these stay", file=sys.stderr
        )
    return 1 if (left or outside) and not options.dry_run else 0


def _line(told: dict[str, Any], dry_run: bool) -> str:
    import treadle.cli.output as output

    verb = "erase" if told["erased"] else "redact"
    done = f"would {verb}" if dry_run else f"{verb}d" if verb == "erase" else "redacted"
    left = f"; {output.count(told['left'], 'event')} with it in an id, a path or a name stay" if told["left"] else ""
    return f"{told['threadId']}: {done} {output.count(told['events'], 'event')}{left}"


def _threads(reads: "Reads", find: str) -> tuple[list[str], int]:
    """All threads that are not erased, and how many events of no thread have the text."""
    from treadle.publish.touched import PAGE

    threads, after, outside = dict[str, None](), 0, 0
    while changes := reads.changes(after, None, PAGE):
        for sequence, event_type, thread_id, _ in changes:
            if event_type == "ThreadErased":
                threads.pop(str(thread_id), None)
            elif event_type == "ThreadCreated":
                threads[str(thread_id)] = None
            elif thread_id is None:
                outside += any(_has(event, find) for _, event in _page(reads, None, sequence - 1, 1)[0])
        after = changes[-1][0]
    return [*threads], outside


def _page(reads: "Reads", thread_id: str | None, after: int, limit: int) -> tuple[list[tuple[int, Any]], int | None]:
    import msgspec

    rows, last = reads.events(thread_id, after, limit)
    decoded = [msgspec.json.decode(row) for row in rows]
    return [(row["sequence"], row["event"]) for row in decoded], last


def _has(value: Any, find: str) -> bool:
    """Whether a JSON value has the text, also in the names of its members."""
    if isinstance(value, dict):
        return any(find in name or _has(item, find) for name, item in value.items())
    if isinstance(value, list):
        return any(_has(item, find) for item in value)
    return isinstance(value, str) and find in value


def _redact(data_dir: "Path", reader: "Reader", thread_id: str, find: str, dry_run: bool) -> dict[str, Any]:
    """Take the text out of one thread. What is written meanwhile is found the next time round."""
    from treadle.domain.erasing import without

    rewritten = 0
    while True:
        state, events = reader.read(lambda reads: (reads.look_up([("thread", thread_id)]), _events(reads, thread_id)))
        thread = state["thread", thread_id]
        changes = without(events, find)
        left = sum(_has(event | changes.get(sequence, {}), find) for sequence, event in events)
        if dry_run or thread.deleted or not changes:
            is_erased = thread.deleted and (bool(changes) or left > 0)
            count = rewritten + len(changes) + (left if is_erased else 0)
            return {"threadId": thread_id, "events": count, "erased": is_erased, "left": 0 if is_erased else left}
        rewritten += _rewrite(data_dir, thread_id, thread.version, changes)


def _events(reads: "Reads", thread_id: str) -> list[tuple[int, Any]]:
    events: list[tuple[int, Any]] = []
    after: int | None = 0
    while after is not None:
        page, after = _page(reads, thread_id, after, AT_ONCE)
        events += page
    return events


def _rewrite(data_dir: "Path", thread_id: str, version: int, changes: dict[int, Any]) -> int:
    """Give the commands; return how many events they rewrote. A conflict ends it: the thread is read again."""
    import msgspec

    from treadle.cli.own_daemon import RequestFailed, dispatch_and_purge
    from treadle.domain.commands import CleanTexts, Redact

    done = 0
    texts = [CleanTexts(sequence, members) for sequence, members in changes.items()]
    while done < len(texts):
        count, size = 0, 0
        while done + count < len(texts) and count < AT_ONCE and size < BYTES:
            size += len(msgspec.json.encode(texts[done + count]))
            count += 1
        try:
            command = Redact(thread_id=thread_id, expected_version=version, events=texts[done : done + count])
            version = dispatch_and_purge(data_dir, command)[0][-1].sequence
        except RequestFailed as error:
            if error.kind != "versionConflict":
                raise
            return done
        done += count
    return done
