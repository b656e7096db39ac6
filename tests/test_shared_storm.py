"""Eight machines at work in the same threads of one log: all end with the same, and each command happened once."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from postgres import needs_postgres
from storms import whole
from support import PATIENCE, rows
from treadle.client import Client, RemoteError, connect
from treadle.domain.commands import CreateProject, CreateThread
from treadle.store.sqlite.database import FILE_NAME

pytestmark = needs_postgres

MACHINES = 8
COMMANDS = 20
THREADS = ("t0", "t1", "t2")
OWN = {"meta", "commands", "schema_migrations", "project_folders"}
"""Tables that say something of one machine; the answers of commands are compared where two machines have them."""


def command(chance: random.Random, id: str) -> dict[str, Any]:
    """Any command, of which many are in the way of each other."""
    thread = chance.choice(THREADS)
    match chance.randrange(7):
        case 0:
            asked: dict[str, Any] = {"type": "StartTurn", "threadId": thread, "id": id, "prompt": id}
        case 1:
            asked = {"type": "InterruptTurn", "threadId": thread}
        case 2:
            asked = {"type": "AssignAgent", "threadId": thread, "agent": chance.choice("ab")}
        case 3:
            asked = {"type": "RenameThread", "threadId": thread, "title": id}
        case 4:
            asked = {"type": chance.choice(["ArchiveThread", "UnarchiveThread"]), "threadId": thread}
        case 5:
            asked = {"type": "CreateCheckpoint", "threadId": thread, "gitRef": "r", "message": id}
        case _:
            asked = {"type": "ChangeSetting", "key": f"k{chance.randrange(3)}", "value": id}
    return {**asked, "commandId": id}


def tables(data_dir: Path) -> dict[str, list[Any]]:
    """All that the replicas of a log have in common: the events and the projections, without the inside of indexes."""
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as db:
        listed = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        names = {name for (name,) in db.execute(listed)} - OWN
        inside = {name for name in names if name.endswith(("_data", "_idx", "_docsize", "_config", "_content"))}
        return {name: rows(db, name) for name in sorted(names - inside)}


def answers(data_dir: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as db:
        return {row[0]: row for row in db.execute("SELECT * FROM commands")}


async def test_eight_machines_end_with_the_same_tables_and_each_command_happened_once(
    tmp_path: Path, share_log: Callable[..., None]
) -> None:
    folders = [tmp_path / f"machine{n}" for n in range(MACHINES)]
    share_log(*folders)
    answered: dict[str, Any] = {}
    rejected: Counter[str] = Counter()

    async def work(client: Client, lane: int) -> None:
        chance = random.Random(lane)
        for n in range(COMMANDS):
            id = f"c{lane}-{n}"
            try:
                answered[id] = await client.call("command/dispatch", command(chance, id))
            except RemoteError as error:
                rejected[(error.data or {}).get("kind", "")] += 1

    async def at(client: Client, sequence: int) -> None:
        while (await client.daemon_status()).sequence < sequence:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async with AsyncExitStack() as stack:
        clients = await asyncio.gather(
            *(stack.enter_async_context(connect(folder, "--no-agents", "--durability", "normal")) for folder in folders)
        )
        await clients[0].dispatch(CreateProject(id="p", name="P", path="/p", remote="example.org/p"))
        for thread in THREADS:
            last = await clients[0].dispatch(CreateThread(thread_id=thread, project_id="p", title="T"))
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(at(client, last.sequence) for client in clients))
        await asyncio.gather(*(work(client, lane) for lane, client in enumerate(clients)))
    # Each daemon has ended its turns; one that starts again pulls what the others have appended meanwhile.
    for folder in folders:
        async with connect(folder, "--no-agents") as client, asyncio.timeout(PATIENCE):
            await client.call("command/dispatch", {"type": "ChangeSetting", "key": "k0", "value": "the end"})
    found = [tables(folder) for folder in folders]
    assert len(found[0]["events"]) > len(answered) / 2
    for other in found[1:]:
        for name, content in found[0].items():
            assert other[name] == content, name
    assert not [problem for folder in folders[:2] for problem in whole(folder)]
    known: dict[str, Any] = {}
    for folder in folders:
        for id, row in answers(folder).items():
            assert known.setdefault(id, row) == row
    assert set(known) >= set(answered)
    log = {row[0]: row for row in found[0]["events"]}
    where = Counter(stored["sequence"] for answer in answered.values() for stored in answer["events"])
    assert set(where) <= set(log)
    assert set(where.values()) == {1}, "an event is the answer to one command"
    assert len(answered) + rejected.total() == MACHINES * COMMANDS
    assert not [kind for kind in rejected if kind.startswith("log") or kind in ("overloaded", "storage", "")], rejected
