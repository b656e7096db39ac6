"""However a daemon ends, what it acknowledged is stored, reads stay the same, and none of its turns keeps running."""

import re
import shutil
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support import Wire, append_all, opened, plain, replayed, serving, set_default, spawned
from treadle.core.recovery import Recovery
from treadle.domain import events as e
from treadle.store.sqlite.database import FILE_NAME

AT = "2026-01-31T12:00:00.000Z"


async def dispatch(wire: Wire, type: str, **fields: Any) -> Any:
    return await wire.call("command/dispatch", {"type": type, **fields})


async def begin(wire: Wire) -> None:
    """A thread `done` with two turns that have ended, and a thread `busy` with one that has not."""
    await dispatch(wire, "CreateProject", id="p", name="P", path="/p")
    for thread in ("done", "busy"):
        await dispatch(wire, "CreateThread", threadId=thread, projectId="p", title="é😀")
        for turn in ("one", "two"):
            of: dict[str, Any] = {"threadId": thread, "turnId": turn}
            option = {"id": "yes", "name": "Yes", "kind": "allow_once"}
            await dispatch(wire, "StartTurn", threadId=thread, id=turn, prompt="Do", messageId=f"prompt-{turn}")
            await dispatch(wire, "AddMessage", id=f"m-{turn}", role="assistant", text="So ", streaming=True, **of)
            await dispatch(wire, "AppendMessage", id=f"m-{turn}", threadId=thread, text="𝄞 …")
            await dispatch(
                wire,
                "RecordActivity",
                id=f"a-{turn}",
                kind="k",
                title="ls",
                status="running",
                detail={"n": 1e300},
                **of,
            )
            await dispatch(wire, "RequestApproval", id=f"q-{turn}", title="May it?", options=[option], **of)
            await dispatch(wire, "CreateCheckpoint", id=f"c-{turn}", gitRef="refs/x", message="", **of)
            if thread == "done" or turn == "one":
                await dispatch(
                    wire, "CompleteTurn", threadId=thread, id=turn, stopReason="end_turn", usage={"n": 2**70}
                )


async def read(wire: Wire, thread: str) -> bytes:
    """The answer to thread/read as it came, but for its id and how long the log is."""
    id = wire.send("thread/read", {"threadId": thread})
    await wire.reply(id)
    return re.sub(rb'"(id|sequence)":\d+', b"", wire.bodies[id])


async def log(wire: Wire) -> list[Any]:
    events: list[Any] = []
    cursor = None
    while True:
        page = await wire.call("event/list", {"cursor": cursor})
        events += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            return events


def assert_is_interrupted(thread: dict[str, Any], reason: str) -> None:
    """The last turn has ended, with all that was in it; the one before is as it was."""
    assert [turn["status"] for turn in thread["turns"]] == ["completed", "interrupted"]
    assert thread["turns"][1]["reason"] == reason
    assert thread["threads"][0]["status"] == "idle"
    assert {message["status"] for message in thread["messages"]} == {"complete"}
    assert [activity["status"] for activity in thread["activities"]] == ["completed", "failed"]
    assert [approval["status"] for approval in thread["approvals"]] == ["cancelled", "cancelled"]


# SIGKILL


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_everything_acknowledged_survives_a_kill(data_dir: Path, durability: str) -> None:
    async with spawned(data_dir, "--durability", durability) as (wire, process):
        await begin(wire)
        before = await read(wire, "done")
        known = await log(wire)
        deltas = [
            wire.send(
                "command/dispatch", {"type": "AppendMessage", "threadId": "busy", "id": "m-two", "text": f"😀{n} "}
            )
            for n in range(3000)
        ]
        await wire.reply(deltas[len(deltas) // 10])
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await wire.ended()
        answered = [wire.replies[id][0]["result"]["events"] for id in deltas if wire.replies[id]]
    async with spawned(data_dir) as (wire, _):
        assert await read(wire, "done") == before
        found = await log(wire)
        assert [stored["sequence"] for stored in found] == list(range(1, len(found) + 1))
        assert found[: len(known)] == known
        for events in answered:
            for stored in events:
                assert found[stored["sequence"] - 1] == stored
        busy = await wire.call("thread/read", {"threadId": "busy"})
        assert_is_interrupted(busy, "the daemon that ran it is gone")
        text = busy["messages"][-1]["text"]
        kept = re.fullmatch(r"So 𝄞 …((?:😀\d+ )*)", text)
        assert kept, "whole words, as they were sent"
        assert len(kept[1].split()) >= len(answered)
        assert kept[1] == "".join(f"😀{n} " for n in range(len(kept[1].split()))), "in their order"


async def test_an_idle_thread_reads_the_same_byte_for_byte_after_a_kill(data_dir: Path) -> None:
    async with spawned(data_dir) as (wire, process):
        await begin(wire)
        await dispatch(wire, "InterruptTurn", threadId="busy")
        id = wire.send("thread/read", {"threadId": "busy"})
        await wire.reply(id)
        before = wire.bodies[id]
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with spawned(data_dir) as (wire, _):
        while (again := wire.send("thread/read", {"threadId": "busy"})) < id:
            await wire.reply(again)
        await wire.reply(again)
        assert wire.bodies[again] == before


# Other ways to end


async def say_shutdown_and_exit(wire: Wire) -> None:
    await wire.call("shutdown")
    wire.notify("exit")


async def say_exit(wire: Wire) -> None:
    wire.notify("exit")


ENDS: dict[str, tuple[Callable[[Wire], Awaitable[None]] | signal.Signals, int]] = {
    "SIGTERM": (signal.SIGTERM, 0),
    "SIGINT": (signal.SIGINT, 0),
    "end of input": (Wire.close_input, 0),
    "shutdown and exit": (say_shutdown_and_exit, 0),
    "exit without shutdown": (say_exit, 1),
}


@pytest.mark.parametrize(("how", "status"), ENDS.values(), ids=ENDS)
async def test_a_daemon_that_exits_in_any_way_leaves_nothing_unfinished(data_dir: Path, how: Any, status: int) -> None:
    async with spawned(data_dir) as (wire, process):
        await begin(wire)
        before = await read(wire, "done")
        if isinstance(how, signal.Signals):
            process.send_signal(how)
        else:
            await how(wire)
        _, errors = await process.communicate()
        assert (process.returncode, errors) == (status, b"")
    with plain(data_dir) as db:
        assert db.execute("SELECT count(*) FROM projection_turns WHERE status = 'running'").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM projection_messages WHERE status = 'streaming'").fetchone() == (0,)
    assert list((data_dir / "runners").iterdir()) == []
    async with serving(data_dir) as (wire, _):
        assert await read(wire, "done") == before
        assert_is_interrupted(await wire.call("thread/read", {"threadId": "busy"}), "the daemon ended")


async def test_requests_before_the_end_of_input_are_answered(data_dir: Path) -> None:
    async with spawned(data_dir) as (wire, process):
        ids = [wire.send("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": n}) for n in range(500)]
        await wire.close_input()
        await wire.ended()
        await process.communicate()
        assert [len(wire.replies[id]) for id in ids] == [1] * 500
        assert [wire.replies[id][0]["result"]["sequence"] for id in ids] == list(range(1, 501))


# Turns of dead daemons


def running_turn(thread: str, runner: str) -> list[e.AnyEvent]:
    of: dict[str, Any] = {"thread_id": thread, "at": AT}
    return [
        e.ThreadCreated(project_id="p", title="T", **of),
        e.TurnStarted(id="u", runner=runner, **of),
        e.MessageAdded(id="m", turn_id="u", role="assistant", text="half", streaming=True, **of),
    ]


async def test_turns_of_a_dead_daemon_are_interrupted_even_in_archived_threads(data_dir: Path) -> None:
    async with opened(data_dir) as store:
        await append_all(store, [e.ProjectCreated(id="p", name="P", path="/p", at=AT)])
        for thread in ("live", "archived"):
            await append_all(store, running_turn(thread, "01a2073d-0000-7000-8000-000000000000"))
        await append_all(store, [e.ThreadArchived(thread_id="archived", at=AT)])
    async with serving(data_dir) as (wire, _):
        for thread in ("live", "archived"):
            found = await wire.call("thread/read", {"threadId": thread})
            assert [turn["status"] for turn in found["turns"]] == ["interrupted"]
            assert found["messages"][0]["status"] == "complete"
            assert (found["threads"][0]["archivedAt"] is None) == (thread == "live")


async def test_a_daemon_interrupts_the_turns_of_another_only_after_it_has_died(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_default(monkeypatch, Recovery, "every", 0.01)
    async with serving(data_dir) as (watching, daemon):
        async with spawned(data_dir) as (wire, process):
            await begin(wire)
            await watching.call("subscription/open", {"topic": "events"})
            for _ in range(5):
                await daemon.services.recovery.end_what_gone_daemons_left()
            found = await watching.call("thread/read", {"threadId": "busy"})
            assert found["turns"][1]["status"] == "running"
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await watching.until(
            lambda params: any(stored["event"]["type"] == "TurnInterrupted" for stored in params["events"])
        )
        found = await watching.call("thread/read", {"threadId": "busy"})
        assert_is_interrupted(found, "the daemon that ran it is gone")


async def test_turns_in_a_copied_data_directory_are_interrupted(data_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    async with serving(data_dir) as (wire, _):
        await begin(wire)
        shutil.copytree(data_dir, copy, ignore=shutil.ignore_patterns("treadle.db*"))
        with plain(data_dir) as db, closing(sqlite3.connect(copy / FILE_NAME)) as target:
            db.backup(target)
        async with serving(copy) as (other, _):
            found = await other.call("thread/read", {"threadId": "busy"})
            assert_is_interrupted(found, "the daemon that ran it is gone")
        found = await wire.call("thread/read", {"threadId": "busy"})
        assert found["turns"][1]["status"] == "running"
        await dispatch(wire, "AppendMessage", threadId="busy", id="m-two", text=" and on")
    async with opened(data_dir) as store:
        texts = [s.event.text for s in await replayed(store) if isinstance(s.event, e.MessageAppended)]
        assert texts[-1] == " and on"
