"""Maps one session of the Agent Client Protocol to the commands of one treadle thread.

Pure and deterministic: an id is the agent's own if it has one that treadle accepts, otherwise it is made from a digest
of what was said, so the same messages always give the same commands. Updates that neither version of the protocol
defines (https://agentclientprotocol.com/protocol/v1/schema, …/v2/draft/schema) are kept as activities.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from treadle.agents.activities import UPDATES, Activities, Ids
from treadle.agents.shapes import (
    Agent,
    Json,
    as_content,
    as_list,
    as_object,
    as_text,
    error_kind,
    first_line,
    is_block,
    kind_of,
    members_of,
    option_id,
    sentence,
    text_of,
    texts_of,
    update_of,
)
from treadle.domain import commands as c
from treadle.domain.ids import ActivityStatus, Role

Commands = Iterator[c.Command]
Handler = Callable[["AgentSession", Json, Json | None], Commands]
"""Maps a message of the agent to commands; for a request it is called again with the response."""

NO_END = "no end in the recording"
OUTSIDE = "outside"
"""The first word of the id of a turn that the recording does not bracket: what was said before or after a prompt."""

REQUEST_CANCELLED = -32800
ELICITATION_OPTIONS = [
    c.ApprovalOption(id="accept", name="Accept", kind="allow_once"),
    c.ApprovalOption(id="decline", name="Decline", kind="reject_once"),
]
_OUTSIDE_ANSWER: Json = {"result": {"stopReason": "outside_turn"}}
_SPEAKERS = {
    "user_message_chunk": "user",
    "user_message": "user",
    "agent_message_chunk": "assistant",
    "agent_message": "assistant",
    "agent_thought_chunk": "thought",
    "agent_thought": "thought",
}
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}


class PromptMessage(Struct, eq=False):
    """content: the content blocks of a session/prompt. source: what identifies it. answer: None until it arrives."""

    content: list[Any]
    source: Any
    answer: Json | None = None


class _OpenText(Struct):
    """A message or thought that still receives chunks. source: what all its chunks share. id: of the message."""

    source: tuple[str, Any]
    id: str = ""
    text: str = ""


class AgentSession:
    """The state of one session. Everything except a prompt belongs to a turn; messages between two turns wait for the
    next. In version 1 a turn ends with the response to its prompt, in version 2 when the agent says that it is idle."""

    def __init__(self, agent: Agent, thread: c.CreateThread | str, ids: Ids | None = None) -> None:
        """agent: shared by the sessions of a connection. thread: without a title, the first prompt gives it one; the
        id of a thread that exists already."""
        self._agent = agent
        self._new_thread = None if isinstance(thread, str) else thread
        self._thread_id = thread if isinstance(thread, str) else str(thread.thread_id)
        self._turn = ""
        self._prompts: list[PromptMessage] = []
        self._cancelled: str | None = None
        self._kept: list[tuple[Handler, Json, Json | None]] = []
        self._echo: list[Any] = []
        self._message: _OpenText | None = None
        self._thought: _OpenText | None = None
        self._ids = ids or Ids()
        self._activities = Activities(agent, self._thread_id, self._ids)
        self._approvals: dict[str, tuple[str, list[str]]] = {}

    @property
    def waiting(self) -> int:
        """The number of messages that wait for the next turn."""
        return len(self._kept)

    def prompt(self, prompt: PromptMessage) -> Commands:
        """Start a turn. During a turn, queue the prompt (version 1) or add it to the turn (version 2)."""
        if self._agent.version > 1 and self._turn:
            yield from self._end_message()
            yield self._add_message("user", None, prompt.content, prompt.source)
            self._echo += prompt.content
            return
        self._prompts.append(prompt)
        if len(self._prompts) == 1:
            yield from self._begin_next()

    def answer(self, prompt: PromptMessage, answer: Json) -> Commands:
        """Store the response, end the turns whose prompts are answered in order, and start the next queued prompt.

        In version 2 the response only acknowledges the prompt, unless it is an error.
        """
        if self._agent.version > 1 and (answer.get("error") is None or prompt not in self._prompts):
            return
        prompt.answer = answer
        while self._prompts and (first := self._prompts[0].answer) is not None:
            del self._prompts[0]
            yield from self._end_turn(first)
            if self._prompts:
                yield from self._begin_next()

    def cancel(self, by: str = "client") -> None:
        """The agent was asked to stop the turn."""
        self._cancelled = by if self._turn else None

    def tell(self, handler: Handler, message: Json, answer: Json | None = None) -> Commands:
        """Map a message within the running turn, or keep it for the next turn."""
        if self._turn:
            yield from handler(self, message, answer)
        elif self._agent.version > 1 and kind_of(update_of(message)) == "state_update":
            if update_of(message).get("state") == "running":  # the agent starts to work by itself
                yield from self._begin([], message, "turn")
        elif answer is None or handler is AgentSession.request or any(kept is message for _, kept, _ in self._kept):
            self._kept.append((handler, message, answer))
        # else it responds to an approval that treadle cancelled when its turn ended

    def cut_off(self, reason: str) -> Commands:
        """Interrupt the running turn and the queued ones, of which the agent says nothing more."""
        answer: Json = {"error": {"code": REQUEST_CANCELLED, "message": reason}, "confirmed": None}
        while self._prompts:
            prompt = self._prompts.pop(0)
            yield from self._end_turn(prompt.answer or answer)
            if self._prompts:
                yield from self._begin_next()
        if self._turn:
            yield from self._end_turn(answer)
        self._activities = Activities(self._agent, self._thread_id, self._ids)

    def end(self, reason: str = NO_END) -> Commands:
        """The recording is over: end running turns and give the remaining messages a turn of their own."""
        yield from self.cut_off(reason)
        yield from self._replay()
        if self._kept:
            yield from self._begin([], self._kept[0][1], OUTSIDE)
            yield from self._end_turn(_OUTSIDE_ANSWER)

    # One turn at a time, where the prompts are sent by treadle

    @property
    def in_turn(self) -> bool:
        """Whether a turn runs."""
        return bool(self._turn)

    def call_of(self, approval: c.RequestApproval) -> Json:
        """The tool call that an approval is about: what its request says, over what was announced before."""
        detail = as_object(approval.detail)
        told = self._activities.get("tool_call", as_text(detail.get("toolCallId"), ""))
        return {**told.detail, **detail} if told else detail

    def request_of(self, approval_id: str) -> str:
        """The id of the request that an approval of this turn answers, as Python shows it."""
        return next((key for key, (id, _) in self._approvals.items() if id == approval_id), "")

    def begin(self, prompt: PromptMessage, prompt_id: str | None = None) -> Commands:
        """Start a turn: the first command. What was told before it belongs to it."""
        return self._begin(prompt.content, prompt.source, "turn" if prompt_id else OUTSIDE, prompt_id)

    def steer(self, prompt: PromptMessage, prompt_id: str) -> c.Command:
        """The agent has taken a prompt into the running turn."""
        self._echo += prompt.content
        return self._add_message("user", None, prompt.content, prompt.source, prompt_id)

    def finish(self, answer: Json) -> Commands:
        """End the turn with the agent's response to the prompt."""
        return self._end_turn(answer)

    def abandon(self) -> None:
        """The turn has ended in another way, or never began."""
        self._leave_turn()

    # Turns

    def _begin_next(self) -> Commands:
        yield from self._replay()
        yield from self._begin(self._prompts[0].content, self._prompts[0].source, "turn")

    def _replay(self) -> Commands:
        """Rebuild turns from history that arrived outside a turn (session/load): each user message starts one."""
        said: list[Any] = []
        source: Json = {}
        kept, self._kept = self._kept, []
        for handler, message, answer in kept:
            update = update_of(message)
            if _SPEAKERS.get(kind_of(update)) == "user":
                if self._turn:
                    yield from self._end_turn(_OUTSIDE_ANSWER)
                source = source if said else message
                said += as_list(update.get("content"))
                continue
            if said:
                yield from self._begin(said, source, OUTSIDE)
                said = []
            yield from self.tell(handler, message, answer)
        if said:
            yield from self._begin(said, source, OUTSIDE)
        if self._turn:
            yield from self._end_turn(_OUTSIDE_ANSWER)

    def _begin(self, blocks: list[Any], source: Any, word: str, prompt_id: str | None = None) -> Commands:
        if self._new_thread is not None:
            title = self._new_thread.title or (first_line(blocks) or "New session")[:80]
            yield msgspec.structs.replace(self._new_thread, title=title)
            self._new_thread = None
        text = texts_of(blocks)
        self._turn = self._activities.turn_id = self._ids.new("turn", None, word, source)
        self._cancelled = None
        yield c.StartTurn(
            thread_id=self._thread_id,
            id=self._turn,
            prompt=text or "",
            content=None if text is not None else as_content(blocks),
            message_id=self._ids.new("message", None, "prompt", source),
            prompt_id=prompt_id,
        )
        self._echo = list(blocks)
        kept, self._kept = self._kept, []
        for handler, message, answer in kept:
            yield from handler(self, message, answer)

    def _end_turn(self, answer: Json) -> Commands:
        yield from self._end_thought()
        result, error = as_object(answer.get("result")), answer.get("error")
        reason = as_text(result.get("stopReason"), "unknown")[:128]
        turn: Json = {"thread_id": self._thread_id, "id": self._turn}
        if error is not None and as_object(error).get("code") != REQUEST_CANCELLED:
            yield c.FailTurn(**turn, error=sentence(error), kind=error_kind(error))
        elif error is not None or reason == "cancelled" or self._cancelled:  # some agents say end_turn after a cancel
            by_itself = self._cancelled is None  # Codex does this when an approval is refused
            told = as_text(as_object(error).get("message"), "the agent cancelled it" if by_itself else "cancelled")
            yield c.InterruptTurn(**turn, reason=told, by=self._cancelled, confirmed=answer.get("confirmed", True))
        else:
            yield c.CompleteTurn(**turn, stop_reason=reason, usage=result.get("usage"))
        self._leave_turn()

    def _leave_turn(self) -> None:
        """Ending the turn ends everything in it."""
        self._turn, self._message, self._thought = "", None, None
        self._activities.end_turn()
        self._approvals.clear()

    # Updates

    def update(self, message: Json, _answer: Json | None = None) -> Commands:
        """Map a session/update. First complete the open texts that this update shows to be finished."""
        update = update_of(message)
        speaker, native = source = _source(update)
        if self._thought is not None and self._thought.source != source:
            yield from self._end_thought()
        if self._message is not None and self._message.source != source:
            # A message without an id ends with any other update; one with an id ends when another message starts.
            own = self._message.source[1]
            if own is None or speaker in _ROLES or native not in (None, own):
                yield from self._end_message()
        if tell := UPDATES.get(kind_of(update)):
            yield from tell(self._activities, update, message)
        else:
            yield from _UPDATES.get(kind_of(update), AgentSession._any_update)(self, update, message)

    def _message_chunk(self, update: Json, message: Json) -> Commands:
        block, (speaker, native) = update.get("content"), _source(update)
        text = text_of(block)
        if speaker == "user" and block in self._echo:
            self._echo.remove(block)  # the turn already holds the prompt
        elif text is not None:
            yield from self._say(speaker, native, text, message)
        elif is_block(block):
            yield from self._end_message()
            yield self._add_message(speaker, native, [block], message)
        else:
            yield self._content(block, message)

    def _whole_message(self, update: Json, message: Json) -> Commands:
        """Map a message that comes as a whole: it adds to the open one if it begins like it, else it is another."""
        blocks, (speaker, native) = _blocks(update), _source(update)
        if speaker == "user" and blocks and all(block in self._echo for block in blocks):
            self._echo = [block for block in self._echo if block not in blocks]
            return
        text = texts_of(blocks, "")
        if self._message is not None and (text is None or not text.startswith(self._message.text)):
            yield from self._end_message()
        if text is None:
            yield self._add_message(speaker, native, blocks, message)
        elif blocks:
            yield from self._say(speaker, native, text[len(self._message.text) :] if self._message else text, message)

    def _say(self, speaker: str, native: Any, text: str, message: Json) -> Commands:
        if self._message is not None:
            self._message.text += text
            yield c.AppendMessage(thread_id=self._thread_id, id=self._message.id, text=text)
        else:
            self._message = _OpenText((speaker, native), self._ids.new("message", native, "message", message), text)
            yield c.AddMessage(
                thread_id=self._thread_id,
                id=self._message.id,
                turn_id=self._turn,
                role=_ROLES[speaker],
                text=text,
                streaming=True,
            )

    def _add_message(
        self, speaker: str, native: Any, blocks: list[Any], source: Any, prompt_id: str | None = None
    ) -> c.Command:
        text = texts_of(blocks)
        return c.AddMessage(
            thread_id=self._thread_id,
            id=self._ids.new("message", native, "message", source),
            turn_id=self._turn,
            role=_ROLES[speaker],
            text=text or "",
            content=None if text is not None else as_content(blocks),
            prompt_id=prompt_id,
        )

    def _end_message(self) -> Commands:
        if self._message is not None:
            yield c.CompleteMessage(thread_id=self._thread_id, id=self._message.id)
            self._message = None

    def _thought_chunk(self, update: Json, message: Json) -> Commands:
        text = text_of(update.get("content"))
        if text is None:
            yield self._content(update.get("content"), message)
        else:
            yield from self._think(_source(update), (self._thought.text if self._thought else "") + text, message)

    def _whole_thought(self, update: Json, message: Json) -> Commands:
        text = texts_of(_blocks(update))
        if text is None:
            yield self._content(update.get("content"), message)
        elif text:
            yield from self._think(_source(update), text, message)

    def _think(self, source: tuple[str, Any], text: str, message: Json) -> Commands:
        self._thought = _OpenText(source, text=text)
        yield from self._activities.tell(
            "thought",
            source=message,
            members={"text": text},
            title="Thought",
            status="running",
            wanted=source[1],
        )

    def _end_thought(self) -> Commands:
        if self._thought is not None:
            yield from self._activities.tell("thought", source={}, members={}, status="completed")
            self._activities.forget("thought")
            self._thought = None

    def _session_state(self, update: Json, message: Json) -> Commands:
        """Map the state of a session of version 2: the turn ends when it is idle; its approvals tell the others."""
        if self._agent.version > 1 and update.get("state") == "idle":
            self._prompts.clear()
            yield from self._end_turn({"result": update})
        elif self._agent.version == 1 or update.get("state") not in ("running", "requires_action"):
            yield from self._any_update(update, message)

    def _any_update(self, update: Json, message: Json) -> Commands:
        kind = kind_of(update)
        yield self._activities.record(kind, kind, update, message)

    def _content(self, block: Any, message: Json) -> c.Command:
        return self._activities.record("content", "content", block, message)

    # Requests

    def permission(self, request: Json, answer: Json | None = None) -> Commands:
        """Map a session/request_permission, or the response to it."""
        key = repr(request.get("id"))
        if answer is None:
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
            self._approvals[key] = id, list(offered)
            yield c.RequestApproval(
                thread_id=self._thread_id,
                id=id,
                turn_id=self._turn,
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
        else:
            outcome = as_object(as_object(answer.get("result")).get("outcome"))
            yield from self._resolve(key, option_id(outcome) if outcome.get("outcome") == "selected" else None)

    def elicitation(self, request: Json, answer: Json | None = None) -> Commands:
        """Map an elicitation/create, or the response to it: an approval with a form to fill in, or a URL to open."""
        key = repr(request.get("id"))
        if answer is None:
            params = as_object(request.get("params"))
            id = self._ids.new("approval", None, "approval", request)
            self._approvals[key] = id, [option.id for option in ELICITATION_OPTIONS]
            yield c.RequestApproval(
                thread_id=self._thread_id,
                id=id,
                turn_id=self._turn,
                title=as_text(params.get("message"), "The agent asks"),
                options=ELICITATION_OPTIONS,
                detail={k: v for k, v in params.items() if k not in ("sessionId", "message")},
            )
        else:
            result = as_object(answer.get("result"))
            yield from self._resolve(key, as_text(result.get("action"), ""), result.get("content"))

    def _resolve(self, key: str, outcome: str | None, content: Any = None) -> Commands:
        if key in self._approvals:  # else its turn has ended and treadle has cancelled the approval
            id, option_ids = self._approvals.pop(key)
            chosen = outcome if outcome in option_ids else None
            yield c.ResolveApproval(thread_id=self._thread_id, id=id, outcome=chosen, content=content)

    def request(self, request: Json, answer: Json | None = None) -> Commands:
        """Map any other request (fs/…, terminal/…), the response to it, or a notification."""
        kind, params = as_text(request["method"], "request")[:128], request.get("params")
        told = as_object(params)
        title = as_text(told.get("path"), as_text(told.get("command"), kind))
        if "id" not in request:
            yield self._activities.record(kind, title, {"params": params}, request)
            return
        members: Json = {"params": params}
        status: ActivityStatus = "running"
        if answer is not None:
            members |= {k: v for k, v in answer.items() if k in ("result", "error")}
            status = "completed" if answer.get("error") is None else "failed"
        yield from self._activities.tell(
            kind, repr(request["id"]), source=request, members=members, title=title, status=status
        )


def _source(update: Json) -> tuple[str, Any]:
    """Return what all updates of one text share: who speaks, and the message id if there is one."""
    kind = kind_of(update)
    return _SPEAKERS.get(kind, kind), update.get("messageId")


def _blocks(update: Json) -> list[Any]:
    content = update.get("content")
    return [] if content is None else as_list(content)


METHODS: dict[str, Handler] = {
    "session/update": AgentSession.update,
    "session/request_permission": AgentSession.permission,
    "elicitation/create": AgentSession.elicitation,
}

_UPDATES: dict[str, Callable[[AgentSession, Json, Json], Commands]] = {
    "user_message_chunk": AgentSession._message_chunk,
    "agent_message_chunk": AgentSession._message_chunk,
    "agent_thought_chunk": AgentSession._thought_chunk,
    # Version 2
    "user_message": AgentSession._whole_message,
    "agent_message": AgentSession._whole_message,
    "agent_thought": AgentSession._whole_thought,
    "state_update": AgentSession._session_state,
}
