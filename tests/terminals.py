"""Commands on a terminal, where keys are pressed."""

import fcntl
import os
import select
import subprocess
import termios
import time
from pathlib import Path

from wire import PATIENCE

CTRL_C = b"\x03"


class Terminal:
    """A command on a terminal that is its own. typed: before it starts. to_file: where its stdout goes instead."""

    def __init__(
        self, words: list[str], env: dict[str, str], cwd: Path, typed: bytes = b"", to_file: Path | None = None
    ) -> None:
        self._ours, self.theirs = os.openpty()
        self.settings = termios.tcgetattr(self.theirs)
        os.write(self._ours, typed)
        with (to_file or Path(os.devnull)).open("wb") as file:
            self.process = subprocess.Popen(
                words,
                stdin=self.theirs,
                stdout=file if to_file else self.theirs,
                stderr=self.theirs,
                env=env,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
        self.printed = ""

    def until(self, text: str) -> str:
        """Wait until it has printed the text; return all that it has printed."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.printed:
            assert select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0], self.printed
            self.printed += os.read(self._ours, 1 << 16).decode(errors="replace")
        return self.printed

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def status(self) -> int:
        """Wait for its end; return the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.printed
            if select.select([self._ours], [], [], 0.05)[0]:
                self.printed += os.read(self._ours, 1 << 16).decode(errors="replace")
        while select.select([self._ours], [], [], 0)[0]:
            self.printed += os.read(self._ours, 1 << 16).decode(errors="replace")
        assert "Traceback" not in self.printed
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)
