"""Which session of the agent a thread continues: its own, that of a thread it is a copy of, or that of another tool."""

from typing import NamedTuple

from treadle.agents.config import AgentConfig
from treadle.agents.known import known_name
from treadle.store.ports import Reads
from treadle.store.records import ThreadWork


class EarlierSession(NamedTuple):
    """A session to continue. id: the agent's own. is_other: whether it is that of another thread, and stays there."""

    id: str
    is_other: bool


def earlier_session(reads: Reads, work: ThreadWork, config: AgentConfig) -> EarlierSession | None:
    """The session that the thread's agent continues; None if there is none. config: of the agent."""
    agent, origin = work.agent, work.origin
    if agent is None:
        return None
    if work.session is not None:
        return EarlierSession(work.session.session_id, False) if work.session.agent == agent.name else None
    if origin is None:
        return None
    if origin.session_id is not None and origin.parent is None:  # another tool has recorded it
        tool = known_name(origin.tool)
        is_its = tool is not None and tool in (known_name(agent.name), known_name(config.command))
        return EarlierSession(origin.session_id, False) if is_its else None
    if origin.fork_of is None or origin.fork_of.turn_id is not None:
        return None
    session = next((source.session for source in reads.work([origin.fork_of.thread_id])), None)
    return EarlierSession(session.session_id, True) if session and session.agent == agent.name else None
