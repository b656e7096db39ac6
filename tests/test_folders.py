"""`project/open`: a folder finds its project, however it is called and wherever it has gone."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import Wire, serving, spawned
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


async def test_a_folder_without_a_project_gets_one_by_its_name_and_keeps_it(data_dir: Path, work: Path) -> None:
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
async def test_it_is_the_same_project_from_below_and_through_links(
    data_dir: Path, work: Path, called: Callable[[Path], Path]
) -> None:
    (work / "link").symlink_to(work / "app")
    (work / "deep-link").symlink_to(work / "app" / "src" / "deep")
    async with serving(data_dir) as (client, _):
        project = (await open_(client, work / "app"))["project"]
        found = await open_(client, called(work / "app"))
        assert found == {"project": project, "created": False, "moved": False}


async def test_a_project_whose_path_is_a_link_is_found_by_what_it_leads_to(data_dir: Path, work: Path) -> None:
    (work / "link").symlink_to(work / "app")
    async with serving(data_dir) as (client, _):
        command = {"type": "CreateProject", "id": "p", "name": "p", "path": str(work / "link")}
        await client.call("command/dispatch", command)
        for path in (work / "app", work / "app" / "src", work / "link"):
            assert (await open_(client, path))["project"]["id"] == "p"


async def test_the_nearest_project_above_is_the_one(data_dir: Path, work: Path) -> None:
    async with serving(data_dir) as (client, _):
        inner = (await open_(client, work / "app" / "src"))["project"]
        outer = (await open_(client, work / "app"))["project"]
        assert inner["id"] != outer["id"]
        assert (await open_(client, work / "app" / "src" / "deep"))["project"] == inner
        assert (await open_(client, work / "app"))["project"] == outer
        (work / "apple").mkdir()  # begins alike, and is another folder
        assert (await open_(client, work / "apple"))["created"]


async def test_a_folder_that_was_moved_is_found_from_below_and_the_project_learns_where_it_is(
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


async def test_a_copy_is_a_project_of_its_own_and_what_was_there_first_stays_what_it_is(
    data_dir: Path, work: Path
) -> None:
    async with serving(data_dir) as (client, _):
        first = (await open_(client, work / "app"))["project"]
        shutil.copytree(work / "app", work / "copy")  # with the mark
        copy = await open_(client, work / "copy")
        assert copy["created"]
        assert (await open_(client, work / "app"))["project"] == first


async def test_the_mark_of_a_deleted_project_and_of_another_log_mean_nothing(data_dir: Path, work: Path) -> None:
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
async def test_what_is_no_folder_is_no_project(data_dir: Path, path: str, kind: str) -> None:
    async with serving(data_dir) as (client, _):
        error = (await client.reply(client.send("project/open", {"path": path})))["error"]
        assert error["data"]["kind"] == kind
        assert (await client.call("project/list"))["items"] == []


async def test_a_file_a_dead_link_and_a_circle_of_links_are_no_folders(data_dir: Path, work: Path) -> None:
    (work / "file").write_text("")
    (work / "dead").symlink_to(work / "nothing")
    (work / "circle").symlink_to(work / "circle")
    async with serving(data_dir) as (client, _):
        for name in ("file", "dead", "circle"):
            error = (await client.reply(client.send("project/open", {"path": str(work / name)})))["error"]
            assert error["data"]["kind"] == "pathIsNoFolder"


async def test_a_path_that_no_system_call_takes_or_json_cannot_say_is_refused(data_dir: Path, work: Path) -> None:
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
async def test_a_project_that_cannot_be_seen_is_not_taken_for_one_that_has_gone(data_dir: Path, work: Path) -> None:
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


async def test_many_daemons_that_open_one_folder_at_once_make_one_project(data_dir: Path, work: Path) -> None:
    async with (
        spawned(data_dir) as (one, _),
        spawned(data_dir) as (two, _),
        spawned(data_dir) as (three, _),
    ):
        clients = [one, two, three] * 5
        found = await asyncio.gather(*(open_(client, work / "app") for client in clients))
        assert len({answer["project"]["id"] for answer in found}) == 1
        assert [answer["created"] for answer in found].count(True) == 1


def test_where_a_mark_cannot_be_left_the_folder_is_as_it_was(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "setxattr", raising=False)  # as on macOS
    monkeypatch.delattr(os, "getxattr", raising=False)
    folders.mark(work, "log", "project")
    assert folders.marked(work, "log") == ""
