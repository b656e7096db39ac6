"""A shared log behind a pool of connections, which gives each transaction another one: pgbouncer."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import PASSWORD, PORT, ROLES, Cluster, Database, create_log, make_replica, needs_postgres
from support import spawned
from treadle.store.shared.remote import RemoteLog

POOL = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    needs_postgres,
    pytest.mark.skipif(
        POOL is None and "CI" not in os.environ,
        reason="pgbouncer is not installed: tests/install does that on Debian",
    ),
]


@pytest.fixture
def pooled(cluster: Cluster, database: Database) -> Iterator[Database]:
    """The services of the database lead to a pool with two connections for each login."""
    assert POOL is not None, "pgbouncer is not installed: tests/install does that on Debian"
    with tempfile.TemporaryDirectory(prefix="treadle-pool-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "users").write_text("".join(f'"{role}" "{PASSWORD}"\n' for role in ROLES))
        (folder / "settings").write_text(
            f"[databases]\n* = host={cluster.folder} port={PORT}\n"
            f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = {PORT}\npool_mode = transaction\n"
            f"default_pool_size = 2\nauth_type = trust\nauth_file = {folder}/users\n"
        )
        user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        if user is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        pool = subprocess.Popen(
            [POOL, folder / "settings"], user=user, extra_groups=[] if user else None, cwd=folder,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert pool.stderr is not None
            with pool.stderr:
                assert any("process up" in line for line in pool.stderr)
                database.reach(folder)
                yield database
        finally:
            pool.terminate()
            pool.wait()


async def test_machines_behind_a_pool_see_each_other(pooled: Database, tmp_path: Path) -> None:
    log = create_log()
    machines = [make_replica(tmp_path / name, login, log) for name, login in (("a", "ada"), ("b", "bob"), ("c", "ada"))]
    async with (
        spawned(machines[0]) as (one, _),
        spawned(machines[1]) as (two, _),
        spawned(machines[2]) as (three, _),
    ):
        for wire in (one, two, three):
            await wire.call("subscription/open", {"topic": "events"})
        for n in range(10):
            for wire, name in ((one, "one"), (two, "two"), (three, "three")):
                await wire.call("command/dispatch", {"type": "ChangeSetting", "key": f"{name}{n}", "value": n})
        for wire in (one, two, three):
            await wire.until(lambda params: any(event["sequence"] == 30 for event in params.get("events", ())))
        used = pooled.as_admin(
            "SELECT usename::text, count(*) <= 2 FROM pg_stat_activity WHERE application_name = 'treadle' GROUP BY 1"
        )
        assert {login for login, _ in used} >= {"ada", "bob"}
        assert all(few for _, few in used)


def test_a_connection_of_a_pool_is_not_asked_to_listen(pooled: Database) -> None:
    """Its server would tell whoever gets it next, and never this one."""
    log = create_log()
    with RemoteLog("ada") as ada:
        assert not ada.listen(log)
    pooled.reach(pooled.cluster.folder)
    with RemoteLog("ada") as ada:
        assert ada.listen(log)
