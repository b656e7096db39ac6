"""`treadle agents`: the agents that are configured, and whether they start."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli import login
from treadle.cli.options import Commands, add_json, agents_files_of, positive

if TYPE_CHECKING:
    from treadle.agents.check import Checked
    from treadle.agents.config import Configured

EXAMPLE = """\
treadle agents
treadle agents --check --json | jq -r 'select(.error) | .name'
"""
MORE = """\
Agents are configured in `agents.json`: one in your configuration folder, and one in the data directory, whose agents
replace those of the same name. --check starts each agent, asks what it is (`initialize`), and ends it. It does not log
in: `treadle agents login` does. The exit status is 1 if an agent failed.
"""
ADD_MORE = """\
It is written to the file in your configuration folder; with --data-dir, to the one in the data directory. A
well-known agent needs no command: NAME is enough if its program is on PATH. Nothing is downloaded.
"""
ADD_EXAMPLE = """\
treadle agents add claude
treadle agents add mine --env LOG_LEVEL=debug -- node agent.js --acp
"""
REMOVE_MORE = "From the file in your configuration folder; with --data-dir, from the one in the data directory."
SILENCE = 60  # seconds
AT_ONCE = 4  # agents that are checked at the same time: each takes up to 400 MB


def add(commands: Commands) -> None:
    command = commands.add("agents", "list, check and configure agents", run, more=MORE, example=EXAMPLE)
    add_json(command, "one agent per line, with the names of its variables but not their values")
    command.add_argument("--check", action="store_true", help="start each agent and ask what it is")
    command.add_argument(
        "--timeout",
        type=positive,
        default=SILENCE,
        metavar="SECONDS",
        help="with --check: how long an agent may be silent (default: %(default)s)",
    )
    actions = Commands(command, "[ACTION]", required=False)

    adding = actions.add("add", "configure an agent, or replace one", run_add, more=ADD_MORE, example=ADD_EXAMPLE)
    adding.usage = "treadle agents add [-h] [--data-dir DIR] [--env NAME=VALUE] NAME [-- COMMAND [ARGUMENT ...]]"
    adding.after_dashes = "a command and its arguments"
    adding.add_argument("name", metavar="NAME", type=_name, help="what the agent is called")
    adding.add_argument(
        "--env",
        action="append",
        default=[],
        type=_variable,
        metavar="NAME=VALUE",
        help="an environment variable for the agent; may be repeated",
    )

    does = "remove an agent from the configuration"
    removing = actions.add("remove", does, run_remove, more=REMOVE_MORE, example="treadle agents remove mine")
    removing.add_argument("name", metavar="NAME", help="what the agent is called")

    login.add(actions)


def _name(text: str) -> str:
    import re

    from treadle.domain.ids import ID_PATTERN

    if not re.match(ID_PATTERN, text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name: use up to 128 letters, digits, `.`, `_`, `:` and `-`"
        )
    return text


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError("give NAME=VALUE")
    return name, value


def run(options: argparse.Namespace) -> int:
    import asyncio

    from treadle.agents.config import read_agents

    with _told():
        agents = read_agents(*agents_files_of(options))
    if options.check:
        return asyncio.run(_check_all(agents, options))
    for agent in agents:
        _print(agent, None, options)
    if not agents and not options.json:
        print(f"no agents: `treadle agents add` writes one to {agents_files_of(options)[0]}")
    return 0


def run_add(options: argparse.Namespace) -> int:
    from treadle.agents.config import AgentConfig, add_agent

    command, *args = _command(options.name, options.after_dashes)
    file = _file_to_change(options)
    with _told("Nothing was changed"):
        is_there = add_agent(file, options.name, AgentConfig(command, args, dict(options.env)))
    print(f"{options.name} {'replaced' if is_there else 'added'} in {file}")
    return 0


def _command(name: str, given: list[str]) -> list[str]:
    """The command line of an agent, as given or as known. A path is made absolute. Raises UserError."""
    import os
    import shutil

    from treadle.agents.known import KNOWN
    from treadle.store.errors import UserError

    if given:
        program = os.path.abspath(given[0]) if os.sep in given[0] else given[0]  # noqa: PTH100  # keeps links
        return [program, *given[1:]]
    known = KNOWN.get(name)
    if known is None:
        raise UserError(
            f"{name} is not a well-known agent ({', '.join(KNOWN)}): "
            f"give its command, `treadle agents add {name} -- COMMAND`"
        )
    if shutil.which(known.command) is None:
        raise UserError(f"{known.command} is not on PATH: {known.install}")
    return [known.command, *known.args]


def run_remove(options: argparse.Namespace) -> int:
    from treadle.agents.config import remove_agent
    from treadle.store.errors import UserError

    file = _file_to_change(options)
    with _told("Nothing was changed"):
        was_there = remove_agent(file, options.name)
    if not was_there:
        raise UserError(f"agent {options.name!r} is not in {file}: `treadle agents` shows which file each is in")
    print(f"{options.name} removed from {file}")
    return 0


@contextmanager
def _told(after: str = "") -> Iterator[None]:
    """Tell of an invalid file as of any usage error."""
    from treadle.agents.config import BadConfig
    from treadle.store.errors import UserError

    try:
        yield
    except BadConfig as error:
        raise UserError(f"{error}. {after}" if after else str(error)) from None


def _file_to_change(options: argparse.Namespace) -> Path:
    return agents_files_of(options)[options.data_dir is not None]


async def _check_all(agents: "list[Configured]", options: argparse.Namespace) -> int:
    """Check the agents at the same time, and print each as soon as those before it are printed."""
    import asyncio

    from treadle.agents.check import check_agent

    room = asyncio.Semaphore(AT_ONCE)

    async def check(agent: "Configured") -> "Checked":
        async with room:
            return await check_agent(agent.config, options.timeout)

    failed = False
    checks = [(agent, asyncio.create_task(check(agent))) for agent in agents]
    for agent, checking in checks:
        checked = await checking
        _print(agent, checked, options)
        failed |= checked.error is not None
    return int(failed)


def _print(agent: "Configured", checked: "Checked | None", options: argparse.Namespace) -> None:
    if options.json:
        _print_json(agent, checked)
    else:
        _print_lines(agent, checked)


def _print_json(agent: "Configured", checked: "Checked | None") -> None:
    import msgspec

    from treadle.cli.output import print_json

    config = msgspec.to_builtins(agent.config)
    servers = [server.get("name") for server in agent.config.mcp_servers]
    secret = {"env": [*agent.config.env], "mcpServers": servers}  # their values may be
    shown: dict[str, Any] = {"name": agent.name, "args": [], **config, **secret, "file": str(agent.file)}
    if checked is not None:
        about = checked.agent
        shown |= {
            "error": checked.error,
            "agent": about and {"name": about.name, "title": about.title, "version": about.release},
            "protocolVersion": about and about.version,
            "capabilities": about and about.capabilities,
            "authMethods": about and about.auth_methods,
            "stderr": checked.stderr,
            "problems": checked.problems,
        }
    print_json(msgspec.json.encode(shown))


def _print_lines(agent: "Configured", checked: "Checked | None") -> None:
    from shlex import join

    from treadle.cli.output import Paint, one_line

    paint = Paint()
    command = one_line(join([agent.config.command, *agent.config.args]))
    print(f"{paint('bold', agent.name)}  {command}  {paint('dim', one_line(str(agent.file)))}", flush=True)
    if checked is None:
        return
    if about := checked.agent:
        title = one_line(" ".join(filter(None, (about.title or about.name, about.release))))
        print(f"  {paint('green', 'ok')}  {title}, ACP version {about.version}")
        if offered := one_line(", ".join(_offered(about.capabilities))):
            print(f"  capabilities: {offered}")
        names = [str(method.get("name") or method.get("id")) for method in about.auth_methods]
        if names:
            print(f"  login: {one_line(', '.join(names))}")
    else:
        print(f"  {paint('bold red', 'failed')}  {one_line(checked.error or '')}")
        for line in checked.stderr:
            print(f"  stderr: {one_line(line)}")
    for problem in checked.problems:
        print(f"  {paint('yellow', 'warning')}  {one_line(problem)}")


def _offered(capabilities: dict[str, Any], before: str = "") -> list[str]:
    """The names of what an agent offers. One that is not offered is false, null or absent."""
    names: list[str] = []
    for name, value in capabilities.items():
        if name == "_meta" or value is False or value is None:
            continue
        path = f"{before}{name}"
        names += _offered(value, f"{path}.") if isinstance(value, dict) and value else [path]
    return names
