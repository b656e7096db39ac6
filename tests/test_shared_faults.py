"""Engines and daemons on a shared log while servers, connections, disks and clocks fail: each command happens once."""

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from postgres import Cluster, Database, Relay, create_log, make_replica, needs_postgres
from support import PATIENCE, needs, opened, plain, replayed, spawned
from treadle.core.engine import Engine, Overloaded
from treadle.domain import commands as c
from treadle.store.errors import LogUnavailable
from treadle.store.shared import admin, link, remote, sharing
from treadle.store.shared.config import read_config
from treadle.store.shared.remote import RemoteLog

pytestmark = needs_postgres


@pytest.fixture
def machine(database: Database, tmp_path: Path) -> Callable[[str], Path]:
    """Makes the data directory of a machine of one log, with the login as its name."""
    log_id = create_log()

    return lambda login: make_replica(tmp_path / login, login, log_id)


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    relay = Relay(cluster)
    yield relay
    relay.close()


@asynccontextmanager
async def working(data_dir: Path) -> AsyncIterator[Engine]:
    """An engine in this process that also follows the log."""
    async with opened(data_dir) as store:
        assert store.sharing is not None
        store.sharing.follower.start()
        engine = Engine(store, linger=0)
        engine.start()
        try:
            yield engine
        finally:
            await engine.stop(now=True)


async def change(engine: Engine, key: str, value: object = 1) -> Any:
    """Change a setting by a command with an id."""
    command = c.ChangeSetting(key=key, value=value)
    async with asyncio.timeout(PATIENCE):
        return await engine.submit([command], command_id=key, digest=key).future


async def insist(engine: Engine, key: str) -> Any:
    """Send the same command until there is an answer."""
    while True:
        try:
            return await change(engine, key)
        except Overloaded:
            continue
        except LogUnavailable as error:
            if error.kind != "logUnreachable":
                raise


async def keys(engine: Engine) -> list[str]:
    return [event.event.key for event in await replayed(engine.store)]  # type: ignore[union-attr]


async def reach(engine: Engine, count: int) -> list[str]:
    """Wait until the replica has that many events."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await keys(engine)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


async def test_killing_the_server_loses_and_repeats_no_command(
    cluster: Cluster, machine: Callable[[str], Path]
) -> None:
    async with working(machine("ada")) as ada, working(machine("bob")) as bob:
        done: list[str] = []
        stopping = asyncio.Event()

        async def work(engine: Engine, name: str) -> None:
            n = 0
            while not stopping.is_set():
                await insist(engine, f"{name}{n}")
                done.append(f"{name}{n}")
                n += 1

        works = [asyncio.create_task(work(engine, name)) for engine, name in ((ada, "a"), (bob, "b"))]
        for killed in (1, 2):
            async with asyncio.timeout(PATIENCE):
                while len(done) < 15 * killed:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(cluster.kill)
            await asyncio.to_thread(cluster.start)
        stopping.set()
        await asyncio.gather(*works)
        assert Counter(await reach(ada, len(done))) == Counter(done)
        assert await reach(bob, len(done)) == await keys(ada)


async def test_a_command_whose_answer_was_cut_anywhere_happens_once(
    database: Database, relay: Relay, machine: Callable[[str], Path]
) -> None:
    folder = machine("ada")
    database.reach(relay.folder)
    async with opened(folder) as store:  # nobody follows: the relay sees only appends
        engine = Engine(store, linger=0)
        engine.start()
        await change(engine, "first")
        relay.arm()
        await change(engine, "size")
        total = relay.seen["answer"]
        cuts = [*range(0, total - 8, 16), *range(total - 8, total)]
        for cut in cuts:
            relay.arm(answer=cut, once=True)
            answer = await change(engine, f"cut at {cut}")
            assert len(answer.results[0].events) == 1
        assert await keys(engine) == ["first", "size", *(f"cut at {cut}" for cut in cuts)]
        await engine.stop()
    assert database.as_admin("SELECT count(*), count(DISTINCT append_id) FROM treadle.events") == [(len(cuts) + 2,) * 2]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience than a person has, so that a test need not wait."""
    monkeypatch.setattr(link, "LONGEST", 1.0)
    monkeypatch.setattr(link, "PATIENCE", 0.2)
    monkeypatch.setattr(sharing, "LONGEST", 1.0)
    monkeypatch.setitem(remote._OPTIONS, "connect_timeout", 2)


async def test_an_append_over_a_connection_that_swallows_everything_fails_and_is_sent_again(
    database: Database, relay: Relay, machine: Callable[[str], Path], hasty: None
) -> None:
    folder = machine("ada")
    database.reach(relay.folder)
    async with working(folder) as ada:
        await change(ada, "before")
        relay.swallows = True
        with pytest.raises(LogUnavailable) as raised:
            await change(ada, "swallowed")
        assert raised.value.kind == "logUnreachable"
        assert await keys(ada) == ["before"]
        relay.swallows = False
        await insist(ada, "swallowed")
        assert await keys(ada) == ["before", "swallowed"]


async def test_what_is_announced_while_the_replica_is_busy_waits_without_using_the_cpu(
    machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, calls = asyncio.get_running_loop(), [0]
    add_reader = loop.add_reader

    def counted(descriptor: int, callback: Callable[[], None]) -> None:
        def call() -> None:
            calls[0] += 1
            callback()

        add_reader(descriptor, call)

    monkeypatch.setattr(loop, "add_reader", counted)
    folder, busy = machine("ada"), threading.Event()
    async with working(folder) as ada:
        await change(ada, "first")
        log = read_config(folder).log_id
        writing = asyncio.ensure_future(ada.store.write(lambda log: busy.wait(PATIENCE)))
        with RemoteLog("bob") as bob:
            for head in range(2, 12):
                await asyncio.to_thread(bob.announce, log, head)
                await asyncio.to_thread(bob.execute, b"SELECT pg_sleep(0.01)")
        busy.set()
        await writing
    assert calls[0] < 50  # in turn with what is announced, not as often as the loop can


async def test_a_revoked_right_is_told_and_what_is_here_can_be_read(machine: Callable[[str], Path]) -> None:
    async with working(machine("ada")) as ada:
        await change(ada, "before")
        with RemoteLog("owner") as owner:
            log = admin.log_named(owner, "main")
            admin.revoke(owner, log, "ada")
            with pytest.raises(LogUnavailable) as raised:
                await change(ada, "after")
            assert raised.value.kind == "logForbidden"
            assert await keys(ada) == ["before"]
            admin.grant(owner, log, "ada", "write")
        await change(ada, "after")
        assert await keys(ada) == ["before", "after"]


FULL = """
CREATE FUNCTION treadle.full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON treadle.events FOR EACH ROW EXECUTE FUNCTION treadle.full();
"""


async def test_a_full_disk_of_the_server_is_told_and_nothing_is_left_of_the_command(
    database: Database, machine: Callable[[str], Path]
) -> None:
    """A trigger raises what PostgreSQL raises then: SQLSTATE 53100."""
    async with working(machine("ada")) as ada:
        await change(ada, "before")
        database.as_admin(FULL)
        with pytest.raises(LogUnavailable, match="disk of the server is full") as raised:
            await change(ada, "after")
        assert raised.value.kind == "logFull"
        database.as_admin("DROP TRIGGER full_disk ON treadle.events")
        await change(ada, "after")
        assert await keys(ada) == ["before", "after"]


async def test_a_command_is_answered_though_the_replica_cannot_apply_it_and_it_is_applied_later(
    machine: Callable[[str], Path],
) -> None:
    """As on a full local disk: a trigger refuses what the server has committed already."""
    folder = machine("ada")
    async with working(folder) as ada:
        await change(ada, "before")
        with plain(folder) as db:
            db.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
        answered = await change(ada, "after")
        assert answered.sequence == 2
        assert await keys(ada) == ["before"]
        with plain(folder) as db:
            db.execute("DROP TRIGGER full")
        await change(ada, "later")
        assert await reach(ada, 3) == ["before", "after", "later"]
        again = await change(ada, "after")
        assert (again.sequence, await keys(ada)) == (2, ["before", "after", "later"])


async def test_a_standby_with_all_events_goes_on(
    cluster: Cluster, database: Database, machine: Callable[[str], Path]
) -> None:
    standby = Cluster()
    try:
        async with working(machine("ada")) as ada:
            await change(ada, "before")
            await asyncio.to_thread(standby.create_standby_of, cluster)
            [(lsn,)] = database.as_admin("SELECT pg_current_wal_flush_lsn()::text")
            with standby.connect() as there:
                while there.execute(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'".encode()).fetchone() != (True,):
                    pass
            cluster.kill()
            try:
                standby.promote()
                database.reach(standby.folder)
                await insist(ada, "after")
                assert await keys(ada) == ["before", "after"]
            finally:
                cluster.start()
    finally:
        standby.close()
        database.reach(cluster.folder)


async def dispatch(wire: Any, key: str) -> int:
    return int((await wire.call("command/dispatch", {"type": "ChangeSetting", "key": key, "value": 1}))["sequence"])


async def test_a_stopped_daemon_that_follows_does_not_stop_the_others_of_its_machine(
    machine: Callable[[str], Path],
) -> None:
    folder = machine("ada")
    async with AsyncExitStack() as stack:
        following, process = await stack.enter_async_context(spawned(folder))
        await dispatch(following, "one")
        other, _ = await stack.enter_async_context(spawned(folder))
        elsewhere, _ = await stack.enter_async_context(spawned(machine("bob")))
        process.send_signal(signal.SIGSTOP)
        try:
            assert await dispatch(elsewhere, "two") == 2
            assert await dispatch(other, "three") == 3  # with what it has missed
            assert [stored["sequence"] for stored in (await other.call("event/list"))["items"]] == [1, 2, 3]
            await other.call("subscription/open", {"topic": "events", "afterSequence": 3})
            os.utime(folder / "following.lock", (0, 0))  # it has said nothing for very long
            assert await dispatch(elsewhere, "four") == 4
            await other.until(lambda params: any(stored["sequence"] == 4 for stored in params.get("events", ())))
        finally:
            process.send_signal(signal.SIGCONT)
        assert await dispatch(following, "five") == 5


FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("/usr/lib/faketime"))


@needs("faketime")
async def test_a_machine_whose_clock_is_a_day_behind_is_in_the_order_of_the_log(
    machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spawned(machine("ada")) as (ada, _):
        monkeypatch.setenv("LD_PRELOAD", str(FAKETIME))
        monkeypatch.setenv("FAKETIME", "-1d")
        monkeypatch.setenv("DONT_FAKE_MONOTONIC", "1")
        async with spawned(machine("bob")) as (late, _):
            assert await dispatch(ada, "one") == 1
            assert await dispatch(late, "two") == 2
            assert await dispatch(ada, "three") == 3
            items = (await ada.call("event/list"))["items"]
            assert [stored["event"]["key"] for stored in items] == ["one", "two", "three"]
            assert items[1]["event"]["at"] < items[0]["event"]["at"]
            machines = (await late.call("daemon/status"))["log"]["machines"]
            assert [one["awaySeconds"] for one in machines] == [0] * len(machines)
