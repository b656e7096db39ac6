"""Storms: many daemons on one data directory, clients that do not read, floods of requests.

Each storm is a function with its sizes as arguments: tests run it small, a soak runs it large. `problems` in its report
lists broken promises; the other figures are for people.
"""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import wire
from treadle.client import Client, RemoteError, Subscription, connect
from treadle.client.replica import Replica
from treadle.domain.commands import (
    AddMessage,
    ChangeSetting,
    CreateProject,
    CreateThread,
    RecordActivity,
    RenameThread,
    RequestApproval,
    StartTurn,
)
from treadle.domain.ids import Topic
from treadle.store.sqlite import projections
from treadle.store.sqlite.database import FILE_NAME
from treadle.store.sqlite.sql import scripts


def spread(seconds: list[float]) -> str:
    """The distribution of times, in milliseconds: `p50 3.1, p99 12.0, max 80.2 ms`."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    at = {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    return ", ".join(f"{name} {value * 1000:.1f}" for name, value in {**at, "max": ordered[-1]}.items()) + " ms"


def memory(pid: int) -> tuple[int, int]:
    """The resident memory of a process, now and at its peak, in MiB; Linux only."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines if line.startswith("Vm"))
    return tuple(int(values[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def log_of(data_dir: Path) -> dict[int, Any]:
    """The events of the log by sequence, as any program with SQLite reads them."""
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as db:
        return {
            sequence: json.loads(payload) for sequence, payload in db.execute("SELECT sequence, payload FROM events")
        }


def whole(data_dir: Path) -> Iterator[str]:
    """Yield what is wrong with a log and its projections."""
    log = log_of(data_dir)
    if list(log) != list(range(1, len(log) + 1)):
        yield f"the log of {len(log)} events has a gap"
    _, differences = projections.verify(data_dir / FILE_NAME, data_dir / "verify-storm.db")
    (data_dir / "verify-storm.db").unlink()
    yield from (f"verify: {difference}" for difference in differences)


class Follower:
    """Follows a subscription in the background. events: the sequences received, for the topic `events`."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.events: list[int] = []
        self._arrivals: list[tuple[int, float]] = []
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    @property
    def replica(self) -> Replica:
        return self.subscription.replica

    async def _follow(self) -> None:
        while True:
            params = await self.subscription.next()
            self.events += [stored["sequence"] for stored in params.get("events", ())]
            self._arrivals.append((params["sequence"], time.perf_counter()))
            self._more.set()

    async def at(self, sequence: int) -> float:
        """Wait until it was told of everything up to a sequence; return when that was."""
        async with asyncio.timeout(wire.PATIENCE):
            while not self._arrivals or self._arrivals[-1][0] < sequence:
                self._more.clear()
                await self._more.wait()
        return next(when for known, when in self._arrivals if known >= sequence)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def follow(client: Client, topic: Topic, **params: Any) -> Follower:
    return Follower(await client.subscribe(topic, **params))


async def daemons_on(stack: AsyncExitStack, data_dir: Path, count: int, *arguments: str) -> list[Client]:
    """Start `count` daemons at once, each with a client. They end with the stack."""
    return await asyncio.gather(*(stack.enter_async_context(connect(data_dir, *arguments)) for _ in range(count)))


# Many daemons write


@dataclass
class Writing:
    """waits: seconds from each command to its answer. told: from the last answer until each subscriber was told."""

    daemons: int
    acknowledged: int = 0
    events: int = 0
    rebuilds: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def write_at_once(
    data_dir: Path, *, daemons: int, commands: int, window: int = 1, rebuilds: int = 0, durability: str = "normal"
) -> Writing:
    """Each daemon's client sends `commands` commands, `window` at a time, and follows three topics."""
    report = Writing(daemons)
    answers: dict[str, Any] = {}

    async def send(lane: int, client: Client, numbers: Iterator[int]) -> None:
        for n in numbers:
            began = time.perf_counter()
            try:
                answers[f"{lane}-{n}"] = await client.call("command/dispatch", command(lane, n))
            except RemoteError as error:
                report.problems.append(f"command {lane}-{n} was answered: {error} {error.data}")
            report.waits.append(time.perf_counter() - began)

    async with AsyncExitStack() as stack:
        clients = await daemons_on(stack, data_dir, daemons, "--durability", durability)
        await clients[0].dispatch(CreateProject(id="p", name="P", path="/p"))
        await clients[0].dispatch(CreateThread(thread_id="shared", project_id="p", title="T"))
        await clients[0].dispatch(StartTurn(thread_id="shared", id="u", prompt="go"))
        for lane in range(daemons):
            open_message = AddMessage(
                thread_id="shared", turn_id="u", id=f"m{lane}", role="assistant", text="", streaming=True
            )
            await clients[0].dispatch(open_message)
        topics: list[dict[str, Any]] = [{"topic": "index"}, {"topic": "thread", "thread_id": "shared"}]
        followers = [await follow(client, **topic) for client in clients for topic in topics]
        logs = [await follow(client, "events", after_sequence=0) for client in clients]
        began = time.perf_counter()
        lanes = [(lane, client, iter(range(commands))) for lane, client in enumerate(clients)]
        rebuilding = asyncio.create_task(rebuild(data_dir, rebuilds))
        await asyncio.gather(*(send(*lane) for lane in lanes for _ in range(window)))
        report.seconds = time.perf_counter() - began
        problems = await rebuilding
        report.rebuilds = rebuilds
        last = (await clients[-1].dispatch(RenameThread(thread_id="shared", title="the end"))).sequence
        done = time.perf_counter()
        report.told = [await follower.at(last) - done for follower in (*followers, *logs)]
        for i, topic in enumerate(topics):
            fresh = (await clients[0].subscribe(**topic)).replica.entities
            held = [follower.replica.entities for follower in followers[i :: len(topics)]]
            if any(entities != held[0] for entities in held):
                problems.append(f"replicas of {topic} differ")
            if any(held[0][kind].get(id) != value for kind, values in fresh.items() for id, value in values.items()):
                problems.append(f"the replicas of {topic} are not what a snapshot is")
        if any(log.events != list(range(1, last + 1)) for log in logs):
            problems.append("a subscriber to the log was told something else than each event once, in order")
        for follower in (*followers, *logs):
            await follower.stop()
    report.acknowledged, report.events = len(answers), last
    report.problems += problems + list(whole(data_dir)) + list(lost(data_dir, answers, daemons, commands))
    return report


IN_TURN = {"threadId": "shared", "turnId": "u"}


def command(lane: int, n: int) -> dict[str, Any]:
    """The n-th command of a daemon's client. Half of the commands are tokens of the client's own message."""
    id = f"{lane}-{n}"
    match n % 8:
        case 0:
            return {"type": "CreateThread", "commandId": id, "threadId": f"t{id}", "projectId": "p", "title": id}
        case 1:
            activity = {"id": f"a{lane}-{n % 5}", "kind": "k", "title": id, "status": "running"}
            return {"type": "RecordActivity", "commandId": id, **IN_TURN, **activity}
        case 2:
            return {"type": "ChangeSetting", "commandId": id, "key": id, "value": n}
        case 3:
            return {"type": "AddMessage", "commandId": id, **IN_TURN, "id": id, "role": "assistant", "text": id}
    return {"type": "AppendMessage", "commandId": id, "threadId": "shared", "id": f"m{lane}", "text": f"{n} "}


def lost(data_dir: Path, answers: dict[str, Any], daemons: int, commands: int) -> Iterator[str]:
    """Yield what was acknowledged but is not in the log exactly once, as it was answered."""
    log = log_of(data_dir)
    for id, answer in answers.items():
        if any(log.get(stored["sequence"]) != stored["event"] for stored in answer["events"]):
            yield f"command {id} was answered with what the log does not hold"
    times = Counter(event["key"] for event in log.values() if event["type"] == "SettingChanged")
    if set(times.values()) > {1}:
        yield f"commands that happened twice: {[key for key, count in times.items() if count > 1]}"
    for lane in range(daemons):
        texts = [e["text"] for e in log.values() if e["type"] == "MessageAppended" and e["id"] == f"m{lane}"]
        if "".join(texts) != "".join(f"{n} " for n in range(commands) if n % 8 > 3):
            yield f"the text that daemon {lane} streamed is not what was sent, once and in order"


async def rebuild(data_dir: Path, times: int) -> list[str]:
    """Run `treadle rebuild` this many times, one after the other; return what went wrong."""
    problems = []
    for _ in range(times):
        process = await asyncio.create_subprocess_exec(
            *wire.TREADLE,
            "rebuild",
            "--data-dir",
            str(data_dir),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        if process.returncode:
            problems.append(f"treadle rebuild ended with {process.returncode}: {errors.decode()}")
    return problems


async def notice(data_dir: Path, *, daemons: int, commits: int) -> list[float]:
    """Commit one at a time; return the seconds from each answer until each client of another daemon was told."""
    waits = []
    async with AsyncExitStack() as stack:
        clients = await daemons_on(stack, data_dir, daemons, "--durability", "full")
        followers = [await follow(client, "settings") for client in clients]
        for n in range(commits):
            sequence = (await clients[n % daemons].dispatch(ChangeSetting(key="k", value=n))).sequence
            done = time.perf_counter()
            waits += [await follower.at(sequence) - done for i, follower in enumerate(followers) if i != n % daemons]
        for follower in followers:
            await follower.stop()
    return waits


@dataclass
class Starting:
    """seconds: from the spawn of each daemon to its answer to `initialize`."""

    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def start_at_once(data_dir: Path, *, daemons: int) -> Starting:
    """Start daemons at once on a data directory that does not exist yet."""
    report = Starting()
    logs = set()
    async with AsyncExitStack() as stack:

        async def start() -> None:
            began = time.perf_counter()
            client = await stack.enter_async_context(connect(data_dir))
            report.seconds.append(time.perf_counter() - began)
            logs.add(client.info.log_id)
            await client.dispatch(ChangeSetting(key=str(client.process.pid), value=1))

        await asyncio.gather(*(start() for _ in range(daemons)))
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as db:
        versions = [version for (version,) in db.execute("SELECT version FROM schema_migrations")]
    if len(versions) != len(scripts("migrations")) or len(logs) != 1 or list(data_dir.glob("before*")):
        report.problems.append(f"migrations {versions}, logs {logs}, copies {list(data_dir.glob('before*'))}")
    if len(log_of(data_dir)) != daemons:
        report.problems.append(f"{len(log_of(data_dir))} events of {daemons} daemons")
    report.problems += whole(data_dir)
    return report


# Some daemons are killed


@dataclass
class Killing:
    """seconds: from the death of each daemon until each of the others was told that its turn is interrupted."""

    kills: int
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def kill_beside(data_dir: Path, *, daemons: int, kills: int) -> Killing:
    """Kill one daemon after the other in the middle of a turn, while others keep running, one of them with a turn."""
    report = Killing(kills)
    async with AsyncExitStack() as stack:
        others = await daemons_on(stack, data_dir, daemons - 1)
        await others[0].dispatch(CreateProject(id="p", name="P", path="/p"))
        await others[0].dispatch(CreateThread(thread_id="live", project_id="p", title="T"))
        await others[0].dispatch(StartTurn(thread_id="live", id="u", prompt="go"))
        followers = [await follow(client, "events") for client in others]
        for n in range(kills):
            async with connect(data_dir) as victim:
                sequence = await half_a_turn(victim, f"t{n}")
                victim.process.kill()
                await victim.process.wait()
                died = time.perf_counter()
                # Four events: the message, the approval, the activity and the turn end.
                report.seconds += [await follower.at(sequence + 4) - died for follower in followers]
        live = (await others[0].thread_read(thread_id="live")).turns[0].status
        left = [path.name for path in (data_dir / "runners").iterdir()]
        for follower in followers:
            await follower.stop()
    if live != "running" or len(left) != 1:
        report.problems.append(f"the turn of one that lives is {live}; lock files: {left}")
    ends = Counter(e["threadId"] for e in log_of(data_dir).values() if e["type"] == "TurnInterrupted")
    if ends != Counter(["live", *(f"t{n}" for n in range(kills))]):
        report.problems.append(f"turns were interrupted that often: {ends}")
    report.problems += whole(data_dir)
    return report


async def half_a_turn(client: Client, thread: str) -> int:
    """Start a turn with a message, an activity and an approval, all open; return the sequence of the last event."""
    answer = await client.dispatch_batch(
        commands=[
            CreateThread(thread_id=thread, project_id="p", title="T"),
            StartTurn(thread_id=thread, id="u", prompt="go"),
            AddMessage(thread_id=thread, turn_id="u", id="m", role="assistant", text="I am", streaming=True),
            RecordActivity(thread_id=thread, turn_id="u", id="a", kind="k", title="t", status="running"),
            RequestApproval(thread_id=thread, turn_id="u", id="q", title="May I?", options=[]),
        ]
    )
    return answer.sequence


# Some clients do not read


@dataclass
class Stalling:
    """before, peak: the daemon's memory, in MiB. taken: the share of requests taken while no answer was read."""

    before: int = 0
    peak: int = 0
    taken: float = 1.0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Held:
    """A subscription whose notifications are read only on request."""

    def __init__(self, daemon: wire.Daemon, topic: str, **params: Any) -> None:
        self._daemon = daemon
        self._asked = {"topic": topic, **params}
        opened = daemon.result("subscription/open", self._asked)
        self._id = opened["subscriptionId"]
        self.sequence = opened["sequence"]
        self.replica = Replica()
        self.has_older = opened["type"] == "snapshot" and opened["snapshot"].get("beforeCursor") is not None
        self.replica.start(opened)

    def until(self, sequence: int) -> Iterator[str]:
        """Read notifications up to a sequence; yield what is wrong with them."""
        while self.sequence < sequence:
            method = "event/appended" if self._asked["topic"] == "events" else "projection/changed"
            params = self._daemon.notification(method, lambda params: params["subscriptionId"] == self._id)
            if "changes" in params:
                self.replica.apply(params["changes"], params["sequence"])
            elif [s["sequence"] for s in params["events"]] != list(range(self.sequence + 1, params["sequence"] + 1)):
                yield f"the log was told otherwise than in order after {self.sequence}"
            self.sequence = params["sequence"]

    def compared(self, daemon: wire.Daemon) -> Iterator[str]:
        """Compare the replica with a fresh snapshot of another daemon; yield what is wrong."""
        if self._asked["topic"] == "events":
            return
        fresh = Held(daemon, **self._asked)
        held = self.replica.entities
        if fresh.has_older:  # the snapshot has only the newest part of the thread, the replica has more
            same = all(values.items() <= held[kind].items() for kind, values in fresh.replica.entities.items())
        else:
            same = fresh.replica.entities == held
        if not same:
            yield f"the replica of {self._asked} is not what a snapshot is"


async def stall(data_dir: Path, *, appends: int, size: int, by: Literal["another", "itself"]) -> Stalling:
    """A client follows four topics and stops reading, while `appends` messages of `size` characters are appended."""
    return await asyncio.to_thread(_stall, data_dir, appends, size, by)


def _stall(data_dir: Path, appends: int, size: int, by: Literal["another", "itself"]) -> Stalling:
    report, began = Stalling(), time.perf_counter()
    with wire.serving(data_dir) as stalled, wire.serving(data_dir) as another:
        another.dispatch("CreateProject", id="p", name="P", path="/p")
        another.dispatch("CreateThread", threadId="shared", projectId="p", title="T")
        another.dispatch("StartTurn", threadId="shared", id="u", prompt="go")
        thread = Held(stalled, "thread", threadId="shared", turnLimit=1)
        index, settings, log = Held(stalled, "index"), Held(stalled, "settings"), Held(stalled, "events")
        report.before = memory(stalled.process.pid)[0]
        added = {"type": "AddMessage", **IN_TURN, "role": "assistant", "text": "x" * size}
        requests = [request(f"m{n}", "command/dispatch", added) for n in range(appends)]
        sent = push(stalled, requests) if by == "itself" else 0
        if by == "itself":
            report.taken = sent / appends
        writer = stalled if by == "itself" else another
        for start in range(sent, appends, 1000):
            writer.write(b"".join(map(writer.frame, requests[start : start + 1000])))
            if by == "another":
                report.problems += refused(writer, [f"m{n}" for n in range(start, min(start + 1000, appends))])
        if by == "itself":
            report.problems += refused(writer, [f"m{n}" for n in range(appends)])
        set_to = writer.dispatch("ChangeSetting", key="k", value=1)["sequence"]
        last = writer.dispatch("RenameThread", threadId="shared", title="the end")["sequence"]
        for held, sequence in ((index, last), (thread, last), (settings, set_to), (log, last)):
            report.problems += held.until(sequence)
        report.peak = memory(stalled.process.pid)[1]
        for held in (index, thread, settings, log):
            report.problems += held.compared(another)
    if last != appends + 6:
        report.problems.append(f"{last} events of {appends} messages")
    report.seconds = time.perf_counter() - began
    return report


def request(id: Any, method: str, params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()


def refused(daemon: wire.Daemon, ids: list[str]) -> list[str]:
    """A sentence for each answer that is an error."""
    return [f"{id} was answered {answer}" for id in ids if "error" in (answer := daemon.answer(id))]


def push(daemon: wire.Daemon, requests: list[bytes]) -> int:
    """Send requests without reading answers, until the daemon takes no more; return how many were sent."""
    for n, body in enumerate(requests):
        frame, before = daemon.frame(body), -1
        while frame := frame[daemon.write(frame, reading=False) :]:
            if before == (before := busy(daemon.process.pid)):
                daemon.write(frame)
                return n + 1
            time.sleep(0.1)  # then look whether it used CPU time
    return len(requests)


def quiet(daemon: wire.Daemon) -> None:
    """Wait until the daemon is idle or blocked."""
    before = -1
    while before != (before := busy(daemon.process.pid)):
        time.sleep(0.1)  # then look whether it used CPU time


def busy(pid: int) -> int:
    """The CPU time that a process has used, in clock ticks of the kernel; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def flood(data_dir: Path, *, requests: int) -> Stalling:
    """A client sends this many small requests, and reads no answers until the daemon takes no more requests."""
    return await asyncio.to_thread(_flood, data_dir, requests)


def _flood(data_dir: Path, requests: int) -> Stalling:
    report, began = Stalling(), time.perf_counter()
    with wire.serving(data_dir) as daemon:
        report.before = memory(daemon.process.pid)[0]
        bodies = [small_request(n) for n in range(requests)]
        sent = push(daemon, bodies)
        report.taken = sent / requests
        answers = Counter[Any]()
        for start in range(sent, requests, 1000):
            daemon.write(b"".join(map(daemon.frame, bodies[start : start + 1000])))
        for _ in range(requests):
            answers[daemon.message()["id"]] += 1
        if answers != Counter(range(1000, 1000 + requests)):
            report.problems.append("not every request was answered once")
        if "result" not in daemon.call("daemon/status"):
            report.problems.append("afterwards, the daemon does not answer")
        report.peak = memory(daemon.process.pid)[1]
    report.seconds = time.perf_counter() - began
    return report


def small_request(n: int) -> bytes:
    """A small request, in turn one of several kinds: a read, a write, an invalid one."""
    setting = {"type": "ChangeSetting", "key": f"k{n % 10}", "value": n}
    method, params = (
        ("thread/list", {}),
        ("command/dispatch", setting),
        ("no/such", {}),
        ("setting/list", {"limit": 3}),
        ("thread/read", {"threadId": 7}),
    )[n % 5]
    return request(1000 + n, method, params)
