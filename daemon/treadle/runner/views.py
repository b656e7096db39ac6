"""What the log says of a thread, as the state machine of its runner wants to know it. Pure."""

from treadle.agents.config import AgentConfig
from treadle.domain.entities import Assigned
from treadle.runner.signals import Options, View
from treadle.store.records import ThreadWork


def view_of(work: ThreadWork | None, sequence: int, claimed: bool, config: AgentConfig | None) -> View:
    """The view of a thread at this sequence of the log. work: None if the thread was deleted.

    claimed: whether this daemon runs its agent. config: of its agent, None if it is not configured.
    """
    if work is None:
        return View(sequence)
    steer = next((prompt.id for prompt in work.queue if prompt.when == "steer"), None)
    first = work.queue[0].id if work.queue and work.paused is None else None
    return View(
        sequence=sequence,
        agent=work.agent.name if work.agent else "",
        options=() if work.agent is None else options_of(work.agent, config),
        open=not work.archived,
        claimed=claimed,
        # A prompt that was to be sent into a turn is sent now, also while the others are held back.
        next=None if work.auth_required else steer or first,
        steer=steer,
        turn=work.turn.id if work.turn else None,
        cancelling=work.turn is not None and work.turn.cancelling,
        pending=frozenset(work.approvals),
        removals=work.removals,
    )


def options_of(agent: Assigned, config: AgentConfig | None) -> Options:
    """The options that the sessions of a thread are to have: those of agents.json, unless the thread has others."""
    options: dict[str, str | bool] = dict(config.options) if config else {}
    mode = agent.mode or (config.mode if config else None)
    if mode is not None:
        options["mode"] = mode
    return tuple(sorted({**options, **agent.options}.items()))
