"""Erases threads in which nothing has happened for long: for `treadle prune`, and daily where the setting says so."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from treadle.core.access import Submit
from treadle.core.engine import Overloaded
from treadle.domain.commands import EraseThread
from treadle.domain.errors import Rejected
from treadle.server.erased_texts import taken_before
from treadle.server.purger import Purger
from treadle.store.errors import StorageError, translated
from treadle.store.ports import Reads
from treadle.store.sqlite.purge import begin_retention
from treadle.store.sqlite.store import Store
from treadle.store.sqlite.vacuum import free_bytes

log = logging.getLogger(__name__)

KEY: Final = "retention"
"""The setting by which a daemon erases threads by itself."""
PINNED: Final = "pinned"
"""The setting that keeps a thread from being erased because it is old: `true` under this with a dot and its id."""
LOOK: Final = 3_600.0
"""Seconds between two looks at the setting."""
SKELETON: Final = 120
"""Bytes of an event that stay, about."""
PAGE: Final = 500

Days = Annotated[int, Meta(ge=1, le=99_999)]


class ThreadRetention(Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Which threads to erase. older_than_days: since their last event. max_bytes: that the database may have, without
    what is free in it: then the oldest ones. archived: only archived ones."""

    older_than_days: Days | None = None
    max_bytes: Annotated[int, Meta(ge=1)] | None = None
    archived: bool = False


def to_erase(reads: Reads, wanted: ThreadRetention, now: datetime, used: int) -> list[dict[str, Any]]:
    """Idle threads, as in `thread/list`, the oldest first. used: bytes of the database without what is free in it."""
    idle = _idle(reads, archived=True if wanted.archived else None)
    count = 0
    if wanted.older_than_days is not None:
        before = now - timedelta(days=wanted.older_than_days)
        count = sum(datetime.fromisoformat(thread["updatedAt"]) < before for thread in idle)
    if wanted.max_bytes is not None and used > wanted.max_bytes:
        count = max(count, _fitting(reads, idle, used - wanted.max_bytes, used))
    return idle[:count]


def _fitting(reads: Reads, idle: list[dict[str, Any]], excess: int, used: int) -> int:
    """How many of the threads to erase for the database to lose so many bytes: tables and indexes grow with events."""
    threads = {id: (events, size) for id, _, events, size in reads.largest_threads(1 << 31)}
    total = sum(size for _, size in threads.values()) or 1
    for count, thread in enumerate(idle):
        if excess <= 0:
            return count
        events, size = threads[thread["id"]]
        excess -= max(0, size - SKELETON * events) * used // total
    return len(idle)


def _idle(reads: Reads, *, archived: bool | None) -> list[dict[str, Any]]:
    """Threads that neither run, nor wait for anything, have no queued prompt, nor are pinned, by their last event."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = reads.thread_list(sort="updatedAt", archived=archived, limit=PAGE, cursor=cursor)
        threads = [msgspec.json.decode(item) for item in page.items]
        pinned = reads.entities("setting", None, [f"{PINNED}.{thread['id']}" for thread in threads])
        kept = {key for key, setting in pinned.items() if msgspec.json.decode(setting)["value"] is not False}
        found += [
            thread
            for thread in threads
            if thread["status"] == "idle" and not thread["queued"] and f"{PINNED}.{thread['id']}" not in kept
        ]
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]


class Retaining:
    """Erases what the setting says, at most once a day, whichever daemon of the data directory does it."""

    def __init__(self, store: Store, submit: Submit, purger: Purger) -> None:
        self._store, self._submit, self._purger = store, submit, purger

    async def run(self) -> None:
        """Look for it now and then, until cancelled."""
        while True:
            try:
                await self.look(datetime.now(UTC))
            except (StorageError, Overloaded) as error:
                log.warning("threads that are over could not be erased, will retry: %s", error)
            await asyncio.sleep(LOOK)

    async def look(self, now: datetime) -> list[str]:
        """Erase what is over, unless that was done within a day; return the ids. Raises StorageError and Overloaded."""
        key = ("setting", KEY)
        setting = (await self._store.read(lambda reads: reads.look_up([key])))[key]
        if setting is None or self._store.is_shared:  # of a shared log, a person erases
            return []
        try:
            wanted = msgspec.json.decode(setting, type=ThreadRetention)
        except msgspec.MsgspecError as error:
            log.warning("the setting `%s` cannot be read, nothing is erased: %s", KEY, error)
            return []
        with translated():
            if not await self._store.writer.call(begin_retention, now):
                return []
            free, size = await self._store.writer.call(free_bytes)
        threads = await self._store.read(lambda reads: to_erase(reads, wanted, now, size - free))
        erased = [thread["id"] for thread in threads if await self._erase(thread["id"], thread["version"])]
        if erased:
            log.warning("erased %d threads, as the setting `%s` says", len(erased), KEY)
        return erased

    async def _erase(self, thread_id: str, version: int) -> bool:
        """Erase a thread, unless something has happened in it since it had this version."""
        command = EraseThread(thread_id=thread_id, expected_version=version)
        before = await taken_before(self._store.read, command)
        try:
            done = await self._submit([command])
        except Rejected:
            return False
        self._purger.expect(done.sequence, before)
        return True
