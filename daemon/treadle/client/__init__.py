"""The Python client: spawns a daemon or uses the pipes of one, calls its methods, follows its topics.

Each method of the protocol is a method of `Client` and takes the fields of its params by name: `thread_list(limit=5)`.
Commands are structs: `dispatch(StartTurn(thread_id="t", prompt="Hello?"))`.
"""

import asyncio
import contextlib
import os
import stat
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import msgspec

from treadle.client.connection import Connection, Disconnected, RemoteError
from treadle.client.following import Change, Following, Subscription, Upsert, known
from treadle.client.replica import OutOfStep, Replica
from treadle.contract import methods as endpoints
from treadle.contract.framing import Framing
from treadle.contract.methods import Endpoint
from treadle.contract.params import OpenParams
from treadle.contract.results import AppendChange, Dispatched, Initialized, RemoveChange, ThreadSnapshot
from treadle.domain.commands import Command
from treadle.domain.ids import Topic

__all__ = [
    "AppendChange",
    "Change",
    "Client",
    "Disconnected",
    "Following",
    "Framing",
    "OutOfStep",
    "RemoteError",
    "RemoveChange",
    "Replica",
    "Subscription",
    "ThreadSnapshot",
    "Upsert",
    "connect",
]

DAEMON = (sys.executable, "-P", "-m", "treadle", "serve")

P = ParamSpec("P")
R = TypeVar("R")

Pipes = tuple[asyncio.StreamReader, asyncio.StreamWriter] | tuple[int, int]


class Call(Generic[P, R]):
    """A method of the protocol as a method of the client, with the fields of its params as arguments."""

    def __init__(self, endpoint: Endpoint[P, R]) -> None:
        self.endpoint = endpoint
        self.__doc__ = endpoint.summary

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, client: "Client | None", owner: type) -> Self | Callable[P, Coroutine[Any, Any, R]]:
        if client is None:
            return self
        endpoint = self.endpoint

        def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            return client.ask(endpoint.name, endpoint.params(*args, **kwargs), endpoint.result)

        call.__doc__ = endpoint.summary
        return call


class Client:
    """A client of one daemon.

    info: the answer to `initialize`. connection: the JSON-RPC connection; `connection.inbox()` has the notifications
    that belong to no subscription.
    """

    info: Initialized

    initialize = Call(endpoints.INITIALIZE)
    shutdown = Call(endpoints.SHUTDOWN)
    dispatch_batch = Call(endpoints.DISPATCH_BATCH)
    project_open = Call(endpoints.PROJECT_OPEN)
    project_list = Call(endpoints.PROJECT_LIST)
    thread_list = Call(endpoints.THREAD_LIST)
    thread_read = Call(endpoints.THREAD_READ)
    message_read = Call(endpoints.MESSAGE_READ)
    activity_read = Call(endpoints.ACTIVITY_READ)
    turn_list = Call(endpoints.TURN_LIST)
    checkpoint_list = Call(endpoints.CHECKPOINT_LIST)
    prompt_list = Call(endpoints.PROMPT_LIST)
    approval_list = Call(endpoints.APPROVAL_LIST)
    session_list = Call(endpoints.SESSION_LIST)
    rule_list = Call(endpoints.RULE_LIST)
    agent_list = Call(endpoints.AGENT_LIST)
    checkpoint_create = Call(endpoints.CHECKPOINT_CREATE)
    checkpoint_diff = Call(endpoints.CHECKPOINT_DIFF)
    checkpoint_restore = Call(endpoints.CHECKPOINT_RESTORE)
    provenance_find = Call(endpoints.PROVENANCE_FIND)
    worktree_apply = Call(endpoints.WORKTREE_APPLY)
    worktree_discard = Call(endpoints.WORKTREE_DISCARD)
    setting_list = Call(endpoints.SETTING_LIST)
    event_list = Call(endpoints.EVENT_LIST)
    search_query = Call(endpoints.SEARCH)
    subscription_open = Call(endpoints.SUBSCRIPTION_OPEN)
    subscription_close = Call(endpoints.SUBSCRIPTION_CLOSE)
    erasure_status = Call(endpoints.ERASURE_STATUS)
    daemon_status = Call(endpoints.STATUS)
    rpc_discover = Call(endpoints.DISCOVER)

    def __init__(self, connection: Connection, process: asyncio.subprocess.Process | None = None) -> None:
        self.connection = connection
        self._process = process

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The daemon's process. Raises ValueError if this client did not spawn it."""
        if self._process is None:
            raise ValueError("this client was given pipes: the process behind them is not its own")
        return self._process

    async def dispatch(self, command: Command) -> Dispatched:
        """Send one command. It is written before the first await, so commands are executed in the order of calls."""
        return await self.ask(endpoints.DISPATCH.name, command, endpoints.DISPATCH.result)

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Call any method; return its result as plain values. Raises RemoteError and Disconnected."""
        return await self.connection.call(method, params)

    async def ask(self, method: str, params: object, result: type[R]) -> R:
        """Call a method; return its result as a struct, without kinds of events and changes from a newer release."""
        return msgspec.convert(known(await self.connection.call(method, params)), result)

    async def subscribe(
        self,
        topic: Topic,
        *,
        thread_id: str | None = None,
        turn_limit: int = 50,
        after_sequence: int | None = None,
        replica: Replica | None = None,
    ) -> Subscription:
        """Subscribe to a topic. after_sequence: where the topic `events` starts. replica: a kept replica to resume."""
        params = OpenParams(topic=topic, thread_id=thread_id, turn_limit=turn_limit, after_sequence=after_sequence)
        return await Subscription.open(self.connection, params, Replica() if replica is None else replica)

    def follow(self, thread_id: str, *, turn_limit: int = 50, replica: Replica | None = None) -> Following:
        """Follow a thread's changes: `async for change in client.follow(thread_id)`. replica: as in `subscribe`."""
        params = OpenParams(topic="thread", thread_id=thread_id, turn_limit=turn_limit)
        return Following(self.connection, params, Replica() if replica is None else replica)

    async def end(self) -> int:
        """Stop the daemon with LSP's `shutdown` and `exit`; return its exit status."""
        with contextlib.suppress(Disconnected):
            await self.shutdown()
            await self.connection.notify("exit")
            await self.connection.ended()
        return await self.process.wait()

    async def close(self) -> None:
        """Close the daemon's input. If this client spawned it, wait until it has exited and its output is read."""
        await self.connection.close()
        if self._process is None:
            await self.connection.abandon()
        else:
            await asyncio.gather(self._process.wait(), self.connection.ended())


@asynccontextmanager
async def connect(
    data_dir: Path | None = None,
    *arguments: str,
    pipes: Pipes | None = None,
    framing: Framing = Framing.HEADERS,
    command: Sequence[str] = DAEMON,
    initialize: bool = True,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> AsyncIterator[Client]:
    """Spawn a daemon that exits at the end of the block, or connect to a running one behind `pipes`; return a client.

    data_dir: of the spawned daemon; the user's default if None. arguments, env: further arguments and environment
    variables of it. command: run instead of `treadle serve`. start_new_session: Ctrl-C in the terminal does not reach
    the spawned daemon. pipes: to read from and to write to, as streams or descriptors, which are closed at the end of
    the block.
    """
    source: asyncio.BaseTransport | None = None
    if pipes is None:
        where = () if data_dir is None else ("--data-dir", str(data_dir))
        client = await _spawn(
            *command, *where, *arguments, framing=framing, env=env, start_new_session=start_new_session
        )
        hello = {"process_id": os.getpid()}
    elif data_dir is not None or arguments or env is not None:
        raise ValueError("a daemon behind pipes runs already: give its data_dir, arguments and env to who starts it")
    else:
        reader, writer, source = await _streams(pipes)
        client = Client(Connection(reader, writer, framing))
        hello = {}  # the daemon may be on another machine, where our process id is meaningless
    try:
        if initialize:
            client.info = await client.initialize(**hello)
            _compare(client.info.protocol_version)
            await client.connection.notify("initialized")
        yield client
    finally:
        await client.close()
        if source is not None:
            source.close()


def _compare(version: int) -> None:
    if version > endpoints.PROTOCOL_VERSION:
        ours = endpoints.PROTOCOL_VERSION
        warnings.warn(
            f"the daemon speaks version {version} of the protocol, this client knows {ours}: use that of its release",
            stacklevel=2,
        )


async def _spawn(*command: str, framing: Framing, env: Mapping[str, str] | None, start_new_session: bool) -> Client:
    process = await asyncio.create_subprocess_exec(
        *command,
        start_new_session=start_new_session,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=None if env is None else {**os.environ, **env},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    return Client(Connection(process.stdout, process.stdin, framing), process)


async def _streams(
    pipes: Pipes,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.BaseTransport | None]:
    """The reader, the writer, and a transport that must be closed in addition to the writer, if there is one."""
    source, to = pipes
    if isinstance(source, asyncio.StreamReader) and isinstance(to, asyncio.StreamWriter):
        return source, to, None
    assert isinstance(source, int)
    assert isinstance(to, int)
    if stat.S_ISSOCK(os.fstat(to).st_mode):  # asyncio takes a socket for closed as soon as it has input
        raise ValueError("a socket is no pipe: give the streams of asyncio.open_connection(sock=...)")
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", 0))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(to, "wb", 0)
    )
    return reader, asyncio.StreamWriter(transport, protocol, None, loop), reading
