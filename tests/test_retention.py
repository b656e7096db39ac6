"""Threads that are erased because they are over: by the size of the database, and daily by the setting."""

import json
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import wire
from support import Wire, serving
from treadle.domain.commands import StartTurn
from treadle.server.retention import Retaining

NOW = datetime.now(UTC)


def day(n: int) -> str:
    return f"2020-01-{n:02}T12:00:00.000Z"


def thread(id: str, at: str, text: str = "") -> list[dict[str, Any]]:
    create = {"type": "CreateThread", "threadId": id, "projectId": "p", "title": id, "at": at}
    turn = {"type": "StartTurn", "threadId": id, "id": "u", "prompt": text, "at": at}
    return [create, turn, {"type": "CompleteTurn", "threadId": id, "id": "u", "stopReason": "end_turn", "at": at}]


async def begin(client: Wire, *threads: list[dict[str, Any]]) -> None:
    create = {"type": "CreateProject", "id": "p", "name": "P", "path": "/p"}
    await client.call("command/dispatchBatch", {"commands": [create, *chain(*threads)]})


async def retention(client: Wire, value: object) -> None:
    await client.call("command/dispatch", {"type": "ChangeSetting", "key": "retention", "value": value})


async def titles(client: Wire) -> set[str]:
    return {one["id"] for one in (await client.call("thread/list"))["items"]}


async def test_a_daemon_erases_once_a_day_what_the_setting_says(data_dir: Path) -> None:
    async with serving(data_dir) as (client, daemon):
        services = daemon.services
        retaining = Retaining(services.store, services._submit, services.purger)
        await begin(client, thread("old", day(1)), thread("new", NOW.isoformat(timespec="milliseconds")[:-6] + "Z"))
        assert await retaining.look(NOW) == []
        await retention(client, {"olderThanDays": 365})
        assert await retaining.look(NOW) == ["old"]
        assert await titles(client) == {"new"}
        [receipt] = (await client.call("erasure/status", {"threadId": "old", "wait": True}))["erasures"]
        assert receipt["purged"]
        await client.call("command/dispatchBatch", {"commands": thread("older", day(2))})
        assert await retaining.look(NOW + timedelta(hours=23)) == []
        assert await retaining.look(NOW + timedelta(hours=25)) == ["older"]


async def test_what_runs_or_waits_stays_and_so_does_everything_if_the_setting_is_wrong(data_dir: Path) -> None:
    async with serving(data_dir) as (client, daemon):
        services = daemon.services
        retaining = Retaining(services.store, services._submit, services.purger)
        await begin(client, thread("idle", day(1)), thread("running", day(1))[:2])
        for wrong in ({"olderThanDays": 0}, {"olderThan": 365}, "365d", {"maxBytes": -1}):
            await retention(client, wrong)
            assert await retaining.look(NOW) == []
        await retention(client, {"olderThanDays": 1, "archived": True})
        assert await retaining.look(NOW) == []
        await retention(client, {"olderThanDays": 1})
        assert await retaining.look(NOW + timedelta(days=2)) == ["idle"]
        assert await titles(client) == {"running"}


async def test_a_pinned_thread_stays_until_it_is_not_pinned_any_more(data_dir: Path) -> None:
    async with serving(data_dir) as (client, daemon):
        services = daemon.services
        retaining = Retaining(services.store, services._submit, services.purger)
        await begin(client, thread("pinned", day(1)), thread("was", day(1)), thread("old", day(1)))
        for id, value in (("pinned", True), ("was", True), ("was", None), ("old", False)):
            await client.call("command/dispatch", {"type": "ChangeSetting", "key": f"pinned.{id}", "value": value})
        await retention(client, {"olderThanDays": 365, "maxBytes": 1})
        assert {*await retaining.look(NOW)} == {"was", "old"}
        assert await titles(client) == {"pinned"}


async def test_a_thread_in_which_somebody_works_meanwhile_is_not_erased(data_dir: Path) -> None:
    async with serving(data_dir) as (client, daemon):
        services = daemon.services

        def after_a_prompt(commands: list[Any]) -> Any:
            services._submit([StartTurn(thread_id="old", id="now")])
            return services._submit(commands)

        await begin(client, thread("old", day(1)))
        await retention(client, {"olderThanDays": 365})
        assert await Retaining(services.store, after_a_prompt, services.purger).look(NOW) == []
        assert await titles(client) == {"old"}


def test_prune_erases_the_oldest_threads_until_the_database_has_the_size(data_dir: Path) -> None:
    def prune(*arguments: str) -> list[str]:
        done = wire.run("prune", "--data-dir", str(data_dir), "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["id"] for line in done.stdout.splitlines()]

    with wire.serving(data_dir) as daemon:
        create = {"type": "CreateProject", "id": "p", "name": "P", "path": "/p"}
        threads = [thread(f"t{n}", day(n), f"word{n} " * 500_000) for n in range(1, 5)]
        daemon.result("command/dispatchBatch", {"commands": [create, *chain(*threads[:2])]})
        daemon.result("command/dispatchBatch", {"commands": [*chain(*threads[2:])]})
    with wire.serving(data_dir):
        pass  # so that all is in the file
    size = f"{((data_dir / 'treadle.db').stat().st_size >> 20) - 4}M"
    assert prune("--max-size", "1G", "--dry-run") == []
    chosen = prune("--max-size", size, "--dry-run")
    assert chosen == ["t1", "t2", "t3", "t4"][: len(chosen)]
    assert 1 <= len(chosen) <= 3
    assert prune("--max-size", size, "--older-than", "1d", "--dry-run") == ["t1", "t2", "t3", "t4"]
    assert prune("--max-size", size, "--yes") == chosen
    assert prune("--max-size", size, "--dry-run") == []


def test_keep_doing_writes_the_setting_and_stop_removes_it(data_dir: Path) -> None:
    def prune(*arguments: str, status: int = 0) -> str:
        done = wire.run("prune", "--data-dir", str(data_dir), *arguments)
        assert done.returncode == status, done.stderr
        return done.stdout

    with wire.serving(data_dir) as daemon:
        prune("--keep-doing", status=2)
        prune("--max-size", "5T", status=2)
        prune("--older-than", "365d", "--keep-doing", "--dry-run")
        assert daemon.result("setting/list")["items"] == []
        asked = ("--older-than", "365d", "--max-size", "5G", "--archived", "--keep-doing", "--yes")
        assert "a daemon does this once a day from now on" in prune(*asked)
        [setting] = daemon.result("setting/list")["items"]
        assert setting["value"] == {"olderThanDays": 365, "maxBytes": 5 << 30, "archived": True}
        assert prune("--stop") == "a daemon erases nothing by itself\n"
        assert daemon.result("setting/list")["items"] == []
