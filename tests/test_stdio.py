"""Real descriptors of every kind: what is written arrives, and a slow or closed peer never blocks the event loop."""

import asyncio
import errno
import fcntl
import os
import select
import socket
import sys
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from treadle.server import stdio
from treadle.server.stdio import FdReader, FdWriter

MEGABYTE = 1024 * 1024
GUARD = 30.0  # seconds until a test that hangs is said to

Ends = tuple[int, int]
WriteTo = Callable[..., FdWriter]


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Closes what a test puts in, and was not closed by it."""
    opened: list[int] = []
    yield opened
    for fd in opened:
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno == errno.EBADF  # noqa: PT017


def pipe() -> Ends:
    return os.pipe()


def sockets() -> Ends:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def terminal() -> Ends:
    controller, process = os.openpty()
    tty.setraw(process)
    return controller, process


def pipe_that_cannot_be_opened_again() -> Ends:
    """As where there is no /proc."""
    return os.pipe()


KINDS = [pipe, pipe_that_cannot_be_opened_again, sockets, terminal]
Kind = Callable[[], Ends]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def ends(request: pytest.FixtureRequest, descriptors: list[int], monkeypatch: pytest.MonkeyPatch) -> Ends:
    """The end to read from and the end to write to."""
    if request.param is pipe_that_cannot_be_opened_again:
        monkeypatch.setattr(stdio, "_reopen_pipe", no_such_file)
    pair: Ends = request.param()
    descriptors.extend(pair)
    return pair


def no_such_file(fd: int) -> int:
    raise FileNotFoundError


@pytest.fixture
async def write_to() -> AsyncIterator[WriteTo]:
    """Makes writers, and closes them."""
    writers: list[FdWriter] = []

    def make(fd: int, high_water: int = 8 * MEGABYTE) -> FdWriter:
        writers.append(FdWriter(fd, high_water))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()


def is_blocking(fd: int) -> bool:
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


def pattern(size: int) -> bytes:
    """Bytes of which no two stretches are alike, so that what is lost, doubled or swapped shows."""
    return b"".join(b"%015d " % number for number in range(size // 16))


async def read_all(fd: int, size: int) -> bytes:
    """The next `size` bytes, or what there is up to the end."""
    reader = FdReader(fd)
    got = bytearray()
    while len(got) < size and (data := await reader.read()):
        got += data
    return bytes(got)


async def arrives(fd: int, content: bytes) -> bool:
    """Whether `content` comes next. Apart from the assert, which would print megabytes."""
    return await read_all(fd, len(content)) == content


class Turns:
    """How often the loop came round while something else went on."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, at_most: int = sys.maxsize) -> None:
        for _ in range(at_most):
            self.count += 1
            await asyncio.sleep(0)


# Reading


async def test_written_bytes_are_read_and_descriptor_flags_stay_unchanged(ends: Ends) -> None:
    source, sink = ends
    reader = FdReader(source)
    async with asyncio.timeout(GUARD):
        os.write(sink, b"one")
        assert await reader.read() == b"one"
        waiting = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        os.write(sink, b"two")
        assert await waiting == b"two"
    assert is_blocking(source)


async def test_every_read_at_end_of_input_is_empty(ends: Ends) -> None:
    source, sink = ends
    reader = FdReader(source)
    os.write(sink, b"last")
    async with asyncio.timeout(GUARD):
        assert await reader.read() == b"last"
        waiting = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        os.close(sink)
        assert await waiting == b""
        assert await reader.read() == b""


async def test_a_terminal_that_hangs_up_is_the_end_of_input(descriptors: list[int]) -> None:
    controller, process = terminal()
    descriptors += [controller, process]
    waiting = asyncio.create_task(FdReader(process).read())
    await asyncio.sleep(0)
    os.close(controller)
    async with asyncio.timeout(GUARD):
        assert await waiting == b""


async def test_reading_a_file_does_not_block_the_event_loop(tmp_path: Path, descriptors: list[int]) -> None:
    content = pattern(4 * MEGABYTE)
    (tmp_path / "in").write_bytes(content)
    descriptors.append(os.open(tmp_path / "in", os.O_RDONLY))
    turns = Turns()
    others = asyncio.create_task(turns())
    assert await arrives(descriptors[0], content)
    assert await read_all(descriptors[0], 1) == b""
    others.cancel()
    assert turns.count >= len(content) // (256 * 1024)


async def test_reading_dev_null_gives_end_of_input(descriptors: list[int]) -> None:
    descriptors.append(os.open(os.devnull, os.O_RDONLY))
    assert await FdReader(descriptors[0]).read() == b""


async def test_a_closed_descriptor_is_at_end_of_input(descriptors: list[int]) -> None:
    source, _sink = pipe()
    descriptors.append(_sink)
    reader = FdReader(source)
    os.close(source)
    async with asyncio.timeout(GUARD):
        assert await reader.read() == b""


async def test_closing_a_reader_ends_a_pending_read(ends: Ends) -> None:
    reader = FdReader(ends[0])
    waiting = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reader.close()
    async with asyncio.timeout(GUARD):
        assert await waiting == b""
        assert await reader.read() == b""
    os.write(ends[1], b"still open")
    assert os.read(ends[0], 100) == b"still open"


async def test_a_cancelled_read_consumes_nothing(ends: Ends) -> None:
    source, sink = ends
    reader = FdReader(source)
    waiting = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    os.write(sink, b"kept")
    async with asyncio.timeout(GUARD):
        assert await reader.read() == b"kept"


async def test_continuous_input_does_not_starve_the_event_loop(ends: Ends) -> None:
    source, sink = ends
    reader, turns = FdReader(source), Turns()
    others = asyncio.create_task(turns())
    async with asyncio.timeout(GUARD):
        for _ in range(100):
            os.write(sink, b"more")
            assert await reader.read() == b"more"
    others.cancel()
    assert turns.count >= 100


async def test_descriptors_already_set_to_non_blocking_work(ends: Ends, write_to: WriteTo) -> None:
    source, sink = ends
    os.set_blocking(source, False)
    os.set_blocking(sink, False)
    writer = write_to(sink)
    content = pattern(MEGABYTE)
    writer.write(content)
    async with asyncio.timeout(GUARD):
        assert await arrives(source, content)


# Writing


async def test_writes_arrive_in_order(ends: Ends, write_to: WriteTo) -> None:
    source, sink = ends
    writer = write_to(sink)
    sizes = [1, 0, 10, 4096, 3, 65536, 100_000, 2, 70_000, 5, 4095, 4097]
    content = pattern(MEGABYTE)
    sent = b""
    for size in sizes:
        writer.write(content[len(sent) : len(sent) + size])
        sent = content[: len(sent) + size]
    assert writer.pending_bytes == len(sent)
    async with asyncio.timeout(GUARD):
        assert await read_all(source, len(sent)) == sent
        await writer.drain(0)
    assert writer.pending_bytes == 0
    assert not writer.broken
    assert is_blocking(sink)


async def test_a_slow_reader_does_not_block_the_event_loop(ends: Ends, write_to: WriteTo) -> None:
    source, sink = ends
    writer, turns = write_to(sink), Turns()
    size = 4 * MEGABYTE if os.isatty(sink) else 50 * MEGABYTE
    content = pattern(size)
    writer.write(content[: size // 2])
    for start in range(size // 2, size, size // 64):
        writer.write(content[start : start + size // 64])
    async with asyncio.timeout(GUARD):
        await turns(1000)
        assert size - MEGABYTE < writer.pending_bytes < size
        turns.count = 0
        others = asyncio.create_task(turns())
        draining = asyncio.create_task(writer.drain(size // 2))
        await asyncio.sleep(0)
        assert not draining.done()
        assert await arrives(source, content)
        await draining
        await writer.drain(0)
    others.cancel()
    assert turns.count > 10
    assert is_blocking(sink)


async def test_writes_in_one_loop_iteration_are_sent_together(descriptors: list[int], write_to: WriteTo) -> None:
    source, sink = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptors += [source.detach(), sink.detach()]
    writer = write_to(descriptors[1])
    for _ in range(100):
        writer.write(b"x" * 10)
    await writer.drain(0)
    assert os.read(descriptors[0], MEGABYTE) == b"x" * 1000  # one packet for one call of the system


async def test_a_reader_that_disappears_breaks_the_writer(ends: Ends, write_to: WriteTo) -> None:
    source, sink = ends
    writer = write_to(sink)
    writer.write(bytes(4 * MEGABYTE))
    closed = asyncio.create_task(writer.wait_closed())
    draining = asyncio.create_task(writer.drain(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not closed.done()
    assert not draining.done()
    os.close(source)
    async with asyncio.timeout(GUARD):
        await closed
        await draining
    assert writer.broken
    assert writer.pending_bytes == 0
    writer.write(b"to nobody")
    assert writer.pending_bytes == 0
    await writer.flush_and_close(GUARD)
    assert writer.broken


async def test_a_reader_already_gone_breaks_the_writer(ends: Ends, write_to: WriteTo) -> None:
    source, sink = ends
    os.close(source)
    writer = write_to(sink)
    writer.write(b"to nobody")
    async with asyncio.timeout(GUARD):
        await writer.wait_closed()
    assert writer.broken


async def test_a_closed_descriptor_breaks_the_writer(descriptors: list[int], write_to: WriteTo) -> None:
    source, sink = pipe()
    descriptors.append(source)
    os.close(sink)
    writer = write_to(sink)
    writer.write(b"nowhere")
    async with asyncio.timeout(GUARD):
        await writer.wait_closed()
    assert writer.broken


async def test_closing_flushes_pending_writes(ends: Ends, write_to: WriteTo) -> None:
    source, sink = ends
    writer = write_to(sink)
    content = pattern(MEGABYTE)
    writer.write(content)
    async with asyncio.timeout(GUARD):
        closing = asyncio.create_task(writer.flush_and_close(GUARD))
        assert await arrives(source, content)
        await closing
        await writer.wait_closed()
    assert not writer.broken
    writer.write(b"too late")
    assert writer.pending_bytes == 0
    os.write(sink, b"still open")
    assert os.read(source, 100) == b"still open"


async def test_closing_times_out_if_the_reader_does_not_read(ends: Ends, write_to: WriteTo) -> None:
    _source, sink = ends
    writer = write_to(sink)
    writer.write(bytes(4 * MEGABYTE))
    async with asyncio.timeout(GUARD):
        await writer.flush_and_close(0.01)
        await writer.wait_closed()
    assert writer.pending_bytes == 0
    assert not writer.broken
    assert not asyncio.get_running_loop().remove_writer(sink)


async def test_a_file_receives_everything_written(tmp_path: Path, descriptors: list[int], write_to: WriteTo) -> None:
    descriptors.append(os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT))
    content = pattern(8 * MEGABYTE)
    writer = write_to(descriptors[0])
    writer.write(content[:5])
    writer.write(content[5:])
    async with asyncio.timeout(GUARD):
        await writer.flush_and_close(GUARD)
    descriptors.append(os.open(tmp_path / "out", os.O_RDONLY))
    assert await arrives(descriptors[1], content)


async def test_dev_null_accepts_everything_written(descriptors: list[int], write_to: WriteTo) -> None:
    descriptors.append(os.open(os.devnull, os.O_WRONLY))
    writer = write_to(descriptors[0])
    writer.write(bytes(8 * MEGABYTE))
    async with asyncio.timeout(GUARD):
        await writer.drain(0)
    assert not writer.broken


async def test_a_full_disk_breaks_the_writer(write_to: WriteTo) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = write_to(fd)
    writer.write(b"too much")
    async with asyncio.timeout(GUARD):
        await writer.wait_closed()
    os.close(fd)
    assert writer.broken


async def test_drain_waits_for_the_high_water_mark_or_the_given_limit(
    descriptors: list[int], write_to: WriteTo
) -> None:
    source, sink = pipe()
    descriptors += [source, sink]
    writer = write_to(sink, high_water=MEGABYTE)
    writer.write(bytes(MEGABYTE))
    await writer.drain()
    writer.write(bytes(MEGABYTE))
    draining = asyncio.create_task(writer.drain())
    async with asyncio.timeout(GUARD):
        await asyncio.sleep(0)
        assert not draining.done()
        assert len(await read_all(source, 2 * MEGABYTE)) == 2 * MEGABYTE
        await draining


async def test_a_cancelled_drain_does_not_affect_other_drains(descriptors: list[int], write_to: WriteTo) -> None:
    source, sink = pipe()
    descriptors += [source, sink]
    writer = write_to(sink)
    writer.write(bytes(MEGABYTE))
    given_up = asyncio.create_task(writer.drain(0))
    draining = asyncio.create_task(writer.drain(0))
    await asyncio.sleep(0)
    given_up.cancel()
    async with asyncio.timeout(GUARD):
        await read_all(source, MEGABYTE)
        await draining


async def test_a_large_chunk_is_not_copied_for_each_partial_write(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch, write_to: WriteTo
) -> None:
    source, sink = pipe()
    descriptors += [source, sink]
    sizes: list[int] = []
    write = os.write

    def watched(fd: int, data: memoryview) -> int:
        assert isinstance(data, memoryview)
        assert data.obj is chunk
        sizes.append(len(data))
        return write(fd, data)

    chunk = bytes(30 * MEGABYTE)
    writer = write_to(sink)
    monkeypatch.setattr(os, "write", watched)
    writer.write(chunk)
    async with asyncio.timeout(GUARD):
        assert len(await read_all(source, len(chunk))) == len(chunk)
    assert sum(sizes) > len(chunk)  # it went out in parts


async def test_a_pipe_that_cannot_be_reopened_is_written_in_pieces_that_cannot_block(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch, write_to: WriteTo
) -> None:
    source, sink = pipe()
    descriptors += [source, sink]
    monkeypatch.setattr(stdio, "_reopen_pipe", no_such_file)
    writer = write_to(sink)
    sizes: list[int] = []
    write = os.write

    def watched(fd: int, data: memoryview) -> int:
        sizes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", watched)
    writer.write(bytes(MEGABYTE))
    async with asyncio.timeout(GUARD):
        assert len(await read_all(source, MEGABYTE)) == MEGABYTE
    assert max(sizes) == select.PIPE_BUF


async def test_a_terminal_that_cannot_be_reopened_is_written_byte_by_byte(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch, write_to: WriteTo
) -> None:
    source, sink = terminal()
    descriptors += [source, sink]

    def refuse(fd: int) -> str:
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr(os, "ttyname", refuse)
    writer = write_to(sink)
    content = pattern(100_000)
    writer.write(content)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert writer.pending_bytes > 0
    async with asyncio.timeout(GUARD):
        assert await arrives(source, content)


async def test_the_controlling_side_of_a_terminal_can_be_written(descriptors: list[int], write_to: WriteTo) -> None:
    controller, process = terminal()
    descriptors += [controller, process]
    writer = write_to(controller)
    content = pattern(50_000)
    writer.write(content)
    async with asyncio.timeout(GUARD):
        assert await arrives(process, content)


async def test_one_descriptor_can_be_both_read_and_written(descriptors: list[int], write_to: WriteTo) -> None:
    ours, theirs = sockets()
    descriptors += [ours, theirs]
    reader, writer = FdReader(ours), write_to(ours)
    waiting = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    content = pattern(MEGABYTE)
    writer.write(content)
    async with asyncio.timeout(GUARD):
        assert await arrives(theirs, content)
        os.write(theirs, b"answer")
        assert await waiting == b"answer"
