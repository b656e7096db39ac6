"""Import agent recordings as commands through the engine: `treadle import acp`.

A turn is imported as a whole, in one transaction, once its end is in the recording. So an import can be repeated while
the recording grows: a turn that the log has already is left alone.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from treadle.agents.recording import BadRecording, Frame, SessionMapper, read_frames
from treadle.core.engine import Engine, time_at
from treadle.domain import commands as c
from treadle.domain.ids import Timestamp
from treadle.store.sqlite.store import Store
from treadle.transfer.adding import NotAdded, TurnAdder
from treadle.transfer.turns import add, is_end, joined, known_turn

STILL_GOING = 600.0  # seconds after the last change of a recording in which a turn without an end may still get one
SINCE_1970 = 1_000_000_000.0  # a frame's time from here on counts seconds since 1970, below since the recording began
NAMED = 5  # how many skipped lines, and rejected turns, are named one by one


class Recording(Struct):
    """What a file holds. changed: when it was last written, in seconds since 1970. bad: lines that are not frames."""

    path: Path
    frames: list[Frame]
    changed: float
    bad: list[BadRecording]

    @property
    def skipped(self) -> list[BadRecording]:
        """The bad lines, except a last one that is not finished yet."""
        return [line for line in self.bad if not line.is_unfinished]


class Report(Struct):
    """What became of the turns. waiting: messages after the last turn. failed: why turns were not imported."""

    turns: int = 0
    there_already: int = 0
    still_going: int = 0
    waiting: int = 0
    events: int = 0
    failed: list[str] = []


def read_recording(file: Path) -> Recording:
    """Raises OSError, and BadRecording if no line is a frame."""
    bad: list[BadRecording] = []
    recording = Recording(file.absolute(), list(read_frames(file, bad.append)), file.stat().st_mtime, bad)
    if bad and not recording.frames:
        raise bad[0]
    return recording


async def import_acp(
    file: Path, data_dir: Path, progress: Callable[[int, int], object] = lambda done, total: None
) -> int:
    """Import the sessions of a recording, print what became of them and return the exit status."""
    try:
        recording = read_recording(file)
    except (OSError, BadRecording) as error:
        print(f"treadle: {file}: {error}", file=sys.stderr)
        return 1
    store = await Store.open(data_dir)
    engine = Engine(store, linger=0)
    engine.start()
    try:
        report = await Import(store, engine, recording).run(progress)
    finally:
        await engine.stop()
        await store.close()
    for line in recording.skipped[:NAMED]:
        print(f"treadle: {file}: skipped: {line}", file=sys.stderr)
    for reason in report.failed[:NAMED]:
        print(f"treadle: {file}: not imported: {reason}", file=sys.stderr)
    print(summary(recording, report))
    return 1 if report.failed else 0


def summary(recording: Recording, report: Report) -> str:
    """One line for people."""
    said = [f"{_count(report.turns, 'turn')} new, {report.there_already} there already"]
    if report.still_going:
        said.append(f"{_count(report.still_going, 'turn')} still going")
    if report.waiting:
        said.append(f"{_count(report.waiting, 'message')} waiting for the next turn")
    if skipped := recording.skipped:
        lines = ", ".join(str(line.line) for line in skipped[:NAMED]) + (", …" if len(skipped) > NAMED else "")
        said.append(f"{_count(len(skipped), 'line')} skipped ({lines})")
    if len(skipped) < len(recording.bad):
        said.append("the last line is not finished")
    if report.failed:
        said.append(f"{_count(len(report.failed), 'turn')} not imported")
    said.append(_count(report.events, "new event"))
    return "; ".join(said)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class Import:
    """Imports the turns of one recording. Times within are in milliseconds since 1970."""

    def __init__(self, store: Store, engine: Engine, recording: Recording) -> None:
        self._store = store
        self._adder = TurnAdder(store, engine, str(recording.path.parent))
        self._frames, self._file = recording.frames, recording.path
        self._now = _milliseconds(time.time())
        last = self._frames[-1].t if self._frames else 0.0
        ended = last if last >= SINCE_1970 else recording.changed
        self._is_old = self._now - _milliseconds(ended) > _milliseconds(STILL_GOING)
        self._began = _milliseconds(recording.changed) - _milliseconds(last)
        self._is_anchored = False
        self._turns: dict[str, list[Any]] = defaultdict(list)
        self._report = Report()

    async def run(self, progress: Callable[[int, int], object]) -> Report:
        mapper = SessionMapper("", source=str(self._file))
        for number, frame in enumerate(self._frames, 1):
            await self._take(mapper.feed(frame), frame.t)
            progress(number, len(self._frames))
        if self._is_old and self._frames:
            await self._take(mapper.end(), self._frames[-1].t)
        self._report.still_going = sum(1 for turn in self._turns.values() if turn)
        self._report.waiting = mapper.waiting
        self._report.events = self._adder.events
        return self._report

    async def _take(self, commands: list[c.Command], t: float) -> None:
        """Collect the commands of each turn, and import the turns that have an end."""
        for command in commands:
            if isinstance(command, c.StartTurn) and not self._is_anchored:
                await self._anchor(command, t)
        at = self._time(t)
        for command in commands:
            stamped = msgspec.structs.replace(command, at=at)
            if isinstance(stamped, c.CreateThread):
                self._adder.know(stamped)
                continue
            thread_id = str(stamped.thread_id)  # type: ignore[attr-defined]
            add(self._turns[thread_id], stamped)
            if is_end(stamped):
                await self._import_turn(joined(self._turns.pop(thread_id)))

    # Times

    async def _anchor(self, start: c.StartTurn, t: float) -> None:
        """Times since the recording began count from when the log says that its first turn started, so that they are
        the same in every import. In the first import the recording ends when the file was last written."""
        self._is_anchored = True
        turn = await self._store.read(lambda reads: known_turn(reads, start))
        if turn is not None:
            started = datetime.fromisoformat(turn["startedAt"]).timestamp()
            self._began = _milliseconds(started) - _milliseconds(t)

    def _time(self, t: float) -> Timestamp:
        return time_at(min(_milliseconds(t) + (0 if t >= SINCE_1970 else self._began), self._now))

    # Turns

    async def _import_turn(self, turn: list[Any]) -> None:
        try:
            if await self._adder.add(turn) == "new":
                self._report.turns += 1
            else:
                self._report.there_already += 1
        except NotAdded as error:
            self._report.failed.append(str(error))
