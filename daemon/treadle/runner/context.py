"""What the parts of a runner share: what all runners of a daemon have in common, and what is known of one thread."""

import asyncio
import signal
from collections.abc import Callable

import msgspec
from msgspec import Struct, field

from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig, RunnerConfig
from treadle.agents.connection import AgentFailed
from treadle.agents.mapper import AgentSession
from treadle.agents.orphans import Records
from treadle.agents.process import AgentProcess
from treadle.agents.session import OpenedSession
from treadle.agents.shapes import Agent, Json
from treadle.contract.results import BatchDispatched
from treadle.core.access import Read
from treadle.domain.entities import Rule
from treadle.domain.errors import Rejected
from treadle.runner import signals as s
from treadle.runner.earlier import EarlierSession, earlier_session
from treadle.runner.machine import RunnerState
from treadle.runner.places import Places
from treadle.runner.views import view_of
from treadle.store.ports import Reads
from treadle.store.records import ThreadWork
from treadle.workspace.checkpoints import Checkpoints
from treadle.workspace.git import GitError
from treadle.workspace.thread_folders import ThreadFolders

KILLED = (-signal.SIGKILL, -signal.SIGTERM)
Item = s.Input | AgentMessage | Callable[[], None]
"""What comes into the inbox of a runner."""


class Shared(Struct):
    """What the runners of a daemon have in common.

    submit: gives commands to the engine. read: runs a function of Reads. config_of: the configuration of an agent;
    raises AgentFailed. settings: the section `runner` of agents.json, as it is now. records: of processes. checkpoints:
    of all threads. folders: that agents work in. rules: those that hold, kept up to date. look: reads the log again
    soon.
    """

    submit: Callable[..., "asyncio.Future[BatchDispatched]"]
    read: Read
    config_of: Callable[[str], AgentConfig]
    settings: Callable[[], RunnerConfig]
    records: Records
    places: Places
    checkpoints: Checkpoints
    folders: ThreadFolders
    look: Callable[[], None]
    rules: list[Rule] = []


class Context(Struct, eq=False):
    """What is known of one thread and its agent.

    put: into the inbox. state: of the machine; only ThreadRunner changes it. work: what the log said last. process:
    that of the agent, until it is being ended. agent: what it said of itself. config: how it was started. folder: that
    it works in. session: the open one; session_id: its id in the log. mapper: of what is said in it. preface: what goes
    before the next prompt.
    """

    thread_id: str
    shared: Shared
    put: Callable[[Item], None]
    state: RunnerState = RunnerState()
    work: ThreadWork | None = None
    process: AgentProcess | None = None
    agent: Agent = field(default_factory=Agent)
    config: AgentConfig | None = None
    folder: str = ""
    session: OpenedSession | None = None
    session_id: str = ""
    mapper: AgentSession | None = None
    preface: list[Json] = field(default_factory=list)

    @property
    def project_id(self) -> str:
        """The project of the thread."""
        return "" if self.work is None else self.work.project_id

    def view(self, work: ThreadWork | None, sequence: int, claimed: bool) -> s.View:
        """What the log says, as the machine wants to know it."""
        config = None
        if work is not None and work.agent is not None:
            try:
                config = self.shared.config_of(work.agent.name)
            except AgentFailed:  # said when the agent is started
                config = self.config
        return view_of(work, sequence, claimed, config)

    async def look(self) -> s.View:
        """What the log says now."""

        def read(reads: Reads) -> tuple[list[ThreadWork], int]:
            return reads.work([self.thread_id]), reads.sequence()

        found, sequence = await self.shared.read(read)
        self.work = found[0] if found else self.work
        return self.view(found[0] if found else None, sequence, self.state.view.claimed)

    async def find_folder(self, work: ThreadWork) -> None:
        """Find the folder that the agent is to work in. A worktree is made if it is not there. Raises AgentFailed."""
        try:
            folder = work.project
            worktree = None if work.worktree is None else await self.shared.folders.ready(self.thread_id)
        except Rejected as error:
            raise AgentFailed(str(error)) from None
        except GitError as error:
            raise AgentFailed(f"there is no worktree for it: {error}") from None
        self.folder = folder if worktree is None else str(worktree.folder)

    async def earlier(self, work: ThreadWork, config: AgentConfig) -> EarlierSession | None:
        """The session that the agent continues, if there is one."""
        found: EarlierSession | None = await self.shared.read(lambda reads: earlier_session(reads, work, config))
        return found

    async def blocks(self, prompt_id: str) -> list[Json]:
        """The content of a queued prompt; nothing if it is gone, which the log will say."""
        found = await self.shared.read(lambda reads: reads.entities("prompt", self.thread_id, [prompt_id]))
        if prompt_id not in found:
            return []
        prompt = msgspec.json.decode(found[prompt_id])
        content: list[Json] | None = prompt["content"]
        return content if content is not None else [{"type": "text", "text": prompt["text"]}]

    def explained(self, reason: str) -> str:
        """The reason, with the last line that the agent wrote to stderr. An agent that was killed did not know why."""
        process = self.process
        if process is None or process.status in KILLED or not process.stderr:
            return reason
        return f"{reason}: {process.stderr[-1][:500]}"
