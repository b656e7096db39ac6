"""A longer way to a socket: python tests/benchmarks/delay.py LISTEN TARGET MS, until its stdin ends.

Holds what comes for half of MS in each direction. Prints a line once it listens.
"""

import asyncio
import selectors
import sys


class End(asyncio.Protocol):
    """One end of a connection. other: where what it receives goes, later."""

    other: "End"
    transport: asyncio.Transport

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self.other.transport.write, data)

    def connection_lost(self, error: Exception | None) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self.other.transport.close)


async def relay(listen: str, target: str, seconds: float) -> None:
    loop = asyncio.get_running_loop()

    async def accept(client: End) -> None:
        client.transport.pause_reading()
        _, server = await loop.create_unix_connection(lambda: End(seconds), target)
        client.other, server.other = server, client
        client.transport.resume_reading()

    class Accepted(End):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepting.add(task := loop.create_task(accept(self)))
            task.add_done_callback(accepting.discard)

    accepting = set[asyncio.Task[None]]()
    await loop.create_unix_server(lambda: Accepted(seconds), listen)
    print(flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    sys.path.pop(0)
    # select() takes microseconds; the default, epoll, rounds a wait up to the next millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(relay(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 2000))
