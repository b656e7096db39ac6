"""What of a conversation is pygls': the server, the registry of methods, and requests to the client.

Overridden is what it does with a message and how it sends one, for its own way answers malformed input with silence,
makes a class for each message and sends tracebacks; hence the pin to 2.1 in pyproject.toml.
"""

import logging
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from pygls.protocol import JsonRPCProtocol
from pygls.server import JsonRPCServer

from treadle.contract import errors
from treadle.server.codec import Response, encode_request
from treadle.server.session import Conversation, Method, NotificationMethod

log = logging.getLogger(__name__)


class TreadleProtocol(JsonRPCProtocol):
    """The registry, and the futures of what the client was asked."""

    def __init__(self, server: JsonRPCServer, conversation: Conversation) -> None:
        super().__init__(server, cast(Any, None))
        self._conversation = conversation

    def handle_message(self, message: Any) -> None:
        """Where pygls would dispatch a message that it decoded; here it is an answer of codec's."""
        response = cast(Response, message)
        key = response.key
        if key not in self._request_futures:
            log.debug("an answer to what was not asked")
            return
        result, error = None, None
        try:
            if response.error is not None:
                error = msgspec.json.decode(response.error, type=errors.ErrorObject)
            elif response.result is not None:
                result = msgspec.json.decode(response.result)
        except (ValueError, RecursionError):  # codec does not look into what answers hold
            error = errors.ErrorObject(errors.INTERNAL_ERROR, "the answer cannot be decoded", {})
        self._handle_response(cast(Any, key), result, cast(Any, error))

    def notify(self, method: str, params: Any | None = None) -> None:
        """Send a notification."""
        self._conversation.notify(method, params)

    def _send_data(self, data: Any) -> None:
        """What pygls sends by itself: requests to the client."""
        self._conversation.write(encode_request(data.id, data.method, data.params))


class Server(JsonRPCServer):
    """pygls' server, which other code than pygls reads and writes for."""

    protocol: TreadleProtocol

    def __init__(self, conversation: Conversation) -> None:
        def protocol(server: JsonRPCServer, converter: Any) -> TreadleProtocol:
            return TreadleProtocol(server, conversation)

        super().__init__(cast(Any, protocol), cast(Any, lambda: None))

    @property
    def features(self) -> Mapping[str, object]:
        """Every method and notification that there is, by name."""
        return cast(Mapping[str, object], self.protocol.fm.features)

    def take_answer(self, response: Response) -> None:
        """It is the client's, to a request that was sent to it."""
        self.protocol.handle_message(response)

    def add(self, method: Method | NotificationMethod) -> None:
        """Put a method into the registry, which refuses a name that is there already."""
        self.feature(method.name)(cast(Any, method))
