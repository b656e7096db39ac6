"""The commands of running agents: which agent, the queue of prompts, its sessions, and rules that answer for the user.

Part of commands.py, whose rules hold here too. What a runner records of an agent comes as a command as well.
"""

from typing import Annotated, ClassVar

from msgspec import Meta

from treadle.domain import agent_events as e
from treadle.domain.command import Command, ThreadCommand
from treadle.domain.ids import BudgetLimit, BudgetScope, Content, Decision, How, Id, Json, Name, Time, When, Word, note

Pattern = Annotated[str, Meta(min_length=1, max_length=4096)]


class AssignAgent(ThreadCommand, frozen=True, kw_only=True):
    """Choose the agent that runs the prompts of the thread. A running turn is finished by the agent that it has."""

    agent: Annotated[Id, note("Its name in agents.json")]
    mode: Annotated[Word | None, note("The mode of its sessions, by its id. If missing, that of agents.json")] = None
    options: Annotated[
        dict[str, str | bool], note("The options of its sessions, by their ids, besides those of agents.json")
    ] = {}


class SetThreadOption(ThreadCommand, frozen=True, kw_only=True):
    """Choose an option of the agent's sessions in this thread: the model, the mode, …"""

    id: Annotated[Word, note("The option's id, as the agent gave it. `mode` is the mode of agents that have only that")]
    value: str | bool


class ForkThread(ThreadCommand, frozen=True, kw_only=True):
    """Create a thread that continues a copy of another one, with the same agent."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The id of the new thread. Assigned if missing")] = None
    thread_id: Annotated[Id, note("The thread to copy")]
    after_turn_id: Annotated[Id | None, note("The last turn that both have. If missing, the newest one")] = None
    title: Annotated[Name | None, note("If missing, that of the other thread")] = None


# The queue of prompts


class QueuePrompt(ThreadCommand, frozen=True, kw_only=True):
    """Ask the agent of the thread. The prompt is sent once the turn before has ended, as the log has it: redacted."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The prompt's id. Assigned if missing")] = None
    text: Annotated[str, note("The user's text")] = ""
    content: Annotated[Content | None, note("The prompt as content blocks. Text is in them or in `text`")] = None
    when: Annotated[
        When,
        note(
            "`idle`: after the running turn and the prompts before it. `steer`: now, into the running turn; if the "
            "agent cannot do that, the turn is interrupted and the prompt is sent"
        ),
    ] = "idle"


class EditPrompt(ThreadCommand, frozen=True, kw_only=True):
    """Change a queued prompt. What is missing stays as it is; `text` and `content` replace each other."""

    id: Annotated[Id, note("The prompt's id")]
    text: str | None = None
    content: Content | None = None
    when: When | None = None


class MovePrompt(ThreadCommand, frozen=True, kw_only=True):
    """Change the place of a queued prompt."""

    id: Annotated[Id, note("The prompt's id")]
    before: Annotated[Id | None, note("The queued prompt that follows it then. If missing, it becomes the last")] = None


class RemovePrompt(ThreadCommand, frozen=True, kw_only=True):
    """Remove a queued prompt."""

    id: Annotated[Id, note("The prompt's id")]


class PauseQueue(ThreadCommand, frozen=True, kw_only=True):
    """Send no queued prompts until the queue is resumed. Changes nothing if no prompt is queued."""

    reason: Annotated[str | None, note("If missing, `paused by the client`")] = None


class ResumeQueue(ThreadCommand, frozen=True, kw_only=True):
    """Send the queued prompts again, for instance after a failure or a login."""


# Sessions of the agent, recorded by the daemon that runs it


class OpenSession(ThreadCommand, frozen=True, kw_only=True):
    """Record that an agent runs for the thread."""

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The session's id in treadle. Assigned if missing")] = None
    agent: Annotated[Id, note("Its name in agents.json")]
    release: Annotated[Name | None, note("The version of the agent")] = None
    session_id: Annotated[Name, note("The agent's own id of the session")]
    how: How
    capabilities: Annotated[dict[str, Json], note("What the agent can do, as it says")] = {}
    options: Annotated[list[Json], note("The options of the session, as the agent gave them")] = []


class ChangeSession(ThreadCommand, frozen=True, kw_only=True):
    """Record that the options of a session have changed."""

    id: Annotated[Id, note("The session's id in treadle")]
    options: Annotated[list[Json], note("All options of the session, as the agent gave them")]


class EndSession(ThreadCommand, frozen=True, kw_only=True):
    """Record that the agent of a session has ended."""

    id: Annotated[Id, note("The session's id in treadle")]
    reason: str
    exit_status: Annotated[int | None, note("Negative: the number of the signal that ended the agent")] = None
    stderr: Annotated[str | None, note("The last lines that the agent wrote to stderr")] = None


class LoseContext(ThreadCommand, frozen=True, kw_only=True):
    """Record that a session began without what was said in the thread before."""

    id: Annotated[Id, note("The session's id in treadle")]
    reason: str


class RequireAuth(ThreadCommand, frozen=True, kw_only=True):
    """Record that the agent needs a login. Pauses the queue."""

    agent: Annotated[Id, note("Its name in agents.json")]
    reason: str
    methods: Annotated[list[Json], note("The ways to log in, as the agent gave them")] = []


class ReportUsage(ThreadCommand, frozen=True, kw_only=True):
    """Record what a turn used."""

    id: Annotated[Id, note("The turn's id")]
    used: Annotated[int | None, note("Tokens in the context of the agent")] = None
    size: Annotated[int | None, note("The size of the context in tokens")] = None
    cost: Annotated[float | None, note("What the turn cost so far, in `currency`")] = None
    currency: Annotated[Word | None, note("As in ISO 4217")] = None
    tokens: Annotated[int | None, note("Tokens that the turn took in and put out so far")] = None


class ReachBudget(ThreadCommand, frozen=True, kw_only=True):
    """Record that a limit was reached, for which the turn is interrupted."""

    turn_id: Annotated[Id, note("The turn that reached it")]
    scope: BudgetScope
    limit: BudgetLimit
    amount: Annotated[float, note("The limit, in the unit of its name; cost in the agent's currency")]
    spent: float


# Rules


class Scope(e.GivenScope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a rule holds: in one thread, in the threads of one project, or everywhere."""

    thread_id: Id | None = None
    project_id: Id | None = None


class RuleMatch(e.GivenMatch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rule is about. All members that are given have to match."""

    kind: Annotated[Word | None, note("The kind of the tool call: `read`, `edit`, `execute`, …")] = None
    command: Annotated[
        Annotated[list[Pattern], Meta(min_length=1, max_length=100)] | None,
        note('The first words of a shell command: `["git", "diff"]` matches `git diff --stat`'),
    ] = None
    path: Annotated[
        Pattern | None, note("A pattern that all its paths match: `src/**/*.py`, relative to the project")
    ] = None


class AddRule(Command, frozen=True, kw_only=True):
    """Answer approvals of tool calls that match, without asking: deny goes before ask, ask before allow.

    A rule that allows never matches a kind alone: `fetch`, `other` and `switch_mode` cannot be allowed, `execute` needs
    a `command`, every other kind a `path`.
    """

    NEW_IDS: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[Id | None, note("The rule's id. Assigned if missing")] = None
    scope: Scope = Scope()
    agent: Annotated[Id | None, note("Only for this agent")] = None
    match: RuleMatch
    decision: Decision
    until: Annotated[Time | None, note("It does not hold any more from this time on")] = None


class RemoveRule(Command, frozen=True, kw_only=True):
    """Remove a rule. It answers no approval from then on."""

    id: Annotated[Id, note("The rule's id")]


AnyAgentCommand = (
    AssignAgent
    | SetThreadOption
    | ForkThread
    | QueuePrompt
    | EditPrompt
    | MovePrompt
    | RemovePrompt
    | PauseQueue
    | ResumeQueue
    | OpenSession
    | ChangeSession
    | EndSession
    | LoseContext
    | RequireAuth
    | ReportUsage
    | ReachBudget
    | AddRule
    | RemoveRule
)
