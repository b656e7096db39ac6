"""What commands of projects, threads, checkpoints, worktrees and settings lead to. Part of decider.py."""

from collections.abc import Iterator

from treadle.domain import commands as c
from treadle.domain import events as e
from treadle.domain.agent_decider import pause_queue
from treadle.domain.checks import Decisions, Stamp, live_project, live_thread, unused
from treadle.domain.detail import json_text
from treadle.domain.erasing import differs_only_in_texts
from treadle.domain.errors import NotFound, Rejected
from treadle.domain.paths import normalized, path_key
from treadle.domain.redaction import KEY, BadRedaction, read_setting
from treadle.domain.state import State, ThreadState
from treadle.domain.turn_decider import interrupt

# Projects


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise Rejected("pathNotAbsolute", f"path {path!r} is not absolute")
    return normalized(path)


def _free_path(state: State, path: str) -> str:
    holder = state[("path", path_key(path))]
    if holder is not None:
        raise Rejected("pathTaken", f"path {path!r} already belongs to project {holder!r}", projectId=holder)
    return path


def _free_remote(state: State, remote: str | None) -> str | None:
    holder = None if remote is None else state[("path", remote)]
    if holder is not None:
        raise Rejected("remoteTaken", f"{remote} already is project {holder!r}", projectId=holder)
    return remote


def _left_without_folder(
    state: State, command: c.CreateProject | c.UpdateProject, stamp: Stamp
) -> Iterator[e.ProjectUpdated]:
    """In a shared log, no event has the folder of a project on a machine. One without content says that it changed."""
    holder = None if command.path is None else state[("folder", path_key(command.path))]
    if holder not in (None, command.id):
        yield e.ProjectUpdated(id=holder, at=stamp.at)


def _create_project(state: State, command: c.CreateProject, stamp: Stamp) -> Iterator[e.Event]:
    id = str(command.id)
    unused(state, "project", id)
    path: str | None = _absolute(command.path)
    remote = command.remote
    if stamp.is_shared:
        yield from _left_without_folder(state, command, stamp)
        path, remote = None, _free_remote(state, remote)
    else:
        path = _free_path(state, str(path))
    yield e.ProjectCreated(id=id, name=command.name, path=path, remote=remote, at=stamp.at)


def _update_project(state: State, command: c.UpdateProject, stamp: Stamp) -> Iterator[e.Event]:
    project = live_project(state, command.id)
    name = None if command.name == project.name else command.name
    path = command.path
    if path is not None:
        is_same = project.path is not None and path_key(path) == path_key(project.path)
        path = None if is_same else _absolute(path)
    remote = None if command.remote == project.remote else command.remote
    has_new_folder = False
    if stamp.is_shared:
        has_new_folder = path is not None and state[("folder", path_key(path))] != command.id
        path, remote = None, None if remote is None else _free_remote(state, remote)
        yield from _left_without_folder(state, command, stamp)
    elif path is not None:
        path = _free_path(state, path)
    if name is not None or path is not None or remote is not None or has_new_folder:
        yield e.ProjectUpdated(id=command.id, name=name, path=path, remote=remote, at=stamp.at)


def _delete_project(state: State, command: c.DeleteProject, stamp: Stamp) -> Iterator[e.Event]:
    live_project(state, command.id)
    members = [id for id in state[("members", command.id)] or () if not state[("thread", id)].deleted]
    if members and not command.cascade:
        raise Rejected(
            "projectHasThreads",
            f"project {command.id!r} still has {len(members)} thread(s): delete them first, or set cascade",
            threads=len(members),
        )
    for thread_id in members:
        yield from interrupt(thread_id, live_thread(state, thread_id), "project deleted", stamp)
        yield e.ThreadDeleted(thread_id=thread_id, at=stamp.at)
    yield e.ProjectDeleted(id=command.id, at=stamp.at)


# Threads


def _create_thread(state: State, command: c.CreateThread, stamp: Stamp) -> Iterator[e.Event]:
    thread_id = str(command.thread_id)
    unused(state, "thread", thread_id)
    live_project(state, command.project_id)
    yield e.ThreadCreated(
        thread_id=thread_id,
        project_id=command.project_id,
        title=command.title,
        origin=command.origin,
        worktree=command.worktree,
        at=stamp.at,
    )


def _rename_thread(state: State, command: c.RenameThread, stamp: Stamp) -> Iterator[e.Event]:
    if live_thread(state, command.thread_id).title != command.title:
        yield e.ThreadRenamed(thread_id=command.thread_id, title=command.title, at=stamp.at)


def _archive_thread(state: State, command: c.ArchiveThread, stamp: Stamp) -> Iterator[e.Event]:
    thread = live_thread(state, command.thread_id)
    if not thread.archived:
        yield from interrupt(command.thread_id, thread, "thread archived", stamp)
        yield from pause_queue(command.thread_id, thread, "the thread was archived", stamp)
        yield e.ThreadArchived(thread_id=command.thread_id, at=stamp.at)


def _unarchive_thread(state: State, command: c.UnarchiveThread, stamp: Stamp) -> Iterator[e.Event]:
    if live_thread(state, command.thread_id).archived:
        yield e.ThreadUnarchived(thread_id=command.thread_id, at=stamp.at)


def _delete_thread(state: State, command: c.DeleteThread, stamp: Stamp) -> Iterator[e.Event]:
    thread = live_thread(state, command.thread_id)
    yield from interrupt(command.thread_id, thread, "thread deleted", stamp)
    yield e.ThreadDeleted(thread_id=command.thread_id, at=stamp.at)


def _erase_thread(state: State, command: c.EraseThread, stamp: Stamp) -> Iterator[e.Event]:
    thread: ThreadState | None = state[("thread", command.thread_id)]
    if thread is None:
        raise NotFound("thread", command.thread_id)
    if not thread.deleted:
        yield from interrupt(command.thread_id, thread, "thread erased", stamp)
        yield e.ThreadDeleted(thread_id=command.thread_id, at=stamp.at)
    if not thread.erased:
        yield e.ThreadErased(thread_id=command.thread_id, at=stamp.at)


def _redact(state: State, command: c.Redact, stamp: Stamp) -> Iterator[e.Event]:
    thread_id = command.thread_id
    thread = live_thread(state, thread_id)
    cleaned: dict[int, e.CleanedEvent | None] = {}
    for one in command.events:
        before = state[("event", thread_id, str(one.sequence))]
        if before is None:
            raise NotFound("event", str(one.sequence))
        after = before | one.members
        if one.sequence in cleaned or not differs_only_in_texts(before, after):
            raise Rejected(
                "notOnlyTexts",
                f"event {one.sequence} would not be the same event with other texts, or is given twice",
                sequence=one.sequence,
            )
        cleaned[one.sequence] = None if after == before else e.CleanedEvent(one.sequence, after)
    events = [event for event in cleaned.values() if event is not None]
    if not events:
        return
    yield from interrupt(thread_id, thread, "texts of the thread are redacted", stamp)
    yield from pause_queue(thread_id, thread, "texts of the thread were redacted", stamp)
    yield e.EventsRedacted(thread_id=thread_id, events=events, at=stamp.at)


# Checkpoints, worktrees and settings


def _create_checkpoint(state: State, command: c.CreateCheckpoint, stamp: Stamp) -> Iterator[e.Event]:
    thread_id, id, turn_id = command.thread_id, str(command.id), command.turn_id
    live_thread(state, thread_id)
    unused(state, "checkpoint", thread_id, id)
    if turn_id is not None and state[("turn", thread_id, turn_id)] is None:
        raise NotFound("turn", turn_id)
    yield e.CheckpointCreated(
        id=id,
        thread_id=thread_id,
        turn_id=turn_id,
        git_ref=command.git_ref,
        message=command.message,
        commit=command.commit,
        tree=command.tree,
        phase=command.phase,
        skipped=list[e.SkippedFile](command.skipped),
        in_project=command.in_project,
        machine=stamp.machine,
        at=stamp.at,
    )


def _fail_checkpoint(state: State, command: c.FailCheckpoint, stamp: Stamp) -> Iterator[e.Event]:
    live_thread(state, command.thread_id)
    if command.turn_id is not None and state[("turn", command.thread_id, command.turn_id)] is None:
        raise NotFound("turn", command.turn_id)
    yield e.CheckpointFailed(thread_id=command.thread_id, turn_id=command.turn_id, reason=command.reason, at=stamp.at)


def _restore_checkpoint(state: State, command: c.RestoreCheckpoint, stamp: Stamp) -> Iterator[e.Event]:
    live_thread(state, command.thread_id)
    if not state[("checkpoint", command.thread_id, command.id)]:
        raise NotFound("checkpoint", command.id)
    yield e.CheckpointRestored(
        id=command.id,
        thread_id=command.thread_id,
        before=command.before,
        written=command.written,
        removed=command.removed,
        at=stamp.at,
    )


def _prune_checkpoint(state: State, command: c.PruneCheckpoint, stamp: Stamp) -> Iterator[e.Event]:
    live_thread(state, command.thread_id)
    is_there = state[("checkpoint", command.thread_id, command.id)]
    if is_there is None:
        raise NotFound("checkpoint", command.id)
    if is_there:
        yield e.CheckpointPruned(id=command.id, thread_id=command.thread_id, at=stamp.at)


def _create_worktree(state: State, command: c.CreateWorktree, stamp: Stamp) -> Iterator[e.Event]:
    worktree = live_thread(state, command.thread_id).worktree
    if worktree is None:
        raise Rejected("noWorktree", f"thread {command.thread_id!r} was created without a worktree")
    if worktree == "made":
        raise Rejected("worktreeMade", f"thread {command.thread_id!r} has its worktree already")
    if not command.path.startswith("/"):
        raise Rejected("pathNotAbsolute", f"path {command.path!r} is not absolute")
    yield e.WorktreeCreated(thread_id=command.thread_id, path=command.path, base=command.base, at=stamp.at)


def _remove_worktree(state: State, command: c.RemoveWorktree, stamp: Stamp) -> Iterator[e.Event]:
    thread = live_thread(state, command.thread_id)
    if thread.worktree == "made":
        if thread.turn is not None:
            raise Rejected("turnRunning", f"turn {thread.turn.id!r} is still running", turnId=thread.turn.id)
        yield e.WorktreeRemoved(thread_id=command.thread_id, at=stamp.at)


def _change_setting(state: State, command: c.ChangeSetting, stamp: Stamp) -> Iterator[e.Event]:
    if command.key == KEY:
        try:
            read_setting(command.value)
        except BadRedaction as error:
            raise Rejected(
                "badRedaction", f"the setting `{KEY}` cannot be {json_text(command.value)}: {error}"
            ) from None
    before = state[("setting", command.key)]
    after = None if command.value is None else json_text(command.value)
    if before != after:
        yield e.SettingChanged(key=command.key, value=command.value, at=stamp.at)


DECIDE: Decisions = {
    c.CreateProject: _create_project,
    c.UpdateProject: _update_project,
    c.DeleteProject: _delete_project,
    c.CreateThread: _create_thread,
    c.RenameThread: _rename_thread,
    c.ArchiveThread: _archive_thread,
    c.UnarchiveThread: _unarchive_thread,
    c.DeleteThread: _delete_thread,
    c.EraseThread: _erase_thread,
    c.Redact: _redact,
    c.CreateCheckpoint: _create_checkpoint,
    c.FailCheckpoint: _fail_checkpoint,
    c.RestoreCheckpoint: _restore_checkpoint,
    c.PruneCheckpoint: _prune_checkpoint,
    c.CreateWorktree: _create_worktree,
    c.RemoveWorktree: _remove_worktree,
    c.ChangeSetting: _change_setting,
}
