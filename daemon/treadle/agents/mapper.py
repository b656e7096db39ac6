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
from treadle.agents.approvals import AskedApprovals
from treadle.agents.shapes import (
    Agent,
    Json,
    as_content,
    as_list,
    as_object,
    as_text,
    error_kind,
    first_line,
    kind_of,
    sentence,
    texts_of,
    update_of,
)
from treadle.agents.texts import SPEAKERS, TEXTS, SpokenTexts
from treadle.domain import commands as c
from treadle.domain.ids import ActivityStatus

Commands = Iterator[c.Command]
Handler = Callable[["AgentSession", Json, Json | None], Commands]
"""Maps a message of the agent to commands; for a request it is called again with the response."""

NO_END = "no end in the recording"
OUTSIDE = "outside"
"""The first word of the id of a turn that the recording does not bracket: what was said before or after a prompt."""

STATE = "state_update"
"""In version 2, an agent says by this that a turn runs, or has ended."""
REQUEST_CANCELLED = -32800
_OUTSIDE_ANSWER: Json = {"result": {"stopReason": "outside_turn"}}


class PromptMessage(Struct, eq=False):
    """content: the content blocks of a session/prompt. source: what identifies it. answer: None until it arrives."""

    content: list[Any]
    source: Any
    answer: Json | None = None


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
        self._ids = ids or Ids()
        self._forget()

    @property
    def waiting(self) -> int:
        """The number of messages that wait for the next turn."""
        return len(self._kept)

    def prompt(self, prompt: PromptMessage) -> Commands:
        """Start a turn. During a turn, queue the prompt (version 1) or add it to the turn (version 2)."""
        if self._agent.version > 1 and self._turn:
            yield from self._texts.end_message()
            yield self._texts.add_message("user", None, prompt.content, prompt.source)
            self._texts.echo += prompt.content
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
        elif self._agent.version > 1 and kind_of(update_of(message)) == STATE:
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
        self._forget()

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

    @property
    def approvals(self) -> AskedApprovals:
        """The approvals of the running turn."""
        return self._approvals

    def begin(self, prompt: PromptMessage, prompt_id: str | None = None) -> Commands:
        """Start a turn: the first command. What was told before it belongs to it."""
        return self._begin(prompt.content, prompt.source, "turn" if prompt_id else OUTSIDE, prompt_id)

    def steer(self, prompt: PromptMessage, prompt_id: str) -> c.Command:
        """The agent has taken a prompt into the running turn."""
        self._texts.echo += prompt.content
        return self._texts.add_message("user", None, prompt.content, prompt.source, prompt_id)

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
            if SPEAKERS.get(kind_of(update)) == "user":
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
        self._texts.echo = list(blocks)
        kept, self._kept = self._kept, []
        for handler, message, answer in kept:
            yield from handler(self, message, answer)

    def _end_turn(self, answer: Json) -> Commands:
        yield from self._texts.end_thought()
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
        self._turn = ""
        self._texts.end_turn()
        self._activities.end_turn()
        self._approvals.end_turn()

    def _forget(self) -> None:
        """What is told next has nothing to do with what was told before."""
        self._activities = Activities(self._agent, self._thread_id, self._ids)
        self._texts = SpokenTexts(self._thread_id, self._ids, self._activities)
        self._approvals = AskedApprovals(self._agent, self._thread_id, self._ids, self._activities)

    # Updates

    def update(self, message: Json, _answer: Json | None = None) -> Commands:
        """Map a session/update."""
        update = update_of(message)
        kind = kind_of(update)
        yield from self._texts.end_others(update)
        if kind in TEXTS:
            yield from TEXTS[kind](self._texts, update, message)
        elif kind in UPDATES:
            yield from UPDATES[kind](self._activities, update, message)
        elif kind == STATE and self._agent.version > 1 and update.get("state") == "idle":
            self._prompts.clear()
            yield from self._end_turn({"result": update})
        elif kind != STATE or self._agent.version == 1 or update.get("state") not in ("running", "requires_action"):
            yield self._activities.record(kind, kind, update, message)
        # else its turn runs already, and its approvals tell what it waits for

    # Requests

    def permission(self, request: Json, answer: Json | None = None) -> Commands:
        """Map a session/request_permission, or the response to it."""
        yield from self._approvals.permission(request, answer)

    def elicitation(self, request: Json, answer: Json | None = None) -> Commands:
        """Map an elicitation/create, or the response to it."""
        yield from self._approvals.elicitation(request, answer)

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


METHODS: dict[str, Handler] = {
    "session/update": AgentSession.update,
    "session/request_permission": AgentSession.permission,
    "elicitation/create": AgentSession.elicitation,
}
