"""`treadle acp` puts what an editor and its agent say into the log, whatever happens to the database meanwhile."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from acp_editor import (
    Editor,
    behind,
    editing,
    ends,
    processes_of,
    said,
    scripted_agent,
    thread_of,
    wait_for_end,
)
from runs import running
from test_bad_days import EXCLUSIVE, locking
from wire import Daemon, serving

Json = dict[str, Any]
CHOICE = {"outcome": {"outcome": "selected", "optionId": "allow"}}


def recordings(data_dir: Path) -> list[Path]:
    return list((data_dir / "recordings").glob("*"))


def prompts_of(thread: Json) -> list[str]:
    """The prompts of its turns; one that continues another has none."""
    return [text.removeprefix("script=") for role, text in said(thread) if role == "user" and text]


def threads(daemon: Daemon) -> list[Json]:
    result: list[Json] = daemon.result("thread/list")["items"]
    return result


@contextmanager
def following(data_dir: Path) -> Iterator["Follower"]:
    with serving(data_dir) as daemon:
        daemon.result("subscription/open", {"topic": "events", "afterSequence": 0})
        yield Follower(daemon)


class Follower:
    """Another process that follows the log. events: all that it was told."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.events = daemon, list[Json]()

    def until(self, type: str, count: int = 1) -> Json:
        while len(found := [event for event in self.events if event["type"] == type]) < count:
            told = self.daemon.notification("event/appended")
            self.events += [stored["event"] for stored in told["events"]]
        return found[count - 1]


def recorder_of(data_dir: Path) -> int:
    """The process that has the database open."""
    for pid in processes_of(data_dir):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if descriptor.readlink().name == "treadle.db":
                return pid
    raise AssertionError("no recorder")


# What is recorded


def test_a_session_is_recorded_with_its_folder_and_its_agent(data_dir: Path, tmp_path: Path) -> None:
    with editing(data_dir) as editor:
        session = editor.start(tmp_path)
        editor.prompt(session, "Hello")
        editor.prompt(session, "And again")
    with serving(data_dir) as daemon:
        thread = thread_of(daemon, session)
        assert said(thread) == [
            *(("user", "Hello"), ("assistant", "You said: Hello")),
            *(("user", "And again"), ("assistant", "You said: And again")),
        ]
        assert ends(thread) == ["completed", "completed"]
        [about] = thread["threads"]
        assert about["title"] == "Hello"
        assert (about["origin"]["tool"], about["origin"]["sessionId"]) == ("scripted", session)
        assert [project["path"] for project in daemon.result("project/list")["items"]] == [str(tmp_path)]
    assert recordings(data_dir) == []


def test_the_tool_can_be_named(data_dir: Path, tmp_path: Path) -> None:
    editor = Editor(behind(data_dir, scripted_agent(), "--agent", "mine"))
    session = editor.start(tmp_path)
    editor.prompt(session, "script=plain")
    assert editor.leave() == 0
    wait_for_end(data_dir)
    with serving(data_dir) as daemon:
        assert [thread["origin"]["tool"] for thread in threads(daemon)] == ["mine"]


def test_several_sessions_of_one_connection_are_several_threads(data_dir: Path, tmp_path: Path) -> None:
    with editing(data_dir) as editor:
        first = editor.start(tmp_path)
        second = str(editor.call("session/new", cwd=str(tmp_path), mcpServers=[])["result"]["sessionId"])
        for session in (first, second, first):
            editor.prompt(session, "script=plain")
    with serving(data_dir) as daemon:
        assert [len(thread_of(daemon, session)["turns"]) for session in (first, second)] == [2, 1]


def test_others_see_a_turn_while_it_runs(data_dir: Path, tmp_path: Path) -> None:
    with following(data_dir) as other, editing(data_dir) as editor:
        session = editor.start(tmp_path)
        editor.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "script=ask"}])
        asked = editor.until("session/request_permission")
        assert other.until("ApprovalRequested")["title"] == asked["params"]["toolCall"]["title"]
        assert ends(thread_of(other.daemon, session)) == ["running"]
        editor.send(id=asked["id"], result=CHOICE)
        other.until("TurnCompleted")
        assert other.until("ApprovalResolved")["outcome"] == "allow"


@pytest.mark.parametrize(
    "prompt", ["plain", "thought", "plan", "tool", "edit", "thousand", "odd-text", "unknown-update", "ask"]
)
def test_what_is_recorded_is_what_a_run_by_treadle_records(data_dir: Path, tmp_path: Path, prompt: str) -> None:
    def content(thread: Json) -> Any:
        def values(name: str, *fields: str) -> list[list[Any]]:
            return [[item[field] for field in fields] for item in thread[name]]

        return (
            values("messages", "role", "text", "content", "status"),
            values("activities", "kind", "title", "status", "detail"),
            values("approvals", "title", "options", "outcome", "status"),
            values("turns", "status", "stopReason", "usage"),
        )

    with running(tmp_path) as runs:
        thread = runs.thread("it")
        asked = thread.ask(f"script={prompt}")
        if prompt == "ask":
            thread.dispatch("ResolveApproval", id=thread.until("ApprovalRequested")["id"], outcome="allow")
        thread.end_of(thread.until("TurnStarted", promptId=asked)["id"])
        direct = content(thread.read())
        folder = thread.home
        runs.finish()
    (folder / "edited.txt").unlink(missing_ok=True)
    with editing(data_dir.with_name("other")) as editor:
        editor.answers["session/request_permission"] = lambda params: CHOICE
        session = editor.start(folder)
        editor.prompt(session, f"script={prompt}")
    with serving(data_dir.with_name("other")) as daemon:
        recorded = content(thread_of(daemon, session))
    assert without_ids(recorded) == without_ids(direct)


def without_ids(content: Any) -> Any:
    """The agent makes new ids in each run."""
    if isinstance(content, dict):
        return {k: without_ids(v) for k, v in content.items() if k not in ("toolCallId", "messageId", "sessionId")}
    return list(map(without_ids, content)) if isinstance(content, list | tuple) else content


def test_a_session_that_is_loaded_again_is_not_recorded_twice(data_dir: Path, tmp_path: Path) -> None:
    kept = {"SCRIPTED_SESSIONS": str(tmp_path / "sessions")}
    with editing(data_dir, env=kept) as editor:
        session = editor.start(tmp_path)
        editor.prompt(session, "script=plain")
        editor.prompt(session, "script=tool")
    for _ in range(2):
        with editing(data_dir, env=kept) as editor:
            editor.initialize()
            editor.call("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])
            assert len([told for told in editor.told if told["method"] == "session/update"]) >= 4
            editor.prompt(session, "script=plain")
    with serving(data_dir) as daemon:
        prompts = prompts_of(thread_of(daemon, session))
        assert prompts == ["plain", "tool", "plain", "plain"]


def test_what_was_said_without_treadle_is_recorded_when_the_session_is_loaded(data_dir: Path, tmp_path: Path) -> None:
    kept = {"SCRIPTED_SESSIONS": str(tmp_path / "sessions")}
    directly = Editor(scripted_agent(), env={**os.environ, **kept})
    session = directly.start(tmp_path)
    directly.prompt(session, "script=plain")
    directly.leave()

    def load(prompt: str) -> None:
        with editing(data_dir, env=kept) as editor:
            editor.initialize()
            editor.call("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])
            editor.prompt(session, prompt)

    load("script=tool")
    directly = Editor(scripted_agent(), env={**os.environ, **kept})
    directly.initialize()
    directly.call("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])
    directly.prompt(session, "script=plan")
    directly.leave()
    load("script=usage")
    with serving(data_dir) as daemon:
        prompts = prompts_of(thread_of(daemon, session))
        assert prompts == ["plain", "tool", "plan", "usage"]


STRANGE: list[Json] = [
    {},
    {"jsonrpc": "2.0", "id": {"a": []}, "method": 7, "params": "x"},
    {"id": [], "result": 3},
    {"method": "session/update"},
    {"method": "session/update", "params": {"sessionId": 3, "update": []}},
    {"method": "session/update", "params": {"update": {"sessionUpdate": ["x"], "content": 7}}},
    {"method": "session/request_permission", "id": "a", "params": {"toolCall": [], "options": {"a": 1}}},
    {"method": "$/cancel_request", "params": {"requestId": {"b": None}}},
    {"method": "session/update", "params": {"update": {"sessionUpdate": "tool_call", "toolCallId": None}}},
    {"method": "session/update", "params": {"sessionId": "\ud800\0", "update": {"sessionUpdate": "plan"}}},
]


def test_messages_of_strange_shapes_do_not_end_the_recording(data_dir: Path, tmp_path: Path) -> None:
    strange = "".join(json.dumps(message) + "\n" for message in STRANGE)
    agent = ["sh", "-c", 'printf "%s" "$0"; exec "$@"', strange, *scripted_agent()]
    editor = Editor(behind(data_dir, agent))
    for _ in STRANGE:
        editor.receive()
    session = editor.start(tmp_path)
    editor.prompt(session, "script=plain")
    for message in STRANGE:
        editor.send(**message)
    editor.prompt(session, "script=tool")
    editor.leave()
    wait_for_end(data_dir)
    with serving(data_dir) as daemon:
        assert prompts_of(thread_of(daemon, session)) == ["plain", "tool"]
    assert recordings(data_dir) == []


def test_treadle_behind_treadle_records_once(data_dir: Path, tmp_path: Path) -> None:
    editor = Editor(
        behind(
            data_dir,
            [
                str(Path(sys.executable).with_name("treadle")),
                "acp",
                "--data-dir",
                str(data_dir),
                "--",
                *scripted_agent(),
            ],
        )
    )
    session = editor.start(tmp_path)
    editor.prompt(session, "script=plain")
    assert editor.leave() == 0
    wait_for_end(data_dir)
    with serving(data_dir) as daemon:
        assert len(thread_of(daemon, session)["turns"]) == 1


# The end


def test_a_turn_of_an_agent_that_dies_is_interrupted(data_dir: Path, tmp_path: Path) -> None:
    with editing(data_dir) as editor:
        session = editor.start(tmp_path)
        editor.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "script=kill"}])
        assert editor.wait() == -signal.SIGKILL
    with serving(data_dir) as daemon:
        [turn] = thread_of(daemon, session)["turns"]
        assert (turn["status"], turn["reason"]) == ("interrupted", "the agent or its editor has ended")


def test_a_recorder_that_is_killed_loses_nothing(data_dir: Path, tmp_path: Path) -> None:
    """Its turn is interrupted by another daemon, which starts no agent; the next one finds the rest in the files."""
    with editing(data_dir) as editor, following(data_dir) as other:
        session = editor.start(tmp_path)
        editor.ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": "script=ask"}])
        asked = editor.until("session/request_permission")
        other.until("ApprovalRequested")
        os.kill(recorder_of(data_dir), signal.SIGKILL)
        assert other.until("TurnInterrupted")["reason"] == "the daemon that ran it is gone"
        editor.send(id=asked["id"], result=CHOICE)
        while editor.receive().get("result") is None:
            pass
        editor.prompt(session, "script=plain")
    with following(data_dir) as other:
        other.until("TurnCompleted", 2)
        thread = thread_of(other.daemon, session)
        assert prompts_of(thread) == ["ask", "plain"]
        assert ("assistant", "chose allow") in said(thread)
        assert ends(thread) == ["interrupted", "completed", "completed"]
    assert recordings(data_dir) == []


# The database


def test_a_locked_database_is_not_noticed_and_gets_all_later(data_dir: Path, tmp_path: Path) -> None:
    with serving(data_dir):
        pass
    editor = Editor(behind(data_dir, scripted_agent()))
    with locking(data_dir, *EXCLUSIVE):
        session = editor.start(tmp_path)
        for _ in range(3):
            editor.prompt(session, "script=tool")
        assert editor.leave() == 0
    wait_for_end(data_dir)
    with following(data_dir) as other:
        other.until("TurnCompleted", 3)
        assert ends(thread_of(other.daemon, session)) == ["completed"] * 3


def test_a_database_that_cannot_be_opened_gets_all_from_the_next_session(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "treadle.db").mkdir(parents=True)
    with editing(data_dir) as editor:
        session = editor.start(tmp_path)
        editor.prompt(session, "script=plain")
        assert editor.leave() == 0
    assert len(recordings(data_dir)) == 1
    (data_dir / "treadle.db").rmdir()
    with editing(data_dir) as editor:
        other = editor.start(tmp_path)
        editor.prompt(other, "script=tool")
    with serving(data_dir) as daemon:
        assert [ends(thread_of(daemon, id)) for id in (session, other)] == [["completed"], ["completed"]]
    assert recordings(data_dir) == []


def test_a_data_directory_that_is_removed_is_made_again(data_dir: Path, tmp_path: Path) -> None:
    with editing(data_dir) as editor:
        session = editor.start(tmp_path)
        editor.prompt(session, "script=plain")
        with following(data_dir) as other:
            other.until("TurnCompleted")
        shutil.rmtree(data_dir)
        editor.prompt(session, "script=tool")
        editor.prompt(session, "script=plan")
    with serving(data_dir) as daemon:
        assert prompts_of(thread_of(daemon, session)) == ["plain", "tool", "plan"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_not_noticed_and_leaves_a_gap_that_is_marked(small_disk: Path, tmp_path: Path) -> None:
    data_dir = small_disk / "data"
    filler = small_disk / "filler"
    with serving(data_dir):
        pass
    with editing(data_dir) as editor:
        session = editor.start(tmp_path)
        editor.prompt(session, "script=plain")
        with open(filler, "wb", buffering=0) as file:  # until nothing fits
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
        for _ in range(3):
            editor.prompt(session, "script=long-line")
        filler.unlink()
        editor.prompt(session, "script=plain")
    with serving(data_dir) as daemon:
        thread = thread_of(daemon, session)
        assert "recording_gap" in {activity["kind"] for activity in thread["activities"]}
        assert ends(thread)[0] == ends(thread)[-1] == "completed"
        assert prompts_of(thread)[-1] == "plain"
