"""Worktrees: made at HEAD, compared, applied to the project's folder as a whole or not at all, and removed."""

import shutil
from pathlib import Path

import pytest

from checkouts import Checkout, git, new_ref, with_git
from treadle.workspace.diffs import compare
from treadle.workspace.git import GitError
from treadle.workspace.repositories import Repository, open_repository
from treadle.workspace.restore import Undoable
from treadle.workspace.snapshots import list_refs
from treadle.workspace.worktrees import (
    Worktree,
    apply_worktree,
    create_worktree,
    plan_apply,
    reattach_worktree,
    remove_worktree,
)

pytestmark = with_git

LINES = "".join(f"line {n}\n" for n in range(20))


async def worktree_of(app: Checkout) -> tuple[Worktree, Repository]:
    worktree = await create_worktree(await app.open(), app.home / "work tree")
    return worktree, await open_repository(worktree.folder, app.data_dir)


async def applied(app: Checkout, worktree: Worktree, repository: Repository) -> Undoable | None:
    return await apply_worktree(await app.open(), repository, worktree.commit, new_ref(), "test")


@pytest.fixture(params=["", "part"])
def project(request: pytest.FixtureRequest, home: Path) -> Checkout:
    app = Checkout(home / "app", home, request.param)
    for name in ("edited", "deleted", "theirs"):
        app.write(name, LINES)
    app.write("picture", b"\x00one")
    app.commit()
    return app


async def test_what_a_worktree_changed_is_applied_to_the_folder_and_can_be_undone(project: Checkout) -> None:
    head = project.git("rev-parse", "HEAD")
    worktree, repository = await worktree_of(project)
    assert worktree.commit == head
    assert (await compare(repository, worktree.commit, None)).total == 0
    agent = worktree.folder
    (agent / "edited").write_text(LINES.replace("line 3\n", "line three\n"))
    (agent / "deleted").unlink()
    (agent / "picture").write_bytes(b"\x00two")
    (agent / "new").mkdir()
    (agent / "new" / "file\n").write_bytes(b"no line end, \xff")
    (agent / "new" / "script").write_text("#!/bin/sh\n")
    (agent / "new" / "script").chmod(0o755)
    (agent / "link").symlink_to("edited")
    assert (await compare(repository, worktree.commit, None)).total == 6
    # Meanwhile the user edits other lines, stages and commits.
    project.write("edited", LINES.replace("line 17\n", "line seventeen\n"))
    project.write("theirs", "of the user\n")
    project.git("commit", "--quiet", "--all", "--message", "of the user")
    project.write("staged")
    project.git("add", "--all")
    before, index = project.contents(), project.repository()
    undoable = await applied(project, worktree, repository)
    assert undoable is not None
    assert len(undoable.restored.written) == 5
    assert len(undoable.restored.removed) == 1
    assert undoable.restored.left == []
    merged = LINES.replace("line 3\n", "line three\n").replace("line 17\n", "line seventeen\n")
    assert (project.folder / "edited").read_text() == merged
    for name in ("picture", "new/file\n", "new/script"):
        assert (project.folder / name).read_bytes() == (agent / name).read_bytes()
    assert (project.folder / "new" / "script").stat().st_mode & 0o100
    assert (project.folder / "link").is_symlink()
    assert not (project.folder / "deleted").exists()
    assert (project.folder / "theirs").read_text() == "of the user\n"
    assert project.repository() == index
    await project.restore(undoable.before.commit)
    assert project.contents() == before
    assert project.litter() == []


async def test_on_a_conflict_nothing_is_changed(project: Checkout) -> None:
    worktree, repository = await worktree_of(project)
    for name in ("edited", "deleted"):
        (worktree.folder / name).write_text(LINES.replace("line 3\n", "of the agent\n"))
    (worktree.folder / "new").write_text("new\n")
    project.write("edited", LINES.replace("line 3\n", "of the user\n"))
    (project.folder / "deleted").unlink()
    files, index = project.work_tree(), project.repository()
    with pytest.raises(GitError, match="nothing was") as failed:
        await applied(project, worktree, repository)
    assert failed.value.kind == "conflict"
    assert project.work_tree() == files
    assert project.repository() == index
    assert project.litter() == []
    assert await list_refs(await project.open()) == {}
    (project.folder / "deleted").write_text(LINES)
    with pytest.raises(GitError, match=r"the same lines, and nothing was applied: (part/)?edited$"):
        await applied(project, worktree, repository)


async def test_the_same_edit_on_both_sides_is_no_conflict(project: Checkout) -> None:
    worktree, repository = await worktree_of(project)
    for folder in (worktree.folder, project.folder):
        (folder / "edited").write_text("both\n")
        (folder / "new").write_text("both\n")
    undoable = await applied(project, worktree, repository)
    assert undoable is not None
    assert (undoable.restored.written, undoable.restored.removed) == ([], [])


async def test_commits_of_the_agent_are_applied_as_well(project: Checkout) -> None:
    worktree, repository = await worktree_of(project)
    (worktree.folder / "new").write_text("new\n")
    await repository.git.run("add", "--all")
    await repository.git.run("-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "--message", "x")
    assert await applied(project, worktree, repository) is not None
    assert (project.folder / "new").read_text() == "new\n"


async def test_an_unchanged_worktree_applies_nothing(project: Checkout) -> None:
    worktree, repository = await worktree_of(project)
    assert await applied(project, worktree, repository) is None
    assert await list_refs(await project.open()) == {}


async def test_an_ignored_file_of_the_user_is_not_replaced_by_a_new_one(project: Checkout) -> None:
    worktree, repository = await worktree_of(project)
    (worktree.folder / "local").write_text("of the agent\n")
    project.write(".gitignore", "local\n")
    project.write("local", "secret\n")
    undoable = await applied(project, worktree, repository)
    assert undoable is not None
    assert undoable.restored.left == [f"{repository.prefix.decode()}local"]
    assert (project.folder / "local").read_text() == "secret\n"


async def test_a_worktree_is_removed_with_what_is_in_it_and_may_be_missing(project: Checkout) -> None:
    worktree, _ = await worktree_of(project)
    (worktree.folder / "edited").write_text("edited\n")
    project.git("worktree", "lock", str(worktree.top))
    for _ in range(2):
        await remove_worktree(await project.open(), worktree.top)
        assert not worktree.top.exists()
        assert len(project.git("worktree", "list").splitlines()) == 1
    lost, _ = await worktree_of(project)
    shutil.rmtree(lost.top)
    await remove_worktree(await project.open(), lost.top)
    assert len(project.git("worktree", "list").splitlines()) == 1


async def test_what_only_the_worktree_has_is_told_before_and_nothing_after_it_was_applied(project: Checkout) -> None:
    worktree, repository = await worktree_of(project)

    async def unapplied() -> list[str]:
        planned = await plan_apply(await project.open(), repository, worktree.commit)
        return [name.removeprefix(repository.prefix.decode()) for name in planned.files]

    assert await unapplied() == []
    (worktree.folder / "deleted").unlink()
    (worktree.folder / "new").write_text("new\n")
    files = project.work_tree()
    assert await unapplied() == ["deleted", "new"]
    assert project.work_tree() == files
    assert await applied(project, worktree, repository) is not None
    assert await unapplied() == []
    git("init", "--quiet", worktree.folder / "nested")
    assert await unapplied() == ["nested/"]


async def test_a_worktree_runs_no_hook_and_changes_no_branch(project: Checkout, tmp_path: Path) -> None:
    hook = project.top / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\n: > {tmp_path / 'ran'}\n")
    hook.chmod(0o700)
    branches = project.git("for-each-ref")
    worktree, _ = await worktree_of(project)
    await remove_worktree(await project.open(), worktree.top)
    assert project.git("for-each-ref") == branches
    assert not (tmp_path / "ran").exists()


async def test_a_repository_without_a_commit_has_no_worktree(app: Checkout) -> None:
    with pytest.raises(GitError) as refused:
        await create_worktree(await app.open(), app.home / "work")
    assert refused.value.kind == "noCommit"
    assert not (app.home / "work").exists()


async def test_a_repository_with_submodules_has_no_worktree(app: Checkout, home: Path) -> None:
    library = Checkout(home / "library", home)
    library.write("a")
    library.commit()
    git("-C", app.top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", library.top, "lib")
    app.commit()
    with pytest.raises(GitError, match="submodules") as refused:
        await create_worktree(await app.open(), app.home / "work")
    assert refused.value.kind == "hasSubmodules"
    assert not (app.home / "work").exists()


async def test_a_folder_that_the_commit_does_not_have_is_empty_in_the_worktree(home: Path) -> None:
    part = Checkout(home / "app", home, "part")
    (part.top / "file").write_text("text\n")
    part.commit()
    worktree = await create_worktree(await part.open(), home / "work")
    assert list(worktree.folder.iterdir()) == []


async def test_a_worktree_that_git_has_forgotten_is_one_again_with_all_that_was_changed(project: Checkout) -> None:
    worktree, repository = await worktree_of(project)
    (worktree.folder / "edited").write_text("edited\n")
    worktree.top.rename(project.home / "away")
    project.git("worktree", "prune")
    (project.home / "away").rename(worktree.top)
    await reattach_worktree(await project.open(), worktree.top, worktree.commit)
    repository = await open_repository(worktree.folder, project.data_dir)
    assert [file.path for file in (await compare(repository, worktree.commit, None)).files] == [
        f"{repository.prefix.decode()}edited"
    ]
    assert len(project.git("worktree", "list").splitlines()) == 2
    status = (await repository.git.run("status", "--porcelain")).decode()
    assert status == f" M {repository.prefix.decode()}edited\n"


async def test_the_worktree_of_a_repository_that_was_moved_is_found_by_it_again(project: Checkout, home: Path) -> None:
    worktree, _ = await worktree_of(project)
    (worktree.folder / "edited").write_text("edited\n")
    moved = Checkout.__new__(Checkout)
    moved.__dict__.update(project.__dict__)
    moved.top, moved.folder = home / "moved", home / "moved" / project.folder.relative_to(project.top)
    project.top.rename(moved.top)
    await reattach_worktree(await moved.open(), worktree.top, worktree.commit)
    repository = await open_repository(worktree.folder, project.data_dir)
    assert await applied(moved, worktree, repository) is not None
    assert (moved.folder / "edited").read_text() == "edited\n"


async def test_a_folder_that_is_in_use_is_refused(app: Checkout) -> None:
    app.commit()
    (app.home / "work").mkdir()
    (app.home / "work" / "file").write_text("mine\n")
    with pytest.raises(GitError, match="already exists"):
        await create_worktree(await app.open(), app.home / "work")
    assert (app.home / "work" / "file").read_text() == "mine\n"


async def test_a_folder_of_another_repository_is_not_applied(app: Checkout, home: Path) -> None:
    commit = app.commit()
    other = Checkout(home / "other", home)
    with pytest.raises(GitError) as refused:
        await apply_worktree(await app.open(), await other.open(), commit, new_ref(), "test")
    assert refused.value.kind == "foreignWorktree"
