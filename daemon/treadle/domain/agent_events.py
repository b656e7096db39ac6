"""The events of running agents: what was asked of them, their sessions, and the rules that answer for the user.

Part of events.py, whose rules hold here too.
"""

from typing import Annotated

from msgspec import Struct

from treadle.domain.event import Event, ThreadEvent
from treadle.domain.ids import BudgetLimit, BudgetScope, Content, Decision, GivenId, How, Json, Timestamp, When, note


class AgentAssigned(ThreadEvent, frozen=True, kw_only=True):
    """The agent that runs the prompts of the thread from now on."""

    agent: Annotated[str, note("Its name in agents.json")]
    mode: Annotated[str | None, note("The mode of its sessions, by its id")] = None
    options: Annotated[dict[str, Json], note("The options of its sessions, by their ids")] = {}


class ThreadOptionSet(ThreadEvent, frozen=True, kw_only=True):
    """An option of the agent's sessions in this thread was chosen."""

    id: Annotated[str, note("The option's id, as the agent gave it")]
    value: Json


# The queue of prompts


class PromptQueued(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    text: Annotated[str, note("Missing if it is empty, or if the text is in `content`")] = ""
    content: Content | None = None
    when: When = "idle"
    runner: Annotated[GivenId, note("The daemon that received it, and sends it unless another one runs the agent")]


class PromptEdited(ThreadEvent, frozen=True, kw_only=True):
    """Holds the whole prompt as it is now."""

    id: GivenId
    text: str = ""
    content: Content | None = None
    when: When = "idle"


class PromptMoved(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    position: Annotated[float, note("Prompts are sent in the order of their positions; at first, its sequence")]


class PromptRemoved(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId


class PromptSent(ThreadEvent, frozen=True, kw_only=True):
    """The prompt left the queue for a turn. Recorded before the agent gets it, so it is never sent twice."""

    id: GivenId
    turn_id: GivenId


class QueuePaused(ThreadEvent, frozen=True, kw_only=True):
    """Queued prompts are not sent until the queue is resumed."""

    reason: str


class QueueResumed(ThreadEvent, frozen=True, kw_only=True):
    runner: Annotated[GivenId, note("The daemon that sends the prompts from now on, unless another one runs the agent")]


# Sessions of the agent


class SessionOpened(ThreadEvent, frozen=True, kw_only=True):
    """An agent runs for the thread."""

    id: GivenId
    agent: Annotated[str, note("Its name in agents.json")]
    release: Annotated[str | None, note("The version of the agent")] = None
    session_id: Annotated[str, note("The agent's own id of the session")]
    how: How
    capabilities: Annotated[dict[str, Json], note("What the agent can do, as it says")] = {}
    options: Annotated[list[Json], note("The options of the session, as the agent gave them")] = []
    runner: Annotated[GivenId, note("The daemon that runs the agent")]


class SessionChanged(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    options: Annotated[list[Json], note("All options of the session, as the agent gave them")]


class SessionEnded(ThreadEvent, frozen=True, kw_only=True):
    id: GivenId
    reason: str
    exit_status: Annotated[int | None, note("Negative: the number of the signal that ended the agent")] = None
    stderr: Annotated[str | None, note("The last lines that the agent wrote to stderr")] = None


class ContextLost(ThreadEvent, frozen=True, kw_only=True):
    """The agent could not continue its session: it knows nothing of what was said in the thread before."""

    id: Annotated[GivenId, note("The session that began without it")]
    reason: str


class AuthRequired(ThreadEvent, frozen=True, kw_only=True):
    """The agent needs a login before it opens a session."""

    agent: Annotated[str, note("Its name in agents.json")]
    reason: str
    methods: Annotated[list[Json], note("The ways to log in, as the agent gave them")] = []


class UsageReported(ThreadEvent, frozen=True, kw_only=True):
    """What a turn used. Of several, the last one counts."""

    id: Annotated[GivenId, note("The turn's id")]
    used: Annotated[int | None, note("Tokens in the context of the agent")] = None
    size: Annotated[int | None, note("The size of the context in tokens")] = None
    cost: Annotated[float | None, note("What the turn cost, in `currency`")] = None
    currency: Annotated[str | None, note("As in ISO 4217")] = None
    tokens: Annotated[int | None, note("Tokens that the turn took in and put out")] = None


class BudgetReached(ThreadEvent, frozen=True, kw_only=True):
    """A limit was reached, so the turn is interrupted."""

    turn_id: GivenId
    scope: BudgetScope
    limit: BudgetLimit
    amount: Annotated[float, note("The limit, in the unit of its name; cost in the agent's currency")]
    spent: float


# Rules


class GivenScope(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a rule holds: in one thread, in the threads of one project, or everywhere."""

    thread_id: GivenId | None = None
    project_id: GivenId | None = None


class GivenMatch(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a rule is about. All members that are given have to match."""

    kind: Annotated[str | None, note("The kind of the tool call: `read`, `edit`, `execute`, …")] = None
    command: Annotated[
        list[str] | None, note('The first words of a shell command: `["git", "diff"]` matches `git diff --stat`')
    ] = None
    path: Annotated[str | None, note("A pattern that all its paths match: `src/**/*.py`, relative to the project")] = (
        None
    )


class RuleAdded(Event, frozen=True, kw_only=True):
    id: GivenId
    scope: GivenScope = GivenScope()
    agent: Annotated[str | None, note("Only for this agent")] = None
    match: GivenMatch
    decision: Decision
    until: Annotated[Timestamp | None, note("It does not hold any more from this time on")] = None


class RuleRemoved(Event, frozen=True, kw_only=True):
    id: GivenId


AnyAgentEvent = (
    AgentAssigned
    | ThreadOptionSet
    | PromptQueued
    | PromptEdited
    | PromptMoved
    | PromptRemoved
    | PromptSent
    | QueuePaused
    | QueueResumed
    | SessionOpened
    | SessionChanged
    | SessionEnded
    | ContextLost
    | AuthRequired
    | UsageReported
    | BudgetReached
    | RuleAdded
    | RuleRemoved
)
