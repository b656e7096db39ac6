"""The runners of a daemon: which threads it runs agents for, and what the log says of each.

A thread's agent runs in one daemon: the one that has its session open; without a session a host, if there is one;
without a host the daemon that received the last prompt. A race between two is decided by the log, which takes one
session and one turn a thread.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from treadle.contract.results import AgentPhase
from treadle.core.engine import Engine
from treadle.domain.entities import Rule
from treadle.store.errors import StorageError, translated
from treadle.store.pages import LATEST
from treadle.store.ports import DataDirectory, Reads
from treadle.store.records import ThreadWork

if TYPE_CHECKING:  # imported when the first agent runs: most daemons have none
    from treadle.runner.context import Shared
    from treadle.runner.thread import ThreadRunner
    from treadle.workspace.checkpoints import Checkpoints
    from treadle.workspace.thread_folders import ThreadFolders

log = logging.getLogger(__name__)

RULES = frozenset(("RuleAdded", "RuleRemoved"))
OF_THREADS = frozenset(
    (
        "AgentAssigned",
        "ThreadOptionSet",
        "PromptQueued",
        "PromptEdited",
        "PromptMoved",
        "PromptRemoved",
        "QueuePaused",
        "QueueResumed",
        "SessionOpened",
        "SessionEnded",
        "TurnStarted",
        "TurnCompleted",
        "TurnFailed",
        "TurnCancelling",
        "TurnInterrupted",
        "ApprovalResolved",
        "ThreadArchived",
        "ThreadUnarchived",
        "ThreadDeleted",
        "WorktreeCreated",
        "WorktreeRemoved",
    )
)
"""Events after which a runner may have something to do."""
PAGE = 1_000  # events that are read at once
PAGES = 10  # read for a look; if the log has grown by more, all threads are looked at
RETRY = 1.0  # seconds until a failed read is retried
LOOK_FOR_ORPHANS = 2.0  # seconds between two checks
TYPE = len(b'{"type":"')


class Running(NamedTuple):
    """An agent that runs, or waits for its place. phase: see ThreadRunner.phase."""

    thread_id: str
    agent: str
    phase: AgentPhase
    pid: int | None


class _Seen(NamedTuple):
    """What a look has found. rules: None if they have not changed. failures: why threads could not be read."""

    sequence: int
    works: list[ThreadWork]
    rules: list[Rule] | None
    assigned: set[str]
    failures: dict[str, Exception]


class Supervisor:
    """Runs agents for the threads of a data directory.

    files: returns where agents are configured, the last one takes precedence. records: the folder for the records of
    processes. is_host: whether this daemon runs agents for all others; has_host: whether one does. started: called
    when the first agent is about to run, so that appends of other processes are noticed from then on. checkpoints,
    folders: return the checkpoints of all threads, and the folders of their agents.
    """

    def __init__(
        self,
        store: DataDirectory,
        engine: Engine,
        *,
        files: Callable[[], tuple[Path, ...]],
        records: Path,
        is_host: bool,
        has_host: Callable[[], bool],
        started: Callable[[], None],
        checkpoints: Callable[[], "Checkpoints"],
        folders: Callable[[], "ThreadFolders"],
    ) -> None:
        self._store, self._engine = store, engine
        self._find_files, self._records = files, records
        self._is_host, self._has_host, self._started = is_host, has_host, started
        self._had_host = False
        self._checkpoints, self._folders = checkpoints, folders
        self._cursor: int | None = None
        self._rules: list[Rule] = []
        self._runners: dict[str, ThreadRunner] = {}
        self._wanted: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, str] = {}
        self._shared: Shared | None = None
        self._woken = asyncio.Event()
        self._woken.set()

    # What the daemon says

    def appended(self, sequence: int, events: Sequence[bytes]) -> None:
        """This daemon has appended events; the last one has this sequence."""
        types = {event[TYPE : event.index(b'"', TYPE)].decode() for event in events}
        if "AgentAssigned" in types:
            decoded = (msgspec.json.decode(event) for event in events if event.startswith(b'{"type":"AgentAssigned"'))
            self._wanted |= {event["threadId"] for event in decoded}
        if types & (OF_THREADS | RULES) or self._cursor is None or self._cursor + len(events) != sequence:
            self.wake()
        else:
            self._cursor = sequence

    def wake(self) -> None:
        """Read the log: another process may have appended."""
        self._woken.set()

    @property
    def running(self) -> list[Running]:
        """The agents that run, or are about to."""
        runners = self._runners.values()
        return [Running(one.thread_id, one.agent, one.phase, one.pid) for one in runners if not one.is_idle]

    async def run(self) -> None:
        """Look at the log whenever there may be something to do, until cancelled."""
        orphans = asyncio.create_task(self._end_orphans(), name="orphans")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY if self._failures else None):
                        await self._woken.wait()
                self._woken.clear()
                try:
                    await self._look()
                except Exception as error:  # a daemon goes on answering, whatever became of its agents
                    self._failed("all threads", error)
        finally:
            orphans.cancel()

    def _failed(self, threads: str, error: Exception) -> None:
        """Say what failed: once, not every second."""
        if self._failures.get(threads) != repr(error):
            defect = None if isinstance(error, StorageError) else error
            log.warning("failed to run agents (%s), will retry: %s", threads, error, exc_info=defect)
        self._failures[threads] = repr(error)

    async def close(self) -> None:
        """End all agents of this daemon."""
        await asyncio.gather(*(runner.close() for runner in self._runners.values()), return_exceptions=True)

    # Looking

    async def _look(self) -> None:
        has_host = not self._is_host and self._has_host()
        if has_host != self._had_host:  # threads whose events were seen long ago have another owner now
            self._had_host, self._cursor = has_host, None
        cursor, mine = self._cursor, list(self._runners)
        again = set(self._again)
        seen = await self._store.read(lambda reads: _seen(reads, cursor, mine, again))
        if self._cursor is None or seen.sequence > self._cursor:
            self._cursor = seen.sequence
        if seen.rules is not None:
            self._rules[:] = seen.rules
        if self._is_host:
            self._wanted |= seen.assigned
        failures = seen.failures
        for work in seen.works:
            try:
                self._see(work, seen.sequence, has_host)
            except Exception as error:  # the other threads go on
                failures[work.thread_id] = error
        for thread_id, failure in failures.items():
            self._failed(thread_id, failure)
        self._again = set(failures)
        self._failures = {id: said for id, said in self._failures.items() if id in self._again}
        self._wanted &= self._again
        for thread_id in [id for id, runner in self._runners.items() if runner.is_idle]:
            await self._runners.pop(thread_id).close()

    def _see(self, work: ThreadWork, sequence: int, has_host: bool) -> None:
        wanted = work.thread_id in self._wanted
        claimed = self._claims(work, has_host, wanted)
        runner = self._runners.get(work.thread_id)
        if runner is None:
            if not (claimed and work.agent and (work.queue or wanted)) or work.archived or work.deleted:
                return
            runner = self._runners[work.thread_id] = self._new_runner(work.thread_id)
        runner.see(work, sequence, claimed)
        if wanted and claimed:
            runner.want()

    def _claims(self, work: ThreadWork, has_host: bool, wanted: bool) -> bool:
        """Whether this daemon is the one to run the agent of the thread."""
        if work.session is not None and work.session.open:
            return work.session.runner == self._store.runner.name
        if has_host:
            return False
        if self._is_host and not (self._store.is_shared and self._store.runner.is_elsewhere(work.queue_runner)):
            return True
        return work.queue_runner == self._store.runner.name or (wanted and not work.queue)

    def _new_runner(self, thread_id: str) -> "ThreadRunner":
        from treadle.agents.orphans import Records
        from treadle.runner.configuration import Configuration
        from treadle.runner.context import Shared
        from treadle.runner.places import Places
        from treadle.runner.thread import ThreadRunner

        if self._shared is None:
            self._store.runner.acquire()  # or its agents would be taken for those of a daemon that has exited
            configuration = Configuration(self._find_files())
            self._shared = Shared(
                submit=lambda commands, atomic: self._engine.submit(commands, atomic=atomic).future,
                read=self._store.read,
                config_of=configuration.agent,
                settings=configuration.runner,
                records=Records(self._records, self._store.runner.name),
                places=Places(),
                checkpoints=self._checkpoints(),
                folders=self._folders(),
                look=self.wake,
                rules=self._rules,
            )
            self._started()
        return ThreadRunner(thread_id, self._shared)

    async def _end_orphans(self) -> None:
        """End what daemons that were killed have left, if their reapers were killed too."""
        while True:
            try:
                if self._records.is_dir() and any(self._records.iterdir()):
                    from treadle.agents.orphans import end_orphans

                    await end_orphans(self._records, self._store.runner.is_gone)
            except Exception:
                log.exception("failed to end agents that are left, will retry")
            await asyncio.sleep(LOOK_FOR_ORPHANS)


def _seen(reads: Reads, cursor: int | None, mine: Collection[str], again: Collection[str]) -> _Seen:
    """What has changed since the cursor; everything at the first look, or if much has changed. mine: the threads that
    have a runner. again: those to be looked at also if they have not changed."""
    ids = set(again)
    assigned: set[str] = set()
    has_new_rules = cursor is None
    pages = 0
    after = cursor or 0
    while cursor is not None and pages <= PAGES and (page := reads.changes(after, None, PAGE)):
        pages, after = pages + 1, page[-1].sequence
        has_new_rules = has_new_rules or any(one.event_type in RULES for one in page)
        ids |= {str(one.thread_id) for one in page if one.event_type in OF_THREADS}
        assigned |= {str(one.thread_id) for one in page if one.event_type == "AgentAssigned"}
    if cursor is None or pages > PAGES:
        ids, has_new_rules = {*reads.threads_at_work(), *mine, *again}, True
    works, failures = _works(reads, sorted(ids))
    return _Seen(reads.sequence(), works, _rules(reads) if has_new_rules else None, assigned, failures)


def _works(reads: Reads, ids: list[str]) -> tuple[list[ThreadWork], dict[str, Exception]]:
    """The work of threads, and why that of some cannot be read, such as a damaged row: the other threads go on."""
    works: list[ThreadWork] = []
    failures: dict[str, Exception] = {}
    try:
        with translated():
            works = reads.work(ids) if ids else []
    except Exception as error:
        if len(ids) == 1:
            return [], {ids[0]: error}
        for id in ids:
            found, failed = _works(reads, [id])
            works += found
            failures |= failed
    return works, failures


def _rules(reads: Reads) -> list[Rule]:
    found: list[Rule] = []
    before = LATEST
    while page := reads.rule_list(PAGE, before).items:
        found += [msgspec.json.decode(rule, type=Rule) for rule in page]
        before = found[-1].sequence
    return found
