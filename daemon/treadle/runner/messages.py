"""Messages of a live agent as JSON that the log can hold."""

import re

import msgspec

from treadle.agents.codec import AgentMessage
from treadle.agents.shapes import Json
from treadle.contract.bounds import MAX_DEPTH
from treadle.contract.json_text import holds_lone_surrogate, is_deeper_than


def as_json(message: AgentMessage) -> Json | None:
    """A request or notification as JSON; None if the log cannot hold it.

    U+0000, at which SQLite's JSON functions would cut a text, is replaced by U+FFFD: tools do print it.
    """
    found: Json = {"method": message.method}
    for name, raw in (("id", message.id), ("params", message.params)):
        text = bytes(raw)
        if b"\\u0000" in text:
            text = re.sub(rb"(?<!\\)((?:\\\\)*)\\u0000", rb"\1\\ufffd", text)
        if is_deeper_than(MAX_DEPTH, text) or holds_lone_surrogate(text):
            return None
        if text:
            try:
                found[name] = msgspec.json.decode(text)
            except msgspec.DecodeError:
                return None
    return found
