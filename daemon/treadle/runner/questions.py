"""What an agent asks: permissions and forms. Each becomes an approval, which a rule or a person answers."""

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from treadle.agents.approvals import ELICITATION_OPTIONS
from treadle.agents.rules import Asked as AskedOfRules
from treadle.agents.rules import answer as answer_by_rule
from treadle.agents.session import elicitation_answer, permission_answer
from treadle.agents.shapes import Json
from treadle.agents.tool_calls import paths_of
from treadle.core.engine import now
from treadle.domain import commands as c
from treadle.runner import signals as s
from treadle.runner.context import Context
from treadle.runner.recorder import ThreadRecorder
from treadle.runner.tasks import RunnerTasks


class OpenQuestion(Struct, frozen=True):
    """A request of the agent that waits for an approval. raw_id: its id, exactly as it came."""

    raw_id: Raw
    request: Json


class AgentQuestions:
    """The questions of the agent of one thread that have no answer yet.

    They are found by the id of the request, as Python shows it, until the approval is recorded, and then by its id.
    """

    def __init__(self, context: Context, tasks: RunnerTasks, recorder: ThreadRecorder) -> None:
        self._context, self._tasks, self._recorder = context, tasks, recorder
        self._open: dict[str, OpenQuestion] = {}
        self._withdrawn: set[str] = set()

    def hear(self, raw_id: Raw, request: Json) -> None:
        """The agent waits for an answer to this request."""
        self._open[repr(request["id"])] = OpenQuestion(raw_id, request)

    def hear_withdrawal(self, request_id: Any) -> None:
        """The agent does not wait for the answer any more."""
        key = repr(request_id)
        if key in self._open:  # no approval was made of it yet, and none will be
            self._respond(key, None, None)
        for id, question in self._open.items():
            if repr(question.request["id"]) == key:
                self._withdrawn.add(id)  # the machine knows it only once it is recorded
                self._context.put(s.Withdrawn(id))

    def tell(self, command: c.Command) -> None:
        """Record what the agent says: a question with its answer, if a rule has one."""
        if isinstance(command, c.RequestApproval):
            self._ask(command)
        else:
            self._recorder.tell(command)

    def reply(self, output: s.Reply) -> None:
        """Answer the agent as the log says."""
        self._tasks.start(self._reply(output.approval))

    def dismiss(self, output: s.Dismiss) -> None:
        """Tell the agent that questions are cancelled."""
        for id in output.approvals:
            self._respond(id, None, None)

    def withdraw(self, output: s.Withdraw) -> None:
        """Record that the agent does not wait for the answer any more."""
        self._respond(output.approval, None, None)  # a request that is cancelled has to be answered too
        thread_id = self._context.thread_id
        self._recorder.record(c.ResolveApproval(thread_id=thread_id, id=output.approval, outcome=None, by="agent"))

    def forget(self) -> None:
        """Nobody waits for an answer any more."""
        self._open.clear()
        self._withdrawn.clear()

    def _ask(self, command: c.RequestApproval) -> None:
        context, id = self._context, str(command.id)
        assert context.mapper is not None
        question = self._open.pop(context.mapper.approvals.request_of(id), None)
        if question is None:
            return
        self._open[id] = question
        commands: list[c.Command] = [command]
        if (ruled := self._ruled(command)) is not None:
            outcome, rule_id = ruled
            commands.append(
                c.ResolveApproval(thread_id=context.thread_id, id=id, outcome=outcome, by="rule", rule_id=rule_id)
            )
        submitted = self._recorder.submit(*commands)

        async def wait() -> None:
            sequence, accepted = await self._recorder.recorded(submitted, *commands)
            if accepted:
                context.put(s.ApprovalAsked(id, sequence))
                if id in self._withdrawn:
                    context.put(s.Withdrawn(id))
                context.shared.look()
            else:  # its turn has ended
                self._respond(id, None, None)

        self._tasks.start(wait())

    def _ruled(self, command: c.RequestApproval) -> tuple[str | None, str] | None:
        context, work, mapper = self._context, self._context.work, self._context.mapper
        rules = context.shared.rules
        if work is None or mapper is None or not rules or command.options == ELICITATION_OPTIONS:
            return None
        call = mapper.approvals.call_of(command)
        asked = AskedOfRules(
            thread_id=context.thread_id,
            project_id=work.project_id,
            agent=context.state.agent,
            folder=os.path.realpath(context.folder),
            call=call,
            options=command.options,
            paths=[_resolved(context.folder, path) for path in paths_of(call)],
        )
        found = answer_by_rule(rules, asked, now())
        return None if found is None or found.rule_id is None else (found.outcome, found.rule_id)

    async def _reply(self, id: str) -> None:
        context = self._context
        found = await context.shared.read(lambda reads: reads.entities("approval", context.thread_id, [id]))
        approval = msgspec.json.decode(found[id]) if id in found else {}
        self._respond(id, approval.get("outcome"), approval.get("content"))

    def _respond(self, id: str, outcome: str | None, content: Any) -> None:
        question = self._open.pop(id, None)
        if question is not None and self._context.process is not None:
            if question.request["method"] == "elicitation/create":
                answer = elicitation_answer(outcome, content)
            else:
                answer = permission_answer(question.request, outcome)
            self._context.process.connection.respond(question.raw_id, answer)


def _resolved(folder: str, path: str) -> str:
    """An absolute path without symbolic links; what does not exist is named in its deepest existing folder."""
    return os.path.realpath(Path(folder, path))
