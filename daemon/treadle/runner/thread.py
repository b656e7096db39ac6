"""The runner of one thread: its agent's process, and what both sides say, as commands and messages.

The machine decides what happens next; this does it. Everything that comes (views of the log, messages of the agent,
results) goes through one inbox, in order, so that an answer cannot overtake what was said before it.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from treadle.agents.activities import LASTING, Ids
from treadle.agents.codec import AgentMessage
from treadle.agents.config import AgentConfig, RunnerConfig
from treadle.agents.connection import AgentFailed, AgentRefused
from treadle.agents.mapper import ELICITATION_OPTIONS, METHODS, AgentSession, PromptMessage
from treadle.agents.orphans import Records
from treadle.agents.process import AgentProcess
from treadle.agents.rules import Asked as AskedOfRules
from treadle.agents.rules import answer as answer_by_rule
from treadle.agents.runaway import Runaway
from treadle.agents.session import (
    AUTH_REQUIRED,
    STEERING,
    OpenedSession,
    can_steer,
    choose,
    elicitation_answer,
    initialize,
    note_update,
    open_session,
    permission_answer,
    ways_of,
)
from treadle.agents.shapes import Agent, Json, as_object, as_text, kind_of, text_of, update_of
from treadle.agents.tool_calls import paths_of
from treadle.contract.errors import METHOD_NOT_FOUND
from treadle.contract.results import AgentPhase, BatchDispatched
from treadle.core.engine import Overloaded, now
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain.entities import Rule
from treadle.domain.errors import Rejected
from treadle.runner import signals as s
from treadle.runner.automatic import Automatic, restored_files
from treadle.runner.machine import RunnerState, step
from treadle.runner.messages import as_json
from treadle.runner.places import Places
from treadle.runner.transcripts import transcript_of
from treadle.runner.usage import TurnUsage
from treadle.runner.views import view_of
from treadle.store.errors import StorageError
from treadle.store.ids import new_id
from treadle.store.ports import Reads, ThreadWork
from treadle.workspace.checkpoints import Checkpoints
from treadle.workspace.git import GitError
from treadle.workspace.worktree_places import WorktreePlaces

log = logging.getLogger(__name__)

START = 60.0  # seconds that an agent may be silent before it answers `initialize`
STEER = 15.0  # seconds to answer a prompt that goes into a turn
QUIET = 5.0  # seconds without a word, after which the agent is done with what it did by itself
RETRY = 1.0  # seconds until something is recorded again that the disk or another process did not allow
FAREWELL = 2.0  # seconds that the end of the daemon waits for an agent; its reaper waits longer
MAX_UNSAVED = 1_000  # commands that wait for the disk, at which the agent has to wait
KILLED = (-signal.SIGKILL, -signal.SIGTERM)
QUIET_KINDS = LASTING | {"usage_update"}
"""Updates that need no turn: they wait for the next one."""


class Shared(Struct):
    """What the runners of a daemon have in common.

    submit: gives commands to the engine. read: runs a function of Reads. config_of: the configuration of an agent;
    raises AgentFailed. settings: the section `runner` of agents.json. records: of processes. checkpoints: of all
    threads. folders: that agents work in. rules: those that hold, kept up to date. look: reads the log again soon.
    """

    submit: Callable[..., "asyncio.Future[BatchDispatched]"]
    read: Callable[[Callable[[Reads], Any]], "asyncio.Future[Any]"]
    config_of: Callable[[str], AgentConfig]
    settings: RunnerConfig
    records: Records
    places: Places
    checkpoints: Checkpoints
    folders: WorktreePlaces
    look: Callable[[], None]
    rules: list[Rule] = []


class _Question(Struct, frozen=True):
    """A request of the agent that waits for an approval. raw_id: its id, exactly as it came."""

    raw_id: Raw
    request: Json


class _Recorded(NamedTuple):
    """What became of commands. sequence: of the log then."""

    sequence: int
    accepted: bool


class ThreadRunner:
    """Runs the agent of one thread."""

    def __init__(self, thread_id: str, shared: Shared) -> None:
        self.thread_id = thread_id
        self._shared = shared
        self._state = RunnerState()
        self._work: ThreadWork | None = None
        self._inbox: asyncio.Queue[s.Input | AgentMessage | Callable[[], None]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._talks: set[asyncio.Task[None]] = set()  # those of them that wait for the agent
        self._timers: dict[s.Timer, asyncio.TimerHandle] = {}
        self._process: AgentProcess | None = None
        self._agent = Agent()
        self._config: AgentConfig | None = None
        self._folder = ""  # that the agent works in
        self._session: OpenedSession | None = None
        self._session_id = ""
        self._mapper: AgentSession | None = None
        self._loading = False
        self._changes: list[Json] = []  # of options, while a session opens; its answer says what was changed before
        self._preface: list[Json] = []
        self._prompt: list[Json] = []
        self._answer: Json = {}
        self._questions: dict[str, _Question] = {}
        self._usage, self._runaway, self._over_budget = TurnUsage(), Runaway(), False
        self._minutes: asyncio.TimerHandle | None = None
        self._unsaved = 0
        self._automatic = Automatic(thread_id, shared.checkpoints, shared.read)
        self._gone = asyncio.Event()
        self._main = asyncio.create_task(self._run(), name=f"agent of {thread_id}")

    # What the supervisor says and asks

    def see(self, work: ThreadWork | None, sequence: int, claimed: bool) -> None:
        """The log says this of the thread."""
        self._work = work or self._work
        self._put(s.Viewed(self._view(work, sequence, claimed)))

    def want(self) -> None:
        """A prompt is likely to come."""
        self._put(s.Wanted())

    @property
    def is_idle(self) -> bool:
        """Whether there is no process, and none is about to start."""
        return self._state.phase == "absent" and self._inbox.empty() and not self._tasks

    @property
    def phase(self) -> AgentPhase:
        """What it does now: see machine.Phase; `waiting` while other agents have all the places."""
        return "waiting" if self._shared.places.is_waiting(self.thread_id) else self._state.phase

    @property
    def pid(self) -> int | None:
        """The id of the process, if there is one."""
        return None if self._process is None else self._process.pid

    @property
    def agent(self) -> str:
        """The name of the agent."""
        return self._state.agent

    async def close(self) -> None:
        """End the process. What is left of it after a moment is ended without this daemon."""
        self._put(s.Closing())
        if self._state.phase in ("starting", "opening", "applying"):
            for task in self._talks:
                task.cancel()
            self._task(self._end_process())
        if self._state.phase != "absent":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await self._gone.wait()
        for task in (self._main, *self._tasks):
            task.cancel()
        await asyncio.gather(self._main, *self._tasks, return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()

    # The inbox

    def _put(self, item: s.Input | AgentMessage | Callable[[], None]) -> None:
        self._inbox.put_nowait(item)

    async def _run(self) -> None:
        while True:
            item = await self._inbox.get()
            try:
                if isinstance(item, AgentMessage):
                    self._hear(item)
                elif callable(item):
                    item()
                else:
                    self._step(item)
            except Exception:
                log.exception("the runner of thread %s failed", self.thread_id)
                self._put(s.Exited("treadle failed: see its log"))

    def _step(self, input: s.Input) -> None:
        before = self._state.phase
        self._state, outputs = step(self._state, input)
        for output in outputs:
            _DO[type(output)](self, output)
        if self._state.phase != before and self._state.phase in ("started", "ready"):
            self._shared.places.now_idle(self.thread_id)

    def _leave(self) -> bool:
        """Another thread waits for the place."""
        if self._state.phase in ("started", "ready") and self._state.view.next is None:
            self._put(s.Leave())
            return True
        return False

    def _talk(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._task(coroutine)
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the runner of thread %s failed", self.thread_id, exc_info=error)
            self._put(s.Exited("treadle failed: see its log"))

    def _view(self, work: ThreadWork | None, sequence: int, claimed: bool) -> s.View:
        config = None
        if work is not None and work.agent is not None:
            try:
                config = self._shared.config_of(work.agent.name)
            except AgentFailed:  # said when the agent is started
                config = self._config
        return view_of(work, sequence, claimed, config)

    @property
    def _project_id(self) -> str:
        return "" if self._work is None else self._work.project_id

    # Recording

    def _record(self, *commands: c.Command) -> None:
        """Record these together."""
        submitted = self._submit(*commands)

        async def wait() -> None:
            self._put(s.Recorded((await self._recorded(submitted, *commands)).sequence))

        self._task(wait())

    def _submit(self, *commands: c.Command) -> "asyncio.Future[BatchDispatched]":
        self._unsaved += 1
        if self._unsaved == MAX_UNSAVED and self._process is not None:
            self._process.pause()
        try:
            future = self._shared.submit(list(commands), atomic=len(commands) > 1)
        except Overloaded as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        future.add_done_callback(self._saved)
        return future

    def _saved(self, future: "asyncio.Future[BatchDispatched]") -> None:
        self._unsaved -= 1
        if self._unsaved == MAX_UNSAVED // 2 and self._process is not None:
            self._process.resume()

    async def _recorded(self, submitted: "asyncio.Future[BatchDispatched]", *commands: c.Command) -> "_Recorded":
        """What became of these. Tries until the disk lets it."""
        while True:
            try:
                return _Recorded((await submitted).sequence, True)
            except Rejected as error:
                log.debug("not recorded: %s", error)
                return _Recorded(await self._shared.read(lambda reads: reads.sequence()), False)
            except (StorageError, Overloaded) as error:
                log.warning("failed to record what the agent of thread %s did, will retry: %s", self.thread_id, error)
                await asyncio.sleep(RETRY)
                submitted = self._submit(*commands)

    def _tell(self, command: c.Command) -> None:
        """Record what the agent says. If that is impossible the agent is ended: nothing runs unrecorded."""
        if isinstance(command, c.RequestApproval):
            self._ask(command)
            return
        self._submit(command).add_done_callback(self._told)

    def _told(self, future: "asyncio.Future[BatchDispatched]") -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Rejected):  # the turn has ended meanwhile
            log.debug("not recorded: %s", error)
        elif error is not None:
            self._put(s.Exited(f"what it does cannot be recorded: {error}"))

    # The process

    def _start(self, output: s.Start) -> None:
        self._talk(self._start_agent(output.agent))

    async def _start_agent(self, name: str) -> None:
        work = self._work
        assert work is not None
        await self._shared.places.take(self.thread_id, self._leave)
        try:
            self._config = self._shared.config_of(name)
            folder = await self._folder_of(work)
            process = self._process = await AgentProcess.start(
                self._config,
                lambda _, message: self._put(message),
                ended=lambda reason: self._put(s.Exited(self._explained(reason))),
                cwd=Path(folder),
                records=self._shared.records,
            )
            self._agent = await initialize(process.connection, START)
            earlier = await self._earlier(work)
        except (AgentFailed, GitError, Rejected, StorageError, Overloaded, OSError) as error:
            log.warning("agent %s could not be started: %s", name, error)
            self._put(s.StartFailed(self._explained(f"agent {name!r} could not be started: {error}")))
        else:
            is_fork = work.session is None and work.fork_of is not None
            self._put(s.Started(ways_of(self._agent, earlier is not None, is_fork), can_steer(self._agent)))

    async def _folder_of(self, work: ThreadWork) -> str:
        """The folder that the agent is to work in. A worktree is made if it is not there."""
        if work.worktree is None:
            return work.path
        try:
            return str((await self._shared.folders.ready(self.thread_id)).folder)
        except GitError as error:
            raise AgentFailed(f"there is no worktree for it: {error}") from None

    def _explained(self, reason: str) -> str:
        """The reason, with the last line that the agent wrote to stderr. An agent that was killed did not know why."""
        process = self._process
        if process is None or process.status in KILLED or not process.stderr:
            return reason
        return f"{reason}: {process.stderr[-1][:500]}"

    async def _earlier(self, work: ThreadWork) -> str | None:
        """The agent's id of the session to continue, if there is one."""
        if work.session is not None:
            return work.session.session_id if work.agent and work.session.agent == work.agent.name else None
        if work.fork_of is None or work.fork_of.turn_id is not None:
            return None
        source = await self._shared.read(lambda reads: reads.work([str(work.fork_of and work.fork_of.thread_id)]))
        session = source[0].session if source else None
        return session.session_id if session and work.agent and session.agent == work.agent.name else None

    def _end(self, _: s.End) -> None:
        self._task(self._end_process())

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if self._minutes is not None:
            self._minutes.cancel()
        if process is not None:
            await process.end()
        await asyncio.gather(*self._talks, return_exceptions=True)  # they fail now that nobody answers
        self._shared.places.release(self.thread_id)
        self._session, self._mapper, self._questions = None, None, {}
        self._put(s.Gone())
        self._gone.set()

    # The session

    def _open(self, output: s.OpenWith) -> None:
        self._talk(self._open_session(output))

    async def _open_session(self, output: s.OpenWith) -> None:
        process, work, config = self._process, self._work, self._config
        assert process is not None
        assert work is not None
        assert config is not None
        self._session_id = new_id()

        def answered() -> None:
            self._put(self._changes.clear)

        self._mapper = AgentSession(self._agent, self.thread_id, Ids(f".{self._session_id[-8:]}"))
        try:
            earlier = await self._earlier(work)
            self._folder = await self._folder_of(work)  # the project may have been moved
            self._loading = output.how != "new"  # some agents repeat what was said on resuming, too
            session = await open_session(process.connection, config, output.how, self._folder, earlier, answered)
            self._loading = False
            self._note_changes(session)
            try:
                await choose(process.connection, session, dict(output.options))
                self._note_changes(session)
            except AgentFailed as error:
                self._put(s.OpenFailed(str(error)))
                return
        except AgentRefused as error:
            if error.code == AUTH_REQUIRED:
                sequence = await self._require_auth(str(error))
                self._put(s.OpenFailed(str(error), silent=True, sequence=sequence))
            else:
                self._put(s.OpenFailed(self._explained(str(error)), again=True))
            return
        except AgentFailed as error:
            self._put(s.OpenFailed(self._explained(str(error)), again=True))
            return
        finally:
            self._loading = False
        self._session = session
        continues = output.how in ("resume", "load") and work.usage is not None
        self._usage = TurnUsage(total=(work.usage.cost or 0.0) if continues and work.usage else 0.0)
        lost = output.lost
        if output.how == "new" and work.session is not None and lost is None:
            lost = "the agent cannot continue a session"
        if output.how == "new" and work.fork_of is not None and work.session is None:
            fork = work.fork_of
            text = await self._shared.read(lambda reads: transcript_of(reads, fork.thread_id, fork.turn_id))
            self._preface, lost = [_resource(fork.thread_id, text, self._agent)], None
        opened = ac.OpenSession(
            thread_id=self.thread_id,
            id=self._session_id,
            agent=self._state.agent,
            release=self._agent.release,
            session_id=session.id[:1024],
            how=output.how,
            capabilities=self._agent.capabilities,
            options=[dict(option) for option in session.options],
        )
        commands: list[c.Command] = [opened]
        if lost is not None:
            commands.append(ac.LoseContext(thread_id=self.thread_id, id=self._session_id, reason=lost))
        sequence, accepted = await self._recorded(self._submit(*commands), *commands)
        if accepted:
            self._put(s.SessionReady(output.options, sequence))
        else:
            self._put(s.OpenFailed("the thread has a session elsewhere", silent=True, sequence=sequence))

    def _note_changes(self, session: OpenedSession) -> None:
        for update in self._changes:
            note_update(session, update)
        self._changes.clear()

    async def _require_auth(self, reason: str) -> int:
        command = ac.RequireAuth(
            thread_id=self.thread_id, agent=self._state.agent, reason=reason, methods=list(self._agent.auth_methods)
        )
        return (await self._recorded(self._submit(command), command)).sequence

    def _apply(self, output: s.Apply) -> None:
        self._talk(self._apply_options(output.options))

    async def _apply_options(self, options: s.Options) -> None:
        assert self._process is not None
        assert self._session is not None
        try:
            await choose(self._process.connection, self._session, dict(options))
        except AgentFailed as error:
            self._put(s.Applied(options, str(error)))
        else:
            self._note_options()
            self._put(s.Applied(options))

    def _note_options(self) -> None:
        if self._session is not None:
            options = [dict(option) for option in self._session.options]
            self._tell(ac.ChangeSession(thread_id=self.thread_id, id=self._session_id, options=options))

    def _end_session(self, output: s.CloseSession) -> None:
        status, stderr = (None, []) if self._process is None else (self._process.status, self._process.stderr)
        self._record(
            ac.EndSession(
                thread_id=self.thread_id,
                id=self._session_id,
                reason=output.reason,
                exit_status=status,
                stderr="\n".join(stderr) or None,
            )
        )

    # Turns

    def _begin(self, output: s.Begin) -> None:
        self._task(self._begin_turn(output.prompt))

    async def _begin_turn(self, prompt_id: str | None) -> None:
        mapper = self._mapper
        assert mapper is not None
        await self._automatic.finished()
        blocks = self._prompt = [] if prompt_id is None else await self._blocks(prompt_id)
        source = prompt_id or new_id()
        start, *rest = mapper.begin(PromptMessage(blocks, source), prompt_id)
        assert isinstance(start, c.StartTurn)
        try:
            sequence = (await self._submit(start)).sequence
        except (Rejected, StorageError, Overloaded) as error:
            mapper.abandon()
            if not isinstance(error, Rejected):
                log.warning("failed to start a turn, will retry: %s", error)
                await asyncio.sleep(RETRY)
            self._put(s.NotBegun(await self._look()))
            return
        self._usage.begin()
        self._runaway, self._over_budget = Runaway(), False
        minutes = self._shared.settings.budget.turn.minutes
        if minutes is not None and prompt_id is not None:
            self._minutes = asyncio.get_running_loop().call_later(
                minutes * 60, self._reach, "turn", "minutes", minutes, minutes
            )
        for command in rest:
            self._tell(command)
        if prompt_id is not None:
            self._preface += restored_files(self._work)
            await self._automatic.before(str(start.id), self._project_id)
        self._put(s.Began(str(start.id), sequence))

    async def _look(self) -> s.View:
        """What the log says now."""

        def read(reads: Reads) -> tuple[list[ThreadWork], int]:
            return reads.work([self.thread_id]), reads.sequence()

        found, sequence = await self._shared.read(read)
        self._work = found[0] if found else self._work
        return self._view(found[0] if found else None, sequence, self._state.view.claimed)

    async def _blocks(self, prompt_id: str) -> list[Json]:
        """The content of a queued prompt; nothing if it is gone, which the log will say."""
        found = await self._shared.read(lambda reads: reads.entities("prompt", self.thread_id, [prompt_id]))
        if prompt_id not in found:
            return []
        prompt = msgspec.json.decode(found[prompt_id])
        content: list[Json] | None = prompt["content"]
        return content if content is not None else [{"type": "text", "text": prompt["text"]}]

    def _send(self, _: s.Send) -> None:
        assert self._process is not None
        assert self._session is not None
        params = {"sessionId": self._session.id, "prompt": self._preface + self._prompt}
        self._preface = []
        self._process.connection.request("session/prompt", params, self._answered)

    def _answered(self, result: Json | AgentFailed) -> None:
        match result:
            case AgentRefused():
                self._answer = {"error": result.error}
            case AgentFailed():
                if self._process is None or self._process.connection.has_ended:
                    return  # said by Exited
                self._answer = {"error": {"message": str(result)}}
            case _:
                self._answer = {"result": result}
        self._put(s.PromptAnswered())

    def _finish(self, output: s.Finish) -> None:
        mapper = self._mapper
        assert mapper is not None
        if self._minutes is not None:
            self._minutes.cancel()
            self._minutes = None
        turn: Json = {"thread_id": self.thread_id, "id": output.turn}
        by = self._work.turn.cancelled_by if self._work is not None and self._work.turn is not None else None
        match output.how:
            case "answered":
                self._usage.answered(as_object(self._answer.get("result")).get("usage"))
                commands = [*mapper.finish(self._answer)]
            case "quiet":
                commands = [*mapper.finish({"result": {"stopReason": "outside_turn"}})]
            case "exited":
                commands = [c.FailTurn(**turn, error=output.reason, kind="agent_exited")]
            case "silent":
                reason = output.reason or "the agent did not stop when it was told to"
                commands = [c.InterruptTurn(**turn, reason=reason, by=by, confirmed=False)]
            case "closing":
                commands = [c.InterruptTurn(**turn, reason="the daemon ended", confirmed=False)]
        mapper.abandon()
        if fields := self._usage.fields():
            commands.insert(0, ac.ReportUsage(**turn, **fields))
        error = as_object(self._answer.get("error"))
        if output.how == "answered" and error.get("code") == AUTH_REQUIRED:
            commands.append(
                ac.RequireAuth(
                    thread_id=self.thread_id,
                    agent=self._state.agent,
                    reason=as_text(error.get("message"), "the agent needs a login"),
                    methods=list(self._agent.auth_methods),
                )
            )
        self._questions.clear()
        self._answer = {}
        self._record(*commands)
        if self._prompt and output.how != "closing":
            self._automatic.after(output.turn, self._project_id)

    def _steer(self, output: s.Steer) -> None:
        self._talk(self._steer_turn(output.prompt))

    async def _steer_turn(self, prompt_id: str) -> None:
        blocks = await self._blocks(prompt_id)
        process, session = self._process, self._session
        if process is None or session is None:
            return
        steering = {"steering": {"idleBehavior": "promptRequired"}}
        params = {"sessionId": session.id, "prompt": blocks, "_meta": steering}
        answered = asyncio.Event()

        def take(result: Json | AgentFailed) -> None:
            answered.set()
            self._put(lambda: self._steered(PromptMessage(blocks, prompt_id), result))

        process.connection.request(STEERING, params, take)
        try:
            async with asyncio.timeout(STEER):
                await answered.wait()
        except TimeoutError:
            self._put(s.Steered(0, injected=False))

    def _steered(self, prompt: PromptMessage, result: Json | AgentFailed) -> None:
        """The agent has answered whether it took a prompt into its turn."""
        prompt_id, mapper = str(prompt.source), self._mapper
        outcome = "refused" if isinstance(result, AgentFailed) else result.get("outcome")
        if mapper is None or outcome not in ("injected", "startedNewTurn"):
            log.info("the agent did not take a prompt into its turn: %s", result)
            self._put(s.Steered(0, injected=False))
            return
        if mapper.in_turn:
            commands: list[c.Command] = [mapper.steer(prompt, prompt_id)]
        else:  # the turn has just ended; the agent has the words, so they are not sent again
            start = next(mapper.begin(prompt, prompt_id))
            mapper.abandon()
            assert isinstance(start, c.StartTurn)
            done = c.CompleteTurn(thread_id=self.thread_id, id=str(start.id), stop_reason="end_turn")
            commands = [start, done]
        submitted = self._submit(*commands)

        async def wait() -> None:
            sequence, accepted = await self._recorded(submitted, *commands)
            self._put(s.Steered(sequence, injected=accepted))

        self._task(wait())

    def _ask_to_stop(self, output: s.AskToStop) -> None:
        self._record(c.CancelTurn(thread_id=self.thread_id, id=output.turn, by="steer"))

    def _stop(self, _: s.Stop) -> None:
        if self._mapper is not None and self._process is not None and self._session is not None:
            turn = self._work.turn if self._work is not None else None
            self._mapper.cancel((turn.cancelled_by if turn is not None else None) or "client")
            self._process.connection.notify("session/cancel", {"sessionId": self._session.id})

    def _pause(self, output: s.Pause) -> None:
        """What was to go into a turn is held back too: it would start an agent that fails again and again."""
        queue = self._work.queue if self._work is not None else []
        held = [
            ac.EditPrompt(thread_id=self.thread_id, id=prompt.id, when="idle")
            for prompt in queue
            if prompt.when == "steer"
        ]
        self._record(ac.PauseQueue(thread_id=self.thread_id, reason=output.reason), *held)

    # Approvals

    def _ask(self, command: c.RequestApproval) -> None:
        """Record a question of the agent, with its answer if a rule has one."""
        id = str(command.id)
        assert self._mapper is not None
        question = self._questions.pop(self._mapper.request_of(id), None)
        if question is None:
            return
        self._questions[id] = question
        commands: list[c.Command] = [command]
        if (ruled := self._ruled(command)) is not None:
            outcome, rule_id = ruled
            commands.append(
                c.ResolveApproval(thread_id=self.thread_id, id=id, outcome=outcome, by="rule", rule_id=rule_id)
            )
        submitted = self._submit(*commands)

        async def wait() -> None:
            sequence, accepted = await self._recorded(submitted, *commands)
            if accepted:
                self._put(s.ApprovalAsked(id, sequence))
                self._shared.look()
            else:  # its turn has ended
                self._respond(id, None, None)

        self._task(wait())

    def _ruled(self, command: c.RequestApproval) -> tuple[str | None, str] | None:
        work, mapper = self._work, self._mapper
        if work is None or mapper is None or not self._shared.rules or command.options == ELICITATION_OPTIONS:
            return None
        call = mapper.call_of(command)
        asked = AskedOfRules(
            thread_id=self.thread_id,
            project_id=work.project_id,
            agent=self._state.agent,
            folder=os.path.realpath(self._folder),
            call=call,
            options=command.options,
            paths=[_resolved(self._folder, path) for path in paths_of(call)],
        )
        found = answer_by_rule(self._shared.rules, asked, now())
        return None if found is None or found.rule_id is None else (found.outcome, found.rule_id)

    def _reply(self, output: s.Reply) -> None:
        self._task(self._reply_to(output.approval))

    async def _reply_to(self, id: str) -> None:
        found = await self._shared.read(lambda reads: reads.entities("approval", self.thread_id, [id]))
        approval = msgspec.json.decode(found[id]) if id in found else {}
        self._respond(id, approval.get("outcome"), approval.get("content"))

    def _respond(self, id: str, outcome: str | None, content: Any) -> None:
        question = self._questions.pop(id, None)
        if question is not None and self._process is not None:
            if question.request["method"] == "elicitation/create":
                answer = elicitation_answer(outcome, content)
            else:
                answer = permission_answer(question.request, outcome)
            self._process.connection.respond(question.raw_id, answer)

    def _dismiss(self, output: s.Dismiss) -> None:
        for id in output.approvals:
            self._respond(id, None, None)

    def _withdraw(self, output: s.Withdraw) -> None:
        self._respond(output.approval, None, None)  # a request that is cancelled has to be answered too
        self._record(c.ResolveApproval(thread_id=self.thread_id, id=output.approval, outcome=None, by="agent"))

    # What the agent says

    def _hear(self, message: AgentMessage) -> None:
        mapper, process = self._mapper, self._process
        if process is None:
            return
        heard = as_json(message)
        if heard is None:
            log.warning("the agent of thread %s sent a message that cannot be stored", self.thread_id)
            if message.id:
                process.connection.refuse(message)
            return
        method, params = str(heard["method"]), as_object(heard.get("params"))
        if method == "$/cancel_request":
            self._hear_withdrawal(params.get("requestId"))
            return
        handler = METHODS.get(method)
        if message.id and (handler is None or mapper is None):
            process.connection.refuse(message)
        if mapper is None or (handler is None and "sessionId" not in params):
            return
        is_update = method == "session/update"
        if is_update and not self._hear_update(update_of(heard)):
            return
        if message.id and handler is not None:
            self._questions[repr(heard["id"])] = _Question(message.id, heard)
        for command in mapper.tell(handler or AgentSession.request, heard):
            self._tell(command)
        if message.id and handler is None:
            refused = {"error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}
            for command in mapper.tell(AgentSession.request, heard, refused):
                self._tell(command)
        speaks = handler is not None and not (is_update and kind_of(update_of(heard)) in QUIET_KINDS)
        if speaks and (not mapper.in_turn or self._state.prompt is None):
            self._put(s.Spoke())

    def _hear_update(self, update: Json) -> bool:
        """Note what an update says of the session; return whether it is to be recorded in a turn."""
        kind = kind_of(update)
        if self._session is None and kind in ("current_mode_update", "config_option_update"):
            self._changes.append(update)
        elif self._session is not None and note_update(self._session, update):
            self._note_options()
        if kind == "usage_update":
            self._usage.note(update)
            self._check_budget()
        if self._runaway.hear(kind, text_of(update.get("content")) or ""):
            self._interrupt("the agent repeats itself without end", by="guard")
        return kind in QUIET_KINDS or not self._loading

    def _hear_withdrawal(self, request_id: Any) -> None:
        for id, question in self._questions.items():
            if question.request.get("id") == request_id:
                self._put(s.Withdrawn(id))
                return

    def _check_budget(self) -> None:
        reached = self._usage.reached(self._shared.settings.budget, self._work.usage if self._work else None)
        if reached is not None:
            self._reach(*reached)

    def _reach(self, scope: Any, limit: Any, amount: float, spent: float) -> None:
        turn = self._state.turn
        if turn is not None and not self._over_budget:
            self._over_budget = True
            self._submit(
                ac.ReachBudget(
                    thread_id=self.thread_id, turn_id=turn, scope=scope, limit=limit, amount=amount, spent=spent
                ),
                c.CancelTurn(thread_id=self.thread_id, id=turn, by="budget"),
            ).add_done_callback(self._told)

    def _interrupt(self, reason: str, by: str) -> None:
        log.warning("thread %s: %s", self.thread_id, reason)
        if self._state.turn is not None:
            self._tell(c.CancelTurn(thread_id=self.thread_id, id=self._state.turn, by=by))

    # Timers

    def _set_timer(self, output: s.SetTimer) -> None:
        settings = self._shared.settings
        seconds = {"cancel": settings.cancel_seconds, "idle": settings.idle_minutes * 60, "quiet": QUIET}
        self._clear_timer(output)
        self._timers[output.timer] = asyncio.get_running_loop().call_later(
            seconds[output.timer], self._put, s.Expired(output.timer)
        )

    def _clear_timer(self, output: s.SetTimer | s.ClearTimer) -> None:
        if (timer := self._timers.pop(output.timer, None)) is not None:
            timer.cancel()


_DO: dict[type[s.Output], Callable[[ThreadRunner, Any], None]] = {
    s.Start: ThreadRunner._start,
    s.OpenWith: ThreadRunner._open,
    s.Apply: ThreadRunner._apply,
    s.Begin: ThreadRunner._begin,
    s.Send: ThreadRunner._send,
    s.Steer: ThreadRunner._steer,
    s.AskToStop: ThreadRunner._ask_to_stop,
    s.Dismiss: ThreadRunner._dismiss,
    s.Stop: ThreadRunner._stop,
    s.Reply: ThreadRunner._reply,
    s.Withdraw: ThreadRunner._withdraw,
    s.Finish: ThreadRunner._finish,
    s.Pause: ThreadRunner._pause,
    s.CloseSession: ThreadRunner._end_session,
    s.End: ThreadRunner._end,
    s.SetTimer: ThreadRunner._set_timer,
    s.ClearTimer: ThreadRunner._clear_timer,
}


def _resolved(folder: str, path: str) -> str:
    """An absolute path without symbolic links; what does not exist is named in its deepest existing folder."""
    return os.path.realpath(Path(folder, path))


def _resource(thread_id: str, text: str, agent: Agent) -> Json:
    """The transcript of a thread as a content block: embedded where the agent takes that, else as text."""
    if as_object(agent.capabilities.get("promptCapabilities")).get("embeddedContext") is True:
        resource = {"uri": f"treadle://thread/{thread_id}", "mimeType": "text/markdown", "text": text}
        return {"type": "resource", "resource": resource}
    return {"type": "text", "text": text}
