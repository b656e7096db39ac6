"""Threads with the scripted agent: what they are asked, what the log says, what reached the agent."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripted import scripted
from wire import Daemon, kill, spawn

Json = dict[str, Any]


def configure(data_dir: Path, runner: Json | None = None, **agents: Json) -> None:
    """Add agents to agents.json; runner: how they are run."""
    data_dir.mkdir(exist_ok=True)
    file = data_dir / "agents.json"
    content = json.loads(file.read_text()) if file.exists() else {"agents": {}}
    content["agents"] |= agents
    if runner is not None:
        content["runner"] = runner
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(file)


class Runs:
    """A daemon and its log. events: all that it has said so far; each is as in the log, without its envelope."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder
        self.events: list[Json] = []
        daemon.initialize()
        asked = {"topic": "events", "afterSequence": 0}
        self._subscription = daemon.result("subscription/open", asked)["subscriptionId"]

    def thread(self, id: str, *words: str, agent: str | None = None, **env: str) -> "Thread":
        """A new thread in a project of its own, with a scripted agent of its own, which does what the words say.

        agent: the name of another one.
        """
        home = self.folder / id
        home.mkdir()
        files = {"SCRIPTED_LOG": "heard", "SCRIPTED_SESSIONS": "sessions", "PIDS": "pids"}
        variables = {name: str(home / file) for name, file in files.items()} | env
        if agent is None:
            configure(self.daemon.data_dir, **{id: scripted(*words, **variables)})
        self.daemon.dispatch("CreateProject", id=f"of-{id}", name=id, path=str(home))
        self.daemon.dispatch("CreateThread", threadId=id, projectId=f"of-{id}", title=id)
        self.daemon.dispatch("AssignAgent", threadId=id, agent=agent or id)
        return Thread(self, id)

    def finish(self) -> None:
        assert self.daemon.finish() == 0

    def terminate(self) -> None:
        self.daemon.process.terminate()
        self.daemon.status()

    def kill(self) -> None:
        kill(self.daemon)

    def more(self) -> None:
        """Wait until the log grows."""
        told = self.daemon.notification("event/appended", lambda p: p["subscriptionId"] == self._subscription)
        self.events += [stored["event"] for stored in told["events"]]


class Thread:
    """home: the folder of its project, and of what its agent writes."""

    def __init__(self, runs: Runs, id: str) -> None:
        self.runs, self.id, self.home = runs, id, runs.folder / id

    def dispatch(self, type: str, **fields: Any) -> Any:
        return self.runs.daemon.dispatch(type, threadId=self.id, **fields)

    def ask(self, text: str, **fields: Any) -> str:
        """Queue a prompt; return its id."""
        return str(self.dispatch("QueuePrompt", text=text, **fields)["events"][0]["event"]["id"])

    def said(self, type: str, **fields: Any) -> list[Json]:
        """The events of this type so far that have these members."""
        of_thread = (event for event in self.runs.events if event["type"] == type and event.get("threadId") == self.id)
        return [event for event in of_thread if all(event.get(name) == value for name, value in fields.items())]

    def until(self, type: str, count: int = 1, **fields: Any) -> Json:
        """Wait for so many events of this type with these members; return the last one of them."""
        while len(found := self.said(type, **fields)) < count:
            self.runs.more()
        return found[count - 1]

    def answer(self, text: str, **fields: Any) -> Json:
        """Ask, and wait for the end of the turn; return the turn."""
        prompt = self.ask(text, **fields)
        turn = self.until("TurnStarted", promptId=prompt)["id"]
        return self.end_of(turn)

    def end_of(self, turn: str) -> Json:
        """Wait for the end of a turn; return the turn."""
        ends = ("TurnCompleted", "TurnFailed", "TurnInterrupted")
        while not any(self.said(type, id=turn) for type in ends):
            self.runs.more()
        return next(one for one in self.read()["turns"] if one["id"] == turn)

    def cancel(self, turn: str) -> None:
        self.dispatch("InterruptTurn", id=turn, reason="I said so")

    def read(self) -> Json:
        """The thread as it is now, with up to 500 turns."""
        result: Json = self.runs.daemon.result("thread/read", {"threadId": self.id, "turnLimit": 500})
        return result

    def text_of(self, turn: str) -> str:
        """What the agent said in a turn."""
        messages = [one for one in self.read()["messages"] if one["turnId"] == turn and one["role"] == "assistant"]
        whole = (self.runs.daemon.result("message/read", {"threadId": self.id, "id": one["id"]}) for one in messages)
        return "".join(one["text"] for one in whole)

    def heard(self, method: str | None = None) -> list[Json]:
        """What reached the agent, over all its processes: the messages of a method, or all."""
        lines = (self.home / "heard").read_text().splitlines() if (self.home / "heard").exists() else []
        return [one for one in map(json.loads, lines) if method in (None, one.get("method"))]

    def pids(self) -> str:
        """The ids of the processes of the script `children`."""
        return (self.home / "pids").read_text()


@contextmanager
def running(folder: Path, *arguments: str, runner: Json | None = None, **options: Any) -> Iterator[Runs]:
    """A daemon that runs agents; its end is checked. runner: of agents.json. options: of spawn."""
    configure(folder / "data", runner)
    env = {"XDG_CONFIG_HOME": str(folder / "config"), "PATH": os.environ["PATH"]}
    with spawn(folder / "data", *arguments, env=env, **options) as daemon:
        yield Runs(daemon, folder)
