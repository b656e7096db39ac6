"""How a conversation begins: `initialize` is answered first, and only then comes what takes long to import."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

from treadle import __version__
from treadle.contract import methods as endpoints
from treadle.contract import results
from treadle.contract.params import InitializeParams, NoParams
from treadle.server.app import Daemon
from treadle.server.session import Carrier, Method

log = logging.getLogger(__name__)


def begin(daemon: Daemon, load: Callable[[Daemon], Carrier]) -> None:
    """Let the first methods be asked for, and all of them once `load` has brought them: in a thread, when needed."""
    beginning = Beginning(daemon)
    daemon.conversation.features = {method.name: method for method in (beginning.initialize, beginning.discover)}
    daemon.conversation.load = lambda: asyncio.to_thread(load, daemon)


class Beginning:
    """The methods that may be asked for before all the others are there."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.initialize = method(endpoints.INITIALIZE, self._initialize)
        self.discover = method(endpoints.DISCOVER, self._discover, early=True)

    async def _initialize(self, params: InitializeParams) -> object:
        daemon = self._daemon
        daemon.progress_token = params.work_done_token
        if params.process_id is not None and not daemon.watches_process:
            daemon.watches_process = True
            watch_process(params.process_id, daemon.conversation.gone)
        daemon.begin_opening()
        await daemon.opened()
        return results.Initialized(
            capabilities={},
            server_info=results.ServerInfo("treadle", __version__),
            protocol_version=endpoints.PROTOCOL_VERSION,
            log_id=daemon.store.log_id,
        )

    async def _discover(self, params: NoParams) -> object:
        from treadle.contract.openrpc import openrpc

        return openrpc()


def method(endpoint: "endpoints.Endpoint[Any, Any]", handler: Callable[..., object], **options: Any) -> Method:
    """The endpoint with its handler, and with options of `Method`."""
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
            log.info("process %d cannot be watched: %s", pid, error)
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
