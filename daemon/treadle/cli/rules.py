"""`treadle rules`: the rules that answer approvals without asking."""

import argparse
import re
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from treadle.domain.agent_commands import Scope
    from treadle.domain.commands import Command
    from treadle.domain.entities import Rule
    from treadle.store.ports import Reads

MORE = "What rules match, and what they never allow, is in docs/agents.md."
EXAMPLE = """\
treadle rules
treadle rules add --allow --command 'git diff' --project .
treadle rules remove 019c1412
"""
ADD_MORE = """\
A rule that denies goes before one that asks, and that before one that allows. All of --kind, --command and --path that
are given have to match. Without --project and --thread it holds everywhere.
"""
ADD_EXAMPLE = """\
treadle rules add --allow --kind edit --path 'src/**' --project . --until 8h
treadle rules add --deny --path '**/.env'
"""
_DURATION = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add(commands: Commands) -> None:
    command = commands.add("rules", "list and change the rules that answer approvals", run, more=MORE, example=EXAMPLE)
    add_json(command, "one rule per line, as in the result of `rule/list`")
    actions = Commands(command, "[ACTION]", required=False)

    adding = actions.add("add", "add a rule", run_add, more=ADD_MORE, example=ADD_EXAMPLE)
    decision = adding.add_mutually_exclusive_group(required=True)
    for name, does in (("allow", "allow what matches"), ("ask", "ask about it"), ("deny", "reject it")):
        decision.add_argument(f"--{name}", dest="decision", action="store_const", const=name, help=does)
    adding.add_argument("--kind", metavar="KIND", help="the kind of the tool call: read, edit, execute, …")
    adding.add_argument("--command", metavar="WORDS", type=_words, help="the first words of a shell command")
    adding.add_argument("--path", metavar="GLOB", help="a pattern of its paths, relative to the project, or absolute")
    scope = adding.add_mutually_exclusive_group()
    scope.add_argument("--project", metavar="PROJECT", help="only in this project: its id or its folder")
    scope.add_argument(
        "--thread", metavar="THREAD", help="only in this thread: its id, a unique prefix of it, or `last`"
    )
    adding.add_argument("--agent", metavar="NAME", help="only for this agent")
    adding.add_argument(
        "--until",
        metavar="TIME",
        type=_time,
        help="until this local time (2026-01-31T12:00), or for this long (30m, 8h, 7d)",
    )

    removing = actions.add("remove", "remove a rule", run_remove, example="treadle rules remove 019c1412")
    removing.add_argument("rule", metavar="RULE", help="its id, or a unique prefix of it")
    for action in (adding, removing):
        action.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print the stored events, one per line"
        )


def _words(text: str) -> list[str]:
    import shlex

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a command: {error}") from None
    if not words:
        raise argparse.ArgumentTypeError("give the first words of a command, such as 'git diff'")
    return words


def _time(text: str) -> str:
    """A point in time as in commands. Without an offset it is local."""
    from datetime import UTC, datetime, timedelta

    try:
        if found := _DURATION.fullmatch(text):
            at = datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})
        else:
            at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: give one as 2026-01-31T12:00, or a duration as 30m, 8h or 7d"
        ) from None
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def run(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.event_formatter import matched
    from treadle.cli.lists import table
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        rules = reader.read(_rules)
    if options.json:
        for rule in rules:
            output.print_json(msgspec.json.encode(rule))
        return 0
    if not rules:
        if output.is_terminal():
            print("no rules")
        return 0
    rows = [(one.id, one.decision, _where(one), one.agent or "any", _until(one), matched(one.match)) for one in rules]
    for line in table(("ID", "DECISION", "WHERE", "AGENT", "UNTIL", "MATCHES"), rows):
        print(line)
    return 0


def _rules(reads: "Reads") -> "list[Rule]":
    from treadle.cli.lists import all_of
    from treadle.domain.entities import Rule

    return all_of(Rule, reads.rule_list)


def _where(rule: "Rule") -> str:
    if rule.scope.thread_id is not None:
        return f"thread {rule.scope.thread_id}"
    return "everywhere" if rule.scope.project_id is None else f"project {rule.scope.project_id}"


def _until(rule: "Rule") -> str:
    from treadle.cli.output import to_the_minute

    return "removed" if rule.until is None else to_the_minute(rule.until)


def run_add(options: argparse.Namespace) -> int:
    import msgspec

    from treadle.domain.agent_commands import AddRule, RuleMatch
    from treadle.store.errors import UserError

    command = AddRule(
        scope=_scope(options),
        agent=options.agent,
        match=RuleMatch(kind=options.kind, command=options.command, path=options.path),
        decision=options.decision,
        until=options.until,
    )
    try:
        msgspec.convert(msgspec.to_builtins(command), AddRule)
    except msgspec.ValidationError as error:
        raise UserError(f"invalid rule: {error}") from None
    return _dispatch(options, command)


def _scope(options: argparse.Namespace) -> "Scope":
    from treadle.cli.names import project_named, thread_named
    from treadle.domain.agent_commands import Scope
    from treadle.store.sqlite.reader import reading

    if options.thread is None and options.project is None:
        return Scope()
    with reading(data_dir_of(options)) as reader:
        if options.thread is not None:
            return Scope(thread_id=reader.read(lambda reads: thread_named(reads, options.thread)))
        return Scope(project_id=reader.read(lambda reads: project_named(reads, options.project)))


def run_remove(options: argparse.Namespace) -> int:
    from treadle.cli.lists import one_named
    from treadle.domain.agent_commands import RemoveRule
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        rule = one_named(reader.read(_rules), options.rule, "rule", "treadle rules")
    return _dispatch(options, RemoveRule(id=rule.id))


def _dispatch(options: argparse.Namespace, command: "Command") -> int:
    """Execute the command, and print the rule that it added or removed."""
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.own_daemon import dispatch
    from treadle.domain.agent_events import RuleAdded, RuleRemoved

    for one in dispatch(data_dir_of(options), command):
        if options.json:
            output.print_json(msgspec.json.encode(one))
        elif isinstance(one.event, RuleAdded | RuleRemoved):
            print(f"rule {one.event.id} {'added' if isinstance(one.event, RuleAdded) else 'removed'}")
    return 0
