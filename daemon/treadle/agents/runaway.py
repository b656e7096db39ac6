"""Notices an agent that repeats itself without end: one that sends its half answer again for each of endless retries.

Some text repeats for a reason: a table, a log, a refrain. So repeated text only counts when it is copied exactly, and
new text counts against it. Pure: no clock, no I/O.
"""

LIMIT = 100_000
"""Characters of repeated text without progress after which an agent counts as a runaway."""
WINDOW = 65_536
"""Characters within which text counts as repeated."""
MATCH = 32
"""Characters that have to be the same before anything counts as repeated."""
COST = 2
"""How many repeated characters a new one makes up for."""
STEP = 128
"""Characters that are compared at once."""
PROGRESS = frozenset(("tool_call", "tool_call_update", "plan"))
"""Kinds of updates that show that the agent works."""


class Runaway:
    """What an agent said in one turn, compared with what it had said shortly before."""

    def __init__(self) -> None:
        self._said = ""
        self._pending = ""  # said too, not yet compared
        self._distance = 0  # from the text that is repeated to its repetition; 0: the text is new
        self._repeated = 0

    def hear(self, kind: str, text: str = "") -> bool:
        """Take an update of the protocol, with its text if it is a chunk; return whether the agent is a runaway."""
        if kind in PROGRESS:
            self._repeated = 0
        self._pending += text
        whole = len(self._pending) - len(self._pending) % STEP
        for start in range(0, whole, STEP):
            self._take(self._pending[start : start + STEP])
        self._pending = self._pending[whole:]
        return self._repeated >= LIMIT

    def _take(self, piece: str) -> None:
        if self._distance and piece == self._expected():
            self._repeated += STEP
        else:
            self._distance = 0
            self._repeated = max(0, self._repeated - COST * STEP)
        self._said = (self._said + piece)[-WINDOW:]
        if not self._distance:
            self._search()

    def _expected(self) -> str:
        """The next characters, if the text continues to repeat what is `_distance` before it."""
        source = self._said[-self._distance :][:STEP]
        return (source * (STEP // len(source) + 1))[:STEP]

    def _search(self) -> None:
        """Find where the last characters were said before."""
        end = len(self._said) - MATCH
        at = self._said.rfind(self._said[end:], 0, len(self._said) - 1) if end > 0 else -1
        self._distance = end - at if at >= 0 else 0
