"""`project/open`: finding the project of a folder, by any of its paths and after it was moved."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import Wire, needs, plain, serving, spawned
from treadle.workspace import folders


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = Path(os.path.realpath(tmp_path)) / "work"
    (path / "app" / "src" / "deep").mkdir(parents=True)
    return path


def marks(folder: Path) -> bool:
    """Whether this file system keeps extended attributes."""
    try:
        os.setxattr(folder, "user.test", b"1")
    except (OSError, AttributeError):
        return False
    return True


async def open_(client: Wire, path: Path) -> Any:
    return await client.call("project/open", {"path": str(path)})


async def test_opening_a_folder_creates_a_project_with_its_name_once(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        first = await open_(client, work / "app")
        assert (first["created"], first["moved"]) == (True, False)
        assert (first["project"]["name"], first["project"]["path"]) == ("app", str(work / "app"))
        assert await open_(client, work / "app") == {**first, "created": False}
        assert len((await client.call("project/list"))["items"]) == 1


@pytest.mark.parametrize(
    "called",
    [
        lambda app: app / "src" / "deep",
        lambda app: app / "src" / ".." / ".",
        lambda app: app.parent / "link",
        lambda app: app.parent / "link" / "src",
        lambda app: app.parent / "deep-link",
    ],
    ids=["below", "dots", "link", "below a link", "link below"],
)
async def test_a_project_is_found_from_subfolders_and_through_symlinks(
    data_dir: Path, work: Path, called: Callable[[Path], Path]
) -> None:
    (work / "link").symlink_to(work / "app")
    (work / "deep-link").symlink_to(work / "app" / "src" / "deep")
    async with serving(data_dir) as (client, _):
        project = (await open_(client, work / "app"))["project"]
        found = await open_(client, called(work / "app"))
        assert found == {"project": project, "created": False, "moved": False}


async def test_a_project_whose_path_is_a_symlink_is_found_by_its_target(data_dir: Path, work: Path) -> None:
    (work / "link").symlink_to(work / "app")
    async with serving(data_dir) as (client, _):
        command = {"type": "CreateProject", "id": "p", "name": "p", "path": str(work / "link")}
        await client.call("command/dispatch", command)
        for path in (work / "app", work / "app" / "src", work / "link"):
            assert (await open_(client, path))["project"]["id"] == "p"


async def test_a_folder_belongs_to_its_nearest_enclosing_project(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        inner = (await open_(client, work / "app" / "src"))["project"]
        outer = (await open_(client, work / "app"))["project"]
        assert inner["id"] != outer["id"]
        assert (await open_(client, work / "app" / "src" / "deep"))["project"] == inner
        assert (await open_(client, work / "app"))["project"] == outer
        (work / "apple").mkdir()  # begins alike, and is another folder
        assert (await open_(client, work / "apple"))["created"]


async def test_opening_a_subfolder_of_a_moved_folder_updates_the_path_of_its_project(
    data_dir: Path, work: Path
) -> None:
    if not marks(work):
        pytest.skip("this file system keeps no extended attributes")
    async with serving(data_dir) as (client, _):
        id = (await open_(client, work / "app"))["project"]["id"]
        (work / "app").rename(work / "moved")
        found = await open_(client, work / "moved" / "src")
        assert (found["project"]["id"], found["created"], found["moved"]) == (id, False, True)
        assert found["project"]["path"] == str(work / "moved")
        assert not (await open_(client, work / "moved"))["moved"]


async def test_a_copied_folder_gets_its_own_project(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        first = (await open_(client, work / "app"))["project"]
        shutil.copytree(work / "app", work / "copy")  # with the mark
        copy = await open_(client, work / "copy")
        assert copy["created"]
        assert (await open_(client, work / "app"))["project"] == first


async def test_marks_of_deleted_projects_and_of_other_logs_are_ignored(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        first = (await open_(client, work / "app"))["project"]
        await client.call("command/dispatch", {"type": "DeleteProject", "id": first["id"]})
        again = await open_(client, work / "app")
        assert again["created"]
        (work / "app").rename(work / "moved")
    async with serving(data_dir.with_name("another")) as (client, _):
        assert (await open_(client, work / "moved"))["created"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("app", "pathNotAbsolute"), ("~", "pathNotAbsolute"), ("/no/such/folder", "pathIsNoFolder")],
)
async def test_a_path_that_is_not_a_folder_is_refused(data_dir: Path, path: str, kind: str) -> None:
    async with serving(data_dir) as (client, _):
        error = (await client.reply(client.send("project/open", {"path": path})))["error"]
        assert error["data"]["kind"] == kind
        assert (await client.call("project/list"))["items"] == []


async def test_files_dangling_symlinks_and_symlink_loops_are_refused(data_dir: Path, work: Path) -> None:
    (work / "file").write_text("")
    (work / "dead").symlink_to(work / "nothing")
    (work / "circle").symlink_to(work / "circle")
    async with serving(data_dir) as (client, _):
        for name in ("file", "dead", "circle"):
            error = (await client.reply(client.send("project/open", {"path": str(work / name)})))["error"]
            assert error["data"]["kind"] == "pathIsNoFolder"


async def test_a_path_that_is_too_long_or_not_utf8_is_refused(data_dir: Path, work: Path) -> None:
    latin = work / os.fsdecode(b"caf\xe9")
    latin.mkdir()
    (work / "link").symlink_to(latin)
    async with serving(data_dir) as (client, _):
        for path in (work / ("x" * 300), work / "link"):
            error = (await client.reply(client.send("project/open", {"path": str(path)})))["error"]
            assert error["data"]["kind"] == "pathIsNoFolder"
        above = await open_(client, work)
        assert await open_(client, work / "link") == {**above, "created": False}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
async def test_a_project_without_read_permission_is_not_treated_as_moved(data_dir: Path, work: Path) -> None:
    if not marks(work):
        pytest.skip("no extended attributes here")
    async with serving(data_dir) as (client, _):
        first = await open_(client, work / "app" / "src")
        copy = work / "copy"
        shutil.copytree(work / "app" / "src", copy)
        folders.mark(copy, (await client.call("daemon/status"))["logId"], first["project"]["id"])
        (work / "app").chmod(0)
        try:
            assert (await open_(client, copy))["created"] is True
            error = (await client.reply(client.send("project/open", {"path": str(work / "app" / "src")})))["error"]
            assert error["data"]["kind"] == "pathIsNoFolder"
        finally:
            (work / "app").chmod(0o700)


async def test_daemons_that_open_one_folder_at_once_create_one_project(data_dir: Path, work: Path) -> None:
    async with (
        spawned(data_dir) as (one, _),
        spawned(data_dir) as (two, _),
        spawned(data_dir) as (three, _),
    ):
        clients = [one, two, three] * 5
        found = await asyncio.gather(*(open_(client, work / "app") for client in clients))
        assert len({answer["project"]["id"] for answer in found}) == 1
        assert [answer["created"] for answer in found].count(True) == 1


def test_marking_a_folder_without_extended_attributes_does_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "setxattr", raising=False)  # as on macOS
    monkeypatch.delattr(os, "getxattr", raising=False)
    folders.mark(work, "log", "project")
    assert folders.marked(work, "log") is None


# Two Unicode forms of one path


CAFE = "Cafe\u0301", "Caf\u00e9"
"""Decomposed, as HFS+ and some programs write it, and composed."""


@pytest.mark.parametrize(("first", "second"), [CAFE, CAFE[::-1]], ids=["decomposed first", "composed first"])
async def test_unicode_composed_and_decomposed_paths_are_one_project(data_dir: Path, first: str, second: str) -> None:
    async with serving(data_dir) as (client, _):
        command = {"type": "CreateProject", "id": "p", "name": "p", "path": f"/tmp/{first}/é"}
        await client.call("command/dispatch", command)
    async with serving(data_dir) as (client, _):  # what was decided before is read from the projections
        for path in (f"/tmp/{second}/é", f"/tmp/{second}/e\u0301", f"/tmp/{first}/é/"):
            again = {"type": "CreateProject", "name": "q", "path": path}
            error = (await client.reply(client.send("command/dispatch", again)))["error"]
            assert error["data"] == {"kind": "pathTaken", "projectId": "p"}
        await client.call("command/dispatch", {"type": "UpdateProject", "id": "p", "path": f"/tmp/{second}/é"})
        (project,) = (await client.call("project/list"))["items"]
        assert project["path"] == f"/tmp/{first}/é"
        await client.call("command/dispatch", {"type": "UpdateProject", "id": "p", "path": "/tmp/elsewhere"})
        await client.call("command/dispatch", {"type": "CreateProject", "name": "q", "path": f"/tmp/{second}/é"})


async def test_a_folder_is_found_by_the_other_unicode_form_of_its_path(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        (work / CAFE[0] / "src").mkdir(parents=True)
        project = (await open_(client, work / CAFE[0]))["project"]
        (work / CAFE[0]).rename(work / CAFE[1])  # what a program does that writes names its own way
        for path in (work / CAFE[1], work / CAFE[1] / "src"):
            assert await open_(client, path) == {"project": project, "created": False, "moved": False}


def test_a_bind_mounted_folder_is_the_same_project(work: Path) -> None:
    # As on a file system that ignores case or Unicode's forms: a mount shows the folder under a second path.
    (work / "seen").mkdir()
    program = (
        "import sys; from treadle.workspace.folders import find; print(find(sys.argv[1], {'p': sys.argv[2]}, 'log'))"
    )
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", 'mount --bind "$3" "$2" && exec "$0" -c "$1" "$2" "$3"'),
            *(sys.executable, program, str(work / "seen"), str(work / "app")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no mount may be made here")
    assert "project_id='p', moved=False" in done.stdout, done.stderr


# Reused paths


@pytest.mark.parametrize("order", [("q1.bak", "q1"), ("q1", "q1.bak")], ids=" then ".join)
@pytest.mark.parametrize("below", ["", "src"])
async def test_a_new_folder_at_the_path_of_a_moved_one_gets_a_new_project(
    data_dir: Path, work: Path, order: tuple[str, str], below: str
) -> None:
    if not marks(work):
        pytest.skip("this file system keeps no extended attributes")
    (work / "q1" / "src").mkdir(parents=True)
    async with serving(data_dir) as (client, _):
        old = (await open_(client, work / "q1"))["project"]["id"]
        (work / "q1").rename(work / "q1.bak")
        (work / "q1" / "src").mkdir(parents=True)
        found = {name: await open_(client, work / name / below) for name in order}
        assert found["q1.bak"]["project"]["id"] == old
        assert found["q1.bak"]["project"]["path"] == str(work / "q1.bak")
        fresh = found["q1"]["project"]
        assert fresh["id"] != old
        assert found["q1"]["created"]
        for name in order:  # and so it stays
            assert (await open_(client, work / name / below))["project"]["id"] == found[name]["project"]["id"]
        assert len((await client.call("project/list"))["items"]) == 2


async def test_a_deleted_and_recreated_folder_keeps_its_project(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        project = (await open_(client, work / "app"))["project"]
        shutil.rmtree(work / "app")
        (work / "app").mkdir()
        assert await open_(client, work / "app") == {"project": project, "created": False, "moved": False}


async def test_two_projects_whose_folders_swapped_places_stay_at_their_paths(data_dir: Path, work: Path) -> None:
    (work / "other").mkdir()
    async with serving(data_dir) as (client, _):
        app, other = [(await open_(client, work / name))["project"] for name in ("app", "other")]
        (work / "app").rename(work / "between")
        (work / "other").rename(work / "app")
        (work / "between").rename(work / "other")
        assert (await open_(client, work / "app"))["project"] == app
        assert (await open_(client, work / "other"))["project"] == other


def test_without_extended_attributes_a_folder_is_identified_by_its_path(work: Path) -> None:
    program = """if True:
        import os, sys
        from treadle.workspace.folders import find, mark, marked
        old, new = sys.argv[1] + "/q1", sys.argv[1] + "/q1.bak"
        os.mkdir(old)
        mark(old, "log", "p")
        assert marked(old, "log") is None
        os.rename(old, new)
        os.mkdir(old)
        for path in (old, new):
            print(find(path, {"p": old}, "log")[1].project_id)
    """
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", 'mount -t ramfs none "$2" && exec "$0" -c "$1" "$2"'),
            *(sys.executable, program, str(work / "app")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no file system without extended attributes may be mounted here")
    assert (done.stdout, done.stderr) == ("p\nNone\n", "")


# Git remotes

with_git = needs("git")
TEAM = "https://user:token@Example.org/team/app.git"
APP = "example.org/team/app"


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True)


def repository(folder: Path, remote: str | None = TEAM) -> Path:
    """Make a repository with a commit in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    if remote is not None:
        git(folder, "remote", "add", "origin", remote)
    return folder


def events(data_dir: Path) -> list[dict[str, Any]]:
    with plain(data_dir) as db:
        return [json.loads(payload) for (payload,) in db.execute("SELECT payload FROM events ORDER BY sequence")]


async def elsewhere(client: Wire, id: str, remote: str, path: str = "/home/somebody/else/app") -> None:
    """A project of another machine."""
    command = {"type": "CreateProject", "id": id, "name": id, "path": path, "remote": remote}
    await client.call("command/dispatch", command)


@with_git
async def test_a_project_has_the_remote_of_its_folder_also_when_that_is_in_a_repository(
    data_dir: Path, work: Path
) -> None:
    repository(work / "app")
    async with serving(data_dir) as (client, _):
        inner = (await open_(client, work / "app" / "src"))["project"]
        assert inner["remote"] == f"{APP}//src"
        assert (await open_(client, work / "app" / "src" / "deep"))["project"] == inner
        assert (await open_(client, work / "app"))["project"]["remote"] == APP
        assert (await open_(client, work / "app" / "src"))["project"] == inner
    assert "token" not in str(events(data_dir))


@with_git
async def test_a_project_learns_its_remote_and_that_it_has_another(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        first = await open_(client, work / "app")
        assert first["project"]["remote"] is None
        repository(work / "app")
        learnt = await open_(client, work / "app" / "src")
        assert (learnt["project"]["id"], learnt["project"]["remote"]) == (first["project"]["id"], APP)
        assert (learnt["created"], learnt["moved"]) == (False, False)
        git(work / "app", "remote", "set-url", "origin", "git@example.org:team/renamed.git")
        assert (await open_(client, work / "app"))["project"]["remote"] == "example.org/team/renamed"
        git(work / "app", "remote", "remove", "origin")
        assert (await open_(client, work / "app"))["project"]["remote"] == "example.org/team/renamed"
    assert [event["type"] for event in events(data_dir)] == ["ProjectCreated", "ProjectUpdated", "ProjectUpdated"]


@with_git
@pytest.mark.parametrize(
    ("remote", "opened", "found"),
    [
        (APP, "app", "app"),
        (APP, "app/src/deep", "app"),
        (f"{APP}//src", "app/src", "app/src"),
        (f"{APP}//src", "app/src/deep", "app/src"),
        (f"{APP}//src", "app", None),
        ("example.org/team/App", "app", None),
    ],
)
async def test_a_clone_is_the_project_of_another_machine_with_its_remote(
    data_dir: Path, work: Path, remote: str, opened: str, found: str | None
) -> None:
    repository(work / "app")
    async with serving(data_dir) as (client, _):
        await elsewhere(client, "p", remote)
        answer = await open_(client, work / opened)
        if found is None:
            assert answer["created"]
            return
        assert (answer["created"], answer["moved"]) == (False, True)
        assert (answer["project"]["id"], answer["project"]["path"]) == ("p", str(work / found))
        assert answer["project"]["remote"] == remote
        assert await open_(client, work / opened) == {**answer, "moved": False}


@with_git
async def test_of_several_projects_with_the_remote_it_is_the_last_one_used(data_dir: Path, work: Path) -> None:
    repository(work / "app")
    repository(work / "other")
    async with serving(data_dir) as (client, _):
        for id in ("one", "two"):
            await elsewhere(client, id, APP, f"/home/somebody/else/{id}")
        found = [(await open_(client, work / name))["project"]["id"] for name in ("app", "other")]
        assert found == ["two", "one"]


@with_git
async def test_two_clones_that_are_both_here_are_two_projects(data_dir: Path, work: Path) -> None:
    origin = repository(work / "app")
    git(work, "clone", "--quiet", str(origin), "clone")
    git(work / "clone", "remote", "set-url", "origin", TEAM)
    async with serving(data_dir) as (client, _):
        first = (await open_(client, work / "app"))["project"]
        second = (await open_(client, work / "clone"))["project"]
        assert first["remote"] == second["remote"] == APP
        assert first["id"] != second["id"]
        shutil.rmtree(work / "app")
        third = repository(work / "third")
        answer = await open_(client, third)  # in place of the one that was removed
        assert (answer["project"]["id"], answer["moved"]) == (first["id"], True)
        assert (await open_(client, work / "clone"))["project"] == second


@with_git
async def test_a_clone_of_a_clone_on_this_machine_has_no_remote(data_dir: Path, work: Path) -> None:
    origin = repository(work / "app")
    git(work, "clone", "--quiet", str(origin), "clone")
    async with serving(data_dir) as (client, _):
        await elsewhere(client, "p", APP)
        answer = await open_(client, work / "clone")
        assert answer["created"]
        assert answer["project"]["remote"] is None


@with_git
async def test_a_worktree_is_a_project_of_its_own_beside_its_repository(data_dir: Path, work: Path) -> None:
    repository(work / "app")
    git(work / "app", "worktree", "add", "--quiet", str(work / "branch"))
    async with serving(data_dir) as (client, _):
        first = (await open_(client, work / "app"))["project"]
        second = (await open_(client, work / "branch"))["project"]
        assert first["id"] != second["id"]
        assert first["remote"] == second["remote"] == APP


@with_git
async def test_a_submodule_has_the_remote_of_its_own_repository(data_dir: Path, work: Path) -> None:
    repository(work / "app")
    git(work / "app", "submodule", "--quiet", "add", str(repository(work / "library", None)), "library")
    git(work / "app" / "library", "remote", "set-url", "origin", "git@example.org:team/library.git")
    async with serving(data_dir) as (client, _):
        assert (await open_(client, work / "app" / "library"))["project"]["remote"] == "example.org/team/library"


@with_git
async def test_a_repository_that_cannot_be_read_has_no_remote_nor_that_of_the_one_around_it(
    data_dir: Path, work: Path
) -> None:
    repository(work / "app")
    (work / "app" / "src" / ".git").mkdir()
    async with serving(data_dir) as (client, _):
        for name in ("src/deep", "src"):
            assert (await open_(client, work / "app" / name))["project"]["remote"] is None


@with_git
async def test_nothing_that_a_repository_names_is_run(data_dir: Path, work: Path, tmp_path: Path) -> None:
    program, ran = tmp_path / "program", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\n: > {ran}\n")
    program.chmod(0o700)
    repository(work / "app")
    for setting in ("core.fsmonitor", "core.pager", "core.askPass", "core.sshCommand", "credential.helper"):
        git(work / "app", "config", setting, str(program))
    git(work / "app", "config", "alias.config", f"!{program}")
    git(work / "app", "config", "core.hooksPath", str(tmp_path))
    async with serving(data_dir) as (client, _):
        assert (await open_(client, work / "app"))["project"]["remote"] == APP
    assert not ran.exists()


@with_git
async def test_variables_that_an_editor_got_from_git_lead_to_no_other_repository(
    data_dir: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(work / "app")
    other = repository(work / "other", "https://example.org/team/other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "remote.origin.url")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://example.org/team/other")
    async with serving(data_dir) as (client, _):
        assert (await open_(client, work / "app"))["project"]["remote"] == APP


def instead_of_git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    """Let a script be what is found as `git`, or nothing."""
    folder.mkdir()
    if script is not None:
        (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "git").chmod(0o700)
    monkeypatch.setenv("PATH", str(folder))


@with_git
@pytest.mark.parametrize(
    "script",
    [None, "exec /bin/sleep 600", "exit 1", "printf '\\377'", "kill -9 $$"],
    ids=["no git", "hangs", "fails", "no UTF-8", "dies"],
)
async def test_without_an_answer_of_git_a_folder_has_no_remote(
    data_dir: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    repository(work / "app")
    repository(work / "new")
    async with serving(data_dir) as (client, _):
        known = (await open_(client, work / "app"))["project"]
        instead_of_git(tmp_path / "programs", monkeypatch, script)
        assert await open_(client, work / "app") == {"project": known, "created": False, "moved": False}
        answer = await open_(client, work / "new")
        assert answer["created"]
        assert answer["project"]["remote"] is None


async def test_git_is_not_started_where_there_is_no_repository(
    data_dir: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_git(tmp_path / "programs", monkeypatch, f": > {tmp_path / 'started'}")
    async with serving(data_dir) as (client, _):
        assert (await open_(client, work / "app"))["created"]
    assert not (tmp_path / "started").exists()
