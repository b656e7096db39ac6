"""Given earlier commands, when a command arrives, then it gives these events or this rejection."""

from typing import Any

import msgspec
import pytest

import agent_decisions as agents
from decisions import (
    ACTIVITY,
    AFTER_TURN,
    APPROVAL,
    ARCHIVE,
    AT,
    BUSY,
    CHECKPOINT,
    COMPLETE,
    DELETE,
    ERASE,
    IMAGE,
    IN_THREAD,
    IN_TURN,
    MESSAGE,
    OFFERED,
    OPTIONS,
    PROJECT,
    PROJECT_2,
    REDACT,
    SETTING,
    SHARED,
    STAMP,
    THREAD,
    THREAD_2,
    TURN,
    TURN_2,
    contents,
    given,
    then_rejected,
    when,
)
from treadle.domain import agent_commands as ac
from treadle.domain import agent_events as ae
from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.decider import decide, evolve, initial_state, names
from treadle.domain.errors import Conflict, NotFound, Rejected
from treadle.domain.paths import normalized
from treadle.domain.state import ApprovalState, RunningTurn, State, ThreadState

APART = msgspec.structs.replace(THREAD, worktree=True)
REDACTED = {"type": "ThreadCreated", "at": AT, "threadId": "t", "projectId": "p", "title": "?"}
MADE = c.CreateWorktree(thread_id="t", path="/w", base="c" * 40)
MADE_EVENT = e.WorktreeCreated(thread_id="t", path="/w", base="c" * 40, at=AT)
GONE = c.RemoveWorktree(thread_id="t")
MESSAGE_COMPLETED = e.MessageCompleted(thread_id="t", id="a", at=AT)
APPROVAL_CANCELLED = e.ApprovalResolved(thread_id="t", id="q", outcome=None, by="turnEnd", at=AT)


def recorded(status: Any = "running", **changes: Any) -> e.ActivityRecorded:
    event = e.ActivityRecorded(
        thread_id="t", id="c", turn_id="u", kind="tool_call", title="ls", status=status, detail={"x": 1}, at=AT
    )
    return msgspec.structs.replace(event, **changes)


def updated(status: Any = None, **changes: Any) -> e.ActivityUpdated:
    return msgspec.structs.replace(e.ActivityUpdated(thread_id="t", id="c", status=status, at=AT), **changes)


def interrupted(reason: str, **changes: Any) -> list[e.Event]:
    """The end of all that BUSY has running."""
    turn = e.TurnInterrupted(thread_id="t", id="u", reason=reason, at=AT)
    return [MESSAGE_COMPLETED, APPROVAL_CANCELLED, updated("failed"), msgspec.structs.replace(turn, **changes)]


ACCEPTED: dict[str, tuple[list[c.Command], c.Command, list[e.Event]]] = {
    "a project is created": ([], PROJECT, [e.ProjectCreated(id="p", name="Demo", path="/demo", at=AT)]),
    "a project's path is normalized": (
        [],
        c.CreateProject(id="p", name="Demo", path="//a/./b//c/../d/"),
        [e.ProjectCreated(id="p", name="Demo", path="/a/b/d", at=AT)],
    ),
    "the path of a deleted project is reused": (
        [PROJECT, c.DeleteProject(id="p")],
        c.CreateProject(id="p3", name="Demo", path="/demo"),
        [e.ProjectCreated(id="p3", name="Demo", path="/demo", at=AT)],
    ),
    "the former path of a moved project is reused": (
        [PROJECT, c.UpdateProject(id="p", path="/moved")],
        c.CreateProject(id="p3", name="Demo", path="/demo"),
        [e.ProjectCreated(id="p3", name="Demo", path="/demo", at=AT)],
    ),
    "a project is renamed": (
        [PROJECT],
        c.UpdateProject(id="p", name="New"),
        [e.ProjectUpdated(id="p", name="New", at=AT)],
    ),
    "a project is moved": (
        [PROJECT],
        c.UpdateProject(id="p", path="/moved/"),
        [e.ProjectUpdated(id="p", path="/moved", at=AT)],
    ),
    "a project's update contains only what changed": (
        [PROJECT],
        c.UpdateProject(id="p", name="Demo", path="/moved"),
        [e.ProjectUpdated(id="p", path="/moved", at=AT)],
    ),
    "an empty project is deleted": ([PROJECT], c.DeleteProject(id="p"), [e.ProjectDeleted(id="p", at=AT)]),
    "a project whose threads were deleted is deleted": (
        [*IN_THREAD, DELETE],
        c.DeleteProject(id="p"),
        [e.ProjectDeleted(id="p", at=AT)],
    ),
    "deleting a project with its threads interrupts running turns first": (
        [PROJECT, THREAD_2, THREAD, *BUSY[2:]],
        c.DeleteProject(id="p", cascade=True),
        [
            e.ThreadDeleted(thread_id="t2", at=AT),
            *interrupted("project deleted"),
            e.ThreadDeleted(thread_id="t", at=AT),
            e.ProjectDeleted(id="p", at=AT),
        ],
    ),
    "a project that was renamed is renamed back": (
        [PROJECT, c.UpdateProject(id="p", name="New", path="/moved")],
        c.UpdateProject(id="p", name="Demo", path="/demo"),
        [e.ProjectUpdated(id="p", name="Demo", path="/demo", at=AT)],
    ),
    "a thread is created": (
        [PROJECT],
        THREAD,
        [e.ThreadCreated(thread_id="t", project_id="p", title="Talk", at=AT)],
    ),
    "a thread is created with its origin": (
        [PROJECT],
        msgspec.structs.replace(THREAD, origin=c.Origin(tool="codex", session_id="s")),
        [
            e.ThreadCreated(
                thread_id="t",
                project_id="p",
                title="Talk",
                origin=c.Origin(tool="codex", session_id="s"),
                at=AT,
            )
        ],
    ),
    "a project gets its git remote": (
        [PROJECT],
        c.UpdateProject(id="p", name="Demo", remote="example.org/demo"),
        [e.ProjectUpdated(id="p", remote="example.org/demo", at=AT)],
    ),
    "a thread is renamed": (
        IN_THREAD,
        c.RenameThread(thread_id="t", title="New"),
        [e.ThreadRenamed(thread_id="t", title="New", at=AT)],
    ),
    "a thread is archived": (IN_THREAD, ARCHIVE, [e.ThreadArchived(thread_id="t", at=AT)]),
    "archiving a thread interrupts its turn first": (
        BUSY,
        ARCHIVE,
        [*interrupted("thread archived"), e.ThreadArchived(thread_id="t", at=AT)],
    ),
    "a thread is unarchived": (
        [*IN_THREAD, ARCHIVE],
        c.UnarchiveThread(thread_id="t"),
        [e.ThreadUnarchived(thread_id="t", at=AT)],
    ),
    "a thread is deleted": (IN_THREAD, DELETE, [e.ThreadDeleted(thread_id="t", at=AT)]),
    "an archived thread is deleted": ([*IN_THREAD, ARCHIVE], DELETE, [e.ThreadDeleted(thread_id="t", at=AT)]),
    "deleting a thread interrupts its turn first": (
        BUSY,
        DELETE,
        [*interrupted("thread deleted"), e.ThreadDeleted(thread_id="t", at=AT)],
    ),
    "a thread is erased, after it was deleted": (
        IN_THREAD,
        ERASE,
        [e.ThreadDeleted(thread_id="t", at=AT), e.ThreadErased(thread_id="t", at=AT)],
    ),
    "erasing a thread interrupts its turn first": (
        BUSY,
        ERASE,
        [
            *interrupted("thread erased"),
            e.ThreadDeleted(thread_id="t", at=AT),
            e.ThreadErased(thread_id="t", at=AT),
        ],
    ),
    "a thread that was deleted long ago is erased": (
        [*IN_THREAD, DELETE],
        ERASE,
        [e.ThreadErased(thread_id="t", at=AT)],
    ),
    "events of a thread are redacted, after its turn and with its queue paused": (
        [*BUSY, ac.AssignAgent(thread_id="t", agent="a"), ac.QueuePrompt(thread_id="t", id="p1", text="Go")],
        REDACT,
        [
            *interrupted("texts of the thread are redacted"),
            ae.QueuePaused(thread_id="t", reason="texts of the thread were redacted", at=AT),
            e.EventsRedacted(thread_id="t", events=[e.CleanedEvent(2, REDACTED)], at=AT),
        ],
    ),
    "starting a turn adds the user's message and records the runner": (
        IN_THREAD,
        TURN,
        [
            e.TurnStarted(thread_id="t", id="u", runner="daemon-1", at=AT),
            e.MessageAdded(thread_id="t", id="m", turn_id="u", role="user", text="Do it", streaming=False, at=AT),
        ],
    ),
    "a turn starts after the previous one has ended": (
        AFTER_TURN,
        c.StartTurn(thread_id="t", id="u2", prompt="", message_id="m2"),
        [
            e.TurnStarted(thread_id="t", id="u2", runner="daemon-1", at=AT),
            e.MessageAdded(thread_id="t", id="m2", turn_id="u2", role="user", text="", streaming=False, at=AT),
        ],
    ),
    "turns of two threads run at the same time with the same ids": (
        [*IN_TURN, THREAD_2],
        c.StartTurn(thread_id="t2", id="u", prompt="", message_id="m"),
        [
            e.TurnStarted(thread_id="t2", id="u", runner="daemon-1", at=AT),
            e.MessageAdded(thread_id="t2", id="m", turn_id="u", role="user", text="", streaming=False, at=AT),
        ],
    ),
    "a turn starts in an unarchived thread": (
        [*IN_THREAD, ARCHIVE, c.UnarchiveThread(thread_id="t")],
        TURN,
        [
            e.TurnStarted(thread_id="t", id="u", runner="daemon-1", at=AT),
            e.MessageAdded(thread_id="t", id="m", turn_id="u", role="user", text="Do it", streaming=False, at=AT),
        ],
    ),
    "a turn is completed": (
        IN_TURN,
        COMPLETE,
        [e.TurnCompleted(thread_id="t", id="u", stop_reason="end_turn", usage={"tokens": 3}, at=AT)],
    ),
    "completing a turn ends its messages, approvals and activities": (
        BUSY,
        c.CompleteTurn(thread_id="t", id="u", stop_reason="refusal"),
        [
            MESSAGE_COMPLETED,
            APPROVAL_CANCELLED,
            updated("completed"),
            e.TurnCompleted(thread_id="t", id="u", stop_reason="refusal", at=AT),
        ],
    ),
    "completing a turn does not change what had already ended": (
        [
            *BUSY,
            c.CompleteMessage(thread_id="t", id="a"),
            c.ResolveApproval(thread_id="t", id="q", outcome="once"),
            msgspec.structs.replace(ACTIVITY, status="completed"),
        ],
        c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn"),
        [e.TurnCompleted(thread_id="t", id="u", stop_reason="end_turn", at=AT)],
    ),
    "completing a turn ends its messages and activities in their order": (
        [
            *IN_TURN,
            MESSAGE,
            msgspec.structs.replace(MESSAGE, id="b"),
            ACTIVITY,
            msgspec.structs.replace(ACTIVITY, id="d", status="pending"),
            msgspec.structs.replace(ACTIVITY, title="ls -l"),
        ],
        c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn"),
        [
            MESSAGE_COMPLETED,
            e.MessageCompleted(thread_id="t", id="b", at=AT),
            updated("completed"),
            updated("completed", id="d"),
            e.TurnCompleted(thread_id="t", id="u", stop_reason="end_turn", at=AT),
        ],
    ),
    "failing a turn ends its messages, approvals and activities": (
        BUSY,
        c.FailTurn(thread_id="t", id="u", error="no quota", kind="quota"),
        [
            MESSAGE_COMPLETED,
            APPROVAL_CANCELLED,
            updated("failed"),
            e.TurnFailed(thread_id="t", id="u", error="no quota", kind="quota", at=AT),
        ],
    ),
    "a turn is interrupted by id": (
        BUSY,
        c.InterruptTurn(thread_id="t", id="u", reason="changed my mind", by="user", confirmed=False),
        interrupted("changed my mind", by="user", confirmed=False),
    ),
    "a turn is asked to stop": (
        IN_TURN,
        c.CancelTurn(thread_id="t", id="u", by="user"),
        [e.TurnCancelling(thread_id="t", id="u", by="user", at=AT)],
    ),
    "a turn that was asked to stop completes after all": (
        [*IN_TURN, c.CancelTurn(thread_id="t", id="u")],
        COMPLETE,
        [e.TurnCompleted(thread_id="t", id="u", stop_reason="end_turn", usage={"tokens": 3}, at=AT)],
    ),
    "the running turn is interrupted without an id": (
        BUSY,
        c.InterruptTurn(thread_id="t"),
        interrupted("interrupted by the client"),
    ),
    "a message is added": (
        IN_TURN,
        c.AddMessage(thread_id="t", id="a", turn_id="u", role="system", text="Note"),
        [e.MessageAdded(thread_id="t", id="a", turn_id="u", role="system", text="Note", streaming=False, at=AT)],
    ),
    "a message is added with content, which holds its text": (
        IN_TURN,
        c.AddMessage(thread_id="t", id="a", turn_id="u", role="user", content=[{"type": "text", "text": "a"}, IMAGE]),
        [
            e.MessageAdded(
                thread_id="t",
                id="a",
                turn_id="u",
                role="user",
                content=[{"type": "text", "text": "a"}, IMAGE],
                at=AT,
            )
        ],
    ),
    "a message is added with content beside its text, of a type that nobody knows yet": (
        IN_TURN,
        c.AddMessage(thread_id="t", id="a", turn_id="u", role="user", text="See", content=[{"type": "x", "y": [1]}]),
        [
            e.MessageAdded(
                thread_id="t",
                id="a",
                turn_id="u",
                role="user",
                text="See",
                content=[{"type": "x", "y": [1]}],
                at=AT,
            )
        ],
    ),
    "a streaming message is added": (
        IN_TURN,
        MESSAGE,
        [e.MessageAdded(thread_id="t", id="a", turn_id="u", role="assistant", text="So", streaming=True, at=AT)],
    ),
    "text is appended to a streaming message": (
        [*IN_TURN, MESSAGE],
        c.AppendMessage(thread_id="t", id="a", text=" it is"),
        [e.MessageAppended(thread_id="t", id="a", text=" it is", at=AT)],
    ),
    "a streaming message is completed": (
        [*IN_TURN, MESSAGE],
        c.CompleteMessage(thread_id="t", id="a"),
        [MESSAGE_COMPLETED],
    ),
    "an activity is recorded": (IN_TURN, ACTIVITY, [recorded()]),
    "an activity that loses its detail is recorded as a whole": (
        [*IN_TURN, ACTIVITY],
        msgspec.structs.replace(ACTIVITY, status="completed", detail=None),
        [recorded("completed", detail=None)],
    ),
    "an activity that loses all members of its detail is recorded as a whole": (
        [*IN_TURN, ACTIVITY],
        c.UpdateActivity(thread_id="t", id="c", detail={"x": None}),
        [recorded(detail={})],
    ),
    "an activity that is recorded again appends what changed": (
        [*IN_TURN, msgspec.structs.replace(ACTIVITY, detail={"x": 1, "y": [1], "out": "a"})],
        msgspec.structs.replace(ACTIVITY, kind="edit", detail={"y": [1], "out": "ab", "z": {"n": None}}),
        [updated(kind="edit", detail={"x": None, "z": {"n": None}}, append={"out": "b"})],
    ),
    "an activity is updated": (
        [*IN_TURN, ACTIVITY],
        c.UpdateActivity(thread_id="t", id="c", title="ls -l", status="completed", kind="read", detail={"y": "z"}),
        [updated("completed", title="ls -l", kind="read", detail={"y": "z"})],
    ),
    "an activity without detail gets its first members": (
        [*IN_TURN, msgspec.structs.replace(ACTIVITY, detail=None)],
        c.UpdateActivity(thread_id="t", id="c", detail={"x": 1}),
        [updated(detail={"x": 1})],
    ),
    "a detail with a member name that is no path is recorded as a whole": (
        [*IN_TURN, ACTIVITY],
        c.UpdateActivity(thread_id="t", id="c", detail={"a.b": 2}),
        [recorded(detail={"x": 1, "a.b": 2})],
    ),
    "a finished activity runs again": (
        [*IN_TURN, msgspec.structs.replace(ACTIVITY, status="failed")],
        ACTIVITY,
        [updated("running")],
    ),
    "an activity whose detail differs only in the kind of a number changes": (
        [*IN_TURN, ACTIVITY],
        msgspec.structs.replace(ACTIVITY, detail={"x": True}),
        [updated(detail={"x": True})],
    ),
    "an approval is requested": (
        IN_TURN,
        APPROVAL,
        [
            e.ApprovalRequested(
                thread_id="t", id="q", turn_id="u", title="Run ls?", options=OFFERED, detail=["x"], at=AT
            )
        ],
    ),
    "an approval is resolved with one of its options": (
        [*IN_TURN, APPROVAL],
        c.ResolveApproval(thread_id="t", id="q", outcome="no"),
        [e.ApprovalResolved(thread_id="t", id="q", outcome="no", at=AT)],
    ),
    "an approval is cancelled": (
        [*IN_TURN, APPROVAL],
        c.ResolveApproval(thread_id="t", id="q", outcome=None),
        [e.ApprovalResolved(thread_id="t", id="q", outcome=None, at=AT)],
    ),
    "a checkpoint is created in a running turn": (
        IN_TURN,
        CHECKPOINT,
        [e.CheckpointCreated(thread_id="t", id="k", turn_id="u", git_ref="refs/treadle/k", message="Before", at=AT)],
    ),
    "a checkpoint is created for an ended turn": (
        AFTER_TURN,
        CHECKPOINT,
        [e.CheckpointCreated(thread_id="t", id="k", turn_id="u", git_ref="refs/treadle/k", message="Before", at=AT)],
    ),
    "a checkpoint is created between turns": (
        IN_THREAD,
        c.CreateCheckpoint(thread_id="t", id="k", git_ref="HEAD", message=""),
        [e.CheckpointCreated(thread_id="t", id="k", git_ref="HEAD", message="", at=AT)],
    ),
    "a checkpoint says which commit and tree it is, and when it was made": (
        IN_THREAD,
        c.CreateCheckpoint(
            thread_id="t", id="k", git_ref="HEAD", message="", commit="c" * 40, tree="d" * 64, phase="before"
        ),
        [
            e.CheckpointCreated(
                thread_id="t",
                id="k",
                git_ref="HEAD",
                message="",
                commit="c" * 40,
                tree="d" * 64,
                phase="before",
                at=AT,
            )
        ],
    ),
    "a checkpoint fails": (
        AFTER_TURN,
        c.FailCheckpoint(thread_id="t", turn_id="u", reason="no git"),
        [e.CheckpointFailed(thread_id="t", turn_id="u", reason="no git", at=AT)],
    ),
    "a checkpoint is restored": (
        [*IN_TURN, CHECKPOINT],
        c.RestoreCheckpoint(thread_id="t", id="k"),
        [e.CheckpointRestored(thread_id="t", id="k", at=AT)],
    ),
    "a checkpoint is restored a second time": (
        [*IN_TURN, CHECKPOINT, c.RestoreCheckpoint(thread_id="t", id="k")],
        c.RestoreCheckpoint(thread_id="t", id="k"),
        [e.CheckpointRestored(thread_id="t", id="k", at=AT)],
    ),
    "a checkpoint says what it leaves out": (
        IN_THREAD,
        c.CreateCheckpoint(
            thread_id="t", id="k", git_ref="HEAD", message="", skipped=[c.SkippedPathname("core", "size", 9)]
        ),
        [
            e.CheckpointCreated(
                thread_id="t", id="k", git_ref="HEAD", message="", skipped=[c.SkippedPathname("core", "size", 9)], at=AT
            )
        ],
    ),
    "a restore says what it changed, and how to undo it": (
        [*IN_TURN, CHECKPOINT],
        c.RestoreCheckpoint(thread_id="t", id="k", before="b", written=["a.py"], removed=["b.py"]),
        [e.CheckpointRestored(thread_id="t", id="k", before="b", written=["a.py"], removed=["b.py"], at=AT)],
    ),
    "a checkpoint is pruned": (
        [*IN_TURN, CHECKPOINT],
        c.PruneCheckpoint(thread_id="t", id="k"),
        [e.CheckpointPruned(thread_id="t", id="k", at=AT)],
    ),
    "a thread is created with a worktree": (
        [PROJECT],
        APART,
        [e.ThreadCreated(thread_id="t", project_id="p", title="Talk", worktree=True, at=AT)],
    ),
    "a worktree is made": ([PROJECT, APART], MADE, [MADE_EVENT]),
    "a worktree is made again after it was removed": ([PROJECT, APART, MADE, GONE], MADE, [MADE_EVENT]),
    "a worktree is removed": ([PROJECT, APART, MADE], GONE, [e.WorktreeRemoved(thread_id="t", at=AT)]),
    "a setting is set": (
        [],
        SETTING,
        [e.SettingChanged(key="theme", value={"a": 1, "b": [1.5, None]}, at=AT)],
    ),
    "a setting is changed": (
        [c.ChangeSetting(key="theme", value=1)],
        c.ChangeSetting(key="theme", value=True),
        [e.SettingChanged(key="theme", value=True, at=AT)],
    ),
    "a setting is removed": (
        [SETTING],
        c.ChangeSetting(key="theme", value=None),
        [e.SettingChanged(key="theme", value=None, at=AT)],
    ),
}

NOTHING: dict[str, tuple[list[c.Command], c.Command]] = {
    "a project already has this name and path": ([PROJECT], c.UpdateProject(id="p", name="Demo", path="/x/../demo")),
    "a project was updated to this name and path": (
        [PROJECT, c.UpdateProject(id="p", name="New"), c.UpdateProject(id="p", path="/moved")],
        c.UpdateProject(id="p", name="New", path="/moved"),
    ),
    "a project's update has no fields": ([PROJECT], c.UpdateProject(id="p")),
    "a thread already has this title": (IN_THREAD, c.RenameThread(thread_id="t", title="Talk")),
    "a thread is already archived": ([*IN_THREAD, ARCHIVE], ARCHIVE),
    "a thread is not archived": (IN_THREAD, c.UnarchiveThread(thread_id="t")),
    "there is no running turn to interrupt": (AFTER_TURN, c.InterruptTurn(thread_id="t")),
    "empty text is appended": ([*IN_TURN, MESSAGE], c.AppendMessage(thread_id="t", id="a", text="")),
    "a message is already complete": (AFTER_TURN, c.CompleteMessage(thread_id="t", id="m")),
    "an activity is recorded unchanged": ([*IN_TURN, ACTIVITY], ACTIVITY),
    "an activity is recorded as it was, with a member name that is no path": (
        [*IN_TURN, msgspec.structs.replace(ACTIVITY, detail={"a.b": 1})],
        msgspec.structs.replace(ACTIVITY, detail={"a.b": 1}),
    ),
    "a worktree that was not made is removed": ([PROJECT, APART], GONE),
    "the worktree of a thread without one is removed": (IN_THREAD, GONE),
    "a checkpoint is pruned again": (
        [*IN_TURN, CHECKPOINT, c.PruneCheckpoint(thread_id="t", id="k")],
        c.PruneCheckpoint(thread_id="t", id="k"),
    ),
    "an activity's update asks for nothing": ([*IN_TURN, ACTIVITY], c.UpdateActivity(thread_id="t", id="c", detail={})),
    "an activity already has this title and this member": (
        [*IN_TURN, ACTIVITY],
        c.UpdateActivity(thread_id="t", id="c", title="ls", detail={"x": 1, "y": None}),
    ),
    "a turn was asked to stop already": (
        [*IN_TURN, c.CancelTurn(thread_id="t", id="u", by="user")],
        c.CancelTurn(thread_id="t", id="u", by="other"),
    ),
    "an approval was already resolved with this option": (
        [*BUSY, c.ResolveApproval(thread_id="t", id="q", outcome="no")],
        c.ResolveApproval(thread_id="t", id="q", outcome="no"),
    ),
    "an approval was already cancelled with its turn": (
        [*BUSY, COMPLETE],
        c.ResolveApproval(thread_id="t", id="q", outcome=None),
    ),
    "a setting has this value with keys in another order": (
        [SETTING],
        c.ChangeSetting(key="theme", value={"b": [1.5, None], "a": 1}),
    ),
    "a missing setting is removed": ([], c.ChangeSetting(key="theme", value=None)),
}


def redact(**members: object) -> c.Redact:
    return c.Redact(thread_id="t", events=[c.CleanTexts(2, members)])


NOTHING["a redaction changes no text"] = (BUSY, redact(title="Talk"))
NOTHING["an erased thread is erased"] = ([*IN_THREAD, ERASE], ERASE)


REJECTED: dict[str, tuple[list[c.Command], c.Command, str, dict[str, object]]] = {
    "a redaction changes what an event refers to": (IN_THREAD, redact(projectId="q"), "notOnlyTexts", {"sequence": 2}),
    "a redaction adds a member": (IN_THREAD, redact(origin={"tool": "x"}), "notOnlyTexts", {"sequence": 2}),
    "a redaction removes a text": (IN_THREAD, redact(title=None), "notOnlyTexts", {"sequence": 2}),
    "a redaction turns a text into a number": (IN_THREAD, redact(title=1), "notOnlyTexts", {"sequence": 2}),
    "a redaction has an event twice": (
        IN_THREAD,
        msgspec.structs.replace(REDACT, events=REDACT.events * 2),
        "notOnlyTexts",
        {"sequence": 2},
    ),
    "a project's id is taken": (
        [PROJECT],
        c.CreateProject(id="p", name="Demo", path="/x"),
        "idTaken",
        {"entity": "project", "id": "p"},
    ),
    "a deleted project's id is reused": (
        [PROJECT, c.DeleteProject(id="p")],
        PROJECT,
        "idTaken",
        {"entity": "project", "id": "p"},
    ),
    "a project's path is relative": ([], c.CreateProject(id="p", name="Demo", path="demo"), "pathNotAbsolute", {}),
    "a project's path belongs to another project": (
        [PROJECT],
        c.CreateProject(id="p2", name="Demo", path="/demo/"),
        "pathTaken",
        {"projectId": "p"},
    ),
    "a project's path is one that another project moved to": (
        [PROJECT, c.UpdateProject(id="p", path="/moved")],
        c.CreateProject(id="p2", name="Demo", path="/moved"),
        "pathTaken",
        {"projectId": "p"},
    ),
    "a project's path still belongs to another project after a third was deleted": (
        [PROJECT, PROJECT_2, c.DeleteProject(id="p")],
        c.CreateProject(id="p3", name="Demo", path="/other"),
        "pathTaken",
        {"projectId": "p2"},
    ),
    "a project that still has one thread is deleted": (
        [*IN_THREAD, THREAD_2, DELETE],
        c.DeleteProject(id="p"),
        "projectHasThreads",
        {"threads": 1},
    ),
    "a project moves to a relative path": (
        [PROJECT],
        c.UpdateProject(id="p", path="demo"),
        "pathNotAbsolute",
        {},
    ),
    "a project moves to another project's path": (
        [PROJECT, PROJECT_2],
        c.UpdateProject(id="p", path="/other"),
        "pathTaken",
        {"projectId": "p2"},
    ),
    "a project with threads is deleted without cascade": (
        [*IN_THREAD, THREAD_2],
        c.DeleteProject(id="p"),
        "projectHasThreads",
        {"threads": 2},
    ),
    "a thread's id is taken": (IN_THREAD, THREAD, "idTaken", {"entity": "thread", "id": "t"}),
    "a deleted thread's id is reused": ([*IN_THREAD, DELETE], THREAD, "idTaken", {"entity": "thread", "id": "t"}),
    "a turn starts while another is running": (IN_TURN, TURN_2, "turnRunning", {"turnId": "u"}),
    "a turn starts in an archived thread": ([*IN_THREAD, ARCHIVE], TURN, "threadArchived", {}),
    "a turn's id is reused": (
        AFTER_TURN,
        msgspec.structs.replace(TURN_2, id="u"),
        "idTaken",
        {"entity": "turn", "id": "u"},
    ),
    "a prompt's message id is reused": (
        AFTER_TURN,
        msgspec.structs.replace(TURN_2, message_id="m"),
        "idTaken",
        {"entity": "message", "id": "m"},
    ),
    "a turn is completed twice": (AFTER_TURN, COMPLETE, "turnEnded", {"turnId": "u"}),
    "an ended turn fails": (
        AFTER_TURN,
        c.FailTurn(thread_id="t", id="u", error=""),
        "turnEnded",
        {"turnId": "u"},
    ),
    "an ended turn is interrupted by id": (
        [*AFTER_TURN, TURN_2],
        c.InterruptTurn(thread_id="t", id="u"),
        "turnEnded",
        {"turnId": "u"},
    ),
    "a message is added to an ended turn": (AFTER_TURN, MESSAGE, "turnEnded", {"turnId": "u"}),
    "a message's id is taken": (
        IN_TURN,
        msgspec.structs.replace(MESSAGE, id="m"),
        "idTaken",
        {"entity": "message", "id": "m"},
    ),
    "text is appended to a complete message": (
        IN_TURN,
        c.AppendMessage(thread_id="t", id="m", text="!"),
        "messageComplete",
        {},
    ),
    "empty text is appended to a complete message": (
        IN_TURN,
        c.AppendMessage(thread_id="t", id="m", text=""),
        "messageComplete",
        {},
    ),
    "text is appended after the end of the turn": (
        [*BUSY, COMPLETE],
        c.AppendMessage(thread_id="t", id="a", text="!"),
        "messageComplete",
        {},
    ),
    "an activity is recorded in an ended turn": (AFTER_TURN, ACTIVITY, "turnEnded", {"turnId": "u"}),
    "an activity's id is taken in another turn": (
        [*BUSY, COMPLETE, TURN_2],
        msgspec.structs.replace(ACTIVITY, turn_id="u2"),
        "idTaken",
        {"entity": "activity", "id": "c"},
    ),
    "an activity of an ended turn is updated": (
        [*IN_TURN, ACTIVITY, COMPLETE, TURN_2],
        c.UpdateActivity(thread_id="t", id="c", title="x"),
        "turnEnded",
        {"turnId": "u"},
    ),
    "members of a detail that is no object are updated": (
        [*IN_TURN, msgspec.structs.replace(ACTIVITY, detail=["x"])],
        c.UpdateActivity(thread_id="t", id="c", detail={"x": 1}),
        "detailNotObject",
        {},
    ),
    "redaction is neither on nor off": (
        [],
        c.ChangeSetting(key="redaction", value={"mode": "maybe"}),
        "badRedaction",
        {},
    ),
    "a pattern of redaction is no regular expression": (
        [],
        c.ChangeSetting(key="redaction", value={"patterns": ["ACME-[0-9"]}),
        "badRedaction",
        {},
    ),
    "a pattern of redaction matches every text": (
        [],
        c.ChangeSetting(key="redaction", value={"patterns": ["[0-9]*"]}),
        "badRedaction",
        {},
    ),
    "redaction has a member that is not known": (
        [],
        c.ChangeSetting(key="redaction", value={"rules": []}),
        "badRedaction",
        {},
    ),
    "redaction is no object": ([], c.ChangeSetting(key="redaction", value="off"), "badRedaction", {}),
    "an ended turn is asked to stop": (AFTER_TURN, c.CancelTurn(thread_id="t", id="u"), "turnEnded", {"turnId": "u"}),
    "a message has text both in its content and beside it": (
        IN_TURN,
        msgspec.structs.replace(MESSAGE, content=[IMAGE, {"type": "text", "text": "So"}]),
        "contentBlock",
        {"index": 1},
    ),
    "a text block of a prompt has no text": (
        IN_THREAD,
        c.StartTurn(thread_id="t", id="u", message_id="m", content=[{"type": "text"}]),
        "contentBlock",
        {"index": 0},
    ),
    "a content block has no type": (
        IN_TURN,
        msgspec.structs.replace(MESSAGE, content=[IMAGE, {"text": "So"}]),
        "contentBlock",
        {"index": 1},
    ),
    "an approval is requested in an ended turn": (AFTER_TURN, APPROVAL, "turnEnded", {"turnId": "u"}),
    "an approval's id is taken": (BUSY, APPROVAL, "idTaken", {"entity": "approval", "id": "q"}),
    "an approval has a duplicate option": (
        IN_TURN,
        msgspec.structs.replace(APPROVAL, options=[OPTIONS[0], OPTIONS[0]]),
        "duplicateOption",
        {},
    ),
    "an approval is resolved with an unknown option": (
        BUSY,
        c.ResolveApproval(thread_id="t", id="q", outcome="always"),
        "unknownOption",
        {"options": ["once", "no"]},
    ),
    "an approval was already resolved with another option": (
        [*BUSY, c.ResolveApproval(thread_id="t", id="q", outcome="no")],
        c.ResolveApproval(thread_id="t", id="q", outcome="once"),
        "approvalResolved",
        {"outcome": "no"},
    ),
    "an approval is resolved after it was cancelled with its turn": (
        [*BUSY, COMPLETE],
        c.ResolveApproval(thread_id="t", id="q", outcome="once"),
        "approvalResolved",
        {"outcome": None},
    ),
    "a pruned checkpoint's id is taken": (
        [*IN_TURN, CHECKPOINT, c.PruneCheckpoint(thread_id="t", id="k")],
        CHECKPOINT,
        "idTaken",
        {"entity": "checkpoint", "id": "k"},
    ),
    "a worktree is made for a thread without one": (IN_THREAD, MADE, "noWorktree", {}),
    "a worktree is made twice": ([PROJECT, APART, MADE], MADE, "worktreeMade", {}),
    "the path of a worktree is not absolute": (
        [PROJECT, APART],
        msgspec.structs.replace(MADE, path="w"),
        "pathNotAbsolute",
        {},
    ),
    "a worktree is removed while a turn runs": ([PROJECT, APART, MADE, TURN], GONE, "turnRunning", {"turnId": "u"}),
    "a prompt is sent where the worktree is not there": (
        [PROJECT, APART, agents.ASSIGN, agents.QUEUE],
        agents.SEND,
        "noWorktree",
        {},
    ),
    "a checkpoint's id is taken": (
        [*IN_TURN, CHECKPOINT],
        CHECKPOINT,
        "idTaken",
        {"entity": "checkpoint", "id": "k"},
    ),
}

IN_NO_THREAD: list[c.Command] = [
    REDACT,
    c.RenameThread(thread_id="t", title="New"),
    ARCHIVE,
    c.UnarchiveThread(thread_id="t"),
    DELETE,
    TURN,
    COMPLETE,
    c.FailTurn(thread_id="t", id="u", error=""),
    c.CancelTurn(thread_id="t", id="u"),
    c.InterruptTurn(thread_id="t"),
    c.InterruptTurn(thread_id="t", id="u"),
    MESSAGE,
    c.AppendMessage(thread_id="t", id="a", text="!"),
    c.CompleteMessage(thread_id="t", id="a"),
    ACTIVITY,
    c.UpdateActivity(thread_id="t", id="c"),
    APPROVAL,
    c.ResolveApproval(thread_id="t", id="q", outcome=None),
    CHECKPOINT,
    c.FailCheckpoint(thread_id="t", reason="no git"),
    c.RestoreCheckpoint(thread_id="t", id="k"),
    c.PruneCheckpoint(thread_id="t", id="k"),
    MADE,
    GONE,
]

NOT_FOUND: dict[str, tuple[list[c.Command], c.Command, str, str]] = {
    "an event of another thread is redacted": (
        [*IN_THREAD, THREAD_2],
        msgspec.structs.replace(REDACT, thread_id="t2"),
        "event",
        "2",
    ),
    "a missing thread is erased": ([PROJECT], ERASE, "thread", "t"),
    "a missing project is updated": ([], c.UpdateProject(id="p", name="New"), "project", "p"),
    "a deleted project is updated": (
        [PROJECT, c.DeleteProject(id="p")],
        c.UpdateProject(id="p", name="New"),
        "project",
        "p",
    ),
    "a missing project is deleted": ([], c.DeleteProject(id="p"), "project", "p"),
    "a project is deleted twice": ([PROJECT, c.DeleteProject(id="p")], c.DeleteProject(id="p"), "project", "p"),
    "a thread is created in a missing project": ([], THREAD, "project", "p"),
    "a thread is created in a deleted project": ([PROJECT, c.DeleteProject(id="p")], THREAD, "project", "p"),
    "a missing turn is completed": (IN_THREAD, COMPLETE, "turn", "u"),
    "a missing turn fails": (IN_THREAD, c.FailTurn(thread_id="t", id="u", error=""), "turn", "u"),
    "a missing turn is interrupted": (IN_TURN, c.InterruptTurn(thread_id="t", id="x"), "turn", "x"),
    "a message is added to a missing turn": (IN_THREAD, MESSAGE, "turn", "u"),
    "an activity is recorded in a missing turn": (IN_THREAD, ACTIVITY, "turn", "u"),
    "an approval is requested in a missing turn": (IN_THREAD, APPROVAL, "turn", "u"),
    "a turn that is asked to stop": (IN_TURN, c.CancelTurn(thread_id="t", id="x"), "turn", "x"),
    "an activity that is updated": (IN_TURN, c.UpdateActivity(thread_id="t", id="c"), "activity", "c"),
    "the turn of a checkpoint that failed": (
        IN_THREAD,
        c.FailCheckpoint(thread_id="t", turn_id="u", reason=""),
        "turn",
        "u",
    ),
    "a checkpoint is created for a missing turn": (IN_THREAD, CHECKPOINT, "turn", "u"),
    "text is appended to a missing message": (
        IN_TURN,
        c.AppendMessage(thread_id="t", id="a", text="!"),
        "message",
        "a",
    ),
    "a missing message is completed": (IN_TURN, c.CompleteMessage(thread_id="t", id="a"), "message", "a"),
    "a missing approval is resolved": (
        IN_TURN,
        c.ResolveApproval(thread_id="t", id="q", outcome=None),
        "approval",
        "q",
    ),
    "a pruned checkpoint is restored": (
        [*IN_TURN, CHECKPOINT, c.PruneCheckpoint(thread_id="t", id="k")],
        c.RestoreCheckpoint(thread_id="t", id="k"),
        "checkpoint",
        "k",
    ),
    "a missing checkpoint is pruned": (IN_THREAD, c.PruneCheckpoint(thread_id="t", id="k"), "checkpoint", "k"),
    "a missing checkpoint is restored": (IN_THREAD, c.RestoreCheckpoint(thread_id="t", id="k"), "checkpoint", "k"),
    "text is appended to a message of another thread": (
        [*BUSY, THREAD_2],
        c.AppendMessage(thread_id="t2", id="a", text="!"),
        "message",
        "a",
    ),
}

ACCEPTED |= agents.ACCEPTED
NOTHING |= agents.NOTHING
REJECTED |= agents.REJECTED
NOT_FOUND |= agents.NOT_FOUND
IN_NO_THREAD += agents.IN_NO_THREAD


@pytest.mark.parametrize(("before", "command", "events"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(before: list[c.Command], command: c.Command, events: list[e.Event]) -> None:
    assert when(given(*before), command) == events


@pytest.mark.parametrize(("before", "command"), NOTHING.values(), ids=NOTHING)
def test_accepted_without_events_when(before: list[c.Command], command: c.Command) -> None:
    assert when(given(*before), command) == []


@pytest.mark.parametrize(("before", "command", "kind", "details"), REJECTED.values(), ids=REJECTED)
def test_rejected_when(before: list[c.Command], command: c.Command, kind: str, details: dict[str, object]) -> None:
    rejected = then_rejected(given(*before), command)
    assert (rejected.kind, rejected.details) == (kind, details)
    assert type(rejected) is Rejected
    assert str(rejected)


APP, WEB = "example.org/app", "example.org/app//web"
OF_APP = c.CreateProject(id="p", name="App", path="/app", remote=APP)
OF_WEB = c.CreateProject(id="p2", name="Web", path="/app", remote=WEB)

SHARED_ACCEPTED: dict[str, tuple[list[c.Command], c.Command, list[e.Event]]] = {
    "a project has no remote": (
        [PROJECT],
        msgspec.structs.replace(PROJECT, id="q"),
        [e.ProjectCreated(id="q", name="Demo", at=AT)],
    ),
    "a project is created": ([], OF_APP, [e.ProjectCreated(id="p", name="App", remote=APP, at=AT)]),
    "a project has the path of another one": (
        [OF_APP],
        OF_WEB,
        [e.ProjectCreated(id="p2", name="Web", remote=WEB, at=AT)],
    ),
    "a project has the remote of a deleted one": (
        [OF_APP, c.DeleteProject(id="p")],
        msgspec.structs.replace(OF_WEB, remote=APP),
        [e.ProjectCreated(id="p2", name="Web", remote=APP, at=AT)],
    ),
    "a project has a remote that another one had": (
        [OF_APP, c.UpdateProject(id="p", remote=WEB)],
        msgspec.structs.replace(OF_WEB, remote=APP),
        [e.ProjectCreated(id="p2", name="Web", remote=APP, at=AT)],
    ),
    "a project is given a folder": (
        [OF_APP],
        c.UpdateProject(id="p", path="/moved", remote=APP),
        [e.ProjectUpdated(id="p", at=AT)],
    ),
    "a project is renamed and given a folder": (
        [OF_APP],
        c.UpdateProject(id="p", path="/moved", name="N"),
        [e.ProjectUpdated(id="p", name="N", at=AT)],
    ),
    "a checkpoint is created": (
        [OF_APP, THREAD],
        c.CreateCheckpoint(thread_id="t", id="k", git_ref="refs/x", message=""),
        [e.CheckpointCreated(thread_id="t", id="k", git_ref="refs/x", message="", machine="machine-1", at=AT)],
    ),
}
SHARED_REJECTED: dict[str, tuple[list[c.Command], c.Command, str, dict[str, object]]] = {
    "a project has the remote of another one": (
        [OF_APP],
        msgspec.structs.replace(OF_WEB, remote=APP),
        "remoteTaken",
        {"projectId": "p"},
    ),
    "a project gets the remote of another one": (
        [OF_APP, OF_WEB],
        c.UpdateProject(id="p2", remote=APP),
        "remoteTaken",
        {"projectId": "p"},
    ),
    "a project gets a remote that another one got": (
        [OF_APP, OF_WEB, c.UpdateProject(id="p", remote="example.org/new")],
        c.UpdateProject(id="p2", remote="example.org/new"),
        "remoteTaken",
        {"projectId": "p"},
    ),
    "a folder is relative": ([OF_APP], c.UpdateProject(id="p", path="app"), "pathNotAbsolute", {}),
}


@pytest.mark.parametrize(("before", "command", "events"), SHARED_ACCEPTED.values(), ids=SHARED_ACCEPTED)
def test_accepted_in_a_shared_log(before: list[c.Command], command: c.Command, events: list[e.Event]) -> None:
    assert when(given(*before, stamp=SHARED), command, SHARED) == events


@pytest.mark.parametrize(("before", "command", "kind", "details"), SHARED_REJECTED.values(), ids=SHARED_REJECTED)
def test_rejected_in_a_shared_log_when(
    before: list[c.Command], command: c.Command, kind: str, details: dict[str, object]
) -> None:
    rejected = then_rejected(given(*before, stamp=SHARED), command, SHARED)
    assert (rejected.kind, rejected.details) == (kind, details)


@pytest.mark.parametrize(("before", "command", "entity", "id"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_not_found_when(before: list[c.Command], command: c.Command, entity: str, id: str) -> None:
    rejected = then_rejected(given(*before), command)
    assert isinstance(rejected, NotFound)
    assert (rejected.kind, rejected.details) == ("notFound", {"entity": entity, "id": id})


@pytest.mark.parametrize("before", [[PROJECT], [*BUSY, CHECKPOINT, DELETE]], ids=["missing", "deleted"])
@pytest.mark.parametrize("command", IN_NO_THREAD, ids=lambda command: type(command).__name__)
def test_commands_for_a_missing_or_deleted_thread_are_not_found(before: list[c.Command], command: c.Command) -> None:
    rejected = then_rejected(given(*before), command)
    assert isinstance(rejected, NotFound)
    assert rejected.details == {"entity": "thread", "id": "t"}


def test_the_test_tables_cover_every_command() -> None:
    assert {type(command) for _, command, _ in ACCEPTED.values()} == set(c.COMMANDS)
    of_a_thread = {command for command in c.COMMANDS if issubclass(command, c.ThreadCommand)} - {c.EraseThread}
    assert {type(command) for command in IN_NO_THREAD} == of_a_thread
    rejected = [command for _, command, *_ in [*REJECTED.values(), *NOT_FOUND.values()]] + IN_NO_THREAD
    assert {type(command) for command in rejected} == set(c.COMMANDS)


# at


@pytest.mark.parametrize("time", ["1999-12-31T23:59:59.999Z", AT, "2026-01-31T12:01:00.000Z"])
def test_events_have_the_time_that_the_command_gives(time: str) -> None:
    state = given(*BUSY)
    events = when(state, msgspec.structs.replace(COMPLETE, at=time))
    assert len(events) == 4
    assert {event.at for event in events} == {time}


def test_a_command_that_happened_more_than_a_minute_from_now_is_rejected() -> None:
    rejected = then_rejected(given(*BUSY), msgspec.structs.replace(COMPLETE, at="2026-01-31T12:01:00.001Z"))
    assert (rejected.kind, rejected.details) == ("atInFuture", {"now": AT})


# expectedVersion

VERSIONED = {
    sentence: (before, command)
    for sentence, (before, command, _) in ACCEPTED.items()
    if isinstance(command, c.ThreadCommand | c.CreateThread)
}


def version_of(state: State, command: Any) -> int:
    thread = state.get(("thread", command.thread_id))
    return 0 if thread is None else int(thread.version)


@pytest.mark.parametrize(("before", "command"), VERSIONED.values(), ids=VERSIONED)
def test_a_command_with_the_current_version_is_accepted(before: list[c.Command], command: c.Command) -> None:
    state = given(*before)
    expected = version_of(state, command)
    assert when(state, msgspec.structs.replace(command, expected_version=expected)) == when(state, command)


@pytest.mark.parametrize(("before", "command"), VERSIONED.values(), ids=VERSIONED)
def test_a_command_with_another_version_is_a_conflict(before: list[c.Command], command: c.Command) -> None:
    state = given(*before)
    actual = version_of(state, command)
    conflict = then_rejected(state, msgspec.structs.replace(command, expected_version=actual + 1))
    assert isinstance(conflict, Conflict)
    assert (conflict.kind, conflict.details) == ("versionConflict", {"expected": actual + 1, "actual": actual})


def test_the_version_is_checked_before_no_ops_and_rejections() -> None:
    rename = c.RenameThread(thread_id="t", title="Talk", expected_version=1)
    assert then_rejected(given(*IN_THREAD), rename).kind == "versionConflict"
    turn = msgspec.structs.replace(TURN_2, expected_version=1)
    assert then_rejected(given(*IN_TURN), turn).kind == "versionConflict"


def test_expecting_version_0_of_an_existing_thread_is_a_conflict() -> None:
    assert (
        then_rejected(given(*IN_THREAD), msgspec.structs.replace(THREAD, expected_version=0)).kind == "versionConflict"
    )


def test_a_deleted_thread_is_not_found_whatever_version_is_expected() -> None:
    rename = c.RenameThread(thread_id="t", title="New", expected_version=2)
    assert then_rejected(given(*IN_THREAD, DELETE), rename).kind == "notFound"


def test_the_version_is_the_sequence_of_the_last_event_except_deltas() -> None:
    state = given(*IN_TURN, MESSAGE)
    assert (state.sequence, version_of(state, TURN)) == (5, 5)
    for command in [c.AppendMessage(thread_id="t", id="a", text="!"), SETTING, THREAD_2]:
        for event in when(state, command):
            evolve(state, event)
    assert (state.sequence, version_of(state, TURN), version_of(state, THREAD_2)) == (8, 5, 8)


# The state


def test_events_update_the_state() -> None:
    state = given(*BUSY)
    assert state[("thread", "t")] == ThreadState(
        "p",
        "Talk",
        version=7,
        turn=RunningTurn(
            "u",
            "daemon-1",
            messages=("a",),
            activities=("c",),
            approvals=("q",),
        ),
    )
    assert state[("message", "t", "m")] == "complete"
    assert state[("message", "t", "a")] == "streaming"
    assert state[("approval", "t", "q")] == ApprovalState(("once", "no"))
    assert state[("members", "p")] == ("t",)


def test_nothing_is_running_in_the_state_after_a_turn() -> None:
    state = given(*BUSY, COMPLETE)
    assert state[("thread", "t")].turn is None
    assert state[("turn", "t", "u")] == "completed"
    assert state[("message", "t", "a")] == "complete"
    assert state[("activity", "t", "c")].status == "completed"
    assert state[("approval", "t", "q")] == ApprovalState(("once", "no"), pending=False)


@pytest.mark.parametrize(("before", "command", "events"), ACCEPTED.values(), ids=ACCEPTED)
def test_rollback_restores_the_state(before: list[c.Command], command: c.Command, events: list[e.Event]) -> None:
    state = given(*before)
    assert when(state, command) == events
    loaded = contents(state)
    savepoint = state.savepoint()
    for event in events:
        evolve(state, event)
    assert contents(state) != loaded
    state.rollback(savepoint)
    assert contents(state) == loaded


def test_rollback_keeps_changes_made_before_the_savepoint() -> None:
    state = initial_state()
    for command in IN_THREAD:
        for event in when(state, command):
            evolve(state, event)
    before = contents(state)
    savepoint = state.savepoint()
    for event in when(state, c.RenameThread(thread_id="t", title="New")):
        evolve(state, event)
    state.rollback(savepoint)
    assert contents(state) == before
    assert state[("thread", "t")].title == "Talk"


def test_commit_discards_the_undo_log() -> None:
    state = given(*BUSY)
    assert state.savepoint() == (7, 0)
    for event in when(state, COMPLETE):
        evolve(state, event)
    assert state.savepoint() > (7, 0)
    state.commit()
    assert state.savepoint() == (11, 0)


@pytest.mark.parametrize(("before", "command", "events"), ACCEPTED.values(), ids=ACCEPTED)
def test_events_do_not_load_missing_parts_of_the_state(
    before: list[c.Command], command: c.Command, events: list[e.Event]
) -> None:
    state = initial_state(sequence=40)
    for event in events:
        evolve(state, event)
    assert contents(state) == (40 + len(events), {})


@pytest.mark.parametrize(("before", "command", "events"), ACCEPTED.values(), ids=ACCEPTED)
def test_each_part_of_the_state_evolves_without_the_others(
    before: list[c.Command], command: c.Command, events: list[e.Event]
) -> None:
    whole = given(*before)
    when(whole, command)
    loaded = dict(whole.items())
    for event in events:
        evolve(whole, event)
    for key, entity in loaded.items():
        # Members are loaded together with their threads.
        threads = [("thread", thread_id) for thread_id in entity or ()] if key[0] == "members" else []
        part = initial_state(whole.sequence - len(events))
        part.load({key: entity, **{thread: loaded[thread] for thread in threads}})
        for event in events:
            evolve(part, event)
        assert part[key] == whole[key]


def test_a_thread_created_by_another_daemon_is_deleted_with_its_project() -> None:
    state = given(PROJECT)
    evolve(state, e.ThreadCreated(thread_id="t", project_id="p", title="Talk", at=AT))
    assert when(state, c.DeleteProject(id="p", cascade=True)) == [
        e.ThreadDeleted(thread_id="t", at=AT),
        e.ProjectDeleted(id="p", at=AT),
    ]


def test_a_command_is_decided_from_only_the_keys_it_names() -> None:
    for before, command, events in ACCEPTED.values():
        whole = given(*before)
        named = initial_state(whole.sequence)
        when(whole, command)
        keys = names(command)
        for key in [key for key in keys if key[0] == "members"]:
            keys |= {("thread", thread_id) for thread_id in whole[key] or ()}
        named.load({key: whole[key] for key in keys})
        assert decide(named, command, STAMP) == events


def test_reading_a_key_that_was_not_loaded_raises_key_error() -> None:
    with pytest.raises(KeyError):
        decide(initial_state(), PROJECT, STAMP)


@pytest.mark.parametrize(
    ("path", "way"),
    [("/", "/"), ("//", "/"), ("///a", "/a"), ("/a/../..", "/"), ("/a/./b/", "/a/b"), ("/ä b", "/ä b"), ("a/..", ".")],
)
def test_paths_are_normalized(path: str, way: str) -> None:
    assert normalized(path) == way
