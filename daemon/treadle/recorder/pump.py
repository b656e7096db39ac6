"""Carries bytes between an editor and its agent, and gives a copy of them to a spool.

Nothing on the way of the bytes waits for the copy: it goes into memory, from where a thread of its own writes it. What
does not fit there is left out of the copy, which says how much that was.
"""

import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from treadle.recorder.launch import PipeEnds
from treadle.recorder.spool import AGENT, EDITOR, SpoolWriter, encoded, lost

PIECE = 64 * 1024  # bytes that are read at once
MEMORY = 32 * 1024 * 1024  # bytes of the copy that may wait to be written
SWITCH = 0.0001  # seconds after which the thread that copies lets those that carry go on; the default is 50 times that
RETRY = 0.5  # seconds until a failed write of the copy is tried again
LAST_TRIES = 4  # after the end of the session


def pump(ends: PipeEnds, spool: Callable[[], SpoolWriter], written: Callable[[], None]) -> None:
    """Carry until both directions have ended. spool: opens it. written: called when it has more."""
    sys.setswitchinterval(SWITCH)
    tee = Tee()
    copying = threading.Thread(target=lambda: tee.write_to(spool(), written), daemon=True)
    copying.start()
    up = threading.Thread(target=_carry, args=(ends.from_editor, ends.to_agent, lambda data: tee.put(EDITOR, data)))
    up.start()
    _carry(ends.from_agent, ends.to_editor, lambda data: tee.put(AGENT, data))
    up.join()
    tee.end()
    copying.join()


def _carry(source: int, target: int, copy: Callable[[bytes], None]) -> None:
    """Carry until the source ends or nobody reads the target any more; then close both, so that the others notice."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(target, 0)  # errors are always reported
    try:
        while True:
            ready = dict(poll.poll())
            if target in ready:
                return
            data = os.read(source, PIECE)
            if not data:
                return
            copy(data)  # first, so that an answer to it cannot be copied before it
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
    except OSError:  # nobody reads the target, or the source was reset
        return
    finally:
        os.close(source)
        os.close(target)


class Tee:
    """The copy that waits to be written, at most MEMORY bytes of it."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._lost = {EDITOR: 0, AGENT: 0}
        self._to_line_end = {EDITOR: False, AGENT: False}
        self._changed = threading.Condition()
        self._ended = False

    def put(self, sender: int, data: bytes) -> None:
        """Take what a sender has written. Never waits for the spool."""
        at = time.time()
        with self._changed:
            if self._bytes + len(data) > self._memory:
                self._lost[sender] += len(data)
                self._to_line_end[sender] = data.endswith(b"\n")
                return
            if self._lost[sender]:
                self._put_lost(at, sender)
            record = encoded(at, sender, data)
            self._waiting.append(record)
            self._bytes += len(record)
            self._changed.notify()

    def _put_lost(self, at: float, sender: int) -> None:
        record = lost(at, sender, self._lost[sender], self._to_line_end[sender])
        self._waiting.append(record)
        self._bytes += len(record)
        self._lost[sender] = 0

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            for sender in [sender for sender, count in self._lost.items() if count]:
                self._put_lost(time.time(), sender)
            self._ended = True
            self._changed.notify()

    def write_to(self, spool: SpoolWriter, written: Callable[[], None]) -> None:
        """Write all that is put, until the end."""
        while records := self._next():
            tries = 0
            for record in records:
                while not spool.write(record):
                    tries += self._ended
                    if tries > LAST_TRIES:
                        return
                    with self._changed:
                        self._changed.wait_for(lambda: self._ended, RETRY)
                    if self._ended:
                        time.sleep(RETRY / 2)
                with self._changed:
                    self._bytes -= len(record)
            written()

    def _next(self) -> list[bytes]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            records = list(self._waiting)
            self._waiting.clear()
            return records
