"""Comparisons of snapshots: files with counts, and unified diffs in pages."""

import shutil

import pytest

from checkouts import Checkout, with_git
from treadle.workspace.diffs import PATCH_BYTES, Comparison, FileChange, compare, read_diff, read_patches
from treadle.workspace.git import GitError
from treadle.workspace.parsing import unquoted
from treadle.workspace.skipping import Bounds

pytestmark = with_git

LINES = "".join(f"line {n}\n" for n in range(20))


async def test_each_kind_of_change_is_listed_with_its_counts(app: Checkout) -> None:
    for name in ("same", "edited", "moved", "removed", "typed", "script"):
        app.write(name, f"{name}\n{LINES}")
    app.write("picture", b"\x00one")
    first = await app.snapshot()
    app.write("edited", f"edited\n{LINES}more\n")
    (app.folder / "moved").rename(app.folder / "to")
    (app.folder / "removed").unlink()
    (app.folder / "typed").unlink()
    (app.folder / "typed").symlink_to("same")
    (app.folder / "script").chmod(0o755)
    app.write("picture", b"\x00two")
    app.write(b"new \xff\n", "one\ntwo\n")
    second = await app.snapshot()
    found = await compare(await app.open(), first.commit, second.commit)
    assert found.files == [
        FileChange("edited", None, "modified", 1, 0, False),
        FileChange("new \N{REPLACEMENT CHARACTER}\n", None, "added", 2, 0, False),
        FileChange("picture", None, "modified", 0, 0, True),
        FileChange("removed", None, "removed", 0, 21, False),
        FileChange("script", None, "modified", 0, 0, False),
        FileChange("to", "moved", "renamed", 0, 0, False),
        FileChange("typed", None, "typeChanged", 1, 21, False),
    ]
    assert (found.total, found.added, found.removed, found.next) == (7, 4, 42, None)
    assert await compare(await app.open(), first.commit, None) == found
    back = await compare(await app.open(), second.commit, first.commit)
    assert (back.total, back.added, back.removed) == (7, 42, 4)


async def test_the_diffs_are_those_of_git(app: Checkout) -> None:
    app.write("edited", LINES)
    app.write("moved", LINES)
    app.write("typed", "text\n")
    first = await app.snapshot()
    app.write("edited", LINES.replace("line 7\n", "diff --git a/x b/x\n"))
    (app.folder / "moved").unlink()
    app.write("to", LINES + "more\n")
    (app.folder / "typed").unlink()
    (app.folder / "typed").symlink_to("x")
    app.write("é", b"caf\xe9\r\n")
    second = await app.snapshot()
    page = await read_patches(await app.open(), first.commit, second.commit)
    assert [patch.file.path for patch in page.patches] == ["edited", "to", "typed", "é"]
    expected = app.git("-c", "core.quotePath=false", "diff-tree", "-r", "-p", "-M", first.commit, second.commit)
    text = "".join(patch.text for patch in page.patches)
    assert text == expected.encode(errors="surrogateescape").decode(errors="replace") + "\n"
    assert page.patches[1].text.startswith("diff --git a/moved b/to\n")
    assert page.next is None
    assert not any(patch.cut for patch in page.patches)


async def test_no_program_of_the_user_makes_the_diffs(app: Checkout) -> None:
    app.git("config", "diff.external", "false")
    app.git("config", "diff.loud.textconv", "false")
    app.git("config", "diff.loud.command", "false")
    app.git("config", "diff.noprefix", "true")
    app.git("config", "color.ui", "always")
    app.write(".gitattributes", "* diff=loud\n")
    app.write("file", "one\n")
    first = await app.snapshot()
    app.write("file", "two\n")
    (patch,) = (await read_patches(await app.open(), first.commit, None)).patches
    assert patch.text.endswith("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-one\n+two\n")


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("max_bytes", [10, 300, 1_000_000])
async def test_pages_have_every_file_once(app: Checkout, limit: int, max_bytes: int) -> None:
    app.write("f", "a file\n")
    app.write("f-0", "a file\n")
    first = await app.snapshot()
    (app.folder / "f").unlink()
    for n in range(3):
        app.write(f"f/{n}", LINES)
    app.write("f-0", LINES)
    app.write("large", LINES * 100)
    app.write("last", "one\n")
    second, repository = await app.snapshot(), await app.open()
    whole = await compare(repository, first.commit, second.commit)
    files = list[FileChange]()
    start: int | None = 0
    while start is not None:
        page = await compare(repository, first.commit, second.commit, start=start, limit=limit)
        assert (page.total, page.added) == (whole.total, whole.added)
        files += page.files
        start = page.next
    assert files == whole.files
    patched = list[FileChange]()
    at: int | None = 0
    while at is not None:
        patches = await read_patches(
            repository, first.commit, second.commit, start=at, limit=limit, max_bytes=max_bytes
        )
        assert sum(len(patch.text) for patch in patches.patches) <= max_bytes
        assert all(patch.text.startswith("diff --git "[:max_bytes]) for patch in patches.patches)
        patched += [patch.file for patch in patches.patches]
        at = patches.next
    assert patched == whole.files
    beyond = await read_patches(repository, first.commit, second.commit, start=100)
    assert (beyond.patches, beyond.next) == ([], None)


async def test_what_one_of_them_skipped_does_not_differ(app: Checkout) -> None:
    bounds = Bounds(file_bytes=1000, untracked=10)
    app.write("grows")
    app.write("tracked", "one\n")
    for n in range(3):
        app.write(f"modules/{n}")
    app.commit()
    app.git("rm", "-r", "--quiet", "--cached", "grows", "modules")
    first = await app.snapshot(bounds=bounds)
    app.write("grows", b"x" * 2000)
    app.write("tracked", "two\n")
    for n in range(20):
        app.write(f"modules/{n}")
    second = await app.snapshot(bounds=bounds)
    for before, after in ((first, second), (second, first)):
        found = await compare(await app.open(), before.commit, after.commit)
        assert [change.path for change in found.files] == ["tracked"]


async def test_only_the_folder_of_the_project_is_compared(part: Checkout) -> None:
    (part.top / "outside").write_text("one\n")
    part.git("add", "outside")
    first = await part.snapshot()
    (part.top / "outside").write_text("two\n")
    part.git("add", "outside")
    assert await compare(await part.open(), first.commit, None) == Comparison([], 0, 0, 0)
    part.write("inside")
    found = await compare(await part.open(), first.commit, None)
    assert [change.path for change in found.files] == ["part/inside"]


async def test_a_comparison_with_a_missing_commit_is_refused(app: Checkout) -> None:
    first = await app.snapshot()
    for before, after in ((first.commit, "1" * 40), ("1" * 40, None), ("-p", first.commit)):
        with pytest.raises(GitError) as refused:
            await compare(await app.open(), before, after)
        assert refused.value.kind == "noCommit"


async def test_a_comparison_that_takes_too_long_is_ended(app: Checkout) -> None:
    app.write("file", "one\n")
    first = await app.snapshot()
    app.git("config", "filter.slow.clean", "sleep 600")
    app.write(".gitattributes", "file filter=slow\n")
    app.write("file", "two\n")
    with pytest.raises(GitError) as failed:
        await compare(await app.open(), first.commit, None, bounds=Bounds(seconds=0.3))
    assert failed.value.kind == "tooSlow"
    assert app.litter() == []
    shutil.rmtree(app.folder)


@pytest.mark.parametrize(
    ("quoted", "path"),
    [(b"plain", b"plain"), (rb'"a\nb\t\"\\\303\251"', 'a\nb\t"\\é'.encode()), ('"é\\n"'.encode(), "é\n".encode())],
)
def test_a_quoted_path_is_read(quoted: bytes, path: bytes) -> None:
    assert unquoted(quoted) == path


async def test_a_diff_that_is_longer_than_pipes_hold_is_cut_and_git_ended(app: Checkout) -> None:
    first = await app.snapshot()
    app.write("a", "a line\n" * 1_000_000)
    app.write("b", "a line\n" * 10)
    second = await app.snapshot()
    opened = await app.open()
    page = await read_patches(opened, first.commit, second.commit)
    assert [(patch.file.path, patch.cut, len(patch.text)) for patch in page.patches] == [("a", True, PATCH_BYTES)]
    page = await read_patches(opened, first.commit, second.commit, start=1)
    assert [(patch.file.path, patch.cut) for patch in page.patches] == [("b", False)]
    diff = await read_diff(opened, first.commit, second.commit, max_bytes=1_000_000)
    assert ([change.path for change in diff.changes], diff.patches) == ([b"a", b"b"], [])
    assert [change.path for change in diff.left_out] == [b"a", b"b"]


async def test_a_comparison_of_many_long_paths_is_limited_to_those_that_are_asked_for(app: Checkout) -> None:
    first = await app.snapshot()
    for number in range(1_000):
        app.write(f"wanted/{number:0200}", f"{number}\n")
    app.write("other", "text\n")
    diff = await read_diff(await app.open(), first.commit, None, paths=["wanted"])
    assert len(diff.changes) == len(diff.patches) == 1_000
    assert diff.patches[7].endswith(b"+7\n")
    assert diff.left_out == []
