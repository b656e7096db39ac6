"""`treadle tail`: print events as they happen, from every process on the data directory."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from treadle.contract.results import EntityName
    from treadle.store.ports import Reads

MORE = """\
Prints one line per event, from now on; streamed text is printed as each of its lines is completed. Runs until Ctrl-C
(exit status 130). It shows what every daemon on the data directory appends, and does not affect them.
"""
EXAMPLE = """\
treadle tail
treadle tail --thread last --json | jq -c .event
"""
PAUSE = 0.5  # seconds without an event after which an unfinished line of streamed text is printed


def add(commands: Commands) -> None:
    command = commands.add("tail", "print events as they happen, in readable form", run, more=MORE, example=EXAMPLE)
    command.add_argument(
        "--thread", metavar="THREAD", help="only this thread: its id, a unique prefix of it, or `last`"
    )
    add_json(command, "print the events as JSON, as `treadle events --follow` does")


def run(options: argparse.Namespace) -> int:
    import sys

    import msgspec

    import treadle.cli.output as output
    from treadle.cli.event_formatter import EventFormatter
    from treadle.cli.following import follow
    from treadle.cli.names import thread_named
    from treadle.domain.events import StoredEvent
    from treadle.store.sqlite.reader import reading

    decode = msgspec.json.Decoder(StoredEvent).decode
    with reading(data_dir_of(options)) as reader:
        name = options.thread
        thread_id = None if name is None else reader.read(lambda reads: thread_named(reads, name))
        formatter = EventFormatter(
            lambda *key: reader.read(lambda reads: _look_up(reads, *key)), output.Paint(), output.columns()
        )
        now = reader.read(lambda reads: reads.sequence())
        print("treadle: following; press Ctrl-C to stop", file=sys.stderr, flush=True)
        for events in follow(reader, now, thread_id, forever=True, pause=PAUSE):
            for event in events:
                if options.json:
                    output.print_json(event)
                else:
                    sys.stdout.writelines(f"{line}\n" for line in formatter.lines(decode(event)))
            if not events:
                sys.stdout.writelines(f"{line}\n" for line in formatter.rest())
            sys.stdout.flush()
    return 0


def _look_up(reads: "Reads", kind: str, thread_id: str, id: str) -> str:
    """Look up the name of something that existed before this command started."""
    import msgspec

    def value(entity: "EntityName", id: str) -> dict[str, str]:
        row = reads.entities(entity, thread_id, [id]).get(id)
        return {} if row is None else msgspec.json.decode(row)

    if kind == "thread":
        return value("thread", thread_id).get("title", thread_id)
    if kind == "role":
        return value("message", id).get("role", "message")
    if kind in ("kind", "title", "status"):
        return value("activity", id).get(kind, "activity")
    return id.partition(" ")[2]  # an option's id is readable enough
