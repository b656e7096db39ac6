"""The logins of the scripted agent."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from scripted_agent import ANSWER
from scripted_agent.streams import Json, ask, receive, write
from scripted_agent.turn import Refused

MAIN = str(Path(__file__).with_name("__main__.py"))


def is_known() -> bool:
    """Whether somebody has logged in."""
    return Path(os.environ.get("SCRIPTED_LOGIN", os.devnull)).is_file()


def remember() -> None:
    if "SCRIPTED_LOGIN" in os.environ:
        Path(os.environ["SCRIPTED_LOGIN"]).touch()


def methods(words: list[str], capabilities: Json) -> list[Json]:
    """The ways to log in."""
    found: list[Json] = [] if "no-login" in words else list(ANSWER["authMethods"])
    if "login-terminal" in words and capabilities.get("auth", {}).get("terminal") is True:
        how = {"type": "terminal", "args": ["log-in"], "env": {"SCRIPTED_PLACE": "the terminal"}}
        found.append({"id": "tty", "name": "On the terminal", "description": "asks for a key", **how})
    if "login-older" in words and capabilities.get("_meta", {}).get("terminal-auth") is True:
        program = {"command": sys.executable, "args": [MAIN, "log-in"], "env": {"SCRIPTED_PLACE": "an older one"}}
        found.append({"id": "older", "name": "As before", "_meta": {"terminal-auth": program}})
    return found


def on_terminal() -> NoReturn:
    """Ask for a key."""
    if "PIDS" in os.environ:
        Path(os.environ["PIDS"]).write_text(str(os.getpid()))
    try:
        key = input(f"Your key, at {os.environ.get('SCRIPTED_PLACE')}: ")
    except KeyboardInterrupt:
        sys.exit(130)
    if key == "kill":
        os.kill(os.getpid(), 9)
    if key == "right":
        remember()
    sys.exit(0 if key in ("right", "nothing") else 4)


def by_itself(words: list[str]) -> None:
    """Log in as agents do that open a browser: here, a process that lives on."""
    browser = subprocess.Popen(
        ["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    if "PIDS" in os.environ:
        Path(os.environ["PIDS"]).write_text(f"{os.getpid()} {browser.pid}")
    sys.stderr.write("open https://example.org/login\x1b[2J\n")
    sys.stderr.flush()
    write(b"waiting for the browser")
    if "login-form" in words:
        for params in ({"mode": "url", "message": "Log in here", "url": "https://example.org/2"}, {"mode": "form"}):
            ask("elicitation/create", params)
            write(f"the answer: {receive()['result']['action']}".encode())
    if "login-waits" in words:
        while receive():
            pass
        sys.exit()
    if "login-refused" in words:
        raise Refused(-32603, "Internal error", {"details": "the account is closed"})
    if "login-in-vain" not in words:
        remember()
