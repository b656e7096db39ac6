"""Old checkpoints are removed: from the command line, after a turn, and again after a crash."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from checkouts import with_git
from runs import Json, Runs, running
from test_checkpoints import Work
from treadle.server.checkpoint_checks import examine_checkpoints
from treadle.server.services import Services, open_store
from treadle.store.records import KeptCheckpoint
from treadle.workspace.checkpoint_settings import Retention
from treadle.workspace.pruning import beyond
from treadle.workspace.repositories import recording
from treadle.workspace.snapshots import checkpoint_ref
from wire import TREADLE, run

pytestmark = with_git
LONG_AGO = "2020-01-01T00:00:00.000Z"
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def kept(number: int, *, days: float = 0, turn: str | None = None, thread: str = "t", runs: bool = False) -> Any:
    """A checkpoint of so many days ago, which is its id."""
    at = (NOW - timedelta(days=days)).isoformat()
    ref = checkpoint_ref(thread, str(number))
    return KeptCheckpoint(number, thread, str(number), ref, None, turn, "manual", at, runs, in_project=True)


def ids(checkpoints: list[KeptCheckpoint]) -> set[str]:
    return {one.id for one in checkpoints}


def test_what_is_too_old_or_too_many_goes_and_the_newest_of_each_thread_stays() -> None:
    of_thread = [kept(number, days=10 - number) for number in range(10)]
    assert ids(beyond(of_thread, Retention(keep=3, days=30), NOW)) == {str(number) for number in range(7)}
    assert ids(beyond(of_thread, Retention(keep=50, days=5), NOW)) == {str(number) for number in range(5)}
    assert ids(beyond(of_thread, Retention(keep=50, days=0), NOW)) == {str(number) for number in range(9)}
    another = kept(99, days=1000, thread="u")
    assert another not in beyond([*of_thread, another], Retention(keep=1, days=0), NOW)


def test_the_two_checkpoints_of_a_turn_stay_or_go_together() -> None:
    of_thread = [kept(1, turn="a"), kept(2, turn="a"), kept(3, turn="b"), kept(4, turn="b")]
    assert ids(beyond(of_thread, Retention(keep=3), NOW)) == set()
    assert ids(beyond(of_thread, Retention(keep=2), NOW)) == {"1", "2"}


def test_the_checkpoints_of_a_running_turn_stay() -> None:
    of_thread = [kept(1, days=9, turn="a"), kept(2, days=9, turn="b", runs=True), kept(3)]
    assert ids(beyond(of_thread, Retention(keep=1, days=5), NOW)) == {"1"}


class Old(Work):
    """A thread with checkpoints, which can be pruned."""

    def add(self, count: int) -> list[str]:
        """Take checkpoints; return their ids."""
        return [str(self.request("create")["id"]) for _ in range(count)]

    def refs(self) -> set[str]:
        return set(self.checkout.git("for-each-ref", "--format=%(refname)", "refs/treadle/").splitlines())

    def ref(self, id: str) -> str:
        return checkpoint_ref(self.thread.id, id)

    def listed(self) -> list[str]:
        """The ids of the checkpoints that the log has, the newest first."""
        items = self.thread.runs.daemon.result("checkpoint/list", {"threadId": self.thread.id})["items"]
        return [one["id"] for one in items]

    def prune(self, *arguments: str) -> Json:
        """What the command line says of the repository of this thread."""
        done = self.command(*arguments, "--json")
        told = [json.loads(line) for line in done.stdout.splitlines()]
        found: Json = next(one for one in told if one["folder"] == str(self.checkout.top))
        assert done.returncode == int(any(one["failed"] is not None for one in told)), done.stderr
        return found

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return run("checkpoints", "prune", "--data-dir", str(self.thread.runs.daemon.data_dir), *arguments)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    with running(tmp_path) as runs:
        yield Old(runs, "old")


def test_the_command_removes_refs_and_the_log_says_so(old: Old) -> None:
    *gone, stays = old.add(4)
    was = old.refs()
    found = old.prune("--keep", "1", "--dry-run")
    assert sorted(one["id"] for one in found["checkpoints"]) == sorted(gone)
    assert (old.refs(), old.listed()) == (was, [stays, *reversed(gone)])
    assert old.prune("--keep", "1") == found
    assert (old.refs(), old.listed()) == ({old.ref(stays)}, [stays])
    assert {old.thread.until("CheckpointPruned", n)["id"] for n in (1, 2, 3)} == set(gone)
    assert old.prune("--keep", "1")["checkpoints"] == []


def test_the_command_says_what_it_does_in_words(old: Old) -> None:
    assert old.command().stdout == "nothing to remove\n"
    old.add(3)
    top = old.checkout.top
    assert old.command("--keep", "1", "--dry-run").stdout == f"{top}:\n  2 checkpoints of 1 threads would be removed\n"
    assert old.command("--keep", "1").stdout == f"{top}:\n  2 checkpoints of 1 threads removed\n"
    listed = run("checkpoints", "old", "--keep", "1", "--data-dir", str(old.thread.runs.daemon.data_dir))
    assert (listed.returncode != 0, "need `prune`" in listed.stderr) == (True, True)


def test_a_checkpoint_that_was_pruned_is_answered_with_the_day(old: Old) -> None:
    gone, _ = old.add(2)
    old.prune("--keep", "1")
    at = old.thread.until("CheckpointPruned")["at"]
    for found in (old.error("diff", **{"from": gone}), old.error("restore", id=gone)):
        assert found["data"] == {"kind": "checkpointPruned", "prunedAt": at}
        assert f"was pruned on {at[:10]}" in found["message"]


def test_checkpoints_older_than_a_month_go_and_settings_say_otherwise(old: Old) -> None:
    (now,) = old.add(1)
    ancient = new_ref_of(old, "ancient", LONG_AGO)
    (newest,) = old.add(1)
    old.thread.runs.daemon.dispatch("ChangeSetting", key="checkpointsDays", value=36_000)
    assert old.prune()["checkpoints"] == []
    old.thread.runs.daemon.dispatch("ChangeSetting", key="checkpointsDays", value="many")
    assert [one["id"] for one in old.prune()["checkpoints"]] == ["ancient"]
    assert old.refs() == {old.ref(now), old.ref(newest)}
    assert ancient not in old.refs()
    old.thread.runs.daemon.dispatch("ChangeSetting", key="checkpointsKeep", value=1)
    assert [one["id"] for one in old.prune()["checkpoints"]] == [now]


def new_ref_of(old: Old, id: str, at: str) -> str:
    """A checkpoint that was recorded at a time."""
    ref = old.ref(id)
    old.checkout.git("update-ref", ref, old.checkout.commit())
    old.thread.dispatch("CreateCheckpoint", id=id, gitRef=ref, message="", at=at)
    return ref


def test_refs_of_deleted_threads_go_and_those_that_others_made_stay(old: Old) -> None:
    other = Old(old.thread.runs, "other")
    other.add(2)
    commit = old.checkout.commit()
    elsewhere = checkpoint_ref("of-another-data-directory", "1")
    old.checkout.git("update-ref", elsewhere, commit)
    old.thread.dispatch("CreateCheckpoint", id="mine", gitRef="refs/heads/main", message="a branch", at=LONG_AGO)
    (ours,) = old.add(1)
    other.thread.dispatch("DeleteThread")
    assert other.prune("--keep", "1")["refs"] == 2
    assert other.refs() == set()
    assert old.refs() == {elsewhere, old.ref(ours)}
    assert old.checkout.git("rev-parse", "main") == commit
    assert old.listed() == [ours, "mine"]


def test_if_one_ref_cannot_be_removed_none_is_and_nothing_is_recorded(old: Old) -> None:
    made = old.add(3)
    was = old.refs()
    lock = old.checkout.top / ".git" / f"{old.ref(made[1])}.lock"
    lock.touch()  # as another git has it
    found = old.prune("--keep", "1")
    assert "lock" in found["failed"]
    assert "nothing was removed" in old.command("--keep", "1").stderr
    assert (old.refs(), len(old.listed())) == (was, 3)
    lock.unlink()
    assert len(old.prune("--keep", "1")["checkpoints"]) == 2


def test_what_a_kill_has_left_is_repaired_by_the_next_run(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        old = Old(runs, "old")
        made = old.add(40)
        for moment in range(8):
            process = subprocess.Popen(
                [
                    *TREADLE,
                    "checkpoints",
                    "prune",
                    "--keep",
                    str(36 - 4 * moment),
                    "--data-dir",
                    str(runs.daemon.data_dir),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            until_refs_go(old, process, len(made) - 4 * moment)
            process.kill()
            process.wait()
        old.prune("--keep", "5")
        assert old.listed() == made[:-6:-1]
        assert old.refs() == {old.ref(id) for id in made[-5:]}
        assert old.checkout.git("fsck", "--no-dangling", "--strict") == ""


def until_refs_go(old: Old, process: "subprocess.Popen[bytes]", count: int) -> None:
    """Wait until the process has ended, or there are fewer refs."""
    folder = old.checkout.top / ".git" / old.ref("").rpartition("/")[0]
    while process.poll() is None and sum(1 for _ in folder.iterdir()) >= count:
        time.sleep(0.001)


def test_without_the_record_the_next_run_with_the_same_bounds_makes_it(old: Old) -> None:
    gone, lost, stays = old.add(3)
    old.checkout.git("update-ref", "-d", old.ref(gone))
    old.checkout.git("update-ref", "-d", old.ref(lost))
    found = old.prune("--keep", "2")
    assert [one["id"] for one in found["checkpoints"]] == [gone]
    assert [one["id"] for one in found["lost"]] == [lost]
    assert old.listed() == [stays]


def test_a_turn_of_an_agent_prunes_once_a_day(old: Old) -> None:
    old.thread.runs.daemon.dispatch("ChangeSetting", key="checkpointsKeep", value=1)
    *gone, _ = old.add(3)
    before, after = old.edit()
    assert {old.thread.until("CheckpointPruned", n)["id"] for n in (1, 2, 3)} == {*gone, _}
    assert old.refs() == {old.ref(before), old.ref(after)}
    (stays,) = old.add(1)
    old.edit()
    old.edit()
    assert len(old.thread.said("CheckpointPruned")) == 3
    assert stays in old.listed()
    (done,) = (old.thread.runs.daemon.data_dir / "git").glob("*.pruned")
    os.utime(done, (time.time() - 90_000,) * 2)
    old.edit()
    old.thread.until("CheckpointPruned", id=stays)


async def test_a_checkpoint_that_is_about_to_be_recorded_is_not_pruned(tmp_path: Path) -> None:
    with running(tmp_path) as runs:
        old = Old(runs, "old")
        old.add(1)
        data_dir = runs.daemon.data_dir
        services = Services(await open_store(data_dir), data_dir, linger=0, agents_files=tuple, runs_agents=False)
        await services.start()
        repository = await opened_repository(old, data_dir)
        async with recording(repository):
            old.checkout.git("update-ref", old.ref("new"), old.checkout.commit())
            pruning = asyncio.create_task(services.checkpoints.pruner.prune(keep=50))
            done, _ = await asyncio.wait([pruning], timeout=0.5)
            assert not done
            await asyncio.to_thread(
                old.thread.dispatch, "CreateCheckpoint", id="new", gitRef=old.ref("new"), message="recorded"
            )
        (found,) = await pruning
        assert (found.refs, found.checkpoints, found.lost) == (0, [], [])
        assert old.ref("new") in old.refs()
        await services.close()


async def opened_repository(old: Old, data_dir: Path) -> Any:
    from treadle.workspace.repositories import open_repository

    return await open_repository(old.checkout.folder, data_dir)


def test_doctor_finds_refs_without_a_checkpoint_and_checkpoints_without_a_ref(old: Old) -> None:
    data_dir = old.thread.runs.daemon.data_dir
    lost, _ = old.add(2)
    old.checkout.git("update-ref", old.ref("never-recorded"), old.checkout.commit())
    (told,) = examine_checkpoints(data_dir)
    assert (told.verdict, "1 refs without a checkpoint, 0 checkpoints without" in told.text) == ("warning", True)
    old.checkout.git("update-ref", "-d", old.ref(lost))
    was = (old.refs(), old.listed())
    (told,) = examine_checkpoints(data_dir)
    assert told.text.startswith(f"{old.checkout.top}: 1 refs without a checkpoint, 1 checkpoints without a ref: ")
    assert "`treadle checkpoints prune` repairs" in told.text
    assert told.text in run("doctor", "--quick", "--data-dir", str(data_dir)).stdout
    assert (old.refs(), old.listed()) == was
    old.prune()
    (told,) = examine_checkpoints(data_dir)
    assert (told.verdict, told.text) == ("ok", "1 in 1 repositories, each with its ref")


def test_a_project_whose_folder_is_gone_or_in_no_repository_does_not_stop_the_others(old: Old) -> None:
    runs: Runs = old.thread.runs
    gone = Old(runs, "gone")
    gone.add(2)
    shutil.rmtree(gone.checkout.top)
    runs.thread("outside")
    old.add(2)
    assert len(old.prune("--keep", "1")["checkpoints"]) == 1
    assert len(gone.listed()) == 2
