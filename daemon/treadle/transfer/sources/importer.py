"""Submits the commands of sessions through the engine. What the log has already is answered and adds nothing.

Commands of a turn go into one transaction where it is not too long. A turn that the log ended before all of it was
there (it was imported while the tool worked, or the import was killed) is continued by another turn.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from treadle.agents.shapes import fitting
from treadle.contract.results import BatchDispatched, EntityName
from treadle.core.engine import Engine, now
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.domain.ids import Timestamp
from treadle.domain.paths import normalized, path_key
from treadle.store.ports import DataDirectory, Reads
from treadle.transfer.adding import NO_FOLDERS
from treadle.transfer.sessions import thread_with
from treadle.transfer.sources.own_turns import OwnTurns
from treadle.transfer.sources.source import Source, SourceReport, ToolSession
from treadle.transfer.sources.thread_writer import NO_END
from treadle.transfer.turns import is_end

STILL_GOING = 600.0  # seconds after the last change of a session in which a turn without an end may still get one
ENOUGH = 50  # commands of whole turns that are worth a transaction
ENOUGH_BYTES = 64 * 1024
BATCH = 4_000  # commands in one transaction: a turn with more is in several
BATCH_BYTES = 4 * 1024 * 1024
PARTS = 100  # turns that continue one
RECORDED = "a session that treadle ran or recorded itself"
REST = 0.1  # seconds that an import lets other processes append at most, after each of its transactions
ENDED = "the import that followed it has ended"

Turn = tuple[str, str]
"""The ids of a thread and of a turn in it."""


class Imported(Struct):
    """What became of the commands. still_going: turns that were left out because they may get an end. rejected: how
    many commands were not accepted, by kind of the rejection. failed: why sessions could not be read to their end."""

    events: int = 0
    threads: int = 0
    turns: int = 0
    still_going: int = 0
    rejected: Counter[str] = msgspec.field(default_factory=Counter)
    failed: list[str] = []


class Taken(Struct):
    """How far a session was imported. position: the log has what is before it. tail: the last bytes before it. is_open:
    its last turn has no end yet. left_out: where the turns begin that were left out, with the tail before each.
    is_failed: it could not be read to its end."""

    position: int
    tail: bytes = b""
    is_open: bool = False
    is_failed: bool = False
    left_out: list[tuple[int, bytes]] = []


class Importer:
    """Imports sessions into one data directory, one after the other."""

    def __init__(self, store: DataDirectory, engine: Engine, source: Source, *, full: bool = False) -> None:
        self._store, self._engine, self._source, self._full = store, engine, source, full
        self._projects: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._deleted: set[str] = set()
        self._parts: dict[Turn, str] = {}
        self._own: dict[str, OwnTurns] = {}
        self.imported = Imported()
        self.progress: Callable[[int], object] = lambda position: None
        self.open_turns: dict[Turn, None] = {}

    async def take(
        self,
        session: ToolSession,
        report: SourceReport,
        *,
        after: int = 0,
        read: Callable[[ToolSession], Iterator[c.Command]] | None = None,
        is_followed: bool = False,
    ) -> Taken:
        """Import what is new of a session.

        after: the position in its file up to which the log has it. read: gives the commands of its new records, if not
        all are to be read. is_followed: a turn without an end is imported as it is, and stays open.
        """
        if await self._store.read(lambda reads: is_recorded(reads, session)):
            report.skip(RECORDED, str(session.path))
            return Taken(0)
        if session.parent is not None:
            session = replace(session, parent=await self._held(session.tool, session.parent))
        before = await self._thread(session.thread_id)
        if before is not None:
            session = _as_before(session, before)
        self._left_out.clear()
        if read is None:
            self._parts.clear()
            self._own.pop(session.thread_id, None)
        own = self._own.setdefault(session.thread_id, OwnTurns(self._store, session.thread_id))
        if before is not None:
            await own.refresh()
        is_recent = time.time() - session.modified < STILL_GOING
        began: dict[Turn, tuple[int, bytes]] = {}
        taken = Taken(0)
        batch: list[Any] = []
        size = 0
        report.position = 0
        try:
            for command in self._source.read(session, report, self._full) if read is None else read(session):
                if await own.has(command, _turn_of(command)[1]):
                    continue
                if report.position < after and not isinstance(command, c.CreateThread):
                    continue
                if isinstance(command, c.StartTurn):
                    began[_turn_of(command)] = report.position, report.tail
                is_open = is_recent and isinstance(command, c.InterruptTurn) and command.reason == NO_END
                if is_open and is_followed:
                    self.open_turns[_turn_of(command)] = None
                    taken.is_open = True
                    continue
                if is_end(command):
                    self.open_turns.pop(_turn_of(command), None)
                batch.append(command)
                size += len(msgspec.json.encode(command))
                if is_open:
                    batch = self._without_turn(batch)
                    taken.is_open = True
                    if not batch or _turn_of(batch[-1]) != _turn_of(command):
                        taken.left_out.append(began.get(_turn_of(command), (0, b"")))
                # What continues an ended turn must come before the turns after it. Other processes wait for each turn.
                is_shared = self._store.append_queue.is_shared
                enough = 1 if before is not None or session.is_remainder or is_shared else ENOUGH
                is_enough = is_end(command) and (len(batch) >= enough or size >= ENOUGH_BYTES)
                if is_enough or len(batch) >= BATCH or size >= BATCH_BYTES:
                    await self._submit(session, batch)
                    self.progress(report.position)
                    batch, size = [], 0
        except OSError as error:
            self.imported.failed.append(str(error))
            taken.is_failed = True
        await self._submit(session, batch)
        taken.position, taken.tail = min([(report.position, report.tail), *taken.left_out])
        return taken

    async def leave(self) -> None:
        """Interrupt the turns that are open because their sessions were followed."""
        for thread_id, id in self.open_turns:
            await self._dispatch([c.InterruptTurn(thread_id=thread_id, id=id, reason=ENDED)])
        self.open_turns.clear()

    def _without_turn(self, batch: list[Any]) -> list[Any]:
        """The commands without the turn of the last one, which may still get an end; without its thread as well, if
        there is nothing else in it. A turn whose beginning is submitted already stays."""
        turn = _turn_of(batch[-1])
        rest = [command for command in batch if _turn_of(command) != turn]
        if not any(isinstance(command, c.StartTurn) for command in batch if _turn_of(command) == turn):
            return batch
        self.imported.still_going += 1
        of_thread = [command for command in rest if command.thread_id == turn[0]]
        if of_thread and isinstance(of_thread[-1], c.CreateThread):
            self._left_out.add(turn[0])
        return rest

    async def _submit(self, session: ToolSession, batch: list[Any]) -> None:
        """Submit commands, and give those whose turn has ended meanwhile to a turn that continues it."""
        ends = {turn: command for command in batch if is_end(command) and (turn := _turn_of(command))}
        completed: set[Turn] = set()
        again: list[Any] = []
        prepared = [p for command in batch if (p := await self._prepared(session, command)) is not None]
        for command, answer in zip(prepared, await self._dispatch(prepared), strict=True):
            if not isinstance(answer, Rejected):
                if is_end(command) and b'"TurnCompleted"' in msgspec.json.encode(answer.results[0].events):
                    completed.add(_turn_of(command))
            elif answer.kind in _ENDED.get(type(command), ()):
                again.append(command)
            # Else it is there: in the turn that it had when the file had other records, or without what was redacted.
            elif answer.kind not in ("idTaken", "commandErased"):
                self.imported.rejected[answer.kind] += 1
        for command in again:
            await self._continue(command)
        refused = {_turn_of(command) for command in again if is_end(command)}
        for turn, end in ends.items():
            if turn in self._parts and turn not in refused:
                counted = {"usage": None} if turn in completed and isinstance(end, c.CompleteTurn) else {}
                await self._dispatch([replace(end, id=self._parts[turn], command_id=None, at=_past(end.at), **counted)])
            self._parts.pop(turn, None)

    async def _prepared(self, session: ToolSession, command: Any) -> Any:
        """The command as it is submitted; None if it is not."""
        thread_id = str(command.thread_id)
        if isinstance(command, c.CreateThread):
            state = await self._thread(thread_id)
            is_other = state is not None and (state["origin"] or {}).get("source") != str(session.path)
            if await self._is_deleted(thread_id):
                self._deleted.add(thread_id)
            if session.is_remainder and is_other:
                self._left_out.add(thread_id)
        if thread_id in self._left_out | self._deleted or (is_end(command) and _turn_of(command) in self._parts):
            return None
        command = replace(command, at=_past(command.at))
        if isinstance(command, c.CreateThread):
            folder = command.origin.cwd if command.origin and command.origin.cwd else str(session.path.parent)
            return replace(command, project_id=await self._project(folder, command.at))
        part = self._parts.get(_turn_of(command))
        return command if part is None else replace(command, turn_id=part)

    async def _continue(self, command: Any) -> None:
        """Give a command to a turn that continues its own, which has ended."""
        turn = _turn_of(command)
        if await self._is_elsewhere(command):
            return
        if turn not in self._parts and not isinstance(command, c.ResolveApproval):
            await self._open_part(turn, command.at)
        part = self._parts.get(turn, turn[1])
        moved = command
        if not isinstance(command, c.ResolveApproval):
            moved = replace(command, **{"id" if is_end(command) else "turn_id": part})
        (answer,) = await self._dispatch([moved])
        if isinstance(answer, Rejected) and answer.kind == "idTaken":
            (answer,) = await self._dispatch([replace(moved, id=fitting(f"{moved.id}:{part}"))])
        if isinstance(answer, Rejected):
            self.imported.rejected[answer.kind] += 1

    async def _is_elsewhere(self, command: Any) -> bool:
        """Whether another turn has it: the one that it had when the file had other records."""
        kind, turn = _ENTITY.get(type(command)), _turn_of(command)
        if kind is None:
            return False
        found = await self._store.read(lambda reads: reads.entities(kind, turn[0], [command.id]))
        holder = msgspec.json.decode(found[command.id])["turnId"] if command.id in found else turn[1]
        return holder != turn[1] and not holder.startswith(f"{turn[1]}:")

    async def _open_part(self, turn: Turn, at: Timestamp | None) -> None:
        for number in range(2, PARTS):
            part = fitting(f"{turn[1]}:{number}")
            (answer,) = await self._dispatch([c.StartTurn(thread_id=turn[0], id=part, message_id=part, at=at)])
            is_ours = not isinstance(answer, Rejected) or await self._is_running(turn[0], part)
            if is_ours:
                self._parts[turn] = part
                if turn in self.open_turns:
                    self.open_turns[turn[0], part] = None
            if is_ours or answer.kind != "idTaken":  # type: ignore[union-attr]
                return

    async def _is_running(self, thread_id: str, id: str) -> bool:
        found = await self._store.read(lambda reads: reads.entities("turn", thread_id, [id]))
        return id in found and msgspec.json.decode(found[id])["status"] == "running"

    async def _dispatch(self, commands: list[Any]) -> list[BatchDispatched | Rejected]:
        """Submit each command by itself; the answers. One that was given before gets the answer that it got then."""
        before = await self._store.read(lambda reads: reads.sequence())
        submissions = [
            self._engine.submit([k], command_id=k.command_id, size=len(msgspec.json.encode(k))) for k in commands
        ]
        began = time.monotonic()
        answers = await asyncio.gather(*(s.future for s in submissions), return_exceptions=True)
        if self._store.append_queue.is_shared:  # they wait for a transaction, and find half of the time free
            await asyncio.sleep(min(REST, time.monotonic() - began))
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, BatchDispatched):
                new = len(answer.results[0].events) if answer.sequence > before else 0
                before = max(before, answer.sequence)
                self.imported.events += new
                self.imported.threads += new > 0 and isinstance(command, c.CreateThread)
                self.imported.turns += new > 0 and isinstance(command, c.StartTurn)
            elif not isinstance(answer, Rejected):
                raise answer
        return answers  # type: ignore[return-value]

    # What the log has

    async def _thread(self, thread_id: str) -> dict[str, Any] | None:
        found = await self._store.read(lambda reads: reads.entities("thread", None, [thread_id]))
        return msgspec.json.decode(found[thread_id]) if thread_id in found else None

    async def _held(self, tool: str, parent: c.ParentThread) -> c.ParentThread:
        """The parent of a subagent: the thread that has its session."""
        session_id = parent.thread_id.removeprefix(f"{tool}:")
        holder = await self._store.read(lambda reads: thread_with(reads, session_id))
        return parent if holder is None else replace(parent, thread_id=holder)

    async def _is_deleted(self, thread_id: str) -> bool:
        key = ("thread", thread_id)
        state = (await self._store.read(lambda reads: reads.look_up([key])))[key]
        return state is not None and bool(state.deleted)

    async def _project(self, folder: str, at: Any) -> str:
        """The project of a folder, which is created if there is none. Raises Rejected (`noRemote`) in a shared log."""
        folder = normalized(folder)
        key = ("path", path_key(folder))
        if key[1] in self._projects:
            return self._projects[key[1]]
        found = (await self._store.read(lambda reads: reads.look_up([key])))[key]
        if found is None:
            if self._store.is_shared:
                raise Rejected("noRemote", NO_FOLDERS)
            name = (Path(folder).name or folder)[:1024]
            await self._dispatch([c.CreateProject(name=name, path=folder, at=at)])
            found = (await self._store.read(lambda reads: reads.look_up([key])))[key]
        return self._projects.setdefault(key[1], str(found))


def is_recorded(reads: Reads, session: ToolSession) -> bool:
    """Whether treadle ran the session in another thread, or recorded what an editor and its agent said in it.

    Also if that thread was deleted since then: what was deleted or erased does not come back by an import.
    """
    held = thread_with(reads, session.id) or reads.ran_session(session.id)
    return session.parent is None and held not in (None, session.thread_id)


_ENTITY: dict[type[c.Command], EntityName] = {
    c.AddMessage: "message",
    c.RecordActivity: "activity",
    c.RequestApproval: "approval",
}

_ENDED: dict[type[c.Command], tuple[str, ...]] = {
    **dict.fromkeys((c.AddMessage, c.RecordActivity, c.RequestApproval), ("turnEnded",)),
    **dict.fromkeys((c.CompleteTurn, c.FailTurn, c.InterruptTurn), ("turnEnded",)),
    c.ResolveApproval: ("notFound",),  # the request is among those whose turn has ended
}
"""The rejections of a command that mean that its turn has ended."""


def _as_before(session: ToolSession, thread: dict[str, Any]) -> ToolSession:
    """The session as a fork of what it was a fork of when it was imported first."""
    fork = (thread["origin"] or {}).get("forkOf")
    return replace(session, fork_of=None if fork is None else msgspec.convert(fork, c.ForkedThread))


def _turn_of(command: Any) -> Turn:
    is_turn = is_end(command) or isinstance(command, c.StartTurn)
    return str(command.thread_id), str(command.id if is_turn else getattr(command, "turn_id", ""))


def _past(at: Timestamp | None) -> Timestamp | None:
    """The time, but not one in the future, which treadle rejects: clocks differ."""
    return min(at, now()) if at else at
