"""Which thread has a session of a tool: one session is one thread, whoever tells it first."""

from treadle.agents.known import known_name
from treadle.agents.shapes import fitting
from treadle.store.ports import Reads


def thread_with(reads: Reads, session_id: str) -> str | None:
    """The thread in which treadle ran a session, or recorded it beside an editor; None if it did neither."""
    recorded = fitting(session_id)
    if reads.look_up([("thread", recorded)])[("thread", recorded)] is not None:  # also a deleted one
        return recorded
    return reads.thread_of_session(session_id)


def thread_for(reads: Reads, session_id: str, tool: str | None) -> str:
    """The thread for what is recorded of a session: the one that has it, of a run or an import, or a new one."""
    held = thread_with(reads, session_id)
    if held is not None:
        return held
    imported = fitting(f"{known_name(tool or '')}:{session_id}")
    return imported if reads.entities("thread", None, [imported]) else fitting(session_id)
