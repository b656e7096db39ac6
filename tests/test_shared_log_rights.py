"""Who may do what with a shared log: members only what they were granted, and nobody anything with a table."""

from uuid import UUID, uuid4

import psycopg
import pytest

from postgres import PASSWORD, Database, needs_postgres
from treadle.store.errors import Refused, StorageError, UserError
from treadle.store.records import CommandRecord
from treadle.store.shared import admin
from treadle.store.shared.failures import explained
from treadle.store.shared.remote import NO_MARK, RemoteLog, ScopedAppend
from treadle.store.shared.transport import check_transport

pytestmark = needs_postgres

CALLABLE = {"append_v1", "erase_v1", "pull_v1", "beat_v1", "logs_v1"}
TABLES = ("logs", "members", "events", "commands", "machines", "schema_migrations")


@pytest.fixture
def logs(database: Database) -> dict[str, UUID]:
    """Two logs: ada may write to one and bob to the other, mallory may read that of ada."""
    with RemoteLog("owner") as owner:
        first, _ = admin.initialize(owner, "first")
        second, _ = admin.initialize(owner, "second")
        admin.grant(owner, first, "ada", "write")
        admin.grant(owner, second, "bob", "write")
        admin.grant(owner, first, "mallory", "read")
    with RemoteLog("bob") as bob:
        record = CommandRecord("c", "secret digest", 1, 1)
        asked = ScopedAppend(
            uuid4(), 0, NO_MARK, [], ["t:1"], [b'{"type":"E","at":"","text":"a secret of bob"}'], [record]
        )
        assert bob.append(second.log_id, asked).status == "appended"
        bob.beat(second.log_id, "bobs-machine", uuid4(), 1)
    return {"first": first.log_id, "second": second.log_id}


def an_append(known: int = 0, mark: UUID = NO_MARK) -> ScopedAppend:
    return ScopedAppend(uuid4(), known, mark, ["t:1"], ["t:1"], [b'{"type":"E"}'])


def test_a_member_of_one_log_gets_nothing_of_another(database: Database, logs: dict[str, UUID]) -> None:
    """Neither whether it exists: the error is that of a log that does not."""
    with RemoteLog("ada") as ada:
        calls = (
            lambda log: ada.append(log, an_append()),
            lambda log: ada.pull(log, 0, NO_MARK),
            lambda log: ada.beat(log, "bobs-machine", uuid4(), 0),
        )
        for call in calls:
            errors = set()
            for log in (logs["second"], uuid4()):
                with pytest.raises(StorageError, match="access is denied") as raised:
                    call(log)
                assert raised.value.kind == "logForbidden"
                errors.add(str(raised.value))
            assert len(errors) == 1
        assert [log.name for log in ada.logs()] == ["first"]
        assert [m.machine_id for m in ada.beat(logs["first"], "m", uuid4(), 0)] == ["m"]
        repeated = ScopedAppend(uuid4(), 0, NO_MARK, ["t:1"], [], [], [CommandRecord("c", "mine", 1, 0)])
        assert ada.append(logs["first"], repeated).status == "appended"
    assert database.as_admin("SELECT count(*) FROM treadle.events") == [(1,)]


def test_a_reader_reads_but_does_not_append(database: Database, logs: dict[str, UUID]) -> None:
    with RemoteLog("ada") as ada, RemoteLog("mallory") as reader:
        ada.append(logs["first"], an_append())
        assert [event.actor for event in reader.pull(logs["first"], 0, NO_MARK)] == ["ada"]
        with pytest.raises(StorageError, match="access is denied"):
            reader.append(logs["first"], an_append())
        assert [(log.name, log.may) for log in reader.logs()] == [("first", "read")]


@pytest.mark.parametrize("role", ["ada", "mallory"])
def test_no_member_has_a_right_on_a_table(database: Database, logs: dict[str, UUID], role: str) -> None:
    with database.cluster.connect(role, database.name) as connection:
        for table in TABLES:
            for statement in (
                "SELECT * FROM treadle.{}",
                "INSERT INTO treadle.{} DEFAULT VALUES",
                "DELETE FROM treadle.{}",
                "TRUNCATE treadle.{}",
                "COPY treadle.{} TO STDOUT",
                "DROP TABLE treadle.{}",
                "CREATE TRIGGER x BEFORE INSERT ON treadle.{} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.format(table).encode())


def test_members_may_call_the_functions_for_them_and_no_other(database: Database, logs: dict[str, UUID]) -> None:
    """A new function has to be added here, and to what this file tries on each."""
    rights = database.as_admin(
        "SELECT p.proname, has_function_privilege('ada', p.oid, 'EXECUTE'), p.prosecdef, p.proconfig FROM pg_proc p "
        "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'treadle'"
    )
    assert {name for name, may, *_ in rights if may} == CALLABLE
    assert {name for name, _, is_definer, _ in rights if is_definer} == CALLABLE
    path, by_index = "search_path=pg_catalog, pg_temp", "enable_seqscan=off"
    assert {name for name, *_, config in rights if config == [path, by_index]} == {"append", "events_after"}
    assert {tuple(config) for *_, config in rights} == {(path,), (path, by_index)}
    tables = database.as_admin("SELECT tablename::text FROM pg_tables WHERE schemaname = 'treadle'")
    assert {name for (name,) in tables} == set(TABLES)


def test_a_login_that_is_no_member_cannot_call_anything(database: Database, logs: dict[str, UUID]) -> None:
    with RemoteLog("owner") as owner:
        admin.revoke(owner, admin.log_named(owner, "first"), "mallory")
    with RemoteLog("mallory") as stranger, pytest.raises(StorageError) as raised:
        stranger.logs()
    assert raised.value.kind == "logForbidden"


def test_a_revoked_right_is_gone_at_the_next_call_of_an_open_connection(logs: dict[str, UUID]) -> None:
    with RemoteLog("owner") as owner, RemoteLog("ada") as ada:
        assert ada.append(logs["first"], an_append()).status == "appended"
        admin.revoke(owner, admin.log_named(owner, "first"), "ada")
        with pytest.raises(StorageError) as raised:
            ada.append(logs["first"], an_append())
        assert raised.value.kind == "logForbidden"
        with pytest.raises(UserError, match="not a member"):
            admin.revoke(owner, admin.log_named(owner, "first"), "ada")


HOSTILE = [
    "'; DROP SCHEMA treadle CASCADE; --",
    "'); DELETE FROM treadle.events; --",
    "$$; SELECT 1; $$",
    '{"a","b"}',
    "\\'; --",
    '"',
    "%s%(x)s%b",
    "NULL",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_sql_in_an_argument_is_only_text(database: Database, logs: dict[str, UUID], text: str) -> None:
    log = logs["first"]
    record, payload = CommandRecord(text, text, 1, 1, text), f'{{"type":"E","at":"","text":{text}}}'
    with RemoteLog("ada") as ada:
        asked = ScopedAppend(uuid4(), 0, NO_MARK, [text], [text], [payload.encode()], [record])
        assert ada.append(log, asked).status == "appended"
        assert [event.payload for event in ada.pull(log, 0, NO_MARK)] == [payload]
        again = ScopedAppend(uuid4(), 0, NO_MARK, [text.split(" ")[0]], [], [])
        assert ada.append(log, again).status == "conflict"
        repeated = ScopedAppend(uuid4(), 0, NO_MARK, [], [text], [b'{"type":"E"}'], [record])
        assert ada.append(log, repeated).records == [record]
        assert [m.machine_id for m in ada.beat(log, text, uuid4(), 0)] == [text]
    with RemoteLog("owner") as owner:
        made, is_new = admin.initialize(owner, text)
        assert (made.name, is_new) == (text, True)
        with pytest.raises(UserError, match="does not exist"):
            admin.grant(owner, made, text, "write")
    assert database.as_admin("SELECT payload FROM treadle.events WHERE log_id = %s", log) == [(payload,)]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_role_with_any_name_is_granted_and_revoked(database: Database, logs: dict[str, UUID], text: str) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    database.as_admin(f"CREATE ROLE {quoted} LOGIN")
    try:
        with RemoteLog("owner") as owner:
            log = admin.log_named(owner, "first")
            admin.grant(owner, log, text, "read")
            assert admin.LogMember(text, "read") in admin.members(owner, log)
            admin.revoke(owner, log, text)
            assert [member.role for member in admin.members(owner, log)] == ["ada", "mallory"]
    finally:
        database.as_admin(f"DROP ROLE {quoted}")


@pytest.mark.parametrize("missing", range(15))
def test_an_argument_that_is_null_appends_nothing(database: Database, logs: dict[str, UUID], missing: int) -> None:
    """A comparison with NULL is neither true nor false, so it could let an append through."""
    values: list[object] = [
        logs["first"],
        0,
        NO_MARK,
        1,
        1,
        uuid4(),
        ["t:1"],
        ["t:1"],
        ['{"type":"E"}'],
        [],
        [],
        [],
        [],
        [],
        [],
    ]
    types = ["uuid", "bigint", "uuid", "int", "int", "uuid", *["text[]"] * 5, "int[]", "int[]", "text[]", "text[]"]
    call = f"SELECT status FROM treadle.append_v1({', '.join(f'%s::{type}' for type in types)})"
    with database.cluster.connect("ada", database.name) as connection:
        assert connection.execute(call.encode(), values).fetchone() == ("appended",)
        values[5] = uuid4()
        pull = b"SELECT append_id FROM treadle.pull_v1(%s, 0, NULL, 1)"
        [(mark,)] = connection.execute(pull, [logs["first"]]).fetchall()
        values[1], values[2] = 1, mark
        values[missing] = None
        if missing == 2:  # a mark that fits nothing
            assert connection.execute(call.encode(), values).fetchone() == ("diverged",)
        else:
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
                connection.execute(call.encode(), values)
    assert database.as_admin("SELECT head FROM treadle.logs WHERE name = 'first'") == [(1,)]


def test_lists_of_different_lengths_and_a_null_among_them_are_refused(
    database: Database, logs: dict[str, UUID]
) -> None:
    lists = "ARRAY['t:1'], ARRAY['t:1'], ARRAY['{\"type\":\"E\"}'], '{}', '{}', '{}', '{}', '{}', '{}'"
    head = f"SELECT treadle.append_v1('{logs['first']}', 0, NULL, 1, 1, gen_random_uuid(), "
    with database.cluster.connect("ada", database.name) as connection:
        for changed in (
            lists.replace("ARRAY['t:1']", "ARRAY['t:1', NULL]", 1),
            lists.replace("E\"}']", "E\"}', '{}']"),
            lists.replace("'{}', '{}', '{}', '{}', '{}', '{}'", "'{a}', '{b,c}', '{1}', '{1}', '{NULL}', '{}'"),
        ):
            assert changed != lists
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute((head + changed + ")").encode())


def test_the_author_is_the_login_whatever_a_session_says(database: Database, logs: dict[str, UUID]) -> None:
    with RemoteLog("ada") as ada:
        for statement in (b"SET SESSION AUTHORIZATION bob", b"SET ROLE bob", b"SET ROLE owner"):
            with pytest.raises(StorageError):
                ada.execute(statement)
        ada.execute(b"SET application_name = 'bob'")
        ada.append(logs["first"], an_append())
        assert [event.actor for event in ada.pull(logs["first"], 0, NO_MARK)] == ["ada"]


def test_objects_of_a_session_are_not_taken_for_those_of_the_log(database: Database, logs: dict[str, UUID]) -> None:
    """A temporary table or a search_path of the caller must not reach a function that has the rights of the owner."""
    with RemoteLog("mallory") as mallory:
        for name in ("members", "events", "logs"):
            mallory.execute(f"CREATE TEMPORARY TABLE {name} (log_id uuid, role name, may text)".encode())
        mallory.execute(f"INSERT INTO members VALUES ('{logs['second']}', 'mallory', 'write')".encode())
        mallory.execute(b"CREATE FUNCTION pg_temp.array_position(text[], text) RETURNS int LANGUAGE sql AS 'SELECT 0'")
        mallory.execute(b"SET search_path = pg_temp, treadle, public")
        for call in (
            lambda: mallory.pull(logs["second"], 0, NO_MARK),
            lambda: mallory.append(logs["second"], an_append()),
        ):
            with pytest.raises(StorageError, match="access is denied"):
                call()


def test_events_are_not_changed_even_by_the_owner(database: Database, logs: dict[str, UUID]) -> None:
    with RemoteLog("owner") as owner:
        for statement in (
            b"UPDATE treadle.events SET payload = '{}'",
            b"DELETE FROM treadle.events",
            b"TRUNCATE treadle.events",
        ):
            with pytest.raises(StorageError):
                owner.execute(statement)
    assert "a secret of bob" in database.as_admin("SELECT payload FROM treadle.events")[0][0]


# Connections


@pytest.mark.parametrize(
    "options",
    [
        {"host": "db.example.com", "sslmode": "require"},
        {"host": "db.example.com", "sslmode": "verify-ca"},
        {"host": "db.example.com"},
        {"host": "/tmp,db.example.com", "sslmode": "prefer"},
        {"host": "localhost", "hostaddr": "192.0.2.7", "sslmode": "require"},
        {"hostaddr": "192.0.2.7", "sslmode": "disable"},
        {"host": "127.0.0.1.example.com", "sslmode": "require"},
        {"host": "::2", "sslmode": "require"},
        {"host": "localhost.example.com", "sslmode": "require"},
    ],
)
def test_another_machine_is_refused_unless_its_certificate_is_verified(options: dict[str, str]) -> None:
    with pytest.raises(Refused, match="verify-full"):
        check_transport(options)
    check_transport(options | {"sslmode": "verify-full"})


@pytest.mark.parametrize(
    "options",
    [{}, {"host": "/run/postgresql"}, {"host": "@abstract"}, {"host": "localhost"}, {"host": "127.0.0.1,::1"},
     {"host": "db.example.com", "hostaddr": "127.0.0.3"}],
)  # fmt: skip
def test_a_socket_and_this_machine_need_no_certificate(options: dict[str, str]) -> None:
    check_transport(options | {"sslmode": "prefer"})


@pytest.mark.parametrize("where", ["service", "environment"])
def test_an_insecure_service_is_refused_before_anything_is_sent(
    database: Database, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The host does not exist, so a connection would fail with another error."""
    host = "host=db.invalid\n" if where == "service" else ""
    database.services.write_text(f"[ada]\n{host}sslmode=require\nuser=ada\npassword={PASSWORD}\n")
    if where == "environment":
        monkeypatch.setenv("PGHOST", "db.invalid")
    with pytest.raises(Refused, match="verify-full") as raised:
        RemoteLog("ada")
    assert raised.value.kind == "logInsecure"


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ("[other]\nhost=/tmp\n", "the service is not in"),
        ("[ada]\nhost={socket}\nuser=ada\ndbname={db}\npassword=wrong-hunter2\n", "the login was rejected"),
        ("[ada]\nhost={socket}\nuser=nobody-hunter2\ndbname={db}\n", "the login was rejected"),
        ("[ada]\nhost={socket}\nuser=ada\ndbname=hunter2\n", "the database does not exist"),
        ("[ada]\nhost=/tmp/hunter2\nuser=ada\n", "no server is there"),
        ("[ada]\nhost=db.invalid\nsslmode=verify-full\nsslrootcert=/hunter2\n", "name of the host|certificate|sslmode"),
        ("[ada]\nhunter2=1\n", "has an error"),
    ],
)
def test_an_error_says_what_to_do_but_not_how_to_connect(database: Database, service: str, says: str) -> None:
    database.services.write_text(service.format(socket=database.cluster.folder, db=database.name))
    with pytest.raises(StorageError, match=says) as raised:
        RemoteLog("ada")
    assert raised.value.kind == "logUnreachable"
    assert raised.value.__cause__ is None
    for secret in ("hunter2", PASSWORD, str(database.cluster.folder)):
        assert secret not in str(raised.value)


@pytest.mark.parametrize("argument", ["postgresql://ada:hunter2@db/x", "host=db password=hunter2", "", "a b", "a'b"])
def test_a_connection_string_is_refused_and_not_repeated(argument: str) -> None:
    with pytest.raises(UserError, match="name of a service") as raised:
        RemoteLog(argument)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("state", "kind"),
    [("53100", "logFull"), ("53300", "logUnreachable"), ("57P01", "logUnreachable"), ("08006", "logUnreachable"),
     ("25006", "logUnreachable"), ("40001", "logUnreachable"), ("42501", "logForbidden"), ("23505", "storage")],
)  # fmt: skip
def test_each_state_of_the_server_has_its_kind(state: str, kind: str) -> None:
    error = explained("ada", state, "a row with hunter2")
    assert error.kind == kind
    assert "hunter2" not in str(error)
