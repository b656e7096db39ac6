"""The turns of a thread: a prompt goes to the agent, and its answer ends the turn."""

import asyncio
import logging

from treadle.agents.connection import AgentFailed, AgentRefused
from treadle.agents.mapper import AgentSession, PromptMessage
from treadle.agents.session import AUTH_REQUIRED
from treadle.agents.shapes import Json, as_object, as_text
from treadle.core.engine import Overloaded
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.runner import signals as s
from treadle.runner.automatic import Automatic, restored_files
from treadle.runner.context import Context
from treadle.runner.failures import FAILED, answer_to, exit_of
from treadle.runner.limits import TurnLimits
from treadle.runner.questions import AgentQuestions
from treadle.runner.recorder import RETRY, ThreadRecorder
from treadle.runner.sessions import require_auth
from treadle.runner.tasks import RunnerTasks
from treadle.store.errors import StorageError
from treadle.store.ids import new_id

log = logging.getLogger(__name__)


class ThreadTurns:
    """The turns of one thread, one at a time."""

    def __init__(
        self,
        context: Context,
        tasks: RunnerTasks,
        recorder: ThreadRecorder,
        questions: AgentQuestions,
        limits: TurnLimits,
        automatic: Automatic,
    ) -> None:
        self._context, self._tasks, self._recorder = context, tasks, recorder
        self._questions, self._limits, self._automatic = questions, limits, automatic
        self._prompt: list[Json] = []
        self._answer: Json = {}

    def begin(self, output: s.Begin) -> None:
        """Record a turn."""
        self._tasks.start(self._begin(output.prompt), answer_to(output))

    async def _begin(self, prompt_id: str | None) -> None:
        context, mapper = self._context, self._context.mapper
        assert mapper is not None
        await self._automatic.finished()
        blocks = self._prompt = [] if prompt_id is None else await context.blocks(prompt_id)
        source = prompt_id or new_id()
        start, *rest = mapper.begin(PromptMessage(blocks, source), prompt_id)
        assert isinstance(start, c.StartTurn)
        try:
            sequence = (await self._recorder.submit(start)).sequence
        except (Rejected, StorageError, Overloaded) as error:
            mapper.abandon()
            if not isinstance(error, Rejected):
                log.warning("failed to start a turn, will retry: %s", error)
                await asyncio.sleep(RETRY)
            context.put(s.NotBegun(await context.look()))
            return
        try:
            self._limits.begin(prompt_id)
            for command in rest:
                self._questions.tell(command)
            if prompt_id is not None:
                context.preface += restored_files(context.work)
                await self._automatic.before(str(start.id), context.project_id)
        except Exception as error:  # the turn is recorded: it ends as if the agent had exited
            log.exception("failed to begin a turn of thread %s", context.thread_id)
            context.put(exit_of(error))
        context.put(s.Began(str(start.id), sequence))

    def send(self, _: s.Send) -> None:
        """Send the prompt of the turn."""
        context = self._context
        assert context.process is not None
        assert context.session is not None
        params = {"sessionId": context.session.id, "prompt": context.preface + self._prompt}
        context.preface = []
        context.process.connection.request("session/prompt", params, self._answered)

    def _answered(self, result: Json | AgentFailed) -> None:
        process = self._context.process
        match result:
            case AgentRefused():
                self._answer = {"error": result.error}
            case AgentFailed():
                if process is None or process.connection.has_ended:
                    return  # said by Exited
                self._answer = {"error": {"message": str(result)}}
            case _:
                self._answer = {"result": result}
        self._context.put(s.PromptAnswered())

    def ask_to_stop(self, output: s.AskToStop) -> None:
        """Record that the turn is to stop."""
        self._recorder.record(c.CancelTurn(thread_id=self._context.thread_id, id=output.turn, by="steer"))

    def stop(self, _: s.Stop) -> None:
        """Tell the agent to stop."""
        context = self._context
        if context.mapper is not None and context.process is not None and context.session is not None:
            turn = context.work.turn if context.work is not None else None
            context.mapper.cancel((turn.cancelled_by if turn is not None else None) or "client")
            context.process.connection.notify("session/cancel", {"sessionId": context.session.id})

    def finish(self, output: s.Finish) -> None:
        """Record the end of the turn."""
        context, mapper = self._context, self._context.mapper
        assert mapper is not None
        self._limits.end()
        try:
            commands = self._ending(output, mapper)
        except Exception as error:  # such as an answer that nobody expected
            log.exception("failed to record how a turn of thread %s ended", context.thread_id)
            context.put(exit_of(error))
            commands = [c.FailTurn(thread_id=context.thread_id, id=output.turn, error=FAILED)]
        mapper.abandon()
        self._questions.forget()
        self._answer = {}
        self._recorder.record(*commands)
        if self._prompt and output.how != "closing":
            self._automatic.after(output.turn, context.project_id)

    def _ending(self, output: s.Finish, mapper: AgentSession) -> list[c.Command]:
        context = self._context
        turn: Json = {"thread_id": context.thread_id, "id": output.turn}
        by = context.work.turn.cancelled_by if context.work is not None and context.work.turn is not None else None
        match output.how:
            case "answered":
                used = as_object(self._answer.get("result")).get("usage")
                commands = self._limits.answered(output.turn, used, [*mapper.finish(self._answer)])
            case "quiet":
                commands = [*mapper.finish({"result": {"stopReason": "outside_turn"}})]
            case "exited":
                commands = [c.FailTurn(**turn, error=output.reason, kind="agent_exited")]
            case "silent":
                reason = output.reason or "the agent did not stop when it was told to"
                commands = [c.InterruptTurn(**turn, reason=reason, by=by, confirmed=False)]
            case "closing":
                commands = [c.InterruptTurn(**turn, reason="the daemon ended", confirmed=False)]
        if fields := self._limits.usage.fields():
            commands.insert(0, ac.ReportUsage(**turn, **fields))
        error = as_object(self._answer.get("error"))
        if output.how == "answered" and error.get("code") == AUTH_REQUIRED:
            commands.append(require_auth(context, as_text(error.get("message"), "the agent needs a login")))
        return commands

    def pause(self, output: s.Pause) -> None:
        """Hold the queue back. What was to go into a turn is held back too: it would start an agent that fails again
        and again."""
        thread_id, work = self._context.thread_id, self._context.work
        steering = [prompt for prompt in (work.queue if work is not None else []) if prompt.when == "steer"]
        held = [ac.EditPrompt(thread_id=thread_id, id=prompt.id, when="idle") for prompt in steering]
        self._recorder.record(ac.PauseQueue(thread_id=thread_id, reason=output.reason), *held)
