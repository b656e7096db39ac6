"""The connection that a process appends to a shared log through, and how long it tries."""

import random
import threading
import time
from uuid import UUID

from treadle.domain.ids import Durability
from treadle.store.errors import LogUnavailable
from treadle.store.shared.config import SharedLogConfig
from treadle.store.shared.failures import UNREACHABLE
from treadle.store.shared.remote import AppendAnswer, RemoteLog, ScopedAppend, SharedEvent

PATIENCE = 5.0  # seconds until a command fails that was not sent, because the server cannot be reached
LONGEST = 30.0  # seconds until one fails that may have been carried out, or that a running turn depends on
FAIR = 3  # lost races after which it pauses before the next try


class Link:
    """Used on the log's thread, except `cut` and `close`, and connected when it is needed.

    login: of the last connection; None before the first.
    """

    def __init__(self, config: SharedLogConfig, durability: Durability) -> None:
        self.config = config
        self.login: str | None = None
        self._durability = durability
        self._remote: RemoteLog | None = None
        self._closing = threading.Event()
        self._down_since: float | None = None
        self._is_suspect = False
        self._round_trip = 0.0
        self._lost = 0

    def append(self, asked: ScopedAppend, *, patient: bool) -> AppendAnswer:
        """Append, with the same `append_id` until there is an answer. patient: also if it could not be sent.

        Raises LogUnavailable after PATIENCE, counted from when the server was first not reached, or after LONGEST.
        """
        begun, was_sent, pause = time.monotonic(), False, 0.05
        while True:
            try:
                remote = self._connected()
                was_sent, sent = True, time.monotonic()
                answer = remote.append(self.config.log_id, asked)
                self._round_trip = time.monotonic() - sent
                return answer
            except LogUnavailable as error:
                self._failed(error)
                if error.kind != UNREACHABLE:
                    raise
                until = begun + LONGEST if was_sent or patient else (self._down_since or begun) + PATIENCE
                if self._closing.is_set() or time.monotonic() + pause > until:
                    if not was_sent:
                        raise
                    raise LogUnavailable(
                        f"{error}. It may have been carried out: with a commandId it can be sent again", UNREACHABLE
                    ) from None
                self._closing.wait(pause)
                pause = min(2 * pause, 1.0)

    def pull(self, known: int, mark: UUID) -> list[SharedEvent]:
        """The next events after `known`. Raises LogUnavailable."""
        try:
            return self._connected().pull(self.config.log_id, known, mark)
        except LogUnavailable as error:
            self._failed(error)
            raise

    def won(self) -> None:
        """An append has succeeded."""
        self._lost = 0

    def lost(self) -> int:
        """Another machine was faster: let the others have their turn; return how often in a row."""
        self._lost += 1
        if self._lost > FAIR:
            self._closing.wait(random.uniform(0, self._round_trip))
        return self._lost

    def suspect(self) -> None:
        """From any thread: another connection to the server was lost, so this one probably is too."""
        self._is_suspect = True
        self._down_since = self._down_since or time.monotonic()

    def cut(self) -> None:
        """From any thread: end a call that waits for an answer."""
        if (remote := self._remote) is not None:
            remote.cut()

    def close(self) -> None:
        """From any thread: end a call that waits, and try no more."""
        self._closing.set()
        self.cut()

    def _connected(self) -> RemoteLog:
        if self._closing.is_set():
            raise LogUnavailable("the data directory is being closed", UNREACHABLE)
        if self._is_suspect:
            self.drop()
        if self._remote is None:
            remote = RemoteLog(self.config.service)
            try:
                if self._durability == "full":
                    remote.require_durable()
            except BaseException:
                remote.close()
                raise
            self._remote, self.login = remote, remote.login
        self._down_since, self._is_suspect = None, False
        return self._remote

    def _failed(self, error: LogUnavailable) -> None:
        if error.kind == UNREACHABLE:
            self._down_since = self._down_since or time.monotonic()
            self.drop()

    def drop(self) -> None:
        """Close the connection. The next call opens another one."""
        if self._remote is not None:
            self._remote.close()
            self._remote = None
