"""`treadle erase` and `treadle redact` as commands, with real git, a daemon that runs, and the history of a tool."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkouts import with_git
from command_lines import CommandLine
from histories import claude_shop
from histories import write as write_history
from runs import Runs, running
from test_history_traps import session_file
from test_thread_worktrees import Project, edit
from treadle.workspace.snapshots import thread_refs
from treadle.workspace.thread_folders import worktree_folder
from wire import TREADLE, serving

SECRET = "hunter2-is-it"


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """The command line of a data directory with a thread that has the secret, and one that was deleted with it."""
    line = CommandLine(tmp_path)
    with serving(line.data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title=f"About {SECRET}")
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="Go", messageId="m")
        daemon.dispatch("AddMessage", threadId="t", turnId="u", id="a", role="assistant", streaming=True, text="hunt")
        for text in ("er2-i", "s-it, they say"):
            daemon.dispatch("AppendMessage", threadId="t", id="a", text=text)
        daemon.dispatch("CompleteTurn", threadId="t", id="u", stopReason="end_turn")
        daemon.dispatch("CreateThread", threadId="gone", projectId="p", title=SECRET)
        daemon.dispatch("DeleteThread", threadId="gone")
        daemon.dispatch("CreateThread", threadId="other", projectId="p", title="Other")
    return line


def log(line: CommandLine) -> str:
    return line.do("events").stdout


def test_redact_takes_a_text_out_of_every_thread_and_says_in_which_it_was(line: CommandLine) -> None:
    dry = line.do("redact", "--stdin", "--dry-run", stdin=f"{SECRET}\n")
    assert dry.stdout == "t: would redact 4 events\ngone: would erase 1 event\nfound in 2 threads\n"
    assert SECRET in log(line)
    done = line.do("redact", "--stdin", stdin=f"{SECRET}\n")
    assert done.stdout == "t: redacted 4 events\ngone: erased 1 event\nfound in 2 threads\n"
    assert SECRET not in log(line)
    assert SECRET not in done.stdout + done.stderr
    shown = line.do("show", "t").stdout
    assert "[redacted], they say" in shown
    assert "About [redacted]" in shown
    assert line.do("redact", "--stdin", stdin=SECRET).stdout == "found in 0 threads\n"
    line.do("verify")


def test_a_thread_that_was_redacted_before_is_erased_with_a_receipt_that_finds_nothing(line: CommandLine) -> None:
    line.do("redact", "--stdin", stdin=f"{SECRET}\n")
    done = line.do("erase", "t", "--yes")
    assert ": 0 found" in done.stdout
    receipts = line.do("erase", "--receipt", "t").stdout
    assert re.findall("^t: .*", receipts, re.M) == ["t: 10 events erased", "t: redacted, and erased since"]


def test_redact_reaches_what_a_running_daemon_has_in_its_state(line: CommandLine) -> None:
    with serving(line.data_dir) as daemon:
        daemon.dispatch("RenameThread", threadId="other", title=SECRET)
        line.do("redact", "--stdin", "--thread", "other", stdin=SECRET)
        assert daemon.result("thread/read", {"threadId": "other"})["threads"][0]["title"] == "[redacted]"
        assert daemon.dispatch("RenameThread", threadId="other", title="[redacted]")["events"] == []
    assert SECRET in log(line), "in the other threads"


def test_redact_says_what_it_does_not_reach(line: CommandLine) -> None:
    with serving(line.data_dir) as daemon:
        daemon.dispatch("CreateProject", id="q", name=SECRET, path="/q")
        daemon.dispatch("StartTurn", threadId="other", id=SECRET, prompt=SECRET)
    done = line.do("redact", "--stdin", "--json", stdin=SECRET, status=1)
    told = {one["threadId"]: one for one in map(json.loads, done.stdout.splitlines())}
    # The prompt; and the id of the turn, in each of its events.
    assert (told["other"]["events"], told["other"]["left"]) == (1, 4)
    assert told["gone"] == {"threadId": "gone", "events": 1, "erased": True, "left": 0}
    assert done.stderr == "1 event of projects, settings or rules have it, too: these stay\n"


@pytest.mark.parametrize("text", ["", "abc", "redacted", "\n"])
def test_redact_refuses_a_text_that_cannot_be_meant(line: CommandLine, text: str) -> None:
    before = log(line)
    assert "the text" in line.do("redact", "--stdin", stdin=text, status=2).stderr
    assert log(line) == before


def test_erase_asks_on_a_terminal_and_refuses_elsewhere_without_yes(line: CommandLine) -> None:
    assert "give --yes" in line.do("erase", "t", status=2).stderr
    assert line.do("erase", "t", "--json", status=2).stdout == ""
    assert SECRET in log(line)
    done = line.do("erase", "t", "--yes").stdout
    assert done.startswith(f"t (About {SECRET}): 1 turn, 2 messages, 0 checkpoints\nerased\nt: 9 events erased\n")
    assert done.endswith(": 0 found\n")
    assert SECRET in log(line), "in the thread that was deleted"
    line.do("erase", "gone", "--yes", "--json")
    assert SECRET not in log(line)
    assert line.do("erase", "gone", "--yes").stdout.endswith("it was erased before\n")
    assert [thread["id"] for thread in line.threads()] == ["other"]
    assert line.do("search", "say", status=1).stdout == ""
    line.do("verify")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with running(tmp_path) as found:
        yield found


@with_git
@pytest.mark.parametrize("by", ["the command line", "a client"])
def test_erasing_removes_the_worktree_and_the_refs_of_checkpoints(runs: Runs, by: str) -> None:
    project = Project(runs, "erased")
    thread, other = project.thread("t"), project.thread("other", worktree=False)
    edit(thread)
    edit(other, "other.txt")
    listed = project.checkout.git("for-each-ref", "--format=%(refname)", "refs/treadle/").splitlines()
    own = [ref for ref in listed if ref.startswith(thread_refs(thread.id))]
    assert own
    place = worktree_folder(runs.daemon.data_dir, thread.id)
    assert place.exists()
    if by == "a client":
        runs.daemon.dispatch("EraseThread", threadId=thread.id)
        runs.daemon.result("erasure/status", {"wait": True})
    else:
        words = [*TREADLE, "erase", thread.id, "--yes", "--data-dir", str(runs.daemon.data_dir)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert not place.exists()
    assert project.listed() == []
    left = project.checkout.git("for-each-ref", "--format=%(refname)", "refs/treadle/").splitlines()
    assert sorted(left) == sorted(set(listed) - set(own))


def test_a_history_that_was_imported_and_erased_does_not_come_back(line: CommandLine, tmp_path: Path) -> None:
    home = tmp_path / "claude"
    write_history(session_file(home), claude_shop())
    line.do("import", "claude", str(home))
    (thread,) = [one["id"] for one in line.threads() if one["id"].startswith("claude:")]
    line.do("erase", thread, "--yes")
    before = log(line)
    line.do("import", "claude", str(home))
    (line.data_dir / "imports.json").unlink()
    line.do("import", "claude", str(home))
    copy = tmp_path / "copied"
    shutil.copytree(home, copy)
    line.do("import", "claude", str(copy))
    assert log(line) == before
