"""What an agent tells when it loads a session: turns that the log may have under other ids."""

from typing import Any

import msgspec

from treadle.store.ports import Reads


def unknown_turns(reads: Reads, thread_id: str, turns: list[list[Any]]) -> list[list[Any]]:
    """Those of the replayed turns that came after the last one that the log has of this thread.

    Agents give what they replay other ids, and leave parts out, so only the prompts are compared. If the replay does
    not have the last prompt of the log, nothing in it is taken for new.
    """
    last = _last_prompt(reads, thread_id)
    if last is None:
        return turns
    for index in range(len(turns) - 1, -1, -1):
        if _words(turns[index][0].prompt) == last:
            return turns[index + 1 :]
    return []


def _last_prompt(reads: Reads, thread_id: str) -> list[str] | None:
    """The words of the newest prompt; None if the thread has none."""
    if reads.look_up([("thread", thread_id)])[("thread", thread_id)] is None:
        return None
    before = 2**62
    snapshot = reads.thread(thread_id, 20, before)
    said = [m for m in map(_json, snapshot.messages) if m["role"] == "user"]
    if not snapshot.turns:
        return None
    return _words(said[-1]["text"]) if said else []


def _json(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else msgspec.to_builtins(value)


def _words(text: str) -> list[str]:
    return text.split()
