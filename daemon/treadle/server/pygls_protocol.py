"""Requests to the client, their ids and futures: the only module that imports pygls.

Only pygls's bookkeeping is used. It would not answer malformed input, and its way of sending would bypass our framing:
hence the overridden private method, and the pin to 2.1 in pyproject.toml.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import Raw
from pygls.exceptions import JsonRpcException
from pygls.protocol import JsonRPCProtocol
from pygls.server import JsonRPCServer

from treadle.contract import errors
from treadle.server.answers import PeerError
from treadle.server.codec import Response, encode_request


class _Protocol(JsonRPCProtocol):
    def __init__(self, server: JsonRPCServer, write: Callable[[bytes], None]) -> None:
        super().__init__(server, cast(Any, None))
        self._write = write

    def _send_data(self, data: Any) -> None:
        self._write(encode_request(data.id, data.method, data.params))

    def take_answer(self, response: Response) -> bool:
        key = cast(Any, response.key)
        if key not in self._request_futures:
            return False
        error = None
        if response.error is not None:
            try:
                error = msgspec.json.decode(response.error, type=errors.ErrorObject)
            except (ValueError, RecursionError):  # codec does not look into what answers hold
                error = errors.ErrorObject(errors.INTERNAL_ERROR, "failed to decode the answer", {})
        self._result_types.pop(key, None)
        self._handle_response(key, response.result, cast(Any, error))
        return True

    def forget(self, id: str) -> None:
        self._request_futures.pop(id, None)
        self._result_types.pop(id, None)


class Requests:
    """The requests to the client that are in flight."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        def protocol(server: JsonRPCServer, converter: Any) -> _Protocol:
            return _Protocol(server, write)

        self._protocol = cast(_Protocol, JsonRPCServer(cast(Any, protocol), cast(Any, lambda: None)).protocol)
        self.forget = self._protocol.forget
        self.take_answer = self._protocol.take_answer

    async def send(self, id: str, method: str, params: object) -> Raw | None:
        """The result, as JSON text. Raises PeerError."""
        try:
            result: Raw | None = await asyncio.wrap_future(self._protocol.send_request(method, params, msg_id=id))
        except JsonRpcException as error:
            raise PeerError(error.message) from error
        return result
