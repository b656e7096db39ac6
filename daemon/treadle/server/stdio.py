"""Non-blocking reads and writes on file descriptors: pipes, sockets, terminals, files. No thread, no protocol.

O_NONBLOCK belongs to the open file description, which the parent process or a shell may share, so it is never set on a
given descriptor. Pipes and terminals are reopened for writing if possible, to get a file description of our own. Every
other read or write is made only when it does not block.
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
_TURN_BYTES: Final = 1024 * 1024  # written before control returns to the event loop
_CALL_BYTES: Final = 4096  # a system call takes about as long as writing this many bytes
_END: Final = getattr(select, "POLLRDHUP", 0)  # Linux: the peer has closed a socket for writing
_LOOK: Final = 1.0  # seconds between checks whether the peer has closed its end, while nothing is written


class FdReader:
    """Reads from `fd`, which the caller owns and closes. One read at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN | _END)
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """Wait for input and return up to 256 KiB; empty at the end of input, after a hang-up, or when closed."""
        while not self._closed:
            if self._is_ready():
                await asyncio.sleep(0)  # endless input must not starve other tasks
            else:
                await self._wait()
            if self._closed:
                break
            try:
                return os.read(self._fd, _READ_BYTES)
            except BlockingIOError:  # another process set O_NONBLOCK and read the input first
                await asyncio.sleep(0)
            except OSError:  # EIO: the terminal hung up; ECONNRESET, EBADF
                break
        return b""

    @property
    def is_all(self) -> bool:
        """Whether the other end is closed for writing, though input may be left to read. Always False for a file."""
        return any(event & (select.POLLHUP | _END) for _, event in self._poll.poll(0))

    def close(self) -> None:
        """Stop reading; a pending read returns empty."""
        self._closed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _is_ready(self) -> bool:
        """Whether a read would not block. Files and devices that selectors do not support are always ready."""
        return any(event & ~select.POLLNVAL for _, event in self._poll.poll(0))

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        try:
            loop.add_reader(self._fd, _wake, waiter)
        except (OSError, ValueError):
            return  # the read reports the error
        try:
            await waiter
        finally:
            loop.remove_reader(self._fd)
            self._waiter = None


class FdWriter:
    """Writes to `fd`, which the caller owns and closes. Data that cannot be written yet is buffered, in order.

    pending_bytes: the size of the buffer. broken: whether the other end was closed. Data written after that, or after
    `close`, is dropped silently.
    """

    def __init__(self, fd: int, high_water: int = 8 * 1024 * 1024) -> None:
        self.pending_bytes = 0
        self.broken = False
        self._fd = fd
        self._high_water = high_water
        self._send, self._release = _open_sink(fd)
        self._chunks: deque[bytes] = deque()
        self._head = memoryview(b"")  # the rest of the chunk that is being written
        self._is_flush_due = False
        self._watching: asyncio.AbstractEventLoop | None = None  # calls _flush when the descriptor is writable
        self._drained: list[tuple[int, asyncio.Future[None]]] = []
        self._closed = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Buffer `data` to be written. Never blocks; data of one iteration of the event loop is written together."""
        if self._closed.is_set() or not data:
            return
        self._chunks.append(data)
        self.pending_bytes += len(data)
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    async def drain(self, below: int | None = None) -> None:
        """Wait until no more than `below` bytes (default: `high_water`) are pending, or the writer is closed."""
        bound = self._high_water if below is None else below
        if self.pending_bytes > bound:
            waiter = asyncio.get_running_loop().create_future()
            self._drained.append((bound, waiter))
            await waiter

    async def wait_closed(self) -> None:
        """Wait until the other end is closed (`broken`), or `close` was called."""
        # Polled: a reader on the event loop would spin on a socket that is also stdin and has unread input.
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
        """Write pending data until it times out after `timeout` seconds, drop the rest, and close."""
        try:
            async with asyncio.timeout(timeout):
                await self.drain(0)
        except TimeoutError:
            pass
        self.close()

    def close(self) -> None:
        """Drop pending data and stop writing."""
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
        except OSError:  # EPIPE, ECONNRESET, EIO, EBADF, ENOSPC: no more answers can be sent
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
        """Schedule a flush for when the descriptor is writable."""
        if self._watching is not None:
            return
        loop = asyncio.get_running_loop()
        try:
            loop.add_writer(self._fd, self._flush)
            self._watching = loop
        except (OSError, ValueError):  # a file: selectors do not support it (EPERM), and it is always writable
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
    """A function that writes part of a buffer to `fd` or raises BlockingIOError, and a function that cleans up."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        mode = 0  # the write reports the error
    if stat.S_ISSOCK(mode):
        duplicate = socket.socket(fileno=os.dup(fd))
        return lambda buffer: duplicate.send(buffer, socket.MSG_DONTWAIT), duplicate.close
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return lambda buffer: os.write(fd, buffer[:_TURN_BYTES]), _nothing
    is_terminal = os.isatty(fd)
    try:
        own = _reopen_terminal(fd) if is_terminal else _reopen_pipe(fd)
    except OSError:
        # For a writable terminal, only a write of one byte is guaranteed not to block.
        return _polled(fd, 1 if is_terminal else select.PIPE_BUF), _nothing
    return lambda buffer: os.write(own, buffer), lambda: os.close(own)


def _polled(fd: int, at_once: int) -> Callable[[memoryview], int]:
    """A function that polls `fd` and writes up to `at_once` bytes if it is writable, so that the write cannot block.

    For a pipe, PIPE_BUF bytes are guaranteed: https://docs.python.org/3/library/select.html#select.PIPE_BUF
    """
    poll = select.poll()
    poll.register(fd, select.POLLOUT)

    def send(buffer: memoryview) -> int:
        if not poll.poll(0):
            raise BlockingIOError
        return os.write(fd, buffer[:at_once])

    return send


def _reopen_terminal(fd: int) -> int:
    """Reopen the terminal with O_NONBLOCK, as an open file description of our own. Raises OSError."""
    name = os.ttyname(fd)
    if name.endswith("ptmx"):  # the controlling side: opening this name creates a new terminal
        raise OSError
    return os.open(name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)


def _reopen_pipe(fd: int) -> int:
    """Reopen the pipe with O_NONBLOCK, as an open file description of our own. Linux only: proc(5), /proc/pid/fd."""
    return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)


def _nothing() -> None:
    pass
