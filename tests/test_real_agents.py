"""Real agents run in a daemon: prompts, approvals, cancels and kills, with a scripted model and without a network."""

import json
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import model_server
import wire
from real_agents import FOREIGN, PACKAGES, RealAgent, needs_real_agents, real_agent

pytestmark = needs_real_agents

Json = dict[str, Any]
MARK = "TREADLE_TEST_AGENT"
"""A variable by which the processes of an agent are found."""
ENDS = ("TurnCompleted", "TurnFailed", "TurnInterrupted")


HISTORIES = {"claude": ".claude", "codex": ".codex", "opencode": ".local/share/opencode"}
"""Where an agent keeps its sessions, in its home."""


class Conversation:
    """A client of a daemon, in one thread with an agent. events: in order, since it was opened."""

    def __init__(self, daemon: wire.Daemon, thread: str = "t") -> None:
        self.daemon, self.id = daemon, thread
        self.events: list[Json] = []
        self._waited = 0  # for events before this one
        daemon.initialize()
        daemon.result("subscription/open", {"topic": "events"})

    def dispatch(self, type: str, **fields: Any) -> None:
        self.daemon.dispatch(type, threadId=self.id, **fields)

    def queue(self, text: str) -> None:
        self.dispatch("QueuePrompt", text=text)

    def prompt(self, text: str) -> Json:
        """Queue a prompt; return the end of its turn."""
        self.queue(text)
        return self.until(*ENDS)

    def until(self, *types: str, fits: Callable[[Json], bool] = lambda event: True) -> Json:
        """The next event of one of these types that fits."""
        while True:
            for index in range(self._waited, len(self.events)):
                event = self.events[index]
                if event["type"] in types and fits(event):
                    self._waited = index + 1
                    return event
            self._waited = len(self.events)
            self.events += [stored["event"] for stored in self.daemon.notification("event/appended")["events"]]

    def says(self, word: str) -> None:
        """Wait until the agent says a word."""
        self.until("MessageAdded", "MessageAppended", fits=lambda event: word in event["text"])

    def answer(self, kind: str) -> None:
        """Wait until the agent asks, and choose its option of that kind."""
        asked = self.until("ApprovalRequested")
        chosen = next(option["id"] for option in asked["options"] if option["kind"] == kind)
        self.dispatch("ResolveApproval", id=asked["id"], outcome=chosen)

    def texts(self, role: str) -> list[str]:
        """The messages of the thread."""
        return [one["text"] for one in self.thread()["messages"] if one["role"] == role]

    def thread(self) -> Json:
        thread: Json = self.daemon.result("thread/read", {"threadId": self.id})
        return thread


class Place:
    """A data directory in which an agent is configured, with a thread, and the workspace of the thread."""

    def __init__(self, folder: Path, agent: RealAgent) -> None:
        self.agent, self.workspace = agent, folder / "workspace"
        self.workspace.mkdir()
        self.move_to(folder / "data")

    def move_to(self, data_dir: Path) -> None:
        """Go on in a new data directory."""
        self.data_dir = data_dir
        data_dir.mkdir()
        config = self.agent.config
        told = {"command": config.command, "args": config.args, "env": config.env}
        (data_dir / "agents.json").write_text(json.dumps({"agents": {self.agent.name: told}}))

    @contextmanager
    def first_conversation(self) -> Iterator[Conversation]:
        """Of a daemon on the new thread."""
        with self.conversation() as client:
            client.daemon.dispatch("CreateProject", id="p", name="p", path=str(self.workspace))
            client.dispatch("CreateThread", projectId="p", title="t")
            client.dispatch("AssignAgent", agent=self.agent.name)
            yield client

    @contextmanager
    def conversation(self, thread: str = "t") -> Iterator[Conversation]:
        """Of a daemon that ends with the block, and its agent with it."""
        with wire.spawn(self.data_dir) as daemon:
            yield Conversation(daemon, thread)
        self.is_left_alone()

    def imports(self) -> Json:
        """Import what the agent itself has stored; the report."""
        home = Path(self.agent.config.env["HOME"])
        done = self.treadle("import", self.agent.name, str(home / HISTORIES[self.agent.name]), "--json")
        report: Json = json.loads(done)
        assert (report["failed"], report["rejected"]) == ([], {})
        return report

    def treadle(self, *arguments: str) -> str:
        """What a command prints."""
        done = wire.run(*arguments, "--data-dir", str(self.data_dir))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes(self) -> list[int]:
        """The processes that are left of the agent and its tools."""
        mark = f"{MARK}={self.agent.config.env[MARK]}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:  # it has ended meanwhile, or is not ours
                continue
        return found

    def is_left_alone(self) -> None:
        """Wait until no process of the agent is left."""
        while processes := self.processes():
            try:
                descriptor = os.pidfd_open(processes[0])
            except ProcessLookupError:
                continue
            with os.fdopen(descriptor, "rb"):
                ready, _, _ = select.select([descriptor], [], [], wire.PATIENCE)
                assert ready, f"{processes} are left"

    def pid(self) -> int:
        """The process of the agent itself, as the daemon has recorded it."""
        [record] = (self.data_dir / "agents").glob("*.json")
        return int(json.loads(record.read_bytes())["pid"])


@contextmanager
def running_tool(client: Conversation, place: Place) -> Iterator[None]:
    """Let the agent run a tool that does not end, as far as it can."""
    os.mkfifo(place.workspace / model_server.STARTED)
    started = os.open(place.workspace / model_server.STARTED, os.O_RDONLY | os.O_NONBLOCK)
    try:
        client.queue("script=sleep")
        client.answer("allow_once")
        assert select.select([started], [], [], wire.PATIENCE)[0]
        assert int(os.read(started, 100)) in place.processes()
        yield
    finally:
        os.close(started)
        (place.workspace / model_server.STARTED).unlink()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What has reached the model."""
    return tmp_path / "model.log"


QUICK = sorted({*PACKAGES} - {"opencode"})
"""Agents that start within a second of a processor: opencode takes eight, and is in the tests that differ by agent."""


@pytest.fixture(params=PACKAGES)
def place(
    request: pytest.FixtureRequest, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A place for each of the agents, which has a home of its own."""
    for variable in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(variable)
    with model_server.serving(log) as model:
        yield Place(tmp_path, real_agent(request.param, tmp_path / "home", model, {MARK: str(tmp_path)}))


def content(thread: Json) -> list[Json]:
    return [thread[kind] for kind in ("turns", "messages", "activities", "approvals")]


def prompts(log: Path) -> list[str]:
    return [asked.prompt for asked in model_server.asked(log)]


@pytest.mark.parametrize("place", QUICK, indirect=True)
def test_queued_prompts_are_sent_one_a_turn_and_each_reaches_the_model_once(place: Place, log: Path) -> None:
    texts = ["script=hello", "script=many", "script=hello again"]
    with place.first_conversation() as client:
        for text in texts:
            client.queue(text)
        opened = client.until("SessionOpened")
        assert (opened["how"], opened["release"]) == ("new", place.agent.version)
        assert {"mode", "model"} <= {option["id"] for option in opened["options"]}
        assert [client.until(*ENDS)["stopReason"] for _ in texts] == ["end_turn"] * 3
        thread = client.thread()
        assert client.texts("user") == texts
        # Codex says its warnings in messages of its own.
        said = [text for text in client.texts("assistant") if not text.startswith("Warning: ")]
        assert said == ["Hello.", model_server.MANY, "Hello."]
    assert prompts(log) == texts
    assert all(turn["promptId"] for turn in thread["turns"])
    assert [turn["spent"]["tokens"] for turn in thread["turns"]] == [15, 15, 15]
    usage = thread["threads"][0]["usage"]
    assert usage["tokens"] == 45
    assert (usage["currency"] == "USD" and usage["cost"] > 0) is (place.agent.name == "claude")


def test_a_tool_does_nothing_until_it_is_allowed(place: Place) -> None:
    written, edited = place.workspace / model_server.WRITTEN, place.workspace / "greeting.txt"
    edited.write_text("hello\n")
    with place.first_conversation() as client:
        client.queue("script=tool")
        client.queue(f"script=edit file={edited}")
        client.answer("reject_once")
        refused = client.until(*ENDS)
        assert not written.exists()
        if place.agent.name == "codex":  # it ends the turn, so what was queued waits
            assert (refused["type"], refused["reason"]) == ("TurnInterrupted", "the agent cancelled it")
            assert client.until("QueuePaused")["reason"] == "the turn was interrupted"
            client.dispatch("ResumeQueue")
        else:
            assert refused["type"] == "TurnCompleted"
        client.answer("allow_once")
        assert client.until(*ENDS)["type"] == "TurnCompleted"
        assert edited.read_text() == "hello, world\n"
        assert not written.exists()
        client.queue("script=tool")
        client.answer("allow_once")
        assert client.until(*ENDS)["type"] == "TurnCompleted"
        assert written.read_text() == "from the tool\n"
        assert client.texts("assistant")[-1] == model_server.DONE


@pytest.mark.parametrize("place", QUICK, indirect=True)
def test_a_turn_is_cancelled_in_the_middle_of_its_answer_and_the_next_prompt_is_answered(
    place: Place, log: Path
) -> None:
    with place.first_conversation() as client:
        client.queue("script=slow")
        turn = client.until("TurnStarted")["id"]
        client.says("word3 ")
        client.dispatch("InterruptTurn", id=turn, by="ada")
        ended = client.until(*ENDS)
        assert (ended["type"], ended["by"], ended["confirmed"]) == ("TurnInterrupted", "ada", True)
        assert client.prompt("script=hello")["stopReason"] == "end_turn"
        assert [event["type"] for event in client.events].count("SessionOpened") == 1
        assert "word1199" not in "".join(client.texts("assistant"))
    assert prompts(log) == ["script=slow", "script=hello"]


@pytest.mark.parametrize("place", QUICK, indirect=True)
def test_a_killed_agent_fails_its_turn_and_a_new_process_resumes_its_session(place: Place, log: Path) -> None:
    with place.first_conversation() as client:
        client.prompt("script=hello one")
        client.queue("script=slow")
        client.queue("script=hello two")
        client.says("word3 ")
        killed = place.pid()
        os.kill(killed, signal.SIGKILL)
        failed = client.until(*ENDS)
        assert (failed["type"], failed["error"]) == ("TurnFailed", "the agent was ended by SIGKILL")
        assert client.until("QueuePaused")["reason"] == "the turn failed"
        ended = client.until("SessionEnded")
        assert (ended["reason"], ended["exitStatus"]) == ("the agent was ended by SIGKILL", -signal.SIGKILL)
        client.dispatch("ResumeQueue")
        assert client.until("SessionOpened")["how"] == "resume"
        assert place.pid() != killed
        assert client.until(*ENDS)["stopReason"] == "end_turn"
    assert prompts(log) == ["script=hello one", "script=slow", "script=hello two"]
    assert model_server.asked(log)[-1].earlier == ["script=hello one", "script=slow"]


def test_a_daemon_leaves_no_process_of_its_agent_killed_or_not_and_the_next_one_resumes_the_session(
    place: Place, log: Path
) -> None:
    with place.first_conversation() as client:
        client.prompt("script=hello one")
        with running_tool(client, place):
            wire.kill(client.daemon)
            place.is_left_alone()
    with place.conversation() as client:
        turn = client.thread()["turns"][-1]
        assert (turn["status"], turn["reason"]) == ("interrupted", "the daemon that ran it is gone")
        client.queue("script=hello two")
        assert client.until("SessionOpened")["how"] == "resume"
        assert client.until(*ENDS)["stopReason"] == "end_turn"
        assert prompts(log) == ["script=hello one", "script=sleep", "script=hello two"]
        assert model_server.asked(log)[-1].earlier == ["script=hello one", "script=sleep"]
        with running_tool(client, place):
            assert client.daemon.finish() == 0
            place.is_left_alone()


def test_a_session_of_the_tool_is_imported_continued_in_its_agent_and_imported_again_with_nothing_twice(
    place: Place, log: Path, tmp_path: Path
) -> None:
    with place.first_conversation() as client:
        client.queue("script=hello one")
        session = client.until("SessionOpened")["sessionId"]
        client.until(*ENDS)
        client.prompt("script=many two")
    place.move_to(tmp_path / "new")
    place.imports()
    thread = json.loads(place.treadle("threads", "--json"))
    assert thread["origin"]["sessionId"] == session
    with place.conversation(thread["id"]) as client:
        assert client.texts("user") == ["script=hello one", "script=many two"]
        client.dispatch("AssignAgent", agent=place.agent.name)
        client.queue("script=hello three")
        opened = client.until("SessionOpened")
        assert (opened["how"] in ("resume", "load"), opened["sessionId"]) == (True, session)
        assert client.until(*ENDS)["stopReason"] == "end_turn"
        stored = content(client.thread())
    assert model_server.asked(log)[-1].earlier == ["script=hello one", "script=many two"]
    command = {"claude": "claude --resume", "codex": "codex resume", "opencode": "opencode --session"}[place.agent.name]
    assert f"{command} {session}" in place.treadle("show", thread["id"])
    assert place.imports()["events"] == 0
    (place.data_dir / "imports.json").unlink()  # so that all is read
    assert place.imports()["events"] == 0
    with place.conversation(thread["id"]) as client:
        assert content(client.thread()) == stored
        assert client.texts("user") == ["script=hello one", "script=many two", "script=hello three"]


@pytest.mark.parametrize("place", QUICK, indirect=True)
def test_a_session_that_treadle_ran_is_not_imported(place: Place) -> None:
    with place.first_conversation() as client:
        client.prompt("script=hello one")
    report = place.imports()
    assert report["events"] == 0
    assert report["skipped"]["a session that treadle ran or recorded itself"] == 1
