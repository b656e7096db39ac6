"""PostgreSQL for tests: clusters of their own, run by an ordinary user, that can be reached only by a socket."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from support import PATIENCE
from treadle.store.shared import admin
from treadle.store.shared.config import SharedLogConfig, write_config
from treadle.store.shared.remote import RemoteLog

FOLDERS = (
    *(Path(found).resolve().parent for found in [shutil.which("pg_ctl")] if found),
    *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    *sorted(Path("/opt/homebrew/opt").glob("postgresql*/bin"), reverse=True),
)
PROGRAMS = next((folder for folder in FOLDERS if (folder / "initdb").exists()), None)
needs_postgres = pytest.mark.skipif(
    PROGRAMS is None and "CI" not in os.environ, reason="PostgreSQL is not installed: tests/install does that on Debian"
)

PORT = 5432  # only part of the name of the socket
PASSWORD = "correct-horse"
ROLES = ("owner", "ada", "bob", "mallory")

# Runs the server until its stdin ends, however this process does. A line on stdin: the files are kept.
_KEEPER = """
"$1/pg_ctl" -D "$2/data" -l "$2/log" --wait --silent start || exit 1
echo up
read -r keep; kept=$?
"$1/pg_ctl" -D "$2/data" --mode=immediate --silent stop
[ $kept = 0 ] || rm -rf "$2"
"""


class Cluster:
    """A PostgreSQL server with its files in a private folder under /tmp, since the path of a socket must be short."""

    def __init__(self) -> None:
        assert PROGRAMS is not None, "PostgreSQL is not installed: tests/install does that on Debian"
        self._programs = PROGRAMS
        self._user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-pg-", dir="/tmp"))
        if self._user is not None:
            shutil.chown(self.folder, self._user, pwd.getpwnam(self._user).pw_gid)
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PGPASSWORD": PASSWORD}
        self._keeper: subprocess.Popen[str] | None = None
        self.port = PORT

    def create(self) -> None:
        """Make the files of an empty cluster, start it, and create the roles."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # in a private folder
        files = ("-D", f"{self.folder}/data", f"--pwfile={secret}", "--username=postgres")
        self._run("initdb", *files, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.configure(listen_addresses="", unix_socket_directories=self.folder, shared_buffers="16MB")
        self.start()
        with self.connect() as admin:
            for role in ROLES:
                admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'".encode())

    def create_standby_of(self, primary: "Cluster") -> None:
        """Make the files of a standby of another cluster, and start it."""
        source = f"host={primary.folder} port={PORT} user=postgres password={PASSWORD}"
        to = ("-D", f"{self.folder}/data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        self._run("pg_basebackup", *to, f"--dbname={source}")
        self.configure(unix_socket_directories=self.folder)
        self.start()

    def promote(self) -> None:
        """Make a standby a primary, without what it has not received yet."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "--wait", "--silent", "promote")

    def configure(self, **settings: object) -> None:
        """Add settings, which count from the next start."""
        with open(self.folder / "data" / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def disconnect(self) -> None:
        """Let a standby receive nothing from its next start on."""
        with open(self.folder / "data" / "postgresql.auto.conf", "a") as file:
            file.write("primary_conninfo = ''\n")

    def start(self) -> None:
        """Start it; after a kill as often as needed, until the killed processes have left its memory."""
        for _ in range(20):
            keeper = subprocess.Popen(
                ["sh", "-c", _KEEPER, "keeper", self._programs, self.folder], text=True, user=self._user,
                cwd=self.folder, extra_groups=[] if self._user else None, env=self._environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert keeper.stdout is not None
            with keeper.stdout:
                if keeper.stdout.readline() == "up\n":
                    self._keeper = keeper
                    return
            keeper.communicate()
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        """Kill the server and all of its processes."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        children = [int(pid) for pid, parent in map(str.split, listed.splitlines()) if int(parent) == postmaster]
        for pid in (postmaster, *children):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended with its parent
        self.stop()

    def stop(self, keep: bool = True) -> None:
        """Stop it at once. keep: the files stay, for another start."""
        if self._keeper is not None:
            self._keeper.communicate("keep\n" if keep else "", timeout=60)
            self._keeper = None

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop(keep=False)
        shutil.rmtree(self.folder, ignore_errors=True)  # it was never started

    def connect(self, role: str = "postgres", database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        """A plain connection, to look at what treadle did, and to get in its way."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=role, password=PASSWORD, dbname=database, autocommit=True
        )

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], user=self._user, extra_groups=[] if self._user else None,
            cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


class Database:
    """A database of a cluster, and a service file with a service of each role, of which each has the role's name.

    environment: where libpq finds both this file and the passwords.
    """

    def __init__(self, cluster: Cluster, name: str, folder: Path) -> None:
        self.cluster, self.name = cluster, name
        self._folder = folder
        self.services = folder / "pg_service.conf"
        self.environment = {"PGSERVICEFILE": str(self.services), "PGPASSFILE": str(folder / "pgpass")}
        with cluster.connect() as admin:
            admin.execute(f"CREATE DATABASE {name} OWNER owner".encode())
        self.reach(cluster.folder)

    def reach(self, socket_folder: Path) -> None:
        """Write the files, with services that lead to the socket in this folder."""
        lines = [f"[{role}]\nhost={socket_folder}\nport={PORT}\nuser={role}\ndbname={self.name}\n" for role in ROLES]
        self.services.write_text("".join(lines))
        passwords = self._folder / "pgpass"
        passwords.write_text(f"*:*:*:*:{PASSWORD}\n")
        passwords.chmod(0o600)

    def drop(self) -> None:
        """Remove the database: after a kill, and for a standby, a server goes through the files of all."""
        with self.cluster.connect() as admin:
            admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)".encode())

    def as_admin(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement as a superuser; return its rows."""
        with self.cluster.connect(database=self.name) as admin:
            cursor = admin.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


class Relay:
    """A socket before that of a cluster, which can cut a connection in the middle of what goes through it.

    folder: of the socket. seen: the number of bytes of each direction since `arm`. swallows: nothing goes through any
    more, and nobody is told.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._target = str(cluster.folder / f".s.PGSQL.{PORT}")
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-relay-", dir="/tmp"))
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.folder / f".s.PGSQL.{PORT}"))
        self._listening.listen()
        self.seen = {"request": 0, "answer": 0}
        self.swallows, self._once = False, False
        self._left: dict[str, int | None] = {"request": None, "answer": None}
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, *, request: int | None = None, answer: int | None = None, once: bool = False) -> None:
        """From now on, cut connections once this many bytes went through. once: only the first one."""
        self.seen, self._once = {"request": 0, "answer": 0}, once
        self._left = {"request": request, "answer": answer}

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # ends the waiting accept
        self._listening.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._target)
            answers = threading.Thread(target=self._pass, args=("answer", server, client), daemon=True)
            answers.start()
            self._pass("request", client, server)
            answers.join()

    def _pass(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                left = self._left[direction]
                data = data if left is None else data[: max(left - self.seen[direction], 0)]
                self.seen[direction] += len(data)
                if data and not self.swallows:
                    sink.sendall(data)
                if left is not None and self.seen[direction] >= left:
                    if self._once:
                        self.arm()
                    break
        except OSError:
            pass  # the other direction has closed it
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster with the roles, for the block."""
    cluster = Cluster()
    try:
        cluster.create()
        yield cluster
    finally:
        cluster.close()


def create_log(name: str = "main") -> UUID:
    """A log that ada and bob may do everything with, in the database that libpq finds."""
    with RemoteLog("owner") as owner:
        log, _ = admin.initialize(owner, name)
        admin.grant(owner, log, "ada", "erase")
        admin.grant(owner, log, "bob", "erase")
    return log.log_id


def make_replica(data_dir: Path, login: str, log: UUID) -> Path:
    """Make the data directory of a machine that has nothing of the log yet; login: its service and its role."""
    data_dir.mkdir(mode=0o700, exist_ok=True)
    write_config(data_dir, SharedLogConfig(login, log))
    return data_dir


def join(threads: list[threading.Thread]) -> None:
    """Wait for the end of threads."""
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
