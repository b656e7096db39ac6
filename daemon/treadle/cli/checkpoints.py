"""`treadle checkpoints`: the snapshots of a project's files that a thread has."""

import argparse

from treadle.cli.options import Commands, add_json, data_dir_of

MORE = "What is in a checkpoint, and when one is taken, is in docs/checkpoints.md."
EXAMPLE = """\
treadle checkpoints
treadle checkpoints 019c1412 --json | jq -r .gitRef
"""


def add(commands: Commands) -> None:
    command = commands.add("checkpoints", "list the checkpoints of a thread", run, more=MORE, example=EXAMPLE)
    command.add_argument(
        "thread",
        metavar="THREAD",
        nargs="?",
        default="last",
        help="its id, a unique prefix of it, or `last`: the thread that changed last (default)",
    )
    add_json(command, "one checkpoint per line, as in the result of `checkpoint/list`")


def run(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.lists import all_of, table
    from treadle.cli.names import thread_named
    from treadle.domain.entities import Checkpoint
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        thread_id = reader.read(lambda reads: thread_named(reads, options.thread))
        found = reader.read(
            lambda reads: all_of(Checkpoint, lambda limit, before: reads.checkpoint_list(thread_id, limit, before))
        )
    if options.json:
        for one in found:
            output.print_json(msgspec.json.encode(one))
        return 0
    if not found:
        if output.is_terminal():
            print("no checkpoints")
        return 0
    rows = [(one.id, output.to_the_minute(one.created_at), one.phase, one.turn_id or "", one.message) for one in found]
    for line in table(("ID", "CREATED", "PHASE", "TURN", "MESSAGE"), rows):
        print(line)
    return 0
