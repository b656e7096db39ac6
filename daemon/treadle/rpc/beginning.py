"""How a conversation begins: `initialize` is answered first, and only then comes what takes long to import."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta, Struct

from treadle import __version__
from treadle.rpc import results
from treadle.rpc.conversation import Carrier, Method
from treadle.rpc.server import Daemon

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 1


class NoParams(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class InitializeParams(Struct, frozen=True, kw_only=True, rename="camel"):
    """As in LSP; what treadle does not know of it is ignored.

    process_id: treadle ends when this process does. work_done_token: a rebuild at start tells its $/progress under it.
    """

    process_id: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    work_done_token: str | int | None = None


def begin(daemon: Daemon, load: Callable[[Daemon], Carrier]) -> None:
    """Let the first methods be asked for, and all of them once `load` has brought them: in a thread, when needed."""
    beginning = Beginning(daemon)
    daemon.conversation.features = {method.name: method for method in (beginning.initialize, beginning.discover)}
    daemon.conversation.load = lambda: asyncio.to_thread(load, daemon)


class Beginning:
    """The methods that may be asked for before all the others are there."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.initialize = Method(
            "initialize", "Say hello; nothing else may come before.", InitializeParams,
            results.Initialized, self._initialize,
        )  # fmt: skip
        self.discover = Method(
            "rpc.discover", "This protocol as an OpenRPC document.", NoParams, dict[str, Any],
            self._discover, early=True,
        )  # fmt: skip

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
            protocol_version=PROTOCOL_VERSION,
            log_id=daemon.store.log_id,
        )

    async def _discover(self, params: NoParams) -> object:
        from treadle.rpc.schema import openrpc

        features = await self._daemon.conversation.loaded()
        return openrpc([method for method in features.values() if isinstance(method, Method)])


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
