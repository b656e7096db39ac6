"""Subscriptions of a client: a topic with its replica, or the changes of one thread as structs."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, cast

import msgspec
from msgspec import Struct

from treadle.client.connection import Connection, Disconnected, RemoteError
from treadle.client.replica import Replica
from treadle.contract.methods import SUBSCRIPTION_CLOSE, SUBSCRIPTION_OPEN
from treadle.contract.params import CloseParams, OpenParams
from treadle.contract.results import AppendChange, RemoveChange, ThreadSnapshot
from treadle.domain.entities import ENTITIES, AnyEntity
from treadle.domain.events import EVENT_TYPES


class Upsert(Struct, frozen=True):
    """An entity was created or changed. value: the whole entity."""

    value: AnyEntity


Change = Upsert | AppendChange | RemoveChange


class Subscription:
    """An open subscription. opened: the answer to subscription/open. replica: kept up to date by `next`."""

    def __init__(self, connection: Connection, opened: dict[str, Any], replica: Replica) -> None:
        self.opened = opened
        self.id: str = opened["subscriptionId"]
        self.replica = replica
        self._connection = connection
        self._inbox = connection.inbox(self.id)
        self.replica.start(opened)

    @classmethod
    async def open(cls, connection: Connection, params: OpenParams, replica: Replica) -> "Subscription":
        """Open a subscription; resume if the replica is not empty. Raises RemoteError and Disconnected."""
        if replica.sequence:
            params = msgspec.structs.replace(params, after_sequence=replica.sequence, log_id=replica.log_id)
        return cls(connection, await connection.call(SUBSCRIPTION_OPEN.name, params), replica)

    async def next(self) -> dict[str, Any]:
        """Wait for the next notification, apply it, and return its params. Raises Disconnected and OutOfStep."""
        params = await self._inbox.get()
        if "changes" in params:
            self.replica.apply(params["changes"], params["sequence"])
        return params

    async def until(self, sequence: int) -> Replica:
        """Wait until the replica has reached the sequence, and return it. Raises as `next`."""
        while self.replica.sequence < sequence:
            await self.next()
        return self.replica

    async def close(self) -> None:
        """Close the subscription."""
        await self._connection.call(SUBSCRIPTION_CLOSE.name, CloseParams(subscription_id=self.id))
        self._connection.drop_inbox(self.id)


class Following:
    """An asynchronous iterator of a thread's snapshot and changes; with a kept replica, of the changes since then.

    Ends when the thread is deleted; raises Disconnected when the daemon has exited. The subscription is closed when the
    iteration ends. replica: the current thread; all changes of one notification are applied to it at once.
    """

    def __init__(self, connection: Connection, params: OpenParams, replica: Replica) -> None:
        self.replica = replica
        self._connection = connection
        self._params = params

    async def __aiter__(self) -> AsyncGenerator[ThreadSnapshot | Change, None]:
        subscription = await Subscription.open(self._connection, self._params, self.replica)
        try:
            told = subscription.opened
            if told["type"] == "snapshot":
                yield msgspec.convert(told["snapshot"], ThreadSnapshot)
                told = await subscription.next()
            while True:
                for change in known(told)["changes"]:
                    yield change_of(change)
                    if change["type"] == "remove" and change["entity"] == "thread":
                        return
                told = await subscription.next()
        finally:
            with contextlib.suppress(Disconnected, RemoteError):
                await subscription.close()


def change_of(change: dict[str, Any]) -> Change:
    """Convert a change to a struct."""
    if change["type"] == "upsert":
        return Upsert(cast(AnyEntity, msgspec.convert(change["value"], ENTITIES[change["entity"]])))
    return msgspec.convert(change, AppendChange | RemoveChange)


def known(answer: Any) -> Any:
    """An answer without the kinds of events and changes that only a newer release knows."""
    if not isinstance(answer, dict):
        return answer
    kept = {
        name: [known(one) for one in answer[name] if not is_new(one)]
        for name in ("events", "items", "results", "changes")
        if isinstance(answer.get(name), list)
    }
    return answer | kept


def is_new(one: dict[str, Any]) -> bool:
    """Whether a stored event or a change is of a kind that this release does not know."""
    if "event" in one:
        return one["event"]["type"] not in EVENT_TYPES
    return one.get("entity", "thread") not in ENTITIES
