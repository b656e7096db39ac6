"""Sends one prompt to an agent through a daemon of its own, and follows the turn to its end."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

import treadle.cli.output as output
from treadle.agents.rules import Asked, answer_all
from treadle.agents.tool_calls import paths_of
from treadle.cli.names import Unclear, thread_named
from treadle.cli.outcomes import FAILED, INTERRUPTED, USAGE, Course, Outcome
from treadle.cli.questions import Question, Questions, is_form
from treadle.cli.turn_printer import TurnPrinter
from treadle.client import Client, Disconnected, RemoteError, connect
from treadle.client.following import is_new
from treadle.domain import events as e
from treadle.domain.agent_commands import AddRule, AssignAgent, QueuePrompt, RemovePrompt, ResumeQueue
from treadle.domain.commands import AnyCommand, CreateThread, DeleteThread, InterruptTurn, ResolveApproval
from treadle.domain.errors import Rejected
from treadle.store.ids import new_id
from treadle.store.sqlite.reader import reading

TITLE: Final = 80  # columns of a title that is taken from the prompt


class PromptRequest(Struct, frozen=True, kw_only=True):
    """What to ask, and how.

    folder: whose project gets a new thread. thread: the one to continue, as it was named. worktree: whether the agent
    of a new one works in a worktree. memory: whether all
    of it stays in memory. agents: those that are configured. answers: to what no rule answers. json: print events
    instead of the answer.
    """

    data_dir: Path
    folder: str
    prompt: str
    thread: str | None
    title: str | None
    worktree: bool
    memory: bool
    agent: str | None
    agents: list[str]
    answers: Literal["ask", "allow", "deny"]
    json: bool
    log_level: str


class CannotSend(Exception):
    """The prompt was not queued. outcome: why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


async def prompt_agent(wanted: PromptRequest) -> int:
    """Ask the agent, and print what it does; return the exit status."""
    printer = TurnPrinter(prints_answer=not wanted.json)
    # In a session of its own, so that Ctrl-C does not end the daemon before the agent was asked to stop.
    memory = ["--memory"] if wanted.memory else []
    connecting = connect(wanted.data_dir, "--log-level", wanted.log_level, *memory, start_new_session=True)
    try:
        async with connecting as client:
            outcome = await _Prompting(client, wanted, printer).run()
            if outcome.text:
                printer.say("red", f"treadle: {outcome.text}")
    except CannotSend as error:
        outcome = error.outcome
        printer.say("", f"treadle: {outcome.text}")
    except (RemoteError, Disconnected) as error:
        outcome = Outcome(FAILED)
        message = error.message if isinstance(error, RemoteError) else "the daemon has exited"
        printer.say("", f"treadle: {output.clean(message)}")
    return outcome.status


class _Prompting:
    """One prompt, from the queue to the end of its turn."""

    def __init__(self, client: Client, wanted: PromptRequest, printer: TurnPrinter) -> None:
        self._client, self._wanted, self._printer = client, wanted, printer
        self._course = Course(new_id())
        self._thread_id = ""
        self._version: int | None = None
        self._is_queued = False
        self._project_id = ""
        self._agent = ""
        self._folder = ""
        self._is_new = wanted.thread is None
        self._pending: dict[str, e.ApprovalRequested] = {}
        self._asked: set[str] = set()
        self._questions = Questions(lambda line: printer.say("magenta", line), self._answer)
        self._interrupts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Outcome:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        queued = await self._queue()
        self._is_queued = True
        if self._interrupts:
            self._stop()
        self._printer.say("dim", f"thread {self._thread_id}, agent {self._agent}")
        try:
            with self._questions.asking():
                outcome = await self._follow(queued)
        except Disconnected:
            if self._interrupts < 2:
                raise
            return Outcome(INTERRUPTED, "the agent is ended")
        finally:
            self._printer.end_line()
            sys.stdout.flush()
        if self._course.turn is None:
            await self._withdraw()
        return outcome

    # Before the turn

    async def _queue(self) -> int:
        """Queue the prompt; return the sequence of that. Raises CannotSend."""
        while True:
            commands = await (self._continued() if self._wanted.thread else self._created())
            commands.append(QueuePrompt(thread_id=self._thread_id, id=self._course.prompt_id, text=self._wanted.prompt))
            commands[0] = msgspec.structs.replace(commands[0], expected_version=self._version)
            try:
                answer = await self._client.dispatch_batch(commands=commands)
            except RemoteError as error:
                if error.kind == "versionConflict":  # the thread has changed meanwhile
                    continue
                raise
            return answer.results[-1].events[-1].sequence

    async def _created(self) -> list[AnyCommand]:
        wanted = self._wanted
        opened = await self._client.project_open(path=wanted.folder)
        self._project_id, self._folder = opened.project.id, str(opened.project.path)
        self._thread_id, self._agent = new_id(), wanted.agent or wanted.agents[0]
        title = wanted.title or output.fit(output.one_line(wanted.prompt.strip().splitlines()[0]), TITLE)
        return [
            CreateThread(thread_id=self._thread_id, project_id=self._project_id, title=title, worktree=wanted.worktree),
            AssignAgent(thread_id=self._thread_id, agent=self._agent),
        ]

    async def _continued(self) -> list[AnyCommand]:
        """The commands that make the thread ready for the prompt, if it did not change meanwhile."""
        try:
            with reading(self._wanted.data_dir) as reader:
                self._thread_id = reader.read(lambda reads: thread_named(reads, str(self._wanted.thread)))
                (work,) = reader.read(lambda reads: reads.work([self._thread_id]))
                if work.folder is None:  # of a shared log: this may be its first prompt in the clone of this machine
                    with contextlib.suppress(RemoteError):
                        await self._client.project_open(path=self._wanted.folder)
                    (work,) = reader.read(lambda reads: reads.work([self._thread_id]))
                self._folder = work.path
        except (Unclear, Rejected) as error:
            raise CannotSend(Outcome(USAGE, str(error))) from None
        (thread,) = (await self._client.thread_read(thread_id=self._thread_id, turn_limit=1)).threads
        self._project_id = thread.project_id
        before = thread.agent.name if thread.agent is not None else None
        only = self._wanted.agents[0] if len(self._wanted.agents) == 1 else None
        agent = self._wanted.agent or before or only
        if agent is None:
            names = ", ".join(self._wanted.agents)
            raise CannotSend(Outcome(USAGE, f"the thread has no agent: choose one with --agent; there are {names}"))
        self._agent = agent
        if thread.queue_paused is not None and thread.auth_required is None:
            why = output.one_line(thread.queue_paused)
            raise CannotSend(
                Outcome(
                    FAILED,
                    f"the queue of thread {thread.id} is paused: {why}. `treadle prompts` lists what waits in it: "
                    "remove it with `treadle prompts remove`, or send it with `treadle prompts resume`",
                )
            )
        if thread.status not in ("idle", "needsAuth"):
            self._printer.say("dim", "waiting for what was asked before in this thread")
        self._version = thread.version
        commands: list[AnyCommand] = [] if agent == before else [AssignAgent(thread_id=thread.id, agent=agent)]
        if thread.auth_required is not None:  # try again: the user may have logged in
            commands.append(ResumeQueue(thread_id=thread.id))
        return commands

    async def _withdraw(self) -> None:
        """Take back what was not sent, so that it is not sent unexpectedly later."""
        removing = RemovePrompt(thread_id=self._thread_id, id=self._course.prompt_id)
        with contextlib.suppress(RemoteError, Disconnected):  # it was removed already
            await self._client.dispatch(removing)
        if self._is_new:
            with contextlib.suppress(RemoteError, Disconnected):
                await self._client.dispatch(DeleteThread(thread_id=self._thread_id))

    # During the turn

    async def _follow(self, queued: int) -> Outcome:
        subscription = await self._client.subscribe("events", thread_id=self._thread_id, after_sequence=queued - 1)
        while self._course.outcome is None:
            for one in (await subscription.next())["events"]:
                if self._wanted.json:
                    output.print_json(msgspec.json.encode(one))
                if not is_new(one):
                    self._hear(msgspec.convert(one, e.StoredEvent).event)
            self._answer_or_ask()
            sys.stdout.flush()
        return self._course.outcome

    def _hear(self, event: e.AnyEvent) -> None:
        self._course.hear(event)
        self._printer.hear(event, self._course.turn)
        match event:
            case e.WorktreeCreated():
                self._folder = event.path
                self._printer.say("dim", f"worktree {output.one_line(event.path)}")
            case e.ApprovalRequested() if event.turn_id == self._course.turn:
                self._pending[event.id] = event
            case e.ApprovalResolved():
                self._pending.pop(event.id, None)
                self._questions.close(event.id)
            case _:
                pass

    def _answer_or_ask(self) -> None:
        """Answer what the rules have not answered, or ask."""
        for id, approval in self._pending.items():
            if id in self._asked:
                continue
            self._asked.add(id)
            question = self._question(approval)
            answers = self._wanted.answers
            if answers == "allow" and not is_form(question.asked.call):
                given = answer_all(approval.options, "allow")
            else:
                given = None
            if given is None and answers != "ask":
                given = answer_all(approval.options, "deny")
            if given is None:
                self._questions.ask(question)
            else:
                self._answer(question, given.outcome, None)

    def _question(self, approval: e.ApprovalRequested) -> Question:
        detail = approval.detail if isinstance(approval.detail, dict) else {}
        folder = os.path.realpath(self._folder)
        call = {**self._printer.detail_of(approval.activity_id), **detail}
        asked = Asked(
            thread_id=self._thread_id,
            project_id=self._project_id,
            agent=self._agent,
            folder=folder,
            call=call,
            options=approval.options,
            paths=[os.path.realpath(Path(folder, path)) for path in paths_of(call)],
        )
        return Question(approval.id, approval.title, asked)

    def _answer(self, question: Question, outcome: str | None, rule: AddRule | None) -> None:
        by = "user" if self._wanted.answers == "ask" else "treadle run"
        answer = ResolveApproval(thread_id=self._thread_id, id=question.id, outcome=outcome, by=by)
        self._do([answer] if rule is None else [rule, answer])

    # Ctrl-C

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._course.outcome is not None:  # all that is left is the end of the daemon
            self._client.process.kill()
        elif self._interrupts > 1:
            self._client.process.terminate()
        else:
            self._printer.say("yellow", "interrupting the agent; press Ctrl-C again to end it")
            if self._is_queued:
                self._stop()

    def _stop(self) -> None:
        """Ask the agent to stop; if the prompt was not sent, take it back."""
        if self._course.turn is not None:
            self._do([InterruptTurn(thread_id=self._thread_id, id=self._course.turn, by="user")])
        else:
            self._do([RemovePrompt(thread_id=self._thread_id, id=self._course.prompt_id)])

    def _do(self, commands: list[AnyCommand]) -> None:
        """Execute commands while the turn is followed."""

        async def execute() -> None:
            try:
                await self._client.dispatch_batch(commands=commands)
            except RemoteError as error:
                if error.kind == "promptSent":  # at the same moment
                    await self._client.dispatch(InterruptTurn(thread_id=self._thread_id, by="user"))
                else:
                    self._printer.say("yellow", f"treadle: {output.clean(error.message)}")
            except Disconnected:
                pass  # said where the turn is followed

        task = asyncio.create_task(execute())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
