"""A shared log on PostgreSQL: one order, nothing lost, nothing twice, whatever happens to connections and servers."""

import random
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID, uuid4

import msgspec
import pytest

from postgres import Cluster, Database, Relay, create_log, join, needs_postgres
from support import output_of
from treadle.store.errors import StorageError
from treadle.store.records import CommandRecord
from treadle.store.shared.remote import APPEND, NO_MARK, AppendAnswer, RemoteLog, ScopedAppend, SharedEvent

pytestmark = needs_postgres


@pytest.fixture
def log(database: Database) -> UUID:
    """A log that ada and bob may write to."""
    return create_log()


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    relay = Relay(cluster)
    yield relay
    relay.close()


class Replica:
    """A machine of a log: what it has applied, and the connection that it appends over."""

    def __init__(self, log: UUID, login: str) -> None:
        self.log, self.login = log, login
        self.remote = RemoteLog(login)
        self.events: list[SharedEvent] = []

    @property
    def known(self) -> int:
        return len(self.events)

    @property
    def mark(self) -> UUID:
        return self.events[-1].append_id if self.events else NO_MARK

    def apply(self, events: list[SharedEvent]) -> None:
        for event in events:
            assert event.sequence == self.known + 1
            self.events.append(event)

    def pull(self, how_many: int = 5000) -> list[SharedEvent]:
        page = self.remote.pull(self.log, self.known, self.mark, how_many)
        self.apply(page)
        return page

    def pull_all(self) -> None:
        while self.pull():
            pass

    def asks(self, reads: list[str], scopes: list[str], *records: CommandRecord) -> ScopedAppend:
        """An append of an event for each of the scopes."""
        payloads = [msgspec.json.encode({"type": "E", "n": str(uuid4())}) for _ in scopes]
        return ScopedAppend(uuid4(), self.known, self.mark, reads, scopes, payloads, records)

    def append(self, reads: list[str], scopes: list[str], *records: CommandRecord) -> AppendAnswer:
        return self.remote.append(self.log, self.asks(reads, scopes, *records))


@pytest.fixture
def replicas(log: UUID) -> Iterator[Callable[..., Replica]]:
    """Makes replicas, and closes their connections."""
    made = []

    def make(login: str = "ada") -> Replica:
        made.append(Replica(log, login))
        return made[-1]

    yield make
    for replica in made:
        replica.remote.close()


def kind_of(raised: pytest.ExceptionInfo[StorageError]) -> str:
    return raised.value.kind


# Appends, decided by what was read

SCOPES = ["t:1", "t:2", "p:1", "paths"]


@pytest.mark.parametrize("seed", range(6))
def test_interleaved_appends_match_a_list(replicas: Callable[..., Replica], seed: int) -> None:
    """No gap, nothing twice, a conflict if and only if a scope that was read has changed."""
    chance = random.Random(seed)
    machines = [replicas(chance.choice(["ada", "bob"])) for _ in range(chance.randint(2, 4))]
    sent: dict[Replica, ScopedAppend] = {}
    model: list[tuple[SharedEvent, set[str]]] = []
    commands: dict[str, CommandRecord] = {}
    seen = set()
    for _ in range(120):
        machine = chance.choice(machines)
        known = machine.known
        if chance.random() < 0.2:
            assert machine.pull(how_many := chance.randint(1, 9)) == [e for e, _ in model[known : known + how_many]]
            continue
        if machine in sent and chance.random() < 0.2:
            asked = sent[machine]
        else:
            count = chance.randint(0, 3)
            records = [
                CommandRecord(id, f"digest of {id}", known + 1, known + count)
                for id in chance.sample([f"c{n}" for n in range(40)], chance.randint(0, 1))
            ]
            reads = chance.sample(SCOPES, chance.randint(0, 2))
            scopes = [" ".join(chance.sample(SCOPES, chance.randint(1, 2))) for _ in range(count)]
            asked = machine.asks(reads, scopes, *records)
        answer = machine.remote.append(machine.log, asked)
        seen.add(answer.status)
        before = [e.sequence for e, _ in model if e.append_id == asked.append_id]
        missed = [e for e, _ in model[asked.known :]]
        repeated = [commands[record.command_id] for record in asked.records if record.command_id in commands]
        moved = set().union(*(scopes for _, scopes in model[asked.known :]))
        if before:
            assert answer == AppendAnswer("again", before[0] - 1, [], [])
        elif repeated:
            assert answer == AppendAnswer("repeated", None, missed, repeated)
        elif moved & set(asked.reads):
            assert answer == AppendAnswer("conflict", None, missed, [])
        else:
            base = len(model)
            assert answer == AppendAnswer("appended", base, missed, [])
            model += [
                (SharedEvent(base + 1 + n, asked.append_id, machine.login, payload.decode()), set(scopes.split()))
                for n, (payload, scopes) in enumerate(zip(asked.payloads, asked.scopes, strict=True))
            ]
            for one in asked.records:
                first, last = (base + at - asked.known for at in (one.first_sequence, one.last_sequence))
                commands[one.command_id] = CommandRecord(one.command_id, one.digest, first, last)
            if asked.payloads:
                sent[machine] = asked
        if chance.random() < 0.7 and asked.known == machine.known:
            machine.apply(answer.missed)
    assert seen == {"appended", "again", "conflict", "repeated"}
    for machine in machines:
        machine.pull_all()
        assert machine.events == [e for e, _ in model]


def test_concurrent_appends_are_in_one_order_and_each_decision_was_still_true(replicas: Callable[..., Replica]) -> None:
    done: list[tuple[ScopedAppend, int]] = []
    refused: list[tuple[ScopedAppend, int]] = []

    def work(machine: Replica, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(30):
            scope = chance.choice(SCOPES)
            while True:
                asked = machine.asks([scope], [scope] * chance.randint(1, 3))
                answer = machine.remote.append(machine.log, asked)
                if answer.status == "appended":
                    assert answer.base is not None
                    done.append((asked, answer.base))
                    machine.pull_all()
                    break
                assert answer.status == "conflict"
                machine.apply(answer.missed)
                refused.append((asked, machine.known))

    machines = [replicas(login) for login in ("ada", "bob", "ada", "bob")]
    join(started([lambda m=machine, s=seed: work(m, s) for seed, machine in enumerate(machines)]))  # type: ignore[misc]
    reader = replicas()
    reader.pull_all()
    where = {event.payload: event.sequence for event in reader.events}
    scope_at = {base + 1 + n: asked.scopes[n] for asked, base in done for n in range(len(asked.scopes))}
    assert len(done) == 4 * 30
    assert sorted(scope_at) == list(range(1, reader.known + 1))
    for asked, base in done:
        assert [where[payload.decode()] for payload in asked.payloads] == [
            base + 1 + n for n in range(len(asked.scopes))
        ]
        assert not [at for at in range(asked.known + 1, base + 1) if scope_at[at] in asked.reads]
    for asked, upto in refused:
        assert [at for at in range(asked.known + 1, upto + 1) if scope_at[at] in asked.reads]


def started(works: list[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("commits", [True, False])
def test_an_append_waits_for_one_that_is_not_committed(
    database: Database, replicas: Callable[..., Replica], commits: bool
) -> None:
    first, second = replicas("ada"), replicas("bob")
    answers: list[AppendAnswer] = []
    with suppress(ZeroDivisionError), first.remote.transaction():
        assert first.append(["t:1"], ["t:1"]).base == 0
        [waiting] = started([lambda: answers.append(second.append(["t:1"], ["t:1"]))])
        waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'bob'"
        wait_until(database, f"SELECT count(*) = 1 {waits}")
        assert answers == []
        if not commits:
            raise ZeroDivisionError
    join([waiting])
    assert [(answer.status, answer.base) for answer in answers] == [("conflict", None) if commits else ("appended", 0)]


def wait_until(database: Database, condition: str) -> None:
    """Ask the server until a condition is true; the test's timeout ends the wait."""
    while database.as_admin(condition) != [(True,)]:
        pass


def test_an_append_without_events_only_checks_what_was_read(replicas: Callable[..., Replica]) -> None:
    ada, bob = replicas("ada"), replicas("bob")
    assert bob.append(["t:1"], []) == AppendAnswer("appended", 0, [], [])
    assert ada.append([], ["t:1"]).status == "appended"
    assert bob.append(["t:2"], []).status == "appended"
    assert bob.append(["t:1"], []).status == "conflict"


def test_a_command_that_another_machine_carried_out_comes_back_with_its_record(
    replicas: Callable[..., Replica],
) -> None:
    ada, bob = replicas("ada"), replicas("bob")
    record = CommandRecord("c", "digest", 1, 2, "[1,1]")
    assert ada.append([], ["t:1", "t:1"], record).status == "appended"
    answer = bob.append(["t:1"], ["t:1"], CommandRecord("c", "digest of another", 1, 1))
    assert (answer.status, answer.records) == ("repeated", [record])
    assert [event.actor for event in answer.missed] == ["ada", "ada"]


def test_only_a_machine_that_was_away_is_told_to_pull_first(replicas: Callable[..., Replica]) -> None:
    ada, bob = replicas("ada"), replicas("bob")
    assert ada.append([], ["t:1"] * 5000).status == "appended"
    answer = bob.append(["t:2"], [])
    assert (answer.status, len(answer.missed)) == ("appended", 500)
    ada.pull_all()
    assert ada.append([], ["t:1"]).status == "appended"
    assert bob.append(["t:2"], []).status == "behind"
    bob.pull_all()
    assert bob.append(["t:2"], []).status == "appended"


def test_an_older_treadle_does_not_append_to_a_log_with_newer_events(replicas: Callable[..., Replica]) -> None:
    ada = replicas()
    assert ada.remote.append(ada.log, ada.asks([], ["t:1"]), needs=2).status == "appended"
    ada.pull_all()
    assert ada.append([], ["t:1"]).status == "older"
    assert ada.pull() == []


def test_pages_are_bounded_by_bytes_and_hold_one_event_at_least(replicas: Callable[..., Replica]) -> None:
    ada, bob = replicas("ada"), replicas("bob")
    large = [b'{"type":"E","x":"%s"}' % (b"x" * size) for size in (2_000_000, 600_000, 600_000, 600_000)]
    asked = ScopedAppend(uuid4(), 0, NO_MARK, [], ["t:1"] * 4, large)
    assert ada.remote.append(ada.log, asked).status == "appended"
    assert len(bob.append([], []).missed) == 1
    assert [len(bob.pull()) for _ in range(4)] == [1, 2, 1, 0]


@pytest.mark.parametrize("beside", [False, True], ids=["of its own", "of another log"])
def test_an_append_does_not_read_a_long_past(
    database: Database, log: UUID, replicas: Callable[..., Replica], beside: bool
) -> None:
    """The planner must not prefer to read the whole table, whatever the statistics say that the server collects."""
    past = [SharedEvent(n, uuid4(), "ada", '{"type":"E"}') for n in range(1, 20_001)]
    database.as_admin(
        "INSERT INTO treadle.events SELECT %s, place, append_id, 'ada', '{t:0}', %s "
        "FROM unnest(%s::uuid[]) WITH ORDINALITY AS u (append_id, place)",
        create_log("long") if beside else log,
        past[0].payload,
        [event.append_id for event in past],
    )
    machine, other = replicas(), replicas()
    if not beside:
        database.as_admin("UPDATE treadle.logs SET head = %s WHERE log_id = %s", len(past), log)
        machine.apply(past)
        other.apply(past)
    database.as_admin("ANALYZE treadle.events")
    for n in range(12):  # a plan that is made once for any arguments is tried from the sixth on
        assert other.append(["t:1"], ["t:1"]).status == "appended"
        other.pull_all()
        with machine.remote.transaction():
            assert machine.append(["t:2"], []).status == "appended"
            machine.remote.pull(log, machine.known, machine.mark)
            [(whole, by_index)] = machine.remote.execute(
                "SELECT seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'events'"
            )
        assert (whole, by_index > 0) == (0, True), n


def test_lists_of_texts_are_sent_as_binary() -> None:
    """As text, 500 events take psycopg 14 ms instead of 0.6."""
    casts = re.findall(r"%\((\w+)\)(\w)::text\[\]", APPEND)
    assert {name for name, format in casts if format == "b"} == {
        "reads",
        "scopes",
        "payloads",
        "ids",
        "digests",
        "rejected",
    }


# Connections that are lost


def test_an_append_whose_answer_was_cut_anywhere_is_found_again(
    database: Database, relay: Relay, replicas: Callable[..., Replica]
) -> None:
    ada = replicas()
    total, request = sizes_of(database, relay, ada.log)
    cuts = [("answer", n) for n in range(total)]
    cuts += [("request", n) for n in range(0, request, 40)]
    for direction, at in cuts:
        ada.pull_all()
        asked = ada.asks(["t:1"], ["t:1", "t:1"], CommandRecord(f"{direction} {at}", "digest", 1, 2))
        with RemoteLog("ada") as through:
            relay.arm(request=at) if direction == "request" else relay.arm(answer=at)
            with pytest.raises(StorageError, match="connection") as raised:
                through.append(ada.log, asked)
            assert kind_of(raised) == "logUnreachable"
        relay.arm()
        again = ada.remote.append(ada.log, asked)
        assert (again.status, again.base) == ("again" if direction == "answer" else "appended", asked.known)
    ada.pull_all()
    assert ada.known == 2 + 2 * len(cuts)
    assert len({event.append_id for event in ada.events}) == 1 + len(cuts)


def sizes_of(database: Database, relay: Relay, log: UUID) -> tuple[int, int]:
    """The bytes of the answer and of the request of an append of two events, through the relay from now on."""
    database.reach(relay.folder)
    with RemoteLog("ada") as through:
        relay.arm()
        asked = ScopedAppend(uuid4(), 0, NO_MARK, ["never"], ["x", "x"], [b'{"type":"E"}', b'{"type":"E"}'])
        assert through.append(log, asked).status == "appended"
        return relay.seen["answer"], relay.seen["request"]


def test_killing_the_server_loses_nothing_that_was_answered(
    cluster: Cluster, database: Database, log: UUID, replicas: Callable[..., Replica]
) -> None:
    running, answered = threading.Event(), threading.Semaphore(0)
    running.set()
    done: list[ScopedAppend] = []
    stop = threading.Event()
    kinds = set()

    def work(login: str, scope: str) -> None:
        machine = Replica(log, login)
        while not stop.is_set():
            asked = machine.asks([scope], [scope, scope])
            while True:  # until there is an answer
                try:
                    answer = machine.remote.append(log, asked)
                    machine.pull_all()
                    break
                except StorageError as error:
                    kinds.add(error.kind)
                    machine.remote.close()
                    while True:
                        running.wait()
                        try:
                            machine.remote = RemoteLog(login)
                            break
                        except StorageError as error:
                            kinds.add(error.kind)
            assert answer.status in ("appended", "again")
            done.append(asked)
            answered.release()
        machine.remote.close()

    threads = started([lambda: work("ada", "t:1"), lambda: work("bob", "t:2")])
    try:
        for _ in range(3):
            for _ in range(30):
                assert answered.acquire(timeout=30)
            running.clear()
            cluster.kill()
            cluster.start()
            running.set()
    finally:
        stop.set()
        running.set()
    join(threads)
    reader = replicas()
    reader.pull_all()
    assert sorted(event.payload for event in reader.events) == sorted(p.decode() for a in done for p in a.payloads)
    assert len(done) >= 90
    assert kinds == {"logUnreachable"}


def test_a_commit_that_only_the_primary_has_is_no_answer(database: Database, replicas: Callable[..., Replica]) -> None:
    """PostgreSQL reports success, with a warning, if the wait for a standby is cancelled."""
    ada = replicas()
    asked, raised = ada.asks([], ["t:1"]), []

    def append() -> None:
        try:
            ada.remote.append(ada.log, asked)
        except StorageError as error:
            raised.append(error.kind)

    try:
        database.as_admin("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
        database.as_admin("SELECT pg_reload_conf()")
        wait_until(database, "SELECT current_setting('synchronous_standby_names') = 'absent'")
        threads = started([append])
        waits = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'ada'"
        wait_until(database, f"SELECT count(*) = 1 {waits}")
        database.as_admin(f"SELECT pg_cancel_backend(pid) {waits}")
        join(threads)
    finally:
        database.as_admin("ALTER SYSTEM RESET synchronous_standby_names")
        database.as_admin("SELECT pg_reload_conf()")
    assert raised == ["logUnreachable"]
    wait_until(database, "SELECT current_setting('synchronous_standby_names') = ''")
    with RemoteLog("ada") as remote:
        assert remote.append(ada.log, asked).status == "again"


# A log that was rewound


def test_a_standby_that_lacks_the_last_events_is_noticed(
    database: Database, cluster: Cluster, replicas: Callable[..., Replica]
) -> None:
    ada = replicas()
    for _ in range(4):
        assert ada.append([], ["t:1"] * 5).status == "appended"
        ada.pull_all()
    standby = Cluster()
    try:
        standby.create_standby_of(cluster)
        database.reach(standby.folder)
        with pytest.raises(StorageError, match="it is a standby") as refused:
            RemoteLog("ada")
        assert kind_of(refused) == "logUnreachable"
        [(lsn,)] = database.as_admin("SELECT pg_current_wal_flush_lsn()::text")
        with standby.connect() as admin_of_standby:
            caught_up = f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'"
            while admin_of_standby.execute(caught_up.encode()).fetchone() != (True,):
                pass
        standby.stop()
        assert ada.append([], ["t:1"] * 5).status == "appended"  # the standby never gets these
        ada.pull_all()
        assert ada.known == 25
        standby.disconnect()
        standby.start()
        standby.promote()
        with RemoteLog("ada") as remote:
            assert remote.append(ada.log, ada.asks([], ["t:1"])).status == "diverged"
            with pytest.raises(StorageError, match="rewound") as raised:
                remote.pull(ada.log, ada.known, ada.mark)
            assert kind_of(raised) == "logRewound"
        other = Replica(ada.log, "bob")
        other.pull_all()
        assert other.events == ada.events[:20]
        for _ in range(3):  # beyond what the first machine has: the sequence alone would not tell
            assert other.append([], ["t:2"] * 5).status == "appended"
            other.pull_all()
        with RemoteLog("ada") as remote:
            assert remote.append(ada.log, ada.asks([], ["t:1"])).status == "diverged"
            with pytest.raises(StorageError, match="rewound"):
                remote.pull(ada.log, ada.known, ada.mark)
        other.remote.close()
    finally:
        standby.close()


# Machines and their leases


def test_the_lease_of_a_machine_ends_by_the_clock_of_the_server(
    database: Database, replicas: Callable[..., Replica]
) -> None:
    ada, bob = replicas("ada"), replicas("bob")
    session = uuid4()
    before = database.as_admin("SELECT now()")[0][0]
    assert [m.is_there for m in ada.remote.beat(ada.log, "laptop", session, 3)] == [True]
    [(seen, until, within)] = database.as_admin("SELECT seen, until - seen, seen <= now() FROM treadle.machines")
    assert (seen >= before, until.total_seconds(), within) == (True, 60, True)
    told = bob.remote.beat(bob.log, "desktop", uuid4(), 0)
    assert [(m.machine_id, m.login, m.applied, m.is_there) for m in told] == [
        ("desktop", "bob", 0, True),
        ("laptop", "ada", 3, True),
    ]
    database.as_admin("UPDATE treadle.machines SET until = now() - interval '1 second' WHERE machine_id = 'laptop'")
    told = bob.remote.beat(bob.log, "third", uuid4(), 0)
    assert [(m.machine_id, m.is_there) for m in told] == [("desktop", True), ("laptop", False), ("third", True)]
    assert [m.is_there for m in ada.remote.beat(ada.log, "laptop", session, 4)] == [True, True, True]


def test_a_copied_data_directory_does_not_get_the_lease_of_the_other_one(
    database: Database, replicas: Callable[..., Replica]
) -> None:
    ada, copy = replicas("ada"), replicas("ada")
    first, second = uuid4(), uuid4()
    ada.remote.beat(ada.log, "laptop", first, 1)
    with pytest.raises(StorageError, match="data directory is a copy") as raised:
        copy.remote.beat(copy.log, "laptop", second, 1)
    assert kind_of(raised) == "logMachineLeased"
    assert [m.applied for m in ada.remote.beat(ada.log, "laptop", first, 2)] == [2]
    database.as_admin("UPDATE treadle.machines SET until = now() - interval '1 second'")
    copy.remote.beat(copy.log, "laptop", second, 5)
    with pytest.raises(StorageError):
        ada.remote.beat(ada.log, "laptop", first, 3)


# Nothing of it is imported by a daemon


def test_a_daemon_imports_nothing_of_a_shared_log() -> None:
    code = "import sys, treadle.server.app, treadle.cli.serve, treadle.cli.log; print(*sys.modules, sep='\\n')"
    modules = output_of(sys.executable, "-c", code).splitlines()
    assert "treadle.server.app" in modules
    assert not [name for name in modules if name.startswith(("psycopg", "treadle.store.shared"))]
