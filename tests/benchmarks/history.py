"""Generates large, realistic histories: projects with threads, a few at a time, whose turns have tools and approvals.

    python tests/benchmarks/history.py DIR --events 1000000 --threads 50000

creates a data directory. The events go through the schema's own triggers, so the tables match the log. The same sizes
and seed give the same payloads.
"""

import argparse
import asyncio
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from treadle.domain import events as e
from treadle.domain.events import AnyEvent, OfferedOption
from treadle.domain.ids import ActivityStatus, Json
from treadle.store.errors import Refused
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.store import Store

BATCH = 20_000  # events per transaction
AT_ONCE = 6  # threads that are active
SMALLEST_TURN = 5
RUNNER = "019b7762-a600-7000-8000-000000000000"  # a daemon that has exited

TEXT = (
    "the class path of a test that it is when we run the file first and then the retry delay so that each request has "
    "its own timeout before the cache reads a value from the table which holds every session and its token "
)
TOOLS = (("execute", "pytest -q"), ("read", "Read {}"), ("edit", "Edit {}"), ("search", "rg -n {}"), ("plan", "Plan"))
FILES = tuple(
    f"src/{folder}/{name}.py" for folder in ("app", "core", "api") for name in ("main", "util", "model", "io")
)
OPTIONS = [
    OfferedOption(id="once", name="Allow once", kind="allow_once"),
    OfferedOption(id="always", name="Always allow", kind="allow_always"),
    OfferedOption(id="reject", name="Reject", kind="reject_once"),
]


@lru_cache
def to_the_second(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%dT%H:%M:%S}"


class Scribe:
    """Generates the events of histories. random: decides everything but the ids. Its clock only moves forward."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._ids = random.Random(seed)
        self._milliseconds = 1_767_254_400_000  # of 2026-01-01 08:00 UTC

    def at(self) -> str:
        """The time of the next event: usually soon after the previous one, as in streamed text, or after a pause."""
        self._milliseconds += self.random.choice((20, 50, 50, 50, 90, 400, 3000))
        seconds, milliseconds = divmod(self._milliseconds, 1000)
        return f"{to_the_second(seconds)}.{milliseconds:03}Z"

    def id(self) -> str:
        """A UUID of version 7."""
        clock, bits = f"{self._milliseconds:012x}", f"{self._ids.getrandbits(74):019x}"
        return f"{clock[:8]}-{clock[8:]}-7{bits[:3]}-8{bits[3:6]}-{bits[6:18]}"

    def text(self, words: int) -> str:
        """Text of about as many words."""
        start = int(self.random.random() * len(TEXT))
        return (TEXT * 4)[start : start + 5 * words]

    def output(self, length: int) -> str:
        """So many characters of what a search prints: files, the numbers of lines, words."""
        lines = ""
        while len(lines) < length:
            lines += f"{self.random.choice(FILES)}:{self.random.randint(1, 999)}: {self.text(8)}\n"
        return lines[:length]

    def project(self, n: int) -> tuple[str, AnyEvent]:
        id = self.id()
        return id, e.ProjectCreated(id=id, name=f"project-{n}", path=f"/home/user/project-{n}", at=self.at())

    def thread(self, project: str, room: int) -> Iterator[AnyEvent]:
        """Exactly `room` events of a new thread, which is idle at the end."""
        thread = self.id()
        yield e.ThreadCreated(thread_id=thread, project_id=project, title=self.text(4), at=self.at())
        room -= 1
        while room >= SMALLEST_TURN:
            turn = list(self.turn(thread, room))
            yield from turn
            room -= len(turn)
        for _ in range(room - 1):
            yield e.ThreadRenamed(thread_id=thread, title=self.text(4), at=self.at())
        if room:
            yield e.ThreadArchived(thread_id=thread, at=self.at())

    def turn(self, thread: str, room: int) -> Iterator[AnyEvent]:
        """A whole turn of at most `room` events: a prompt, tool calls, some with an approval, and an answer."""
        choose, turn, answer = self.random, self.id(), self.id()
        room -= SMALLEST_TURN
        tools = min(room // 4, choose.choice((0, 0, 1, 1, 2, 3, 5)))
        deltas = min(room - 4 * tools, choose.choice((2, 4, 6, 9, 14, 30)))
        checkpoint = room - 4 * tools - deltas > 0 and choose.random() < 0.3
        yield e.TurnStarted(id=turn, thread_id=thread, runner=RUNNER, at=self.at())
        yield e.MessageAdded(
            id=self.id(),
            thread_id=thread,
            turn_id=turn,
            role="user",
            text=self.text(choose.randint(5, 40)),
            streaming=False,
            at=self.at(),
        )
        for _ in range(tools):
            yield from self.tool(thread, turn)
        yield e.MessageAdded(
            id=answer, thread_id=thread, turn_id=turn, role="assistant", text="", streaming=True, at=self.at()
        )
        for _ in range(deltas):
            yield e.MessageAppended(id=answer, thread_id=thread, text=self.text(8) + " ", at=self.at())
        yield e.MessageCompleted(id=answer, thread_id=thread, at=self.at())
        if checkpoint:
            yield e.CheckpointCreated(
                id=self.id(), thread_id=thread, turn_id=turn, git_ref=f"refs/treadle/{turn}", message="", at=self.at()
            )
        yield self.end(thread, turn)

    def tool(self, thread: str, turn: str) -> Iterator[AnyEvent]:
        """A tool call: two events, or four with an approval."""
        kind, title = self.random.choice(TOOLS)
        file, call = self.random.choice(FILES), self.id()
        output = self.text(self.random.choice((5, 20, 60)))

        def recorded(status: ActivityStatus, detail: Json) -> AnyEvent:
            return e.ActivityRecorded(
                id=call,
                thread_id=thread,
                turn_id=turn,
                kind=kind,
                title=title.format(file),
                status=status,
                detail=detail,
                at=self.at(),
            )

        yield recorded("running", {"path": file})
        if kind == "execute" and self.random.random() < 0.5:
            ask = self.id()
            yield e.ApprovalRequested(
                id=ask, thread_id=thread, turn_id=turn, title=title, options=OPTIONS, at=self.at()
            )
            yield e.ApprovalResolved(id=ask, thread_id=thread, outcome="once", at=self.at())
        yield recorded("completed", {"path": file, "output": output})

    def end(self, thread: str, turn: str) -> AnyEvent:
        chance = self.random.random()
        if chance < 0.03:
            return e.TurnFailed(id=turn, thread_id=thread, error=self.text(8), at=self.at())
        if chance < 0.08:
            return e.TurnInterrupted(id=turn, thread_id=thread, reason="stopped by the user", at=self.at())
        usage = {"inputTokens": self.random.randint(500, 90_000), "outputTokens": self.random.randint(20, 4_000)}
        return e.TurnCompleted(id=turn, thread_id=thread, stop_reason="end_turn", usage=usage, at=self.at())


def history(events: int, threads: int, *, projects: int = 20, seed: int = 0) -> Iterator[AnyEvent]:
    """Exactly this many events, in this many threads and projects. A few threads are long, most are short."""
    scribe = Scribe(seed)
    homes = []
    for n in range(projects):
        id, created = scribe.project(n)
        homes.append(id)
        yield created
    waiting = (
        scribe.thread(scribe.random.choice(homes), room) for room in rooms(events - projects, threads, scribe.random)
    )
    running = list(islice(waiting, AT_ONCE))
    while running:
        place = scribe.random.randrange(len(running))
        # Several events of one thread in a row, as when people work in one window at a time.
        burst = list(islice(running[place], scribe.random.randint(1, 12)))
        yield from burst
        if not burst:
            running[place : place + 1] = islice(waiting, 1)


def rooms(events: int, threads: int, random: random.Random) -> list[int]:
    """The number of events of each thread, at least one."""
    shares = [min(random.paretovariate(1.1), 1000.0) for _ in range(threads)]
    scale = (events - threads) / sum(shares)
    found = [1 + int(share * scale) for share in shares]
    found[-1] += events - sum(found)
    return found


def conversations(turns: dict[str, int], *, alike: int = 20) -> Iterator[AnyEvent]:
    """Threads with the given numbers of turns. Turns n and n + alike are alike, so that all threads end alike."""
    scribe = Scribe(0)
    project, created = scribe.project(0)
    yield created
    for thread, count in turns.items():
        yield e.ThreadCreated(thread_id=thread, project_id=project, title=thread, at=scribe.at())
        for n in range(count):
            scribe.random.seed(n % alike)
            yield from scribe.turn(thread, 1000)


def batches(count: int) -> Iterator[list[e.ThreadEvent]]:
    """So many threads of 500 events each: 50 turns of a prompt, answers and an end."""
    scribe = Scribe(0)
    project = scribe.id()
    for _ in range(count):
        thread = scribe.id()
        events: list[e.ThreadEvent] = [
            e.ThreadCreated(thread_id=thread, project_id=project, title=scribe.text(4), at=scribe.at())
        ]
        for n in range(50):
            turn = scribe.id()
            events.append(e.TurnStarted(id=turn, thread_id=thread, runner=RUNNER, at=scribe.at()))
            events += (
                e.MessageAdded(
                    id=scribe.id(),
                    thread_id=thread,
                    turn_id=turn,
                    role="assistant" if place else "user",
                    text=scribe.text(18),
                    streaming=False,
                    at=scribe.at(),
                )
                for place in range(8 if n else 7)
            )
            events.append(e.TurnCompleted(id=turn, thread_id=thread, stop_reason="end_turn", at=scribe.at()))
        yield events


def fill(data_dir: Path, history: Iterable[AnyEvent], progress: Callable[[int], None] = lambda done: None) -> int:
    """Create a database and append the events without a daemon or waiting for the disk; return their number."""

    async def create() -> None:
        await (await Store.open(data_dir)).close()

    if (data_dir / FILE_NAME).exists():
        raise FileExistsError(f"{data_dir} has a database already: choose another folder")
    asyncio.run(create())
    payloads = ((e.encode(event).decode(),) for event in history)
    done = 0
    with closing(sqlite3.connect(data_dir / FILE_NAME, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -200000")
        while batch := list(islice(payloads, BATCH)):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO events (payload) VALUES (?)", batch)
            db.execute("COMMIT")
            done += len(batch)
            progress(done)
        db.execute("PRAGMA journal_mode = WAL")
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a data directory with a large, lifelike history.")
    parser.add_argument("data_dir", type=Path, metavar="DIR")
    parser.add_argument("--events", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=50_000, help="default: %(default)s")
    parser.add_argument("--projects", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    if options.projects < 1 or options.threads < 1 or options.events < options.projects + options.threads:
        parser.error("there is at least one event for each project and each thread")
    began = time.monotonic()

    def progress(done: int) -> None:
        print(f"\r{done:,} of {options.events:,} events", end="", file=sys.stderr, flush=True)

    made = history(options.events, options.threads, projects=options.projects, seed=options.seed)
    try:
        done = fill(options.data_dir, made, progress)
    except (FileExistsError, Refused) as error:
        print(f"history: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    print(f"\r{done:,} events of {options.threads:,} threads in {seconds:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
