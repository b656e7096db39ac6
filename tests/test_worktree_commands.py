"""`treadle diff`, `undo`, `blame` and `checkpoints prune` for a thread that works in a worktree."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from checkouts import with_git
from command_lines import InRepository
from wire import TREADLE

pytestmark = with_git

ADDED = "the agent wrote this\n"


class InWorktree(InRepository):
    """A thread whose agent has changed `a.txt` and added `new.txt` in its worktree; the project is
    as it was."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.checkout.write("a.txt", "one\ntwo\n")
        self.checkout.commit()
        self.turn("script=files write=a.txt,new.txt", "--worktree")
        [thread] = self.threads()
        self.thread, self.worktree = thread["id"], Path(thread["worktree"]["path"])

    def action(self, group: str, *arguments: str) -> str:
        """What a command of a group prints."""
        words = [*TREADLE, group, *arguments, "--data-dir", str(self.data_dir)]
        return subprocess.run(words, capture_output=True, text=True, check=True, env=self.env, cwd=self.work).stdout

    def do_again(self, said: str, *more: str) -> str:
        """What the command prints that was said to undo something."""
        [command] = re.findall(r"^to (?:undo this|bring it back): treadle (.+)$", said, re.MULTILINE)
        name, *rest = shlex.split(command)[:-2]  # without --data-dir
        return self.do(name, *rest, *more).stdout

    def checkpoints(self, phase: str) -> list[str]:
        return [one["id"] for one in self.listed("checkpoints", self.thread) if one["phase"] == phase]


@pytest.fixture
def treadle(tmp_path: Path) -> InWorktree:
    return InWorktree(tmp_path)


def test_diff_and_undo_act_in_the_worktree_and_not_in_the_project(treadle: InWorktree) -> None:
    assert treadle.do("diff", "--name-only").stdout == "a.txt\nnew.txt\n"
    assert treadle.do("diff", "last", "1", "--name-only").stdout == "a.txt\nnew.txt\n"
    was = treadle.checkout.work_tree()
    said = treadle.do("undo", "--yes").stdout
    assert said.startswith(f"{treadle.worktree} is put back to the state before turn 1:\n")
    assert treadle.checkout.work_tree() == was
    assert (treadle.worktree / "a.txt").read_text() == "one\ntwo\n"
    assert not (treadle.worktree / "new.txt").exists()
    treadle.do_again(said, "--yes")
    assert (treadle.worktree / "new.txt").read_text() == ADDED


def test_a_path_in_the_project_and_one_in_the_worktree_are_the_same_file(treadle: InWorktree) -> None:
    assert treadle.output("diff", "--name-only", "--", "new.txt") == b"new.txt\n"
    inside = treadle.output("diff", treadle.thread, "--name-only", "--", "new.txt", cwd=treadle.worktree)
    assert inside == b"new.txt\n"
    treadle.do("undo", "--yes", "--", "a.txt")
    assert (treadle.worktree / "a.txt").read_text() == "one\ntwo\n"
    assert (treadle.worktree / "new.txt").exists()
    outside = treadle.do("diff", "--", "..", status=1).stderr
    assert outside.endswith(f"outside the folder of the project, {treadle.work}\n")


def test_without_checkpoints_the_diff_is_that_against_the_commit_at_which_the_worktree_began(tmp_path: Path) -> None:
    treadle = InRepository(tmp_path)
    treadle.checkout.write("a.txt")
    treadle.checkout.commit()
    off = {"type": "ChangeSetting", "key": "checkpoints", "value": "off"}
    treadle.do("call", "command/dispatch", json.dumps(off))
    treadle.turn("script=files write=new.txt", "--worktree")
    treadle.checkout.write("later.txt")
    treadle.checkout.commit()
    assert treadle.listed("checkpoints") == []
    assert treadle.do("diff", "--name-only").stdout == "new.txt\n"
    assert "checkpoints are off" in treadle.do("diff", "last", "1", status=1).stderr
    [thread] = treadle.threads()
    (Path(thread["worktree"]["path"]) / "new.txt").unlink()
    assert treadle.do("diff", "--json").stdout == '{"files":[],"total":0,"added":0,"removed":0,"nextCursor":null}\n'


def test_what_was_applied_is_undone_in_the_project_by_the_command_that_apply_prints(treadle: InWorktree) -> None:
    treadle.checkout.write("mine.txt")
    was = treadle.checkout.contents()
    said = treadle.action("worktree", "apply", treadle.thread)
    assert (treadle.work / "new.txt").read_text() == ADDED
    undone = treadle.do_again(said, "--yes")
    assert undone.startswith(f"{treadle.work} is put back to the state of checkpoint ")
    assert "(before a worktree was applied)" in undone
    assert treadle.checkout.contents() == was
    assert (treadle.worktree / "new.txt").read_text() == ADDED
    treadle.do_again(undone, "--yes", "--", "new.txt")
    assert (treadle.work / "new.txt").read_text() == ADDED
    assert (treadle.work / "a.txt").read_text() == "one\ntwo\n"


def test_a_worktree_that_was_discarded_comes_back_and_a_dry_run_does_not_make_it(treadle: InWorktree) -> None:
    said = treadle.action("worktree", "discard", treadle.thread, "--force")
    assert not treadle.worktree.exists()
    planned = treadle.do_again(said, "--dry-run")
    assert planned.startswith("a new worktree would be put back to the state of checkpoint ")
    assert planned.endswith("  write   a.txt\n  write   new.txt\n")
    assert not treadle.worktree.exists()
    assert treadle.do("diff", "--name-only").stdout == "a.txt\nnew.txt\n"
    treadle.do_again(said, "--yes")
    assert (treadle.worktree / "new.txt").read_text() == ADDED
    assert not (treadle.work / "new.txt").exists()


def test_the_checkpoints_of_a_worktree_are_pruned_in_the_repository_of_the_project(treadle: InWorktree) -> None:
    treadle.do("run", "--thread", treadle.thread, "script=files write=b.txt")
    refs = treadle.checkout.git("for-each-ref", "refs/treadle/").splitlines()
    assert len(refs) == 4
    assert "2 checkpoints of 1 threads removed" in treadle.action("checkpoints", "prune", "--keep", "2")
    left = treadle.checkout.git("for-each-ref", "refs/treadle/").splitlines()
    assert left == [ref for ref in refs if ref in left]
    assert len(left) == len(treadle.listed("checkpoints", treadle.thread)) == 2
    assert treadle.do("diff", treadle.thread, "last", "--name-only").stdout == "b.txt\n"
    assert "checkpoints: 2 in 1 repositories, each with its ref" in treadle.do("doctor").stdout


def test_lines_that_were_written_in_a_worktree_are_of_no_turn_in_the_project(treadle: InWorktree) -> None:
    treadle.do("run", "script=files write=b.txt")  # in the project
    treadle.checkout.write("new.txt", "mine\n")
    treadle.do("run", "script=files write=c.txt")
    treadle.do("run", "--thread", treadle.thread, "script=files write=new.txt")  # in the worktree
    treadle.checkout.write("new.txt", "mine\nmine as well\n")
    lines = json.loads(treadle.do("blame", "new.txt", "--json").stdout)["lines"]
    assert [(each["start"], each["by"], each["turns"]) for each in lines] == [(1, "between", []), (2, "since", [])]
    (treadle.work / "new.txt").unlink()
    treadle.action("worktree", "apply", treadle.thread)
    found = json.loads(treadle.do("blame", "new.txt", "--json").stdout)
    assert [(each["by"], each["turns"]) for each in found["lines"]] == [("since", [])]
    assert "not written by a recorded turn" in treadle.do("blame", "new.txt:1").stdout
