"""The example plugins of docs/clients in real editors, each of which starts its own daemon.

A driver in each editor (tests/editors) carries out the steps that a test sends, one per line. VS Code itself is not
used: its extension runs under Node, and the driver provides the parts of the editor's API that it needs.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import wire
from checkouts import Checkout
from people import BACKWARDS, pipelined
from scripted import assert_end, assert_gone, scripted
from support import CHECKOUT, PATIENCE, needs, output_of
from treadle.client import Client, connect
from treadle.store.sqlite.database import FILE_NAME

CLIENTS = CHECKOUT / "docs" / "clients"
DRIVERS = CHECKOUT / "tests" / "editors"
VSCODE = CLIENTS / "vscode"
TSC = VSCODE / "node_modules" / ".bin" / "tsc"

NEOVIM = ("nvim", "--clean", "--headless", "--cmd", f"set runtimepath+={CLIENTS / 'neovim'}", "-c")
EDITORS = {
    "neovim": (*NEOVIM, f"luafile {DRIVERS / 'neovim.lua'}"),
    "emacs": ("emacs", "-Q", "--batch", "-L", str(CLIENTS / "emacs"), "-l", str(DRIVERS / "emacs.el")),
    "vscode": ("node", str(DRIVERS / "vscode.cjs")),
}
MARKS = {"neovim": [needs("nvim")], "emacs": [needs("emacs")], "vscode": [needs("node"), needs(str(TSC))]}

TOLD_OF_A_KILL = {
    "neovim": "the daemon ended with status 0, signal 9",
    "emacs": "Server died",
    "vscode": "the daemon ended with SIGKILL",
}
"""What a request gets that is not answered."""

AT_FIRST = """# Retry [idle]
user> Hello
-- interrupted (the daemon ended); the agent did not confirm"""

HELPER = "Add a helper 🧵 𝔘𝔫𝔦 👩‍👩‍👧 that tries three times, then gives up 🚀"
ECHOED = HELPER + " "

WAITING = f"""# Retry (scripted) [waiting]
user> Hello
-- interrupted (the daemon ended); the agent did not confirm
user> {HELPER} script=echo script=tool script=ask
assistant> {ECHOED}
* make test [completed]
* rm -rf build [pending]
* rm -rf build [pending]
-- running"""

AT_LAST = f"""# Retry (scripted) [idle]
user> Hello
-- interrupted (the daemon ended); the agent did not confirm
user> {HELPER} script=echo script=tool script=ask
assistant> {ECHOED}
* make test [completed]
* rm -rf build [completed]
* rm -rf build [allow]
assistant> chose allow
-- completed (end_turn)"""

QUEUED = """# Queue (scripted) [paused]
user> First script=stream
assistant> … steered: and be quick …
user> and be quick
-- interrupted by user (cancelled)
queued> Second script=plain
queued> Third
|| paused: the turn was interrupted"""

STOPPED = """# Stop [idle]
user> See
[image/png]
[notes.md, file:///notes.md]
-- interrupted by Ada (too slow); the agent did not confirm
user> Look
[100081 bytes of content]
-- failed (rate_limit: too many requests)"""


class Editor:
    """An editor that does what it is told."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self._answers: list[dict[str, Any]] = []

    def tell(self, step: str, argument: Any = None) -> None:
        """One step."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([step, argument]).encode() + b"\n")

    async def answer(self, member: str) -> Any:
        """That member of the first answer that has it and was not taken yet."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not (found := [answer for answer in self._answers if member in answer]):
                line = await self.process.stdout.readline()
                assert line, f"the editor ended, and did not answer with {member}: {self._answers}"
                self._answers.append(json.loads(line[line.index(b"{") :]))  # Emacs asks before it
        self._answers.remove(found[0])
        return found[0][member]

    async def until(self, text: str) -> str:
        """What the buffer shows, once this is in it."""
        self.tell("until", text)
        return str(await self.answer("text"))

    async def request(self, method: str, **params: Any) -> Any:
        """The result of a request that the plugin sends."""
        self.tell("request", {"method": method, "params": params or None})
        await self.answer("sent")
        return await self.answer("result")

    async def agents(self) -> str:
        """The ids of the agents' processes that its daemon runs."""
        running = (await self.request("daemon/status"))["agents"]
        return " ".join(str(agent["pid"]) for agent in running)

    def choose(self, step: str, label: str) -> None:
        """A step in which the user chooses what has this name: a thread, an agent, an answer."""
        self.tell(step, label)
        if self.name == "emacs":
            assert self.process.stdin is not None
            self.process.stdin.write(f"{label}\n".encode())

    async def quit(self) -> int:
        """The exit status of the editor, which a user leaves."""
        self.tell("quit")
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def running(name: str, command: list[str], folder: Path) -> AsyncIterator[Editor]:
    """An editor of a user whose home is empty; killed with the block, unless it has ended by then."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PYTHON", "LC_"))}
    process = await asyncio.create_subprocess_exec(
        *EDITORS[name],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=home,
        env=kept | {"HOME": str(home), "LC_ALL": "C.UTF-8", "TREADLE_COMMAND": json.dumps(command)},
    )
    editor = Editor(name, process)
    try:
        await editor.answer("pid")
        yield editor
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


@pytest.fixture
def daemon(request: pytest.FixtureRequest, data_dir: Path) -> list[str]:
    """What an editor spawns: of this checkout, or, with the parameter `wheel`, installed."""
    if getattr(request, "param", "checkout") == "checkout":
        command = [sys.executable, "-m", "treadle", "serve"]
    else:
        command = [str(request.getfixturevalue("installed") / "treadle"), "serve"]
    return [*command, "--durability", "normal", "--data-dir", str(data_dir)]


@pytest.fixture(scope="session")
def compiled(shared: Callable[[], AbstractContextManager[Path]]) -> None:
    """The TypeScript, checked and compiled once in a run."""
    with shared() as folder:
        if not (done := folder / "compiled").exists():
            output_of("npm", "run", "build", "--silent", "--prefix", str(VSCODE))
            done.touch()


@pytest.fixture(params=[pytest.param(name, marks=marks) for name, marks in MARKS.items()])
def name(request: pytest.FixtureRequest) -> str:
    """An editor's."""
    if request.param == "vscode":
        request.getfixturevalue("compiled")
    return str(request.param)


@asynccontextmanager
async def elsewhere(daemon: list[str], data_dir: Path) -> AsyncIterator[Client]:
    """Another process on the same data directory."""
    async with asyncio.timeout(3 * PATIENCE), connect(data_dir, command=daemon[: daemon.index("--data-dir")]) as client:
        yield client


async def dispatch(client: Client, type: str, **fields: Any) -> None:
    await client.call("command/dispatch", {"type": type, **fields})


def configure(data_dir: Path) -> None:
    """There is one agent, whose sessions outlive it."""
    data_dir.mkdir(exist_ok=True)
    agent = scripted("steering", SCRIPTED_SESSIONS=str(data_dir / "sessions"))
    (data_dir / "agents.json").write_text(json.dumps({"agents": {"scripted": agent}}))


async def scenery(daemon: list[str], data_dir: Path) -> None:
    """An agent, and a thread with a turn of a daemon that has ended."""
    configure(data_dir)
    async with elsewhere(daemon, data_dir) as client:
        await dispatch(client, "CreateProject", id="p", name="Demo", path=str(data_dir))
        await dispatch(client, "CreateThread", threadId="t", projectId="p", title="Retry")
        await dispatch(client, "StartTurn", threadId="t", id="u", prompt="Hello")


async def opened(editor: Editor) -> None:
    """The thread is what the editor shows."""
    editor.choose("pick", "Retry [idle]")
    assert await editor.until("-- interrupted") == AT_FIRST


async def streaming(editor: Editor) -> str:
    """The editor has chosen the agent and sent a prompt, and the agent streams; the agent's process."""
    editor.choose("agent", "scripted")
    await editor.until("# Retry (scripted) [idle]")
    editor.tell("send", "Go on script=stream")
    await editor.until("assistant> 1 2 3 ")
    return await editor.agents()


def nobody_has_it_open(data_dir: Path) -> bool:
    """Whether no daemon has the data directory open: each holds this lock as long as it lives."""
    with open(data_dir / "present.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("daemon", ["checkout", "wheel"], indirect=True)
async def test_a_turn_of_an_agent_streams_into_two_windows_and_either_answers_it(
    name: str, daemon: list[str], data_dir: Path, tmp_path: Path
) -> None:
    await scenery(daemon, data_dir)
    async with running(name, daemon, tmp_path) as editor, running(name, daemon, tmp_path) as other:
        await opened(editor)
        await opened(other)
        editor.choose("agent", "scripted")
        await editor.until("# Retry (scripted) [idle]")
        editor.tell("send", f"{HELPER} script=echo script=tool script=ask")
        for window in (editor, other):
            assert await window.until("[waiting]") == WAITING
        other.choose("approve", "Allow")
        for window in (editor, other):
            assert await window.until("-- completed") == AT_LAST
        # The third: no view was opened again, as it is where a plugin counts offsets in anything but code points.
        assert (await other.request("subscription/open", topic="settings"))["subscriptionId"] == "sub-3"
        async with elsewhere(daemon, data_dir) as client:
            await dispatch(client, "CreateThread", threadId="new", projectId="p", title="Elsewhere 🚀")
            await editor.request("thread/list")
        editor.choose("pick", "Elsewhere 🚀 [idle]")
        assert await editor.until("# Elsewhere") == "# Elsewhere 🚀 [idle]"
        agent = await editor.agents()
        for window in (other, editor):
            window.tell("stop")
            assert await window.answer("status") == 0
        assert_gone(agent)
        assert nobody_has_it_open(data_dir)
        assert [await window.quit() for window in (other, editor)] == [0, 0]


async def test_an_editor_queues_steers_interrupts_and_resumes(name: str, data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)]
    configure(data_dir)
    async with running(name, command, tmp_path) as editor:
        editor.tell("new", "Queue")
        await editor.until("# Queue [idle]")
        editor.tell("send", "First script=stream")
        assert "AssignAgent" in await editor.answer("message")
        editor.choose("agent", "scripted")
        await editor.until("# Queue (scripted) [idle]")
        for text in ("First script=stream", "Second script=plain", "Third"):
            editor.tell("send", text)
        await editor.until("assistant> 1 2 3 ")  # before a turn runs, a prompt to steer would be the first to be sent
        assert "\nqueued> Second script=plain\nqueued> Third" in await editor.until("queued> Third")
        editor.tell("steer", "and be quick")
        await editor.until("steered: and be quick")
        editor.tell("interrupt")
        shown = await editor.until("|| paused")
        assert re.sub(r"(?<=assistant> )(.*)(steered: and be quick)(.*)", r"… \2 …", shown) == QUEUED
        editor.tell("resume")
        shown = await editor.until("You said: Third\n-- completed (end_turn)")
        assert "user> Second script=plain\nassistant> Hello, world.\n-- completed (end_turn)\nuser> Third" in shown
        assert shown.startswith("# Queue (scripted) [idle]")
        assert await editor.quit() == 0


async def test_an_editor_shows_a_turn_in_the_order_of_its_commands(name: str, data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)]

    def turn(said: list[str]) -> str:
        prompt, *rest = said
        lines = [f"* {one} [completed]" if n % 2 else f"assistant> {one}" for n, one in enumerate(rest)]
        return "\n".join([f"user> {prompt}", *lines, "-- completed (end_turn)"])

    with wire.serving(data_dir) as other:
        other.dispatch("CreateProject", id="p", name="Demo", path="/demo")
        other.dispatch("CreateThread", threadId="t", projectId="p", title="Order")
        shown = [
            "# Order [idle]",
            turn(pipelined(other, "t", "before")),
            turn(pipelined(other, "t", "past", BACKWARDS)),
        ]
        async with running(name, command, tmp_path) as editor:
            editor.choose("pick", "Order [idle]")
            assert await editor.until("# Order") == "\n".join(shown)
            shown += [turn(pipelined(other, "t", "live")), turn(pipelined(other, "t", "backwards", BACKWARDS))]
            other.dispatch("RenameThread", threadId="t", title="Later")
            shown[0] = "# Later [idle]"
            assert await editor.until("# Later") == "\n".join(shown)
            assert await editor.quit() == 0


async def test_an_editor_shows_how_a_turn_is_stopped_and_what_is_not_text(
    name: str, data_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)]
    image = {"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="}
    link = {"type": "resource_link", "name": "notes.md", "uri": "file:///notes.md"}

    def text(said: str) -> dict[str, str]:
        return {"type": "text", "text": said}

    with wire.serving(data_dir) as other:
        other.dispatch("CreateProject", id="p", name="Demo", path="/demo")
        other.dispatch("CreateThread", threadId="t", projectId="p", title="Stop")
        other.dispatch("StartTurn", threadId="t", id="u", content=[text("See"), image, link])
        async with running(name, command, tmp_path) as editor:
            editor.choose("pick", "Stop [running]")
            await editor.until("# Stop [running]")
            other.dispatch("CancelTurn", threadId="t", id="u", by="Ada")
            await editor.until("# Stop [cancelling]")
            other.dispatch("InterruptTurn", threadId="t", reason="too slow", by="Ada", confirmed=False)
            other.dispatch("StartTurn", threadId="t", id="v", content=[text("Look"), image | {"data": "A" * 100_000}])
            other.dispatch("FailTurn", threadId="t", id="v", error="too many requests", kind="rate_limit")
            assert await editor.until("-- failed") == STOPPED
            assert await editor.quit() == 0


@needs("git")
async def test_an_editor_shows_what_a_turn_changed_and_undoes_it(name: str, data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)]
    configure(data_dir)
    shop = Checkout(tmp_path / "home" / "shop", tmp_path)
    shop.write("a.txt", "of the user\n")
    with wire.serving(data_dir) as other:
        other.dispatch("CreateProject", id="p", name="Shop", path=str(shop.folder))
        other.dispatch("CreateThread", threadId="t", projectId="p", title="Break")
        other.result("subscription/open", {"topic": "thread", "threadId": "t"})
        async with running(name, command, tmp_path) as editor:
            editor.choose("pick", "Break [idle]")
            await editor.until("# Break [idle]")
            editor.tell("diff")
            assert "no turn has a checkpoint" in await editor.answer("message")
            editor.choose("agent", "scripted")
            await editor.until("# Break (scripted) [idle]")
            editor.tell("send", "script=files write=a.txt,b.txt")
            await editor.until("-- completed")
            while len(other.result("checkpoint/list", {"threadId": "t"})["items"]) < 2:
                other.notification("projection/changed")
            editor.choose("undo", "yes" if name == "emacs" else "Put back")
            if name == "vscode":
                assert await editor.answer("message") == "Write [a.txt], remove [b.txt]?"
                assert await editor.answer("message") == "The files were put back."
            else:
                said = await editor.answer("message")
                [newest] = other.result("checkpoint/list", {"threadId": "t", "limit": 1})["items"]
                assert f"{newest['id']} undoes this" in said
            assert shop.contents().keys() == {"a.txt"}
            assert (shop.folder / "a.txt").read_text() == "of the user\n"
            editor.tell("diff")
            shown = await editor.until("diff --git a/b.txt b/b.txt")
            assert "-of the user\n+the agent wrote this\ndiff --git a/b.txt b/b.txt" in shown
            assert await editor.quit() == 0


async def test_closing_an_editor_ends_its_daemon_and_its_agent(
    name: str, daemon: list[str], data_dir: Path, tmp_path: Path
) -> None:
    configure(data_dir)
    async with running(name, daemon, tmp_path) as editor:
        editor.tell("new", "First")
        assert await editor.until("[idle]") == "# First [idle]"
        editor.tell("new", "Second")
        assert await editor.until("# Second") == "# Second [idle]"
        editor.choose("agent", "scripted")
        await editor.until("# Second (scripted) [idle]")
        editor.tell("send", "Hello? script=stream")
        await editor.until("assistant> 1 2 3 ")
        agent = await editor.agents()
        [project] = (await editor.request("project/list"))["items"]
        assert project["path"] == str(tmp_path / "home")
        assert await editor.quit() == 0
        assert_gone(agent)
        assert nobody_has_it_open(data_dir)


async def test_a_killed_editor_leaves_no_daemon_no_agent_and_no_running_turn(
    name: str, daemon: list[str], data_dir: Path, tmp_path: Path
) -> None:
    await scenery(daemon, data_dir)
    async with running(name, daemon, tmp_path) as editor:
        await opened(editor)
        agent = await streaming(editor)
        editor.process.kill()
        await editor.ended()
        wait = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX)"
        await asyncio.to_thread(output_of, sys.executable, "-c", wait, str(data_dir / "present.lock"))
    await asyncio.to_thread(assert_end, agent)
    async with elsewhere(daemon, data_dir) as client:
        [last] = (await client.call("turn/list", {"threadId": "t", "limit": 1}))["items"]
        assert (last["status"], last["reason"]) == ("interrupted", "the daemon ended")


async def test_an_editor_reports_a_killed_daemon_and_starts_a_new_one(
    name: str, daemon: list[str], data_dir: Path, tmp_path: Path
) -> None:
    await scenery(daemon, data_dir)
    # Emacs notices that a child of its own was stopped, and sends it nothing.
    command = ["sh", "-c", '"$@"; exit $?', "sh", *daemon] if name == "emacs" else daemon
    async with running(name, command, tmp_path) as editor:
        await opened(editor)
        agent = await streaming(editor)
        pid = (await editor.request("daemon/status"))["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            editor.tell("request", {"method": "thread/list", "params": None})
            await editor.answer("sent")
        finally:
            os.kill(pid, signal.SIGKILL)
        assert await editor.answer("error") == TOLD_OF_A_KILL[name]
        assert "\n!! the daemon ended with " in await editor.until("!! ")
        await asyncio.to_thread(assert_end, agent)
        editor.choose("pick", "Retry [idle]")
        assert "# Retry (scripted) [idle]" in await editor.until("-- interrupted (the daemon that ran it is gone)")
        editor.tell("send", "And now? script=plain")
        assert "user> And now? script=plain\nassistant> Hello, world." in await editor.until("-- completed (end_turn)")
        [session] = (await editor.request("session/list", threadId="t", limit=1))["items"]
        assert session["how"] == "resume"
        assert await editor.quit() == 0


async def test_an_editor_reports_a_missing_daemon_program(name: str, tmp_path: Path) -> None:
    async with running(name, ["treadle-that-is-not-there", "serve"], tmp_path) as editor:
        editor.tell("pick", "none")
        assert "treadle-that-is-not-there" in await editor.answer("message")
        assert await editor.quit() == 0


async def test_an_editor_shows_why_a_data_directory_was_refused(
    name: str, daemon: list[str], data_dir: Path, tmp_path: Path
) -> None:
    data_dir.mkdir()
    (data_dir / FILE_NAME).write_bytes(b"no database " * 1000)
    async with running(name, daemon, tmp_path) as editor:
        editor.tell("pick", "none")
        assert "the file is not a database" in await editor.answer("message")
        assert await editor.quit() == 0


# Language clients


@needs("nvim")
async def test_the_neovim_language_client_attaches(daemon: list[str], data_dir: Path, tmp_path: Path) -> None:
    await scenery(daemon, data_dir)
    async with running("neovim", daemon, tmp_path) as editor:
        editor.tell("attach")
        answer = await editor.answer("attached")
        assert answer["attached"] is True
        assert [thread["id"] for thread in answer["result"]["items"]] == ["t"]
        assert (answer["refused"], answer["status"]) == ("invalidParams", 0)
        assert nobody_has_it_open(data_dir)


@needs("node")
@needs(str(TSC))
def test_the_vs_code_language_client_attaches_and_cancels_requests(daemon: list[str], data_dir: Path) -> None:
    said = json.loads(
        output_of("node", str(DRIVERS / "language_client.cjs"), env={"TREADLE_COMMAND": json.dumps(daemon)})
    )
    assert said["initialized"]["serverInfo"]["name"] == "treadle"
    assert said["threads"] == {"items": [], "nextCursor": None}
    assert (said["refused"]["code"], said["refused"]["data"]["kind"]) == (-32602, "invalidParams")
    assert (said["cancelled"]["code"], said["cancelled"]["data"]["kind"]) == (-32800, "cancelled")
    assert said["status"] == 0
    assert nobody_has_it_open(data_dir)


@needs("nvim")
async def test_neovim_shows_a_dialog_for_an_approval(daemon: list[str], data_dir: Path, tmp_path: Path) -> None:
    await scenery(daemon, data_dir)
    async with running("neovim", daemon, tmp_path) as editor:
        await opened(editor)
        editor.choose("agent", "scripted")
        await editor.until("# Retry (scripted) [idle]")
        editor.tell("stop")
        editor.tell("answer", "Reject")
        answer = await editor.answer("approved")
        assert answer["prompt"].startswith("rm -rf build (")
        assert answer["outcome"] == "reject"


@needs("nvim")
async def test_neovim_takes_the_name_of_an_agent(daemon: list[str], data_dir: Path, tmp_path: Path) -> None:
    await scenery(daemon, data_dir)
    async with running("neovim", daemon, tmp_path) as editor:
        await opened(editor)
        editor.tell("name_agent", "scripted")
        await editor.until("# Retry (scripted) [idle]")
        assert await editor.quit() == 0


@needs("node")
@needs(str(TSC))
def test_the_vs_code_language_client_shows_a_dialog_for_an_approval(daemon: list[str], data_dir: Path) -> None:
    configure(data_dir)
    command = json.dumps(daemon)
    said = json.loads(
        output_of("node", str(DRIVERS / "language_client.cjs"), "approvals", env={"TREADLE_COMMAND": command})
    )
    actions = [{"title": "Allow"}, {"title": "Reject"}]
    assert said["shown"] == [{"type": 3, "message": "rm -rf build (T)", "actions": actions}]
    assert said["outcome"] == "reject"


TRAPS = {
    "neovim": ("nvim", "--clean", "--headless", "-c", f"luafile {DRIVERS / 'traps.lua'}", "-c", "quitall!"),
    "emacs": ("emacs", "-Q", "--batch", "-l", str(DRIVERS / "traps.el")),
    "vscode": ("node", str(DRIVERS / "traps.cjs")),
}
FOUND = {
    "neovim": {"fast": True, "callback": False, "empty": True, "ended": True},
    "emacs": {"noticed": 0, "later": 2, "timeout": 10, "params": "(:null nil :false :json-false :object nil)"},
    "vscode": {"params": "invalidParams", "token": "invalidParams", "afterTheEnd": "none", "afterDispose": "rejected"},
}


def test_library_pitfalls_on_the_clients_page_are_real(name: str, data_dir: Path) -> None:
    daemon = [sys.executable, "-m", "treadle", "serve", "--data-dir", str(data_dir)]
    assert json.loads(output_of(*TRAPS[name], env={"TREADLE_COMMAND": json.dumps(daemon)})) == FOUND[name]


# Other examples


@needs("node")
@needs(str(TSC))
async def test_the_vs_code_example_follows_a_thread_in_a_terminal(
    compiled: None, daemon: list[str], data_dir: Path
) -> None:
    await scenery(daemon, data_dir)
    async with elsewhere(daemon, data_dir) as client:
        await dispatch(client, "AssignAgent", threadId="t", agent="scripted")
    cli = str(VSCODE / "out" / "cli.js")
    assert output_of("node", cli, "", *daemon) == "t  Retry\n"
    terminal = await asyncio.create_subprocess_exec(
        *("node", cli, "t", *daemon), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert terminal.stdin is not None
    assert terminal.stdout is not None
    shown = ""
    async with asyncio.timeout(PATIENCE):
        terminal.stdin.write(b"Go on\n")
        # The agent tells what it was sent: what was said before, too, because a client has recorded that.
        while not re.search(r"user> Go on\nassistant> You said: [^>]*Go on\n-- completed \(end_turn\)", shown):
            data = await terminal.stdout.read(1 << 16)
            assert data, shown
            shown += data.decode()
        terminal.stdin.write_eof()
        assert await terminal.wait() == 0
    assert shown.startswith(AT_FIRST.replace("Retry", "Retry (scripted)"))


@needs("emacs")
def test_the_emacs_package_compiles_without_a_warning(tmp_path: Path) -> None:
    for source in (CLIENTS / "emacs").glob("*.el"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    batch = ("emacs", "-Q", "--batch", "-L", str(tmp_path), "--eval", "(setq byte-compile-error-on-warn t)")
    output_of(*batch, "-f", "batch-byte-compile", *map(str, sorted(tmp_path.glob("*.el"))))
    assert len([*tmp_path.glob("*.elc")]) == 2
