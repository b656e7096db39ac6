"""Commands in the making, for tests that ask for anything in any order."""

from typing import Any, NamedTuple, TypeVar

import msgspec
from hypothesis import strategies as st

from treadle.domain import agent_commands as ac
from treadle.domain import agent_events as ae
from treadle.domain import commands as c
from treadle.domain import events as e

T = TypeVar("T")

NOBODY = "nobody"
NOTHING = (NOBODY, NOBODY)
"""An id that there never is, and one in a thread that there never is."""

# Astral and combining characters, what JSON escapes, a line separator: offsets are code points.
TEXTS = st.text(alphabet='aé😀𝄞\u0301\n"\\\u2028\x7f', max_size=5)
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 1, 1.0, 12345678901234567890123, 1e300, "é", [], {}),
        *({"b": [None, -0.5], "a": {}}, {"a": "é"}, {"a": "é\n", "c-d": 2**64}, {"a.b": 1, '"': None}),
    ]
)


class Draft(NamedTuple):
    """A command in the making: what it means is found when it is sent, from what there is by then."""

    kind: type[c.Command]
    which: int
    other: int
    text: str
    value: Any
    flag: bool


OF_PROJECT = (c.UpdateProject, c.DeleteProject, c.CreateThread)
OF_THREAD = (
    c.RenameThread,
    c.ArchiveThread,
    c.UnarchiveThread,
    c.DeleteThread,
    c.EraseThread,
    c.Redact,
    c.CreateCheckpoint,
    c.FailCheckpoint,
    c.CreateWorktree,
    c.RemoveWorktree,
    c.StartTurn,
    ac.AssignAgent,
    ac.ForkThread,
    ac.PauseQueue,
    ac.ResumeQueue,
    ac.OpenSession,
    ac.RequireAuth,
)
OF_AGENT = (ac.SetThreadOption, ac.QueuePrompt)
OF_PROMPT = (ac.EditPrompt, ac.MovePrompt, ac.RemovePrompt)
OF_SESSION = (ac.ChangeSession, ac.EndSession, ac.LoseContext)
OF_TURN = (
    *(c.CompleteTurn, c.FailTurn, c.CancelTurn, c.InterruptTurn),
    *(c.AddMessage, c.RecordActivity, c.UpdateActivity, c.RequestApproval),
    *(ac.ReportUsage, ac.ReachBudget),
)
OF_MESSAGE = (c.AppendMessage, c.CompleteMessage)

# What makes more possible, and what streams, comes more often than what ends it.
OFTEN = [*OF_TURN[4:8], *OF_TURN[4:8], c.CreateThread, c.StartTurn, c.AppendMessage, c.AppendMessage, c.AppendMessage]
OFTEN += [ac.QueuePrompt, ac.QueuePrompt]
KINDS = [*c.COMMANDS, *OFTEN]
SMALL = st.integers(0, 7)
DRAFTS = st.builds(Draft, st.sampled_from(KINDS), SMALL, SMALL, TEXTS, VALUES, st.booleans())


class Known:
    """What the log says there is, as far as a client needs it to ask for something that makes sense."""

    def __init__(self) -> None:
        self.projects: list[str] = []
        self.threads: list[str] = []
        self.deleted: list[str] = []
        self.events: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.worktrees: list[str] = []
        self.archived: list[str] = []
        self.running: dict[str, str] = {}
        self.open: list[tuple[str, str]] = []
        self.pending: list[tuple[str, str]] = []
        self.activities: list[tuple[str, str]] = []
        self.checkpoints: list[tuple[str, str]] = []
        self.versions: dict[str, int] = {}
        self.agents: list[str] = []
        self.prompts: list[tuple[str, str]] = []
        self.sessions: list[tuple[str, str]] = []
        self.rules: list[str] = []

    def learn(self, sequence: int, event: e.AnyEvent) -> None:
        if isinstance(event, e.ThreadEvent) and not isinstance(event, e.MessageAppended):
            self.versions[event.thread_id] = sequence
        if isinstance(event, e.ThreadEvent):
            self.events.setdefault(event.thread_id, []).append((sequence, msgspec.json.decode(e.encode(event))))
        if isinstance(event, e.EventsRedacted):
            now = {one.sequence: {**one.event, "redacted": sequence} for one in event.events}
            of_thread = self.events[event.thread_id]
            self.events[event.thread_id] = [(s, now.get(s, one)) for s, one in of_thread]
        match event:
            case e.ProjectCreated():
                self.projects.append(event.id)
            case e.ProjectDeleted():
                self.projects.remove(event.id)
            case e.ThreadCreated():
                self.threads.append(event.thread_id)
                if event.worktree:
                    self.worktrees.append(event.thread_id)
            case e.ThreadArchived():
                self.archived.append(event.thread_id)
            case e.ThreadUnarchived():
                self.archived.remove(event.thread_id)
            case e.ThreadDeleted():
                self.threads.remove(event.thread_id)
                self.deleted.append(event.thread_id)
                self.worktrees = [thread for thread in self.worktrees if thread != event.thread_id]
                self.activities = [pair for pair in self.activities if pair[0] != event.thread_id]
                self.checkpoints = [pair for pair in self.checkpoints if pair[0] != event.thread_id]
                self.prompts = [pair for pair in self.prompts if pair[0] != event.thread_id]
                self.sessions = [pair for pair in self.sessions if pair[0] != event.thread_id]
                self.agents = [thread for thread in self.agents if thread != event.thread_id]
            case e.TurnStarted():
                self.running[event.thread_id] = event.id
            case e.TurnCompleted() | e.TurnFailed() | e.TurnInterrupted():
                del self.running[event.thread_id]
                self.activities = [pair for pair in self.activities if pair[0] != event.thread_id]
            case e.MessageAdded(streaming=True):
                self.open.append((event.thread_id, event.id))
            case e.MessageCompleted():
                self.open.remove((event.thread_id, event.id))
            case e.ApprovalRequested():
                self.pending.append((event.thread_id, event.id))
            case e.ApprovalResolved():
                self.pending.remove((event.thread_id, event.id))
            case e.ActivityRecorded() if (event.thread_id, event.id) not in self.activities:
                self.activities.append((event.thread_id, event.id))
            case e.CheckpointCreated():
                self.checkpoints.append((event.thread_id, event.id))
            case e.CheckpointPruned():
                self.checkpoints.remove((event.thread_id, event.id))
            case ae.AgentAssigned() if event.thread_id not in self.agents:
                self.agents.append(event.thread_id)
            case ae.PromptQueued():
                self.prompts.append((event.thread_id, event.id))
            case ae.PromptSent() | ae.PromptRemoved():
                self.prompts.remove((event.thread_id, event.id))
            case ae.SessionOpened():
                self.sessions.append((event.thread_id, event.id))
            case ae.SessionEnded():
                self.sessions.remove((event.thread_id, event.id))
            case ae.RuleAdded():
                self.rules.append(event.id)
            case ae.RuleRemoved():
                self.rules.remove(event.id)

    def possible(self, kind: type[c.Command]) -> type[c.Command]:
        """The kind, or what has to come before any of it."""
        if kind in OF_MESSAGE and not self.open:
            kind = c.AddMessage
        if kind is c.ResolveApproval and not self.pending:
            kind = c.RequestApproval
        if kind is c.UpdateActivity and not self.activities:
            kind = c.RecordActivity
        if kind in (c.RestoreCheckpoint, c.PruneCheckpoint) and not self.checkpoints:
            kind = c.CreateCheckpoint
        if kind in OF_PROMPT and not self.prompts:
            kind = ac.QueuePrompt
        if kind in OF_SESSION and not self.sessions:
            kind = ac.OpenSession
        if kind is ac.RemoveRule and not self.rules:
            kind = ac.AddRule
        if kind in OF_AGENT and not self.agents:
            kind = ac.AssignAgent
        if kind in OF_TURN and not self.running:
            kind = c.StartTurn
        if kind in OF_THREAD and not self.threads:
            kind = c.CreateThread
        if kind in OF_PROJECT and not self.projects:
            kind = c.CreateProject
        return kind

    def command(self, draft: Draft, new_id: str) -> dict[str, Any]:
        """The draft as JSON. Mostly it names what there is; sometimes what there is not, or is no more."""
        which, other, text = draft.which, draft.other, draft.text
        kind = draft.kind if which == 7 else self.possible(draft.kind)
        project, thread = pick(self.projects, which, NOBODY), pick(self.threads, which, NOBODY)
        in_turn = pick(list(self.running), which, NOBODY)
        of_turn = {"threadId": in_turn, "turnId": self.running.get(in_turn, NOBODY)}
        asked: dict[str, Any] = {"type": kind.__name__}
        if kind.NEW_IDS and other:
            asked["threadId" if kind is c.CreateThread else "id"] = new_id if other < 7 else "x1"
        match kind:
            case c.CreateProject:
                path = f"/{new_id}" if draft.flag else ("relative", "/a/../1", "/2/")[other % 3]
                return asked | {"name": text or "N", "path": path}
            case c.UpdateProject:
                return asked | {"id": project, "name": text or None, "path": f"/{other}" if draft.flag else None}
            case c.DeleteProject:
                return asked | {"id": project, "cascade": draft.flag and other < 3}
            case c.CreateThread:
                return asked | {"projectId": project, "title": text or "T", "worktree": draft.flag}
            case c.RenameThread:
                return asked | {"threadId": thread, "title": text or "T"}
            case c.ArchiveThread:
                return asked | {"threadId": thread}
            case c.UnarchiveThread:
                return asked | {"threadId": pick(self.archived, which, thread)}
            case c.DeleteThread:
                return asked | {"threadId": thread if other < 2 else NOBODY}
            case c.EraseThread:
                return asked | {"threadId": thread if other < 2 else pick(self.deleted, which, NOBODY)}
            case c.Redact:
                of_thread = [one for one in self.events.get(thread, []) if draft.flag or one[0] % 8 == which]
                rewritten = [cleaned(*one, text) for one in of_thread[-8:]] or [{"sequence": 1, "members": {}}]
                return asked | {"threadId": thread, "events": rewritten}
            case c.StartTurn:
                idle = [one for one in self.threads if one not in self.running and one not in self.archived]
                asked |= {"threadId": pick(idle, which, thread), "prompt": text}
                return asked | self._prompt_of(asked["threadId"], draft)
            case c.CompleteTurn:
                turn = {"threadId": in_turn, "id": of_turn["turnId"]}
                return asked | turn | {"stopReason": text or "end", "usage": draft.value}
            case c.FailTurn:
                return asked | {"threadId": in_turn, "id": of_turn["turnId"], "error": text}
            case c.CancelTurn:
                return asked | {"threadId": in_turn, "id": of_turn["turnId"], "by": text or None}
            case c.InterruptTurn:
                id = of_turn["turnId"] if draft.flag else None
                how = {"by": "steer" if other == 5 else None, "confirmed": (None, True, False)[other % 3]}
                return asked | {"threadId": in_turn, "id": id, "reason": text or None} | how
            case c.AddMessage:
                role = ("user", "assistant", "system")[other % 3]
                asked |= of_turn | {"role": role, "text": text, "streaming": which != 6}
                return asked | self._prompt_of(in_turn, draft)
            case c.AppendMessage:
                return asked | named(pick(self.open, which, NOTHING)) | {"text": text}
            case c.CompleteMessage:
                return asked | named(pick(self.open, which, NOTHING))
            case c.RecordActivity:
                if draft.flag and self.activities:  # again, by the same id
                    again = pick(self.activities, which, NOTHING)
                    asked |= named(again)
                    of_turn = {"turnId": self.running.get(again[0], NOBODY)}
                status = ("pending", "running", "completed", "failed")[other % 4]
                return asked | of_turn | {"kind": "k", "title": text, "status": status, "detail": draft.value}
            case c.UpdateActivity:
                members = draft.value if isinstance(draft.value, dict) else {"a": draft.value}
                changes = {"title": text or None, "detail": members if draft.flag else None}
                return asked | named(pick(self.activities, which, NOTHING)) | changes
            case c.RequestApproval:
                options = [{"id": str(n), "name": text, "kind": "k"} for n in (1, 1 if other == 6 else 2)]
                return asked | of_turn | {"title": text, "options": options, "detail": draft.value}
            case c.ResolveApproval:
                return asked | named(pick(self.pending, which, NOTHING)) | {"outcome": (None, "1", "2", "3")[other % 4]}
            case c.CreateCheckpoint:
                turn = {"turnId": self.running[thread]} if draft.flag and thread in self.running else {}
                return asked | turn | {"threadId": thread, "gitRef": text or "r", "message": text}
            case c.FailCheckpoint:
                return asked | {"threadId": thread, "reason": text}
            case c.RestoreCheckpoint:
                files = {"written": [text or "f"], "removed": ["g"]} if draft.flag else {}
                return asked | named(pick(self.checkpoints, which, NOTHING)) | files
            case c.CreateWorktree:
                return asked | {"threadId": pick(self.worktrees, which, thread), "path": f"/{other}", "base": "c" * 40}
            case c.RemoveWorktree:
                return asked | {"threadId": pick(self.worktrees, which, thread)}
            case c.PruneCheckpoint:
                return asked | named(pick(self.checkpoints, which, NOTHING))
            case c.ChangeSetting:
                return asked | {"key": f"k{which}", "value": draft.value}
        return asked | self._of_agents(draft, kind, thread, of_turn)

    def _prompt_of(self, thread: str, draft: Draft) -> dict[str, Any]:
        """Sometimes a queued prompt of the thread."""
        queued = [id for of, id in self.prompts if of == thread]
        return {"promptId": pick(queued, draft.other, NOBODY)} if draft.flag and queued else {}

    def _of_agents(self, draft: Draft, kind: type[c.Command], thread: str, of_turn: dict[str, str]) -> dict[str, Any]:
        """What a command of agents asks for."""
        which, other, text, flag = draft.which, draft.other, draft.text, draft.flag
        match kind:
            case ac.AssignAgent:
                return {"threadId": thread, "agent": "ab"[other % 2], "options": {"o": text} if flag else {}}
            case ac.SetThreadOption:
                return {"threadId": pick(self.agents, which, thread), "id": f"o{other}", "value": text or flag}
            case ac.ForkThread:
                return {"threadId": thread, "title": text or None}
            case ac.QueuePrompt:
                content = [{"type": "text", "text": text}] if other == 3 else None
                said = {"text": "" if content else text, "content": content, "when": "steer" if flag else "idle"}
                return {"threadId": pick(self.agents, which, thread)} | said
            case ac.EditPrompt:
                changes = {"text": text if flag else None, "when": (None, "steer", "idle")[other % 3]}
                return named(pick(self.prompts, which, NOTHING)) | changes
            case ac.MovePrompt:
                prompt = pick(self.prompts, which, NOTHING)
                others = [id for of, id in self.prompts if of == prompt[0]]
                return named(prompt) | {"before": pick(others, other, NOBODY) if flag else None}
            case ac.RemovePrompt:
                return named(pick(self.prompts, which, NOTHING))
            case ac.PauseQueue:
                return {"threadId": thread, "reason": text or None}
            case ac.ResumeQueue:
                return {"threadId": thread}
            case ac.OpenSession:
                given = {"capabilities": {"n": draft.value}, "options": [draft.value]} if flag else {}
                return {"threadId": thread, "agent": "a", "sessionId": "x", "how": "new"} | given
            case ac.ChangeSession:
                return named(pick(self.sessions, which, NOTHING)) | {"options": [draft.value]}
            case ac.EndSession:
                status = {"exitStatus": -9, "stderr": text} if flag else {}
                return named(pick(self.sessions, which, NOTHING)) | {"reason": text} | status
            case ac.LoseContext:
                return named(pick(self.sessions, which, NOTHING)) | {"reason": text}
            case ac.RequireAuth:
                return {"threadId": thread, "agent": "a", "reason": text, "methods": [draft.value] if flag else []}
            case ac.ReportUsage:
                cost = {"cost": other / 4, "currency": (None, "USD", "EUR")[which % 3]} if flag else {}
                turn = {"threadId": of_turn["threadId"], "id": of_turn["turnId"]}
                return turn | cost | {"tokens": other or None, "used": which or None}
            case ac.ReachBudget:
                return of_turn | {"scope": "turn", "limit": "tokens", "amount": 1, "spent": other}
            case ac.AddRule:
                scope = {"threadId": thread} if flag else {}
                until = "2099-01-31T12:00:00.000Z" if other == 1 else None
                match = {"kind": ("read", "execute")[other % 2], "path": text or None}
                return {"scope": scope, "match": match, "decision": ("ask", "deny", "allow")[other % 3], "until": until}
            case ac.RemoveRule:
                return {"id": pick(self.rules, which, NOBODY)}
        raise AssertionError(kind)


def cleaned(sequence: int, event: dict[str, Any], text: str) -> dict[str, Any]:
    """An event to rewrite: with another title, text and reason, as far as it has them."""
    texts = {name: text for name in ("title", "text", "reason", "error", "message") if event.get(name)}
    return {"sequence": sequence, "members": texts}


def pick(among: list[T], which: int, nothing: T) -> T:
    """One of them; for 7, and where there is none, what does not exist."""
    return among[which % len(among)] if among and which != 7 else nothing


def named(entity: tuple[str, str]) -> dict[str, str]:
    return {"threadId": entity[0], "id": entity[1]}
