"""How the client for Python is typed. Only looked at by mypy: in `make check`, and in tests/test_client.py."""

from typing import Any, assert_type

from treadle.client import AppendChange, Client, RemoveChange, ThreadSnapshot, Upsert
from treadle.client.replica import Replica
from treadle.contract.receipts import ErasureStatus
from treadle.contract.results import (
    BatchDispatched,
    ConfiguredAgents,
    Dispatched,
    Initialized,
    Page,
    Status,
    SubscriptionOpened,
    ThreadRead,
)
from treadle.domain.commands import ArchiveThread, CreateThread, StartTurn
from treadle.domain.entities import Checkpoint, Message, Project, Setting, Thread, Turn
from treadle.domain.events import AnyEvent, StoredEvent


async def right(client: Client) -> None:
    answer = await client.dispatch(StartTurn(thread_id="t", prompt="Hello?"))
    assert_type(answer, Dispatched)
    assert_type(answer.events[0].event, AnyEvent)
    assert_type(await client.dispatch_batch(commands=[ArchiveThread(thread_id="t")]), BatchDispatched)
    assert_type(await client.initialize(), Initialized)
    assert_type(await client.project_list(), Page[Project])
    threads = await client.thread_list(project_id="p", archived=False, limit=5)
    assert_type(threads, Page[Thread])
    assert_type(threads.next_cursor, str | None)
    assert_type(await client.thread_read(thread_id="t", turn_limit=3), ThreadRead)
    assert_type(await client.turn_list(thread_id="t"), Page[Turn])
    assert_type(await client.checkpoint_list(thread_id="t"), Page[Checkpoint])
    assert_type(await client.agent_list(), ConfiguredAgents)
    assert_type(await client.setting_list(), Page[Setting])
    assert_type(await client.event_list(after_sequence=3), Page[StoredEvent])
    assert_type(await client.subscription_open(topic="index"), SubscriptionOpened)
    assert_type(await client.erasure_status(), ErasureStatus)
    assert_type(await client.daemon_status(), Status)
    assert_type(await client.rpc_discover(), dict[str, Any])
    assert_type(Replica().all(Message), dict[str, Message])
    async for change in client.follow("t"):
        assert_type(change, ThreadSnapshot | Upsert | AppendChange | RemoveChange)


async def wrong(client: Client) -> None:
    await client.thread_open()  # type: ignore[attr-defined]
    await client.thread_read()  # type: ignore[call-arg]
    await client.thread_read(thread_id=7)  # type: ignore[arg-type]
    await client.thread_list(archve=True)  # type: ignore[call-arg]
    await client.thread_list(7)  # type: ignore[call-arg]
    await client.subscription_open(topic="everything")  # type: ignore[arg-type]
    await client.dispatch("StartTurn")  # type: ignore[arg-type]
    await client.dispatch(CreateThread(title="T"))  # type: ignore[call-arg]
    await client.dispatch(StartTurn(thread_id="t", prompt=None))  # type: ignore[arg-type]
    print((await client.thread_read(thread_id="t")).title)  # type: ignore[attr-defined]
    await client.subscribe("thraed")  # type: ignore[arg-type]
