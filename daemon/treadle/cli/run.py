"""`treadle run`: send a prompt to an agent, and print its answer while it comes."""

import argparse
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, add_json, agents_files_of, data_dir_of

if TYPE_CHECKING:
    from treadle.cli.prompting import PromptRequest

MORE = """\
Without --thread, the prompt begins a new thread, in the project of the current folder. The answer is printed to stdout,
everything else to stderr. A prompt that could not be sent is removed from the queue again.

What the agent asks for and no rule answers is asked by key if stdin and stderr are terminals, and denied otherwise. The
first Ctrl-C asks the agent to stop, the second ends it.

Exit status: 0 the agent completed the turn; 1 the turn or the start of the agent failed, or the queue is paused;
2 usage error; 3 the turn was interrupted or cancelled; 4 the agent refused, or reached a limit or a budget; 5 the agent
needs a login.
"""
EXAMPLE = """\
treadle run --agent claude 'Why does the retry test fail?'
treadle run --thread last 'Fix it' --yes
git diff | treadle run - > review.md
"""


def add(commands: Commands) -> None:
    command = commands.add("run", "send a prompt to an agent and print its answer", run, more=MORE, example=EXAMPLE)
    command.add_argument(
        "--agent", metavar="NAME", help="the agent to ask (default: that of the thread, or the only one that there is)"
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--thread", metavar="THREAD", help="continue this thread: its id, a unique prefix of it, or `last`"
    )
    command.add_argument(
        "--worktree",
        action="store_true",
        help="let the agent of the new thread work in a git worktree; see `treadle worktree`",
    )
    command.add_argument(
        "--memory",
        action="store_true",
        help="keep the new thread in memory: nothing of it is on disk, and it is gone after the answer (Linux)",
    )
    where.add_argument("--title", help="the title of the new thread (default: the first line of the prompt)")
    answers = command.add_mutually_exclusive_group()
    answers.add_argument(
        "--yes", dest="answers", action="store_const", const="allow", help="allow what no rule answers"
    )
    answers.add_argument(
        *("--deny", "--rules"),
        dest="answers",
        action="store_const",
        const="deny",
        help="deny what no rule answers",
    )
    add_json(command, "print the events of the thread from the prompt on instead of the answer, one per line")
    command.add_argument("--cwd", metavar="DIR", default=".", help="the folder of the project of a new thread")
    command.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask; - or nothing reads stdin")


def run(options: argparse.Namespace) -> int:
    import asyncio
    import sys

    from treadle.cli.outcomes import USAGE
    from treadle.cli.prompting import prompt_agent

    wanted = _wanted(options)
    if isinstance(wanted, str):
        print(f"treadle run: {wanted}", file=sys.stderr)
        return USAGE
    return asyncio.run(prompt_agent(wanted))


def _wanted(options: argparse.Namespace) -> "PromptRequest | str":
    """What the options ask for, or what is wrong with them."""
    import os
    import sys

    from treadle.agents.config import BadConfig, read_agents
    from treadle.cli.output import is_terminal
    from treadle.cli.prompting import PromptRequest
    from treadle.store.errors import UserError

    reads = options.prompt in ([], ["-"])
    if not options.prompt and is_terminal(sys.stdin):
        return "give a prompt, or pipe one into stdin"
    prompt = sys.stdin.buffer.read().decode(errors="replace") if reads else " ".join(options.prompt)
    if not prompt.strip():
        return "the prompt is empty"
    try:
        agents = [agent.name for agent in read_agents(*agents_files_of(options))]
    except BadConfig as error:
        raise UserError(str(error)) from None
    if not agents:
        return "no agent is configured: `treadle agents add NAME` adds one"
    if options.agent is not None and options.agent not in agents:
        return f"agent {options.agent!r} is not configured: {_names(agents)}"
    if options.worktree and options.thread is not None:
        return "--worktree is for a new thread: a thread has a worktree from its beginning, or none"
    if options.memory and (options.thread is not None or options.worktree):
        return "--memory is for a new thread, without a worktree: nothing of it is left when it ends"
    if options.agent is None and options.thread is None and len(agents) > 1:
        return f"--agent is missing: {_names(agents)}"
    return PromptRequest(
        data_dir=data_dir_of(options),
        folder=os.path.abspath(options.cwd),  # noqa: PTH100  # keeps links
        prompt=prompt,
        thread=options.thread,
        title=options.title,
        worktree=options.worktree,
        memory=options.memory,
        agent=options.agent,
        agents=agents,
        answers=options.answers or ("ask" if is_terminal(sys.stdin) and is_terminal(sys.stderr) else "deny"),
        json=options.json,
        # The warnings of the daemon say what the events say as well.
        log_level="error" if options.log_level == "warning" else options.log_level,
    )


def _names(agents: list[str]) -> str:
    return f"there are {', '.join(agents)}; `treadle agents add` adds another"
