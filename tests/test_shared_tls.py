"""A shared log over TCP with TLS, as the server of a team has it."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from postgres import ROLES, Cluster, Database, create_log, make_replica, needs_postgres, running_cluster
from support import spawned
from treadle.store.errors import StorageError
from treadle.store.shared.remote import RemoteLog

pytestmark = needs_postgres

NAME = "db.example.com"


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Cluster]:
    """A server that takes connections over TCP only with TLS, with a certificate for NAME that it has signed itself."""
    with running_cluster() as cluster:
        certificate, key = cluster.folder / "server.crt", cluster.folder / "server.key"
        made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}")
        files = ("-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(key), "-out", str(certificate))
        subprocess.run(["openssl", *made, *files], check=True, capture_output=True)
        owner = cluster.folder.stat()
        for file in (certificate, key):
            file.chmod(0o600)
            shutil.chown(file, owner.st_uid, owner.st_gid)
        cluster.stop()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            cluster.port = free.getsockname()[1]
        cluster.configure(
            listen_addresses="127.0.0.1", port=cluster.port, ssl="on", ssl_cert_file=certificate, ssl_key_file=key
        )
        (cluster.folder / "data" / "pg_hba.conf").write_text(
            "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        cluster.start()
        yield cluster


@pytest.fixture
def over_tls(encrypted: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database whose services lead to the server under its name, and verify its certificate."""
    database = Database(encrypted, f"d{uuid4().hex}", tmp_path)
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    name_server(database, NAME)
    return database


def name_server(database: Database, name: str) -> None:
    root = database.cluster.folder / "server.crt"
    where = f"host={name}\nhostaddr=127.0.0.1\nport={database.cluster.port}\nsslmode=verify-full\nsslrootcert={root}\n"
    database.services.write_text("".join(f"[{role}]\n{where}user={role}\ndbname={database.name}\n" for role in ROLES))


async def test_two_machines_see_each_other_through_a_verified_connection(over_tls: Database, tmp_path: Path) -> None:
    log = create_log()
    machines = [make_replica(tmp_path / login, login, log) for login in ("ada", "bob")]
    async with spawned(machines[0]) as (ada, _), spawned(machines[1]) as (bob, _):
        await bob.call("subscription/open", {"topic": "events"})
        for n in range(20):
            await ada.call("command/dispatch", {"type": "ChangeSetting", "key": f"k{n}", "value": "x" * 20_000})
        await bob.until(lambda params: any(one["event"]["key"] == "k19" for one in params.get("events", ())))
        used = over_tls.as_admin(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND client_addr = '127.0.0.1'"
        )
        assert used[0][0] >= 3


def test_a_server_whose_certificate_has_another_name_is_refused(over_tls: Database) -> None:
    name_server(over_tls, "other.example.com")
    with pytest.raises(StorageError, match="no verified connection: check sslmode and sslrootcert"):
        RemoteLog("ada")
