"""`treadle diff`: real repositories, an agent that changes files, pipes and terminals."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from checkouts import with_git
from command_lines import CommandLine, InRepository
from terminals import Terminal
from wire import run, serving

pytestmark = with_git

HOSTILE = 'he said "\x1b[31mhi\x9b\n\u202e'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> InRepository:
    """Two turns in one thread: one changes and removes, one adds. In between, the user changes a file."""
    shop = InRepository(tmp_path_factory.mktemp("shop"))
    shop.checkout.write("a.txt", "one\ntwo\n")
    shop.checkout.write("src/b.txt")
    shop.checkout.write("gone.txt")
    shop.checkout.commit()
    shop.turn("script=files write=a.txt remove=gone.txt")
    shop.checkout.write("mine.txt", "of the user\n")
    shop.turn("script=files write=src/new.txt", "--thread", "last")
    return shop


@pytest.fixture
def empty(tmp_path: Path) -> InRepository:
    return InRepository(tmp_path)


def names(shop: InRepository, *arguments: str, cwd: Path | None = None) -> list[str]:
    return shop.output("diff", "--name-only", *arguments, cwd=cwd).decode().splitlines()


# What is compared


def test_the_diff_of_a_turn_is_what_it_changed(shop: InRepository) -> None:
    assert names(shop, "last", "1") == ["a.txt", "gone.txt"]
    assert names(shop, "last", "2") == names(shop, "last", "last") == ["src/new.txt"]
    id = shop.listed("checkpoints")[0]["turnId"]
    assert names(shop, "last", id) == names(shop, "last", "1")


def test_the_diff_of_a_thread_has_what_was_changed_between_its_turns(shop: InRepository) -> None:
    assert names(shop) == ["a.txt", "gone.txt", "mine.txt", "src/new.txt"]


def test_paths_are_relative_to_the_current_folder_and_a_folder_stands_for_all_in_it(shop: InRepository) -> None:
    src = shop.work / "src"
    assert names(shop, "--", "src") == ["src/new.txt"]
    assert names(shop, "--", ".", cwd=src) == ["src/new.txt"]
    assert names(shop, "last", "1", "../a.txt", cwd=src) == ["a.txt"]
    assert names(shop, "--", str(shop.work / "mine.txt"), cwd=src) == ["mine.txt"]
    assert names(shop, "--", "*.txt") == []


def test_a_path_outside_the_project_is_refused(shop: InRepository, tmp_path: Path) -> None:
    for path in ("..", str(tmp_path), "../work-of-another"):
        said = shop.do("diff", "--", path, status=1).stderr
        assert said == f"treadle: {path!r} is outside the folder of the project, {shop.work}\n"


def test_the_diff_is_that_of_git_and_git_takes_it_back(empty: InRepository) -> None:
    old = "".join(f"line {n}\n" for n in range(50)).encode() + b"latin-1: \xe9\n"
    empty.checkout.write("a.txt", old)
    empty.checkout.write("b.txt", b"no end")
    empty.checkout.commit()
    empty.turn("script=files write=a.txt,c.txt remove=b.txt")
    diff = empty.output("diff")
    expected = subprocess.run(
        ["git", "diff", "--no-color", "HEAD", "--", "a.txt", "b.txt"], cwd=empty.work, capture_output=True
    )
    assert expected.stdout in diff
    assert b"-latin-1: \xe9\n" in diff
    subprocess.run(["git", "apply", "-R"], input=diff, cwd=empty.work, check=True)
    assert empty.checkout.git("status", "--porcelain") == ""
    assert (empty.work / "a.txt").read_bytes() == old


def test_with_now_the_files_as_they_are_are_compared(empty: InRepository) -> None:
    empty.turn("script=edit")
    empty.checkout.write("mine.txt")
    assert names(empty, "last", "1") == ["edited.txt"]
    assert names(empty, "last", "1", "--now") == names(empty, "--now") == ["edited.txt", "mine.txt"]


def test_while_a_turn_runs_it_is_compared_with_the_files_as_they_are(empty: InRepository) -> None:
    with serving(empty.data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="P", path=str(empty.work))
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="T")
        daemon.dispatch("StartTurn", threadId="t", id="u")
        snapshot = daemon.result("checkpoint/create", {"threadId": "t"})
        daemon.dispatch(
            *("CreateCheckpoint",), threadId="t", turnId="u", phase="before", message="", gitRef=snapshot["gitRef"]
        )
        empty.checkout.write("now.txt")
        assert names(empty, "t", "u") == names(empty, "t") == names(empty) == ["now.txt"]


# How it is shown


def test_the_statistics_have_a_line_for_each_file_and_one_for_all(shop: InRepository) -> None:
    assert shop.output("diff", "last", "1", "--stat").decode().splitlines() == [
        " a.txt    |   3 +--",
        " gone.txt |   1 -",
        " 2 files changed, 1 insertion(+), 3 deletions(-)",
    ]


def test_json_is_the_result_of_the_method(shop: InRepository) -> None:
    thread = shop.threads()[0]["id"]
    checkpoints = {(one["turnId"], one["phase"]): one["id"] for one in shop.listed("checkpoints", thread)}
    [before, after] = list(checkpoints.values())[:2]
    for patches in (True, False):
        params = {"threadId": thread, "from": before, "to": after, "patches": patches}
        [expected] = [json.loads(shop.do("call", "checkpoint/diff", json.dumps(params)).stdout)]
        arguments = ["--json"] if patches else ["--json", "--stat"]
        assert json.loads(shop.output("diff", "last", "1", *arguments)) == expected


def test_names_are_quoted_as_git_does_and_exact_with_z(empty: InRepository) -> None:
    strange = [b"-n.txt", b"a b.txt", b"latin-\xe9", b"line\nfeed", b'quo"te', b"tab\t[*]"]
    empty.checkout.write("x.txt")
    empty.turn("script=files write=old.txt")
    for name in strange:
        empty.checkout.write(name)
    by_git = empty.checkout.git("-c", "core.quotePath=false", "ls-files", "--others", *map(os.fsdecode, [b"[!ox]*"]))
    found = empty.output("diff", "--now", "--name-only").split(b"\n")[:-1]
    assert [os.fsdecode(name) for name in found if name != b"old.txt"] == by_git.split("\n")
    assert set(empty.output("diff", "--now", "--name-only", "-z").split(b"\0")[:-1]) == {*strange, b"old.txt"}
    for name in strange:
        assert empty.output("diff", "--now", "--name-only", "-z", "--", name) == name + b"\0"
    assert empty.output("diff", "--now", "--name-only", "--", "*") == b""


def test_a_renamed_and_a_binary_file_are_shown_as_such(empty: InRepository) -> None:
    empty.checkout.write("old.txt", "".join(f"{n}\n" for n in range(20)))
    empty.checkout.write("image", b"\0\1\2")
    empty.turn("Nothing yet")
    (empty.work / "old.txt").rename(empty.work / "new.txt")
    empty.checkout.write("image", b"\0\1\3")
    diff = empty.output("diff", "--now").decode()
    assert "rename from old.txt\nrename to new.txt\n" in diff
    assert "Binary files a/image and b/image differ\n" in diff
    assert empty.output("diff", "--now", "--stat").decode().splitlines() == [
        " image              | Bin",
        " old.txt => new.txt |   0",
        " 2 files changed, 0 insertions(+), 0 deletions(-)",
    ]
    for name in ("old.txt", "new.txt"):
        assert names(empty, "--now", "--", name) == ["new.txt"]


def test_a_diff_that_is_too_long_is_cut_at_a_file_and_says_so(empty: InRepository) -> None:
    empty.turn("Nothing yet")
    for number in range(5):
        empty.checkout.write(f"{number:02}.txt", f"{number:099}\n" * 90_000)
    diff = empty.output("diff", "--now", status=1)
    assert 20_000_000 < len(diff) <= 32 * 1024 * 1024
    said = empty.do("diff", "--now", status=1).stderr
    assert re.fullmatch(
        r"treadle: the diff is longer than 32\.0 MiB: those of \d+ files, from 0\d\.txt on, are left out\. "
        r"Name paths, or use --stat\n",
        said,
    )
    assert (
        empty.output("diff", "--now", "--stat").decode().splitlines()[-1] == " 5 files changed, 450,000 insertions(+)"
    )
    assert empty.output("diff", "--now", "--", "04.txt").endswith(b"0004\n")


def test_on_a_terminal_the_diff_is_coloured_as_by_git_and_control_characters_are_escaped(
    empty: InRepository, terminals: list[Terminal]
) -> None:
    empty.checkout.write("a.txt", f"kept\n{HOSTILE}\n")
    empty.turn("script=files write=a.txt")
    empty.env["GIT_PAGER"] = "cat"
    terminals.append(empty.on_terminal("diff"))
    assert terminals[-1].status() == 0
    printed = terminals[-1].printed.replace("\r\n", "\n").splitlines()
    assert printed[0] == "\x1b[1mdiff --git a/a.txt b/a.txt\x1b[0m"
    assert printed[4] == "\x1b[36m@@ -1,3 +1 @@\x1b[0m"
    assert printed[5] == "\x1b[31m-kept\x1b[0m"
    assert printed[6] == '\x1b[31m-he said "␛[31mhi<U+009B>\x1b[0m'
    assert printed[7] == "\x1b[31m-<U+202E>\x1b[0m"
    assert printed[8] == "\x1b[32m+the agent wrote this\x1b[0m"


@pytest.mark.parametrize("setting", ["GIT_PAGER", "core.pager", "PAGER"])
def test_the_pager_is_that_of_git(empty: InRepository, terminals: list[Terminal], setting: str) -> None:
    empty.turn("script=edit")
    for name in ("GIT_PAGER", "PAGER"):
        empty.env.pop(name, None)
    pager = "sed 's/^/> /'"
    if setting == "core.pager":
        empty.checkout.git("config", setting, pager)
    else:
        empty.env[setting] = pager
    empty.env["NO_COLOR"] = "1"
    terminals.append(empty.on_terminal("diff"))
    assert terminals[-1].status() == 0
    assert "> diff --git a/edited.txt b/edited.txt" in terminals[-1].printed


def test_a_pager_that_is_left_early_or_is_missing_does_no_harm(empty: InRepository, terminals: list[Terminal]) -> None:
    empty.turn("Nothing yet")
    empty.checkout.write("long.txt", "a line\n" * 100_000)
    empty.env |= {"GIT_PAGER": "head -n 1", "NO_COLOR": "1"}
    terminals.append(empty.on_terminal("diff", "--now"))
    assert terminals[-1].status() == 0
    assert terminals[-1].printed == "diff --git a/long.txt b/long.txt\r\n"
    empty.env["GIT_PAGER"] = "no-such-pager"
    terminals.append(empty.on_terminal("diff", "--now", "--stat"))
    assert terminals[-1].status() == 0
    assert " 1 file changed, 100,000 insertions(+)" in terminals[-1].printed


def test_ctrl_c_is_left_to_the_pager(empty: InRepository, terminals: list[Terminal]) -> None:
    empty.turn("script=edit")
    empty.env["GIT_PAGER"] = "trap 'echo caught' INT; cat > /dev/null; echo waiting; read -r line < /dev/tty; echo left"
    terminals.append(empty.on_terminal("diff"))
    terminals[-1].until("waiting")
    terminals[-1].press(b"\x03")
    terminals[-1].until("caught")
    terminals[-1].press(b"\n")
    assert terminals[-1].status() == 0
    assert "left" in terminals[-1].printed


def test_elsewhere_than_on_a_terminal_there_is_no_pager(shop: InRepository) -> None:
    done = run("diff", "--data-dir", str(shop.data_dir), "last", env={**shop.env, "GIT_PAGER": "echo paged"})
    assert done.stdout.startswith("diff --git ")


# What is missing


def refusal(shop: InRepository, *arguments: str) -> str:
    return shop.do("diff", *arguments, status=1).stderr.removeprefix("treadle: ").removesuffix("\n")


def test_it_says_why_a_turn_has_no_checkpoint(empty: InRepository) -> None:
    empty.turn("script=edit")
    thread = empty.threads()[0]["id"]
    for one in empty.listed("checkpoints", thread):
        empty.do(
            "call", "command/dispatch", json.dumps({"type": "PruneCheckpoint", "threadId": thread, "id": one["id"]})
        )
    assert refusal(empty, thread, "1") == "there is no checkpoint before turn 1: it was pruned"
    empty.do("call", "command/dispatch", '{"type": "ChangeSetting", "key": "checkpoints", "value": "off"}')
    empty.turn("script=edit", "--thread", thread)
    assert refusal(empty, thread, "2").endswith("before turn 2: checkpoints are off (the setting `checkpoints`)")
    empty.do("call", "command/dispatch", '{"type": "ChangeSetting", "key": "checkpoints", "value": null}')
    (empty.work / ".git" / "config").write_text("this is no configuration")
    empty.turn("script=edit", "--thread", thread)
    assert "there is no checkpoint before turn 3: git " in refusal(empty, thread, "3")
    assert refusal(empty, thread).startswith(f"thread {thread} has no checkpoints of turns: git ")


def test_it_says_that_the_folder_is_in_no_repository(tmp_path: Path) -> None:
    treadle = CommandLine(tmp_path)
    treadle.do("run", "script=edit")
    said = treadle.do("diff", status=1).stderr
    assert "has no checkpoints of turns: none was taken: the folder was in no git repository" in said


def test_it_says_that_a_client_recorded_the_turn(empty: InRepository) -> None:
    with serving(empty.data_dir) as daemon:
        daemon.dispatch("CreateProject", id="p", name="P", path=str(empty.work))
        daemon.dispatch("CreateThread", threadId="t", projectId="p", title="T")
        assert refusal(empty) == "thread t has no turns yet"
        daemon.dispatch("StartTurn", threadId="t", id="u")
        daemon.dispatch("CompleteTurn", threadId="t", id="u", stopReason="end_turn")
    assert "the turn was recorded by a client or imported" in refusal(empty)


def test_it_says_which_thread_or_turn_is_not_there(shop: InRepository, tmp_path: Path) -> None:
    thread = shop.threads()[0]["id"]
    assert refusal(shop, "last", "3") == f"turn '3' not found: thread {thread} has 2 turns"
    assert refusal(shop, "nobody") == "thread 'nobody' not found: `treadle threads` lists the threads"
    said = subprocess.run(shop.words("diff"), capture_output=True, text=True, env=shop.env, cwd=tmp_path, check=False)
    assert said.returncode == 1
    assert said.stderr == f"treadle: {tmp_path} is in no project: name a thread: `treadle threads` lists them\n"


def test_paths_with_options_after_them_are_told_to_follow_dashes(shop: InRepository) -> None:
    said = shop.do("diff", "last", "--stat", "1", "a.txt", "--nonsense", status=2).stderr
    assert "paths follow `--`" in said
    assert shop.do("diff", "-z", status=2).stderr == "treadle diff: -z is for --name-only\n"
