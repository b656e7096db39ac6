"""`initialize` and `rpc.discover`: the methods that need no open database."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

from treadle import __version__
from treadle.contract import methods as endpoints
from treadle.contract import results
from treadle.contract.params import InitializeParams, NoParams
from treadle.domain.ids import TOPICS
from treadle.server.app import Daemon
from treadle.server.codec import MAX_BATCH
from treadle.server.session import Method

log = logging.getLogger(__name__)


class Handshake:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.initialize = method(endpoints.INITIALIZE, self._initialize)
        self.discover = method(endpoints.DISCOVER, self._discover, early=True)

    async def _initialize(self, params: InitializeParams) -> object:
        daemon = self._daemon
        if params.process_id is not None and not daemon.watches_process:
            daemon.watches_process = True
            watch_process(params.process_id, daemon.session.gone)
        daemon.begin_opening(params)
        await daemon.opened()
        return results.Initialized(
            capabilities=results.Capabilities(
                position_encoding=daemon.client.position_encoding,
                subscriptions=list(TOPICS),
                limits=results.Limits(
                    max_message_bytes=daemon.options.max_message_bytes,
                    max_batch=MAX_BATCH,
                    max_subscriptions=daemon.options.subscriptions.max_subscriptions,
                    page_bytes=daemon.options.pages.max_bytes,
                ),
            ),
            server_info=results.ServerInfo("treadle", __version__),
            protocol_version=endpoints.PROTOCOL_VERSION,
            log_id=daemon.services.store.log_id,
        )

    async def _discover(self, params: NoParams) -> object:
        from treadle.contract.openrpc import openrpc

        return openrpc()


def method(endpoint: "endpoints.Endpoint[Any, Any]", handler: Callable[..., object], **options: Any) -> Method:
    """The Method for an endpoint and its handler. options: further fields of Method."""
    return Method(
        endpoint.name,
        endpoint.summary,
        endpoint.params,
        endpoint.result,
        handler,
        answer_bytes=endpoint.answer_bytes,
        **options,
    )


def watch_process(pid: int, gone: asyncio.Event) -> None:
    """Set `gone` when the process ends (LSP's `processId`)."""
    loop = asyncio.get_running_loop()
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            gone.set()
            return
        except OSError as error:
            log.info("cannot watch process %d: %s", pid, error)
            return

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            gone.set()

        loop.add_reader(descriptor, ended)
        return

    def look() -> None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            gone.set()
        except PermissionError:
            pass
        else:
            loop.call_later(1.0, look)

    look()
