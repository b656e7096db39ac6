"""Fixtures that several tests share."""

import fcntl
import os
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from checkouts import Checkout
from support import CHECKOUT, opened, output_of
from terminals import Terminal
from treadle.core.engine import Engine
from treadle.store.ports import DataDirectory
from treadle.store.sqlite.store import Store

if TYPE_CHECKING:
    from postgres import Cluster, Database


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked `both_logs` on a local and on a shared log, if it has a data directory."""
    marked = metafunc.definition.get_closest_marker("both_logs")
    if marked is not None and "log_kind" in metafunc.fixturenames:
        from postgres import needs_postgres

        only_local = metafunc.definition.get_closest_marker("only_local")
        marks = [needs_postgres] if only_local is None else [pytest.mark.skip(reason=only_local.args[0])]
        metafunc.parametrize("log_kind", ["local", pytest.param("shared", marks=marks)])


@pytest.fixture
def log_kind() -> str:
    """`local` or `shared`: the log of the data directory."""
    return "local"


@pytest.fixture
def data_dir(tmp_path: Path, log_kind: str, request: pytest.FixtureRequest) -> Path:
    """A data directory that does not exist yet, or that has only `log.json`: a replica of an empty shared log."""
    data_dir = tmp_path / "data"
    if log_kind == "shared":
        request.getfixturevalue("share_log")(data_dir)
    return data_dir


@pytest.fixture
async def store(data_dir: Path) -> AsyncIterator[Store]:
    """An open store on an empty log."""
    async with opened(data_dir) as store:
        yield store


@pytest.fixture
async def engine(store: DataDirectory) -> AsyncIterator[Engine]:
    """An engine that takes commands, and does not linger."""
    engine = Engine(store, linger=0)
    engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], AbstractContextManager[Path]]:
    """A folder that all workers of a run share; it is for one of them at a time."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    @contextmanager
    def alone() -> Iterator[Path]:
        with open(folder / "shared.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder

    return alone


@pytest.fixture(scope="session")
def wheel(shared: Callable[[], AbstractContextManager[Path]]) -> Path:
    """The wheel, built once in a run."""
    with shared() as folder:
        if not [*folder.glob("treadle-*.whl")]:
            pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
            output_of(*pip, "--wheel-dir", str(folder), str(CHECKOUT))
        [built] = folder.glob("treadle-*.whl")
        return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel in it; its dependencies are those of this one."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    output_of(sys.executable, "-m", "venv", "--without-pip", str(venv))
    python = venv / "bin" / "python"
    output_of(*(sys.executable, "-m", "pip", "--python", str(python), "install"), "--quiet", "--no-deps", str(wheel))
    [site] = venv.glob("lib/python*/site-packages")
    # A path in a .pth file is looked in, but .pth files in it are not read: the checkout cannot be imported.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without settings of git."""
    home = Path(os.path.realpath(tmp_path)) / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def app(home: Path) -> Checkout:
    """An empty repository."""
    return Checkout(home / "app", home)


@pytest.fixture
def part(home: Path) -> Checkout:
    """A repository of which the folder `part` is the project's."""
    return Checkout(home / "app", home, "part")


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Terminals that are closed after the test."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator["Cluster"]:
    """A PostgreSQL server, for all tests of this process."""
    from postgres import running_cluster

    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def logs_database(cluster: "Cluster", tmp_path_factory: pytest.TempPathFactory) -> "Database":
    """A database of logs that tests do not share."""
    from postgres import Database

    return Database(cluster, "logs", tmp_path_factory.mktemp("logs"))


@pytest.fixture
def share_log(logs_database: "Database") -> Iterator[Callable[..., None]]:
    """Makes data directories replicas of a new log, which `ada` and `bob` may write to."""
    from postgres import create_log, make_replica

    with pytest.MonkeyPatch.context() as environment:  # of its own: a test may undo what it has patched
        for name, value in logs_database.environment.items():
            environment.setenv(name, value)

        def share(*data_dirs: Path, login: str = "ada") -> None:
            log_id = create_log(uuid4().hex)
            for data_dir in data_dirs:
                make_replica(data_dir, login, log_id)

        yield share


@pytest.fixture
def database(cluster: "Cluster", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Database"]:
    """An empty database, which libpq finds by the services of tests/postgres.py."""
    from postgres import Database

    made = Database(cluster, f"d{uuid4().hex}", tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.drop()
