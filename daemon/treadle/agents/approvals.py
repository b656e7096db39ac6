"""Maps what an agent asks to approvals: permissions, and forms to fill in or URLs to open."""

from collections.abc import Iterator
from typing import Any

from treadle.agents.activities import Activities, Ids
from treadle.agents.shapes import Agent, Json, as_object, as_text, members_of, option_id
from treadle.domain import commands as c

ELICITATION_OPTIONS = [
    c.ApprovalOption(id="accept", name="Accept", kind="allow_once"),
    c.ApprovalOption(id="decline", name="Decline", kind="reject_once"),
]


class AskedApprovals:
    """The approvals of the running turn that have no answer yet. activities: those of the same session."""

    def __init__(self, agent: Agent, thread_id: str, ids: Ids, activities: Activities) -> None:
        self._agent, self._thread_id, self._ids, self._activities = agent, thread_id, ids, activities
        self._asked: dict[str, tuple[str, list[str]]] = {}

    def request_of(self, approval_id: str) -> str:
        """The id of the request that an approval answers, as Python shows it."""
        return next((key for key, (id, _) in self._asked.items() if id == approval_id), "")

    def call_of(self, approval: c.RequestApproval) -> Json:
        """The tool call that an approval is about: what its request says, over what was announced before."""
        detail = as_object(approval.detail)
        told = self._activities.get("tool_call", as_text(detail.get("toolCallId"), ""))
        return {**told.detail, **detail} if told else detail

    def end_turn(self) -> None:
        """The turn's end cancels what has no answer."""
        self._asked.clear()

    def permission(self, request: Json, answer: Json | None) -> Iterator[c.Command]:
        """Map a session/request_permission, or the response to it."""
        key = repr(request.get("id"))
        if answer is not None:
            outcome = as_object(as_object(answer.get("result")).get("outcome"))
            yield from self._resolve(key, option_id(outcome) if outcome.get("outcome") == "selected" else None)
            return
        params = as_object(request.get("params"))
        subject = as_object(params.get("subject"))  # version 2
        call = as_object(params.get("toolCall", subject.get("toolCall")))
        native = as_text(call.get("toolCallId"), "")
        if native and self._activities.get("tool_call", native) is None:  # a call that is only asked for
            yield from self._activities.call(members_of(call, self._agent.version), request)
        told = self._activities.get("tool_call", native)
        detail = {k: v for k, v in params.items() if k not in ("sessionId", "title", "options", "toolCall")}
        if call:
            detail = {**call, **{k: v for k, v in detail.items() if k != "subject"}}
        options = params.get("options")
        offered = {option_id(o): o for o in map(as_object, options if isinstance(options, list) else [])}
        id = self._ids.new("approval", None, "approval", request)
        self._asked[key] = id, list(offered)
        yield c.RequestApproval(
            thread_id=self._thread_id,
            id=id,
            turn_id=self._activities.turn_id,
            title=as_text(
                params.get("title"), as_text(call.get("title"), told.title if told else native or "Permission")
            ),
            options=[
                c.ApprovalOption(id=id, name=as_text(o.get("name"), id), kind=as_text(o.get("kind"), "other"))
                for id, o in offered.items()
            ],
            detail=detail,
            activity_id=told.id if told else None,
        )

    def elicitation(self, request: Json, answer: Json | None) -> Iterator[c.Command]:
        """Map an elicitation/create, or the response to it: an approval with a form to fill in, or a URL to open."""
        key = repr(request.get("id"))
        if answer is not None:
            result = as_object(answer.get("result"))
            yield from self._resolve(key, as_text(result.get("action"), ""), result.get("content"))
            return
        params = as_object(request.get("params"))
        id = self._ids.new("approval", None, "approval", request)
        self._asked[key] = id, [option.id for option in ELICITATION_OPTIONS]
        yield c.RequestApproval(
            thread_id=self._thread_id,
            id=id,
            turn_id=self._activities.turn_id,
            title=as_text(params.get("message"), "The agent asks"),
            options=ELICITATION_OPTIONS,
            detail={k: v for k, v in params.items() if k not in ("sessionId", "message")},
        )

    def _resolve(self, key: str, outcome: str | None, content: Any = None) -> Iterator[c.Command]:
        if key in self._asked:  # else its turn has ended and treadle has cancelled the approval
            id, option_ids = self._asked.pop(key)
            chosen = outcome if outcome in option_ids else None
            yield c.ResolveApproval(thread_id=self._thread_id, id=id, outcome=chosen, content=content)
