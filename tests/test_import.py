"""Recordings are imported turn by turn: once, with their own times, whatever was there of them at the time."""

import asyncio
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import opened
from treadle.agents.mapper import NO_END
from treadle.agents.recording import Frame, read_frames
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.store.pages import LATEST
from treadle.store.sqlite.store import Store
from treadle.transfer.recordings import STILL_GOING, Import, Recording, Report, read_recording, summary

FOLDER = Path(__file__).parent / "recordings"
SESSIONS = {
    "codex-greeting-acp-v2.jsonl": "01a21725-2a57-7d11-bf2a-2e5253606da6",
    "opencode-retry-helper.jsonl": "ses_df927a4e3ffeIAcdtHqOk4sjKV",
}
Rows = dict[str, Any]


class Importing:
    """Imports recordings into one log. Each case has a session of its own, so that one log is enough for all.

    began: when they began, a minute ago, so that a turn without an end is still going.
    """

    def __init__(self, store: Store, engine: Engine, name: str) -> None:
        self.store, self.engine = store, engine
        self.name, self.session = name, SESSIONS[name]
        self.text = (FOLDER / name).read_text()
        self.began = round(time.time()) - 60.0

    def frames(self, session: str) -> list[Frame]:
        return list(read_frames(line.encode() for line in self.text.replace(self.session, session).splitlines()))

    async def take(self, frames: list[Frame], ended: float | None = None) -> Report:
        """Import a recording that consists of these frames and was last written when the last one was."""
        ended = self.began + (frames[-1].t if frames else 0) if ended is None else ended
        recording = Recording(Path("/recordings/session.jsonl"), frames, ended, [])
        return await Import(self.store, self.engine, recording).run(lambda done, total: None)

    async def rows(self, session: str) -> Rows:
        """Everything in the thread, with sequences that count from its own, and with names for its ids."""
        snapshot = await self.store.read(lambda reads: reads.thread(session, 100, LATEST))
        text = msgspec.json.encode(snapshot).decode().replace(session, "SESSION")
        digests: dict[str, str] = {}  # of messages, which contain the session's id
        text = re.sub(r"(?<=-)[0-9a-f]{16}\b", lambda found: digests.setdefault(found[0], str(len(digests))), text)
        rows: Rows = msgspec.json.decode(text)
        first = rows["threads"][0]["sequence"]
        del rows["sequence"]
        for row in (row for kind in rows.values() if isinstance(kind, list) for row in kind):
            row["sequence"] -= first
            row.pop("runner", None)  # of the import that was first
            if "version" in row:
                row["version"] -= first
        return rows


@pytest.fixture(params=SESSIONS)
async def importing(request: pytest.FixtureRequest, store: Store, engine: Engine) -> Importing:
    return Importing(store, engine, request.param)


@pytest.fixture
async def version_2(store: Store, engine: Engine) -> Importing:
    return Importing(store, engine, "codex-greeting-acp-v2.jsonl")


def lengths(importing: Importing) -> list[int]:
    """Of the beginnings of a recording that are tried: some 60 of a long one."""
    whole = len(importing.frames("x"))
    return [*range(0, whole, max(1, whole // 60)), whole]


async def test_the_first_lines_and_then_the_whole_are_the_same_as_one_import(importing: Importing) -> None:
    await importing.take(importing.frames("session-whole"))
    once = await importing.rows("session-whole")
    assert [turn["status"] for turn in once["turns"]].count("running") == 0
    for length in lengths(importing):
        frames = importing.frames(f"session-{length:04}")
        first = await importing.take(frames[:length])
        second = await importing.take(frames)
        assert await importing.rows(f"session-{length:04}") == once, length
        assert (first.turns + second.turns, second.there_already) == (2, first.turns)
        assert first.failed + second.failed == []
        assert second.still_going == 0


async def test_nothing_is_lost_of_a_recording_that_grew_after_it_was_old(importing: Importing) -> None:
    old = time.time() - 2 * STILL_GOING
    await importing.take(importing.frames("session-whole"), old)
    once = contents(await importing.rows("session-whole"))
    for length in lengths(importing)[::2]:
        frames = importing.frames(f"session-{length:04}")
        await importing.take(frames[:length], old)
        await importing.take(frames, old)
        rows = await importing.rows(f"session-{length:04}")
        assert contents(rows) == once, length
        sequence = await importing.store.read(lambda reads: reads.sequence())
        assert (await importing.take(frames, old)).there_already == 2
        assert await importing.store.read(lambda reads: reads.sequence()) == sequence, length


def contents(rows: Rows) -> Any:
    """What was said in each turn, whether it is in one or was continued in others."""

    def own(id: str) -> str:
        return re.sub(r"(:\d+)+$", "", id)

    texts: dict[tuple[str, str], str] = {}
    for message in rows["messages"]:
        key = own(message["turnId"]), own(message["id"])
        texts[key] = texts.get(key, "") + message["text"]
    activities = {(own(a["turnId"]), own(a["id"])): (a["title"], a["status"], a["detail"]) for a in rows["activities"]}
    approvals = {own(a["id"]) for a in rows["approvals"]}
    turns = {
        own(turn["id"]): (turn["status"], turn["stopReason"], turn["reason"], turn["usage"]) for turn in rows["turns"]
    }
    return texts, activities, approvals, turns


# Files


def lines_of(session: str) -> list[bytes]:
    """A recording of one turn, as lines."""

    def told(update: Rows) -> Rows:
        return {"method": "session/update", "params": {"sessionId": session, "update": update}}

    def said(text: str) -> Rows:
        return told({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}})

    prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "Wo?"}]}
    messages: list[tuple[str, Rows]] = [
        ("client", {"id": 1, "method": "session/prompt", "params": prompt}),
        ("agent", said("Über ")),
        ("agent", told({"sessionUpdate": "tool_call", "toolCallId": "t", "title": "Look", "status": "pending"})),
        ("agent", told({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "completed"})),
        ("agent", said("dem Fluß")),
        ("agent", {"id": 1, "result": {"stopReason": "end_turn"}}),
    ]
    return [
        msgspec.json.encode({"t": float(t), "dir": sender, "msg": message}) + b"\n"
        for t, (sender, message) in enumerate(messages)
    ]


async def take_file(importing: Importing, file: Path, content: bytes) -> tuple[Recording, Report]:
    file.write_bytes(content)
    recording = read_recording(file)
    recording.changed = importing.began + (recording.frames[-1].t if recording.frames else 0)
    return recording, await Import(importing.store, importing.engine, recording).run(lambda done, total: None)


async def test_a_file_cut_at_any_byte_of_its_last_lines_is_completed_by_the_next_import(
    version_2: Importing, tmp_path: Path
) -> None:
    file = tmp_path / "session.jsonl"
    await take_file(version_2, file, b"".join(lines_of("session-whole")))
    once = await version_2.rows("session-whole")
    for cut in range(1, len(b"".join(lines_of("session-0000")[3:])) + 1):
        session = f"session-{cut:04}"
        content = b"".join(lines_of(session))
        recording, first = await take_file(version_2, file, content[:-cut])
        assert recording.skipped == []
        is_cut = b"\n" not in (content[-cut - 1 : -cut], content[-cut:][:1])
        assert bool(recording.bad) == is_cut, "the last line is not there yet"
        assert (first.turns, first.still_going) == ((1, 0) if cut == 1 else (0, 1))
        await take_file(version_2, file, content)
        assert await version_2.rows(session) == once, cut


async def test_a_line_that_is_no_frame_is_skipped_and_named(version_2: Importing, tmp_path: Path) -> None:
    lines = lines_of("session-whole")
    file = tmp_path / "session.jsonl"
    recording, report = await take_file(version_2, file, b"".join([*lines[:2], b"{bad}\n", b"\n", *lines[2:]]))
    assert [line.line for line in recording.skipped] == [3]
    assert str(recording.skipped[0]).startswith("line 3 is not a frame of a recording: ")
    assert summary(recording, report) == "1 turn new, 0 there already; 1 line skipped (3); 11 new events"


@pytest.mark.parametrize("began", [0.0, 1_700_000_000.25])
async def test_times_are_those_of_the_recording(version_2: Importing, tmp_path: Path, began: float) -> None:
    """Relative to when the file was last written, or since 1970."""
    frames = [msgspec.structs.replace(frame, t=frame.t + began) for frame in read_frames(lines_of("session-whole"))]
    await version_2.take(frames, version_2.began + 5)
    rows = await version_2.rows("session-whole")
    first = began or version_2.began
    times = [f"{datetime.fromtimestamp(first + t, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z" for t in range(6)]
    (thread,), (turn,), (activity,) = rows["threads"], rows["turns"], rows["activities"]
    assert (thread["createdAt"], thread["updatedAt"]) == (times[0], times[5])
    assert (turn["startedAt"], turn["endedAt"]) == (times[0], times[5])
    assert (activity["createdAt"], activity["updatedAt"]) == (times[2], times[3])
    assert [(m["createdAt"], m["completedAt"]) for m in rows["messages"]] == [
        (times[0], times[0]),
        (times[1], times[2]),
        (times[4], times[5]),
    ]
    origin = {"tool": "acp", "sessionId": "SESSION", "source": "/recordings/session.jsonl"}
    assert thread["origin"] == origin


async def test_a_file_that_was_copied_keeps_the_times_of_its_first_import(version_2: Importing) -> None:
    frames = version_2.frames("session-whole")
    second = [n for n, frame in enumerate(frames) if frame.msg.get("method") == "session/prompt"][1]
    await version_2.take(frames[:second])
    await version_2.take(frames, version_2.began + 50)
    times = [turn["startedAt"] for turn in (await version_2.rows("session-whole"))["turns"]]
    began = datetime.fromisoformat(times[1]).timestamp() - frames[second].t
    assert abs(began - version_2.began) < 0.002


async def test_a_clock_that_is_ahead_does_not_prevent_an_import(version_2: Importing) -> None:
    report = await version_2.take(version_2.frames("session-whole"), time.time() + 3600)
    assert (report.turns, report.failed) == (2, [])


async def test_two_imports_at_once_are_one(importing: Importing, data_dir: Path) -> None:
    await importing.take(importing.frames("session-whole"))
    once = await importing.rows("session-whole")
    frames = importing.frames("session-both")
    async with opened(data_dir) as store:
        engine = Engine(store, linger=0)
        engine.start()
        other = Importing(store, engine, importing.name)
        reports = await asyncio.gather(importing.take(frames), other.take(frames))
        await engine.stop()
    assert [report.failed for report in reports] == [[], []]
    assert sum(report.turns for report in reports) == sum(report.there_already for report in reports) == 2
    assert await importing.rows("session-both") == once


async def test_a_thread_that_was_deleted_is_not_imported_again(version_2: Importing) -> None:
    await version_2.take(version_2.frames("session-whole"))
    await version_2.engine.submit([c.DeleteThread(thread_id="session-whole")]).future
    report = await version_2.take(version_2.frames("session-whole"))
    assert report.turns == 0
    assert [reason.endswith("the thread was deleted") for reason in report.failed] == [True, True]


async def test_another_recording_of_the_session_adds_its_turns(version_2: Importing) -> None:
    """Also if its agent counts its tool calls and messages anew, and the user says the same again."""
    frames = version_2.frames("session-whole")
    later = [msgspec.structs.replace(frame, t=frame.t + 30) for frame in frames]
    await version_2.take(frames)
    report = await version_2.take(later)
    assert (report.turns, report.there_already, report.failed) == (2, 0, [])
    rows = await version_2.rows("session-whole")
    assert [turn["status"] for turn in rows["turns"]] == ["completed", "interrupted"] * 2
    half = len(rows["messages"]) // 2
    assert [m["text"] for m in rows["messages"][:half]] == [m["text"] for m in rows["messages"][half:]]


async def test_what_waits_for_the_next_turn_is_imported_once_with_it_or_when_it_is_old(version_2: Importing) -> None:
    title = {"sessionUpdate": "session_info_update", "title": "Fluß"}
    late = Frame(7.0, "agent", {"method": "session/update", "params": {"sessionId": "session-whole", "update": title}})
    frames = [*read_frames(lines_of("session-whole")), late]
    report = await version_2.take(frames)
    assert (report.turns, report.waiting) == (1, 1)
    await version_2.take(frames, time.time() - 2 * STILL_GOING)
    rows = await version_2.rows("session-whole")
    assert [a["title"] for a in rows["activities"]] == ["Look", "session_info_update"]
    assert rows["turns"][1]["stopReason"] == "outside_turn"
    again = [msgspec.structs.replace(frame, t=frame.t + 10) for frame in read_frames(lines_of("session-whole"))]
    await version_2.take([*frames, *again])
    rows = await version_2.rows("session-whole")
    assert [a["title"] for a in rows["activities"]] == ["Look", "session_info_update", "Look"]
    assert len(rows["turns"]) == 3


async def test_a_turn_without_an_end_is_interrupted_when_it_is_old(version_2: Importing) -> None:
    frames = list(read_frames(lines_of("session-whole")[:-1]))
    assert (await version_2.take(frames)).still_going == 1
    report = await version_2.take(frames, time.time() - 2 * STILL_GOING)
    assert (report.turns, report.still_going) == (1, 0)
    (turn,) = (await version_2.rows("session-whole"))["turns"]
    assert (turn["status"], turn["reason"], turn["by"]) == ("interrupted", NO_END, None)
