"""Clients that stop reading or disappear: they use bounded memory, lose nothing, and leave no process behind."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import storms
import wire
from support import plain

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")

COST = 100  # MiB
PROMPTLY = 5.0  # seconds until no process is left; told, and asserted with patience, for machines are busy


@linux
@pytest.mark.parametrize("by", ["another", "itself"])
async def test_a_client_that_stops_reading_uses_bounded_memory_and_catches_up(
    data_dir: Path, by: Literal["another", "itself"], record_property: Any
) -> None:
    done = await storms.stall(data_dir, appends=10_000, size=16_000, by=by)
    record_property("MiB", done.peak - done.before)
    print(f"{done.before} MiB before, {done.peak} at most; {done.taken:.0%} taken unread; {done.seconds:.0f} s")
    assert done.problems == []
    assert done.peak - done.before <= COST


# Clients that disappear

Process = subprocess.Popen[bytes]


def half_a_frame(daemon: wire.Daemon, client: Process) -> None:
    """Its process dies while it writes."""
    body = json.dumps({"jsonrpc": "2.0", "id": "half", "method": "command/dispatch", "params": NEVER}).encode()
    daemon.write(daemon.frame(body)[:-20])
    daemon.close_input()
    daemon.close_output()


def no_more_input(daemon: wire.Daemon, client: Process) -> None:
    daemon.close_input()


def no_more_output(daemon: wire.Daemon, client: Process) -> None:
    daemon.close_output()


def nothing_but_gone(daemon: wire.Daemon, client: Process) -> None:
    """Its process ends, while another one holds its pipes."""
    client.kill()
    client.wait()


NEVER = {"type": "ChangeSetting", "key": "never", "value": 1}


def idle(daemon: wire.Daemon) -> None:
    pass


def streaming(daemon: wire.Daemon) -> None:
    """Tokens are on their way, which wait for company."""
    for n in range(50):
        daemon.request("command/dispatch", {"type": "AppendMessage", "threadId": "t", "id": "m", "text": f" {n}"})


def unread(daemon: wire.Daemon) -> None:
    """As much waits for the client as the daemon lets wait."""
    for n in range(100):
        daemon.dispatch("ChangeSetting", key=f"large-{n}", value="x" * 10_000)
    page = json.dumps({"jsonrpc": "2.0", "id": "page", "method": "setting/list", "params": {}}).encode()
    storms.push(daemon, [page.replace(b'"page"', str(-n).encode()) for n in range(1, 200)])


@pytest.mark.parametrize("state", [idle, streaming, unread])
@pytest.mark.parametrize("end", [half_a_frame, no_more_input, no_more_output, nothing_but_gone])
def test_a_client_that_disappears_leaves_no_process_and_loses_nothing(
    data_dir: Path,
    end: Callable[[wire.Daemon, Process], None],
    state: Callable[[wire.Daemon], None],
    record_property: Any,
) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as client,
        wire.spawn(data_dir, "--durability", "full") as daemon,
    ):
        daemon.initialize(processId=client.pid)
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="t")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="go")
        daemon.dispatch("AddMessage", threadId="t", turnId="u", id="m", role="assistant", text="I am", streaming=True)
        daemon.result("subscription/open", {"topic": "events", "afterSequence": 0})
        last = daemon.dispatch("ChangeSetting", key="last", value=1)
        state(daemon)
        began = time.monotonic()
        end(daemon, client)
        assert daemon.process.wait(wire.PATIENCE) == 0
        took = time.monotonic() - began
        record_property("seconds", took)
        print(f"ended after {took:.1f} s, promised are {PROMPTLY} s")
        client.kill()
    events = storms.log_of(data_dir)
    assert events[last["sequence"]] == last["events"][0]["event"]
    assert "TurnInterrupted" in [event["type"] for event in events.values()]
    assert "never" not in [event.get("key") for event in events.values()]
    with plain(data_dir) as db:
        assert db.execute("SELECT status FROM projection_turns").fetchall() == [("interrupted",)]
    assert list((data_dir / "runners").iterdir()) == []
    assert list(storms.whole(data_dir)) == []
