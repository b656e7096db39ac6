"""`treadle undo`: real repositories, an agent that breaks files, and a terminal on which it asks."""

import json
import os
import re
from pathlib import Path

import pytest

from checkouts import with_git
from command_lines import InRepository
from terminals import Terminal
from wire import serving

pytestmark = with_git


@pytest.fixture
def broken(tmp_path: Path) -> InRepository:
    """An agent has replaced the text of two files, removed one, and added one in a new folder."""
    treadle = InRepository(tmp_path)
    for name in ("a.txt", "b c.txt", "gone.txt"):
        treadle.checkout.write(name, f"{name} of the user\n")
    treadle.checkout.commit()
    treadle.turn("script=files write=a.txt,new/x.txt remove=gone.txt")
    treadle.checkout.write("b c.txt", "the user went on\n")
    return treadle


AS_PLANNED = """  write   a.txt
  write   b c.txt
  write   gone.txt
  remove  new/x.txt
"""


def undo(treadle: InRepository, *arguments: str, status: int = 0) -> str:
    return treadle.do("undo", *arguments, status=status).stdout


def state(treadle: InRepository) -> str:
    return treadle.checkout.git("status", "--porcelain", "--untracked-files=all")


def command_in(said: str) -> list[str]:
    """The arguments of the command that it says undoes the undo."""
    [found] = re.findall(
        r"^to undo this: treadle undo (\S+) (--to-checkpoint) (\S+) --data-dir \S+$", said, re.MULTILINE
    )
    return list(found)


def test_a_dry_run_lists_what_would_be_written_and_removed_and_changes_nothing(broken: InRepository) -> None:
    was = broken.checkout.work_tree()
    said = undo(broken, "--dry-run")
    assert said == f"{broken.work} would be put back to the state before turn 1:\n{AS_PLANNED}"
    assert broken.checkout.work_tree() == was
    assert len(broken.listed("checkpoints")) == 2


def test_without_a_terminal_it_asks_nothing_and_changes_nothing(broken: InRepository) -> None:
    was = broken.checkout.work_tree()
    done = broken.do("undo", status=2)
    assert AS_PLANNED in done.stdout
    assert done.stderr == "treadle undo: nothing was changed: there is no terminal to ask on, so give --yes\n"
    assert broken.checkout.work_tree() == was


def test_what_was_undone_is_undone_by_the_command_that_it_prints(broken: InRepository) -> None:
    was = broken.checkout.contents()
    said = undo(broken, "--yes")
    assert "\nwrote 3 files, removed 1 file\n" in said
    assert state(broken) == ""
    again = undo(broken, *command_in(said), "--yes")
    assert broken.checkout.contents() == was
    assert command_in(again)[2] != command_in(said)[2]
    assert undo(broken, *command_in(said), "--yes").startswith("nothing to undo: the files are in the state of ")


def test_only_the_named_files_are_put_back(broken: InRepository) -> None:
    said = undo(broken, "--yes", "--", "gone.txt", "new", "*.txt")
    assert "  write   gone.txt\n  remove  new/x.txt\nnothing differs at *.txt\n" in said
    assert state(broken) == ' M a.txt\n M "b c.txt"'
    assert undo(broken, "--yes", "--", "gone.txt").endswith(
        "nothing to undo: these files are in the state before turn 1\n"
    )


def test_a_turn_is_named_and_all_after_it_is_undone_as_well(broken: InRepository) -> None:
    for name in ("second.txt", "third.txt"):
        broken.turn(f"script=edit file={name}", "--thread", "last")
    assert undo(broken, "last", "--to", "3", "--dry-run").count("  remove  third.txt\n") == 1
    undo(broken, "last", "--to", "2", "--yes")
    assert not (broken.work / "second.txt").exists()
    assert not (broken.work / "third.txt").exists()
    assert (broken.work / "a.txt").read_text() == "the agent wrote this\n"


def test_json_is_the_result_of_the_method_and_never_asks(broken: InRepository) -> None:
    assert broken.do("undo", "--json", status=2).stderr == "treadle undo: --json needs --yes or --dry-run\n"
    planned = json.loads(undo(broken, "--json", "--dry-run"))
    assert planned["before"] is None
    assert (planned["written"], planned["removed"]) == (["a.txt", "b c.txt", "gone.txt"], ["new/x.txt"])
    done = json.loads(undo(broken, "--json", "--yes"))
    assert done["before"] == broken.listed("checkpoints")[-1]["id"]
    assert {**done, "before": None} == planned


def test_nothing_is_undone_while_a_turn_runs_in_the_folder_or_around_it(broken: InRepository) -> None:
    with serving(broken.data_dir) as daemon:
        for id, path in (("same", broken.work), ("above", broken.work.parent), ("below", broken.work / "new")):
            if id != "same":
                daemon.dispatch("CreateProject", id=id, name=id, path=str(path))
            [project] = [p for p in daemon.result("project/list")["items"] if p["path"] == str(path)]
            daemon.dispatch("CreateThread", threadId=id, projectId=project["id"], title=id)
            daemon.dispatch("StartTurn", threadId=id, id=f"turn-{id}")
            thread = broken.listed("checkpoints", broken.threads()[-1]["id"])[0]["threadId"]
            said = broken.do("undo", thread, "--yes", status=1).stderr
            assert said.startswith(f"treadle: turn turn-{id} is still running in ")
            assert AS_PLANNED in undo(broken, thread, "--dry-run")
            daemon.dispatch("CompleteTurn", threadId=id, id=f"turn-{id}", stopReason="end_turn")


def test_the_agent_is_told_of_the_undo_and_of_the_undo_of_it(broken: InRepository) -> None:
    log = broken.work.parent / "heard"
    configured = json.loads(broken.data.read_text())
    configured["agents"]["it"]["env"] = {"SCRIPTED_LOG": str(log)}
    broken.data.write_text(json.dumps(configured))
    undo(broken, *command_in(undo(broken, "--yes", "--", "a.txt")), "--yes")
    undo(broken, "--yes", "--", "gone.txt")
    broken.turn("And now?", "--thread", "last")
    heard = [json.loads(line) for line in log.read_text().splitlines()]
    [told, asked] = next(one for one in heard if one.get("method") == "session/prompt")["params"]["prompt"]
    assert told["text"].splitlines()[1:] == ["- a.txt", "- gone.txt"]
    assert asked["text"] == "And now?"


def test_ignored_and_skipped_files_stay(broken: InRepository) -> None:
    broken.checkout.write(".gitignore", "*.log\n")
    broken.checkout.write("a.log", "ignored\n")
    large = broken.checkout.write("large.bin", b"\0" * (10 * 1024 * 1024 + 1))
    undo(broken, "--yes", "--", "a.log", "large.bin", "a.txt")
    assert (broken.work / "a.log").read_text() == "ignored\n"
    assert large.stat().st_size > 10 * 1024 * 1024


# Names


@pytest.mark.parametrize(
    "name", ["-rf", "--yes", "a\nb", 'tab\tquo"te', "*", "[ab]", ":(top)x", "dir with space/é.txt"]
)
def test_a_file_of_any_name_is_undone_alone(tmp_path: Path, name: str) -> None:
    treadle = InRepository(tmp_path)
    treadle.checkout.write(name, "old\n")
    treadle.checkout.write("a", "old\n")
    treadle.turn("Nothing yet")
    for path in (name, "a"):
        treadle.checkout.write(path, "new\n")
    said = undo(treadle, "--yes", "--", name)
    assert "\nwrote 1 file, removed 0 files\n" in said
    assert (treadle.work / name).read_text() == "old\n"
    assert (treadle.work / "a").read_text() == "new\n"
    assert "\n  write   a\n" not in said


def test_a_file_whose_name_is_not_utf_8_is_undone_with_its_folder(tmp_path: Path) -> None:
    treadle = InRepository(tmp_path)
    treadle.checkout.write(b"in/\xe9.txt", "old\n")
    treadle.turn("Nothing yet")
    treadle.checkout.write(b"in/\xe9.txt", "new\n")
    said = treadle.do("undo", "--yes", "--", os.fsdecode(b"in/\xe9.txt"), status=1).stderr
    assert "is not UTF-8, and cannot be given: give its folder" in said
    undo(treadle, "--yes", "--", "in")
    assert (treadle.work / os.fsdecode(b"in/\xe9.txt")).read_text() == "old\n"


def test_a_path_outside_the_project_is_refused(broken: InRepository) -> None:
    (broken.work / "link").symlink_to("..")
    for path in ("../x", "/", "link/x"):
        said = broken.do("undo", "--yes", "--", path, status=1).stderr
        assert said == f"treadle: {path!r} is outside the folder of the project, {broken.work}\n"
    assert "  remove  link\n" in undo(broken, "--yes", "--", "link")


def test_a_renamed_file_gets_its_old_name_back(broken: InRepository) -> None:
    (broken.work / "a.txt").rename(broken.work / "z.txt")
    undo(broken, "--yes", "--", "a.txt", "z.txt")
    assert (broken.work / "a.txt").read_text() == "a.txt of the user\n"
    assert not (broken.work / "z.txt").exists()


# What is missing


def test_it_says_why_there_is_nothing_to_go_back_to(broken: InRepository) -> None:
    broken.do("call", "command/dispatch", '{"type": "ChangeSetting", "key": "checkpoints", "value": "off"}')
    broken.turn("script=edit", "--thread", "last")
    said = broken.do("undo", "--yes", status=1).stderr
    assert said == "treadle: there is no checkpoint before turn 2: checkpoints are off (the setting `checkpoints`)\n"
    said = broken.do("undo", "--to-checkpoint", "nothing", status=1).stderr
    assert said == "treadle: checkpoint 'nothing' not found: `treadle checkpoints` lists what there is\n"


def test_a_repository_that_is_gone_is_said(broken: InRepository) -> None:
    (broken.work / ".git").rename(broken.work.parent / "git")
    assert broken.do("undo", "--yes", status=1).stderr == f"treadle: {broken.work} is not in a git repository\n"


# On a terminal


def test_on_a_terminal_it_asks_and_yes_undoes(broken: InRepository, terminals: list[Terminal]) -> None:
    terminals.append(broken.on_terminal("undo"))
    said = terminals[-1].until("Put them back? [y/N] ").replace("\r\n", "\n")
    assert AS_PLANNED in said
    assert state(broken) != ""
    terminals[-1].press(b"y\n")
    assert terminals[-1].status() == 0
    assert state(broken) == ""
    assert command_in(terminals[-1].printed.replace("\r\n", "\n"))


@pytest.mark.parametrize(("keys", "status"), [(b"n\n", 3), (b"\n", 3), (b"\x04", 3), (b"\x03", 130)])
def test_any_other_answer_changes_nothing(
    broken: InRepository, terminals: list[Terminal], keys: bytes, status: int
) -> None:
    was = broken.checkout.work_tree()
    terminals.append(broken.on_terminal("undo"))
    terminals[-1].until("Put them back? [y/N] ")
    terminals[-1].press(keys)
    assert terminals[-1].status() == status
    assert terminals[-1].printed.endswith("nothing was changed\r\n")
    assert broken.checkout.work_tree() == was
    assert len(broken.listed("checkpoints")) == 2


def test_on_a_terminal_a_long_list_is_cut_and_says_how_to_see_all(
    broken: InRepository, terminals: list[Terminal]
) -> None:
    for number in range(120):
        broken.checkout.write(f"n/{number:03}.txt")
    terminals.append(broken.on_terminal("undo"))
    said = terminals[-1].until("Put them back? [y/N] ")
    assert "  and 24 more: --dry-run lists all\r\n" in said
    assert undo(broken, "--dry-run").count("\n  remove  ") == 121
