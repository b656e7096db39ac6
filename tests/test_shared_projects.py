"""Projects of a log that machines share: known by their remote, in a folder of each machine; and their checkpoints."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkouts import Checkout, with_git
from histories import SHOP, Imports, claude_shop, write
from machines import Machine, machine
from postgres import make_replica, needs_postgres
from runs import Thread, configure, running
from scripted import scripted
from support import append_all, log_sequence, opened, plain, replayed
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.checks import Stamp
from treadle.domain.decider import decide, evolve, initial_state, names
from treadle.domain.errors import Rejected
from treadle.domain.state import State
from treadle.store.shared.config import read_config
from treadle.store.shared.shared_log import SharedLog
from treadle.store.sqlite import projections
from treadle.transfer.sources import claude
from treadle.workspace.folders import open_project
from wire import run

pytestmark = needs_postgres

APP = "example.org/team/app"
AT = "2026-01-31T12:00:00.000Z"


@pytest.fixture
async def ada(share_log: Callable[..., None], tmp_path: Path) -> AsyncIterator[Machine]:
    share_log(tmp_path / "of-ada")
    async with machine(tmp_path / "of-ada") as found:
        yield found


@pytest.fixture
async def bob(ada: Machine, tmp_path: Path) -> AsyncIterator[Machine]:
    data_dir = make_replica(tmp_path / "of-bob", "bob", read_config(ada.store.data_dir).log_id)
    async with machine(data_dir) as found:
        yield found


def clone(folder: Path, url: str | None = "git@example.org:team/app.git", below: str = "") -> Checkout:
    checkout = Checkout(folder.resolve(), folder.resolve().parent, below)
    if url is not None:
        checkout.git("remote", "add", "origin", url)
    return checkout


async def rejection(attempt: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await attempt  # type: ignore[misc]
    return caught.value


async def called(command: str, machine: Machine, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(run, command, *arguments, "--data-dir", str(machine.store.data_dir))


def create(id: str, path: str = "/work/app", remote: str | None = APP) -> c.CreateProject:
    return c.CreateProject(id=id, name=id, path=path, remote=remote)


# Folders


@with_git
async def test_a_clone_on_another_machine_is_the_same_project_in_a_folder_of_its_own(
    ada: Machine, bob: Machine, tmp_path: Path
) -> None:
    first = clone(tmp_path / "ada" / "app", "git@example.org:team/app.git")
    second = clone(tmp_path / "bob" / "code", "https://example.org/team/app")
    made = await ada.open(first.folder)
    assert (made.created, made.project.path, made.project.remote) == (True, str(first.folder), APP)
    await bob.follow()
    assert (await bob.project(made.project.id)).path is None
    before = await log_sequence(bob.store)
    found = await bob.open(second.folder)
    assert (found.created, found.moved) == (False, False)
    assert (found.project.id, found.project.path) == (made.project.id, str(second.folder))
    (told,) = (await replayed(bob.store))[before:]
    assert told.event == e.ProjectUpdated(id=made.project.id, at=told.event.at)  # others learn nothing of the folder
    assert await bob.open(second.folder) == found
    assert await ada.open(first.folder) == msgspec.structs.replace(made, created=False)


@with_git
async def test_no_event_has_a_path_of_a_machine(ada: Machine, tmp_path: Path) -> None:
    first = clone(tmp_path / "ada" / "app")
    opened_first = await ada.open(first.folder)
    first.folder.rename(tmp_path / "ada" / "moved")
    moved = await ada.open(tmp_path / "ada" / "moved")
    assert (moved.project.id, moved.moved) == (opened_first.project.id, True)
    await ada.do(c.UpdateProject(id=moved.project.id, path="/some/where", name="app"))
    payloads = [e.encode(stored.event).decode() for stored in await replayed(ada.store)]
    assert len(payloads) == 3
    assert not any(word in payload for payload in payloads for word in ("path", str(tmp_path), "/some/where"))


async def test_machines_may_have_different_projects_at_the_same_path(ada: Machine, bob: Machine) -> None:
    await ada.do(create("app"))
    await bob.follow()
    await bob.do(create("web", remote="example.org/team/web"))
    await ada.follow()
    assert [(await ada.project(id)).path for id in ("app", "web")] == ["/work/app", None]
    assert [(await bob.project(id)).path for id in ("app", "web")] == [None, "/work/app"]


async def test_a_folder_belongs_to_the_project_that_it_was_given_to_last(ada: Machine) -> None:
    await ada.do(create("app"), create("web", "/work/web", "example.org/team/web"))
    await ada.do(c.UpdateProject(id="web", path="/work/./app/"))
    assert [(await ada.project(id)).path for id in ("app", "web")] == [None, "/work/app"]


async def test_an_event_without_content_says_that_the_folder_of_a_project_has_changed(ada: Machine) -> None:
    await ada.do(create("app"), create("web", "/work/web", "example.org/team/web"))
    await ada.do(c.UpdateProject(id="web", path="/work/app"), c.UpdateProject(id="web", path="/work/app/"))
    events = [stored.event for stored in await replayed(ada.store)][2:]
    assert events == [e.ProjectUpdated(id=id, at=event.at) for id, event in zip(["app", "web"], events, strict=True)]
    await ada.do(c.UpdateProject(id="app", path="/work/web"), c.UpdateProject(id="web", path="/work/app"))
    assert await log_sequence(ada.store) == 5
    assert [(await ada.project(id)).path for id in ("app", "web")] == ["/work/web", "/work/app"]


async def test_a_project_gets_its_folder_with_its_event_whichever_process_applies_that(
    ada: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:  # the process that appends, once the server has it
        killed.setattr(SharedLog, "_apply_own", lambda *arguments: None)
        await ada.do(create("app"))
    assert await log_sequence(ada.store) == 0
    await ada.follow()
    assert (await ada.project("app")).path == "/work/app"
    with plain(ada.store.data_dir) as db:
        assert db.execute("SELECT * FROM meta WHERE key GLOB 'folders.*'").fetchall() == []


async def test_the_second_machine_that_creates_a_project_is_told_which_one_there_is(ada: Machine, bob: Machine) -> None:
    await ada.do(create("app"))
    await bob.follow()
    error = await rejection(bob.do(create("other", "/elsewhere/app")))
    assert (error.kind, error.details) == ("remoteTaken", {"projectId": "app"})
    assert (await bob.project("app")).path is None
    await bob.do(c.DeleteProject(id="app"), create("other", "/elsewhere/app"))
    assert (await bob.project("other")).path == "/elsewhere/app"


@with_git
async def test_a_subfolder_is_the_project_of_the_nearest_folder_that_is_one(
    ada: Machine, bob: Machine, tmp_path: Path
) -> None:
    await ada.do(create("all"), create("web", "/work/app/web", f"{APP}//web"))
    await bob.follow()
    theirs = clone(tmp_path / "bob" / "app", below="web/src/deep")
    (theirs.top / "api").mkdir()
    web = await bob.open(theirs.folder)
    assert (web.project.id, web.project.path) == ("web", str(theirs.top / "web"))
    api = await bob.open(theirs.top / "api")
    assert (api.project.id, api.project.path) == ("all", str(theirs.top))
    assert (await bob.open(theirs.folder)).project.id == "web"


@with_git
@pytest.mark.parametrize("url", [None, "/somewhere/app"], ids=["none", "a path"])
async def test_a_folder_without_a_remote_is_refused(ada: Machine, tmp_path: Path, url: str | None) -> None:
    alone = clone(tmp_path / "app", url)
    error = await rejection(ada.open(alone.folder))
    assert error.kind == "noRemote"
    assert f"{alone.folder} has none. Add one (git remote add origin URL)" in str(error)
    assert await log_sequence(ada.store) == 0
    alone.git("remote", "remove", "origin", check=False)
    alone.git("remote", "add", "origin", "git@example.org:team/app.git")
    assert (await ada.open(alone.folder)).created


async def test_a_project_without_a_remote_can_be_created_by_its_command(ada: Machine, bob: Machine) -> None:
    await ada.do(create("p", remote=None))
    await bob.follow()
    assert (await bob.project("p")).path is None
    await bob.do(c.UpdateProject(id="p", path="/home/bob/notes"))
    assert [(await one.project("p")).remote for one in (ada, bob)] == [None, None]
    assert (await bob.project("p")).path == "/home/bob/notes"


@with_git
async def test_a_folder_that_was_given_to_a_project_needs_no_remote_of_it(ada: Machine, tmp_path: Path) -> None:
    """As a clone of a fork."""
    fork = clone(tmp_path / "fork", "git@example.org:ada/app.git")
    await ada.do(create("app"), c.UpdateProject(id="app", path=str(fork.folder)))
    found = await ada.open(fork.folder)
    assert (found.project.id, found.project.remote, found.created) == ("app", APP, False)


@with_git
async def test_a_second_clone_on_a_machine_is_refused_until_the_project_is_given_it(
    ada: Machine, tmp_path: Path
) -> None:
    one, two = clone(tmp_path / "one"), clone(tmp_path / "two")
    id = (await ada.open(one.folder)).project.id
    error = await rejection(ada.open(two.folder))
    assert (error.kind, error.details) == ("folderTaken", {"projectId": id})
    assert str(one.folder) in str(error)
    await ada.do(c.UpdateProject(id=id, path=str(two.folder)))
    assert (await ada.open(two.folder)).project.path == str(two.folder)


@with_git
async def test_the_folders_of_a_machine_survive_a_rebuild_and_are_in_no_export(ada: Machine, tmp_path: Path) -> None:
    app = clone(tmp_path / "somewhere")
    id = (await ada.open(app.folder)).project.id
    assert await ada.store.rebuild() == 1
    assert (await ada.project(id)).path == str(app.folder)
    assert projections.verify(ada.store.path, tmp_path / "copy.db") == (1, [])
    assert (await ada.project(id)).name == "app"
    exported = (await called("export", ada)).stdout
    assert APP in exported
    assert "somewhere" not in exported


async def test_a_project_without_a_folder_here_can_be_read_and_not_worked_in(ada: Machine, bob: Machine) -> None:
    await ada.do(create("app"), c.CreateThread(thread_id="t", project_id="app", title="T"))
    await ada.do(c.CreateCheckpoint(thread_id="t", id="k", git_ref="refs/x", message=""))
    await bob.follow()
    assert (await bob.work("t")).folder is None
    error = await rejection(bob.checkpoints.take("t"))
    assert (error.kind, error.details) == ("folderMissing", {"projectId": "app"})
    assert str(error) == f"{APP} has no folder on this machine: clone it, and run treadle in the clone"
    assert await bob.read(lambda reads: reads.project_paths()) == {}
    assert f"app ({APP})" in (await called("show", bob, "t")).stdout
    told = await called("undo", bob, "--to-checkpoint", "k", "t", "--dry-run")
    assert (told.returncode, told.stderr) == (1, f"treadle: {error}\n")


@with_git
async def test_a_prompt_waits_where_its_project_has_no_folder_and_is_sent_once_it_has_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:  # as after an import of a shared log
        created = e.ThreadCreated(thread_id="t", project_id="p", title="T", at=AT)
        await append_all(store, [e.ProjectCreated(id="p", name="app", remote=APP, at=AT), created])
    app = clone(tmp_path / "app")
    configure(tmp_path / "data", agent=scripted())
    with running(tmp_path) as runs:
        thread = Thread(runs, "t")
        thread.dispatch("AssignAgent", agent="agent")
        thread.ask("one")
        reason = thread.until("QueuePaused")["reason"]
        assert f"{APP} has no folder on this machine: clone it, and run treadle in the clone" in reason
        opened_here = runs.daemon.result("project/open", {"path": str(app.folder)})
        assert opened_here["project"]["id"] == "p"
        thread.dispatch("ResumeQueue")
        turn = thread.until("TurnStarted")["id"]
        assert thread.end_of(turn)["status"] == "completed"


@with_git
async def test_a_private_log_with_the_projects_of_a_shared_one_gives_them_the_folders_that_are_opened(
    tmp_path: Path,
) -> None:
    app = clone(tmp_path / "app")
    async with opened(tmp_path / "mine") as store:
        await append_all(store, [e.ProjectCreated(id="p", name="app", remote=APP, at=AT)])
        engine = Engine(store)
        engine.start()
        found = await open_project(store, engine, str(app.folder))
        assert (found.project.id, found.project.path, found.moved) == ("p", str(app.folder), False)
        (_, updated) = await replayed(store)
        assert isinstance(updated.event, e.ProjectUpdated)
        assert updated.event.path == str(app.folder)
        await engine.stop()


async def test_a_history_of_another_tool_is_not_imported_into_a_shared_log(ada: Machine, tmp_path: Path) -> None:
    """Its folders are paths of this machine, which may be gone."""
    write(tmp_path / "home" / "projects" / "-work-shop" / f"{SHOP}.jsonl", claude_shop())
    error = await rejection(Imports(ada.store, ada.engine, claude.SOURCE, tmp_path / "home").take())
    assert error.kind == "noRemote"
    assert await log_sequence(ada.store) == 0


# Decisions

REMOTES = st.sampled_from(["example.org/a", "example.org/b", "example.org/a//web"])
PATHS = st.sampled_from(["/x", "/x/", "/y", "relative"])
IDS = st.sampled_from(["1", "2", "3"])
COMMANDS = st.one_of(
    st.builds(c.CreateProject, id=IDS, name=st.just("n"), path=PATHS, remote=st.none() | REMOTES),
    st.builds(
        c.UpdateProject, id=IDS, name=st.none() | st.just("m"), path=st.none() | PATHS, remote=st.none() | REMOTES
    ),
    st.builds(c.DeleteProject, id=IDS),
)


@given(st.lists(COMMANDS, max_size=20))
def test_live_projects_of_a_shared_log_have_different_remotes_and_no_path(commands: list[c.Command]) -> None:
    stamp = Stamp(AT, "machine.daemon", AT, is_shared=True)
    whole, remotes, mistold = initial_state(), dict[str, str](), False
    for command in commands:
        keys = names(command) | {("members", str(command.id))}  # type: ignore[attr-defined]
        whole.load({key: None for key in keys if key not in whole})
        state = State(whole.sequence)  # only what it names
        state.load({key: whole[key] for key in keys})
        try:
            events = decide(state, command, stamp)
        except Rejected as error:
            is_told = error.kind != "remoteTaken" or remotes[error.details["projectId"]] == command.remote  # type: ignore
            events, mistold = [], mistold or not is_told
        for event in events:
            assert b'"path"' not in e.encode(event)
            evolve(whole, event)
            match event:
                case e.ProjectCreated(id=id, remote=remote) | e.ProjectUpdated(id=id, remote=remote):
                    remotes[id] = remote or remotes.get(id) or f"none of {id}"
                case e.ProjectDeleted(id=id):
                    del remotes[id]
        assert len(set(remotes.values())) == len(remotes)
    assert not mistold


# Checkpoints


@with_git
async def test_a_checkpoint_of_another_machine_is_said_to_be_there(ada: Machine, bob: Machine, tmp_path: Path) -> None:
    hers, his = clone(tmp_path / "ada" / "app"), clone(tmp_path / "bob" / "app")
    for checkout in (hers, his):
        checkout.write("a.txt")
        checkout.commit()
    project = (await ada.open(hers.folder)).project.id
    await ada.do(c.CreateThread(thread_id="t", project_id=project, title="T"))
    hers.write("b.txt")
    id = await ada.checkpoints.take("t")
    assert (await ada.checkpoint("t", id)).machine == ada.store.runner.machine.id
    await bob.follow()
    await bob.open(his.folder)
    for attempt in (
        bob.checkpoints.compare("t", id, None, start=0, limit=10),
        bob.checkpoints.restore("t", id),
        bob.checkpoints.restore("t", id, dry_run=True),
    ):
        error = await rejection(attempt)
        assert (error.kind, error.details) == (
            "checkpointElsewhere",
            {"machine": ada.store.runner.machine.id, "by": "ada"},
        )
        assert "is on the machine of ada" in str(error)
    assert not (his.folder / "b.txt").exists()
    his.git("fetch", "--quiet", str(hers.top), "refs/treadle/*:refs/treadle/*")
    assert (await bob.checkpoints.restore("t", id)).written == ["b.txt"]


@with_git
async def test_a_machine_prunes_only_the_checkpoints_that_it_has(ada: Machine, bob: Machine, tmp_path: Path) -> None:
    hers, his = clone(tmp_path / "ada" / "app"), clone(tmp_path / "bob" / "app")
    project = (await ada.open(hers.folder)).project.id
    await ada.do(c.CreateThread(thread_id="t", project_id=project, title="T"))
    theirs = [await ada.checkpoints.take("t") for _ in range(3)]
    await bob.follow()
    await bob.open(his.folder)
    (own,) = [await bob.checkpoints.take("t")]
    (done,) = await bob.checkpoints.pruner.prune(keep=1)
    assert (done.checkpoints, done.lost, done.refs) == ([], [], 0)
    await ada.follow()
    (done,) = await ada.checkpoints.pruner.prune(keep=1)
    assert {one.id for one in done.checkpoints} == set(theirs[:2])
    assert (done.lost, done.refs) == ([], 0)
    kept = await ada.read(lambda reads: reads.kept_checkpoints([project]))
    assert [(one.id, one.elsewhere) for one in kept] == [(theirs[2], False), (own, True)]


async def test_checkpoints_of_a_private_log_name_no_machine(tmp_path: Path) -> None:
    async with machine(tmp_path / "mine") as mine:
        await mine.do(create("p"), c.CreateThread(thread_id="t", project_id="p", title="T"))
        await mine.do(c.CreateCheckpoint(thread_id="t", id="k", git_ref="refs/x", message=""))
        assert (await mine.checkpoint("t", "k")).machine is None
        assert b"machine" not in e.encode((await replayed(mine.store))[-1].event)
