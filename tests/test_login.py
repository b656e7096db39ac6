"""`treadle agents login`: the real command, the scripted agent, and a terminal."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripted import Surroundings, assert_end, assert_gone, linux_only, scripted
from terminals import CTRL_C, Terminal
from wire import TREADLE

LOGGED_IN = "agent it is logged in"


class Login(Surroundings):
    """An agent `it` that opens a session only after a login."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.pids = folder / "pids"
        self.env |= {"TERM": "xterm-256color", "NO_COLOR": "1"}
        self.offering()

    def offering(self, *words: str) -> None:
        """Configure the agent. words: of the scripted agent."""
        variables = {"SCRIPTED_LOGIN": str(self.folder / "logged-in"), "PIDS": str(self.pids)}
        self.configure(it=scripted("auth-on-new", *words, **variables))

    def said(self, *arguments: str, status: int = 0) -> str:
        """What it prints without a terminal."""
        done = self.run("--data-dir", str(self.data_dir), "login", "it", *arguments)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def login(tmp_path: Path) -> Iterator[Login]:
    login = Login(tmp_path)
    yield login
    for browser in login.pids.read_text().split()[1:] if login.pids.exists() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(browser), signal.SIGKILL)


OnTerminal = Callable[..., Terminal]


@pytest.fixture
def on_terminal(login: Login) -> Iterator[OnTerminal]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        words = [*TREADLE, "agents", "--data-dir", str(login.data_dir), "login", "it", *arguments]
        opened.append(Terminal(words, login.env, login.folder))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


# The agent does it


@linux_only
def test_an_agent_that_logs_in_by_itself_is_shown_and_its_browser_stays(login: Login) -> None:
    said = login.said()
    assert said.splitlines()[0] == "API key: agent it logs in, and may open a browser. Ctrl-C ends it."
    assert "  open https://example.org/login␛[2J\n" in said
    assert "  waiting for the browser\n" in said
    assert said.endswith(f"{LOGGED_IN}\n")
    agent, browser = login.pids.read_text().split()
    assert_gone(agent)
    os.kill(int(browser), 0)


def test_an_address_that_the_agent_asks_to_open_is_shown_and_a_form_is_declined(login: Login) -> None:
    login.offering("login-form")
    said = login.said()
    assert "  Log in here: https://example.org/2\n" in said
    assert "  the answer: accept\n" in said
    assert "  the answer: decline\n" in said


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("login-refused", 'the agent refused authenticate: Internal error: {"details":"the account is closed"}'),
        ("login-in-vain", "it says so itself, but the agent refused session/new: Authentication required"),
        ("die", "the agent exited with status 3: no key was given"),
    ],
)
def test_a_login_that_fails_has_exit_status_1_and_a_reason(login: Login, word: str, says: str) -> None:
    login.offering(word)
    assert f"treadle: agent it is not logged in: {says}" in login.said(status=1)


@linux_only
def test_ctrl_c_ends_an_agent_that_logs_in_with_all_that_it_has_started(login: Login, on_terminal: OnTerminal) -> None:
    login.offering("login-waits")
    terminal = on_terminal()
    terminal.until("waiting for the browser")
    terminal.press(CTRL_C)
    assert terminal.status() == 130
    assert_end(login.pids.read_text())
    assert LOGGED_IN not in terminal.printed


# A program on the terminal


@pytest.mark.parametrize(
    ("word", "method", "place"), [("login-terminal", "tty", "the terminal"), ("login-older", "older", "an older one")]
)
def test_the_program_of_a_login_has_the_terminal_with_its_arguments_and_variables(
    login: Login, on_terminal: OnTerminal, word: str, method: str, place: str
) -> None:
    login.offering(word)
    terminal = on_terminal("--method", method)
    terminal.until(f"Your key, at {place}: ")
    terminal.press(b"right\n")
    assert terminal.status() == 0
    assert LOGGED_IN in terminal.printed


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (b"wrong\n", "its program exited with status 4"),
        (b"kill\n", "its program was ended by SIGKILL"),
        (b"nothing\n", "it says so itself, but the agent refused session/new"),
    ],
)
def test_a_program_that_fails_or_changes_nothing_is_no_login(
    login: Login, on_terminal: OnTerminal, key: bytes, says: str
) -> None:
    login.offering("login-terminal")
    terminal = on_terminal("--method", "tty")
    terminal.until("Your key")
    terminal.press(key)
    assert terminal.status() == 1
    assert f"treadle: agent it is not logged in: {says}" in terminal.printed
    assert LOGGED_IN not in terminal.printed


def test_ctrl_c_ends_the_program_of_a_login(login: Login, on_terminal: OnTerminal) -> None:
    login.offering("login-terminal")
    terminal = on_terminal("--method", "tty")
    terminal.until("Your key")
    terminal.press(CTRL_C)
    assert terminal.status() == 130
    assert_end(login.pids.read_text())
    assert LOGGED_IN not in terminal.printed


# The choice


def test_the_way_to_log_in_is_chosen_from_a_list(login: Login, on_terminal: OnTerminal) -> None:
    login.offering("login-terminal")
    terminal = on_terminal()
    terminal.until("Which one? 1 to 2: ")
    assert "1  API key\r\n2  On the terminal: asks for a key\r\n" in terminal.printed
    terminal.press(b"3\n2\n")
    terminal.until("Your key")
    terminal.press(b"right\n")
    assert terminal.status() == 0
    assert terminal.printed.count("Which one?") == 2


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "treadle agents login: --method is missing: there are key, tty"),
        (("--method", "none"), 2, "treadle agents login: agent it has no login 'none': there are key, tty"),
        (("--method", "tty"), 1, "treadle: the login 'tty' runs a program of the agent: it needs a terminal"),
    ],
)
def test_without_a_terminal_a_login_that_needs_one_is_told(
    login: Login, arguments: tuple[str, ...], status: int, says: str
) -> None:
    login.offering("login-terminal")
    assert login.said(*arguments, status=status) == f"{says}\n"


def test_an_agent_without_a_login_is_told(login: Login) -> None:
    login.offering("no-login")
    assert "agent it offers no login that treadle can start: log in with the program of" in login.said(status=1)


def test_an_agent_that_is_not_configured_is_told(login: Login) -> None:
    login.configure()
    assert login.said(status=1) == "treadle: agent 'it' is not configured: `treadle agents` lists those that are\n"
