"""A shared log, as the engine appends to it: the server puts events into one order, the replica follows."""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from treadle.domain.events import AnyEvent, EventsRedacted, ThreadErased, decode
from treadle.domain.scopes import EVERYTHING, changed_scopes
from treadle.store.errors import Busy, LogUnavailable, NewerDatabase, StorageError, explained
from treadle.store.ids import new_id
from treadle.store.ports import DecidedBy
from treadle.store.records import CommandRecord
from treadle.store.shared.failures import REWOUND
from treadle.store.shared.link import Link
from treadle.store.shared.remote import AppendAnswer, ScopedAppend, SharedEvent
from treadle.store.shared.replica import ReplicaPlace, announce_folders, apply, forget_folders, note_rewound, place_of
from treadle.store.sqlite.log import SqliteLog
from treadle.store.sqlite.runners import identify_anew
from treadle.store.sqlite.sql import query

log = logging.getLogger(__name__)

OF_THREADS = "SELECT sequence, payload FROM events WHERE thread_id IN (SELECT value FROM json_each(:threads))"
OWN = "SELECT payload FROM events WHERE sequence > :expected ORDER BY sequence"
TRIES = 50  # lost races in a row after which a command fails


class SharedLog(SqliteLog):
    """Implements Log on a replica. An append is answered when the server and the replica have it."""

    def __init__(self, connection: sqlite3.Connection, in_place: Callable[[], None], link: Link) -> None:
        super().__init__(connection, in_place)
        self._link = link

    def append(
        self, expected: int, payloads: list[bytes], records: list[CommandRecord], by: DecidedBy | None = None
    ) -> int | None:
        place = self._place()
        if place.sequence != expected:  # another process of this machine was faster
            return None
        decoded = [*map(decode, payloads)]
        asked = ScopedAppend(
            UUID(new_id()),
            expected,
            place.mark,
            reads=[EVERYTHING] if by is None else sorted(by.reads),
            scopes=[" ".join(changed_scopes(event)) for event in decoded],
            payloads=payloads,
            records=records,
            rejected=[] if by is None else by.rejected,
        )
        if any(isinstance(event, ThreadErased | EventsRedacted) for event in decoded):
            asked = msgspec.structs.replace(asked, **self._erased(expected, decoded, payloads))
        folders = {} if by is None else by.folders
        if folders:
            announce_folders(self._db, asked.append_id, folders)
        answer = self._link.append(asked, patient=by is not None and by.of_own_turn)
        if answer.base is None:
            if folders:
                forget_folders(self._db, asked.append_id)
            self._catch_up(answer, place)
            return None
        self._link.won()
        self._apply_own(asked, answer, answer.base)
        return answer.base

    def is_current(self, expected: int, by: DecidedBy) -> bool:
        return self.append(expected, [], [], by) is not None

    def follow(self, page: list[SharedEvent]) -> ReplicaPlace:
        """Apply events that were pulled; return the place of the replica."""
        return apply(self._db, self._in_place, page)

    def place(self) -> ReplicaPlace:
        """How far the replica is."""
        return place_of(self._db)

    def identify_anew(self) -> None:
        """This data directory is a copy: the next start gives it a machine id of its own."""
        identify_anew(self._db)

    def note_rewound(self) -> ReplicaPlace:
        """Take no more events: the shared log lacks some that the replica has."""
        note_rewound(self._db, datetime.now(UTC).isoformat(timespec="seconds"))
        return place_of(self._db)

    def _erased(self, expected: int, decoded: list[AnyEvent], payloads: list[bytes]) -> dict[str, Any]:
        """What an erasure makes of its own payloads, and of older ones.

        It is found by appending to the replica in a transaction that is undone, so that it is the same on all machines.
        """
        db = self._db
        erasures = [event for event in decoded if isinstance(event, ThreadErased | EventsRedacted)]
        threads = {"threads": msgspec.json.encode([event.thread_id for event in erasures]).decode()}
        batch = msgspec.json.encode([payload.decode() for payload in payloads]).decode()
        db.execute("BEGIN IMMEDIATE")
        try:
            before = dict(db.execute(OF_THREADS, threads).fetchall())
            db.execute(query("append_events"), {"expected": expected, "batch": batch, "actors": None})
            after = dict(db.execute(OF_THREADS, threads).fetchall())
            own = [payload.encode() for (payload,) in db.execute(OWN, {"expected": expected})]
        finally:
            db.execute("ROLLBACK")
        return {"payloads": own, "cleaned": {n: after[n] for n, payload in before.items() if after[n] != payload}}

    def _place(self) -> ReplicaPlace:
        """Raises LogUnavailable if the replica can take no more events, NewerDatabase if another treadle changed it."""
        self.sequence()
        place = place_of(self._db)
        if place.rewound is not None:
            raise LogUnavailable(
                "the shared log was rewound: it lacks events that this machine has. Start treadle again: it keeps them "
                "in a file and builds a new replica",
                REWOUND,
            )
        return place

    def _apply_own(self, asked: ScopedAppend, answer: AppendAnswer, base: int) -> None:
        """Apply what was appended. It is in the log, so a full disk here must not make of it a failure."""
        login = str(self._link.login)
        try:
            page = answer.missed
            if (page[-1].sequence if page else asked.known) < base:  # too many for one answer
                place = self._apply(page)
                while place.sequence < base:
                    place = self._pull(place)
                page = []
            own = [SharedEvent(base + 1 + n, asked.append_id, login, p.decode()) for n, p in enumerate(asked.payloads)]
            shift = base - asked.known
            moved = [
                msgspec.structs.replace(
                    record, first_sequence=record.first_sequence + shift, last_sequence=record.last_sequence + shift
                )
                for record in asked.records
            ]
            self._apply([*page, *own], moved)  # in one transaction, which waits for the disk once
        except (sqlite3.Error, StorageError) as error:
            why = explained(error) if isinstance(error, sqlite3.Error) else error
            log.error("the shared log has %d events more, but not the replica: %s", len(asked.payloads), why)

    def _catch_up(self, answer: AppendAnswer, place: ReplicaPlace) -> None:
        """Apply why it was not appended, so that it can be decided again. Raises StorageError where it cannot."""
        match answer.status:
            case "conflict":
                self._apply(answer.missed)
                if self._link.lost() > TRIES:
                    raise Busy("other machines are always faster in this thread: try again")
            case "repeated" | "behind":
                while place != (place := self._pull(place)):
                    pass
                self._apply([], answer.records)
            case "older":
                raise NewerDatabase("the shared log has events of a newer treadle: use that version to write to it")
            case "diverged":
                self.note_rewound()
                self._place()

    def _pull(self, place: ReplicaPlace) -> ReplicaPlace:
        try:
            return self._apply(self._link.pull(place.sequence, place.mark))
        except LogUnavailable as error:
            if error.kind == REWOUND:
                self.note_rewound()
            raise

    def _apply(self, page: list[SharedEvent], records: Iterable[CommandRecord] = ()) -> ReplicaPlace:
        return apply(self._db, self._in_place, page, records)
