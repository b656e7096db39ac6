"""Shows the progress of long-running work."""

import sys
import time


class ProgressLine:
    """Prints to stderr: a bar on a terminal, otherwise a line every few seconds."""

    WIDTH = 30

    def __init__(self, what: str, unit: str = "events") -> None:
        self._what = what
        self._unit = unit
        self._terminal = sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._last < (0.1 if self._terminal else 5.0):
            return
        self._last = now
        share = 1.0 if total == 0 else done / total
        if self._terminal:
            bar = ("#" * round(share * self.WIDTH)).ljust(self.WIDTH, ".")
            end = "\n" if done == total else ""
            print(f"\r{self._what} [{bar}] {done:,} of {total:,} {self._unit}", end=end, file=sys.stderr, flush=True)
        else:
            print(f"{self._what}: {done:,} of {total:,} {self._unit}", file=sys.stderr, flush=True)
