"""The turns of a thread with the checkpoints before and after each; and why a turn has none."""

import msgspec

from treadle.cli.lists import checkpoints_of
from treadle.cli.names import SHOWN, Unclear
from treadle.cli.output import count, one_line
from treadle.cli.transcript import NumberedTurn, turns_of
from treadle.domain.entities import Checkpoint
from treadle.domain.events import CheckpointCreated, CheckpointFailed, CheckpointPruned, StoredEvent
from treadle.domain.ids import Phase
from treadle.store.sqlite.reader import Reader
from treadle.workspace.checkpoint_settings import are_off

PAGE = 1_000  # events read at once


class TurnCheckpoints:
    """The turns of one thread, oldest first, and its checkpoints, by the turn and the phase, and all."""

    def __init__(self, reader: Reader, thread_id: str) -> None:
        self._reader, self._thread_id = reader, thread_id
        self.turns = list(turns_of(reader, thread_id))
        self.all = checkpoints_of(reader, thread_id)
        self._found = {(one.turn_id, one.phase): one for one in self.all if one.turn_id is not None}

    def of(self, turn: NumberedTurn, phase: Phase) -> Checkpoint | None:
        """The checkpoint before or after a turn."""
        return self._found.get((turn.value["id"], phase))

    def named(self, name: str) -> NumberedTurn:
        """The turn with this id, number, or unique prefix of an id; `last` names the last one. Raises Unclear."""
        if not self.turns:
            raise Unclear(f"thread {self._thread_id} has no turns yet")
        if name == "last":
            return self.turns[-1]
        ids = {turn.value["id"]: turn for turn in self.turns}
        if name in ids:
            return ids[name]
        if name.isascii() and name.isdecimal() and 1 <= int(name) <= len(self.turns):
            return self.turns[int(name) - 1]
        found = [id for id in ids if id.startswith(name)]
        if len(found) == 1:
            return ids[found[0]]
        if not found:
            raise Unclear(f"turn {name!r} not found: thread {self._thread_id} has {count(len(self.turns), 'turn')}")
        more = ", …" if len(found) > SHOWN else ""
        raise Unclear(f"{name!r} is ambiguous: it matches {', '.join(found[:SHOWN])}{more}")

    def before(self, turn: NumberedTurn) -> Checkpoint:
        """The checkpoint before a turn. Raises Unclear, which says why there is none."""
        found = self.of(turn, "before")
        if found is None:
            raise Unclear(f"there is no checkpoint before turn {turn.number}: {self._why(turn, 'before')}")
        return found

    def after(self, turn: NumberedTurn) -> Checkpoint | None:
        """The checkpoint after a turn; None while it runs. Raises Unclear, which says why there is none."""
        found = self.of(turn, "after")
        if found is None and turn.value["status"] != "running":
            raise Unclear(
                f"there is no checkpoint after turn {turn.number}: {self._why(turn, 'after')}. "
                "To compare with the files as they are now, give --now"
            )
        return found

    def any_turn(self) -> bool:
        """Whether there is a checkpoint before any turn."""
        return any(phase == "before" for _, phase in self._found)

    def first(self) -> NumberedTurn:
        """The first turn that has a checkpoint before it. Raises Unclear, which says why there is none."""
        for turn in self.turns:
            if self.of(turn, "before") is not None:
                return turn
        last = self.named("last")
        raise Unclear(f"thread {self._thread_id} has no checkpoints of turns: {self._why(last, 'before')}")

    def _why(self, turn: NumberedTurn, phase: Phase) -> str:
        """Why a turn has no checkpoint, as far as the log tells."""
        failed, pruned = self._told(turn.value["id"], phase)
        if pruned:
            return "it was pruned"
        if failed is not None:
            return one_line(failed)
        if turn.value["promptId"] is None:
            return "the turn was recorded by a client or imported, and treadle takes them only for agents that it runs"
        if self._is_off():
            return "checkpoints are off (the setting `checkpoints`)"
        return "none was taken: the folder was in no git repository, two had failed just before, or the daemon ended"

    def _told(self, turn_id: str, phase: Phase) -> tuple[str | None, bool]:
        """Why it failed, if the log says so, and whether it was pruned."""
        failed, made, pruned = None, None, set[str]()
        after: int | None = 0
        while after is not None:
            start = after
            rows, after = self._reader.read(lambda reads: reads.events(self._thread_id, start, PAGE))  # noqa: B023
            for row in rows:
                match msgspec.json.decode(row, type=StoredEvent).event:
                    case CheckpointFailed() as event if event.turn_id == turn_id:
                        failed = event.reason
                    case CheckpointCreated() as event if (event.turn_id, event.phase) == (turn_id, phase):
                        made = event.id
                    case CheckpointPruned() as event:
                        pruned.add(event.id)
                    case _:
                        pass
        return failed, made in pruned

    def _is_off(self) -> bool:
        project_id = self._reader.read(lambda reads: msgspec.json.decode(reads.header(self._thread_id)))["projectId"]
        return self._reader.read(lambda reads: are_off(reads, project_id))
