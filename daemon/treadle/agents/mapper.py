"""Maps one session of the Agent Client Protocol to the commands of one treadle thread.

Pure and deterministic: an id is the agent's own if treadle accepts it, otherwise a counter, so the same frames always
give the same commands. Updates that the schema (https://agentclientprotocol.com/protocol/v1/schema) does not define
are kept
as activities.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from treadle.agents.shapes import (
    Json,
    as_object,
    as_text,
    fitting,
    option_id,
    sentence,
    shown,
    source_of,
    status_of,
    text_of,
    update_of,
)
from treadle.domain import commands as c
from treadle.domain.ids import ActivityStatus, Role

Commands = Iterator[c.Command]
Handler = Callable[["AgentSession", Json, Json | None], Commands]
"""Maps a message of the agent to commands; for a request it is called again with the response."""

_REQUEST_CANCELLED = -32800
_CUT_OFF: Json = {"error": {"code": _REQUEST_CANCELLED, "message": "the recording ends here"}}
_OUTSIDE: Json = {"result": {"stopReason": "outside_turn"}}
_ROLES: dict[str, Role] = {"user_message_chunk": "user", "agent_message_chunk": "assistant"}


class Prompt(Struct):
    """content: the content blocks of a session/prompt. answer: the response of the agent, None until it arrives."""

    content: Any
    answer: Json | None = None


class _OpenText(Struct):
    """A message or thought that still receives chunks. recorded: code points of the text that were already recorded."""

    source: tuple[str, Any]
    id: str
    text: str = ""
    recorded: int = 0


class AgentSession:
    """The state of one session. Everything except a prompt belongs to a turn; messages between two turns wait for the
    next."""

    def __init__(self, project_id: str, thread_id: str, title: str | None) -> None:
        self._project_id, self._thread_id, self._title = project_id, thread_id, title
        self._created = False
        self._turn = ""
        self._prompts: list[Prompt] = []
        self._kept: list[tuple[Handler, Json, Json | None]] = []
        self._echo: list[Any] = []
        self._message: _OpenText | None = None
        self._thought: _OpenText | None = None
        self._tools: dict[str, Json] = {}
        self._approvals: dict[str, tuple[str, list[str]]] = {}
        self._activities: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()
        self._counts: dict[tuple[str, str], int] = {}

    def prompt(self, prompt: Prompt) -> Commands:
        """Start a turn, or queue the prompt while a turn runs: some clients do not wait for the response."""
        self._prompts.append(prompt)
        if len(self._prompts) == 1:
            yield from self._begin_next()

    def answer(self, prompt: Prompt, answer: Json) -> Commands:
        """Store the response, end the turns whose prompts are answered in order, and start the next queued prompt."""
        prompt.answer = answer
        while self._prompts and (first := self._prompts[0].answer) is not None:
            del self._prompts[0]
            yield from self._end_turn(first)
            if self._prompts:
                yield from self._begin_next()

    def tell(self, handler: Handler, message: Json, answer: Json | None = None) -> Commands:
        """Map a message within the running turn, or keep it for the next turn."""
        if self._turn:
            yield from handler(self, message, answer)
        elif answer is None or handler is AgentSession.request or any(kept is message for _, kept, _ in self._kept):
            self._kept.append((handler, message, answer))
        # else it responds to an approval that treadle cancelled when its turn ended

    def end(self) -> Commands:
        """The recording is over: end running turns and give the remaining messages a turn of their own."""
        for prompt in list(self._prompts):
            yield from self.answer(prompt, prompt.answer or _CUT_OFF)
        yield from self._replay()
        if self._kept:
            yield from self._begin([])
            yield from self._end_turn(_OUTSIDE)

    # Turns

    def _begin_next(self) -> Commands:
        yield from self._replay()
        content = self._prompts[0].content
        yield from self._begin(content if isinstance(content, list) else [content])

    def _replay(self) -> Commands:
        """Rebuild turns from history that arrived outside a turn (session/load): each user message starts one."""
        said: list[Any] = []
        kept, self._kept = self._kept, []
        for handler, message, answer in kept:
            update = update_of(message)
            if update.get("sessionUpdate") == "user_message_chunk":
                if self._turn:
                    yield from self._end_turn(_OUTSIDE)
                said.append(update.get("content"))
                continue
            if said:
                yield from self._begin(said)
                said = []
            yield from self.tell(handler, message, answer)
        if said:
            yield from self._begin(said)
        if self._turn:
            yield from self._end_turn(_OUTSIDE)

    def _begin(self, blocks: list[Any]) -> Commands:
        text = "\n".join(map(shown, blocks))
        if not self._created:
            self._created = True
            line = next((line.strip() for line in text.splitlines() if line.strip()), "New session")
            yield c.CreateThread(thread_id=self._thread_id, project_id=self._project_id, title=self._title or line[:80])
        self._turn, message_id = self._number("turn", "turn"), self._number("message", "prompt")
        yield c.StartTurn(thread_id=self._thread_id, id=self._turn, prompt=text, message_id=message_id)
        for block in blocks:
            if as_object(block).get("type") not in ("text", "resource_link"):
                yield self._content(block)
        self._echo = list(blocks)
        kept, self._kept = self._kept, []
        for handler, message, answer in kept:
            yield from handler(self, message, answer)

    def _end_turn(self, answer: Json) -> Commands:
        yield from self._end_thought()
        result, error = as_object(answer.get("result")), answer.get("error")
        reason = as_text(result.get("stopReason"), "unknown")[:128]
        if error is not None and as_object(error).get("code") != _REQUEST_CANCELLED:
            yield c.FailTurn(thread_id=self._thread_id, id=self._turn, error=sentence(error))
        elif error is not None or reason == "cancelled":
            told = as_text(as_object(error).get("message"), "cancelled")
            yield c.InterruptTurn(thread_id=self._thread_id, id=self._turn, reason=told)
        else:
            usage = result.get("usage")
            yield c.CompleteTurn(thread_id=self._thread_id, id=self._turn, stop_reason=reason, usage=usage)
        # Ending the turn ends everything in it. A tool call that continues becomes a new activity of the next turn.
        self._turn, self._message = "", None
        self._activities.clear()
        self._approvals.clear()
        self._tools = {id: call for id, call in self._tools.items() if status_of(call) in ("pending", "running")}

    # Updates

    def update(self, message: Json, _answer: Json | None = None) -> Commands:
        """Map a session/update. First complete the open texts that this update shows to be finished."""
        update = update_of(message)
        kind, native = source_of(update)
        if self._thought is not None and self._thought.source != (kind, native):
            yield from self._end_thought()
        if self._message is not None and self._message.source != (kind, native):
            # A message without an id ends with any other update; one with an id ends when another message starts.
            own = self._message.source[1]
            if own is None or kind in _ROLES or native not in (None, own):
                yield c.CompleteMessage(thread_id=self._thread_id, id=self._message.id)
                self._message = None
        yield from _UPDATES.get(kind, AgentSession._any_update)(self, update)

    def _message_chunk(self, update: Json) -> Commands:
        text, (kind, native) = text_of(update), source_of(update)
        if kind == "user_message_chunk" and update.get("content") in self._echo:
            self._echo.remove(update["content"])  # the turn already holds the prompt
        elif text is None:
            yield self._content(update.get("content"))
        elif self._message is not None:
            yield c.AppendMessage(thread_id=self._thread_id, id=self._message.id, text=text)
        else:
            self._message = _OpenText((kind, native), self._id("message", native, "message"))
            yield c.AddMessage(
                thread_id=self._thread_id,
                id=self._message.id,
                turn_id=self._turn,
                role=_ROLES[kind],
                text=text,
                streaming=True,
            )

    def _thought_chunk(self, update: Json) -> Commands:
        text, source = text_of(update), source_of(update)
        if text is None:
            yield self._content(update.get("content"))
            return
        thought = self._thought
        if thought is None:
            thought = self._thought = _OpenText(source, self._id("activity", source[1], "thought"))
        thought.text += text
        # Each record writes the whole text. Recording only when it has doubled keeps the bytes written linear.
        if len(thought.text) >= 2 * thought.recorded:
            thought.recorded = len(thought.text)
            yield self._record(thought.id, "thought", "Thought", "running", {"text": thought.text})

    def _end_thought(self) -> Commands:
        if self._thought is not None:
            yield self._record(self._thought.id, "thought", "Thought", "completed", {"text": self._thought.text})
            self._thought = None

    def _tool_call(self, update: Json) -> Commands:
        native = as_text(update.get("toolCallId"), "tool")
        call = self._tools.setdefault(native, {})
        # An update holds the fields that changed; null also means "not changed".
        call |= {k: v for k, v in update.items() if k != "sessionUpdate" and (v is not None or k not in call)}
        id = self._same("tool_call", native, native)
        yield self._record(id, "tool_call", as_text(call.get("title"), native), status_of(call), dict(call))

    def _plan(self, update: Json) -> Commands:
        yield self._record(self._same("plan"), "plan", "Plan", "completed", {"entries": update.get("entries")})

    def _usage(self, update: Json) -> Commands:
        detail = {k: v for k, v in update.items() if k != "sessionUpdate"}
        yield self._record(self._same("usage"), "usage", "Usage", "completed", detail)

    def _any_update(self, update: Json) -> Commands:
        kind, _ = source_of(update)
        yield self._record(self._number("activity", kind), kind, kind, "completed", update)

    def _content(self, block: Any) -> c.Command:
        return self._record(self._number("activity", "content"), "content", shown(block), "completed", block)

    # Requests

    def permission(self, request: Json, answer: Json | None = None) -> Commands:
        """Map a session/request_permission, or the response to it."""
        key = repr(request.get("id"))
        if answer is None:
            params = as_object(request.get("params"))
            call = as_object(params.get("toolCall"))
            native = as_text(call.get("toolCallId"), "tool")
            options = params.get("options")
            offered = {option_id(o): o for o in map(as_object, options if isinstance(options, list) else [])}
            id = self._number("approval", "approval")
            self._approvals[key] = id, list(offered)
            yield c.RequestApproval(
                thread_id=self._thread_id,
                id=id,
                turn_id=self._turn,
                title=as_text(call.get("title"), as_text(self._tools.get(native, {}).get("title"), native)),
                options=[
                    c.ApprovalOption(id=id, name=as_text(o.get("name"), id), kind=as_text(o.get("kind"), "other"))
                    for id, o in offered.items()
                ],
                detail=call,
            )
        elif key in self._approvals:  # else its turn has ended and treadle has cancelled the approval
            id, option_ids = self._approvals.pop(key)
            outcome = as_object(as_object(answer.get("result")).get("outcome"))
            chosen = option_id(outcome) if outcome.get("outcome") == "selected" else None
            chosen = chosen if chosen in option_ids else None
            yield c.ResolveApproval(thread_id=self._thread_id, id=id, outcome=chosen)

    def request(self, request: Json, answer: Json | None = None) -> Commands:
        """Map any other request (fs/…, terminal/…), the response to it, or a notification."""
        kind, params = as_text(request["method"], "request")[:128], request.get("params")
        status: ActivityStatus = "running" if "id" in request else "completed"
        detail = {"params": params}
        if answer is not None:
            status = "completed" if answer.get("error") is None else "failed"
            detail |= {k: v for k, v in answer.items() if k in ("result", "error")}
        told = as_object(params)
        title = as_text(told.get("path"), as_text(told.get("command"), kind))
        id = self._same(kind, repr(request["id"])) if "id" in request else self._number("activity", kind)
        yield self._record(id, kind, title, status, detail)

    # Activities and ids

    def _record(self, id: str, kind: str, title: str, status: ActivityStatus, detail: Any) -> c.Command:
        return c.RecordActivity(
            thread_id=self._thread_id,
            id=id,
            turn_id=self._turn,
            kind=kind,
            title=title,
            status=status,
            detail=detail,
        )

    def _same(self, kind: str, key: str = "", wanted: str | None = None) -> str:
        """Return the id of an activity, the same one for the rest of the turn."""
        if (kind, key) not in self._activities:
            self._activities[(kind, key)] = self._id("activity", wanted, kind)
        return self._activities[(kind, key)]

    def _number(self, scope: str, word: str) -> str:
        return self._id(scope, None, word)

    def _id(self, scope: str, wanted: Any, word: str) -> str:
        """Return an unused id: the wanted one if it is free in its scope, otherwise one with a number appended."""
        id = fitting(wanted) if isinstance(wanted, str) else ""
        base = id or re.sub(r"[^A-Za-z0-9._:-]", "-", word)
        count = self._counts.setdefault((scope, base), 1 if id else 0)
        while not id or (scope, id) in self._taken:
            count += 1
            id = f"{base[:100]}-{count}"
        self._counts[(scope, base)] = count
        self._taken.add((scope, id))
        return id


METHODS: dict[str, Handler] = {
    "session/update": AgentSession.update,
    "session/request_permission": AgentSession.permission,
}

_UPDATES: dict[str, Callable[[AgentSession, Json], Commands]] = {
    "user_message_chunk": AgentSession._message_chunk,
    "agent_message_chunk": AgentSession._message_chunk,
    "agent_thought_chunk": AgentSession._thought_chunk,
    "tool_call": AgentSession._tool_call,
    "tool_call_update": AgentSession._tool_call,
    "plan": AgentSession._plan,
    "usage_update": AgentSession._usage,
}
