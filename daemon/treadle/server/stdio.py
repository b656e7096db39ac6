"""Reading and writing file descriptors from asyncio: pipes, sockets, terminals, files. No thread, no protocol.

O_NONBLOCK belongs to the open file, which the parent process or a shell may share: it is never set on a descriptor
that was given. What can be opened once more, as a file of ours, is written through that; each other read and write here
is of a kind that does not block as things are.
"""

import asyncio
import contextlib
import os
import select
import socket
import stat
from collections import deque
from collections.abc import Callable
from typing import Final

_READ_BYTES: Final = 256 * 1024
_JOIN_BYTES: Final = 64 * 1024  # smaller chunks are joined up to this
_TURN_BYTES: Final = 1024 * 1024  # then the loop has its turn
_CALL_BYTES: Final = 4096  # as much as a call of the system costs the time of
_END: Final = getattr(select, "POLLRDHUP", 0)  # Linux: the other side of a socket writes no more
_LOOK: Final = 1.0  # seconds between looks at whether the other side is still there, while nothing is written


class FdReader:
    """Reads `fd`, which stays its owner's to close. One read at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN | _END)
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """What has come, at most 256 KiB; waits for some. Empty at the end of input, after a hang-up, when closed."""
        while not self._closed:
            if self._is_ready():
                await asyncio.sleep(0)  # input that never runs dry must not keep the loop to itself
            else:
                await self._wait()
            if self._closed:
                break
            try:
                return os.read(self._fd, _READ_BYTES)
            except BlockingIOError:  # another process has O_NONBLOCK set, and took what there was
                await asyncio.sleep(0)
            except OSError:  # EIO: the terminal hung up; ECONNRESET, EBADF
                break
        return b""

    @property
    def is_all(self) -> bool:
        """Whether nobody can write there any more; some may still have to be read. Of a file nobody knows."""
        return any(event & (select.POLLHUP | _END) for _, event in self._poll.poll(0))

    def close(self) -> None:
        """End what is being read, and all reading."""
        self._closed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _is_ready(self) -> bool:
        """Files and devices that no selector takes are always ready."""
        return any(event & ~select.POLLNVAL for _, event in self._poll.poll(0))

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        try:
            loop.add_reader(self._fd, _wake, waiter)
        except (OSError, ValueError):
            return  # reading will say what it is
        try:
            await waiter
        finally:
            loop.remove_reader(self._fd)
            self._waiter = None


class FdWriter:
    """Writes to `fd`, which stays its owner's to close, in the order of the calls; what cannot be written yet is kept.

    `pending_bytes` is how much that is. `broken` is true once the other side is gone; then, as after closing, what is
    written is dropped in silence.
    """

    def __init__(self, fd: int, high_water: int = 8 * 1024 * 1024) -> None:
        self.pending_bytes = 0
        self.broken = False
        self._fd = fd
        self._high_water = high_water
        self._send, self._release = _open_sink(fd)
        self._chunks: deque[bytes] = deque()
        self._head = memoryview(b"")  # what is being written, before the chunks
        self._is_flush_due = False
        self._watching: asyncio.AbstractEventLoop | None = None  # it calls _flush when the descriptor takes more
        self._drained: list[tuple[int, asyncio.Future[None]]] = []
        self._closed = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Take `data`. Never blocks; what is taken in one turn of the loop is written together."""
        if self._closed.is_set() or not data:
            return
        self._chunks.append(data)
        self.pending_bytes += len(data)
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    async def drain(self, below: int | None = None) -> None:
        """Wait until no more than `below` bytes (`high_water` if unsaid) are pending, or it is closed."""
        bound = self._high_water if below is None else below
        if self.pending_bytes > bound:
            waiter = asyncio.get_running_loop().create_future()
            self._drained.append((bound, waiter))
            await waiter

    async def wait_closed(self) -> None:
        """Wait until the other side is gone (`broken`), or until it was closed from here."""
        # Not by a reader on the loop: that would spin on a socket which is also stdin and has input that waits.
        poll = select.poll()
        poll.register(self._fd, 0)
        while not self._closed.is_set():
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                self.broken = True
                self.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._closed.wait()

    async def flush_and_close(self, timeout: float) -> None:
        """Write what is pending, for `timeout` seconds at most; drop the rest."""
        try:
            async with asyncio.timeout(timeout):
                await self.drain(0)
        except TimeoutError:
            pass
        self.close()

    def close(self) -> None:
        """Drop what is pending, now."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._chunks.clear()
        self._head = memoryview(b"")
        self.pending_bytes = 0
        self._rest()
        self._release()
        self._wake_drained()

    def _flush(self) -> None:
        if self._closed.is_set():
            return
        left = _TURN_BYTES
        try:
            while self.pending_bytes and left > 0:
                if not self._head:
                    self._head = self._next_head()
                sent = self._send(self._head)
                self._head = self._head[sent:]
                self.pending_bytes -= sent
                left -= max(sent, _CALL_BYTES)
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, ECONNRESET, EIO, EBADF, ENOSPC: no answer can be given any more
            self.broken = True
            self.close()
            return
        if self.pending_bytes:
            self._flush_again()
        else:
            self._rest()
        self._wake_drained()

    def _next_head(self) -> memoryview:
        parts = [self._chunks.popleft()]
        size = len(parts[0])
        while self._chunks and size + len(self._chunks[0]) <= _JOIN_BYTES:
            parts.append(self._chunks.popleft())
            size += len(parts[-1])
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))

    def _flush_again(self) -> None:
        """As soon as the descriptor takes more."""
        if self._watching is not None:
            return
        loop = asyncio.get_running_loop()
        try:
            loop.add_writer(self._fd, self._flush)
            self._watching = loop
        except (OSError, ValueError):  # a file: no selector takes it (EPERM), and it takes more at once
            loop.call_soon(self._flush)

    def _rest(self) -> None:
        self._is_flush_due = False
        if self._watching is not None:
            self._watching.remove_writer(self._fd)
            self._watching = None

    def _wake_drained(self) -> None:
        waiting = self._drained
        self._drained = [entry for entry in waiting if entry[0] < self.pending_bytes]
        for bound, waiter in waiting:
            if bound >= self.pending_bytes:
                _wake(waiter)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _open_sink(fd: int) -> tuple[Callable[[memoryview], int], Callable[[], None]]:
    """What writes some of a buffer to `fd` without blocking, or raises BlockingIOError; and what to call at the end."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        mode = 0  # writing will say what it is
    if stat.S_ISSOCK(mode):
        duplicate = socket.socket(fileno=os.dup(fd))
        return lambda buffer: duplicate.send(buffer, socket.MSG_DONTWAIT), duplicate.close
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return lambda buffer: os.write(fd, buffer[:_TURN_BYTES]), _nothing
    is_terminal = os.isatty(fd)
    try:
        own = _reopen_terminal(fd) if is_terminal else _reopen_pipe(fd)
    except OSError:
        # A terminal that is ready for writing promises to take something, not how much.
        return _polled(fd, 1 if is_terminal else select.PIPE_BUF), _nothing
    return lambda buffer: os.write(own, buffer), lambda: os.close(own)


def _polled(fd: int, at_once: int) -> Callable[[memoryview], int]:
    """A write of up to `at_once` bytes does not block where poll says that the descriptor is ready.

    For a pipe that holds for PIPE_BUF bytes: https://docs.python.org/3/library/select.html#select.PIPE_BUF
    """
    poll = select.poll()
    poll.register(fd, select.POLLOUT)

    def send(buffer: memoryview) -> int:
        if not poll.poll(0):
            raise BlockingIOError
        return os.write(fd, buffer[:at_once])

    return send


def _reopen_terminal(fd: int) -> int:
    """The same terminal as an open file of ours, which may have O_NONBLOCK."""
    name = os.ttyname(fd)
    if name.endswith("ptmx"):  # the controlling side: opening that name makes another terminal
        raise OSError
    return os.open(name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)


def _reopen_pipe(fd: int) -> int:
    """The same pipe as an open file of ours, which may have O_NONBLOCK: proc(5), /proc/pid/fd. Linux alone has it."""
    return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)


def _nothing() -> None:
    pass
