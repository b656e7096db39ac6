"""`treadle log`: sets up a shared log, says who may use it, and shows whether it can be relied on."""

import json
import subprocess
import sys
from uuid import uuid4

import pytest

import wire
from postgres import PASSWORD, Database, needs_postgres
from treadle.store.errors import NewerDatabase, Refused, StorageError
from treadle.store.shared import admin
from treadle.store.shared.remote import NO_MARK, RemoteLog, ScopedAppend
from treadle.store.sqlite.sql import Script, scripts

pytestmark = needs_postgres


class LogCommand:
    """Runs `treadle log`."""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What it prints, on stdout if it succeeds and on stderr if it does not."""
        done = wire.run("log", *arguments)
        assert done.returncode == status, done
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr


@pytest.fixture
def treadle_log(database: Database) -> LogCommand:
    return LogCommand()


def test_a_log_is_set_up_and_used_by_those_who_were_let_in(treadle_log: LogCommand) -> None:
    created = treadle_log("init", "owner")
    assert created.startswith("created log main, ")
    assert created.endswith("next: treadle log grant owner ROLE\n")
    log_id = created.split()[3]
    assert treadle_log("init", "owner") == f"exists already: log main, {log_id}\n"
    assert treadle_log("grant", "owner", "ada") == "ada may read and write log main\n"
    assert treadle_log("grant", "owner", "bob", "--may", "read") == "bob may read log main\n"
    [log] = json.loads(treadle_log("status", "ada", "--json"))["logs"]
    assert log == {"logId": log_id, "name": "main", "head": 0, "format": 1, "may": "write"}
    assert json.loads(treadle_log("status", "bob", "--json"))["logs"][0]["may"] == "read"
    assert treadle_log("revoke", "owner", "bob").startswith("bob may do nothing with log main")
    assert "access is denied" in treadle_log("status", "bob", status=1)


def test_the_owner_is_shown_members_and_machines(treadle_log: LogCommand, database: Database) -> None:
    treadle_log("init", "owner", "--log", "team")
    treadle_log("grant", "owner", "ada")
    with RemoteLog("ada") as ada:
        [log] = ada.logs()
        asked = ScopedAppend(uuid4(), 0, NO_MARK, [], ["t:1", "t:1"], [b'{"type":"E"}', b'{"type":"E"}'])
        ada.append(log.log_id, asked)
        ada.beat(log.log_id, "laptop", uuid4(), 2)
        ada.beat(log.log_id, "desktop", uuid4(), 1)
    database.as_admin("UPDATE treadle.machines SET until = now() - interval '1 s' WHERE machine_id = 'desktop'")
    shown = treadle_log("status", "owner").splitlines()
    assert shown[0].startswith("service  owner: PostgreSQL ")
    assert shown[1] == f"log      team: 2 events ({log.log_id})"
    assert shown[2] == "member   ada: write"
    assert shown[3].startswith("machine  desktop of ada: away, last seen 20")
    assert shown[4:] == ["machine  laptop of ada: there, has 2 events"]
    machines = json.loads(treadle_log("status", "owner", "--json"))["logs"][0]["machines"]
    assert [(m["machineId"], m["isThere"], m["applied"]) for m in machines] == [
        ("desktop", False, 1),
        ("laptop", True, 2),
    ]


def test_errors_say_what_to_do(treadle_log: LogCommand, database: Database) -> None:
    assert "its owner creates one with `treadle log init`" in treadle_log("status", "owner", status=1)
    for action in (("upgrade", "owner"), ("grant", "owner", "ada"), ("revoke", "owner", "ada")):
        assert "create one with `treadle log init`" in treadle_log(*action, status=1)
    assert "login 'ada' may not create a schema" in treadle_log("init", "ada", status=1)
    treadle_log("init", "owner")
    assert "role 'carol' does not exist: create it first" in treadle_log("grant", "owner", "carol", status=1)
    assert "pg_monitor' cannot log in" in treadle_log("grant", "owner", "pg_monitor", status=1)
    assert "log 'x' does not exist: the logs of this database are: main" in treadle_log(
        "grant", "owner", "ada", "--log", "x", status=1
    )
    treadle_log("init", "owner", "--log", "second")
    assert "name one with --log: the logs of this database are: main, second" in treadle_log(
        "grant", "owner", "ada", status=1
    )
    assert "role 'ada' is not a member of log 'main'" in treadle_log(
        "revoke", "owner", "ada", "--log", "main", status=1
    )
    assert "login 'ada' does not own the shared logs: 'owner' does" in treadle_log("grant", "ada", "bob", status=1)
    assert "1 to 100 characters" in treadle_log("init", "owner", "--log", "a\nb", status=1)
    assert "the service is not in ~/.pg_service.conf" in treadle_log("status", "nowhere", status=1)
    refused = treadle_log("status", f"postgresql://ada:{PASSWORD}@localhost/x", status=1)
    assert "SERVICE is the name of a service" in refused


def test_the_status_warns_of_a_server_that_may_lose_what_it_answered(
    treadle_log: LogCommand, database: Database
) -> None:
    treadle_log("init", "owner")
    assert "problem" not in treadle_log("status", "owner")
    database.as_admin(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    assert "synchronous_commit" in treadle_log("status", "owner", status=1)


def test_without_the_extra_the_error_names_it(database: Database) -> None:
    code = "import sys; sys.modules['psycopg'] = None; from treadle.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "log", "status", "ada"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("treadle: a shared log needs the extra `postgres`: pip install 'treadle[postgres]'")


# The schema of the server


def test_each_migration_is_applied_once_with_its_checksum(treadle_log: LogCommand, database: Database) -> None:
    treadle_log("init", "owner")
    assert treadle_log("upgrade", "owner") == "the schema is up to date\n"
    applied = database.as_admin("SELECT version, name, checksum FROM treadle.schema_migrations")
    assert applied == [(1, "001_log", scripts("postgres")[0].checksum)]


def test_an_upgrade_that_fails_changes_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = scripts("postgres")
    more = Script("002_more", "CREATE TABLE treadle.more (x int);")
    broken = Script("003_broken", "DROP TABLE treadle.more; SELECT nonsense;")
    with RemoteLog("owner") as owner:
        admin.initialize(owner, "main")
        monkeypatch.setattr(admin, "scripts", lambda folder: [*shipped, more, broken])
        with pytest.raises(StorageError):
            admin.upgrade(owner)
        assert database.as_admin("SELECT to_regclass('treadle.more') IS NULL") == [(True,)]
        monkeypatch.setattr(admin, "scripts", lambda folder: [*shipped, more])
        assert admin.upgrade(owner) == ["002_more"]
        assert admin.upgrade(owner) == []


def test_another_schema_than_that_of_this_treadle_is_refused(treadle_log: LogCommand, database: Database) -> None:
    treadle_log("init", "owner")
    database.as_admin("INSERT INTO treadle.schema_migrations VALUES (2, '002_newer', 'x')")
    with RemoteLog("owner") as owner, pytest.raises(NewerDatabase, match="002_newer, of a newer treadle"):
        admin.pending(owner)
    assert "of a newer treadle" in treadle_log("status", "owner", status=1)
    assert "of a newer treadle" in treadle_log("grant", "owner", "ada", status=1)
    database.as_admin("DELETE FROM treadle.schema_migrations WHERE version = 2")
    database.as_admin("UPDATE treadle.schema_migrations SET checksum = 'of another text'")
    with RemoteLog("owner") as owner, pytest.raises(Refused, match="differs from the one"):
        admin.upgrade(owner)
    assert "differs from the one" in treadle_log("status", "owner", status=1)


def test_an_older_schema_has_to_be_upgraded_first(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with RemoteLog("owner") as owner:
        admin.initialize(owner, "main")
        shipped = scripts("postgres")
        monkeypatch.setattr(admin, "scripts", lambda folder: [*shipped, Script("002_more", "SELECT 1;")])
        with pytest.raises(Exception, match="run `treadle log upgrade` first"):
            admin.initialize(owner, "second")
