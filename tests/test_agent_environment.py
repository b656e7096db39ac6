"""An agent gets the PATH of the user's shell if treadle was started with that of the system, as from a desktop."""

import logging
import os
from pathlib import Path

import pytest

from support import needs
from treadle.agents import environment
from treadle.agents.config import AgentConfig
from treadle.agents.environment import environment_for, path_of_shell
from treadle.agents.process import AgentProcess

SYSTEM = "/usr/local/bin:/usr/bin:/bin"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user whose treadle was started from a desktop."""
    environment._asked.cache_clear()
    for name, value in {"HOME": tmp_path, "ZDOTDIR": tmp_path, "XDG_CONFIG_HOME": tmp_path / ".config"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PATH", SYSTEM)
    return tmp_path


def shell(folder: Path, *lines: str) -> str:
    """A program that is called as a shell is."""
    program = folder / "shell"
    program.write_text("\n".join(("#!/bin/sh", *lines, 'eval "$4"', "")))
    program.chmod(0o755)
    return str(program)


FILES = {
    "bash": [".bash_profile"],
    "zsh": [".zshrc", ".zprofile"],
    "fish": [".config/fish/config.fish"],
}


@pytest.mark.parametrize(
    ("name", "file"),
    [pytest.param(name, file, marks=needs(name)) for name, files in FILES.items() for file in files],
)
async def test_the_path_that_a_shell_sets_is_found(
    name: str, file: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = home / file
    written.parent.mkdir(parents=True, exist_ok=True)
    assignment = "set -gx PATH '/opt/my tools' $PATH" if name == "fish" else "export PATH='/opt/my tools':$PATH"
    written.write_text(f"echo welcome\n{assignment}\necho done >&2\n")
    monkeypatch.setenv("SHELL", f"/usr/bin/{name}")
    assert (await environment_for({}, "m"))["PATH"].split(":")[0] == "/opt/my tools"


async def test_a_program_that_only_the_shell_finds_is_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = home / "tools"
    tools.mkdir()
    (tools / "my-agent").symlink_to("/bin/cat")
    monkeypatch.setenv("SHELL", shell(home, f'PATH="{tools}:$PATH"; export PATH; echo welcome'))
    agent = await AgentProcess.start(AgentConfig("my-agent"), lambda *_: None)
    await agent.end()


@pytest.mark.parametrize("path", ["/opt/bin:/usr/bin", "/home/ada/.local/bin"])
async def test_a_path_that_somebody_has_set_is_kept(path: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", shell(home, "PATH=/never", "export PATH"))
    monkeypatch.setenv("PATH", path)
    assert (await environment_for({}, "m"))["PATH"] == path
    monkeypatch.setenv("PATH", SYSTEM)
    assert (await environment_for({"PATH": "/configured"}, "m"))["PATH"] == "/configured"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("exec sleep 600",), "has not started within 0.3 s"),
        (("trap '' TERM", "sleep 600"), "has not started within 0.3 s"),
        (("exit 3",), "exited with status 3"),
        (("PATH=", "export PATH"), "exited with status 0"),
    ],
)
def test_a_shell_that_fails_or_hangs_leaves_the_path_as_it_is_with_a_warning(
    lines: tuple[str, ...], says: str, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if "within" in says:
        monkeypatch.setattr(environment, "SHELL_SECONDS", 0.3)
    monkeypatch.setenv("SHELL", shell(home, *lines))
    assert path_of_shell(SYSTEM) == SYSTEM
    [told] = caplog.records
    assert (told.levelno, told.getMessage().endswith(says)) == (logging.WARNING, True)


def test_a_shell_that_does_not_exist_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHELL", "/nowhere/shell")
    assert path_of_shell(SYSTEM) == SYSTEM
    assert "/nowhere/shell cannot be run" in caplog.text


def test_the_shell_is_asked_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = home / "asked"
    monkeypatch.setenv("SHELL", shell(home, f"echo asked >>{asked}"))
    for _ in range(3):
        assert path_of_shell(os.environ["PATH"]) == SYSTEM
    assert asked.read_text() == "asked\n"
