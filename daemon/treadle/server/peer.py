"""Requests to the client. pygls tracks those in flight; it is imported when the first request is sent."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from treadle.server.answers import PeerError
from treadle.server.codec import Response, encode_notification

if TYPE_CHECKING:
    from treadle.server.pygls_protocol import Requests

log = logging.getLogger(__name__)


class Peer:
    """The client as a receiver of requests. write: sends one message, as JSON."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._requests: Requests | None = None
        self._loading: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)

    async def request(self, method: str, params: object) -> Any:
        """Send a request and return its result. Cancelling the caller cancels the request. Raises PeerError."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(), name="import of pygls")
        await asyncio.shield(self._loading)
        if self._requests is None:
            raise PeerError("failed to import pygls")
        id = f"treadle-{next(self._ids)}"
        try:
            return await self._requests.send(id, method, params)
        except asyncio.CancelledError:
            self._requests.forget(id)
            self._write(encode_notification("$/cancelRequest", {"id": id}))
            raise

    def take_answer(self, response: Response) -> None:
        """Receive the client's answer to a request. An answer to an unknown request is ignored."""
        if self._requests is None or not self._requests.take_answer(response):
            log.debug("ignored an answer that no request waits for")

    async def _load(self) -> None:
        try:
            self._requests = await asyncio.to_thread(_requests, self._write)
        except Exception as error:
            log.warning("cannot send requests to the client: failed to import pygls: %s", error)


def _requests(write: Callable[[bytes], None]) -> "Requests":
    from treadle.server.pygls_protocol import Requests

    return Requests(write)
