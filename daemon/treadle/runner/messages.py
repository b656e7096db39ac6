"""Messages of a live agent as JSON that the log can hold."""

import msgspec

from treadle.agents.codec import AgentMessage
from treadle.agents.shapes import Json
from treadle.contract.bounds import MAX_DEPTH
from treadle.contract.json_text import is_deeper_than, storable


def as_json(message: AgentMessage) -> Json | None:
    """A request or notification as JSON; None if the log cannot hold it."""
    found: Json = {"method": message.method}
    for name, raw in (("id", message.id), ("params", message.params)):
        text = bytes(raw)
        if b"\\u0000" in text:  # at which SQLite's JSON functions would cut a text
            text = storable(text)
        if is_deeper_than(MAX_DEPTH, text):
            return None
        if text:
            try:
                found[name] = msgspec.json.decode(text)
            except msgspec.DecodeError:
                return None
    return found
