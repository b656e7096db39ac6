"""Rows for agents: what treadle costs between an agent and a client that follows its thread.

The agent is the scripted one; it writes into each chunk when it wrote it, by the clock that all processes share.
"""

import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wire
from benchmarks import floors
from benchmarks.harness import Absent, Bench, Figure, cpu_seconds, mib, ms, p50, percentile, request, resident_bytes

AGENT = Path(__file__).parents[1] / "tools" / "scripted_agent" / "__main__.py"
EVERY = 0.02  # seconds between two chunks where one agent streams
FAST = 0.01  # where several do
AGENTS = 8
PAUSES = random.Random(0)


def chunks(bench: Bench) -> Mapping[str, Figure | Absent]:
    """Two daemons, one that lingers and one that does not, and the floor, in turn."""
    count = bench.sizes.chunks
    lingering, direct, floor = list[list[float]](), list[list[float]](), list[list[float]]()
    costs, firsts = [], []
    with agents(bench, 1) as one, agents(bench, 1, "--linger-ms", "0") as other:
        for daemon in (one, other):
            stream(daemon, 2, EVERY, 1)  # it starts the agent
        for _ in bench.rounds():
            lingering.append(stream(one, count, EVERY, 1))
            before = cpu_seconds(other.process.pid)
            direct.append(stream(other, count, EVERY, 1))
            costs.append((cpu_seconds(other.process.pid) - before) / count * 1e6)
            floor.append(relayed(count, EVERY))
            firsts.append(p50([first_chunk(other) for _ in range(bench.sizes.first_chunks)]))
    bare = f"p50 {ms(middle(floor, 50))}, p99 {ms(middle(floor, 99))} through a relay of one process"

    def figure(taken: list[list[float]]) -> Figure:
        """What treadle adds to the median, in milliseconds."""
        extra = [(p50(ours) - p50(bares)) * 1000 for ours, bares in zip(taken, floor, strict=True)]
        return Figure(extra, f"p50 {ms(middle(taken, 50))}, p99 {ms(middle(taken, 99))}; {bare}")

    return {
        "agent: chunk": figure(lingering),
        "agent: no linger": figure(direct),
        "agent: CPU": Figure(costs, f"{count:,} chunks, one each {ms(EVERY)}, each recorded by itself"),
        "agent: first chunk": Figure([first * 1000 for first in firsts], "of an agent that has a session open"),
    }


def eight_agents(bench: Bench) -> Mapping[str, Figure | Absent]:
    count, shares, sizes = bench.sizes.chunks, [], []
    with agents(bench, AGENTS) as daemon:
        stream(daemon, 2, FAST, AGENTS)
        idle = resident_bytes(daemon.process.pid)
        for _ in bench.rounds():
            began, before = time.perf_counter(), cpu_seconds(daemon.process.pid)
            stream(daemon, count, FAST, AGENTS)
            elapsed = time.perf_counter() - began
            shares.append((cpu_seconds(daemon.process.pid) - before) / elapsed * 100)
            sizes.append(resident_bytes(daemon.process.pid))
    beside = f"{count:,} chunks of each, {1 / FAST:.0f} per second; resident {mib(max(sizes))}, {mib(idle)} before"
    return {"agent: 8 at once": Figure(shares, beside)}


@contextmanager
def agents(bench: Bench, count: int, *arguments: str) -> Iterator[wire.Daemon]:
    """A daemon with this many threads that have the scripted agent, whose log is followed."""
    data_dir, folder = bench.folder("agents"), bench.folder("project")
    data_dir.mkdir()
    folder.mkdir()
    agent = {"command": sys.executable, "args": [str(AGENT)]}
    (data_dir / "agents.json").write_text(json.dumps({"agents": {"scripted": agent}}))
    with bench.serving(data_dir, *arguments) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path=str(folder.resolve()))
        for n in range(count):
            daemon.dispatch("CreateThread", threadId=f"t{n}", projectId="p", title="t")
            daemon.dispatch("AssignAgent", threadId=f"t{n}", agent="scripted")
        daemon.result("subscription/open", {"topic": "events"})
        yield daemon


def events(daemon: wire.Daemon) -> Iterator[Any]:
    """The events as they are told, without end."""
    while True:
        for stored in daemon.notification("event/appended")["events"]:
            yield stored["event"]


def stream(daemon: wire.Daemon, count: int, every: float, threads: int) -> list[float]:
    """Let agents stream chunks; return the seconds that each chunk took from the agent to here."""
    for n in range(threads):
        daemon.dispatch("QueuePrompt", threadId=f"t{n}", text=f"script=timed count={count} every={every}")
    taken, ended = list[float](), 0
    for event in events(daemon):
        here = time.perf_counter()
        if event["type"] == "MessageAppended" or (event["type"] == "MessageAdded" and event["role"] == "assistant"):
            taken += [here - float(written) for written in event["text"].split()]
        ended += event["type"] == "TurnCompleted"
        if ended == threads:
            break
    assert len(taken) == count * threads
    return taken


def first_chunk(daemon: wire.Daemon) -> float:
    """The seconds from a prompt to the first chunk."""
    time.sleep(PAUSES.uniform(0.01, 0.03))
    began = time.perf_counter()
    daemon.dispatch("QueuePrompt", threadId="t0", text="Hello")
    first = 0.0
    for event in events(daemon):
        if event["type"] == "MessageAdded" and event["role"] == "assistant":
            first = time.perf_counter() - began
        if event["type"] == "TurnCompleted":
            break
    return first


def relayed(count: int, every: float) -> list[float]:
    """The seconds that each chunk takes through a process that only reads and writes lines."""
    taken = []
    with floors.relay([sys.executable, AGENT]) as relay:
        relay.call("initialize", protocolVersion=1, clientInfo={"name": "bench"})
        session = relay.call("session/new", cwd="/", mcpServers=[])["sessionId"]
        prompt = [{"type": "text", "text": f"script=timed count={count} every={every}"}]
        relay.send(relay.frame(request("prompt", "session/prompt", sessionId=session, prompt=prompt)))
        for _ in range(count):
            update = json.loads(relay.receive())["params"]["update"]
            taken.append(time.perf_counter() - float(update["content"]["text"]))
        assert "result" in json.loads(relay.receive())
    return taken


def middle(rounds: Sequence[Sequence[float]], percent: int) -> float:
    """The median of the rounds' percentiles."""
    return p50([percentile(taken, percent) for taken in rounds])
