"""What the owner of shared logs does: creates the schema and logs, upgrades, and says which login may do what."""

from typing import NamedTuple
from uuid import UUID, uuid4

from treadle.contract.shared_log import MachineLease
from treadle.store.errors import NewerDatabase, Refused, UserError
from treadle.store.shared.remote import RemoteLog
from treadle.store.sqlite.migrations import version_of
from treadle.store.sqlite.sql import Script, scripts

OLDEST = 140000
"""The oldest version of PostgreSQL that treadle is made for, as server_version_num."""

SERVER = """
SELECT current_setting('server_version_num')::int, current_setting('server_version'), session_user::text,
  (SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'treadle'),
  coalesce((SELECT pg_has_role(session_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'treadle'), false),
  has_database_privilege(current_database(), 'CREATE'),
  current_setting('fsync') = 'on' AND current_setting('synchronous_commit') NOT IN ('off', 'local')
"""
CREATE = """
CREATE SCHEMA treadle;
CREATE TABLE treadle.schema_migrations (
  version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)
"""
LOCK = "LOCK TABLE treadle.schema_migrations IN EXCLUSIVE MODE"  # of two upgrades at once, the second has none to do
APPLIED = "SELECT version, name, checksum FROM treadle.schema_migrations ORDER BY version"
RECORD = """
INSERT INTO treadle.schema_migrations (version, name, checksum) VALUES (%(version)s, %(name)s::text, %(checksum)s::text)
"""
ADD_LOG = "INSERT INTO treadle.logs (log_id, name) VALUES (%(id)s, %(name)s::text) ON CONFLICT (name) DO NOTHING"
ALL_LOGS = "SELECT log_id, name, head FROM treadle.logs ORDER BY name"
IS_ROLE = "SELECT rolcanlogin FROM pg_roles WHERE rolname = %(role)s::text"
GRANT = "SELECT treadle.grant_member(%(log)s::uuid, %(role)s::text, %(may)s::text)"
REVOKE = "SELECT treadle.revoke_member(%(log)s::uuid, %(role)s::text)"
MEMBERS = "SELECT role::text, may FROM treadle.members WHERE log_id = %(log)s ORDER BY role"
MACHINES = """
SELECT machine_id, actor::text, applied, seen::text, greatest(0, extract(epoch FROM now() - until)::float8)
FROM treadle.machines WHERE log_id = %(log)s
ORDER BY machine_id
"""


class LogServer(NamedTuple):
    """The server of a service. owner: of the schema, None if there is none yet. owns: this login may act as the owner.

    can_create: it may create a schema. is_durable: a commit that it has answered survives a crash of it.
    """

    number: int
    version: str
    login: str
    owner: str | None
    owns: bool
    can_create: bool
    is_durable: bool


class OwnedLog(NamedTuple):
    """A log, as its owner sees it."""

    log_id: UUID
    name: str
    head: int


class LogMember(NamedTuple):
    """A login that may use a log. may: `read`, `write` or `erase`."""

    role: str
    may: str


def server(remote: RemoteLog) -> LogServer:
    [row] = remote.execute(SERVER)
    return LogServer(*row)


def initialize(remote: RemoteLog, name: str) -> tuple[OwnedLog, bool]:
    """Create the schema if there is none, and a log if there is none of this name; return it, and whether it is new.

    Raises UserError if another role owns the schema, Refused for a server that is too old.
    """
    if not name or len(name) > 100 or not name.isprintable():
        raise UserError("the name of a log has 1 to 100 characters, and no control characters")
    there = server(remote)
    if there.number < OLDEST:
        raise Refused(f"the server has PostgreSQL {there.version}, and a shared log needs 14 or newer")
    if there.owner is None:
        if not there.can_create:
            raise UserError(f"login {there.login!r} may not create a schema: it needs GRANT CREATE ON DATABASE")
        with remote.transaction():
            remote.execute(CREATE)
            upgrade(remote)
    else:
        check_owner(remote)
        if pending(remote):
            raise UserError("the schema is of an older treadle: run `treadle log upgrade` first")
    identifier = uuid4()
    remote.execute(ADD_LOG, id=identifier, name=name)
    log = log_named(remote, name)
    return log, log.log_id == identifier


def upgrade(remote: RemoteLog) -> list[str]:
    """Apply the migrations that are missing, all or none; return their names. Raises UserError and Refused."""
    check_owner(remote)
    with remote.transaction():
        remote.execute(LOCK)
        todo = pending(remote)
        for script in todo:
            remote.execute(script.text.encode())
            remote.execute(RECORD, version=version_of(script), name=script.name, checksum=script.checksum)
    return [script.name for script in todo]


def pending(remote: RemoteLog) -> list[Script]:
    """The migrations that are not applied. Raises Refused if one differs from ours, NewerDatabase if one is unknown."""
    known = {version_of(script): script for script in scripts("postgres")}
    applied = {version: (name, checksum) for version, name, checksum in remote.execute(APPLIED)}
    for version, (name, checksum) in applied.items():
        if version not in known:
            raise NewerDatabase(f"the server has migration {name}, of a newer treadle: use that version")
        if checksum != known[version].checksum:
            raise Refused(
                f"migration {name} of the server differs from the one that this treadle has: a version from before a "
                "release made it. If its logs are not needed, drop the schema `treadle` and run `treadle log init`"
            )
    return [script for version, script in sorted(known.items()) if version not in applied]


def check_owner(remote: RemoteLog) -> None:
    """Raises UserError unless this login owns the schema."""
    there = server(remote)
    if there.owner is None:
        raise UserError("the database has no shared log: create one with `treadle log init`")
    if not there.owns:
        raise UserError(
            f"login {there.login!r} does not own the shared logs: {there.owner!r} does, so use a service with it"
        )


def log_named(remote: RemoteLog, name: str | None) -> OwnedLog:
    """The log of this name; without a name the only one. Raises UserError."""
    logs = owned_logs(remote)
    found = [log for log in logs if name in (None, log.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(log.name for log in logs) or "none"
    problem = "name one with --log" if name is None else f"log {name!r} does not exist"
    raise UserError(f"{problem}: the logs of this database are: {names}")


def grant(remote: RemoteLog, log: OwnedLog, role: str, may: str) -> None:
    """Let a role read a log, write to it, or erase what is in it. Raises UserError if there is no such role."""
    found = remote.execute(IS_ROLE, role=role)
    if not found:
        raise UserError(
            f"role {role!r} does not exist: create it first, with CREATE ROLE … LOGIN; \\password in psql "
            "sets its password"
        )
    if not found[0][0]:
        raise UserError(f"role {role!r} cannot log in, so it is a group: each person needs a role of their own")
    with remote.transaction():
        remote.execute(GRANT, log=log.log_id, role=role, may=may)


def revoke(remote: RemoteLog, log: OwnedLog, role: str) -> None:
    """Take away what a role may do with a log, from its next call on. Raises UserError if it may do nothing."""
    with remote.transaction():
        [(was_member,)] = remote.execute(REVOKE, log=log.log_id, role=role)
    if not was_member:
        raise UserError(f"role {role!r} is not a member of log {log.name!r}: `treadle log status` lists the members")


def owned_logs(remote: RemoteLog) -> list[OwnedLog]:
    return [OwnedLog(*row) for row in remote.execute(ALL_LOGS)]


def members(remote: RemoteLog, log: OwnedLog) -> list[LogMember]:
    return [LogMember(*row) for row in remote.execute(MEMBERS, log=log.log_id)]


def machines(remote: RemoteLog, log: OwnedLog) -> list[MachineLease]:
    return [MachineLease(*row) for row in remote.execute(MACHINES, log=log.log_id)]
