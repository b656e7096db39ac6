"""The real commands of treadle, on pipes and on a terminal where keys are pressed."""

import json
import os
import subprocess
from pathlib import Path

from checkouts import Checkout
from scripted import Json, Surroundings, scripted
from terminals import Terminal
from wire import PATIENCE, TREADLE


class CommandLine(Surroundings):
    """A data directory with an agent `it`, a folder to work in, and the commands of treadle in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.work = folder / "work"
        self.work.mkdir()
        self.env |= {"SCRIPTED_SESSIONS": str(folder / "sessions"), "TERM": "xterm-256color", "PYTHONPATH": ""}
        self.env.pop("NO_COLOR", None)
        self.configure(it=scripted())

    def words(self, *arguments: str) -> list[str]:
        command, *rest = arguments
        return [*TREADLE, command, "--data-dir", str(self.data_dir), *rest]

    def do(self, *arguments: str, status: int = 0, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """A command to its end, which must be so."""
        done = subprocess.run(
            self.words(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=self.env,
            cwd=self.work,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def said(self, *arguments: str, status: int = 0) -> str:
        """What `treadle run` prints on stderr."""
        return self.do("run", *arguments, status=status).stderr

    def threads(self) -> list[Json]:
        return self.listed("threads")

    def listed(self, *arguments: str) -> list[Json]:
        return [json.loads(line) for line in self.do(*arguments, "--json").stdout.splitlines()]

    def on_terminal(self, *arguments: str, typed: bytes = b"", to_file: Path | None = None) -> Terminal:
        return Terminal(self.words(*arguments), self.env, self.work, typed, to_file)


class InRepository(CommandLine):
    """The folder to work in is a repository, without a commit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.work.rmdir()
        self.checkout = Checkout(self.work, folder)

    def turn(self, prompt: str, *options: str) -> None:
        """A turn of the agent, in a new thread without `--thread`."""
        self.do("run", *options, prompt)

    def output(self, *arguments: str | bytes, status: int = 0, cwd: Path | None = None) -> bytes:
        """What a command prints on stdout, as it is."""
        command, *rest = arguments
        words = [*self.words(os.fsdecode(command)), *rest]
        done = subprocess.run(words, capture_output=True, check=False, env=self.env, cwd=cwd or self.work)
        assert done.returncode == status, done.stderr
        assert b"Traceback" not in done.stderr
        return done.stdout
