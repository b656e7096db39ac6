"""`treadle acp`: start an agent for an editor, and record what they say."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.cli.options import Commands, data_dir_of

if TYPE_CHECKING:
    from treadle.recorder.launch import PipeEnds

MORE = """\
An editor starts this in place of the agent. The agent gets every byte of the editor and the editor every byte of the
agent; what they say is recorded, and shows in `treadle threads` while it is said. Nothing that happens to the database
reaches the editor or the agent. In a terminal, as to log in, the agent is started and nothing is recorded.
"""
EXAMPLE = """\
treadle acp -- claude-agent-acp
treadle acp --agent opencode -- opencode acp
"""


def add(commands: Commands) -> None:
    command = commands.add("acp", "record what an editor and its agent say", run, more=MORE, example=EXAMPLE)
    command.usage = "treadle acp [-h] [--data-dir DIR] [--agent NAME] [--log-file FILE] -- COMMAND [ARGUMENT ...]"
    command.after_dashes = "the agent's command and its arguments"
    command.add_argument(
        "--agent", metavar="NAME", help="the tool that the threads are from (default: what the agent calls itself)"
    )
    command.add_argument("--log-file", type=Path, metavar="FILE", help="write the log of the recording to this file")
    command.set_defaults(command=command, at_once=True)


def run(options: argparse.Namespace) -> int:
    import os

    from treadle.recorder.launch import become, launch

    program: list[str] = options.after_dashes
    if not program:
        options.command.error("the agent's command and its arguments follow `--`")
    if os.isatty(0) or "TREADLE_AGENT" in os.environ or _records_itself(program):
        become(program)
    try:
        folder = str(Path.cwd())
    except OSError:  # it was deleted
        become(program)
    recording = _Recording(options, folder)
    launch(program, recording.carry, recording.record)


def _records_itself(program: list[str]) -> bool:
    """Whether the program is `treadle acp` again."""
    from itertools import pairwise

    return any(Path(word).name == "treadle" and after == "acp" for word, after in pairwise(program))


class _Recording:
    """What the two processes beside the agent do. See launch."""

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        import os
        import time

        self._options = options
        self._about = {"tool": options.agent, "folder": folder}
        self._name = f"{time.time_ns() // 1_000_000:x}{os.getpid():x}"

    @property
    def _folder(self) -> Path:
        """Of the files. Found out beside the agent, which does not wait for it."""
        return data_dir_of(self._options) / "recordings" / self._name

    def carry(self, ends: "PipeEnds") -> None:
        import os
        from contextlib import suppress

        from treadle.recorder.pump import pump
        from treadle.recorder.spool import SpoolWriter

        os.set_blocking(ends.wake, False)

        def wake() -> None:
            with suppress(BlockingIOError, BrokenPipeError):  # it has been woken, or is gone
                os.write(ends.wake, b"\n")

        pump(ends, lambda: SpoolWriter(self._folder, self._about), wake)

    def record(self, woken: int) -> None:
        import asyncio
        import os

        from treadle.cli.logs import set_up_logging
        from treadle.server.recording import record

        os.nice(5)  # the agent and the editor come first
        set_up_logging(self._options.log_level, self._options.log_file)
        asyncio.run(record(self._folder, self._about, data_dir_of(self._options), woken))
