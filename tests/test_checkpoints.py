"""Checkpoints from outside: a daemon, real git, and an agent that edits a file."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from checkouts import Checkout, with_git
from runs import Json, Runs, Thread, running
from treadle.contract.schema import json_schema
from treadle.workspace.snapshots import checkpoint_ref
from wire import run

pytestmark = with_git
SCHEMA = json_schema()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A daemon that most tests share; each has a thread and an agent of its own."""
    with running(tmp_path_factory.mktemp("checkpoints")) as found:
        yield found


class Work:
    """A thread whose project is in a repository. checkout: the repository, without a commit."""

    def __init__(self, runs: Runs, id: str) -> None:
        self.thread = runs.thread(id)
        self.checkout = Checkout(self.thread.home / "code", self.thread.home)
        runs.daemon.dispatch("UpdateProject", id=f"of-{id}", path=str(self.checkout.folder))

    def request(self, name: str, **params: Any) -> Json:
        """The result of checkpoint/NAME, after a comparison with the schema."""
        result: Json = self.thread.runs.daemon.result(f"checkpoint/{name}", {"threadId": self.thread.id, **params})
        struct = {"create": "Checkpoint", "diff": "CheckpointDiff", "restore": "Restoration"}[name]
        Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{struct}"}).validate(result)
        return result

    def error(self, name: str, **params: Any) -> Json:
        found: Json = self.thread.runs.daemon.error(f"checkpoint/{name}", {"threadId": self.thread.id, **params})
        return found

    def of_turn(self, turn: str) -> list[str]:
        """The ids of the checkpoints before and after a turn."""
        return [str(self.thread.until("CheckpointCreated", turnId=turn, phase=p)["id"]) for p in ("before", "after")]

    def edit(self, name: str = "edited.txt") -> list[str]:
        """Let the agent append a line to a file; return the checkpoints before and after."""
        turn = self.thread.answer(f"script=edit file={name}")
        assert turn["status"] == "completed"
        return self.of_turn(turn["id"])


def paths(result: Json) -> list[tuple[str, str]]:
    return [(file["path"], file["status"]) for file in result["files"]]


def test_the_checkpoints_around_a_turn_differ_by_what_the_agent_did(runs: Runs) -> None:
    work = Work(runs, "around")
    work.checkout.write("mine.txt", "of the user\n")
    before, after = work.edit()
    found = work.request("diff", **{"from": before, "to": after, "patches": True})
    assert paths(found) == [("edited.txt", "added")]
    assert (found["total"], found["added"], found["removed"]) == (1, 1, 0)
    assert found["files"][0]["patch"].endswith("+a line of the agent\n")
    assert work.checkout.git("rev-parse", "--verify", "--quiet", checkpoint_ref("around", after))


def test_a_daemon_that_ends_right_after_a_turn_takes_its_checkpoint_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 0.1\nexec {shutil.which("git")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    with running(tmp_path) as runs:
        work = Work(runs, "last")
        turn = work.thread.answer("script=edit file=edited.txt")
        runs.finish()
        assert "checkpoint" not in runs.daemon.stderr
    with running(tmp_path) as again:
        checkpoints = again.daemon.result("thread/read", {"threadId": "last"})["checkpoints"]
        assert [(one["turnId"], one["phase"]) for one in checkpoints] == [(turn["id"], "before"), (turn["id"], "after")]


def test_a_checkpoint_on_request_is_compared_with_the_files_as_they_are_now(runs: Runs) -> None:
    work = Work(runs, "asked")
    work.checkout.write("a.txt", "one\n")
    made = work.request("create", message="Before lunch")
    assert (made["message"], made["phase"], made["turnId"], made["skipped"]) == ("Before lunch", "manual", None, [])
    assert work.request("diff", **{"from": made["id"]})["files"] == []
    work.checkout.write("a.txt", "two\n")
    work.checkout.write("b.txt")
    assert paths(work.request("diff", **{"from": made["id"]})) == [("a.txt", "modified"), ("b.txt", "added")]
    assert paths(work.request("diff", **{"from": made["id"], "paths": ["b.txt"]})) == [("b.txt", "added")]


def test_the_command_line_lists_the_checkpoints_of_a_thread_oldest_first(runs: Runs) -> None:
    work = Work(runs, "listed")
    made = [work.request("create", message=f"number {number}") for number in range(2)]
    told = run("checkpoints", "listed", "--json", "--data-dir", str(runs.daemon.data_dir))
    assert [json.loads(line) for line in told.stdout.splitlines()] == made
    shown = run("checkpoints", "listed", "--data-dir", str(runs.daemon.data_dir)).stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["ID", *(one["id"] for one in made)]
    assert shown[1].endswith("number 0")


def test_the_pages_of_a_comparison_have_each_file_once(runs: Runs) -> None:
    work = Work(runs, "pages")
    made = work.request("create")
    for number in range(5):
        work.checkout.write(f"{number}.txt")
    cursor, found = None, []
    while True:
        page = work.request("diff", **{"from": made["id"], "limit": 2, "cursor": cursor, "patches": True})
        assert page["total"] == 5
        found += [path for path, _ in paths(page)]
        if (cursor := page["nextCursor"]) is None:
            break
    assert found == [f"{number}.txt" for number in range(5)]


def test_a_dry_run_says_what_a_restore_does_and_changes_nothing(runs: Runs) -> None:
    work = Work(runs, "dry")
    work.checkout.write("kept.txt", "old\n")
    made = work.request("create")
    work.checkout.write("kept.txt", "new\n")
    work.checkout.write("more.txt")
    was = work.checkout.work_tree()
    planned = work.request("restore", id=made["id"], dryRun=True)
    assert planned == {"written": ["kept.txt"], "removed": ["more.txt"], "left": [], "before": None}
    assert work.checkout.work_tree() == was
    done = work.request("restore", id=made["id"])
    assert (done["written"], done["removed"]) == (["kept.txt"], ["more.txt"])


def test_a_restore_is_undone_by_restoring_what_was_there_before(runs: Runs) -> None:
    work = Work(runs, "undone")
    work.checkout.write("a.txt", "one\n")
    old, made = work.checkout.contents(), work.request("create")
    work.checkout.write("a.txt", "two\n")
    work.checkout.write("folder/b.txt")
    new = work.checkout.contents()
    done = work.request("restore", id=made["id"])
    assert work.checkout.contents() == old
    said = work.thread.until("CheckpointRestored", id=made["id"])
    assert (said["before"], said["written"], said["removed"]) == (done["before"], ["a.txt"], ["folder/b.txt"])
    work.request("restore", id=done["before"])
    assert work.checkout.contents() == new


def test_a_restore_of_paths_leaves_the_others(runs: Runs) -> None:
    work = Work(runs, "paths")
    work.checkout.write("a.txt", "one\n")
    work.checkout.write("b.txt", "one\n")
    made = work.request("create")
    work.checkout.write("a.txt", "two\n")
    work.checkout.write("b.txt", "two\n")
    assert work.request("restore", id=made["id"], paths=["b.txt"])["written"] == ["b.txt"]
    assert (work.checkout.folder / "a.txt").read_text() == "two\n"


def test_nothing_is_restored_while_a_turn_runs_in_the_folder_even_of_another_thread(runs: Runs) -> None:
    work = Work(runs, "busy")
    made = work.request("create")
    work.checkout.write("new.txt")
    runs.daemon.dispatch("CreateThread", threadId="busy-2", projectId="of-busy", title="Another")
    runs.daemon.dispatch("StartTurn", threadId="busy-2", id="its-turn")
    found = work.error("restore", id=made["id"])
    assert (found["data"]["kind"], found["data"]["turnId"]) == ("turnRunning", "its-turn")
    assert (work.checkout.folder / "new.txt").exists()
    assert work.request("restore", id=made["id"], dryRun=True)["removed"] == ["new.txt"]
    runs.daemon.dispatch("CompleteTurn", threadId="busy-2", id="its-turn", stopReason="end_turn")
    assert work.request("restore", id=made["id"])["removed"] == ["new.txt"]


def test_the_next_prompt_tells_the_agent_which_files_were_put_back(runs: Runs) -> None:
    work = Work(runs, "told")
    before, _ = work.edit()
    work.request("restore", id=before)
    told, silent = (prompt_of(work.thread, text) for text in ("and now?", "and then?"))
    assert [text.splitlines()[1:] for text in told[:-1]] == [["- edited.txt"]]
    assert told[-1] == "and now?"
    assert silent == ["and then?"]


def test_the_next_prompt_tells_of_each_restore_also_of_the_same_checkpoint(runs: Runs) -> None:
    work = Work(runs, "told-all")
    work.checkout.write("a.txt", "one\n")
    work.checkout.write("b.txt", "one\n")
    made = work.request("create")
    for name in ("a.txt", "b.txt"):
        work.checkout.write(name, "two\n")
        assert work.request("restore", id=made["id"])["written"] == [name]
    assert prompt_of(work.thread, "and now?")[0].splitlines()[1:] == ["- a.txt", "- b.txt"]


def prompt_of(thread: Thread, text: str) -> list[str]:
    """Ask; return the texts that reached the agent."""
    assert thread.answer(text)["status"] == "completed"
    return [block["text"] for block in thread.heard("session/prompt")[-1]["params"]["prompt"]]


@pytest.mark.parametrize("key", ["checkpoints", "checkpoints.of-off"])
def test_no_checkpoint_is_taken_where_they_are_off(key: str, tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        work = Work(runs, "off")
        runs.daemon.dispatch("ChangeSetting", key=key, value="off")
        assert work.thread.answer("script=edit")["status"] == "completed"
        assert work.thread.answer("script=edit")["status"] == "completed"
        assert work.thread.said("CheckpointCreated") == work.thread.said("CheckpointFailed") == []
        assert work.request("create")["phase"] == "manual"


def test_one_project_may_have_checkpoints_while_all_others_have_none(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        work = Work(runs, "on")
        runs.daemon.dispatch("ChangeSetting", key="checkpoints", value="off")
        runs.daemon.dispatch("ChangeSetting", key="checkpoints.of-on", value="auto")
        work.edit()


def test_a_failure_is_recorded_the_turn_goes_on_and_two_make_a_break(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        work = Work(runs, "broken")
        (work.checkout.top / ".git" / "config").write_text("this is no configuration")
        for _ in range(3):
            assert work.thread.answer("script=edit")["status"] == "completed"
        work.thread.until("CheckpointFailed", 2)
        failed = work.thread.said("CheckpointFailed")
        assert [event["turnId"] for event in failed] == [work.thread.said("TurnStarted")[0]["id"]] * 2
        assert "git" in failed[0]["reason"]
        assert work.thread.said("CheckpointCreated") == []


def test_outside_a_repository_nothing_is_taken_and_nothing_is_said(runs: Runs) -> None:
    thread = runs.thread("outside")
    for _ in range(2):
        assert thread.answer("script=edit")["status"] == "completed"
    assert thread.said("CheckpointCreated") == thread.said("CheckpointFailed") == []
    found = runs.daemon.error("checkpoint/create", {"threadId": "outside"})
    assert found["data"]["kind"] == "noRepository"


def test_a_pruned_checkpoint_is_not_listed_and_one_that_never_was_is_not_found(runs: Runs) -> None:
    work = Work(runs, "pruned")
    made = work.request("create")
    work.thread.dispatch("PruneCheckpoint", id=made["id"])
    for found in (work.error("diff", **{"from": "never"}), work.error("restore", id="never")):
        assert found["data"] == {"kind": "notFound", "entity": "checkpoint", "id": "never"}
    assert runs.daemon.result("checkpoint/list", {"threadId": "pruned"})["items"] == []


def test_the_checkpoint_of_a_client_is_compared_by_its_ref(runs: Runs) -> None:
    work = Work(runs, "client")
    work.checkout.write("a.txt")
    work.checkout.commit()
    work.thread.dispatch("CreateCheckpoint", id="of-client", gitRef="refs/heads/main", message="main")
    work.checkout.write("a.txt", "changed\n")
    assert paths(work.request("diff", **{"from": "of-client"})) == [("a.txt", "modified")]
    work.thread.dispatch("CreateCheckpoint", id="lost", gitRef="refs/heads/lost", message="lost")
    assert work.error("diff", **{"from": "lost"})["data"]["kind"] == "noCommit"
