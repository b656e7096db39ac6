"""Purges after erasures, beside all other work, and writes the receipts."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from treadle.contract.receipts import MachineErasure, Receipt
from treadle.core.access import Submit
from treadle.domain.commands import EraseThread, Redact
from treadle.domain.errors import Rejected
from treadle.server.erased_texts import Before, taken_before
from treadle.store.errors import StorageError, translated
from treadle.store.sqlite import purge
from treadle.store.sqlite.database import FILE_NAME, FileLock, open_or_create_db
from treadle.store.sqlite.projections import SEARCHES
from treadle.store.sqlite.store import Store

log = logging.getLogger(__name__)

SEARCH: Final = str(Path(purge.__file__).with_name("byte_search.py"))
PAUSE: Final = 0.01
"""Seconds between two steps, for others that wait for the database."""
RETRY: Final = 0.2
"""Seconds until what another connection prevented is tried again."""
ERASING: Final = (b'{"type":"ThreadErased"', b'{"type":"EventsRedacted"')
"""How the events begin after which there is something to purge."""


class SearchResult(Struct, frozen=True):
    """What byte_search.py prints."""

    files: int
    hits: int
    found: list[str]
    shared: int


class Purger:
    """Purges after each erasure of this daemon, and after those that others left.

    One process at a time does it. What was taken of the texts before is searched for afterwards by the process that
    took it. submit: gives commands to the engine.
    """

    def __init__(self, store: Store, data_dir: Path, submit: Submit) -> None:
        self._store, self._data_dir, self._submit = store, data_dir, submit
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._before: dict[int, Before] = {}
        self._removed: list[str] = []
        self._failure = ""
        self._ending = False
        self._searching: asyncio.subprocess.Process | None = None

    def appended(self, events: list[bytes]) -> None:
        """Purge if one of these events, which were just appended, has erased something."""
        if any(event.startswith(ERASING) for event in events):
            self.begin()

    def begin(self) -> None:
        """Look for something to purge."""
        self._idle.clear()
        self._wanted.set()

    def expect(self, sequence: int, before: Before) -> None:
        """Search for what was taken of the texts before, once the erasure at this sequence is purged."""
        self._before[sequence] = before
        self.begin()

    async def settled(self) -> None:
        """Wait until all erasures of this daemon, and those that it found, are purged and searched for."""
        await self._idle.wait()

    async def run(self) -> None:
        """Purge whenever there is something to purge, until cancelled. A failure is logged once and retried."""
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._to_its_end(asyncio.create_task(self._purge()))
                self._failure = ""
                if not self._wanted.is_set():
                    self._idle.set()
            except (StorageError, OSError) as error:
                self._log_failure(error, "will retry")
                await asyncio.sleep(5 * RETRY)
                self._wanted.set()

    async def _to_its_end(self, purging: "asyncio.Task[None]") -> None:
        """Wait for it, also if this is cancelled: the thread of a connection must not outlive the event loop."""
        try:
            await asyncio.shield(purging)
        except asyncio.CancelledError:
            self._ending = True
            if self._searching is not None:
                self._searching.kill()
            await asyncio.wait([purging])
            try:
                purging.result()
            except (StorageError, OSError) as error:
                self._log_failure(error, "the next daemon will retry")
            raise

    def _log_failure(self, error: Exception, what_follows: str) -> None:
        """Log why a purge failed, unless it has failed for this before."""
        if str(error) != self._failure:
            log.warning("what was erased could not be purged, %s: %s", what_follows, error)
        self._failure = str(error)

    async def _erase_again(self) -> None:
        """Erase what was erased since the backup that this database was restored from."""
        with translated():
            noted = await self._store.writer.call(purge.noted_commands)
        for each in noted:
            command = msgspec.convert(each, EraseThread | Redact)
            try:
                before = await taken_before(self._store.read, command)
                erased = await self._submit([command])
                self._before[erased.sequence] = before
            except Rejected as error:
                log.warning("thread %s of the backup could not be erased again: %s", command.thread_id, error)
        if noted:
            with translated():
                await self._store.writer.call(purge.forget_commands)

    async def _purge(self) -> None:
        await self._erase_again()
        with translated():
            if await self._store.writer.call(purge.pending) is None and not self._before:
                return
        lock = FileLock(self._data_dir / purge.PURGING)
        try:
            while not (lock.acquire() or self._ending):  # noqa: ASYNC110  # without a thread, a flock can only be polled
                await asyncio.sleep(RETRY)
            with translated():
                until = await self._store.writer.call(purge.pending)  # another process may have done it meanwhile
                if until is not None and not self._ending:
                    await self._purge_until(until)
            for sequence, before in [] if self._ending else sorted(self._before.items()):
                await self._search(sequence, before)
                del self._before[sequence]
        finally:
            lock.release()

    async def _purge_until(self, sequence: int) -> None:
        connection = await open_or_create_db(self._data_dir)
        try:
            await connection.call(purge.wait_briefly)
            for words in SEARCHES:
                merge = purge.IndexMerge(words)
                while not (self._ending or await connection.call(purge.unless_busy, merge.step)):  # noqa: ASYNC110
                    await asyncio.sleep(PAUSE)
            while not (self._ending or await connection.call(purge.unless_busy, purge.truncate_wal)):  # noqa: ASYNC110
                await asyncio.sleep(RETRY)
        finally:
            await connection.close()
        if self._ending:
            return
        import tempfile  # this and more is imported when it is needed: the start of a daemon waits for none

        from treadle.store.sqlite.copies import erased_in, old_copies, remove_copy
        from treadle.workspace.erasing import remove_files

        erased = await self._store.writer.call(erased_in)
        for copy in await asyncio.to_thread(old_copies, self._data_dir, erased, Path(tempfile.gettempdir())):
            await asyncio.to_thread(remove_copy, copy)
            log.info("removed %s, which may have what was erased", copy)
            self._removed.append(str(copy))
        threads = await self._store.writer.call(purge.threads_to_purge)
        if threads:
            await remove_files(self._data_dir, self._store.read, threads)
        await self._store.writer.call(purge.finish, sequence)

    async def _search(self, sequence: int, before: Before) -> None:
        """Search for the samples, and keep the result."""
        from treadle.workspace.thread_folders import FOLDER as WORKTREES

        found: SearchResult | None = None
        if before.samples:
            wanted = {
                "folder": str(self._data_dir),
                "skipped": [WORKTREES],
                "database": str(self._data_dir.resolve() / FILE_NAME),
                "threadId": before.thread_id if before.whole else None,
                "samples": [sample.hex() for sample in before.samples],
            }
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", SEARCH),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            self._searching = process
            out, _ = await process.communicate(msgspec.json.encode(wanted))
            self._searching = None
            if self._ending:
                return
            if process.returncode == 0:
                found = msgspec.json.decode(out, type=SearchResult)
            else:
                log.warning("the files could not be searched for what was erased")
        kept = purge.Searched(
            removed=self._removed,
            not_ours=before.not_ours,
            samples=0 if found is None else len(before.samples) - found.shared,
            files_searched=None if found is None else found.files,
            hits=None if found is None else found.hits,
            found=[] if found is None else found.found,
        )
        with translated():
            await self._store.writer.call(purge.keep_searched, sequence, kept)
        self._removed = []

    async def receipts(self, thread_id: str | None) -> list[Receipt]:
        """The receipts of all erasures, or of one thread, the newest first."""
        with translated():
            applied, purged, rows = await self._store.writer.call(purge.erasures, thread_id)
        machine, sharing = self._store.runner.machine.id, self._store.sharing
        others = [one for one in sharing.status.machines if one.machine_id != machine] if sharing is not None else []
        return [
            Receipt(
                thread_id=row.thread_id,
                sequence=row.sequence,
                whole=row.whole,
                events=row.events,
                purged=row.sequence <= purged,
                machines=[
                    MachineErasure(machine, applied, erased=True),
                    *(MachineErasure(one.machine_id, one.applied, one.applied >= row.sequence) for one in others),
                ],
                **({} if row.searched is None else msgspec.structs.asdict(row.searched)),
            )
            for row in rows
        ]
