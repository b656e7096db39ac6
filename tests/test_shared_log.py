"""A shared log on PostgreSQL: one order, nothing lost and nothing twice, and nobody gets more than they may."""

from uuid import UUID, uuid4

import pytest

from postgres import Database, needs_postgres
from treadle.store.shared import admin
from treadle.store.shared.remote import NO_MARK, AppendAnswer, RemoteLog, ScopedAppend

pytestmark = needs_postgres


@pytest.fixture
def log(database: Database) -> UUID:
    """A log that ada and bob may write to."""
    with RemoteLog("owner") as owner:
        made, is_new = admin.initialize(owner, "main")
        assert is_new
        admin.grant(owner, made, "ada", "write")
        admin.grant(owner, made, "bob", "write")
    return made.log_id


def test_an_append_is_read_back_by_another_login(log: UUID) -> None:
    with RemoteLog("ada") as ada, RemoteLog("bob") as bob:
        asked = ScopedAppend(uuid4(), 0, NO_MARK, ["t:1"], ["t:1", "t:1 p:1"], [b'{"type":"A"}', b'{"type":"B"}'])
        assert ada.append(log, asked) == AppendAnswer("appended", 0, [], [])
        pulled = bob.pull(log, 0, NO_MARK)
        assert [(e.sequence, e.actor, e.payload) for e in pulled] == [
            (1, "ada", '{"type":"A"}'),
            (2, "ada", '{"type":"B"}'),
        ]
        assert bob.append(log, ScopedAppend(uuid4(), 0, NO_MARK, ["p:1"], [], [])).status == "conflict"
