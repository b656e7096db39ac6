"""Kills a daemon at random moments under load, and checks that nothing acknowledged is lost and nothing is half done.

Used by tests/test_kill.py (some kills in every run) and tests/tools/soak.py (as many as the time allows).
"""

import asyncio
import contextlib
import json
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treadle.client import Client, Disconnected, RemoteError, connect
from treadle.store.sqlite import projections
from treadle.store.sqlite.database import FILE_NAME

MOMENTS = ("start", "first start", "load", "load", "load", "load", "rebuild", "shutdown")
START_SECONDS = 0.8  # about as long as a start takes; a kill comes at a random moment of it


@dataclass
class Report:
    """What a run did and found. kills: by moment. problems: what is lost or wrong, one sentence each."""

    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    unanswered: int = 0
    unanswered_but_kept: int = 0
    events: int = 0
    interrupted: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        self.kills += other.kills
        self.acknowledged += other.acknowledged
        self.unanswered += other.unanswered
        self.unanswered_but_kept += other.unanswered_but_kept
        self.events += other.events
        self.interrupted += other.interrupted
        self.problems += other.problems


class Driver:
    """Kills the daemon of one data directory, and remembers what was acknowledged in it."""

    def __init__(self, data_dir: Path, seed: int) -> None:
        self.data_dir = data_dir
        self.random = random.Random(seed)
        self.report = Report()
        self.commands = 0
        self.sent: dict[str, dict[str, Any]] = {}
        self.acknowledged: dict[str, Any] = {}
        self.threads: list[str] = []

    async def run(self, kills: int) -> Report:
        """Kill `kills` times; check after each start that is not killed itself, and at the end."""
        for _ in range(kills):
            moment = self.random.choice(MOMENTS)
            if moment == "first start":
                await self.kill_first_start()
            else:
                await self.kill(moment)
        async with connect(self.data_dir):
            self.check()
        await self.settle_what_was_not_answered()
        self.verify()
        self.report.acknowledged = len(self.acknowledged)
        return self.report

    async def kill_first_start(self) -> None:
        """Kill a start in a new directory, and check that the next start works."""
        folder = self.data_dir.with_name(f"{self.data_dir.name}-{self.random.randrange(10**9)}")
        async with connect(folder, initialize=False) as client:
            await self.kill_within(client, START_SECONDS)
        async with connect(folder) as client:
            page = await client.project_list()
            if page.items:
                self.report.problems.append(f"a first start left projects: {page}")
        self.report.kills["first start"] += 1

    async def kill(self, moment: str) -> None:
        if moment == "rebuild" and (self.data_dir / FILE_NAME).exists():
            with closing(sqlite3.connect(self.data_dir / FILE_NAME, isolation_level=None)) as db:
                db.execute("UPDATE meta SET value = '0' WHERE key = 'projectionVersion'")
        async with connect(self.data_dir, initialize=False) as client:
            answers: list[tuple[str, asyncio.Task[Any]]] = []
            if moment in ("load", "shutdown"):
                await client.initialize()
                self.check()
                await client.daemon_status()  # wait until it takes commands: kills during a start are separate moments
                answers = await self.load(client)
            if moment == "load":
                await self.kill_within(client, 0.15)
            elif moment == "shutdown":
                assert client.process.stdin is not None
                client.process.stdin.close()
                await self.kill_within(client, 0.05)
            else:
                await self.kill_within(client, START_SECONDS)
            await client.process.wait()
            await asyncio.gather(*(answer for _, answer in answers), return_exceptions=True)
            for command_id, answer in answers:
                self.note(command_id, answer)
        self.report.kills[moment] += 1

    async def kill_within(self, client: Client, seconds: float) -> None:
        """Kill at a random moment within these seconds. The sleep waits for nothing: it chooses the moment."""
        await asyncio.sleep(self.random.random() * seconds)
        with contextlib.suppress(ProcessLookupError):
            client.process.send_signal(signal.SIGKILL)

    def note(self, command_id: str, answer: "asyncio.Future[Any]") -> None:
        error = answer.exception()
        if error is None:
            self.acknowledged[command_id] = answer.result()
        elif isinstance(error, RemoteError):
            self.sent.pop(command_id, None)  # it was rejected and is not stored: nothing to settle
        elif not isinstance(error, Disconnected):
            raise error

    async def load(self, client: Client) -> list[tuple[str, "asyncio.Task[Any]"]]:
        """Send pipelined work without waiting for answers; return a task per command id."""
        answers = []
        for params in self.work():
            self.commands += 1
            command_id = f"c-{self.commands}"
            method = "command/dispatchBatch" if "commands" in params else "command/dispatch"
            self.sent[command_id] = params
            answer = asyncio.create_task(client.call(method, {"commandId": command_id, **params}))
            answers.append((command_id, answer))
            if self.random.random() < 0.05:
                await asyncio.sleep(0)
        await asyncio.sleep(0)  # let the tasks start: each writes its request at once
        return answers

    def work(self) -> list[dict[str, Any]]:
        """Requests that start, fill and end turns. Some turns are left running."""
        n = f"{self.commands}"
        # It is rejected if the project exists. It is always sent, because a kill may have prevented the first one.
        work: list[dict[str, Any]] = [{"type": "CreateProject", "id": "project", "name": "p", "path": "/p"}]
        thread = f"thread-{n}"
        self.threads.append(thread)
        work.append({"type": "CreateThread", "threadId": thread, "projectId": "project", "title": "t"})
        for turn in range(self.random.randrange(1, 6)):
            of = {"threadId": thread, "turnId": f"turn-{turn}"}
            work.append({"type": "StartTurn", "threadId": thread, "id": of["turnId"], "prompt": "go"})
            work.append(
                {"type": "AddMessage", **of, "id": f"m{turn}", "role": "assistant", "text": "", "streaming": True}
            )
            for i in range(self.random.randrange(0, 60)):
                work.append({"type": "AppendMessage", "threadId": thread, "id": f"m{turn}", "text": f"token {i} "})
            work.append(
                {
                    "commands": [
                        {
                            "type": "RecordActivity",
                            **of,
                            "id": f"a{turn}",
                            "kind": "k",
                            "title": "t",
                            "status": "running",
                        },
                        {"type": "RequestApproval", **of, "id": f"q{turn}", "title": "may it?", "options": []},
                        {"type": "ChangeSetting", "key": f"s-{n}-{turn}", "value": turn},
                    ]
                }
            )
            end = self.random.random()
            if end < 0.6:
                work.append({"type": "CompleteTurn", "threadId": thread, "id": of["turnId"], "stopReason": "end_turn"})
            elif end < 0.8:
                work.append({"type": "ArchiveThread", "threadId": thread})
                break
            else:
                break
        return work

    def check(self) -> None:
        """Check all promises, right after a start."""
        self.check_log()
        self.check_turns()

    def check_log(self) -> None:
        with closing(sqlite3.connect(self.data_dir / FILE_NAME)) as db:
            log = dict(db.execute("SELECT sequence, payload FROM events").fetchall())
            remembered = {row[0] for row in db.execute("SELECT command_id FROM commands")}
        if sorted(log) != list(range(1, len(log) + 1)):
            self.report.problems.append("the log has a gap")
        for command_id, answer in self.acknowledged.items():
            if command_id not in remembered:
                self.report.problems.append(f"{command_id} is forgotten")
            for result in answer.get("results", [answer]):
                for stored in result["events"]:
                    if _decoded(log.get(stored["sequence"])) != stored["event"]:
                        self.report.problems.append(f"{command_id}: {stored} is {log.get(stored['sequence'])}")
        self.report.events = len(log)

    def check_turns(self) -> None:
        with closing(sqlite3.connect(self.data_dir / FILE_NAME)) as db:
            for table, left in (
                ("projection_turns", "running"),
                ("projection_messages", "streaming"),
                ("projection_activities", "running"),
                ("projection_approvals", "pending"),
            ):
                (count,) = db.execute(f"SELECT count(*) FROM {table} WHERE status = ?", (left,)).fetchone()
                if count:
                    self.report.problems.append(f"{count} rows of {table} are still {left}")
            (self.report.interrupted,) = db.execute(
                "SELECT count(*) FROM projection_turns WHERE status = 'interrupted'"
            ).fetchone()

    async def settle_what_was_not_answered(self) -> None:
        """Send unanswered commands again: those that were carried out get the stored answer and do nothing again."""
        with closing(sqlite3.connect(self.data_dir / FILE_NAME)) as db:
            remembered = {row[0] for row in db.execute("SELECT command_id FROM commands")}
        async with connect(self.data_dir) as client:
            for command_id, params in self.sent.items():
                if command_id in self.acknowledged:
                    continue
                self.report.unanswered += 1
                method = "command/dispatchBatch" if "commands" in params else "command/dispatch"
                before = (await client.daemon_status()).sequence
                try:
                    answer = await client.call(method, {"commandId": command_id, **params})
                except RemoteError:
                    answer = None  # its turn was interrupted in the meantime
                after = (await client.daemon_status()).sequence
                if command_id in remembered:
                    self.report.unanswered_but_kept += 1
                    if answer is None or after != before:
                        self.report.problems.append(f"{command_id} was there and was not answered as such: {answer}")

    def verify(self) -> None:
        _, differences = projections.verify(self.data_dir / FILE_NAME, self.data_dir / "copy.db")
        self.report.problems += [f"verify: {difference}" for difference in differences]


def _decoded(payload: str | None) -> Any:
    return None if payload is None else json.loads(payload)
