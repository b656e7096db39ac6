"""Migrations: numbered changes of the schema, each applied once, in one transaction with its record."""

import sqlite3
from datetime import UTC, datetime

from treadle.store.errors import NewerDatabase, Refused
from treadle.store.sqlite.database import APPLICATION_ID
from treadle.store.sqlite.sql import Script, scripts


def migrate(connection: sqlite3.Connection, migrations: list[Script] | None = None) -> int:
    """Apply pending migrations; return how many were applied. Idempotent.

    Raises Refused if an applied migration differs from the one in this release, or is unknown to it.
    """
    todo = pending(connection, migrations)
    for script in todo:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in script.statements():
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
                (
                    version_of(script),
                    script.name,
                    script.checksum,
                    datetime.now(UTC).isoformat(timespec="milliseconds"),
                ),
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            error.add_note(f"migration {script.name} failed, and the database is as it was before it: ")
            raise
    return len(todo)


def pending(connection: sqlite3.Connection, migrations: list[Script] | None = None) -> list[Script]:
    """The migrations that are not applied yet. Raises Refused as `migrate`."""
    known = {version_of(script): script for script in (scripts("migrations") if migrations is None else migrations)}
    applied = _applied(connection)
    for version, (name, checksum) in applied.items():
        if version not in known:
            raise NewerDatabase(
                f"the database has migration {name}, written by a newer version of treadle: use that version, or "
                "another --data-dir"
            )
        if checksum != known[version].checksum:
            raise Refused(
                f"migration {name} of the database differs from the one that this treadle has: a version from before "
                "the first release created it. Export its log with that version (`treadle export FILE`) and import it "
                "with this one (`treadle import jsonl FILE`) into an empty --data-dir"
            )
    return [script for version, script in sorted(known.items()) if version not in applied]


def version_of(script: Script) -> int:
    """The version of a migration: the number that its name starts with."""
    return int(script.name.split("_")[0])


def _applied(connection: sqlite3.Connection) -> dict[int, tuple[str, str]]:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'").fetchone():
        return {}
    rows = connection.execute("SELECT version, name, checksum FROM schema_migrations")
    return {version: (name, checksum) for version, name, checksum in rows.fetchall()}
