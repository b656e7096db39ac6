"""Kills daemons and agents at random moments while prompts are queued, and checks that nothing is left or sent twice.

Used by tests/test_agent_kills.py (some kills in every run) and tests/tools/soak.py (as many as are asked for). Linux
only: processes are found by their environment.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import storms
from runs import configure
from scripted import scripted, sentinels
from treadle.agents.reaper import VARIABLE
from treadle.client import Client, Disconnected, RemoteError, connect
from treadle.domain.agent_commands import AssignAgent, QueuePrompt, ResumeQueue
from treadle.domain.commands import CreateProject, CreateThread, InterruptTurn, ResolveApproval
from wire import PATIENCE

DAEMONS, THREADS = 3, 5
SCRIPTS = (
    "script=plain",
    "script=thousand",
    "script=ask",
    "script=stream",
    "script=children script=plain",
    "script=children script=ask",
    "script=children script=stream",
)
STEPS = ("prompt", "prompt", "prompt", "answer", "interrupt", "resume")
VICTIMS = ("SIGKILL of a daemon", "SIGKILL of an agent", "SIGTERM of a daemon")
MOMENT = 0.5  # seconds after a step, within which the kill comes
LEFT = 8.0  # seconds after which a process or a turn of a daemon that has exited counts as left; 4 are those of SIGTERM
WATCH = 0.2  # seconds between two looks
FULL = 6  # queued prompts of a thread, at which it gets no more


@dataclass
class Report:
    """What a run did and found. kills: by victim. prompts: answered ones. sent: those that reached an agent.
    slowest: seconds until nothing was left of a killed agent. problems: what is wrong, one sentence each."""

    kills: Counter[str] = field(default_factory=Counter)
    prompts: int = 0
    sent: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {victim}" for victim, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} ({kills}); {self.prompts} prompts, {self.sent} of them reached an agent; "
            f"after {self.slowest:.1f} s at most nothing was left of a killed one"
        )


class Daemon(NamedTuple):
    """A daemon with its client. runner: its name in turns. stack: ends both."""

    client: Client
    runner: str
    stack: AsyncExitStack

    @property
    def pid(self) -> int:
        return self.client.process.pid


class Process(NamedTuple):
    parent: int
    marks: list[str]


class AgentKills:
    """Daemons on one data directory, and the processes below them, which their environment tells from all others."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.data_dir = folder, folder / "data"
        self.random = random.Random(seed)
        self.report = Report()
        self.outer = f"soak-{os.getpid()}-{seed}"
        self.daemons: list[Daemon] = []
        self.texts: list[str] = []
        self.answered: dict[int, Any] = {}  # the events of answered prompts, by sequence
        self._left: dict[str, float] = {}  # what has no daemon any more, and since when
        self._late: set[str] = set()  # what of it was reported

    async def run(self, kills: int) -> Report:
        """Kill so many times, send what is queued then, and check. Processes of others must survive it."""
        self.folder.mkdir(parents=True)
        with sentinels():
            try:
                await self._run(kills)
            finally:
                for daemon in self.daemons:
                    await daemon.stack.aclose()
            await self._check_that_nothing_is_left()
        self._check_log()
        return self.report

    async def _run(self, kills: int) -> None:
        for n in range(THREADS):
            (self.folder / f"t{n}").mkdir()
            files = {"SCRIPTED_LOG": "heard", "SCRIPTED_SESSIONS": "sessions", "PIDS": "pids"}
            env = {name: str(self.folder / f"t{n}" / file) for name, file in files.items()}
            configure(self.data_dir, {"maxProcesses": THREADS - 1, "cancelSeconds": 3}, **{f"t{n}": scripted(**env)})
        self.daemons += [await self._start() for _ in range(DAEMONS)]
        first = self.daemons[0].client
        for n in range(THREADS):
            await first.dispatch(CreateProject(id=f"p{n}", name="P", path=str(self.folder / f"t{n}")))
            await first.dispatch(CreateThread(thread_id=f"t{n}", project_id=f"p{n}", title="T"))
            await first.dispatch(AssignAgent(thread_id=f"t{n}", agent=f"t{n}"))
        watching = asyncio.create_task(self._watch())
        for _ in range(kills):
            await self._kill()
        await self._send_the_rest()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    async def _start(self) -> Daemon:
        stack = AsyncExitStack()
        env = {VARIABLE: self.outer, "XDG_CONFIG_HOME": str(self.folder / "config")}
        log = str(self.folder / "log")
        client = await stack.enter_async_context(connect(self.data_dir, "--log-file", log, env=env))
        return Daemon(client, (await client.daemon_status()).runner, stack)

    # Killing

    async def _kill(self) -> None:
        """Some steps, and a kill within a moment after one of them, while others follow; then a new daemon."""
        for _ in range(self.random.randrange(10)):
            await self._step()
        victim = self.random.choices(VICTIMS, (5, 4, 1))[0]
        daemon = self.random.choice(self.daemons)
        killing = asyncio.create_task(self._kill_within(self.random.random() * MOMENT, victim, daemon))
        while not killing.done():
            await self._step()
        await killing
        self.report.kills[victim] += 1
        if victim == "SIGKILL of an agent":
            return
        async with asyncio.timeout(PATIENCE):
            await daemon.client.process.wait()
        await daemon.stack.aclose()
        self.daemons[self.daemons.index(daemon)] = await self._start()

    async def _kill_within(self, seconds: float, victim: str, daemon: Daemon) -> None:
        """The sleep waits for nothing: it chooses the moment."""
        await asyncio.sleep(seconds)
        if victim != "SIGKILL of an agent":
            daemon.client.process.send_signal(signal.SIGKILL if "KILL" in victim else signal.SIGTERM)
            return
        alive = {daemon.pid for daemon in self.daemons}
        async with asyncio.timeout(PATIENCE):
            while not (agents := [pid for pid, one in self._processes() if one.marks and one.parent in alive]):
                await self._step()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.random.choice(agents), signal.SIGKILL)

    # Steps

    async def _step(self) -> None:
        client, step = self.random.choice(self.daemons).client, self.random.choice(STEPS)
        try:
            if step == "prompt":
                await self._queue(client)
            else:
                await self._tend(client, step)
        except Disconnected:
            pass  # this one was killed
        await asyncio.sleep(self.random.random() * 0.1)  # steps have random distances, too

    async def _queue(self, client: Client) -> None:
        """Queue a prompt with a text that no other one has."""
        thread = self.random.choice((await client.thread_list()).items)
        if thread.queued >= FULL:
            await self._tend(client, "interrupt")
            return
        text = f"{self.random.choice(SCRIPTS)} word-{len(self.texts)}"
        self.texts.append(text)
        when = self.random.choices(("idle", "steer"), (9, 1))[0]
        try:
            [queued] = (await client.call("command/dispatch", _queue(thread.id, text, when)))["events"]
        except RemoteError as error:
            self.report.problems.append(f"a prompt was refused: {error}")
            return
        self.answered[queued["sequence"]] = queued["event"]

    async def _tend(self, client: Client, *steps: str) -> None:
        """Answer what agents ask, stop a turn, or resume paused queues. Another client may have been faster."""
        with contextlib.suppress(RemoteError):
            if "answer" in steps:
                for approval in (await client.approval_list()).items:
                    outcome = self.random.choice(("allow", "reject"))
                    await client.dispatch(
                        ResolveApproval(thread_id=approval.thread_id, id=approval.id, outcome=outcome)
                    )
        threads = (await client.thread_list()).items
        if "interrupt" in steps:
            for thread in self.random.sample(threads, 2):
                with contextlib.suppress(RemoteError):
                    await client.dispatch(InterruptTurn(thread_id=thread.id))
        if "resume" in steps:
            for thread in threads:
                if thread.queue_paused:
                    await client.dispatch(ResumeQueue(thread_id=thread.id))

    async def _send_the_rest(self) -> None:
        client = self.daemons[0].client
        deadline = time.monotonic() + 2 * PATIENCE
        while left := [one for one in (await client.thread_list()).items if one.queued or one.status != "idle"]:
            if time.monotonic() > deadline:
                self.report.problems += [f"{one.id} stays {one.status}, {one.queued} prompts wait" for one in left]
                return
            await self._tend(client, "answer", "interrupt", "resume")
            await asyncio.sleep(WATCH)  # agents work meanwhile

    # Checking

    def _processes(self) -> Iterator[tuple[int, Process]]:
        """Processes that live, and what marks they have below that of this run."""
        for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
            try:
                state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
                variables = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            except OSError:  # has ended, or is another user's
                continue
            of_run = f"{VARIABLE}={self.outer}:".encode()
            marks = [variable[len(of_run) :].decode() for variable in variables if variable.startswith(of_run)]
            if state not in "ZX":
                yield int(name), Process(int(parent), marks)

    async def _watch(self) -> None:
        """Note how long there are processes and turns of daemons that have exited."""
        while True:
            processes = dict(self._processes())
            alive = {daemon.pid: daemon.runner for daemon in self.daemons if daemon.pid in processes}
            left = [f"process {mark}" for mark in _left(processes, alive)]
            for daemon in self.daemons:
                if daemon.pid in alive:
                    with contextlib.suppress(Disconnected):
                        left += await _running_without(daemon.client, alive.values())
                    break
            self._note(left)
            await asyncio.sleep(WATCH)

    def _note(self, left: list[str]) -> None:
        now = time.monotonic()
        self._left = {what: self._left.get(what, now) for what in left}
        for what, since in self._left.items():
            if what.startswith("process"):
                self.report.slowest = max(self.report.slowest, now - since)
            if now - since > LEFT and what not in self._late:
                self._late.add(what)
                self.report.problems.append(f"{what} is left after {LEFT:g} s and {self.report.kills.total()} kills")

    async def _check_that_nothing_is_left(self) -> None:
        """One more daemon removes the records of those before it."""
        last = await self._start()
        for _ in range(int(PATIENCE / WATCH)):
            if not (records := list((self.data_dir / "agents").iterdir())):
                break
            await asyncio.sleep(WATCH)
        await last.stack.aclose()
        self.report.problems += [f"{record.name} is left" for record in records]
        self.report.problems += [f"process {pid} is left" for pid, one in self._processes() if one.marks]

    def _check_log(self) -> None:
        log = storms.log_of(self.data_dir)
        problems = self.report.problems
        problems += [f"{event} is lost" for sequence, event in self.answered.items() if log.get(sequence) != event]
        sent = Counter(event["id"] for event in log.values() if event["type"] == "PromptSent")
        problems += [f"prompt {id} was sent {count} times" for id, count in sent.items() if count > 1]
        problems += [f"{e} was not sent" for e in self.answered.values() if e["id"] not in sent]
        heard = Counter(text for file in self.folder.glob("t*/heard") for text in _texts(file))
        problems += [f"{text!r} reached an agent {heard[text]} times" for text in self.texts if heard[text] > 1]
        problems += storms.whole(self.data_dir)
        text = (self.folder / "log").read_text()
        problems += [line for line in text.splitlines() if "Traceback" in line or " ERROR " in line]
        self.report.prompts, self.report.sent = len(self.answered), sum(heard[text] for text in self.texts)


def _queue(thread_id: str, text: str, when: str) -> dict[str, Any]:
    return {"type": QueuePrompt.__name__, "threadId": thread_id, "text": text, "when": when}


async def _running_without(client: Client, runners: Collection[str]) -> list[str]:
    """The turns that are running, but not in one of these daemons."""
    reads = await asyncio.gather(*(client.thread_read(thread_id=f"t{n}", turn_limit=1) for n in range(THREADS)))
    turns = (turn for read in reads for turn in read.turns)
    return [f"turn {turn.id}" for turn in turns if turn.status == "running" and turn.runner not in runners]


def _left(processes: dict[int, Process], daemons: Collection[int]) -> set[str]:
    """The marks of the agents of which there are processes, none of them below a daemon."""

    def has_daemon(pid: int) -> bool:
        while pid in processes and pid not in daemons:
            pid = processes[pid].parent
        return pid in daemons

    held = {mark for pid, one in processes.items() if has_daemon(pid) for mark in one.marks}
    return {mark for one in processes.values() for mark in one.marks} - held


def _texts(file: Path) -> Iterator[str]:
    """The texts of the prompts that reached an agent."""
    for message in map(json.loads, file.read_text().splitlines()):
        if message.get("method") in ("session/prompt", "_session/steering"):
            yield from (block.get("text", "") for block in message["params"]["prompt"])
