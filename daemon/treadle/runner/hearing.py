"""What the agent of a thread says: each message goes to the part of the runner that it concerns."""

import logging

from treadle.agents.activities import LASTING
from treadle.agents.codec import AgentMessage
from treadle.agents.mapper import METHODS, AgentSession
from treadle.agents.shapes import Json, as_object, kind_of, update_of
from treadle.contract.errors import METHOD_NOT_FOUND
from treadle.runner import signals as s
from treadle.runner.context import Context
from treadle.runner.limits import TurnLimits
from treadle.runner.messages import as_json
from treadle.runner.questions import AgentQuestions
from treadle.runner.sessions import ThreadSessions

log = logging.getLogger(__name__)

QUIET_KINDS = LASTING | {"usage_update"}
"""Updates that need no turn: they wait for the next one."""


class Hearing:
    """Hears the agent of one thread."""

    def __init__(
        self, context: Context, sessions: ThreadSessions, questions: AgentQuestions, limits: TurnLimits
    ) -> None:
        self._context, self._sessions, self._questions, self._limits = context, sessions, questions, limits

    def hear(self, message: AgentMessage) -> None:
        """Take a request or notification of the agent."""
        context = self._context
        mapper, process = context.mapper, context.process
        if process is None:
            return
        heard = as_json(message)
        if heard is None:
            log.warning("the agent of thread %s sent a message that cannot be stored", context.thread_id)
            if message.id:
                process.connection.refuse(message)
            return
        method, params = str(heard["method"]), as_object(heard.get("params"))
        if method == "$/cancel_request":
            self._questions.hear_withdrawal(params.get("requestId"))
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
            self._questions.hear(message.id, heard)
        for command in mapper.tell(handler or AgentSession.request, heard):
            self._questions.tell(command)
        if message.id and handler is None:
            refused = {"error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}
            for command in mapper.tell(AgentSession.request, heard, refused):
                self._questions.tell(command)
        speaks = handler is not None and not (is_update and kind_of(update_of(heard)) in QUIET_KINDS)
        if speaks and (not mapper.in_turn or context.state.prompt is None):
            context.put(s.Spoke())

    def _hear_update(self, update: Json) -> bool:
        """Note what an update says of the session; return whether it is to be recorded in a turn."""
        self._sessions.hear(update)
        self._limits.hear(update)
        return kind_of(update) in QUIET_KINDS or not self._sessions.loading
