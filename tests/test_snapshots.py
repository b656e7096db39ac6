"""Snapshots of a project's folder: what they hold, and that nothing of the user's is changed by them."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from checkouts import Checkout, commands_of_git, git, new_ref, with_git
from treadle.domain.ids import ID_PATTERN
from treadle.workspace import repositories
from treadle.workspace.git import Git, GitError
from treadle.workspace.provenance import Lines, first_versions
from treadle.workspace.repositories import open_repository
from treadle.workspace.skipping import Bounds, Skipped
from treadle.workspace.snapshots import checkpoint_ref, list_refs, prune, take_snapshot

pytestmark = with_git

HOOKS = ("post-index-change", "reference-transaction", "post-checkout", "pre-commit", "post-commit", "pre-auto-gc")


def dirty(app: Checkout) -> None:
    """Fill the folder with all kinds of files."""
    for name in ("same", "edited", "deleted", "staged", "to-link", "folder/a", "folder/b", "file", "script"):
        app.write(name, f"{name}\n")
    (app.folder / "link").symlink_to("same")
    app.write(".gitignore", "ignored*\n")
    app.commit()
    app.write("stashed")
    app.git("stash", "--include-untracked", "--quiet")
    app.write("edited", "edited again\n")
    (app.folder / "deleted").unlink()
    app.write("staged", "staged\nfor a commit\n")
    app.git("add", "staged")
    app.write("staged", "and edited after that\n")
    (app.folder / "to-link").unlink()
    (app.folder / "to-link").symlink_to("nowhere")
    shutil.rmtree(app.folder / "folder")
    app.write("folder", "a file now\n")
    (app.folder / "file").unlink()
    app.write("file/below", "in a folder now\n")
    (app.folder / "script").chmod(0o755)
    app.write("ignored.log", "secret\n")
    app.write("new/deep/file", "new\n")
    nested = app.folder / "nested"
    git("init", "--quiet", nested)
    (nested / "inside").write_text("of another repository\n")


async def test_a_snapshot_holds_the_files_as_they_are(app: Checkout) -> None:
    dirty(app)
    snapshot = await app.snapshot()
    assert app.files(snapshot.commit) == [
        *(".gitignore", "edited", "file/below", "folder", "link", "new/deep/file", "same", "script", "staged"),
        "to-link",
    ]
    assert app.text(snapshot.tree, "edited") == "edited again"
    assert app.text(snapshot.tree, "staged") == "and edited after that"
    assert app.text(snapshot.tree, "to-link") == "nowhere"
    assert app.git("ls-tree", snapshot.tree, "script").startswith("100755")
    assert app.git("ls-tree", snapshot.tree, "to-link").startswith("120000")
    assert snapshot.skipped == [Skipped("nested/", "repository")]
    assert app.git("rev-list", "--parents", snapshot.commit) == snapshot.commit
    assert app.git("rev-parse", f"{snapshot.commit}^{{tree}}") == snapshot.tree


async def test_a_snapshot_changes_nothing_of_the_users(app: Checkout) -> None:
    dirty(app)
    files, repository, refs = app.work_tree(), app.repository(), app.git("for-each-ref", "refs/heads", "refs/stash")
    before = await app.snapshot()
    after = await app.snapshot(previous=before.commit)
    assert (after.commit, after.reused, before.reused) == (before.commit, True, False)
    assert app.work_tree() == files
    assert app.repository() == repository
    assert app.git("for-each-ref", "refs/heads", "refs/stash") == refs
    assert app.git("branch", "--all", "--contains", before.commit) == ""
    assert app.litter() == []
    assert app.git("fsck", "--no-dangling", "--strict") == ""


async def test_no_hook_runs_and_no_identity_is_needed(app: Checkout, tmp_path: Path) -> None:
    dirty(app)
    app.git("config", "--unset", "user.name")
    app.git("config", "user.useConfigOnly", "true")
    app.git("config", "commit.gpgSign", "true")
    app.git("config", "gpg.program", "false")
    app.git("config", "core.logAllRefUpdates", "always")
    app.git("config", "core.fsmonitor", str(tmp_path / "program"))
    for path in (tmp_path / "program", *(app.top / ".git" / "hooks" / name for name in HOOKS)):
        path.write_text(f"#!/bin/sh\n: > {tmp_path / 'ran'}\n")
        path.chmod(0o700)
    first = await app.snapshot()
    app.write("edited", "once more\n")
    await app.snapshot()
    await app.restore(first.commit)
    await prune(await app.open(), await list_refs(await app.open()))
    assert not (tmp_path / "ran").exists()
    assert not (app.top / ".git" / "logs" / "refs" / "treadle").exists()


async def test_a_repository_around_a_hook_that_started_treadle_is_not_used(
    app: Checkout, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.write("mine")
    other = Checkout(home / "other", home)
    monkeypatch.setenv("GIT_DIR", str(other.top / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.top / ".git" / "index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other.top / ".git" / "objects"))
    snapshot = await app.snapshot()
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.delenv(name)
    assert app.files(snapshot.commit) == ["mine"]
    assert other.git("for-each-ref") == ""


async def test_the_settings_of_the_user_say_what_is_ignored(
    app: Checkout, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "ignored").write_text("*.tmp\n")
    (home / "settings").write_text(f"[core]\n\texcludesFile = {home / 'ignored'}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "settings"))
    app.write("a.tmp")
    app.write("a.txt")
    assert app.files((await app.snapshot()).commit) == ["a.txt"]


# Seeing each change


async def test_an_edit_of_the_same_size_with_the_old_time_is_in_the_snapshot(app: Checkout, home: Path) -> None:
    (home / ".gitconfig").write_text("[core]\n\ttrustctime = false\n\tcheckStat = minimal\n")
    path = app.write("file", "one\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    app.commit()
    changed = int(path.stat().st_ctime)
    while int(path.stat().st_ctime) == changed:  # most builds of git compare whole seconds
        app.write("file", "two\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert app.git("status", "--porcelain") == "", "the user's git does not see it"
    assert app.text((await app.snapshot()).commit, "file") == "two"


async def test_an_edit_in_the_moment_of_a_commit_is_in_the_snapshot(app: Checkout) -> None:
    for n in range(20):
        app.write("file", f"{n:02}\n")
        app.commit()
        app.write("file", f"{n + 50}\n")
        assert app.text((await app.snapshot()).commit, "file") == f"{n + 50}"


def split(app: Checkout) -> None:
    app.git("update-index", "--split-index")


def missing(app: Checkout) -> None:
    (app.top / ".git" / "index").unlink()


def corrupt(app: Checkout) -> None:
    (app.top / ".git" / "index").write_bytes(b"DIRC" + bytes(100))


def sparse(app: Checkout) -> None:
    app.git("sparse-checkout", "set", "--cone", "--sparse-index", "inside")


def monitored(app: Checkout) -> None:
    app.git("update-index", "--untracked-cache")


@pytest.mark.parametrize("kind", [split, missing, corrupt, sparse, monitored], ids=lambda kind: kind.__name__)
async def test_any_index_gives_the_same_snapshot(app: Checkout, kind: Callable[[Checkout], None]) -> None:
    for name in ("file", "inside/a", "inside/b", "outside/c"):
        app.write(name, f"{name}\n")
    app.commit()
    kind(app)
    repository = app.repository()
    app.write("inside/a", "edited\n")
    (app.folder / "inside" / "b").unlink()
    app.write("outside-too/new", "new\n")
    first = await app.snapshot()
    assert app.files(first.commit) == ["file", "inside/a", "outside-too/new", "outside/c"]
    assert app.text(first.commit, "inside/a") == "edited"
    assert app.text(first.commit, "outside/c") == "outside/c"
    app.write("inside/a", "edited again\n")
    app.write("newer")
    await app.restore(first.commit)
    assert (await app.snapshot(previous=first.commit)).reused
    assert app.repository() == repository
    assert (app.folder / "outside").exists() == (kind is not sparse)


async def test_a_snapshot_is_taken_while_another_git_holds_the_lock_of_the_index(app: Checkout) -> None:
    app.write("file")
    app.commit()
    lock = app.top / ".git" / "index.lock"
    lock.touch()
    app.write("file", "new\n")
    taken = await app.snapshot()
    assert app.text(taken.tree, "file") == "new"
    app.write("file", "newer\n")
    await app.restore(taken.commit)
    assert (app.folder / "file").read_text() == "new\n"
    assert lock.read_bytes() == b""


async def test_a_repository_without_a_commit_can_be_snapshotted_and_restored(app: Checkout) -> None:
    app.write("file", "one\n")
    repository = app.repository()
    first = await app.snapshot()
    app.write("file", "two\n")
    app.write("new")
    await app.restore(first.commit)
    assert app.contents().keys() == {"file"}
    assert (app.folder / "file").read_text() == "one\n"
    assert app.repository() == repository


@pytest.mark.parametrize("below", ["", "part"])
async def test_during_a_merge_with_conflicts_the_files_are_taken_as_they_are(home: Path, below: str) -> None:
    app = Checkout(home / "app", home, below)
    names = ("both", "removed")
    for name in names:
        app.write(name, "base\n")
        (app.top / f"top-{name}").write_text("base\n")
    app.commit()
    app.git("switch", "--quiet", "--create", "side")
    for path in (app.folder / "both", app.top / "top-both", app.folder / "removed", app.top / "top-removed"):
        path.write_text("side\n")
    app.commit()
    app.git("switch", "--quiet", "main")
    for path in (app.folder / "both", app.top / "top-both"):
        path.write_text("main\n")
    for path in (app.folder / "removed", app.top / "top-removed"):
        path.unlink()
    app.commit()
    app.git("merge", "side", check=False)
    (app.folder / "removed").unlink()
    repository = app.repository()
    assert "MERGE_HEAD" in repository
    first = await app.snapshot()
    assert "<<<<<<<" in app.text(first.commit, f"{below}/both".lstrip("/"))
    assert f"{below}/removed".lstrip("/") not in app.files(first.commit)
    app.write("both", "resolved\n")
    await app.restore(first.commit)
    assert "<<<<<<<" in (app.folder / "both").read_text()
    assert app.repository() == repository


async def test_a_file_that_is_only_intended_to_be_added_is_in_the_snapshot(app: Checkout) -> None:
    app.write("file", "text\n")
    app.git("add", "--intent-to-add", "file")
    assert app.text((await app.snapshot()).commit, "file") == "text"


async def test_a_tracked_file_that_is_ignored_is_in_the_snapshot(app: Checkout) -> None:
    app.write("kept.log", "one\n")
    app.commit()
    app.write(".gitignore", "*.log\n")
    app.write("kept.log", "two\n")
    app.write("other.log")
    snapshot = await app.snapshot()
    assert app.files(snapshot.commit) == [".gitignore", "kept.log"]
    assert app.text(snapshot.commit, "kept.log") == "two"


NAMES = [
    *(
        "new\nline",
        "with space ",
        '"quoted"',
        "back\\slash",
        ":(top) *w.txt",
        ":!x",
        "-n",
        "*",
        "[a]",
        "é ü 語",
        "tab\t",
    ),
    *("#hash", "~", "a'b", "@{u}", "trailing.", "c:d", b"not-\xff-utf8".decode(errors="surrogateescape"), "\x01\x7f"),
]


@pytest.mark.parametrize("tracked", [True, False])
async def test_files_may_have_any_name(app: Checkout, tracked: bool) -> None:
    for name in NAMES:
        app.write(os.fsencode(f"{name}/{name}"), "one\n")
    if tracked:
        app.commit()
        for name in NAMES:
            app.write(os.fsencode(f"{name}/{name}"), "two\n")
    contents = app.contents()
    first = await app.snapshot()
    assert set(app.files(first.commit)) == {f"{name}/{name}" for name in NAMES}
    for name in NAMES[::2]:
        app.write(os.fsencode(f"{name}/{name}"), "three\n")
    for name in NAMES[1::2]:
        (app.folder / name / name).unlink()
        app.write(os.fsencode(f"{name}/new {name}"), "new\n")
    await app.restore(first.commit)
    assert app.contents() == contents
    assert (await app.snapshot(previous=first.commit)).reused


@pytest.mark.parametrize("name", ["plain", ":(top)x", "new\nline", "é", "*"])
async def test_a_project_may_be_a_folder_of_a_larger_repository(home: Path, name: str) -> None:
    app = Checkout(home / "app", home, name)
    (app.top / "outside").write_text("one\n")
    app.write("inside", "one\n")
    app.commit()
    (app.top / "outside").write_text("staged\n")
    app.git("add", "outside")
    first = await app.snapshot()
    (app.top / "outside").write_text("staged later\n")
    app.git("add", "outside")
    (app.top / "new outside").write_text("new\n")
    app.write("inside", "two\n")
    app.write("new inside", "new\n")
    repository = app.repository()
    assert (await app.restore(first.commit)).restored.written == [f"{name}/inside"]
    assert {path: content for path, (_, content) in app.contents().items()} == {
        **{"outside": b"staged later\n", "new outside": b"new\n"},
        **{f"{name}/inside": b"one\n"},
    }
    assert app.repository() == repository


@pytest.mark.parametrize("name", ["a:b", 'q"u\\o', "new\nline", "with space", "é", "caf\udce9"])
async def test_a_repository_may_be_in_a_folder_of_any_name(home: Path, name: str) -> None:
    app = Checkout(home / name, home)
    app.data_dir = home / f"data {name}"
    app.write("file", "one\n")
    app.commit()
    first = await app.snapshot()
    app.write("file", "two\n")
    await app.restore(first.commit)
    assert (app.folder / "file").read_text() == "one\n"
    assert app.git("fsck", "--no-dangling", "--strict") == ""


async def test_a_repository_may_have_longer_ids(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    app = Checkout(home / "app", home)
    app.write("file", "one\n")
    first = await app.snapshot()
    assert len(first.commit) == 64
    app.write("file", "two\n")
    second = await app.snapshot()
    await app.restore(first.commit)
    assert (app.folder / "file").read_text() == "one\n"
    found = await first_versions(await app.open(), [first.commit, second.commit], "file", 1)
    assert found == [Lines(1, 1, 2, "file", 1)]


async def test_objects_that_git_writes_into_a_pack_are_kept(app: Checkout) -> None:
    app.git("config", "core.bigFileThreshold", "1k")
    app.write("large", b"x" * 100_000)
    first = await app.snapshot()
    assert len(list((app.top / ".git" / "objects" / "pack").glob("*.idx"))) == 1
    app.write("large", b"y" * 100_000)
    await app.restore(first.commit)
    assert (app.folder / "large").read_bytes() == b"x" * 100_000
    assert app.git("fsck", "--no-dangling", "--strict") == ""
    assert app.litter() == []


# What is skipped


async def test_large_files_are_skipped_and_named(app: Checkout) -> None:
    app.write("tracked", "small\n")
    app.commit()
    app.write("tracked", b"x" * 2000)
    app.write("untracked", b"x" * 1001)
    app.write("exact", b"x" * 1000)
    snapshot = await app.snapshot(bounds=Bounds(file_bytes=1000))
    assert snapshot.skipped == [Skipped("tracked", "size", 2000), Skipped("untracked", "size", 1001)]
    assert app.files(snapshot.commit) == ["exact", "tracked"]
    assert app.text(snapshot.commit, "tracked") == "small"


async def test_of_too_many_untracked_files_the_largest_folders_are_skipped(app: Checkout) -> None:
    app.write("modules/tracked", "one\n")
    app.commit()
    app.write("modules/tracked", "two\n")
    for n in range(30):
        app.write(f"modules/deep/{n}")
    for n in range(5):
        app.write(f"src/{n}")
    snapshot = await app.snapshot(bounds=Bounds(untracked=10))
    assert snapshot.skipped == [Skipped("modules/", "count")]
    assert app.files(snapshot.commit) == ["modules/tracked", *(f"src/{n}" for n in range(5))]
    assert app.text(snapshot.commit, "modules/tracked") == "two"


@pytest.mark.parametrize("below", ["", "part"])
async def test_too_many_untracked_files_directly_in_the_folder_are_skipped(home: Path, below: str) -> None:
    app = Checkout(home / "app", home, below)
    for n in range(30):
        app.write(f"{n}")
    app.write("src/a")
    snapshot = await app.snapshot(bounds=Bounds(untracked=10))
    assert snapshot.skipped == [Skipped(f"{below or '.'}/", "count")]
    assert app.files(snapshot.commit) == [f"{below}/src/a".lstrip("/")]
    files = app.work_tree()
    assert (await app.restore(snapshot.commit)).restored.removed == [], "it does not know what was there"
    assert app.work_tree() == files


async def test_submodules_are_recorded_and_not_entered(app: Checkout, home: Path) -> None:
    library = Checkout(home / "library", home)
    library.write("file")
    library.commit()
    app.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.top), "library")
    app.commit()
    inside = app.folder / "library"
    (inside / "file").write_text("edited\n")
    (inside / "new").write_text("new\n")
    first = await app.snapshot()
    assert app.git("rev-parse", f"{first.commit}:library") == library.git("rev-parse", "HEAD")
    git("-C", inside, "commit", "--quiet", "--all", "--message", "work")
    files = app.work_tree()
    second = await app.snapshot()
    assert second.tree != first.tree
    assert (await app.restore(first.commit)).restored.left == ["library"]
    assert app.work_tree() == files


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_an_unreadable_file_is_skipped(app: Checkout) -> None:
    app.write("readable")
    app.write("secret").chmod(0)
    snapshot = await app.snapshot()
    assert snapshot.skipped == [Skipped("secret", "unreadable", 5)]
    assert app.files(snapshot.commit) == ["readable"]


async def test_a_file_whose_filter_is_missing_is_skipped_and_stays(app: Checkout) -> None:
    app.git("config", "filter.large.clean", "no-such-program clean %f")
    app.git("config", "filter.large.smudge", "no-such-program smudge %f")
    app.git("config", "filter.large.required", "true")
    app.write(".gitattributes", "*.bin filter=large\n")
    for n in range(5):
        app.write(f"{n}.txt", "one\n")
    app.write("model.bin", "pixels\n")
    first = await app.snapshot()
    assert first.skipped == [Skipped("model.bin", "unreadable", 7)]
    assert len(app.files(first.commit)) == 6
    app.write("0.txt", "two\n")
    app.write("model.bin", "more pixels\n")
    assert (await app.restore(first.commit)).restored.written == ["0.txt"]
    assert (app.folder / "model.bin").read_text() == "more pixels\n"


async def test_if_git_can_read_nothing_the_snapshot_fails(app: Checkout) -> None:
    app.git("config", "filter.large.clean", "false")
    app.git("config", "filter.large.required", "true")
    app.write(".gitattributes", "*.bin filter=large\n")
    for n in range(50):
        app.write(f"{n}.bin")
    with pytest.raises(GitError, match="git update-index failed") as failed:
        await app.snapshot()
    assert failed.value.kind == "gitFailed"
    assert app.litter() == []
    assert await list_refs(await app.open()) == {}


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
@pytest.mark.parametrize("attribute", ["", "* text=auto eol=crlf\n", "*.txt working-tree-encoding=UTF-16LE-BOM\n"])
async def test_line_ends_come_back_as_git_would_write_them(app: Checkout, autocrlf: str, attribute: str) -> None:
    app.git("config", "core.autocrlf", autocrlf)
    app.git("config", "core.safecrlf", "true")
    app.write(".gitattributes", attribute)
    encoding = "utf-16" if "UTF" in attribute else "ascii"
    app.write("a.txt", "one\r\ntwo\r\n".encode(encoding))
    app.write("b.dat", b"\x00\r\n\xff")
    contents = app.contents()
    first = await app.snapshot()
    (app.folder / "a.txt").unlink()
    (app.folder / "b.dat").unlink()
    await app.restore(first.commit)
    assert app.contents()["b.dat"] == contents["b.dat"]
    assert (app.contents()["a.txt"] == contents["a.txt"]) == (autocrlf != "input" or "eol" in attribute)
    assert (await app.snapshot(previous=first.commit)).reused


@pytest.mark.parametrize(
    "title", ['treadle-skipped: ["file", "size", 1]', "a\n\ntreadle-skipped: x", "a\0b", "", "\udcff"]
)
async def test_any_title_leaves_the_skipped_paths_readable(app: Checkout, title: str) -> None:
    app.write(b"large \xff", b"x" * 2000)
    app.write("file", "one\n")
    snapshot = await take_snapshot(await app.open(), new_ref(), title, bounds=Bounds(file_bytes=1000))
    assert [skipped.path for skipped in snapshot.skipped] == ["large \N{REPLACEMENT CHARACTER}"]
    app.write(b"large \xff", "small\n")
    app.write("file", "two\n")
    undoable = await app.restore(snapshot.commit)
    assert (undoable.restored.written, undoable.restored.removed) == (["file"], [])
    assert (app.folder / os.fsdecode(b"large \xff")).read_text() == "small\n"


async def test_a_title_is_utf8_whatever_the_user_writes(app: Checkout) -> None:
    app.git("config", "i18n.commitEncoding", "ISO-8859-1")
    app.write("file")
    snapshot = await take_snapshot(await app.open(), new_ref(), "é\nü")
    assert "encoding" not in app.git("cat-file", "commit", snapshot.commit)
    assert app.git("log", "--format=%s%b", "--encoding=UTF-8", snapshot.commit) == "é ü"


async def test_a_commit_of_the_user_skipped_nothing(app: Checkout) -> None:
    app.write("file", "one\n")
    app.git("add", "file")
    app.git("commit", "--quiet", "--message", 'work\n\ntreadle-skipped: ["file", "size", 1]')
    app.write("file", "two\n")
    await app.restore(app.git("rev-parse", "HEAD"))
    assert (app.folder / "file").read_text() == "one\n"


# Refs


IDS = ["a", "A", "a:b", "a..b", "a.lock", ".a", "a.", "-", "_", "x" * 128, "X" * 128]


async def test_all_ids_have_refs_of_their_own_that_are_valid(app: Checkout) -> None:
    app.write("file")
    repository = await app.open()
    refs = [checkpoint_ref(thread, id) for thread in IDS for id in IDS]
    assert len({ref.lower() for ref in refs}) == len(IDS) ** 2
    for ref in refs[:: len(IDS) + 1]:
        snapshot = await take_snapshot(repository, ref, "test")
        assert app.git("cat-file", "-t", ref) == "commit"
        assert (await list_refs(repository))[ref] == snapshot.commit
    assert len(await list_refs(repository)) == len(IDS)
    assert all(re.match(ID_PATTERN, id) for id in IDS)
    assert app.git("fsck", "--no-dangling", "--strict") == ""


async def test_a_ref_that_exists_is_not_replaced(app: Checkout) -> None:
    app.write("file", "one\n")
    repository, ref = await app.open(), new_ref()
    first = await take_snapshot(repository, ref, "test")
    app.write("file", "two\n")
    with pytest.raises(GitError, match="update-ref"):
        await take_snapshot(repository, ref, "test")
    assert await list_refs(repository) == {ref: first.commit}
    assert app.litter() == []


async def test_gc_keeps_what_a_ref_has_and_drops_what_was_pruned(app: Checkout) -> None:
    app.commit()
    repository, snapshots = await app.open(), {}
    for n in range(3):
        app.write("file", f"{n}\n")
        ref = new_ref()
        snapshots[ref] = await take_snapshot(repository, ref, "test")
    app.git("gc", "--prune=now", "--quiet")
    assert await list_refs(repository) == {ref: snapshot.commit for ref, snapshot in snapshots.items()}
    (first, gone), (second, _), (third, _) = snapshots.items()
    assert await prune(repository, [first, checkpoint_ref("never", "taken")]) == 1
    assert (await list_refs(repository)).keys() == {second, third}
    app.git("gc", "--prune=now", "--quiet")
    assert app.git("cat-file", "-e", gone.commit, check=False) == ""
    assert app.git("cat-file", "--batch-check", check=False) == ""
    assert app.git("fsck", "--strict", "--full") == ""
    present = app.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert gone.commit not in present
    assert gone.tree not in present
    assert {snapshots[second].commit, snapshots[third].tree} <= set(present)


async def test_only_refs_of_treadle_are_pruned(app: Checkout) -> None:
    app.commit()
    with pytest.raises(GitError) as refused:
        await prune(await app.open(), ["refs/heads/main"])
    assert refused.value.kind == "foreignRef"
    assert app.git("rev-parse", "--verify", "refs/heads/main")


async def test_a_previous_snapshot_that_was_pruned_is_not_used_again(app: Checkout) -> None:
    app.write("file")
    repository = await app.open()
    first = await app.snapshot()
    await prune(repository, await list_refs(repository))
    app.git("gc", "--prune=now", "--quiet")
    assert app.files((await app.snapshot(previous=first.commit)).commit) == ["file"]


async def test_a_snapshot_that_skipped_other_files_is_not_used_again(app: Checkout) -> None:
    app.write("file")
    app.write("large", b"x" * 2000)
    first = await app.snapshot(bounds=Bounds(file_bytes=1000))
    app.write("large", b"x" * 3000)
    second = await app.snapshot(bounds=Bounds(file_bytes=1000), previous=first.commit)
    assert (second.reused, second.tree) == (False, first.tree)


# Folders that are refused


async def test_a_second_snapshot_of_the_same_files_starts_git_three_times(
    app: Checkout, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "SETTLED", -3600.0)  # as if the repository was made long ago
    app.write("a")
    app.commit()
    first = await app.snapshot()
    commands = commands_of_git(home / ".gitconfig")
    second = await app.snapshot(previous=first.commit)
    assert (second.commit, second.tree, second.reused) == (first.commit, first.tree, True)
    assert commands() == ["diff-files", "ls-files", "update-ref"]


def staged(app: Checkout) -> None:
    app.write("a", "staged\n")
    app.git("add", "a")


def switched(app: Checkout) -> None:
    app.git("switch", "--quiet", "other")


def unstaged(app: Checkout) -> None:
    app.write(".gitignore", "b\n")
    app.git("rm", "--quiet", "--cached", "b")


def edited(app: Checkout) -> None:
    app.write("a", "edited\n")


def added(app: Checkout) -> None:
    app.write("new")


def deleted(app: Checkout) -> None:
    (app.folder / "b").unlink()


@pytest.mark.parametrize("with_checksum", [True, False])
@pytest.mark.parametrize(
    ("change", "names"),
    [
        *((change, ["a", "b"]) for change in (staged, switched, edited)),
        *((unstaged, [".gitignore", "a"]), (added, ["a", "b", "new"]), (deleted, ["a"])),
    ],
)
async def test_what_is_remembered_of_a_snapshot_never_stands_for_other_files(
    app: Checkout, change: Callable[[Checkout], None], names: list[str], with_checksum: bool
) -> None:
    app.git("config", "index.skipHash", "false" if with_checksum else "true")
    app.write("a", "of the other branch\n")
    app.write("b")
    app.commit()
    app.git("branch", "other")
    app.write("a", "one\n")
    app.commit()
    first = await app.snapshot()
    assert (await app.snapshot(previous=first.commit)).reused
    change(app)
    second = await app.snapshot(previous=first.commit)
    assert not second.reused
    assert app.files(second.tree) == names
    assert app.text(second.tree, "a") == (app.folder / "a").read_text().strip()


async def test_a_repository_that_is_made_within_another_is_found_at_once(
    app: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "SETTLED", -3600.0)
    part = app.write("part/deep/file").parent
    app.commit()

    async def top() -> Path:
        return (await open_repository(part, app.data_dir)).top

    assert [await top(), await top()] == [app.top, app.top]
    git("init", "--quiet", part.parent)
    assert await top() == part.parent
    shutil.rmtree(part.parent / ".git")
    assert await top() == app.top
    shutil.rmtree(part.parent)
    app.git("worktree", "add", "--quiet", "--detach", str(part.parent))
    part.mkdir()
    assert await top() == part.parent
    app.git("worktree", "remove", "--force", str(part.parent))
    part.mkdir(parents=True)
    assert await top() == app.top


async def test_a_setting_by_which_there_is_no_work_tree_any_more_is_seen_at_once(
    app: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "SETTLED", -3600.0)
    assert [(await app.open()).top for _ in range(2)] == [app.top, app.top]
    app.git("config", "core.bare", "true")
    assert await kind_of_refusal(app.folder, app.data_dir) == "bareRepository"


async def kind_of_refusal(folder: Path, data_dir: Path) -> str:
    with pytest.raises(GitError) as refused:
        await open_repository(folder, data_dir)
    assert not (data_dir / "git").exists()
    return refused.value.kind


async def test_a_repository_that_holds_the_home_directory_is_refused(home: Path, tmp_path: Path) -> None:
    git("init", "--quiet", home)
    (home / "project").mkdir()
    assert await kind_of_refusal(home, tmp_path / "data_dir") == "folderTooWide"
    assert await kind_of_refusal(home / "project", tmp_path / "data_dir") == "folderTooWide"
    shutil.rmtree(home / ".git")
    git("init", "--quiet", home.parent)
    assert await kind_of_refusal(home / "project", tmp_path / "data_dir") == "folderTooWide"


async def test_a_repository_that_holds_the_data_directory_is_refused_unless_git_ignores_it(app: Checkout) -> None:
    app.write("file")
    app.data_dir = app.folder / "data"
    app.write("data/treadle.db")
    assert await kind_of_refusal(app.folder, app.data_dir) == "folderTooWide"
    app.write(".gitignore", "/data/\n")
    assert app.files((await app.snapshot()).commit) == [".gitignore", "file"]


async def test_a_folder_without_a_work_tree_is_refused(app: Checkout, home: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data_dir"
    assert await kind_of_refusal(home, data_dir) == "noRepository"
    assert await kind_of_refusal(home / "missing", data_dir) == "noRepository"
    assert await kind_of_refusal(app.top / ".git", data_dir) == "bareRepository"
    git("init", "--quiet", "--bare", home / "bare")
    assert await kind_of_refusal(home / "bare", data_dir) == "bareRepository"


async def test_without_git_there_is_a_sentence(app: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git cannot be run: No such file or directory") as refused:
        await app.open()
    assert refused.value.kind == "gitMissing"


# Time


def slow(app: Checkout, seconds: int) -> None:
    """Let git take long for a file, in a process of its own."""
    app.git("config", "filter.slow.clean", f"sh -c 'echo $$ >> {app.home}/filters; sleep {seconds}; cat'")
    app.write(".gitattributes", "slow filter=slow\n")
    app.write("slow")


async def test_a_snapshot_that_takes_too_long_is_ended_and_leaves_nothing(app: Checkout) -> None:
    for n in range(20):
        app.write(f"{n}")
    slow(app, 600)
    repository, objects = app.repository(), sorted((app.top / ".git" / "objects").rglob("*"))
    with pytest.raises(GitError, match=r"did not finish within 0\.5 seconds") as failed:
        await app.snapshot(bounds=Bounds(seconds=0.5))
    assert failed.value.kind == "tooSlow"
    assert app.litter() == []
    assert app.repository() == repository
    assert sorted((app.top / ".git" / "objects").rglob("*")) == objects
    (filter,) = (app.home / "filters").read_text().split()
    assert not is_running(int(filter))


def is_running(pid: int) -> bool:
    try:
        return "(sleep)" in (stat := Path(f"/proc/{pid}/stat").read_text()) or ") Z " not in stat
    except FileNotFoundError:
        return False


async def test_two_snapshots_of_a_repository_take_turns(app: Checkout) -> None:
    slow(app, 1)
    first, second = await asyncio.gather(app.snapshot(), app.snapshot())
    assert first.tree == second.tree
    assert app.litter() == []
    slow(app, 600)
    waiting = asyncio.create_task(app.snapshot(bounds=Bounds(seconds=60)))
    while len((app.home / "filters").read_text().split()) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    with pytest.raises(GitError, match="did not finish"):
        await app.snapshot(bounds=Bounds(seconds=0.2))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert app.litter() == []


PROGRAM = """
import asyncio, sys
from pathlib import Path
from treadle.workspace.repositories import open_repository
from treadle.workspace.snapshots import checkpoint_ref, take_snapshot

async def main():
    repository = await open_repository(Path(sys.argv[1]), Path(sys.argv[2]))
    print(flush=True)
    for n in range(1000):
        Path(sys.argv[1], "file").write_text(f"{sys.argv[3]} {n}")
        await take_snapshot(repository, checkpoint_ref(sys.argv[3], str(n)), "test")

asyncio.run(main())
"""


async def test_a_kill_at_any_moment_leaves_a_repository_that_works(app: Checkout) -> None:
    for n in range(50):
        app.write(f"{n}", f"{n}\n")
    for n in range(8):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, app.folder, app.data_dir, str(n)), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(0.05 + n * 0.013)  # a moment like any other
        process.kill()
        await process.wait()
    await app.snapshot()
    assert app.litter() == []
    assert app.git("fsck", "--no-dangling", "--strict") == ""
    app.git("add", "--all")
    app.git("commit", "--quiet", "--message", "the index is not locked")


async def test_a_command_of_git_that_is_cancelled_before_it_has_read_its_input_leaves_no_error_behind(
    app: Checkout,
) -> None:
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    started = app.top / "started"
    os.mkfifo(started)
    waits = f"alias.wait=!echo > '{started}'; sleep 60"  # reads nothing: what does not fit into the pipe stays here
    running = asyncio.create_task(Git(app.folder).run("-c", waits, "wait", stdin=bytes(100_000)))
    await asyncio.to_thread(started.read_text)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)  # asyncio tells that the pipe is closed
    assert errors == []
