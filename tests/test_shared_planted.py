"""Faults that are planted into the SQL of a shared log: what checks it has to notice each of them."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from postgres import Cluster, Database, Relay, create_log, needs_postgres
from treadle.store.errors import StorageError
from treadle.store.shared.remote import NO_MARK, RemoteLog, ScopedAppend

pytestmark = needs_postgres

Rewrite = Callable[..., None]


@pytest.fixture
def log(database: Database) -> UUID:
    return create_log()


@pytest.fixture
def rewrite(database: Database) -> Rewrite:
    """Replaces text in a function of the server; fails if it is not there."""

    def rewrite(function: str, *changes: tuple[str, str]) -> None:
        find = "SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        [(text,)] = database.as_admin(f"{find} WHERE nspname = 'treadle' AND proname = %s", function)
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        database.as_admin(text)

    return rewrite


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    relay = Relay(cluster)
    yield relay
    relay.close()


def an_append(known: int = 0, mark: UUID = NO_MARK, scope: str = "t:1") -> ScopedAppend:
    return ScopedAppend(uuid4(), known, mark, [scope], [scope], [b'{"type":"E"}'])


# The checks. Each raises AssertionError for its fault, and only for that one.


def check_order(log: UUID) -> None:
    """A reader never sees an event before an earlier one."""
    with RemoteLog("ada") as ada, RemoteLog("bob") as bob, RemoteLog("bob") as reader, ada.transaction():
        assert ada.append(log, an_append(scope="t:1")).status == "appended"
        bob.execute(b"SET lock_timeout = '200ms'")
        with suppress(StorageError):  # it has to wait
            bob.append(log, an_append(scope="t:2"))
        page = reader.pull(log, 0, NO_MARK)
        assert [event.sequence for event in page] == list(range(1, len(page) + 1))


def check_mark(database: Database, log: UUID) -> None:
    """A machine notices that the log lacks what it has, also after others have appended as much."""
    with RemoteLog("ada") as ada, RemoteLog("bob") as bob:
        lost = an_append()
        assert ada.append(log, lost).base == 0
        database.as_admin("ALTER TABLE treadle.events DISABLE TRIGGER USER")
        database.as_admin("DELETE FROM treadle.events")
        database.as_admin("UPDATE treadle.logs SET head = 0")
        assert bob.append(log, an_append()).base == 0
        assert ada.append(log, an_append(1, lost.append_id)).status == "diverged"
        with pytest.raises(StorageError) as raised:
            ada.pull(log, 1, lost.append_id)
        assert raised.value.kind == "logRewound"


def check_again(database: Database, relay: Relay, log: UUID) -> None:
    """An append whose answer was lost happens once."""
    database.reach(relay.folder)
    asked = an_append()
    with RemoteLog("ada") as ada:
        relay.arm(answer=0, once=True)
        with pytest.raises(StorageError):
            ada.append(log, asked)
    with RemoteLog("ada") as ada:
        ada.append(log, ScopedAppend(asked.append_id, 0, NO_MARK, [], asked.scopes, asked.payloads))
    assert database.as_admin("SELECT count(*) FROM treadle.events WHERE append_id = %s", asked.append_id) == [(1,)]


def test_the_checks_find_nothing_in_the_functions_as_they_are(database: Database, relay: Relay, log: UUID) -> None:
    check_order(log)
    check_again(database, relay, log)
    check_mark(database, create_log("other"))


def test_sequences_from_a_counter_of_their_own_instead_of_the_locked_row_would_be_found(
    database: Database, log: UUID, rewrite: Rewrite
) -> None:
    """As with bigserial: what commits later may have the lower number, and a reader skips it for ever."""
    database.as_admin("CREATE SEQUENCE treadle.serial")
    database.as_admin("ALTER SEQUENCE treadle.serial OWNER TO owner")
    rewrite(
        "append",
        ("WHERE log_id = log FOR UPDATE", "WHERE log_id = log"),
        ("base := l.head;", "base := nextval('treadle.serial') - 1;"),
        ("IF cardinality(payloads) > 0 THEN", "IF false THEN"),
    )
    with pytest.raises(AssertionError):
        check_order(log)


def test_a_log_without_marks_would_be_found(database: Database, log: UUID, rewrite: Rewrite) -> None:
    rewrite("is_prefix", ("AND e.append_id = mark", ""))
    with pytest.raises(AssertionError, match="diverged"):
        check_mark(database, log)


def test_an_append_id_that_is_not_looked_for_would_be_found(
    database: Database, relay: Relay, log: UUID, rewrite: Rewrite
) -> None:
    rewrite("append", ("AND e.append_id = append_id_", "AND false"))
    with pytest.raises(AssertionError):
        check_again(database, relay, log)
