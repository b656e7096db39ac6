"""`treadle agents login`: log in to an agent, in one of the ways that it offers."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, agents_files_of

if TYPE_CHECKING:
    from treadle.agents.config import AgentConfig
    from treadle.agents.login import LoginMethod

MORE = """\
The agent says which ways there are. Some run a program of the agent in this terminal; others are done by the agent
itself, which may open a browser. Then the agent is started again and asked for a session, which shows whether it is
logged in. What it stores, and where, is up to the agent: treadle keeps nothing. Ctrl-C ends everything.

Exit status: 0 the agent is logged in; 1 it is not; 2 usage error.
"""
EXAMPLE = """\
treadle agents login claude
treadle agents login codex --method chatgpt
"""
PATIENCE = 60  # seconds that an agent may be silent, except while it waits for the user


class NoMethod(Exception):
    """No way to log in was chosen, or there is none of this name. The text is a sentence for people."""


def add(actions: Commands) -> None:
    login = actions.add("login", "log in to an agent", run, more=MORE, example=EXAMPLE)
    login.add_argument("name", metavar="NAME", help="what the agent is called")
    login.add_argument("--method", metavar="ID", help="the way to log in (default: the only one, or asked for)")


def run(options: argparse.Namespace) -> int:
    import sys

    from treadle.agents.connection import AgentFailed
    from treadle.cli.output import clean

    try:
        return _log_in(options.name, _config_of(options), options.method)
    except NoMethod as error:
        print(f"treadle agents login: {error}", file=sys.stderr)
        return 2
    except AgentFailed as error:
        print(f"treadle: agent {options.name} is not logged in: {clean(str(error))}", file=sys.stderr)
        return 1


def _config_of(options: argparse.Namespace) -> "AgentConfig":
    from treadle.agents.config import BadConfig, read_agents
    from treadle.store.errors import UserError

    try:
        agents = {agent.name: agent.config for agent in read_agents(*agents_files_of(options))}
    except BadConfig as error:
        raise UserError(str(error)) from None
    if options.name not in agents:
        raise UserError(f"agent {options.name!r} is not configured: `treadle agents` lists those that are")
    return agents[options.name]


def _log_in(name: str, config: "AgentConfig", wanted: str | None) -> int:
    """Log in, and check it; return the exit status. Raises NoMethod and AgentFailed."""
    import asyncio

    from treadle.agents.check import check_agent
    from treadle.agents.connection import AgentFailed
    from treadle.agents.login import login_methods, refusal_of_session
    from treadle.cli.output import Paint

    checked = asyncio.run(check_agent(config, PATIENCE))
    if checked.agent is None:
        raise AgentFailed(": ".join(filter(None, (checked.error, *checked.stderr[-1:]))))
    method = _chosen(name, login_methods(checked.agent, config), wanted)
    if method.command is None:
        _authenticate(name, config, method)
    else:
        _run_on_terminal(method)
    refusal = asyncio.run(refusal_of_session(config, PATIENCE))
    if refusal is not None:
        raise AgentFailed(f"it says so itself, but {refusal}")
    print(Paint()("green", f"agent {name} is logged in"))
    return 0


def _chosen(name: str, methods: "list[LoginMethod]", wanted: str | None) -> "LoginMethod":
    """The way to log in: the one that is wanted, the only one, or the one that the user chooses from a list."""
    import sys

    from treadle.cli.output import is_terminal, one_line
    from treadle.store.errors import UserError

    if not methods:
        raise UserError(
            f"agent {name} offers no login that treadle can start: log in with the program of the agent, "
            "or set its key in `env` of agents.json"
        )
    ids = one_line(", ".join(method.id for method in methods))
    if wanted is not None:
        for method in methods:
            if method.id == wanted:
                return method
        raise NoMethod(f"agent {name} has no login {wanted!r}: there are {ids}")
    if len(methods) == 1:
        return methods[0]
    if not (is_terminal(sys.stdin) and is_terminal()):
        raise NoMethod(f"--method is missing: there are {ids}")
    for number, method in enumerate(methods, 1):
        print(f"{number}  {one_line(method.name)}" + (f": {one_line(method.about)}" if method.about else ""))
    while True:
        try:
            typed = input(f"Which one? 1 to {len(methods)}: ").strip()
        except EOFError:
            raise NoMethod(f"nothing was chosen: there are {ids}") from None
        if typed.isascii() and typed.isdecimal() and 1 <= int(typed) <= len(methods):
            return methods[int(typed) - 1]


def _authenticate(name: str, config: "AgentConfig", method: "LoginMethod") -> None:
    """Let the agent log in by itself, and show what it says meanwhile."""
    import asyncio

    from treadle.agents.login import authenticate
    from treadle.cli.output import Paint, clean, one_line

    paint = Paint()
    print(f"{one_line(method.name)}: agent {name} logs in, and may open a browser. Ctrl-C ends it.", flush=True)

    def told(line: str) -> None:
        if line.strip():
            print(paint("dim", f"  {clean(line.rstrip())}"), flush=True)

    asyncio.run(authenticate(config, method, PATIENCE, told))


def _run_on_terminal(method: "LoginMethod") -> None:
    """Run the program of a login on this terminal. Raises AgentFailed."""
    import asyncio
    import sys
    from shlex import join

    from treadle.agents.connection import AgentFailed
    from treadle.agents.login import run_on_terminal
    from treadle.agents.process import SIGNALS
    from treadle.cli.output import is_terminal, one_line
    from treadle.store.errors import UserError

    if not (is_terminal(sys.stdin) and is_terminal()):
        raise UserError(f"the login {method.id!r} runs a program of the agent: it needs a terminal")
    print(f"{one_line(method.name)}: {one_line(join(method.command or ()))}", flush=True)
    with _terminal_as_it_was():
        status = asyncio.run(run_on_terminal(method))
    if status < 0:
        raise AgentFailed(f"its program was ended by {SIGNALS.get(-status, f'signal {-status}')}")
    if status > 0:
        raise AgentFailed(f"its program exited with status {status}")


@contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Restore the settings of the terminal at the end of the block, because a program that is ended may not."""
    import termios

    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
