"""How the rooms beside the engine reach the log: they give commands to the engine, and run reads."""

import asyncio
from collections.abc import Callable
from typing import Any

from treadle.contract.results import BatchDispatched
from treadle.domain.commands import Command
from treadle.store.ports import Reads

Submit = Callable[[list[Command]], asyncio.Future[BatchDispatched]]
"""Gives commands to the engine, all or none of them."""

Read = Callable[[Callable[[Reads], Any]], asyncio.Future[Any]]
"""Runs a function in one read transaction."""
