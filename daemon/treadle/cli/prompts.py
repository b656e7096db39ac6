"""`treadle prompts`: the prompts that wait to be sent to agents."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import THREAD, Commands, add_json, data_dir_of

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.domain.commands import Command
    from treadle.domain.entities import Prompt
    from treadle.store.ports import Reads
    from treadle.store.records import ThreadWork

MORE = """\
A prompt waits until the turn before it has ended, or while its queue is paused. Each action names a prompt by its id or
a unique prefix of it.
"""
EXAMPLE = """\
treadle prompts
treadle prompts add last 'Now the tests'
treadle prompts --json | jq -r .text
"""
ADD_MORE = """\
The thread needs an agent. The prompt is sent by the process that runs the agent of the thread, or by `treadle host`. If
there is neither, the prompt is added to a paused queue: this command ends at once and cannot run an agent. To send a
prompt and see the answer, use `treadle run --thread THREAD`.
"""
RESUME_MORE = "Fails if no process would send the prompts: start `treadle host` first."
PROMPT = "its id, or a unique prefix of it"
EVENTS = "print the stored events, one per line"
NO_HOST = "no process runs agents for it: start `treadle host`, then resume"


def add(commands: Commands) -> None:
    command = commands.add("prompts", "list and change queued prompts", run, more=MORE, example=EXAMPLE)
    command.add_argument("--thread", metavar="THREAD", help=f"only of this thread: {THREAD}")
    add_json(command, "one prompt per line, as in the result of `prompt/list`")
    actions = Commands(command, "[ACTION]", required=False)

    example = "treadle prompts add 019c1412 Now the tests"
    adding = actions.add("add", "queue a prompt", run_add, more=ADD_MORE, example=example)
    adding.add_argument("in_thread", metavar="THREAD", help=THREAD)
    adding.add_argument("text", metavar="TEXT", nargs="+", help="what to ask")
    adding.add_argument("--steer", action="store_true", help="send it now, into the running turn")

    removing = actions.add("remove", "remove a queued prompt", run_remove, example="treadle prompts remove 019c1412")
    removing.add_argument("prompt", metavar="PROMPT", help=PROMPT)

    example = "treadle prompts edit 019c1412 Now the slow tests"
    editing = actions.add("edit", "replace the text of a queued prompt", run_edit, example=example)
    editing.add_argument("prompt", metavar="PROMPT", help=PROMPT)
    editing.add_argument("text", metavar="TEXT", nargs="+", help="what to ask instead")

    example = "treadle prompts move 019c1412 --before 019c1411"
    moving = actions.add("move", "change the place of a queued prompt", run_move, example=example)
    moving.add_argument("prompt", metavar="PROMPT", help=PROMPT)
    moving.add_argument("--before", metavar="PROMPT", help="the prompt that follows it then (default: none, the last)")

    pausing = actions.add("pause", "hold the prompts of a thread", run_pause, example="treadle prompts pause last")
    pausing.add_argument("in_thread", metavar="THREAD", help=THREAD)

    does = "send the prompts of a thread again"
    resuming = actions.add("resume", does, run_resume, more=RESUME_MORE, example="treadle prompts resume last")
    resuming.add_argument("in_thread", metavar="THREAD", help=THREAD)

    for action in (adding, removing, editing, moving, pausing, resuming):
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=EVENTS)


def run(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.lists import table
    from treadle.cli.names import thread_named
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        name = options.thread
        thread_id = None if name is None else reader.read(lambda reads: thread_named(reads, name))
        prompts = reader.read(lambda reads: _prompts(reads, thread_id))
        works = reader.read(lambda reads: reads.work({prompt.thread_id for prompt in prompts}))
    if options.json:
        for prompt in prompts:
            output.print_json(msgspec.json.encode(prompt))
        return 0
    if not prompts:
        if output.is_terminal():
            print("no queued prompts")
        return 0
    paused = {work.thread_id: work.paused for work in works}
    rows = [(one.id, one.thread_id, "paused" if paused.get(one.thread_id) else one.when, _text(one)) for one in prompts]
    for line in table(("ID", "THREAD", "WHEN", "TEXT"), rows):
        print(line)
    for id, reason in paused.items():
        if reason:
            print(f"{id} is paused: {output.one_line(reason)}")
    return 0


def _text(prompt: "Prompt") -> str:
    from treadle.cli.details import said

    return "\n".join(block.text for block in said(prompt.text, prompt.content))


def _prompts(reads: "Reads", thread_id: str | None = None) -> "list[Prompt]":
    """The queued prompts of a thread, or of all, in the order in which those of each thread are sent."""
    from treadle.cli.lists import all_of
    from treadle.domain.entities import Prompt

    found = all_of(Prompt, lambda limit, before: reads.prompt_list(thread_id, limit, before))
    return sorted(found, key=lambda prompt: (prompt.thread_id, prompt.position))


def run_add(options: argparse.Namespace) -> int:
    from treadle.domain.agent_commands import PauseQueue, QueuePrompt

    data_dir = data_dir_of(options)
    work = _work(data_dir, options.in_thread)
    text = " ".join(options.text)
    commands: list[Command] = [
        QueuePrompt(thread_id=work.thread_id, text=text, when="steer" if options.steer else "idle")
    ]
    if not _is_sent(data_dir, work):
        commands.append(PauseQueue(thread_id=work.thread_id, reason=NO_HOST))
    return _dispatch(options, "queued", *commands)


def run_remove(options: argparse.Namespace) -> int:
    from treadle.domain.agent_commands import RemovePrompt

    prompt = _prompt(options, options.prompt)
    return _dispatch(options, "removed", RemovePrompt(thread_id=prompt.thread_id, id=prompt.id))


def run_edit(options: argparse.Namespace) -> int:
    from treadle.domain.agent_commands import EditPrompt

    prompt = _prompt(options, options.prompt)
    text = " ".join(options.text)
    return _dispatch(options, "changed", EditPrompt(thread_id=prompt.thread_id, id=prompt.id, text=text))


def run_move(options: argparse.Namespace) -> int:
    from treadle.domain.agent_commands import MovePrompt

    prompt = _prompt(options, options.prompt)
    before = None if options.before is None else _prompt(options, options.before).id
    return _dispatch(options, "moved", MovePrompt(thread_id=prompt.thread_id, id=prompt.id, before=before))


def run_pause(options: argparse.Namespace) -> int:
    from treadle.domain.agent_commands import PauseQueue

    work = _work(data_dir_of(options), options.in_thread)
    return _dispatch(options, "paused", PauseQueue(thread_id=work.thread_id, reason="paused on the command line"))


def run_resume(options: argparse.Namespace) -> int:
    from treadle.domain.agent_commands import ResumeQueue
    from treadle.store.errors import UserError

    data_dir = data_dir_of(options)
    work = _work(data_dir, options.in_thread)
    if not _is_sent(data_dir, work):
        raise UserError(
            f"no process would send the prompts of thread {work.thread_id}: start `treadle host`, then resume it"
        )
    return _dispatch(options, "resumed", ResumeQueue(thread_id=work.thread_id))


def _work(data_dir: "Path", name: str) -> "ThreadWork":
    """What there is to do in the thread that is named. Raises Unclear."""
    from treadle.cli.names import thread_named
    from treadle.store.sqlite.reader import reading

    with reading(data_dir) as reader:
        (work,) = reader.read(lambda reads: reads.work([thread_named(reads, name)]))
    return work


def _is_sent(data_dir: "Path", work: "ThreadWork") -> bool:
    """Whether a process that stays sends the prompts of a thread: the one that runs its agent, or a host."""
    from treadle.server.host_lock import has_host

    return (work.session is not None and work.session.open) or has_host(data_dir)


def _prompt(options: argparse.Namespace, name: str) -> "Prompt":
    from treadle.cli.lists import one_named
    from treadle.store.sqlite.reader import reading

    with reading(data_dir_of(options)) as reader:
        return one_named(reader.read(_prompts), name, "queued prompt", "treadle prompts")


def _dispatch(options: argparse.Namespace, done: str, *commands: "Command") -> int:
    """Execute the commands, and print what came of it. done: in a word."""
    import msgspec

    import treadle.cli.output as output
    from treadle.cli.own_daemon import dispatch
    from treadle.domain.agent_events import PromptQueued, QueuePaused

    events = dispatch(data_dir_of(options), *commands)
    if options.json:
        for one in events:
            output.print_json(msgspec.json.encode(one))
        return 0
    print(done if events else "nothing to change")
    for one in events:
        if isinstance(one.event, PromptQueued):
            print(one.event.id)
        if isinstance(one.event, QueuePaused):
            print(f"the queue is paused: {one.event.reason}")
    return 0
