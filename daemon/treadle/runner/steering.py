"""A prompt that goes into the running turn, where the agent takes that."""

import asyncio
import logging

from treadle.agents.connection import AgentFailed
from treadle.agents.mapper import PromptMessage
from treadle.agents.session import STEERING
from treadle.agents.shapes import Json
from treadle.domain import commands as c
from treadle.runner import signals as s
from treadle.runner.context import Context
from treadle.runner.failures import answer_to
from treadle.runner.recorder import ThreadRecorder
from treadle.runner.tasks import RunnerTasks

log = logging.getLogger(__name__)


class Steering:
    """Steers the turns of one thread."""

    def __init__(self, context: Context, tasks: RunnerTasks, recorder: ThreadRecorder) -> None:
        self._context, self._tasks, self._recorder = context, tasks, recorder

    def steer(self, output: s.Steer) -> None:
        """Ask the agent to take a prompt into its turn."""
        self._tasks.talk(self._steer(output.prompt), answer_to(output))

    async def _steer(self, prompt_id: str) -> None:
        context = self._context
        blocks = await context.blocks(prompt_id)
        process, session = context.process, context.session
        if process is None or session is None:
            return
        steering = {"steering": {"idleBehavior": "promptRequired"}}
        params = {"sessionId": session.id, "prompt": blocks, "_meta": steering}
        answered = asyncio.Event()

        def take(result: Json | AgentFailed) -> None:
            answered.set()
            context.put(lambda: self._answered(PromptMessage(blocks, prompt_id), result))

        process.connection.request(STEERING, params, take)
        try:
            async with asyncio.timeout(context.shared.settings().steer_seconds):
                await answered.wait()
        except TimeoutError:
            context.put(s.Steered(0, injected=False))

    def _answered(self, prompt: PromptMessage, result: Json | AgentFailed) -> None:
        """The agent has answered whether it took the prompt."""
        context, mapper, prompt_id = self._context, self._context.mapper, str(prompt.source)
        outcome = "refused" if isinstance(result, AgentFailed) else result.get("outcome")
        if mapper is None or outcome not in ("injected", "startedNewTurn"):
            log.info("the agent did not take a prompt into its turn: %s", result)
            context.put(s.Steered(0, injected=False))
            return
        if mapper.in_turn:
            commands: list[c.Command] = [mapper.steer(prompt, prompt_id)]
        else:  # the turn has just ended; the agent has the words, so they are not sent again
            start = next(mapper.begin(prompt, prompt_id))
            mapper.abandon()
            assert isinstance(start, c.StartTurn)
            done = c.CompleteTurn(thread_id=context.thread_id, id=str(start.id), stop_reason="end_turn")
            commands = [start, done]
        submitted = self._recorder.submit(*commands)

        async def wait() -> None:
            sequence, accepted = await self._recorder.recorded(submitted, *commands)
            context.put(s.Steered(sequence, injected=accepted))

        self._tasks.start(wait(), s.Steered(0, injected=False))
