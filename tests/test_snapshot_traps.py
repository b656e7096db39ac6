"""Snapshots and restores of folders in which other tools have failed: sizes, counts, file systems, other programs."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from checkouts import Checkout, git, new_ref, with_git
from treadle.workspace.git import GitError
from treadle.workspace.repositories import open_repository
from treadle.workspace.restore import restore
from treadle.workspace.skipping import MAX_UNTRACKED, Skipped
from treadle.workspace.snapshots import take_snapshot

pytestmark = with_git
GIT = shutil.which("git")


# Sizes


async def test_a_folder_with_too_many_untracked_files_is_skipped_in_the_usual_time(app: Checkout) -> None:
    """Tried once with 200,000 files as well: docs/checkpoints.md."""
    app.write("tracked")
    app.commit()
    app.write("new")
    many = app.write("many/0").parent
    for n in range(1, MAX_UNTRACKED):
        os.close(os.open(many / f"{n}", os.O_CREAT | os.O_WRONLY))
    snapshot = await app.snapshot()
    assert app.files(snapshot.tree) == ["new", "tracked"]
    assert snapshot.skipped == [Skipped("many/", "count")]
    app.write("new", "edited\n")
    app.write("many/late")
    done = await app.restore(snapshot.commit)
    assert (done.restored.written, done.restored.removed) == (["new"], [])
    assert len(list(many.iterdir())) == MAX_UNTRACKED + 1
    assert app.litter() == []


async def test_files_of_5_gb_are_named_and_not_read(app: Checkout) -> None:
    """They have holes only; to hash them would take longer than a snapshot may."""
    size = 5 * 1024**3
    app.write("tracked.img", "small\n")
    app.commit()
    for name in ("tracked.img", "new.img"):
        os.truncate(app.write(name), size)
    app.write("file")
    snapshot = await app.snapshot()
    assert app.files(snapshot.tree) == ["file", "tracked.img"]
    assert app.text(snapshot.tree, "tracked.img") == "small"
    assert snapshot.skipped == [Skipped("new.img", "size", size), Skipped("tracked.img", "size", size)]
    app.write("file", "edited\n")
    done = await app.restore(snapshot.commit)
    assert (done.restored.written, done.restored.removed) == (["file"], [])
    assert [(app.folder / name).stat().st_size for name in ("tracked.img", "new.img")] == [size, size]


# File systems


async def test_in_a_repository_that_cannot_be_written_the_snapshot_fails_and_nothing_changes(app: Checkout) -> None:
    app.write("file")
    app.commit()
    app.write("file", "edited\n")
    folders = [app.top / ".git", *(path for path in (app.top / ".git").rglob("*") if path.is_dir())]
    was = app.repository(), app.work_tree()
    for folder in folders:
        folder.chmod(0o555)
    try:
        if os.access(folders[0], os.W_OK):
            pytest.skip("root may write everywhere")
        with pytest.raises(GitError, match="Permission denied") as failed:
            await app.snapshot()
        assert failed.value.kind == "gitFailed"
        assert (app.repository(), app.work_tree()) == was
        assert app.litter() == []
    finally:
        for folder in folders:
            folder.chmod(0o755)
    await app.snapshot()


async def test_names_that_differ_by_case_only_are_two_files(app: Checkout) -> None:
    app.write("File", "upper\n")
    app.write("file", "lower\n")
    app.write("Folder/a", "upper\n")
    app.write("folder/a", "lower\n")
    if len(list(app.folder.iterdir())) < 5:
        pytest.skip("this file system ignores case")
    first, was = await app.snapshot(), app.contents()
    (app.folder / "File").unlink()
    shutil.rmtree(app.folder / "folder")
    app.write("file", "edited\n")
    await app.restore(first.commit)
    assert app.contents() == was


async def test_where_git_is_told_to_ignore_case_no_file_is_lost(app: Checkout) -> None:
    """As in a repository that was copied from a Mac: git takes `A` for the tracked `a`."""
    app.git("config", "core.ignoreCase", "true")
    app.write("a", "of the commit\n")
    app.commit()
    (app.folder / "a").rename(app.folder / "A")
    first = await app.snapshot()
    (app.folder / "A").write_text("edited\n")
    app.write("b")
    await app.restore(first.commit)
    assert (app.folder / "A").read_text() in ("edited\n", "of the commit\n")
    assert not (app.folder / "b").exists()
    undone = await app.restore((await app.restore(first.commit)).before.commit)
    assert (app.folder / "A").exists()
    assert undone.restored.removed == []


# Other programs


LFS = """\
store = {store!r}
import hashlib, os, sys
os.makedirs(store, exist_ok=True)
data = sys.stdin.buffer.read()
if sys.argv[1] == "clean" and not data.startswith(b"version https://git-lfs"):
    oid = hashlib.sha256(data).hexdigest()
    open(os.path.join(store, oid), "wb").write(data)
    data = b"version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %d\\n" % (oid.encode(), len(data))
elif sys.argv[1] == "smudge" and data.startswith(b"version https://git-lfs"):
    place = os.path.join(store, data.split(b"sha256:")[1].split()[0].decode())
    data = open(place, "rb").read() if os.path.exists(place) else data
sys.stdout.buffer.write(data)
"""


async def test_a_file_of_lfs_is_a_pointer_in_the_snapshot_and_comes_back_whole(app: Checkout, home: Path) -> None:
    """The filter does what that of git-lfs does; a content that was never fetched stays a pointer."""
    program = home / "lfs.py"
    program.write_text(LFS.format(store=str(home / "lfs")))
    for name in ("clean", "smudge"):
        app.git("config", f"filter.lfs.{name}", f"{sys.executable} {program} {name}")
    app.git("config", "filter.lfs.required", "true")
    app.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    app.write("a.bin", b"\0one" * 1000)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 7\n"
    app.write("not-fetched.bin", pointer)
    app.commit()
    first, was = await app.snapshot(), app.contents()
    assert app.text(first.tree, "a.bin").startswith("version https://git-lfs")
    assert app.text(first.tree, "not-fetched.bin") + "\n" == pointer
    app.write("a.bin", b"\0two" * 1000)
    (app.folder / "not-fetched.bin").unlink()
    done = await app.restore(first.commit)
    assert done.restored.written == ["a.bin", "not-fetched.bin"]
    assert app.contents() == was
    await app.restore(done.before.commit)
    assert (app.folder / "a.bin").read_bytes() == b"\0two" * 1000


async def test_a_linked_work_tree_has_snapshots_of_its_own(app: Checkout, home: Path) -> None:
    app.write("file", "one\n")
    app.commit()
    linked = home / "linked"
    app.git("worktree", "add", "--quiet", "-b", "other", str(linked))
    was = app.repository(), app.work_tree()
    (linked / "file").write_text("two\n")
    (linked / "new").write_text("new\n")
    repository = await open_repository(linked, app.data_dir)
    first = await take_snapshot(repository, ref := new_ref(), "test")
    assert app.text(first.tree, "file") == "two"
    assert app.files(first.tree) == ["file", "new"]
    assert app.git("rev-parse", ref) == first.commit
    (linked / "file").write_text("three\n")
    (linked / "new").unlink()
    done = await restore(repository, first.commit, new_ref(), "test")
    assert done.restored.written == ["file", "new"]
    assert (linked / "file").read_text() == "two\n"
    assert (app.repository(), app.work_tree()) == was
    assert app.litter() == []


async def test_push_clone_and_fsck_do_not_mind_the_refs(app: Checkout, home: Path) -> None:
    app.write("file")
    app.commit()
    app.write("file", "edited\n")
    snapshot = await app.snapshot()
    remote = home / "remote.git"
    git("init", "--quiet", "--bare", remote)
    app.git("remote", "add", "origin", str(remote))
    app.git("push", "--quiet", "--all", "origin")
    app.git("push", "--quiet", "--tags", "origin")
    app.git("push", "--quiet", "--follow-tags", "origin", "main")
    git("clone", "--quiet", "--no-local", app.top, home / "clone")
    for place in ("remote.git", "clone/.git"):
        listed = app.git("--git-dir", f"{home}/{place}", "for-each-ref", "--format=%(refname)")
        assert "/main" in listed
        assert "treadle" not in listed
        has = ["--git-dir", f"{home}/{place}", "cat-file", "-t"]
        assert app.git(*has, app.git("rev-parse", "HEAD")) == "commit"
        assert app.git(*has, snapshot.commit, check=False) == ""
    assert app.git("fsck", "--strict", "--full") == ""
    assert app.git("branch", "--all", "--contains", snapshot.commit) == ""
    assert app.git("status", "--porcelain") == " M file"


# Kills


RESTORE = """
import asyncio, os, sys
from pathlib import Path
from treadle.workspace.repositories import open_repository
from treadle.workspace.restore import restore

os.environ["RESTORING"] = str(os.getpid())

async def main():
    repository = await open_repository(Path(sys.argv[1]), Path(sys.argv[2]))
    await restore(repository, sys.argv[3], sys.argv[4], "test")

asyncio.run(main())
"""
KILLING_GIT = """\
#!/bin/sh
n=1
until mkdir {count}/$n 2> /dev/null; do n=$((n + 1)); done
[ $n = {number} ] || exec {git} "$@"
{before}{git} "$@"
status=$?
{after}exit $status
"""


async def restored_by_a_process(app: Checkout, home: Path, commit: str, kill: str, number: int) -> int:
    """Let a process restore, which dies at this command of git, before or after that; return its status."""
    places = {"count": home / "count", "git": GIT, "number": number}
    dies = {"before": "", "after": "", kill: "kill -9 $PPID\n"}
    shutil.rmtree(home / "count", ignore_errors=True)
    (home / "count").mkdir()
    program = home / "bin" / "git"
    program.parent.mkdir(exist_ok=True)
    program.write_text(KILLING_GIT.format(**places, **dies))
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    words = (sys.executable, "-c", RESTORE, app.folder, app.data_dir, commit, new_ref())
    process = await asyncio.create_subprocess_exec(*words, env=environment)
    return await process.wait()


@pytest.mark.parametrize("kill", ["before", "after"])
async def test_a_restore_that_is_killed_at_any_command_of_git_is_ended_by_a_second_one(
    app: Checkout, home: Path, kill: str
) -> None:
    app.write(".gitignore", "ignored\n")
    app.write("ignored", "secret\n")
    for name in ("edited", "removed", "same", "folder/a"):
        app.write(name, f"{name}\n")
    app.commit()
    target, was = await app.snapshot(), app.contents()
    statuses, number = list[int](), 0
    while not statuses or statuses[-1] != 0:
        app.write("edited", "by the agent\n")
        (app.folder / "removed").unlink()
        shutil.rmtree(app.folder / "folder")
        app.write("folder", "a file now\n")
        app.write("new")
        repository, same = app.repository(), app.work_tree()["same"]
        number += 1
        statuses.append(await restored_by_a_process(app, home, target.commit, kill, number))
        await app.restore(target.commit)
        assert app.contents() == was
        assert app.work_tree()["same"] == same
        assert app.repository() == repository
        assert app.litter() == []
    assert set(statuses[:-1]) == {-9}
    assert number > 8
    assert app.git("fsck", "--no-dangling", "--strict") == ""


async def test_a_restore_that_is_killed_while_it_writes_files_is_ended_by_a_second_one(
    app: Checkout, home: Path
) -> None:
    """The filter kills git and the process that restores, the second time: the first is the trial."""
    runs = home / "runs"
    script = home / "kills"  # a file, so that git starts it without a shell between them
    script.write_text(f"#!/bin/sh\necho >> {runs}\n[ $(wc -l < {runs}) = 2 ] && kill -9 $PPID $RESTORING\ncat\n")
    script.chmod(0o755)
    app.write(".gitattributes", "c filter=kills\n")
    for name in "abcde":
        app.write(name, f"{name}\n")
    app.commit()
    target, was = await app.snapshot(), app.contents()
    for name in "abcde":
        app.write(name, "edited\n")
    app.git("config", "filter.kills.smudge", str(script))
    assert await restored_by_a_process(app, home, target.commit, "after", -1) == -9
    half = {name: (app.folder / name).read_text() for name in "abcde" if (app.folder / name).exists()}
    assert half["a"] == "a\n"
    assert half["e"] == "edited\n"
    app.git("config", "--unset", "filter.kills.smudge")
    await app.restore(target.commit)
    assert app.contents() == was
    assert app.litter() == []
