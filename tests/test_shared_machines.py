"""Data directories as machines that share a log: what one appends, the others have; what happens when one is away."""

import asyncio
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

import wire
from postgres import Cluster, Database, make_replica, needs_postgres
from runs import configure
from scripted import scripted
from support import PATIENCE, Wire, plain, refused, spawned
from treadle.store.errors import StorageError
from treadle.store.shared import admin
from treadle.store.shared.remote import NO_MARK, RemoteLog, ScopedAppend

pytestmark = needs_postgres


@pytest.fixture
def log(database: Database) -> UUID:
    """A log that ada and bob may write to, and mallory read."""
    with RemoteLog("owner") as owner:
        made, _ = admin.initialize(owner, "main")
        for role, may in (("ada", "write"), ("bob", "write"), ("mallory", "read")):
            admin.grant(owner, made, role, may)
    return made.log_id


@pytest.fixture
def machine(log: UUID, tmp_path: Path) -> Callable[[str], Path]:
    """Makes the data directory of a machine, with the login as its name."""

    return lambda login: make_replica(tmp_path / login, login, log)


async def change(wire: Wire, key: str, value: object, **more: Any) -> dict[str, Any]:
    command = {"type": "ChangeSetting", "key": key, "value": value, **more}
    return await wire.reply(wire.send("command/dispatch", command))


async def events(wire: Wire) -> list[Any]:
    return list((await wire.call("event/list"))["items"])


async def until(check: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Ask again until it is true; return it."""
    async with asyncio.timeout(patience):
        while not (found := await check()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


async def has(wire: Wire, count: int) -> bool:
    return len(await events(wire)) == count


async def status(wire: Wire) -> dict[str, Any]:
    return dict((await wire.call("daemon/status"))["log"])


async def test_what_one_machine_appends_reaches_the_subscribers_of_another(machine: Callable[[str], Path]) -> None:
    async with spawned(machine("ada")) as (ada, _), spawned(machine("bob")) as (bob, _):
        opened = await bob.call("subscription/open", {"topic": "settings"})
        assert opened["snapshot"]["settings"] == []
        assert (await change(ada, "colour", "red"))["result"]["sequence"] == 1
        told = await bob.until(lambda params: "changes" in params)
        assert told["changes"][0]["value"]["key"] == "colour"
        assert (await change(bob, "colour", "blue"))["result"]["sequence"] == 2
        await until(lambda: has(ada, 2))
        assert await events(ada) == await events(bob)


async def test_two_machines_may_change_different_things_at_once_and_the_same_thing_in_turn(
    machine: Callable[[str], Path],
) -> None:
    async with spawned(machine("ada")) as (ada, _), spawned(machine("bob")) as (bob, _):
        sent = [
            change(wire, key, n) for n in range(20) for wire, key in ((ada, "a"), (bob, "b"), (ada, "c"), (bob, "c"))
        ]
        answers = await asyncio.gather(*sent)
        assert sorted(answer["result"]["sequence"] for answer in answers) == [*range(1, 81)]
        await until(lambda: has(ada, 80))
        await until(lambda: has(bob, 80))
        assert await events(ada) == await events(bob)


async def test_all_processes_of_a_machine_share_one_replica_and_one_of_them_follows(
    machine: Callable[[str], Path],
) -> None:
    folder = machine("ada")
    async with spawned(folder) as (first, process), spawned(folder) as (second, _), spawned(machine("bob")) as (bob, _):
        await change(second, "one", 1)
        await until(lambda: has(bob, 1))
        assert (await status(first))["problem"] is None
        assert await status(first) == await status(second)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await change(bob, "two", 2)
        await until(lambda: has(second, 2))


async def test_a_command_that_another_machine_has_carried_out_has_the_same_answer(
    machine: Callable[[str], Path],
) -> None:
    async with spawned(machine("ada")) as (ada, _), spawned(machine("bob")) as (bob, _):
        create = {"type": "CreateProject", "id": "p", "name": "P", "path": "/p", "remote": "example.org/p"}
        create["commandId"] = "c"
        answers = [await wire.reply(wire.send("command/dispatch", create)) for wire in (ada, bob)]
        assert answers[0]["result"] == answers[1]["result"]
        assert len(await events(bob)) == 1


async def test_reads_go_on_without_the_server_and_writes_are_refused(
    cluster: Cluster, machine: Callable[[str], Path]
) -> None:
    folder = machine("ada")
    async with spawned(folder) as (ada, _):
        await change(ada, "one", 1)
        cluster.stop()
        try:
            refusal = await change(ada, "two", 2)
            assert refusal["error"]["data"]["kind"] == "logUnreachable"
            assert await has(ada, 1)
            await until(lambda: is_down(ada))
            async with spawned(folder) as (later, _):
                assert await has(later, 1)
        finally:
            cluster.start()
        await until(lambda: is_up(ada))
        assert (await change(ada, "two", 2))["result"]["sequence"] == 2


@pytest.mark.parametrize("read", [("threads", "--json"), ("call", "thread/list")], ids=" ".join)
async def test_a_command_that_reads_brings_a_replica_up_to_date_that_no_daemon_follows(
    cluster: Cluster, machine: Callable[[str], Path], tmp_path: Path, read: tuple[str, ...]
) -> None:
    assert wire.run("clone", "bob", str(tmp_path / "bob")).returncode == 0
    async with spawned(machine("ada")) as (ada, _):
        for command in BEGUN[:2]:
            await ada.call("command/dispatch", command)
    shown = wire.run(*read, "--data-dir", str(tmp_path / "bob"))
    assert (shown.returncode, shown.stderr) == (0, "")
    printed = msgspec.json.decode(shown.stdout)
    assert [thread["id"] for thread in printed.get("items", [printed])] == ["t"]
    cluster.stop()
    try:
        again = wire.run(*read, "--data-dir", str(tmp_path / "bob"))
        assert (again.returncode, again.stdout) == (0, shown.stdout)
        assert "what other machines wrote lately may be missing: shared log 'bob': no server is there" in again.stderr
        assert wire.run("doctor", "--data-dir", str(tmp_path / "bob")).stderr.count("may be missing") == 1
    finally:
        cluster.start()


async def test_a_command_that_reads_leaves_a_replica_to_the_daemon_that_follows(machine: Callable[[str], Path]) -> None:
    folder = machine("ada")
    async with spawned(folder) as (ada, _):
        await until(lambda: is_up(ada))
        (folder / "log.json").rename(folder / "kept.json")
        (folder / "log.json").write_text("{}")  # what would be read to connect
        assert wire.run("threads", "--data-dir", str(folder)).stderr == ""


async def is_down(wire: Wire) -> bool:
    return "no server is there" in ((await status(wire))["problem"] or "")


async def is_up(wire: Wire) -> bool:
    return (await status(wire))["problem"] is None


async def test_a_login_that_may_only_read_follows_and_is_told_that_it_may_not_write(
    machine: Callable[[str], Path],
) -> None:
    async with spawned(machine("ada")) as (ada, _), spawned(machine("mallory")) as (mallory, _):
        await change(ada, "one", 1)
        await until(lambda: has(mallory, 1))
        assert (await change(mallory, "two", 2))["error"]["data"]["kind"] == "logForbidden"


# A log that was rewound


async def test_a_replica_of_a_log_that_was_rewound_is_kept_and_a_new_one_is_built(
    database: Database, machine: Callable[[str], Path]
) -> None:
    folder = machine("ada")
    async with spawned(folder) as (ada, _):
        for n in range(5):
            await change(ada, f"key-{n}", n)
        log_id = (await ada.call("daemon/status"))["logId"]
        rewind(database, 3)
        refusal = await change(ada, "more", 1)
        assert refusal["error"]["data"]["kind"] == "logRewound"
        assert await has(ada, 5)
    async with spawned(folder) as (ada, _):
        await until(lambda: has(ada, 3))
        assert (await ada.call("daemon/status"))["logId"] != log_id
        assert (await change(ada, "more", 1))["result"]["sequence"] == 4
        await ada.until(lambda params: "has lost 2 events" in params.get("message", ""))
    [kept] = folder.glob("rewound-*.db")
    with closing(sqlite3.connect(kept)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (5,)
    assert str(kept) in wire.run("doctor", "--data-dir", str(folder)).stdout


def rewind(database: Database, head: int) -> None:
    """Take the log back to an earlier state, as a restored backup of the server does."""
    database.as_admin("ALTER TABLE treadle.events DISABLE TRIGGER ALL")
    database.as_admin("DELETE FROM treadle.events WHERE sequence > %s", head)
    database.as_admin("UPDATE treadle.logs SET head = %s", head)


# Machines that are away


BEGUN = [
    {"type": "CreateProject", "id": "p", "name": "P", "path": "/p", "remote": "example.org/team/app"},
    {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": "T"},
    {"type": "StartTurn", "threadId": "t", "id": "u"},
]


async def begin(wire: Wire) -> None:
    await wire.call("command/dispatchBatch", {"commands": BEGUN})


async def turn_status(wire: Wire) -> str:
    return str((await wire.call("turn/list", {"threadId": "t"}))["items"][0]["status"])


def be_away(database: Database, folder: Path, seconds: int) -> None:
    """Let the lease of a machine have ended so long ago."""
    with plain(folder) as db:
        [(machine_id,)] = db.execute("SELECT value FROM meta WHERE key = 'machineId'")
    database.as_admin(
        "UPDATE treadle.machines SET until = now() - make_interval(secs => %s) WHERE machine_id = %s",
        seconds,
        machine_id,
    )


@asynccontextmanager
async def left_behind(folder: Path) -> AsyncIterator[None]:
    """A turn whose daemon was killed with its machine."""
    async with spawned(folder) as (ada, process):
        await begin(ada)
        await until(lambda: is_up(ada))
        process.send_signal(signal.SIGKILL)
        await process.wait()
    yield


async def test_a_turn_of_a_machine_that_is_away_for_long_is_interrupted_by_another(
    database: Database, machine: Callable[[str], Path]
) -> None:
    folder = machine("ada")
    async with left_behind(folder):
        be_away(database, folder, 550)
        async with spawned(machine("bob")) as (bob, _):
            await until(lambda: has(bob, 4))
            machines = await until(lambda: known_machines(bob))
            assert sorted(one["awaySeconds"] > 0 for one in machines) == [False, True]
            await asyncio.sleep(0)
            assert await turn_status(bob) == "running"
        be_away(database, folder, 601)
        async with spawned(tmp := folder.parent / "bob") as (bob, _):
            assert tmp
            await until(lambda: was_interrupted(bob))


async def known_machines(wire: Wire) -> list[Any]:
    machines = (await status(wire))["machines"]
    return machines if len(machines) == 2 else []


async def was_interrupted(wire: Wire) -> bool:
    return await turn_status(wire) == "interrupted"


async def test_a_turn_that_somebody_stops_while_its_machine_is_away_ends_at_once(
    database: Database, machine: Callable[[str], Path]
) -> None:
    folder = machine("ada")
    async with left_behind(folder):
        be_away(database, folder, 5)
        async with spawned(machine("bob")) as (bob, _):
            await until(lambda: has(bob, 4))
            await bob.call("command/dispatch", {"type": "CancelTurn", "threadId": "t", "id": "u"})
            await until(lambda: was_interrupted(bob))


async def test_a_turn_of_a_machine_that_is_there_is_left_alone(machine: Callable[[str], Path]) -> None:
    async with spawned(machine("ada")) as (ada, _), spawned(machine("bob")) as (bob, _):
        await begin(ada)
        await until(lambda: has(bob, 4))
        await until(lambda: known_machines(bob))
        await change(bob, "one", 1)
        assert await turn_status(bob) == "running"
        ended = {"type": "CompleteTurn", "threadId": "t", "id": "u", "stopReason": "end_turn"}
        await ada.call("command/dispatch", ended)


async def test_a_copied_data_directory_gets_an_id_of_its_own(
    database: Database, machine: Callable[[str], Path]
) -> None:
    folder = machine("ada")
    async with spawned(folder) as (ada, _):
        await until(lambda: is_up(ada))
        copy = folder.parent / "copy"
        shutil.copytree(folder, copy)
        with plain(copy) as db:  # the worst case: even the number of the file is the same
            db.execute(
                "UPDATE meta SET value = ? WHERE key = 'machineFile'", (str((copy / "treadle.db").stat().st_ino),)
            )
        async with spawned(copy) as (other, _):
            await other.until(lambda params: "is a copy" in params.get("message", ""))
        async with spawned(copy) as (other, _):
            await until(lambda: known_machines(other))
            ids = [(await wire.call("daemon/status"))["machineId"] for wire in (ada, other)]
            assert len(set(ids)) == 2


# Agents


async def test_the_machine_that_got_the_prompt_runs_the_agent_also_for_prompts_of_others(
    machine: Callable[[str], Path], tmp_path: Path
) -> None:
    folders = [machine(login) for login in ("ada", "bob")]
    for folder in folders:
        files = {"SCRIPTED_LOG": str(folder / "heard"), "SCRIPTED_SESSIONS": str(folder / "sessions")}
        configure(folder, it=scripted(**files))
    async with spawned(folders[0]) as (ada, _), spawned(folders[1]) as (bob, _):
        work = {
            "type": "CreateProject",
            "id": "p",
            "name": "P",
            "path": str(tmp_path),
            "remote": "example.org/team/app",
        }
        create = {"type": "CreateThread", "threadId": "t", "projectId": "p", "title": "T"}
        assign = {"type": "AssignAgent", "threadId": "t", "agent": "it"}
        await ada.call("command/dispatchBatch", {"commands": [work, create, assign]})
        await ada.call("command/dispatch", {"type": "QueuePrompt", "threadId": "t", "text": "one"})
        await until(lambda: completed(bob, 1))
        await bob.call("command/dispatch", {"type": "QueuePrompt", "threadId": "t", "text": "two"})
        await until(lambda: completed(ada, 2))
        await until(lambda: completed(bob, 2))
    assert (folders[0] / "heard").exists()
    assert not (folders[1] / "heard").exists()


async def completed(wire: Wire, count: int) -> bool:
    try:
        turns = (await wire.call("turn/list", {"threadId": "t"}))["items"]
    except AssertionError:
        return False  # the thread is not here yet
    return len(turns) == count and all(turn["status"] == "completed" for turn in turns)


# Setting it up


def test_a_clone_has_what_is_in_the_log_and_knows_where_it_is_from(log: UUID, tmp_path: Path) -> None:
    folder = tmp_path / "team"
    done = wire.run("clone", "bob", str(folder))
    assert done.stdout == f"cloned log main: 0 events. Use it with --data-dir {folder}\n"
    assert msgspec.json.decode((folder / "log.json").read_bytes()) == {"service": "bob", "logId": str(log)}
    assert (folder / "log.json").stat().st_mode & 0o777 == 0o600
    assert wire.run("clone", "bob", str(folder)).returncode == 0
    assert "has a log of its own" in wire.run("clone", "bob", str(private(tmp_path))).stderr
    assert "log 'other' does not exist" in wire.run("clone", "bob", str(tmp_path / "new"), "--log", "other").stderr
    assert "this login may only read it" in wire.run("clone", "mallory", str(tmp_path / "read")).stdout


A_URL = '{"service": "host=db password=x", "logId": "6e3c1c6e-0b0e-4b62-9d0a-6f4e4f1d9b6e"}'


@pytest.mark.parametrize("content", ["", "{}", A_URL])
async def test_a_file_that_names_no_log_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "log.json").write_text(content)
    said = await refused(tmp_path)
    assert said.startswith(f"{tmp_path}/log.json: ")
    assert "password=x" not in said


def test_a_dump_is_not_imported_into_a_shared_log(log: UUID, tmp_path: Path) -> None:
    wire.run("clone", "ada", str(tmp_path / "team"))
    wire.run("clone", "bob", str(tmp_path / "other"))
    dump = tmp_path / "dump.jsonl"
    assert wire.run("export", "--data-dir", str(tmp_path / "other"), str(dump)).returncode == 0
    done = wire.run("import", "--data-dir", str(tmp_path / "team"), "jsonl", str(dump))
    assert done.returncode == 1
    assert "has a shared log, which others append to as well" in done.stderr


def private(tmp_path: Path) -> Path:
    """A data directory with a log of its own."""
    folder = tmp_path / "private"
    assert wire.run("threads", "--data-dir", str(folder)).returncode in (0, 1)
    folder.mkdir(exist_ok=True)
    (folder / "treadle.db").touch()
    return folder


# What is erased


SECRET = "correct-horse-battery"
SAID = [
    *BEGUN[:2],
    {"type": "StartTurn", "threadId": "t", "id": "u", "prompt": f"my password is {SECRET}"},
    {"type": "CompleteTurn", "threadId": "t", "id": "u", "stopReason": "end_turn"},
]


def payloads(database: Database) -> str:
    """All that the server has of events."""
    return "\n".join(text for (text,) in database.as_admin("SELECT payload FROM treadle.events ORDER BY sequence"))


async def test_what_a_member_erases_is_gone_on_the_server_and_on_every_machine(
    database: Database, machine: Callable[[str], Path]
) -> None:
    with RemoteLog("owner") as owner:
        admin.grant(owner, admin.log_named(owner, None), "ada", "erase")
    folders = machine("ada"), machine("bob")
    async with spawned(folders[0]) as (ada, _), spawned(folders[1]) as (bob, _):
        await ada.call("command/dispatchBatch", {"commands": SAID})
        assert SECRET in payloads(database)
        count = len(await events(ada))
        await until(lambda: has(bob, count))
        refusal = await bob.reply(bob.send("command/dispatch", {"type": "EraseThread", "threadId": "t"}))
        assert refusal["error"]["data"]["kind"] == "logForbidden"
        erased = await ada.call("command/dispatch", {"type": "EraseThread", "threadId": "t"})
        await until(lambda: has(bob, erased["sequence"]))
        assert SECRET not in payloads(database)
        assert await events(ada) == await events(bob)
        assert SECRET not in msgspec.json.encode(await events(bob)).decode()
        # Each machine says what it has every 15 seconds, and hears what the others have said.
        await until(lambda: both_have_erased(ada, erased["sequence"]), 3 * PATIENCE)
    with plain(folders[0]) as mine, plain(folders[1]) as theirs:
        stored = "SELECT payload FROM events ORDER BY sequence"
        here = mine.execute(stored).fetchall()
        assert here == theirs.execute(stored).fetchall()
        assert "\n".join(text for (text,) in here) == payloads(database)


async def both_have_erased(wire: Wire, sequence: int) -> bool:
    [receipt] = (await wire.call("erasure/status", {"threadId": "t"}))["erasures"]
    assert receipt["sequence"] == sequence
    return [one["erased"] for one in receipt["machines"]] == [True, True]


async def test_a_member_who_may_only_write_cannot_erase_by_another_call(log: UUID, database: Database) -> None:
    for payload in (b'{"type":"ThreadErased","at":""}', b'{"type":"EventsRedacted"}'):
        with RemoteLog("ada") as ada, pytest.raises(StorageError) as raised:
            ada.append(log, ScopedAppend(uuid4(), 0, NO_MARK, [], ["t:t"], [payload]))
        assert raised.value.kind == "logForbidden"
    with RemoteLog("ada") as ada:
        said = b'{"type":"MessageAdded","at":"","text":"a ThreadErased, \\u0000"}'
        asked = ScopedAppend(uuid4(), 0, NO_MARK, [], ["t:t"], [said])
        assert ada.append(log, asked).status == "appended"
        with pytest.raises(StorageError) as raised:
            ada.append(log, msgspec.structs.replace(asked, append_id=uuid4(), cleaned={1: "{}"}))
        assert raised.value.kind == "logForbidden"
    with pytest.raises(psycopg.Error, match="never changed"):
        database.as_admin("UPDATE treadle.events SET payload = replace(payload, 'MessageAdded', 'Other')")


# Threads of one's own


async def test_a_thread_is_shared_whole_and_without_what_is_of_its_machine(
    machine: Callable[[str], Path], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    async with spawned(own) as (mine, _):
        checkpoint = {"type": "CreateCheckpoint", "threadId": "t", "id": "k", "gitRef": "refs/k", "message": "m"}
        await mine.call("command/dispatchBatch", {"commands": [*SAID, checkpoint]})
        kept = await events(mine)
        target = machine("ada")
        done = wire.run("share", "last", "--data-dir", str(own), "--to", str(target))
        assert done.stdout.startswith("shared thread t in project P: "), done.stderr
        assert await events(mine) == kept
    async with spawned(target) as (ada, _), spawned(machine("bob")) as (bob, _):
        shared = await events(ada)
        await until(lambda: has(bob, len(shared)))
        assert [one["event"]["type"] for one in shared if one["event"]["type"] != "ProjectCreated"] == [
            one["event"]["type"] for one in kept if one["event"]["type"] not in ("ProjectCreated", "CheckpointCreated")
        ]
        thread = await bob.call("thread/read", {"threadId": "t"})
        assert thread["messages"][0]["text"] == f"my password is {SECRET}"
        assert thread["threads"][0]["createdBy"] == "ada"
        again = wire.run("share", "t", "--data-dir", str(own), "--to", str(target))
        assert (again.returncode, again.stderr) == (1, "treadle: the shared log has the thread already\n")
    refusal = wire.run("share", "t", "--data-dir", str(own), "--to", str(own))
    assert "has no shared log: make it with `treadle clone" in refusal.stderr
