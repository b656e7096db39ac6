"""Runs git: to ask for the remote of a folder, and as the library that checkpoints are made with."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from treadle.domain.remotes import normalized_remote

TIMEOUT = 2.0  # seconds until git is killed
TERMINATED = 2.0  # seconds from SIGTERM, at which git removes its lock files, to SIGKILL
MAX_OUTPUT = 64 * 1024 * 1024  # bytes of the output of one command
STDERR_BYTES = 8192

QUIET: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
OF_THE_USER: Final = frozenset({"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"})
"""The variables of git that are kept: where the user's settings are, which may say what is ignored. A daemon inherits
others if its editor was started by git, say by a hook, and they lead to that repository."""

OPTIONS: Final = (
    *("-c", "core.hooksPath=/dev/null"),  # `update-index` runs post-index-change, `update-ref` reference-transaction
    *("-c", "core.fsmonitor=false", "-c", "core.splitIndex=false"),
    # With core.trustctime=false, an edit that keeps the size and restores the time would not be seen.
    *("-c", "core.trustctime=true", "-c", "core.checkStat=default"),
    *("-c", "core.safecrlf=false", "-c", "core.quotePath=false", "-c", "core.logAllRefUpdates=false"),
    *("-c", "i18n.commitEncoding=UTF-8"),
)
VARIABLES: Final = {
    "LC_ALL": "C",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",  # a file may be named `:(top)*`
}


class GitError(Exception):
    """Git cannot do what was asked. The message is a sentence.

    kind: `gitMissing`, `gitFailed`, `tooSlow`, `tooMuch`; `noRepository`, `bareRepository`, `folderTooWide`;
    `noCommit`, `noSuchFile`, `noSuchLine`, `fileTooBig`, `changedMeanwhile`, `conflict`, `foreignRef`,
    `foreignWorktree`, `worktreeNotClean`, `worktreeLost`, `hasSubmodules`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Git(Struct, frozen=True):
    """Git in a folder. variables: of its environment, besides those of treadle. descriptors: that it inherits."""

    folder: Path
    variables: Mapping[str, str] = {}
    descriptors: tuple[int, ...] = ()

    def with_variables(self, **variables: str | Path) -> "Git":
        """The same, with these variables as well."""
        return replace(self, variables={**self.variables, **{name: str(value) for name, value in variables.items()}})

    async def run(self, *arguments: str | bytes, stdin: bytes = b"", limit: int = MAX_OUTPUT) -> bytes:
        """Run a command of git; return what it prints. If this is cancelled, git and what it has started are ended.

        Raises GitError (`gitMissing`; `gitFailed` if it exits with another status than 0; `tooMuch`).
        """
        output, whole = await self.start_of_output(*arguments, stdin=stdin, limit=limit)
        if not whole:
            raise GitError("tooMuch", f"git {arguments[0]!s} printed more than {limit:,} bytes")
        return output

    async def start_of_output(
        self, *arguments: str | bytes, stdin: bytes = b"", limit: int = MAX_OUTPUT
    ) -> tuple[bytes, bool]:
        """As `run`, but of a longer output return the first `limit` bytes and False, and end git."""
        try:
            process = await asyncio.create_subprocess_exec(
                *("git", *OPTIONS, "-C", self.folder, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment() | VARIABLES | dict(self.variables),
                start_new_session=True,
                pass_fds=self.descriptors,
            )
        except OSError as error:
            raise GitError("gitMissing", f"git cannot be run: {error.strerror}") from None
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.TaskGroup() as others:
                errors_read = others.create_task(_read_last(process.stderr))
                others.create_task(_write(process.stdin, stdin))
                output = await _read(process.stdout, limit)
                if len(output) > limit:  # git waits until somebody reads on: the others end with it
                    await _end(process)
                    return output[:limit], False
            errors, status = errors_read.result(), await process.wait()
        except BaseException:
            await asyncio.shield(_end(process))
            raise
        if status != 0:
            lines = errors.decode(errors="replace").strip().splitlines() or [f"it exited with status {status}"]
            said = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
            raise GitError("gitFailed", f"git {arguments[0]!s} failed: {said.removeprefix('fatal: ')}")
        return output, True


async def together(*runs: Coroutine[Any, Any, bytes]) -> list[bytes]:
    """The outputs of commands that run at the same time. Waits for all; then raises the first GitError, if any."""
    outputs = list[bytes]()
    for output in await asyncio.gather(*runs, return_exceptions=True):
        if isinstance(output, BaseException):
            raise output
        outputs.append(output)
    return outputs


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """End what is done within the block once the time has passed. Raises GitError (`tooSlow`)."""
    try:
        async with asyncio.timeout(seconds) as timer:
            yield timer
    except TimeoutError:
        raise GitError("tooSlow", f"git did not finish within {seconds:g} seconds") from None


async def _read(stream: asyncio.StreamReader, limit: int) -> bytes:
    """What the stream holds, until its end or until it is more than `limit` bytes."""
    pieces, length = list[bytes](), 0
    while length <= limit and (piece := await stream.read(1 << 18)):
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)


async def _read_last(stream: asyncio.StreamReader) -> bytes:
    last = b""
    while piece := await stream.read(1 << 16):
        last = (last + piece)[-STDERR_BYTES:]
    return last


async def _write(stream: asyncio.StreamWriter, text: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # git has exited, and says why
        stream.write(text)
        await stream.drain()
        stream.close()  # not wait_closed(): if that is cancelled, so is a future that asyncio sets later


async def _end(process: asyncio.subprocess.Process) -> None:
    """End git and what it has started. A process that waits for a dead disk is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: PermissionError for a zombie
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERMINATED):
                await process.wait()
    # Its output was not read to the end: the pipe is open until this, at the latest after the end of the loop.
    process._transport.close()  # type: ignore[attr-defined]


def remote_of(folder: Path) -> str | None:
    """The normalised remote `origin` of a folder in a repository; None if there is none, or git cannot tell."""
    top = next((above for above in (folder, *folder.parents) if os.path.lexists(above / ".git")), None)
    if top is None:
        return None  # without starting a process
    # The folder within the repository is the path below `.git`, since git may look no further up than that.
    below = "" if folder == top else folder.relative_to(top).as_posix()
    url = _output("config", "--get", "remote.origin.url", folder=top)
    return None if url is None else normalized_remote(url, below)


def _output(*arguments: str, folder: Path) -> str | None:
    """What git prints, without the line's end; None if it fails, is missing, or takes too long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment() | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
            timeout=TIMEOUT,
            check=True,
        )
        return done.stdout.decode().removesuffix("\n")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in OF_THE_USER}
    return kept | QUIET
