"""`treadle approvals`: what agents wait for permission to do."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from treadle.domain.entities import Approval
    from treadle.store.ports import Reads

EXAMPLE = """\
treadle approvals
treadle approvals answer 019c1412 --allow
treadle approvals --json | jq -r '.options[] | "\\(.id): \\(.name)"'
"""
ANSWER_MORE = """\
--allow chooses the only option that allows this one time; if there are several, or it is a form, name one. --deny
chooses an option that rejects this one time, or cancels the approval if there is no such option.
"""
ANSWER_EXAMPLE = """\
treadle approvals answer 019c1412 --deny
treadle approvals answer 019c1412 acceptEdits
"""


def add(commands: Commands) -> None:
    command = commands.add("approvals", "list and answer pending approvals", run, example=EXAMPLE)
    command.add_argument(
        "--thread", metavar="THREAD", help="only of this thread: its id, a unique prefix of it, or `last`"
    )
    add_json(command, "one approval per line, as in the result of `approval/list`")
    actions = Commands(command, "[ACTION]", required=False)
    answering = actions.add("answer", "answer an approval", run_answer, more=ANSWER_MORE, example=ANSWER_EXAMPLE)
    answering.add_argument("approval", metavar="APPROVAL", help="its id, or a unique prefix of it")
    how = answering.add_mutually_exclusive_group(required=True)
    how.add_argument("option", metavar="OPTION", nargs="?", help="the id of the option to choose")
    how.add_argument("--allow", action="store_true", help="allow it this one time")
    how.add_argument("--deny", action="store_true", help="reject it this one time")
    answering.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print the stored events, one per line"
    )


def run(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.lists import table
    from treadle.cli.names import thread_named
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        name = options.thread
        thread_id = None if name is None else reader.read(lambda reads: thread_named(reads, name))
        approvals = reader.read(lambda reads: _approvals(reads, thread_id))
    if options.json:
        for approval in approvals:
            output.print_json(msgspec.json.encode(approval))
        return 0
    if not approvals:
        if output.is_terminal():
            print("no pending approvals")
        return 0
    rows = [
        (one.id, one.thread_id, " / ".join(f"{option.id}: {option.name}" for option in one.options), one.title)
        for one in approvals
    ]
    for line in table(("ID", "THREAD", "OPTIONS", "TITLE"), rows):
        print(line)
    return 0


def _approvals(reads: "Reads", thread_id: str | None = None) -> "list[Approval]":
    from treadle.cli.lists import all_of
    from treadle.domain.entities import Approval

    return all_of(Approval, lambda limit, before: reads.approval_list(thread_id, limit, before))


def run_answer(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.lists import one_named
    from treadle.cli.own_daemon import dispatch
    from treadle.domain.commands import ResolveApproval
    from treadle.store.sqlite.reader import reading

    data_dir = data_dir_of(options)
    with reading(data_dir) as reader:
        approval = one_named(reader.read(_approvals), options.approval, "pending approval", "treadle approvals")
    outcome = _outcome(approval, options)
    events = dispatch(
        data_dir, ResolveApproval(thread_id=approval.thread_id, id=approval.id, outcome=outcome, by="user")
    )
    if options.json:
        for event in events:
            output.print_json(msgspec.json.encode(event))
        return 0
    chosen = next((option.name for option in approval.options if option.id == outcome), "cancelled")
    print(f"{output.one_line(approval.title)}: {output.one_line(chosen)}")
    return 0


def _outcome(approval: "Approval", options: argparse.Namespace) -> str | None:
    """The option to choose, None to cancel. Raises UserError."""
    from treadle.agents.rules import answer_all
    from treadle.cli.questions import is_form
    from treadle.store.errors import UserError

    if options.option is not None:
        return str(options.option)
    given = answer_all(approval.options, "allow" if options.allow else "deny")
    if given is None or (options.allow and is_form(approval.detail)):
        offered = ", ".join(f"{option.id} ({option.name})" for option in approval.options)
        raise UserError(f"--allow needs exactly one option that allows one time: choose one of {offered}")
    return given.outcome
