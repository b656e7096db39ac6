"""Restores of snapshots: the files become what they were, what is not the project's stays, and it can be undone."""

import os
import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkouts import Checkout, git, new_ref, with_git
from treadle.workspace.diffs import compare
from treadle.workspace.git import GitError
from treadle.workspace.restore import Restored, plan_restore, restore
from treadle.workspace.skipping import Bounds
from treadle.workspace.snapshots import list_refs

pytestmark = with_git


def fill(app: Checkout) -> None:
    app.write(".gitignore", "*.log\n")
    for name in ("same", "edited", "deleted", "folder/a", "folder/b", "file", "script"):
        app.write(name, f"{name}\n")
    (app.folder / "link").symlink_to("same")
    app.commit()
    app.write("untracked/file", "one\n")
    app.write("staged", "one\n")
    app.git("add", "staged")


def change(app: Checkout) -> None:
    app.write("edited", "edited again\n")
    (app.folder / "deleted").unlink()
    shutil.rmtree(app.folder / "folder")
    (app.folder / "folder").symlink_to("untracked")
    (app.folder / "file").unlink()
    app.write("file/below", "new\n")
    (app.folder / "script").chmod(0o755)
    (app.folder / "link").unlink()
    app.write("link", "a file\n")
    app.write("new/deep/file", "new\n")
    app.write("untracked/file", "two\n")
    app.write("app.log", "logged\n")


async def test_a_restore_says_what_it_would_do_does_it_and_can_be_undone(app: Checkout) -> None:
    fill(app)
    contents = app.contents()
    first = await app.snapshot()
    change(app)
    changed, repository, times = app.contents(), app.repository(), app.work_tree()
    planned = await plan_restore(await app.open(), first.commit)
    assert planned == Restored(
        ["deleted", "edited", "file", "folder/a", "folder/b", "link", "script", "untracked/file"],
        ["file/below", "folder", "new/deep/file"],
        [],
    )
    assert app.work_tree() == times, "a plan changes nothing"
    undoable = await app.restore(first.commit)
    assert undoable.restored == planned
    assert app.contents() == {**contents, "app.log": changed["app.log"]}
    assert not (app.folder / "new").exists()
    assert (await app.snapshot(previous=first.commit)).reused
    for name in ("same", "app.log", ".gitignore", "staged"):
        assert app.work_tree()[name] == times[name]
    undone = await app.restore(undoable.before.commit)
    assert app.contents() == changed
    await app.restore(undone.before.commit)
    assert app.contents() == {**contents, "app.log": changed["app.log"]}
    assert app.repository() == repository
    assert app.litter() == []
    assert app.git("fsck", "--no-dangling", "--strict") == ""


async def test_a_plan_and_a_comparison_with_the_present_leave_no_object(app: Checkout) -> None:
    fill(app)
    first = await app.snapshot()
    change(app)
    objects, refs = sorted((app.top / ".git" / "objects").rglob("*")), await list_refs(await app.open())
    await plan_restore(await app.open(), first.commit)
    assert (await compare(await app.open(), first.commit, None)).total > 0
    assert sorted((app.top / ".git" / "objects").rglob("*")) == objects
    assert await list_refs(await app.open()) == refs


async def test_a_restore_after_a_commit_leaves_the_branch(app: Checkout) -> None:
    app.write("file", "one\n")
    app.commit()
    first = await app.snapshot()
    app.write("file", "two\n")
    app.write("new")
    head = app.commit()
    app.git("switch", "--quiet", "--create", "other")
    await app.restore(first.commit)
    assert app.contents().keys() == {"file"}
    assert app.git("rev-parse", "HEAD") == head
    assert app.git("status", "--porcelain", "--branch").splitlines() == ["## other", " M file", " D new"]


async def test_an_unknown_commit_is_refused_and_no_snapshot_taken(app: Checkout) -> None:
    app.write("file")
    for commit in ("0" * 40, "--all", "HEAD"):
        with pytest.raises(GitError) as refused:
            await app.restore(commit)
        assert refused.value.kind == "noCommit"
    assert await list_refs(await app.open()) == {}


# What is not the project's


async def test_a_file_that_has_become_ignored_is_not_replaced(app: Checkout) -> None:
    app.write("settings", "one\n")
    first = await app.snapshot()
    app.write("settings", "secret\n")
    app.write(".gitignore", "settings\n")
    undoable = await app.restore(first.commit)
    assert undoable.restored == Restored([], [".gitignore"], ["settings"])
    assert (app.folder / "settings").read_text() == "secret\n"


async def test_an_ignored_file_in_a_folder_that_was_a_file_is_not_removed(app: Checkout) -> None:
    app.write(".gitignore", "*.log\n")
    app.write("build", "a script\n")
    first = await app.snapshot()
    (app.folder / "build").unlink()
    app.write("build/out", "made\n")
    app.write("build/deep/out.log", "ignored\n")
    undoable = await app.restore(first.commit)
    assert undoable.restored == Restored([], ["build/out"], ["build"])
    assert (app.folder / "build/deep/out.log").read_text() == "ignored\n"


async def test_an_ignored_link_in_place_of_a_folder_is_not_followed(app: Checkout, tmp_path: Path) -> None:
    app.write("data/file", "one\n")
    first = await app.snapshot()
    shutil.rmtree(app.folder / "data")
    (app.folder / "data").symlink_to(tmp_path)
    app.write(".gitignore", "/data\n")
    assert (await app.restore(first.commit)).restored == Restored([], [".gitignore"], ["data/file"])
    assert (app.folder / "data").is_symlink()
    assert not (tmp_path / "file").exists()


async def test_an_empty_folder_in_place_of_a_file_is_replaced(app: Checkout) -> None:
    app.write("file", "one\n")
    first = await app.snapshot()
    (app.folder / "file").unlink()
    (app.folder / "file" / "deep").mkdir(parents=True)
    await app.restore(first.commit)
    assert (app.folder / "file").read_text() == "one\n"


async def test_a_restored_gitignore_removes_nothing_that_was_ignored(app: Checkout) -> None:
    app.write(".gitignore", "*.log\n")
    app.write("app.log", "old\n")
    first = await app.snapshot()
    app.write(".gitignore", "")
    app.write("app.log", "new\n")
    app.write("deep/new.log", "new\n")
    app.write("deep/new", "new\n")
    undoable = await app.restore(first.commit)
    assert undoable.restored == Restored([".gitignore"], ["deep/new"], ["app.log", "deep/new.log"])
    assert (app.folder / "app.log").read_text() == "new\n"


async def test_large_files_are_neither_written_nor_removed(app: Checkout) -> None:
    bounds = Bounds(file_bytes=1000)
    for name in ("shrinks", "stays"):
        app.write(name, b"x" * 2000)
    app.write("grows", b"x")
    app.write("tracked", "one\n")
    app.commit()
    app.git("rm", "--quiet", "--cached", "shrinks", "stays", "grows")
    app.write("tracked", b"y" * 2000)
    first = await app.snapshot(bounds=bounds)
    app.write("shrinks", b"x")
    app.write("grows", b"x" * 2000)
    app.write("tracked", "three\n")
    files = app.work_tree()
    undoable = await app.restore(first.commit, bounds=bounds)
    assert undoable.restored == Restored([], [], ["grows", "shrinks", "tracked"])
    assert app.work_tree() == files


async def test_a_folder_with_too_many_files_is_left_and_its_tracked_files_are_restored(app: Checkout) -> None:
    bounds = Bounds(untracked=10)
    app.write("modules/tracked", "one\n")
    app.commit()
    for n in range(20):
        app.write(f"modules/{n}")
    first = await app.snapshot(bounds=bounds)
    app.write("modules/tracked", "two\n")
    app.write("modules/new")
    for n in range(15):
        (app.folder / "modules" / str(n)).unlink()
    undoable = await app.restore(first.commit, bounds=bounds)
    assert undoable.restored.written == ["modules/tracked"]
    assert undoable.restored.removed == []
    assert len(undoable.restored.left) == 6


async def test_other_repositories_within_the_folder_are_left(app: Checkout) -> None:
    app.write("becomes/file", "one\n")
    app.write("becomes/deleted", "one\n")
    was = app.folder / "was"
    git("init", "--quiet", was)
    app.write("was/file", "one\n")
    first = await app.snapshot()
    app.write("becomes/file", "two\n")
    (app.folder / "becomes" / "deleted").unlink()
    git("init", "--quiet", app.folder / "becomes")
    shutil.rmtree(was / ".git")
    files = app.work_tree()
    undoable = await app.restore(first.commit)
    assert undoable.restored == Restored([], [], ["becomes/deleted", "becomes/file", "was/file"])
    assert app.work_tree() == files


async def test_files_that_git_was_told_not_to_look_at_are_left(app: Checkout) -> None:
    app.write("local", "one\n")
    app.commit()
    first = await app.snapshot()
    app.write("local", "two\n")
    app.commit()
    app.git("update-index", "--assume-unchanged", "local")
    app.write("local", "secret\n")
    assert (await app.restore(first.commit)).restored == Restored([], [], ["local"])
    assert (app.folder / "local").read_text() == "secret\n"


# Failures


async def test_if_a_filter_fails_nothing_is_changed(app: Checkout) -> None:
    app.write(".gitattributes", "*.bin filter=large\n")
    for name in ("a.txt", "model.bin", "z.txt"):
        app.write(name, "one\n")
    first = await app.snapshot()
    for name in ("a.txt", "model.bin", "z.txt"):
        app.write(name, "two\n")
    app.write("new")
    app.git("config", "filter.large.smudge", "false")
    app.git("config", "filter.large.clean", "cat")
    app.git("config", "filter.large.required", "true")
    files = app.work_tree()
    with pytest.raises(GitError, match="smudge filter") as failed:
        await app.restore(first.commit)
    assert failed.value.kind == "gitFailed"
    assert app.work_tree() == files
    assert app.litter() == []


async def test_a_file_that_is_edited_during_the_restore_is_not_lost(app: Checkout) -> None:
    """The filter stands for a user who saves a file while the restore runs."""
    app.write(".gitattributes", "trigger filter=edits\n")
    app.write("trigger", "one\n")
    app.write("edited", "one\n")
    first = await app.snapshot()
    app.write("trigger", "two\n")
    app.write("edited", "two\n")
    app.git("config", "filter.edits.smudge", f"sh -c 'cat; echo by the user > {app.folder}/edited'")
    with pytest.raises(GitError, match="edited has just been changed") as failed:
        await app.restore(first.commit)
    assert failed.value.kind == "changedMeanwhile"
    assert (app.folder / "edited").read_text() == "by the user\n"
    assert (app.folder / "trigger").read_text() == "two\n"


# Any files


NAMES = st.sampled_from(["a", "b", "c", "é", "x y", "A"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
EDITS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "remove", "link", "mode", "add", "commit"]), PATHS, st.integers(0, 3)),
    max_size=12,
)


def edit(app: Checkout, edits: list[tuple[str, str, int]]) -> None:
    for kind, path, number in edits:
        place = app.folder / path
        if kind in ("write", "link"):
            for above in reversed([place, *place.parents]):
                if above.is_relative_to(app.folder) and above != place and (above.is_symlink() or above.is_file()):
                    above.unlink()
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            elif os.path.lexists(place):
                place.unlink()
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind == "write":
                place.write_text(f"{number}\n" * 3)
            else:
                place.symlink_to("abc"[number % 3])
        elif kind == "remove" and place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif kind == "remove" and os.path.lexists(place) and place.parent.resolve() == place.parent:
            place.unlink()
        elif kind == "mode" and place.is_file() and not place.is_symlink() and place.resolve() == place:
            place.chmod(0o755 if number % 2 else 0o644)
        elif kind == "add":
            app.git("add", "--all")
        elif kind == "commit":
            app.commit()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.tuples(EDITS, EDITS, EDITS), seed=st.integers(0, 2**32))
async def test_any_folder_comes_back(home: Path, edits: tuple[list[tuple[str, str, int]], ...], seed: int) -> None:
    shutil.rmtree(home)
    app = Checkout(home / "app", home)
    (app.top / ".git" / "info" / "exclude").write_text("ignored\n")
    app.write("ignored", "secret\n")
    taken = []
    for each in edits:
        edit(app, each)
        was = app.repository(), app.work_tree()
        taken.append(((await app.snapshot()).commit, app.contents()))
        assert (app.repository(), app.work_tree()) == was
    Random(seed).shuffle(taken)
    repository = app.repository()
    for commit, contents in taken:
        planned = await plan_restore(await app.open(), commit)
        different = {path for path in {*contents, *app.contents()} if contents.get(path) != app.contents().get(path)}
        assert {*planned.written, *planned.removed} == different
        assert planned.left == []
        before = app.work_tree()
        assert (await restore(await app.open(), commit, new_ref(), "test")).restored == planned
        assert app.contents() == contents
        assert {path: it for path, it in app.work_tree().items() if path not in planned.written} == {
            path: it for path, it in before.items() if path not in {*planned.written, *planned.removed}
        }  # with their times
        assert (await compare(await app.open(), commit, None)).files == []
    assert app.repository() == repository
    assert app.litter() == []
