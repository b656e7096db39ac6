"""`--memory`: a daemon and an agent whose work is in no file on disk, and of which nothing is left."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wire
from command_lines import CommandLine, InRepository
from scripted import linux_only
from treadle.server.memory_folder import memory_folder
from treadle.store.errors import Refused
from wire import Daemon, spawn

pytestmark = linux_only

MARKER = "zqmarkerqz"


class InMemory(InRepository):
    """A home, a folder for temporary files and a repository, all below one folder. The agent's own files are not."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        home, temporary, sessions = folder / "home", folder / "tmp", folder.with_name(f"{folder.name}-sessions")
        home.mkdir()
        temporary.mkdir()
        self.folder = folder
        self.env |= {"HOME": str(home), "TMPDIR": str(temporary), "SCRIPTED_SESSIONS": str(sessions)}

    def with_marker(self) -> list[Path]:
        """The files that have the marker."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        return [path for path in files if MARKER.encode() in path.read_bytes()]


@pytest.fixture
def treadle(tmp_path: Path) -> InMemory:
    (tmp_path / "all").mkdir()
    return InMemory(tmp_path / "all")


@contextmanager
def in_memory(treadle: CommandLine) -> Iterator[tuple[Daemon, Path]]:
    """A daemon with a thread `t`, and its folder."""
    with spawn(treadle.data_dir, "--memory", env=treadle.env) as daemon:
        daemon.initialize()
        status = daemon.result("daemon/status")
        assert status["persistent"] is False
        project = daemon.result("project/open", {"path": str(treadle.work)})["project"]
        daemon.dispatch("CreateThread", threadId="t", projectId=project["id"], title=MARKER)
        yield daemon, Path(status["dataDir"])


# Nothing on disk, nothing left


def test_nothing_of_a_run_in_memory_is_on_disk(treadle: InMemory) -> None:
    done = treadle.do("run", "--memory", MARKER)
    assert done.stdout == f"You said: {MARKER}\n"
    assert treadle.with_marker() == []
    assert [path.name for path in treadle.data_dir.iterdir()] == ["agents.json"]
    treadle.do("run", MARKER)
    assert treadle.with_marker() != []  # the search finds it where it is


@pytest.mark.parametrize("end", ["stdin", "SIGTERM", "exit"])
def test_the_folder_in_memory_is_private_and_gone_when_the_daemon_ends(treadle: InMemory, end: str) -> None:
    with in_memory(treadle) as (daemon, folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert MARKER.encode() in b"".join(file.read_bytes() for file in folder.glob("treadle.db*"))
        if end == "SIGTERM":
            daemon.process.send_signal(signal.SIGTERM)
        elif end == "exit":
            daemon.call("shutdown")
            daemon.notify("exit")
        else:
            daemon.close_input()
        assert daemon.status() == 0
        assert not folder.exists()
    assert treadle.with_marker() == []


def test_what_a_killed_daemon_left_in_memory_is_removed_by_the_next_one(treadle: InMemory) -> None:
    with in_memory(treadle) as (living, kept):
        with in_memory(treadle) as (daemon, folder):
            daemon.process.kill()
            daemon.status()
        treadle.do("run", "--memory", "next")
        assert not folder.exists()
        assert kept.exists()
        assert living.result("thread/list")["items"][0]["title"] == MARKER
    assert treadle.with_marker() == []


def test_without_a_file_system_in_memory_nothing_is_started(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing"
    with pytest.raises(Refused, match=f"needs a file system in memory at {nowhere}"), memory_folder(nowhere):
        pass
    assert list(tmp_path.iterdir()) == []


# What would leave something


def test_no_checkpoint_and_no_worktree_is_left_in_the_repository(treadle: InMemory) -> None:
    treadle.checkout.write("a")
    treadle.do("run", "--memory", "script=tool")
    assert treadle.checkout.git("for-each-ref") == ""
    with in_memory(treadle) as (daemon, _):
        error = daemon.error("checkpoint/create", {"threadId": "t"})
        assert (error["data"]["kind"], "--memory" in error["message"]) == ("onlyInMemory", True)
        new = {"type": "CreateThread", "projectId": "p", "title": "t", "worktree": True}
        assert daemon.error("command/dispatch", new)["data"]["kind"] == "onlyInMemory"
        assert daemon.error("command/dispatchBatch", {"commands": [new]})["data"]["kind"] == "onlyInMemory"
        assert daemon.result("event/list", {"threadId": "t"})["items"][-1]["event"]["type"] == "ThreadCreated"
    treadle.do("run", "script=tool")
    assert treadle.checkout.git("for-each-ref") != ""  # with a daemon that lasts
    assert treadle.do("run", "--memory", "--thread", "last", "hi", status=2).stdout == ""
    assert treadle.do("run", "--memory", "--worktree", "hi", status=2).stdout == ""


@pytest.mark.parametrize("command", [["host"], ["import"], ["import", "claude"], ["import", "jsonl", "-"]])
def test_what_must_last_is_refused_in_a_folder_in_memory(treadle: InMemory, command: list[str]) -> None:
    with in_memory(treadle) as (_, folder):
        done = wire.run(*command, "--data-dir", str(folder))
        assert done.returncode == 1
        assert done.stderr == (
            f"treadle: {folder} is in memory, and gone when its daemon with --memory ends: choose another --data-dir\n"
        )


def test_a_daemon_in_memory_writes_no_log_file(treadle: InMemory, tmp_path: Path) -> None:
    done = treadle.do("serve", "--memory", "--log-file", str(tmp_path / "log"), status=2)
    assert "not allowed with argument" in done.stderr
    assert not (tmp_path / "log").exists()


def test_a_thread_in_memory_can_be_exported_while_its_daemon_runs(treadle: InMemory) -> None:
    with in_memory(treadle) as (_, folder):
        exported = wire.run("export", "--data-dir", str(folder))
        shown = wire.run("show", "t", "--data-dir", str(folder))
    assert MARKER in exported.stdout
    assert MARKER in shown.stdout
