"""Maps the texts of one session: messages, which become messages, and thoughts, which become activities."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from treadle.agents.activities import Activities, Ids
from treadle.agents.shapes import Json, as_content, as_list, is_block, kind_of, text_of, texts_of
from treadle.domain import commands as c
from treadle.domain.ids import Role

Commands = Iterator[c.Command]

SPEAKERS = {
    "user_message_chunk": "user",
    "user_message": "user",
    "agent_message_chunk": "assistant",
    "agent_message": "assistant",
    "agent_thought_chunk": "thought",
    "agent_thought": "thought",
}
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}


class _OpenText(Struct):
    """A message or thought that still receives chunks. source: what all its chunks share. id: of the message."""

    source: tuple[str, Any]
    id: str = ""
    text: str = ""


class SpokenTexts:
    """The messages and thoughts of the running turn. activities: those of the same session.

    echo: the blocks of the prompt, which some agents repeat.
    """

    def __init__(self, thread_id: str, ids: Ids, activities: Activities) -> None:
        self._thread_id, self._ids, self._activities = thread_id, ids, activities
        self._message: _OpenText | None = None
        self._thought: _OpenText | None = None
        self.echo: list[Any] = []

    def add_message(
        self, speaker: str, native: Any, blocks: list[Any], source: Any, prompt_id: str | None = None
    ) -> c.Command:
        """Map a message that is complete."""
        text = texts_of(blocks)
        return c.AddMessage(
            thread_id=self._thread_id,
            id=self._ids.new("message", native, "message", source),
            turn_id=self._activities.turn_id,
            role=_ROLES[speaker],
            text=text or "",
            content=None if text is not None else as_content(blocks),
            prompt_id=prompt_id,
        )

    def end_others(self, update: Json) -> Commands:
        """Complete the open texts that this update shows to be finished."""
        speaker, native = source = _source(update)
        if self._thought is not None and self._thought.source != source:
            yield from self.end_thought()
        if self._message is not None and self._message.source != source:
            # A message without an id ends with any other update; one with an id ends when another message starts.
            own = self._message.source[1]
            if own is None or speaker in _ROLES or native not in (None, own):
                yield from self.end_message()

    def end_message(self) -> Commands:
        """Complete the open message."""
        if self._message is not None:
            yield c.CompleteMessage(thread_id=self._thread_id, id=self._message.id)
            self._message = None

    def end_thought(self) -> Commands:
        """Complete the open thought."""
        if self._thought is not None:
            yield from self._activities.tell("thought", source={}, members={}, status="completed")
            self._activities.forget("thought")
            self._thought = None

    def end_turn(self) -> None:
        """The turn's end completes everything in it."""
        self._message = self._thought = None

    # Updates of the protocol

    def message_chunk(self, update: Json, message: Json) -> Commands:
        block, (speaker, native) = update.get("content"), _source(update)
        text = text_of(block)
        if speaker == "user" and block in self.echo:
            self.echo.remove(block)  # the turn already holds the prompt
        elif text is not None:
            yield from self._say(speaker, native, text, message)
        elif is_block(block):
            yield from self.end_message()
            yield self.add_message(speaker, native, [block], message)
        else:
            yield self._content(block, message)

    def whole_message(self, update: Json, message: Json) -> Commands:
        """Map a message that comes as a whole: it adds to the open one if it begins like it, else it is another."""
        blocks, (speaker, native) = _blocks(update), _source(update)
        if speaker == "user" and blocks and all(block in self.echo for block in blocks):
            self.echo = [block for block in self.echo if block not in blocks]
            return
        text = texts_of(blocks, "")
        if self._message is not None and (text is None or not text.startswith(self._message.text)):
            yield from self.end_message()
        if text is None:
            yield self.add_message(speaker, native, blocks, message)
        elif blocks:
            yield from self._say(speaker, native, text[len(self._message.text) :] if self._message else text, message)

    def thought_chunk(self, update: Json, message: Json) -> Commands:
        text = text_of(update.get("content"))
        if text is None:
            yield self._content(update.get("content"), message)
        else:
            yield from self._think(_source(update), (self._thought.text if self._thought else "") + text, message)

    def whole_thought(self, update: Json, message: Json) -> Commands:
        text = texts_of(_blocks(update))
        if text is None:
            yield self._content(update.get("content"), message)
        elif text:
            yield from self._think(_source(update), text, message)

    def _say(self, speaker: str, native: Any, text: str, message: Json) -> Commands:
        if self._message is not None:
            self._message.text += text
            yield c.AppendMessage(thread_id=self._thread_id, id=self._message.id, text=text)
        else:
            self._message = _OpenText((speaker, native), self._ids.new("message", native, "message", message), text)
            yield c.AddMessage(
                thread_id=self._thread_id,
                id=self._message.id,
                turn_id=self._activities.turn_id,
                role=_ROLES[speaker],
                text=text,
                streaming=True,
            )

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

    def _content(self, block: Any, message: Json) -> c.Command:
        return self._activities.record("content", "content", block, message)


def _source(update: Json) -> tuple[str, Any]:
    """Return what all updates of one text share: who speaks, and the message id if there is one."""
    kind = kind_of(update)
    return SPEAKERS.get(kind, kind), update.get("messageId")


def _blocks(update: Json) -> list[Any]:
    content = update.get("content")
    return [] if content is None else as_list(content)


TEXTS: dict[str, Callable[[SpokenTexts, Json, Json], Commands]] = {
    "user_message_chunk": SpokenTexts.message_chunk,
    "agent_message_chunk": SpokenTexts.message_chunk,
    "agent_thought_chunk": SpokenTexts.thought_chunk,
    # Version 2
    "user_message": SpokenTexts.whole_message,
    "agent_message": SpokenTexts.whole_message,
    "agent_thought": SpokenTexts.whole_thought,
}
"""How each kind of update that holds text is told, given the update and the message that contains it."""
