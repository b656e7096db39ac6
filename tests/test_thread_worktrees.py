"""Threads that work in worktrees, from outside: a daemon, real git, and agents that edit files."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from checkouts import Checkout, with_git
from people import on_terminal
from runs import Json, Runs, Thread, configure, running
from scripted import scripted
from treadle.contract.schema import json_schema
from treadle.workspace.repositories import open_repository, recording
from treadle.workspace.thread_folders import worktree_folder
from wire import run, serving

pytestmark = with_git
SCHEMA = json_schema()
LINES = "".join(f"line {n}\n" for n in range(20))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A daemon that most tests share; each has a project of its own."""
    with running(tmp_path_factory.mktemp("worktrees")) as found:
        yield found


class Project:
    """A project in a repository with one commit, and its threads, which have an agent each."""

    def __init__(self, runs: Runs, id: str, below: str = "") -> None:
        self.runs, self.id = runs, id
        self.home = runs.folder / f"home-{id}"
        self.checkout = Checkout(self.home / "code", self.home, below)
        self.checkout.write("a.txt", LINES)
        self.commit = self.checkout.commit()
        self.open()

    def open(self) -> None:
        self.runs.daemon.dispatch("CreateProject", id=self.id, name=self.id, path=str(self.checkout.folder))

    def thread(self, name: str, *, worktree: bool = True) -> Thread:
        id = f"{self.id}-{name}"
        home = self.runs.folder / id
        home.mkdir()
        files = {"SCRIPTED_LOG": "heard", "SCRIPTED_SESSIONS": "sessions", "PIDS": "pids"}
        configure(self.runs.daemon.data_dir, **{id: scripted(**{key: str(home / file) for key, file in files.items()})})
        thread = Thread(self.runs, id)
        thread.dispatch("CreateThread", projectId=self.id, title=id, worktree=worktree)
        thread.dispatch("AssignAgent", agent=id)
        return thread

    def listed(self) -> list[str]:
        """The worktrees that git knows, besides that of the user."""
        lines = self.checkout.git("worktree", "list", "--porcelain").splitlines()
        found = [line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")]
        return found[1:]


def edit(thread: Thread, name: str = "edited.txt") -> Json:
    turn = thread.answer(f"script=edit file={name}")
    assert turn["status"] == "completed"
    thread.until("CheckpointCreated", turnId=turn["id"], phase="after")
    return turn


def worktree_of(thread: Thread) -> Json:
    (header,) = thread.read()["threads"]
    found: Json = header["worktree"]
    return found


def folder_of(thread: Thread) -> Path:
    return Path(worktree_of(thread)["path"])


def request(thread: Thread, name: str, **params: Any) -> Json:
    """The result of worktree/NAME, after a comparison with the schema."""
    result: Json = thread.runs.daemon.result(f"worktree/{name}", {"threadId": thread.id, **params})
    struct = {"apply": "Restoration", "discard": "Discarded"}[name]
    Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{struct}"}).validate(result)
    return result


def refused(thread: Thread, method: str, **params: Any) -> str:
    error = thread.runs.daemon.error(method, {"threadId": thread.id, **params})
    return str(error["data"]["kind"])


def changed(thread: Thread) -> list[str]:
    """The files that differ from the commit that the worktree began at."""
    found = thread.runs.daemon.result("checkpoint/diff", {"threadId": thread.id})
    return [file["path"] for file in found["files"]]


def checkpoint(thread: Thread, phase: str, turn: str) -> str:
    return str(thread.until("CheckpointCreated", turnId=turn, phase=phase)["id"])


@pytest.mark.parametrize("below", ["", "part"])
def test_an_agent_works_in_its_worktree_until_that_is_applied_and_discarded(runs: Runs, below: str) -> None:
    project = Project(runs, f"whole{below}", below)
    project.checkout.write("mine.txt", "not committed\n")
    thread = project.thread("t")
    edit(thread, "a.txt")
    edit(thread, "new.txt")
    worktree = worktree_of(thread)
    assert worktree["base"] == project.commit
    folder = Path(worktree["path"])
    assert folder.is_relative_to(runs.daemon.data_dir.resolve() / "worktrees")
    assert thread.heard("session/new")[0]["params"]["cwd"] == str(folder)
    assert (folder / "a.txt").read_text() == LINES + "a line of the agent\n"
    assert not (folder / "mine.txt").exists()
    assert sorted(path.name for path in project.checkout.folder.iterdir() if path.name != ".git") == [
        "a.txt",
        "mine.txt",
    ]
    prefix = f"{below}/" if below else ""
    assert changed(thread) == [f"{prefix}a.txt", f"{prefix}new.txt"]
    assert refused(thread, "worktree/discard") == "worktreeNotClean"
    assert request(thread, "discard", dryRun=True)["files"] == [f"{prefix}a.txt", f"{prefix}new.txt"]
    was = project.checkout.work_tree()
    planned = request(thread, "apply", dryRun=True)
    assert planned == {"written": [f"{prefix}a.txt", f"{prefix}new.txt"], "removed": [], "left": [], "before": None}
    assert project.checkout.work_tree() == was
    done = request(thread, "apply")
    assert done == {**planned, "before": done["before"]}
    assert (project.checkout.folder / "a.txt").read_text() == LINES + "a line of the agent\n"
    assert (project.checkout.folder / "mine.txt").read_text() == "not committed\n"
    assert project.checkout.git("rev-parse", "HEAD") == project.commit
    discarded = request(thread, "discard")
    assert discarded["files"] == []
    assert worktree_of(thread) == {"path": None, "base": project.commit}
    assert not folder.exists()
    assert project.listed() == []
    assert list((runs.daemon.data_dir / "worktrees").glob("*/*")) == []


def test_two_agents_in_worktrees_and_one_in_the_project_do_not_touch_each_other(runs: Runs) -> None:
    project = Project(runs, "three")
    first, second, plain = project.thread("1"), project.thread("2"), project.thread("3", worktree=False)
    prompts = [thread.ask("script=edit file=a.txt script=silent") for thread in (first, second, plain)]
    turns = []
    for thread, prompt in zip((first, second, plain), prompts, strict=True):
        turns.append(thread.until("TurnStarted", promptId=prompt)["id"])
        thread.until("ActivityUpdated", status="completed")
    for folder in (folder_of(first), folder_of(second), project.checkout.folder):
        assert (folder / "a.txt").read_text() == LINES + "a line of the agent\n"
    # A turn in one folder blocks a restore in that folder alone.
    before = checkpoint(first, "before", turns[0])
    assert refused(first, "checkpoint/restore", id=before) == "turnRunning"
    first.cancel(turns[0])
    first.end_of(turns[0])
    restored = runs.daemon.result("checkpoint/restore", {"threadId": first.id, "id": before})
    assert restored["written"] == ["a.txt"]
    assert (folder_of(first) / "a.txt").read_text() == LINES
    for folder in (folder_of(second), project.checkout.folder):
        assert (folder / "a.txt").read_text() == LINES + "a line of the agent\n"
    assert refused(second, "worktree/apply") == refused(second, "worktree/discard", force=True) == "turnRunning"
    assert refused(first, "worktree/apply") == "turnRunning"  # in the folder of the project
    for thread, turn in ((second, turns[1]), (plain, turns[2])):
        thread.cancel(turn)
        thread.end_of(turn)


def test_what_was_applied_is_undone_by_restoring_the_checkpoint_of_the_project(runs: Runs) -> None:
    project = Project(runs, "undone")
    thread = project.thread("t")
    edit(thread, "a.txt")
    project.checkout.write("a.txt", "mine\n" + LINES)
    was = project.checkout.contents()
    done = request(thread, "apply")
    assert (project.checkout.folder / "a.txt").read_text() == "mine\n" + LINES + "a line of the agent\n"
    in_worktree = (folder_of(thread) / "a.txt").read_text()
    restored = runs.daemon.result("checkpoint/restore", {"threadId": thread.id, "id": done["before"]})
    assert restored["written"] == ["a.txt"]
    assert project.checkout.contents() == was
    assert (folder_of(thread) / "a.txt").read_text() == in_worktree
    runs.daemon.result("checkpoint/restore", {"threadId": thread.id, "id": restored["before"]})
    assert (project.checkout.folder / "a.txt").read_text() == "mine\n" + LINES + "a line of the agent\n"
    # The agent is not told of files that it does not work on.
    assert thread.answer("and now?")["status"] == "completed"
    assert len(thread.heard("session/prompt")[-1]["params"]["prompt"]) == 1


async def test_the_checkpoint_of_a_project_cannot_be_pruned_before_it_is_recorded(runs: Runs) -> None:
    project = Project(runs, "recorded")
    thread = project.thread("t")
    edit(thread, "a.txt")
    refs = project.checkout.git("for-each-ref", "refs/treadle/")
    repository = await open_repository(project.checkout.folder, runs.daemon.data_dir)
    async with recording(repository):  # as while another process prunes
        applying = asyncio.create_task(asyncio.to_thread(request, thread, "apply"))
        done, _ = await asyncio.wait([applying], timeout=1)
        assert not done
        assert project.checkout.git("for-each-ref", "refs/treadle/") == refs
    assert (await applying)["written"] == ["a.txt"]
    assert project.checkout.git("for-each-ref", "refs/treadle/") != refs


def test_a_conflict_is_said_before_anything_is_written(runs: Runs) -> None:
    project = Project(runs, "conflict")
    thread = project.thread("t")
    edit(thread, "a.txt")
    edit(thread, "b.txt")
    project.checkout.write("a.txt", LINES + "mine\n")
    was = project.checkout.work_tree()
    for dry in (True, False):
        error = runs.daemon.error("worktree/apply", {"threadId": thread.id, "dryRun": dry})
        assert error["data"]["kind"] == "conflict"
        assert error["message"].endswith("nothing was applied: a.txt")
    assert project.checkout.work_tree() == was
    assert refused(thread, "worktree/discard") == "worktreeNotClean"


def test_a_discarded_worktree_is_brought_back_by_its_checkpoint(runs: Runs) -> None:
    project = Project(runs, "back")
    thread = project.thread("t")
    edit(thread)
    folder = folder_of(thread)
    done = request(thread, "discard", force=True)
    assert done["files"] == ["edited.txt"]
    assert not folder.exists()
    project.checkout.write("a.txt", "later\n")
    project.checkout.commit()
    restored = runs.daemon.result("checkpoint/restore", {"threadId": thread.id, "id": done["before"]})
    assert restored["written"] == ["edited.txt"]
    assert worktree_of(thread) == {"path": str(folder), "base": project.commit}
    assert changed(thread) == ["edited.txt"]
    assert (folder / "a.txt").read_text() == LINES


def test_the_next_prompt_after_a_discard_makes_a_worktree_at_what_is_checked_out_then(runs: Runs) -> None:
    project = Project(runs, "anew")
    thread = project.thread("t")
    edit(thread)
    request(thread, "discard", force=True)
    later = project.checkout.write("later.txt") and project.checkout.commit()
    edit(thread)
    assert worktree_of(thread)["base"] == later
    assert changed(thread) == ["edited.txt"]
    assert (folder_of(thread) / "later.txt").exists()


def test_the_fork_of_a_thread_with_a_worktree_has_its_own(runs: Runs) -> None:
    project = Project(runs, "forked")
    thread = project.thread("t")
    edit(thread)
    thread.dispatch("ForkThread", id="forked-f")
    fork = Thread(runs, "forked-f")
    assert fork.answer("script=edit file=fork.txt")["status"] == "completed"
    assert (folder_of(fork) / "fork.txt").exists()
    assert not (folder_of(fork) / "edited.txt").exists()
    assert not (folder_of(thread) / "fork.txt").exists()


def test_rules_know_the_files_of_the_worktree(runs: Runs) -> None:
    project = Project(runs, "rules")
    thread = project.thread("t")
    scope = {"projectId": project.id}
    runs.daemon.dispatch("AddRule", scope=scope, match={"kind": "edit", "path": "allowed/*"}, decision="allow")
    turn = thread.answer("script=ask-edit file=allowed/a.txt")
    assert thread.text_of(turn["id"]) == "chose allow"
    other = thread.until("TurnStarted", promptId=thread.ask("script=ask-edit file=other/a.txt"))["id"]
    asked = thread.until("ApprovalRequested", turnId=other)
    assert thread.said("ApprovalResolved", id=asked["id"]) == []
    thread.cancel(other)
    thread.end_of(other)


@pytest.mark.parametrize(
    ("kind", "why"),
    [("none", "is not in a git repository"), ("unborn", "no commit yet"), ("bare", "no work tree"),
     ("submodule", "submodules")],
)  # fmt: skip
def test_where_there_can_be_no_worktree_the_queue_is_paused_with_the_reason(runs: Runs, kind: str, why: str) -> None:
    project = Project(runs, f"no-{kind}")
    git = project.checkout.top / ".git"
    if kind == "none":
        shutil.rmtree(git)
    elif kind == "unborn":
        project.checkout.git("update-ref", "-d", "HEAD")
    elif kind == "bare":
        project.checkout.git("config", "core.bare", "true")
    else:
        project.checkout.write(".gitmodules", "")
        project.checkout.commit()
    thread = project.thread("t")
    thread.ask("script=edit")
    paused = thread.until("QueuePaused")
    assert why in paused["reason"]
    assert worktree_of(thread) == {"path": None, "base": None}
    assert not (project.checkout.folder / "edited.txt").exists()
    assert thread.said("TurnStarted") == []
    assert not worktree_folder(runs.daemon.data_dir, thread.id).exists()
    assert refused(thread, "checkpoint/create") == "noWorktree"


def test_a_worktree_that_was_deleted_by_hand_is_said_and_discarded(runs: Runs) -> None:
    project = Project(runs, "by-hand")
    thread = project.thread("t")
    edit(thread)
    kept = thread.said("CheckpointCreated", phase="after")[-1]["id"]
    shutil.rmtree(folder_of(thread))
    for method in ("checkpoint/create", "checkpoint/diff", "worktree/apply"):
        assert refused(thread, method) == "worktreeLost"
    assert request(thread, "discard") == {"files": [], "before": None}
    assert project.listed() == []
    runs.daemon.result("checkpoint/restore", {"threadId": thread.id, "id": kept})
    assert changed(thread) == ["edited.txt"]


def test_a_worktree_that_git_has_forgotten_is_used_on(runs: Runs) -> None:
    project = Project(runs, "pruned")
    thread = project.thread("t")
    edit(thread)
    away = folder_of(thread).rename(runs.folder / "away")
    project.checkout.git("worktree", "prune")
    away.rename(folder_of(thread))
    assert changed(thread) == ["edited.txt"]
    assert request(thread, "apply")["written"] == ["edited.txt"]
    assert project.listed() == [str(folder_of(thread))]


def test_a_worktree_goes_with_a_project_that_is_moved(runs: Runs) -> None:
    project = Project(runs, "moved")
    thread = project.thread("t")
    edit(thread)
    project.checkout.top = project.checkout.folder = project.checkout.top.rename(project.home / "elsewhere")
    runs.daemon.dispatch("UpdateProject", id=project.id, path=str(project.checkout.top))
    assert changed(thread) == ["edited.txt"]
    assert request(thread, "apply")["written"] == ["edited.txt"]
    assert request(thread, "discard")["files"] == []
    assert project.listed() == []


def test_the_worktree_of_a_thread_that_was_deleted_in_a_turn_is_left_until_it_is_discarded(runs: Runs) -> None:
    project = Project(runs, "gone")
    thread = project.thread("t")
    turn = thread.until("TurnStarted", promptId=thread.ask("script=edit script=silent"))["id"]
    thread.until("ActivityUpdated", status="completed", id=thread.until("ActivityRecorded", turnId=turn)["id"])
    folder = folder_of(thread)
    thread.dispatch("DeleteThread")
    assert (folder / "edited.txt").exists()
    assert refused(thread, "worktree/apply") == "notFound"
    assert refused(thread, "worktree/discard") == "worktreeNotClean"
    assert request(thread, "discard", force=True) == {"files": ["edited.txt"], "before": None}
    assert not folder.exists()
    assert project.listed() == []


def test_a_daemon_that_is_killed_while_git_makes_a_worktree_leaves_nothing_that_stays(tmp_path: Path) -> None:
    hangs, reached = tmp_path / "hangs", tmp_path / "reached"
    hangs.touch()
    with running(tmp_path) as runs:
        project = Project(runs, "killed")
        project.checkout.write(".gitattributes", "*.txt filter=slow\n")
        project.checkout.git("config", "filter.slow.smudge", f"{SLOW} {hangs} {reached}")
        base = project.checkout.commit()
        os.mkfifo(reached)
        thread = project.thread("t")
        thread.ask("script=edit")
        pid = int(reached.read_text())
        (top,) = project.listed()
        runs.kill()
        runs.daemon.close_output()
    hangs.unlink()
    with running(tmp_path) as runs:
        thread, project.runs = Thread(runs, thread.id), runs
        thread.until("QueuePaused")
        thread.dispatch("ResumeQueue")
        # Git lives on, and holds the lock: if it ended later, it would remove what it takes for its own.
        assert worktree_of(thread) == {"path": None, "base": None}
        os.killpg(os.getpgid(pid), signal.SIGKILL)
        thread.until("TurnCompleted")
        assert worktree_of(thread) == {"path": top, "base": base}
        assert project.listed() == [top]
        assert changed(thread) == ["edited.txt"]


SLOW = "sh -c 'test ! -e $0 && exec cat; echo $$ > $1; exec sleep 86400'"
"""A filter of git that tells a pipe its process, and hangs as long as there is a file."""


@pytest.mark.parametrize("left", ["whole", "half", "locked", "rubbish"])
def test_what_was_left_in_the_place_of_a_worktree_is_removed(runs: Runs, left: str) -> None:
    project = Project(runs, f"left-{left}")
    place = worktree_folder(runs.daemon.data_dir, f"left-{left}-t")
    place.mkdir(parents=True)
    if left == "rubbish":
        (place / "code").mkdir()
        (place / "code" / "rubbish").touch()
    else:
        project.checkout.git("worktree", "add", "--quiet", str(place / "code"))
        if left != "whole":
            project.checkout.git("worktree", "lock", str(place / "code"))
            (place / "code" / ".git").unlink()
        if left == "locked":
            shutil.rmtree(place)
    thread = project.thread("t")
    edit(thread)
    assert changed(thread) == ["edited.txt"]
    assert project.listed() == [str(place / "code")]


def test_a_worktree_of_another_data_directory_is_not_touched(runs: Runs, tmp_path: Path) -> None:
    project = Project(runs, "elsewhere")
    runs.daemon.dispatch("CreateThread", threadId="foreign", projectId=project.id, title="T", worktree=True)
    thread = Thread(runs, "foreign")
    (tmp_path / "precious").touch()
    thread.dispatch("CreateWorktree", path=str(tmp_path), base=project.commit)
    for method in ("checkpoint/create", "worktree/apply"):
        assert refused(thread, method) == "worktreeLost"
    assert request(thread, "discard") == {"files": [], "before": None}
    assert (tmp_path / "precious").exists()
    assert worktree_of(thread)["path"] is None


def test_a_worktree_goes_with_a_data_directory_that_is_moved(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        project = Project(runs, "data")
        thread = project.thread("t")
        edit(thread)
        runs.finish()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with serving(tmp_path / "elsewhere") as daemon:
        asked = {"threadId": thread.id}
        assert daemon.error("worktree/discard", asked)["data"]["kind"] == "worktreeNotClean"
        assert daemon.result("worktree/apply", asked)["written"] == ["edited.txt"]
        assert daemon.result("worktree/discard", asked)["files"] == []
    assert project.listed() == []


def test_the_command_line_lists_applies_and_discards_worktrees(runs: Runs) -> None:
    project = Project(runs, "command")
    thread, gone = project.thread("t"), project.thread("gone")
    edit(thread, "a.txt")
    edit(gone)
    left = folder_of(gone)
    gone.dispatch("DeleteThread")

    def command(*arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
        done = run("worktree", *arguments, "--data-dir", str(runs.daemon.data_dir))
        assert done.returncode == status, done.stderr
        return done

    listed = [json.loads(line) for line in command("list", "--json").stdout.splitlines()]
    found = {one["threadId"]: one for one in listed if one["threadId"].startswith("command-")}
    known = {"path": str(folder_of(thread)), "base": project.commit, "title": thread.id}
    assert found[thread.id] == {"threadId": thread.id, **known, "deleted": False, "exists": True}
    assert found[gone.id]["deleted"]
    rows = {line.split()[0]: line for line in command("list").stdout.splitlines()}
    assert rows[gone.id].endswith("(of a deleted thread)")
    assert known["path"] in rows[thread.id]
    refused = command("discard", thread.id, status=1)
    assert "a.txt" in refused.stderr
    assert "treadle worktree apply" in refused.stderr
    assert command("apply", thread.id, "--dry-run").stdout == "would write a.txt\n"
    assert (project.checkout.folder / "a.txt").read_text() == LINES
    assert command("apply", thread.id).stdout.startswith("wrote a.txt\n")
    assert (project.checkout.folder / "a.txt").read_text() != LINES
    assert "nothing to apply" in command("apply", thread.id).stdout
    command("discard", thread.id)
    assert worktree_of(thread)["path"] is None
    assert command("discard", gone.id, "--force").stdout == "the worktree is removed\n"
    assert not left.exists()


def test_the_command_line_asks_on_a_terminal_before_it_applies_or_discards(runs: Runs) -> None:
    project = Project(runs, "asks")
    thread = project.thread("t")
    edit(thread, "a.txt")

    def typed(key: str, *arguments: str) -> str:
        place = ("--data-dir", str(runs.daemon.data_dir))
        status, told = on_terminal("worktree", *arguments, *place, typed=key)
        assert status == (0 if key == "y\n" else 1), told
        return told

    told = typed("n\n", "apply", thread.id)
    assert "would write a.txt\n" in told
    assert "wrote a.txt" not in told
    assert (project.checkout.folder / "a.txt").read_text() == LINES
    assert "wrote a.txt" in typed("y\n", "apply", thread.id)
    (folder_of(thread) / "b.txt").write_text("only here\n")
    assert "would lose b.txt" in typed("\n", "discard", thread.id)
    assert folder_of(thread).exists()
    typed("y\n", "discard", thread.id)
    assert worktree_of(thread)["path"] is None


def test_run_lets_the_agent_work_in_a_worktree(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        project = Project(runs, "run")
        configure(runs.daemon.data_dir, only=scripted())
        where = ("--data-dir", str(runs.daemon.data_dir), "--cwd", str(project.checkout.folder))
        env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
        done = run("run", "--worktree", *where, "script=edit", env=env)
        assert done.returncode == 0, done.stderr
        (one,) = [json.loads(line) for line in run("worktree", "list", "--json", *where[:2]).stdout.splitlines()]
        assert (Path(one["path"]) / "edited.txt").exists()
        assert not (project.checkout.folder / "edited.txt").exists()
        assert one["path"] in done.stderr
        refused = run("run", "--worktree", "--thread", one["threadId"], *where, "again", env=env)
        assert refused.returncode == 2


def test_doctor_says_which_worktrees_are_of_deleted_threads_or_lost(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        project = Project(runs, "doctor")
        fine, lost, gone = (project.thread(name) for name in ("fine", "lost", "gone"))
        for thread in (fine, lost, gone):
            edit(thread)

        def told() -> str:
            found = run("doctor", "--quick", "--data-dir", str(runs.daemon.data_dir)).stdout
            return next(line for line in found.splitlines() if "worktrees: " in line)

        assert told() == "ok       worktrees: 3"
        shutil.rmtree(folder_of(lost))
        assert f"is not there: treadle worktree discard {lost.id}" in told()
        request(lost, "discard")
        gone.dispatch("DeleteThread")
        assert f"treadle worktree discard {gone.id}" in told()
        request(gone, "discard", force=True)
        (rubbish := runs.daemon.data_dir / "worktrees" / "rubbish").mkdir()
        assert str(rubbish) in told()
