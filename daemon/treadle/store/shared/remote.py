"""One connection to a shared log: the calls that its server answers. Blocking, and for one thread at a time."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, LiteralString, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct

from treadle.contract.shared_log import MachineLease
from treadle.store.errors import LogUnavailable, Refused, StorageError, UserError
from treadle.store.records import CommandRecord
from treadle.store.shared.failures import UNREACHABLE, explained
from treadle.store.shared.transport import check_service, check_transport

try:
    import psycopg
    from psycopg import pq, sql
except ImportError as error:
    raise UserError(f"a shared log needs the extra `postgres`: pip install 'treadle[postgres]' ({error})") from None

FORMAT = 1
"""Counts up with each new type of event: an older treadle appends nothing to a log that has newer ones."""

NO_MARK = UUID(int=0)
"""The mark of a replica that has no event yet."""

# A server that is gone is noticed within half a minute. A standby is no server to append to.
_OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
    "target_session_attrs": "read-write",
    "application_name": "treadle",
}

# Lists of texts are sent as binary (%b): psycopg takes twenty times as long to write them as text.
APPEND = """
SELECT status, base, sequences, append_ids, actors, missed, records FROM treadle.append_v1(
  %(log)s::uuid, %(known)s::bigint, %(mark)s::uuid, %(format)s::int, %(needs)s::int, %(append_id)s::uuid,
  %(reads)b::text[], %(scopes)b::text[], %(payloads)b::text[],
  %(ids)b::text[], %(digests)b::text[], %(firsts)s::int[], %(lasts)s::int[], %(parts)s::text[], %(rejected)b::text[])
"""
ERASE = APPEND.replace("append_v1", "erase_v1").replace(
    "%(rejected)b::text[])", "%(rejected)b::text[], %(erased)s::bigint[], %(cleaned)b::text[])"
)
PULL = """
SELECT sequence, append_id, actor::text, payload
FROM treadle.pull_v1(%(log)s::uuid, %(known)s::bigint, %(mark)s::uuid, %(how_many)s::int)
"""
BEAT = """
SELECT machine_id, actor::text, applied, seen::text, away
FROM treadle.beat_v1(%(log)s::uuid, %(machine)s::text, %(holder)s::uuid, %(applied)s::bigint)
"""
ANSWERS = "SELECT pg_backend_pid()"
LISTEN = "LISTEN {}"
ANNOUNCE = "SELECT pg_notify(%(channel)s::text, %(head)s::text)"
IS_DURABLE = "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') NOT IN ('off', 'local')"
LOGS = "SELECT log_id, name, head, format, may, version FROM treadle.logs_v1()"

Status = Literal["appended", "again", "conflict", "repeated", "behind", "older", "diverged"]


class ScopedAppend(Struct, frozen=True):
    """What is to be appended after the sequence `known`, whose event is of the append `mark`.

    append_id: chosen once; the same call again has no second effect. reads: the scopes that the decision has read.
    scopes: of each event, separated by spaces. records: with sequences as if nothing came after `known`. rejected: the
    ids of commands that were rejected, which another machine may have carried out. cleaned: for an erasure, the
    payloads that take the place of older ones, by their sequences.
    """

    append_id: UUID
    known: int
    mark: UUID
    reads: list[str]
    scopes: list[str]
    payloads: list[bytes]
    records: Sequence[CommandRecord] = ()
    rejected: Sequence[str] = ()
    cleaned: Mapping[int, str] | None = None


class SharedEvent(NamedTuple):
    """An event of a shared log. append_id: of the append that it came with. actor: the login that appended it."""

    sequence: int
    append_id: UUID
    actor: str
    payload: str


class AppendAnswer(NamedTuple):
    """What became of an append; sql/postgres/001_log.sql says what each status means.

    base: the sequence that its events come after. missed: the next events after `known` that were there before.
    records: of the commands that were carried out before.
    """

    status: Status
    base: int | None
    missed: list[SharedEvent]
    records: list[CommandRecord]


class SharedLogInfo(NamedTuple):
    """A log that this login may use. may: `read`, `write` or `erase`. version: of the schema on the server."""

    log_id: UUID
    name: str
    head: int
    format: int
    may: str
    version: int


class RemoteLog:
    """A connection. Close it, or use it as a context manager."""

    def __init__(self, service: str, **options: Any) -> None:
        """Connect to a service of ~/.pg_service.conf. options: of libpq. Raises UserError and StorageError."""
        check_service(service)
        self.service = service
        self._warned = False
        with self._explaining():
            check_transport(_settings(service))
            settings = {**_OPTIONS, **options}
            self._connection = psycopg.connect(service=service, autocommit=True, prepare_threshold=None, **settings)
        self._connection.add_notice_handler(self._notice)
        # Of its own, so that `cut` never meets a descriptor that was closed and is another file now.
        self._socket = socket.socket(fileno=os.dup(self._connection.fileno()))

    def __enter__(self) -> "RemoteLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        self._socket.close()

    def cut(self) -> None:
        """Cut the connection, from any thread: a call that waits for an answer raises StorageError `logUnreachable`."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def fileno(self) -> int:
        """The descriptor that becomes readable when another machine has announced something."""
        return self._socket.fileno()

    @property
    def login(self) -> str:
        """The login that appends what is appended here."""
        return self._connection.info.user

    def execute(self, statement: LiteralString | bytes, **values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; without values it may be a script. Raises StorageError."""
        with self._explaining():
            cursor = self._connection.execute(statement, values or None, binary=bool(values))
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction: undone if the block raises."""
        with self._explaining(), self._connection.transaction():
            yield

    def append(self, log_id: UUID, asked: ScopedAppend, *, needs: int = FORMAT) -> AppendAnswer:
        """Append, if nothing that was read has changed.

        If this raises StorageError of the kind `logUnreachable`, the append may have happened: call it with the same
        `append_id` on a new connection, until there is an answer.
        """
        records = asked.records
        self._warned = False
        statement, erasing = APPEND, dict[str, Any]()
        if asked.cleaned is not None:
            statement, erasing = ERASE, {"erased": [*asked.cleaned], "cleaned": [*asked.cleaned.values()]}
        [(status, base, *columns, answered)] = self.execute(
            statement,
            log=log_id,
            known=asked.known,
            mark=asked.mark,
            format=FORMAT,
            needs=needs,
            append_id=asked.append_id,
            reads=asked.reads,
            scopes=asked.scopes,
            payloads=[payload.decode() for payload in asked.payloads],
            ids=[record.command_id for record in records],
            digests=[record.digest for record in records],
            firsts=[record.first_sequence - asked.known for record in records],
            lasts=[record.last_sequence - asked.known for record in records],
            parts=[record.parts for record in records],
            rejected=[*asked.rejected],
            **erasing,
        )
        if self._warned:
            # PostgreSQL commits and warns if the wait for a standby is cancelled: only this server has the events.
            raise LogUnavailable(
                f"shared log {self.service!r}: the server waits for its standby: try again", UNREACHABLE
            )
        missed = [SharedEvent(*row) for row in zip(*columns, strict=True)] if columns[0] else []
        return AppendAnswer(
            status, base, missed, [msgspec.json.decode(text, type=CommandRecord) for text in answered or ()]
        )

    def pull(self, log_id: UUID, known: int, mark: UUID, how_many: int = 5000) -> list[SharedEvent]:
        """The next events after `known`; none if there are no more. Raises StorageError `logRewound`."""
        rows = self.execute(PULL, log=log_id, known=known, mark=mark, how_many=how_many)
        return [SharedEvent(*row) for row in rows]

    def beat(self, log_id: UUID, machine_id: str, holder: UUID, applied: int) -> list[MachineLease]:
        """Say that this machine is there, for a minute; return all machines. Raises StorageError `logMachineLeased`.

        holder: chosen at random once, so that the lease of a machine is not taken by a copy of its data directory.
        """
        rows = self.execute(BEAT, log=log_id, machine=machine_id, holder=holder, applied=applied)
        return [MachineLease(*row) for row in rows]

    def require_durable(self) -> None:
        """Raises Refused if a crash of the server may lose what it has answered for."""
        [(is_durable,)] = self.execute(IS_DURABLE)
        if not is_durable:
            raise Refused(
                f"shared log {self.service!r}: a crash of the server would lose events: its fsync is off, or its "
                "synchronous_commit is `off` or `local`. Change that, or start treadle with --durability normal",
                "logInsecure",
            )

    def listen(self, log_id: UUID) -> bool:
        """Be told when others append; False if that does not work, as behind a pool of connections."""
        try:
            # A pool names another process than the one that answers. LISTEN would tell whoever uses that one next.
            [(answers,)] = self.execute(ANSWERS)
            if answers != self._connection.info.backend_pid:
                return False
            with self._explaining():
                self._connection.execute(sql.SQL(LISTEN).format(sql.Identifier(_channel(log_id))))
        except StorageError as error:
            if error.kind == UNREACHABLE:
                raise
            return False
        return True

    def announce(self, log_id: UUID, head: int) -> None:
        """Tell those who listen that the log is at `head`. It may be lost."""
        self.execute(ANNOUNCE, channel=_channel(log_id), head=str(head))

    def announced(self) -> int:
        """The highest head that was announced since the last call; 0 if none was."""
        with self._explaining():
            heads = [int(one.payload) for one in self._connection.notifies(timeout=0) if one.payload.isdigit()]
            if self._connection.closed:  # psycopg tells only whoever asks again
                raise psycopg.OperationalError
        return max(heads, default=0)

    def logs(self) -> list[SharedLogInfo]:
        """The logs that this login may use."""
        return [SharedLogInfo(*row) for row in self.execute(LOGS)]

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Translate errors of psycopg. `from None`: theirs may show how to connect, or what is in a row."""
        try:
            yield
        except psycopg.Error as error:
            is_of_values = error.sqlstate is None and isinstance(error, psycopg.DataError)
            raise explained(self.service, "22000" if is_of_values else error.sqlstate, str(error)) from None

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warned = True


def _channel(log_id: UUID) -> str:
    return f"treadle_{log_id.hex}"


def _settings(service: str) -> dict[str, str]:
    """The settings that libpq would connect with: of the service, of the environment, and its defaults.

    Only a connection has them, so one is begun to a port that cannot exist: it fails before anything is sent.
    """
    begun = pq.PGconn.connect_start(f"service={service} port=0".encode())
    try:
        settings = {option.keyword.decode(): option.val.decode() for option in begun.info if option.val is not None}
        if settings.get("port") != "0":  # the service was not found, or its file has an error
            raise psycopg.OperationalError(begun.get_error_message())
        return settings
    finally:
        begun.finish()
