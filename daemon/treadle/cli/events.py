"""`treadle events`: print the log, one event per line."""

import argparse

from treadle.cli.options import Commands, data_dir_of, natural, positive

MORE = """\
Each line is {"sequence", "event"}, as in the result of `event/list`. With --follow, events that any process appends are
printed as they come, until Ctrl-C (exit status 130).
"""
EXAMPLE = """\
treadle events --after 1000 | jq -r .event.type | sort | uniq -c
treadle events --follow --thread last
"""


def add(commands: Commands) -> None:
    command = commands.add("events", "print stored events, one JSON text per line", run, more=MORE, example=EXAMPLE)
    command.add_argument("--after", type=natural, default=0, metavar="N", help="only events after this sequence")
    command.add_argument(
        "--thread", metavar="THREAD", help="only this thread: its id, a unique prefix of it, or `last`"
    )
    command.add_argument("--limit", type=positive, metavar="N", help="print at most N events")
    command.add_argument("--follow", action="store_true", help="keep printing events as they are appended")


def run(options: argparse.Namespace) -> int:
    import sys

    import treadle.cli.output as output
    from treadle.cli.following import follow
    from treadle.cli.names import thread_named
    from treadle.store.sqlite.reader import reading

    left = options.limit
    with reading(data_dir_of(options)) as reader:
        name = options.thread
        thread_id = None if name is None else reader.read(lambda reads: thread_named(reads, name))
        for events in follow(reader, options.after, thread_id, forever=options.follow):
            for event in events[:left]:
                output.print_json(event)
            sys.stdout.flush()
            if left is not None and (left := left - len(events)) <= 0:
                break
    return 0
