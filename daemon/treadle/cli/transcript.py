"""A thread prepared for reading: its turns, each with its items in the order in which they were created."""

import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

import treadle.cli.output as output
from treadle.cli.names import Unclear
from treadle.contract.results import ResumeCommand
from treadle.domain.errors import NotFound
from treadle.store.pages import LATEST, encode_cursor
from treadle.store.ports import Reads
from treadle.store.records import TranscriptItem
from treadle.store.sqlite.reader import Reader
from treadle.transfer.resuming import resume_command

PAGE = 500  # turns read at once

Entity = dict[str, Any]
"""An entity as clients get it, decoded."""


class Item(NamedTuple):
    """One item of a turn. entity: `message`, `activity`, `approval` or `checkpoint`; or `changes`, which ends a turn
    that has changed files, and is a TurnChanges."""

    entity: str
    value: Any


class NumberedTurn(NamedTuple):
    """A turn. number: its position in the thread, from 1. position: the sequence of its first event."""

    number: int
    position: int
    value: Entity


class Transcript:
    """A thread to show.

    thread, project: as clients get them; project is None if deleted. resume: continues it in its agent's own tool.
    turns: the turns to show. changes_of: says what the turn with this id changed in the files, if that is to be shown.
    """

    def __init__(
        self,
        reader: Reader,
        thread_id: str,
        last: int | None = None,
        changes_of: Callable[[str], object | None] = lambda turn_id: None,
    ) -> None:
        self._reader, self._changes_of = reader, changes_of
        self.thread, self.project, self.resume = reader.read(lambda reads: _header(reads, thread_id))
        turns = list(turns_of(reader, thread_id))
        self.turns = turns if last is None else turns[-last:]
        self.left_out = len(turns) - len(self.turns)

    def parts(self) -> Iterator[tuple[NumberedTurn | None, list[Item]]]:
        """Yield each turn with its items, read on demand; items before the first turn come first, without a turn."""
        begins = [turn.position for turn in self.turns]
        if not self.left_out:
            yield None, self._items(0, begins[0] if begins else LATEST)
        for turn, before in zip(self.turns, [*begins[1:], LATEST], strict=False):
            changes = self._changes_of(turn.value["id"])
            items = self._items(turn.position, before)
            yield turn, items if changes is None else [*items, Item("changes", changes)]

    def _items(self, after: int, before: int) -> list[Item]:
        thread_id = self.thread["id"]
        rows: list[TranscriptItem] = self._reader.read(lambda reads: reads.transcript(thread_id, after, before))
        return [Item(row.entity, msgspec.json.decode(row.value)) for row in rows]


def turns_of(reader: Reader, thread_id: str) -> Iterator[NumberedTurn]:
    """All turns of a thread, oldest first."""
    after, number = 0, 0
    while True:
        rows = reader.read(partial(_turns_after, thread_id=thread_id, after=after))
        for after, value in rows:
            number += 1
            yield NumberedTurn(number, after, msgspec.json.decode(value))
        if len(rows) < PAGE:
            return


def _turns_after(reads: Reads, thread_id: str, after: int) -> list[tuple[int, str]]:
    return reads.turns_after(thread_id, after, PAGE)


def _header(reads: Reads, thread_id: str) -> tuple[Entity, Entity | None, ResumeCommand | None]:
    try:
        thread: Entity = msgspec.json.decode(reads.header(thread_id))
    except NotFound:
        advice = f"`treadle events --thread {thread_id}` prints its events"
        raise Unclear(f"thread {thread_id!r} was deleted: {advice}") from None
    found = reads.entities("project", None, [thread["projectId"]]).get(thread["projectId"])
    project = None if found is None else msgspec.json.decode(found)
    return thread, project, resume_command(reads, thread_id)


def as_read(reader: Reader, thread_id: str, last: int | None) -> bytes:
    """The result of thread/read for the last turns or for all, without pages and with all text. Raises Unclear."""
    transcript = Transcript(reader, thread_id, last)
    items = [item for _, part in transcript.parts() for item in part]
    found = {
        plural: [item.value for item in items if item.entity == entity]
        for plural, entity in (
            ("messages", "message"),
            ("activities", "activity"),
            ("approvals", "approval"),
            ("checkpoints", "checkpoint"),
        )
    }
    before = transcript.turns[0].position if transcript.left_out else None
    newest = reader.read(lambda reads: reads.thread(thread_id, 1, LATEST))
    return msgspec.json.encode(
        {
            "sequence": newest.sequence,
            "threads": [transcript.thread],
            "turns": [turn.value for turn in transcript.turns],
            **found,
            "prompts": newest.prompts,
            "sessions": newest.sessions,
            "resume": transcript.resume,
            "beforeCursor": None if before is None else encode_cursor(before),
        }
    )


# Used by every output format


def clock(at: str) -> str:
    """The time of day in local time: `12:00:05`."""
    return f"{output.local(at):%H:%M:%S}"


def day_and_time(at: str) -> str:
    """Day and time in local time: `2026-01-31 12:00:05`."""
    return f"{output.local(at):%Y-%m-%d %H:%M:%S}"


def place(project: Entity) -> str:
    """The folder of a project on this machine, or its remote if it has none."""
    return output.one_line(str(project["path"] or project["remote"]))


def author(value: Entity) -> str:
    """Who created a thread, or wrote a message, itself or by an agent: `by ada`. Empty in a private log."""
    by = value.get("createdBy")
    return "" if by is None else output.one_line(f"by {by}")


def took(begin: str, end: str | None) -> str:
    """A readable duration; empty if it is below a tenth of a second or has not ended."""
    if end is None:
        return ""
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    if seconds < 0.1:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def ending(turn: Entity) -> str:
    """How a turn ended, in a few words."""
    why = turn["stopReason"] or turn["reason"] or turn["error"]
    return ended(turn["status"], why, by=turn["by"], kind=turn["errorKind"], confirmed=turn["confirmed"])


def ended(
    status: str, why: str | None, *, by: str | None = None, kind: str | None = None, confirmed: bool | None = None
) -> str:
    """The same, of its parts: `interrupted by Ada (too slow); the agent did not confirm`."""
    reason = ": ".join(output.one_line(part) for part in (kind, why) if part)
    words = [status, f" by {output.one_line(by)}" if by else "", f" ({reason})" if reason else ""]
    return "".join(words) + ("; the agent did not confirm" if confirmed is False else "")


def origin(given: Entity | None) -> str:
    """Where a thread comes from: `from opencode, session ses_1`. Empty if it was not said."""
    if given is None:
        return ""
    parts = [f"from {given['tool']}"]
    parts += [f"{word} {given[key]}" for key, word in (("sessionId", "session"), ("branch", "branch")) if key in given]
    parts += [
        f"{word} {given[key]['threadId']}"
        for key, word in (("parent", "subagent of"), ("forkOf", "fork of"))
        if key in given
    ]
    return output.one_line(", ".join(parts))


def resume(given: ResumeCommand) -> str:
    """The command that continues a thread in its agent's own tool, for a shell: `cd /src/app && claude --resume 7`."""
    command = shlex.join(given.command)
    return output.one_line(command if given.folder is None else f"cd {shlex.quote(given.folder)} && {command}")


def checkpoint(phase: str) -> str:
    """What a checkpoint is called: `checkpoint`, or `checkpoint before the turn`."""
    return "checkpoint" if phase == "manual" else f"checkpoint {phase} the turn"


def kept(git_ref: str, commit: str | None) -> str:
    """Where git has a checkpoint: its ref and its commit."""
    return output.one_line(git_ref) + (f", commit {commit[:12]}" if commit else "")


def answer(approval: Entity) -> str:
    """The answer to an approval: the name of the chosen option. In a shared log also whose it is: `Yes (ada)`."""
    by = f" ({approval['resolvedBy']})" if "resolvedBy" in approval else ""
    if approval["status"] != "resolved":
        return output.one_line(f"{approval['status']}{by}")
    names = {option["id"]: option["name"] for option in approval["options"]}
    return output.one_line(f"{names.get(approval['outcome'], approval['outcome'])}{by}")


def tokens(usage: Any) -> str:
    """The tokens that a turn used, if they are reported in the form of the Agent Client Protocol."""
    if not isinstance(usage, dict):
        return ""
    found = [(usage.get(key), word) for key, word in (("inputTokens", "in"), ("outputTokens", "out"))]
    return ", ".join(f"{count:,} tokens {word}" for count, word in found if isinstance(count, int))
