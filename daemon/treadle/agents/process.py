"""The process of an agent: how it is started, what it prints, and how it ends with all that it has started."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Self

from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig
from treadle.agents.connection import AgentConnection, AgentFailed
from treadle.agents.environment import environment_for
from treadle.agents.orphans import TERMINATED, Records, reap, start_reaper
from treadle.agents.reaper import start_time

CLOSED = 8.0
"""Seconds in which an agent may exit by itself after its input was closed. The slowest known one takes 7."""
DRAIN = 1.0
"""Seconds in which the output of an agent that has exited may end, and the reverse: tools can hold its pipes open."""
MAX_UNREAD_BYTES = 64 * 1024 * 1024
"""What an agent is sent and has not read. One that asks and never reads the answers would fill the memory."""
STDERR_BYTES = 8192
STDERR_LINES = 10

SIGNALS: dict[int, str] = {number: number.name for number in signal.Signals}
"""Most real-time signals are not in it."""


class AgentProcess(asyncio.SubprocessProtocol):
    """A running agent. Must be ended, whether it has exited or not, because its tools may outlive it."""

    connection: AgentConnection

    def __init__(
        self,
        received: Callable[[AgentConnection, AgentMessage], None],
        reaper: asyncio.subprocess.Process,
        mark: str,
        records: Records | None,
        ended: Callable[[str], None],
        told: Callable[[str], None],
    ) -> None:
        self.mark, self.started = mark, ""
        self._received, self._reaper, self._records, self._ended = received, reaper, records, ended
        self._told, self._line = told, b""
        self._stderr = b""
        self._gone: set[int | str] = set()  # descriptors that have ended, and "process"
        self._exited = asyncio.Event()

    @classmethod
    async def start(
        cls,
        agent: AgentConfig,
        received: Callable[[AgentConnection, AgentMessage], None],
        *,
        cwd: Path | None = None,
        records: Records | None = None,
        ended: Callable[[str], None] = lambda reason: None,
        told: Callable[[str], None] = lambda line: None,
    ) -> Self:
        """Start an agent.

        received, ended: see AgentConnection. cwd: the folder that it runs in; None: that of treadle. records: where it
        is recorded, so that it is ended even if treadle and its reaper are killed. told: is called with each line that
        it writes to stderr, and with each that is not a message. Raises AgentFailed.
        """
        mark = secrets.token_hex(16)
        environment = await environment_for(agent.env, mark)
        program = program_of(agent.command, environment.get("PATH"), cwd)
        reaper = await start_reaper(mark, CLOSED, TERMINATED)
        assert reaper.stdin is not None
        try:
            if records is not None:
                records.write(mark, reaper.pid)
            transport, process = await asyncio.get_running_loop().subprocess_exec(
                lambda: cls(received, reaper, mark, records, ended, told),
                *(program, *agent.args),
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
        except BaseException as error:
            reaper.stdin.close()
            await reaper.wait()
            if records is not None:
                records.remove(mark)
            if isinstance(error, OSError | ValueError):  # ValueError: a null byte, an invalid name of a variable
                raise cannot_run(program, error) from None
            raise
        process.started = start_time(transport.get_pid())
        reaper.stdin.write(f"{transport.get_pid()} {process.started}\n".encode())
        if records is not None:
            with contextlib.suppress(OSError):  # the first record has the mark
                records.write(mark, reaper.pid, transport.get_pid())
        return process

    async def end(self) -> None:
        """Close the agent's input and wait until none of its processes is left. Cancelling this does not stop it."""
        self._stdin.close()
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        try:
            is_done = await self._reaper.wait() == 0
        except asyncio.CancelledError:
            self._stop_reading()
            raise
        if not is_done:  # it was killed, or could not end all
            is_done = await reap(self.mark, self._transport.get_pid(), self.started, TERMINATED)
        await self._close()
        if is_done and self._records is not None:
            self._records.remove(self.mark)

    async def leave(self) -> None:
        """Close the agent's input and wait until it has exited. What it has started stays, such as a browser."""
        self._reaper.kill()
        await self._reaper.wait()
        self._stdin.close()
        await self._close()

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSED):
                await self._exited.wait()
        except TimeoutError:  # the reaper may not send signals to it
            self._transport.kill()
            await self._exited.wait()
        self._transport.close()

    def _stop_reading(self) -> None:
        """Close what asyncio would close once the process has exited; if its loop has ended by then, it complains."""
        for number in (1, 2):
            pipe = self._transport.get_pipe_transport(number)
            assert pipe is not None
            pipe.close()

    async def exited(self) -> int:
        """Wait until the agent itself has exited; return its status, negative for a signal. Its tools may live on."""
        await self._exited.wait()
        status = self._transport.get_returncode()
        assert status is not None
        return status

    def pause(self) -> None:
        """Read nothing of what the agent writes until `resume`; it then has to wait. That costs none of its time."""
        self.connection.pause()
        self._stdout.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self.connection.resume()
        self._stdout.resume_reading()
        if self._gone - {2}:
            self._drain()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._transport.get_pid()

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._transport.get_returncode()

    @property
    def stderr(self) -> list[str]:
        """The last lines that the agent wrote to stderr."""
        return [line for line in self._stderr.decode(errors="replace").splitlines() if line.strip()][-STDERR_LINES:]

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        stdin, stdout = transport.get_pipe_transport(0), transport.get_pipe_transport(1)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(stdout, asyncio.ReadTransport)
        self._transport, self._stdin, self._stdout = transport, stdin, stdout
        self.connection = AgentConnection(self._write, self._received, self._ended, self._told)

    def _write(self, data: bytes) -> None:
        if not self._stdin.is_closing():  # asyncio logs a warning about each write to an agent that reads no more
            self._stdin.write(data)
            if self._stdin.get_write_buffer_size() > MAX_UNREAD_BYTES:
                self._stdin.abort()
                self.connection.end("the agent does not read what it is sent")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.connection.feed(data)
        else:
            self._stderr = (self._stderr + data)[-STDERR_BYTES:]
            *lines, self._line = (self._line + data)[-STDERR_BYTES:].split(b"\n")
            for line in lines:
                self._told(line.decode(errors="replace"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd != 0:
            self._note_end_of(fd)

    def process_exited(self) -> None:
        self._exited.set()
        self._note_end_of("process")

    def _note_end_of(self, part: int | str) -> None:
        """The process and its streams end in any order; one of them may not end at all."""
        self._gone.add(part)
        if self._gone == {1, 2, "process"}:
            self._end_connection()
        elif part != 2:
            self._drain()

    def _drain(self) -> None:
        asyncio.get_running_loop().call_later(DRAIN, self._end_drained)

    def _end_drained(self) -> None:
        if not self.connection.is_paused:  # else `resume` drains
            self._end_connection()

    def _end_connection(self) -> None:
        status = self._transport.get_returncode()
        if status is None:
            reason = "the agent closed its output"
        elif status < 0:
            reason = f"the agent was ended by {SIGNALS.get(-status, f'signal {-status}')}"
        else:
            reason = f"the agent exited with status {status}"
        self.connection.end(reason)


def cannot_run(program: str, error: OSError | ValueError) -> AgentFailed:
    """Why a program that was found cannot be run."""
    reason = error.strerror if isinstance(error, OSError) else error
    if isinstance(error, FileNotFoundError):  # not the program, which was found
        reason = "its interpreter (first line) or loader does not exist"
    return AgentFailed(f"{program} cannot be run: {reason}")


def program_of(command: str, path: str | None, cwd: Path | None) -> str:
    """The file of a command. Raises AgentFailed if there is none, or not the folder to run it in."""
    program = shutil.which(command, path=path)
    if program is None:
        place = "is not an executable file" if os.sep in command else "is not on PATH"
        raise AgentFailed(f"{command} {place}")
    if cwd is not None and not cwd.is_dir():
        raise AgentFailed(f"the folder {cwd} does not exist")
    return program
